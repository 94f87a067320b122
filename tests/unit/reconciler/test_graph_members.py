"""Members of a graph change one at a time and leave by hand; credentials stay with the volumes that they open; the
graph store and the form of its spec can be changed without losing anything."""

from __future__ import annotations

import pytest

from tapio_shared.json import JsonObject, JsonValue, object_at, objects_at, str_at, strings_at
from tapio_shared.keys import ObjectRef
from tests.support.volume_world import VolumeWorld

LICENSED: JsonObject = {"acceptLicenseAgreement": "yes"}
SECRET = ObjectRef("", "Secret", "default", "one-neo4j-auth")


def running(neo4j: JsonValue = None, **spec: JsonValue) -> VolumeWorld:
    intelligence: JsonObject = {} if neo4j is None else {"intelligence": {"neo4j": neo4j}}
    world = VolumeWorld.of(
        {
            "apiVersion": "tapio.io/v1alpha1",
            "kind": "TapioCluster",
            "metadata": {"name": "one", "namespace": "default"},
            "spec": {"profile": "development", **intelligence, **spec},
        }
    )
    world.settle()
    return world


def members(world: VolumeWorld) -> list[str]:
    return [name for name in sorted(world.templates()) if name.startswith("one-neo4j-")]


def rolled(world: VolumeWorld) -> list[str]:
    """The members that one step changes."""
    return [one.name for one in world.step(ready=False).decision.apply if one.kind == "StatefulSet"]


def make_ready(world: VolumeWorld, name: str) -> None:
    document = world.find(ObjectRef("apps", "StatefulSet", "default", name))
    assert document is not None
    document["status"] = {"observedGeneration": 1, "replicas": 1, "readyReplicas": 1, "updatedReplicas": 1}
    world.observe(document)


def test_members_are_changed_one_at_a_time() -> None:
    world = running({"replicas": 3, **LICENSED})
    world.edit(intelligence={"neo4j": {"replicas": 3, **LICENSED, "config": {"db.logs.query.enabled": "INFO"}}})
    assert rolled(world) == ["one-neo4j-0"]
    assert rolled(world) == []
    make_ready(world, "one-neo4j-0")
    assert rolled(world) == ["one-neo4j-1"]
    assert rolled(world) == []
    make_ready(world, "one-neo4j-1")
    assert rolled(world) == ["one-neo4j-2"]


def test_a_member_that_is_not_ready_is_mended_before_the_others() -> None:
    world = running({"replicas": 3, **LICENSED})
    broken = world.find(ObjectRef("apps", "StatefulSet", "default", "one-neo4j-2"))
    assert broken is not None
    object_at(broken, "status")["readyReplicas"] = 0
    world.observe(broken)
    world.edit(intelligence={"neo4j": {"replicas": 3, **LICENSED, "config": {"db.logs.query.enabled": "INFO"}}})
    assert rolled(world) == ["one-neo4j-2"]


def test_fewer_replicas_take_no_member_away_until_a_person_does() -> None:
    world = running({"replicas": 3, **LICENSED})
    world.edit(intelligence={"neo4j": {"replicas": 2, **LICENSED}})
    world.settle()
    assert members(world) == ["one-neo4j-0", "one-neo4j-1", "one-neo4j-2"]
    status, reason, message = world.condition("Degraded")
    assert (status, reason) == ("True", "MembersNotRemoved")
    assert "DEALLOCATE DATABASES FROM SERVER" in message
    assert message.endswith("kubectl delete statefulset one-neo4j-2. Its volume stays.")

    world.delete_by_hand(ObjectRef("apps", "StatefulSet", "default", "one-neo4j-2"))
    world.settle()
    assert members(world) == ["one-neo4j-0", "one-neo4j-1"]
    assert world.condition("Degraded")[0] == "False"
    assert "data-one-neo4j-2-0" in world.claims()


