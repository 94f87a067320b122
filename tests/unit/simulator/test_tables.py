"""Ages and JSON paths of printer columns."""

from __future__ import annotations

import pytest

from tapio_shared.json import JsonObject
from tapio_simulator.jsonpath import values_at
from tapio_simulator.tables import age


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        pytest.param(0, "0s"),
        pytest.param(119, "119s"),
        pytest.param(120, "2m"),
        pytest.param(125, "2m5s"),
        pytest.param(600, "10m"),
        pytest.param(10_799, "179m"),
        pytest.param(10_800, "3h"),
        pytest.param(12_000, "3h20m"),
        pytest.param(28_800, "8h"),
        pytest.param(172_800, "2d"),
        pytest.param(180_000, "2d2h"),
        pytest.param(691_200, "8d"),
        pytest.param(63_072_000, "2y"),
        pytest.param(-1, "0s"),
        pytest.param(-2, "<invalid>"),
    ],
)
def test_ages_read_as_kubectl_users_know_them(seconds: int, text: str) -> None:
    assert age(seconds) == text


DOCUMENT: JsonObject = {
    "spec": {"a": 1, "list": [{"n": "x", "v": 2}, {"n": "y", "v": 3}]},
    "metadata": {"labels": {"a.b/c": "d"}},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        pytest.param(".spec.a", [1], id="field"),
        pytest.param("{.spec.a}", [1], id="braces"),
        pytest.param(".spec.list[0].v", [2], id="index"),
        pytest.param(".spec.list[*].v", [2, 3], id="all"),
        pytest.param('.spec.list[?(@.n=="y")].v', [3], id="filter"),
        pytest.param(r".metadata.labels.a\.b/c", ["d"], id="escaped dot"),
        pytest.param(".metadata.labels['a.b/c']", ["d"], id="quoted"),
        pytest.param(".spec.none.x", [], id="absent"),
    ],
)
def test_json_paths(path: str, found: list[object]) -> None:
    assert values_at(DOCUMENT, path) == found
