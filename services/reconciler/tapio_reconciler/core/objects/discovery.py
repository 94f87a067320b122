"""Which collectors can work on this fleet, group of nodes by group, from Node facts, and why the others can't.

The container runtime decides nothing: no observer talks to it. A collector's own nodeSelector is a choice, and what
it does not select is not skipped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tapio_reconciler.core.model import Skipped
from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.objects.placement import (
    ARCHITECTURES,
    NOTHING_LEARNED,
    VIRTUAL_LABELS,
    Learned,
    excluded_labels,
    learned_before,
    matches,
    opt_out,
)
from tapio_shared.api.effective import EffectiveCollector
from tapio_shared.api.labels import BTF
from tapio_shared.api.names import NODE_COLLECTORS
from tapio_shared.api.reasons import Reason
from tapio_shared.facts import FleetObserved, NodeGroup

_KERNEL: Final = (5, 8)
"""The ring buffer of eBPF, and the capabilities BPF and PERFMON."""
_MEMCG_KERNEL: Final = (5, 11)
"""From here on BPF memory is accounted to the cgroup and not limited by RLIMIT_MEMLOCK."""
_BTF_DISTRIBUTIONS: Final = (
    "ubuntu", "debian", "fedora", "red hat", "centos", "rocky", "alma", "amazon linux", "bottlerocket", "talos",
    "flatcar", "container-optimized", "suse", "photon", "azure linux", "mariner", "nixos", "arch",
)  # fmt: skip
"""Distributions whose kernels of 5.8 and newer are built with CONFIG_DEBUG_INFO_BTF."""
_WITHOUT_SYSTEMD: Final = ("talos", "alpine")
_MANAGED: Final[Mapping[str, str]] = {
    "eks": "Amazon EKS",
    "gke": "Google GKE",
    "aks": "Azure AKS",
    "hypershift": "OpenShift with a hosted control plane",
    "doks": "DigitalOcean Kubernetes",
    "lke": "Linode Kubernetes Engine",
    "iks": "IBM Cloud Kubernetes Service",
}
"""Platforms whose etcd no customer can reach."""
MAX_SKIPPED: Final = 20
"""Entries of one collector in status.skipped; the smallest groups beyond are counted together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Eligibility:
    """Whether a collector runs at all, the nodes it leaves out, and what its template is made for."""

    runs: bool
    skipped: tuple[Skipped, ...] = ()
    untold: tuple[Skipped, ...] = ()
    """Those of `skipped` that no label tells apart, so that pods are started there nevertheless."""
    learned: Learned = NOTHING_LEARNED


@dataclass(frozen=True, slots=True)
class _Obstacle:
    """Why a collector can't work on a group of nodes. `selector`: what excludes such nodes always, if anything;
    `field`: which part of status.nodeInfo says so."""

    reason: Reason
    why: str
    selector: Mapping[str, str]
    field: str = "kernelVersion"


def eligibility(ctx: Context, collector: EffectiveCollector, name: str) -> Eligibility:
    """Where a collector can work. Without a fleet fact nothing is left out."""
    if collector.type == "etcd":
        return _etcd(ctx, collector, name)
    before = learned_before(ctx.learned.get(name, ""))
    if collector.type not in NODE_COLLECTORS or ctx.fleet is None:
        return Eligibility(runs=True, learned=before)
    verdicts = [(group, _obstacle(collector.type, group)) for group in ctx.fleet.groups]
    eligible = [group for group, found in verdicts if found is None]
    unfit = [(group, found) for group, found in verdicts if found is not None]
    unlabelled = [group for group, found in unfit if not found.selector]
    excluded, by_label = excluded_labels(before, unlabelled, eligible)
    learned = Learned(
        excluded=excluded,
        memlock=collector.type == "ebpf" and (before.memlock or any(_limits_memory(group) for group in eligible)),
        platform=(before.platform or _platform(ctx.fleet)) if collector.type == "cni" else "",
    )
    selector, dropped = collector.spec.node_selector or {}, ctx.fleet.dropped_labels

    def is_chosen(group: NodeGroup) -> bool:
        return group.labels.get(opt_out(collector.type)) != "false" and matches(group, selector, dropped)

    labels = [by_label.get(index) for index in range(len(unlabelled))]
    runs = any(is_chosen(group) for group in eligible)
    skipped, untold = _skipped(name, collector.type if runs else "", unfit, labels, is_chosen)
    if not runs and not skipped:
        skipped = [Skipped(collector=name, reason=Reason.NO_ELIGIBLE_NODES, message=_nowhere(name, selector))]
    return Eligibility(runs=runs, skipped=tuple(skipped), untold=tuple(untold), learned=learned)


