"""The server-side tables that `kubectl get` prints. Ages are written here, as on a real server, not by kubectl."""

from __future__ import annotations

from collections.abc import Sequence

from tapio_shared.json import JsonObject, JsonValue
from tapio_simulator.columns import Column, columns_of
from tapio_simulator.registry import Served
from tapio_simulator.stamps import parse_timestamp
from tapio_simulator.store import Stored

_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86_400, 31_536_000


def table_document(served: Served, found: Sequence[Stored], now: int, include: str, metadata: JsonObject) -> JsonObject:
    """`found` as a meta.k8s.io/v1 Table; `now` in milliseconds; `include` is None, Metadata or Object."""
    columns = columns_of(served)
    rows: list[JsonValue] = []
    for stored in found:
        row: JsonObject = {"cells": [_cell(column, stored, now) for column in columns]}
        if include == "Object":
            row["object"] = stored.document
        elif include != "None":
            row["object"] = {
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": stored.document["metadata"],
            }
        rows.append(row)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": [
            {
                "name": column.name,
                "type": column.type,
                "format": column.format,
                "description": column.description,
                "priority": column.priority,
            }
            for column in columns
        ],
        "rows": rows,
    }


def _cell(column: Column, stored: Stored, now: int) -> JsonValue:
    value = column.cell(stored.document)
    if column.type != "date":
        return value
    if not isinstance(value, str) or not value:
        return "<unknown>" if value != "" else ""
    seconds = parse_timestamp(value)
    return "<invalid>" if seconds is None else age(int(now / 1000 - seconds))


def age(seconds: int) -> str:
    """A duration as kubectl users know it (k8s.io/apimachinery/pkg/util/duration.HumanDuration)."""
    if seconds < -1:
        return "<invalid>"
    seconds = max(seconds, 0)
    if seconds < 2 * _MINUTE:
        return f"{seconds}s"
    minutes = seconds // _MINUTE
    if minutes < 10:
        return _two(minutes, "m", seconds % _MINUTE, "s")
    if minutes < 3 * 60:
        return f"{minutes}m"
    hours = seconds // _HOUR
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    days = seconds // _DAY
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 2 * 365:
        return f"{days}d"
    years = seconds // _YEAR
    return _two(years, "y", days % 365, "d") if years < 8 else f"{years}y"


def _two(major: int, major_unit: str, minor: int, minor_unit: str) -> str:
    return f"{major}{major_unit}{minor}{minor_unit}" if minor else f"{major}{major_unit}"
