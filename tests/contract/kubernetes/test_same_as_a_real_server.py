"""Random histories of one object, played to the simulator and to a real API server, must leave the same.

Compared after each step: status code, reason, the object, and who owns what by apply. Seeds are fixed: a failure names
the history that shows it.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
import pytest_asyncio

from tapio_shared.adapters.clock import SystemClock
from tapio_shared.adapters.kube_http import HttpKube
from tapio_shared.adapters.random import SeededRandom
from tapio_shared.json import JsonObject, JsonValue, at, object_at, objects_at, str_at, strings_at
from tapio_simulator.cluster import SimulatedCluster
from tests.support.kube_calls import STRATEGIC, Calls, Reply, new_namespace

pytestmark = pytest.mark.real
STEPS = 12
SEEDS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 11)
"""10 meets a defect of Kubernetes 1.20: a map that an updater owns and an applier empties comes back filled."""
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Both:
    simulated: Calls
    real: Calls


@pytest_asyncio.fixture
async def both(admin_kubeconfig: Path) -> AsyncGenerator[Both]:
    cluster = SimulatedCluster(SystemClock(), SeededRandom(1))
    await cluster.prepare()
    async with await HttpKube.connect(kubeconfig=str(admin_kubeconfig)) as kube:
        yield Both(await new_namespace(cluster.kube()), await new_namespace(kube))


def pick(chance: random.Random, *values: JsonValue) -> JsonValue:
    return chance.choice(values)


def random_map(chance: random.Random, limit: int = 3) -> JsonObject:
    return {key: chance.choice("123") for key in chance.sample(["a", "b", "c", "d"], chance.randint(1, limit))}


def random_container(chance: random.Random, name: str) -> JsonObject:
    container: JsonObject = {"name": name, "image": f"registry.example/{name}:{chance.randint(1, 2)}"}
    if chance.random() < 0.5:
        names = chance.sample(["A", "B", "C"], chance.randint(1, 3))
        container["env"] = [{"name": key, "value": chance.choice("xy")} for key in names]
    if chance.random() < 0.4:
        container["args"] = list[JsonValue](chance.sample(["p", "q"], chance.randint(1, 2)))
    if chance.random() < 0.4:
        ports = chance.sample([80, 443, 8080], chance.randint(1, 2))
        container["ports"] = [{"containerPort": port, "protocol": "TCP"} for port in ports]
    if chance.random() < 0.3:
        container["resources"] = {"limits": {"cpu": pick(chance, "1", "1000m", "0.5"), "memory": "1024Mi"}}
    return container


def random_deployment(chance: random.Random) -> JsonObject:
    spec: JsonObject = {
        "selector": {"matchLabels": {"app": "x"}},
        "template": {
            "metadata": {"labels": {"app": "x", **random_map(chance, 2)}},
            "spec": {
                "containers": [
                    random_container(chance, name)
                    for name in ["main", *chance.sample(["side", "other"], chance.randint(0, 2))]
                ]
            },
        },
    }
    if chance.random() < 0.5:
        spec["replicas"] = chance.randint(0, 3)
    if chance.random() < 0.3:
        spec["strategy"] = {"type": pick(chance, "Recreate", "RollingUpdate")}
    if chance.random() < 0.3:
        spec["minReadySeconds"] = chance.randint(1, 2)
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": random_metadata(chance), "spec": spec}


def random_config_map(chance: random.Random) -> JsonObject:
    document: JsonObject = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": random_metadata(chance)}
    if chance.random() < 0.8:
        document["data"] = random_map(chance)
    return document


def random_metadata(chance: random.Random) -> JsonObject:
    metadata: JsonObject = {"name": "one"}
    if chance.random() < 0.5:
        metadata["labels"] = random_map(chance)
    if chance.random() < 0.3:
        metadata["annotations"] = random_map(chance)
    if chance.random() < 0.3:
        metadata["finalizers"] = list[JsonValue](
            chance.sample(["example.com/a", "example.com/b"], chance.randint(1, 2))
        )
    return metadata


async def step(calls: Calls, path: str, document: JsonObject, action: str, manager: str) -> Reply:
    match action:
        case "apply":
            return await calls.apply(path, document, manager)
        case "force":
            return await calls.apply(path, document, manager, force=True)
        case "merge":
            return await calls.merge(
                path, {key: document[key] for key in document if key != "kind"}, fieldManager=manager
            )
        case "strategic":
            return await calls.call("PATCH", path, document, STRATEGIC, fieldManager=manager)
        case _:
            return await calls.delete(path)


UNIQUE = ("managedFields", "uid", "resourceVersion", "creationTimestamp", "selfLink", "deletionTimestamp", "namespace")
REVISION = "deployment.kubernetes.io/revision"


def comparable(reply: Reply) -> JsonValue:
    """What must be equal: without what is unique to a server, to a release or to controllers."""
    if reply.document.get("kind") == "Status":
        return [reply.status, reply.reason]
    metadata = object_at(reply.document, "metadata")
    owners: JsonObject = {
        f"{str_at(entry, 'manager')} {str_at(entry, 'subresource')}": entry.get("fieldsV1")
        for entry in objects_at(metadata, "managedFields")
        if entry.get("operation") == "Apply"
    }
    kept: JsonObject = {key: value for key, value in metadata.items() if key not in UNIQUE}
    annotations = {key: value for key, value in strings_at(kept, "annotations").items() if key != REVISION}
    kept["annotations"] = dict[str, JsonValue](annotations)
    spec = object_at(reply.document, "spec")
    object_at(spec, "template", "metadata").pop("creationTimestamp", None)
    return [reply.status, in_order(kept), owners, in_order(spec), reply.document.get("data")]


def in_order(value: JsonValue) -> JsonValue:
    """Lists of objects by name or port, and finalizers, sorted: releases order merged lists differently."""
    if isinstance(value, dict):
        return {
            name: sorted(entry, key=str) if name == "finalizers" and isinstance(entry, list) else in_order(entry)
            for name, entry in value.items()
        }
    if isinstance(value, list):
        items = [in_order(item) for item in value]
        if all(isinstance(item, dict) for item in items):
            return sorted(items, key=lambda item: str(at(item, "name") or at(item, "containerPort")))
        return items
    return value


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["configmaps", "deployments"])
async def test_histories(both: Both, kind: str, seed: int) -> None:
    chance = random.Random(f"{kind} {seed}")
    group, make = ("v1", random_config_map) if kind == "configmaps" else ("apps/v1", random_deployment)
    paths = [calls.path(group, kind, "one") for calls in (both.simulated, both.real)]
    told: list[str] = []
    for _ in range(STEPS):
        action = chance.choice(["apply", "apply", "apply", "force", "force", "merge", "strategic", "delete"])
        manager, document = chance.choice(["red", "green", "blue"]), make(chance)
        told.append(f"{action} by {manager}: {document}")
        simulated = await step(both.simulated, paths[0], document, action, manager)
        real = await step(both.real, paths[1], document, action, manager)
        assert comparable(simulated) == comparable(real), "\n".join([*told, simulated.message, real.message])
