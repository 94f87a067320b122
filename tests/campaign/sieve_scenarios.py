"""What is done to the operator while Sieve's cases strike: each from a cluster at rest, or from nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import yaml

from tapio_shared.codec import encode
from tapio_shared.json import JsonObject, JsonValue, object_at, objects_at, str_at
from tapio_shared.kubernetes import check, object_path
from tests.campaign.sieve_operator import StruckOperator

ROOT = Path(__file__).parents[2]
NAME, NAMESPACE = "edge", "default"
_PLURALS = {
    "TapioCluster": ("tapio.io", "tapioclusters"),
    "TapioCollector": ("tapio.io", "tapiocollectors"),
    "TapioIntelligence": ("tapio.io", "tapiointelligences"),
    "ConfigMap": ("", "configmaps"),
}
Work = Callable[[StruckOperator], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """`before` comes to rest undisturbed; cases strike during `act`; `done` holds at the end."""

    name: str
    act: Work
    before: Work | None = None
    done: Callable[[StruckOperator], bool] = lambda operator: is_ready(operator)


# --- what people do --------------------------------------------------------------------------------------------------


def path_of(kind: str, name: str = "") -> str:
    group, plural = _PLURALS[kind]
    return object_path(group, "v1alpha1" if group else "v1", plural, NAMESPACE, name)


async def make(operator: StruckOperator, kind: str, name: str, **fields: JsonValue) -> None:
    group, _ = _PLURALS[kind]
    document: JsonObject = {
        "apiVersion": f"{group}/v1alpha1" if group else "v1",
        "kind": kind,
        "metadata": {"name": name},
        **fields,
    }
    check(await operator.admin.request("POST", path_of(kind), body=encode(document)))


async def patch(operator: StruckOperator, kind: str, name: str, body: JsonObject) -> None:
    content_type = "application/merge-patch+json"
    check(await operator.admin.request("PATCH", path_of(kind, name), body=encode(body), content_type=content_type))


async def delete(operator: StruckOperator, kind: str, name: str) -> None:
    check(await operator.admin.request("DELETE", path_of(kind, name)))


def example(name: str) -> JsonObject:
    """The spec of a shipped example."""
    return object_at(cast("JsonObject", yaml.safe_load((ROOT / "examples" / f"{name}.yaml").read_text())), "spec")


def made(spec: JsonObject) -> Work:
    async def work(operator: StruckOperator) -> None:
        await make(operator, "TapioCluster", NAME, spec=spec)

    return work


def changed(spec: JsonObject) -> Work:
    async def work(operator: StruckOperator) -> None:
        await patch(operator, "TapioCluster", NAME, {"spec": spec})

    return work


def annotated(name: str, value: str) -> Work:
    async def work(operator: StruckOperator) -> None:
        await patch(operator, "TapioCluster", NAME, {"metadata": {"annotations": {name: value}}})

    return work


async def deleted(operator: StruckOperator) -> None:
    await delete(operator, "TapioCluster", NAME)


async def _made_anew(operator: StruckOperator) -> None:
    await deleted(operator)
    await operator.settle(lambda: is_gone(operator), quiet=0.0)
    await make(operator, "TapioCluster", NAME, spec=example("edge"))


async def _off_and_on(operator: StruckOperator) -> None:
    """Off for so short a time that nothing of it need be done; whoever is shown that moment must do no harm."""
    await changed({"gateway": {"enabled": False}})(operator)
    await changed({"gateway": {"enabled": True, "replicas": 2}})(operator)


async def _in_the_way(operator: StruckOperator) -> None:
    await make(operator, "ConfigMap", f"{NAME}-nats-config", data={"somebody": "else"})
    await make(operator, "TapioCluster", NAME, spec=example("edge"))
    await operator.settle(lambda: condition(operator, "Stalled") == "ObjectConflict")


async def _handed_over(operator: StruckOperator) -> None:
    await patch(operator, "ConfigMap", f"{NAME}-nats-config", {"metadata": {"annotations": {"tapio.io/adopt": "true"}}})


async def _members_come_and_go(operator: StruckOperator) -> None:
    reference: JsonObject = {"clusterRef": {"name": NAME}}
    await make(operator, "TapioCollector", "more", spec={**reference, "type": "systemd"})
    await make(operator, "TapioIntelligence", "mind", spec={**reference, "embedded": True})
    await operator.settle(lambda: is_ready(operator))
    await delete(operator, "TapioCollector", "more")
    await delete(operator, "TapioIntelligence", "mind")


# --- what is waited for ----------------------------------------------------------------------------------------------


def cluster(operator: StruckOperator) -> JsonObject | None:
    found = operator.cluster.api.store.get("tapioclusters.tapio.io", (NAMESPACE, NAME))
    return None if found is None else found.document


def is_ready(operator: StruckOperator) -> bool:
    return cluster(operator) is not None and not operator.not_ready()


def is_gone(operator: StruckOperator) -> bool:
    return cluster(operator) is None


def condition(operator: StruckOperator, kind: str) -> str:
    """The reason of a condition that is True; empty when it is not."""
    found = [one for one in objects_at(cluster(operator), "status", "conditions") if one.get("type") == kind]
    return next((str_at(one, "reason") for one in found if one.get("status") == "True"), "")


_EDGE, _DEVELOPMENT = example("edge"), example("development")
SCENARIOS = (
    Scenario("create", made(_EDGE)),
    Scenario("create-development", made(_DEVELOPMENT)),
    Scenario("scale", changed({"gateway": {"replicas": 3}}), made(_DEVELOPMENT)),
    Scenario("upgrade", changed({"version": "v9.8.7"}), made(_EDGE)),
    Scenario(
        "switch-off",
        changed({"gateway": {"enabled": False}, "collectors": {"kubernetes": None}, "nats": {"enabled": None}}),
        made(_DEVELOPMENT),
    ),
    Scenario(
        "switch-on",
        changed({"gateway": {"enabled": True}, "collectors": {"systemd": True}}),
        made({**_DEVELOPMENT, "gateway": {"enabled": False}}),
    ),
    Scenario("off-and-on", _off_and_on, made(_DEVELOPMENT)),
    Scenario("delete-retain", deleted, made(_EDGE), is_gone),
    Scenario("delete-delete", deleted, made({**_EDGE, "deletionPolicy": "Delete"}), is_gone),
    Scenario("delete-and-make-anew", _made_anew, made({**_EDGE, "deletionPolicy": "Delete"})),
    Scenario("grow", changed({"nats": {"storage": "4Gi"}}), made(_EDGE)),
    Scenario("adopt", _handed_over, _in_the_way),
    Scenario("force", annotated("tapio.io/force-reconcile", "now"), made(_EDGE)),
    Scenario(
        "members",
        _members_come_and_go,
        made({"profile": "edge", "collectors": {"kubernetes": True}}),
    ),
)
