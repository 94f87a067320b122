"""When what a plan took for granted of people's own resources is no longer so, and how that is said."""

from __future__ import annotations

import pytest

from tapio_reconciler.core.premises import Premise, premises_of
from tapio_reconciler.core.state import Seen
from tapio_shared.json import JsonObject
from tapio_shared.keys import ObjectRef, OrderingKey

KEY = OrderingKey("local", "default", "demo")


def _premise(kind: str = "TapioCluster", *, uid: str = "u", generation: int = 2, is_deleted: bool = False) -> Premise:
    return Premise(
        kind=kind,
        namespace="default",
        name="demo",
        cluster="demo",
        uid=uid,
        generation=generation,
        is_deleted=is_deleted,
    )


def _live(*, uid: str = "u", generation: int = 2, deleted: bool = False, cluster: str = "demo") -> JsonObject:
    metadata: JsonObject = {"uid": uid, "generation": generation}
    if deleted:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return {"metadata": metadata, "spec": {"clusterRef": {"name": cluster}}}


@pytest.mark.parametrize(
    ("premise", "live", "said"),
    [
        pytest.param(_premise(), _live(), "", id="as it was"),
        pytest.param(_premise(), _live(generation=3), "TapioCluster default/demo was changed", id="another spec"),
        pytest.param(_premise(), _live(uid="v"), "TapioCluster default/demo was made anew", id="another one"),
        pytest.param(_premise(), None, "TapioCluster default/demo is gone", id="gone since"),
        pytest.param(_premise(is_deleted=True), None, "", id="deletion was under way, and is done"),
        pytest.param(_premise(is_deleted=True), _live(deleted=True), "", id="deletion is under way"),
        pytest.param(
            _premise(is_deleted=True),
            _live(),
            "TapioCluster default/demo is not being deleted",
            id="deletion was never asked for",
        ),
        pytest.param(
            _premise(), _live(deleted=True), "TapioCluster default/demo is being deleted", id="deletion has begun"
        ),
        pytest.param(_premise(uid=""), None, "", id="never there"),
        pytest.param(_premise(uid=""), _live(), "TapioCluster default/demo exists", id="there after all"),
        pytest.param(
            _premise("TapioCollector", uid=""),
            _live(),
            "TapioCollector default/demo exists",
            id="a collector that is there after all",
        ),
        pytest.param(_premise("TapioCollector", uid=""), _live(cluster="other"), "", id="it went to another cluster"),
        pytest.param(
            _premise("TapioCollector"),
            _live(cluster="other"),
            "TapioCollector default/demo is gone",
            id="it goes to another cluster now",
        ),
    ],
)
def test_a_premise_is_broken_by_what_the_api_server_has(premise: Premise, live: JsonObject | None, said: str) -> None:
    assert premise.broken(live) == said


def test_premises_are_of_peoples_own_resources_alone_those_that_are_gone_included() -> None:
    cluster = ObjectRef("tapio.io", "TapioCluster", "default", "demo")
    collector = ObjectRef("tapio.io", "TapioCollector", "default", "more")
    service = ObjectRef("", "Service", "default", "demo-nats")
    seen = {
        service: Seen(service, 3, {"metadata": {}}, "s", "1"),
        collector: Seen(collector, 2, None, "", ""),
        cluster: Seen(cluster, 1, {"metadata": {"generation": 2}}, "u", "1"),
    }
    assert premises_of(seen, KEY) == (
        _premise(),
        Premise(
            kind="TapioCollector",
            namespace="default",
            name="more",
            cluster="demo",
            uid="",
            generation=0,
            is_deleted=False,
        ),
    )
