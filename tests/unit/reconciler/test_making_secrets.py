"""What the shell writes into Secrets, against the simulator."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest_asyncio

from tapio_reconciler.core.model import CertificateSecret, CopiedSecret, GeneratedSecret, MadeSecret
from tapio_reconciler.shell.certificates import certificates
from tapio_reconciler.shell.secrets import make_secret
from tapio_shared.adapters.clock import SystemClock
from tapio_shared.adapters.random import SeededRandom
from tapio_shared.api.labels import COPY, RENEW_AT, managed_labels
from tapio_shared.certificates import CertificateAuthority, KeyPair, certificate_facts
from tapio_shared.facts import ApplyAction
from tapio_shared.json import JsonObject, object_at, strings_at
from tapio_shared.ports import Kube
from tapio_simulator.cluster import SimulatedCluster
from tests.support.kube_calls import Calls
from tests.support.planned_world import START

NODES = "tapio-nodes"
YEAR = int(timedelta(days=365).total_seconds() * 1000)


@pytest_asyncio.fixture
async def kube() -> Kube:
    cluster = SimulatedCluster(SystemClock(), SeededRandom(1))
    await cluster.prepare()
    assert (await Calls(cluster.kube(), "").create("/api/v1/namespaces", {"metadata": {"name": NODES}})).status == 201
    return cluster.kube()


async def values(kube: Kube, name: str, namespace: str = "default") -> dict[str, bytes]:
    calls = Calls(kube, namespace)
    found = await calls.get(calls.path("v1", "secrets", name))
    return {key: base64.b64decode(text) for key, text in strings_at(found.document, "data").items()}


def manifest(name: str, namespace: str = "default") -> JsonObject:
    labels = managed_labels(cluster="a", namespace="default", uid="u", name="nats", component="nats")
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": {**labels}},
    }


def passwords(*keys: str) -> GeneratedSecret:
    return GeneratedSecret(manifest=manifest("auth"), templates=dict.fromkeys(keys, "t{password}"), separate=True)


async def make(kube: Kube, secret: MadeSecret, now: int = START) -> JsonObject:
    metadata = object_at(secret.manifest, "metadata")
    action = ApplyAction(
        group="",
        version="v1",
        kind="Secret",
        plural="secrets",
        namespace=str(metadata["namespace"]),
        name=str(metadata["name"]),
        component="nats",
        phase=0,
        mode="generate",
        digest="d",
        reason="r",
    )
    return await make_secret(kube, SeededRandom(1), action, secret, now)


async def test_every_user_has_a_password_of_its_own_that_begins_with_a_letter(kube: Kube) -> None:
    await make(kube, passwords("ebpf", "cni", "streams"))
    made = await values(kube, "auth")
    assert set(made) == {"ebpf", "cni", "streams"}
    assert len(set(made.values())) == 3
    assert all(value.startswith(b"t") and len(value) == 25 for value in made.values())


async def test_what_exists_is_kept_and_what_is_missing_is_added(kube: Kube) -> None:
    await make(kube, passwords("ebpf"))
    before = (await values(kube, "auth"))["ebpf"]
    await make(kube, passwords("ebpf", "cni"))
    after = await values(kube, "auth")
    assert after["ebpf"] == before
    assert set(after) == {"ebpf", "cni"}


async def test_a_copy_follows_its_source_however_often_it_is_made(kube: Kube) -> None:
    await make(kube, passwords("ebpf", "cni"))
    copy = CopiedSecret(manifest=manifest("copy", NODES), values={"password": ("auth", "ebpf")})
    for _ in range(2):
        await make(kube, copy)
        assert await values(kube, "copy", NODES) == {"password": (await values(kube, "auth"))["ebpf"]}
    calls = Calls(kube, "default")
    rotated: JsonObject = {"data": {"ebpf": base64.b64encode(b"rotated").decode()}}
    assert (await calls.merge(calls.path("v1", "secrets", "auth"), rotated)).status == 200
    made = await make(kube, copy)
    assert await values(kube, "copy", NODES) == {"password": b"rotated"}
    assert strings_at(made, "metadata", "annotations") == {COPY: "true"}


CERTIFICATE = CertificateSecret(manifest=manifest("tls"), common_name="a-nats", dns_names=("*.a-nats-headless.x.svc",))


async def test_a_renewed_certificate_is_of_the_same_authority_and_says_when_it_is_renewed_next(kube: Kube) -> None:
    first = await make(kube, CERTIFICATE)
    before = await values(kube, "tls")
    renew_at = int(strings_at(first, "metadata", "annotations")[RENEW_AT])
    assert START < renew_at < certificate_facts(before["tls.crt"]).expires_at
    second = await make(kube, CERTIFICATE, renew_at)
    after = await values(kube, "tls")
    assert (after["ca.crt"], after["ca.key"]) == (before["ca.crt"], before["ca.key"])
    assert after["tls.crt"] != before["tls.crt"]
    assert int(strings_at(second, "metadata", "annotations")[RENEW_AT]) > renew_at
    CertificateAuthority.load(after["ca.crt"], after["ca.key"]).check(KeyPair(after["tls.crt"], after["tls.key"]))


def test_a_new_authority_leaves_the_former_one_trusted_until_it_ends() -> None:
    held, _ = certificates(CERTIFICATE, {}, START)
    renewed, _ = certificates(CERTIFICATE, held, START + 9 * YEAR + YEAR // 2)
    assert renewed["ca.crt"].endswith(held["ca.crt"])
    assert renewed["ca.crt"] != held["ca.crt"]
    late, _ = certificates(CERTIFICATE, held, START + 11 * YEAR)
    assert late["ca.crt"].count(b"BEGIN CERTIFICATE") == 1
