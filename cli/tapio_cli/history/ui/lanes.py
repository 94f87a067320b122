"""In which lanes of the page an event stands, and in which state a lane was when.

A lane for what people asked of the TapioCluster, one for what the operator decided, one for each component, and one for
what surrounds all of them. A decision stands in its own lane and in that of every component that it writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tapio_cli.history.timeline import Happened
from tapio_shared.admissions import Admission
from tapio_shared.api.labels import COMPONENT
from tapio_shared.api.names import API_GROUP, CLUSTER_KIND
from tapio_shared.facts import (
    ApplyAction,
    DecisionRecorded,
    DeleteAction,
    MessageParked,
    ObjectGone,
    ObjectObserved,
    OutcomeRecorded,
    TimerDue,
)
from tapio_shared.json import object_at, objects_at, str_at, strings_at
from tapio_shared.keys import ObjectRef, address_of

CLUSTER, OPERATOR, SURROUNDINGS, OTHER = "TapioCluster", "operator", "surroundings", "other objects"
_PODS = "Pods"


@dataclass(slots=True)
class Components:
    """Which component an object belongs to, as everything that was read so far says it."""

    _of: dict[tuple[str, str, str], str] = field(default_factory=dict[tuple[str, str, str], str])
    order: list[str] = field(default_factory=list[str])
    """Components, as the newest status lists them, and then those that no status lists."""

    def learn(self, happened: Iterable[Happened]) -> None:
        """Take in what objects, decisions and statuses say."""
        listed: list[str] = []
        for one in happened:
            match one.record:
                case ObjectObserved() as fact:
                    ref = address_of(one.one.message.subject).ref
                    component = strings_at(fact.object, "metadata", "labels").get(COMPONENT, "")
                    if ref is not None and component:
                        self._of[ref.namespace, ref.kind, ref.name] = component
                    if ref is not None and ref.kind == CLUSTER_KIND:
                        named = [str_at(part, "name") for part in objects_at(fact.object, "status", "components")]
                        listed = named or listed
                case DecisionRecorded() as decision:
                    for action in writes_of(decision):
                        if action.component:
                            self._of.setdefault((action.namespace, action.kind, action.name), action.component)
                case _:
                    pass
        known = listed or self.order
        self.order = list(dict.fromkeys([*known, *self.order, *sorted(set(self._of.values()))]))

    def of(self, ref: ObjectRef) -> str:
        """The component of an object; `OTHER` where nothing tells."""
        if ref.group == API_GROUP and ref.kind == _PODS:
            kind, _, name = ref.name.partition("-")
            return self._of.get((ref.namespace, kind, name), OTHER)
        return self._of.get((ref.namespace, ref.kind, ref.name), OTHER)

    def lanes(self) -> list[str]:
        """Every lane there may be, from top to bottom."""
        return [CLUSTER, OPERATOR, *self.order, OTHER, SURROUNDINGS]


def lanes_of(source: Happened | Admission, components: Components) -> tuple[str, ...]:
    """The lanes of one event."""
    if isinstance(source, Admission):
        return (CLUSTER,)
    match source.record:
        case DecisionRecorded() as decision:
            written = {action.component for action in writes_of(decision)}
            return (OPERATOR, *(name for name in components.order if name in written))
        case OutcomeRecorded() | TimerDue() | MessageParked():
            return (OPERATOR,)
        case ObjectObserved() | ObjectGone():
            ref = address_of(source.one.message.subject).ref
            if ref is None:
                return (OTHER,)
            ours = ref.group == API_GROUP and ref.kind != _PODS
            return (CLUSTER,) if ours else (components.of(ref),)
        case _:
            return (SURROUNDINGS,)


def writes_of(decision: DecisionRecorded) -> list[ApplyAction | DeleteAction]:
    """Everything that a decision writes."""
    return [*decision.apply, *decision.delete]


def is_bad(source: Happened | Admission) -> bool:
    """Whether it tells that something went wrong."""
    if isinstance(source, Admission):
        return not source.allowed
    match source.record:
        case OutcomeRecorded() as outcome:
            return any(one.error for one in outcome.results)
        case MessageParked():
            return True
        case _:
            return False


def states_of(source: Happened | Admission) -> Mapping[str, str]:
    """The state of every lane that a status tells of: the phase of the whole, and the state of each component."""
    if isinstance(source, Admission):
        return {}
    ref = address_of(source.one.message.subject).ref
    if ref is None or ref.kind != CLUSTER_KIND:
        return {}
    match source.record:
        case ObjectObserved() as fact:
            status = object_at(fact.object, "status")
            parts = {str_at(one, "name"): str_at(one, "state") for one in objects_at(status, "components")}
            return {CLUSTER: str_at(status, "phase", default="Pending"), **parts}
        case _:
            return {CLUSTER: ""}
