"""Neo4j's settings, as its image takes them: one environment variable each.

Names and values are those of Neo4j 5.26 (server.*, discovery v2); from 2025.01 on discovery v2 is the only one, and its
settings have other names. A single member has no cluster settings.
Sources: https://neo4j.com/docs/operations-manual/5/clustering/setup/discovery/, the image's docker-entrypoint.sh.
"""

from __future__ import annotations

import re
from decimal import Decimal

from tapio_reconciler.core.objects.context import Context
from tapio_shared.api.quantity import parse_quantity
from tapio_shared.json import JsonObject, JsonValue, str_at

APP = "neo4j"
METRICS = 2004
TRANSACTIONS, RAFT, ROUTING = 6000, 7000, 7688
_GI = Decimal(1 << 30)
_FIRST_CALVER = 2025
_PRIMARIES = 3
_BRACKETS = tuple(
    (Decimal(total), Decimal(system), Decimal(heap))
    for total, system, heap in (
        ("0", "0", "0"),
        ("1", "0.65", "0.3"),
        ("2", "1", "0.5"),
        ("4", "1.5", "2"),
        ("8", "2.5", "3.5"),
        ("16", "4", "5"),
        ("32", "8", "12"),
        ("64", "12", "24"),
        ("128", "16", "31"),
        ("256", "20", "31"),
        ("512", "24", "31"),
        ("1024", "30", "31"),
    )
)
"""Total, what the system and the JVM itself need, and heap, in GiB; the rest is page cache. The table of
`neo4j-admin server memory-recommendation`, which says 5g of heap and 7g of page cache for 16g. Heap stays below the
32 GiB from which on the JVM can't compress pointers."""


def memory_of(limit: str) -> tuple[str, str]:
    """Heap and page cache for a memory limit, in mebibytes: in proportion between two rows of the vendor's table."""
    total = min(parse_quantity(limit) / _GI, _BRACKETS[-1][0])
    lower = next(row for row in reversed(_BRACKETS[:-1]) if row[0] <= total)
    upper = _BRACKETS[_BRACKETS.index(lower) + 1]
    part = (total - lower[0]) / (upper[0] - lower[0])
    system, heap = (low + part * (high - low) for low, high in zip(lower[1:], upper[1:], strict=True))
    return f"{int(heap * 1024)}m", f"{int((total - system - heap) * 1024)}m"


def variable(setting: str) -> str:
    """The variable of a setting: `_` becomes `__`, `.` becomes `_`."""
    return "NEO4J_" + setting.replace("_", "__").replace(".", "_")


def settings_of(ctx: Context, version: str) -> dict[str, str]:
    """The variables that all members have alike; `version` is the image's."""
    effective = ctx.effective
    enterprise = effective.neo4j_edition == "enterprise"
    heap, cache = memory_of(str_at(effective.resources[APP], "limits", "memory", default="2Gi"))
    settings: dict[str, str] = {
        "server.memory.heap.initial_size": heap,
        "server.memory.heap.max_size": heap,
        "server.memory.pagecache.size": cache,
        # The spec may say otherwise: whether this includes IPv6 is up to the JVM's transport.
        "server.default_listen_address": "0.0.0.0",  # noqa: S104 - in the container
        "server.directories.logs": "/logs",
        "server.directories.run": "/var/lib/neo4j/run",
    }
    if enterprise:
        settings["server.metrics.csv.enabled"] = "false"
        if ctx.graph_began_as_community:
            # Enterprise leaves what Community wrote as it is, and makes new databases in a format that Community can't
            # read (block, since 5.22): then there would be no way back, and nobody could tell by the claim.
            settings["db.format"] = "aligned"
    if enterprise and effective.prometheus:
        settings |= {
            "server.metrics.prometheus.enabled": "true",
            "server.metrics.prometheus.endpoint": f"0.0.0.0:{METRICS}",
        }
    if is_clustered(ctx):
        settings |= _cluster_settings(ctx, version)
    own = {str(key): _text(value) for key, value in (effective.neo4j.config or {}).items()}
    data = {variable(name): value for name, value in (settings | own).items()}
    if effective.neo4j.plugins:
        data["NEO4J_PLUGINS"] = "[" + ",".join(f'"{plugin}"' for plugin in effective.neo4j.plugins) + "]"
    if enterprise:
        data["NEO4J_ACCEPT_LICENSE_AGREEMENT"] = effective.neo4j.accept_license_agreement
    return data


def is_clustered(ctx: Context) -> bool:
    """Whether there are members to find; clusters are Enterprise's."""
    return ctx.effective.neo4j_edition == "enterprise" and ctx.effective.neo4j_members > 1


def advertised(ctx: Context) -> list[JsonObject]:
    """The variables of a member's own addresses. The image would name those of the cluster after the host alone."""
    address = f"$(POD_NAME).{ctx.child('neo4j-headless')}.{ctx.namespace}.svc"
    found = {"server.default_advertised_address": address}
    if is_clustered(ctx):
        found |= {
            "server.cluster.advertised_address": f"{address}:{TRANSACTIONS}",
            "server.cluster.raft.advertised_address": f"{address}:{RAFT}",
            "server.routing.advertised_address": f"{address}:{ROUTING}",
        }
    return [{"name": variable(name), "value": found[name]} for name in sorted(found)]


def _cluster_settings(ctx: Context, version: str) -> dict[str, str]:
    """Members find each other by the addresses behind the headless Service, so adding one changes no setting."""
    effective = ctx.effective
    endpoint = f"{ctx.child('neo4j-headless')}.{ctx.namespace}.svc:{TRANSACTIONS}"
    began = ctx.graph_began_with or min(effective.neo4j_members, _PRIMARIES)
    settings = {
        "dbms.cluster.discovery.resolver_type": "DNS",
        "dbms.cluster.minimum_initial_system_primaries_count": str(began),
        "initial.dbms.default_primaries_count": str(_PRIMARIES if began >= _PRIMARIES else 1),
        "initial.dbms.automatically_enable_free_servers": "true",
        "dbms.routing.enabled": "true",
    }
    major = re.match(r"v?(\d+)", version)
    if major is not None and int(major.group(1)) >= _FIRST_CALVER:
        return {**settings, "dbms.cluster.endpoints": endpoint}
    return {
        **settings,
        "dbms.cluster.discovery.version": "V2_ONLY",
        "dbms.cluster.discovery.v2.endpoints": endpoint,
    }


def _text(value: JsonValue) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
