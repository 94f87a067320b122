"""What each node agent is given of its node: paths of the host, Linux capabilities, and no more.

Every path says what must be there (`type`): a path of another kind than expected holds the pod back with a sentence
of the kubelet's, where an untyped one would be made, as a directory, on the host. Nothing is created on a host's disk
but CNI's two folders: a node may get its network after its agent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tapio_reconciler.core.objects.pod import mount
from tapio_shared.json import JsonObject, JsonValue

HOST_PROC: Final = "/host/proc"
_FOLLOWS: Final = "HostToContainer"
"""What the host mounts later is seen too: file systems that are mounted on demand, network namespaces."""


@dataclass(frozen=True, slots=True)
class HostPath:
    """One path of the host, seen at `at` (the same path when empty)."""

    name: str
    path: str
    kind: str = "Directory"
    at: str = ""
    read_only: bool = True
    propagation: str = ""

    def volume(self) -> JsonObject:
        """The volume."""
        return {"name": self.name, "hostPath": {"path": self.path, "type": self.kind}}

    def mount(self) -> JsonObject:
        """Its mount."""
        return mount(self.name, self.at or self.path, read_only=self.read_only, propagation=self.propagation)


_EBPF: Final = (
    # Absent without CONFIG_DEBUG_INFO_BTF: the pod then waits with a sentence, instead of failing without one.
    HostPath("btf", "/sys/kernel/btf"),
    HostPath("bpf", "/sys/fs/bpf", read_only=False, propagation=_FOLLOWS),
    HostPath("tracing", "/sys/kernel/tracing", propagation=_FOLLOWS),
    HostPath("cgroup", "/sys/fs/cgroup"),
    # A runtime refuses a mount over /proc itself.
    HostPath("proc", "/proc", at=HOST_PROC),
)
_SYSTEMD: Final = (
    HostPath("run-systemd", "/run/systemd"),
    # The directory, not the socket in it: a bus that restarts makes a new socket, and the mounted one is dead for ever.
    HostPath("dbus", "/run/dbus", kind="DirectoryOrCreate", propagation=_FOLLOWS),
    HostPath("run-journal", "/run/log/journal", kind="DirectoryOrCreate", propagation=_FOLLOWS),
    # Not /var/log/journal: to make it would turn on a persistent journal (journald.conf, Storage=auto).
    HostPath("var-log", "/var/log", propagation=_FOLLOWS),
    HostPath("machine-id", "/etc/machine-id", kind="File"),
)
_CNI_PATHS: Final[Mapping[str, tuple[str, str]]] = {
    "": ("/etc/cni/net.d", "/opt/cni/bin"),
    "gke": ("/etc/cni/net.d", "/home/kubernetes/bin"),
    "openshift": ("/etc/kubernetes/cni/net.d", "/var/lib/cni/bin"),
    "hypershift": ("/etc/kubernetes/cni/net.d", "/var/lib/cni/bin"),
    "k3s": ("/var/lib/rancher/k3s/agent/etc/cni/net.d", "/var/lib/rancher/k3s/data/cni"),
}
"""Platform -> where its container runtime looks for CNI configurations and plug-ins; seen at the usual places."""

_LEAST: Final[Mapping[str, Sequence[str]]] = {"ebpf": ("BPF", "PERFMON"), "systemd": (), "cni": ()}
"""Reading files as their owner needs no capability: journals and CNI configurations belong to root."""
_PRIVILEGED: Final[Mapping[str, Sequence[str]]] = {
    # uprobes and perf_event_paranoid > 2; /proc of other users' processes; programs of traffic control.
    "ebpf": ("SYS_ADMIN", "SYS_PTRACE", "NET_ADMIN"),
    # Journals that belong to somebody else than root.
    "systemd": ("DAC_READ_SEARCH",),
    # Entering network namespaces (setns) and listing what is in them.
    "cni": ("NET_ADMIN", "SYS_ADMIN"),
}
_UNCONFINED: Final = frozenset({"ebpf", "systemd"})
"""A runtime's default AppArmor profile denies writing below /sys/fs/bpf and speaking on the host's bus."""
_APPARMOR_FIELD: Final = (1, 30)
"""First Kubernetes version that has a field for it; before, there is the annotation."""
_APPARMOR_ANNOTATION: Final = "container.apparmor.security.beta.kubernetes.io/"


def host_paths(kind: str, platform: str) -> tuple[HostPath, ...]:
    """The paths of the host that a node agent sees."""
    if kind == "ebpf":
        return _EBPF
    if kind == "systemd":
        return _SYSTEMD
    configurations, plugins = _CNI_PATHS.get(platform, _CNI_PATHS[""])
    return (
        HostPath("cni-config", configurations, kind="DirectoryOrCreate", at="/etc/cni/net.d"),
        HostPath("cni-bin", plugins, kind="DirectoryOrCreate", at="/opt/cni/bin"),
        HostPath("netns", "/var/run/netns", kind="DirectoryOrCreate", propagation=_FOLLOWS),
    )


def capabilities(kind: str, *, privileged: bool, raises_memlock: bool) -> list[JsonValue]:
    """What a node agent may do: `least`, what kernels before 5.11 need besides, and what `privileged` adds."""
    added: list[JsonValue] = [*_LEAST[kind]]
    if kind == "ebpf" and raises_memlock:
        added.append("SYS_RESOURCE")
    return [*added, *_PRIVILEGED[kind]] if privileged else added


def app_armor(kind: str, container: str, server: tuple[int, int]) -> tuple[dict[str, str], JsonObject]:
    """Annotations of the pod and fields of the container's security context that free it from AppArmor's defaults."""
    if kind not in _UNCONFINED:
        return {}, {}
    if server >= _APPARMOR_FIELD:
        return {}, {"appArmorProfile": {"type": "Unconfined"}}
    return {f"{_APPARMOR_ANNOTATION}{container}": "unconfined"}, {}
