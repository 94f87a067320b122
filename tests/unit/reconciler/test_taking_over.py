"""Whose an object is that already exists under a name we need."""

from __future__ import annotations

import pytest

from tapio_reconciler.core.changes import may_take_over
from tapio_shared.api.labels import ADOPT, CLUSTER_UID, DESIRED_HASH, MANAGED_BY, managed_labels
from tapio_shared.json import JsonObject

OURS = managed_labels(cluster="dev", namespace="default", uid="u-1", name="nats", component="nats")
THEIRS = managed_labels(cluster="other", namespace="default", uid="u-2", name="nats", component="nats")
OWNER: JsonObject = {"kind": "TapioCluster", "name": "dev", "uid": "u-1", "controller": True}


def _object(labels: dict[str, str], annotations: dict[str, str], *owners: JsonObject) -> JsonObject:
    return {"metadata": {"labels": dict(labels), "annotations": dict(annotations), "ownerReferences": list(owners)}}


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        pytest.param(_object(OURS, {}), True, id="our-labels"),
        pytest.param(_object({}, {}), False, id="a-stranger"),
        pytest.param(_object({}, {ADOPT: "true"}), True, id="handed-over"),
        pytest.param(_object({**OURS, MANAGED_BY: "x"}, {DESIRED_HASH: "h"}), True, id="relabelled-by-somebody"),
        pytest.param(_object({}, {DESIRED_HASH: "h"}, OWNER), True, id="labels-gone-owner-left"),
        pytest.param(_object({CLUSTER_UID: "u-1"}, {}), False, id="without-our-hash"),
        pytest.param(_object(THEIRS, {DESIRED_HASH: "h"}), False, id="labels-of-another-cluster"),
        # Nobody but its controller writes an object, so these labels are somebody's edit (campaign, seeds 3 and 5).
        pytest.param(_object(THEIRS, {DESIRED_HASH: "h"}, OWNER), True, id="labels-of-another-cluster-owner-left"),
        pytest.param(_object(THEIRS, {}, OWNER), False, id="labels-of-another-cluster-without-our-hash"),
        pytest.param(_object({CLUSTER_UID: "u-0"}, {DESIRED_HASH: "h"}), False, id="of-a-former-cluster"),
    ],
)
def test_what_may_be_taken_over(live: JsonObject, expected: bool) -> None:
    wanted = _object(OURS, {}, OWNER)
    assert may_take_over(live, wanted, cluster="dev", namespace="default") is expected
