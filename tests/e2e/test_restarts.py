"""Everything that a TapioCluster can be is left as it is when all services start again: not one write but leases.

What counts as a write is asked of the simulator's write log or of the API server's audit log, never of the operator.
"""

from __future__ import annotations

import pytest

from tapio_shared.json import JsonObject, int_at, objects_at
from tests.support.e2e_kubernetes import Kubernetes
from tests.support.e2e_objects import small_cluster
from tests.support.operator_run import ROOT, WEBHOOK, OperatorRun

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(280)]
_EXAMPLES = {"quickstart": "production", "development": "dev", "production": "production", "edge": "edge"}
"""File -> name of its TapioCluster."""
_HOME = "tapio-system"
"""The namespace that quickstart.yaml names."""
_HOLD = "tests.tapio.io/hold"


async def test_a_restart_writes_nothing_to_whatever_a_cluster_is(operator: OperatorRun, namespace: str) -> None:
    kubernetes = operator.kubernetes
    try:
        await _examples(kubernetes, namespace)
        await _standalone(kubernetes, namespace)
        await _invalid(operator, namespace)
        await _conflicting(kubernetes, namespace)
        await _broken(kubernetes, namespace)
        await _paused(kubernetes, namespace)
        await _deleting(kubernetes, namespace)
        await operator.settled()
        position = await kubernetes.witness.position()

        await operator.restart_all()
        # The probe is planned and Ready: the operator works again, and everything known was planned before that.
        await kubernetes.apply(small_cluster("probe"), namespace)
        await kubernetes.until_condition("probe", "Ready", "True", namespace=namespace)
        await operator.settled()

        assert [one for one in await kubernetes.operator_writes(position) if "probe" not in one.name] == []
    finally:
        await _let_go(kubernetes, namespace)


async def _examples(kubernetes: Kubernetes, namespace: str) -> None:
    """All four at once: what names no namespace goes into the test's own."""
    for file in _EXAMPLES:
        where = _HOME if file == "quickstart" else namespace
        await kubernetes.kubectl.run("apply", "-n", where, "-f", str(ROOT / "examples" / f"{file}.yaml"))
    for file, name in _EXAMPLES.items():
        where = _HOME if file == "quickstart" else namespace
        await kubernetes.until_condition(name, "Ready", "True", namespace=where, seconds=120)
    await kubernetes.until(lambda: _are_scaled(kubernetes), seconds=60)


async def _are_scaled(kubernetes: Kubernetes) -> bool:
    """Whether every autoscaler has raised its Deployment to the minimum; the real one looks every 15 seconds."""
    found = await kubernetes.kubectl.document("get", "horizontalpodautoscalers", "--all-namespaces")
    return all(
        int_at(one, "status", "currentReplicas") >= int_at(one, "spec", "minReplicas")
        for one in objects_at(found, "items")
    )


async def _standalone(kubernetes: Kubernetes, namespace: str) -> None:
    """Parts that are resources of their own: of a cluster, beside its own (Superseded), of no cluster."""
    await kubernetes.apply(small_cluster("split"), namespace)
    await kubernetes.apply(small_cluster("whole", intelligence={"embedded": True}), namespace)
    parts: list[tuple[str, str, str, JsonObject]] = [
        ("TapioCollector", "split-ebpf", "split", {"type": "ebpf"}),
        ("TapioCollector", "orphan-ebpf", "nobody", {"type": "ebpf"}),
        ("TapioIntelligence", "split", "split", {"embedded": True}),
        ("TapioIntelligence", "whole", "whole", {"embedded": True}),
    ]
    for kind, name, cluster, spec in parts:
        document: JsonObject = {"apiVersion": "tapio.io/v1alpha1", "kind": kind, "metadata": {"name": name}}
        await kubernetes.apply({**document, "spec": {"clusterRef": {"name": cluster}, **spec}}, namespace)
    await kubernetes.until_condition("split", "Ready", "True", namespace=namespace)
    for kind, name, condition in (
        ("tapiocollector", "split-ebpf", "Ready=True"),
        ("tapiocollector", "orphan-ebpf", "Stalled=True"),
        ("tapiointelligence", "split", "Ready=True"),
        ("tapiointelligence", "whole", "Stalled=True"),
    ):
        await kubernetes.kubectl.run(
            "wait", f"--for=condition={condition}", f"{kind}/{name}", "-n", namespace, "--timeout=60s"
        )


