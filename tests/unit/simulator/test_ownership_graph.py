"""What garbage collection concludes from owners and dependents."""

from __future__ import annotations

import pytest

from tapio_simulator.controllers.ownership import FOREGROUND, Fate, Graph, Meta, Node, OwnerRef
from tapio_simulator.machinery.resources import CONFIG_MAPS

KNOWN, OTHER, GONE = "uid-known", "uid-other", "uid-gone"


def _owner(uid: str, *, blocks: bool = False) -> OwnerRef:
    return OwnerRef(api_version="v1", kind="ConfigMap", name=uid, uid=uid, block_owner_deletion=blocks)


def _put(graph: Graph, uid: str, *owners: OwnerRef, waiting: bool = False) -> Node:
    meta = Meta(
        name=uid,
        namespace="default",
        uid=uid,
        deletion_timestamp="2026-01-01T00:00:00Z" if waiting else None,
        finalizers=[FOREGROUND] if waiting else [],
        owner_references=list(owners),
    )
    return graph.put(CONFIG_MAPS, meta)


@pytest.mark.parametrize(
    ("owners", "waiting", "has_dependents", "fate"),
    [
        pytest.param([], False, False, Fate.KEEP, id="nobody's"),
        pytest.param([KNOWN], False, False, Fate.KEEP, id="the owner lives"),
        pytest.param([GONE], False, False, Fate.DELETE, id="the owner is gone"),
        pytest.param([KNOWN, GONE], False, False, Fate.DROP_REFERENCES, id="one of two owners is gone"),
        pytest.param([KNOWN], True, False, Fate.DELETE, id="the owner waits for it"),
        pytest.param([KNOWN], True, True, Fate.DELETE_FOREGROUND, id="the owner waits, and it has dependents itself"),
        pytest.param([KNOWN, OTHER], True, False, Fate.DROP_REFERENCES, id="one waits, another lives"),
    ],
)
def test_fates(owners: list[str], waiting: bool, has_dependents: bool, fate: Fate) -> None:
    graph = Graph()
    _put(graph, KNOWN, waiting=waiting)
    _put(graph, OTHER)
    node = _put(graph, "child", *(_owner(uid) for uid in owners))
    if has_dependents:
        _put(graph, "grandchild", _owner("child"))

    assert graph.judge(node, frozenset({GONE}) & {*owners}) is fate


def test_dependents_may_be_seen_before_their_owner() -> None:
    graph = Graph()
    _put(graph, "child", _owner(KNOWN))

    assert list(_put(graph, KNOWN).dependents) == ["child"]
    assert graph.remove(KNOWN) == ["child"]


def test_only_dependents_that_say_so_block() -> None:
    graph = Graph()
    owner = _put(graph, KNOWN, waiting=True)
    _put(graph, "free", _owner(KNOWN))
    _put(graph, "blocking", _owner(KNOWN, blocks=True))

    assert graph.blocking(owner) == ["blocking"]
    graph.remove("blocking")
    assert graph.blocking(owner) == []


def test_a_reference_that_is_taken_away_is_forgotten() -> None:
    graph = Graph()
    owner = _put(graph, KNOWN)
    _put(graph, "child", _owner(KNOWN))
    _put(graph, "child")

    assert list(owner.dependents) == []
