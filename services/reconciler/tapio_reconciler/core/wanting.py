"""What a TapioCluster asks for, judged and rendered; or why it can't be.

Rendering is the expensive part of a plan and depends on little, so its last result is kept with the state that it was
made from: that is memory, not state, and never changes an answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import is_
from typing import Final

import msgspec

from tapio_reconciler.core.building import Building, Built
from tapio_reconciler.core.graph_members import GraphMembers, graph_members, keeping_members
from tapio_reconciler.core.kept import Running, running_collectors
from tapio_reconciler.core.learning import learned_of_fleet
from tapio_reconciler.core.members import Members
from tapio_reconciler.core.model import Component, Notice, Rendered, WantedObject
from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.overlaps import accepted_collectors, chosen_intelligence
from tapio_reconciler.core.references import needed_secrets, trusted_authorities
from tapio_reconciler.core.remembering import Remembered
from tapio_reconciler.core.rendering import render
from tapio_reconciler.core.scaling import other_scalers
from tapio_reconciler.core.shared_facts import configuration_of, discovery_bytes, parsed_configuration, served_in
from tapio_reconciler.core.state import Observed, Seen, State
from tapio_reconciler.core.volumes import HeldVolumes, granted
from tapio_shared.api import names
from tapio_shared.api.budget import BudgetTooSmall
from tapio_shared.api.cluster import TapioClusterSpec
from tapio_shared.api.collectors import TapioCollectorSpec
from tapio_shared.api.effective import EffectiveCluster, effective_cluster
from tapio_shared.api.images import DEFAULT_TAPIO_VERSION
from tapio_shared.api.intelligence import Intelligence
from tapio_shared.api.names import CLUSTER_KIND
from tapio_shared.api.normalise import normalise_spec
from tapio_shared.api.not_yet_supported import not_yet_supported
from tapio_shared.api.operator_config import OperatorConfig
from tapio_shared.api.problems import Problem
from tapio_shared.api.reasons import Reason
from tapio_shared.api.validation import one_answer, validate_cluster
from tapio_shared.codec import encode
from tapio_shared.facts import FleetObserved
from tapio_shared.json import JsonObject, at, object_at, str_at
from tapio_shared.keys import ObjectRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is wanted of a cluster, and the resources beside it that were not taken into account."""

    version: str
    rendered: Rendered
    objects: Mapping[str, Sequence[WantedObject]]
    """Component -> its objects, without the generated Secrets."""
    not_yet_supported: tuple[str, ...]
    refused_members: Mapping[ObjectRef, tuple[str, str]]
    kept: frozenset[str] = frozenset()
    """Components that are not rendered, since nobody can tell what they should be, and go on as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rendering:
    """What was rendered, and from what."""

    inputs: bytes
    discovery: bytes
    asked: bytes
    """The models in the context, as JSON, in which 1 is not true."""
    context: Context
    notices: tuple[Notice, ...]
    rendered: Rendered
    objects: Mapping[str, Sequence[WantedObject]]
    built: Built
    components: Mapping[str, Component]
    """As they were built; in `rendered` they are those of a rendering before, if those are the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Why nothing can be wanted: reason and message of the condition Stalled."""

    reason: str
    message: str
    refused_members: Mapping[ObjectRef, tuple[str, str]] = field(default_factory=dict[ObjectRef, tuple[str, str]])


_NONE_RUN: Final[Mapping[str, Running]] = {}


def wanted(
    state: State,
    cluster: Seen,
    members: Members,
    volumes: Mapping[str, HeldVolumes] | None = None,
    released: Mapping[str, str] | None = None,
    *,
    counts_kept: bool = False,
) -> Wanted | Refused:
    """Judge the spec by the webhook's own rules and render what it asks for and its `volumes` can have.

    `released` are StatefulSets that were let go of to be made anew; None under rules by which those do not count.
    `counts_kept`: whether what runs on with an invalid spec counts for the objects of others.
    The answer is remembered with the state it was worked out from, since most plans follow from changes of children.
    """
    seen, steady, namespace = state.seen(), state.remembered.steady, state.key.namespace
    asked = steady("asked", (cluster,), lambda: encode(_asked(cluster, state)))
    uid = steady("uid", (cluster,), lambda: cluster.uid)
    secrets = steady("secrets", (seen.of_kind("Secret"),), lambda: _secret_digests(seen, namespace))
    learned = learned_of_fleet(state, seen, cluster.uid)
    graph = steady(
        "graph",
        (seen.of_kind("StatefulSet"), seen.of_kind("Pods"), seen.of_kind("ConfigMap"), released),
        lambda: graph_members(seen, state.key.name, namespace, released),
    )
    scalers = steady("scalers", (seen.of_kind("Scaler"),), lambda: other_scalers(seen, namespace))
    running = _running(state, seen, cluster, members) if counts_kept else _NONE_RUN
    basis = (
        asked,
        uid,
        *(one for _, one in members.all()),
        *(state.shared.get(name) for name in ("config", "discovery", "fleet")),
        secrets,
        learned,
        volumes,
        graph,
        scalers,
        running,
    )
    return state.remembered.again(
        "wanted",
        basis,
        lambda: _wanted(
            state,
            cluster,
            asked,
            members,
            secrets,
            learned,
            dict(volumes or {}),
            graph,
            scalers,
            running,
        ),
    )


def _running(state: State, seen: Observed, cluster: Seen, members: Members) -> Mapping[str, Running]:
    if not members.collectors:
        return _NONE_RUN
    kinds = (seen.of_kind(kind) for kind in ("DaemonSet", "Deployment", "ConfigMap"))
    return state.remembered.steady(
        "running",
        (cluster, *(one for _, one in members.collectors), *kinds),
        lambda: running_collectors(members.collectors, _asked(cluster, state), seen, state.key),
    )


def _asked(cluster: Seen, state: State) -> JsonObject:
    """What a TapioCluster itself says of what is wanted: no part of its document but this is looked at."""
    return {
        "metadata": {"name": state.key.name, "namespace": state.key.namespace},
        "spec": at(cluster.document, "spec"),
        "status": {"version": str_at(cluster.document, "status", "version")},
    }


def _wanted(
    state: State,
    cluster: Seen,
    asked: bytes,
    members: Members,
    secrets: dict[str, str],
    learned: dict[str, str],
    volumes: dict[str, HeldVolumes],
    graph: GraphMembers,
    scalers: dict[str, str],
    running: Mapping[str, Running],
) -> Wanted | Refused:
    config = configuration_of(state)
    problems, spec, shown_version = state.remembered.again(
        "judged", (asked, state.shared.get("config")), lambda: _judged(_asked(cluster, state), config)
    )
    if problems:
        return Refused(reason=problems[0].reason, message=one_answer(problems))
    fleet = state.shared_fact("fleet", FleetObserved)
    collectors = accepted_collectors(members.collectors, spec, config, None if fleet is None else fleet[1], running)
    intelligence, refused_minds = chosen_intelligence(members.intelligences, spec, config)
    refused = {**collectors.refused, **refused_minds}
    if intelligence is None and refused_minds and "intelligence" not in spec:
        ref, (reason, message) = next(iter(refused_minds.items()))
        return Refused(reason=reason, message=f"TapioIntelligence {ref.name}: {message}", refused_members=refused)
    version = str_at(spec, "version") or shown_version or DEFAULT_TAPIO_VERSION
    inputs = _Inputs(
        name=state.key.name,
        namespace=state.key.namespace,
        uid=cluster.uid,
        version=version,
        spec=spec,
        collectors={**collectors.specs, **collectors.going_on},
        kept=sorted(collectors.kept) if collectors.going_on else [],
        intelligence=intelligence,
        fleet=None if fleet is None else fleet[1],
        config=object_at({"c": config.document()}, "c"),
        secrets=secrets,
        learned=learned,
        volumes=volumes,
        graph=graph,
        scalers=scalers,
    )
    try:
        rendering = _rendered(encode(inputs), discovery_bytes(state), state.rendering, state.remembered)
    except BudgetTooSmall as err:
        return Refused(reason=Reason.BUDGET_TOO_SMALL, message=str(err), refused_members=refused)
    state.rendering = rendering
    return Wanted(
        version=version,
        rendered=rendering.rendered,
        objects=rendering.objects,
        not_yet_supported=tuple(not_yet_supported(spec)),
        refused_members=refused,
        kept=collectors.kept,
    )


def _judged(document: JsonObject, config: OperatorConfig) -> tuple[tuple[Problem, ...], JsonObject, str]:
    """What is wrong with a TapioCluster, its spec in its normal form, and the version that its status shows."""
    problems = validate_cluster(document, trust=config.trust)
    if problems:
        return problems, {}, ""
    spec = object_at({"spec": normalise_spec(CLUSTER_KIND, object_at(document, "spec"))}, "spec")
    return (), spec, str_at(document, "status", "version")


class _Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that rendering depends on, as one value."""

    name: str
    namespace: str
    uid: str
    version: str
    spec: JsonObject
    collectors: dict[str, JsonObject]
    kept: list[str]
    intelligence: JsonObject | None
    fleet: FleetObserved | None
    config: JsonObject
    secrets: dict[str, str]
    learned: dict[str, str]
    volumes: dict[str, HeldVolumes]
    graph: GraphMembers
    scalers: dict[str, str]


