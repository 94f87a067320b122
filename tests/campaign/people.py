"""What people do meanwhile, and what they asked for last: the oracle compares the end with that alone."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass, field

from tapio_shared.json import JsonObject
from tests.campaign.world import HOME, NAMESPACE, World

NAMES = ("a", "b")
_CLUSTERS = f"/apis/tapio.io/v1alpha1/namespaces/{NAMESPACE}/tapioclusters"
_BASE: JsonObject = {
    "profile": "edge",
    "lightweight": True,
    "collectors": {"kubernetes": True, "ebpf": False, "systemd": False},
    "intelligence": {"embedded": True},
    "nats": {"external": {"url": "nats://nats.messaging:4222"}},
    "operations": {"logging": {"level": "info"}},
    "monitoring": {"grafana": {"enabled": False}},
    "networkPolicy": {"enabled": True},
}
_PAUSED, _FORCED = "tapio.io/paused", "tapio.io/force-reconcile"
_PLURALS = {
    "ConfigMap": ("v1", "configmaps"),
    "Service": ("v1", "services"),
    "ServiceAccount": ("v1", "serviceaccounts"),
    "Deployment": ("apps/v1", "deployments"),
    "StatefulSet": ("apps/v1", "statefulsets"),
    "DaemonSet": ("apps/v1", "daemonsets"),
    "CronJob": ("batch/v1", "cronjobs"),
    "NetworkPolicy": ("networking.k8s.io/v1", "networkpolicies"),
    "ClusterRole": ("rbac.authorization.k8s.io/v1", "clusterroles"),
    "ClusterRoleBinding": ("rbac.authorization.k8s.io/v1", "clusterrolebindings"),
}
Owner = tuple[str, str]
"""Target and name of a TapioCluster."""


def metadata_of(document: JsonObject) -> JsonObject:
    found = document.get("metadata")
    return found if isinstance(found, dict) else {}


def text_map(document: JsonObject, name: str) -> dict[str, str]:
    """Labels or annotations."""
    found = metadata_of(document).get(name)
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def path_of(document: JsonObject) -> str | None:
    """Where an object that people may edit or delete is found; None for what they leave alone."""
    kind = str(document.get("kind"))
    if kind not in _PLURALS:
        return None
    version, plural = _PLURALS[kind]
    metadata = metadata_of(document)
    prefix = f"/api/{version}" if "/" not in version else f"/apis/{version}"
    inside = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"{prefix}{inside}/{plural}/{metadata['name']}"


@dataclass(slots=True)
class People:
    """Everybody but the operator. `wanted` holds what was asked for last, None where the deletion was asked for."""

    world: World
    wanted: dict[Owner, JsonObject | None] = field(default_factory=dict[Owner, JsonObject | None])
    asked: dict[Owner, list[JsonObject]] = field(default_factory=dict[Owner, list[JsonObject]])
    """Every spec that ever was."""
    deleted: set[Owner] = field(default_factory=set[Owner])
    """Whose deletion was ever asked for."""
    paused: set[Owner] = field(default_factory=set[Owner])

    async def create(self, owner: Owner, spec: JsonObject) -> bool:
        """Make a TapioCluster; False while the former one still goes."""
        document: JsonObject = {
            "apiVersion": "tapio.io/v1alpha1",
            "kind": "TapioCluster",
            "metadata": {"name": owner[1]},
            "spec": spec,
        }
        status, _ = await self.world.admin("POST", _CLUSTERS, document, target=owner[0])
        if status == 201:
            self.wanted[owner] = spec
            self.asked.setdefault(owner, []).append(spec)
        return status == 201

    async def change(self, owner: Owner, rng: random.Random) -> bool:
        """Ask for something else."""
        before = self.wanted.get(owner)
        if before is None:
            return False
        spec = changed(before, rng)
        status, _ = await self.world.admin("PATCH", f"{_CLUSTERS}/{owner[1]}", {"spec": spec}, target=owner[0])
        if status == 200:
            self.wanted[owner] = spec
            self.asked[owner].append(spec)
        return status == 200

    async def delete(self, owner: Owner) -> bool:
        if self.wanted.get(owner) is None:
            return False
        status, _ = await self.world.admin("DELETE", f"{_CLUSTERS}/{owner[1]}", target=owner[0])
        self.wanted[owner] = None
        self.deleted.add(owner)
        return status in (200, 202)

    async def annotate(self, owner: Owner, name: str, value: str | None) -> bool:
        metadata: JsonObject = {"metadata": {"annotations": {name: value}}}
        status, _ = await self.world.admin("PATCH", f"{_CLUSTERS}/{owner[1]}", metadata, target=owner[0])
        return status == 200

    async def pause(self, owner: Owner) -> bool:
        if self.wanted.get(owner) is None:
            return False
        self.paused.add(owner)
        return await self.annotate(owner, _PAUSED, "true")

    async def unpause(self) -> None:
        """Whatever was paused goes on."""
        for owner in sorted(self.paused):
            await self.annotate(owner, _PAUSED, None)
        self.paused.clear()

    async def force(self, owner: Owner, rng: random.Random) -> bool:
        return await self.annotate(owner, _FORCED, str(rng.randrange(1_000_000)))

    def children(self, target: str = HOME) -> list[JsonObject]:
        """What the operator made and people may touch, by path."""
        found = {
            path: one
            for one in self.world.documents(target)
            if "tapio.io/desired-hash" in text_map(one, "annotations") and (path := path_of(one)) is not None
        }
        return [found[path] for path in sorted(found)]

    async def touch(self, rng: random.Random, *, is_deletion: bool) -> int:
        """Delete or edit some of the operator's objects; answers how many."""
        target = rng.choice(sorted(self.world.clusters))
        children, done = self.children(target), 0
        for one in rng.sample(children, min(len(children), rng.randint(1, 4))):
            path = path_of(one) or ""
            if is_deletion:
                status, _ = await self.world.admin("DELETE", path, target=target)
            else:
                status, _ = await self.world.admin("PATCH", path, edit_of(one, rng), target=target)
            done += status in (200, 202)
        return done


