"""How the metrics of one Tapio are named in queries: labels that the monitor puts on, and names of other exporters."""

from __future__ import annotations

from collections.abc import Iterable

from tapio_reconciler.core.objects.context import Context
from tapio_shared.keys import ObjectRef

CLUSTER_LABEL, NAMESPACE_LABEL = "tapio_cluster", "tapio_namespace"


def series(ctx: Context, metric: str, **labels: str) -> str:
    """`metric` of this Tapio, and of none of the same name in another namespace. A label ending in `__re` is a
    pattern."""
    own = {CLUSTER_LABEL: ctx.name, NAMESPACE_LABEL: ctx.namespace, **labels}
    return f"{metric}{{{_matchers(own)}}}"


def foreign_series(metric: str, **labels: str) -> str:
    """`metric` of an exporter that knows nothing of Tapio, such as kube-state-metrics or the kubelet."""
    return f"{metric}{{{_matchers(labels)}}}"


def names_of(ctx: Context, workloads: Iterable[ObjectRef], *kinds: str) -> str:
    """A pattern of the names of those `workloads` of `kinds` that are in the cluster's own namespace; it is empty
    where there are none. By name, since a name may be hashed, and another cluster's may begin like this one's."""
    return "|".join(sorted(one.name for one in workloads if one.kind in kinds and one.namespace == ctx.namespace))


def agents_of(ctx: Context, workloads: Iterable[ObjectRef]) -> str:
    """The same of the node agents, which are DaemonSets of another namespace."""
    return "|".join(
        sorted(one.name for one in workloads if one.kind == "DaemonSet" and one.namespace == ctx.node_namespace)
    )


def pods_of(ctx: Context, workloads: Iterable[ObjectRef]) -> str:
    """A pattern of the names of their pods."""
    return f"({names_of(ctx, workloads, 'Deployment', 'StatefulSet')})-.*"


def claims_of(ctx: Context, workloads: Iterable[ObjectRef]) -> str:
    """A pattern of the names of the volume claims that StatefulSets made."""
    return f"(data|graph)-({names_of(ctx, workloads, 'StatefulSet')})-[0-9]+"


def _matchers(labels: dict[str, str]) -> str:
    found: list[str] = []
    for name, value in labels.items():
        operator = "=~" if name.endswith("__re") else "="
        found.append(f'{name.removesuffix("__re")}{operator}"{value}"')
    return ",".join(found)
