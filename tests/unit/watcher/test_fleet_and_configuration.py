"""What is kept of nodes, classes, namespaces and the operator's ConfigMap."""

from __future__ import annotations

from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from tapio_shared.json import JsonObject
from tapio_watcher.configuration import Configuration, text_of
from tapio_watcher.fleet import fleet_of, seen_class, seen_namespace, seen_node
from tests.unit.watcher.documents import documents


def node(
    name: str, *, zone: str = "", ready: bool = True, beat: str = "10:00", unschedulable: bool = False
) -> JsonObject:
    return cast(
        "JsonObject",
        {
            "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone, "kubernetes.io/os": "linux"}},
            "spec": {"unschedulable": unschedulable},
            "status": {
                "conditions": [{"type": "Ready", "status": "True" if ready else "False", "lastHeartbeatTime": beat}],
                "images": [{"names": [name]}],
                "nodeInfo": {"kernelVersion": "6.1", "architecture": "amd64", "osImage": "Debian"},
            },
        },
    )


@given(documents())
def test_any_document_can_be_reduced(document: JsonObject) -> None:
    seen_node(document)
    seen_class(document)
    seen_namespace(document)


@given(st.permutations([node("a", zone="z1"), node("b", zone="z2"), node("c", zone="z2", ready=False)]))
def test_the_fleet_does_not_depend_on_order(nodes: list[JsonObject]) -> None:
    fact = fleet_of(
        [seen_node(one) for one in nodes],
        storage_classes=[],
        namespaces=[],
        priority_classes=[],
        allowed_namespaces=[],
        now=1,
    )
    assert [(group.zone, group.count, group.ready) for group in fact.groups] == [("z1", 1, 1), ("z2", 2, 1)]
    assert (fact.hosts, fact.zones) == (2, ["z1", "z2"])


def test_a_heartbeat_changes_nothing() -> None:
    assert seen_node(node("a", beat="10:00")) == seen_node(node("a", beat="10:01"))


def test_a_cordoned_node_is_no_host() -> None:
    fact = fleet_of(
        [seen_node(node("a", unschedulable=True))],
        storage_classes=[],
        namespaces=[],
        priority_classes=[],
        allowed_namespaces=[],
        now=1,
    )
    assert fact.hosts == 0


def test_the_fleet_names_the_classes_that_let_volumes_grow() -> None:
    def storage_class(name: str, **fields: object) -> JsonObject:
        return cast("JsonObject", {"metadata": {"name": name}, **fields})

    fact = fleet_of(
        [],
        storage_classes=[
            seen_class(storage_class("grows", allowVolumeExpansion=True)),
            seen_class(storage_class("fixed", allowVolumeExpansion=False)),
            seen_class(storage_class("silent")),
        ],
        namespaces=[],
        priority_classes=[],
        allowed_namespaces=[],
        now=1,
    )
    assert fact.expandable_storage_classes == ["grows"]


def test_of_several_default_classes_the_newest_is_meant() -> None:
    def storage_class(name: str, created: str, default: str) -> JsonObject:
        annotations: JsonObject = {"storageclass.kubernetes.io/is-default-class": default}
        return {"metadata": {"name": name, "creationTimestamp": created, "annotations": annotations}}

    fact = fleet_of(
        [],
        storage_classes=[
            seen_class(storage_class("old", "2024", "true")),
            seen_class(storage_class("new", "2025", "true")),
            seen_class(storage_class("newer", "2026", "false")),
        ],
        namespaces=[],
        priority_classes=[],
        allowed_namespaces=[],
        now=1,
    )
    assert fact.storage_classes == ["new", "newer", "old"]
    assert fact.default_storage_class == "new"


def test_a_configuration_is_kept_until_a_better_one_comes() -> None:
    configuration = Configuration()
    configuration.take("reconcileInterval: 10s\n")
    configuration.take("reconcileInterval: soon\n")
    fact = configuration.fact(7)
    assert fact.configuration["reconcileInterval"] == "10s"
    assert len(fact.problems) == 1
    configuration.take("reconcileInterval: 20s\n")
    assert configuration.fact(7).problems == []
    configuration.take(None)
    assert configuration.fact(7).configuration["reconcileInterval"] == "30s"


def test_a_restart_goes_on_from_the_recorded_configuration() -> None:
    before = Configuration()
    before.take("reconcileInterval: 10s\nleaderElection: false\n")
    after = Configuration()
    after.remember(before.fact(7))
    after.take("nonsense: true\n")
    assert after.current == before.current


def test_the_text_of_a_config_map() -> None:
    assert text_of({"data": {"config.yaml": "a: 1"}}) == "a: 1"
    assert text_of({"data": {"other": "a: 1"}}) is None
    assert text_of({}) is None
