"""The work that is measured: N TapioClusters, each applied as far as it goes while no pod ever becomes ready."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tapio_cli.kubectl import Kubectl
from tapio_reconciler.core.plans import Plan
from tapio_shared.adapters.kube_http import HttpKube
from tapio_shared.api.kinds import MANAGED_KINDS, RESOURCE_KINDS
from tapio_shared.api.labels import MANAGED_SELECTOR
from tapio_shared.codec import decode_as, encode
from tapio_shared.json import JsonObject, object_at, str_at
from tapio_shared.kubernetes import check, object_path
from tests.support.planned_world import World, example

NAMESPACE = "bench"
CONCURRENT = 64
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"


@dataclass(frozen=True, slots=True)
class Work:
    """What is written for one TapioCluster: by the operator, or by hand for the limit."""

    cluster: JsonObject
    plan: Plan

    @property
    def writes(self) -> int:
        """Objects, finalizer and one status."""
        return len(self.plan.decision.apply) + 2


def work_of(number: int) -> Work:
    """The work of the TapioCluster with this number: the seed's development example."""
    document = example("development")
    cluster: JsonObject = {**document, "metadata": {"name": f"c{number:04}", "namespace": NAMESPACE}}
    return Work(cluster, World.of(cluster).plan())


async def install(kubeconfig: Path) -> None:
    """What is installed before the operator: its CRDs, namespaces and roles."""
    kubectl = Kubectl(kubeconfig)
    minor = str((await kubectl.document("version")).get("serverVersion") or {})
    legacy = "'minor': '20'" in minor
    await kubectl.run("apply", "-k", "deploy/legacy" if legacy else "deploy/base")
    await kubectl.run("wait", "--for=condition=Established", "--timeout=30s", "crd/tapioclusters.tapio.io")


async def create_namespace(kube: HttpKube) -> None:
    """The namespace of all clusters."""
    body: JsonObject = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    response = await kube.request("POST", object_path("", "v1", "namespaces"), body=encode(body))
    if response.status != 409:
        check(response)


async def create_cluster(kube: HttpKube, work: Work) -> JsonObject:
    """Create the TapioCluster itself."""
    response = await kube.request(
        "POST", object_path("tapio.io", "v1alpha1", "tapioclusters", NAMESPACE), body=encode(work.cluster)
    )
    return cast("JsonObject", decode_as(dict, check(response)))


async def raw_limit(kube: HttpKube, works: list[Work]) -> float:
    """Seconds to write everything with 64 requests at a time, the operator's watches open and drained meanwhile."""
    readers = [asyncio.create_task(drain(kube, path, selector)) for path, selector in watches()]
    slots = asyncio.Semaphore(CONCURRENT)
    started = time.perf_counter()
    try:
        await asyncio.gather(*(_write_by_hand(kube, work, slots) for work in works))
        return time.perf_counter() - started
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)


async def burst(kube: HttpKube, works: list[Work]) -> float:
    """Seconds from the first creation until every TapioCluster has its status, which is written last."""
    waiting = {str_at(work.cluster, "metadata", "name") for work in works}
    started = time.perf_counter()
    creating = asyncio.gather(*(create_cluster(kube, work) for work in works))
    while waiting:  # a young API server ends watches of a new kind early
        await _see_statuses(kube, waiting)
    taken = time.perf_counter() - started
    await creating
    return taken


async def _see_statuses(kube: HttpKube, waiting: set[str]) -> None:
    """Read one watch, and take off `waiting` whoever has a status of its generation."""
    path = object_path("tapio.io", "v1alpha1", "tapioclusters", NAMESPACE)
    async with kube.watch(path, query={}) as lines:
        async for line in lines:
            document = object_at(cast("JsonObject", decode_as(dict, line)), "object")
            if object_at(document, "status").get("observedGeneration"):
                waiting.discard(str_at(document, "metadata", "name"))
            if not waiting:
                return


