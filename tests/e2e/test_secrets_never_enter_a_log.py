"""No value of a Secret, generated or a person's, is anywhere in JetStream or in what the services print.

Looked through are the messages of every stream with their headers, the raw files of the store, and every service's
lines. What a TapioCluster's spec itself says is a fact and is recorded; a spec that was refused is not.
"""

from __future__ import annotations

import base64
from functools import partial

import pytest

from tapio_cli.kubectl import KubectlError
from tapio_shared.json import JsonObject, JsonValue
from tests.support.e2e_objects import small_cluster
from tests.support.operator_run import OperatorRun

pytestmark = pytest.mark.asyncio(loop_scope="session")
_PLANTED = "planted-7f3e9b51-value"
_PULL_SECRET = "registry-of-one"


def pull_secret(round_: str) -> JsonObject:
    """A person's Secret, which kubectl copies whole into an annotation; so do other tools, into one of their own."""
    value = f"{_PLANTED}-{round_}"
    copied = f'{{"stringData":{{"token":"{value}"}}}}'
    metadata: JsonObject = {
        "name": _PULL_SECRET,
        "labels": {"example.com/round": f"the-{round_}-round"},
        "annotations": {"kapp.k14s.io/original": copied, "example.com/token": value},
    }
    encoded = base64.b64encode(value.encode()).decode()
    data: JsonObject = {"encoded": encoded}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data, "stringData": {"token": value}}


@pytest.mark.parametrize(
    "nats",
    [
        pytest.param({"external": {"url": f"nats://tapio:{_PLANTED}@nats.example.com"}}, id="an address"),
        pytest.param(
            {"podTemplate": {"spec": {"containers": [{"name": "nats", "env": [{"TOKEN": _PLANTED}]}]}}},
            id="the pod template",
        ),
    ],
)
async def test_a_refused_spec_leaves_no_secret_anywhere(
    operator: OperatorRun, namespace: str, nats: dict[str, JsonValue]
) -> None:
    with pytest.raises(KubectlError) as denied:
        await operator.kubernetes.apply(small_cluster("refused", nats=nats), namespace)
    assert "spec.nats." in str(denied.value)
    await operator.kubernetes.until(lambda: _is_recorded(operator, f'"namespace":"{namespace}"'.encode()))
    assert _forms(_PLANTED, await _everything(operator)) == []


async def test_no_value_of_a_secret_is_recorded(operator: OperatorRun, namespace: str) -> None:
    kubernetes = operator.kubernetes
    await kubernetes.apply(pull_secret("first"), namespace)
    document = small_cluster("one", profile="development", image={"pullSecrets": [{"name": _PULL_SECRET}]})
    await kubernetes.apply(document, namespace)
    await kubernetes.until_condition("one", "Ready", "True", namespace=namespace)
    await kubernetes.until(lambda: _is_recorded(operator, b"the-first-round"))

    await kubernetes.apply(pull_secret("second"), namespace)
    patch = f'{{"stringData": {{"more": "{_PLANTED}"}}, "metadata": {{"labels": {{"example.com/round": "the-own"}}}}}}'
    await kubernetes.kubectl.run("patch", "secret", "one-neo4j-auth", "-n", namespace, "--type=merge", "-p", patch)
    for told in (b"the-second-round", b"the-own"):
        await kubernetes.until(partial(_is_recorded, operator, told))

    values = await kubernetes.secret_values("one-neo4j-auth", namespace, besides="username")
    assert _PLANTED in values
    recorded = await _everything(operator)
    assert b"one-neo4j-auth" in recorded
    assert [value for value in sorted(values) if _forms(value, recorded)] == []
    assert _forms(_PLANTED, recorded) == []


async def _is_recorded(operator: OperatorRun, text: bytes) -> bool:
    return text in await operator.recorded()


async def _everything(operator: OperatorRun) -> bytes:
    lines = [service.log.read_bytes() for service in operator.services.values()]
    return b"\n".join([await operator.recorded(), *lines])


def _forms(value: str, text: bytes) -> list[bytes]:
    """The forms of `value` that occur in `text`: plain, or in base64 at any of the three positions it may begin at."""
    plain = value.encode()
    # What surrounds the value decides its first and last characters in base64: those are left out.
    encoded = [base64.b64encode(b" " * shift + plain)[4 if shift else 0 : -4] for shift in range(3)]
    return [form for form in (plain, *encoded) if form in text]
