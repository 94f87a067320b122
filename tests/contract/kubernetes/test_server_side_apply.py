"""Server-side apply: ownership, conflicts, removal, and what counts as no change."""

from __future__ import annotations

from tapio_shared.json import JsonObject, JsonValue, at, int_at, list_at, object_at, objects_at, str_at
from tests.support.kube_calls import Calls, Reply, config_map, deployment


def owned(reply: Reply, manager: str, *, operation: str = "Apply", subresource: str = "") -> JsonValue:
    """The fields that `manager` owns."""
    for entry in objects_at(reply.document, "metadata", "managedFields"):
        if (
            entry.get("manager") == manager
            and entry.get("operation") == operation
            and str_at(entry, "subresource") == subresource
        ):
            return entry["fieldsV1"]
    return None


async def test_creates_with_201_and_updates_with_200(calls: Calls) -> None:
    path = calls.path("v1", "configmaps", "one")
    first = await calls.apply(path, config_map("one", {"a": "1"}))
    second = await calls.apply(path, config_map("one", {"a": "2"}))
    assert (first.status, second.status) == (201, 200)
    assert object_at(second.document, "data") == {"a": "2"}


async def test_owns_exactly_what_it_sends(calls: Calls) -> None:
    document = deployment("web")
    object_at(document, "metadata")["labels"] = {"team": "a"}
    reply = await calls.apply(calls.path("apps/v1", "deployments", "web"), document)
    container: JsonObject = {
        ".": {},
        "f:name": {},
        "f:image": {},
        "f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}},
    }
    assert owned(reply, "tester") == {
        "f:metadata": {"f:labels": {"f:team": {}}},
        "f:spec": {
            "f:selector": {},
            "f:template": {
                "f:metadata": {"f:labels": {"f:app": {}}},
                "f:spec": {"f:containers": {'k:{"name":"web"}': container}},
            },
        },
    }


async def test_applying_the_same_again_changes_nothing(calls: Calls) -> None:
    # A kind that no controller writes: a Deployment's status may move its version between the two.
    path = calls.path("v1", "configmaps", "web")
    wanted: JsonObject = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"}, "data": {"a": "1"}}
    first = await calls.apply(path, wanted)
    again = await calls.apply(path, wanted)
    assert again.status == 200
    assert again.version == first.version
    assert again.document["metadata"] == first.document["metadata"]


async def test_a_field_no_longer_applied_is_removed(calls: Calls) -> None:
    path = calls.path("v1", "configmaps", "one")
    document = config_map("one", {"keep": "1", "drop": "2"}, labels={"keep": "x", "drop": "y"})
    await calls.apply(path, document)
    reply = await calls.apply(path, config_map("one", {"keep": "1"}, labels={"keep": "x"}))
    assert object_at(reply.document, "data") == {"keep": "1"}
    assert object_at(reply.document, "metadata", "labels") == {"keep": "x"}


async def test_a_map_no_longer_applied_disappears(calls: Calls) -> None:
    path = calls.path("v1", "configmaps", "one")
    await calls.apply(path, config_map("one", {"a": "1"}, labels={"drop": "y"}))
    reply = await calls.apply(path, config_map("one", {"a": "1"}))
    assert "labels" not in object_at(reply.document, "metadata")


async def test_a_field_that_somebody_else_applies_too_stays(calls: Calls) -> None:
    path = calls.path("v1", "configmaps", "one")
    await calls.apply(path, config_map("one", {"shared": "1", "own": "1"}), "first")
    await calls.apply(path, config_map("one", {"shared": "1"}), "second")
    reply = await calls.apply(path, config_map("one", {"own": "1"}), "first")
    assert object_at(reply.document, "data") == {"shared": "1", "own": "1"}
    assert owned(reply, "second") == {"f:data": {"f:shared": {}}}


async def test_a_conflict_names_the_manager_and_the_field(calls: Calls) -> None:
    path = calls.path("v1", "configmaps", "one")
    await calls.apply(path, config_map("one", {"a": "1"}), "first")
    reply = await calls.apply(path, config_map("one", {"a": "2"}), "second")
    assert (reply.status, reply.reason) == (409, "Conflict")
    assert reply.message == 'Apply failed with 1 conflict: conflict with "first": .data.a'
    assert objects_at(reply.document, "details", "causes") == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "first"', "field": ".data.a"}
    ]


async def test_several_conflicts_are_listed_by_manager(calls: Calls) -> None:
    path = calls.path("v1", "configmaps", "one")
    await calls.apply(path, config_map("one", {"a": "1", "b": "1"}), "first")
    reply = await calls.apply(path, config_map("one", {"a": "2", "b": "2"}), "second")
    assert reply.message == 'Apply failed with 2 conflicts: conflicts with "first":\n- .data.a\n- .data.b'


