"""How a TapioCluster stands, as one document: its conditions, its components, and the last change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tapio_cli.history.causes import causes, last_decision, when
from tapio_cli.history.failures import status_not_written
from tapio_cli.history.interference import disputes, held
from tapio_cli.history.story import Story
from tapio_reconciler.core.state import Seen, State
from tapio_shared.admissions import Admission
from tapio_shared.api.labels import PAUSED
from tapio_shared.api.names import cluster_ref
from tapio_shared.json import JsonObject, JsonValue, int_at, list_at, object_at, objects_at, str_at, strings_at

_TROUBLES = frozenset({"Degraded", "NotYetSupported", "Paused", "Reconciling", "Stalled"})


def status_of(
    story: Story, admissions: Sequence[Admission], *, is_whole: bool = True, until: int | None = None, now: int = 0
) -> JsonObject:
    """The status as last observed, up to `until` if that is given, and what the last decision was made for that wrote
    anything but a status.

    The latter only of a story that `is_whole`: one of last records (`read_present`) does not tell what changed. With
    `now`, in milliseconds, the end of the story is the present.
    """
    last = max((one.sequence for one in (*story.own, *story.shared)), default=0) if until is None else until
    state = story.state(last)
    seen = state.seen().get(cluster_ref(story.key.namespace, story.key.name))
    document = None if seen is None else seen.document
    conditions = {str_at(one, "type"): one for one in objects_at(document, "status", "conditions")}
    ready = conditions.get("Ready")
    wrote = last_decision(story, last, lambda one: bool(one.apply or one.delete)) if is_whole else None
    waiting = last_decision(story, last, lambda _: True)
    change: JsonValue = None
    if wrote is not None:
        why = causes(story, admissions, wrote)
        change = {"at": when(story, wrote.sequence), "decided": why[0], "because": [*why[1:]]}
    return {
        "cluster": f"{story.key.namespace}/{story.key.name}",
        "exists": document is not None,
        "phase": _phase(seen),
        "version": str_at(document, "status", "version"),
        "ready": {} if ready is None else {name: ready.get(name) for name in ("status", "reason", "message")},
        "conditions": [
            {name: one.get(name) for name in ("type", "status", "reason", "message", "lastTransitionTime")}
            for name, one in sorted(conditions.items())
            if name in _TROUBLES and str_at(one, "status") == "True"
        ],
        "components": [*list_at(document, "status", "components")],
        "skipped": [*list_at(document, "status", "skipped")],
        "waiting": [] if waiting is None else [*waiting.decision.waiting],
        "remarks": [
            *_remarks(state, document),
            *(str(one) for one in (*disputes(story, state, last, now), *held(state))),
        ],
        "endpoints": object_at(document, "status", "endpoints"),
        "lastChange": change,
    }


def _phase(seen: Seen | None) -> str:
    if seen is None:
        return "Missing"
    return "Deleted" if seen.document is None else str_at(seen.document, "status", "phase", default="Unknown")


def named_by(state: State) -> Iterator[str]:
    """Which resources name a TapioCluster that nothing was ever told of, and what to do."""
    if cluster_ref(state.key.namespace, state.key.name) in state.seen():
        return
    names = [
        f"{ref.kind} {ref.namespace}/{ref.name}"
        for ref, one in sorted(state.seen().items())
        if str_at(one.document, "spec", "clusterRef", "name") == state.key.name
    ]
    if names:
        yield f"It is named by {', '.join(names)}: create it, or correct spec.clusterRef.name there."


def _remarks(state: State, document: JsonObject | None) -> Iterator[str]:
    """What the status does not say of itself: that it is older than what it stands for, and why there is none."""
    cluster = f"{state.key.namespace}/{state.key.name}"
    yield from named_by(state)
    yield from status_not_written(state)
    if strings_at(document, "metadata", "annotations").get(PAUSED) == "true":
        yield (
            "The components are shown as they were when the pause began. What has gone or changed since: tapioctl "
            f"doctor {cluster}"
        )
    generation = int_at(document, "metadata", "generation")
    if object_at(document, "status") and int_at(document, "status", "observedGeneration") < generation:
        yield (
            "The spec has changed since this status was written. Whether anybody acts on it: tapioctl explain "
            f"{cluster}"
        )
