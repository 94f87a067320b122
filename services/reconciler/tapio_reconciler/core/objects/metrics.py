"""How the metrics of one Tapio are named in queries: labels that the monitor puts on, and names of other exporters."""

from __future__ import annotations

from tapio_reconciler.core.objects.context import Context

CLUSTER_LABEL, NAMESPACE_LABEL = "tapio_cluster", "tapio_namespace"


def series(ctx: Context, metric: str, **labels: str) -> str:
    """`metric` of this Tapio, and of none of the same name in another namespace. A label ending in `__re` is a
    pattern."""
    own = {CLUSTER_LABEL: ctx.name, NAMESPACE_LABEL: ctx.namespace, **labels}
    return f"{metric}{{{_matchers(own)}}}"


def foreign_series(metric: str, **labels: str) -> str:
    """`metric` of an exporter that knows nothing of Tapio, such as kube-state-metrics or the kubelet."""
    return f"{metric}{{{_matchers(labels)}}}"


def _matchers(labels: dict[str, str]) -> str:
    found: list[str] = []
    for name, value in labels.items():
        operator = "=~" if name.endswith("__re") else "="
        found.append(f'{name.removesuffix("__re")}{operator}"{value}"')
    return ",".join(found)
