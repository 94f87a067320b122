"""Which collectors can work on this fleet, from Node facts, and why the others can't."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tapio_reconciler.core.model import Skipped
from tapio_reconciler.core.objects.context import Context
from tapio_shared.api.effective import NODE_COLLECTORS, EffectiveCollector
from tapio_shared.api.reasons import Reason
from tapio_shared.facts import FleetObserved, NodeGroup

_KERNEL = (5, 8)
"""The ring buffer of eBPF."""
_ARCHITECTURES = frozenset({"amd64", "arm64"})
_BTF_KERNEL = (5, 8)
_BTF_DISTRIBUTIONS = (
    "ubuntu", "debian", "fedora", "red hat", "centos", "rocky", "alma", "amazon linux", "bottlerocket", "talos",
    "flatcar", "container-optimized", "suse", "photon", "azure linux", "mariner", "nixos", "arch",
)  # fmt: skip
"""Distributions whose kernels of 5.8 and newer are built with CONFIG_DEBUG_INFO_BTF."""


@dataclass(frozen=True, slots=True)
class Eligibility:
    """Whether a collector runs at all, and the nodes it leaves out."""

    runs: bool
    skipped: tuple[Skipped, ...] = ()


def eligibility(ctx: Context, collector: EffectiveCollector, name: str) -> Eligibility:
    """Where a collector can work. Without a fleet fact nothing is left out."""
    if collector.type == "etcd":
        return _etcd(ctx, collector, name)
    if collector.type not in NODE_COLLECTORS or ctx.fleet is None:
        return Eligibility(runs=True)
    reasons: dict[tuple[Reason, str], int] = {}
    eligible = 0
    for group in ctx.fleet.groups:
        found = _obstacle(collector, group)
        if found is None:
            eligible += group.count
        else:
            reasons[found] = reasons.get(found, 0) + group.count
    skipped = tuple(
        Skipped(collector=name, reason=reason, message=message, nodes=count)
        for (reason, message), count in sorted(reasons.items())
    )
    if eligible == 0 and not skipped:
        message = f"Collector {name} is wanted, and this Kubernetes cluster has no node that it could run on."
        skipped = (Skipped(collector=name, reason=Reason.NO_ELIGIBLE_NODES, message=message),)
    return Eligibility(runs=eligible > 0, skipped=skipped)


def _obstacle(collector: EffectiveCollector, group: NodeGroup) -> tuple[Reason, str] | None:
    """Why a collector can't work on a group of nodes; None when it can."""
    selector = collector.spec.node_selector or {}
    if group.os != "linux" or group.virtual:
        return Reason.NO_ELIGIBLE_NODES, f"{group.count} nodes are no Linux machines, so no agent can run on them."
    if any(group.labels.get(key, value) != value for key, value in selector.items()):
        return Reason.NO_ELIGIBLE_NODES, f"{group.count} nodes do not match the collector's nodeSelector."
    if group.architecture and group.architecture not in _ARCHITECTURES:
        return (
            Reason.ARCHITECTURE_UNSUPPORTED,
            f"{group.count} nodes are {group.architecture}; the collector runs on amd64 and arm64 alone.",
        )
    if collector.type != "ebpf":
        return None
    kernel = _version(group.kernel)
    if kernel is not None and kernel < _KERNEL:
        return (
            Reason.KERNEL_TOO_OLD,
            f"{group.count} nodes run Linux {group.kernel}; eBPF collection needs 5.8 or newer.",
        )
    if _has_btf(group) is None:
        return (
            Reason.BTF_UNKNOWN,
            f"Whether the kernel of {group.count} nodes ({group.os_image or 'unknown'}) has BTF can't be told; "
            'label them tapio.io/btf: "true" to have them observed, or "false".',
        )
    if _has_btf(group) is False:
        return Reason.KERNEL_TOO_OLD, f"{group.count} nodes have no BTF (label tapio.io/btf), which eBPF needs."
    return None


def _has_btf(group: NodeGroup) -> bool | None:
    """Whether the kernel has BTF: the label decides, else what is known of the distribution, else nobody knows."""
    if group.btf_label:
        return group.btf_label == "true"
    kernel = _version(group.kernel)
    known = any(name in group.os_image.lower() for name in _BTF_DISTRIBUTIONS)
    return True if known and kernel is not None and kernel >= _BTF_KERNEL else None


def _version(kernel: str) -> tuple[int, int] | None:
    found = re.match(r"(\d+)\.(\d+)", kernel)
    return None if found is None else (int(found[1]), int(found[2]))


def _etcd(ctx: Context, collector: EffectiveCollector, name: str) -> Eligibility:
    if collector.endpoints and collector.credentials:
        return Eligibility(runs=True)
    managed = ctx.fleet is not None and _is_managed(ctx.fleet)
    reason = Reason.MANAGED_CONTROL_PLANE if managed else Reason.ETCD_ACCESS_NOT_CONFIGURED
    message = (
        "The control plane is run by the provider, so its etcd can't be reached."
        if managed
        else "The etcd collector needs endpoints and credentialsSecretRef; without them it is left out."
    )
    return Eligibility(runs=False, skipped=(Skipped(collector=name, reason=reason, message=message),))


def _is_managed(fleet: FleetObserved) -> bool:
    """No node of the control plane is to be seen, although there are nodes."""
    return bool(fleet.groups) and not any(group.control_plane for group in fleet.groups)
