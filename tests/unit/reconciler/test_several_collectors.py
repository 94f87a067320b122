"""TapioCollectors beside one another and beside the TapioCluster's own: who runs, who is refused, what each says."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import cast

import msgspec
import pytest

from tapio_shared.facts import FleetObserved, NodeGroup
from tapio_shared.json import JsonObject, at, object_at, objects_at, str_at
from tapio_shared.keys import ObjectRef
from tests.support.planned_world import FLEET, World, discovery, example

A = NodeGroup(
    count=5, ready=5, architecture="amd64", kernel="6.1.0", os_image="Debian GNU/Linux 12", labels={"pool": "a"}
)
B = msgspec.structs.replace(A, count=2, labels={"pool": "b"})
BOTH = msgspec.structs.replace(A, count=1, labels={"disk": "ssd", "pool": "b"})
ETCD = {"endpoints": ["https://10.0.0.1:2379"], "credentialsSecretRef": {"name": "etcd"}}


def fleet(*groups: NodeGroup, dropped: list[str] | None = None) -> FleetObserved:
    return msgspec.structs.replace(FLEET, groups=list(groups), dropped_labels=dropped or [])


def world_of(**collectors: object) -> World:
    """A cluster whose own collectors are `collectors`."""
    document = example("development")
    object_at(document, "spec")["collectors"] = cast("JsonObject", collectors)
    world = World.of(document)
    world.share("fleet", fleet(A, B))
    return world


def add(world: World, name: str, kind: str, *, made: str = "2026-01-01T00:00:00Z", **spec: object) -> None:
    """A TapioCollector of the world's cluster."""
    add_of(world, name, kind, spec, made)


def add_of(world: World, name: str, kind: str, spec: Mapping[str, object], made: str = "2026-01-01T00:00:00Z") -> None:
    """The same, of fields in a table."""
    fields = cast("JsonObject", dict(spec))
    document: JsonObject = {
        "apiVersion": "tapio.io/v1alpha1",
        "kind": "TapioCollector",
        "metadata": {
            "name": name,
            "namespace": world.key.namespace,
            "uid": f"uid-of-{name}",
            "generation": 1,
            "creationTimestamp": made,
        },
        "spec": {"clusterRef": {"name": world.key.name}, "type": kind, **fields},
    }
    world.observe(document)


def resource(world: World, name: str) -> JsonObject:
    found = world.find(ObjectRef("tapio.io", "TapioCollector", world.key.namespace, name))
    assert found is not None
    return found


def condition(world: World, name: str, kind: str) -> tuple[str, str, str]:
    for one in objects_at(resource(world, name), "status", "conditions"):
        if str_at(one, "type") == kind:
            return str_at(one, "status"), str_at(one, "reason"), str_at(one, "message")
    return "", "", ""


def columns(world: World, name: str) -> tuple[object, object, object]:
    """Desired, Ready and Phase, as `kubectl get` shows them."""
    status = object_at(resource(world, name), "status")
    return status["desired"], status["ready"], status["phase"]


def running(world: World, *kinds: str) -> list[str]:
    """Names of the workloads of collectors, without the hash at their end."""
    found = [
        str_at(one, "metadata", "labels", "app.kubernetes.io/component")
        for ref, one in world.objects().items()
        if ref.kind in (kinds or ("DaemonSet", "Deployment")) and at(one, "metadata", "labels", "tapio.io/collector")
    ]
    return sorted(found)


NODES = (
    "A collector of type ebpf already runs on some of the same nodes: {}. Choose other nodes with spec.nodeSelector, "
    "or set spec.allowOverlap to true."
)


def test_collectors_on_different_nodes_run_side_by_side() -> None:
    world = world_of(kubernetes=True)
    add(world, "one", "ebpf", nodeSelector={"pool": "a"})
    add(world, "two", "ebpf", nodeSelector={"pool": "b"})
    world.settle()
    assert running(world) == ["ebpf-one", "ebpf-two", "kubernetes"]
    for name in ("one", "two"):
        assert columns(world, name) == (3, 3, "Ready")
        assert condition(world, name, "Ready")[:2] == ("True", "AllReady")
        assert condition(world, name, "Degraded")[:2] == ("False", "AllReady")


