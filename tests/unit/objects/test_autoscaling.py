"""Who scales what: nobody is scaled by two, and nothing by a resource that another one steers by."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tapio_reconciler.core.model import Served
from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.rendering import render
from tapio_shared.facts import ServedResource
from tapio_shared.json import JsonObject, JsonValue, at, list_at, object_at, objects_at, str_at
from tests.support.rendered import context_of, objects_of

BACKLOG = ServedResource(
    group="external.metrics.k8s.io",
    version="v1beta1",
    kind="ExternalMetricValueList",
    plural="jetstream_consumer_num_pending",
    namespaced=True,
)
VERTICAL = ServedResource(
    group="autoscaling.k8s.io",
    version="v1",
    kind="VerticalPodAutoscaler",
    plural="verticalpodautoscalers",
    namespaced=True,
)
MEMORY: JsonObject = {
    "type": "Resource",
    "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 80}},
}


def cluster(**spec: JsonValue) -> JsonObject:
    return {"metadata": {"name": "any", "namespace": "some"}, "spec": {"collectors": {"all": True}, **spec}}


def serving(document: JsonObject, *more: ServedResource) -> Context:
    context = context_of(document)
    resources = [one for one in context.served.all() if one.group != "autoscaling.k8s.io"]
    return replace(context, served=Served((*resources, *more), "v1.31.0"))


def found(context: Context, kind: str) -> dict[str, JsonObject]:
    """Objects of a kind by the workload that they scale."""
    key = "scaleTargetRef" if kind == "HorizontalPodAutoscaler" else "targetRef"
    objects = [one for one in objects_of(render(context)) if str_at(one, "kind") == kind]
    return {str_at(one, "spec", key, "name"): object_at(one, "spec") for one in objects}


def test_without_their_api_there_are_no_vertical_autoscalers() -> None:
    assert found(serving(cluster()), "VerticalPodAutoscaler") == {}
    assert found(serving(cluster(autoscaling={"vertical": "Off"}), VERTICAL), "VerticalPodAutoscaler") == {}


def test_by_default_a_vertical_autoscaler_of_every_workload_recommends() -> None:
    scalers = found(serving(cluster(), VERTICAL), "VerticalPodAutoscaler")
    workloads = {
        str_at(one, "metadata", "name"): str_at(one, "spec", "template", "spec", "containers")
        for one in objects_of(render(serving(cluster(), VERTICAL)))
        if str_at(one, "kind") in {"Deployment", "StatefulSet", "DaemonSet"}
    }
    assert scalers.keys() == workloads.keys()
    assert {str_at(one, "updatePolicy", "updateMode") for one in scalers.values()} == {"Off"}


@pytest.mark.parametrize(
    ("correlation", "mode", "resources"),
    [
        pytest.param({}, "Recreate", ["memory"], id="scaled by cpu"),
        pytest.param({"autoscaling": {"metrics": [MEMORY]}}, "Recreate", ["cpu"], id="scaled by memory"),
        pytest.param({"replicas": 2}, "Recreate", ["cpu", "memory"], id="not scaled"),
    ],
)
def test_auto_leaves_alone_what_the_horizontal_autoscaler_steers_by(
    correlation: JsonObject, mode: str, resources: list[str]
) -> None:
    document = cluster(
        autoscaling={"vertical": "Auto"}, intelligence={"neo4j": {}, "correlation": correlation}, profile="production"
    )
    scalers = found(serving(document, VERTICAL), "VerticalPodAutoscaler")
    policy = objects_at(scalers["any-correlation"], "resourcePolicy", "containerPolicies")[0]
    assert str_at(scalers["any-correlation"], "updatePolicy", "updateMode") == mode
    assert list_at(policy, "controlledResources") == resources
    assert str_at(policy, "containerName") == "correlation"
    neo4j = scalers["any-neo4j-0"]
    assert str_at(neo4j, "updatePolicy", "updateMode") == "Off", "its heap is derived from its memory"


@pytest.mark.parametrize(
    ("vertical", "profile", "expected"),
    [
        pytest.param(
            "Auto",
            "production",
            {"any-nats": None, "any-correlation": None, "any-gateway": None, "any-kubernetes": 1},
            id="several pods by the updater's own rule",
        ),
        pytest.param(
            "Auto",
            "development",
            {"any-nats": 1, "any-correlation": 1, "any-gateway": 1, "any-kubernetes": 1},
            id="a single pod too",
        ),
        pytest.param(
            "Recommend",
            "development",
            {"any-nats": None, "any-correlation": None, "any-gateway": None, "any-kubernetes": None},
            id="nothing is resized",
        ),
    ],
)
def test_auto_resizes_single_pods_and_no_container_beside_the_own_one(
    vertical: str, profile: str, expected: dict[str, JsonValue]
) -> None:
    """A workload of one pod is left alone below the updater's --min-replicas, which is two unless the object says so.

    https://github.com/kubernetes/autoscaler/blob/master/vertical-pod-autoscaler/docs/flags.md
    """
    document = cluster(autoscaling={"vertical": vertical}, profile=profile)
    scalers = found(serving(document, VERTICAL), "VerticalPodAutoscaler")
    assert {name: at(scalers[name], "updatePolicy", "minReplicas") for name in expected} == expected
    for name in expected:
        policies = objects_at(scalers[name], "resourcePolicy", "containerPolicies")
        others: list[JsonObject] = [{"containerName": "*", "mode": "Off"}] if vertical == "Auto" else []
        assert policies[1:] == others


@pytest.mark.parametrize(
    ("gateway", "expected"),
    [
        pytest.param({}, (2, 8), id="four times the profile's"),
        pytest.param({"autoscaling": {}}, (2, 8), id="an empty block"),
        pytest.param({"autoscaling": {"max": 1}}, (1, 1), id="max goes before the profile's replicas"),
        pytest.param({"autoscaling": {"max": 3}}, (2, 3), id="max above them"),
        pytest.param({"autoscaling": {"min": 3}}, (3, 12), id="four times min"),
        pytest.param({"replicas": 3, "autoscaling": {"max": 2}}, (2, 2), id="max goes before replicas"),
        pytest.param({"replicas": 3}, None, id="replicas of its own go before autoscaling.horizontal"),
    ],
)
def test_the_bounds_are_those_that_the_descriptions_tell(gateway: JsonObject, expected: tuple[int, int] | None) -> None:
    document = cluster(profile="production", gateway=gateway, autoscaling={"horizontal": True})
    scaler = found(serving(document), "HorizontalPodAutoscaler").get("any-gateway")
    assert (None if scaler is None else (at(scaler, "minReplicas"), at(scaler, "maxReplicas"))) == expected


def test_auto_that_has_nothing_left_to_steer_recommends() -> None:
    both: list[JsonValue] = [MEMORY, {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Value"}}}]
    document = cluster(
        autoscaling={"vertical": "Auto"},
        intelligence={"neo4j": {}, "correlation": {"autoscaling": {"metrics": both}}},
    )
    scaler = found(serving(document, VERTICAL), "VerticalPodAutoscaler")["any-correlation"]
    assert str_at(scaler, "updatePolicy", "updateMode") == "Off"


def test_correlation_is_scaled_by_its_backlog_where_that_is_served_and_the_gateway_by_cpu() -> None:
    scalers = found(serving(cluster(), BACKLOG), "HorizontalPodAutoscaler")
    metric = objects_at(scalers["any-correlation"], "metrics")[0]
    assert str_at(metric, "external", "metric", "name") == "jetstream_consumer_num_pending"
    assert object_at(metric, "external", "metric", "selector", "matchLabels") == {
        "stream_name": "OBSERVATIONS",
        "consumer_name": "neo4j-loader",
        "is_consumer_leader": "true",
        "tapio_cluster": "any",
        "tapio_namespace": "some",
    }
    assert str_at(objects_at(scalers["any-gateway"], "metrics")[0], "resource", "name") == "cpu"
    without = found(serving(cluster()), "HorizontalPodAutoscaler")
    assert str_at(objects_at(without["any-correlation"], "metrics")[0], "resource", "name") == "cpu"


def test_the_metrics_of_the_spec_come_before_the_backlog() -> None:
    document = cluster(intelligence={"neo4j": {}, "correlation": {"autoscaling": {"metrics": [MEMORY]}}})
    scaler = found(serving(document, BACKLOG), "HorizontalPodAutoscaler")["any-correlation"]
    assert objects_at(scaler, "metrics") == [MEMORY]


def test_beside_somebody_elses_autoscaler_a_vertical_one_never_acts_and_there_is_no_other() -> None:
    """What the other one steers by is not known."""
    spec: JsonObject = {"autoscaling": {"vertical": "Auto", "horizontal": True}, "gateway": {"enabled": True}}
    context = replace(serving(cluster(**spec), VERTICAL), scalers={"any-gateway": "theirs"})

    modes = {
        name: str_at(one, "updatePolicy", "updateMode") for name, one in found(context, "VerticalPodAutoscaler").items()
    }

    assert (modes["any-gateway"], modes["any-correlation"], modes["any-nats"]) == ("Off", "Recreate", "Recreate")
    assert "any-gateway" not in found(context, "HorizontalPodAutoscaler")
    assert "any-correlation" in found(context, "HorizontalPodAutoscaler")


def share_of(resource: str, **kind: JsonValue) -> JsonObject:
    target: JsonObject = {"type": "Utilization", "averageUtilization": 80}
    name = "containerResource" if kind else "resource"
    return {"type": f"{name[0].upper()}{name[1:]}", name: {"name": resource, "target": target, **kind}}


SIDECAR: JsonObject = {"spec": {"containers": [{"name": "beside", "image": "example.org/beside:1"}]}}
ONLY_MEMORY: JsonObject = {"requests": {"memory": "1Gi"}}


@pytest.mark.parametrize(
    ("gateway", "unmeasured"),
    [
        pytest.param({}, [], id="by our own resources"),
        pytest.param({"resources": ONLY_MEMORY}, [("cpu", "gateway")], id="no request"),
        pytest.param({"resources": {"limits": {"cpu": "1"}}}, [], id="a limit is one"),
        pytest.param({"podTemplate": SIDECAR}, [("cpu", "beside")], id="a sidecar without a request"),
        pytest.param(
            {"podTemplate": SIDECAR, "autoscaling": {"metrics": [share_of("cpu", container="gateway")]}},
            [],
            id="by one container, which has one",
        ),
        pytest.param(
            {"resources": ONLY_MEMORY, "autoscaling": {"metrics": [share_of("memory")]}}, [], id="by what there is"
        ),
        pytest.param(
            {
                "resources": ONLY_MEMORY,
                "autoscaling": {
                    "metrics": [
                        {
                            "type": "Resource",
                            "resource": {"name": "cpu", "target": {"type": "AverageValue", "averageValue": "500m"}},
                        }
                    ]
                },
            },
            [],
            id="by a value, of which no request is needed",
        ),
    ],
)
def test_an_autoscaler_that_has_nothing_to_measure_by_is_told_of(
    gateway: JsonObject, unmeasured: list[tuple[str, str]]
) -> None:
    rendered = render(serving(cluster(profile="production", gateway=gateway)))
    said = [one.message for one in rendered.notices if one.reason == "RequestMissing"]
    assert said == [
        f"HorizontalPodAutoscaler any-gateway scales by {resource}, and container {container} of its pods requests "
        "none, so it can't measure and leaves the replicas as they are. Set "
        f"resources.requests.{resource} of that component, or autoscaling.metrics that can be measured."
        for resource, container in unmeasured
    ]


@pytest.mark.parametrize("budget", [{}, {"requests": {"memory": "48Gi"}}, {"requests": {"memory": "48Gi", "cpu": "8"}}])
def test_a_budget_leaves_every_autoscaler_something_to_measure_by(budget: JsonObject) -> None:
    rendered = render(serving(cluster(profile="production", resources=budget)))
    assert [one for one in rendered.notices if one.reason == "RequestMissing"] == []
