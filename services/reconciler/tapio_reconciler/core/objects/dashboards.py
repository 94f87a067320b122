"""Grafana dashboards of one Tapio: overview, collectors, messaging, volumes. The data source is chosen in Grafana."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.objects.correlation import CONSUMER, STREAM
from tapio_reconciler.core.objects.metrics import agents_of, claims_of, foreign_series, pods_of, series
from tapio_shared.api.kinds import BACKLOG_METRIC
from tapio_shared.api.names import short_hash
from tapio_shared.json import JsonObject, JsonValue
from tapio_shared.keys import ObjectRef

_SCHEMA = 39
"""Of Grafana 10.4 and newer; Grafana migrates older ones by itself."""
_SOURCE: JsonObject = {"type": "prometheus", "uid": "${datasource}"}
_HEIGHT, _WIDTH = 8, 12


@dataclass(frozen=True, slots=True)
class _Panel:
    title: str
    expression: str
    legend: str
    unit: str = "short"


def dashboards(ctx: Context, workloads: Sequence[ObjectRef]) -> dict[str, str]:
    """File name -> dashboard as JSON, of what this Tapio runs: its `workloads`."""
    boards = {"overview": _overview(ctx, workloads)}
    if ctx.effective.collectors:
        boards["collectors"] = _collectors(ctx, workloads)
    if not ctx.effective.uses_external_nats:
        boards["messaging"] = _messaging(ctx)
    boards["storage"] = _storage(ctx, workloads)
    return {
        f"tapio-{ctx.namespace}-{ctx.name}-{name}.json": json.dumps(_board(ctx, name, panels), sort_keys=True)
        for name, panels in boards.items()
    }


def _overview(ctx: Context, workloads: Sequence[ObjectRef]) -> list[_Panel]:
    return [
        _Panel("Components that answer", series(ctx, "up"), "{{job}} {{pod}}"),
        _Panel("Memory", series(ctx, "process_resident_memory_bytes"), "{{job}} {{pod}}", "bytes"),
        _Panel("CPU", f"rate({series(ctx, 'process_cpu_seconds_total')}[5m])", "{{job}} {{pod}}", "percentunit"),
        _Panel(
            "Restarts in the last hour",
            "increase("
            + foreign_series(
                "kube_pod_container_status_restarts_total", namespace=ctx.namespace, pod__re=pods_of(ctx, workloads)
            )
            + "[1h])",
            "{{pod}} {{container}}",
        ),
    ]


def _collectors(ctx: Context, workloads: Sequence[ObjectRef]) -> list[_Panel]:
    """What is observed, and what observing costs: node agents take from every node."""
    ours = {"job__re": "|".join(sorted({f"tapio-{one.type}" for one in ctx.effective.collectors}))}
    cpu, memory = series(ctx, "process_cpu_seconds_total", **ours), series(ctx, "process_resident_memory_bytes", **ours)
    panels = [
        _Panel("Collectors that answer", f"sum by (job) ({series(ctx, 'up', **ours)})", "{{job}}"),
        _Panel("CPU of all collectors", f"sum by (job) (rate({cpu}[5m]))", "{{job}}"),
        _Panel("Most CPU on one node", f"max by (job) (rate({cpu}[5m]))", "{{job}}"),
        _Panel("Most memory on one node", f"max by (job) ({memory})", "{{job}}", "bytes"),
    ]
    agents = agents_of(ctx, workloads)
    if agents:
        fleet = {"namespace": ctx.node_namespace, "daemonset__re": agents}
        pods = foreign_series(
            "kube_pod_container_status_restarts_total", namespace=ctx.node_namespace, pod__re=f"({agents})-.*"
        )
        panels += [
            _Panel(
                "Nodes without a ready collector",
                foreign_series("kube_daemonset_status_number_unavailable", **fleet),
                "{{daemonset}}",
            ),
            _Panel(
                "Nodes to be observed",
                foreign_series("kube_daemonset_status_desired_number_scheduled", **fleet),
                "{{daemonset}}",
            ),
            _Panel(
                "Nodes whose collector is of a former version",
                foreign_series("kube_daemonset_status_desired_number_scheduled", **fleet)
                + " - "
                + foreign_series("kube_daemonset_status_updated_number_scheduled", **fleet),
                "{{daemonset}}",
            ),
            _Panel("Restarts in the last hour", f"increase({pods}[1h])", "{{pod}} {{container}}"),
        ]
    return panels


def _messaging(ctx: Context) -> list[_Panel]:
    leader = series(ctx, BACKLOG_METRIC, stream_name=STREAM, consumer_name=CONSUMER, is_consumer_leader="true")
    written = series(ctx, "jetstream_stream_last_seq", stream_name=STREAM, is_stream_leader="true")
    return [
        _Panel("Observations per second", f"rate({written}[5m])", "{{stream_name}}", "ops"),
        _Panel("Observations waiting for correlation", leader, "{{consumer_name}}"),
        _Panel("Storage in use", series(ctx, "jetstream_server_total_message_bytes"), "{{server_name}}", "bytes"),
        _Panel("Connections", series(ctx, "gnatsd_varz_connections"), "{{pod}}"),
    ]


def _storage(ctx: Context, workloads: Sequence[ObjectRef]) -> list[_Panel]:
    claims = {"namespace": ctx.namespace, "persistentvolumeclaim__re": claims_of(ctx, workloads)}
    left = foreign_series("kubelet_volume_stats_available_bytes", **claims)
    size = foreign_series("kubelet_volume_stats_capacity_bytes", **claims)
    panels = [_Panel("Space left on volumes", f"{left} / {size}", "{{persistentvolumeclaim}}", "percentunit")]
    if ctx.effective.neo4j_edition == "enterprise" and ctx.effective.runs_neo4j:
        panels.append(
            _Panel(
                "Transactions of Neo4j per second",
                f"rate({series(ctx, 'neo4j_database_neo4j_transaction_committed_total')}[5m])",
                "{{pod}}",
                "ops",
            )
        )
    return panels


def _board(ctx: Context, name: str, panels: Sequence[_Panel]) -> JsonObject:
    variable: JsonObject = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    return {
        "title": f"Tapio {ctx.namespace}/{ctx.name}: {name}",
        "uid": f"tapio-{short_hash(f'{ctx.namespace}/{ctx.name}')}-{name}",
        "schemaVersion": _SCHEMA,
        "version": 1,
        "editable": False,
        "tags": ["tapio"],
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "1m",
        "templating": {"list": [variable]},
        "panels": [_panel(number, one) for number, one in enumerate(panels)],
    }


def _panel(number: int, panel: _Panel) -> JsonObject:
    defaults: JsonObject = {"unit": panel.unit}
    target: JsonValue = {
        "datasource": _SOURCE,
        "expr": panel.expression,
        "legendFormat": panel.legend,
        "refId": "A",
    }
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "gridPos": {"h": _HEIGHT, "w": _WIDTH, "x": number % 2 * _WIDTH, "y": number // 2 * _HEIGHT},
        "targets": [target],
    }
