"""What an API server drops of a status, and what is then asked for."""

from __future__ import annotations

import pytest

from tapio_reconciler.core.changes import LONGEST_UNOBSERVED
from tapio_reconciler.core.dropped import as_kept, dropped_from
from tapio_shared.facts import DroppedFields
from tapio_shared.json import JsonObject

NOW = 1_000_000
STATUS: JsonObject = {
    "phase": "Ready",
    "conditions": [{"type": "Ready", "status": "True"}, {"type": "Degraded", "status": "False", "message": "m"}],
    "endpoints": {"nats": "nats://a", "graph": "bolt://b"},
}


@pytest.mark.parametrize(
    ("made", "fields"),
    [
        pytest.param(STATUS, None, id="nothing"),
        pytest.param({**STATUS, "more": 1}, None, id="what others added"),
        pytest.param({}, ["conditions", "endpoints", "phase"], id="all"),
        pytest.param({**STATUS, "endpoints": {"nats": "nats://a"}}, ["endpoints/graph"], id="a field of a field"),
        pytest.param(
            {**STATUS, "conditions": [{"type": "Ready", "status": "True"}, {"type": "Degraded", "status": "False"}]},
            ["conditions/message"],
            id="a field of an entry of a list",
        ),
        pytest.param({**STATUS, "phase": "Other"}, None, id="another value is no loss"),
        pytest.param({**STATUS, "conditions": []}, None, id="a list of another length is compared by nobody"),
    ],
)
def test_what_came_back_without(made: JsonObject, fields: list[str] | None) -> None:
    expected = None if fields is None else DroppedFields(fields=fields, dropped_at=NOW)
    assert dropped_from(STATUS, made, NOW) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param(None, STATUS, id="nothing is known"),
        pytest.param(["endpoints", "phase"], {"conditions": STATUS["conditions"]}, id="fields"),
        pytest.param(
            ["conditions/message"],
            {**STATUS, "conditions": [{"type": "Ready", "status": "True"}, {"type": "Degraded", "status": "False"}]},
            id="a field in a list",
        ),
        pytest.param(["conditions/none", "other"], STATUS, id="what is not there any more"),
    ],
)
def test_what_is_asked_for_then(fields: list[str] | None, expected: JsonObject) -> None:
    dropped = None if fields is None else DroppedFields(fields=fields, dropped_at=NOW)
    until = 0 if fields is None else NOW + LONGEST_UNOBSERVED
    assert as_kept(STATUS, dropped, NOW) == (expected, until)
    assert as_kept(STATUS, dropped, NOW + LONGEST_UNOBSERVED - 1) == (expected, until)
    assert as_kept(STATUS, dropped, NOW + LONGEST_UNOBSERVED) == (STATUS, 0), "the CRD may be a new one by now"
    assert as_kept(STATUS, dropped, NOW - 1) == (STATUS, 0), "a clock that was set back tells nothing"


def test_what_comes_back_is_what_was_asked_for_without_what_is_dropped() -> None:
    made: JsonObject = {"phase": "Ready", "conditions": [{"type": "Ready"}, {"type": "Degraded"}]}
    found = dropped_from(STATUS, made, NOW)
    assert found is not None
    assert as_kept(STATUS, found, NOW)[0] == made
