"""How Tapio itself is observed: scraping where the Prometheus operator is served, alerts, dashboards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tapio_reconciler.core.model import Component, Notice
from tapio_reconciler.core.objects.alerts import alert_groups
from tapio_reconciler.core.objects.common import build_config_map, present
from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.objects.dashboards import dashboards
from tapio_reconciler.core.objects.metrics import CLUSTER_LABEL, NAMESPACE_LABEL
from tapio_shared.api.labels import CLUSTER, CLUSTER_NAMESPACE, NAME, PART_OF, PART_OF_TAPIO
from tapio_shared.api.reasons import Reason
from tapio_shared.json import JsonObject, objects_at, str_at
from tapio_shared.keys import ObjectRef

APP = "tapio-monitoring"
COMPONENT = "monitoring"
_GROUP = "monitoring.coreos.com"
_PORT = "metrics"


def build_monitoring(ctx: Context, components: Sequence[Component]) -> Component | None:
    """Monitor, rules and dashboards of `components`; None when nothing of it is wanted or can be served."""
    workloads = [workload for one in components for workload in one.workloads]
    measured = any(_is_measured(built) for one in components for built in one.objects)
    objects = present(
        [
            build_service_monitor(ctx) if measured else None,
            build_prometheus_rule(ctx, workloads),
            build_dashboards(ctx, workloads),
        ]
    )
    return Component(name=COMPONENT, objects=objects) if objects else None


def _is_measured(built: JsonObject) -> bool:
    """Whether it is a Service at which something can be scraped."""
    return str_at(built, "kind") == "Service" and any(
        str_at(port, "name") == _PORT for port in objects_at(built, "spec", "ports")
    )


def monitoring_notices(ctx: Context) -> list[Notice]:
    """Says when scraping falls back to annotations since the Prometheus operator's API is not served."""
    asked = ctx.effective.spec.monitoring.prometheus.enabled is True
    if not asked or ctx.served.find(_GROUP, "ServiceMonitor") is not None:
        return []
    return [
        Notice(
            reason=Reason.API_NOT_SERVED,
            message=(
                f"spec.monitoring.prometheus is enabled, and ServiceMonitor.{_GROUP} is not served here: "
                "the pods carry scrape annotations instead, and there are no alert rules."
            ),
        )
    ]


def build_service_monitor(ctx: Context) -> JsonObject | None:
    """One monitor for all Services of the cluster, in both namespaces; `job` is the component's application."""
    version = ctx.served.api_version(_GROUP, "ServiceMonitor", "v1")
    if not ctx.effective.prometheus or not version:
        return None
    prometheus = ctx.effective.spec.monitoring.prometheus
    return {
        "apiVersion": version,
        "kind": "ServiceMonitor",
        "metadata": _metadata(ctx, "metrics", prometheus.labels),
        "spec": {
            "jobLabel": NAME,
            "selector": {
                "matchLabels": {PART_OF: PART_OF_TAPIO, CLUSTER: ctx.name, CLUSTER_NAMESPACE: ctx.namespace},
            },
            "namespaceSelector": {"matchNames": [*sorted({ctx.namespace, ctx.node_namespace})]},
            "endpoints": [
                {
                    "port": _PORT,
                    "interval": prometheus.interval,
                    "relabelings": [
                        {"targetLabel": CLUSTER_LABEL, "replacement": ctx.name},
                        {"targetLabel": NAMESPACE_LABEL, "replacement": ctx.namespace},
                    ],
                }
            ],
        },
    }


def build_prometheus_rule(ctx: Context, workloads: Sequence[ObjectRef]) -> JsonObject | None:
    """Alerts that a person should get whatever else they watch; docs/alerts.md says what to do about each."""
    version = ctx.served.api_version(_GROUP, "PrometheusRule", "v1")
    if not ctx.effective.prometheus or not version:
        return None
    return {
        "apiVersion": version,
        "kind": "PrometheusRule",
        "metadata": _metadata(ctx, "alerts", ctx.effective.spec.monitoring.prometheus.labels),
        "spec": {"groups": [*alert_groups(ctx, workloads)]},
    }


def build_dashboards(ctx: Context, workloads: Sequence[ObjectRef]) -> JsonObject | None:
    """Dashboards in a ConfigMap, which Grafana's sidecar finds by its label."""
    if not ctx.effective.grafana:
        return None
    labels = ctx.effective.spec.monitoring.grafana.labels or {"grafana_dashboard": "1"}
    return build_config_map(_metadata(ctx, "dashboards", labels), dashboards(ctx, workloads))


def _metadata(ctx: Context, suffix: str, labels: Mapping[str, str] | None) -> JsonObject:
    metadata = ctx.metadata(ctx.child(suffix), APP, COMPONENT)
    own = metadata["labels"]
    metadata["labels"] = {**dict(sorted((labels or {}).items())), **(own if isinstance(own, dict) else {})}
    return metadata
