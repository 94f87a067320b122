"""Every pod passes the Pod Security Standard it is promised at; docs/pod-security.md lists those that exceed it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given

from tapio_shared.api.budget import BudgetTooSmall
from tapio_shared.api.names import NODE_NAMESPACE
from tapio_shared.json import JsonObject, at, list_at, object_at, objects_at, str_at
from tapio_simulator.pod_security import violations
from tests.support.planned_world import example
from tests.support.random_specs import cluster, quick, specs
from tests.support.rendered import objects_of, rendered
from tests.unit.objects.golden import EXAMPLES

DOCUMENT = Path(__file__).parents[3] / "docs" / "pod-security.md"
VERSIONS = ("v1.25", "latest")
USES_A_TOKEN = frozenset({"tapio-kubernetes"})


def templates(objects: Sequence[JsonObject]) -> list[tuple[JsonObject, JsonObject]]:
    """Every workload with its pod template, Jobs and CronJobs included."""
    found: list[tuple[JsonObject, JsonObject]] = []
    for one in objects:
        path = ("spec", "jobTemplate", "spec", "template") if str_at(one, "kind") == "CronJob" else ("spec", "template")
        template = object_at(one, *path)
        if objects_at(template, "spec", "containers"):
            found.append((one, template))
    return found


def exceeded(template: JsonObject, version: str) -> frozenset[str]:
    """The rules of `restricted` that a pod breaks."""
    found = violations("restricted", version, object_at(template, "spec"), object_at(template, "metadata"))
    return frozenset(one.rule for one in found)


def documented() -> dict[tuple[str, str], frozenset[str]]:
    """What the document says that node agents exceed: (type, capabilities) -> rules."""
    rows = re.findall(r"^\| (ebpf|systemd|cni) \| (least|privileged) \| (.+?) \|", DOCUMENT.read_text(), re.MULTILINE)
    return {(kind, level): frozenset(re.findall(r"`(\w+)`", rules)) for kind, level, rules in rows}


DOCUMENTED = documented()


def check(document: JsonObject) -> None:
    """Restricted outside the node agents' namespace; in it, what the document lists; hardened everywhere."""
    capabilities = str_at(document, "spec", "nodeAgents", "capabilities", default="least")
    for workload, template in templates(objects_of(rendered(document))):
        app = str_at(template, "metadata", "labels", "app.kubernetes.io/name")
        node = str_at(workload, "metadata", "namespace") == NODE_NAMESPACE
        for version in VERSIONS:
            expected = DOCUMENTED[app.removeprefix("tapio-"), capabilities] if node else frozenset[str]()
            assert exceeded(template, version) == expected, (str_at(workload, "metadata", "name"), version)
        check_hardening(template, uses_token=app in USES_A_TOKEN)


def check_hardening(template: JsonObject, *, uses_token: bool) -> None:
    """What the standards leave open: seccomp, privilege and read-only root even of node agents, tokens, variables."""
    pod = object_at(template, "spec")
    assert str_at(pod, "securityContext", "seccompProfile", "type") == "RuntimeDefault"
    assert at(pod, "automountServiceAccountToken") is uses_token
    assert at(pod, "enableServiceLinks") is False
    assert str_at(pod, "serviceAccountName")
    for container in [*objects_at(pod, "initContainers"), *objects_at(pod, "containers")]:
        assert at(container, "securityContext", "privileged") in (None, False)
        assert at(container, "securityContext", "allowPrivilegeEscalation") is False
        assert at(container, "securityContext", "readOnlyRootFilesystem") is True
        assert list_at(container, "securityContext", "capabilities", "drop") == ["ALL"]


@pytest.mark.parametrize("capabilities", ["least", "privileged"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_every_pod_of_an_example_is_at_its_level(name: str, capabilities: str) -> None:
    document = example(name)
    object_at(document, "spec")["nodeAgents"] = {"capabilities": capabilities}
    check(document)


@quick
@given(specs())
def test_every_pod_of_any_spec_is_at_its_level(spec: JsonObject) -> None:
    try:
        check(cluster(spec))
    except BudgetTooSmall:
        return
