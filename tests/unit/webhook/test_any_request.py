"""Whatever is sent: an answer or a MalformedReview, never a crash; and what is said is what the planner would say."""

from __future__ import annotations

import base64
import json
from typing import cast

import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st

from tapio_shared.api.names import CLUSTER_KIND
from tapio_shared.api.specs import SPEC_MODELS
from tapio_shared.api.trust import Trust
from tapio_shared.codec import decode_as, encode
from tapio_shared.json import JsonObject, JsonValue, list_at, object_at, objects_at, str_at
from tapio_shared.shallow import KEPT_LEVELS, shallow
from tapio_webhook.admission import MUTATE, VALIDATE, answer
from tapio_webhook.reading import MalformedReview, read_request
from tests.support.api_documents import ANY_JSON, SLOW, resources
from tests.support.planned_world import World
from tests.unit.webhook.test_admission import NOW, review

HANDLERS = st.sampled_from([MUTATE, VALIDATE])
OPERATIONS = st.sampled_from(["CREATE", "UPDATE", "DELETE", "CONNECT", "", "nonsense"])
GARBAGE = st.dictionaries(
    st.sampled_from(["uid", "kind", "object", "oldObject", "operation", "name", "namespace", "userInfo", "dryRun",
                     "subResource"]),
    ANY_JSON, max_size=4,
)  # fmt: skip


def sent(body: JsonValue) -> JsonObject:
    """The request of `body` as the server reads it from bytes."""
    try:
        return read_request(encode(body))
    except (OverflowError, UnicodeEncodeError):
        reject()


def response_to(request: JsonObject, handler: str) -> JsonObject:
    """The response, which must be a whole and well-formed one."""
    found = answer(request, handler=handler, trust=Trust(), target="local", now=NOW)
    document = cast("JsonObject", decode_as(dict, encode(found.document)))
    assert (document["apiVersion"], document["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    response = object_at(document, "response")
    assert response["uid"] == request["uid"]
    assert response["allowed"] is not bool(str_at(response, "status", "message"))
    if found.admission is not None:
        assert len(encode(found.admission)) < 64 << 10
    return response


@settings(max_examples=100, suppress_health_check=SLOW, deadline=None)
@given(ANY_JSON, HANDLERS)
def test_any_json_is_answered_or_refused(body: JsonValue, handler: str) -> None:
    try:
        request = sent(body)
    except MalformedReview:
        return
    response_to(request, handler)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_answered_or_refused(body: bytes) -> None:
    with pytest.raises(MalformedReview, match="The body must be an AdmissionReview"):
        read_request(body)


@settings(max_examples=150, suppress_health_check=SLOW, deadline=None)
@given(st.data(), OPERATIONS, GARBAGE, HANDLERS)
def test_any_request_about_our_kinds_is_answered(
    data: st.DataObject, operation: str, garbage: dict[str, JsonValue], handler: str
) -> None:
    kind = data.draw(st.sampled_from(sorted(SPEC_MODELS)))
    document, old = data.draw(resources(kind, garbage=True)), data.draw(resources(kind, garbage=True))
    body = review(document, operation=operation, old=old)
    object_at(body, "request").update(garbage)
    try:
        response_to(sent(body), handler)
    except MalformedReview:
        assert "uid" in garbage


@settings(max_examples=60, suppress_health_check=SLOW, deadline=None)
@given(resources(CLUSTER_KIND, garbage=True))
def test_the_webhook_says_what_the_planner_says(document: JsonObject) -> None:
    document = object_at(sent(review(document)), "object")
    assume(isinstance(document["spec"], dict))
    body = review(document)
    object_at(body, "request")["namespace"] = str_at(document, "metadata", "namespace")
    stalled = [
        str_at(one, "message")
        for one in objects_at(World.of(document).plan().decision.status, "conditions")
        if (one["type"], one["status"]) == ("Stalled", "True")
    ]
    for handler in (MUTATE, VALIDATE):
        response = response_to(object_at(body, "request"), handler)
        if response["allowed"] is False:
            assert stalled == [str_at(response, "status", "message")]
        elif handler == VALIDATE:
            warnings = [str(one) for one in list_at(response, "warnings")]
            assert all(f"Unless a TapioIntelligence says otherwise: {one}" in warnings for one in stalled)


@settings(max_examples=60, suppress_health_check=SLOW, deadline=None)
@given(resources(CLUSTER_KIND, garbage=False))
def test_what_the_mutation_writes_is_judged_alike_and_mutated_no_further(document: JsonObject) -> None:
    request = sent(review(document))
    response = response_to(request, MUTATE)
    assume("patch" in response)
    (operation,) = json.loads(base64.b64decode(str_at(response, "patch")))
    object_at(request, "object")["spec"] = operation["value"]
    assert response_to(request, VALIDATE)["allowed"] is True
    assert "patch" not in response_to(request, MUTATE)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="empty"),
        pytest.param({"apiVersion": "admission.k8s.io/v1"}, id="without a request"),
        pytest.param({"apiVersion": "admission.k8s.io/v1", "request": {"uid": ""}}, id="without a uid"),
        pytest.param({"apiVersion": "admission.k8s.io/v1", "request": {"uid": "a\r\nb"}}, id="a uid of two lines"),
        pytest.param({"apiVersion": "admission.k8s.io/v1beta1", "request": {"uid": "a"}}, id="another version"),
        pytest.param({"apiVersion": "admission.k8s.io/v1", "request": ["uid"]}, id="a list for a request"),
    ],
)
def test_anything_else_is_no_review(body: JsonObject) -> None:
    with pytest.raises(MalformedReview, match=r"AdmissionReview of admission\.k8s\.io/v1 with a request\.uid"):
        read_request(encode(body))


@pytest.mark.parametrize("levels", [500, 960, 5_000, 50_000])
def test_an_endlessly_nested_object_is_still_answered(levels: int) -> None:
    nested = b'{"[\\"":' * levels + b'"}"' + b"}" * levels
    body = encode(review({"kind": CLUSTER_KIND, "metadata": {"name": "x"}, "spec": {"nats": {"config": "@"}}}))
    request = read_request(body.replace(b'"@"', nested))
    response = response_to(request, MUTATE)
    assert str_at(response, "status", "message").startswith("spec is nested more than 100 levels deep")
    update: JsonObject = {**request, "operation": "UPDATE", "oldObject": request["object"]}
    assert response_to(update, MUTATE) == {"uid": "r-1", "allowed": True}


def test_only_what_lies_too_deep_is_cut() -> None:
    inner = KEPT_LEVELS - 1
    body = b"[" * inner + b'[1],[[2],"]",{"a":[]}],[3]' + b"]" * inner
    assert shallow(body) == b"[" * inner + b'[1],[null,"]",null],[3]' + b"]" * inner
    assert shallow(b"") == b""
