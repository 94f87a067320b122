"""Random valid resources and surroundings, for everything that must hold of every combination.

Valid by construction, which `tests/unit/objects/test_random_specs.py` checks: nothing is filtered away, so a field
that is named here is really tried. Values are few and telling; what matters is how they meet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from tapio_reconciler.core.previewing import Surroundings
from tapio_shared.api.operator_config import OperatorConfig
from tapio_shared.api.served import assumed_discovery, further_groups
from tapio_shared.facts import FleetObserved, NodeGroup
from tapio_shared.json import JsonObject, JsonValue, object_at, str_at
from tests.support.planned_world import FLEET

NAME: Final = "any"
NAMESPACE: Final = "tapio-system"
"""A trusted namespace, so that node agents can be overridden too."""

GIVEN_SECRETS: Final[Mapping[str, frozenset[str]]] = {
    "etcd": frozenset({"ca.crt", "tls.crt", "tls.key"}),
    "gateway-tls": frozenset({"tls.crt", "tls.key"}),
    "issuer-ca": frozenset({"ca.crt"}),
    "nats-creds": frozenset({"nats.creds", "username", "password"}),
    "own": frozenset({"token"}),
    "pull": frozenset({".dockerconfigjson"}),
}
"""Secrets that the specs refer to and that people make: name -> keys, as the fields' descriptions have them."""
GIVEN_CONFIG_MAPS: Final[Mapping[str, frozenset[str]]] = {
    "gateway-ca": frozenset({"ca.crt"}),
    "own": frozenset({"level"}),
}

quick = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
"""What `make test` affords; a campaign tries thousands. A failure shows its spec as it was drawn: to shrink one
takes minutes, and most fields of a spec have no part in it, which the message says better."""

