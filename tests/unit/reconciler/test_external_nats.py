"""A NATS that somebody else runs: its Secret is used, nothing of our own is made, and what is missing is said."""

from __future__ import annotations

import pytest

from tapio_shared.api.names import node_agent_name
from tapio_shared.json import JsonObject, at, object_at, objects_at, str_at
from tapio_shared.keys import ObjectRef
from tests.support.planned_world import World, example

SECRET = ObjectRef("", "Secret", "default", "outside")
EBPF = ObjectRef("apps", "DaemonSet", "tapio-nodes", node_agent_name("production", "ebpf", "default"))
COPY = ObjectRef("", "Secret", "tapio-nodes", node_agent_name("production", "nats-ebpf", "default"))


def world_with(*keys: str) -> World:
    world = World.of(example("production"))
    external: JsonObject = {"url": "tls://a.example:4443,tls://b.example", "credentialsSecretRef": {"name": "outside"}}
    world.edit(nats={"external": external})
    world.observe(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "outside", "namespace": "default"},
            "digests": {key: f"digest of {key}" for key in keys},
        }
    )
    return world


def test_user_and_password_are_used_by_every_component_and_copied_for_node_agents() -> None:
    world = world_with("username", "password")
    world.settle()
    assert str_at(world.cluster, "status", "credentials", "nats") == "outside"
    assert not [ref for ref in world.objects() if ref.name in {"production-nats", "production-nats-auth"}]
    pod = object_at(world.objects()[EBPF], "spec", "template", "spec")
    env = {str_at(one, "name"): one for one in objects_at(objects_at(pod, "containers")[0], "env")}
    assert at(env["NATS_PASSWORD"], "valueFrom", "secretKeyRef") == {"name": COPY.name, "key": "password"}
    config = world.objects()[ObjectRef("", "ConfigMap", "tapio-nodes", EBPF.name)]
    login = "tls://${NATS_USERNAME}:${NATS_PASSWORD}@"
    assert f"url: {login}a.example:4443,{login}b.example" in str_at(config, "data", "config.yaml")


def test_a_credentials_file_is_mounted() -> None:
    world = world_with("nats.creds")
    world.settle()
    assert set(object_at(world.find(COPY), "digests")) == {"nats.creds"}
    pod = object_at(world.objects()[EBPF], "spec", "template", "spec")
    assert COPY.name in {str_at(one, "secret", "secretName") for one in objects_at(pod, "volumes")}


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        pytest.param((), "has no key password (it has: none)", id="an empty Secret"),
        pytest.param(("username",), "has no key password (it has: username)", id="no password"),
    ],
)
def test_a_missing_key_is_said_with_the_next_step(keys: tuple[str, ...], told: str) -> None:
    world = world_with(*keys)
    for _ in range(4):
        world.step()
    streams = next(one for one in objects_at(world.cluster, "status", "components") if one["name"] == "streams")
    assert (streams["state"], streams["reason"]) == ("Failed", "InvalidReference")
    assert told in str_at(streams, "message")
    assert "Add it, or name another Secret in the spec." in str_at(streams, "message")


def test_a_secret_that_does_not_exist_is_said() -> None:
    world = world_with("username", "password")
    world.lose(SECRET)
    for _ in range(4):
        world.step()
    streams = next(one for one in objects_at(world.cluster, "status", "components") if one["name"] == "streams")
    assert "Secret default/outside, which streams needs, does not exist." in str_at(streams, "message")
