"""The rules of the Pod Security Standards, each a question to one pod. Source: k8s.io/pod-security-admission/policy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tapio_shared.json import JsonObject, JsonValue, at, list_at, objects_at, str_at, strings_at


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod, and the minor version of Kubernetes whose standard it is judged by."""

    spec: JsonObject
    metadata: JsonObject
    minor: int

    @property
    def containers(self) -> list[JsonObject]:
        """All containers, in the order in which they are named in answers."""
        groups = ("initContainers", "containers", "ephemeralContainers")
        return [container for group in groups for container in objects_at(self.spec, group)]

    @property
    def is_windows(self) -> bool:
        """Whether the pod says that it is for Windows, to which some rules do not apply."""
        return at(self.spec, "os", "name") == "windows"

    @property
    def has_own_users(self) -> bool:
        """Whether it runs in a user namespace, where root is nobody outside; counts since 1.35."""
        return self.minor >= 35 and self.spec.get("hostUsers") is False


Check = Callable[[Pod], "tuple[str, str] | None"]
"""Answers (what is forbidden, details), or None when it is all right."""

_BASELINE_CAPABILITIES = frozenset(
    [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ]
)
_RESTRICTED_VOLUMES = frozenset(
    ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"]
)
_SAFE_SYSCTLS: Mapping[str, int] = {
    "kernel.shm_rmid_forced": 0,
    "net.ipv4.ip_local_port_range": 0,
    "net.ipv4.ip_unprivileged_port_start": 0,
    "net.ipv4.ping_group_range": 0,
    "net.ipv4.tcp_syncookies": 0,
    "net.ipv4.ip_local_reserved_ports": 27,
    "net.ipv4.tcp_fin_timeout": 29,
    "net.ipv4.tcp_keepalive_intvl": 29,
    "net.ipv4.tcp_keepalive_probes": 29,
    "net.ipv4.tcp_keepalive_time": 29,
    "net.ipv4.tcp_rmem": 32,
    "net.ipv4.tcp_wmem": 32,
    "net.ipv4.tcp_notsent_lowat": 37,
    "net.ipv4.tcp_slow_start_after_idle": 37,
}
_SELINUX_TYPES: Mapping[str, int] = {
    "": 0,
    "container_t": 0,
    "container_init_t": 0,
    "container_kvm_t": 0,
    "container_engine_t": 31,
}
"""What is allowed, by the minor version since which it is."""
_CONFINED = ("RuntimeDefault", "Localhost")
_APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _named(containers: Sequence[JsonObject]) -> str:
    return f"{_plural('container', len(containers))} {_quoted(str_at(one, 'name') for one in containers)}"


def _context(holder: JsonObject, *path: str) -> JsonValue:
    return at(holder, "securityContext", *path)


def _setters(pod: Pod, is_bad: Callable[[JsonObject], bool]) -> str:
    """Who sets what is bad: the pod, containers, both, or (empty) nobody."""
    found = ["pod"] if is_bad(pod.spec) else []
    bad = [one for one in pod.containers if is_bad(one)]
    return " and ".join([*found, _named(bad)] if bad else found)


def host_namespaces(pod: Pod) -> tuple[str, str] | None:
    used = [f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if pod.spec.get(name) is True]
    return ("host namespaces", ", ".join(used)) if used else None


def privileged(pod: Pod) -> tuple[str, str] | None:
    bad = [one for one in pod.containers if at(one, "securityContext", "privileged") is True]
    return ("privileged", f"{_named(bad)} must not set securityContext.privileged=true") if bad else None


def _added(container: JsonObject) -> list[str]:
    return [str(name) for name in list_at(container, "securityContext", "capabilities", "add")]


def baseline_capabilities(pod: Pod) -> tuple[str, str] | None:
    bad = [one for one in pod.containers if not _BASELINE_CAPABILITIES.issuperset(_added(one))]
    if not bad:
        return None
    names = sorted({name for one in bad for name in _added(one)} - _BASELINE_CAPABILITIES)
    listed = ", ".join(f'"{name}"' for name in names)
    return "non-default capabilities", f"{_named(bad)} must not include {listed} in securityContext.capabilities.add"


