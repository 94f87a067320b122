"""What the webhook answers, as a pure function of a review."""

from __future__ import annotations

import base64
import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio_shared.api.trust import Trust
from tapio_shared.json import JsonObject, JsonValue, at, list_at, object_at, str_at
from tapio_webhook.admission import MUTATE, VALIDATE, MalformedReview, answer
from tests.support.planned_world import example

NOW = 1_790_000_000_000


def review(
    document: JsonObject | None, *, operation: str = "CREATE", old: JsonObject | None = None, dry_run: bool = False
) -> JsonObject:
    kind = str_at(document or old or {}, "kind")
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "r-1",
            "kind": {"group": "tapio.io", "version": "v1alpha1", "kind": kind},
            "namespace": "default",
            "name": str_at(document or old or {}, "metadata", "name"),
            "operation": operation,
            "userInfo": {"username": "alice"},
            "object": document,
            "oldObject": old,
            "dryRun": dry_run,
        },
    }


def asked(body: JsonValue, handler: str = MUTATE) -> JsonObject:
    return object_at(answer(body, handler=handler, trust=Trust(), target="local", now=NOW).document, "response")


def patched_spec(response: JsonObject) -> JsonObject:
    (operation,) = json.loads(base64.b64decode(str_at(response, "patch")))
    assert (operation["op"], operation["path"]) == ("add", "/spec")
    spec: JsonObject = operation["value"]
    return spec


def test_the_shorthand_becomes_its_normal_form_and_the_version_is_pinned() -> None:
    spec = patched_spec(asked(review(example("edge"))))
    assert at(spec, "collectors", "ebpf", "enabled") is False
    assert spec["version"] == "v0.1.0"


@pytest.mark.parametrize("name", ["quickstart", "development", "production", "edge"])
def test_mutation_never_writes_what_a_profile_decides(name: str) -> None:
    spec = patched_spec(asked(review(example(name))))
    before = object_at(example(name), "spec")
    for decided in ("highAvailability", "lightweight"):
        assert (decided in spec) is (decided in before)
    assert "replicas" not in object_at(spec, "nats")
    assert "storage" not in object_at(spec, "nats")


def test_mutating_twice_changes_nothing_more() -> None:
    document = example("production")
    document["spec"] = patched_spec(asked(review(document)))
    assert "patch" not in asked(review(document))


def test_on_update_the_version_is_kept() -> None:
    old = example("development")
    old["spec"] = {**object_at(old, "spec"), "version": "v0.0.9"}
    spec = patched_spec(asked(review(example("development"), operation="UPDATE", old=old)))
    assert spec["version"] == "v0.0.9"


@pytest.mark.parametrize("handler", [MUTATE, VALIDATE])
def test_everything_that_is_wrong_is_told_at_once(handler: str) -> None:
    document = example("development")
    document["spec"] = {"profile": "huge", "nats": {"replicas": 2}, "colectors": {}}
    response = asked(review(document), handler)
    assert response["allowed"] is False
    message = str_at(response, "status", "message")
    for part in ("spec.profile", '"huge"', "development", "spec.nats.replicas", "spec.colectors", "collectors"):
        assert part in message
    assert at(response, "status", "code") == 422


def test_a_budget_that_is_too_small_is_denied_with_the_smallest_that_works() -> None:
    document = example("production")
    document["spec"] = {**object_at(document, "spec"), "resources": {"requests": {"memory": "1Gi"}}}
    assert "The smallest that works is" in str_at(asked(review(document)), "status", "message")


def test_teardown_never_needs_the_webhook() -> None:
    broken = example("development")
    broken["spec"] = {"profile": "huge"}
    deleting = copy.deepcopy(broken)
    object_at(deleting, "metadata")["deletionTimestamp"] = "2026-11-23T00:00:00Z"
    assert asked(review(deleting, operation="UPDATE", old=broken), VALIDATE)["allowed"] is True
    assert asked(review(None, operation="DELETE", old=broken), VALIDATE)["allowed"] is True


def test_a_field_without_effect_is_a_warning() -> None:
    response = asked(review(example("production")), VALIDATE)
    assert str(list_at(response, "warnings")[0]).startswith("Accepted, but without effect in this version")


def test_what_is_recorded_holds_no_field_of_the_object() -> None:
    document = example("development")
    document["spec"] = {**object_at(document, "spec"), "nats": {"env": [{"name": "TOKEN", "value": "hunter2-planted"}]}}
    found = answer(review(document, dry_run=True), handler=MUTATE, trust=Trust(), target="local", now=NOW)
    assert found.admission.user == "alice"
    assert found.admission.dry_run
    assert found.admission.allowed
    assert "hunter2-planted" not in repr(found.admission)


@pytest.mark.parametrize(
    "body",
    [pytest.param({}, id="empty"), pytest.param({"apiVersion": "admission.k8s.io/v1beta1"}, id="another version")],
)
def test_anything_else_is_no_review(body: JsonObject) -> None:
    with pytest.raises(MalformedReview, match="AdmissionReview"):
        asked(body)


json_values: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=10), children, max_size=4),
    max_leaves=20,
)


@given(json_values, json_values, st.sampled_from(["TapioCluster", "TapioCollector", "TapioIntelligence", "Pod"]))
def test_no_object_makes_it_fail(document: JsonValue, old: JsonValue, kind: str) -> None:
    body = review({"kind": kind, "metadata": {"name": "x"}}, operation="UPDATE")
    object_at(body, "request").update({"object": document, "oldObject": old})
    assert isinstance(asked(body)["allowed"], bool)
