"""A small operator in one process on virtual time, on which incidents are planted and then asked about.

What people ask for passes the webhook's own functions, so that admissions are recorded as in a cluster.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import cast

from tapio_cli.history.explaining import Explanation, explain
from tapio_cli.history.looking_back import Steps, answered, latest
from tapio_cli.history.story import read_story
from tapio_shared.admissions import Admission
from tapio_shared.api.images import DEFAULT_TAPIO_VERSION
from tapio_shared.api.trust import Trust
from tapio_shared.codec import decode_as, encode
from tapio_shared.json import JsonObject, objects_at, str_at
from tapio_shared.keys import OrderingKey
from tapio_shared.kubernetes import check, object_path
from tapio_webhook.admission import VALIDATE, answer
from tests.support.e2e_objects import small_cluster
from tests.support.operator_in_process import Operator

NAME, NAMESPACE = "one", "default"
KEY = OrderingKey("local", NAMESPACE, NAME)
_SHORT_STEPS = Steps(read_whole=0, first=0.02)
_MERGE = "application/merge-patch+json"
_PLURALS = {"TapioCluster": "tapioclusters", "TapioCollector": "tapiocollectors"}


class Incident:
    """One TapioCluster, what people do to it, and what the history then says."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        self.admissions: list[Admission] = []

    async def create(self, user: str, document: JsonObject, *, webhook: bool = True) -> None:
        """As `kubectl apply` of somebody."""
        kind, name = str_at(document, "kind"), str_at(document, "metadata", "name")
        whole: JsonObject = {**document, "metadata": {"name": name, "namespace": NAMESPACE}}
        self._admit(user, "CREATE", kind, name, whole, None, webhook=webhook)
        path = object_path("tapio.io", "v1alpha1", _PLURALS[kind], NAMESPACE)
        check(await self.operator.admin.request("POST", path, body=encode(whole)))

    async def edit(self, user: str, patch: JsonObject, *, webhook: bool = True) -> None:
        """Change the TapioCluster as somebody, by a merge patch."""
        path = self._path("tapio.io/v1alpha1", "tapioclusters", NAME)
        before = await self.get("tapio.io/v1alpha1", "tapioclusters", NAME)
        response = await self.operator.admin.request(
            "PATCH", path, query={"fieldManager": "kubectl-edit"}, body=encode(patch), content_type=_MERGE
        )
        after = cast("JsonObject", decode_as(dict, check(response)))
        self._admit(user, "UPDATE", "TapioCluster", NAME, after, before, webhook=webhook)

    async def edit_object(
        self, group: str, plural: str, name: str, patch: JsonObject, *, manager: str, namespace: str = NAMESPACE
    ) -> None:
        """Change one of the operator's objects, as somebody who has no business there."""
        path = self._path(group, plural, name, namespace)
        query = {"fieldManager": manager}
        check(await self.operator.admin.request("PATCH", path, query=query, body=encode(patch), content_type=_MERGE))

    async def make(self, group: str, plural: str, document: JsonObject) -> None:
        """Somebody else's object."""
        path = self._path(group, plural, "").rstrip("/")
        check(await self.operator.admin.request("POST", path, body=encode(document)))

    async def delete(self, group: str, plural: str, name: str, *, namespace: str = NAMESPACE) -> None:
        """Delete an object, whosever it is."""
        check(await self.operator.admin.request("DELETE", self._path(group, plural, name, namespace)))

    async def get(self, group: str, plural: str, name: str) -> JsonObject:
        """One object; {} when there is none."""
        response = await self.operator.admin.request("GET", self._path(group, plural, name))
        return {} if response.status == 404 else cast("JsonObject", decode_as(dict, check(response)))

    async def until(
        self,
        holds: Callable[[JsonObject], bool],
        *,
        kind: str = "TapioCluster",
        name: str = NAME,
        seconds: float = 600.0,
    ) -> None:
        """Wait until the TapioCluster, or another resource, is so, and everything that follows has been told."""
        plural = _PLURALS[kind]
        try:
            async with asyncio.timeout(seconds):
                while not holds(await self.get("tapio.io/v1alpha1", plural, name)):
                    self.operator.raise_errors()
                    await asyncio.sleep(0.2)
        except TimeoutError as err:
            found = await self.get("tapio.io/v1alpha1", plural, name)
            raise AssertionError(json.dumps(found.get("status"), indent=1)) from err
        await asyncio.sleep(3.0)

    async def until_condition(
        self, which: str, status: str, reason: str = "", *, kind: str = "TapioCluster", name: str = NAME
    ) -> None:
        """Wait for a condition; any reason will do unless one is named."""

        def holds(cluster: JsonObject) -> bool:
            found = condition(cluster, which)
            return found[0] == status and reason in ("", found[1])

        await self.until(holds, kind=kind, name=name)

    async def explained(self, about: str = "") -> Explanation:
        """What `tapioctl explain` says now."""
        story = await read_story(self.operator.log, KEY)
        answer = explain(story, self.admissions, until=story.ends, about=about)
        # As of a log that is too long to be read whole.
        begun = await latest(self.operator.log, KEY, steps=_SHORT_STEPS)
        looking_back = await answered(
            self.operator.log,
            begun,
            lambda part: explain(part, self.admissions, until=story.ends, about=about),
            steps=_SHORT_STEPS,
        )
        assert looking_back == answer
        return answer

    def _admit(
        self,
        user: str,
        operation: str,
        kind: str,
        name: str,
        new: JsonObject,
        old: JsonObject | None,
        *,
        webhook: bool,
    ) -> None:
        request: JsonObject = {
            "uid": f"request-{len(self.admissions)}",
            "operation": operation,
            "kind": {"group": "tapio.io", "version": "v1alpha1", "kind": kind},
            "namespace": NAMESPACE,
            "name": name,
            "userInfo": {"username": user},
            "object": new,
            "oldObject": old,
        }
        if webhook:
            given = answer(request, handler=VALIDATE, trust=Trust(), target="local", now=self.operator.clock.now())
            assert given.allowed, given.document
            assert given.admission is not None
            self.admissions.append(given.admission)

    def _path(self, group: str, plural: str, name: str, namespace: str = NAMESPACE) -> str:
        group, _, version = group.rpartition("/")
        return object_path(group, version, plural, namespace, name)


def condition(cluster: JsonObject, kind: str) -> tuple[str, str]:
    """Status and reason of a condition; empty strings when there is none."""
    for one in objects_at(cluster, "status", "conditions"):
        if str_at(one, "type") == kind:
            return str_at(one, "status"), str_at(one, "reason")
    return "", ""


@asynccontextmanager
async def incident(
    *, ready: bool = True, seed: int = 1, log_max_bytes: int = -1, spec: JsonObject | None = None
) -> AsyncGenerator[Incident]:
    """The operator, and unless `ready` is False one small TapioCluster that alice made and that is Ready."""
    operator = Operator(seed, log_max_bytes=log_max_bytes)
    await operator.prepare()
    operator.start_watcher()
    operator.start_worker("w0")
    made = Incident(operator)
    try:
        if ready:
            await made.create("alice@example.org", small_cluster(NAME, version=DEFAULT_TAPIO_VERSION, **(spec or {})))
            await made.until_condition("Ready", "True")
        yield made
    finally:
        for name in list(operator.tasks):
            await operator.kill(name)