def host_paths(pod: Pod) -> tuple[str, str] | None:
    bad = [str_at(one, "name") for one in objects_at(pod.spec, "volumes") if "hostPath" in one]
    if not bad:
        return None
    listed = ", ".join(f'"{name}"' for name in bad)
    return "hostPath volumes", f"volume{'s' if len(bad) > 1 else ''} {listed}"


def host_ports(pod: Pod) -> tuple[str, str] | None:
    bad: list[JsonObject] = []
    numbers: list[str] = []
    for container in pod.containers:
        used = [str(port["hostPort"]) for port in objects_at(container, "ports") if port.get("hostPort")]
        if used:
            bad.append(container)
            numbers += used
    if not bad:
        return None
    return "hostPort", f"{_named(bad)} use{'' if len(bad) > 1 else 's'} hostPort{'s' if len(numbers) > 1 else ''} " + (
        ", ".join(numbers)
    )


def proc_mount(pod: Pod) -> tuple[str, str] | None:
    return None if pod.has_own_users else unmasked_proc(pod)


def unmasked_proc(pod: Pod) -> tuple[str, str] | None:
    bad = [one for one in pod.containers if _context(one, "procMount") not in (None, "Default")]
    types = sorted({str(_context(one, "procMount")) for one in bad})
    return ("procMount", f"{_named(bad)} must not set securityContext.procMount to {_quoted(types)}") if bad else None


def probe_hosts(pod: Pod) -> tuple[str, str] | None:
    hosts = {str_at(one, "name"): _hosts(one) for one in pod.containers}
    bad = sorted(name for name, found in hosts.items() if found)
    if not bad:
        return None
    named = sorted({host for found in hosts.values() for host in found})
    return "probe or lifecycle host", (
        f"{_plural('container', len(bad))} {_quoted(bad)} use{'s' if len(bad) == 1 else ''} "
        f"{_plural('probe or lifecycle host', len(named))} {_quoted(named)}"
    )


def _hosts(container: JsonObject) -> list[str]:
    handlers = (
        ("livenessProbe",),
        ("readinessProbe",),
        ("startupProbe",),
        ("lifecycle", "postStart"),
        ("lifecycle", "preStop"),
    )
    found = [str_at(container, *path, action, "host") for path in handlers for action in ("httpGet", "tcpSocket")]
    return [host for host in found if host]


def selinux(pod: Pod) -> tuple[str, str] | None:
    types = {name for name, since in _SELINUX_TYPES.items() if since <= pod.minor}

    def option(holder: JsonObject, name: str) -> str:
        return str_at(holder, "securityContext", "seLinuxOptions", name)

    def is_bad(holder: JsonObject) -> bool:
        return option(holder, "type") not in types or bool(option(holder, "user") or option(holder, "role"))

    setters = _setters(pod, is_bad)
    if not setters:
        return None
    holders = [pod.spec, *pod.containers]
    bad_types = sorted({option(one, "type") for one in holders} - types)
    data = [f"{_plural('type', len(bad_types))} {_quoted(bad_types)}"] if bad_types else []
    data += [f"{name} may not be set" for name in ("user", "role") if any(option(one, name) for one in holders)]
    return "seLinuxOptions", f"{setters} set forbidden securityContext.seLinuxOptions: {'; '.join(data)}"


def windows_host_process(pod: Pod) -> tuple[str, str] | None:
    setters = _setters(pod, lambda holder: _context(holder, "windowsOptions", "hostProcess") is True)
    if not setters:
        return None
    return "hostProcess", f"{setters} must not set securityContext.windowsOptions.hostProcess=true"


def sysctls(pod: Pod) -> tuple[str, str] | None:
    names = [str_at(one, "name") for one in objects_at(pod.spec, "securityContext", "sysctls")]
    bad = [name for name in names if _SAFE_SYSCTLS.get(name, pod.minor + 1) > pod.minor]
    return ("forbidden sysctls", ", ".join(bad)) if bad else None


def _seccomp(holder: JsonObject) -> JsonValue:
    return _context(holder, "seccompProfile", "type")


def unconfined(pod: Pod) -> tuple[str, str] | None:
    """A seccomp profile that is named and is none of those that confine."""

    def is_bad(holder: JsonObject) -> bool:
        return _seccomp(holder) not in (None, *_CONFINED)

    setters = _setters(pod, is_bad)
    if not setters:
        return None
    types = sorted({str(_seccomp(one)) for one in (pod.spec, *pod.containers) if is_bad(one)})
    return "seccompProfile", f"{setters} must not set securityContext.seccompProfile.type to {_quoted(types)}"


