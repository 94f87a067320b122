"""What the reconciler counts, in Prometheus' terms."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """One set of instruments per process, in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.plans = Counter(
            "tapio_reconciler_plans", "Plans made: decided, unchanged or failed.", ["result"], registry=registry
        )
        self.plan_seconds = Histogram(
            "tapio_reconciler_plan_seconds", "Seconds to plan one key.", buckets=_SECONDS, registry=registry
        )
        self.record_seconds = Histogram(
            "tapio_reconciler_record_seconds",
            "Seconds until a decision is durable in the event log.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.apply_seconds = Histogram(
            "tapio_reconciler_apply_seconds", "Seconds to apply one decision.", buckets=_SECONDS, registry=registry
        )
        self.latency = Histogram(
            "tapio_reconciler_fact_to_applied_seconds",
            "Seconds from receiving the fact that made a key dirty to the last write of its decision.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.writes = Counter(
            "tapio_reconciler_writes",
            "Objects written or deleted in Kubernetes: done or failed.",
            ["action", "result"],
            registry=registry,
        )
        self.partitions = Gauge("tapio_reconciler_partitions", "Partitions owned by this worker.", registry=registry)
        self.keys = Gauge("tapio_reconciler_keys", "Ordering keys in the owned partitions.", registry=registry)
        self.outdated = Gauge(
            "tapio_reconciler_outdated",
            "1 while this worker owns nothing because a newer version recorded what it can't read.",
            registry=registry,
        )
        self.takeovers = Counter("tapio_reconciler_takeovers", "Partitions taken over.", registry=registry)
        self.fenced = Counter(
            "tapio_reconciler_fenced", "Partitions lost to another worker while working.", registry=registry
        )
        self.parked = Counter(
            "tapio_reconciler_parked_messages", "Messages of the log that could not be read.", registry=registry
        )
