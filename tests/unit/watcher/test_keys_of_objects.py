"""Which TapioCluster an object belongs to."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given

from tapio_shared.api.labels import CLUSTER, CLUSTER_NAMESPACE, CLUSTER_UID, DESIRED_HASH, MANAGED_BY
from tapio_shared.json import JsonObject
from tapio_shared.keys import OrderingKey
from tapio_watcher.routing import key_of, ref_of
from tests.unit.watcher.documents import LABELS, documents

KEY = OrderingKey("local", "team", "tapio")


def _owner(kind: str) -> JsonObject:
    return {"kind": kind, "name": "tapio", "uid": "u-1", "controller": True}


def _made(labels: JsonObject, *owners: JsonObject) -> JsonObject:
    """An object that wears our hash."""
    metadata: JsonObject = {"name": "made", "namespace": "team", "labels": labels, "annotations": {DESIRED_HASH: "h"}}
    if owners:
        metadata["ownerReferences"] = [*owners]
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


@given(documents())
def test_every_object_has_a_name_and_at_most_one_key(document: JsonObject) -> None:
    ref_of(document)
    key = key_of("local", document)
    assert key is None or (key.target == "local" and isinstance(key.name, str))


@pytest.mark.parametrize(
    ("document", "key"),
    [
        pytest.param(
            {
                "apiVersion": "tapio.io/v1alpha1",
                "kind": "TapioCluster",
                "metadata": {"name": "tapio", "namespace": "team"},
            },
            KEY,
            id="a TapioCluster is its own",
        ),
        pytest.param(
            {
                "apiVersion": "tapio.io/v1alpha1",
                "kind": "TapioCollector",
                "metadata": {"name": "extra", "namespace": "team"},
                "spec": {"clusterRef": {"name": "tapio"}},
            },
            KEY,
            id="a collector belongs to the cluster it names",
        ),
        pytest.param(
            {
                "apiVersion": "tapio.io/v1alpha1",
                "kind": "TapioIntelligence",
                "metadata": {"name": "extra", "namespace": "team"},
                "spec": {},
            },
            None,
            id="a resource that names no cluster is nobody's",
        ),
        pytest.param(
            {
                "apiVersion": "apps/v1",
                "kind": "DaemonSet",
                "metadata": {"name": "ebpf", "namespace": "tapio-nodes", "labels": LABELS},
            },
            KEY,
            id="a managed object in another namespace follows its labels",
        ),
        pytest.param(
            {
                "apiVersion": "apps/v1",
                "kind": "DaemonSet",
                "metadata": {"name": "ebpf", "labels": {**LABELS, "app.kubernetes.io/managed-by": "helm"}},
            },
            None,
            id="an object that somebody else manages is nobody's",
        ),
        pytest.param(
            _made({**LABELS, MANAGED_BY: "helm"}),
            KEY,
            id="what was made for a cluster is its own, whoever is said to manage it",
        ),
        pytest.param(
            _made({**LABELS, CLUSTER: "other"}),
            OrderingKey("local", "team", "other"),
            id="what has no controller can be given away",
        ),
        pytest.param(_made({CLUSTER_UID: "u-1"}), None, id="what has no controller and says no name is nobody's"),
        pytest.param(
            _made({**LABELS, CLUSTER: "other", CLUSTER_NAMESPACE: "team"}, _owner("TapioCluster")),
            KEY,
            id="what is controlled by a cluster is its own, whatever the labels say",
        ),
        pytest.param(
            _made({CLUSTER_UID: "u-1"}, _owner("TapioCluster")), KEY, id="also where the labels say nothing any more"
        ),
        pytest.param(
            _made({**LABELS, MANAGED_BY: "helm"}, _owner("Deployment")),
            None,
            id="what something else controls follows its labels",
        ),
    ],
)
def test_key_of(document: dict[str, object], key: OrderingKey | None) -> None:
    assert key_of("local", cast("JsonObject", document)) == key
