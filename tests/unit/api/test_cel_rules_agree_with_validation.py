"""The CRDs' CEL rules, run by a CEL evaluator: each can break, and none refuses what validation accepts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cel import evaluate
from hypothesis import given, settings
from hypothesis import strategies as st

from tapio_shared.api.crds import KINDS, build_crd
from tapio_shared.api.names import CLUSTER_KIND, COLLECTOR_KIND, INTELLIGENCE_KIND
from tapio_shared.api.normalise import normalise_spec
from tapio_shared.api.specs import SPEC_MODELS
from tapio_shared.api.trust import Trust
from tapio_shared.api.validation import validate
from tapio_shared.json import JsonObject, JsonValue, at, object_at, objects_at, str_at
from tests.support.api_documents import SLOW, resources

EXAMPLES = Path(__file__).parents[3] / "examples"
TRUST = Trust(trusted_namespaces=("tapio-system", "default"), node_namespaces=("tapio-nodes", "agents"))
# https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#available-properties
RESERVED = "true false null in as break const continue else for function if import let loop package namespace return"


def spec_schema_of(kind: str) -> JsonObject:
    crd = build_crd(next(entry for entry in KINDS if entry.kind == kind), cel=True)
    return object_at(crd, "spec", "versions", 0, "schema", "openAPIV3Schema", "properties", "spec")


def rules_of(schema: JsonObject) -> Iterator[str]:
    for rule in objects_at(schema, "x-kubernetes-validations"):
        yield str_at(rule, "rule")
    for child in object_at(schema, "properties").values():
        if isinstance(child, dict):
            yield from rules_of(child)
    if isinstance(schema.get("items"), dict):
        yield from rules_of(object_at(schema, "items"))


def broken(schema: JsonObject, value: JsonValue, old: JsonValue) -> Iterator[tuple[str, str]]:
    """(rule, message) of every rule that the API server would find broken; transition rules need an old value."""
    if value is None:
        return
    for rule in objects_at(schema, "x-kubernetes-validations"):
        text = str_at(rule, "rule")
        if "oldSelf" in text and old is None:
            continue
        if evaluate(text, {"self": escaped(value), "oldSelf": escaped(old)}) is not True:
            yield text, str_at(rule, "message")
    if isinstance(value, dict):
        for name, child in object_at(schema, "properties").items():
            if isinstance(child, dict):
                yield from broken(child, value.get(name), at(old, name))
    if isinstance(value, list):
        for entry in value:
            yield from broken(object_at(schema, "items"), entry, None)


def escaped(value: JsonValue) -> JsonValue:
    """Properties as rules name them: those that are reserved words of CEL stand between underscores."""
    if isinstance(value, dict):
        return {f"__{key}__" if key in RESERVED.split() else key: escaped(child) for key, child in value.items()}
    return [escaped(entry) for entry in value] if isinstance(value, list) else value


REFERENCE: JsonObject = {"name": "production"}
BREAKING: list[tuple[str, JsonObject, JsonObject | None, str]] = [
    (CLUSTER_KIND, {"highAvailability": True, "lightweight": True}, None,
     "spec.highAvailability and spec.lightweight can't both be true."),
    (CLUSTER_KIND, {"nodeAgents": {"namespace": "agents"}}, {}, "spec.nodeAgents.namespace can't be changed after "
     "creation."),
    (CLUSTER_KIND, {"nats": {"storageClassName": "a"}}, {"nats": {}},
     "spec.nats.storageClassName can't be changed after creation."),
    (CLUSTER_KIND, {"intelligence": {"embedded": True, "neo4j": {}}}, None,
     "embedded and neo4j exclude each other: remove one of them."),
    (CLUSTER_KIND, {"intelligence": {"neo4j": {"storageClassName": "a"}}}, {"intelligence": {"neo4j": {}}},
     "neo4j.storageClassName can't be changed after creation."),
    (CLUSTER_KIND, {"nats": {"replicas": 4}}, None, "The number of NATS servers must be odd, so that they can vote."),
    (CLUSTER_KIND, {"gateway": {"exposure": {"type": "Ingress"}}}, None,
     "exposure.host must be set for the types Ingress and HTTPRoute."),
    (CLUSTER_KIND, {"gateway": {"exposure": {"type": "HTTPRoute", "host": "a.example.com"}}}, None,
     "exposure.parentRef must be set for the type HTTPRoute."),
    (CLUSTER_KIND, {"gateway": {"exposure": {"type": "Ingress", "host": "10.0.0.1"}}}, None,
     "exposure.host must be a host name and no IP address."),
    (CLUSTER_KIND, {"gateway": {"exposure": {"type": "Ingress", "host": "a.b", "className": "a/b"}}}, None,
     "exposure.className must be the name of an IngressClass, without /, for the type Ingress."),
    (CLUSTER_KIND, {"gateway": {"exposure": {"type": "LoadBalancer", "className": "a/b"}}},
     {"gateway": {"exposure": {"type": "LoadBalancer"}}},
     "exposure.className can't be changed while the type stays LoadBalancer."),
    (CLUSTER_KIND, {"gateway": {"tls": {"secretRef": {"name": "t"}}, "exposure": {
        "type": "HTTPRoute", "host": "*.a.example.com", "parentRef": {"name": "public"}}}}, None,
     "exposure.host must be without * for the type HTTPRoute when tls.secretRef is set."),
    (CLUSTER_KIND, {"gateway": {"tls": {}}}, None,
     "tls.secretRef must be set, unless exposure.type is Ingress or HTTPRoute, which can end TLS themselves."),
    (CLUSTER_KIND, {"gateway": {"tls": {}, "exposure": {
        "type": "HTTPRoute", "host": "a.example.com", "parentRef": {"name": "public"}}}}, None,
     "exposure.parentRef.sectionName must be the listener that ends TLS while tls has no secretRef: a route on all of "
     "them is served by HTTP too."),
    (CLUSTER_KIND, {"gateway": {"tls": {"caConfigMapRef": {"name": "c"}}, "exposure": {
        "type": "HTTPRoute", "host": "a.example.com", "parentRef": {"name": "public", "sectionName": "https"}}}}, None,
     "tls.caConfigMapRef must be absent while tls.secretRef is."),
    (CLUSTER_KIND, {"gateway": {"auth": {"oidc": {"issuerURL": "https://a.example.com?b", "audiences": ["c"]}}}}, None,
     "auth.oidc.issuerURL must be without ? and #, as tokens name their issuer."),
    (CLUSTER_KIND, {"gateway": {"auth": {"rules": [{"claim": "groups", "values": ["ops"]}]}}}, None,
     "auth.rules look at a token's claims, so auth.oidc must be set."),
    (COLLECTOR_KIND, {"clusterRef": REFERENCE, "type": "ebpf", "watchSecrets": True}, None,
     "spec.namespaces and spec.watchSecrets are for collectors of the type kubernetes."),
    (COLLECTOR_KIND, {"clusterRef": REFERENCE, "type": "ebpf", "endpoints": ["https://etcd:2379"]}, None,
     "spec.endpoints and spec.credentialsSecretRef are for collectors of the type etcd."),
    (COLLECTOR_KIND, {"clusterRef": REFERENCE, "type": "cni"}, {"clusterRef": REFERENCE, "type": "ebpf"},
     "spec.type can't be changed after creation."),
    (COLLECTOR_KIND, {"clusterRef": {"name": "b"}, "type": "cni"}, {"clusterRef": REFERENCE, "type": "cni"},
     "spec.clusterRef.name can't be changed after creation."),
    (INTELLIGENCE_KIND, {"clusterRef": {"name": "b"}}, {"clusterRef": REFERENCE},
     "spec.clusterRef.name can't be changed after creation."),
    (INTELLIGENCE_KIND, {"clusterRef": REFERENCE, "embedded": True, "neo4j": {}}, None,
     "embedded and neo4j exclude each other: remove one of them."),
    (INTELLIGENCE_KIND, {"clusterRef": REFERENCE, "neo4j": {"storageClassName": "a"}},
     {"clusterRef": REFERENCE, "neo4j": {"storageClassName": "b"}},
     "neo4j.storageClassName can't be changed after creation."),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "spec", "old", "message"), [pytest.param(*row, id=row[3]) for row in BREAKING])
def test_a_rule_and_validation_refuse_the_same(
    kind: str, spec: JsonObject, old: JsonObject | None, message: str
) -> None:
    before = None if old is None else normalise_spec(kind, old)
    found = list(broken(spec_schema_of(kind), normalise_spec(kind, spec), before))
    assert [text for _, text in found] == [message]
    previous: JsonValue = None if old is None else {"spec": old}
    assert len(validate(kind, {"spec": spec}, trust=TRUST, old=previous)) == 1


def test_every_rule_is_broken_by_some_row() -> None:
    for kind in SPEC_MODELS:
        schema = spec_schema_of(kind)
        seen = {
            rule
            for row_kind, spec, old, _ in BREAKING
            if row_kind == kind
            for rule, _ in broken(
                schema, normalise_spec(kind, spec), None if old is None else normalise_spec(kind, old)
            )
        }
        assert seen == set(rules_of(schema))


def test_rules_name_reserved_words_as_kubernetes_escapes_them() -> None:
    for kind in SPEC_MODELS:
        for rule in rules_of(spec_schema_of(kind)):
            assert not re.search(rf"\.({RESERVED.replace(' ', '|')})\b", rule), rule


@pytest.mark.parametrize("name", ["quickstart", "development", "production", "edge"])
def test_the_examples_break_no_rule(name: str) -> None:
    spec = normalise_spec(CLUSTER_KIND, yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())["spec"])
    assert list(broken(spec_schema_of(CLUSTER_KIND), spec, spec)) == []


@settings(max_examples=80, suppress_health_check=SLOW, deadline=None)
@given(st.data())
def test_what_validation_accepts_breaks_no_rule(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(SPEC_MODELS)))
    document = data.draw(resources(kind, garbage=False))
    if validate(kind, document, trust=TRUST) == ():
        spec = normalise_spec(kind, document["spec"])
        assert list(broken(spec_schema_of(kind), spec, None)) == []
