"""Kubernetes clusters besides the operator's own, for end-to-end tests: simulated, and told of by Secrets."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import cast

import yaml

from tapio_cli.service_accounts import service_kubeconfig
from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_log import NatsEventLog
from tapio_shared.api.labels import TARGET
from tapio_shared.codec import decode_record
from tapio_shared.facts import TargetObserved
from tapio_shared.json import JsonObject
from tapio_shared.keys import shared_subject
from tests.support.e2e_kubernetes import Kubernetes, simulated_kubernetes
from tests.support.eventually import eventually
from tests.support.operator_run import NAMESPACE, ROOT, OperatorRun


class Targets:
    """Clusters besides the operator's own, and the Secrets by which it knows them."""

    def __init__(self, operator: OperatorRun, clusters: dict[str, Kubernetes]) -> None:
        self._operator, self.clusters = operator, clusters

    async def kubeconfig(self, name: str) -> JsonObject:
        """Of the identity that deploy/target makes."""
        cluster = self.clusters[name]
        text = await service_kubeconfig(cluster.kubectl, cluster.kubeconfig, NAMESPACE, "tapio-target")
        return cast("JsonObject", yaml.safe_load(text))

    async def tell(self, name: str, kubeconfig: JsonObject | None = None) -> None:
        """Make or change the Secret of a target."""
        text = yaml.safe_dump(kubeconfig or await self.kubeconfig(name))
        secret: JsonObject = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": {TARGET: "true"}},
            "data": {"kubeconfig": base64.b64encode(text.encode()).decode()},
        }
        await self._operator.kubernetes.apply(secret, NAMESPACE)

    async def forget(self, name: str) -> None:
        await self._operator.kubernetes.kubectl.run("delete", "secret", name, "-n", NAMESPACE)
        await self.until(name, "removed")

    async def until(self, name: str, state: str) -> TargetObserved:
        """Wait until the log says so of a target."""
        connection = await NatsConnection.connect([self._operator.nats.url], name="test")
        told: list[TargetObserved] = []

        async def is_told() -> bool:
            last = await NatsEventLog(connection).last(shared_subject(0, name, "target"))
            record = None if last is None else decode_record(last.data)
            told[:] = [record] if isinstance(record, TargetObserved) and record.state == state else []
            return bool(told)

        try:
            await eventually(is_told, seconds=60)
        finally:
            await connection.close()
        return told[0]


@asynccontextmanager
async def simulated_targets(operator: OperatorRun, directory: Path, *names: str) -> AsyncGenerator[Targets]:
    """Clusters with what deploy/target makes, none of which the operator is told of yet; it forgets them at the end."""
    async with AsyncExitStack() as stack:
        clusters: dict[str, Kubernetes] = {}
        for name in names:
            cluster = clusters[name] = await stack.enter_async_context(simulated_kubernetes(directory / name))
            await cluster.kubectl.run("apply", "-f", str(ROOT / "crds" / "crds.yaml"))
            await cluster.kubectl.run("apply", "-k", str(ROOT / "deploy" / "target"))
        made = Targets(operator, clusters)
        yield made
        for name in await operator.kubernetes.names("secret", "-l", f"{TARGET}=true"):
            await made.forget(name.rpartition("/")[2])
