"""The checks of the operator itself: its log, its workers and watcher, its webhook, its versions."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from tapio_cli.doctor.findings import AREA, Finding, finding, unknown
from tapio_cli.doctor.webhook import ANSWER, CERTIFICATE, NO_CLUSTER, examine_webhook, refused
from tapio_cli.history.printing import milliseconds, moment
from tapio_cli.history.signs_of_life import silence
from tapio_cli.history.source import Recorded
from tapio_cli.history.story import Story
from tapio_cli.kubectl import Kubectl, KubectlError
from tapio_shared.api.operator_config import CONFIG_MAP
from tapio_shared.codec import decode_record, encode
from tapio_shared.errors import LogRefused
from tapio_shared.facts import ConfigurationObserved, DecisionRecorded, EpochAdvanced, SweepMarked, TargetObserved
from tapio_shared.installation import (
    NAMESPACE,
    OWN_TARGET,
    RECONCILER,
    WATCHER,
    watcher_lease,
)
from tapio_shared.json import JsonObject, at, int_at, str_at
from tapio_shared.keys import address_of

LOG, WINDOW, WORKERS, LEASES, RIGHTS, VERSIONS, CONFIGURATION, TARGETS = (
    "log reachable",
    "window complete",
    "partitions owned",
    "leases held",
    "rights granted",
    "one version",
    "configuration",
    "targets",
)
_SURROUNDINGS = (CONFIGURATION, TARGETS)
_HOUR = 3_600_000
_OFTEN = 10
"""Sweeps within an hour from which on a log is too small: it begins anew with every four to eight of them."""
_RIGHTS = (
    (WATCHER, "watch", "tapio.io", "tapioclusters"),
    (WATCHER, "watch", "apps", "statefulsets"),
    (RECONCILER, "patch", "tapio.io", "tapioclusters/status"),
    (RECONCILER, "patch", "apps", "statefulsets"),
)
"""ServiceAccount, verb, API group and resource, in all namespaces: what each can do nothing without."""


async def examine_log(
    recorded: Recorded,
    stories: Sequence[Story],
    *,
    now: int,
    is_live: bool,
    target: str = OWN_TARGET,
    living: Sequence[str] | None = None,
) -> list[Finding]:
    """What the log itself tells, and who of its workers is `living`: None where that is not known."""
    info = await recorded.info()
    silent = await silence(recorded, target, now=now) if is_live else ""
    room = f", {info.bytes * 100 // info.max_bytes} % of its room" if info.max_bytes > 0 else ""
    reached = finding(
        AREA,
        LOG,
        [*filter(None, [silent])] if info.last_sequence else ["The log is empty: no watcher has written to it."],
        ok=f"{info.messages} messages up to @{info.last_sequence}{room}.",
        next_step="Look at the watcher: kubectl logs -n tapio-system deploy/tapio-watcher.",
    )
    incomplete = [f"The history of {one.key} is complete nowhere." for one in stories if one.window is None]
    if is_live and (swept := await _swept(recorded, since=now - _HOUR)) >= _OFTEN:
        incomplete.append(f"The log was swept {swept} times within an hour: it is small for what must stay in it.")
    begins = max((one.window[0].at for one in stories if one.window), default=0)
    window = finding(
        AREA,
        WINDOW,
        incomplete,
        ok=f"Complete for {len(stories)} cluster{'s' * (len(stories) != 1)} since {moment(begins)}."
        if begins
        else "No cluster is recorded.",
        next_step="The watcher tells everything again by itself; if this lasts, see its log, which says how large "
        "TAPIO_LOG_MAX_BYTES must be.",
    )
    owned = await _workers(recorded, info.partitions, living, is_live=is_live)
    return [reached, window, owned, _versions(stories), *await _surroundings(recorded)]


async def _swept(recorded: Recorded, *, since: int) -> int:
    """How often the target that was swept most was swept since then, in milliseconds; 0 where one may not read that."""
    times: Counter[str] = Counter()
    try:
        async for message in recorded.read("tapio.log.0._shared.*.sweep", up_to=(await recorded.info()).last_sequence):
            record = decode_record(message.data)
            if isinstance(record, SweepMarked) and record.phase == "started" and record.marked_at >= since:
                times[message.subject] += 1
    except LogRefused:
        return 0
    return max(times.values(), default=0)


async def _workers(recorded: Recorded, partitions: int, living: Sequence[str] | None, *, is_live: bool) -> Finding:
    """Whether every partition has been taken over by somebody who still lives."""
    if not is_live:
        return unknown(AREA, WORKERS, "An archive does not tell who works now.")
    owners: dict[int, str] = {}
    try:
        async for message in recorded.read("tapio.epoch.*", up_to=(await recorded.info()).last_sequence):
            record = decode_record(message.data)
            if isinstance(record, EpochAdvanced):
                owners[int(message.subject.rpartition(".")[2])] = record.worker
    except LogRefused as err:
        return unknown(AREA, WORKERS, str(err), "Ask as a user who may read all of the log.")
    lonely = sorted(set(range(partitions)) - owners.keys())
    problems = [f"Partitions {', '.join(map(str, lonely))} of {partitions} never had an owner."] if lonely else []
    for worker in sorted(set(owners.values()) - set(owners.values() if living is None else living)):
        owned = ", ".join(str(partition) for partition in sorted(owners) if owners[partition] == worker)
        problems.append(f"{worker} is not running any more, and nobody has taken over its partitions: {owned}.")
    names = ", ".join(sorted(set(owners.values())))
    return finding(
        AREA,
        WORKERS,
        problems,
        ok=f"{partitions} partitions were last taken over by {names}."
        if living is None
        else f"{partitions} partitions are owned by {names}; all of these are running.",
        next_step="Nothing is decided for their TapioClusters. At least one reconciler must run, and be let into NATS: "
        "kubectl get pods -n tapio-system. One that runs and is not ready says why in its log (kubectl logs -n "
        "tapio-system deploy/tapio-reconciler): 'Authorization Violation' means that NATS knows another password than "
        "the file of TAPIO_NATS_CREDENTIALS holds.",
    )


async def _surroundings(recorded: Recorded) -> list[Finding]:
    """Whether the operator's ConfigMap was taken over as it is, and whether every target can be reached."""
    try:
        facts = await recorded.last_per_subject(*(f"tapio.log.0._shared.*.{what}" for what in ("config", "target")))
    except LogRefused as err:
        return [unknown(AREA, one, str(err), "Ask as a user who may read all of the log.") for one in _SURROUNDINGS]
    refused: list[str] = []
    away: list[str] = []
    for message in facts.messages:
        record, target = decode_record(message.data), address_of(message.subject).target
        if isinstance(record, ConfigurationObserved):
            refused += [f"{one} The configuration from before stays in force." for one in record.problems]
        elif isinstance(record, TargetObserved) and record.state == "refused":
            away.append(f"The Secret of target {target} can't be used: {record.message}")
    return [
        finding(
            AREA,
            CONFIGURATION,
            list(dict.fromkeys(refused)),
            ok="The newest is in force.",
            next_step=f"kubectl edit configmap {CONFIG_MAP} -n {NAMESPACE}; docs/settings.md lists what it may hold.",
        ),
        finding(
            AREA,
            TARGETS,
            away,
            ok="No Secret of a target is refused.",
            next_step="Nothing is planned or written there. Correct the kubeconfig in the Secret; docs/targets.md says "
            "what it may hold.",
        ),
    ]


