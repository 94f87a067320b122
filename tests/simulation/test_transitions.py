"""From any resources to any others: what is there in the end is what a fresh deployment of the last ones has.

A change may come when the one before it has settled, or in the middle of it.
Volumes and credentials outlive what used them, so the fresh deployment finds them too. No claim is deleted on any way.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapio_cli.history.ahead import ahead
from tapio_cli.history.fields import changed_fields
from tapio_shared.api.labels import COMPONENT, DESIRED_HASH, REVISION
from tapio_shared.facts import ConfigurationObserved
from tapio_shared.json import JsonObject, JsonValue, object_at, objects_at, str_at, strings_at
from tapio_shared.keys import ObjectRef
from tests.support.planned_world import PARTITIONS, START
from tests.support.random_specs import GIVEN_SECRETS, NAMESPACE, Case, cases, quick
from tests.support.volume_world import VolumeWorld

_VERSION = "v1.4.2"
_STORAGE = "500Gi"
_STEPS = 80
_OWN = ("TapioCluster", "TapioCollector", "TapioIntelligence")
_INITIAL = "NEO4J_dbms_cluster_minimum__initial__system__primaries__count"
Objects = dict[ObjectRef, JsonObject]
_KEPT = frozenset({"Secret", "PersistentVolumeClaim"})


def documents(case: Case) -> list[JsonObject]:
    """The resources of `case`, with what can't go back pinned: the version, and the volumes' sizes and classes.

    A version that is not named is the one that runs, a volume never shrinks and never changes its class: what becomes
    of those depends on the way, and has tests of its own (test_volumes.py, test_graph_members.py). A graph that the
    spec doesn't speak of has the size of its profile; see `differences`.
    """
    found = copy.deepcopy(case.resources)
    for one in found:
        spec = object_at(one, "spec")
        for graph in (spec.get("neo4j"), object_at(spec, "intelligence").get("neo4j")):
            _pin_volume(graph)
    cluster = object_at(found[0], "spec")
    _pin_volume(cluster.setdefault("nats", {}))
    cluster.setdefault("version", _VERSION)
    return found


def _pin_volume(component: JsonValue) -> None:
    if isinstance(component, dict) and "external" not in component:
        component.pop("storageClassName", None)
        component["storage"] = _STORAGE


def begun(case: Case, kept: Iterable[JsonObject] = ()) -> VolumeWorld:
    """The resources of `case`, deployed where it says, with the Secrets that people bring and what was `kept`."""
    cluster, *others = documents(case)
    world = VolumeWorld.of(cluster)
    world.share("discovery", case.surroundings.discovery)
    config = ConfigurationObserved(configuration=case.surroundings.config.document(), observed_at=START)
    world.share("config", config)
    if case.surroundings.fleet is not None:
        world.share("fleet", case.surroundings.fleet)
    for name, keys in GIVEN_SECRETS.items():
        digests: JsonObject = {key: f"{name} {key}" for key in sorted(keys)}
        metadata: JsonObject = {"name": name, "namespace": NAMESPACE}
        world.observe({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "digests": digests})
    for one in kept:
        world.observe(one)
    for one in others:
        world.observe({**one, "metadata": {**object_at(one, "metadata"), "generation": 1}})
    world.settle(most=_STEPS)
    return world


def go_on(world: VolumeWorld, case: Case, steps: int | None = None) -> bool:
    """Change to the resources of `case` as a person would, and settle, or go so many `steps` of the way; answers False
    when the webhook refuses it."""
    cluster, *others = documents(case)
    if ahead(world.state, [cluster, *others], partitions=PARTITIONS, now=START).refusals:
        return False
    world.edit_whole(object_at(cluster, "spec"))
    wanted = {(str_at(one, "kind"), str_at(one, "metadata", "name")) for one in others}
    for ref in [one for one in world.objects() if one.kind in _OWN and (one.kind, one.name) not in wanted]:
        world.lose(ref)
    for one in others:
        former = world.find(ObjectRef("tapio.io", str_at(one, "kind"), NAMESPACE, str_at(one, "metadata", "name")))
        generation = 1 + int(str(object_at(former, "metadata").get("generation", 0)))
        metadata: JsonObject = {**object_at(former, "metadata"), **object_at(one, "metadata"), "generation": generation}
        status: JsonObject = {"status": object_at(former, "status")} if former is not None else {}
        world.observe({**one, **status, "metadata": metadata})
    if steps is None:
        world.settle(most=_STEPS)
    for _ in range(steps or 0):
        world.step()
    return True


def stray(world: VolumeWorld) -> None:
    """A spec that no webhook let through, and back again: nothing but the status says so."""
    spec, before = copy.deepcopy(object_at(world.cluster, "spec")), _made(world)
    world.edit_whole({**spec, "profile": "huge"})
    world.settle(most=_STEPS)
    assert world.condition("Stalled")[:2] == ("True", "InvalidSpec")
    assert _made(world) == before
    world.edit_whole(spec)
    world.settle(most=_STEPS)


def differences(world: VolumeWorld, fresh: VolumeWorld) -> Iterator[str]:
    """What is there and not in a fresh deployment, the other way round, and what differs."""
    here, there = (
        {ref: one for ref, one in made.objects().items() if ref.kind not in {*_KEPT, *_OWN, "Pods"}}
        for made in (world, fresh)
    )
    if _beginnings(here) != _beginnings(there):
        # How many members a graph began with is never rewritten, and stands in its configuration (graph_members.py).
        # Nor are members taken away: who asks the graph, or watches it, has to do with more of them than are wanted.
        here, there = _without_graph(here), _without_graph(there)
    if _may_not_shrink(fresh):
        # A profile that asks for less came before the larger one's claims had all grown, so the StatefulSet still asks
        # for what the profile asks for; a fresh one is made by the claims that there are (volumes.py).
        here, there = _without_sizes(here), _without_sizes(there)
    for ref in sorted(here.keys() | there.keys(), key=str):
        if ref not in there:
            yield f"{ref} remains"
        elif ref not in here:
            yield f"{ref} is missing"
        else:
            yield from (f"{ref}: {one}" for one in changed_fields(_decided(there[ref]), _decided(here[ref])))


def _made(world: VolumeWorld) -> Objects:
    return {ref: one for ref, one in world.objects().items() if ref.kind not in _OWN}


def _beginnings(objects: Objects) -> list[str]:
    return [strings_at(one, "data").get(_INITIAL, "") for one in objects.values() if _component_of(one) == "neo4j"]


def _without_graph(objects: Objects) -> Objects:
    knowing = {"neo4j", "correlation", "gateway", "monitoring"}
    return {ref: one for ref, one in objects.items() if _component_of(one) not in knowing}


def _may_not_shrink(fresh: VolumeWorld) -> bool:
    """Whether claims outlived their StatefulSet that have more than is asked for."""
    return fresh.condition("Stalled")[:2] == ("True", "StorageShrinkRefused")


def _without_sizes(objects: Objects) -> Objects:
    graph = {"neo4j", "correlation"}
    return {
        ref: _without_size(one) if ref.kind == "StatefulSet" and _component_of(one) in graph else one
        for ref, one in objects.items()
    }


def _without_size(workload: JsonObject) -> JsonObject:
    """A StatefulSet without how much its claims ask for, and without the digest of that."""
    found = copy.deepcopy(workload)
    for template in objects_at(found, "spec", "volumeClaimTemplates"):
        object_at(template, "spec").pop("resources", None)
    object_at(found, "metadata", "annotations").pop(DESIRED_HASH, None)
    return found


def _component_of(document: JsonObject) -> str:
    return strings_at(document, "metadata", "labels").get(COMPONENT, "")


def _decided(document: JsonObject) -> JsonObject:
    """What the operator decides of an object: without what the API server adds, and the revision of the decision."""
    metadata = dict(object_at(document, "metadata"))
    for name in ("uid", "generation"):
        metadata.pop(name, None)
    annotations = {name: value for name, value in object_at(metadata, "annotations").items() if name != REVISION}
    return {
        **{name: value for name, value in document.items() if name != "status"},
        "metadata": {**metadata, "annotations": annotations},
    }


def check(way: Sequence[Case], steps: Sequence[int | None] = ()) -> None:
    """Go the `way`; `steps` says for each change how far it gets before the next comes, to its end when it is None."""
    first, *others = way
    world = begun(first)
    stray(world)
    last = first
    for case, most in zip(others, steps or [None] * len(others), strict=True):
        last = case if go_on(world, case, most) else last
    world.settle(most=_STEPS)
    fresh = begun(last, kept=[one for ref, one in world.objects().items() if ref.kind in _KEPT])
    assert list(differences(world, fresh)) == []
    deleted = {one.kind for plan in world.plans for one in plan.decision.delete}
    assert not deleted & {"PersistentVolumeClaim"}


def ways(most: int) -> st.SearchStrategy[list[Case]]:
    """Cases in one and the same Kubernetes."""

    def there(found: list[Case]) -> list[Case]:
        one = found[0]
        return [
            Case(resources=other.resources, surroundings=one.surroundings, kubernetes=one.kubernetes, served=one.served)
            for other in found
        ]

    return st.lists(cases(), min_size=2, max_size=most).map(there)


@settings(quick, max_examples=25)
@given(ways(3))
def test_the_end_is_what_a_fresh_deployment_has(way: list[Case]) -> None:
    check(way)


@pytest.mark.campaign
@pytest.mark.timeout(1_800)
@settings(quick, max_examples=500)
@given(ways(4))
def test_campaign_the_end_is_what_a_fresh_deployment_has(way: list[Case]) -> None:
    check(way)


@st.composite
def hurried(draw: st.DrawFn) -> tuple[list[Case], list[int]]:
    """Changes that come in the middle of one another: how many plans are carried out of each."""
    way = draw(ways(4))
    return way, draw(st.lists(st.integers(0, 5), min_size=len(way) - 1, max_size=len(way) - 1))


@settings(quick, max_examples=25)
@given(hurried())
def test_so_it_is_when_changes_come_in_the_middle_of_one_another(given_: tuple[list[Case], list[int]]) -> None:
    check(*given_)


@pytest.mark.campaign
@pytest.mark.timeout(1_800)
@settings(quick, max_examples=200)
@given(hurried())
def test_campaign_so_it_is_when_changes_come_in_the_middle_of_one_another(given_: tuple[list[Case], list[int]]) -> None:
    check(*given_)
