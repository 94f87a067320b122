"""What the watcher counts, in Prometheus' terms."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """One set of instruments per process, in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.events = Counter("tapio_watcher_events", "Objects told by the API server.", ["kind"], registry=registry)
        self.published = Counter("tapio_watcher_facts_published", "Facts appended.", ["type"], registry=registry)
        self.suppressed = Counter(
            "tapio_watcher_facts_suppressed", "Facts equal to the last one of their subject.", registry=registry
        )
        self.conflicts = Counter(
            "tapio_watcher_conflicts", "Appends refused since somebody else wrote first.", registry=registry
        )
        self.relists = Counter("tapio_watcher_relists", "Lists of a whole kind.", ["kind"], registry=registry)
        self.restarts = Counter("tapio_watcher_watch_restarts", "Watches opened anew.", ["kind"], registry=registry)
        self.found_by_comparison = Counter(
            "tapio_watcher_found_by_comparison",
            "Changes that a watch had missed and the comparison list found.",
            ["kind"],
            registry=registry,
        )
        self.pending = Gauge("tapio_watcher_pending_facts", "Facts that wait to be appended.", registry=registry)
        self.synced = Gauge("tapio_watcher_synced", "1 while the log holds a complete observation.", registry=registry)
        self.leading = Gauge("tapio_watcher_leading", "1 while this process leads.", registry=registry)
        self.parked = Counter(
            "tapio_watcher_parked_messages", "Messages of the log that could not be read.", registry=registry
        )
        self.append_seconds = Histogram(
            "tapio_watcher_append_seconds",
            "Time from an object being told to its fact being durable.",
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5),
            registry=registry,
        )
