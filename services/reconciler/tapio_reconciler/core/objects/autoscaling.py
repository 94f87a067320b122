"""Who scales a component: a HorizontalPodAutoscaler by load or by backlog, a VerticalPodAutoscaler by its use.

Where somebody else's HorizontalPodAutoscaler scales it (`Context.scalers`), none of ours does: two would take turns.
The two never steer by the same resource. What a VerticalPodAutoscaler changes are pods, not templates, so that nobody
fights about a field.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from tapio_reconciler.core.model import Component, Notice
from tapio_reconciler.core.objects.context import Context
from tapio_shared.api.effective import Scaling
from tapio_shared.api.kinds import BACKLOG_METRIC
from tapio_shared.api.reasons import Reason
from tapio_shared.json import JsonObject, JsonValue, at, objects_at, str_at

_BACKLOG_PER_POD = "1000"
_SCALE_DOWN: JsonObject = {
    "stabilizationWindowSeconds": 300,
    "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
}
"""One pod a minute, after five quiet ones: load that comes in waves must not move pods in waves."""
_VERTICAL = ("autoscaling.k8s.io", "VerticalPodAutoscaler")


def is_autoscaled(ctx: Context, target: str, scaling: Scaling) -> bool:
    """Whether a HorizontalPodAutoscaler, ours or another, owns the replicas of the Deployment `target`."""
    return target in ctx.scalers or _scales(ctx, target, scaling)


def most_replicas(ctx: Context, target: str, scaling: Scaling) -> int:
    """The most that the Deployment `target` may be scaled to: any number by an autoscaler that is not ours."""
    return sys.maxsize if target in ctx.scalers else max(scaling.replicas, scaling.maximum)


def _scales(ctx: Context, target: str, scaling: Scaling) -> bool:
    """Whether a HorizontalPodAutoscaler of ours does."""
    return scaling.maximum > 0 and target not in ctx.scalers and _horizontal_version(ctx) != ""


def build_horizontal_autoscaler(
    ctx: Context, metadata: JsonObject, target: str, scaling: Scaling, load: JsonObject | None = None
) -> JsonObject | None:
    """A HorizontalPodAutoscaler of a Deployment: by the spec's metrics, else by `load`, else by CPU."""
    if not _scales(ctx, target, scaling):
        return None
    cpu: JsonObject = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 75}},
    }
    metrics: list[JsonValue] = [dict(one) for one in scaling.metrics] or [load or cpu]
    return {
        "apiVersion": _horizontal_version(ctx),
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata,
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
            "minReplicas": scaling.replicas,
            "maxReplicas": scaling.maximum,
            "metrics": metrics,
            "behavior": {"scaleDown": _SCALE_DOWN},
        },
    }


def measuring_notices(components: Sequence[Component]) -> list[Notice]:
    """What a person should know of autoscalers that have nothing to measure by: a share is one of a request.

    https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details
    """
    objects = [one for component in components for one in component.objects]
    deployments = {str_at(one, "metadata", "name"): one for one in objects if str_at(one, "kind") == "Deployment"}
    return [
        Notice(
            reason=Reason.REQUEST_MISSING,
            message=(
                f"HorizontalPodAutoscaler {str_at(one, 'metadata', 'name')} scales by {resource}, and container "
                f"{container} of its pods requests none, so it can't measure and leaves the replicas as they are. Set "
                f"resources.requests.{resource} of that component, or autoscaling.metrics that can be measured."
            ),
        )
        for one in objects
        if str_at(one, "kind") == "HorizontalPodAutoscaler"
        for resource, container in _unmeasured(one, deployments.get(str_at(one, "spec", "scaleTargetRef", "name"), {}))
    ]


