"""Kubernetes Events for what a person should notice: read off the difference between two statuses.

A status is written when it changes, so an Event is asked for when its cause appears, and not again while it stays.
"""

from __future__ import annotations

from tapio_shared.api.reasons import ComponentState, ConditionType, EventReason, Reason
from tapio_shared.facts import EventIntent
from tapio_shared.json import JsonObject, objects_at, str_at

_WARNINGS = frozenset({str(ConditionType.STALLED), str(ConditionType.DEGRADED)})
_PAUSED, _RECONCILING = str(ConditionType.PAUSED), str(ConditionType.RECONCILING)
_NEWS = frozenset({str(ConditionType.READY), _PAUSED})
_WORTH_TELLING = frozenset({str(Reason.RESYNCHRONISING), str(Reason.TERMINATING)})
_MAX_MESSAGE = 1024
"""core/v1 Event.message is cut by the API server's validation at 1,024 characters."""


def events_between(before: JsonObject, after: JsonObject) -> list[EventIntent]:
    """The Events that a change of status from `before` to `after` is worth."""
    return [*_condition_events(before, after), *_component_events(before, after)]


def _condition_events(before: JsonObject, after: JsonObject) -> list[EventIntent]:
    known = {str_at(one, "type"): one for one in objects_at(before, "conditions")}
    events: list[EventIntent] = []
    for one in objects_at(after, "conditions"):
        name = str_at(one, "type")
        was = known.get(name, {})
        if was == one:
            continue
        status, reason = str_at(one, "status"), str_at(one, "reason")
        same = str_at(was, "status") == status and str_at(was, "reason") == reason
        if same:
            continue
        if status != "True":
            continue
        if name in _WARNINGS:
            events.append(event_of("Warning", reason, str_at(one, "message")))
        elif name in _NEWS or (name == _RECONCILING and reason in _WORTH_TELLING):
            events.append(event_of("Normal", reason, str_at(one, "message")))
    present = {str_at(one, "type") for one in objects_at(after, "conditions")}
    if _PAUSED in known and _PAUSED not in present:
        message = "The annotation tapio.io/paused is gone; the operator writes again."
        events.append(event_of("Normal", EventReason.RESUMED, message))
    return events


def _component_events(before: JsonObject, after: JsonObject) -> list[EventIntent]:
    known = {str_at(one, "name"): one for one in objects_at(before, "components")}
    events: list[EventIntent] = []
    for one in objects_at(after, "components"):
        name = str_at(one, "name")
        was = known.get(name, {})
        if was == one:
            continue
        state, reason = str_at(one, "state"), str_at(one, "reason")
        if str_at(was, "state") == state and str_at(was, "reason") == reason:
            continue
        if state == str(ComponentState.FAILED):
            events.append(event_of("Warning", reason, str_at(one, "message"), regarding=name))
        elif state == str(ComponentState.READY) and was:
            events.append(
                event_of("Normal", EventReason.COMPONENT_READY, f"Component {name} is ready.", regarding=name)
            )
    return events


def event_of(kind: str, reason: str, message: str, regarding: str = "") -> EventIntent:
    """An Event, its message cut to what the API server takes."""
    text = message if len(message) <= _MAX_MESSAGE else message[: _MAX_MESSAGE - 1] + "…"
    return EventIntent(type=kind, reason=reason, message=text, regarding=regarding)
