"""What the webhook answers, as a pure function of a review."""

from __future__ import annotations

import base64
import copy
import json

import pytest

from tapio_shared.admissions import Admission
from tapio_shared.api.trust import Trust
from tapio_shared.json import JsonObject, at, list_at, object_at, str_at
from tapio_webhook.admission import MUTATE, VALIDATE, Answer, answer
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


def answered(body: JsonObject, handler: str = MUTATE) -> Answer:
    return answer(object_at(body, "request"), handler=handler, trust=Trust(), target="local", now=NOW)


def asked(body: JsonObject, handler: str = MUTATE) -> JsonObject:
    return object_at(answered(body, handler).document, "response")


def recorded(body: JsonObject, handler: str = MUTATE) -> Admission:
    admission = answered(body, handler).admission
    assert admission is not None
    return admission


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
    assert asked(review(None, operation="DELETE", old=broken()), VALIDATE) == {"uid": "r-1", "allowed": True}


def test_a_field_without_effect_is_a_warning() -> None:
    response = asked(review(example("production")), VALIDATE)
    assert str(list_at(response, "warnings")[0]).startswith("Accepted, but without effect in this version")


def test_what_is_recorded_holds_no_value_of_the_object() -> None:
    document = example("development")
    document["spec"] = {**object_at(document, "spec"), "nats": {"env": [{"name": "TOKEN", "value": "hunter2-planted"}]}}
    admission = recorded(review(document))
    assert admission.user == "alice"
    assert admission.allowed
    assert "hunter2-planted" not in repr(admission)


def test_a_dry_run_has_no_side_effect() -> None:
    assert answered(review(example("edge"), dry_run=True)).admission is None


def test_a_foreign_kind_is_allowed_and_not_recorded() -> None:
    found = answered(review({"kind": "Pod", "metadata": {"name": "x"}, "spec": {"bogus": 1}}))
    assert (found.allowed, found.kind, found.admission) == (True, "", None)


def test_names_that_no_api_server_sends_do_not_make_endless_subjects() -> None:
    body = review(example("edge"))
    object_at(body, "request").update({"name": "n" * 10_000, "namespace": "m" * 10_000})
    assert (len(recorded(body).name), len(recorded(body).namespace)) == (253, 253)


def broken() -> JsonObject:
    """A TapioCluster without a version that was stored while no webhook was there, or under other rules."""
    document = example("development")
    document["spec"] = {"profile": "huge", "collectors": {"ebpf": True}}
    return document


@pytest.mark.parametrize("handler", [MUTATE, VALIDATE])
def test_metadata_of_a_wrong_resource_can_still_change(handler: str) -> None:
    changed = broken()
    object_at(changed, "metadata").update({"annotations": {"tapio.io/paused": "true"}, "finalizers": []})
    response = asked(review(changed, operation="UPDATE", old=broken()), handler)
    assert response == {"uid": "r-1", "allowed": True}


def test_a_budget_that_became_too_small_does_not_keep_metadata_from_changing() -> None:
    old = example("production")
    old["spec"] = {**object_at(old, "spec"), "resources": {"requests": {"memory": "1Gi"}}}
    assert asked(review(copy.deepcopy(old), operation="UPDATE", old=old)) == {"uid": "r-1", "allowed": True}


def test_a_resource_that_is_being_deleted_is_left_alone() -> None:
    old = broken()
    object_at(old, "metadata")["deletionTimestamp"] = "2026-11-23T00:00:00Z"
    changed = copy.deepcopy(old)
    changed["spec"] = {"profile": "vast"}
    assert asked(review(changed, operation="UPDATE", old=old)) == {"uid": "r-1", "allowed": True}


@pytest.mark.parametrize("operation", ["CREATE", "UPDATE"])
def test_nobody_says_by_himself_that_deletion_has_begun(operation: str) -> None:
    document = broken()
    object_at(document, "metadata")["deletionTimestamp"] = "2026-11-23T00:00:00Z"
    old = example("development") if operation == "UPDATE" else None
    assert asked(review(document, operation=operation, old=old))["allowed"] is False


def test_the_status_is_nobodys_business_here() -> None:
    body = review(broken(), operation="UPDATE", old=example("development"))
    object_at(body, "request")["subResource"] = "status"
    assert asked(body) == {"uid": "r-1", "allowed": True}


@pytest.mark.parametrize(
    ("namespace", "in_object", "allowed"),
    [
        pytest.param("tapio-system", None, True, id="a trusted namespace, which the object does not name yet"),
        pytest.param("default", "tapio-system", False, id="another one than the object claims"),
    ],
)
def test_trust_follows_the_namespace_of_the_request(namespace: str, in_object: str | None, allowed: bool) -> None:
    document = example("development")
    object_at(document, "metadata")["namespace"] = in_object
    document["spec"] = {"collectors": {"ebpf": {"image": "example.com/mine:1"}}}
    body = review(document)
    object_at(body, "request")["namespace"] = namespace
    response = asked(body)
    assert response["allowed"] is allowed
    assert at(response, "status", "code") == (None if allowed else 403)


def test_the_kind_is_the_requests_even_when_the_object_has_none() -> None:
    document = example("edge")
    body = review(document)
    del document["kind"]
    assert at(patched_spec(asked(body)), "collectors", "ebpf", "enabled") is False


def test_a_budget_that_a_tapiointelligence_may_make_sufficient_is_a_warning() -> None:
    document = example("development")
    document["spec"] = {"profile": "production", "resources": {"requests": {"memory": "3Gi"}}}
    response = asked(review(document), VALIDATE)
    assert response["allowed"] is True
    (warning,) = list_at(response, "warnings")
    assert str(warning).startswith("Unless a TapioIntelligence says otherwise: spec.resources.requests.memory is 3Gi")


def test_a_spec_that_is_nested_endlessly_is_denied_but_can_be_deleted() -> None:
    deep = example("development")
    value: JsonObject = {}
    for _ in range(500):
        value = {"a": value}
    deep["spec"] = {"nats": {"config": value}}
    message = str_at(asked(review(deep)), "status", "message")
    assert message == "spec is nested more than 100 levels deep; it must be nested at most 100 levels deep."
    assert asked(review(deep, operation="UPDATE", old=deep))["allowed"] is True
