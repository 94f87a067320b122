"""The webhook over real TLS: certificate made once and shared, renewed without dropping a connection."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from tapio_shared.adapters.clock import ManualClock
from tapio_shared.adapters.memory_log import MemoryEventLog
from tapio_shared.api.trust import Trust
from tapio_shared.codec import decode_as
from tapio_shared.json import JsonObject, at, str_at
from tapio_webhook.certificates import CertificateStore
from tapio_webhook.recording import AdmissionRecorder
from tapio_webhook.server import WebhookServer
from tests.integration.webhook.stores import secret_data, simulated, store, ten_weeks_ago
from tests.support.eventually import eventually
from tests.support.planned_world import example
from tests.unit.webhook.test_admission import review

JSON = "application/json"


@asynccontextmanager
async def serving(certificates: CertificateStore, clock: ManualClock, log: MemoryEventLog) -> AsyncGenerator[str]:
    registry = CollectorRegistry()
    recorder = AdmissionRecorder(registry)
    recording = asyncio.create_task(recorder.run(log))
    server = WebhookServer(
        certificates.context, recorder, Trust, registry, clock, target="local", address="127.0.0.1", port=0
    )
    try:
        async with server:
            yield f"https://127.0.0.1:{server.port}"
    finally:
        recording.cancel()
        await asyncio.gather(recording, return_exceptions=True)


def trusting(bundle: str) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=bundle)


async def ask(session: aiohttp.ClientSession, url: str, context: ssl.SSLContext) -> JsonObject:
    async with session.post(f"{url}/mutate", json=review(example("edge")), ssl=context) as response:
        assert response.status == 200
        return cast("JsonObject", await response.json())


async def test_two_replicas_share_one_certificate() -> None:
    clock = ten_weeks_ago()
    kube = await simulated(clock)
    first, second = store(kube, clock), store(kube, clock)
    await asyncio.gather(first.refresh(), second.refresh())
    assert first.bundle == second.bundle != ""


async def test_it_answers_over_tls_and_records_what_it_said() -> None:
    clock, log = ten_weeks_ago(), MemoryEventLog(ManualClock())
    certificates = store(await simulated(clock), clock)
    await certificates.refresh()
    async with serving(certificates, clock, log) as url, aiohttp.ClientSession() as session:
        answered = await ask(session, url, trusting(certificates.bundle))
        assert at(answered, "response", "allowed") is True

        async def recorded() -> bool:
            return bool((await log.last_per_subject("tapio.admitted.>")).messages)

        await eventually(recorded, seconds=10)
    (message,) = (await log.last_per_subject("tapio.admitted.>")).messages
    assert str_at(cast("JsonObject", decode_as(dict, message.data)), "user") == "alice"


async def test_a_renewal_under_load_drops_no_connection() -> None:
    clock, log = ten_weeks_ago(), MemoryEventLog(ManualClock())
    kube = await simulated(clock)
    certificates = store(kube, clock)
    await certificates.refresh()
    async with serving(certificates, clock, log) as url, aiohttp.ClientSession() as session:
        trusted = trusting(certificates.bundle)
        answers = [asyncio.create_task(ask(session, url, trusted)) for _ in range(50)]
        before = certificates.bundle
        clock.advance(70 * 86_400)
        before_renewal = await secret_data(kube)
        await certificates.refresh()
        assert (await secret_data(kube))["tls.crt"] != before_renewal["tls.crt"]
        answers += [asyncio.create_task(ask(session, url, trusted)) for _ in range(50)]
        found = await asyncio.gather(*answers)
        assert all(at(one, "response", "allowed") is True for one in found)
        assert certificates.bundle == before


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        pytest.param(b"nonsense", JSON, 400, id="not JSON"),
        pytest.param(b"{}", JSON, 400, id="no review"),
        pytest.param(b"", JSON, 400, id="nothing"),
        pytest.param(b"\xff\xfe", JSON, 400, id="not UTF-8"),
        pytest.param(b"[" * 100_000, JSON, 400, id="endless nesting"),
        pytest.param(b"a: b", "application/yaml", 415, id="YAML"),
        pytest.param(b" " * (9 << 20), JSON, 413, id="a huge body"),
    ],
)
async def test_a_malformed_request_is_refused_with_a_sentence(body: bytes, kind: str, status: int) -> None:
    clock, log = ten_weeks_ago(), MemoryEventLog(ManualClock())
    certificates = store(await simulated(clock), clock)
    await certificates.refresh()
    context = trusting(certificates.bundle)
    async with serving(certificates, clock, log) as url, aiohttp.ClientSession() as session:
        headers = {"Content-Type": kind}
        async with session.post(f"{url}/mutate", data=body, headers=headers, ssl=context) as response:
            assert response.status == status
            assert await response.text()
        answered = await ask(session, url, context)
        assert at(answered, "response", "allowed") is True
