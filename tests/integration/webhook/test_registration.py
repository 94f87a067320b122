"""The webhook's two registrations: as designed, kept so, and taken away when the configuration says so."""

from __future__ import annotations

import base64
from typing import cast

import pytest

from tapio_shared.codec import decode_as, encode
from tapio_shared.json import JsonObject, JsonValue, at, objects_at
from tapio_shared.kubernetes import check, object_path
from tapio_shared.ports import Kube
from tapio_webhook.registration import Endpoint, register
from tapio_webhook.service import Registrar
from tests.integration.webhook.stores import NAMESPACE, SECRET_PATH, simulated, store, ten_weeks_ago

MUTATING, VALIDATING = "mutatingwebhookconfigurations", "validatingwebhookconfigurations"
BOTH = pytest.mark.parametrize("plural", [MUTATING, VALIDATING])


def path(plural: str) -> str:
    return object_path("admissionregistration.k8s.io", "v1", plural, "", "tapio-operator")


async def registration(kube: Kube, plural: str) -> JsonObject:
    return cast("JsonObject", decode_as(dict, check(await kube.request("GET", path(plural)))))


async def handler(kube: Kube, plural: str) -> JsonObject:
    (found,) = objects_at(await registration(kube, plural), "webhooks")
    return found


async def registrar() -> tuple[Kube, Registrar]:
    clock = ten_weeks_ago()
    kube = await simulated(clock)
    return kube, Registrar(kube, store(kube, clock), Endpoint(namespace=NAMESPACE), namespace=NAMESPACE)


async def configure(kube: Kube, text: str) -> None:
    config: JsonObject = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "tapio-operator-config", "namespace": NAMESPACE},
        "data": {"config.yaml": text},
    }
    maps = object_path("", "v1", "configmaps", NAMESPACE)
    if (await kube.request("POST", maps, body=encode(config))).status == 409:
        check(await kube.request("PUT", f"{maps}/tapio-operator-config", body=encode(config)))


async def merge(kube: Kube, plural: str, change: JsonValue) -> None:
    body = encode({"webhooks": change})
    check(await kube.request("PATCH", path(plural), body=body, content_type="application/merge-patch+json"))


@BOTH
async def test_a_webhook_that_is_down_blocks_nothing(plural: str) -> None:
    kube, registrar_ = await registrar()
    await registrar_.look()
    found = await handler(kube, plural)
    assert found["failurePolicy"] == "Ignore"
    assert found["sideEffects"] == "NoneOnDryRun"
    assert found["timeoutSeconds"] == 5
    (rule,) = objects_at(found, "rules")
    assert rule["apiGroups"] == ["tapio.io"]
    assert rule["operations"] == ["CREATE", "UPDATE"]
    assert rule["resources"] == ["tapioclusters", "tapiocollectors", "tapiointelligences"]
    assert at(found, "clientConfig", "service", "name") == "tapio-webhook"


async def test_it_goes_and_comes_with_the_configuration() -> None:
    kube, registrar_ = await registrar()
    await registrar_.look()
    await configure(kube, "webhooks:\n  enabled: false\n")
    await registrar_.look()
    assert [(await kube.request("GET", path(plural))).status for plural in (MUTATING, VALIDATING)] == [404, 404]
    await configure(kube, "webhooks:\n  enabled: true\n")
    await registrar_.look()
    assert [(await kube.request("GET", path(plural))).status for plural in (MUTATING, VALIDATING)] == [200, 200]


async def test_a_wrong_configuration_changes_nothing() -> None:
    kube, registrar_ = await registrar()
    await configure(kube, "webhooks:\n  enabled: false\nsecurity:\n  trustedNamespaces: [a]\n")
    await registrar_.look()
    await configure(kube, "webhooks: [")
    await registrar_.look()
    assert registrar_.config.trust.trusted_namespaces == ("a",)
    assert (await kube.request("GET", path(MUTATING))).status == 404


@BOTH
async def test_a_registration_that_was_taken_away_comes_back(plural: str) -> None:
    kube, registrar_ = await registrar()
    await registrar_.look()
    check(await kube.request("DELETE", path(plural)))
    await registrar_.look()
    assert (await handler(kube, plural))["failurePolicy"] == "Ignore"


@BOTH
async def test_what_is_ours_is_put_right_and_what_is_not_is_left(plural: str) -> None:
    kube, registrar_ = await registrar()
    await registrar_.look()
    right = await handler(kube, plural)
    selector: JsonObject = {"matchExpressions": [{"key": "control-plane", "operator": "DoesNotExist"}]}
    await merge(kube, plural, [{**right, "failurePolicy": "Fail", "namespaceSelector": selector}])
    await registrar_.look()
    found = await handler(kube, plural)
    assert (found["failurePolicy"], found["namespaceSelector"]) == ("Ignore", selector)


@BOTH
async def test_a_handler_beside_ours_is_no_reason_to_write_for_ever(plural: str) -> None:
    kube, registrar_ = await registrar()
    await registrar_.look()
    ours = await handler(kube, plural)
    await merge(kube, plural, [ours, {**ours, "name": "other.example.com"}])
    bundle = base64.b64decode(str(at(ours, "clientConfig", "caBundle"))).decode()
    assert not await register(kube, Endpoint(namespace=NAMESPACE), bundle)


@BOTH
async def test_a_new_authority_is_told_to_api_servers(plural: str) -> None:
    kube, registrar_ = await registrar()
    await registrar_.look()
    before = at(await handler(kube, plural), "clientConfig", "caBundle")
    check(await kube.request("DELETE", SECRET_PATH))
    await registrar_.look()
    after = at(await handler(kube, plural), "clientConfig", "caBundle")
    assert after != before


async def test_when_all_is_right_nothing_is_written() -> None:
    kube, registrar_ = await registrar()
    await registrar_.look()
    before = [await registration(kube, plural) for plural in (MUTATING, VALIDATING)]
    await registrar_.look()
    assert [await registration(kube, plural) for plural in (MUTATING, VALIDATING)] == before
