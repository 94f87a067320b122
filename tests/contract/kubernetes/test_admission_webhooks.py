"""Admission webhooks over TLS: mutation, denial, failure policy, dry run."""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from aiohttp import web

from tapio_shared.adapters.clock import SystemClock
from tapio_shared.json import JsonObject, JsonValue, at, object_at, str_at
from tapio_simulator.tls import new_authority, serving_pair
from tests.support.eventually import eventually
from tests.support.kube_calls import Calls, config_map

_numbers = count(1)
Answer = Callable[[JsonObject], JsonObject]


def allow(_: JsonObject) -> JsonObject:
    return {"allowed": True}


@dataclass(slots=True)
class Webhook:
    """A webhook server whose answer a test decides."""

    url: str
    bundle: str
    reviews: list[JsonObject] = field(default_factory=list[JsonObject])
    answer: Answer = field(default_factory=lambda: allow)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        review: JsonObject = msgspec.json.decode(await request.read())
        asked = object_at(review, "request")
        self.reviews.append(asked)
        response: JsonObject = {"uid": str_at(asked, "uid"), **self.answer(asked)}
        document: JsonObject = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
        return web.Response(body=msgspec.json.encode(document), content_type="application/json")


@asynccontextmanager
async def _served(folder: Path) -> AsyncGenerator[Webhook]:
    now = SystemClock().now()
    authority = new_authority(now)
    pair = serving_pair(authority, ("127.0.0.1",), now)
    (folder / "hook.crt").write_bytes(pair.certificate_pem)
    (folder / "hook.key").write_bytes(pair.key_pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "hook.crt", folder / "hook.key")
    webhook = Webhook("", base64.b64encode(authority.certificate_pem).decode())
    runner = web.ServerRunner(web.Server(webhook.handle), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    webhook.url = f"https://127.0.0.1:{runner.addresses[0][1]}/review"
    try:
        yield webhook
    finally:
        await runner.cleanup()


@pytest_asyncio.fixture
async def webhook(tmp_path: Path) -> AsyncGenerator[Webhook]:
    async with _served(tmp_path) as served:
        yield served


async def register(calls: Calls, kind: str, webhook: Webhook, **settings: JsonValue) -> str:
    """Register `webhook` for ConfigMaps of the test's namespace; answers when it is asked. Its registration's path."""
    name = f"contract-{next(_numbers)}.example.com"
    path = f"/apis/admissionregistration.k8s.io/v1/{kind.lower()}webhookconfigurations"
    await calls.merge(f"/api/v1/namespaces/{calls.namespace}", {"metadata": {"labels": {"contract": calls.namespace}}})
    entry: JsonObject = {
        "name": name,
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "clientConfig": {"url": webhook.url, "caBundle": webhook.bundle},
        "namespaceSelector": {"matchLabels": {"contract": calls.namespace}},
        "rules": [
            {
                "operations": ["CREATE", "UPDATE", "DELETE"],
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "resources": ["configmaps"],
            }
        ],
        **settings,
    }
    document: JsonObject = {"metadata": {"name": name}, "webhooks": [entry]}
    made = await calls.create(path, document)
    assert made.status == 201, made.message
    before = webhook.answer
    webhook.answer = allow

    async def asked() -> bool:
        await calls.create(calls.path("v1", "configmaps"), config_map(f"probe-{next(_numbers)}"))
        return bool(webhook.reviews)

    if "unreachable" not in name and settings.get("clientConfig") is None:
        await eventually(asked, seconds=20)
    webhook.answer = before
    webhook.reviews.clear()
    return f"{path}/{name}"


def patch_of(*operations: JsonObject) -> JsonObject:
    encoded = base64.b64encode(msgspec.json.encode(list(operations))).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": encoded}


async def test_a_mutating_webhook_changes_what_is_stored(calls: Calls, webhook: Webhook) -> None:
    webhook.answer = lambda _: patch_of({"op": "add", "path": "/data/added", "value": "yes"})
    registered = await register(calls, "Mutating", webhook)
    reply = await calls.create(calls.path("v1", "configmaps"), config_map("one", {"a": "1"}))
    assert object_at(reply.document, "data") == {"a": "1", "added": "yes"}
    await calls.delete(registered)


async def test_what_a_webhook_is_told(calls: Calls, webhook: Webhook) -> None:
    registered = await register(calls, "Validating", webhook)
    path = calls.path("v1", "configmaps")
    await calls.create(path, config_map("one", {"a": "1"}))
    await calls.merge(f"{path}/one", {"data": {"a": "2"}})
    await calls.delete(f"{path}/one")
    created, updated, deleted = webhook.reviews
    assert [str_at(review, "operation") for review in webhook.reviews] == ["CREATE", "UPDATE", "DELETE"]
    assert created["kind"] == {"group": "", "version": "v1", "kind": "ConfigMap"}
    assert created["resource"] == {"group": "", "version": "v1", "resource": "configmaps"}
    assert (created["name"], created["namespace"], created["dryRun"]) == ("one", calls.namespace, False)
    assert created["oldObject"] is None
    assert (at(updated, "oldObject", "data", "a"), at(updated, "object", "data", "a")) == ("1", "2")
    assert (at(deleted, "oldObject", "data", "a"), deleted["object"]) == ("2", None)
    await calls.delete(registered)


@pytest.mark.parametrize(
    ("status", "code", "reason", "text"),
    [
        pytest.param({"message": "not today"}, 400, "", ": not today", id="message alone"),
        pytest.param(
            {"message": "no", "code": 403, "reason": "Forbidden"}, 403, "Forbidden", ": no", id="code and reason"
        ),
        pytest.param({"message": "bad", "code": 422, "reason": "Invalid"}, 422, "Invalid", ": bad", id="invalid"),
        pytest.param({"reason": "BecauseOfX"}, 400, "BecauseOfX", ": BecauseOfX", id="reason alone"),
        pytest.param(None, 400, "", " without explanation", id="nothing"),
    ],
)
async def test_denials(calls: Calls, webhook: Webhook, status: JsonValue, code: int, reason: str, text: str) -> None:
    webhook.answer = lambda _: {"allowed": False, **({"status": status} if status else {})}
    registered = await register(calls, "Validating", webhook)
    name = registered.rpartition("/")[2]
    reply = await calls.create(calls.path("v1", "configmaps"), config_map("one"))
    assert reply.message == f'admission webhook "{name}" denied the request{text}'
    assert (reply.status, reply.reason) == (code, reason)
    await calls.delete(registered)


async def test_warnings_reach_the_client(calls: Calls, webhook: Webhook) -> None:
    webhook.answer = lambda _: {"allowed": True, "warnings": ["mind the gap"]}
    registered = await register(calls, "Validating", webhook)
    reply = await calls.create(calls.path("v1", "configmaps"), config_map("one"))
    assert reply.headers["warning"] == '299 - "mind the gap"'
    await calls.delete(registered)


async def test_dry_run_is_passed_on(calls: Calls, webhook: Webhook) -> None:
    registered = await register(calls, "Validating", webhook)
    await calls.create(calls.path("v1", "configmaps"), config_map("one"), dryRun="All")
    assert webhook.reviews[-1]["dryRun"] is True
    await calls.delete(registered)


async def test_a_failure_is_ignored_or_not_as_the_policy_says(calls: Calls, webhook: Webhook) -> None:
    nowhere: JsonObject = {"url": "https://127.0.0.1:1/review", "caBundle": webhook.bundle}
    strict = await register(calls, "Validating", webhook, clientConfig=nowhere, failurePolicy="Fail")
    path = calls.path("v1", "configmaps")
    name = strict.rpartition("/")[2]

    async def refused() -> bool:
        reply = await calls.create(path, config_map(f"one-{next(_numbers)}"))
        return reply.status == 500 and f'failed calling webhook "{name}"' in reply.message

    await eventually(refused, seconds=20)
    await calls.merge(strict, {"webhooks": [{**await _entry(calls, strict), "failurePolicy": "Ignore"}]})

    async def accepted() -> bool:
        return (await calls.create(path, config_map(f"two-{next(_numbers)}"))).status == 201

    await eventually(accepted, seconds=20)
    await calls.delete(strict)


async def _entry(calls: Calls, path: str) -> JsonObject:
    webhooks = (await calls.get(path)).document["webhooks"]
    assert isinstance(webhooks, list)
    entry = webhooks[0]
    assert isinstance(entry, dict)
    return entry
