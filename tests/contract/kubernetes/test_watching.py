"""Lists and watches: pages, versions, selectors, bookmarks, 410."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from tapio_shared.errors import ApiError
from tapio_shared.json import JsonObject, at, list_at, objects_at, str_at
from tests.support.kube_calls import Calls, config_map, next_events

METADATA_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


async def three(calls: Calls) -> str:
    """Config maps a, b and c, of which b is labelled; answers their collection's path."""
    path = calls.path("v1", "configmaps")
    for name in ("a", "b", "c"):
        labels: JsonObject = {"pick": "me", "n": name} if name == "b" else {"n": name}
        made = await calls.create(path, config_map(name, {"x": name}, labels=labels))
        assert made.status == 201, made.message
    return path


def names(document: JsonObject) -> list[str]:
    """Names of a list's items, without those that the cluster itself puts into every namespace: its CA bundles."""
    found = [str_at(item, "metadata", "name") for item in objects_at(document, "items")]
    return [name for name in found if not name.endswith(".crt")]


async def test_a_list_has_a_version_and_items_without_kind(calls: Calls) -> None:
    reply = await calls.get(await three(calls))
    assert (reply.document["kind"], reply.document["apiVersion"]) == ("ConfigMapList", "v1")
    assert names(reply.document) == ["a", "b", "c"]
    assert int(reply.version) > 0
    assert not any("kind" in item or "apiVersion" in item for item in objects_at(reply.document, "items"))


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        pytest.param("pick=me", ["b"], id="equal"),
        pytest.param("pick==me", ["b"], id="double equal"),
        pytest.param("pick!=me", ["a", "c"], id="unequal includes objects without the label"),
        pytest.param("pick", ["b"], id="exists"),
        pytest.param("!pick", ["a", "c"], id="does not exist"),
        pytest.param("n in (a,c)", ["a", "c"], id="in"),
        pytest.param("n notin (a,c)", ["b"], id="not in"),
        pytest.param("n in (a,b),pick=me", ["b"], id="both"),
    ],
)
async def test_label_selectors(calls: Calls, selector: str, expected: list[str]) -> None:
    path = await three(calls)
    prefix = "n," if selector in ("pick!=me", "!pick") else ""
    assert names((await calls.get(path, labelSelector=prefix + selector)).document) == expected


async def test_field_selectors(calls: Calls) -> None:
    path = await three(calls)
    assert names((await calls.get(path, fieldSelector="metadata.name=b")).document) == ["b"]
    assert names((await calls.get(path, fieldSelector="metadata.name!=b", labelSelector="n")).document) == ["a", "c"]
    assert (await calls.get(path, fieldSelector="data.x=b")).status == 400


async def test_pages_show_one_version(calls: Calls) -> None:
    path = await three(calls)
    first = await calls.get(path, limit="2", labelSelector="n")
    assert names(first.document) == ["a", "b"]
    await calls.create(path, config_map("d", labels={"n": "d"}))
    token = str_at(first.document, "metadata", "continue")
    second = await calls.get(path, limit="2", labelSelector="n", **{"continue": token})
    assert names(second.document) == ["c"]
    assert second.version == first.version
    assert str_at(second.document, "metadata", "continue") == ""


async def test_an_exact_version_shows_the_past(calls: Calls) -> None:
    path = await three(calls)
    before = await calls.get(path)
    await calls.delete(f"{path}/a")
    past = await calls.get(path, resourceVersion=before.version, resourceVersionMatch="Exact", limit="500")
    assert names(past.document) == ["a", "b", "c"]


async def test_one_object_is_read_no_older_than_a_version(calls: Calls) -> None:
    """The versions are the object's own: a real server's cache of a kind comes to no others before long."""
    path = await three(calls)
    made = await calls.get(f"{path}/b")
    assert (await calls.get(f"{path}/b", resourceVersion=made.version)).version == made.version
    async with calls.kube.watch(path, query={"resourceVersion": made.version, "labelSelector": "pick"}) as lines:
        changed = await calls.merge(f"{path}/b", {"data": {"x": "changed"}})
        assert (await calls.get(f"{path}/b", resourceVersion=changed.version)).version == changed.version
        await calls.delete(f"{path}/b")
        _, ended = await next_events(lines, 2)
    assert ended["type"] == "DELETED"
    version = str_at(ended, "object", "metadata", "resourceVersion")
    assert (await calls.get(f"{path}/b", resourceVersion=version)).status == 404