@dataclass(frozen=True, slots=True, order=True)
class _Kind:
    """What makes two groups one entry of status.skipped."""

    reason: Reason
    why: str
    labels: tuple[tuple[str, str], ...]
    hint: str


def _skipped(
    name: str,
    kind: str,
    unfit: Sequence[tuple[NodeGroup, _Obstacle]],
    labels: Sequence[tuple[str, str] | None],
    is_chosen: Callable[[NodeGroup], bool],
) -> tuple[list[Skipped], list[Skipped]]:
    """Entries of status.skipped, those that nothing tells apart first and besides; of many the smallest as one.

    `kind` is the node agent that is started on nodes that nothing tells apart, empty when it is started nowhere.
    """
    counts: dict[_Kind, int] = {}
    remaining = iter(labels)
    for group, found in unfit:
        pair = None if found.selector else next(remaining)
        if not is_chosen(group):
            continue
        by = tuple(sorted(found.selector.items())) or ((pair,) if pair is not None else ())
        hint = _label_command(kind, group, found.field) if kind and not by else ""
        entry = _Kind(found.reason, found.why, by, hint)
        counts[entry] = counts.get(entry, 0) + group.count
    ordered = sorted(counts.items(), key=lambda item: (bool(item[0].labels), -item[1], item[0]))
    entries: list[Skipped] = []
    untold: list[Skipped] = []
    for one, count in ordered[:MAX_SKIPPED]:
        message = f"Can't be observed: {_nodes(count)} {one.why}{one.hint}"
        labelled = dict(one.labels)
        left_out = Skipped(collector=name, reason=one.reason, message=message, nodes=count, node_selector=labelled)
        entries.append(left_out)
        untold += [left_out] if one.hint else []
    rest: dict[Reason, int] = {}
    for one, count in ordered[MAX_SKIPPED:]:
        rest[one.reason] = rest.get(one.reason, 0) + count
    for reason, count in sorted(rest.items()):
        message = f"Can't be observed: {_nodes(count)} of smaller groups, for the same reason."
        entries.append(Skipped(collector=name, reason=reason, message=message, nodes=count))
    return entries, untold


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"


def _nowhere(name: str, selector: Mapping[str, str]) -> str:
    if not selector:
        return f"Collector {name} is wanted, and this Kubernetes cluster has no node that it could run on."
    labels = ",".join(f"{key}={selector[key]}" for key in sorted(selector))
    return (
        f"Collector {name} is wanted on nodes with the labels {labels}, and no node on which it can work has them. "
        f"Look with: kubectl get nodes -l {labels}"
    )


def _label_command(kind: str, group: NodeGroup, field: str) -> str:
    """What to type when labels can't tell nodes apart: kubectl can select by what labels do not hold."""
    value = group.kernel if field == "kernelVersion" else group.os_image
    path = "{range .items[?(@.status.nodeInfo." + field + f'=="{value}"' + ')]}{.metadata.name}{"\\n"}{end}'
    return (
        " Their labels are those of nodes that can be observed, so pods are started there too. Label them: "
        f"kubectl get nodes -o jsonpath='{path}' | xargs -I NODE kubectl label node NODE {opt_out(kind)}=false"
    )


