"""What must hold between the fields of a spec: ordered lists of small checks, each a pure function.

A rule sees a normalised spec, the namespace it lives in and whom the operator trusts; it never sees the old object
(changes.py does) nor what is observed in Kubernetes (the planner does).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeAlias

from tapio_shared.api import nats_config, neo4j_config
from tapio_shared.api.collectors import COLLECTOR_TYPES, NODE_COLLECTOR_TYPES
from tapio_shared.api.component_rules import (
    component_problems,
    placement_problems,
    reserved_keys,
    resource_problems,
)
from tapio_shared.api.duration import is_duration, parse_duration
from tapio_shared.api.host_rules import host_access_problems
from tapio_shared.api.nats import USABLE_SHARE
from tapio_shared.api.network_rules import network_rule_problems
from tapio_shared.api.problems import Path, Problem, path_text, problem
from tapio_shared.api.profiles import DEFAULTS
from tapio_shared.api.quantity import parse_quantity, quantity_or_none
from tapio_shared.api.reasons import Reason
from tapio_shared.api.scalars import CLASS_ALLOWED, OBJECT_NAME_ALLOWED, is_label_key, is_object_name
from tapio_shared.api.shapes import shape_problems
from tapio_shared.api.trust import Trust
from tapio_shared.json import JsonObject, JsonValue, at, list_at, object_at, str_at

BUDGET_RESOURCES: Final = ("cpu", "memory")
PRIVILEGED_OVERRIDES: Final = ("image", "command", "args", "env", "podTemplate")
"""Fields of a node agent with which one could run anything at all as root on every node."""


_PROFILE_DEFAULTS: Final = {str(profile): defaults for profile, defaults in DEFAULTS.items()}
"""By any text: nobody has checked the profile yet."""
_EMBEDDING: Final = frozenset(profile for profile, defaults in DEFAULTS.items() if defaults.embedded)
"""Profiles with the embedded graph store, unless the spec says otherwise."""
_NEO4J_LEAST_MEMORY: Final = "1Gi"
"""The vendor's table begins there: a heap of 300 MiB."""
_SHORTEST: Final = timedelta(seconds=1)
_LONGEST: Final = timedelta(hours=876_000)
_APPARMOR: Final = "container.apparmor.security.beta.kubernetes.io/"


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a spec lives and whom the operator trusts."""

    namespace: str
    trust: Trust


Rule: TypeAlias = Callable[[JsonObject, Setting], Iterator[Problem]]


def cluster_rules(spec: JsonObject, setting: Setting) -> Iterator[Problem]:
    """All broken rules of a normalised TapioCluster spec."""
    for rule in _CLUSTER_RULES:
        yield from rule(spec, setting)


def collector_rules(spec: JsonObject, setting: Setting) -> Iterator[Problem]:
    """All broken rules of a normalised TapioCollector spec."""
    kind = str_at(spec, "type")
    path: Path = ("spec",)
    for field, owner in _FIELDS_OF_TYPE.items():
        if kind != owner and spec.get(field) is not None:
            yield problem((*path, field), spec[field], f"absent, since it is for collectors of the type {owner}")
    yield from _collector(kind, spec, path, setting)


def intelligence_rules(spec: JsonObject, setting: Setting) -> Iterator[Problem]:
    """All broken rules of a normalised TapioIntelligence spec."""
    yield from _intelligence(spec, ("spec",))
    yield from _overlays(spec, ("spec",), ("neo4j", "correlation"), setting)


def cluster_fit_problems(spec: JsonObject, cluster: JsonObject) -> Iterator[Problem]:
    """What of a TapioIntelligence's normalised spec does not go with the normalised spec of the TapioCluster that uses
    it: nobody can tell from the resource alone."""
    yield from _embedded_by_profile(spec, ("spec",), cluster)


_FIELDS_OF_TYPE: Final = {
    "namespaces": "kubernetes",
    "watchSecrets": "kubernetes",
    "endpoints": "etcd",
    "credentialsSecretRef": "etcd",
}


def _one_size(spec: JsonObject, _setting: Setting) -> Iterator[Problem]:
    if spec.get("highAvailability") is True and spec.get("lightweight") is True:
        yield Problem(
            "spec.lightweight",
            True,
            "spec.highAvailability and spec.lightweight are both true; at most one of them may be.",
        )


def _budget(spec: JsonObject, _setting: Setting) -> Iterator[Problem]:
    path: Path = ("spec", "resources")
    resources = object_at(spec, "resources")
    for part in ("requests", "limits"):
        for name, value in object_at(resources, part).items():
            if name not in BUDGET_RESOURCES:
                yield problem((*path, part, name), value, "absent, since the budget shares out cpu and memory alone")
    yield from resource_problems(resources, path)


def _common_metadata(spec: JsonObject, _setting: Setting) -> Iterator[Problem]:
    for name in ("labels", "annotations"):
        yield from reserved_keys(object_at(spec, "inheritedMetadata", name), ("spec", "inheritedMetadata", name))


def _scheduling(spec: JsonObject, _setting: Setting) -> Iterator[Problem]:
    yield from placement_problems(object_at(spec, "scheduling"), ("spec", "scheduling"))


def _node_agents(spec: JsonObject, setting: Setting) -> Iterator[Problem]:
    agents, path = object_at(spec, "nodeAgents"), ("spec", "nodeAgents")
    namespace = agents.get("namespace")
    if isinstance(namespace, str) and namespace not in setting.trust.node_namespaces:
        allowed = ", ".join(setting.trust.node_namespaces) or "absent"
        yield problem(
            (*path, "namespace"),
            namespace,
            f"one of those that the operator's nodeAgents.allowedNamespaces lists: {allowed}",
            Reason.FORBIDDEN,
        )
    if agents.get("capabilities") == "privileged" and not setting.trust.is_trusted(setting.namespace):
        yield problem((*path, "capabilities"), "privileged", f"least, {_untrusted(setting)}", Reason.FORBIDDEN)


def _collectors(spec: JsonObject, setting: Setting) -> Iterator[Problem]:
    for kind in COLLECTOR_TYPES:
        collector = at(spec, "collectors", kind)
        if isinstance(collector, dict):
            yield from _collector(kind, collector, ("spec", "collectors", kind), setting)


def _collector(kind: str, collector: JsonObject, path: Path, setting: Setting) -> Iterator[Problem]:
    yield from component_problems(collector, path)
    on_nodes = kind in NODE_COLLECTOR_TYPES
    why = "it runs once on every node" if on_nodes else "it runs once, and a second one would report everything twice"
    yield from _no_autoscaling(collector, path, why)
    strategy = object_at(collector, "updateStrategy")
    where: Path = (*path, "updateStrategy")
    if on_nodes:
        yield from _node_update(object_at(strategy, "rollingUpdate"), (*where, "rollingUpdate"))
        yield from _privileges(collector, path, setting)
    else:
        yield from _overlay(collector, path, setting)
        yield from _some_step(object_at(strategy, "rollingUpdate"), (*where, "rollingUpdate"))
        if strategy.get("type") == "OnDelete":
            yield problem((*where, "type"), "OnDelete", "RollingUpdate, since this collector is a Deployment")
    if strategy.get("type") == "OnDelete" and strategy.get("rollingUpdate") is not None:
        yield problem((*where, "rollingUpdate"), strategy["rollingUpdate"], "absent when type is OnDelete")


def _no_autoscaling(component: JsonObject, path: Path, why: str) -> Iterator[Problem]:
    if component.get("autoscaling") is not None:
        yield problem((*path, "autoscaling"), component["autoscaling"], f"absent, since {why}")


def _node_update(rolling: JsonObject, path: Path) -> Iterator[Problem]:
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    zero = (0, "0%")
    yield from _some_step(rolling, path)
    if unavailable is not None and unavailable not in zero and surge is not None and surge not in zero:
        yield problem((*path, "maxSurge"), surge, "0 or absent when maxUnavailable is more than 0")


def _some_step(rolling: JsonObject, path: Path) -> Iterator[Problem]:
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    zero = (0, "0%")
    if unavailable in zero and (surge is None or surge in zero):
        yield problem((*path, "maxUnavailable"), unavailable, "more than 0 unless maxSurge is, or nothing moves")


def _privileges(collector: JsonObject, path: Path, setting: Setting) -> Iterator[Problem]:
    if setting.trust.is_trusted(setting.namespace):
        return
    for field in PRIVILEGED_OVERRIDES:
        if collector.get(field) is not None:
            yield problem((*path, field), collector[field], f"absent, {_untrusted(setting)}", Reason.FORBIDDEN)
    for name, value in object_at(collector, "podAnnotations").items():
        if name.startswith(_APPARMOR):
            yield problem((*path, "podAnnotations", name), value, f"absent, {_untrusted(setting)}", Reason.FORBIDDEN)
    for name, probe in object_at(collector, "probes").items():
        if isinstance(probe, dict) and probe.get("exec") is not None:
            # An exec probe runs a command of the author's choice in the privileged container.
            where: Path = (*path, "probes", name, "exec")
            yield problem(where, probe["exec"], f"absent, {_untrusted(setting)}", Reason.FORBIDDEN)


def _untrusted(setting: Setting) -> str:
    return (
        f"since it reaches the nodes and namespace {setting.namespace or '(none)'} is not in the operator's "
        "security.trustedNamespaces"
    )


def _overlay(component: JsonObject, path: Path, setting: Setting) -> Iterator[Problem]:
    """A pod's overlay that reaches the node it runs on, where that is not the author's to decide."""
    if not setting.trust.is_trusted(setting.namespace):
        template = object_at(component, "podTemplate")
        yield from host_access_problems(template, (*path, "podTemplate"), _untrusted(setting))


def _overlays(owner: JsonObject, path: Path, components: Sequence[str], setting: Setting) -> Iterator[Problem]:
    for name in components:
        yield from _overlay(object_at(owner, name), (*path, name), setting)


def _service_overlays(spec: JsonObject, setting: Setting) -> Iterator[Problem]:
    yield from _overlays(spec, ("spec",), ("nats", "gateway"), setting)


def _inline_intelligence(spec: JsonObject, setting: Setting) -> Iterator[Problem]:
    intelligence = spec.get("intelligence")
    if isinstance(intelligence, dict):
        path: Path = ("spec", "intelligence")
        yield from _intelligence(intelligence, path)
        yield from _embedded_by_profile(intelligence, path, spec)
        yield from _overlays(intelligence, path, ("neo4j", "correlation"), setting)


def _intelligence(intelligence: JsonObject, path: Path) -> Iterator[Problem]:
    neo4j, correlation = object_at(intelligence, "neo4j"), object_at(intelligence, "correlation")
    if intelligence.get("embedded") is True and intelligence.get("neo4j") is not None:
        where = path_text(path)
        yield Problem(
            f"{where}.embedded",
            True,
            f"{where}.embedded is true and {where}.neo4j is set; they exclude each other, so remove one of them.",
        )
    if intelligence.get("embedded") is True:
        yield from _one_pod(correlation, path)
    if neo4j.get("enabled") is False and correlation.get("enabled") is not False:
        yield problem(
            (*path, "neo4j", "enabled"),
            False,
            "true or absent while correlation runs, which needs a graph store (or set embedded instead of neo4j)",
        )
    yield from component_problems(neo4j, (*path, "neo4j"))
    yield from neo4j_config.config_problems(object_at(neo4j, "config"), (*path, "neo4j", "config"))
    yield from _memory_problems(object_at(neo4j, "resources"), (*path, "neo4j", "resources"))
    replicas = neo4j.get("replicas")
    if neo4j.get("edition") == "Community" and isinstance(replicas, int) and replicas > 1:
        yield problem((*path, "neo4j", "replicas"), replicas, "1 while edition is Community, which can't be clustered")
    yield from _no_autoscaling(neo4j, (*path, "neo4j"), "a database's members are not added by load; set replicas")
    yield from component_problems(correlation, (*path, "correlation"))
    backup = object_at(neo4j, "backup")
    if backup.get("enabled") is True and backup.get("schedule") is None:
        yield problem(
            (*path, "neo4j", "backup", "schedule"), None, 'set when backup.enabled is true, such as "0 2 * * *"'
        )


def _memory_problems(resources: JsonObject, path: Path) -> Iterator[Problem]:
    """Memory with which Neo4j does not start; nothing is said of a share of the budget, which has its floor."""
    for kind in ("requests", "limits"):
        memory = object_at(resources, kind).get("memory")
        amount = quantity_or_none(memory)
        if amount is not None and amount < parse_quantity(_NEO4J_LEAST_MEMORY):
            yield problem((*path, kind, "memory"), memory, f"at least {_NEO4J_LEAST_MEMORY}, or Neo4j can't start")


def _embedded_by_profile(intelligence: JsonObject, path: Path, cluster: JsonObject) -> Iterator[Problem]:
    """Several pods where the profile of `cluster` alone says that the store is embedded."""
    said = intelligence.get("embedded") is not None or intelligence.get("neo4j") is not None
    profile = str_at(cluster, "profile")
    if not said and profile in _EMBEDDING:
        yield from _one_pod(object_at(intelligence, "correlation"), path, f" of the profile {profile}")


def _one_pod(correlation: JsonObject, path: Path, whose: str = "") -> Iterator[Problem]:
    """Who asks for several pods around the embedded store."""
    store, replicas = f"the embedded graph store{whose}, which is one pod's", correlation.get("replicas")
    if isinstance(replicas, int) and not isinstance(replicas, bool) and replicas > 1:
        yield problem((*path, "correlation", "replicas"), replicas, f"1 or absent with {store}")
    yield from _no_autoscaling(correlation, (*path, "correlation"), f"it can't be scaled with {store}")


def _nats(spec: JsonObject, _setting: Setting) -> Iterator[Problem]:
    nats, path = object_at(spec, "nats"), ("spec", "nats")
    replicas = nats.get("replicas")
    if isinstance(replicas, int) and not isinstance(replicas, bool) and replicas % 2 == 0:
        yield problem((*path, "replicas"), replicas, "an odd number, so that the servers can vote: 1, 3, 5, 7 or 9")
    if nats.get("enabled") is False and nats.get("external") is None:
        yield problem((*path, "enabled"), False, "true or absent, unless nats.external names another NATS")
    yield from _stream_fits(spec, nats, (*path, "observations", "maxBytes"))
    yield from nats_config.config_problems(nats.get("config"), (*path, "config"))
    yield from component_problems(nats, path)
    yield from _no_autoscaling(nats, path, "servers that vote are not added by load; set replicas")


def _stream_fits(spec: JsonObject, nats: JsonObject, path: Path) -> Iterator[Problem]:
    """Whether the volume holds the stream that is asked for: the volume of the profile, where none is given."""
    profile = _PROFILE_DEFAULTS.get(str_at(spec, "profile"))
    storage, limit = nats.get("storage"), at(nats, "observations", "maxBytes")
    whose = "nats.storage"
    if storage is None and profile is not None and nats.get("external") is None:
        storage, whose = profile.nats_storage, f"the nats.storage of the profile {spec['profile']}"
    volume, stream = quantity_or_none(storage), quantity_or_none(limit)
    if volume is not None and stream is not None and stream > volume * USABLE_SHARE:
        yield problem(path, limit, f"at most 95 % of {whose}, {storage}, which must hold it")


def _gateway(spec: JsonObject, _setting: Setting) -> Iterator[Problem]:
    gateway, path = object_at(spec, "gateway"), ("spec", "gateway")
    exposure = object_at(gateway, "exposure")
    kind = exposure.get("type")
    if kind in ("Ingress", "HTTPRoute") and exposure.get("host") is None:
        yield problem((*path, "exposure", "host"), None, f"set when exposure.type is {kind}")
    if kind == "HTTPRoute" and exposure.get("parentRef") is None:
        yield problem((*path, "exposure", "parentRef"), None, "set when exposure.type is HTTPRoute")
    host = str_at(exposure, "host")
    if kind == "HTTPRoute" and host.startswith("*") and at(gateway, "tls", "secretRef") is not None:
        # A BackendTLSPolicy names the one host of the certificate.
        yield problem((*path, "exposure", "host"), host, "one host, without *, while tls.secretRef is set")
    yield from _class_name(kind, exposure.get("className"), (*path, "exposure", "className"))
    tls = object_at(gateway, "tls")
    if tls.get("secretRef") is None:
        if gateway.get("tls") is not None and kind not in ("Ingress", "HTTPRoute"):
            ends = "set, unless exposure.type is Ingress or HTTPRoute, which can end TLS themselves"
            yield problem((*path, "tls", "secretRef"), None, ends)
        parent = at(exposure, "parentRef")
        if gateway.get("tls") is not None and kind == "HTTPRoute" and at(parent, "sectionName") is None and parent:
            # https://gateway-api.sigs.k8s.io/guides/http-redirect-rewrite/#http-to-https-redirects
            ends = "the listener that ends TLS while tls has no secretRef: a route on all of them is served by HTTP too"
            yield problem((*path, "exposure", "parentRef", "sectionName"), None, ends)
        if tls.get("caConfigMapRef") is not None:
            yield problem((*path, "tls", "caConfigMapRef"), tls["caConfigMapRef"], "absent while tls.secretRef is")
    if list_at(gateway, "auth", "rules") and at(gateway, "auth", "oidc") is None:
        yield problem((*path, "auth", "oidc"), None, "set when auth.rules is, since rules look at a token's claims")
    issuer = str_at(gateway, "auth", "oidc", "issuerURL")
    if "?" in issuer or "#" in issuer:
        # https://openid.net/specs/openid-connect-discovery-1_0.html#IssuerDiscovery
        yield problem((*path, "auth", "oidc", "issuerURL"), issuer, "without ? and #, as tokens name their issuer")
    yield from component_problems(gateway, path)


def _class_name(kind: JsonValue, name: JsonValue, path: Path) -> Iterator[Problem]:
    """An IngressClass that is none, or a load balancer's; what is neither is fields.py's to tell."""
    if not isinstance(name, str):
        return
    if kind == "Ingress" and is_label_key(name) and not is_object_name(name):
        yield problem(path, name, f"the name of an IngressClass, {OBJECT_NAME_ALLOWED}")
    if kind == "LoadBalancer" and is_object_name(name) and not is_label_key(name):
        yield problem(path, name, f"the class of a load balancer, {CLASS_ALLOWED}")


def _network_policies(spec: JsonObject, _setting: Setting) -> Iterator[Problem]:
    for field, kind in (("extraIngress", "NetworkPolicyIngressRule"), ("extraEgress", "NetworkPolicyEgressRule")):
        for index, rule in enumerate(list_at(spec, "networkPolicy", field)):
            if isinstance(rule, dict):
                yield from shape_problems(kind, rule, ("spec", "networkPolicy", field, index))
                yield from network_rule_problems(rule, ("spec", "networkPolicy", field, index))


def _spans(spec: JsonObject, _setting: Setting) -> Iterator[Problem]:
    """Durations that NATS or Prometheus can't use: none at all means another thing to both, and they count in
    nanoseconds."""
    for path in (("nats", "observations", "maxAge"), ("monitoring", "prometheus", "interval")):
        text = at(spec, *path)
        if isinstance(text, str) and is_duration(text) and not _SHORTEST <= parse_duration(text) <= _LONGEST:
            yield problem(("spec", *path), text, "between 1s and 876000h, a hundred years")


def _outside_labels(spec: JsonObject, _setting: Setting) -> Iterator[Problem]:
    """Labels and annotations of objects that others look at, among them such as the operator sets itself."""
    for path in (
        ("gateway", "exposure", "annotations"),
        ("monitoring", "prometheus", "labels"),
        ("monitoring", "grafana", "labels"),
    ):
        yield from reserved_keys(object_at(spec, *path), ("spec", *path))


_CLUSTER_RULES: Final[tuple[Rule, ...]] = (
    _one_size,
    _budget,
    _common_metadata,
    _scheduling,
    _node_agents,
    _collectors,
    _inline_intelligence,
    _nats,
    _gateway,
    _service_overlays,
    _network_policies,
    _spans,
    _outside_labels,
)