def _rendered(inputs: bytes, discovery: bytes, former: object, remembered: Remembered) -> _Rendering:
    """What follows from `inputs`. `former` is what was rendered of the same state before, if anything was.

    Much of what is told anew comes to the same: that a volume has the size that it was asked for, say.
    """
    before = former if isinstance(former, _Rendering) else None
    if before is not None and (before.inputs, before.discovery) == (inputs, discovery):
        return before
    given = msgspec.json.decode(inputs, type=_Inputs)
    served = served_in(discovery)
    asked = remembered.steady(
        "asked models", (inputs,), lambda: encode([given.spec, given.version, given.intelligence, given.collectors])
    )
    effective = remembered.again("effective", (asked,), lambda: _effective(given))
    expandable = None if given.fleet is None else given.fleet.expandable_storage_classes
    effective, notices = granted(effective, given.volumes, expandable)
    effective, said = keeping_members(effective, given.graph)
    notices += said
    context = Context(
        name=given.name,
        namespace=given.namespace,
        uid=given.uid,
        effective=effective,
        served=served,
        fleet=given.fleet,
        config=parsed_configuration(encode(given.config)),
        secret_digests=given.secrets,
        learned=given.learned,
        enterprise_claims=_enterprise_claims(given.volumes),
        graph_began_as_community=_began_as_community(given.volumes),
        kept=frozenset(given.kept),
        graph_began_with=given.graph.began_with,
        scalers=given.scalers,
    )
    if before is not None and (before.asked, before.context, before.notices) == (asked, context, notices):
        return replace(before, inputs=inputs, discovery=discovery)
    known = {} if before is None else {one.digest: one.manifest for those in before.objects.values() for one in those}
    building = Building(context, None if before is None else before.built, known)
    rendered = render(context, building)
    components = rendered.components
    if notices:
        rendered = replace(rendered, notices=(*rendered.notices, *notices))
    parts = [_part(one, building, before) for one in components]
    return _Rendering(
        inputs=inputs,
        discovery=discovery,
        asked=asked,
        context=context,
        notices=notices,
        rendered=replace(rendered, components=tuple(component for component, _ in parts)),
        objects={component.name: objects for component, objects in parts},
        built=building.built(),
        components={one.name: one for one in components},
    )


