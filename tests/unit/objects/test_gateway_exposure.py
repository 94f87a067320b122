"""How the gateway is reached, and what must not be reached with it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tapio_reconciler.core.model import Rendered, Served
from tapio_reconciler.core.rendering import render
from tapio_shared.facts import ServedResource
from tapio_shared.json import JsonObject, JsonValue, at, object_at, objects_at, str_at, strings_at
from tests.support.rendered import context_of, objects_of

ROUTES = ServedResource(
    group="gateway.networking.k8s.io", version="v1", kind="HTTPRoute", plural="httproutes", namespaced=True
)
POLICIES = {
    version: ServedResource(
        group="gateway.networking.k8s.io",
        version=version,
        kind="BackendTLSPolicy",
        plural="backendtlspolicies",
        namespaced=True,
    )
    for version in ("v1", "v1alpha3")
}
TLS: JsonObject = {"secretRef": {"name": "door"}}
ROUTE: JsonObject = {"type": "HTTPRoute", "host": "tapio.example.org", "parentRef": {"name": "front"}}
INGRESS: JsonObject = {"type": "Ingress", "host": "tapio.example.org"}


def rendering(gateway: JsonObject, *more: ServedResource) -> Rendered:
    spec: JsonObject = {"profile": "development", "gateway": gateway}
    document: JsonObject = {"metadata": {"name": "any", "namespace": "some"}, "spec": spec}
    context = context_of(document, monitoring=True)
    return render(replace(context, served=Served((*context.served.all(), ROUTES, *more), context.served.version)))


def objects(gateway: JsonObject, *more: ServedResource) -> dict[tuple[str, str], JsonObject]:
    found = objects_of(rendering(gateway, *more))
    return {(str_at(one, "kind"), str_at(one, "metadata", "name")): one for one in found}


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


_LOCAL = "any-gateway.some.svc:8443"


@pytest.mark.parametrize(
    ("gateway", "expected"),
    [
        pytest.param({}, f"http://{_LOCAL}", id="inside"),
        pytest.param({"tls": TLS}, f"https://{_LOCAL}", id="inside by TLS"),
        pytest.param({"exposure": {"host": "t.example.org"}}, f"http://{_LOCAL}", id="a host that nothing serves"),
        pytest.param(
            {"exposure": {"type": "LoadBalancer", "host": "t.example.org"}, "tls": TLS},
            f"https://{_LOCAL}",
            id="a load balancer has no host",
        ),
        pytest.param({"exposure": INGRESS}, "http://tapio.example.org", id="an Ingress"),
        pytest.param({"exposure": INGRESS, "tls": TLS}, "https://tapio.example.org", id="an Ingress by TLS"),
        pytest.param({"exposure": INGRESS, "tls": {}}, "https://tapio.example.org", id="an Ingress that ends TLS"),
        pytest.param({"exposure": ROUTE}, "http://tapio.example.org", id="a route"),
        pytest.param(
            {"exposure": {"type": "Ingress", "host": "*.example.org"}}, f"http://{_LOCAL}", id="a host for many"
        ),
    ],
)
def test_the_address_in_the_status_is_one_at_which_the_gateway_answers(gateway: JsonObject, expected: str) -> None:
    assert rendering(gateway).endpoints["gateway"] == expected


def test_an_ingress_that_is_not_served_gives_no_address() -> None:
    document: JsonObject = {
        "metadata": {"name": "any", "namespace": "some"},
        "spec": {"profile": "development", "gateway": {"exposure": INGRESS}},
    }
    context = context_of(document)
    served = tuple(one for one in context.served.all() if one.kind != "Ingress")
    found = render(replace(context, served=Served(served, context.served.version)))
    assert found.endpoints["gateway"] == f"http://{_LOCAL}"


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


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        pytest.param({}, [{"hosts": ["tapio.example.org"]}], id="its default, or one found by the host"),
        pytest.param({"networking.gke.io/managed-certificates": "tapio"}, None, id="one that GKE manages"),
        pytest.param({"ingress.gcp.kubernetes.io/pre-shared-cert": "tapio"}, None, id="one that GKE has been given"),
        pytest.param(
            {"alb.ingress.kubernetes.io/certificate-arn": "arn:aws:acm:eu-north-1:1:certificate/2"},
            [{"hosts": ["tapio.example.org"]}],
            id="one of AWS",
        ),
    ],
)
def test_an_ingress_ends_tls_with_a_certificate_of_the_controllers(
    annotations: JsonObject, expected: JsonValue
) -> None:
    found = objects({"exposure": {**INGRESS, "annotations": annotations}, "tls": {}})
    assert object_at(found["Ingress", "any-gateway"], "spec").get("tls") == expected
    assert not [port for port in objects_at(found["Service", "any-gateway"], "spec", "ports") if "appProtocol" in port]


def test_a_route_is_attached_to_its_gateway() -> None:
    parent: JsonObject = {"name": "front", "namespace": "edge", "sectionName": "https"}
    gateway: JsonObject = {"exposure": {"type": "HTTPRoute", "host": "tapio.example.org", "parentRef": parent}}
    spec = object_at(objects(gateway)["HTTPRoute", "any-gateway"], "spec")
    assert spec == {
        "parentRefs": [parent],
        "hostnames": ["tapio.example.org"],
        "rules": [{"backendRefs": [{"name": "any-gateway", "port": 8443}]}],
    }


@pytest.mark.parametrize("version", ["v1", "v1alpha3"])
@pytest.mark.parametrize(
    ("tls", "checked_by"),
    [
        pytest.param(TLS, {"wellKnownCACertificates": "System"}, id="a public authority"),
        pytest.param(
            {**TLS, "caConfigMapRef": {"name": "ours"}},
            {"caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ours"}]},
            id="an authority of one's own",
        ),
    ],
)
def test_a_gateway_is_told_to_speak_tls_and_what_to_check(
    tls: JsonObject, checked_by: JsonObject, version: str
) -> None:
    found = objects({"exposure": ROUTE, "tls": tls}, POLICIES[version])["BackendTLSPolicy", "any-gateway"]
    assert found["apiVersion"] == f"gateway.networking.k8s.io/{version}"
    assert found["spec"] == {
        "targetRefs": [{"group": "", "kind": "Service", "name": "any-gateway", "sectionName": "api"}],
        "validation": {"hostname": "tapio.example.org", **checked_by},
    }


@pytest.mark.parametrize(
    ("gateway", "served"),
    [
        pytest.param({"exposure": ROUTE}, [POLICIES["v1"]], id="plain HTTP"),
        pytest.param({"exposure": INGRESS, "tls": TLS}, [POLICIES["v1"]], id="no route"),
        pytest.param({"exposure": ROUTE, "tls": TLS}, [], id="not served"),
    ],
)
def test_else_there_is_no_policy(gateway: JsonObject, served: list[ServedResource]) -> None:
    assert not [one for one in objects(gateway, *served) if one[0] == "BackendTLSPolicy"]


def test_a_route_to_tls_that_nobody_can_be_told_of_is_said() -> None:
    notices = [one for one in rendering({"exposure": ROUTE, "tls": TLS}).notices if one.reason == "ApiNotServed"]
    assert [one.message for one in notices if "TLS" in one.message] == [
        "spec.gateway.tls makes the gateway speak TLS, and nothing tells the Gateway in front of it so: this "
        "Kubernetes cluster does not serve BackendTLSPolicy.gateway.networking.k8s.io. Install the Gateway API 1.4 or "
        "newer, or take spec.gateway.tls away and let the Gateway end TLS."
    ]
    assert not [one for one in rendering({"exposure": ROUTE}).notices if "TLS" in one.message]
    assert not [
        one for one in rendering({"exposure": ROUTE, "tls": TLS}, POLICIES["v1"]).notices if "TLS" in one.message
    ]


INGRESS_WORDS: JsonObject = {
    "alb.ingress.kubernetes.io/backend-protocol": "HTTPS",
    "haproxy.org/server-ssl": "true",
    "nginx.ingress.kubernetes.io/backend-protocol": "HTTPS",
    "nginx.org/ssl-services": "any-gateway",
}
SERVICE_WORDS: JsonObject = {
    "cloud.google.com/app-protocols": '{"api":"HTTPS"}',
    "projectcontour.io/upstream-protocol.tls": "api",
    "traefik.ingress.kubernetes.io/service.serversscheme": "https",
}
OWN: JsonObject = {"cert-manager.io/cluster-issuer": "public"}


@pytest.mark.parametrize(
    ("gateway", "service", "ingress", "protocol"),
    [
        pytest.param({"exposure": INGRESS}, {}, {}, None, id="plain behind an Ingress"),
        pytest.param(
            {"exposure": INGRESS, "tls": TLS}, SERVICE_WORDS, INGRESS_WORDS, "https", id="TLS behind an Ingress"
        ),
        pytest.param(
            {"exposure": {**INGRESS, "annotations": {**OWN, "haproxy.org/server-ssl": "false"}}, "tls": TLS},
            SERVICE_WORDS,
            {**INGRESS_WORDS, **OWN, "haproxy.org/server-ssl": "false"},
            "https",
            id="annotations of one's own go before",
        ),
        pytest.param({"exposure": ROUTE, "tls": TLS}, SERVICE_WORDS, None, "https", id="TLS behind a Gateway"),
        pytest.param(
            {"exposure": {"type": "LoadBalancer", "annotations": OWN}, "tls": TLS},
            OWN,
            None,
            None,
            id="a load balancer passes TLS on",
        ),
        pytest.param({"exposure": {"annotations": OWN}}, OWN, None, None, id="inside"),
    ],
)
def test_what_stands_in_front_is_told_how_to_speak(
    gateway: JsonObject, service: JsonObject, ingress: JsonObject | None, protocol: str | None
) -> None:
    found = objects(gateway, POLICIES["v1"])
    assert strings_at(found["Service", "any-gateway"], "metadata", "annotations") == service
    assert [one.get("appProtocol") for one in objects_at(found["Service", "any-gateway"], "spec", "ports")] == [
        protocol
    ]
    made = found.get(("Ingress", "any-gateway"))
    assert (None if made is None else strings_at(made, "metadata", "annotations")) == ingress


def test_a_route_has_the_annotations_that_are_meant_for_it() -> None:
    found = objects({"exposure": {**ROUTE, "annotations": OWN}})
    assert strings_at(found["HTTPRoute", "any-gateway"], "metadata", "annotations") == OWN
    assert at(found["Service", "any-gateway"], "metadata", "annotations") is None
