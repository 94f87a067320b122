"""What the shell writes into Secrets, against a Kubernetes API in memory."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

from tapio_reconciler.core.model import CertificateSecret, CopiedSecret, GeneratedSecret, MadeSecret
from tapio_reconciler.shell.secrets import certificates, make_secret
from tapio_shared.adapters.random import SeededRandom
from tapio_shared.api.labels import COPY, RENEW_AT, managed_labels
from tapio_shared.certificates import CertificateAuthority, KeyPair, certificate_facts
from tapio_shared.facts import ApplyAction
from tapio_shared.json import JsonObject, object_at, strings_at
from tapio_shared.ports import KubeResponse
from tests.support.planned_world import START

YEAR = int(timedelta(days=365).total_seconds() * 1000)


class Secrets:
    """An API server that holds Secrets alone."""

    def __init__(self) -> None:
        self.held: dict[str, JsonObject] = {}

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout: float = 30.0,
    ) -> KubeResponse:
        document: JsonObject = json.loads(body or b"{}")
        name = path.rpartition("/")[2]
        if method == "POST":
            name = str(object_at(document, "metadata")["name"])
            if name in self.held:
                return _answer(409, {"reason": "AlreadyExists", "message": "exists", "code": 409})
            self.held[name] = document
        elif name not in self.held:
            return _answer(404, {"reason": "NotFound", "message": "not found", "code": 404})
        elif method == "PATCH":
            live = self.held[name]
            object_at(live, "data").update(object_at(document, "data"))
            metadata = object_at(live, "metadata")
            metadata["annotations"] = {
                **object_at(metadata, "annotations"),
                **object_at(document, "metadata", "annotations"),
            }
        return _answer(200, self.held[name])

    def watch(
        self, path: str, *, query: Mapping[str, str], silence: float = 70.0
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        raise NotImplementedError(path)

    def values(self, name: str) -> dict[str, bytes]:
        return {key: base64.b64decode(text) for key, text in strings_at(self.held[name], "data").items()}


def _answer(status: int, document: JsonObject) -> KubeResponse:
    return KubeResponse(status, json.dumps(document).encode())


def manifest(name: str, namespace: str = "default") -> JsonObject:
    labels = managed_labels(cluster="a", namespace="default", uid="u", name="nats", component="nats")
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": {**labels}},
    }


def passwords(*keys: str) -> GeneratedSecret:
    return GeneratedSecret(manifest=manifest("auth"), templates=dict.fromkeys(keys, "t{password}"), separate=True)


async def make(kube: Secrets, secret: MadeSecret, now: int = START) -> JsonObject:
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


async def test_every_user_has_a_password_of_its_own_that_begins_with_a_letter() -> None:
    kube = Secrets()
    await make(kube, passwords("ebpf", "cni", "streams"))
    values = kube.values("auth")
    assert set(values) == {"ebpf", "cni", "streams"}
    assert len(set(values.values())) == 3
    assert all(value.startswith(b"t") and len(value) == 25 for value in values.values())


async def test_what_exists_is_kept_and_what_is_missing_is_added() -> None:
    kube = Secrets()
    await make(kube, passwords("ebpf"))
    before = kube.values("auth")["ebpf"]
    await make(kube, passwords("ebpf", "cni"))
    after = kube.values("auth")
    assert after["ebpf"] == before
    assert set(after) == {"ebpf", "cni"}


async def test_a_copy_follows_its_source_however_often_it_is_made() -> None:
    kube = Secrets()
    await make(kube, passwords("ebpf", "cni"))
    copy = CopiedSecret(manifest=manifest("copy", "tapio-nodes"), values={"password": ("auth", "ebpf")})
    for _ in range(2):
        await make(kube, copy)
        assert kube.values("copy") == {"password": kube.values("auth")["ebpf"]}
    object_at(kube.held["auth"], "data")["ebpf"] = base64.b64encode(b"rotated").decode()
    made = await make(kube, copy)
    assert kube.values("copy") == {"password": b"rotated"}
    assert strings_at(made, "metadata", "annotations") == {COPY: "true"}


CERTIFICATE = CertificateSecret(manifest=manifest("tls"), common_name="a-nats", dns_names=("*.a-nats-headless.x.svc",))


async def test_a_renewed_certificate_is_of_the_same_authority_and_says_when_it_is_renewed_next() -> None:
    kube = Secrets()
    first = await make(kube, CERTIFICATE)
    before = kube.values("tls")
    renew_at = int(strings_at(first, "metadata", "annotations")[RENEW_AT])
    assert START < renew_at < certificate_facts(before["tls.crt"]).expires_at
    second = await make(kube, CERTIFICATE, renew_at)
    after = kube.values("tls")
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