Fields = dict[str, "st.SearchStrategy[JsonValue]"]
_VERSIONS: Final = ("1.20", "1.22", "1.25", "1.31", "1.37")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One TapioCluster with what belongs to it, and where it would run."""

    resources: list[JsonObject]
    surroundings: Surroundings
    kubernetes: str
    served: tuple[str, ...] = field(default=())

    def __repr__(self) -> str:
        specs = [one["spec"] for one in self.resources]
        return f"Case({self.kubernetes}, {self.served}, {self._fleet()}, {specs})"

    def _fleet(self) -> str:
        fleet = self.surroundings.fleet
        return "no fleet" if fleet is None else f"{fleet.hosts} hosts in {len(fleet.zones)} zones"


def some(fields: Fields, *, required: Fields | None = None) -> st.SearchStrategy[JsonObject]:
    """Objects that hold any of `fields`, and all of the `required` ones."""
    return st.fixed_dictionaries(dict(required or {}), optional=dict(fields))


def one_of(*values: JsonValue) -> st.SearchStrategy[JsonValue]:
    return st.sampled_from(values)


BOOLEANS: Final = one_of(True, False)
TOLERATIONS: Final = one_of(
    [{"key": "dedicated", "operator": "Exists"}], [{"key": "a", "value": "b", "effect": "NoSchedule"}]
)
AFFINITY: Final = one_of(
    {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}]
            }
        }
    }
)
PROBE: Final[JsonObject] = {"exec": {"command": ["true"]}, "periodSeconds": 7}
POD_TEMPLATES: Final = one_of(
    {"metadata": {"annotations": {"z": "1"}, "labels": {"overlay": "yes"}}},
    {"spec": {"terminationGracePeriodSeconds": 90, "dnsConfig": {"options": [{"name": "ndots", "value": "2"}]}}},
    {
        "spec": {
            "containers": [
                {
                    "name": "sidecar",
                    "image": "example.org/sidecar:1",
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "readOnlyRootFilesystem": True,
                    },
                    "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
                }
            ],
            "volumes": [{"name": "scratch", "emptyDir": {}}],
        }
    },
)
ENVIRONMENTS: Final = one_of(
    [{"name": "A", "value": "b"}],
    [{"name": "EMPTY"}],
    [
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "own", "key": "token"}}},
        {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "own", "key": "level"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    ],
)
RESOURCES: Final = one_of(
    {"requests": {"cpu": "250m", "memory": "2Gi"}, "limits": {"memory": "4Gi"}},
    {"requests": {"cpu": 1, "memory": "3Gi"}, "limits": {"cpu": "2", "memory": "3Gi"}},
)
SCALING: Final = one_of({"min": 2, "max": 5}, {"max": 3}, {})
COMPONENT: Final[Fields] = {
    "image": one_of("example.org/own:1", f"example.org/own@sha256:{'a' * 64}"),
    "version": one_of("2.12.3"),
    "command": one_of(["/bin/own"]),
    "args": one_of(["--verbose"], []),
    "env": ENVIRONMENTS,
    "config": one_of({"extra": {"answer": 42}}),
    "probes": one_of({"liveness": "none"}, {"startup": "none", "readiness": PROBE}, {"liveness": PROBE}),
    "resources": RESOURCES,
    "nodeSelector": one_of({"disk": "ssd"}),
    "tolerations": TOLERATIONS,
    "affinity": AFFINITY,
    "priorityClassName": one_of("high"),
    "podLabels": one_of({"team": "x"}),
    "podAnnotations": one_of({"note": "y"}),
    "podTemplate": POD_TEMPLATES,
}
_NATS_COMPONENT: Final = {name: one for name, one in COMPONENT.items() if name != "config"} | {
    "config": one_of({"max_payload": 2097152})
}
_NODE_AGENT: Final[Fields] = COMPONENT | {
    "updateStrategy": one_of(
        {"type": "OnDelete"}, {"rollingUpdate": {"maxUnavailable": "25%"}}, {"rollingUpdate": {"maxUnavailable": 2}}
    )
}
_ETCD: Final[Fields] = {
    "endpoints": one_of(["https://10.0.0.1:2379", "https://10.0.0.2:2379"]),
    "credentialsSecretRef": one_of({"name": "etcd"}),
}


def _shorthand(fields: Fields) -> st.SearchStrategy[JsonValue]:
    return st.one_of(st.booleans(), some(fields), some(fields, required={"enabled": BOOLEANS}))


COLLECTORS: Final = some(
    {
        "all": BOOLEANS,
        "ebpf": _shorthand(_NODE_AGENT),
        "systemd": _shorthand(_NODE_AGENT),
        "cni": _shorthand(_NODE_AGENT),
        "kubernetes": _shorthand(COMPONENT | {"namespaces": one_of(["a", "b"], ["c"]), "watchSecrets": BOOLEANS}),
        "etcd": _shorthand(COMPONENT | _ETCD),
    }
)
ENGINE: Final = some({"enabled": BOOLEANS, "config": one_of({"window": "5m"})})
CORRELATION: Final = some(
    COMPONENT
    | {
        "replicas": one_of(1, 2, 4),
        "autoscaling": SCALING,
        "engines": some({"patternDetection": ENGINE, "eventCorrelation": ENGINE, "rootCause": ENGINE}),
    }
)
ALONE: Final = CORRELATION.map(
    lambda one: {name: value for name, value in one.items() if name not in {"replicas", "autoscaling"}}
)
"""Correlation with the embedded store, which is one pod's."""
NEO4J: Final = some(
    {name: one for name, one in COMPONENT.items() if name not in {"version", "config"}}
    | {
        "version": one_of("5.26.1"),
        "config": one_of({"db.logs.query.enabled": "INFO"}),
        "replicas": one_of(1, 2, 3, 5),
        "storage": one_of("20Gi", "500Gi"),
        "storageClassName": one_of("fast"),
        "edition": one_of("Auto", "Community", "Enterprise"),
        "acceptLicenseAgreement": one_of("", "yes", "eval"),
        "onUnlicensed": one_of("RunOne"),
        "plugins": one_of(["apoc"]),
        "backup": one_of({"enabled": True, "schedule": "0 2 * * *"}, {"enabled": False}),
    }
).filter(lambda one: one.get("edition") != "Community" or one.get("replicas", 1) == 1)
"""Community can't be clustered."""
_NO_GRAPH: JsonObject = {"neo4j": {"enabled": False}, "correlation": {"enabled": False}}
INTELLIGENCE: Final = st.one_of(
    some({"correlation": ALONE}, required={"embedded": one_of(True)}),
    some({"correlation": CORRELATION, "neo4j": NEO4J}),
    some({"correlation": CORRELATION, "neo4j": NEO4J}, required={"embedded": one_of(False)}),
    st.just(_NO_GRAPH),
)
NATS: Final = st.one_of(
    some(
        {},
        required={
            "external": one_of(
                {"url": "nats://elsewhere:4222"},
                {"url": "tls://a:4222,tls://b:4222", "credentialsSecretRef": {"name": "nats-creds"}},
            )
        },
    ),
    some(
        _NATS_COMPONENT
        | {
            "replicas": one_of(1, 3, 5),
            "storage": one_of("10Gi", "200Gi"),
            "storageClassName": one_of("fast"),
            "tls": BOOLEANS,
            "observations": one_of({"maxAge": "2h"}, {"maxBytes": "768Mi"}, {}),
        }
    ),
)