def test_the_newer_of_two_on_the_same_nodes_is_refused() -> None:
    world = world_of(kubernetes=True)
    add(world, "newer", "ebpf", made="2026-01-02T00:00:00Z")
    add(world, "older", "ebpf", made="2026-01-01T00:00:00Z", nodeSelector={"pool": "a"})
    world.settle()
    assert running(world, "DaemonSet") == ["ebpf-older"]
    message = NODES.format("TapioCollector older")
    assert condition(world, "newer", "Stalled") == ("True", "OverlapsWith", message)
    assert condition(world, "newer", "Ready") == ("False", "OverlapsWith", message)
    assert columns(world, "newer") == (0, 0, "Stalled")


def test_of_the_same_age_the_first_by_name_runs() -> None:
    world = world_of(kubernetes=True)
    add(world, "b", "cni")
    add(world, "a", "cni")
    world.settle()
    assert running(world, "DaemonSet") == ["cni-a"]


def test_overlap_may_be_allowed() -> None:
    world = world_of(ebpf=True)
    add(world, "extra", "ebpf", allowOverlap=True)
    world.settle()
    assert running(world) == ["ebpf", "ebpf-extra"]


def test_the_clusters_own_collector_comes_first() -> None:
    world = world_of(ebpf={"nodeSelector": {"pool": "a"}})
    add(world, "same", "ebpf", made="2020-01-01T00:00:00Z")
    add(world, "other", "ebpf", nodeSelector={"pool": "b"})
    add(world, "unlike", "systemd")
    world.settle()
    assert condition(world, "same", "Stalled")[2] == NODES.format("spec.collectors.ebpf of the TapioCluster")
    assert running(world) == ["ebpf", "ebpf-other", "systemd-unlike"]


@pytest.mark.parametrize(
    ("one", "other", "nodes", "refused"),
    [
        pytest.param({"pool": "a"}, {"pool": "b"}, [BOTH], False, id="one label, two values"),
        pytest.param({"pool": "b"}, {"disk": "ssd"}, [BOTH], True, id="a node has both"),
        pytest.param({"pool": "b"}, {"disk": "ssd"}, [A, B], False, id="no node has both"),
        pytest.param({}, {"disk": "ssd"}, [BOTH], True, id="one takes all nodes"),
        pytest.param({"pool": "b"}, {"disk": "ssd"}, [], True, id="without nodes nobody knows"),
    ],
)
def test_node_selectors_meet_by_node_facts(
    one: dict[str, str], other: dict[str, str], nodes: list[NodeGroup], refused: bool
) -> None:
    world = world_of(kubernetes=True)
    world.share("fleet", fleet(*nodes))
    add(world, "a", "ebpf", nodeSelector=one)
    add(world, "b", "ebpf", nodeSelector=other)
    world.settle()
    assert (condition(world, "b", "Stalled")[1] == "OverlapsWith") is refused
    assert condition(world, "a", "Stalled")[1] != "OverlapsWith"


def test_labels_that_the_fleet_does_not_hold_may_be_anywhere() -> None:
    world = world_of(kubernetes=True)
    world.share("fleet", fleet(A, B, dropped=["rack"]))
    add(world, "a", "ebpf", nodeSelector={"pool": "b"})
    add(world, "b", "ebpf", nodeSelector={"rack": "r7"})
    world.settle()
    assert condition(world, "b", "Stalled")[1] == "OverlapsWith"