async def steady(kube: HttpKube, works: list[Work], *, per_second: int, seconds: int) -> list[float]:
    """Seconds from each change of a spec until the StatefulSet that follows from it was seen changed."""
    changed: dict[str, float] = {}
    latencies: list[float] = []
    total = per_second * seconds
    path = object_path("apps", "v1", "statefulsets", NAMESPACE)
    async with kube.watch(path, query={"labelSelector": MANAGED_SELECTOR}) as lines:
        changing = asyncio.create_task(_change(kube, works, changed, per_second=per_second, total=total))
        async with asyncio.timeout(seconds + 60):
            async for line in lines:
                document = object_at(cast("JsonObject", decode_as(dict, line)), "object")
                note = str_at(document, "spec", "template", "metadata", "annotations", "bench")
                since = changed.pop(note, None)
                if since is not None:
                    latencies.append(time.perf_counter() - since)
                if len(latencies) >= total:
                    break
        await changing
    return sorted(latencies)


async def _change(kube: HttpKube, works: list[Work], changed: dict[str, float], *, per_second: int, total: int) -> None:
    for number in range(total):
        name = str_at(works[number % len(works)].cluster, "metadata", "name")
        note = f"n{number}"
        body: JsonObject = {"spec": {"nats": {"podAnnotations": {"bench": note}}}}
        path = object_path("tapio.io", "v1alpha1", "tapioclusters", NAMESPACE, name)
        changed[note] = time.perf_counter()
        check(await kube.request("PATCH", path, body=encode(body), content_type=MERGE))
        await asyncio.sleep(1 / per_second)


async def _write_by_hand(kube: HttpKube, work: Work, slots: asyncio.Semaphore) -> None:
    """The operator's writes for one cluster, in its order, without deciding anything."""
    async with slots:
        made = await create_cluster(kube, work)
    name = str_at(made, "metadata", "name")
    path = object_path("tapio.io", "v1alpha1", "tapioclusters", NAMESPACE, name)

    async def write(method: str, where: str, body: JsonObject, kind: str, query: dict[str, str]) -> None:
        async with slots:
            check(await kube.request(method, where, query=query, body=encode(body), content_type=kind))

    own = {"fieldManager": "bench", "force": "true"}
    await write("PATCH", path, {"metadata": {"finalizers": ["tapio.io/bench"]}}, MERGE, {})
    for phase in sorted({action.phase for action in work.plan.decision.apply}):
        pending: list[Coroutine[None, None, None]] = []
        for action in work.plan.decision.apply:
            if action.phase != phase:
                continue
            where = object_path(action.group, action.version, action.plural, action.namespace, action.name)
            key = f"{action.kind}{'.' + action.group if action.group else ''} "
            key += f"{action.namespace}/{action.name}" if action.namespace else action.name
            manifest = work.plan.manifests.get(key) or work.plan.generated[key].manifest
            pending.append(write("PATCH", where, owned_by(manifest, made), APPLY, own))
        await asyncio.gather(*pending)
    status: JsonObject = {"status": work.plan.decision.status}
    await write("PATCH", f"{path}/status", status, MERGE, {})


def owned_by(manifest: JsonObject, cluster: JsonObject) -> JsonObject:
    """`manifest` with `cluster` as its controller, where it has one."""
    metadata = dict(object_at(manifest, "metadata"))
    if "ownerReferences" in metadata:
        owner: JsonObject = {
            "apiVersion": "tapio.io/v1alpha1",
            "kind": "TapioCluster",
            "name": str_at(cluster, "metadata", "name"),
            "uid": str_at(cluster, "metadata", "uid"),
            "controller": True,
        }
        metadata["ownerReferences"] = [owner]
    return {**manifest, "metadata": metadata}


def watches() -> Iterable[tuple[str, str]]:
    """The operator's own watches, of kinds that every server has."""
    optional = ("monitoring.coreos.com", "gateway.networking.k8s.io", "autoscaling.k8s.io", "autoscaling", "policy")
    for kind in RESOURCE_KINDS:
        yield object_path(kind.group, kind.versions[0], kind.plural), ""
    for kind in MANAGED_KINDS:
        if kind.group not in optional:
            yield object_path(kind.group, kind.versions[0], kind.plural), MANAGED_SELECTOR


async def drain(kube: HttpKube, path: str, selector: str) -> None:
    """Read a watch and keep nothing of it, until cancelled or until the API server ends it."""
    query = {"labelSelector": selector} if selector else {}
    async with kube.watch(path, query=query) as lines:
        async for _ in lines:
            pass