@pytest.mark.parametrize(
    ("before", "after", "count"),
    [pytest.param(3, 5, "3", id="three to five"), pytest.param(1, 3, "1", id="a single member becomes a cluster")],
)
def test_what_a_cluster_began_with_is_never_rewritten(before: int, after: int, count: str) -> None:
    world = running({"replicas": before, **LICENSED})
    world.edit(intelligence={"neo4j": {"replicas": after, **LICENSED}})
    world.settle(most=60)
    config = world.find(ObjectRef("", "ConfigMap", "default", "one-neo4j-config"))
    data = strings_at(config, "data")
    assert data["NEO4J_dbms_cluster_minimum__initial__system__primaries__count"] == count
    assert len(members(world)) == after


def test_no_password_is_made_up_for_a_database_that_it_does_not_open() -> None:
    world = running()
    secret = world.find(SECRET)
    assert secret is not None
    world.lose(SECRET)
    world.settle()
    assert world.find(SECRET) is None
    status, reason, message = world.condition("Stalled")
    assert (status, reason) == ("True", "CredentialsInvalid")
    assert message.startswith(
        "Secret default/one-neo4j-auth does not exist any more, and the database on PersistentVolumeClaim "
        "data-one-neo4j-0-0 opens with the password it held alone, so no new one is made up. Restore it (kubectl -n "
        "default create secret generic one-neo4j-auth "
    )

    world.observe(secret)
    world.settle()
    assert world.condition("Ready")[0] == "True"


def test_an_empty_volume_needs_no_former_password() -> None:
    world = running()
    world.lose(SECRET)
    world.lose(ObjectRef("", "PersistentVolumeClaim", "default", "data-one-neo4j-0-0"))
    assert [one.name for one in world.plan().decision.apply if one.mode == "generate"] == ["one-neo4j-auth"]


def test_a_kept_volume_waits_for_word_of_its_secret() -> None:
    world = running()
    kept = world.find(ObjectRef("", "PersistentVolumeClaim", "default", "data-one-neo4j-0-0"))
    assert kept is not None
    fresh = VolumeWorld.of({**world.cluster, "metadata": {"name": "one", "namespace": "default"}, "status": {}})
    fresh.observe(kept)
    for _ in range(6):
        assert SECRET.name not in {one.name for one in fresh.step().decision.apply}
    assert fresh.condition("Stalled")[0] == ""


def test_from_neo4j_to_the_embedded_store_and_back_no_volume_goes() -> None:
    world = running()
    first = {ref for ref in world.objects() if ref.kind not in {"Pods", "PersistentVolumeClaim"}}
    world.edit(intelligence={"embedded": True})
    world.settle(most=60)
    kinds = {str(ref) for ref in world.objects()}
    assert members(world) == []
    assert world.templates()["one-correlation"] == "10Gi"
    assert set(world.claims()) == {"data-one-nats-0", "data-one-neo4j-0-0", "graph-one-correlation-0"}
    assert not [name for name in kinds if name.startswith("Deployment.apps/default/one-correlation")]
    assert str(SECRET) in kinds

    world.edit(intelligence={})
    world.settle(most=60)
    assert {ref for ref in world.objects() if ref.kind not in {"Pods", "PersistentVolumeClaim"}} == first
    assert set(world.claims()) == {"data-one-nats-0", "data-one-neo4j-0-0", "graph-one-correlation-0"}


def test_moving_intelligence_into_its_own_resource_writes_no_object() -> None:
    intelligence: JsonObject = {"neo4j": {"storage": "20Gi"}, "correlation": {"replicas": 2}}
    world = running(intelligence=intelligence)
    before = world.plan().decision.objects
    world.edit(intelligence=None)
    spec = object_at(world.cluster, "spec")
    del spec["intelligence"]
    own: JsonObject = {
        "apiVersion": "tapio.io/v1alpha1",
        "kind": "TapioIntelligence",
        "metadata": {"name": "mind", "namespace": "default", "uid": "m", "generation": 1},
        "spec": {"clusterRef": {"name": "one"}, **intelligence},
    }
    world.observe(own)
    planned = world.plan().decision
    assert planned.objects == before
    assert planned.apply == []
    assert planned.delete == []
    assert str_at(objects_at(world.cluster, "status", "conditions")[0], "type") == "Ready"