def edit_of(document: JsonObject, rng: random.Random) -> JsonObject:
    """A change of something that the operator wants otherwise."""
    data = document.get("data")
    if document.get("kind") == "ConfigMap" and isinstance(data, dict) and data and rng.random() < 0.7:
        return {"data": {rng.choice(sorted(data)): "edited by hand"}}
    edits = [("app.kubernetes.io/managed-by", "somebody"), ("app.kubernetes.io/part-of", "else")]
    if metadata_of(document).get("ownerReferences"):
        # What has no owner is its TapioCluster's by this label alone: who changes it there has given it away.
        edits.append(("tapio.io/cluster", rng.choice(NAMES)))
    label, value = rng.choice(edits)
    return {"metadata": {"labels": {label: value}}}


def changed(spec: JsonObject, rng: random.Random) -> JsonObject:
    """`spec` with one thing otherwise."""
    other = copy.deepcopy(spec)
    match rng.choice(("level", "level", "grafana", "policy")):
        case "level":
            levels = [one for one in ("debug", "info", "warn") if one != _at(spec, "operations", "logging", "level")]
            other["operations"] = {"logging": {"level": rng.choice(levels)}}
        case "grafana":
            other["monitoring"] = {"grafana": {"enabled": not _at(spec, "monitoring", "grafana", "enabled")}}
        case _:
            other["networkPolicy"] = {"enabled": not _at(spec, "networkPolicy", "enabled")}
    return other


def first_spec(rng: random.Random) -> JsonObject:
    """What a TapioCluster begins with."""
    return changed(_BASE, rng) if rng.random() < 0.5 else copy.deepcopy(_BASE)


def _at(document: JsonObject, *names: str) -> object:
    found: object = document
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - JSON
    return found  # pyright: ignore[reportUnknownVariableType] - JSON
