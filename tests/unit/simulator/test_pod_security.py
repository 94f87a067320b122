"""What the Pod Security Standards refuse, in the words of the API server's own admission."""

from __future__ import annotations

import pytest

from tapio_shared.json import JsonObject, JsonValue
from tapio_simulator.pod_security import violation, violations

SAFE: JsonObject = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def _spec(
    context: JsonObject | None = None, *, ports: list[JsonValue] | None = None, **fields: JsonValue
) -> JsonObject:
    container: JsonObject = {"name": "main", "securityContext": SAFE if context is None else context}
    if ports:
        container["ports"] = ports
    return {"containers": [container], **fields}


def _why(level: str, spec: JsonObject, annotations: JsonObject | None = None) -> str:
    """What follows `violates PodSecurity "<level>:latest": `; empty when the pod is admitted."""
    labels = {"pod-security.kubernetes.io/enforce": level}
    text = violation(labels, spec, {"annotations": annotations or {}})
    prefix = f'violates PodSecurity "{level}:latest": '
    assert not text or text.startswith(prefix)
    return text.removeprefix(prefix)


BASELINE = [
    pytest.param(_spec(), "", id="a restricted pod"),
    pytest.param({"containers": [{"name": "main"}]}, "", id="a pod that says nothing"),
    pytest.param(_spec(hostNetwork=True), "host namespaces (hostNetwork=true)", id="host network"),
    pytest.param(
        _spec(hostNetwork=True, hostPID=True), "host namespaces (hostNetwork=true, hostPID=true)", id="two namespaces"
    ),
    pytest.param(
        _spec({**SAFE, "privileged": True}),
        'privileged (container "main" must not set securityContext.privileged=true)',
        id="privileged",
    ),
    pytest.param(
        _spec({**SAFE, "capabilities": {"add": ["SYS_ADMIN", "BPF", "CHOWN"]}}),
        'non-default capabilities (container "main" must not include "BPF", "SYS_ADMIN" in '
        "securityContext.capabilities.add)",
        id="capabilities outside the default",
    ),
    pytest.param(
        _spec(volumes=[{"name": "sys", "hostPath": {"path": "/sys"}}, {"name": "data", "emptyDir": {}}]),
        'hostPath volumes (volume "sys")',
        id="a volume of the host",
    ),
    pytest.param(
        _spec(ports=[{"containerPort": 80, "hostPort": 80}]),
        'hostPort (container "main" uses hostPort 80)',
        id="a port of the host",
    ),
    pytest.param(
        _spec(securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}),
        "forbidden sysctls (kernel.msgmax)",
        id="an unsafe sysctl",
    ),
    pytest.param(
        _spec(securityContext={"seccompProfile": {"type": "Unconfined"}}),
        'seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")',
        id="unconfined",
    ),
    pytest.param(
        _spec({**SAFE, "procMount": "Unmasked"}),
        'procMount (container "main" must not set securityContext.procMount to "Unmasked")',
        id="unmasked proc",
    ),
]


@pytest.mark.parametrize(("spec", "why"), BASELINE)
def test_baseline(spec: JsonObject, why: str) -> None:
    assert _why("baseline", spec) == why