def test_node_facts_may_change_who_is_refused() -> None:
    world = world_of(kubernetes=True)
    world.share("fleet", fleet(A, msgspec.structs.replace(BOTH, labels={"disk": "ssd", "pool": "c"})))
    add(world, "a", "ebpf", nodeSelector={"pool": "a"})
    add(world, "b", "ebpf", nodeSelector={"disk": "ssd"}, made="2026-01-02T00:00:00Z")
    world.settle()
    assert running(world, "DaemonSet") == ["ebpf-a", "ebpf-b"]
    world.share("fleet", fleet(A, msgspec.structs.replace(BOTH, labels={"disk": "ssd", "pool": "a"})))
    world.settle()
    assert running(world, "DaemonSet") == ["ebpf-a"]
    assert columns(world, "b") == (0, 0, "Stalled")
    world.share("fleet", fleet(A, B, BOTH))
    world.settle()
    assert running(world, "DaemonSet") == ["ebpf-a", "ebpf-b"]
    assert columns(world, "b") == (3, 3, "Ready")


@pytest.mark.parametrize(
    ("kind", "one", "other", "message"),
    [
        pytest.param("kubernetes", {"namespaces": ["x"]}, {"namespaces": ["y"]}, "", id="different namespaces"),
        pytest.param(
            "kubernetes",
            {"namespaces": ["x", "y"]},
            {"namespaces": ["y"]},
            "A collector of type kubernetes already observes some of the same namespaces: TapioCollector a. "
            "Choose other ones with spec.namespaces, or set spec.allowOverlap to true.",
            id="a namespace in common",
        ),
        pytest.param(
            "kubernetes",
            {},
            {"namespaces": ["y"]},
            "A collector of type kubernetes already observes some of the same namespaces: TapioCollector a. "
            "Choose other ones with spec.namespaces, or set spec.allowOverlap to true.",
            id="one observes all namespaces",
        ),
        pytest.param("etcd", ETCD, {**ETCD, "endpoints": ["https://10.0.0.2:2379"]}, "", id="different etcds"),
        pytest.param(
            "etcd",
            ETCD,
            ETCD,
            "A collector of type etcd already observes some of the same endpoints: TapioCollector a. Choose other ones "
            "with spec.endpoints, or set spec.allowOverlap to true.",
            id="the same etcd",
        ),
    ],
)
def test_collectors_that_run_once_meet_by_what_they_observe(
    kind: str, one: dict[str, object], other: dict[str, object], message: str
) -> None:
    world = world_of(ebpf=True)
    add_of(world, "a", kind, one)
    add_of(world, "b", kind, other)
    world.settle()
    assert condition(world, "b", "Stalled")[2] == message
    assert running(world, "Deployment") == ([f"{kind}-a"] if message else [f"{kind}-a", f"{kind}-b"])


def test_a_collector_that_is_switched_off_is_in_nobodys_way() -> None:
    world = world_of(kubernetes=True)
    add(world, "off", "ebpf", enabled=False)
    add(world, "on", "ebpf", made="2026-01-02T00:00:00Z")
    world.settle()
    assert running(world, "DaemonSet") == ["ebpf-on"]
    assert columns(world, "off") == (0, 0, "Ready")
    assert condition(world, "off", "Ready") == (
        "True",
        "AllReady",
        "The collector is switched off (spec.enabled is false), so nothing of it runs.",
    )


def test_an_etcd_without_access_is_in_nobodys_way_and_says_what_is_missing() -> None:
    world = world_of(kubernetes=True, etcd=True)
    world.share("fleet", fleet(msgspec.structs.replace(A, control_plane=True)))
    add(world, "mine", "etcd", endpoints=["https://10.0.0.1:2379"])
    add(world, "full", "etcd", made="2026-01-02T00:00:00Z", **ETCD)
    world.settle()
    assert running(world) == ["etcd-full", "kubernetes"]
    message = "Collector etcd-mine has no credentialsSecretRef; without them it is left out."
    assert condition(world, "mine", "Stalled") == ("True", "EtcdAccessNotConfigured", message)
    assert columns(world, "mine") == (0, 0, "Stalled")
    skipped = [str_at(one, "collector") for one in objects_at(world.cluster, "status", "skipped")]
    assert skipped == ["etcd", "etcd-mine"]


