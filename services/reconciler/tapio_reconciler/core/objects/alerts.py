"""Alert rules: what is worth waking somebody for. docs/alerts.md has a section for each, with what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.objects.correlation import CONSUMER, STREAM
from tapio_reconciler.core.objects.metrics import agents_of, claims_of, foreign_series, names_of, pods_of, series
from tapio_shared.api import names
from tapio_shared.api.kinds import BACKLOG_METRIC
from tapio_shared.json import JsonObject, JsonValue
from tapio_shared.keys import ObjectRef

RUNBOOKS = "docs/alerts.md"
_BACKLOG = 100_000
_LEFT = 0.15
_UNKEPT = 3600
"""Seconds; six runs of the CronJob."""
_READY = {
    "Deployment": "kube_deployment_status_replicas_available",
    "StatefulSet": "kube_statefulset_status_replicas_ready",
}
"""What kube-state-metrics tells of pods that are ready, also where there is none that could be scraped."""


def alert_groups(ctx: Context, workloads: Sequence[ObjectRef]) -> list[JsonObject]:
    """The groups of a PrometheusRule; only alerts about what this Tapio runs, which are its `workloads`."""
    rules: list[JsonValue] = [
        *_everywhere(ctx, workloads),
        *_streams(ctx),
        *_messaging(ctx),
        *_volumes(ctx, workloads),
        *_collectors(ctx, workloads),
    ]
    return [{"name": f"tapio.{ctx.namespace}.{ctx.name}", "rules": rules}]


def _everywhere(ctx: Context, workloads: Sequence[ObjectRef]) -> Iterator[JsonObject]:
    yield _alert(
        ctx,
        "TapioComponentDown",
        f"{series(ctx, 'up')} == 0",
        wait="5m",
        summary="A component of Tapio does not answer.",
        description="{{ $labels.job }} ({{ $labels.pod }}) has not been scraped for 5 minutes.",
    )
    gone = [
        foreign_series(metric, namespace=ctx.namespace, **{f"{kind.lower()}__re": found})
        for kind, metric in _READY.items()
        if (found := names_of(ctx, workloads, kind))
    ]
    if gone:
        yield _alert(
            ctx,
            "TapioComponentUnavailable",
            " or ".join(f"{one} == 0" for one in gone),
            wait="5m",
            severity="critical",
            summary="A component of Tapio has no ready pod.",
            description="{{ $labels.deployment }}{{ $labels.statefulset }} has had no ready pod for 5 minutes.",
        )
    restarts = "kube_pod_container_status_restarts_total"
    where = [foreign_series(restarts, namespace=ctx.namespace, pod__re=pods_of(ctx, workloads))]
    agents = agents_of(ctx, workloads)
    if agents:
        where.append(foreign_series(restarts, namespace=ctx.node_namespace, pod__re=f"({agents})-.*"))
    yield _alert(
        ctx,
        "TapioContainerRestarting",
        " or ".join(f"increase({one}[15m]) > 3" for one in where),
        wait="5m",
        summary="A container of Tapio restarts again and again.",
        description="{{ $labels.container }} of pod {{ $labels.pod }} has restarted more than 3 times in 15 minutes.",
    )


def _streams(ctx: Context) -> Iterator[JsonObject]:
    """Of the CronJob, whose runs are no facts: the first Job's failure is in the status, a later one only here."""
    if not ctx.served.api_version("batch", "CronJob", "v1", "v1beta1"):
        return
    succeeded = foreign_series(
        "kube_cronjob_status_last_successful_time", namespace=ctx.namespace, cronjob=ctx.child(names.STREAMS)
    )
    yield _alert(
        ctx,
        "TapioStreamsNotKept",
        f"time() - {succeeded} > {_UNKEPT}",
        wait="5m",
        summary="The stream of observations has not been looked after for an hour.",
        description="CronJob {{ $labels.cronjob }} runs every ten minutes and has not succeeded for an hour.",
    )


