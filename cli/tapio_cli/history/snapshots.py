"""A TapioCluster as of an instant, as the operator had been told; and what differs between two of them."""

from __future__ import annotations

from tapio_cli.history.story import Story
from tapio_reconciler.core.state import State
from tapio_shared.api.names import cluster_ref
from tapio_shared.facts import DecisionRecorded, OutcomeRecorded
from tapio_shared.json import JsonObject, JsonValue, object_at

_NOTE = "As the operator had been told by then, which is not always how it was."


def snapshot(story: Story, sequence: int) -> JsonObject:
    """State, desired objects and status as of `sequence`, as one document."""
    state = story.state(sequence)
    cluster = state.seen().get(cluster_ref(story.key.namespace, story.key.name))
    document = None if cluster is None else cluster.document
    decision = state.find("decision", DecisionRecorded)
    outcome = state.find("outcome", OutcomeRecorded)
    newest = story.newest(lambda one: one.sequence <= sequence)
    return {
        "cluster": str(story.key),
        "revision": sequence,
        "at": 0 if newest is None else newest.at,
        "note": _NOTE,
        "exists": document is not None,
        "spec": object_at(document, "spec"),
        "status": object_at(document, "status"),
        "objects": _objects(state, decision[1] if decision is not None else None),
        "decision": None if decision is None else _decision(*decision),
        "failures": {}
        if outcome is None
        else {name: failure.error for name, failure in sorted(outcome[1].failures.items())},
    }


def _objects(state: State, decision: DecisionRecorded | None) -> JsonObject:
    """Every object that is wanted or was seen: the digest of what was wanted of it, and what was seen."""
    wanted = {} if decision is None else decision.objects
    found: JsonObject = {name: {"wanted": digest, "seen": None} for name, digest in sorted(wanted.items())}
    for ref, seen in state.seen().items():
        if ref.kind == "TapioCluster":
            continue
        entry: JsonObject = {"wanted": wanted.get(str(ref)), "seen": seen.document}
        found[str(ref)] = entry
    return dict(sorted(found.items()))


def _decision(sequence: int, decision: DecisionRecorded) -> JsonObject:
    waiting: list[JsonValue] = [*decision.waiting]
    return {
        "sequence": sequence,
        "revision": decision.revision,
        "operatorVersion": decision.inputs.operator_version,
        "waiting": waiting,
        "timers": {timer.name: timer.due_at for timer in decision.timers},
    }


def difference(before: JsonObject, after: JsonObject) -> list[str]:
    """A unified diff of two snapshots, as YAML; empty when nothing differs but the instant."""
    import difflib

    import yaml  # One of two snapshots needs neither.

    texts = [
        yaml.dump({key: value for key, value in one.items() if key not in {"revision", "at"}}, Dumper=yaml.CSafeDumper)
        for one in (before, after)
    ]
    names = [f"@{one['revision']}" for one in (before, after)]
    return list(
        difflib.unified_diff(texts[0].splitlines(), texts[1].splitlines(), names[0], names[1], lineterm="", n=3)
    )