def _versions(stories: Sequence[Story]) -> Finding:
    """The operator's versions in the last decisions: several for long means a roll-out that got stuck."""
    last: dict[str, list[str]] = {}
    for story in stories:
        decisions = [one.entry.record for one in story.own if isinstance(one.entry.record, DecisionRecorded)]
        if decisions:
            last.setdefault(decisions[-1].inputs.operator_version, []).append(f"{story.key.namespace}/{story.key.name}")
    mixed = [f"{version} decided last for {', '.join(sorted(names)[:3])}." for version, names in sorted(last.items())]
    return finding(
        AREA,
        VERSIONS,
        mixed if len(last) > 1 else [],
        ok=f"The last decisions are all of version {next(iter(last))}." if last else "Nothing has been decided yet.",
        next_step="During an upgrade this passes; otherwise see kubectl get pods -n tapio-system -o wide for pods of "
        "another version.",
    )


async def is_webhook_off(recorded: Recorded) -> bool:
    """Whether the configuration in force says that the webhook does not register itself; False where nobody knows."""
    try:
        facts = await recorded.last_per_subject("tapio.log.0._shared.*.config")
    except LogRefused:
        return False
    records = [decode_record(message.data) for message in facts.messages]
    return any(
        at(one.configuration, "webhooks", "enabled") is False
        for one in records
        if isinstance(one, ConfigurationObserved)
    )


