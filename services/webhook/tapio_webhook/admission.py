"""From an AdmissionReview to its answer. Pure and total: whatever a request holds, there is an answer.

The mutating handler runs the full validation and denies, since a schema error would end the request before the
validating webhook; the validating handler repeats it after other mutators. What mutation must not write: API.md.
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
from tapio_shared.api.normalise import normalise, pin_version
from tapio_shared.api.not_yet_supported import not_yet_supported
from tapio_shared.api.problems import Problem
from tapio_shared.api.reasons import Reason
from tapio_shared.api.schema import SPEC_MODELS
from tapio_shared.api.trust import Trust
from tapio_shared.api.validation import one_answer, validate
from tapio_shared.codec import digest, encode
from tapio_shared.json import JsonObject, JsonValue, at, bool_at, object_at, str_at

MUTATE, VALIDATE = "mutate", "validate"


class MalformedReview(ValueError):
    """The body is no AdmissionReview of a version that is spoken here; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The response document of a review, and what is recorded of it."""

    document: JsonObject
    admission: Admission


def answer(review: JsonValue, *, handler: str, trust: Trust, target: str, now: int) -> Answer:
    """Answer one review. Raises `MalformedReview`."""
    request = object_at(review, "request")
    uid = str_at(request, "uid")
    if str_at(review, "apiVersion") != "admission.k8s.io/v1" or not uid:
        raise MalformedReview("The body must be an AdmissionReview of admission.k8s.io/v1 with a request.uid.")
    kind, operation = str_at(request, "kind", "kind"), str_at(request, "operation")
    document, old = object_at(request, "object"), at(request, "oldObject")
    ours = str_at(request, "kind", "group") == API_GROUP and kind in SPEC_MODELS
    problems: tuple[Problem, ...] = ()
    wanted: JsonObject = document
    if ours and operation in {"CREATE", "UPDATE"} and not str_at(document, "metadata", "deletionTimestamp"):
        wanted = normalise(document)
        if kind == CLUSTER_KIND:
            wanted = pin_version(
                wanted, old=old if isinstance(old, dict) else None, default_version=DEFAULT_TAPIO_VERSION
            )
        problems = validate(kind, wanted, trust=trust, old=old)
        if not problems and kind == CLUSTER_KIND and _changes_spec(wanted, old):
            problems = _budget_problems(wanted)
    response: JsonObject = {"uid": uid, "allowed": not problems}
    if problems:
        code = 422 if all(one.reason is not Reason.FORBIDDEN for one in problems) else 403
        response["status"] = {
            "message": one_answer(problems),
            "reason": "Invalid" if code == 422 else "Forbidden",
            "code": code,
        }
    elif handler == MUTATE and wanted.get("spec") != document.get("spec"):
        patch: list[JsonValue] = [{"op": "add", "path": "/spec", "value": wanted.get("spec")}]
        response |= {"patchType": "JSONPatch", "patch": base64.b64encode(encode(patch)).decode()}
    warnings = _warnings(wanted, kind) if ours and not problems and handler == VALIDATE else []
    if warnings:
        response["warnings"] = [*warnings]
    return Answer(
        {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response},
        Admission(
            request=uid,
            handler=handler,
            target=target,
            kind=kind,
            namespace=str_at(request, "namespace"),
            name=str_at(request, "name") or str_at(document, "metadata", "name"),
            uid=str_at(document, "metadata", "uid"),
            operation=operation,
            dry_run=bool_at(request, "dryRun"),
            user=str_at(request, "userInfo", "username"),
            allowed=not problems,
            problems=[one.path for one in problems],
            spec_digest=digest(object_at(wanted, "spec")) if ours else "",
            previous_version=str_at(old, "metadata", "resourceVersion"),
            answered_at=now,
        ),
    )


def _changes_spec(wanted: JsonObject, old: JsonValue) -> bool:
    return not isinstance(old, dict) or normalise(old).get("spec") != wanted.get("spec")


def _budget_problems(document: JsonObject) -> tuple[Problem, ...]:
    """A budget that can't be shared out, told at once instead of in a condition."""
    try:
        effective_cluster(TapioClusterSpec.from_document(document.get("spec")), version=DEFAULT_TAPIO_VERSION)
    except BudgetTooSmall as err:
        return (Problem("spec.resources", None, str(err), Reason.BUDGET_TOO_SMALL),)
    return ()


def _warnings(document: JsonObject, kind: str) -> list[str]:
    paths = not_yet_supported(object_at(document, "spec"), kind)
    return [f"Accepted, but without effect in this version: {', '.join(paths)}."] if paths else []