def _messaging(ctx: Context) -> Iterator[JsonObject]:
    if ctx.effective.uses_external_nats:
        return
    servers = ctx.effective.nats_servers
    quorum = servers // 2 + 1
    up = f"sum({series(ctx, 'up', job='nats')})"
    yield _alert(
        ctx,
        "TapioMessagingQuorumLost",
        f"{up} < {quorum} or absent({series(ctx, 'up', job='nats')})",
        wait="2m",
        severity="critical",
        summary="Too few NATS servers run to take observations.",
        description=f"Fewer than {quorum} of {servers} NATS servers answer; observations are being lost or held back.",
    )
    if servers > 1:
        yield _alert(
            ctx,
            "TapioMessagingServerMissing",
            f"{up} < {servers}",
            wait="15m",
            summary="A NATS server is missing.",
            description=f"Fewer than {servers} NATS servers have answered for 15 minutes; the next failure may stop "
            "messaging.",
        )
    used = series(ctx, "jetstream_server_total_message_bytes")
    yield _alert(
        ctx,
        "TapioMessagingStorageFilling",
        f"max({used} / {series(ctx, 'jetstream_server_max_storage')}) > {1 - _LEFT}",
        wait="15m",
        summary="JetStream's storage is nearly full.",
        description="More than 85 % of the storage that JetStream may use holds messages.",
    )
    backlog = series(ctx, BACKLOG_METRIC, stream_name=STREAM, consumer_name=CONSUMER, is_consumer_leader="true")
    yield _alert(
        ctx,
        "TapioCorrelationFallingBehind",
        f"max({backlog}) > {_BACKLOG}",
        wait="15m",
        summary="Correlation does not keep up with the observations.",
        description=f"More than {_BACKLOG} observations have been waiting for 15 minutes; the oldest are dropped when "
        "the stream is full.",
    )


def _volumes(ctx: Context, workloads: Sequence[ObjectRef]) -> Iterator[JsonObject]:
    if not names_of(ctx, workloads, "StatefulSet"):
        return
    which = {"namespace": ctx.namespace, "persistentvolumeclaim__re": claims_of(ctx, workloads)}
    left = foreign_series("kubelet_volume_stats_available_bytes", **which)
    size = foreign_series("kubelet_volume_stats_capacity_bytes", **which)
    yield _alert(
        ctx,
        "TapioVolumeFilling",
        f"{left} / {size} < {_LEFT}",
        wait="15m",
        summary="A volume of Tapio is nearly full.",
        description="Less than 15 % of volume {{ $labels.persistentvolumeclaim }} is left.",
    )


def _collectors(ctx: Context, workloads: Sequence[ObjectRef]) -> Iterator[JsonObject]:
    agents = agents_of(ctx, workloads)
    if not agents:
        return
    missing = foreign_series(
        "kube_daemonset_status_number_unavailable", namespace=ctx.node_namespace, daemonset__re=agents
    )
    yield _alert(
        ctx,
        "TapioNodesUnobserved",
        f"{missing} > 0",
        wait="15m",
        summary="Some nodes are not observed.",
        description="{{ $value }} nodes have had no ready pod of {{ $labels.daemonset }} for 15 minutes.",
    )


def _alert(
    ctx: Context,
    name: str,
    expression: str,
    *,
    wait: str,
    summary: str,
    description: str,
    severity: str = "warning",
) -> JsonObject:
    look = f"Look at: kubectl describe tapiocluster {ctx.name} -n {ctx.namespace}"
    return {
        "alert": name,
        "expr": expression,
        "for": wait,
        "labels": {"severity": severity, "tapio_cluster": ctx.name, "tapio_namespace": ctx.namespace},
        "annotations": {
            "summary": summary,
            "description": f"{description} {look}",
            "runbook": f"{RUNBOOKS}#{name.lower()}",
        },
    }
