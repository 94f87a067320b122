"""The network policies allow what docs/network-flows.md draws, from both ends, and nothing else."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import pytest
from hypothesis import given

from tapio_reconciler.core.objects.context import Context
from tapio_shared.api.budget import BudgetTooSmall
from tapio_shared.api.operator_config import OperatorConfig
from tapio_shared.json import JsonObject, object_at, objects_at, str_at
from tests.support.network_graph import ANYBODY, Edge, PodKind, allowed, pod_kinds, selecting
from tests.support.planned_world import example
from tests.support.random_specs import cluster, quick, specs
from tests.support.rendered import context_of, objects_of, rendered_in
from tests.unit.objects.golden import EXAMPLES

DOCUMENT = Path(__file__).parents[3] / "docs" / "network-flows.md"
TYPES = frozenset({"ebpf", "systemd", "cni", "kubernetes", "etcd"})

WHERE: Mapping[str, Callable[[Context], bool]] = {
    "always": lambda _: True,
    "own NATS": lambda ctx: ctx.effective.spec.nats.external is None,
    "external NATS": lambda ctx: ctx.effective.spec.nats.external is not None,
    "several NATS servers": lambda ctx: ctx.effective.nats_servers > 1,
    "Neo4j": lambda ctx: not ctx.effective.embedded,
    "several Neo4j members": lambda ctx: ctx.effective.neo4j_members > 1,
    "Neo4j plugins": lambda ctx: bool(ctx.effective.neo4j.plugins),
    "embedded graph": lambda ctx: ctx.effective.embedded,
    "OIDC": lambda ctx: ctx.effective.spec.gateway.auth is not None,
    "OTLP endpoint": lambda ctx: ctx.effective.spec.monitoring.otlp_endpoint is not None,
    "proxy": lambda ctx: ctx.config.network.proxy.url is not None,
    "proxy and Neo4j plugins": lambda ctx: (
        ctx.config.network.proxy.url is not None and bool(ctx.effective.neo4j.plugins)
    ),
    "Prometheus": lambda ctx: ctx.effective.prometheus,
    "Prometheus and Neo4j Enterprise": lambda ctx: (
        ctx.effective.prometheus and ctx.effective.neo4j_edition == "enterprise"
    ),
}
DEFAULT_PORTS = {"nats": 4222, "tls": 4222, "ws": 80, "wss": 443, "http": 80, "https": 443}


def _issuer(ctx: Context) -> list[str | None]:
    auth = ctx.effective.spec.gateway.auth
    return [] if auth is None or auth.oidc is None else [auth.oidc.issuer_url, auth.oidc.jwks_url]


def _external(ctx: Context) -> list[str | None]:
    external = ctx.effective.spec.nats.external
    return [] if external is None else [*external.url.split(",")]


URLS: Mapping[str, Callable[[Context], list[str | None]]] = {
    "nats.external.url": _external,
    "collectors.etcd.endpoints": lambda ctx: [
        url for one in ctx.effective.collectors if one.type == "etcd" for url in one.endpoints
    ],
    "gateway.auth.oidc": _issuer,
    "network.proxy.url": lambda ctx: [ctx.config.network.proxy.url],
    "monitoring.otlpEndpoint": lambda ctx: [ctx.effective.spec.monitoring.otlp_endpoint],
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    ports: str
    where: str


def drawn() -> list[Row]:
    """The table of the document."""
    lines = re.findall(r"^\| (.+) \|$", DOCUMENT.read_text(), re.MULTILINE)
    cells = [[cell.strip() for cell in line.split(" | ")] for line in lines[1:]]
    return [Row(tuple(one[0].split(", ")), tuple(one[1].split(", ")), one[2], one[3]) for one in cells]


ROWS = drawn()


def ports_of(row: Row, ctx: Context) -> set[str]:
    if row.ports in URLS:
        urls = [urlsplit(url) for url in URLS[row.ports](ctx) if url]
        return {f"{url.port or DEFAULT_PORTS[url.scheme]}/TCP" for url in urls}
    protocols = ("TCP", "UDP") if row.ports.startswith("53,") else ("TCP",)
    return {f"{port}/{protocol}" for port in row.ports.split(", ") for protocol in protocols}


def expected(ctx: Context, pods: list[PodKind]) -> set[Edge]:
    """The edges that the table draws for these pods."""

    def of(words: tuple[str, ...]) -> list[str]:
        if words == (ANYBODY,):
            return [ANYBODY]
        return [pod.name for pod in pods if words == ("every pod",) or _type(pod) in words]

    return {
        Edge(source, target, port)
        for row in ROWS
        if WHERE[row.where](ctx)
        for source in of(row.sources)
        for target in of(row.targets)
        for port in ports_of(row, ctx)
    }


def _type(pod: PodKind) -> str:
    """The component of the table: a collector is named by its type, whatever TapioCollector it comes from."""
    name = dict(pod.labels)["app.kubernetes.io/name"].removeprefix("tapio-")
    return name if name in TYPES else pod.name


def check(document: JsonObject, config: OperatorConfig | None = None) -> None:
    """The policies of a TapioCluster allow what the table says; each of its pods is subject to exactly one."""
    ctx = context_of(document, config=config)
    objects = objects_of(rendered_in(ctx))
    policies = [one for one in objects if str_at(one, "kind") == "NetworkPolicy"]
    pods = pod_kinds(objects)
    if not ctx.effective.spec.network_policy.enabled:
        assert policies == []
        return
    for pod in pods:
        assert len(selecting(policies, pod)) == 1, f"pods of {pod.name} need one PodGroup in their Component"
    assert all(sorted(_types(one)) == ["Egress", "Ingress"] for one in policies)
    edges, one_sided = allowed(objects)
    assert not one_sided
    assert edges == expected(ctx, pods)


def _types(policy: JsonObject) -> list[str]:
    spec = policy["spec"]
    assert isinstance(spec, dict)
    types = spec["policyTypes"]
    assert isinstance(types, list)
    return [str(one) for one in types]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_has_the_drawn_flows(name: str) -> None:
    check(example(name))


def _with_flows_of_ours_alone(spec: JsonObject) -> JsonObject:
    """`spec` without the rules that a person adds, which the table can't know."""
    policy = {name: value for name, value in object_at(spec, "networkPolicy").items() if name == "enabled"}
    return {**spec, "networkPolicy": policy}


