"""docs/metrics.md lists every metric that a service serves, with its labels and in its own words."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from tapio_reconciler.shell.metrics import Metrics as ReconcilerMetrics
from tapio_shared.adapters.clock import SystemClock
from tapio_shared.api.trust import Trust
from tapio_shared.kube_metrics import KubeMetrics
from tapio_watcher.metrics import Metrics as WatcherMetrics
from tapio_webhook.recording import AdmissionRecorder
from tapio_webhook.server import WebhookServer

PAGE = (Path(__file__).parents[2] / "docs/metrics.md").read_text()
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \| ([^|]*) \|$", re.MULTILINE)


class Registry(CollectorRegistry):
    """One that remembers who registered, since labels can't be seen of a metric that has no sample yet."""

    def __init__(self) -> None:
        super().__init__()
        self.registered: list[Collector] = []

    def register(self, collector: Collector) -> None:
        self.registered.append(collector)
        super().register(collector)

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Name as it is scraped, type, labels and text of every metric."""
        found: list[tuple[str, str, str, str]] = []
        for one in self.registered:
            (family,) = one.collect()
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = ", ".join(f"`{label}`" for label in vars(one)["_labelnames"])
            found.append((name, family.type, labels, family.documentation))
        return found


def of_the_webhook(registry: CollectorRegistry) -> None:
    recorder = AdmissionRecorder(registry)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    WebhookServer(context, recorder, Trust, registry, SystemClock(), target="", address="", port=0)


@pytest.mark.parametrize(
    ("title", "make"),
    [
        pytest.param("watcher", WatcherMetrics, id="watcher"),
        pytest.param("reconciler", ReconcilerMetrics, id="reconciler"),
        pytest.param("webhook", of_the_webhook, id="webhook"),
        pytest.param("Every service", KubeMetrics, id="every service"),
    ],
)
def test_the_page_lists_every_metric_as_it_is_served(title: str, make: Callable[[CollectorRegistry], object]) -> None:
    registry = Registry()
    make(registry)
    section = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    assert ROW.findall(section) == registry.rows()
