"""CustomResourceDefinitions: schema, pruning, defaults, status, scale, ownership in lists."""

from __future__ import annotations

from itertools import count

import pytest
import pytest_asyncio

from tapio_shared.json import JsonObject, at, int_at, object_at, objects_at, str_at
from tapio_shared.ports import Kube
from tests.support.eventually import eventually
from tests.support.kube_calls import Calls, new_namespace

_numbers = count(1)
_STRING: JsonObject = {"type": "string"}
_SPEC: JsonObject = {
    "type": "object",
    "required": ["size"],
    "properties": {
        "size": {"type": "integer", "minimum": 1, "maximum": 9},
        "mode": {"type": "string", "enum": ["fast", "safe"], "default": "safe"},
        "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
        "nested": {"type": "object", "default": {}, "properties": {"on": {"type": "boolean", "default": True}}},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "shorthand": {
            "x-kubernetes-preserve-unknown-fields": True,
            "properties": {"enabled": {"type": "boolean"}, "level": {"type": "integer"}},
        },
        "rules": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": _STRING, "value": _STRING},
            },
        },
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": _STRING},
        "plain": {"type": "array", "items": _STRING},
        "labels": {"type": "object", "additionalProperties": _STRING},
        "replicas": {"type": "integer"},
    },
}


def definition(plural: str) -> JsonObject:
    kind = plural.capitalize().removesuffix("s")
    status: JsonObject = {
        "type": "object",
        "properties": {"phase": _STRING, "replicas": {"type": "integer"}, "selector": _STRING},
    }
    scale: JsonObject = {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.contract.example.com"},
        "spec": {
            "group": "contract.example.com",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": _SPEC, "status": status}}},
                    "subresources": {"status": {}, "scale": scale},
                    "additionalPrinterColumns": [
                        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                        {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
                    ],
                }
            ],
        },
    }


class Widgets:
    """Calls on one custom resource."""

    def __init__(self, calls: Calls, plural: str) -> None:
        self.calls, self.plural = calls, plural
        self.kind = plural.capitalize().removesuffix("s")
        self.path = calls.path("contract.example.com/v1", plural)

    def document(self, called: str, /, **spec: object) -> JsonObject:
        return {
            "apiVersion": "contract.example.com/v1",
            "kind": self.kind,
            "metadata": {"name": called},
            "spec": {"size": 1, **spec},  # type: ignore[dict-item]
        }


@pytest_asyncio.fixture
async def widgets(kube: Kube) -> Widgets:
    """A custom resource of its own, served."""
    calls = await new_namespace(kube)
    plural = f"widget{'abcdefghijklmnopqrstuvwxyz'[next(_numbers) % 26]}s"
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    name = f"{plural}.contract.example.com"
    if (await calls.get(f"{path}/{name}")).status == 404:
        made = await calls.create(path, definition(plural))
        assert made.status == 201, made.message
    widgets = Widgets(calls, plural)

    async def served() -> bool:
        return (await calls.get(widgets.path)).status == 200

    await eventually(served, seconds=20)
    return widgets


async def test_defaults_are_filled_in(widgets: Widgets) -> None:
    reply = await widgets.calls.create(widgets.path, widgets.document("one"))
    assert reply.document["spec"] == {"size": 1, "mode": "safe", "nested": {"on": True}}
    assert int_at(reply.document, "metadata", "generation") == 1


async def test_unknown_fields_are_pruned_unless_preserved(widgets: Widgets) -> None:
    document = widgets.document("one", nonsense=1, open={"any": {"thing": [1]}}, shorthand={"other": 2, "level": 3})
    reply = await widgets.calls.create(widgets.path, document)
    spec = object_at(reply.document, "spec")
    assert "nonsense" not in spec
    assert spec["open"] == {"any": {"thing": [1]}}
    assert spec["shorthand"] == {"other": 2, "level": 3}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        pytest.param(
            {"size": 0}, "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1"
        ),
        pytest.param({"size": 10}, "spec.size: Invalid value: 10: spec.size in body should be less than or equal to 9"),
        pytest.param({"mode": "odd"}, 'spec.mode: Unsupported value: "odd": supported values: "fast", "safe"'),
        pytest.param({"name": "A1"}, "spec.name: Invalid value: \"A1\": spec.name in body should match '^[a-z]+$'"),
        pytest.param(
            {"size": "x"}, 'spec.size: Invalid value: "string": spec.size in body must be of type integer: "string"'
        ),
        pytest.param({"rules": [{"value": "x"}]}, "name: Required value"),
        pytest.param({"shorthand": {"level": "x"}}, "spec.shorthand.level"),
    ],
)
async def test_wrong_values_are_named(widgets: Widgets, spec: dict[str, object], message: str) -> None:
    reply = await widgets.calls.create(widgets.path, widgets.document("one", **spec))
    assert (reply.status, reply.reason) == (422, "Invalid")
    assert message in reply.message


async def test_a_missing_required_field(widgets: Widgets) -> None:
    document = widgets.document("one")
    document["spec"] = {}
    reply = await widgets.calls.create(widgets.path, document)
    assert reply.message.endswith('"one" is invalid: spec.size: Required value')


async def test_duplicate_keys_are_refused(widgets: Widgets) -> None:
    reply = await widgets.calls.create(widgets.path, widgets.document("one", rules=[{"name": "a"}, {"name": "a"}]))
    assert (reply.status, reply.reason) == (422, "Invalid")
    assert "spec.rules[1]: Duplicate value" in reply.message