@quick
@given(specs())
def test_every_spec_has_the_drawn_flows(spec: JsonObject) -> None:
    try:
        check(cluster(_with_flows_of_ours_alone(spec)))
    except BudgetTooSmall:
        return


FLOWS_OF_THEIR_OWN = [
    pytest.param({"nats": {"external": {"url": "tls://a.example:4443,tls://b.example"}}}, id="external NATS"),
    pytest.param({"monitoring": {"otlpEndpoint": "http://otel.example:4318"}}, id="an OTLP endpoint"),
    pytest.param({"monitoring": {"otlpEndpoint": "https://otel.example"}}, id="an OTLP endpoint without a port"),
    pytest.param(
        {
            "gateway": {
                "auth": {
                    "oidc": {
                        "issuerURL": "https://id.example:8444/realms/a",
                        "audiences": ["tapio"],
                        "jwksURL": "https://keys.example/jwks",
                    }
                }
            }
        },
        id="an issuer with keys elsewhere",
    ),
    pytest.param(
        {"intelligence": {"neo4j": {"replicas": 3, "acceptLicenseAgreement": "yes", "plugins": ["apoc"]}}},
        id="Neo4j members with plugins",
    ),
    pytest.param(
        {
            "collectors": {
                "etcd": {
                    "endpoints": ["https://[2001:db8::1]:2379", "https://10.0.0.2:12379"],
                    "credentialsSecretRef": {"name": "etcd"},
                }
            }
        },
        id="etcd by IPv6",
    ),
    pytest.param({"profile": "edge", "gateway": {"enabled": True}}, id="a gateway in front of the embedded graph"),
]


@pytest.mark.parametrize("spec", FLOWS_OF_THEIR_OWN)
def test_a_spec_that_names_other_addresses_has_the_drawn_flows(spec: JsonObject) -> None:
    check(cluster(spec))


PROXY = OperatorConfig.from_document({"network": {"proxy": {"url": "http://proxy.example:3128"}}})


@pytest.mark.parametrize("spec", FLOWS_OF_THEIR_OWN)
def test_a_proxy_is_reached_by_what_uses_it(spec: JsonObject) -> None:
    check(cluster(spec), PROXY)


def test_every_row_of_the_table_is_seen_somewhere() -> None:
    specs_seen: list[JsonObject] = [example("production")]
    for row in FLOWS_OF_THEIR_OWN:
        specs_seen.append(cluster(cast("JsonObject", copy.deepcopy(row.values[0]))))
    unseen = set(ROWS)
    for document in specs_seen:
        ctx = context_of(document, config=PROXY)
        edges, _ = allowed(objects_of(rendered_in(ctx)))
        ports = {edge.port for edge in edges}
        unseen -= {row for row in unseen if WHERE[row.where](ctx) and ports_of(row, ctx) & ports}
    assert not unseen


def test_a_flow_that_one_side_forgets_is_found() -> None:
    objects = objects_of(rendered_in(context_of(example("production"))))
    for one in objects:
        if str_at(one, "kind") == "NetworkPolicy" and str_at(one, "metadata", "name") == "production-neo4j-flows":
            spec = one["spec"]
            assert isinstance(spec, dict)
            spec["ingress"] = []
    _, one_sided = allowed(objects)
    assert one_sided == {
        "only correlation allows neo4j on 7687/TCP",
        "only gateway allows neo4j on 7687/TCP",
    }


def test_extra_rules_are_part_of_every_policy() -> None:
    ingress: JsonObject = {"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}
    egress: JsonObject = {"to": [{"ipBlock": {"cidr": "2001:db8::/32"}}], "ports": [{"port": 443, "protocol": "TCP"}]}
    spec: JsonObject = {"networkPolicy": {"extraIngress": [ingress], "extraEgress": [egress]}}
    objects = objects_of(rendered_in(context_of(cluster(spec))))
    policies = [one for one in objects if str_at(one, "kind") == "NetworkPolicy"]
    assert len(policies) == len({(pod.namespace, pod.name) for pod in pod_kinds(objects)})
    for one in policies:
        assert objects_at(one, "spec", "ingress")[-1] == ingress
        assert objects_at(one, "spec", "egress")[-1] == egress
