"""Many TapioClusters at once, and waiting for all of them."""

from __future__ import annotations

import json

from tapio_shared.json import JsonValue, objects_at, str_at
from tests.support.e2e_kubernetes import Kubernetes
from tests.support.e2e_objects import small_cluster


async def roll_out(kubernetes: Kubernetes, namespace: str, count: int, **spec: JsonValue) -> list[str]:
    """Create `count` TapioClusters at once, or change those of the same names; answers their names."""
    names = [f"c{number}" for number in range(count)]
    stream = "\n---\n".join(json.dumps(small_cluster(name, **spec)) for name in names)
    await kubernetes.kubectl.run("apply", "-n", namespace, "-f", "-", stdin=stream.encode())
    return names


async def until_all_ready(kubernetes: Kubernetes, namespace: str, count: int, *, seconds: float = 120.0) -> None:
    """Wait until `count` TapioClusters are Ready."""

    async def all_ready() -> bool:
        return await how_many_ready(kubernetes, namespace) == count

    await kubernetes.until(all_ready, seconds=seconds)


async def how_many_ready(kubernetes: Kubernetes, namespace: str) -> int:
    """How many TapioClusters are Ready."""
    listed = await kubernetes.kubectl.document("get", "tapioclusters", "-n", namespace)
    conditions = [
        {str_at(one, "type"): str_at(one, "status") for one in objects_at(item, "status", "conditions")}
        for item in objects_at(listed, "items")
    ]
    return sum(1 for one in conditions if one.get("Ready") == "True")
