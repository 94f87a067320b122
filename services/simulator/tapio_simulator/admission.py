"""Admission webhooks: which are asked, what they are sent, and what their answers do to a request.

Configurations are read from the store on every change; calls go through a `WebhookCaller`, so that simulations need no
socket. Denial and failure texts are those of k8s.io/apiserver's webhook plugins.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from tapio_shared.json import JsonObject, JsonValue, at, int_at, list_at, object_at, objects_at, str_at, strings_at
from tapio_shared.ports import Random
from tapio_simulator.calls import User, clone
from tapio_simulator.errors import StatusError, bad_request
from tapio_simulator.patches import json_patched
from tapio_simulator.resources import Resource
from tapio_simulator.selectors import label_selector_matches
from tapio_simulator.stamps import new_uid
from tapio_simulator.store import Store

MUTATING, VALIDATING = "mutatingwebhookconfigurations", "validatingwebhookconfigurations"
_CONFIGURATIONS = {
    MUTATING: f"{MUTATING}.admissionregistration.k8s.io",
    VALIDATING: f"{VALIDATING}.admissionregistration.k8s.io",
}


class WebhookCallFailed(Exception):
    """A webhook gave no usable answer (connection refused, TLS, time-out, HTTP error). The message says why."""


class WebhookCaller(Protocol):
    """How a webhook is reached."""

    async def call(self, client_config: JsonObject, body: bytes, timeout: float) -> bytes:
        """POST an AdmissionReview and answer the body; WebhookCallFailed otherwise."""
        ...


@dataclass(frozen=True, slots=True)
class Review:
    """One request as admission sees it."""

    operation: str
    resource: Resource
    namespace: str
    name: str
    subresource: str
    user: User
    dry_run: bool
    document: JsonObject | None
    old: JsonObject | None
    options: Mapping[str, str]


class Admission:
    """Both webhook plugins."""

    def __init__(self, store: Store, random: Random, caller: WebhookCaller | None) -> None:
        self._store, self._random, self._caller = store, random, caller

    @property
    def active(self) -> bool:
        """Whether any webhook is registered at all."""
        return self._caller is not None and any(self._store.table(key).objects for key in _CONFIGURATIONS.values())

    async def mutate(self, review: Review, warnings: list[str]) -> JsonObject | None:
        """The document after all mutating webhooks; the same object when none changed it."""
        document = review.document
        for webhook in self._matching(MUTATING, review):
            response = await self._ask(webhook, review, document, warnings)
            if response is None or document is None:
                continue
            patch = str_at(response, "patch")
            if patch:
                if str_at(response, "patchType") != "JSONPatch":
                    raise _failed(webhook, "unsupported patch type")
                operations = msgspec.json.decode(base64.b64decode(patch))
                changed = json_patched(clone(document), operations)
                if isinstance(changed, dict) and changed != document:
                    document = changed
        return document

    async def validate(self, review: Review, warnings: list[str]) -> None:
        """StatusError when a validating webhook denies."""
        for webhook in self._matching(VALIDATING, review):
            await self._ask(webhook, review, review.document, warnings)

    # --- matching ----------------------------------------------------------------------------------------------

    def _matching(self, plural: str, review: Review) -> list[JsonObject]:
        # Webhook configurations are never admitted by webhooks themselves.
        if review.resource.group == "admissionregistration.k8s.io":
            return []
        table = self._store.table(_CONFIGURATIONS[plural])
        return [
            webhook
            for key in sorted(table.objects)
            for webhook in objects_at(table.objects[key].document, "webhooks")
            if self._matches(webhook, review)
        ]

    def _matches(self, webhook: JsonObject, review: Review) -> bool:
        if not any(_rule_matches(rule, review) for rule in objects_at(webhook, "rules")):
            return False
        selector = object_at(webhook, "namespaceSelector")
        if selector and (review.namespace or review.resource.kind == "Namespace"):
            name = review.namespace or review.name
            namespace = self._store.get("namespaces", ("", name))
            labels = strings_at(namespace.document, "metadata", "labels") if namespace else {}
            if not label_selector_matches(selector, labels):
                return False
        selector = object_at(webhook, "objectSelector")
        if not selector:
            return True
        return any(
            label_selector_matches(selector, strings_at(document, "metadata", "labels"))
            for document in (review.document, review.old)
            if document is not None
        )

    # --- asking ------------------------------------------------------------------------------------------------

    async def _ask(
        self, webhook: JsonObject, review: Review, document: JsonObject | None, warnings: list[str]
    ) -> JsonObject | None:
        """The webhook's response when it allows; None when its failure is ignored. StatusError when it denies."""
        side_effects = str_at(webhook, "sideEffects")
        if review.dry_run and side_effects not in ("None", "NoneOnDryRun"):
            raise bad_request(f'admission webhook "{str_at(webhook, "name")}" does not support dry run')
        assert self._caller is not None
        uid = new_uid(self._random)
        body = msgspec.json.encode(self._request(webhook, review, document, uid))
        timeout = float(int_at(webhook, "timeoutSeconds", default=10))
        try:
            answer = await self._caller.call(object_at(webhook, "clientConfig"), body, timeout)
            decoded: JsonValue = msgspec.json.decode(answer)
        except (WebhookCallFailed, msgspec.DecodeError) as err:
            if str_at(webhook, "failurePolicy") == "Ignore":
                return None
            raise _failed(webhook, str(err)) from err
        response = object_at(decoded, "response")
        if str_at(response, "uid") != uid:
            if str_at(webhook, "failurePolicy") == "Ignore":
                return None
            raise _failed(webhook, f"received invalid webhook response: expected response.uid={uid!r}")
        warnings += [str(text) for text in list_at(response, "warnings")]
        if response.get("allowed") is not True:
            raise _denied(webhook, object_at(response, "status"))
        return response

    def _request(self, webhook: JsonObject, review: Review, document: JsonObject | None, uid: str) -> JsonObject:
        resource = review.resource
        kind: JsonObject = {"group": resource.group, "version": resource.version, "kind": resource.kind}
        named: JsonObject = {"group": resource.group, "version": resource.version, "resource": resource.plural}
        options = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}[review.operation]
        request: JsonObject = {
            "uid": uid,
            "kind": kind,
            "resource": named,
            "requestKind": kind,
            "requestResource": named,
            "name": review.name,
            "operation": review.operation,
            "userInfo": {"username": review.user.name, "groups": list(review.user.groups)},
            "object": document,
            "oldObject": review.old,
            "dryRun": review.dry_run,
            "options": {"kind": options, "apiVersion": "meta.k8s.io/v1"},
        }
        if review.namespace:
            request["namespace"] = review.namespace
        if review.subresource:
            request["subResource"] = request["requestSubResource"] = review.subresource
        return {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}


