"""Deleting: preconditions, finalizers, propagation."""

from __future__ import annotations

from tapio_shared.json import JsonObject, int_at, list_at, str_at
from tests.support.kube_calls import Calls, config_map, deployment


async def test_deleting_answers_what_was_deleted(calls: Calls) -> None:
    path = calls.path("v1", "configmaps")
    made = await calls.create(path, config_map("one"))
    reply = await calls.delete(f"{path}/one")
    assert reply.status == 200
    assert reply.document["status"] == "Success"
    uid = str_at(made.document, "metadata", "uid")
    assert reply.document["details"] == {"name": "one", "kind": "configmaps", "uid": uid}
    gone = await calls.get(f"{path}/one")
    assert (gone.status, gone.message) == (404, 'configmaps "one" not found')


async def test_deleting_what_is_not_there(calls: Calls) -> None:
    reply = await calls.delete(calls.path("apps/v1", "deployments", "none"))
    assert (reply.status, reply.reason) == (404, "NotFound")
    assert reply.message == 'deployments.apps "none" not found'


async def test_a_wrong_uid_is_a_conflict(calls: Calls) -> None:
    path = calls.path("v1", "configmaps")
    await calls.create(path, config_map("one"))
    wrong: JsonObject = {"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}}
    reply = await calls.delete(f"{path}/one", wrong)
    assert (reply.status, reply.reason) == (409, "Conflict")
    assert (await calls.get(f"{path}/one")).status == 200


async def test_a_wrong_version_is_a_conflict(calls: Calls) -> None:
    path = calls.path("v1", "configmaps")
    made = await calls.create(path, config_map("one"))
    await calls.merge(f"{path}/one", {"data": {"a": "1"}})
    stale: JsonObject = {"preconditions": {"resourceVersion": made.version}}
    reply = await calls.delete(f"{path}/one", stale)
    assert (reply.status, reply.reason) == (409, "Conflict")


async def test_right_preconditions_delete(calls: Calls) -> None:
    path = calls.path("v1", "configmaps")
    made = await calls.create(path, config_map("one"))
    right: JsonObject = {
        "preconditions": {"uid": str_at(made.document, "metadata", "uid"), "resourceVersion": made.version}
    }
    assert (await calls.delete(f"{path}/one", right)).status == 200


async def test_a_finalizer_keeps_the_object_until_it_goes(calls: Calls) -> None:
    path = calls.path("v1", "configmaps")
    await calls.create(path, config_map("one", finalizers=["example.com/hold"]))
    reply = await calls.delete(f"{path}/one")
    assert reply.status == 200
    assert str_at(reply.document, "metadata", "deletionTimestamp") != ""
    assert int_at(reply.document, "metadata", "deletionGracePeriodSeconds", default=-1) == 0
    again = await calls.delete(f"{path}/one")
    assert again.version == reply.version
    last = await calls.merge(f"{path}/one", {"metadata": {"finalizers": None}})
    assert last.status == 200
    assert (await calls.get(f"{path}/one")).status == 404


async def test_a_deletion_mark_bumps_the_generation(calls: Calls) -> None:
    path = calls.path("apps/v1", "deployments")
    document = deployment("web")
    document["metadata"] = {"name": "web", "finalizers": ["example.com/hold"]}
    await calls.create(path, document)
    reply = await calls.delete(f"{path}/web", {"propagationPolicy": "Background"})
    assert int_at(reply.document, "metadata", "generation") == 2
    await calls.merge(f"{path}/web", {"metadata": {"finalizers": None}})


async def test_a_finalizer_can_not_be_added_while_deleting(calls: Calls) -> None:
    path = calls.path("v1", "configmaps")
    await calls.create(path, config_map("one", finalizers=["example.com/hold"]))
    await calls.delete(f"{path}/one")
    reply = await calls.merge(f"{path}/one", {"metadata": {"finalizers": ["example.com/hold", "example.com/another"]}})
    assert (reply.status, reply.reason) == (422, "Invalid")
    assert "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted" in (
        reply.message
    )
    await calls.merge(f"{path}/one", {"metadata": {"finalizers": None}})


async def test_foreground_waits_for_the_garbage_collector(calls: Calls) -> None:
    path = calls.path("v1", "configmaps")
    await calls.create(path, config_map("one", finalizers=["example.com/hold"]))
    reply = await calls.delete(f"{path}/one", {"propagationPolicy": "Foreground"})
    assert list_at(reply.document, "metadata", "finalizers") == ["example.com/hold", "foregroundDeletion"]
    await calls.merge(f"{path}/one", {"metadata": {"finalizers": None}})


async def test_dry_run_deletes_nothing(calls: Calls) -> None:
    path = calls.path("v1", "configmaps")
    await calls.create(path, config_map("one"))
    assert (await calls.delete(f"{path}/one", dryRun="All")).status == 200
    assert (await calls.get(f"{path}/one")).status == 200


async def test_a_collection_is_deleted_by_selector(calls: Calls) -> None:
    path = calls.path("v1", "configmaps")
    await calls.create(path, config_map("one", labels={"go": "yes"}))
    await calls.create(path, config_map("two"))
    assert (await calls.delete(path, labelSelector="go=yes")).status == 200
    assert (await calls.get(f"{path}/one")).status == 404
    assert (await calls.get(f"{path}/two")).status == 200
