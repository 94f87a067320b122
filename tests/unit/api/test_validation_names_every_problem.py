"""All that is wrong is answered at once: path, value, what is allowed; and nothing ever raises."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tapio_shared.api.names import CLUSTER_KIND, COLLECTOR_KIND, INTELLIGENCE_KIND
from tapio_shared.api.normalise import normalise_spec
from tapio_shared.api.problems import MAX_PROBLEMS, MAX_SHOWN, Problem, one_answer
from tapio_shared.api.reasons import Reason
from tapio_shared.api.specs import SPEC_MODELS
from tapio_shared.api.trust import Trust
from tapio_shared.api.validation import (
    validate,
    validate_cluster,
    validate_collector,
    validate_intelligence,
)
from tapio_shared.json import JsonObject, JsonValue
from tests.support.api_documents import ANY_JSON, SLOW, resources

ROOT = Path(__file__).parents[3]
TRUST = Trust()
EMPTY: JsonObject = {}


def cluster(spec: JsonValue, namespace: str = "tapio-system", name: str = "production") -> JsonObject:
    return {"kind": CLUSTER_KIND, "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def messages(problems: tuple[Problem, ...]) -> list[str]:
    return [problem.message for problem in problems]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({"profle": "edge"}, ['spec.profle is "edge", but there is no such field; did you mean profile?'],
                     id="a typo"),
        pytest.param({"high_availability": True},
                     ["spec.high_availability is true, but there is no such field; did you mean highAvailability?"],
                     id="a Python name"),
        pytest.param({"collectors": {"dns": True}},
                     ["spec.collectors.dns is true, but there is no such field; allowed here: "
                      "all, cni, ebpf, etcd, kubernetes, systemd."],
                     id="an unknown collector"),
        pytest.param({"collectors": {"ebpf": "false"}},
                     ['spec.collectors.ebpf is "false"; it must be true, false or an object.'],
                     id="a text for a boolean"),
        pytest.param({"profile": "prod"},
                     ['spec.profile is "prod"; it must be one of development, production, edge.'], id="a wrong word"),
        pytest.param({"version": 1.0}, ["spec.version is 1.0; it must be a text: write it in quotes."],
                     id="a version that YAML read as a number"),
        pytest.param({"intelligence": {"neo4j": {"acceptLicenseAgreement": True}}},
                     ['spec.intelligence.neo4j.acceptLicenseAgreement is true; it must be one of "", yes, eval; '
                      "in quotes, since YAML reads a bare yes as true."],
                     id="yes that YAML read as true"),
        pytest.param({"nats": {"storage": "10GB"}},
                     ['spec.nats.storage is "10GB"; it must be a Kubernetes quantity that is not negative, such as '
                      '500m, 2 or "10Gi".'],
                     id="no quantity"),
        pytest.param({"nats": {"storage": 0.5}},
                     ["spec.nats.storage is 0.5; it must be a Kubernetes quantity that is not negative, such as "
                      '500m, 2 or "10Gi".'],
                     id="a fraction without quotes"),
        pytest.param({"nats": {"storage": "500m"}},
                     ['spec.nats.storage is "500m"; it must be a size of at least one byte, such as "10Gi".'],
                     id="half a byte"),
        pytest.param({"nats": {"replicas": 2}},
                     ["spec.nats.replicas is 2; it must be an odd number, so that the servers can vote: 1, 3, 5, 7 or "
                      "9."],
                     id="an even number of servers"),
        pytest.param({"nats": {"replicas": "3"}},
                     ['spec.nats.replicas is "3"; it must be a whole number between 1 and 9.'],
                     id="a number in quotes"),
        pytest.param({"nats": {"observations": {"maxAge": "1d"}}},
                     ['spec.nats.observations.maxAge is "1d"; it must be a duration such as 30s, 15m or 1h30m.'],
                     id="no duration"),
        pytest.param({"monitoring": {"prometheus": {"interval": "1s1h"}}},
                     ['spec.monitoring.prometheus.interval is "1s1h"; it must be a duration such as 30s, 15m or '
                      "1h30m."],
                     id="units in an order that Prometheus refuses"),
        pytest.param({"nats": {"storage": "1Gi", "observations": {"maxBytes": "2Gi"}}},
                     ['spec.nats.observations.maxBytes is "2Gi"; it must be at most 95 % of nats.storage, 1Gi, '
                      "which must hold it."],
                     id="a stream larger than its volume"),
        pytest.param({"profile": "edge", "nats": {"observations": {"maxBytes": "20Gi"}}},
                     ['spec.nats.observations.maxBytes is "20Gi"; it must be at most 95 % of the nats.storage of the '
                      "profile edge, 1Gi, which must hold it."],
                     id="a stream larger than the profile's volume"),
        pytest.param({"nats": {"observations": {"maxBytes": "20Gi"}}},
                     ['spec.nats.observations.maxBytes is "20Gi"; it must be at most 95 % of the nats.storage of the '
                      "profile production, 20Gi, which must hold it."],
                     id="a stream that fills the volume of the profile that is not named"),
        pytest.param({"profile": "edge", "nats": {"observations": {"maxBytes": "20Gi"},
                                                  "external": {"url": "nats://elsewhere:4222"}}}, [],
                     id="a stream of somebody else's NATS"),
        pytest.param({"nats": {"storage": "10E"}},
                     ['spec.nats.storage is "10E"; it must be a size of less than 8Ei, such as "10Gi".'],
                     id="more bytes than can be counted"),
        pytest.param({"nats": {"config": {"accounts": {'a"b': "secret"}, "limits": [{"max": 2**63}], "x": 1e300}}},
                     ['spec.nats.config.accounts has the key "a\\"b"; a key must be without quotes, backslashes and '
                      "line ends, which NATS can't read.",
                      "spec.nats.config.limits[0].max is 9223372036854775808; it must be a number between "
                      "-9223372036854775807 and 9223372036854775807.",
                      "spec.nats.config.x is a very large number; it must be a number between -9223372036854775807 and "
                      "9223372036854775807."],
                     id="a configuration that NATS can't read"),
        pytest.param({"nats": {"enabled": False}},
                     ["spec.nats.enabled is false; it must be true or absent, unless nats.external names another "
                      "NATS."],
                     id="no backbone at all"),
        pytest.param({"nats": {"external": {"url": "nats://user:secret@host:4222"}}},
                     ['spec.nats.external.url is "nats://***@host:4222"; it must be a nats:// or tls:// address such '
                      "as nats://nats.example.com:4222, or several with commas between, without credentials."],
                     id="credentials in an address are refused and not repeated"),
        pytest.param({"highAvailability": True, "lightweight": True},
                     ["spec.highAvailability and spec.lightweight are both true; at most one of them may be."],
                     id="large and small at once"),
        pytest.param({"intelligence": {"embedded": True, "neo4j": {}}},
                     ["spec.intelligence.embedded is true and spec.intelligence.neo4j is set; they exclude each "
                      "other, so remove one of them."],
                     id="two graph stores"),
        pytest.param({"intelligence": {"neo4j": {"enabled": False}}},
                     ["spec.intelligence.neo4j.enabled is false; it must be true or absent while correlation runs, "
                      "which needs a graph store (or set embedded instead of neo4j)."],
                     id="no graph store"),
        pytest.param({"intelligence": {"neo4j": {"backup": {"enabled": True}}}},
                     ["spec.intelligence.neo4j.backup.schedule is not set; it must be set when backup.enabled is "
                      'true, such as "0 2 * * *".'],
                     id="backups at no time"),
        pytest.param({"intelligence": {"neo4j": {"backup": {"schedule": "0 25 * * *"}}}},
                     ['spec.intelligence.neo4j.backup.schedule is "0 25 * * *"; it must be a cron schedule such as '
                      "\"0 2 * * *\"; its hour '25' is not within 0-23."],
                     id="a schedule that never comes"),
        pytest.param({"resources": {"requests": {"cpu": "4", "gpu": 1}, "limits": {"cpu": "2000m"}}},
                     ["spec.resources.requests.gpu is 1; it must be absent, since the budget shares out cpu and "
                      "memory alone.",
                      'spec.resources.requests.cpu is "4"; it must be at most the limit, 2000m.'],
                     id="a budget"),
        pytest.param({"nats": {"resources": {"requests": {"foo": 1, "nvidia.com/gpu": 1}, "limits": {"cores": 2}}}},
                     ['spec.nats.resources.requests has the key "foo"; a key must be cpu, memory, ephemeral-storage, '
                      "hugepages-SIZE, or have a prefix as nvidia.com/gpu has.",
                      'spec.nats.resources.limits has the key "cores"; a key must be cpu, memory, ephemeral-storage, '
                      "hugepages-SIZE, or have a prefix as nvidia.com/gpu has."],
                     id="resources that no container can ask for"),
        pytest.param({"intelligence": {"neo4j": {"resources": {
                        "requests": {"memory": "1Gi"}, "limits": {"memory": 0}}}}},
                     ['spec.intelligence.neo4j.resources.requests.memory is "1Gi"; it must be at most the limit, 0.',
                      "spec.intelligence.neo4j.resources.limits.memory is 0; it must be at least 1Gi, or Neo4j can't "
                      "start."],
                     id="no memory for Neo4j"),
        pytest.param({"inheritedMetadata": {"labels": {"tapio.io/cluster": "x", "a b": "c"}}},
                     ['spec.inheritedMetadata.labels has the key "a b"; a key must be a label key such as team or '
                      "example.com/team, at most 63 characters after the /.",
                      'spec.inheritedMetadata.labels["tapio.io/cluster"] is "x"; it must be absent, since the operator '
                      "sets this key itself."],
                     id="labels"),
        pytest.param({"gateway": {"exposure": {"type": "HTTPRoute"}, "auth": {"rules": [
                        {"claim": "groups", "values": ["ops"]}]}}},
                     ["spec.gateway.exposure.host is not set; it must be set when exposure.type is HTTPRoute.",
                      "spec.gateway.exposure.parentRef is not set; it must be set when exposure.type is HTTPRoute.",
                      "spec.gateway.auth.oidc is not set; it must be set when auth.rules is, since rules look at a "
                      "token's claims."],
                     id="a gateway"),
        pytest.param({"gateway": {"auth": {"oidc": {
                        "issuerURL": "https://id.example.com/a?b", "audiences": ["t"]}}}},
                     ['spec.gateway.auth.oidc.issuerURL is "https://id.example.com/a?b"; it must be without ? and #, '
                      "as tokens name their issuer."],
                     id="an issuer with a query"),
        pytest.param({"gateway": {"exposure": {"type": "Ingress", "host": "10.0.0.1"}}},
                     ['spec.gateway.exposure.host is "10.0.0.1"; it must be a host name such as tapio.example.com, and '
                      "no IP address."],
                     id="an address for a host"),
        pytest.param({"gateway": {"tls": {"secretRef": {"name": "t"}}, "exposure": {
                        "type": "HTTPRoute", "host": "*.example.com", "parentRef": {"name": "public"}}}},
                     ['spec.gateway.exposure.host is "*.example.com"; it must be one host, without *, while '
                      "tls.secretRef is set."],
                     id="a certificate of any host behind an HTTPRoute"),
        pytest.param({"gateway": {"tls": {}, "exposure": {
                        "type": "HTTPRoute", "host": "*.example.com",
                        "parentRef": {"name": "public", "sectionName": "https"}}}}, [],
                     id="an HTTPRoute of any host"),
        pytest.param({"gateway": {"tls": {}, "exposure": {
                        "type": "HTTPRoute", "host": "a.example.com", "parentRef": {"name": "public"}}}},
                     ["spec.gateway.exposure.parentRef.sectionName is not set; it must be the listener that ends TLS "
                      "while tls has no secretRef: a route on all of them is served by HTTP too."],
                     id="TLS that some listener of a Gateway may end"),
        pytest.param({"nats": {"podTemplate": {"spec": {"containers": None, "volumes": None}}},
                      "gateway": {"podTemplate": {"spec": {
                          "containers": [{"$patch": "replace"}, {"name": "x"}], "volumes": [{"$patch": "replace"}]}}},
                      "intelligence": {
                          "neo4j": {"podTemplate": {"spec": {"containers": [{"name": "neo4j", "$patch": "delete"}]}}},
                          "correlation": {"podTemplate": {"spec": {"containers": [
                              {"name": "helper", "$patch": "delete"}]}}}}},
                     ['spec.intelligence.neo4j.podTemplate.spec.containers[0]["$patch"] is "delete"; it must be '
                      "absent, since neo4j is the component's own container.",
                      "spec.nats.podTemplate.spec.containers is not set; it must be a list, or absent, since the "
                      "component's own container is among them.",
                      "spec.nats.podTemplate.spec.volumes is not set; it must be a list, or absent, since the "
                      "component's own containers mount them.",
                      'spec.gateway.podTemplate.spec.containers[0]["$patch"] is "replace"; it must be absent, or '
                      "delete for one entry, since the component's own container is among them.",
                      'spec.gateway.podTemplate.spec.volumes[0]["$patch"] is "replace"; it must be absent, or delete '
                      "for one entry, since the component's own containers mount them."],
                     id="overlays that leave no container"),
        pytest.param({"profile": ["edge"], "intelligence": {"correlation": {"replicas": 3}}},
                     ["spec.profile is a list of 1; it must be one of development, production, edge."],
                     id="a profile that is none, beside what depends on it"),
        pytest.param({"nats": {"observations": {"maxAge": "0s"}},
                      "monitoring": {"prometheus": {"interval": "999ms"}}},
                     ['spec.nats.observations.maxAge is "0s"; it must be between 1s and 876000h, a hundred years.',
                      'spec.monitoring.prometheus.interval is "999ms"; it must be between 1s and 876000h, a hundred '
                      "years."],
                     id="no time at all"),
        pytest.param({"nats": {"observations": {"maxAge": "876000h1s"}}},
                     ['spec.nats.observations.maxAge is "876000h1s"; it must be between 1s and 876000h, a hundred '
                      "years."],
                     id="more time than NATS can count"),
        pytest.param({"nats": {"observations": {"maxAge": "1s"}},
                      "monitoring": {"prometheus": {"interval": "876000h"}}}, [], id="the shortest and the longest"),
        pytest.param({"gateway": {"exposure": {"annotations": {"tapio.io/adopt": "true", "a.b/c": "d"}}},
                      "monitoring": {"prometheus": {"labels": {"app.kubernetes.io/part-of": "x", "release": "main"}},
                                     "grafana": {"labels": {"tapio.io/cluster": "y"}}}},
                     ['spec.gateway.exposure.annotations["tapio.io/adopt"] is "true"; it must be absent, since the '
                      "operator sets this key itself.",
                      'spec.monitoring.prometheus.labels["app.kubernetes.io/part-of"] is "x"; it must be absent, since '
                      "the operator sets this key itself.",
                      'spec.monitoring.grafana.labels["tapio.io/cluster"] is "y"; it must be absent, since the '
                      "operator sets this key itself."],
                     id="keys of the operator's own on what others look at"),
        pytest.param({"networkPolicy": {
                        "extraEgress": [
                            {"to": [{"ipBlock": {"cidr": "10.0.0.0"}}, {"ipBlock": {"cidr": "10.0.0.300/8"}},
                                    {"ipBlock": {"cidr": "fd00::/8", "except": ["10.0.0.0/8", "fd00::/8", "x"]}},
                                    {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
                                    {"ipBlock": {"cidr": "10.0.0.7/8"}}],
                             "ports": [{"port": 70000}, {"port": "web", "endPort": 3}, {"port": 5, "endPort": 4},
                                       {"port": 5, "endPort": 6, "protocol": "ICMP"}, {"protocol": "UDP"}]}],
                        "extraIngress": [{"from": [EMPTY, {"ipBlock": {"cidr": "::/0"}, "podSelector": EMPTY},
                                                   {"podSelector": EMPTY, "namespaceSelector": EMPTY}]}, EMPTY]}},
                     ["spec.networkPolicy.extraIngress[0].from[0] must hold ipBlock alone, or namespaceSelector and "
                      "podSelector, but holds nothing.",
                      "spec.networkPolicy.extraIngress[0].from[1] must hold ipBlock alone, or namespaceSelector and "
                      "podSelector, but holds ipBlock and podSelector.",
                      'spec.networkPolicy.extraEgress[0].to[0].ipBlock.cidr is "10.0.0.0"; it must be a block of '
                      "addresses with nothing but zeros behind its mask, such as 10.0.0.0/8 or fd00::/8.",
                      'spec.networkPolicy.extraEgress[0].to[1].ipBlock.cidr is "10.0.0.300/8"; it must be a block of '
                      "addresses with nothing but zeros behind its mask, such as 10.0.0.0/8 or fd00::/8.",
                      'spec.networkPolicy.extraEgress[0].to[2].ipBlock.except[0] is "10.0.0.0/8"; it must be a block '
                      "of addresses within fd00::/8, and smaller.",
                      'spec.networkPolicy.extraEgress[0].to[2].ipBlock.except[1] is "fd00::/8"; it must be a block of '
                      "addresses within fd00::/8, and smaller.",
                      'spec.networkPolicy.extraEgress[0].to[2].ipBlock.except[2] is "x"; it must be a block of '
                      "addresses within fd00::/8, and smaller.",
                      'spec.networkPolicy.extraEgress[0].to[4].ipBlock.cidr is "10.0.0.7/8"; it must be a block of '
                      "addresses with nothing but zeros behind its mask, such as 10.0.0.0/8 or fd00::/8.",
                      "spec.networkPolicy.extraEgress[0].ports[0].port is 70000; it must be a port between 1 and "
                      "65535, or its name.",
                      "spec.networkPolicy.extraEgress[0].ports[1].endPort is 3; it must be absent unless port is a "
                      "number.",
                      "spec.networkPolicy.extraEgress[0].ports[2].endPort is 4; it must be between port, 5, and 65535.",
                      'spec.networkPolicy.extraEgress[0].ports[3].protocol is "ICMP"; it must be one of TCP, UDP, '
                      "SCTP."],
                     id="rules that no NetworkPolicy may have"),
        pytest.param({"gateway": {"tls": {}}},
                     ["spec.gateway.tls.secretRef is not set; it must be set, unless exposure.type is Ingress or "
                      "HTTPRoute, which can end TLS themselves."],
                     id="TLS with no certificate inside"),
        pytest.param({"gateway": {"tls": {"caConfigMapRef": {"name": "c"}}, "exposure": {"type": "LoadBalancer"}}},
                     ["spec.gateway.tls.secretRef is not set; it must be set, unless exposure.type is Ingress or "
                      "HTTPRoute, which can end TLS themselves.",
                      "spec.gateway.tls.caConfigMapRef is an object; it must be absent while tls.secretRef is."],
                     id="TLS with no certificate behind a load balancer, and an authority for it"),
        pytest.param({"gateway": {"tls": {}, "exposure": {"type": "Ingress", "host": "a.example.com"}}}, [],
                     id="TLS that an Ingress ends"),
        pytest.param({"gateway": {"tls": {"secretRef": {"name": "t"}}, "exposure": {
                        "type": "Ingress", "host": "*.example.com"}}}, [],
                     id="an Ingress of any host"),
        pytest.param({"gateway": {"exposure": {"type": "LoadBalancer", "className": "service.k8s.aws/nlb"}}}, [],
                     id="a load balancer's class with a prefix"),
        pytest.param({"gateway": {"exposure": {"type": "LoadBalancer", "className": f"a.{'b' * 63}"}}},
                     [f'spec.gateway.exposure.className is "a.{"b" * 63}"; it must be the class of a load balancer, '
                      "such as internal or service.k8s.aws/nlb, at most 63 characters after the /."],
                     id="no class of a load balancer"),
        pytest.param({"gateway": {"exposure": {"type": "Ingress", "host": "a.b", "className": "k8s.aws/nlb"}}},
                     ['spec.gateway.exposure.className is "k8s.aws/nlb"; it must be the name of an IngressClass, a '
                      "Kubernetes name: at most 253 lower-case letters, digits, - and ., with a letter or digit at "
                      "both ends."],
                     id="no IngressClass"),
        pytest.param({"gateway": {"exposure": {"type": "LoadBalancer", "className": "a b"}}},
                     ['spec.gateway.exposure.className is "a b"; it must be the name of an IngressClass, or the class '
                      "of a load balancer such as internal or service.k8s.aws/nlb, at most 63 characters after the /."],
                     id="no class at all"),
        pytest.param({"gateway": {"auth": {"oidc": {"issuerURL": "http://login", "audiences": []}}}},
                     ['spec.gateway.auth.oidc.issuerURL is "http://login"; it must be an https:// address such as '
                      "https://login.example.com, without credentials.",
                      "spec.gateway.auth.oidc.audiences is a list of 0; it must be a list of at least 1 entries."],
                     id="OIDC"),
        pytest.param({"gateway": {"auth": {"oidc": {"issuerURL": "https://u:p@login", "audiences": [""]},
                                           "rules": [{"claim": "groups", "values": [""]}]}},
                      "monitoring": {"otlpEndpoint": "http://user:pass@otel:4318"},
                      "collectors": {"etcd": {"endpoints": ["https://u:p@etcd:2379"]}}},
                     ['spec.collectors.etcd.endpoints[0] is "https://***@etcd:2379"; it must be an etcd endpoint such '
                      "as https://10.0.0.1:2379, without credentials.",
                      'spec.gateway.auth.oidc.issuerURL is "https://***@login"; it must be an https:// address such as '
                      "https://login.example.com, without credentials.",
                      'spec.gateway.auth.oidc.audiences[0] is ""; it must be a text of at least one character.',
                      'spec.gateway.auth.rules[0].values[0] is ""; it must be a text of at least one character.',
                      'spec.monitoring.otlpEndpoint is "http://***@otel:4318"; it must be an http:// or https:// '
                      "address such as http://otel.tracing.svc:4318, without credentials."],
                     id="credentials in addresses and empty texts"),
        pytest.param({"collectors": {"kubernetes": {"namespaces": []}}},
                     ["spec.collectors.kubernetes.namespaces is a list of 0; it must be a list of at least 1 entries."],
                     id="no namespace at all"),
        pytest.param({"intelligence": {"neo4j": {"config": {"server.bolt.enabled": False}}}},
                     ['spec.intelligence.neo4j.config["server.bolt.enabled"] is false; it must be absent, since the '
                      "operator decides this setting itself."],
                     id="a graph that nothing reaches"),
        pytest.param({"scheduling": {"tolerations": [{"key": "a", "effect": "NoSchedule", "tolerationSeconds": 5}]}},
                     ["spec.scheduling.tolerations[0].tolerationSeconds is 5; it must be absent unless effect is "
                      "NoExecute."],
                     id="a toleration for a while of what evicts nobody"),
        pytest.param({"gateway": {"tls": {"secretRef": {"name": "tls", "namespace": "other"}}}},
                     ['spec.gateway.tls.secretRef.namespace is "other", but there is no such field; did you '
                      "mean name?"],
                     id="a Secret of another namespace"),
        pytest.param({"gateway": {"autoscaling": {"min": 3, "max": 2}}},
                     ["spec.gateway.autoscaling.max is 2; it must be at least autoscaling.min, 3."], id="bounds"),
        pytest.param({"nats": {"autoscaling": EMPTY}, "intelligence": {"neo4j": {"autoscaling": EMPTY}},
                      "collectors": {"cni": {"autoscaling": EMPTY}, "kubernetes": {"autoscaling": EMPTY}}},
                     ["spec.collectors.cni.autoscaling is an object; it must be absent, since it runs once on every "
                      "node.",
                      "spec.collectors.kubernetes.autoscaling is an object; it must be absent, since it runs once, and "
                      "a second one would report everything twice.",
                      "spec.intelligence.neo4j.autoscaling is an object; it must be absent, since a database's members "
                      "are not added by load; set replicas.",
                      "spec.nats.autoscaling is an object; it must be absent, since servers that vote are not added by "
                      "load; set replicas."],
                     id="autoscaling where nothing scales"),
        pytest.param({"collectors": {"etcd": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": "0%"}}}}},
                     ['spec.collectors.etcd.updateStrategy.rollingUpdate.maxUnavailable is "0%"; it must be more than '
                      "0 unless maxSurge is, or nothing moves."],
                     id="a Deployment that can't move"),
        pytest.param({"nats": {"tolerations": [{"operator": "Exists", "value": "x"}, {"value": "y"}]}},
                     ['spec.nats.tolerations[0].value is "x"; it must be absent when operator is Exists.',
                      "spec.nats.tolerations[1].key is not set; it must be set unless operator is Exists."],
                     id="tolerations"),
        pytest.param({"nats": {"env": [{"name": "A", "value": 12345}, {"name": "A", "valueFrom": EMPTY}]}},
                     ["spec.nats.env[0].value is (not shown); it must be a text: write it in quotes.",
                      'spec.nats.env[1].name is "A"; it must be a name that no other entry of the list has.',
                      "spec.nats.env[1].valueFrom must hold exactly one of fieldRef, resourceFieldRef, "
                      "configMapKeyRef, secretKeyRef, but holds none of them."],
                     id="environment, without its values"),
        pytest.param({"collectors": {"kubernetes": {"updateStrategy": {"type": "OnDelete"}}}},
                     ['spec.collectors.kubernetes.updateStrategy.type is "OnDelete"; it must be RollingUpdate, since '
                      "this collector is a Deployment."],
                     id="OnDelete for a Deployment"),
        pytest.param({"collectors": {"ebpf": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}}}},
                     ["spec.collectors.ebpf.updateStrategy.rollingUpdate.maxUnavailable is 0; it must be more than 0 "
                      "unless maxSurge is, or nothing moves."],
                     id="an update that can't move"),
        pytest.param(None, ["spec is not set; it must be an object."], id="no spec"),
        pytest.param(3, ["spec is 3; it must be an object."], id="a spec that is a number"),
    ],
)  # fmt: skip
def test_messages_for_a_cluster(spec: JsonValue, expected: list[str]) -> None:
    assert messages(validate_cluster(cluster(spec), trust=TRUST)) == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param(
            {"type": "dns"},
            ["spec.clusterRef is missing; it must be set (The TapioCluster that this collector belongs to, in the same "
             "namespace).",
             'spec.type is "dns"; it must be one of ebpf, systemd, cni, kubernetes, etcd.'],
            id="no cluster and an unknown type",
        ),
        pytest.param(
            {"clusterRef": {"name": "p"}, "type": "ebpf", "namespaces": ["a"], "endpoints": ["https://e:2379"]},
            ["spec.namespaces is a list of 1; it must be absent, since it is for collectors of the type kubernetes.",
             "spec.endpoints is a list of 1; it must be absent, since it is for collectors of the type etcd."],
            id="fields of other types",
        ),
        pytest.param({"clusterRef": {"name": "p"}, "type": "etcd", "endpoints": ["https://e:2379"]}, [], id="etcd"),
    ],
)  # fmt: skip
def test_messages_for_a_collector(spec: JsonValue, expected: list[str]) -> None:
    document: JsonObject = {"kind": COLLECTOR_KIND, "metadata": {"namespace": "tapio-system"}, "spec": spec}
    assert messages(validate_collector(document, trust=TRUST)) == expected


CONTAINER = "; make it anew by another name."


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        pytest.param("etcd", "a.b",
                     ['metadata.name is "a.b"; it must be without dots, since its container is named '
                      f"etcd-<name>{CONTAINER}"],
                     id="dots"),
        pytest.param("kubernetes", "l" * 53,
                     [f'metadata.name is "{"l" * 53}"; it must be at most 52 characters long, since its container is '
                      f"named kubernetes-<name>{CONTAINER}"],
                     id="one too long for its type"),
        pytest.param("kubernetes", "l" * 52, [], id="the longest for its type"),
        pytest.param("cni", "m" * 59, [], id="the longest for a short type"),
        pytest.param("cni", "m" * 59 + ".",
                     [f'metadata.name is "{"m" * 59}."; it must be without dots, since its container is named '
                      f"cni-<name>{CONTAINER}",
                      f'metadata.name is "{"m" * 59}."; it must be at most 59 characters long, since its container is '
                      f"named cni-<name>{CONTAINER}"],
                     id="dots and too long"),
    ],
)  # fmt: skip
def test_the_name_of_a_collector_is_that_of_a_container(kind: str, name: str, expected: list[str]) -> None:
    spec: JsonObject = {"clusterRef": {"name": "p"}, "type": kind}
    document: JsonObject = {"metadata": {"name": name, "namespace": "tapio-system"}, "spec": spec}
    assert messages(validate_collector(document, trust=TRUST)) == expected
    assert validate_collector(document, trust=TRUST, old=document) == ()


def test_messages_for_an_intelligence() -> None:
    document: JsonObject = {"spec": {"clusterRef": {"name": "p"}, "embedded": True, "neo4j": {"replicas": 0}}}
    assert messages(validate_intelligence(document, trust=TRUST)) == [
        "spec.neo4j.replicas is 0; it must be a whole number between 1 and 9.",
        "spec.embedded is true and spec.neo4j is set; they exclude each other, so remove one of them.",
    ]


NODE_OVERRIDES: list[tuple[str, JsonValue]] = [
    ("image", "evil.example.com/root:1"),
    ("command", ["sh"]),
    ("args", ["-c"]),
    ("env", [{"name": "LD_PRELOAD", "value": "x"}]),
    ("podTemplate", {"spec": {"hostname": "h"}}),
    ("probes", {"liveness": {"exec": {"command": ["sh"]}}}),
]


@pytest.mark.parametrize(("field", "value"), [pytest.param(*pair, id=pair[0]) for pair in NODE_OVERRIDES])
@pytest.mark.parametrize("kind", ["ebpf", "systemd", "cni"])
def test_node_agents_are_overridden_in_trusted_namespaces_alone(kind: str, field: str, value: JsonValue) -> None:
    inline: JsonObject = {"collectors": {kind: {field: value}}}
    own: JsonObject = {"clusterRef": {"name": "p"}, "type": kind, field: value}
    collector: JsonObject = {"metadata": {"namespace": "default"}, "spec": own}
    for document, check in ((cluster(inline, "default"), validate_cluster), (collector, validate_collector)):
        (problem,) = check(document, trust=TRUST)
        assert problem.reason is Reason.FORBIDDEN
        assert "namespace default is not in the operator's security.trustedNamespaces" in problem.message
        assert check(document, trust=Trust(trusted_namespaces=("default",))) == ()


@pytest.mark.parametrize(("field", "value"), [pytest.param(*pair, id=pair[0]) for pair in NODE_OVERRIDES])
@pytest.mark.parametrize("kind", ["kubernetes", "etcd"])
def test_collectors_that_are_no_node_agents_take_overrides_everywhere(kind: str, field: str, value: JsonValue) -> None:
    assert validate_cluster(cluster({"collectors": {kind: {field: value}}}, "default"), trust=TRUST) == ()


def test_privileges_and_namespaces_of_node_agents() -> None:
    document = cluster({"nodeAgents": {"capabilities": "privileged", "namespace": "kube-system"}}, "default")
    assert [(problem.path, problem.reason) for problem in validate_cluster(document, trust=TRUST)] == [
        ("spec.nodeAgents.namespace", Reason.FORBIDDEN),
        ("spec.nodeAgents.capabilities", Reason.FORBIDDEN),
    ]
    lenient = Trust(trusted_namespaces=("default",), node_namespaces=("kube-system",))
    assert validate_cluster(document, trust=lenient) == ()


@pytest.mark.parametrize(
    ("old", "new", "reason", "message"),
    [
        pytest.param({"nats": {"storageClassName": "a"}}, {"nats": {"storageClassName": "b"}}, Reason.IMMUTABLE_FIELD,
                     'spec.nats.storageClassName is "b" and was "a";'
                     " it can't be changed after creation.", id="a class"),
        pytest.param({}, {"nats": {"storageClassName": "b"}}, Reason.IMMUTABLE_FIELD,
                     'spec.nats.storageClassName is "b" and was absent;'
                     " it can't be changed after creation.",
                     id="a class that was the default"),
        pytest.param({"gateway": {"exposure": {"type": "LoadBalancer", "className": "a/b"}}},
                     {"gateway": {"exposure": {"type": "LoadBalancer"}}}, Reason.IMMUTABLE_FIELD,
                     'spec.gateway.exposure.className is absent and was "a/b"; it can\'t be changed while '
                     "exposure.type stays LoadBalancer (make it ClusterIP first).",
                     id="a load balancer's class"),
        pytest.param({}, {"nodeAgents": {"namespace": "agents"}}, Reason.IMMUTABLE_FIELD,
                     'spec.nodeAgents.namespace is "agents" and was "tapio-nodes";'
                     " it can't be changed after creation.",
                     id="another node namespace"),
        pytest.param({"nats": {"storage": "10Gi"}}, {"nats": {"storage": "9Gi"}}, Reason.STORAGE_SHRINK_REFUSED,
                     'spec.nats.storage is "9Gi"; it must be at least 10Gi, since a volume can grow but not shrink.',
                     id="a smaller volume"),
        pytest.param({"intelligence": {"neo4j": {"storage": "1Ti"}}},
                     {"intelligence": {"neo4j": {"storage": "1000Gi"}}},
                     Reason.STORAGE_SHRINK_REFUSED,
                     'spec.intelligence.neo4j.storage is "1000Gi"; it must be at least 1Ti, since a volume can grow '
                     "but not shrink.", id="a smaller volume in other units"),
        pytest.param({"intelligence": {"neo4j": {"storageClassName": "a"}}}, {"intelligence": {"neo4j": {}}},
                     Reason.IMMUTABLE_FIELD,
                     'spec.intelligence.neo4j.storageClassName is absent and was "a";'
                     " it can't be changed after creation.",
                     id="a class taken away"),
    ],
)  # fmt: skip
def test_refused_updates(old: JsonObject, new: JsonObject, reason: Reason, message: str) -> None:
    trust = Trust(node_namespaces=("tapio-nodes", "agents"))
    (problem,) = validate_cluster(cluster(new), trust=trust, old=cluster(old))
    assert (problem.reason, problem.message) == (reason, message)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param({"nats": {"storage": "10Gi"}}, {"nats": {"storage": "10240Mi"}}, id="the same in other units"),
        pytest.param({"nats": {"storage": "10Gi"}}, {"nats": {"storage": "11Gi"}}, id="growth"),
        pytest.param({}, {"nodeAgents": {"namespace": "tapio-nodes"}}, id="the default, spelled out"),
        pytest.param({"intelligence": {"neo4j": {"storageClassName": "a"}}}, {}, id="moved to a TapioIntelligence"),
        pytest.param({"profile": "edge"}, {"profile": "production"}, id="another profile"),
        pytest.param(
            {"gateway": {"exposure": {"type": "ClusterIP", "className": "a"}}},
            {"gateway": {"exposure": {"type": "LoadBalancer", "className": "a/b"}}},
            id="the class of a load balancer that is new",
        ),
    ],
)
def test_allowed_updates(old: JsonObject, new: JsonObject) -> None:
    assert validate_cluster(cluster(new), trust=TRUST, old=cluster(old)) == ()


def test_type_and_cluster_of_a_collector_stay() -> None:
    old: JsonObject = {"spec": {"clusterRef": {"name": "a"}, "type": "ebpf"}}
    new: JsonObject = {"spec": {"clusterRef": {"name": "b"}, "type": "cni"}}
    assert [problem.path for problem in validate_collector(new, trust=TRUST, old=old)] == [
        "spec.clusterRef.name",
        "spec.type",
    ]


def test_a_wrong_spec_does_not_keep_metadata_from_changing() -> None:
    wrong = cluster({"bogus": 1, "collectors": {"ebpf": False}})
    normal = cluster(normalise_spec(CLUSTER_KIND, wrong["spec"]))
    assert validate_cluster(wrong, trust=TRUST, old=normal) == ()
    assert len(validate_cluster(wrong, trust=TRUST, old=cluster({}))) == 1


def test_a_resource_that_is_being_deleted_is_never_refused() -> None:
    wrong = cluster({"bogus": 1})
    wrong["metadata"] = {"name": "production", "deletionTimestamp": "2026-01-01T00:00:00Z"}
    assert validate_cluster(wrong, trust=TRUST, old=cluster({})) == ()


def test_names_fit_into_labels() -> None:
    (problem,) = validate_cluster(cluster({}, name="a" * 64), trust=TRUST)
    assert problem.path == "metadata.name"
    assert validate_cluster(cluster({}, name="a" * 63), trust=TRUST) == ()


def test_one_answer_numbers_the_problems() -> None:
    problems = validate_cluster(cluster({"profile": "prod", "bogus": 1}), trust=TRUST)
    assert one_answer(problems) == (
        '2 things are wrong: (1) spec.profile is "prod"; it must be one of development, production, edge. '
        "(2) spec.bogus is 1, but there is no such field; allowed here: autoscaling, collectors, deletionPolicy, "
        "gateway, highAvailability, image, inheritedMetadata, intelligence, lightweight, monitoring, nats, "
        "networkPolicy, nodeAgents, profile, resources, scheduling, version."
    )
    assert one_answer(problems[:1]) == problems[0].message
    assert one_answer(()) == ""


def test_one_answer_fits_into_a_condition() -> None:
    env: list[JsonValue] = [{"name": f"{number} " * 50} for number in range(150)]
    problems = validate_cluster(cluster({"nats": {"env": env}}), trust=TRUST)
    answer = one_answer(problems)
    assert len(problems) > MAX_SHOWN
    assert answer.endswith(f"… and {len(problems) - MAX_SHOWN} more.")
    assert len(answer.encode()) <= 32_768


HOSTILE: dict[str, JsonValue] = {
    "unknown keys": {f"key{number}": number for number in range(100_000)},
    "unknown collectors": {"collectors": {f"key{number}": EMPTY for number in range(100_000)}},
    "variables": {"nats": {"env": [{"name": "A", "value": number} for number in range(50_000)]}},
    "labels": {"inheritedMetadata": {"labels": {f"a b{number}": number for number in range(100_000)}}},
}


@pytest.mark.parametrize("spec", [pytest.param(spec, id=name) for name, spec in HOSTILE.items()])
def test_a_hostile_spec_is_answered_in_short(spec: JsonValue) -> None:
    problems = validate_cluster(cluster(spec), trust=TRUST)
    assert 1 <= len(problems) <= MAX_PROBLEMS
    assert len(one_answer(problems).encode()) <= 32_768


@pytest.mark.parametrize("example", ["quickstart", "development", "production", "edge"])
def test_one_wrong_value_at_a_time_is_one_problem_or_more(example: str) -> None:
    document = yaml.safe_load((ROOT / f"examples/{example}.yaml").read_text())
    for key in document["spec"]:
        broken = deepcopy(document)
        broken["spec"][key] = ["wrong"]
        (problem,) = validate_cluster(broken, trust=TRUST)
        assert problem.path == f"spec.{key}"


@settings(max_examples=50, suppress_health_check=SLOW, deadline=None)
@given(st.data())
def test_nothing_raises_on_nearly_right_resources(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(SPEC_MODELS)))
    document, old = data.draw(resources(kind, garbage=True)), data.draw(resources(kind, garbage=True))
    answer = one_answer(validate(kind, document, trust=TRUST, old=old))
    assert len(answer) <= 32_768
    answer.encode()


@settings(max_examples=150, suppress_health_check=SLOW, deadline=None)
@given(ANY_JSON, ANY_JSON)
def test_nothing_raises_on_any_json(value: JsonValue, old: JsonValue) -> None:
    for kind in (CLUSTER_KIND, COLLECTOR_KIND, INTELLIGENCE_KIND):
        for document in (value, {"spec": value}, {"metadata": value, "spec": {}}):
            validate(kind, document, trust=TRUST, old=old)
            one_answer(validate(kind, document, trust=TRUST, old={"spec": old}))


@settings(max_examples=60, suppress_health_check=SLOW, deadline=None)
@given(st.data())
def test_what_is_accepted_can_be_read_as_a_model(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(SPEC_MODELS)))
    document = data.draw(resources(kind, garbage=False))
    if validate(kind, document, trust=TRUST) == ():
        model = SPEC_MODELS[kind].from_document(normalise_spec(kind, document["spec"]))
        assert SPEC_MODELS[kind].from_document(model.document()) == model
