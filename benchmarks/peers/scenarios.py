"""What is asked of each subject, and how it is seen from outside: through the API server alone, and /proc."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import cast

from benchmarks.peers.children import Child, Rendered
from benchmarks.work import APPLY, CONCURRENT, MERGE, NAMESPACE, drain, owned_by, watches
from tapio_shared.adapters.kube_http import HttpKube
from tapio_shared.api.labels import COMPONENT, MANAGED_SELECTOR
from tapio_shared.api.operator_config import CONFIG_MAP
from tapio_shared.codec import decode_as, encode
from tapio_shared.json import JsonObject, int_at, list_at, object_at, str_at
from tapio_shared.kubernetes import check, object_path

CLUSTERS = object_path("tapio.io", "v1alpha1", "tapioclusters", NAMESPACE)
_SETS = object_path("apps", "v1", "statefulsets", NAMESPACE)
_DRIFTED = "drifted"
_LIMIT = 600.0
"""Seconds after which a scenario is given up."""

Written = Callable[[], Awaitable[int]]
"""How many writes the API server has taken so far, Leases and Events left out."""


def written_by(kube: HttpKube, kind: str) -> Written:
    """Counts writes: by the simulator's own log, or by the metrics of a kube-apiserver."""

    since = total = 0

    async def of_the_simulator() -> int:
        nonlocal since, total
        answer = await kube.request("GET", "/debug/writes", query={"since": str(since)})
        told = cast("JsonObject", decode_as(dict, check(answer)))
        since = int_at(told, "total")
        total += sum(
            1
            for write in list_at(told, "writes")
            if str_at(write, "resource") not in ("leases.coordination.k8s.io", "events")
        )
        return total

    async def of_a_server() -> int:
        text = check(await kube.request("GET", "/metrics", accept="text/plain")).decode()
        return sum(
            int(float(line.rpartition(" ")[2]))
            for line in text.splitlines()
            if line.startswith("apiserver_request_total{") and _is_write(line)
        )

    return of_the_simulator if kind == "simulator" else of_a_server


def _is_write(line: str) -> bool:
    """Whether a sample counts writes of what is measured; what the control plane itself writes is of other kinds."""
    resources = ("tapioclusters", *{kind.rpartition("/")[2] for kind, _ in watches()}, "secrets")
    verbs = ("POST", "PUT", "PATCH", "APPLY", "DELETE")
    return any(f'resource="{one}"' in line for one in resources) and any(f'verb="{one}"' in line for one in verbs)


async def rest(written: Written, *, quiet: float = 2.0) -> int:
    """Wait until nothing was written for `quiet` seconds; answers what was written so far."""
    known, since = await written(), time.perf_counter()
    async with asyncio.timeout(_LIMIT):
        while time.perf_counter() - since < quiet:
            await asyncio.sleep(0.25)
            now = await written()
            if now != known:
                known, since = now, time.perf_counter()
    return known


async def bound_requests(kube: HttpKube, requests: int) -> None:
    """Let each process of the operator have so many requests under way at once, by the operator's configuration."""
    path = object_path("", "v1", "configmaps", "tapio-system", CONFIG_MAP)
    body: JsonObject = {"data": {"config.yaml": f"plannerLogic: 2\nlimits:\n  concurrentRequests: {requests}\n"}}
    check(await kube.request("PATCH", path, body=encode(body), content_type=MERGE))


# --- burst ---------------------------------------------------------------------------------------------------------


async def burst(kube: HttpKube, works: Sequence[Rendered]) -> float:
    """Seconds from the first creation until every TapioCluster has its last child and a status."""
    waiting = {(kind, work.name) for work in works for kind in ("StatefulSet", "TapioCluster")}
    started = time.perf_counter()

    async def see(path: str, kind: str) -> None:
        async for document in _seen(kube, path, lambda: any(one[0] == kind for one in waiting)):
            name = str_at(document, "metadata", "name")
            if kind == "StatefulSet":
                waiting.discard((kind, name.removesuffix("-nats")))
            elif object_at(document, "status").get("observedGeneration"):
                waiting.discard((kind, name))

    async with asyncio.timeout(_LIMIT), asyncio.TaskGroup() as group:
        seeing = [group.create_task(see(_SETS, "StatefulSet")), group.create_task(see(CLUSTERS, "TapioCluster"))]
        slots = asyncio.Semaphore(CONCURRENT)
        for work in works:
            group.create_task(_create(kube, work, slots))
        await asyncio.gather(*seeing)
    return time.perf_counter() - started