def _obstacle(kind: str, group: NodeGroup) -> _Obstacle | None:
    """Why a collector can't work on a group of nodes; None when it can."""
    if group.os != "linux":
        why = f"with {group.os}; the collector runs on Linux alone."
        return _Obstacle(Reason.NO_ELIGIBLE_NODES, why, {"kubernetes.io/os": group.os})
    if group.virtual:
        why = "without a machine of their own; their pods run elsewhere, so no agent sees their kernel."
        labels = {key: value for key, value in VIRTUAL_LABELS.items() if group.labels.get(key) == value}
        return _Obstacle(Reason.NO_ELIGIBLE_NODES, why, labels)
    if group.architecture and group.architecture not in ARCHITECTURES:
        why = f"with the architecture {group.architecture}; the collector runs on amd64 and arm64 alone."
        return _Obstacle(Reason.ARCHITECTURE_UNSUPPORTED, why, {"kubernetes.io/arch": group.architecture})
    if kind == "systemd" and any(name in group.os_image.lower() for name in _WITHOUT_SYSTEMD):
        return _Obstacle(Reason.NO_ELIGIBLE_NODES, f"with {group.os_image}, which has no systemd.", {}, "osImage")
    return _ebpf_obstacle(group) if kind == "ebpf" else None


def _ebpf_obstacle(group: NodeGroup) -> _Obstacle | None:
    denied = {BTF: "false"} if group.btf_label == "false" else {}
    kernel = _version(group.kernel)
    if kernel is not None and kernel < _KERNEL:
        why = f"with Linux {group.kernel}; eBPF collection needs 5.8 or newer."
        return _Obstacle(Reason.KERNEL_TOO_OLD, why, denied)
    if denied:
        return _Obstacle(Reason.KERNEL_TOO_OLD, f"without BTF (label {BTF}), which eBPF needs.", denied)
    if _has_btf(group, kernel):
        return None
    why = (
        f"with Linux {group.kernel or 'of an unknown version'} of {group.os_image or 'an unknown distribution'}; "
        f"whether it has BTF can't be told. Label them {BTF}=true to have them observed, or {BTF}=false."
    )
    return _Obstacle(Reason.BTF_UNKNOWN, why, {})


def _has_btf(group: NodeGroup, kernel: tuple[int, int] | None) -> bool:
    """Whether the kernel surely has BTF: the label decides, else what is known of the distribution."""
    if group.btf_label:
        return group.btf_label == "true"
    known = any(name in group.os_image.lower() for name in _BTF_DISTRIBUTIONS)
    return known and kernel is not None and kernel >= _KERNEL


def _limits_memory(group: NodeGroup) -> bool:
    kernel = _version(group.kernel)
    return kernel is None or kernel < _MEMCG_KERNEL


def _version(kernel: str) -> tuple[int, int] | None:
    found = re.match(r"(\d+)\.(\d+)", kernel)
    return None if found is None else (int(found[1]), int(found[2]))


def _platform(fleet: FleetObserved) -> str:
    """Who runs the cluster, when all nodes that tell say the same."""
    found = {group.platform for group in fleet.groups if group.platform}
    return found.pop() if len(found) == 1 else ""


def _etcd(ctx: Context, collector: EffectiveCollector, name: str) -> Eligibility:
    if collector.endpoints and collector.credentials:
        return Eligibility(runs=True)
    owner = None if ctx.fleet is None else _control_plane_owner(ctx.fleet.groups)
    if owner is not None:
        message = f"The control plane is run by the provider ({owner}), so its etcd can't be reached."
        skipped = Skipped(collector=name, reason=Reason.MANAGED_CONTROL_PLANE, message=message)
    else:
        missing = [
            field
            for field, value in (("endpoints", collector.endpoints), ("credentialsSecretRef", collector.credentials))
            if not value
        ]
        message = f"Collector {name} has no {' and no '.join(missing)}; without them it is left out."
        skipped = Skipped(collector=name, reason=Reason.ETCD_ACCESS_NOT_CONFIGURED, message=message)
    return Eligibility(runs=False, skipped=(skipped,))


def _control_plane_owner(groups: Iterable[NodeGroup]) -> str | None:
    """Whose control plane this is when it isn't the user's; None when it is, or nobody knows.

    Told by the marks of the providers, and else by what is not to be seen: no node of the control plane among nodes.
    """
    seen = [group for group in groups if group.count]
    owners = sorted({_MANAGED[group.platform] for group in seen if group.platform in _MANAGED})
    if any(group.control_plane for group in seen) or not seen:
        return None
    return owners[0] if owners else "none of its nodes is to be seen"
