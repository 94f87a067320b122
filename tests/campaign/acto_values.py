"""Values for every field of the CRDs: good ones with what they need beside them, and bad ones of both sorts.

The fields themselves come from the CRDs' own schemas, so that none is forgotten: a field without a value here gets
one by its type. A *wrong* value is one that the schema refuses; a *senseless* one passes the schema, and only the
webhook or the planner can tell.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, cast

import yaml

from tapio_shared.json import JsonObject, JsonValue, object_at, objects_at, str_at
from tests.support.random_specs import PROBE

_CRDS = Path(__file__).parents[2] / "crds" / "crds.yaml"
ITEM: Final = "[]"
CLUSTER, COLLECTOR, INTELLIGENCE = "TapioCluster", "TapioCollector", "TapioIntelligence"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a spec that holds a value, or what an array's items are."""

    kind: str
    path: str
    """Dotted; `[]` follows the name of an array, for one item of it."""
    schema: JsonObject

    def __str__(self) -> str:
        return f"{self.kind}.{self.path}"


@cache
def fields() -> tuple[Field, ...]:
    """Every field of every CRD, in the schema's order."""
    found: list[Field] = []
    for document in yaml.load_all(_CRDS.read_text(), Loader=yaml.CSafeLoader):
        crd = cast("JsonObject", document)
        spec = object_at(objects_at(crd, "spec", "versions")[0], "schema", "openAPIV3Schema", "properties", "spec")
        kind = str_at(crd, "spec", "names", "kind")
        found += (Field(kind, path, schema) for path, schema in _walk(spec, ""))
    return tuple(found)


def _walk(schema: JsonObject, path: str) -> Iterator[tuple[str, JsonObject]]:
    properties = object_at(schema, "properties")
    if properties:
        for name, one in properties.items():
            yield from _walk(cast("JsonObject", one), f"{path}.{name}".lstrip("."))
    elif schema.get("type") == "array":
        yield from _walk(object_at(schema, "items"), f"{path}{ITEM}")
    else:
        yield path, schema


# --- building specs --------------------------------------------------------------------------------------------------


def nested(path: str, value: JsonValue) -> JsonObject:
    """The smallest spec that holds `value` at `path`."""
    found: JsonValue = value
    for part in reversed(path.split(".")):
        inner: JsonValue = [found] if part.endswith(ITEM) else found
        outer: JsonObject = {part.removesuffix(ITEM): inner}
        found = outer
    return cast("JsonObject", found)


def merged(one: JsonValue, other: JsonValue) -> JsonValue:
    """`other` laid over `one`; lists item by item."""
    if isinstance(one, dict) and isinstance(other, dict):
        found = dict(one)
        for name, value in other.items():
            found[name] = merged(found[name], value) if name in found else copy.deepcopy(value)
        return found
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [merged(former, latter) for former, latter in zip(one, other, strict=True)]
    return copy.deepcopy(other)


_Rule = tuple[str, JsonObject]
_BESIDE: Final[Sequence[_Rule]] = (
    (r"(.*tolerations\[\])\.(key|value|effect)$", {"key": "a", "operator": "Equal", "value": "b"}),
    (r"(.*tolerations\[\])\.operator$", {"key": "dedicated"}),
    (r"(.*tolerations\[\])\.tolerationSeconds$", {"key": "a", "operator": "Exists", "effect": "NoExecute"}),
    (r"(.*env\[\])\.name$", {"value": "b"}),
    (r"(.*env\[\])\.value$", {"name": "A"}),
    (r"(.*env\[\])\.valueFrom$", {"name": "TOKEN"}),
    (r"(.*autoscaling)\.(min|metrics\[\])$", {"max": 5}),
    (r"(.*rollingUpdate)\.maxSurge$", {"maxUnavailable": 0}),
    (r"(collectors\.(?:ebpf|systemd|cni|kubernetes|etcd))\.(?!enabled)", {"enabled": True}),
    (
        r"(collectors\.etcd)\.",
        {"endpoints": ["https://10.0.0.1:2379"], "credentialsSecretRef": {"name": "etcd"}},
    ),
    (r"(.*neo4j)\.backup\.(?!enabled)", {"backup": {"enabled": True, "schedule": "0 2 * * *"}}),
    (r"(.*neo4j\.backup\.destination\.pvc)\.storageClassName$", {"size": "5Gi"}),
    (
        r"(.*neo4j)\.(edition|acceptLicenseAgreement|replicas)$",
        {"edition": "Enterprise", "acceptLicenseAgreement": "yes"},
    ),
    (r"(nats\.external)\.", {"url": "nats://elsewhere:4222"}),
    (r"(gateway)\.(?!enabled)", {"enabled": True}),
    (r"(gateway\.exposure)\.(host|className)$", {"type": "Ingress", "host": "t.example.org"}),
    (
        r"(gateway\.exposure)\.parentRef",
        {"type": "HTTPRoute", "host": "t.example.org", "parentRef": {"name": "public"}},
    ),
    (
        r"(gateway\.auth)\.(oidc|rules)",
        {"oidc": {"issuerURL": "https://id.example.org", "audiences": ["tapio"]}},
    ),
    (
        r"(gateway\.auth\.rules\[\])\.",
        {"claim": "groups", "values": ["sre"], "paths": ["/api/v1"], "verbs": ["GET"]},
    ),
)
_OF_COLLECTOR: Final[Sequence[tuple[str, JsonObject]]] = (
    (r"^(endpoints|credentialsSecretRef)", {"type": "etcd", "endpoints": ["https://10.0.0.1:2379"]}),
    (r"^(namespaces|watchSecrets|autoscaling)", {"type": "kubernetes"}),
)


