"""`render`: from a resolved cluster to everything that it consists of, in order of dependency."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from functools import partial
from typing import Final

from tapio_reconciler.core.building import Building
from tapio_reconciler.core.model import Component, Notice, Rendered, Skipped
from tapio_reconciler.core.objects.autoscaling import measuring_notices
from tapio_reconciler.core.objects.collectors import build_collector, component_name
from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.objects.correlation import build_correlation
from tapio_reconciler.core.objects.discovery import eligibility
from tapio_reconciler.core.objects.exposure import endpoint, exposure_notices
from tapio_reconciler.core.objects.gateway import build_gateway
from tapio_reconciler.core.objects.messaging import client_url
from tapio_reconciler.core.objects.monitoring import build_monitoring, monitoring_notices
from tapio_reconciler.core.objects.nats import build_nats
from tapio_reconciler.core.objects.neo4j import bolt_url, build_neo4j, licence_notices
from tapio_reconciler.core.objects.network_policies import build_network_policies
from tapio_reconciler.core.objects.outward import mounting_authorities
from tapio_reconciler.core.objects.placement import Learned
from tapio_reconciler.core.objects.spreading import Places, places
from tapio_reconciler.core.objects.streams import build_streams
from tapio_shared.api import names
from tapio_shared.api.component import Component as ComponentSpec
from tapio_shared.api.names import NODE_COLLECTORS
from tapio_shared.api.reasons import Reason
from tapio_shared.json import JsonObject, str_at

_BUILDERS: Final[Mapping[str, Callable[[Context], Component | None]]] = {
    "nats": build_nats,
    "streams": build_streams,
    "neo4j": build_neo4j,
    "correlation": build_correlation,
    "gateway": build_gateway,
}


def render(ctx: Context, building: Building | None = None) -> Rendered:
    """Everything that the cluster of `ctx` should consist of. The same context gives the same value.

    `building` is begun with that context, and keeps what is built for the one after it.
    """
    building = building or Building(ctx)
    components = [one for name, build in _BUILDERS.items() for one in _component(building, name, build)]
    skipped: list[Skipped] = []
    untold: list[Skipped] = []
    for collector in ctx.effective.collectors:
        name = component_name(collector)
        if name in ctx.kept:
            components.append(build_collector(ctx, collector, Learned()))
            continue
        verdict = eligibility(ctx, collector, name)
        skipped += verdict.skipped
        if verdict.runs:
            learned = building.steady(f"learned of {name}", verdict.learned)
            build = partial(build_collector, collector=collector, learned=learned)
            components += _component(building, name, build, learned)
        untold += verdict.untold
    components += _component(building, "monitoring", partial(build_monitoring, components=components), *components)
    everything = _with_network_policies(
        building, mounting_authorities(ctx, _with_each_secret_once(components, kept=ctx.kept))
    )
    components = [one for one in everything if one.name not in ctx.kept]
    return Rendered(
        components=tuple(components),
        kept=tuple(one for one in everything if one.name in ctx.kept),
        notices=(
            *_placement_notices(ctx),
            *licence_notices(ctx),
            *exposure_notices(ctx),
            *monitoring_notices(ctx),
            *_spread_notices(ctx),
            *measuring_notices(components),
            *(Notice(reason=one.reason, message=f"Collector {one.collector}: {one.message}") for one in untold),
        ),
        skipped=tuple(skipped),
        endpoints=_endpoints(ctx, components),
        credentials=_credentials(ctx, components),
    )


def _component(
    building: Building, name: str, build: Callable[[Context], Component | None], *given: object
) -> tuple[Component, ...]:
    """The component that `build` makes, if it makes any."""

    def settled(ctx: Context) -> tuple[Component, ...]:
        found = build(ctx)
        return () if found is None else (replace(found, objects=building.objects(found.objects)),)

    return building.part(name, settled, *given)


def _with_network_policies(building: Building, components: Sequence[Component]) -> list[Component]:
    """`components`, each with the policies of its own pods before everything else."""
    pods = building.steady("pods", [one.pods for one in components])
    policies = building.part(
        "policies", lambda ctx: [building.objects(own) for own in build_network_policies(ctx, pods)], pods
    )
    return [
        building.part(f"finished {one.name}", partial(_with_policies, one, own), one, own)
        for one, own in zip(components, policies, strict=True)
    ]


def _with_policies(component: Component, policies: tuple[JsonObject, ...], _: Context) -> Component:
    return replace(component, objects=(*policies, *component.objects)) if policies else component


def _with_each_secret_once(components: list[Component], kept: Set[str]) -> list[Component]:
    """Several collectors of one type share the credentials of their type: they are made for the first of them that is
    rendered, since its workload waits for them."""
    seen: set[str] = set()
    found: dict[str, Component] = {}
    for one in sorted(components, key=lambda one: one.name in kept):
        own = tuple(secret for secret in one.secrets if _place(secret.manifest) not in seen)
        seen |= {_place(secret.manifest) for secret in own}
        found[one.name] = one if len(own) == len(one.secrets) else replace(one, secrets=own)
    return [found[one.name] for one in components]


def _place(manifest: JsonObject) -> str:
    return f"{str_at(manifest, 'metadata', 'namespace')}/{str_at(manifest, 'metadata', 'name')}"


def _endpoints(ctx: Context, components: list[Component]) -> dict[str, str]:
    present = {component.name for component in components}
    endpoints = {"nats": client_url(ctx)}
    if "gateway" in present:
        endpoints["gateway"] = endpoint(ctx)
    if "neo4j" in present:
        endpoints["graph"] = bolt_url(ctx)
    elif "graph" in present:
        endpoints["graph"] = f"http://{ctx.child(names.CORRELATION)}.{ctx.namespace}.svc:8080"
    return endpoints


def _credentials(ctx: Context, components: list[Component]) -> dict[str, str]:
    present = {component.name for component in components}
    credentials: dict[str, str] = {}
    if "neo4j" in present:
        credentials["graph"] = ctx.child(names.NEO4J_AUTH)
    external = ctx.effective.spec.nats.external
    if external is None:
        credentials["nats"] = ctx.child(names.NATS_AUTH)
    elif external.credentials_secret_ref is not None:
        credentials["nats"] = external.credentials_secret_ref.name
    return credentials


def _placement_notices(ctx: Context) -> list[Notice]:
    """Node agents without their namespace: nothing of them can be made, and the message says how to make it."""
    wanted = [one for one in ctx.effective.collectors if one.type in NODE_COLLECTORS]
    if not wanted or ctx.fleet is None or ctx.node_namespace in ctx.fleet.namespaces:
        return []
    namespace = ctx.node_namespace
    return [
        Notice(
            condition="Stalled",
            reason=Reason.NAMESPACE_MISSING,
            component=component_name(wanted[0]),
            message=(
                f"Namespace {namespace}, in which the node agents run, does not exist or is not allowed. Create it: "
                f"kubectl create namespace {namespace} && kubectl label namespace {namespace} "
                "pod-security.kubernetes.io/enforce=privileged"
            ),
        )
    ]


def _spread_notices(ctx: Context) -> list[Notice]:
    """Says when replicas can't all be on zones of their own."""
    if not ctx.effective.high_availability:
        return []
    for replicas, spec in sorted(_replicated(ctx), key=lambda one: -one[0]):
        found = places(ctx, spec)
        if found is not None and replicas > min(found.zones, found.hosts) and replicas > 1:
            return [_too_few(replicas, found)]
    return []


def _replicated(ctx: Context) -> list[tuple[int, ComponentSpec]]:
    """Replicas of what runs, and its spec: all that `spread` spreads, which leaves alone what has an affinity given."""
    effective = ctx.effective
    if effective.spec.scheduling.affinity is not None:
        return []
    found: list[tuple[int, ComponentSpec]] = []
    if not effective.uses_external_nats:
        found.append((effective.nats_servers, effective.spec.nats))
    if effective.runs_neo4j:
        found.append((effective.neo4j_members, effective.neo4j))
    if effective.intelligence.correlation.enabled is not False:
        found.append((effective.correlation.replicas, effective.intelligence.correlation))
    if effective.gateway is not None:
        found.append((effective.gateway.replicas, effective.spec.gateway))
    return [(replicas, spec) for replicas, spec in found if spec.affinity is None]


def _too_few(replicas: int, found: Places) -> Notice:
    return Notice(
        reason=Reason.TOO_FEW_ZONES,
        message=(
            f"High availability would spread {replicas} replicas, and {_count(found.hosts, 'host')} in "
            f"{_count(found.zones, 'zone')} can take them; "
            "replicas are spread as well as it goes. Add nodes in other zones."
        ),
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