async def burst_by_hand(kube: HttpKube, works: Sequence[Rendered]) -> float:
    """Seconds to write all of it with 64 requests at a time, the operator's watches open and read meanwhile."""
    slots = asyncio.Semaphore(CONCURRENT)
    started = time.perf_counter()
    await asyncio.gather(*(_write_by_hand(kube, work, slots) for work in works))
    return time.perf_counter() - started


@asynccontextmanager
async def watched(kube: HttpKube) -> AsyncGenerator[None]:
    """The operator's watches, read by nobody who cares."""
    readers = [asyncio.create_task(drain(kube, path, selector)) for path, selector in watches()]
    try:
        yield
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)


async def _create(kube: HttpKube, work: Rendered, slots: asyncio.Semaphore) -> JsonObject:
    async with slots:
        return cast(
            "JsonObject", decode_as(dict, check(await kube.request("POST", CLUSTERS, body=encode(work.cluster))))
        )


async def _write_by_hand(kube: HttpKube, work: Rendered, slots: asyncio.Semaphore) -> None:
    made = await _create(kube, work, slots)
    path = f"{CLUSTERS}/{work.name}"

    async def patch(where: str, body: JsonObject, content_type: str, query: dict[str, str]) -> None:
        async with slots:
            check(await kube.request("PATCH", where, query=query, body=encode(body), content_type=content_type))

    await patch(path, {"metadata": {"finalizers": ["tapio.io/bench"]}}, MERGE, {})
    for phase in sorted({child.action.phase for child in work.children}):
        await asyncio.gather(
            *(
                patch(child.path, owned_by(child.manifest, made), APPLY, _OWN)
                for child in work.children
                if child.action.phase == phase
            )
        )
    await patch(f"{path}/status", {"status": work.status}, MERGE, {})


_OWN = {"fieldManager": "bench", "force": "true"}


# --- steady changes ------------------------------------------------------------------------------------------------


async def steady(
    kube: HttpKube, works: Sequence[Rendered], *, per_second: int, seconds: int, by_hand: bool = False
) -> list[float]:
    """Seconds from the answer to each change of a spec until the StatefulSet that follows was seen changed; sorted.

    `by_hand`: nobody else follows, so whoever changes the spec applies the StatefulSet at once, too.
    """
    told: dict[str, float] = {}
    seen: dict[str, float] = {}
    total = per_second * seconds

    async def see() -> None:
        async for document in _seen(kube, _SETS, lambda: len(seen) < total):
            note = str_at(document, "spec", "template", "metadata", "annotations", "bench")
            # A change that a later one of the same TapioCluster overtook is not seen by itself.
            for number in range(int(note[1:]), -1, -len(works)) if note else ():
                seen.setdefault(f"n{number}", time.perf_counter())

    async def change(number: int) -> None:
        work, note = works[number % len(works)], f"n{number}"
        body: JsonObject = {"spec": {"nats": {"podAnnotations": {"bench": note}}}}
        check(await kube.request("PATCH", f"{CLUSTERS}/{work.name}", body=encode(body), content_type=MERGE))
        told[note] = time.perf_counter()
        if by_hand:
            changed: JsonObject = {"spec": {"template": {"metadata": {"annotations": {"bench": note}}}}}
            where = f"{_SETS}/{work.name}-nats"
            check(await kube.request("PATCH", where, body=encode(changed), content_type=MERGE))

    async with asyncio.timeout(seconds + 60), asyncio.TaskGroup() as group:
        seeing = group.create_task(see())
        started = time.perf_counter()
        for number in range(total):
            await asyncio.sleep(max(started + number / per_second - time.perf_counter(), 0))
            group.create_task(change(number))
        await seeing
    return sorted(max(seen[note] - since, 0.0) for note, since in told.items())