async def test_force_takes_the_field_away(calls: Calls) -> None:
    path = calls.path("v1", "configmaps", "one")
    await calls.apply(path, config_map("one", {"a": "1", "b": "1"}), "first")
    reply = await calls.apply(path, config_map("one", {"a": "2"}), "second", force=True)
    assert object_at(reply.document, "data") == {"a": "2", "b": "1"}
    assert owned(reply, "first") == {"f:data": {"f:b": {}}}
    assert owned(reply, "second") == {"f:data": {"f:a": {}}}


async def test_applying_the_value_that_is_there_shares_ownership(calls: Calls) -> None:
    path = calls.path("v1", "configmaps", "one")
    await calls.apply(path, config_map("one", {"a": "1"}), "first")
    reply = await calls.apply(path, config_map("one", {"a": "1"}), "second")
    assert reply.status == 200
    assert owned(reply, "first") == owned(reply, "second") == {"f:data": {"f:a": {}}}


async def test_an_update_takes_fields_and_conflicts_name_its_version(calls: Calls) -> None:
    path = calls.path("apps/v1", "deployments", "web")
    await calls.apply(path, deployment("web", replicas=1), "operator")
    await calls.merge(path, {"spec": {"replicas": 5}}, fieldManager="someone")
    reply = await calls.apply(path, deployment("web", replicas=1), "operator")
    assert reply.status == 409
    assert reply.message == 'Apply failed with 1 conflict: conflict with "someone" using apps/v1: .spec.replicas'


async def test_list_items_are_merged_by_key(calls: Calls) -> None:
    path = calls.path("apps/v1", "deployments", "web")
    await calls.apply(path, deployment("web"), "first")
    sidecar = deployment("web")
    object_at(sidecar, "spec", "template", "spec")["containers"] = [{"name": "sidecar", "image": "side:1"}]
    reply = await calls.apply(path, sidecar, "second")
    names = [str_at(entry, "name") for entry in objects_at(reply.document, "spec", "template", "spec", "containers")]
    assert names == ["web", "sidecar"]
    without = deployment("web")
    object_at(without, "spec", "template", "spec").pop("containers")
    reply = await calls.apply(path, without, "second")
    names = [str_at(entry, "name") for entry in objects_at(reply.document, "spec", "template", "spec", "containers")]
    assert names == ["web"]


async def test_atomic_lists_have_one_owner(calls: Calls) -> None:
    path = calls.path("apps/v1", "deployments", "web")

    def with_args(*args: str) -> JsonObject:
        document = deployment("web")
        container = objects_at(document, "spec", "template", "spec", "containers")[0]
        container["args"] = list(args)
        return document

    await calls.apply(path, with_args("a"), "first")
    reply = await calls.apply(path, with_args("b"), "second")
    assert reply.message == (
        'Apply failed with 1 conflict: conflict with "first": .spec.template.spec.containers[name="web"].args'
    )


async def test_defaults_have_no_owner_and_return_when_the_field_goes(calls: Calls) -> None:
    path = calls.path("apps/v1", "deployments", "web")
    document = deployment("web")
    object_at(document, "spec")["strategy"] = {"type": "Recreate"}
    await calls.apply(path, document)
    reply = await calls.apply(path, deployment("web"))
    assert object_at(reply.document, "spec", "strategy") == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"},
    }


async def test_removing_replicas_from_an_apply_falls_back_to_the_default(calls: Calls) -> None:
    path = calls.path("apps/v1", "deployments", "web")
    await calls.apply(path, deployment("web", replicas=3))
    reply = await calls.apply(path, deployment("web"))
    assert int_at(reply.document, "spec", "replicas") == 1


async def test_finalizers_are_a_set(calls: Calls) -> None:
    path = calls.path("v1", "configmaps", "one")
    made = await calls.apply(path, config_map("one", finalizers=["example.com/a"]), "first")
    assert made.status == 201, made.message
    reply = await calls.apply(path, config_map("one", finalizers=["example.com/b"]), "second", force=True)
    assert reply.status == 200, reply.message
    assert sorted(str(name) for name in list_at(reply.document, "metadata", "finalizers")) == [
        "example.com/a",
        "example.com/b",
    ]
    await calls.merge(path, {"metadata": {"finalizers": None}})


async def test_needs_a_field_manager(calls: Calls) -> None:
    path = calls.path("v1", "configmaps", "one")
    reply = await calls.call("PATCH", path, config_map("one"), "application/apply-patch+yaml")
    assert (reply.status, reply.reason) == (422, "Invalid")
    assert "fieldManager: Required value" in reply.message


async def test_an_unknown_field_is_refused(calls: Calls) -> None:
    document = deployment("web")
    object_at(document, "spec")["nonsense"] = 1
    reply = await calls.apply(calls.path("apps/v1", "deployments", "web"), document)
    assert reply.status == 500
    assert "failed to create typed patch object" in reply.message
    assert ".spec.nonsense: field not declared in schema" in reply.message


