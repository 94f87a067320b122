"""Carrying a recorded decision out against the Kubernetes API.

Finalizer first, so that nothing is made that teardown would not find; then objects by phase, deletions under the
epoch, statuses and Events. One failed write never keeps another from being tried; each is told in the outcome.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from itertools import groupby
from typing import cast

import structlog
from opentelemetry import trace

from tapio_reconciler.core.changes import is_managed, may_take_over
from tapio_reconciler.core.comparison import holds, settled_digest
from tapio_reconciler.core.components import SOMEBODY_ELSES
from tapio_reconciler.core.disputes import disputes_in
from tapio_reconciler.core.dropped import dropped_from
from tapio_reconciler.core.plans import Plan, Report
from tapio_reconciler.core.rules import rules_of
from tapio_reconciler.shell.events import EventWriter
from tapio_reconciler.shell.metrics import Metrics
from tapio_reconciler.shell.premises import PLURALS, objection
from tapio_reconciler.shell.secrets import make_secret
from tapio_shared.api.labels import (
    APPLYSET_GROUP_KINDS,
    APPLYSET_ID,
    APPLYSET_TOOLING,
    TEARDOWN_FINALIZER,
    applyset_id,
)
from tapio_shared.api.names import API_GROUP, API_VERSION, CLUSTER_KIND, FIELD_MANAGER
from tapio_shared.codec import decode_as, digest, encode
from tapio_shared.errors import ApiError, ApiTerminal, Fenced, RetryableError, TapioError
from tapio_shared.facts import ApplyAction, DecisionRecorded, DeleteAction, ObjectResult
from tapio_shared.json import JsonObject, JsonValue, list_at, object_at, str_at
from tapio_shared.keys import ObjectRef, OrderingKey
from tapio_shared.kubernetes import APPLY_PATCH, MERGE_PATCH, check, object_path
from tapio_shared.ports import Kube, KubeResponse, Random
from tapio_shared.slim import slim

log = structlog.get_logger(__name__)
tracer = trace.get_tracer(__name__)

PROBE_MANAGER = "tapio-operator-probe"
TOOLING = "tapio-operator/v1"
_ABSENT = b"resourceVersion should not be set on objects to be created"
_CONCURRENT_WRITES = 16
"""Writes of one decision under way at once; the transport bounds those of the whole process."""


class Applier:
    """Writes to the Kubernetes API of one target."""

    def __init__(self, kube: Kube, random: Random, events: EventWriter, metrics: Metrics) -> None:
        self._kube, self._random, self._events, self._metrics = kube, random, events, metrics

    async def apply(
        self, key: OrderingKey, sequence: int, plan: Plan, still_owned: Callable[[], Awaitable[None]]
    ) -> Report:
        """Carry `plan`, recorded as the decision at `sequence`, out. Raises `Fenced` alone."""
        report = Report()
        decision = plan.decision
        if decision.finalizer == "add":
            await self._attempt(report, "finalizer", "finalizer", "add", self._add_finalizer(key, plan))
            if report.results[-1].error:
                return report
        for _, actions in groupby(decision.apply, key=lambda action: action.phase):
            await self._together(partial(self._write, report, key, action, plan) for action in actions)
        objected = await objection(self._kube, plan.premises)

        async def still_asked_for() -> None:
            await still_owned()
            if objected is not None:
                raise objected

        for _, gone in groupby(decision.delete, key=lambda action: action.phase):
            await self._together(partial(self._delete, report, key, action, still_asked_for) for action in gone)
        if decision.status is not None and plan.cluster is not None:
            before = object_at(plan.cluster.document, "status")
            await self._attempt(
                report,
                "status",
                "status",
                digest(decision.status),
                self._noting_dropped(
                    report,
                    "status",
                    decision,
                    decision.status,
                    self._write_status(
                        CLUSTER_KIND, key.namespace, key.name, plan.cluster.uid, before, decision.status
                    ),
                ),
            )
        for name in sorted(decision.resources):
            await self._write_resource_status(report, key, plan, name)
        for event in (*decision.events, *disputes_in(plan)):
            await self._events.write(key, decision.cluster_uid, event)
        if decision.finalizer == "remove" and not any(result.error for result in report.results):
            work = _owning(still_owned, self._remove_finalizer(key, plan))
            await self._attempt(report, "finalizer", "finalizer", "remove", work)
        return report

    async def _together(self, writes: Iterable[Callable[[], Awaitable[None]]]) -> None:
        """All of `writes`, each begun when there is room for it, or never: when they are given up, nothing is left."""
        slots = asyncio.Semaphore(_CONCURRENT_WRITES)

        async def one(write: Callable[[], Awaitable[None]]) -> None:
            async with slots:
                await write()

        try:
            async with asyncio.TaskGroup() as group:
                for write in writes:
                    group.create_task(one(write))
        except* Fenced as fenced:
            lost = _first(fenced)
        else:
            return
        raise lost

    async def _write(self, report: Report, key: OrderingKey, action: ApplyAction, plan: Plan) -> None:
        name = str(ObjectRef(action.group, action.kind, action.namespace, action.name))
        whole = rules_of(plan.decision.inputs.logic).compares_whole
        match action.mode:
            case "generate":
                work = make_secret(self._kube, self._random, action, plan.generated[name], plan.decision.inputs.now)
            case "create":
                work = self._create(key, action, plan.manifests[name], report, name, whole)
            case "expand":
                work = self._expand(action, plan.manifests[name])
            case _:
                work = self._server_side_apply(action, plan.manifests[name], report, name, whole)
        await self._attempt(report, name, action.mode, action.digest, work)

    async def _attempt(self, report: Report, name: str, action: str, wanted: str, work: Awaitable[JsonObject]) -> None:
        """Await one write and note how it went; every `TapioError` but `Fenced` ends here."""
        with tracer.start_as_current_span("write", attributes={"tapio.object": name, "tapio.action": action}) as span:
            try:
                document = await work
            except Fenced:
                raise
            except TapioError as err:
                span.record_exception(err)
                self._metrics.writes.labels(action, "failed").inc()
                api = err if isinstance(err, ApiError) else None
                report.results.append(
                    ObjectResult(
                        ref=name,
                        action=action,
                        digest=wanted,
                        code=0 if api is None else api.code,
                        error_reason="" if api is None else api.reason,
                        error=str(err) if api is None else api.message,
                        retryable=isinstance(err, RetryableError),
                    )
                )
                if api is not None and api.retry_after is not None:
                    report.retry_after[name] = api.retry_after
                return
        self._metrics.writes.labels(action, "done").inc()
        report.results.append(
            ObjectResult(
                ref=name,
                action=action,
                digest=wanted,
                uid=str_at(document, "metadata", "uid"),
                resource_version=str_at(document, "metadata", "resourceVersion"),
            )
        )

    async def _server_side_apply(
        self, action: ApplyAction, manifest: JsonObject, report: Report, name: str, whole: bool
    ) -> JsonObject:
        response = await self._kube.request(
            "PATCH",
            _path(action),
            query={"fieldManager": FIELD_MANAGER, "force": "true"},
            body=encode(manifest),
            content_type=APPLY_PATCH,
        )
        document = _document(response)
        made = slim(document)
        report.settled[name] = None if holds(made, manifest, whole=whole) else settled_digest(made)
        return document

    async def _create(
        self, key: OrderingKey, action: ApplyAction, manifest: JsonObject, report: Report, name: str, whole: bool
    ) -> JsonObject:
        """Apply an object that must not exist, or be ours, or have been handed over (`tapio.io/adopt`).

        A server-side apply that names a resourceVersion creates what is absent and is refused with a 409 for what
        exists (docs/measurements/control-plane.md): one request in the ordinary case, with no read permission.
        """
        body = {**manifest, "metadata": {**object_at(manifest, "metadata"), "resourceVersion": "1"}}
        response = await self._kube.request(
            "PATCH",
            _path(action),
            query={"fieldManager": FIELD_MANAGER, "force": "true"},
            body=encode(body),
            content_type=APPLY_PATCH,
        )
        if _ABSENT in response.body:
            # Services of old API servers are created by another path, which refuses the version: it is absent then.
            return await self._server_side_apply(action, manifest, report, name, whole)
        if response.status != 409:
            document = _document(response)
            made = slim(document)
            report.settled[name] = None if holds(made, manifest, whole=whole) else settled_digest(made)
            return document
        live = await self._probe(action)
        if may_take_over(live, manifest, cluster=key.name, namespace=key.namespace):
            return await self._server_side_apply(action, manifest, report, name, whole)
        raise ApiTerminal(409, SOMEBODY_ELSES, f"{name} exists and does not carry the labels of TapioCluster {key}")

    async def _expand(self, action: ApplyAction, manifest: JsonObject) -> JsonObject:
        """Ask for more storage for the very claim that was observed (by its UID): an apply would create another one."""
        response = await self._kube.request(
            "PATCH",
            _path(action),
            query={"fieldManager": FIELD_MANAGER},
            body=encode(manifest),
            content_type=MERGE_PATCH,
        )
        return _document(response)

    async def _probe(self, action: ApplyAction | DeleteAction) -> JsonObject:
        """The live object, as a dry run of an apply that says nothing answers it: a look without read permission."""
        version = f"{action.group}/{action.version}" if action.group else action.version
        metadata: JsonObject = {"name": action.name}
        if action.namespace:
            metadata["namespace"] = action.namespace
        response = await self._kube.request(
            "PATCH",
            _path(action),
            query={"fieldManager": PROBE_MANAGER, "force": "true", "dryRun": "All"},
            body=encode({"apiVersion": version, "kind": action.kind, "metadata": metadata}),
            content_type=APPLY_PATCH,
        )
        return _document(response)

    async def _delete(
        self, report: Report, key: OrderingKey, action: DeleteAction, still_owned: Callable[[], Awaitable[None]]
    ) -> None:
        name = str(ObjectRef(action.group, action.kind, action.namespace, action.name))
        work = _owning(still_owned, self._delete_if_same(key, action))
        await self._attempt(report, name, "delete", "", work)

    async def _delete_if_same(self, key: OrderingKey, action: DeleteAction) -> JsonObject:
        options: JsonObject = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": action.propagation,
            "preconditions": {
                "uid": action.uid,
                **({"resourceVersion": action.resource_version} if action.resource_version else {}),
            },
        }
        response = await self._kube.request("DELETE", _path(action), body=encode(options))
        if response.status == 409:
            # A fact may lag behind in version where nothing in it changed; the live object decides whether it is ours.
            live = await self._probe(action)
            if str_at(live, "metadata", "uid") != action.uid or not is_managed(
                live, cluster=key.name, namespace=key.namespace
            ):
                return _document(response)
            version = str_at(live, "metadata", "resourceVersion")
            options["preconditions"] = {"uid": action.uid, "resourceVersion": version}
            response = await self._kube.request("DELETE", _path(action), body=encode(options))
        if response.status == 404:
            return {}
        return _document(response)

    async def _write_resource_status(self, report: Report, key: OrderingKey, plan: Plan, name: str) -> None:
        kind, _, resource = name.partition("/")
        seen = plan.seen_by_name[name]
        status = plan.decision.resources[name]
        work = self._write_status(kind, key.namespace, resource, seen.uid, object_at(seen.document, "status"), status)
        noting = self._noting_dropped(report, name, plan.decision, status, work)
        await self._attempt(report, name, "status", digest(status), noting)

    async def _noting_dropped(
        self,
        report: Report,
        name: str,
        decision: DecisionRecorded,
        status: JsonObject,
        work: Coroutine[None, None, JsonObject],
    ) -> JsonObject:
        """`work`, which writes a status; reports what that came back without."""
        document = await work
        if rules_of(decision.inputs.logic).settles_statuses:
            report.dropped[name] = dropped_from(status, object_at(document, "status"), decision.inputs.now)
        return document

    async def _write_status(  # the subresource's whole address
        self, kind: str, namespace: str, name: str, uid: str, before: JsonObject, status: JsonObject
    ) -> JsonObject:
        """Write a status by merge patch: server-side apply can't, where a spec holds the boolean shorthand (1.20)."""
        gone: JsonObject = {field: None for field in before if field not in status}
        path = object_path(API_GROUP, "v1alpha1", PLURALS[kind], namespace, name, "status")
        body: JsonObject = {"metadata": {"uid": uid}, "status": {**gone, **_replacing(before, status)}}
        response = await self._kube.request(
            "PATCH",
            path,
            query={"fieldManager": f"{FIELD_MANAGER}-status"},
            body=encode(body),
            content_type=MERGE_PATCH,
        )
        return _document(response)

    async def _add_finalizer(self, key: OrderingKey, plan: Plan) -> JsonObject:
        """Claim the TapioCluster: finalizer, and what makes it the parent of an ApplySet (KEP-3659)."""
        document = {} if plan.cluster is None or plan.cluster.document is None else plan.cluster.document
        finalizers = [one for one in list_at(document, "metadata", "finalizers") if one != TEARDOWN_FINALIZER]
        # Of all that is wanted, not of what is left to do: a claim that went unheard is made once more.
        kinds = sorted({name.partition(" ")[0] for name in plan.decision.objects})
        return await self._patch_metadata(
            key,
            plan,
            {
                "finalizers": [*finalizers, TEARDOWN_FINALIZER],
                "labels": {APPLYSET_ID: applyset_id(key.name, key.namespace)},
                "annotations": {APPLYSET_TOOLING: TOOLING, APPLYSET_GROUP_KINDS: ",".join(kinds)},
            },
        )

    async def _remove_finalizer(self, key: OrderingKey, plan: Plan) -> JsonObject:
        document = {} if plan.cluster is None or plan.cluster.document is None else plan.cluster.document
        finalizers = [one for one in list_at(document, "metadata", "finalizers") if one != TEARDOWN_FINALIZER]
        return await self._patch_metadata(key, plan, {"finalizers": finalizers})

    async def _patch_metadata(self, key: OrderingKey, plan: Plan, metadata: JsonObject) -> JsonObject:
        """Patch metadata of the very TapioCluster that was observed: a newer one is refused and planned again."""
        seen = plan.cluster
        if seen is None:
            return {}
        body: JsonObject = {
            "apiVersion": API_VERSION,
            "kind": CLUSTER_KIND,
            "metadata": {**metadata, "uid": seen.uid, "resourceVersion": seen.resource_version},
        }
        path = object_path(API_GROUP, "v1alpha1", PLURALS[CLUSTER_KIND], key.namespace, key.name)
        response = await self._kube.request(
            "PATCH", path, query={"fieldManager": FIELD_MANAGER}, body=encode(body), content_type=MERGE_PATCH
        )
        return _document(response)


