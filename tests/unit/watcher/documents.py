"""Kubernetes documents and strategies that the watcher's unit tests share."""

from __future__ import annotations

from typing import cast

from hypothesis import strategies as st

from tapio_shared.api.labels import managed_labels
from tapio_shared.json import JsonObject, JsonValue
from tests.support.api_documents import ANY_JSON

LABELS = cast(
    "JsonObject",
    managed_labels(cluster="tapio", namespace="team", uid="u-1", name="nats", component="nats"),
)

NAMES = st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1, max_size=8)
KINDS = st.sampled_from(
    ["TapioCluster", "TapioCollector", "TapioIntelligence", "ConfigMap", "Deployment", "Secret", "Pod"]
)
API_VERSIONS = st.sampled_from(["v1", "apps/v1", "tapio.io/v1alpha1", ""])


def _manager(name: str, fields: JsonValue, subresource: str) -> JsonObject:
    entry: JsonObject = {"manager": name, "operation": "Apply", "time": "10:00", "fieldsV1": fields}
    return entry | ({"subresource": subresource} if subresource else {})


ANNOTATIONS = st.dictionaries(
    st.sampled_from(["kubectl.kubernetes.io/last-applied-configuration", "tapio.io/adopt", "note"]), NAMES
)
MANAGERS = st.lists(
    st.builds(_manager, NAMES, ANY_JSON, st.sampled_from(["status", "scale", ""])),
    max_size=3,
)


@st.composite
def metadata(draw: st.DrawFn) -> JsonValue:
    """Metadata with all that slimming looks at, or anything else in its place."""
    document: JsonObject = {}
    strategies: list[tuple[str, st.SearchStrategy[object]]] = [
        ("name", NAMES),
        ("namespace", NAMES),
        ("uid", NAMES),
        ("labels", st.just(LABELS)),
        ("annotations", ANNOTATIONS),
        ("managedFields", MANAGERS),
    ]
    for name, strategy in strategies:
        match draw(st.sampled_from(["absent", "right", "right", "garbage"])):
            case "right":
                document[name] = cast("JsonValue", draw(strategy))
            case "garbage":
                document[name] = draw(ANY_JSON)
            case _:
                pass
    return document


@st.composite
def documents(draw: st.DrawFn) -> JsonObject:
    """Any object at all, from well-formed to garbage."""
    return {
        "apiVersion": draw(API_VERSIONS),
        "kind": draw(KINDS),
        "metadata": draw(metadata() | ANY_JSON),
        "spec": draw(ANY_JSON),
        "status": draw(ANY_JSON),
    }
