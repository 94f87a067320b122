"""Logs and traces, set up once per process: structured JSON on standard error, OpenTelemetry by its own variables.

Traces travel through the log in message headers (W3C `traceparent`), so that one trace leads from a watch event to the
last write. Which exporter runs is the standard `OTEL_*` variables' to say; without them nothing is exported.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import structlog
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tapio_shared.errors import InvalidSettings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_PROPAGATOR = TraceContextTextMapPropagator()


def setup_logging(level: str = "info", *, human: bool = False) -> None:
    """Write every log line as one JSON object (or, with `human`, as text for a terminal) to standard error."""
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise InvalidSettings(f"The log level is {level!r}; it must be debug, info, warning or error.")
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace,
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if human else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)


def setup_tracing(service: str, environment: Mapping[str, str]) -> TracerProvider | None:
    """Export spans as `OTEL_TRACES_EXPORTER` (otlp, console, none) says; an OTLP endpoint alone means otlp."""
    endpoint = environment.get("OTEL_EXPORTER_OTLP_ENDPOINT") or environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    kind = environment.get("OTEL_TRACES_EXPORTER", "otlp" if endpoint else "none")
    if kind == "none" or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if kind not in {"otlp", "console"}:
        raise InvalidSettings(f"OTEL_TRACES_EXPORTER is {kind!r}; it must be otlp, console or none.")
    # Imported here: the exporter brings requests and protobuf, some 15 MB that a process without it need not carry.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import (  # noqa: PLC0415
        BatchSpanProcessor,
        ConsoleSpanExporter,
        SpanExporter,
    )

    exporter: SpanExporter = OTLPSpanExporter() if kind == "otlp" else ConsoleSpanExporter(out=sys.stderr)
    resource = Resource.create({"service.name": environment.get("OTEL_SERVICE_NAME", service)})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return provider


def inject_context(headers: Mapping[str, str]) -> dict[str, str]:
    """`headers` with the current span's `traceparent`, when there is one."""
    carrier = dict(headers)
    _PROPAGATOR.inject(carrier)
    return carrier


def extract_context(headers: Mapping[str, str]) -> otel_context.Context:
    """The trace context that `headers` carry, or an empty one."""
    if "traceparent" not in headers:
        return otel_context.Context()
    return _PROPAGATOR.extract(carrier=dict(headers))


def _add_trace(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        event["trace_id"] = f"{span.trace_id:032x}"
    return event