def setting(field: Field, value: JsonValue) -> JsonObject:
    """The smallest spec that holds `value` in `field`, with what that needs beside it."""
    spec: JsonValue = {}
    if field.kind == COLLECTOR:
        spec = {"type": "systemd", "allowOverlap": True}
        for pattern, beside in _OF_COLLECTOR:
            if re.search(pattern, field.path):
                spec = {**beside, "allowOverlap": True}
                if spec["type"] == "etcd":
                    spec["credentialsSecretRef"] = {"name": "etcd"}
    for pattern, beside in _BESIDE:
        found = re.match(pattern, field.path)
        if found:
            spec = merged(spec, nested(found[1], beside))
    return cast("JsonObject", merged(spec, nested(field.path, value)))


# --- good values -----------------------------------------------------------------------------------------------------

_AFFINITY: Final[JsonObject] = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}]
        }
    }
}
_GOOD: Final[Sequence[tuple[str, Sequence[JsonValue]]]] = (
    (r"^TapioCluster\.version$", ["v0.2.0", "v0.3.1"]),
    (r"\.nats\.version$", ["2.12.3"]),
    (r"neo4j\.version$", ["5.26.1"]),
    (r"\.version$", ["v0.4.0"]),
    (r"\.image$", ["example.org/tapio/own:1", f"example.org/tapio/own@sha256:{'a' * 64}"]),
    (r"\.image\.registry$", ["mirror.local", "mirror.local:5000/tapio"]),
    (r"pullSecrets\[\]\.name$", ["pull"]),
    (r"\.(labels|podLabels)$", [{"owner": "me"}, {"team": "x"}]),
    (r"\.(annotations|podAnnotations)$", [{"cost": "1"}]),
    (r"nodeSelector$", [{"disk": "ssd"}, {"pool": "tapio"}]),
    (r"tolerations\[\]\.key$", ["a", "dedicated"]),
    (r"tolerations\[\]\.operator$", ["Exists"]),
    (r"tolerations\[\]\.tolerationSeconds$", [30]),
    (r"affinity$", [_AFFINITY]),
    (r"priorityClassName$", ["high"]),
    (r"nodeAgents\.namespace$", ["tapio-nodes"]),
    (r"command\[\]$", ["/bin/own"]),
    (r"args\[\]$", ["--verbose"]),
    (r"env\[\]\.name$", ["A"]),
    (r"env\[\]\.value$", ["b"]),
    (
        r"env\[\]\.valueFrom$",
        [
            {"secretKeyRef": {"name": "own", "key": "token"}},
            {"configMapKeyRef": {"name": "own", "key": "level"}},
            {"fieldRef": {"fieldPath": "spec.nodeName"}},
        ],
    ),
    (r"nats\.config$", [{"max_payload": 2097152}]),
    (r"neo4j\.config$", [{"db.logs.query.enabled": "INFO"}]),
    (r"\.config$", [{"extra": {"answer": 42}}]),
    (r"probes$", [{"liveness": "none"}, {"startup": "none", "readiness": cast("JsonValue", PROBE)}]),
    (r"^TapioCluster\.resources\.requests$", [{"memory": "48Gi", "cpu": "16"}]),
    (r"^TapioCluster\.resources\.limits$", [{"memory": "64Gi"}]),
    (r"resources\.requests$", [{"cpu": "250m", "memory": "3Gi"}]),
    (r"resources\.limits$", [{"memory": "4Gi"}]),
    (
        r"podTemplate$",
        [
            {"metadata": {"annotations": {"z": "1"}, "labels": {"overlay": "yes"}}},
            {"spec": {"terminationGracePeriodSeconds": 90}},
        ],
    ),
    (r"autoscaling\.(min|max)$", [2, 4]),
    (
        r"autoscaling\.metrics\[\]$",
        [
            {
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
            }
        ],
    ),
    (r"maxUnavailable$", [2, "25%"]),
    (r"maxSurge$", [1]),
    (r"namespaces\[\]$", ["a", "b"]),
    (r"endpoints\[\]$", ["https://10.0.0.2:2379"]),
    (r"collectors\.etcd\.credentialsSecretRef\.name$|TapioCollector\.credentialsSecretRef\.name$", ["etcd"]),
    (r"external\.credentialsSecretRef\.name$", ["nats-creds"]),
    (r"external\.url$", ["nats://elsewhere:4222", "tls://a:4222,tls://b:4222"]),
    (r"neo4j\.replicas$", [3]),
    (r"nats\.replicas$", [3]),
    (r"\.replicas$", [3, 2]),
    (r"nats\.storage$", ["40Gi", "60Gi"]),
    (r"neo4j\.storage$", ["200Gi"]),
    (r"storageClassName$", ["fast"]),
    (r"plugins\[\]$", ["apoc"]),
    (r"backup\.schedule$", ["30 3 * * *"]),
    (r"backup\.timeZone$", ["Europe/Helsinki"]),
    (r"backup\.retention$", [3]),
    (r"pvc\.size$", ["20Gi"]),
    (r"observations\.maxAge$", ["2h"]),
    (r"observations\.maxBytes$", ["256Mi"]),
    (r"exposure\.type$", ["LoadBalancer", "ClusterIP"]),
    (r"exposure\.host$", ["other.example.org"]),
    (r"exposure\.className$", ["nginx"]),
    (r"parentRef\.name$", ["public"]),
    (r"parentRef\.namespace$", ["gateways"]),
    (r"parentRef\.sectionName$", ["https"]),
    (r"gateway\.tls\.secretRef\.name$", ["gateway-tls"]),
    (r"issuerURL$", ["https://login.example.org"]),
    (r"jwksURL$", ["https://id.example.org/keys"]),
    (r"caSecretRef\.name$", ["issuer-ca"]),
    (r"audiences\[\]$", ["other"]),
    (r"rules\[\]\.claim$", ["roles"]),
    (r"rules\[\]\.values\[\]$", ["admin"]),
    (r"rules\[\]\.paths\[\]$", ["/api/v2"]),
    (r"rateLimit\.(requestsPerSecond|burst)$", [7]),
    (r"prometheus\.interval$", ["15s"]),
    (r"otlpEndpoint$", ["http://otel:4318"]),
    (r"extraIngress\[\]$", [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]),
    (r"extraEgress\[\]$", [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [{"port": 443}]}]),
    (r"clusterRef\.name$", ["any"]),
    (r"TapioCollector\.type$", ["cni", "ebpf"]),
)


