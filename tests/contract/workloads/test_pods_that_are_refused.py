"""Pods that the API server does not accept: what says so, how the watcher finds it, and that it ends.

Deployments and ReplicaSets have the condition ReplicaFailure; of the other workloads there is an Event alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Container
from contextlib import asynccontextmanager, suppress

import pytest
from prometheus_client import CollectorRegistry

from tapio_shared.adapters.random import SeededRandom
from tapio_shared.facts import ServedResource
from tapio_shared.json import JsonObject, objects_at, str_at
from tapio_shared.keys import ObjectRef
from tapio_watcher.api import Api, Streams
from tapio_watcher.following import KindWatch
from tapio_watcher.metrics import Metrics
from tapio_watcher.refusals import SELECTOR, refusal_of, refused_workload
from tapio_watcher.versions import Name
from tapio_watcher.watching import offers_streams
from tests.support.eventually import eventually
from tests.support.workloads import Cluster, condition, container, template, workload

MISSING = 'error looking up service account {}/operator: serviceaccount "operator" not found'
JOB_POD: JsonObject = {"restartPolicy": "Never", "containers": [container()]}
EVENTS = ServedResource(group="", version="v1", kind="Event", plural="events", namespaced=True)


class Told:
    """A sink that keeps what it is told of."""

    def __init__(self) -> None:
        self.events: list[JsonObject] = []
        self.lists = 0

    def observed(self, document: JsonObject) -> None:
        self.events.append(document)

    def gone(self, name: Name, *, uid: str = "", resource_version: str = "") -> None:
        self.events = [one for one in self.events if str_at(one, "metadata", "name") != name[1]]

    def complete(self, names: Container[Name]) -> None:
        self.lists += 1


async def _no_limit() -> None:
    """Nothing waits to be published here."""


@asynccontextmanager
async def watched_events(cluster: Cluster) -> AsyncGenerator[Told]:
    """The Events that the watcher's own selector lets through, once they have been listed."""
    version = str_at((await cluster.calls.get("/version")).document, "gitVersion")
    api = Api(
        kube=cluster.calls.kube,
        random=SeededRandom(1),
        metrics=Metrics(CollectorRegistry()),
        room=_no_limit,
        lists=asyncio.Semaphore(1),
        streams=Streams(offers_streams(version)),
    )
    told = Told()
    watch = KindWatch(api, EVENTS, told, namespace=cluster.calls.namespace, selector=SELECTOR)
    task = asyncio.create_task(watch.run(), name="watch-events")
    try:
        async with asyncio.timeout(30):
            await watch.is_listed.wait()
        yield told
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.mark.parametrize(
    ("kind", "group", "plural", "preamble"),
    [
        pytest.param(
            "StatefulSet",
            "apps",
            "statefulsets",
            "reate Pod web-0 in StatefulSet web failed error: pods ",
            id="StatefulSet",
        ),
        pytest.param("DaemonSet", "apps", "daemonsets", "Error creating: pods ", id="DaemonSet"),
        pytest.param("Job", "batch", "jobs", "Error creating: pods ", id="Job"),
    ],
)
async def test_a_workload_without_a_condition_for_it_has_an_event(
    cluster: Cluster, kind: str, group: str, plural: str, preamble: str
) -> None:
    lacking: JsonObject = {"serviceAccountName": "operator"}
    document: JsonObject = workload(kind, "web", template("web", lacking))
    if kind == "Job":
        once = JOB_POD | lacking
        document = {"metadata": {"name": "web"}, "spec": {"template": {"spec": once}}}
    async with watched_events(cluster) as told:
        noise = workload("Deployment", "noise", template("noise", lacking))
        await cluster.create("apps/v1", "deployments", noise)
        made = await cluster.create(f"{group}/v1", plural, document)
        await cluster.until_event("FailedCreate", 'Error creating: pods "noise-')

        await eventually(lambda: _is_told(told, "web"))

        event = told.events[-1]
        refusal = refusal_of(event)
        assert {str_at(one, "involvedObject", "kind") for one in told.events} == {kind}
        assert preamble in str_at(event, "message")  # the first letter changed between 1.20 and 1.36
        assert refused_workload(event) == ObjectRef(group, kind, cluster.calls.namespace, "web")
        assert refusal.message == MISSING.format(cluster.calls.namespace)
        assert refusal.uid == str_at(made, "metadata", "uid")
        assert refusal.at >= str_at(made, "metadata", "creationTimestamp")[:19]
        found = (await cluster.calls.get(cluster.calls.path(f"{group}/v1", plural, "web"))).document
        assert condition(found, "ReplicaFailure") == {}
        await cluster.create("v1", "serviceaccounts", {"metadata": {"name": "operator"}})
        await cluster.until_pods(lambda pods: any(_is_of(pod, kind) for pod in pods))


async def test_many_attempts_are_told_of_in_the_same_words(cluster: Cluster) -> None:
    """What makes one fact of many attempts: neither a pod's name nor that Events were combined is in the message."""
    if not cluster.admits_by_pod_security:
        pytest.skip("This API server knows no Pod Security; what it refuses earlier has no generated name yet.")
    path = f"/api/v1/namespaces/{cluster.calls.namespace}"
    await cluster.calls.merge(path, {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}})
    async with watched_events(cluster) as told:
        await cluster.create("apps/v1", "daemonsets", workload("DaemonSet", "web", template("web", {"hostPID": True})))

        await cluster.until_event("FailedCreate", "(combined from similar events): Error creating: pods ")

        await eventually(lambda: _is_told(told, "web", times=10))
        messages = {refusal_of(event).message for event in told.events}
        assert messages == {'violates PodSecurity "baseline:latest": host namespaces (hostPID=true)'}
        names = {str_at(event, "metadata", "name") for event in told.events}
        assert len(names) == 10  # nine of their own, and the one that stands for all others


async def _is_told(told: Told, name: str, times: int = 1) -> bool:
    return sum(1 for one in told.events if str_at(one, "involvedObject", "name") == name) >= times


def _is_of(pod: JsonObject, kind: str) -> bool:
    return any(str_at(owner, "kind") == kind for owner in objects_at(pod, "metadata", "ownerReferences"))