async def _invalid(operator: OperatorRun, namespace: str) -> None:
    """A spec that came past the webhook."""
    wrong = small_cluster("invalid", collectors={"kubernetes": True, "ebpf": "false"})
    await operator[WEBHOOK].stop()
    try:
        await operator.kubernetes.apply(wrong, namespace)
        await operator.kubernetes.until_condition(
            "invalid", "Stalled", "True", reason="InvalidSpec", namespace=namespace
        )
    finally:
        await operator[WEBHOOK].start()
        await operator[WEBHOOK].until_ready()


async def _conflicting(kubernetes: Kubernetes, namespace: str) -> None:
    """A name that is somebody else's."""
    await kubernetes.kubectl.run("create", "configmap", "conflict-nats-config", "-n", namespace)
    await kubernetes.apply(small_cluster("conflict"), namespace)
    await kubernetes.until_condition("conflict", "Stalled", "True", reason="ObjectConflict", namespace=namespace)


async def _broken(kubernetes: Kubernetes, namespace: str) -> None:
    """A component that fails, and others that wait for it."""
    nats: JsonObject = {"image": "docker.io/library/nats:does-not-exist"}
    await kubernetes.apply(small_cluster("broken", nats=nats), namespace)
    await kubernetes.until_condition("broken", "Ready", "False", reason="ImagePullFailed", namespace=namespace)


async def _paused(kubernetes: Kubernetes, namespace: str) -> None:
    """Drifted while it is paused, so that there is something to be left alone."""
    await kubernetes.apply(small_cluster("paused"), namespace)
    await kubernetes.until_condition("paused", "Ready", "True", namespace=namespace)
    await kubernetes.kubectl.run("annotate", "tpc", "paused", "-n", namespace, "tapio.io/paused=true")
    await kubernetes.until_condition("paused", "Paused", "True", namespace=namespace)
    await kubernetes.kubectl.run("delete", "service", "paused-nats", "-n", namespace)


async def _deleting(kubernetes: Kubernetes, namespace: str) -> None:
    """A deletion that somebody else's finalizer holds up."""
    await kubernetes.apply(small_cluster("deleting"), namespace)
    await kubernetes.until_condition("deleting", "Ready", "True", namespace=namespace)
    await _finalizers(kubernetes, namespace, f'["{_HOLD}"]')
    await kubernetes.kubectl.run("delete", "tpc", "deleting", "-n", namespace, "--wait=false")

    async def only_that_is_left() -> bool:
        _, reason, message = await kubernetes.condition("deleting", "Ready", namespace)
        return reason == "Terminating" and message.startswith("1 objects are still there")

    await kubernetes.until(only_that_is_left)


async def _let_go(kubernetes: Kubernetes, namespace: str) -> None:
    """What would hold up the end of the namespace, or stay elsewhere."""
    if await kubernetes.get("configmap", "deleting-nats-config", namespace) is not None:
        await _finalizers(kubernetes, namespace, "null")
    if await kubernetes.get("tapiocluster", "paused", namespace) is not None:
        await kubernetes.kubectl.run("annotate", "tpc", "paused", "-n", namespace, "tapio.io/paused-")
    quickstart = str(ROOT / "examples" / "quickstart.yaml")
    await kubernetes.kubectl.run("delete", "-f", quickstart, "--ignore-not-found", "--timeout=60s")


async def _finalizers(kubernetes: Kubernetes, namespace: str, value: str) -> None:
    patch = f'{{"metadata": {{"finalizers": {value}}}}}'
    name = "deleting-nats-config"
    await kubernetes.kubectl.run("patch", "configmap", name, "-n", namespace, "--type=merge", "-p", patch)