def good(field: Field) -> Sequence[JsonValue]:
    """Values that `field` may well have."""
    for pattern, values in _GOOD:
        if re.search(pattern, str(field)):
            return values
    schema = field.schema
    if "enum" in schema:
        return [one for one in cast("list[JsonValue]", schema["enum"]) if one != ""]
    match schema.get("type"):
        case "boolean":
            return [True, False]
        case "integer":
            return [cast("int", schema.get("minimum", 0)) + 1]
        case "object":
            return [{"a": "b"}]
        case _:
            return ["x"]


# --- bad values ------------------------------------------------------------------------------------------------------


def wrong(field: Field) -> Sequence[JsonValue]:
    """Values that the schema refuses."""
    schema = field.schema
    found: list[JsonValue] = []
    match schema.get("type"):
        case "string":
            found.append(12)
        case "integer":
            found.append("many")
        case "boolean":
            found.append("yes")
        case "object":
            found.append("text")
        case _:
            found.append([])
    if "enum" in schema:
        found.append("nonsense")
    if "pattern" in schema:
        found.append("no such thing!")
    if "maximum" in schema:
        found.append(cast("int", schema["maximum"]) + 1)
    if "minimum" in schema:
        found.append(cast("int", schema["minimum"]) - 1)
    if "maxLength" in schema:
        found.append("x" * (cast("int", schema["maxLength"]) + 1))
    if schema.get("minLength") == 1:
        found.append("")
    return found


