"""The state machine of list and watch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio_shared.errors import ApiRetryable, ApiTerminal, ApiUnavailable, ResourceExpired, TapioError
from tapio_shared.json import JsonObject
from tapio_watcher.watching import (
    INITIAL_EVENTS_END,
    Apply,
    Broken,
    Change,
    Delete,
    EventRead,
    Expired,
    Following,
    Init,
    InitApply,
    InitDone,
    PageRead,
    Paging,
    State,
    Streaming,
    StreamRefused,
    Told,
    are_comparable,
    begin,
    is_older,
    meaning_of,
    offers_streams,
    step,
    watch_query,
)


def thing(version: str, **annotations: str) -> JsonObject:
    return {"metadata": {"name": "a", "resourceVersion": version, "annotations": dict(annotations)}}


LISTED = thing("9", **{INITIAL_EVENTS_END: "true"})


@pytest.mark.parametrize(
    ("state", "told", "after", "changes"),
    [
        pytest.param(
            Streaming(),
            EventRead("ADDED", thing("3")),
            Streaming(),
            (InitApply(thing("3")),),
            id="an object of a streaming list",
        ),
        pytest.param(
            Streaming(), EventRead("BOOKMARK", LISTED), Following("9"), (InitDone(),), id="a streaming list ends"
        ),
        pytest.param(
            Streaming(), EventRead("BOOKMARK", thing("9")), Streaming(), (), id="a bookmark within a streaming list"
        ),
        pytest.param(Streaming(), StreamRefused(), Paging(), (Init(),), id="no streaming lists: pages"),
        pytest.param(Streaming(), Broken(), Streaming(), (Init(),), id="half a list is none"),
        pytest.param(
            Paging(), PageRead((thing("1"),), "9", "more"), Paging("more"), (InitApply(thing("1")),), id="a page"
        ),
        pytest.param(
            Paging("more"),
            PageRead((thing("2"),), "9"),
            Following("9"),
            (InitApply(thing("2")), InitDone()),
            id="the last page",
        ),
        pytest.param(Paging("more"), Expired(), Streaming(), (Init(),), id="a list that expired between pages"),
        pytest.param(
            Following("9"), EventRead("MODIFIED", thing("10")), Following("10"), (Apply(thing("10")),), id="a change"
        ),
        pytest.param(
            Following("9"), EventRead("DELETED", thing("11")), Following("11"), (Delete(thing("11")),), id="a deletion"
        ),
        pytest.param(Following("9"), EventRead("BOOKMARK", thing("12")), Following("12"), (), id="a bookmark"),
        pytest.param(Following("9"), EventRead("BOOKMARK", LISTED), Following("9"), (), id="a late end of list"),
        pytest.param(Following("9"), EventRead("SURPRISE", thing("12")), Following("9"), (), id="an unknown event"),
        pytest.param(Following("9"), Broken(), Following("9"), (), id="a broken watch goes on where it was"),
        pytest.param(Following("9"), Expired(), Streaming(), (Init(),), id="an expired watch lists anew"),
    ],
)
def test_step(state: State, told: Told, after: State, changes: tuple[Change, ...]) -> None:
    assert step(state, told, streams=True) == (after, changes)


EVENTS = st.sampled_from(
    [
        EventRead("ADDED", thing("3")),
        EventRead("MODIFIED", thing("4")),
        EventRead("DELETED", thing("5")),
        EventRead("BOOKMARK", thing("6")),
        EventRead("BOOKMARK", LISTED),
        EventRead("ERROR", {}),
        PageRead((thing("1"),), "9", "more"),
        PageRead((thing("1"),), "9"),
        Broken(),
        Expired(),
        StreamRefused(),
    ]
)


@given(st.lists(EVENTS, max_size=40), st.booleans())
def test_changes_outside_a_list_come_only_after_a_complete_one(events: list[Told], streams: bool) -> None:
    state, changes = begin(streams=streams)
    told = list(changes)
    for event in events:
        state, changes = step(state, event, streams=streams)
        told += changes
    is_listing = False
    for change in told:
        match change:
            case Init():
                is_listing = True
            case InitDone():
                assert is_listing
                is_listing = False
            case InitApply():
                assert is_listing
            case Apply():
                assert not is_listing
            case Delete():
                pass
    assert is_listing != isinstance(state, Following)


@pytest.mark.parametrize(
    ("error", "state", "meaning"),
    [
        pytest.param(ResourceExpired("old"), Following("1"), Expired(), id="410"),
        pytest.param(ApiTerminal(422, "Invalid", "no"), Streaming(), StreamRefused(), id="422 of a streaming list"),
        pytest.param(ApiTerminal(403, "Forbidden", "no"), Following("1"), Broken(), id="403 of a watch"),
        pytest.param(ApiRetryable(500, "InternalError", "etcd"), Streaming(), StreamRefused(), id="500 of an old etcd"),
        pytest.param(ApiRetryable(503, "", "busy"), Streaming(), Broken(), id="503"),
        pytest.param(ApiRetryable(500, "", "etcd"), Following("1"), Broken(), id="500 of a watch"),
        pytest.param(ApiUnavailable("away"), Streaming(), Broken(), id="no answer"),
    ],
)
def test_meaning_of_errors(error: TapioError, state: State, meaning: Told) -> None:
    assert meaning_of(error, state) == meaning


def test_the_query_of_a_watch() -> None:
    assert watch_query(Following("9"), {"labelSelector": "a"}, 300) == {
        "labelSelector": "a",
        "allowWatchBookmarks": "true",
        "timeoutSeconds": "300",
        "resourceVersion": "9",
    }
    assert watch_query(Streaming(), {}, 300) == {
        "allowWatchBookmarks": "true",
        "timeoutSeconds": "300",
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
    }


@pytest.mark.parametrize(
    ("version", "streams", "comparable"),
    [
        pytest.param("v1.20.2", False, False, id="old"),
        pytest.param("v1.34.1", True, False, id="streaming lists are on"),
        pytest.param("v1.35.0-gke.100", True, True, id="versions may be compared"),
        pytest.param("nonsense", False, False, id="no version at all"),
    ],
)
def test_what_a_server_offers(version: str, streams: bool, comparable: bool) -> None:
    assert (offers_streams(version), are_comparable(version)) == (streams, comparable)


def test_versions_are_compared_by_length_first() -> None:
    assert is_older("999", "1000")
    assert not is_older("1000", "999")
    assert not is_older("1000", "1000")
