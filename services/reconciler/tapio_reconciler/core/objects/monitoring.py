"""How Tapio itself is observed: scraping where the Prometheus operator is served, alerts, dashboards."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tapio_reconciler.core.model import Component, Notice
from tapio_reconciler.core.objects.common import build_config_map, present
from tapio_reconciler.core.objects.context import Context
from tapio_shared.api.labels import INSTANCE, PART_OF, PART_OF_TAPIO
from tapio_shared.api.reasons import Reason
from tapio_shared.json import JsonObject, JsonValue

APP = "tapio-monitoring"
COMPONENT = "monitoring"
_GROUP = "monitoring.coreos.com"


def build_monitoring(ctx: Context) -> Component | None:
    """Monitor, rules and dashboard; None when nothing of it is wanted or can be served."""
    objects = present([build_service_monitor(ctx), build_prometheus_rule(ctx), build_dashboard(ctx)])
    return Component(name=COMPONENT, objects=objects) if objects else None


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
    """One monitor for all Services of the cluster, in both namespaces."""
    version = ctx.served.api_version(_GROUP, "ServiceMonitor", "v1")
    if not ctx.effective.prometheus or not version:
        return None
    prometheus = ctx.effective.spec.monitoring.prometheus
    return {
        "apiVersion": version,
        "kind": "ServiceMonitor",
        "metadata": _metadata(ctx, "metrics", prometheus.labels),
        "spec": {
            "selector": {
                "matchLabels": {PART_OF: PART_OF_TAPIO, "tapio.io/cluster": ctx.name},
            },
            "namespaceSelector": {"matchNames": [ctx.namespace, ctx.node_namespace]},
            "endpoints": [{"port": "metrics", "interval": prometheus.interval}],
        },
    }


def build_prometheus_rule(ctx: Context) -> JsonObject | None:
    """Alerts that a person should get whatever else they watch."""
    version = ctx.served.api_version(_GROUP, "PrometheusRule", "v1")
    if not ctx.effective.prometheus or not version:
        return None
    names = f'namespace="{ctx.namespace}",job=~"{ctx.name}-.*"'
    rules: list[JsonValue] = [
        {
            "alert": "TapioComponentDown",
            "expr": f"up{{{names}}} == 0",
            "for": "5m",
            "labels": {"severity": "warning"},
            "annotations": {
                "summary": "A component of Tapio does not answer.",
                "description": "{{ $labels.job }} in {{ $labels.namespace }} has not been scraped for 5 minutes. "
                f"Look at: kubectl describe tapiocluster {ctx.name} -n {ctx.namespace}",
            },
        }
    ]
    return {
        "apiVersion": version,
        "kind": "PrometheusRule",
        "metadata": _metadata(ctx, "alerts", ctx.effective.spec.monitoring.prometheus.labels),
        "spec": {"groups": [{"name": f"tapio.{ctx.name}", "rules": rules}]},
    }


def build_dashboard(ctx: Context) -> JsonObject | None:
    """A dashboard as a ConfigMap, which Grafana's sidecar finds by its label."""
    if not ctx.effective.grafana:
        return None
    labels = ctx.effective.spec.monitoring.grafana.labels or {"grafana_dashboard": "1"}
    metadata = _metadata(ctx, "dashboards", labels)
    return build_config_map(metadata, {f"tapio-{ctx.name}.json": json.dumps(_dashboard(ctx), sort_keys=True)})


def _dashboard(ctx: Context) -> JsonObject:
    job = f'namespace="{ctx.namespace}",{INSTANCE.replace(".", "_").replace("/", "_")}="{ctx.name}"'
    panels: list[JsonValue] = [
        _panel(1, "Components up", f"up{{{job}}}", 0),
        _panel(2, "Memory", f"process_resident_memory_bytes{{{job}}}", 12),
    ]
    return {
        "title": f"Tapio {ctx.namespace}/{ctx.name}",
        "uid": f"tapio-{ctx.uid[:30]}",
        "schemaVersion": 39,
        "tags": ["tapio"],
        "time": {"from": "now-6h", "to": "now"},
        "panels": panels,
    }


def _panel(number: int, title: str, expression: str, left: int) -> JsonObject:
    return {
        "id": number,
        "type": "timeseries",
        "title": title,
        "gridPos": {"h": 8, "w": 12, "x": left, "y": 0},
        "targets": [{"expr": expression, "legendFormat": "{{job}}"}],
    }


def _metadata(ctx: Context, suffix: str, labels: Mapping[str, str] | None) -> JsonObject:
    metadata = ctx.metadata(ctx.child(suffix), APP, COMPONENT)
    own = metadata["labels"]
    metadata["labels"] = {**dict(sorted((labels or {}).items())), **(own if isinstance(own, dict) else {})}
    return metadata
