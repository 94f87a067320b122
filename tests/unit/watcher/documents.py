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


@st.composite
def documents(draw: st.DrawFn) -> JsonObject:
    """Any object at all, from well-formed to garbage."""
    metadata: JsonValue = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "name": NAMES | ANY_JSON,
                "namespace": NAMES | ANY_JSON,
                "uid": NAMES | ANY_JSON,
                "labels": st.just(LABELS) | ANY_JSON,
                "annotations": st.dictionaries(
                    st.sampled_from(["kubectl.kubernetes.io/last-applied-configuration", "tapio.io/adopt", "note"]),
                    NAMES,
                )
                | ANY_JSON,
                "managedFields": st.lists(
                    st.fixed_dictionaries(
                        {"manager": NAMES, "operation": st.just("Apply"), "time": NAMES, "fieldsV1": ANY_JSON},
                        optional={"subresource": st.sampled_from(["status", "scale"])},
                    ),
                    max_size=3,
                )
                | ANY_JSON,
            },
        )
        | ANY_JSON
    )
    return {
        "apiVersion": draw(API_VERSIONS),
        "kind": draw(KINDS),
        "metadata": metadata,
        "spec": draw(ANY_JSON),
        "status": draw(ANY_JSON),
    }