async def test_a_stale_version_is_a_conflict(calls: Calls) -> None:
    path = calls.path("v1", "configmaps", "one")
    first = await calls.apply(path, config_map("one", {"a": "1"}))
    await calls.apply(path, config_map("one", {"a": "2"}))
    stale = config_map("one", {"a": "3"}, resourceVersion=first.version)
    reply = await calls.apply(path, stale)
    assert (reply.status, reply.reason) == (409, "Conflict")
    assert "the object has been modified" in reply.message


async def test_another_uid_is_invalid(calls: Calls) -> None:
    path = calls.path("v1", "configmaps", "one")
    await calls.apply(path, config_map("one"))
    reply = await calls.apply(path, config_map("one", uid="00000000-0000-0000-0000-000000000000"))
    assert (reply.status, reply.reason) == (422, "Invalid")
    assert "metadata.uid" in reply.message


async def test_a_version_on_an_object_that_is_not_there_is_ignored(calls: Calls) -> None:
    reply = await calls.apply(calls.path("v1", "configmaps", "one"), config_map("one", resourceVersion="1"))
    assert reply.status == 201


async def test_managed_fields_may_not_be_sent(calls: Calls) -> None:
    document = config_map("one", managedFields=[{"manager": "x", "operation": "Apply", "apiVersion": "v1"}])
    reply = await calls.apply(calls.path("v1", "configmaps", "one"), document)
    assert (reply.status, reply.message) == (400, "metadata.managedFields must be nil")


async def test_dry_run_answers_but_stores_nothing(calls: Calls) -> None:
    path = calls.path("v1", "configmaps", "one")
    reply = await calls.apply(path, config_map("one", {"a": "1"}), dryRun="All")
    assert (reply.status, object_at(reply.document, "data")) == (201, {"a": "1"})
    assert (await calls.get(path)).status == 404


async def test_status_is_applied_apart_from_the_object(calls: Calls) -> None:
    path = calls.path("apps/v1", "deployments", "web")
    await calls.apply(path, deployment("web", replicas=2))
    status: JsonObject = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
    status["spec"] = {"replicas": 9}
    status["status"] = {"replicas": 2}
    reply = await calls.apply(f"{path}/status", status, "status-writer", force=True)
    assert int_at(reply.document, "spec", "replicas") == 2
    assert int_at(reply.document, "status", "replicas") == 2
    # A real cluster's controller writes this status too, so only what must not be there can be told.
    reply = await calls.apply(path, {**deployment("web", replicas=2), "status": {"replicas": 7}}, force=True)
    assert int_at(reply.document, "status", "replicas") != 7


async def test_quantities_are_stored_in_canonical_form(calls: Calls) -> None:
    path = calls.path("apps/v1", "deployments", "web")
    document = deployment("web")
    container = objects_at(document, "spec", "template", "spec", "containers")[0]
    container["resources"] = {"limits": {"cpu": "1000m", "memory": "1024Mi"}, "requests": {"cpu": "0.25"}}
    first = await calls.apply(path, document)
    stored = objects_at(first.document, "spec", "template", "spec", "containers")[0]
    assert stored["resources"] == {
        "limits": {"cpu": "1", "memory": "1Gi"},
        "requests": {"cpu": "250m"},
    }
    again = await calls.apply(path, document)
    assert int_at(again.document, "metadata", "generation") == int_at(first.document, "metadata", "generation") == 1


async def test_a_name_that_differs_from_the_path_is_refused(calls: Calls) -> None:
    reply = await calls.apply(calls.path("v1", "configmaps", "one"), config_map("two"))
    assert reply.status == 400
    assert at(reply.document, "kind") == "Status"


async def test_owners_can_be_forgotten_and_are_then_named_before_first_apply(calls: Calls) -> None:
    path = calls.path("v1", "configmaps", "one")
    await calls.apply(path, config_map("one", {"a": "1"}), "first")
    cleared = await calls.merge(path, {"metadata": {"managedFields": [{}]}})
    assert list_at(cleared.document, "metadata", "managedFields") == []
    reply = await calls.apply(path, config_map("one", {"a": "2"}), "second")
    assert reply.message == 'Apply failed with 1 conflict: conflict with "before-first-apply" using v1: .data.a'


async def test_owners_can_be_handed_over_by_a_patch(calls: Calls) -> None:
    """What client-go's csaupgrade does when a client moves from client-side to server-side apply."""
    path = calls.path("v1", "configmaps", "one")
    made = await calls.create(calls.path("v1", "configmaps"), config_map("one", {"a": "1"}), fieldManager="old")
    entries = objects_at(made.document, "metadata", "managedFields")
    taken: list[JsonValue] = [{**entry, "manager": "new", "operation": "Apply"} for entry in entries]
    operations: JsonValue = [
        {"op": "replace", "path": "/metadata/managedFields", "value": taken},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": made.version},
    ]
    handed = await calls.call("PATCH", path, operations, "application/json-patch+json")
    assert handed.status == 200, handed.message
    reply = await calls.apply(path, config_map("one", {"b": "2"}), "new")
    assert object_at(reply.document, "data") == {"b": "2"}
