"""Rendering a spec without any cluster, for tests of the builders."""

from __future__ import annotations

from tapio_reconciler.core.model import Rendered, Served
from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.rendering import render
from tapio_shared.api.cluster import TapioClusterSpec
from tapio_shared.api.effective import effective_cluster
from tapio_shared.api.names import CLUSTER_KIND
from tapio_shared.api.normalise import normalise_spec
from tapio_shared.api.operator_config import OperatorConfig
from tapio_shared.facts import DiscoveryObserved, FleetObserved
from tapio_shared.json import JsonObject, object_at, str_at
from tests.support.planned_world import FLEET, discovery

UID = "7d3f2f1e-0000-4000-8000-000000000001"


def context_of(
    document: JsonObject,
    *,
    monitoring: bool = False,
    fleet: FleetObserved | None = FLEET,
    discovered: DiscoveryObserved | None = None,
    uid: str = UID,
    config: OperatorConfig | None = None,
) -> Context:
    """The rendering context of a TapioCluster, on a current API server unless `discovered` says otherwise."""
    spec = TapioClusterSpec.from_document(normalise_spec(CLUSTER_KIND, object_at(document, "spec")))
    found = discovered or discovery(monitoring=monitoring)
    return Context(
        name=str_at(document, "metadata", "name"),
        namespace=str_at(document, "metadata", "namespace", default="default"),
        uid=uid,
        effective=effective_cluster(spec, version=spec.version or "v0.1.0"),
        served=Served(tuple(found.resources), found.version),
        fleet=fleet,
        config=config or OperatorConfig(),
    )


def rendered(document: JsonObject, *, monitoring: bool = False, fleet: FleetObserved | None = FLEET) -> Rendered:
    """Everything that a TapioCluster should consist of."""
    return rendered_in(context_of(document, monitoring=monitoring, fleet=fleet))


def rendered_in(context: Context) -> Rendered:
    """Everything that the cluster of a context should consist of."""
    return render(context)


def objects_of(found: Rendered) -> list[JsonObject]:
    """All its objects, generated Secrets included, in order."""
    result: list[JsonObject] = []
    for component in found.components:
        result += [secret.manifest for secret in component.secrets]
        result += component.objects
    return result
