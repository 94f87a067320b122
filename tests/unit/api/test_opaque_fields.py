"""Fields that the CRDs leave open are checked against the Kubernetes types that they hold."""

from __future__ import annotations

import pytest
from hypothesis import given

from tapio_shared.api.kubernetes_types import KUBERNETES_TYPES
from tapio_shared.api.shapes import shape_problems
from tapio_shared.api.trust import Trust
from tapio_shared.api.validation import validate_cluster
from tapio_shared.json import JsonObject, JsonValue
from tests.support.api_documents import ANY_JSON
from tests.support.kubernetes_types import TARGET, render


def test_the_table_is_what_the_official_schemas_make() -> None:
    assert TARGET.read_text() == render(), "run `python -m tests.support.kubernetes_types`"


EMPTY: JsonObject = {}
TERM: JsonObject = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({"nats": {"affinity": {"podAntiAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": [TERM]}}}}, [], id="an affinity"),
        pytest.param({"scheduling": {"affinity": {"podAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyky": "x"}]}}}},
                     ["spec.scheduling.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0]"
                      '.topologyky is "x", but there is no such field; did you mean topologyKey?',
                      "spec.scheduling.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0]"
                      ".topologyKey is missing; a Kubernetes PodAffinityTerm needs it."],
                     id="a typo in an affinity"),
        pytest.param({"nats": {"probes": {"startup": "none", "liveness": {"httpGet": {"port": "monitor"}}}}}, [],
                     id="probes"),
        pytest.param({"nats": {"probes": {"liveness": {"tcpSocket": {"port": True}, "periodSeconds": "5"}}}},
                     ["spec.nats.probes.liveness.tcpSocket.port is true; it must be a whole number or a text.",
                      'spec.nats.probes.liveness.periodSeconds is "5"; it must be a whole number.'],
                     id="probes with wrong types"),
        pytest.param({"nats": {"probes": {"liveness": {"periodSeconds": 5}}}},
                     ["spec.nats.probes.liveness must hold exactly one of httpGet, tcpSocket, exec, grpc, but holds "
                      "none of them."],
                     id="a probe of nothing"),
        pytest.param({"nats": {"probes": {"live": "none"}}},
                     ['spec.nats.probes.live is "none", but there is no such field; did you mean liveness?'],
                     id="an unknown probe"),
        pytest.param({"nats": {"probes": {"liveness": "off"}}},
                     ['spec.nats.probes.liveness is "off"; it must be a Kubernetes probe (an object), or "none" for no '
                      "probe at all."],
                     id="a wrong word for a probe"),
        pytest.param({"gateway": {"podTemplate": {"metadata": {"annotations": {"a": "b"}}, "spec": {
                        "containers": [{"name": "gateway", "resources": {"limits": {"cpu": 0.5}}}],
                        "terminationGracePeriodSeconds": 30}}}}, [],
                     id="an overlay names only what it changes"),
        pytest.param({"gateway": {"podTemplate": {"spec": {"containers": [{"image": "x"}], "hostNetwork": "yes"}}}},
                     ["spec.gateway.podTemplate.spec.containers[0].name is missing; a Kubernetes Container needs it.",
                      'spec.gateway.podTemplate.spec.hostNetwork is "yes"; it must be true or false.'],
                     id="an overlay that can't be merged"),
        pytest.param({"gateway": {"podTemplate": {"metadata": {"labels": {"app.kubernetes.io/name": "x"}}}}},
                     ['spec.gateway.podTemplate.metadata.labels["app.kubernetes.io/name"] is "x"; it must be absent, '
                      "since the operator sets this key itself."],
                     id="an overlay that breaks the selector"),
        pytest.param({"gateway": {"autoscaling": {"metrics": [{"type": "Resource", "resource": {"name": "cpu"}}]}}},
                     ["spec.gateway.autoscaling.metrics[0].resource.target is missing; a Kubernetes "
                      "ResourceMetricSource needs it."],
                     id="a metric without a target"),
        pytest.param({"networkPolicy": {"extraIngress": [{"from": [{"podSelector": EMPTY}]}], "extraEgress": [
                        {"to": [{"ipBlock": {"cdr": "10.0.0.0/8"}}]}]}},
                     ['spec.networkPolicy.extraEgress[0].to[0].ipBlock.cdr is "10.0.0.0/8", but there is no such '
                      "field; did you mean cidr?",
                      "spec.networkPolicy.extraEgress[0].to[0].ipBlock.cidr is missing; a Kubernetes IPBlock needs "
                      "it."],
                     id="network policy rules"),
    ],
)  # fmt: skip
def test_messages_for_opaque_fields(spec: JsonValue, expected: list[str]) -> None:
    document: JsonObject = {"metadata": {"namespace": "tapio-system"}, "spec": spec}
    assert [problem.message for problem in validate_cluster(document, trust=Trust())] == expected


def test_a_hostile_overlay_is_answered_in_short() -> None:
    containers: list[JsonValue] = [{"bogus": number} for number in range(100_000)]
    template: JsonObject = {"spec": {"containers": containers}}
    assert len(list(shape_problems("PodTemplateSpec", template, ("spec",), overlay=True))) == 50


@given(ANY_JSON)
def test_any_json_is_judged_as_any_type(value: JsonValue) -> None:
    for kind in KUBERNETES_TYPES:
        list(shape_problems(kind, value, ("x",)))
        list(shape_problems(kind, value, ("x",), overlay=True))
