"""What the Pod Security Standards refuse, in the words of the API server's own admission."""

from __future__ import annotations

import pytest

from tapio_shared.json import JsonObject, JsonValue
from tapio_simulator.pod_security import violation

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
        'forbidden AppArmor profile (container.apparmor.security.beta.kubernetes.io/main="unconfined")'
    )
