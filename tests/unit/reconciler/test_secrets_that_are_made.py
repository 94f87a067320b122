"""Secrets that the operator makes: once, kept equal, renewed in time; and what waits for them."""

from __future__ import annotations

import copy

import pytest

from tapio_shared.api.labels import RENEW_AT
from tapio_shared.api.names import node_agent_name
from tapio_shared.json import JsonObject, object_at, str_at
from tapio_shared.keys import ObjectRef
from tests.support.planned_world import CERTIFICATE_LASTS, START, World, example

AUTH = ObjectRef("", "Secret", "default", "production-nats-auth")
TLS = ObjectRef("", "Secret", "default", "production-nats-tls")
COPY_OF_EBPF = ObjectRef("", "Secret", "tapio-nodes", node_agent_name("production", "nats-ebpf", "default"))
NATS = ObjectRef("apps", "StatefulSet", "default", "production-nats")
EBPF = ObjectRef("apps", "DaemonSet", "tapio-nodes", node_agent_name("production", "ebpf", "default"))


def settled() -> World:
    world = World.of(example("production"))
    world.settle()
    return world


def secret(world: World, ref: ObjectRef) -> JsonObject:
    found = world.find(ref)
    assert found is not None
    return copy.deepcopy(found)


def applied(world: World) -> list[str]:
    return [f"{action.kind}/{action.name}" for action in world.step().decision.apply]


def config_hash(world: World, ref: ObjectRef) -> str:
    return str_at(world.objects()[ref], "spec", "template", "metadata", "annotations", "tapio.io/config-hash")


def test_a_workload_starts_once_with_what_is_in_its_secrets() -> None:
    world = World.of(example("production"))
    hashes: list[str] = []
    while world.step().has_effects:
        if world.find(NATS) is not None:
            hashes.append(config_hash(world, NATS))
    assert len(set(hashes)) == 1


def test_a_password_that_is_missing_is_added() -> None:
    world = settled()
    document = secret(world, AUTH)
    del object_at(document, "digests")["etcd"]
    world.observe(document)
    planned = world.plan()
    assert [(one.name, one.mode) for one in planned.decision.apply if one.kind == "Secret"] == [(AUTH.name, "generate")]
    assert "lacks etcd; what is missing is made up, the rest is kept." in planned.decision.apply[0].reason
    world.settle()


def test_another_password_is_copied_and_rolls_servers_and_agents() -> None:
    world = settled()
    before = config_hash(world, NATS), config_hash(world, EBPF)
    document = secret(world, AUTH)
    object_at(document, "digests")["ebpf"] = "another"
    world.observe(document)
    world.settle()
    assert object_at(secret(world, COPY_OF_EBPF), "digests")["password"] == "another"
    after = config_hash(world, NATS), config_hash(world, EBPF)
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_digests_of_different_keys_are_not_compared() -> None:
    world = settled()
    document = secret(world, AUTH)
    world.observe({**document, "keyId": "new", "digests": dict.fromkeys(object_at(document, "digests"), "new")})
    assert COPY_OF_EBPF.name not in {one.name for one in world.plan().decision.apply}


def test_a_deleted_copy_is_made_again_and_one_that_nobody_needs_is_deleted() -> None:
    world = settled()
    world.lose(COPY_OF_EBPF)
    assert f"Secret/{COPY_OF_EBPF.name}" in applied(world)
    world.settle()
    world.edit(collectors={"kubernetes": {"enabled": True}})
    world.settle()
    assert world.find(COPY_OF_EBPF) is None
    assert world.find(AUTH) is not None


@pytest.mark.parametrize(
    ("after", "due"),
    [
        pytest.param(CERTIFICATE_LASTS - 1, False, id="not yet"),
        pytest.param(CERTIFICATE_LASTS, True, id="due"),
    ],
)
def test_a_certificate_is_renewed_when_its_time_has_come(after: int, due: bool) -> None:
    world = settled()
    before = config_hash(world, NATS)
    assert ("renew", START + CERTIFICATE_LASTS) in {(one.name, one.due_at) for one in world.plan().decision.timers}
    world.now = START + after
    assert (f"Secret/{TLS.name}" in applied(world)) is due
    world.settle()
    assert (config_hash(world, NATS) != before) is due


def test_a_certificate_without_a_date_is_made_anew() -> None:
    world = settled()
    document = secret(world, TLS)
    object_at(document, "metadata", "annotations").pop(RENEW_AT)
    world.observe(document)
    assert applied(world) == [f"Secret/{TLS.name}"]
