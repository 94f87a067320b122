"""docs/settings.md, made from settings.py and operator_config.py: every setting with its default and its meaning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, cast

import msgspec

from tapio_shared.api.operator_config import CONFIG_KEY, CONFIG_MAP, OperatorConfig
from tapio_shared.api.schema import model_schema
from tapio_shared.installation import NAMESPACE
from tapio_shared.json import JsonObject, JsonValue, object_at, str_at
from tapio_shared.settings import Settings, variable

_INTRODUCTION: Final = f"""\
# Settings of the operator

Made by `make crds` from shared/tapio_shared/settings.py and shared/tapio_shared/api/operator_config.py; edit those, not
this page.

What a process needs to start is an environment variable, read once; a wrong one ends the process with a message that
names all that are wrong. What holds for the whole operator is in the ConfigMap `{CONFIG_MAP}` in the namespace
`{NAMESPACE}`; a change of it takes effect without a restart, except for the two ports. If a new configuration is wrong,
the watcher's log and `tapioctl doctor` say what is, and the last good one stays in force.

The settings of a TapioCluster are the fields of its spec: `kubectl explain tapiocluster.spec --recursive`.
"""
_ENVIRONMENT: Final = """\
## Environment variables

| Variable | Default | Meaning |
|---|---|---|
"""
_TRACING: Final = """
Traces follow OpenTelemetry's own variables: `OTEL_EXPORTER_OTLP_ENDPOINT` (or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`),
`OTEL_TRACES_EXPORTER` (`otlp`, `console` or `none`), `OTEL_SERVICE_NAME` and `OTEL_SDK_DISABLED`. Without an endpoint,
nothing is exported.

`tapioctl` also reads `TAPIO_NATS_URL`, `TAPIO_NATS_CREDENTIALS` and `TAPIO_NATS_CA`, and `TAPIO_CACHE` (by default
`~/.cache/tapio`): the folder of the releases that `tapioctl replay --with` installs.
"""
_CONFIGURATION: Final = f"""
## The operator's ConfigMap

These are fields of the YAML under its key `{CONFIG_KEY}`. Each may be left out.

| Field | Default | Meaning |
|---|---|---|
"""


def render_settings() -> str:
    """The page as Markdown."""
    variables = "".join(
        _row(variable(name), cast("JsonValue", field.default), field.description or "")
        for name, field in Settings.model_fields.items()
    )
    defaults = cast("JsonObject", OperatorConfig().model_dump(mode="json", by_alias=True))
    fields = "".join(_fields(model_schema(OperatorConfig), defaults, ""))
    return "".join((_INTRODUCTION, "\n", _ENVIRONMENT, variables, _TRACING, _CONFIGURATION, fields))


def _fields(schema: JsonObject, defaults: JsonObject, path: str) -> Iterator[str]:
    for name, child in object_at(schema, "properties").items():
        inner, by_name = object_at(child, "properties"), object_at(child, "additionalProperties", "properties")
        if inner or by_name:
            shape = cast("JsonObject", child) if inner else object_at(child, "additionalProperties")
            yield from _fields(shape, object_at(defaults, name), f"{path}{name}." if inner else f"{path}{name}.NAME.")
        else:
            default = defaults.get(name, cast("JsonObject", child).get("default"))
            yield _row(f"{path}{name}", default, str_at(child, "description"))


def _row(name: str, default: JsonValue, meaning: str) -> str:
    shown = "" if default in (None, "", {}, []) else f"`{_plain(default)}`"
    return f"| `{name}` | {shown} | {meaning} |\n"


def _plain(value: JsonValue) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