def test_a_collector_that_fits_no_node_says_so_in_its_own_status() -> None:
    world = world_of(kubernetes=True)
    world.share("fleet", fleet(msgspec.structs.replace(A, kernel="4.19.0")))
    add(world, "old", "ebpf")
    world.settle()
    message = "Can't be observed: 5 nodes with Linux 4.19.0; eBPF collection needs 5.8 or newer."
    assert condition(world, "old", "Ready") == ("False", "KernelTooOld", message)
    skipped = objects_at(resource(world, "old"), "status", "skipped")
    assert [(one["nodes"], one["reason"], one["nodeSelector"]) for one in skipped] == [
        (5, "KernelTooOld", {"pool": "a"})
    ]


def test_a_collector_that_became_invalid_goes_on_running() -> None:
    world = world_of(kubernetes=True)
    add(world, "a", "ebpf")
    world.settle()
    before = {ref for ref in world.objects() if "ebpf-a" in ref.name}
    assert len(before) >= 4
    document = copy.deepcopy(resource(world, "a"))
    object_at(document, "spec")["updateStrategy"] = {"type": "Sometimes"}
    world.observe(document)
    world.settle()
    assert condition(world, "a", "Stalled")[:2] == ("True", "InvalidSpec")
    assert {ref for ref in world.objects() if "ebpf-a" in ref.name} == before
    assert columns(world, "a") == (3, 3, "Stalled")


def spoil(world: World, name: str) -> None:
    """Give a TapioCollector a spec that means nothing."""
    document = copy.deepcopy(resource(world, name))
    object_at(document, "spec")["updateStrategy"] = {"type": "Sometimes"}
    world.observe(document)
    world.settle()
    assert condition(world, name, "Stalled")[:2] == ("True", "InvalidSpec")


def contents(world: World) -> dict[ObjectRef, JsonObject]:
    """Every object of the cluster but the TapioCollectors, whose statuses are what changes."""
    return {ref: one for ref, one in world.objects().items() if ref.kind != "TapioCollector"}


def observed_by(name: str) -> dict[str, object]:
    return {"config": {"observers": {name: {"enabled": True}}}}


RUNNING = [
    pytest.param("systemd", {}, id="a node agent, with its copy of the password"),
    pytest.param("ebpf", observed_by("dns"), id="an observer of its own, on whose subject NATS lets it publish"),
    pytest.param("kubernetes", {"namespaces": ["x"]}, id="one that runs once, with its roles"),
    pytest.param("etcd", ETCD, id="etcd"),
]


@pytest.mark.parametrize(("kind", "spec"), RUNNING)
def test_what_goes_on_with_an_invalid_spec_keeps_everything_that_it_needs(kind: str, spec: dict[str, object]) -> None:
    world = world_of(cni=True)
    world.edit(monitoring={"prometheus": {"enabled": True}, "grafana": {"enabled": True}})
    world.share("discovery", discovery(monitoring=True))
    world.share("fleet", fleet(msgspec.structs.replace(A, control_plane=True)))
    add_of(world, "a", kind, spec)
    add(world, "z", "cni", allowOverlap=True)
    world.settle()
    assert f"{kind}-a" in running(world)
    before = copy.deepcopy(contents(world))
    spoil(world, "a")
    assert contents(world) == before
    assert condition(world, "z", "Ready")[:2] == ("True", "AllReady")


def test_under_former_rules_nats_closes_to_what_goes_on_with_an_invalid_spec() -> None:
    world = world_of(cni=True)
    world.logic = 3
    add(world, "a", "systemd")
    world.settle()
    before = copy.deepcopy(contents(world))
    spoil(world, "a")
    after = contents(world)
    assert [(ref.kind, ref.name.rpartition("-")[0]) for ref in before if ref not in after] == [
        ("Secret", f"{world.key.name}-nats-systemd")
    ]
    assert [f"{ref.kind} {ref.name}" for ref in after if after[ref] != before[ref]] == [
        f"NetworkPolicy {world.key.name}-nats-flows"
    ]