async def test_duplicates_in_a_set_are_refused(widgets: Widgets) -> None:
    reply = await widgets.calls.create(widgets.path, widgets.document("one", tags=["x", "y", "x"]))
    assert reply.message.endswith('spec.tags[2]: Duplicate value: "x"')


async def test_an_untyped_node_takes_a_boolean_or_an_object(widgets: Widgets) -> None:
    first = await widgets.calls.create(widgets.path, widgets.document("one", shorthand=True))
    assert at(first.document, "spec", "shorthand") is True
    second = await widgets.calls.create(widgets.path, widgets.document("two", shorthand={"enabled": False}))
    assert at(second.document, "spec", "shorthand") == {"enabled": False}


async def test_lists_merge_by_their_type(widgets: Widgets) -> None:
    path = f"{widgets.path}/one"
    first = widgets.document("one", rules=[{"name": "a", "value": "1"}], tags=["x"], plain=["p"])
    second = widgets.document("one", rules=[{"name": "b", "value": "2"}], tags=["y"])
    await widgets.calls.apply(path, first, "first")
    reply = await widgets.calls.apply(path, second, "second")
    assert reply.status == 200, reply.message
    assert object_at(reply.document, "spec")["rules"] == [{"name": "a", "value": "1"}, {"name": "b", "value": "2"}]
    assert object_at(reply.document, "spec")["tags"] == ["x", "y"]
    reply = await widgets.calls.apply(path, widgets.document("one", plain=["q"]), "second")
    assert reply.message == 'Apply failed with 1 conflict: conflict with "first": .spec.plain'
    reply = await widgets.calls.apply(path, widgets.document("one"), "first")
    assert object_at(reply.document, "spec")["rules"] == [{"name": "b", "value": "2"}]


async def test_status_is_apart(widgets: Widgets) -> None:
    document: JsonObject = widgets.document("one")
    document["status"] = {"phase": "Sneaked"}
    made = await widgets.calls.create(widgets.path, document)
    assert "status" not in made.document
    status: JsonObject = {"status": {"phase": "Ready"}, "spec": {"size": 5}}
    reply = await widgets.calls.merge(f"{widgets.path}/one/status", status)
    assert str_at(reply.document, "status", "phase") == "Ready"
    assert int_at(reply.document, "spec", "size") == 1
    assert int_at(reply.document, "metadata", "generation") == 1
    reply = await widgets.calls.merge(f"{widgets.path}/one", {"spec": {"size": 2}, "status": {"phase": "No"}})
    assert str_at(reply.document, "status", "phase") == "Ready"
    assert int_at(reply.document, "metadata", "generation") == 2


async def test_status_applied_by_a_manager_of_its_own(widgets: Widgets) -> None:
    path = f"{widgets.path}/one"
    await widgets.calls.apply(path, widgets.document("one"), "spec-writer")
    status = widgets.document("one")
    status.pop("spec")
    status["status"] = {"phase": "Ready"}
    reply = await widgets.calls.apply(f"{path}/status", status, "status-writer")
    assert str_at(reply.document, "status", "phase") == "Ready"
    entries = {str_at(entry, "manager"): entry for entry in objects_at(reply.document, "metadata", "managedFields")}
    assert entries["status-writer"]["fieldsV1"] == {"f:status": {"f:phase": {}}}


async def test_an_update_needs_a_version(widgets: Widgets) -> None:
    await widgets.calls.create(widgets.path, widgets.document("one"))
    reply = await widgets.calls.call("PUT", f"{widgets.path}/one", widgets.document("one"))
    assert (reply.status, reply.reason) == (422, "Invalid")
    assert "metadata.resourceVersion" in reply.message


async def test_scale(widgets: Widgets) -> None:
    await widgets.calls.create(widgets.path, widgets.document("one", replicas=2))
    scale = await widgets.calls.get(f"{widgets.path}/one/scale")
    assert int_at(scale.document, "spec", "replicas") == 2
    await widgets.calls.merge(f"{widgets.path}/one/scale", {"spec": {"replicas": 4}})
    stored = await widgets.calls.get(f"{widgets.path}/one")
    assert int_at(stored.document, "spec", "replicas") == 4


async def test_printer_columns(widgets: Widgets) -> None:
    await widgets.calls.create(widgets.path, widgets.document("one"))
    reply = await widgets.calls.call("GET", widgets.path, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    assert [str_at(column, "name") for column in objects_at(reply.document, "columnDefinitions")] == [
        "Name",
        "Size",
        "Phase",
    ]
    assert objects_at(reply.document, "rows")[0]["cells"] == ["one", 1, None]


async def test_strategic_merge_patch_is_for_builtin_kinds(widgets: Widgets) -> None:
    await widgets.calls.create(widgets.path, widgets.document("one"))
    reply = await widgets.calls.call(
        "PATCH", f"{widgets.path}/one", {"spec": {"size": 2}}, "application/strategic-merge-patch+json"
    )
    assert reply.status == 415


async def test_lists_name_the_kind_of_each_item(widgets: Widgets) -> None:
    await widgets.calls.create(widgets.path, widgets.document("one"))
    reply = await widgets.calls.get(widgets.path)
    assert reply.document["kind"] == f"{widgets.kind}List"
    assert [item["kind"] for item in objects_at(reply.document, "items")] == [widgets.kind]


async def test_an_undefined_resource_is_not_found(widgets: Widgets) -> None:
    reply = await widgets.calls.get(widgets.calls.path("contract.example.com/v1", "gadgets"))
    assert reply.status == 404
