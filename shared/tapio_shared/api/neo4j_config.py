"""Which settings of Neo4j `spec.intelligence.neo4j.config` may hold, and which of them the operator itself decides."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tapio_shared.api.problems import Path, Problem, problem
from tapio_shared.json import JsonObject

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[A-Za-z0-9_-]+)+")
_OWNED = frozenset(
    {
        "dbms.cluster.endpoints",
        "dbms.cluster.minimum_initial_system_primaries_count",
        "dbms.security.auth_enabled",
        "initial.dbms.automatically_enable_free_servers",
        "initial.dbms.default_primaries_count",
        "server.bolt.enabled",
        "server.bolt.listen_address",
        "server.default_advertised_address",
        "server.http.listen_address",
        "server.routing.listen_address",
    }
)
_OWNED_PREFIXES = (
    "dbms.cluster.discovery.",
    "dbms.kubernetes.",
    "server.cluster.",
    "server.directories.",
    "server.metrics.prometheus.",
)
"""Addresses, discovery and paths follow from the objects that the operator makes."""


def config_problems(config: JsonObject, path: Path) -> Iterator[Problem]:
    """What is wrong with the settings under `path`: names, values, and settings that are the operator's own."""
    for name, value in config.items():
        if not _NAME.fullmatch(name):
            yield problem((*path, name), value, 'named like a setting of Neo4j, such as "db.logs.query.enabled"')
        elif name in _OWNED or name.startswith(_OWNED_PREFIXES):
            yield problem((*path, name), value, "absent, since the operator decides this setting itself")
        elif not isinstance(value, str | int | float) or "\n" in str(value):
            yield problem((*path, name), value, "one line of text, a number, true or false")
