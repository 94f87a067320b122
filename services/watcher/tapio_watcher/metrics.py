"""What the watcher counts, in Prometheus' terms."""

from __future__ import annotations

from copy import copy

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """One set of instruments per process, in `registry`; gauges are those of one target."""

    def __init__(self, registry: CollectorRegistry, target: str = "local") -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"tapio_watcher_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            self._gauges[name] = Gauge(f"tapio_watcher_{name}", text, ("target",), registry=registry)
            return self._gauges[name].labels(target)

        self._gauges: dict[str, Gauge] = {}

        self.events = counter("events", "Changes of objects that the API server told of.", "kind")
        self.published = counter("facts_published", "Facts appended.", "type")
        self.suppressed = counter("facts_suppressed", "Facts equal to the last one of their subject.")
        self.coalesced = counter("facts_coalesced", "Facts replaced by newer ones before they were appended.")
        self.delayed = counter("facts_delayed", "Facts that waited for their object's or key's rate limit.")
        self.swept = counter("facts_swept", "Facts appended again, so that they don't age out.")
        self.dropped = counter(
            "facts_dropped", "Facts that the log dropped while they were still the last of their objects."
        )
        self.conflicts = counter("conflicts", "Appends refused because somebody else wrote first.")
        self.failures = counter("append_failures", "Appends that failed and were tried again.", "error")
        self.relists = counter("relists", "Lists of a whole kind that were read.", "kind")
        self.restarts = counter("watch_restarts", "Watches opened anew.", "kind")
        self.found_by_comparison = counter(
            "found_by_comparison", "Changes that a watch had missed and the comparison list found.", "kind"
        )
        self.parked = counter("parked_messages", "Messages of the log that could not be read.")
        self.pending = gauge("pending_facts", "Objects whose facts wait to be appended.")
        self.known = gauge("known_subjects", "Subjects of objects that the log is known to hold.")
        self.filling = gauge(
            "log_live_ratio",
            "About what share of TAPIO_LOG_MAX_BYTES must stay, at the last sweep; raise that from one half on.",
        )
        self.secret_watches = gauge("secret_watches", "Watches of single Secrets.")
        self.synced = gauge("synced", "1 while the log holds a complete observation.")
        self.leading = gauge("leading", "1 while this process leads.")
        self.append_seconds = Histogram(
            "tapio_watcher_append_seconds",
            "Seconds from the API server telling of an object until its fact is durable.",
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 30),
            registry=registry,
        )

    def of(self, target: str) -> Metrics:
        """The same instruments, with the gauges of `target`."""
        found = copy(self)
        found.pending, found.known, found.filling, found.secret_watches, found.synced, found.leading = (
            self._gauges[name].labels(target)
            for name in ("pending_facts", "known_subjects", "log_live_ratio", "secret_watches", "synced", "leading")
        )
        return found

    def forget(self, target: str) -> None:
        """Show no gauges of `target` any more."""
        for one in self._gauges.values():
            one.remove(target)
