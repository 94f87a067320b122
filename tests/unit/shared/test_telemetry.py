"""Logs as JSON on standard error; traces by the standard variables; a trace's way through message headers."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from tapio_shared.errors import InvalidSettings
from tapio_shared.telemetry import extract_context, inject_context, setup_logging, setup_tracing

PROGRAM = """
import logging, os, structlog
from opentelemetry import trace
from tapio_shared.telemetry import setup_logging, setup_tracing
setup_logging("info")
provider = setup_tracing("tapio-test", os.environ)
log = structlog.get_logger("test")
log.debug("not shown")
log.info("plan applied", key="local/default/demo", objects=3)
logging.getLogger("library").warning("a library %s", "speaks")
with trace.get_tracer("test").start_as_current_span("work"):
    log.info("inside")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("broken")
if provider is not None:
    provider.shutdown()
"""


def run(**environment: str) -> list[dict[str, object]]:
    """What a process of its own writes, since logging and tracing are set up once per process."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == ""
    decoder, text, found = json.JSONDecoder(), done.stderr.strip(), list[dict[str, object]]()
    while text:
        document, end = decoder.raw_decode(text)
        found.append(document)
        text = text[end:].lstrip()
    return found


def test_every_line_is_json_with_its_keys() -> None:
    plan, library, inside, broken = run()
    assert (plan["event"], plan["level"], plan["key"], plan["objects"]) == (
        "plan applied",
        "info",
        "local/default/demo",
        3,
    )
    assert str(plan["timestamp"]).endswith("Z")
    assert (library["event"], library["level"]) == ("a library speaks", "warning")
    assert "trace_id" not in inside
    assert "ZeroDivisionError" in str(broken["exception"])


def test_spans_go_where_the_standard_variables_say() -> None:
    lines = run(OTEL_TRACES_EXPORTER="console", OTEL_SERVICE_NAME="mine", OTEL_RESOURCE_ATTRIBUTES="zone=a")
    inside = next(line for line in lines if line.get("event") == "inside")
    span = next(line for line in lines if line.get("name") == "work")
    context, resource = span["context"], span["resource"]
    assert isinstance(context, dict)
    assert isinstance(resource, dict)
    assert context["trace_id"] == f"0x{inside['trace_id']}"
    assert (resource["attributes"]["service.name"], resource["attributes"]["zone"]) == ("mine", "a")


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({}, id="nothing set"),
        pytest.param({"OTEL_TRACES_EXPORTER": "none"}, id="none"),
        pytest.param({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_SDK_DISABLED": "true"}, id="disabled"),
    ],
)
def test_nothing_is_exported_unless_asked_for(environment: dict[str, str]) -> None:
    assert setup_tracing("test", environment) is None


def test_an_unknown_exporter_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="OTEL_TRACES_EXPORTER is 'zipkin'; it must be otlp, console or none"):
        setup_tracing("test", {"OTEL_TRACES_EXPORTER": "zipkin"})


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="The log level is 'loud'"):
        setup_logging("loud")


def test_a_trace_travels_in_headers() -> None:
    tracer = TracerProvider().get_tracer("test")
    with tracer.start_as_current_span("fact") as sent:
        headers = inject_context({"other": "kept"})
    assert headers["other"] == "kept"
    with tracer.start_as_current_span("plan", context=extract_context(headers)) as received:
        assert received.get_span_context().trace_id == sent.get_span_context().trace_id
        assert received.get_span_context().span_id != sent.get_span_context().span_id


@pytest.mark.parametrize("headers", [{}, {"traceparent": "nonsense"}])
def test_headers_without_a_trace_begin_a_new_one(headers: dict[str, str]) -> None:
    assert not trace.get_current_span(extract_context(headers)).get_span_context().is_valid
    assert inject_context({"a": "b"}) == {"a": "b"}