def _with_somebody_to_end_tls(gateway: JsonObject) -> JsonObject:
    """A gateway whose TLS, where it has no certificate, is ended by what stands in front."""
    named = str_at(gateway, "exposure", "parentRef", "sectionName")
    ended = gateway.get("tls") != {} or str_at(gateway, "exposure", "type") == "Ingress" or named
    return gateway if ended else {name: value for name, value in gateway.items() if name != "tls"}


_OIDC: Final[JsonObject] = {"issuerURL": "https://id.example.org", "audiences": ["tapio"]}
GATEWAY: Final = some(
    COMPONENT
    | {
        "enabled": BOOLEANS,
        "replicas": one_of(1, 2, 3),
        "autoscaling": SCALING,
        "exposure": one_of(
            {"type": "ClusterIP"},
            {"type": "LoadBalancer"},
            {"type": "LoadBalancer", "className": "internal"},
            {"type": "LoadBalancer", "className": "service.k8s.aws/nlb"},
            {"type": "Ingress", "host": "t.example.org"},
            {
                "type": "Ingress",
                "host": "t.example.org",
                "className": "nginx",
                "annotations": {"cert-manager.io/issuer": "a"},
            },
            {"type": "HTTPRoute", "host": "t.example.org", "parentRef": {"name": "public"}},
            {
                "type": "HTTPRoute",
                "host": "t.example.org",
                "parentRef": {"name": "public", "namespace": "gateways", "sectionName": "https"},
            },
        ),
        "tls": one_of(
            {"secretRef": {"name": "gateway-tls"}},
            {"secretRef": {"name": "gateway-tls"}, "caConfigMapRef": {"name": "gateway-ca"}},
            {},
        ),
        "auth": one_of(
            {},
            {"oidc": _OIDC},
            {"oidc": {**_OIDC, "jwksURL": "https://id.example.org/keys", "caSecretRef": {"name": "issuer-ca"}}},
            {
                "oidc": _OIDC,
                "rules": [{"claim": "groups", "values": ["sre"], "paths": ["/api/v1"], "verbs": ["GET", "POST"]}],
            },
        ),
        "rateLimit": one_of({"requestsPerSecond": 5, "burst": 5, "key": "address"}, {}),
    }
).map(_with_somebody_to_end_tls)
MONITORING: Final = some(
    {
        "prometheus": some({"enabled": BOOLEANS, "interval": one_of("15s"), "labels": one_of({"release": "main"})}),
        "grafana": some({"enabled": BOOLEANS, "labels": one_of({"dashboards": "yes"})}),
        "otlpEndpoint": one_of("http://otel:4318"),
    }
)
CLUSTER: Final[Fields] = {
    "profile": one_of("development", "production", "edge"),
    "version": one_of("v0.2.0"),
    "deletionPolicy": one_of("Retain", "Delete"),
    "resources": one_of(
        {"requests": {"memory": "32Gi", "cpu": "16"}, "limits": {"memory": "64Gi", "cpu": "32"}},
        {"requests": {"memory": "48Gi"}},
    ),
    "image": some(
        {
            "registry": one_of("mirror.local", "mirror.local:5000/tapio"),
            "pullPolicy": one_of("Always", "IfNotPresent"),
            "pullSecrets": one_of([{"name": "pull"}]),
        }
    ),
    "inheritedMetadata": one_of({"labels": {"owner": "me"}, "annotations": {"cost": "1"}}),
    "scheduling": some(
        {
            "nodeSelector": one_of({"pool": "tapio"}),
            "tolerations": TOLERATIONS,
            "affinity": AFFINITY,
            "priorityClassName": one_of("high"),
        }
    ),
    "nodeAgents": some({"capabilities": one_of("least", "privileged")}),
    "collectors": COLLECTORS,
    "nats": NATS,
    "gateway": GATEWAY,
    "monitoring": MONITORING,
    "autoscaling": some({"horizontal": BOOLEANS, "vertical": one_of("Off", "Recommend", "Auto")}),
    "networkPolicy": some(
        {
            "enabled": BOOLEANS,
            "extraIngress": one_of([{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]),
            "extraEgress": one_of([{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [{"port": 443}]}]),
        }
    ),
}
_SIZES: Final[Sequence[JsonObject]] = (
    {},
    {"highAvailability": True},
    {"highAvailability": False},
    {"lightweight": True},
    {"highAvailability": True, "lightweight": False},
)


@st.composite
def specs(draw: st.DrawFn) -> JsonObject:
    """Specs of a TapioCluster over profiles, flags, replicas and overrides."""
    spec = {**draw(some(CLUSTER)), **draw(st.sampled_from(_SIZES))}
    if draw(st.booleans()):
        mind = draw(INTELLIGENCE)
        if spec.get("profile") == "edge" and not {"embedded", "neo4j"} & mind.keys():
            mind = draw(some({"correlation": ALONE}))
        spec["intelligence"] = mind
    return spec


def cluster(spec: JsonObject, *, name: str = NAME, namespace: str = NAMESPACE) -> JsonObject:
    """A TapioCluster."""
    return {
        "apiVersion": "tapio.io/v1alpha1",
        "kind": "TapioCluster",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


@st.composite
def members(draw: st.DrawFn) -> list[JsonObject]:
    """TapioCollectors that meet nobody, and now and then a TapioIntelligence."""
    found: list[JsonObject] = []
    for kind in draw(st.lists(st.sampled_from(("ebpf", "systemd", "cni", "kubernetes", "etcd")), max_size=2)):
        fields = {"etcd": COMPONENT | _ETCD, "kubernetes": COMPONENT}.get(kind, _NODE_AGENT)
        spec: JsonObject = {**draw(some(fields)), "type": kind, "allowOverlap": True}
        found.append(_member("TapioCollector", f"extra-{len(found)}", spec))
    if draw(st.booleans()):
        found.append(_member("TapioIntelligence", "mind", draw(INTELLIGENCE)))
    return found


def _member(kind: str, name: str, spec: JsonObject) -> JsonObject:
    return {
        "apiVersion": "tapio.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {**spec, "clusterRef": {"name": NAME}},
    }


ONE_NODE: Final = msgspec.structs.replace(
    FLEET, groups=[msgspec.structs.replace(FLEET.groups[0], count=1, ready=1)], hosts=1, zones=["a"]
)
MIXED_NODES: Final = msgspec.structs.replace(
    FLEET,
    groups=[
        *FLEET.groups,
        NodeGroup(count=2, ready=2, architecture="arm64", kernel="4.19.0", os_image="Debian GNU/Linux 10", zone="b"),
        NodeGroup(count=1, ready=1, architecture="s390x", kernel="6.1.0", os_image="Debian GNU/Linux 12", zone="c"),
    ],
    hosts=6,
)
FLEETS: Final[tuple[FleetObserved | None, ...]] = (None, FLEET, ONE_NODE, MIXED_NODES)
_CONFIGURATIONS: Final = (
    OperatorConfig(),
    OperatorConfig.from_document({"images": {"registry": "mirror.example.org", "defaults": {"nats": "own/nats:1"}}}),
)


def _of_one_pod(member: JsonObject) -> JsonObject:
    """A TapioIntelligence that asks for no more pods than the embedded store has, where the profile embeds it."""
    spec = object_at(member, "spec")
    if member["kind"] != "TapioIntelligence" or {"embedded", "neo4j"} & spec.keys():
        return member
    several = ("replicas", "autoscaling")
    correlation = {name: value for name, value in object_at(spec, "correlation").items() if name not in several}
    return {**member, "spec": {**spec, "correlation": correlation}}


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A TapioCluster, with or without resources of its own parts, on some Kubernetes."""
    spec, others = draw(specs()), draw(members()) if draw(st.booleans()) else []
    if any(one["kind"] == "TapioIntelligence" for one in others):
        spec = {name: value for name, value in spec.items() if name != "intelligence"}
        others = [_of_one_pod(one) if spec.get("profile") == "edge" else one for one in others]
    kubernetes = draw(st.sampled_from(_VERSIONS))
    served = tuple(draw(st.lists(st.sampled_from(further_groups()), unique=True)))
    return Case(
        resources=[cluster(spec), *others],
        surroundings=Surroundings(
            discovery=assumed_discovery(kubernetes, served),
            config=draw(st.sampled_from(_CONFIGURATIONS)),
            fleet=draw(st.sampled_from(FLEETS)),
        ),
        kubernetes=kubernetes,
        served=served,
    )
