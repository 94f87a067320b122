"""How a TapioCluster's components stand, and what to do about one that does not run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tapio_cli.doctor.findings import Finding, finding
from tapio_cli.doctor.patient import Patient
from tapio_cli.history.failures import RENEW_CRDS, failed_writes, failures_of, status_failure, status_not_written
from tapio_reconciler.core.components import failure_reason
from tapio_shared.api.reasons import Reason, ReasonFamily
from tapio_shared.json import JsonObject, int_at, objects_at, str_at
from tapio_shared.keys import ObjectRef

_LASTING: Final = frozenset({400, 401, 403, 404, 405, 422})
"""Codes of refusals that somebody has to mend."""
_NO_CLAIM: Final = "persistentvolumeclaim"
"""In the scheduler's words when a claim of a pod is not there."""
_CORDONED: Final = ("were unschedulable", "node.kubernetes.io/unschedulable")
"""In the scheduler's words where nodes are cordoned."""
_OFTEN: Final = 3
"""Tries after which any other failure is one, too."""
_RIGHTS: Final = (
    "kubectl apply -k deploy/base (before Kubernetes 1.25 deploy/legacy, in a target deploy/target) gives the operator "
    "its rights again."
)
_FAILS: Final = frozenset({"Failed", "Unavailable"})
_PASSES: Final = frozenset({Reason.DEPENDENCY_NOT_READY, Reason.NODES_NOT_READY, Reason.SCALED_BY_ANOTHER})
"""Reasons of components that come and go while pods are replaced, or are nobody's fault."""
_TROUBLES: Final = frozenset(
    str(one) for one in Reason if one.family is not ReasonFamily.PROGRESS and one not in _PASSES
)
_NEXT: Final[dict[str, str]] = {
    Reason.IMAGE_PULL_FAILED: "Name an image that exists in the component's image, or its registry's credentials in "
    "spec.image.pullSecrets.",
    Reason.CRASH_LOOPING: "kubectl logs -n {namespace} POD --previous says why it ended.",
    Reason.OUT_OF_MEMORY: "Raise the component's resources.limits.memory, or the budget spec.resources.",
    Reason.UNSCHEDULABLE: "Ask for less (resources, nodeSelector, affinity), or add nodes: kubectl describe pod -n "
    "{namespace} POD says what each node lacks.",
    Reason.VOLUME_PENDING: "kubectl describe pvc -n {namespace} says what provisioning waits for, and kubectl get "
    "storageclass which classes there are.",
    Reason.NO_DEFAULT_STORAGE_CLASS: "Set storageClassName, or mark one as the default: kubectl get storageclass.",
    Reason.POD_SECURITY_REFUSED: "Label the namespace {namespace} for what the pods need: docs/pod-security.md.",
    Reason.INIT_FAILED: "kubectl logs -n {namespace} POD -c INIT-CONTAINER --previous says why it ended.",
    Reason.NAMESPACE_MISSING: "kubectl create namespace {namespace}; one of node agents needs the label "
    "pod-security.kubernetes.io/enforce=privileged.",
    Reason.QUOTA_EXCEEDED: "Raise the quota, or ask for less: kubectl describe quota -n {namespace}.",
}


def examine_components(patient: Patient, area: str, check: str, *, told: str) -> Finding:
    """What the status says of every component, but for what `told` says already, and what the status can't know."""
    parts = objects_at(patient.cluster, "status", "components")
    failing = [one for one in parts if _fails(one) and str_at(one, "message") not in told]
    problems = [
        f"{str_at(one, 'name')} is {str_at(one, 'state')} since {str_at(one, 'since')}: {str_at(one, 'reason')}: "
        f"{str_at(one, 'message')}"
        for one in failing
    ]
    steps = [next_step(patient, *failing)] if failing else []
    for problem, step in (*_unwritten(patient, parts), *_unseen(patient)):
        problems.append(problem)
        steps.append(step)
    said = " ".join(filter(None, dict.fromkeys(steps)))
    return finding(area, check, problems, ok=_standing(patient, parts), next_step=said)


def next_step(patient: Patient, *parts: JsonObject) -> str:
    """What to do about components of the status that are not ready, at least one."""
    key = patient.state.key
    steps = [step for one in parts if (step := _step(patient, one))]
    first, *others = (str_at(one, "name") for one in parts)
    too = f" (and so for {', '.join(others)})" if others else ""
    asked = f"tapioctl explain {key.namespace}/{key.name} {first} says what led to it{too}."
    return " ".join([*dict.fromkeys(steps), asked])


