"""The checks of one TapioCluster: three of its collectors, three of Neo4j, three of NATS, what others do to it, and how
it stands at all.

Made from what the operator was told and wants, as the log has them, so that they can be asked of an archive too. What
the operator is not told of (network policies that are somebody else's, say) is named, not guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from tapio_cli.doctor.components import examine_components, next_step
from tapio_cli.doctor.findings import Finding, Verdict, finding, unknown
from tapio_cli.doctor.others import examine_deletions, examine_end, examine_writers
from tapio_cli.doctor.patient import COLLECTORS, GRAPH, MESSAGING, WHOLE, Patient
from tapio_cli.history.ahead import wanted_now
from tapio_cli.history.fields import changed_fields
from tapio_cli.history.interference import disputes
from tapio_cli.history.story import Story
from tapio_reconciler.core.comparison import holds
from tapio_reconciler.core.model import Component
from tapio_reconciler.core.wanting import Refused, ref_of
from tapio_shared.api.labels import COMPONENT
from tapio_shared.api.names import NEO4J, cluster_ref
from tapio_shared.api.reasons import Reason
from tapio_shared.json import JsonObject, int_at, objects_at, str_at, strings_at
from tapio_shared.keys import ObjectRef

CHECKS = (
    (COLLECTORS, "RBAC permissions"),
    (COLLECTORS, "node selectors"),
    (COLLECTORS, "security contexts"),
    (GRAPH, "PVC provisioning"),
    (GRAPH, "memory limits"),
    (GRAPH, "init containers"),
    (MESSAGING, "network policies"),
    (MESSAGING, "service discovery"),
    (MESSAGING, "credentials"),
    (WHOLE, "other writers"),
    (WHOLE, "deletions"),
    (WHOLE, "components"),
)
_RIGHTS = frozenset({"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"})
_SHOWN = 3


def examine(story: Story, now: int, *, is_live: bool = True) -> list[Finding]:
    """All of them; unknown where what is wanted can't be told. Of a TapioCluster that is gone, that it is, once; of one
    that is being deleted, whether that goes on."""
    state = story.state(story.ends)
    name = f"TapioCluster {state.key.namespace}/{state.key.name}"
    seen = state.seen()
    cluster = seen.get(cluster_ref(state.key.namespace, state.key.name))
    wanted = wanted_now(state, now)
    if cluster is None or cluster.document is None or wanted is None:
        about = f"{state.key.namespace}/{state.key.name}"
        return [unknown(*CHECKS[-1], f"{name} does not exist.", f"tapioctl explain {about} says what became of it.")]
    if str_at(cluster.document, "metadata", "deletionTimestamp"):
        return [examine_end(*CHECKS[-1], state, cluster.document, now)]
    if isinstance(wanted, Refused):
        why = f"{name} is stalled, so nothing is wanted of it: {wanted.reason}: {wanted.message}"
        *others, whole = _all_unknown(why, "Mend the spec, then ask again.")
        return [*others, msgspec.structs.replace(whole, verdict=Verdict.PROBLEM)]
    patient = Patient(state, seen, wanted, cluster.document)
    single = [
        _rights(patient),
        _nodes(patient),
        _security(patient),
        _volumes(patient),
        _memory(patient),
        _init_containers(patient),
        _network(patient),
        _services(patient),
        _credentials(patient),
        examine_writers(*CHECKS[9], disputes(story, state, story.ends, now if is_live else 0)),
        examine_deletions(*CHECKS[10], state, now),
    ]
    told = " ".join(one.evidence for one in single if one.verdict is Verdict.PROBLEM)
    return [*single, examine_components(patient, *CHECKS[-1], told=told)]


def _all_unknown(why: str, next_step: str) -> list[Finding]:
    return [unknown(area, check, why, next_step) for area, check in CHECKS]


# --- collectors ------------------------------------------------------------------------------------------------------


def _rights(patient: Patient) -> Finding:
    area, check = CHECKS[0]
    collectors = patient.components(area)
    if not collectors:
        return finding(area, check, [], ok="No collector is enabled.", next_step="")
    problems = list(_deviations(patient, collectors, _RIGHTS))
    count = sum(1 for _ in _wanted_objects(patient, collectors, _RIGHTS))
    ok = f"{count} ServiceAccounts, Roles and bindings are as they should be."
    return finding(area, check, problems, ok=ok, next_step=patient.put_back())


def _nodes(patient: Patient) -> Finding:
    area, check = CHECKS[1]
    skipped = objects_at(patient.cluster, "status", "skipped")
    problems = [str_at(one, "message") for one in skipped if str_at(one, "reason") == str(Reason.NO_ELIGIBLE_NODES)]
    problems += _said(patient, area, {Reason.UNSCHEDULABLE})
    placed: list[str] = []
    for component in patient.components(area):
        for workload in component.workloads:
            live = patient.document(workload)
            if workload.kind == "DaemonSet" and "status" in (live or {}):
                count = int_at(live, "status", "desiredNumberScheduled")
                placed.append(f"{component.name} on {count} nodes")
                problems += [f"{workload} matches no node."] if count == 0 else []
    left_out = [f"{str_at(one, 'collector')} ({str_at(one, 'reason')})" for one in skipped]
    ok = f"{', '.join(placed) or 'No collector runs on nodes'}."
    return finding(
        area,
        check,
        problems,
        ok=ok + (f" Left out: {', '.join(left_out)}; see status.skipped." if left_out else ""),
        next_step="Compare spec.scheduling, spec.nodeAgents and the collector's nodeSelector and tolerations with "
        "kubectl get nodes --show-labels.",
    )


def _security(patient: Patient) -> Finding:
    area, check = CHECKS[2]
    problems = _said(patient, area, {Reason.POD_SECURITY_REFUSED})
    return finding(
        area,
        check,
        problems,
        ok="No pod of a collector is refused for what it asks of the node.",
        next_step="Label the node agents' namespace pod-security.kubernetes.io/enforce=privileged, or ask for less: "
        "docs/pod-security.md lists what each collector needs.",
    )


# --- Neo4j -----------------------------------------------------------------------------------------------------------


def _volumes(patient: Patient) -> Finding:
    area, check = CHECKS[3]
    if not patient.components(area):
        return _embedded(area, check)
    claims = [
        one.document
        for ref, one in sorted(patient.seen.items())
        if ref.kind == "PersistentVolumeClaim"
        and one.document is not None
        and strings_at(one.document, "metadata", "labels").get(COMPONENT) == NEO4J
    ]
    problems = [
        f"PersistentVolumeClaim {str_at(claim, 'metadata', 'name')} is {str_at(claim, 'status', 'phase') or 'Pending'} "
        f"(StorageClass {str_at(claim, 'spec', 'storageClassName') or 'none'})."
        for claim in claims
        if str_at(claim, "status", "phase") != "Bound"
    ]
    reasons = {Reason.VOLUME_PENDING, Reason.NO_DEFAULT_STORAGE_CLASS, Reason.VOLUME_NOT_GROWN}
    problems += [] if problems else _said(patient, area, reasons)
    if not claims and not problems:
        return unknown(area, check, "No PersistentVolumeClaim of Neo4j has been told of yet.", "Ask again in a moment.")
    return finding(
        area,
        check,
        problems,
        ok=f"{len(claims)} PersistentVolumeClaim{' is' if len(claims) == 1 else 's are'} bound.",
        next_step=patient.missing_classes()
        or "kubectl describe pvc says what provisioning waits for; kubectl get storageclass what there is.",
    )


def _memory(patient: Patient) -> Finding:
    area, check = CHECKS[4]
    components = patient.components(area)
    if not components:
        return _embedded(area, check)
    problems = _said(patient, area, {Reason.OUT_OF_MEMORY}) + _pod_reasons(patient, area, {"OOMKilled"})
    limits = [
        str_at(container, "resources", "limits", "memory") or "none"
        for workload in components[0].workloads
        for container in objects_at(patient.document(workload), "spec", "template", "spec", "containers")
        if str_at(container, "name") == NEO4J
    ]
    if "none" in limits:
        problems.append("A container of Neo4j has no memory limit, by which it divides its memory.")
    return finding(
        area,
        check,
        problems,
        ok=f"No container was killed for its memory; limits: {', '.join(limits) or 'not told yet'}.",
        next_step="Raise spec.intelligence.neo4j.resources.limits.memory; heap and page cache follow (docs/graph.md).",
    )


def _init_containers(patient: Patient) -> Finding:
    area, check = CHECKS[5]
    if not patient.components(area):
        return _embedded(area, check)
    problems = _said(patient, area, {Reason.INIT_FAILED}) + _pod_reasons(patient, area, {"InitFailed"})
    return finding(
        area,
        check,
        problems,
        ok="No init container fails.",
        next_step="kubectl logs POD -c INIT-CONTAINER --previous says why it ended.",
    )


# --- NATS ------------------------------------------------------------------------------------------------------------


def _network(patient: Patient) -> Finding:
    area, check = CHECKS[6]
    every = patient.wanted.rendered.components
    policies = list(_wanted_objects(patient, every, frozenset({"NetworkPolicy"})))
    problems = list(_deviations(patient, every, frozenset({"NetworkPolicy"})))
    if policies:
        ok = f"{len(policies)} NetworkPolicies are as they should be; those of others are not seen from here."
    else:
        ok = "spec.networkPolicy asks for none; those of others are not seen from here."
    return finding(area, check, problems, ok=ok, next_step=patient.put_back())


def _services(patient: Patient) -> Finding:
    area, check = CHECKS[7]
    components = patient.components(area)
    if not components:
        url = str_at(patient.cluster, "spec", "nats", "external", "url")
        return unknown(area, check, f"NATS is somebody else's ({url}).", f"Resolve and reach {url} from a pod.")
    problems = list(_deviations(patient, components, frozenset({"Service"})))
    step = patient.put_back()
    for workload in components[0].workloads:
        pods = patient.pods(workload)
        if pods is not None and int_at(pods, "ready") == 0:
            status = patient.status(components[0].name)
            if not problems:  # The Services are right; what keeps their pods from being ready is to be mended.
                step = next_step(patient, status)
            why = f" {str_at(status, 'message')}" if str_at(status, "message") else ""
            problems.append(f"No pod of {workload} is ready, so its Services lead nowhere.{why}")
    count = sum(1 for _ in _wanted_objects(patient, components, frozenset({"Service"})))
    ok = f"{count} Services are as they should be, and have ready pods."
    return finding(area, check, problems, ok=ok, next_step=step)


def _credentials(patient: Patient) -> Finding:
    area, check = CHECKS[8]
    problems: list[str] = []
    held = 0
    for component in patient.wanted.rendered.components:
        for secret in component.secrets:
            ref = ref_of(secret.manifest)
            live = patient.document(ref)
            missing = sorted(set(secret.keys) - strings_at(live, "digests").keys())
            if live is None:
                problems.append(f"{ref} of {component.name} does not exist.")
            elif missing:
                problems.append(f"{ref} lacks {', '.join(missing)}.")
            else:
                held += 1
    external = str_at(patient.cluster, "spec", "nats", "external", "credentialsSecretRef", "name")
    if external and patient.document(ObjectRef("", "Secret", patient.state.key.namespace, external)) is None:
        problems.append(
            f"Secret {patient.state.key.namespace}/{external}, which spec.nats.external names, does not exist."
        )
    # Without its own, a database can't be opened; so that one is not made again, which its component says.
    lost = [
        f"{str_at(part, 'name')}: {str_at(part, 'message')}"
        for part in objects_at(patient.cluster, "status", "components")
        if str_at(part, "reason") == str(Reason.CREDENTIALS_INVALID)
    ]
    problems += lost
    return finding(
        area,
        check,
        problems,
        ok=("1 Secret that the operator made holds" if held == 1 else f"{held} Secrets that the operator made hold")
        + " every key"
        + (f", and {external} exists." if external else "."),
        next_step="Restore what is lost, as is said above: the operator does not make it up."
        if lost
        else "A Secret that the operator made is made again when it is gone; one of yours has to be brought.",
    )


# --- what checks have alike ------------------------------------------------------------------------------------------


def _wanted_objects(patient: Patient, components: Sequence[Component], kinds: frozenset[str]) -> Iterator[JsonObject]:
    for component in components:
        for one in patient.wanted.objects[component.name]:
            if one.ref.kind in kinds:
                yield one.manifest


def _deviations(patient: Patient, components: Sequence[Component], kinds: frozenset[str]) -> Iterator[str]:
    """Wanted objects of some kinds that are missing, or are not as they should be."""
    for manifest in _wanted_objects(patient, components, kinds):
        ref = ref_of(manifest)
        live = patient.document(ref)
        if live is None:
            yield f"{ref} does not exist."
        elif not holds(live, manifest):
            fields = [one.path for one in changed_fields(manifest, {**live, "status": {}}) if one.before is not None]
            yield f"{ref} differs from what is wanted: {', '.join(fields[:_SHOWN])}."


def _said(patient: Patient, area: str, reasons: set[Reason]) -> list[str]:
    """What the status says of an area's components for one of these reasons."""
    words = {str(reason) for reason in reasons}
    parts = [(one.name, patient.status(one.name)) for one in patient.components(area)]
    return [f"{name}: {str_at(part, 'message')}" for name, part in parts if str_at(part, "reason") in words]


def _pod_reasons(patient: Patient, area: str, reasons: set[str]) -> list[str]:
    """What pods of an area were told of, unless the status says it already."""
    return [
        f"{str_at(one, 'pod')}: {str_at(one, 'reason')}: {str_at(one, 'message')}."
        for component in patient.components(area)
        for workload in component.workloads
        for one in objects_at(patient.pods(workload), "reasons")
        if str_at(one, "reason") in reasons and not str_at(patient.status(component.name), "reason")
    ]


def _embedded(area: str, check: str) -> Finding:
    return finding(
        area, check, [], ok="There is no Neo4j: the graph is embedded, or intelligence is off.", next_step=""
    )
