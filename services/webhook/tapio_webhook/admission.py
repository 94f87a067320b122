"""From the request of an AdmissionReview to its answer. Pure and total: whatever a request holds, there is an answer.

The mutating handler runs the full validation and denies, since a schema error would end the request before the
validating webhook; the validating handler repeats it after other mutators. What mutation must not write: API.md.
Judges only what a request changes: with an unchanged spec, or once deletion has begun, everything is allowed as it is.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from tapio_shared.admissions import Admission
from tapio_shared.api.budget import BudgetTooSmall
from tapio_shared.api.cluster import TapioClusterSpec
from tapio_shared.api.effective import effective_cluster
from tapio_shared.api.images import DEFAULT_TAPIO_VERSION
from tapio_shared.api.names import API_GROUP, CLUSTER_KIND
from tapio_shared.api.normalise import normalise_spec, pin_version
from tapio_shared.api.not_yet_supported import not_yet_supported
from tapio_shared.api.problems import MAX_SHOWN, Problem
from tapio_shared.api.reasons import Reason
from tapio_shared.api.specs import SPEC_MODELS
from tapio_shared.api.trust import Trust
from tapio_shared.api.validation import MAX_DEPTH, one_answer, validate
from tapio_shared.codec import digest, encode
from tapio_shared.json import JsonObject, JsonValue, at, bool_at, is_deeper, object_at, str_at

MUTATE, VALIDATE = "mutate", "validate"
_LONGEST_NAME = 253
"""Characters of a name in Kubernetes; who calls is not known, and a NATS subject has its limits."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The response document of a review, and what is to be recorded of it: nothing of a dry run or a foreign kind."""

    document: JsonObject
    allowed: bool
    kind: str
    """One of our kinds, or empty."""
    admission: Admission | None


@dataclass(frozen=True, slots=True)
class _Verdict:
    spec: JsonValue
    """What is to be stored; the very object that was asked for when nothing is to be changed."""
    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()


def answer(request: JsonObject, *, handler: str, trust: Trust, target: str, now: int) -> Answer:
    """Answer one request."""
    kind = str_at(request, "kind", "kind") if str_at(request, "kind", "group") == API_GROUP else ""
    kind = kind if kind in SPEC_MODELS else ""
    given = at(request, "object", "spec")
    verdict = _judged(kind, request, trust) if kind and _is_change(request) else _Verdict(given)
    response: JsonObject = {"uid": str_at(request, "uid"), "allowed": not verdict.problems}
    if verdict.problems:
        response["status"] = _denial(verdict.problems)
    elif handler == MUTATE and verdict.spec is not given and verdict.spec != given:
        patch: list[JsonValue] = [{"op": "add", "path": "/spec", "value": verdict.spec}]
        response |= {"patchType": "JSONPatch", "patch": base64.b64encode(encode(patch)).decode()}
    elif handler == VALIDATE and verdict.warnings:
        response["warnings"] = [*verdict.warnings]
    admission = None
    if kind and not bool_at(request, "dryRun"):
        admission = _admission(kind, request, verdict, handler=handler, target=target, now=now)
    document: JsonObject = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
    return Answer(document, not verdict.problems, kind, admission)


def _is_change(request: JsonObject) -> bool:
    """Whether a request may change a spec. That deletion has begun is known from what is stored alone."""
    return (
        str_at(request, "operation") in {"CREATE", "UPDATE"}
        and not str_at(request, "subResource")
        and at(request, "oldObject", "metadata", "deletionTimestamp") is None
    )


def _judged(kind: str, request: JsonObject, trust: Trust) -> _Verdict:
    document, old = object_at(request, "object"), at(request, "oldObject")
    given = document.get("spec")
    if is_deeper(given, MAX_DEPTH):
        return _Verdict(given, validate(kind, {"spec": given}, trust=trust, old=old))
    if isinstance(old, dict) and given == old.get("spec"):
        return _Verdict(given)
    spec = normalise_spec(kind, given)
    if kind == CLUSTER_KIND:
        before = old if isinstance(old, dict) else None
        spec = pin_version({"kind": kind, "spec": spec}, old=before, default_version=DEFAULT_TAPIO_VERSION)["spec"]
    problems = validate(kind, {"metadata": _metadata(request), "spec": spec}, trust=trust, old=old)
    if problems or not isinstance(spec, dict):
        return _Verdict(spec, problems)
    warnings = _without_effect(kind, spec)
    if kind == CLUSTER_KIND and (found := _budget_problem(spec)) is not None:
        if "intelligence" in spec:
            return _Verdict(spec, (found,))
        # What runs besides is then a TapioIntelligence's to say, which is not seen here.
        warnings = (*warnings, f"Unless a TapioIntelligence says otherwise: {found.message}")
    return _Verdict(spec, (), warnings)


def _metadata(request: JsonObject) -> JsonObject:
    """What of an object's metadata is judged. The namespace is the request's: older API servers add it later."""
    metadata = object_at(request, "object", "metadata")
    namespace = str_at(request, "namespace") or str_at(metadata, "namespace")
    return {"name": metadata.get("name"), "namespace": namespace}


def _budget_problem(spec: JsonObject) -> Problem | None:
    """A budget that can't be shared out, told at once instead of in a condition."""
    try:
        effective_cluster(TapioClusterSpec.from_document(spec), version=DEFAULT_TAPIO_VERSION)
    except BudgetTooSmall as err:
        return Problem("spec.resources", None, str(err), Reason.BUDGET_TOO_SMALL)
    return None


def _without_effect(kind: str, spec: JsonObject) -> tuple[str, ...]:
    paths = not_yet_supported(spec, kind)
    return (f"Accepted, but without effect in this version: {', '.join(paths)}.",) if paths else ()


def _denial(problems: tuple[Problem, ...]) -> JsonObject:
    forbidden = any(one.reason is Reason.FORBIDDEN for one in problems)
    reason, code = ("Forbidden", 403) if forbidden else ("Invalid", 422)
    return {"message": one_answer(problems), "reason": reason, "code": code}


def _admission(kind: str, request: JsonObject, verdict: _Verdict, *, handler: str, target: str, now: int) -> Admission:
    document = object_at(request, "object")
    name = str_at(request, "name") or str_at(document, "metadata", "name")
    spec = verdict.spec
    return Admission(
        request=str_at(request, "uid"),
        handler=handler,
        target=target,
        kind=kind,
        namespace=str_at(request, "namespace")[:_LONGEST_NAME],
        name=name[:_LONGEST_NAME],
        uid=str_at(document, "metadata", "uid"),
        operation=str_at(request, "operation"),
        user=str_at(request, "userInfo", "username"),
        allowed=not verdict.problems,
        problems=[one.path for one in verdict.problems[:MAX_SHOWN]],
        spec_digest="" if spec is None or is_deeper(spec, MAX_DEPTH) else digest(normalise_spec(kind, spec)),
        previous_version=str_at(request, "oldObject", "metadata", "resourceVersion"),
        answered_at=now,
    )
