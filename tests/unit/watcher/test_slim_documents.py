"""What a fact keeps of an object, and what it never holds."""

from __future__ import annotations

import base64
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio_shared.codec import encode
from tapio_shared.json import JsonObject, JsonValue, object_at
from tapio_shared.slim import slim
from tests.unit.watcher.documents import documents

KEY = b"k" * 48


def deployment(**status: object) -> JsonObject:
    return cast(
        "JsonObject",
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "gateway"}, "status": status},
    )


@given(documents())
def test_slim_is_idempotent_and_total(document: JsonObject) -> None:
    once = slim(document, digest_key=KEY, key_id="1")
    assert slim(once, digest_key=KEY, key_id="1") == once


@given(
    st.dictionaries(st.sampled_from(["password", "user", "ca.crt"]), st.binary(min_size=12, max_size=40), min_size=1),
    st.sampled_from(["kubectl.kubernetes.io/last-applied-configuration", "objectset.rio.cattle.io/applied"]),
)
def test_no_value_of_a_secret_survives(values: dict[str, bytes], annotation: str) -> None:
    data = {name: base64.b64encode(value).decode() for name, value in values.items()}
    document = cast(
        "JsonObject",
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "credentials", "annotations": {annotation: encode({"data": data}).decode()}},
            "data": data,
            "stringData": data,
            "type": "Opaque",
        },
    )
    written = encode(slim(document, digest_key=KEY, key_id="1")).decode()
    for value in data.values():
        assert value not in written


def test_the_digest_of_a_secret_depends_on_value_and_key() -> None:
    def digest(value: str, key: bytes) -> object:
        document: JsonObject = {"apiVersion": "v1", "kind": "Secret", "metadata": {}, "data": {"password": value}}
        return object_at(slim(document, digest_key=key, key_id="1"), "digests")["password"]

    assert digest("YQ==", KEY) == digest("YQ==", KEY)
    assert len({digest("YQ==", KEY), digest("Yg==", KEY), digest("YQ==", b"other" * 8)}) == 3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(
            deployment(conditions=[{"type": "Available", "lastUpdateTime": "10:00"}]),
            deployment(conditions=[{"type": "Available", "lastUpdateTime": "10:01"}]),
            id="a condition's heartbeat",
        ),
        pytest.param(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "resourceVersion": "1"}},
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "resourceVersion": "2"}},
            id="a new version of the same",
        ),
        pytest.param(
            {**deployment(currentMetrics=[1]), "kind": "HorizontalPodAutoscaler"},
            {**deployment(currentMetrics=[2]), "kind": "HorizontalPodAutoscaler"},
            id="an autoscaler's measurements",
        ),
        pytest.param(
            {**deployment(recommendation={"cpu": 1}), "kind": "VerticalPodAutoscaler"},
            {**deployment(recommendation={"cpu": 2}), "kind": "VerticalPodAutoscaler"},
            id="a vertical autoscaler's recommendation",
        ),
        pytest.param(
            {
                **deployment(),
                "metadata": {"managedFields": [{"manager": "kcm", "subresource": "status", "time": "10:00"}]},
            },
            {
                **deployment(),
                "metadata": {"managedFields": [{"manager": "kcm", "subresource": "status", "time": "10:01"}]},
            },
            id="who wrote the status last",
        ),
    ],
)
def test_what_only_ticks_is_dropped(one: JsonObject, other: JsonObject) -> None:
    assert one != other
    assert slim(one) == slim(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(deployment(readyReplicas=1), deployment(readyReplicas=2), id="ready replicas"),
        pytest.param({**deployment(), "later": 1}, {**deployment(), "later": 2}, id="a field nobody knows"),
        pytest.param(
            {**deployment(), "metadata": {"managedFields": [{"manager": "kubectl", "operation": "Update"}]}},
            {**deployment(), "metadata": {"managedFields": [{"manager": "tapio", "operation": "Apply"}]}},
            id="who wrote the spec",
        ),
        pytest.param(
            deployment(conditions=[{"type": "Available", "lastTransitionTime": "10:00"}]),
            deployment(conditions=[{"type": "Available", "lastTransitionTime": "10:01"}]),
            id="a transition",
        ),
    ],
)
def test_what_may_matter_is_kept(one: JsonObject, other: JsonObject) -> None:
    assert slim(one) != slim(other)


def test_of_who_owns_what_only_the_owner_of_replicas_is_kept() -> None:
    entries: list[JsonValue] = [
        {"manager": "tapio-operator", "operation": "Apply", "fieldsV1": {"f:spec": {"f:template": {}}}},
        {
            "manager": "kube-controller-manager",
            "operation": "Update",
            "subresource": "scale",
            "fieldsV1": {"f:spec": {"f:replicas": {}}},
        },
    ]
    document: JsonObject = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"managedFields": entries}}

    kept = object_at(slim(document), "metadata")["managedFields"]

    assert kept == [
        {"manager": "tapio-operator", "operation": "Apply"},
        {"manager": "kube-controller-manager", "operation": "Update", "subresource": "scale", "replicas": True},
    ]
