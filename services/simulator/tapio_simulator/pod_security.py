"""The Pod Security Standards `baseline` and `restricted`, with the texts of the API server's own admission.

Source: k8s.io/pod-security-admission/policy (check_*.go) and its admission messages. Windows is not considered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from tapio_shared.json import JsonObject, JsonValue, at, list_at, objects_at, str_at, strings_at

ENFORCE = "pod-security.kubernetes.io/enforce"
VERSION = "pod-security.kubernetes.io/enforce-version"

Check = Callable[[JsonObject, JsonObject], "tuple[str, str] | None"]
"""(spec, metadata) → (what is forbidden, details), or None when it is all right."""

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
_SAFE_SYSCTLS = frozenset(
    (
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
    )
)


def violation(labels: Mapping[str, str], spec: JsonObject, metadata: JsonObject) -> str:
    """Why a pod is refused in a namespace with these labels; empty when it is admitted."""
    level = labels.get(ENFORCE, "privileged")
    if level not in _LEVELS:
        return ""
    found = [problem for check in _LEVELS[level] if (problem := check(spec, metadata)) is not None]
    if not found:
        return ""
    texts = ", ".join(f"{what} ({details})" if details else what for what, details in found)
    return f'violates PodSecurity "{level}:{labels.get(VERSION, "latest")}": {texts}'


def _containers(spec: JsonObject) -> list[JsonObject]:
    return [
        container
        for group in ("initContainers", "containers", "ephemeralContainers")
        for container in objects_at(spec, group)
    ]


def _named(containers: Iterable[JsonObject]) -> str:
    names = [f'"{str_at(container, "name")}"' for container in containers]
    return f"container{'s' if len(names) > 1 else ''} {', '.join(names)}"


def _host_namespaces(spec: JsonObject, _: JsonObject) -> tuple[str, str] | None:
    used = [f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name) is True]
    return ("host namespaces", ", ".join(used)) if used else None


def _privileged(spec: JsonObject, _: JsonObject) -> tuple[str, str] | None:
    bad = [one for one in _containers(spec) if at(one, "securityContext", "privileged") is True]
    return ("privileged", f"{_named(bad)} must not set securityContext.privileged=true") if bad else None


def _added(container: JsonObject) -> list[str]:
    return [str(name) for name in list_at(container, "securityContext", "capabilities", "add")]


def _baseline_capabilities(spec: JsonObject, _: JsonObject) -> tuple[str, str] | None:
    bad = [one for one in _containers(spec) if not _BASELINE_CAPABILITIES.issuperset(_added(one))]
    if not bad:
        return None
    names = sorted({name for one in bad for name in _added(one)} - _BASELINE_CAPABILITIES)
    listed = ", ".join(f'"{name}"' for name in names)
    return "non-default capabilities", f"{_named(bad)} must not include {listed} in securityContext.capabilities.add"


def _host_paths(spec: JsonObject, _: JsonObject) -> tuple[str, str] | None:
    bad = [str_at(one, "name") for one in objects_at(spec, "volumes") if "hostPath" in one]
    if not bad:
        return None
    listed = ", ".join(f'"{name}"' for name in bad)
    return "hostPath volumes", f"volume{'s' if len(bad) > 1 else ''} {listed}"


def _host_ports(spec: JsonObject, _: JsonObject) -> tuple[str, str] | None:
    bad: list[JsonObject] = []
    numbers: list[str] = []
    for container in _containers(spec):
        used = [str(port["hostPort"]) for port in objects_at(container, "ports") if port.get("hostPort")]
        if used:
            bad.append(container)
            numbers += used
    if not bad:
        return None
    return "hostPort", f"{_named(bad)} use{'' if len(bad) > 1 else 's'} hostPort{'s' if len(numbers) > 1 else ''} " + (
        ", ".join(numbers)
    )


def _proc_mount(spec: JsonObject, _: JsonObject) -> tuple[str, str] | None:
    bad = [one for one in _containers(spec) if at(one, "securityContext", "procMount") not in (None, "Default")]
    return ("procMount", f'{_named(bad)} must not set securityContext.procMount to "Unmasked"') if bad else None


def _sysctls(spec: JsonObject, _: JsonObject) -> tuple[str, str] | None:
    bad = [str_at(one, "name") for one in objects_at(spec, "securityContext", "sysctls")]
    bad = [name for name in bad if name not in _SAFE_SYSCTLS]
    return ("forbidden sysctls", ", ".join(bad)) if bad else None


def _profile_type(holder: JsonObject) -> JsonValue:
    return at(holder, "securityContext", "seccompProfile", "type")


def _unconfined(spec: JsonObject, _: JsonObject) -> tuple[str, str] | None:
    bad = [one for one in _containers(spec) if _profile_type(one) == "Unconfined"]
    if _profile_type(spec) == "Unconfined":
        return "seccompProfile", 'pod must not set securityContext.seccompProfile.type to "Unconfined"'
    if not bad:
        return None
    return "seccompProfile", f'{_named(bad)} must not set securityContext.seccompProfile.type to "Unconfined"'


def _app_armor(spec: JsonObject, metadata: JsonObject) -> tuple[str, str] | None:
    prefix = "container.apparmor.security.beta.kubernetes.io/"
    bad = [
        f'{name}="{value}"'
        for name, value in strings_at(metadata, "annotations").items()
        if name.startswith(prefix) and value != "runtime/default" and not value.startswith("localhost/")
    ]
    return ("forbidden AppArmor profile" + ("s" if len(bad) > 1 else ""), ", ".join(bad)) if bad else None


def _escalation(spec: JsonObject, _: JsonObject) -> tuple[str, str] | None:
    bad = [one for one in _containers(spec) if at(one, "securityContext", "allowPrivilegeEscalation") is not False]
    if not bad:
        return None
    return "allowPrivilegeEscalation != false", f"{_named(bad)} must set securityContext.allowPrivilegeEscalation=false"


def _restricted_capabilities(spec: JsonObject, _: JsonObject) -> tuple[str, str] | None:
    undropped = [
        one for one in _containers(spec) if "ALL" not in list_at(one, "securityContext", "capabilities", "drop")
    ]
    adding = [one for one in _containers(spec) if not {"NET_BIND_SERVICE"}.issuperset(_added(one))]
    texts: list[str] = []
    if undropped:
        texts.append(f'{_named(undropped)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        names = sorted({name for one in adding for name in _added(one)} - {"NET_BIND_SERVICE"})
        listed = ", ".join(f'"{name}"' for name in names)
        texts.append(f"{_named(adding)} must not include {listed} in securityContext.capabilities.add")
    return ("unrestricted capabilities", "; ".join(texts)) if texts else None


def _volume_types(spec: JsonObject, _: JsonObject) -> tuple[str, str] | None:
    bad: list[str] = []
    types: dict[str, None] = {}
    for volume in objects_at(spec, "volumes"):
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


def _non_root(spec: JsonObject, _: JsonObject) -> tuple[str, str] | None:
    pod = at(spec, "securityContext", "runAsNonRoot")
    wrong = [one for one in _containers(spec) if at(one, "securityContext", "runAsNonRoot") is False]
    if pod is False:
        return "runAsNonRoot != true", "pod must not set securityContext.runAsNonRoot=false"
    if wrong:
        return "runAsNonRoot != true", f"{_named(wrong)} must not set securityContext.runAsNonRoot=false"
    unset = [one for one in _containers(spec) if at(one, "securityContext", "runAsNonRoot") is None]
    if pod is True or not unset:
        return None
    return "runAsNonRoot != true", f"pod or {_named(unset)} must set securityContext.runAsNonRoot=true"


def _root_user(spec: JsonObject, _: JsonObject) -> tuple[str, str] | None:
    bad = [one for one in _containers(spec) if at(one, "securityContext", "runAsUser") == 0]
    if at(spec, "securityContext", "runAsUser") == 0:
        return "runAsUser=0", "pod must not set runAsUser=0"
    return ("runAsUser=0", f"{_named(bad)} must not set runAsUser=0") if bad else None


def _confined(spec: JsonObject, _: JsonObject) -> tuple[str, str] | None:
    allowed = ("RuntimeDefault", "Localhost")
    wrong = [one for one in _containers(spec) if _profile_type(one) not in (None, *allowed)]
    if wrong:
        return (
            "seccompProfile",
            f'{_named(wrong)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"',
        )
    if _profile_type(spec) in allowed:
        return None
    unset = [one for one in _containers(spec) if _profile_type(one) is None]
    if not unset:
        return None
    return "seccompProfile", (
        f'pod or {_named(unset)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    )


_SHARED: tuple[Check, ...] = (
    _app_armor,
    _host_namespaces,
    _host_paths,
    _host_ports,
    _privileged,
    _proc_mount,
    _sysctls,
)
_LEVELS: Mapping[str, tuple[Check, ...]] = {
    "baseline": (*_SHARED, _baseline_capabilities, _unconfined),
    "restricted": (
        *_SHARED,
        _escalation,
        _restricted_capabilities,
        _volume_types,
        _non_root,
        _root_user,
        _confined,
    ),
}
