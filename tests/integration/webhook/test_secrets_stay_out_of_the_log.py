"""Values that may be secret, planted wherever an admission request has room for them, are nowhere in TAPIO_ADMITTED.

What a TapioCluster's spec itself says (an `env` value, `config`) is a fact that TAPIO_LOG keeps, as the API server
does: `valueFrom.secretKeyRef` is there for what is secret. The webhook's record has no need of it and keeps none of it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import aiohttp
import pytest

from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_log import NatsEventLog
from tapio_shared.json import JsonObject, JsonValue, at, object_at
from tapio_shared.keys import ADMITTED_STREAM
from tests.integration.webhook.test_service import running
from tests.support.nats_servers import one_server
from tests.support.planned_world import example
from tests.unit.webhook.test_admission import review

PLANTED = "correct-horse-battery-staple"


def places() -> Iterator[tuple[str, JsonObject]]:
    """Reviews, each with the planted value in another place, of resources that are allowed and that are denied."""
    for name, spec in _SPECS:
        document = example("development")
        document["spec"] = {**object_at(document, "spec"), **spec}
        yield name, review(document)
        yield f"{name}, before", review(example("development"), operation="UPDATE", old=document)
        yield (
            f"{name}, in applied configuration",
            review(_annotated("kubectl.kubernetes.io/last-applied-configuration")),
        )
    yield "an annotation", review(_annotated("example.com/token"))
    for name, field in _USERS:
        body = review(example("development"))
        object_at(body, "request")["userInfo"] = field
        yield name, body
    body = review(example("development"))
    object_at(body, "request")["options"] = {"kind": "CreateOptions", "fieldManager": PLANTED}
    yield "options", body
    secret: JsonObject = {"kind": "Secret", "metadata": {"name": "x"}, "stringData": {"password": PLANTED}}
    yield "a Secret, which no registration sends", review(secret)


def _template(env: JsonValue) -> JsonObject:
    return {"nats": {"podTemplate": {"spec": {"containers": [{"name": "nats", "env": env}]}}}}


def _annotated(name: str) -> JsonObject:
    document = example("development")
    object_at(document, "metadata")["annotations"] = {name: f'{{"spec": {{"password": "{PLANTED}"}}}}'}
    return document


_SPECS: list[tuple[str, JsonObject]] = [
    ("env", {"nats": {"env": [{"name": "TOKEN", "value": PLANTED}]}}),
    ("args", {"gateway": {"args": [f"--token={PLANTED}"]}}),
    ("config", {"nats": {"config": {"password": PLANTED}}}),
    ("pod template", _template([{"name": "TOKEN", "value": PLANTED}])),
    ("a misshapen pod template", _template([{"TOKEN": PLANTED}])),
    ("a variable as a key's value", {"nats": {"env": [{"TOKEN": PLANTED}]}}),
    ("a text for a variable", {"nats": {"env": [f"TOKEN={PLANTED}"]}}),
    ("a number's place", {"nats": {"replicas": PLANTED}}),
    ("an address", {"nats": {"external": {"url": f"nats://tapio:{PLANTED}@nats.example.com"}}}),
    ("a field that is none", {"password": PLANTED}),
    ("an object for a text", {"version": {"password": PLANTED}}),
]
_USERS: list[tuple[str, JsonObject]] = [
    ("groups", {"username": "alice", "groups": [PLANTED]}),
    ("extra", {"username": "alice", "extra": {"example.com/token": [PLANTED]}}),
]


async def test_no_planted_value_is_recorded_or_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers, verdicts = count(1), set[JsonValue]()
    async with one_server(tmp_path / "nats") as nats:
        connection = await nats.connect()
        await nats.provision_anew(connection)
        async with running(tmp_path / "webhook", nats.urls[0]) as url, aiohttp.ClientSession() as session:
            for place, body in places():
                for handler in ("mutate", "validate"):
                    number = next(numbers)
                    object_at(body, "request").update({"uid": f"r-{number}", "name": f"c{number}"})
                    async with session.post(f"{url}/{handler}", json=body, ssl=False) as response:
                        assert response.status == 200, place
                        verdicts.add(at(await response.json(), "response", "allowed"))
        recorded = await _recorded(connection)
        await connection.close()
    assert verdicts == {True, False}
    assert len(recorded) == next(numbers) - 1 - 2  # all but the two about the Secret
    assert list((tmp_path / "nats").rglob("*.blk"))
    kept = b"\n".join(recorded) + b"\n".join(path.read_bytes() for path in sorted((tmp_path / "nats").rglob("*.blk")))
    output = capsys.readouterr()
    for form in (PLANTED.encode(), base64.b64encode(PLANTED.encode()).rstrip(b"=")):
        assert form not in kept
        assert form not in (output.out + output.err).encode()


async def _recorded(connection: NatsConnection) -> list[bytes]:
    view = await NatsEventLog(connection, ADMITTED_STREAM).last_per_subject("tapio.admitted.>")
    return [f"{one.subject}\n{dict(one.headers)}\n".encode() + one.data for one in view.messages]
