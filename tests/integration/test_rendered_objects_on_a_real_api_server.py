"""Every object that the examples and random specs render is accepted by a real API server (apply, dry run), and what
it makes of it is as it was wanted: no default that it fills in is taken for a change of somebody's."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from typing import cast

import pytest
from hypothesis import Phase, given, seed, settings

from tapio_reconciler.core.comparison import holds
from tapio_reconciler.core.model import Served
from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.rendering import render
from tapio_reconciler.core.wanting import ref_of, version_of
from tapio_shared.adapters.kube_http import HttpKube
from tapio_shared.api.budget import BudgetTooSmall
from tapio_shared.api.cluster import TapioClusterSpec
from tapio_shared.api.effective import effective_cluster
from tapio_shared.api.kinds import ALL_KINDS
from tapio_shared.api.names import CLUSTER_KIND
from tapio_shared.api.normalise import normalise_spec
from tapio_shared.api.operator_config import OperatorConfig
from tapio_shared.codec import decode_as, encode
from tapio_shared.facts import FleetObserved
from tapio_shared.json import JsonObject, list_at, object_at, str_at
from tapio_shared.kubernetes import discover, object_path
from tapio_shared.slim import slim
from tests.control_plane.launcher import ControlPlane
from tests.support.odd_specs import ODD
from tests.support.planned_world import FLEET, example
from tests.support.random_specs import cluster, quick, specs
from tests.support.rendered import objects_of

pytestmark = pytest.mark.real
_RANDOM = 60


@pytest.fixture
async def kube(control_plane: ControlPlane) -> AsyncGenerator[HttpKube]:
    async with await HttpKube.connect(kubeconfig=str(control_plane.kubeconfig)) as client:
        for namespace in ("tapio-nodes", "tapio-system", "a", "b"):
            body: JsonObject = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
            await client.request("POST", object_path("", "v1", "namespaces"), body=encode(body))
        yield client


VARIANTS: list[tuple[str, JsonObject]] = [
    *((name, {}) for name in ("quickstart", "development", "production", "edge")),
    ("production", {"intelligence": {"neo4j": {"replicas": 3, "acceptLicenseAgreement": "eval", "plugins": ["apoc"]}}}),
    ("production", {"gateway": {"exposure": {"type": "Ingress", "host": "t.example.org"}}}),
    ("production", {"nodeAgents": {"capabilities": "privileged"}, "monitoring": {"grafana": {"enabled": True}}}),
    ("development", {"collectors": {"kubernetes": {"namespaces": ["a", "b"]}}}),
    ("development", {"nats": {"external": {"url": "nats://elsewhere:4222"}}, "networkPolicy": {"enabled": True}}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "override"), VARIANTS)
async def test_it_is_accepted(kube: HttpKube, name: str, override: JsonObject) -> None:
    document = example(name)
    changed: JsonObject = {**document, "spec": {**object_at(document, "spec"), **override}}
    assert await refused(kube, await served_by(kube), changed) == []


async def test_what_random_specs_give_is_accepted(kube: HttpKube) -> None:
    served = await served_by(kube)
    tried = 0
    for spec in some_specs():
        try:
            assert await refused(kube, served, cluster(spec)) == [], spec
        except BudgetTooSmall:
            continue
        tried += 1
    assert tried > _RANDOM // 2


async def test_what_is_odd_is_accepted(kube: HttpKube, control_plane: ControlPlane) -> None:
    """By a server that knows the fields that the spec itself names."""
    served = await served_by(kube)
    minor = int(re.sub(r"\D", "", control_plane.server_version.split(".")[1]))
    for name, odd in ODD.items():
        if minor < odd.since:
            continue
        observed = list_at(odd.document, "spec", "collectors", "kubernetes", "namespaces")
        for namespace in (odd.namespace, *map(str, observed)):
            body: JsonObject = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
            await kube.request("POST", object_path("", "v1", "namespaces"), body=encode(body))
        assert await refused(kube, served, odd.document, odd.nodes) == [], name


def some_specs() -> list[JsonObject]:
    """The same ones every time."""
    found: list[JsonObject] = []

    @seed(20)
    @settings(quick, max_examples=_RANDOM, phases=[Phase.generate], database=None)
    @given(specs())
    def collect(spec: JsonObject) -> None:
        found.append(spec)

    collect()
    return found


async def served_by(kube: HttpKube) -> Served:
    version, resources = await discover(kube, [(kind.group, kind.kind) for kind in ALL_KINDS])
    versions = {(kind.group, kind.kind): kind.versions for kind in ALL_KINDS}
    return Served(tuple(one for one in resources if one.version in versions[one.group, one.kind]), version)


async def refused(kube: HttpKube, served: Served, document: JsonObject, fleet: FleetObserved = FLEET) -> list[str]:
    """The objects of a TapioCluster that the server does not take, and its words."""
    spec = TapioClusterSpec.from_document(normalise_spec(CLUSTER_KIND, object_at(document, "spec")))
    found = render(
        Context(
            name=str_at(document, "metadata", "name"),
            namespace=str_at(document, "metadata", "namespace", default="default"),
            uid="7d3f2f1e-0000-4000-8000-000000000001",
            effective=effective_cluster(spec, version="v0.1.0"),
            served=served,
            fleet=fleet,
            config=OperatorConfig(),
        )
    )
    answers = await asyncio.gather(*(_dry_run(kube, served, manifest) for manifest in objects_of(found)))
    return [answer for answer in answers if answer]


async def _dry_run(kube: HttpKube, served: Served, manifest: JsonObject) -> str:
    """Why the server does not take an object, or what it makes of it is not the same; empty when all is well."""
    ref = ref_of(manifest)
    resource = served.find(ref.group, ref.kind, version_of(manifest))
    assert resource is not None, manifest
    response = await kube.request(
        "PATCH",
        object_path(ref.group, resource.version, resource.plural, ref.namespace, ref.name),
        query={"fieldManager": "test", "force": "true", "dryRun": "All"},
        body=encode(manifest),
        content_type="application/apply-patch+yaml",
    )
    if response.status not in {200, 201}:
        return f"{ref}: {response.status} {response.body[:300]!r}"
    made = slim(cast("JsonObject", decode_as(dict, response.body)))
    return "" if str_at(manifest, "kind") == "Secret" or holds(made, manifest, whole=True) else f"{ref} became {made}"
