"""What is read of one kind by plain requests: pages of objects, versions by metadata alone, one object by its name.

Knows nothing of watches, and keeps nothing between two requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from tapio_shared.facts import ServedResource
from tapio_shared.json import JsonObject, str_at, strings_at
from tapio_shared.kubernetes import PAGE, check, object_path
from tapio_shared.ports import Kube
from tapio_shared.shallow import decode_cut
from tapio_watcher.versions import Name, Versions
from tapio_watcher.watching import PageRead

_METADATA_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"


class _ObjectMetadata(msgspec.Struct, frozen=True):
    name: str
    namespace: str = ""
    resourceVersion: str = ""  # noqa: N815 - the API's own spelling


class _Partial(msgspec.Struct, frozen=True):
    metadata: _ObjectMetadata


class _ListMetadata(msgspec.Struct, frozen=True):
    resourceVersion: str = ""  # noqa: N815 - the API's own spelling
    following: str = msgspec.field(default="", name="continue")


class _PartialList(msgspec.Struct, frozen=True):
    metadata: _ListMetadata
    items: list[_Partial] | None = None


class _Page(msgspec.Struct, frozen=True):
    metadata: _ListMetadata
    items: list[dict[str, Any]] | None = None


class Listing:
    """Reads one kind, in one namespace or all, under a label or field selector.

    Every request raises what `check` makes of an answer of failure: an ApiError, or ResourceExpired for 410.
    """

    def __init__(self, kube: Kube, resource: ServedResource, *, namespace: str, selector: Mapping[str, str]) -> None:
        self._kube, self._resource = kube, resource
        self.path = object_path(resource.group, resource.version, resource.plural, namespace)
        self.selector = dict(selector)

    async def page(self, token: str) -> PageRead:
        """The page at `token`, or the first one."""
        query = {**self.selector, "limit": str(PAGE)} | ({"continue": token} if token else {})
        page = decode_cut(_Page, check(await self._kube.request("GET", self.path, query=query)))
        items = tuple(cast("JsonObject", one) for one in page.items or ())
        return PageRead(items, page.metadata.resourceVersion, page.metadata.following)

    async def versions(self) -> Versions:
        """Of every object, as the server's cache has them: some servers answer that in pages, others all at once."""
        found, where = Versions(), {"resourceVersion": "0"}
        while where:
            page = await self._metadata({"limit": str(PAGE), **where})
            for one in page.items or ():
                found.set((one.metadata.namespace, one.metadata.name), one.metadata.resourceVersion)
            where = {"continue": page.metadata.following} if page.metadata.following else {}
        return found

    async def version(self) -> str:
        """The version of the kind as a whole, read from the newest state that the server knows."""
        return (await self._metadata({"limit": "1"})).metadata.resourceVersion

    async def one(self, name: Name, at_least: str = "") -> JsonObject | None:
        """One object, whether the selector selects it or not; None when there is none of this name."""
        resource = self._resource
        return await one_at(self._kube, object_path(resource.group, resource.version, resource.plural, *name), at_least)

    def selects(self, document: JsonObject) -> bool:
        """Whether the label selector still selects an object that was read by its name."""
        labels = strings_at(document, "metadata", "labels")
        terms = [term for term in self.selector.get("labelSelector", "").split(",") if term]
        return all(
            labels.get(label) == wanted if equals else label in labels
            for label, equals, wanted in (term.partition("=") for term in terms)
        )

    def typed(self, document: JsonObject) -> JsonObject:
        """`document` with apiVersion and kind: items of a list carry none of their own."""
        if "kind" in document:
            return document
        group = f"{self._resource.group}/" if self._resource.group else ""
        return {"apiVersion": f"{group}{self._resource.version}", "kind": self._resource.kind, **document}

    async def _metadata(self, query: Mapping[str, str]) -> _PartialList:
        asked = {**self.selector, **query}
        return decode_cut(
            _PartialList, check(await self._kube.request("GET", self.path, query=asked, accept=_METADATA_LIST))
        )


async def one_at(kube: Kube, path: str, at_least: str = "") -> JsonObject | None:
    """One object, None when there is none: the newest, or as it was at the version `at_least`, or later.

    A server that knows nothing of that version yet answers 504 after a while.
    """
    response = await kube.request("GET", path, query={"resourceVersion": at_least} if at_least else {})
    return None if response.status == 404 else cast("JsonObject", decode_cut(dict, check(response)))


def name_of(document: JsonObject) -> Name:
    """Namespace and name of an object."""
    return str_at(document, "metadata", "namespace"), str_at(document, "metadata", "name")