@pytest.mark.parametrize("name", ["a", "nobody"])
async def test_who_does_not_know_a_version_yet_says_nothing_of_an_object(calls: Calls, name: str) -> None:
    path = await three(calls)
    later = str(int((await calls.get(path)).version) + 1_000_000)
    reply = await calls.get(f"{path}/{name}", resourceVersion=later)
    assert (reply.status, reply.reason) == (504, "Timeout")
    assert reply.message.startswith(f"Timeout: Too large resource version: {later}, current: ")


async def test_metadata_alone(calls: Calls) -> None:
    path = await three(calls)
    reply = await calls.call("GET", path, accept=METADATA_LIST, labelSelector="n")
    assert reply.document["kind"] == "PartialObjectMetadataList"
    assert names(reply.document) == ["a", "b", "c"]
    assert all("data" not in item for item in objects_at(reply.document, "items"))


async def test_tables(calls: Calls) -> None:
    path = await three(calls)
    reply = await calls.call("GET", path, accept=TABLE, labelSelector="n")
    columns = [str_at(column, "name") for column in objects_at(reply.document, "columnDefinitions")]
    assert columns == ["Name", "Data", "Age"]
    cells = [list_at(row, "cells")[:2] for row in objects_at(reply.document, "rows")]
    assert cells == [["a", 1], ["b", 1], ["c", 1]]


async def test_a_watch_from_a_list_shows_every_later_change(calls: Calls) -> None:
    path = await three(calls)
    listed = await calls.get(path)
    async with calls.kube.watch(path, query={"resourceVersion": listed.version}) as lines:
        await calls.merge(f"{path}/a", {"data": {"x": "changed"}})
        await calls.create(path, config_map("d"))
        await calls.delete(f"{path}/b")
        events = await next_events(lines, 3)
    shown = [(event["type"], str_at(event, "object", "metadata", "name")) for event in events]
    assert shown == [("MODIFIED", "a"), ("ADDED", "d"), ("DELETED", "b")]
    assert at(events[0], "object", "kind") == "ConfigMap"
    versions = [int(str_at(event, "object", "metadata", "resourceVersion")) for event in events]
    assert versions == sorted(versions)
    assert versions[0] > int(listed.version)


async def test_a_watch_without_a_version_begins_with_what_is_there(calls: Calls) -> None:
    path = await three(calls)
    async with calls.kube.watch(path, query={"labelSelector": "n"}) as lines:
        events = await next_events(lines, 3)
    assert [event["type"] for event in events] == ["ADDED"] * 3


async def test_leaving_a_selector_is_a_deletion_and_entering_it_an_addition(calls: Calls) -> None:
    path = await three(calls)
    listed = await calls.get(path)
    query = {"resourceVersion": listed.version, "labelSelector": "pick=me"}
    async with calls.kube.watch(path, query=query) as lines:
        await calls.merge(f"{path}/a", {"data": {"x": "unseen"}})
        await calls.merge(f"{path}/a", {"metadata": {"labels": {"pick": "me"}}})
        await calls.merge(f"{path}/a", {"data": {"x": "seen"}})
        await calls.merge(f"{path}/a", {"metadata": {"labels": {"pick": None}}})
        events = await next_events(lines, 3)
    assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "DELETED"]


async def test_a_watch_of_one_object(calls: Calls) -> None:
    path = await three(calls)
    listed = await calls.get(path)
    query = {"resourceVersion": listed.version, "fieldSelector": "metadata.name=b"}
    async with calls.kube.watch(path, query=query) as lines:
        await calls.merge(f"{path}/a", {"data": {"x": "other"}})
        await calls.merge(f"{path}/b", {"data": {"x": "mine"}})
        events = await next_events(lines, 1)
    assert str_at(events[0], "object", "metadata", "name") == "b"


async def test_a_watch_ends_after_its_time(calls: Calls) -> None:
    path = calls.path("v1", "configmaps")
    listed = await calls.get(path)
    async with asyncio.timeout(10):
        async with calls.kube.watch(path, query={"resourceVersion": listed.version, "timeoutSeconds": "1"}) as lines:
            seen = [line async for line in lines if msgspec.json.decode(line)["type"] != "BOOKMARK"]
    assert all(b".crt" in line for line in seen)


async def test_a_version_that_is_no_number_is_refused(calls: Calls) -> None:
    with pytest.raises(ApiError) as caught:
        async with calls.kube.watch(calls.path("v1", "configmaps"), query={"resourceVersion": "yesterday"}):
            pass
    assert "yesterday" in caught.value.message