def test_the_password_of_what_goes_on_with_an_invalid_spec_is_made_again() -> None:
    world = world_of(cni=True)
    add(world, "a", "systemd")
    world.settle()
    spoil(world, "a")
    before = copy.deepcopy(contents(world))
    (secret,) = [ref for ref in before if ref.kind == "Secret" and "nats-systemd" in ref.name]
    world.lose(secret)
    world.settle()
    assert contents(world).keys() == before.keys()


def test_an_invalid_spec_that_never_ran_changes_nothing() -> None:
    world = world_of(cni=True)
    world.settle()
    before = copy.deepcopy(contents(world))
    add(world, "a", "systemd", updateStrategy={"type": "Sometimes"})
    world.settle()
    assert condition(world, "a", "Stalled")[:2] == ("True", "InvalidSpec")
    assert contents(world) == before


def test_what_an_invalid_collector_needs_goes_with_it() -> None:
    world = world_of(cni=True)
    world.settle()
    before = copy.deepcopy(contents(world))
    add(world, "a", "systemd")
    world.settle()
    spoil(world, "a")
    world.lose(ObjectRef("tapio.io", "TapioCollector", world.key.namespace, "a"))
    world.settle()
    assert contents(world).keys() == before.keys()


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        pytest.param("ebpf", {"nodeSelector": {"pool": "a"}}, {"nodeSelector": {"pool": "b"}}, id="nodes"),
        pytest.param("kubernetes", {"namespaces": ["x"]}, {"namespaces": ["y"]}, id="namespaces"),
        pytest.param("etcd", ETCD, {**ETCD, "endpoints": ["https://10.0.0.2:2379"]}, id="endpoints"),
    ],
)
def test_what_goes_on_with_an_invalid_spec_keeps_its_place(
    kind: str, one: dict[str, object], other: dict[str, object]
) -> None:
    world = world_of(cni=True)
    world.share("fleet", fleet(*(msgspec.structs.replace(group, control_plane=True) for group in (A, B))))
    add_of(world, "a", kind, one)
    add_of(world, "same", kind, one, made="2026-01-02T00:00:00Z")
    add_of(world, "other", kind, other, made="2026-01-03T00:00:00Z")
    world.settle()
    before = running(world)
    assert before == ["cni", f"{kind}-a", f"{kind}-other"]
    spoil(world, "a")
    assert running(world) == before
    assert condition(world, "same", "Stalled")[1] == "OverlapsWith"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{", id="no YAML"),
        pytest.param("[" * 5000, id="too deep"),
        pytest.param("observers: 7", id="no observers"),
        pytest.param("observers: {dns: {config: {namespaces: [{}]}}}", id="namespaces that are none"),
    ],
)
def test_a_configuration_that_somebody_spoilt_meanwhile_is_no_obstacle(text: str) -> None:
    world = world_of(cni=True)
    add(world, "a", "kubernetes")
    world.settle()
    spoil(world, "a")
    before = copy.deepcopy(contents(world))
    (ref,) = [ref for ref in before if ref.kind == "ConfigMap" and "kubernetes-a" in ref.name]
    edited = copy.deepcopy(before[ref])
    object_at(edited, "data")["config.yaml"] = text
    world.observe(edited)
    world.settle()
    assert contents(world) == {**before, ref: edited}


def test_without_its_cluster_a_collector_says_what_to_correct() -> None:
    world = world_of(kubernetes=True)
    world.lose(ObjectRef("tapio.io", "TapioCluster", world.key.namespace, world.key.name))
    add(world, "alone", "ebpf")
    status = world.plan().decision.resources["TapioCollector/alone"]
    stalled = next(one for one in objects_at(status, "conditions") if str_at(one, "type") == "Stalled")
    assert (stalled["reason"], stalled["message"]) == (
        "ClusterNotFound",
        f"There is no TapioCluster {world.key.name} in namespace {world.key.namespace}. Create it, or correct "
        "spec.clusterRef.name.",
    )