# --- drift ---------------------------------------------------------------------------------------------------------


async def drift(kube: HttpKube, works: Sequence[Rendered], *, share: float, by_hand: bool = False) -> list[float]:
    """Seconds until each of the children that somebody edited is as it was, from the answer to the edit; sorted.

    Evenly spread over TapioClusters and kinds; what is edited is a label that every child has.
    """
    children = [
        child for work in works for child in work.children if _label(child.manifest) and child.action.mode != "generate"
    ]
    step = max(round(1 / share), 1)
    edited = {(child.action.plural, child.action.name): child for child in children[::step]}
    told: dict[tuple[str, str], float] = {}
    mended: dict[tuple[str, str], float] = {}
    drifted: set[tuple[str, str]] = set()
    finished = asyncio.Event()

    async def see(path: str, plural: str) -> None:
        async for document in _seen(kube, path, lambda: len(mended) < len(edited)):
            which = plural, str_at(document, "metadata", "name")
            child = edited.get(which)
            if child is None or which in mended:
                continue
            if _label(document) == _DRIFTED:
                drifted.add(which)
            elif which in drifted and _label(document) == _label(child.manifest):
                mended[which] = time.perf_counter()
                if len(mended) == len(edited):
                    finished.set()

    async def edit(which: tuple[str, str], child: Child) -> None:
        async with slots:
            await _relabel(kube, child, _DRIFTED)
        told[which] = time.perf_counter()
        if by_hand:
            async with slots:
                await _relabel(kube, child, _label(child.manifest))

    slots = asyncio.Semaphore(CONCURRENT)
    plurals = {child.action.plural: child.action for child in edited.values()}
    async with asyncio.timeout(_LIMIT), asyncio.TaskGroup() as group:
        seeing = [
            group.create_task(see(object_path(one.group, one.version, plural), plural))
            for plural, one in plurals.items()
        ]
        await asyncio.sleep(0.5)  # the watches are open
        for which, child in edited.items():
            group.create_task(edit(which, child))
        await finished.wait()
        for one in seeing:
            one.cancel()
    return sorted(max(mended[which] - since, 0.0) for which, since in told.items())


def _label(document: JsonObject) -> str:
    return str_at(document, "metadata", "labels", COMPONENT)


async def _relabel(kube: HttpKube, child: Child, value: str) -> None:
    body: JsonObject = {"metadata": {"labels": {COMPONENT: value}}}
    check(await kube.request("PATCH", child.path, body=encode(body), content_type=MERGE))


# --- what there is -------------------------------------------------------------------------------------------------


async def missing(kube: HttpKube, works: Sequence[Rendered]) -> list[str]:
    """Children that are not there: a subject that leaves work out is not faster."""
    wanted = {child.path for work in works for child in work.children}
    kinds = {
        (child.action.group, child.action.version, child.action.plural) for work in works for child in work.children
    }
    found: set[str] = set()
    for group, version, plural in kinds:
        path = object_path(group, version, plural)
        answer = await kube.request("GET", path, query={"labelSelector": MANAGED_SELECTOR})
        for one in list_at(cast("JsonObject", decode_as(dict, check(answer))), "items"):
            name, namespace = str_at(one, "metadata", "name"), str_at(one, "metadata", "namespace")
            found.add(object_path(group, version, plural, namespace, name))
    return sorted(wanted - found)


async def _seen(kube: HttpKube, path: str, is_wanted: Callable[[], bool]) -> AsyncGenerator[JsonObject]:
    """Objects as a watch of `path` tells of them, opened anew when it ends, for as long as they are wanted."""
    query = {"labelSelector": MANAGED_SELECTOR} if path != CLUSTERS else {}
    while is_wanted():
        async with kube.watch(path, query=query, silence=_LIMIT) as lines:
            async for line in lines:
                yield object_at(cast("JsonObject", decode_as(dict, line)), "object")
                if not is_wanted():
                    return
