"""What every subject writes for a TapioCluster: rendered once by our planner, and the same for all of them.

A peer gets these documents as files, one for each child: reading one stands for rendering it, and costs less.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.work import NAMESPACE
from tapio_reconciler.core.plans import Plan
from tapio_shared.codec import encode
from tapio_shared.facts import ApplyAction
from tapio_shared.json import JsonObject, str_at
from tapio_shared.keys import DEFAULT_PARTITIONS, ObjectRef, OrderingKey, partition_of
from tapio_shared.kubernetes import object_path
from tests.support.planned_world import World, example

_UNREADY_STEPS = 10


@dataclass(frozen=True, slots=True)
class Child:
    """One object of a TapioCluster."""

    action: ApplyAction
    manifest: JsonObject

    @property
    def path(self) -> str:
        """Where it is in the API."""
        one = self.action
        return object_path(one.group, one.version, one.plural, one.namespace, one.name)


@dataclass(frozen=True, slots=True)
class Rendered:
    """One TapioCluster, all that follows from it while no pod ever becomes ready, and its status then."""

    cluster: JsonObject
    children: tuple[Child, ...]
    status: JsonObject

    @property
    def name(self) -> str:
        return str_at(self.cluster, "metadata", "name")

    @property
    def writes(self) -> int:
        """Children, finalizer and one status."""
        return len(self.children) + 2


def numbers(count: int, *, even: bool) -> list[int]:
    """Which TapioClusters are measured, the one that is there to begin with first.

    With `even`, every partition gets as many, as it does of thousands: the few of a short run may be any worker's.
    """
    if not even:
        return list(range(count + 1))
    room = dict.fromkeys(range(DEFAULT_PARTITIONS), -(-count // DEFAULT_PARTITIONS))
    chosen = [0]
    for number in range(1, 10_000):
        partition = partition_of(OrderingKey("local", NAMESPACE, _name(number)), DEFAULT_PARTITIONS)
        if room[partition] and len(chosen) <= count:
            room[partition] -= 1
            chosen.append(number)
    return chosen


def _name(number: int) -> str:
    return f"c{number:04}"


def rendered(number: int) -> Rendered:
    """The TapioCluster with this number: the seed's development example, planned until nothing is left to do."""
    document = example("development")
    cluster: JsonObject = {**document, "metadata": {"name": _name(number), "namespace": NAMESPACE}}
    world = World.of(cluster)
    children: dict[str, Child] = {}
    status: JsonObject = {}
    for _ in range(_UNREADY_STEPS):
        plan = world.step(ready=False)
        if not plan.has_effects:
            return Rendered(cluster, tuple(children.values()), status)
        children |= _children(plan)
        status = plan.decision.status or status
    raise AssertionError(f"{str_at(cluster, 'metadata', 'name')} never comes to rest.")


def _children(plan: Plan) -> dict[str, Child]:
    found: dict[str, Child] = {}
    for action in plan.decision.apply:
        name = str(ObjectRef(action.group, action.kind, action.namespace, action.name))
        found[name] = Child(action, plan.manifests.get(name) or plan.generated[name].manifest)
    return found


def write_documents(folder: Path, works: Sequence[Rendered]) -> None:
    """Lay everything out for a peer: `<cluster>/children.json`, `<cluster>/status.json`, and a file for each child."""
    for work in works:
        own = folder / work.name
        own.mkdir(parents=True)
        listed: list[JsonObject] = []
        for child in work.children:
            one = child.action
            file = f"{one.plural}.{one.group}_{one.namespace}_{one.name.replace(':', '-')}.json"
            (own / file).write_bytes(encode(child.manifest))
            listed.append(
                {
                    "path": child.path,
                    "phase": one.phase,
                    "group": one.group,
                    "plural": one.plural,
                    "namespace": one.namespace,
                    "name": one.name,
                    "file": file,
                }
            )
        (own / "children.json").write_text(json.dumps(listed))
        (own / "status.json").write_bytes(encode(work.status))