def _unmeasured(autoscaler: JsonObject, deployment: JsonObject) -> Iterator[tuple[str, str]]:
    """(resource, container) of every share that is asked for and has no request; a limit stands in for one."""
    containers = objects_at(deployment, "spec", "template", "spec", "containers")
    for metric in objects_at(autoscaler, "spec", "metrics"):
        kind = {"Resource": "resource", "ContainerResource": "containerResource"}.get(str_at(metric, "type"), "")
        if str_at(metric, kind, "target", "type") != "Utilization":
            continue
        resource, only = str_at(metric, kind, "name"), str_at(metric, kind, "container")
        for one in containers:
            given = [at(one, "resources", part, resource) for part in ("requests", "limits")]
            if str_at(one, "name") == (only or str_at(one, "name")) and given == [None, None]:
                yield resource, str_at(one, "name")


def backlog_metric(ctx: Context, stream: str, consumer: str) -> JsonObject | None:
    """The backlog of a consumer as an external metric, where somebody serves it (external.metrics.k8s.io)."""
    if not ctx.served.has("external.metrics.k8s.io", BACKLOG_METRIC):
        return None
    labels: JsonObject = {"stream_name": stream, "consumer_name": consumer, "is_consumer_leader": "true"}
    labels |= {"tapio_cluster": ctx.name, "tapio_namespace": ctx.namespace}
    return {
        "type": "External",
        "external": {
            "metric": {"name": BACKLOG_METRIC, "selector": {"matchLabels": labels}},
            "target": {"type": "AverageValue", "averageValue": _BACKLOG_PER_POD},
        },
    }


def build_vertical_autoscaler(
    ctx: Context,
    metadata: JsonObject,
    kind: str,
    target: str,
    container: str,
    scaling: Scaling | None = None,
    *,
    only_recommends: bool = False,
) -> JsonObject | None:
    """A VerticalPodAutoscaler of a workload, where its API is served and `autoscaling.vertical` is not Off.

    It only recommends, unless `Auto` is asked for; and then leaves alone what a HorizontalPodAutoscaler steers by, and
    components that size themselves by their memory (`only_recommends`).
    """
    version, asked = ctx.served.api_version(*_VERTICAL, "v1"), ctx.effective.spec.autoscaling.vertical
    if not version or asked == "Off":
        return None
    resources = [name for name in ("cpu", "memory") if name not in _steered_by(ctx, target, scaling)]
    acts = asked == "Auto" and not only_recommends and bool(resources)
    policy: JsonObject = {"updateMode": "Recreate" if acts else "Off"}
    policies: list[JsonValue] = [
        {
            "containerName": container,
            "controlledResources": [*(resources if acts else ("cpu", "memory"))],
            "controlledValues": "RequestsOnly",
        }
    ]
    if acts:
        # Else it resizes what stands beside the container too: all that no policy names.
        policies.append({"containerName": "*", "mode": "Off"})
    if acts and (scaling is None or scaling.replicas == 1):
        # The updater's own default is two, with which a workload of one pod is never resized.
        policy["minReplicas"] = 1
    return {
        "apiVersion": version,
        "kind": _VERTICAL[1],
        "metadata": metadata,
        "spec": {
            "targetRef": {"apiVersion": "apps/v1", "kind": kind, "name": target},
            "updatePolicy": policy,
            "resourcePolicy": {"containerPolicies": policies},
        },
    }


def _steered_by(ctx: Context, target: str, scaling: Scaling | None) -> set[str]:
    """Resources by which a HorizontalPodAutoscaler scales; CPU where the spec names no metrics.

    What somebody else's autoscaler steers by is not known, so it may be any.
    """
    if target in ctx.scalers:
        return {"cpu", "memory"}
    if scaling is None or not _scales(ctx, target, scaling):
        return set()
    if not scaling.metrics:
        return {"cpu"}
    return {str_at(one, kind, "name") for one in scaling.metrics for kind in ("resource", "containerResource")}


def _horizontal_version(ctx: Context) -> str:
    return ctx.served.api_version("autoscaling", "HorizontalPodAutoscaler", "v2", "v2beta2")