_SENSELESS: Final[Sequence[tuple[str, Sequence[JsonValue]]]] = (
    (r"\.image$", ["Not An Image", "repo:tag:tag"]),
    (r"\.image\.registry$", ["https://registry/"]),
    (r"(\.name|secretRef\.name|SecretRef\.name)$", ["Bad_Name!"]),
    (r"\.(labels|podLabels|nodeSelector)$", [{"bad key!": "x"}, {"a": "bad value!"}]),
    (r"\.(annotations|podAnnotations)$", [{"bad key!": "x"}]),
    (r"affinity$", [{"nodeAffinity": 7}, {"nodeAfinity": {}}]),
    (r"priorityClassName$", ["Bad_Name!"]),
    (r"env\[\]\.valueFrom$", [{"secretKeyRef": 5}, {"nothing": {}}]),
    (r"probes$", [{"liveness": {"exec": 5}}, {"livenes": "none"}]),
    (r"(requests|limits)$", [{"memory": "-1Gi"}, {"cpu": "100", "memory": "0"}]),
    (r"podTemplate$", [{"spec": {"containers": "x"}}, {"spec": {"containres": []}}]),
    (r"autoscaling\.min$", [9]),
    (r"metrics\[\]$", [{"type": "Nothing"}, {"resource": 5}]),
    (r"maxUnavailable$", [-1]),
    (r"namespaces\[\]$", ["Bad_Name!"]),
    (r"endpoints\[\]$", ["not a url", "http://10.0.0.1:2379 "]),
    (r"external\.url$", ["http://elsewhere"]),
    (r"nats\.replicas$", [2]),
    (r"storage$|pvc\.size$", ["0", "-1Gi"]),
    (r"[sS]torageClassName$", ["Bad_Name!"]),
    (r"plugins\[\]$", ["../../etc"]),
    (r"schedule$", ["every day", "61 0 * * *"]),
    (r"timeZone$", ["Mars/Olympus Mons"]),
    (r"maxAge$|interval$", ["0s"]),
    (r"maxBytes$", ["0", "-1"]),
    (r"exposure\.type$", ["Ingress", "HTTPRoute"]),
    (r"exposure\.host$", ["bad_host!", "http://t.example.org"]),
    (r"className$|parentRef\.(namespace|sectionName)$", ["Bad_Name!"]),
    (r"issuerURL$|jwksURL$|otlpEndpoint$", ["ftp://id.example.org", "not a url"]),
    (r"extra(Ingress|Egress)\[\]$", [{"from": 5, "to": 5}, {"ports": [{"port": "not a port!"}]}]),
    (r"highAvailability$", [{"lightweight": True}]),
    (r"neo4j\.replicas$", [{"edition": "Community"}]),
    (r"collectors\.(ebpf|systemd|cni|kubernetes|etcd)\.enabled$", ["@unknown"]),
)


def senseless(field: Field) -> Iterator[JsonObject]:
    """Specs whose value of `field` passes the schema and means nothing, or not beside what else they hold."""
    for pattern, values in _SENSELESS:
        if re.search(pattern, str(field)):
            for value in values:
                if value == "@unknown":
                    parent = field.path.rpartition(".")[0]
                    yield nested(parent, {"enabled": True, "noSuchField": 1})
                elif isinstance(value, dict) and field.schema.get("type") in ("boolean", "integer"):
                    # What contradicts the field, next to a good value of it.
                    parent = field.path.rpartition(".")[0]
                    beside = nested(parent, value) if parent else value
                    chosen: JsonValue = True if field.schema["type"] == "boolean" else 3
                    yield cast("JsonObject", merged(nested(field.path, chosen), beside))
                else:
                    yield setting(field, value)
            return