def app_armor(pod: Pod) -> tuple[str, str] | None:
    def kind(holder: JsonObject) -> JsonValue:
        return _context(holder, "appArmorProfile", "type")

    def is_bad(holder: JsonObject) -> bool:
        return kind(holder) not in (None, *_CONFINED)

    annotations = [
        f'{name}="{value}"'
        for name, value in sorted(strings_at(pod.metadata, "annotations").items())
        if name.startswith(_APP_ARMOR) and value not in ("", "runtime/default") and not value.startswith("localhost/")
    ]
    who = _setters(pod, is_bad)
    setters = [*([who] if who else []), *([_plural("annotation", len(annotations))] if annotations else [])]
    if not setters:
        return None
    values = [*sorted({str(kind(one)) for one in (pod.spec, *pod.containers) if is_bad(one)}), *annotations]
    details = f"{' and '.join(setters)} must not set AppArmor profile type to {_quoted(values)}"
    return _plural("forbidden AppArmor profile", len(values)), details


def escalation(pod: Pod) -> tuple[str, str] | None:
    bad = [one for one in pod.containers if _context(one, "allowPrivilegeEscalation") is not False]
    if pod.is_windows or not bad:
        return None
    return "allowPrivilegeEscalation != false", f"{_named(bad)} must set securityContext.allowPrivilegeEscalation=false"


def restricted_capabilities(pod: Pod) -> tuple[str, str] | None:
    if pod.is_windows:
        return None
    undropped = [one for one in pod.containers if "ALL" not in list_at(one, "securityContext", "capabilities", "drop")]
    adding = [one for one in pod.containers if not {"NET_BIND_SERVICE"}.issuperset(_added(one))]
    texts: list[str] = []
    if undropped:
        texts.append(f'{_named(undropped)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        names = sorted({name for one in adding for name in _added(one)} - {"NET_BIND_SERVICE"})
        listed = ", ".join(f'"{name}"' for name in names)
        texts.append(f"{_named(adding)} must not include {listed} in securityContext.capabilities.add")
    return ("unrestricted capabilities", "; ".join(texts)) if texts else None


def volume_types(pod: Pod) -> tuple[str, str] | None:
    bad: list[str] = []
    types: dict[str, None] = {}
    for volume in objects_at(pod.spec, "volumes"):
        for kind in volume:
            if kind != "name" and kind not in _RESTRICTED_VOLUMES:
                bad.append(f'"{str_at(volume, "name")}"')
                types[f'"{kind}"'] = None
    if not bad:
        return None
    uses = "use" if len(bad) > 1 else "uses"
    volumes = f"volume{'s' if len(bad) > 1 else ''} {', '.join(bad)}"
    return "restricted volume types", (
        f"{volumes} {uses} restricted volume type{'s' if len(types) > 1 else ''} {', '.join(types)}"
    )


def non_root(pod: Pod) -> tuple[str, str] | None:
    if pod.has_own_users:
        return None
    setters = _setters(pod, lambda holder: _context(holder, "runAsNonRoot") is False)
    if setters:
        return "runAsNonRoot != true", f"{setters} must not set securityContext.runAsNonRoot=false"
    unset = [one for one in pod.containers if _context(one, "runAsNonRoot") is None]
    if _context(pod.spec, "runAsNonRoot") is True or not unset:
        return None
    return "runAsNonRoot != true", f"pod or {_named(unset)} must set securityContext.runAsNonRoot=true"


def root_user(pod: Pod) -> tuple[str, str] | None:
    setters = "" if pod.has_own_users else _setters(pod, lambda holder: _context(holder, "runAsUser") == 0)
    return ("runAsUser=0", f"{setters} must not set runAsUser=0") if setters else None


def confined(pod: Pod) -> tuple[str, str] | None:
    if pod.is_windows:
        return None
    other = unconfined(pod)
    unset = [one for one in pod.containers if _seccomp(one) is None]
    if other is not None or _seccomp(pod.spec) is not None or not unset:
        return other
    types = _quoted(_CONFINED).replace(", ", " or ")
    return "seccompProfile", f"pod or {_named(unset)} must set securityContext.seccompProfile.type to {types}"