async def examine_kubernetes(
    kubectl: Kubectl | None, *, namespace: str, target: str, now: int, webhook_is_off: bool = False
) -> list[Finding]:
    """What the operator's own cluster tells; unknown without a way to it."""
    if kubectl is None:
        checks = (LEASES, RIGHTS, CERTIFICATE, ANSWER)
        return [unknown(AREA, check, "No kubeconfig was named.", NO_CLUSTER) for check in checks]
    return [
        await _lease(kubectl, namespace, watcher_lease(target), now),
        await _rights(kubectl, namespace),
        *await examine_webhook(kubectl, namespace=namespace, now=now, is_off=webhook_is_off),
    ]


async def _lease(kubectl: Kubectl, namespace: str, name: str, now: int) -> Finding:
    try:
        lease = await kubectl.document("get", "lease", name, "-n", namespace)
    except KubectlError as err:
        return refused(LEASES, f"Lease {namespace}/{name}", err, "No watcher has ever led: see kubectl get pods.")
    return lease_finding(lease, f"Lease {namespace}/{name}", now)


def lease_finding(lease: JsonObject, name: str, now: int) -> Finding:
    """Whether somebody leads, and still does."""
    holder, renewed = str_at(lease, "spec", "holderIdentity"), str_at(lease, "spec", "renewTime")
    lasts = int_at(lease, "spec", "leaseDurationSeconds", default=15) * 1000
    since = now - milliseconds(renewed) if renewed else now
    problems: list[str] = []
    if not holder:
        problems.append(f"Nobody holds {name}.")
    elif since > lasts:
        problems.append(f"{holder} holds {name} and has not renewed it for {since // 1000} s.")
    return finding(
        AREA,
        LEASES,
        problems,
        ok=f"{holder} leads, renewed {max(since, 0) // 1000} s ago.",
        next_step="Without a leader nothing new is observed. See the watcher's pods and their logs.",
    )


async def _rights(kubectl: Kubectl, namespace: str) -> Finding:
    """Whether the services' ServiceAccounts may do what they are for: a watcher that may not watch says nothing new."""
    command = ("create", "--validate=false", "-f", "-")  # What is asked is ours, and needs no download of schemas.
    asked = [encode(_review(namespace, *right)) for right in _RIGHTS]
    try:
        answered = await asyncio.gather(*(kubectl.document(*command, stdin=one) for one in asked))
    except KubectlError as err:
        return unknown(AREA, RIGHTS, str(err), "It takes the right to create subjectaccessreviews: ask as an admin.")
    denied = [
        f"ServiceAccount {namespace}/{account} may not {verb} {resource}."
        for (account, verb, _, resource), one in zip(_RIGHTS, answered, strict=True)
        if at(one, "status", "allowed") is not True
    ]
    return finding(
        AREA,
        RIGHTS,
        denied,
        ok=f"ServiceAccounts {', '.join(dict.fromkeys(account for account, *_ in _RIGHTS))} may do what they are for.",
        next_step=(
            "Apply the operator's ClusterRoles and bindings again, as it was installed: kubectl apply -k deploy/base. "
            "Until then what they can't see is told as it was last."
        ),
    )


def _review(namespace: str, account: str, verb: str, group: str, resource: str) -> JsonObject:
    """https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/subject-access-review-v1/"""
    plural, _, subresource = resource.partition("/")
    attributes: JsonObject = {"verb": verb, "group": group, "resource": plural, "subresource": subresource}
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": f"system:serviceaccount:{namespace}:{account}", "resourceAttributes": attributes},
    }