async def _owning(may_go_on: Callable[[], Awaitable[None]], work: Coroutine[None, None, JsonObject]) -> JsonObject:
    """`work`, unless the partition is lost or the log can't say: then the error of asking, and nothing is done."""
    try:
        await may_go_on()
    except BaseException:
        work.close()
        raise
    return await work


def _first(group: BaseExceptionGroup[Fenced]) -> Fenced:
    inner = group.exceptions[0]
    return inner if isinstance(inner, Fenced) else _first(inner)


def _replacing(before: JsonObject, status: JsonObject) -> JsonObject:
    """`status` as a merge patch that replaces `before`: a merge keeps keys of nested objects that it doesn't name."""
    patch: JsonObject = {}
    for field, value in status.items():
        known = before.get(field)
        patch[field] = _merged(known, value)
    return patch


def _merged(before: JsonValue, value: JsonValue) -> JsonValue:
    if isinstance(before, dict) and isinstance(value, dict):
        gone: JsonObject = {key: None for key in before if key not in value}
        return {**gone, **{key: _merged(before.get(key), inner) for key, inner in value.items()}}
    return value


def _path(action: ApplyAction | DeleteAction) -> str:
    return object_path(action.group, action.version, action.plural, action.namespace, action.name)


def _document(response: KubeResponse) -> JsonObject:
    return cast("JsonObject", decode_as(dict, check(response)))