def _effective(given: _Inputs) -> EffectiveCluster:
    mind = None if given.intelligence is None else Intelligence.from_document(given.intelligence)
    collectors = {name: TapioCollectorSpec.from_document(spec) for name, spec in given.collectors.items()}
    spec = TapioClusterSpec.from_document(given.spec)
    return effective_cluster(spec, version=given.version, intelligence=mind, collectors=collectors)


def _part(
    component: Component, building: Building, former: _Rendering | None
) -> tuple[Component, Sequence[WantedObject]]:
    """A component with its objects: the very ones of the rendering before, where they are the same to the byte, so that
    what was found of them holds."""
    before = () if former is None else former.objects.get(component.name, ())
    if former is not None and former.components.get(component.name) is component:
        return _rendered_before(former, component.name), before
    known = {one.digest: one for one in before}
    objects: list[WantedObject] = []
    for manifest in component.objects:
        wanted = building.digest_of(manifest)
        objects.append(known.get(wanted) or _wanted_object(manifest, wanted))
    if former is None or len(before) != len(objects) or not all(map(is_, before, objects)):
        return component, tuple(objects)
    same = replace(component, objects=tuple(one.manifest for one in before))
    kept = _rendered_before(former, component.name)
    return (kept if kept == same else same), before


def _rendered_before(former: _Rendering, name: str) -> Component:
    return next(one for one in former.rendered.components if one.name == name)


def _enterprise_claims(volumes: Mapping[str, HeldVolumes]) -> tuple[str, ...]:
    held = volumes.get(names.NEO4J)
    return () if held is None else tuple(sorted(one.name for one in held.claims if one.edition))


def _began_as_community(volumes: Mapping[str, HeldVolumes]) -> bool:
    held = volumes.get(names.NEO4J)
    return held is not None and any(not one.edition for one in held.claims)


def _wanted_object(manifest: JsonObject, wanted: str) -> WantedObject:
    ref = ref_of(manifest)
    return WantedObject(
        ref,
        str(ref),
        version_of(manifest),
        manifest,
        wanted,
        needed_secrets(manifest),
        trusted_authorities(manifest),
    )


def ref_of(manifest: JsonObject) -> ObjectRef:
    """The name a manifest has in the log."""
    group = str_at(manifest, "apiVersion").rpartition("/")[0]
    return ObjectRef(
        group, str_at(manifest, "kind"), str_at(manifest, "metadata", "namespace"), str_at(manifest, "metadata", "name")
    )


def version_of(manifest: JsonObject) -> str:
    """The API version of a manifest, without its group."""
    return str_at(manifest, "apiVersion").rpartition("/")[2]


def _secret_digests(seen: Observed, namespace: str) -> dict[str, str]:
    """Digest of what every known Secret of the key holds, one of another namespace by `namespace/name`."""
    digests: dict[str, str] = {}
    for one in seen.of_kind("Secret"):
        ref = one.ref
        if ref.group == "" and one.document:
            values = object_at(one.document, "digests")
            name = ref.name if ref.namespace == namespace else f"{ref.namespace}/{ref.name}"
            digests[name] = ",".join(f"{name}={values[name]}" for name in sorted(values))
    return digests
