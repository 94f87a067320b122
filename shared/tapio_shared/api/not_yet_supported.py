"""Fields that the API accepts, because the seed has them, and that this version does not act on yet.

What stands in this table shows up in the condition NotYetSupported. To support a field, take its line out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from tapio_shared.api.names import CLUSTER_KIND, COLLECTOR_KIND, INTELLIGENCE_KIND
from tapio_shared.api.problems import Path, path_text
from tapio_shared.api.schema import child_schema
from tapio_shared.api.specs import spec_schema
from tapio_shared.json import JsonObject, JsonValue, at

_TABLE: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    CLUSTER_KIND: (("intelligence", "neo4j", "backup"),),
    COLLECTOR_KIND: (),
    INTELLIGENCE_KIND: (("neo4j", "backup"),),
}


def not_yet_supported(spec: JsonObject, kind: str = CLUSTER_KIND) -> list[str]:
    """Paths of all fields of a normalised spec that are set, to other than their defaults, without any effect."""
    found: list[str] = []
    for path in _TABLE[kind]:
        value = at(spec, *path)
        if isinstance(value, dict) and value.get("enabled") is not False:
            schema = spec_schema(kind)
            for step in path:
                schema = child_schema(schema, step)
            found += _set_fields(value, schema, ("spec", *path))
    return found


def _set_fields(value: JsonValue, schema: JsonObject, path: Path) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, child in value.items():
            yield from _set_fields(child, child_schema(schema, key), (*path, key))
    elif value is not None and value != schema.get("default"):
        yield path_text(path)
