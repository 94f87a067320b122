"""Quantities, durations and cron schedules are read exactly as Kubernetes reads them."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio_shared.api.cron import cron_fault
from tapio_shared.api.duration import is_duration, parse_duration
from tapio_shared.api.quantity import (
    is_quantity,
    parse_quantity,
    quantity_or_none,
)


# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/ and
# https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/#meaning-of-memory
@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("1000m", "1", id="a thousand millicores are one core"),
        pytest.param("0.1", "0.1", id="a fraction"),
        pytest.param("100m", "0.1", id="the same in millicores"),
        pytest.param("128974848", "128974848", id="bytes"),
        pytest.param("129e6", "129000000", id="an exponent"),
        pytest.param("1e3", "1000", id="a small exponent"),
        pytest.param("1E3", "1000", id="a capital exponent, not exabytes"),
        pytest.param("1E", "1000000000000000000", id="exabytes, not an exponent"),
        pytest.param("2e-3", "0.002", id="a negative exponent"),
        pytest.param("129M", "129000000", id="decimal megabytes"),
        pytest.param("128974848000m", "128974848", id="millibytes, as the documentation warns"),
        pytest.param("123Mi", "128974848", id="mebibytes"),
        pytest.param("1Gi", "1073741824", id="gibibyte"),
        pytest.param("1.5Gi", "1610612736", id="one and a half gibibytes"),
        pytest.param("1Ei", "1152921504606846976", id="exbibyte"),
        pytest.param("5n", "0.000000005", id="nano"),
        pytest.param("7u", "0.000007", id="micro"),
        pytest.param("3k", "3000", id="kilo is a small k"),
        pytest.param("+5", "5", id="a plus sign"),
        pytest.param("-5", "-5", id="a minus sign"),
        pytest.param("5.", "5", id="nothing after the point"),
        pytest.param(".5", "0.5", id="nothing before the point"),
        pytest.param(4, "4", id="a whole number"),
    ],
)
def test_quantities_of_the_documentation(text: str | int, value: str) -> None:
    assert parse_quantity(text) == Decimal(value)


@pytest.mark.parametrize(
    "text",
    ["", "10GB", "1K", "1 Gi", "Gi", "1e", "1e3Gi", "1mi", "0x10", "\uff11", "1_000", "NaN", "inf", "1e999", "1" * 65],
)
def test_what_is_no_quantity(text: str) -> None:
    assert not is_quantity(text)
    with pytest.raises(ValueError, match="is not a Kubernetes quantity"):
        parse_quantity(text)


@pytest.mark.parametrize("value", [True, 1.5, None, [], {}, "x"])
def test_values_of_other_types_are_no_quantities(value: object) -> None:
    assert quantity_or_none(value) is None


@given(
    st.decimals(min_value=0, max_value=10**6, allow_nan=False, places=3),
    st.sampled_from(["", "m", "k", "M", "G", "Ki", "Mi", "Gi"]),
)
def test_every_suffix_scales_exactly(number: Decimal, suffix: str) -> None:
    assert parse_quantity(f"{number:f}{suffix}") == number * parse_quantity(f"1{suffix}")


@pytest.mark.parametrize(
    ("text", "span"),
    [
        pytest.param("30s", timedelta(seconds=30), id="seconds"),
        pytest.param("1h30m", timedelta(minutes=90), id="two parts"),
        pytest.param("24h", timedelta(days=1), id="a day"),
        pytest.param("1500ms", timedelta(seconds=1.5), id="milliseconds"),
        pytest.param("0s", timedelta(), id="nothing"),
    ],
)
def test_durations(text: str, span: timedelta) -> None:
    assert parse_duration(text) == span


@pytest.mark.parametrize("text", ["", "1d", "30", "-1s", "1.5h", "s", "1h ", "1H", "1s" * 20])
def test_what_is_no_duration(text: str) -> None:
    assert not is_duration(text)


@pytest.mark.parametrize(
    "schedule",
    ["0 2 * * *", "*/5 * * * *", "0,30 8-18 * jan-mar mon-fri", "0 0 1 1 ?", "@daily", "0 0 * * 6", "0-59/2 * * * *"],
)
def test_schedules(schedule: str) -> None:
    assert cron_fault(schedule) is None


@pytest.mark.parametrize(
    ("schedule", "fault"),
    [
        pytest.param("0 25 * * *", "its hour '25' is not within 0-23", id="an hour that no day has"),
        pytest.param("0 2 * *", "it has 4 fields and needs 5 (minute, hour, day of the month, month, day of the week)",
                     id="a field short"),
        pytest.param("0 0 0 * *", "its day of the month '0' is not within 1-31", id="day zero"),
        pytest.param("0 0 * * 7", "its day of the week '7' is not within 0-6", id="Sunday is 0 for Kubernetes"),
        pytest.param("*/0 * * * *", "its minute '*/0' is not within 0-59", id="a step of nothing"),
        pytest.param("5-1 * * * *", "its minute '5-1' is not within 0-59", id="a span that runs backwards"),
        pytest.param("@often", "@often is none of @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly",
                     id="an unknown macro"),
    ],
)  # fmt: skip
def test_faults_of_schedules(schedule: str, fault: str) -> None:
    assert cron_fault(schedule) == fault


@given(st.text())
def test_any_text_is_judged(text: str) -> None:
    assert isinstance(is_quantity(text), bool)
    assert isinstance(is_duration(text), bool)
    assert cron_fault(text) is None or isinstance(cron_fault(text), str)