@pytest.mark.parametrize("spec", [pytest.param(row.values[0], id=str(row.id)) for row in BASELINE])
def test_privileged_admits_everything(spec: JsonObject) -> None:
    assert _why("privileged", spec) == ""
    assert violation({}, spec, {}) == ""


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        pytest.param(_spec(), "", id="a restricted pod"),
        pytest.param(
            {"containers": [{"name": "main"}]},
            'allowPrivilegeEscalation != false (container "main" must set '
            'securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container "main" must set '
            'securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or container "main" must set '
            'securityContext.runAsNonRoot=true), seccompProfile (pod or container "main" must set '
            'securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")',
            id="a pod that says nothing",
        ),
        pytest.param(
            _spec(
                {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                securityContext={"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            ),
            "",
            id="what may be said for the whole pod",
        ),
        pytest.param(
            _spec({**SAFE, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}),
            "",
            id="the one capability that may be added",
        ),
        pytest.param(
            _spec({**SAFE, "capabilities": {"drop": ["ALL"], "add": ["CHOWN"]}}),
            'unrestricted capabilities (container "main" must not include "CHOWN" in securityContext.capabilities.add)',
            id="a capability that baseline allows",
        ),
        pytest.param(
            _spec({**SAFE, "runAsNonRoot": False}),
            'runAsNonRoot != true (container "main" must not set securityContext.runAsNonRoot=false)',
            id="root allowed",
        ),
        pytest.param(
            _spec({**SAFE, "runAsUser": 0}), 'runAsUser=0 (container "main" must not set runAsUser=0)', id="root"
        ),
        pytest.param(
            _spec(volumes=[{"name": "a", "nfs": {}}, {"name": "b", "secret": {}}]),
            'restricted volume types (volume "a" uses restricted volume type "nfs")',
            id="a volume type that is not listed",
        ),
        pytest.param(
            {"containers": [{"name": "a", "securityContext": SAFE}], "initContainers": [{"name": "b"}]},
            'allowPrivilegeEscalation != false (container "b" must set '
            'securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container "b" must set '
            'securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or container "b" must set '
            'securityContext.runAsNonRoot=true), seccompProfile (pod or container "b" must set '
            'securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")',
            id="init containers count too",
        ),
    ],
)
def test_restricted(spec: JsonObject, why: str) -> None:
    assert _why("restricted", spec) == why


def test_the_enforced_version_is_named() -> None:
    labels = {
        "pod-security.kubernetes.io/enforce": "baseline",
        "pod-security.kubernetes.io/enforce-version": "v1.25",
    }
    assert violation(labels, _spec(hostIPC=True), {}) == (
        'violates PodSecurity "baseline:v1.25": host namespaces (hostIPC=true)'
    )


def test_an_app_armor_annotation() -> None:
    annotations: JsonObject = {"container.apparmor.security.beta.kubernetes.io/main": "unconfined"}
    assert _why("baseline", _spec(), annotations) == (
        "forbidden AppArmor profile (annotation must not set AppArmor profile type to "
        '"container.apparmor.security.beta.kubernetes.io/main="unconfined"")'
    )


def _other(spec: JsonObject, **fields: JsonValue) -> JsonObject:
    return {**spec, "securityContext": {**fields}}


PROBED = _spec()
PROBED["containers"] = [
    {"name": "main", "securityContext": SAFE, "livenessProbe": {"httpGet": {"host": "169.254.169.254", "port": 80}}},
    {"name": "more", "securityContext": SAFE, "lifecycle": {"preStop": {"tcpSocket": {"host": "10.0.0.1", "port": 1}}}},
]
ROOT_OF_ITS_OWN: JsonObject = {
    "hostUsers": False,
    "containers": [{"name": "main", "securityContext": {**SAFE, "runAsNonRoot": False, "runAsUser": 0}}],
}
UNMASKED: JsonObject = {
    "hostUsers": False,
    "containers": [{"name": "main", "securityContext": {**SAFE, "procMount": "Unmasked"}}],
}
WINDOWS: JsonObject = {
    "os": {"name": "windows"},
    "securityContext": {"runAsNonRoot": True},
    "containers": [{"name": "main"}],
}


@pytest.mark.parametrize(
    ("level", "spec", "before", "since", "broken"),
    [
        pytest.param("baseline", PROBED, "v1.33", "v1.34", {"hostProbesAndHostLifecycle"}, id="hosts of probes"),
        pytest.param("restricted", UNMASKED, "v1.34", "v1.35", {"procMount_restricted"}, id="unmasked proc"),
    ],
)
def test_a_rule_holds_since_its_version(
    level: str, spec: JsonObject, before: str, since: str, broken: set[str]
) -> None:
    assert broken.isdisjoint(one.rule for one in violations(level, before, spec, {}))
    assert {one.rule for one in violations(level, since, spec, {})} == broken
    assert {one.rule for one in violations(level, "latest", spec, {})} == broken


@pytest.mark.parametrize(
    ("level", "spec", "before", "since", "broken"),
    [
        pytest.param(
            "baseline",
            _other(_spec(), sysctls=[{"name": "net.ipv4.ip_local_reserved_ports", "value": "1"}]),
            "v1.26", "v1.27", {"sysctls"}, id="reserved ports",
        ),
        pytest.param(
            "baseline",
            _other(_spec(), sysctls=[{"name": "net.ipv4.tcp_keepalive_time", "value": "1"}]),
            "v1.28", "v1.29", {"sysctls"}, id="keep-alive",
        ),
        pytest.param(
            "baseline",
            _other(_spec(), sysctls=[{"name": "net.ipv4.tcp_rmem", "value": "1"}]),
            "v1.31", "v1.32", {"sysctls"}, id="buffers",
        ),
        pytest.param(
            "baseline",
            _other(_spec(), sysctls=[{"name": "net.ipv4.tcp_notsent_lowat", "value": "1"}]),
            "v1.36", "v1.37", {"sysctls"}, id="unsent bytes",
        ),
        pytest.param(
            "baseline", _other(_spec(), seLinuxOptions={"type": "container_engine_t"}),
            "v1.30", "v1.31", {"seLinuxOptions"}, id="the engine's SELinux type",
        ),
        pytest.param("baseline", UNMASKED, "v1.34", "v1.35", {"procMount"}, id="proc of a user namespace"),
        pytest.param(
            "restricted", ROOT_OF_ITS_OWN, "v1.34", "v1.35", {"runAsNonRoot", "runAsUser"},
            id="root of a user namespace",
        ),
    ],
)  # fmt: skip
def test_what_is_forbidden_until_a_version(
    level: str, spec: JsonObject, before: str, since: str, broken: set[str]
) -> None:
    assert {one.rule for one in violations(level, before, spec, {})} == broken
    assert violations(level, since, spec, {}) == []
    assert violations(level, "latest", spec, {}) == []


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        pytest.param(
            PROBED,
            'probe or lifecycle host (containers "main", "more" use probe or lifecycle hosts "10.0.0.1", '
            '"169.254.169.254")',
            id="hosts of probes and handlers",
        ),
        pytest.param(
            _other(_spec({**SAFE, "seLinuxOptions": {"type": "spc_t"}}), seLinuxOptions={"user": "root"}),
            'seLinuxOptions (pod and container "main" set forbidden securityContext.seLinuxOptions: type "spc_t"; '
            "user may not be set)",
            id="SELinux of pod and container",
        ),
        pytest.param(
            _other(_spec(), windowsOptions={"hostProcess": True}),
            "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
            id="a process of a Windows host",
        ),
        pytest.param(
            _spec({**SAFE, "appArmorProfile": {"type": "Unconfined"}}),
            'forbidden AppArmor profile (container "main" must not set AppArmor profile type to "Unconfined")',
            id="AppArmor switched off by field",
        ),
        pytest.param(
            _spec({**SAFE, "appArmorProfile": {"type": "Localhost"}}), "", id="an AppArmor profile of the node"
        ),
    ],
)
def test_baseline_of_newer_fields(spec: JsonObject, why: str) -> None:
    assert _why("baseline", spec) == why


def test_windows_pods_are_spared_what_windows_does_not_have() -> None:
    assert violations("restricted", "latest", WINDOWS, {}) == []
