"""What the answers of an API server mean, and how its paths are made. Pure but for those that take a `kube`."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import cast

import msgspec

from tapio_shared.codec import decode_as
from tapio_shared.errors import (
    ApiError,
    ApiRetryable,
    ApiTerminal,
    ResourceExpired,
    TapioError,
    Undecodable,
)
from tapio_shared.facts import ServedResource
from tapio_shared.json import JsonObject, objects_at, str_at
from tapio_shared.ports import Kube, KubeResponse
from tapio_shared.shallow import decode_cut

PAGE = 250
"""Objects that one page of a list holds at the most."""
APPLY_PATCH, MERGE_PATCH = "application/apply-patch+yaml", "application/merge-patch+json"
"""Content types of a server-side apply and of a JSON merge patch (RFC 7386)."""
_LONGEST_MESSAGE, _END_OF_MESSAGE = 2_000, 500
"""Characters: an API server quotes whole objects, and what it says is recorded, and shown to people."""


class _Details(msgspec.Struct, frozen=True):
    retryAfterSeconds: float | None = None  # noqa: N815 - the API's own spelling


class _Status(msgspec.Struct, frozen=True):
    message: str = ""
    reason: str = ""
    details: _Details | None = None


def object_path(
    group: str, version: str, plural: str, namespace: str = "", name: str = "", subresource: str = ""
) -> str:
    """Path of a collection (no `name`), an object or a subresource. Source: Kubernetes API conventions."""
    root = f"/apis/{group}/{version}" if group else f"/api/{version}"
    parts = [root, *(["namespaces", namespace] if namespace else []), plural]
    return "/".join([*parts, *([name] if name else []), *([subresource] if subresource else [])])


def check(response: KubeResponse) -> bytes:
    """The body of a successful answer; anything else is raised as what it means for a retry."""
    if response.status < 400:
        return response.body
    raise error_of(response.status, response.body, response.headers)


def error_of(status: int, body: bytes, headers: Mapping[str, str]) -> ApiError | ResourceExpired:
    """The error that an answer of failure, or the object of a watch's ERROR event, stands for."""
    try:
        told = decode_as(_Status, body)
    except Undecodable:
        told = _Status(message=body[:500].decode("utf-8", "replace"))
    message = _shortened(told.message) or f"The API server answered with HTTP {status}"
    if status == 410 or told.reason in {"Expired", "Gone"}:
        return ResourceExpired(f"{message}. The collection must be listed anew.")
    after = headers.get("Retry-After", "")
    # The object of an ERROR event has no headers; its details say the same.
    retry_after = float(after) if after.isdigit() else None if told.details is None else told.details.retryAfterSeconds
    if status in {401, 409, 429} or status >= 500:
        return ApiRetryable(status, told.reason, message, retry_after=retry_after)
    return ApiTerminal(status, told.reason, message, retry_after=retry_after)


def _shortened(message: str) -> str:
    """`message` without its middle when it is long: a refusal quotes the value first and says what is wrong last."""
    if len(message) <= _LONGEST_MESSAGE:
        return message
    return f"{message[: _LONGEST_MESSAGE - _END_OF_MESSAGE]} [...] {message[-_END_OF_MESSAGE:]}"


class _Resource(msgspec.Struct, frozen=True):
    name: str
    kind: str
    namespaced: bool = False


class _ResourceList(msgspec.Struct, frozen=True):
    groupVersion: str  # noqa: N815 - the API's own spelling
    resources: list[_Resource] = []


class _GroupVersion(msgspec.Struct, frozen=True):
    groupVersion: str  # noqa: N815 - the API's own spelling
    version: str


class _Group(msgspec.Struct, frozen=True):
    name: str
    versions: list[_GroupVersion] = []
    preferredVersion: _GroupVersion | None = None  # noqa: N815 - the API's own spelling


class _GroupList(msgspec.Struct, frozen=True):
    groups: list[_Group] = []


class _Version(msgspec.Struct, frozen=True):
    gitVersion: str = ""  # noqa: N815 - the API's own spelling


async def identity_of(kube: Kube) -> str:
    """UID of the namespace kube-system, by which one Kubernetes cluster is told from another; empty if there is none.

    Raises TapioError when it can't be read.
    """
    response = await kube.request("GET", object_path("", "v1", "namespaces", name="kube-system"))
    if response.status == 404:
        return ""
    return str_at(cast("JsonObject", decode_as(dict, check(response))), "metadata", "uid")


async def discover(
    kube: Kube, wanted: Sequence[tuple[str, str]], *, optional: Container[str] = ()
) -> tuple[str, list[ServedResource]]:
    """The server's version, and which of the `wanted` (group, kind) it serves under which versions.

    The group's preferred version comes first, the others in the server's order. A group that can't be read (an
    aggregated API that is down) raises: an incomplete answer must not look like "not served". Groups that are
    `optional` count as not served then: nothing that exists depends on them.
    """
    version = decode_as(_Version, check(await kube.request("GET", "/version"))).gitVersion
    groups = decode_as(_GroupList, check(await kube.request("GET", "/apis"))).groups
    found: list[ServedResource] = []
    kinds: dict[str, set[str]] = {}
    for group, kind in wanted:
        kinds.setdefault(group, set()).add(kind)
    if "" in kinds:
        found += await _resources(kube, "/api/v1", "", "v1", kinds[""])
    for served in groups:
        if served.name not in kinds:
            continue
        for one in _preferred_first(served):
            try:
                found += await _resources(
                    kube, f"/apis/{one.groupVersion}", served.name, one.version, kinds[served.name]
                )
            except TapioError:
                if served.name not in optional:
                    raise
    return version, found


def _preferred_first(group: _Group) -> list[_GroupVersion]:
    preferred = "" if group.preferredVersion is None else group.preferredVersion.version
    return sorted(group.versions, key=lambda one: one.version != preferred)


async def _resources(kube: Kube, path: str, group: str, version: str, kinds: set[str]) -> list[ServedResource]:
    response = await kube.request("GET", path)
    if response.status == 404:
        return []
    served = decode_as(_ResourceList, check(response)).resources
    return [
        ServedResource(group=group, version=version, kind=one.kind, plural=one.name, namespaced=one.namespaced)
        for one in sorted(served, key=lambda one: one.name)
        if one.kind in kinds and "/" not in one.name
    ]


async def list_all(kube: Kube, path: str, query: Mapping[str, str] | None = None) -> tuple[str, list[JsonObject]]:
    """Every object of a collection, in pages, with the resourceVersion of the list."""
    objects: list[JsonObject] = []
    following = ""
    while True:
        page = {**(query or {}), "limit": str(PAGE)} | ({"continue": following} if following else {})
        document = cast("JsonObject", decode_cut(dict, check(await kube.request("GET", path, query=page))))
        objects += objects_at(document, "items")
        following = str_at(document, "metadata", "continue")
        if not following:
            return str_at(document, "metadata", "resourceVersion"), objects