def _rule_matches(rule: JsonObject, review: Review) -> bool:
    def listed(name: str, value: str) -> bool:
        found = list_at(rule, name)
        return value in found or "*" in found

    resource = review.resource
    scope = str_at(rule, "scope", default="*")
    if (scope == "Namespaced") != resource.namespaced and scope != "*":
        return False
    plurals = [str(entry) for entry in list_at(rule, "resources")]
    asked = f"{resource.plural}/{review.subresource}" if review.subresource else resource.plural
    wanted = {asked, "*/*", f"{resource.plural}/*" if review.subresource else asked}
    if not review.subresource:
        wanted.add("*")
    else:
        wanted.add(f"*/{review.subresource}")
    return (
        listed("operations", review.operation)
        and listed("apiGroups", resource.group)
        and listed("apiVersions", resource.version)
        and not wanted.isdisjoint(plurals)
    )


def _denied(webhook: JsonObject, status: JsonObject) -> StatusError:
    """The API server's denial (webhook/errors.ToStatusErr): the webhook's code, reason and message."""
    name = f'admission webhook "{str_at(webhook, "name")}" denied the request'
    message, reason = str_at(status, "message"), str_at(status, "reason")
    text = f"{name}: {message}" if message else f"{name}: {reason}" if reason else f"{name} without explanation"
    code = int_at(status, "code")
    details = at(status, "details")
    return StatusError(max(code, 400), reason, text, details if isinstance(details, dict) else None)


def _failed(webhook: JsonObject, why: str) -> StatusError:
    name = str_at(webhook, "name")
    return StatusError(
        500,
        "InternalError",
        f'Internal error occurred: failed calling webhook "{name}": failed to call webhook: {why}',
        {"causes": [{"message": f'failed calling webhook "{name}": failed to call webhook: {why}'}]},
    )
