"""The certificate's Secret: shared, renewed, succeeded, and made anew when what it holds can't be used."""

from __future__ import annotations

import asyncio
import base64
import ssl

import pytest

from tapio_shared.adapters.clock import ManualClock
from tapio_shared.certificates import CertificateAuthority, certificate_facts
from tapio_shared.codec import encode
from tapio_shared.installation import WEBHOOK_CERTIFICATE
from tapio_shared.json import JsonObject
from tapio_shared.kubernetes import check, object_path
from tapio_shared.ports import Kube
from tests.integration.webhook.stores import (
    DAY,
    NAMES,
    NAMESPACE,
    SECRET_PATH,
    secret_data,
    simulated,
    store,
    ten_weeks_ago,
)


async def leaf(kube: Kube) -> bytes:
    return base64.b64decode((await secret_data(kube))["tls.crt"])


async def authority(kube: Kube) -> bytes:
    return base64.b64decode((await secret_data(kube))["ca.crt"])


async def patch(kube: Kube, data: JsonObject) -> None:
    body = encode({"data": data})
    check(await kube.request("PATCH", SECRET_PATH, body=body, content_type="application/merge-patch+json"))


def encoded(text: bytes) -> str:
    return base64.b64encode(text).decode()


async def test_many_replicas_that_start_at_once_share_one_certificate() -> None:
    clock = ten_weeks_ago()
    kube = await simulated(clock)
    replicas = [store(kube, clock) for _ in range(5)]
    await asyncio.gather(*(one.refresh() for one in replicas))
    assert {one.bundle for one in replicas} == {(await authority(kube)).decode()}


async def test_many_replicas_that_renew_at_once_make_one_certificate() -> None:
    clock = ten_weeks_ago()
    kube = await simulated(clock)
    replicas = [store(kube, clock) for _ in range(5)]
    await asyncio.gather(*(one.refresh() for one in replicas))
    first, ca = await leaf(kube), await authority(kube)
    clock.advance(59 * DAY)
    await asyncio.gather(*(one.refresh() for one in replicas))
    assert await leaf(kube) == first
    clock.advance(2 * DAY)
    await asyncio.gather(*(one.refresh() for one in replicas))
    second = await leaf(kube)
    assert second != first
    assert await authority(kube) == ca
    await asyncio.gather(*(one.refresh() for one in replicas))
    assert await leaf(kube) == second


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param({"tls.crt": encoded(b"nonsense")}, id="a certificate that is none"),
        pytest.param({"tls.key": encoded(b"nonsense")}, id="a key that is none"),
        pytest.param({"tls.crt": encoded(b"\xff\xfe")}, id="not even text"),
        pytest.param({"ca.key": None}, id="the authority's key is gone"),
        pytest.param({"ca.crt": None, "ca.key": None, "tls.crt": None, "tls.key": None}, id="everything is gone"),
        pytest.param({"former.crt": encoded(b"nonsense")}, id="a former authority that is none"),
    ],
)
async def test_a_damaged_secret_is_made_anew(damage: JsonObject) -> None:
    clock = ten_weeks_ago()
    kube = await simulated(clock)
    replica = store(kube, clock)
    await replica.refresh()
    await patch(kube, damage)
    await replica.refresh()
    made = await secret_data(kube)
    assert set(made) == {"ca.crt", "ca.key", "tls.crt", "tls.key"}
    assert replica.bundle == (await authority(kube)).decode()
    await replica.refresh()
    assert await secret_data(kube) == made


async def test_parts_of_two_certificates_are_not_put_together() -> None:
    clock = ten_weeks_ago()
    kube, other = await simulated(clock), await simulated(clock)
    replica, elsewhere = store(kube, clock), store(other, clock)
    await replica.refresh()
    await elsewhere.refresh()
    foreign = await secret_data(other)
    await patch(kube, {name: foreign[name] for name in ("tls.crt", "tls.key")})
    await replica.refresh()
    assert await leaf(kube) != base64.b64decode(foreign["tls.crt"])


async def test_an_empty_secret_is_filled() -> None:
    clock = ten_weeks_ago()
    kube = await simulated(clock)
    body: JsonObject = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": WEBHOOK_CERTIFICATE, "namespace": NAMESPACE},
        "data": {},
    }
    check(await kube.request("POST", object_path("", "v1", "secrets", NAMESPACE), body=encode(body)))
    replica = store(kube, clock)
    await replica.refresh()
    assert replica.bundle.startswith("-----BEGIN CERTIFICATE-----")


async def test_a_new_name_is_added_and_replicas_with_other_names_do_not_take_turns() -> None:
    clock = ten_weeks_ago()
    kube = await simulated(clock)
    old, new = store(kube, clock), store(kube, clock, names=("webhook.example.com",))
    await old.refresh()
    await new.refresh()
    both = await leaf(kube)
    assert set(certificate_facts(both).dns_names) == {*NAMES, "webhook.example.com"}
    await old.refresh()
    await new.refresh()
    assert await leaf(kube) == both


async def test_an_authority_that_nears_its_end_is_succeeded_without_an_untrusted_moment() -> None:
    clock = ManualClock()
    kube = await simulated(clock)
    replica = store(kube, clock)
    await replica.refresh()
    first = await authority(kube)
    bundles = [replica.bundle]
    authorities = [first]
    for _ in range(740):
        clock.advance(5 * DAY)
        before = await leaf(kube)
        await replica.refresh()
        now = await leaf(kube)
        if now != before:
            issuer = await authority(kube)
            # What issued the new leaf was in the bundle that API servers trusted before it was served.
            assert issuer.decode() in bundles[-1]
            # What issued the leaf that another replica may still serve is trusted.
            assert authorities[-1].decode() in replica.bundle
            bundles.append(replica.bundle)
            authorities.append(issuer)
        assert certificate_facts(now).expires_at > clock.now()
    assert len(set(authorities)) == 2
    assert certificate_facts(authorities[-1]).expires_at > certificate_facts(first).expires_at


async def test_after_eleven_years_switched_off_everything_is_new() -> None:
    clock = ManualClock()
    kube = await simulated(clock)
    await store(kube, clock).refresh()
    clock.advance(11 * 365 * DAY)
    replica = store(kube, clock)
    await replica.refresh()
    facts = certificate_facts(await leaf(kube))
    assert facts.begins_at <= clock.now() < facts.expires_at
    data = await secret_data(kube)
    loaded = CertificateAuthority.load(await authority(kube), base64.b64decode(data["ca.key"]))
    assert loaded.expires_at > clock.now()
    ssl.create_default_context(cadata=replica.bundle)