@pytest.mark.parametrize(
    "withdrawn",
    [
        pytest.param({}, id="the licence is taken away"),
        pytest.param({"edition": "Community"}, id="Community is asked for"),
        pytest.param({"replicas": 3}, id="members without a licence"),
        pytest.param({"edition": "Enterprise", "onUnlicensed": "Refuse"}, id="refused anyway"),
    ],
)
def test_community_never_opens_what_enterprise_wrote(withdrawn: JsonObject) -> None:
    world = running({"edition": "Enterprise", **LICENSED})
    before = world.objects()
    world.edit(intelligence={"neo4j": withdrawn})
    world.settle()
    assert members(world) == []
    assert "data-one-neo4j-0-0" in world.claims()
    status, reason, message = world.condition("Stalled")
    assert (status, reason) == ("True", "LicenseNotAccepted")
    assert message == (
        "PersistentVolumeClaim data-one-neo4j-0-0 holds databases of Neo4j's Enterprise edition, which Community can't "
        "read, and spec.intelligence.neo4j does not accept Enterprise's licence or asks for Community; so no Neo4j "
        "runs, and its volumes stay. Set acceptLicenseAgreement to yes or eval again, with edition Auto or "
        "Enterprise; or begin with an empty graph: kubectl delete pvc -n default data-one-neo4j-0-0"
    )

    world.edit(intelligence={"neo4j": {"edition": "Enterprise", **LICENSED}})
    world.settle()
    assert world.objects().keys() == before.keys()
    assert world.condition("Ready")[0] == "True"


def test_an_empty_graph_of_community_begins_when_enterprises_volumes_are_gone() -> None:
    world = running({"edition": "Enterprise", **LICENSED})
    world.edit(intelligence={"neo4j": {}})
    world.settle()
    world.lose(ObjectRef("", "PersistentVolumeClaim", "default", "data-one-neo4j-0-0"))
    world.settle()
    assert members(world) == ["one-neo4j-0"]
    assert world.condition("Ready")[0] == "True"


def test_community_becomes_enterprise_where_it_is() -> None:
    """Enterprise reads what Community wrote, and goes on in the format that both read, so that there is a way back."""
    world = running()
    world.edit(intelligence={"neo4j": LICENSED})
    world.settle()
    assert setting(world, "db.format") == "aligned"
    (image,) = {
        str_at(objects_at(one, "spec", "template", "spec", "containers")[0], "image")
        for ref, one in world.objects().items()
        if ref.name == "one-neo4j-0"
    }
    assert image.endswith("-enterprise")
    world.edit(intelligence={"neo4j": {}})
    world.settle()
    assert members(world) == ["one-neo4j-0"]
    assert world.condition("Ready")[0] == "True"
    assert setting(world, "db.format") == ""


@pytest.mark.parametrize(
    ("neo4j", "told"),
    [
        pytest.param(LICENSED, "", id="Enterprise from the beginning: by its own default"),
        pytest.param({"replicas": 3, **LICENSED}, "", id="a cluster from the beginning"),
    ],
)
def test_what_enterprise_began_is_in_its_own_format(neo4j: JsonObject, told: str) -> None:
    world = running(neo4j)
    assert setting(world, "db.format") == told
    world.edit(gateway={"replicas": 2})
    world.settle()
    assert setting(world, "db.format") == told


def test_a_spec_that_names_a_format_goes_before() -> None:
    world = running()
    world.edit(intelligence={"neo4j": {**LICENSED, "config": {"db.format": "block"}}})
    world.settle()
    assert setting(world, "db.format") == "block"


def test_members_that_join_what_community_began_write_as_it_does() -> None:
    world = running()
    world.edit(intelligence={"neo4j": {"replicas": 3, **LICENSED}})
    world.settle(most=60)
    assert setting(world, "db.format") == "aligned"
    assert members(world) == ["one-neo4j-0", "one-neo4j-1", "one-neo4j-2"]


def setting(world: VolumeWorld, name: str) -> str:
    """One of Neo4j's settings, as its ConfigMap has it; empty where it has none."""
    config = world.find(ObjectRef("", "ConfigMap", "default", "one-neo4j-config"))
    return strings_at(config, "data").get("NEO4J_" + name.replace("_", "__").replace(".", "_"), "")
