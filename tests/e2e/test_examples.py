"""The seed's four manifests, applied as they are, become Ready."""

from __future__ import annotations

from pathlib import Path

import pytest

from tapio_shared.json import objects_at, str_at
from tests.support.operator_run import ROOT, OperatorRun

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(
    ("file", "namespace", "name", "components"),
    [
        pytest.param(
            "quickstart",
            "tapio-system",
            "production",
            {"nats", "streams", "neo4j", "correlation", "gateway", "ebpf", "systemd", "kubernetes", "monitoring"},
            id="quickstart",
        ),
        pytest.param(
            "development",
            "default",
            "dev",
            {"nats", "streams", "neo4j", "correlation", "gateway", "kubernetes"},
            id="development",
        ),
        pytest.param(
            "production",
            "default",
            "production",
            {"nats", "streams", "neo4j", "correlation", "gateway", "ebpf", "systemd", "cni", "kubernetes"},
            id="production",
        ),
        pytest.param("edge", "default", "edge", {"nats", "streams", "graph", "kubernetes"}, id="edge"),
    ],
)
async def test_an_example_becomes_ready(
    operator: OperatorRun, file: str, namespace: str, name: str, components: set[str]
) -> None:
    kubernetes = operator.kubernetes
    path: Path = ROOT / "examples" / f"{file}.yaml"

    await kubernetes.kubectl.run("apply", "-f", str(path))
    await kubernetes.until_condition(name, "Ready", "True", namespace=namespace, seconds=90)

    document = await kubernetes.get("tapiocluster", name, namespace)
    states = {str_at(one, "name"): str_at(one, "state") for one in objects_at(document, "status", "components")}
    assert states == dict.fromkeys(components, "Ready")
    await kubernetes.kubectl.run("delete", "-f", str(path), "--timeout=60s")