def _step(patient: Patient, part: JsonObject) -> str:
    """What to do about one of them, by its reason; empty where that says nothing of it."""
    reason, namespace = str_at(part, "reason"), str_at(part, "ref", "namespace") or patient.state.key.namespace
    if reason == str(Reason.UNSCHEDULABLE) and _NO_CLAIM in str_at(part, "message"):
        return (
            f"kubectl delete pod -n {namespace} POD: its StatefulSet makes pod and claim again, with an empty volume."
        )
    if reason == str(Reason.UNSCHEDULABLE) and any(one in str_at(part, "message") for one in _CORDONED):
        return (
            "Nodes are cordoned: kubectl get nodes says which (SchedulingDisabled), and kubectl uncordon NODE lets "
            "pods onto one again."
        )
    known = _NEXT.get(reason, "").format(namespace=namespace)
    if reason == str(Reason.IMAGE_PULL_FAILED):
        return " ".join([*_pull_secrets(patient, namespace), known])
    return (patient.missing_classes() if reason == str(Reason.VOLUME_PENDING) else "") or known


def _pull_secrets(patient: Patient, namespace: str) -> Iterator[str]:
    """What to do about Secrets that images are pulled with, where they are missing in the namespace of the pods, or may
    be: which there are among node agents, nobody tells."""
    own = patient.state.key.namespace
    for one in objects_at(patient.cluster, "spec", "image", "pullSecrets"):
        name = str_at(one, "name")
        seen = patient.seen.get(ObjectRef("", "Secret", own, name))
        if namespace != own:
            lacks = "is needed there too"
        elif seen is not None and seen.document is None:
            lacks = "does not exist"
        else:
            continue
        yield (
            f"Secret {namespace}/{name}, which spec.image.pullSecrets names, {lacks}: pods pull with Secrets of their "
            f"own namespace alone. Where there is one: kubectl get secrets -A --field-selector metadata.name={name}"
        )


def _fails(part: JsonObject) -> bool:
    """Whether a component will not become ready by itself, as far as its reason tells."""
    state = str_at(part, "state")
    return state in _FAILS or (state != "Ready" and str_at(part, "reason") in _TROUBLES)


def _unwritten(patient: Patient, parts: list[JsonObject]) -> Iterator[tuple[str, str]]:
    """Writes that will go on to fail and that no component's message tells of, and what to do."""
    told = " ".join(str_at(one, "message") for one in parts)
    lasting = {
        what: one
        for what, one in failures_of(patient.state).items()
        if (one.code in _LASTING or one.attempt >= _OFTEN) and one.error not in told
    }
    status = status_failure(patient.state)
    refused = [one for one in (*lasting.values(), status) if one is not None]
    is_forbidden = any(failure_reason(one)[0] is Reason.FORBIDDEN for one in refused)
    for problem in (*status_not_written(patient.state), *failed_writes(lasting)):
        is_of_crds = problem.endswith(RENEW_CRDS)
        yield problem.removesuffix(f" {RENEW_CRDS}"), RENEW_CRDS if is_of_crds else _RIGHTS if is_forbidden else ""


def _unseen(patient: Patient) -> Iterator[tuple[str, str]]:
    """Workloads that are gone while the operator may not write, or that somebody scaled to nothing; and what to do."""
    for component in patient.wanted.rendered.components:
        for ref in component.workloads:
            live = patient.document(ref)
            if live is None and patient.is_paused and ref.kind != "Job":
                yield (
                    f"{ref} does not exist, and is not made while the TapioCluster is paused.",
                    "Remove the annotation tapio.io/paused to let the operator make it again.",
                )
            replicas = int_at(live, "spec", "replicas", default=1)
            if live is not None and ref.kind == "Deployment" and not component.scaled_by and replicas == 0:
                yield (
                    f"{ref} is scaled to 0, and no HorizontalPodAutoscaler scales from there.",
                    f"kubectl scale deployment {ref.name} -n {ref.namespace} --replicas=1",
                )


def _standing(patient: Patient, parts: list[JsonObject]) -> str:
    """How things stand where nothing is wrong; what is less than was asked for is said, since nobody else says it."""
    others = [f"{str_at(one, 'name')} is {str_at(one, 'state')}" for one in parts if str_at(one, "state") != "Ready"]
    count = f"{len(parts) - len(others)} of {len(parts)} components"
    ready = f"{count} were ready when the cluster was paused" if patient.is_paused else f"{count} are ready"
    degraded = [
        f"Degraded: {str_at(one, 'reason')}: {str_at(one, 'message')}"
        for one in objects_at(patient.cluster, "status", "conditions")
        if str_at(one, "type") == "Degraded" and str_at(one, "status") == "True"
    ]
    return " ".join([f"{'; '.join([ready, *others])}.", *degraded])
