"""List and watch of one kind as a state machine, stepped by one pure function.

Every ending of a watch is ordinary: closed by the server, broken, silent, expired. What was missed is found by the next
list. Lists come as a stream where the server offers it, else in pages. Source: kube-rs `watcher`, client-go's
`Reflector`, KEP-3157.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from tapio_shared.errors import ApiError, ResourceExpired, TapioError
from tapio_shared.json import JsonObject, int_at, str_at, strings_at

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
STREAM_REFUSED = frozenset({400, 403, 422, 500})
"""How servers answer `sendInitialEvents` that can't do it: their feature gate WatchList is off, or (500) their etcd is
older than 3.4.31 or 3.5.13. A server that fails for another reason is asked for pages as well as for a stream."""
_STREAM_SINCE = (1, 34)
"""Older servers may not know the parameter and would never say that the list is complete."""
_COMPARABLE_SINCE = (1, 35)

# --- states ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Streaming:
    """The list is coming in as watch events."""


@dataclass(frozen=True, slots=True)
class Paging:
    """The list is being read in pages; `token` is where the next one begins."""

    token: str = ""


class Following(msgspec.Struct, frozen=True):
    """The list is complete; `version` is where the watch goes on."""

    version: str


State: TypeAlias = Streaming | Paging | Following

# --- what is told ------------------------------------------------------------------------------------------------


class PageRead(msgspec.Struct, frozen=True):
    """One page of the list; no `token` means the last one."""

    items: tuple[JsonObject, ...]
    version: str
    token: str = ""


class EventRead(msgspec.Struct, frozen=True):
    """One line of a watch: ADDED, MODIFIED, DELETED or BOOKMARK. An ERROR is told as what it means."""

    type: str
    object: JsonObject


@dataclass(frozen=True, slots=True)
class Broken:
    """The watch or the request ended, for whatever reason; what was known stays true."""


@dataclass(frozen=True, slots=True)
class Expired:
    """The version is too old: 410, as an HTTP status or inside the stream."""


@dataclass(frozen=True, slots=True)
class StreamRefused:
    """The server offers no streaming lists."""


Told: TypeAlias = PageRead | EventRead | Broken | Expired | StreamRefused

# --- what follows ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Init:
    """A new list begins; what comes until `InitDone` is all that exists."""


class InitApply(msgspec.Struct, frozen=True):
    """One object of the new list."""

    object: JsonObject


@dataclass(frozen=True, slots=True)
class InitDone:
    """The list is complete."""


class Apply(msgspec.Struct, frozen=True):
    """An object appeared or changed."""

    object: JsonObject


class Delete(msgspec.Struct, frozen=True):
    """An object is gone, or does not match the selector any more."""

    object: JsonObject


Change: TypeAlias = Init | InitApply | InitDone | Apply | Delete


def begin(*, streams: bool) -> tuple[State, tuple[Change, ...]]:
    """A new list, as a stream when the server offers it."""
    return (Streaming() if streams else Paging()), (Init(),)


def step(state: State, told: Told, *, streams: bool) -> tuple[State, tuple[Change, ...]]:
    """The next state, and what it means for the objects. Total: what does not fit the state is ignored."""
    match told:
        case Expired():
            return begin(streams=streams)
        case StreamRefused():
            return begin(streams=False) if isinstance(state, Streaming) else (state, ())
        case Broken():
            # Half a list says nothing about what does not exist: it begins anew.
            return (state, ()) if isinstance(state, Following) else begin(streams=streams)
        case PageRead():
            if not isinstance(state, Paging):
                return state, ()
            changes = tuple(InitApply(one) for one in told.items)
            return (Paging(told.token), changes) if told.token else (Following(told.version), (*changes, InitDone()))
        case EventRead():
            return (state, ()) if isinstance(state, Paging) else _event(state, told)


def _event(state: Streaming | Following, told: EventRead) -> tuple[State, tuple[Change, ...]]:
    version = str_at(told.object, "metadata", "resourceVersion")
    following = Following(version) if isinstance(state, Following) and version else state
    match told.type:
        case "ADDED" | "MODIFIED":
            return following, (Apply(told.object) if isinstance(state, Following) else InitApply(told.object),)
        case "DELETED":
            return following, (Delete(told.object),)
        case "BOOKMARK":
            ends = strings_at(told.object, "metadata", "annotations").get(INITIAL_EVENTS_END) == "true"
            return (Following(version), (InitDone(),)) if ends and isinstance(state, Streaming) else (following, ())
        case _:
            return state, ()


def meaning_of(error: TapioError, state: State) -> Told:
    """What an error of the server or of the transport means for the state machine."""
    if isinstance(error, ResourceExpired):
        return Expired()
    if isinstance(state, Streaming) and isinstance(error, ApiError) and error.code in STREAM_REFUSED:
        return StreamRefused()
    return Broken()


def error_code(status: JsonObject) -> int:
    """The HTTP status that the object of an ERROR event stands for."""
    return int_at(status, "code", default=500)


def watch_query(state: Streaming | Following, selector: Mapping[str, str], seconds: int) -> dict[str, str]:
    """The query of the watch that a state asks for."""
    query = {**selector, "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
    if isinstance(state, Following):
        return query | {"resourceVersion": state.version}
    return query | {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}


def release_of(git_version: str) -> tuple[int, int]:
    """Major and minor of a `gitVersion` such as v1.31.2-gke.100; (0, 0) when it is none."""
    parts = git_version.removeprefix("v").split(".")
    numbers = ["".join(char for char in part if char.isdigit()) for part in parts[:2]]
    return (int(numbers[0]), int(numbers[1])) if len(numbers) == 2 and all(numbers) else (0, 0)


def offers_streams(git_version: str) -> bool:
    """Whether a server of this version serves streaming lists unless told not to."""
    return release_of(git_version) >= _STREAM_SINCE


def are_comparable(git_version: str) -> bool:
    """Whether resource versions of this server may be compared (KEP-5504)."""
    return release_of(git_version) >= _COMPARABLE_SINCE


def is_older(one: str, other: str) -> bool:
    """Whether resourceVersion `one` is before `other`: by length, then by text. Only for comparable ones."""
    return (len(one), one) < (len(other), other)
