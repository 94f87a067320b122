"""How the gateway is reached, and what must not be reached with it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tapio_reconciler.core.model import Served
from tapio_reconciler.core.rendering import render
from tapio_shared.facts import ServedResource
from tapio_shared.json import JsonObject, JsonValue, object_at, objects_at, str_at
from tests.support.rendered import context_of, objects_of

ROUTES = ServedResource(
    group="gateway.networking.k8s.io", version="v1", kind="HTTPRoute", plural="httproutes", namespaced=True
)


def objects(gateway: JsonObject) -> dict[tuple[str, str], JsonObject]:
    spec: JsonObject = {"profile": "development", "gateway": gateway}
    document: JsonObject = {"metadata": {"name": "any", "namespace": "some"}, "spec": spec}
    context = context_of(document, monitoring=True)
    context = replace(context, served=Served((*context.served.all(), ROUTES), context.served.version))
    return {(str_at(one, "kind"), str_at(one, "metadata", "name")): one for one in objects_of(render(context))}


@pytest.mark.parametrize(
    ("gateway", "expected"),
    [
        pytest.param({}, {"type": "ClusterIP"}, id="inside"),
        pytest.param({"exposure": {"type": "LoadBalancer"}}, {"type": "LoadBalancer"}, id="load balancer"),
        pytest.param(
            {"exposure": {"type": "LoadBalancer", "className": "internal"}},
            {"type": "LoadBalancer", "loadBalancerClass": "internal"},
            id="of a class",
        ),
        pytest.param(
            {"exposure": {"type": "LoadBalancer"}, "rateLimit": {"key": "address"}},
            {"type": "LoadBalancer", "externalTrafficPolicy": "Local"},
            id="callers keep their addresses",
        ),
        pytest.param({"rateLimit": {"key": "address"}}, {"type": "ClusterIP"}, id="inside they have them anyway"),
    ],
)
def test_the_service(gateway: JsonObject, expected: JsonObject) -> None:
    spec = object_at(objects(gateway)["Service", "any-gateway"], "spec")
    assert {name: value for name, value in spec.items() if name not in {"ports", "selector"}} == expected
    assert [str_at(port, "name") for port in objects_at(spec, "ports")] == ["api"], "no metrics for the outside"
    metrics = object_at(objects(gateway)["Service", "any-gateway-metrics"], "spec")
    assert [str_at(port, "name") for port in objects_at(metrics, "ports")] == ["metrics"]


def test_an_ingress_ends_tls_with_the_gateways_own_certificate() -> None:
    gateway: JsonObject = {
        "exposure": {"type": "Ingress", "host": "tapio.example.org", "className": "nginx"},
        "tls": {"secretRef": {"name": "door"}},
    }
    spec = object_at(objects(gateway)["Ingress", "any-gateway"], "spec")
    backend: JsonObject = {"service": {"name": "any-gateway", "port": {"name": "api"}}}
    path: JsonValue = {"path": "/", "pathType": "Prefix", "backend": backend}
    assert spec == {
        "ingressClassName": "nginx",
        "tls": [{"hosts": ["tapio.example.org"], "secretName": "door"}],
        "rules": [{"host": "tapio.example.org", "http": {"paths": [path]}}],
    }


def test_a_route_is_attached_to_its_gateway() -> None:
    parent: JsonObject = {"name": "front", "namespace": "edge", "sectionName": "https"}
    gateway: JsonObject = {"exposure": {"type": "HTTPRoute", "host": "tapio.example.org", "parentRef": parent}}
    spec = object_at(objects(gateway)["HTTPRoute", "any-gateway"], "spec")
    assert spec == {
        "parentRefs": [parent],
        "hostnames": ["tapio.example.org"],
        "rules": [{"backendRefs": [{"name": "any-gateway", "port": 8443}]}],
    }
