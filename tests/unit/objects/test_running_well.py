"""How pods are run so that they start, answer and end well: their nodes' system, probes, hooks and limits."""

from __future__ import annotations

import pytest

from tapio_reconciler.core.model import Rendered
from tapio_shared.json import JsonObject, JsonValue, object_at, objects_at, str_at
from tests.support.rendered import objects_of
from tests.support.small_fleets import group, on, patched

PRODUCTION: JsonObject = {"profile": "production", "collectors": {"all": True}}


def pods(rendered: Rendered) -> dict[str, JsonObject]:
    """Kind/name -> pod, of everything that makes pods."""
    found: dict[str, JsonObject] = {}
    for one in objects_of(rendered):
        kind = str_at(one, "kind")
        template = object_at(one, "spec", "jobTemplate") if kind == "CronJob" else one
        pod = object_at(template, "spec", "template", "spec")
        if pod:
            found[f"{kind}/{str_at(one, 'metadata', 'name')}"] = pod
    return found


@pytest.mark.parametrize("own", [pytest.param({}, id="nothing else"), pytest.param({"pool": "big"}, id="a pool")])
def test_no_pod_goes_to_a_node_with_windows(own: dict[str, JsonValue]) -> None:
    found = pods(on([group("a", 3)], {**PRODUCTION, "scheduling": {"nodeSelector": own}}))
    assert len(found) > 8
    for name, pod in found.items():
        elsewhere = {} if name.startswith("DaemonSet/") else own
        assert object_at(pod, "nodeSelector") == {"kubernetes.io/os": "linux", **elsewhere}, name


@pytest.mark.parametrize(
    ("version", "hook"),
    [
        pytest.param("v1.29.4", None, id="the kubelet can't sleep"),
        pytest.param("v1.30.0", {"preStop": {"sleep": {"seconds": 5}}}, id="it can"),
    ],
)
def test_the_gateway_answers_until_nobody_asks_it_any_more(version: str, hook: JsonObject | None) -> None:
    (gateway,) = [one for name, one in pods(on([group("a", 3)], PRODUCTION, version=version)).items() if "gate" in name]
    (container,) = objects_at(gateway, "containers")
    assert container.get("lifecycle") == hook
    assert gateway["terminationGracePeriodSeconds"] == 30


@pytest.mark.parametrize(
    ("grace", "hook"),
    [
        pytest.param(60, {"preStop": {"sleep": {"seconds": 5}}}, id="longer than it answers"),
        pytest.param(4, {"preStop": {"sleep": {"seconds": 3}}}, id="shorter"),
        pytest.param(1, None, id="at once"),
    ],
)
def test_the_gateway_answers_no_longer_than_its_pod_has_to_end(grace: int, hook: JsonObject | None) -> None:
    """The API server refuses a sleep that is longer."""
    spec: JsonObject = {**PRODUCTION, "gateway": patched(terminationGracePeriodSeconds=grace)}
    (gateway,) = [one for name, one in pods(on([group("a", 3)], spec)).items() if "gate" in name]
    (container,) = objects_at(gateway, "containers")
    assert (container.get("lifecycle"), gateway["terminationGracePeriodSeconds"]) == (hook, grace)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        pytest.param({"memory": "1Gi"}, "921MiB", id="nine tenths of the limit"),
        pytest.param({"cpu": "2"}, None, id="no limit"),
        pytest.param({"memory": "1M"}, None, id="a limit of less than Go can keep below"),
    ],
)
def test_nats_collects_garbage_before_it_is_killed(limits: JsonObject, expected: str | None) -> None:
    nats: JsonObject = {"resources": {"requests": {"cpu": "1m"}, "limits": limits}}
    pod = pods(on([group("a", 3)], {"nats": nats}))["StatefulSet/any-nats"]
    values = {str_at(one, "name"): one.get("value") for one in objects_at(objects_at(pod, "containers")[0], "env")}
    assert values.get("GOMEMLIMIT") == expected


def test_a_slow_answer_of_nats_is_waited_for() -> None:
    container = objects_at(pods(on([group("a", 3)]))["StatefulSet/any-nats"], "containers")[0]
    probes = [object_at(container, name) for name in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert [one.get("timeoutSeconds") for one in probes] == [5, 5, 5]


def test_metrics_that_are_slow_take_no_server_of_nats_out_of_its_service() -> None:
    """Ready are pods of which all containers are."""
    exporter = objects_at(pods(on([group("a", 3)]))["StatefulSet/any-nats"], "containers")[1]
    assert [exporter[name] for name in ("readinessProbe", "livenessProbe")] == [
        {"tcpSocket": {"port": "metrics"}, "periodSeconds": 30}
    ] * 2
