"""What the templates of node agents were last made for, as the log remembers it: the last decision tells.

A decision keeps the pod template of every workload. One that wanted nothing (paused, refused) keeps none, and then the
DaemonSet as it was observed stands in; an edit of it teaches nothing as long as a decision speaks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from tapio_reconciler.core.changes import is_managed
from tapio_reconciler.core.plans import unpacked_templates
from tapio_reconciler.core.state import Observed, Seen, State
from tapio_shared.api.labels import COMPONENT, FLEET
from tapio_shared.facts import DecisionRecorded
from tapio_shared.json import JsonValue, object_at, strings_at
from tapio_shared.keys import OrderingKey


def learned_of_fleet(state: State, seen: Observed, uid: str) -> dict[str, str]:
    """Component -> the annotation tapio.io/fleet of its pod template, for those that have one, in order of names."""
    found = state.find("decision", DecisionRecorded)
    decision = found[1] if found is not None and found[1].cluster_uid == uid else None
    agents = seen.of_kind("DaemonSet")
    packed = state.remembered.steady("decided agents", (decision,), lambda: _with_agents(decision))
    return state.remembered.steady("learned", (packed, agents), lambda: _learned_of(packed, agents, state.key))


def _with_agents(decision: DecisionRecorded | None) -> bytes:
    """The pod templates that a decision kept, packed, if there are any of node agents."""
    if decision is None or not decision.pod_templates:
        return b""
    for name in decision.objects:  # A loop: a generator takes twice as long.
        if name.startswith("DaemonSet."):
            return decision.pod_templates
    return b""


def _learned_of(packed: bytes, agents: Sequence[Seen], key: OrderingKey) -> dict[str, str]:
    decided = _decided(packed) if packed else dict[str, str]()
    observed: dict[str, str] = {}
    for one in agents:
        if is_managed(one.document or {}, cluster=key.name, namespace=key.namespace):
            observed |= _learned(object_at(one.document, "spec", "template"))
    learned = {**observed, **decided}
    return {component: learned[component] for component in sorted(learned) if learned[component]}


@lru_cache(maxsize=256)
def _decided(packed: bytes) -> Mapping[str, str]:
    learned: dict[str, str] = {}
    for name, template in unpacked_templates(packed).items():
        if name.startswith("DaemonSet."):
            learned |= _learned(template)
    return learned


def _learned(template: JsonValue) -> dict[str, str]:
    component = strings_at(template, "metadata", "labels").get(COMPONENT, "")
    return {component: strings_at(template, "metadata", "annotations").get(FLEET, "")} if component else {}
