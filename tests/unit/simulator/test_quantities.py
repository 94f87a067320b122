"""Canonical quantities, as Kubernetes stores what it parsed."""

from __future__ import annotations

import pytest

from tapio_simulator.quantities import amount, canonical


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        pytest.param("1000m", "1", id="whole cores"),
        pytest.param("0.5", "500m", id="fraction"),
        pytest.param("1500m", "1500m", id="no larger unit"),
        pytest.param("1024Mi", "1Gi", id="larger binary unit"),
        pytest.param("0.5Gi", "512Mi", id="binary fraction"),
        pytest.param("1.5Gi", "1536Mi", id="binary fraction of a whole"),
        pytest.param("1000Mi", "1000Mi", id="decimal thousand of a binary unit"),
        pytest.param("1000", "1k", id="thousand"),
        pytest.param("2048", "2048", id="no decimal unit"),
        pytest.param("1e3", "1e3", id="exponent"),
        pytest.param("12e6", "12e6", id="exponent of millions"),
        pytest.param("0", "0", id="zero"),
        pytest.param("0Mi", "0", id="zero of a unit"),
        pytest.param("100u", "100u", id="micro"),
        pytest.param("0.1n", "1n", id="below a nano rounds up"),
        pytest.param("-1", "-1", id="negative"),
        pytest.param("1M", "1M", id="mega"),
    ],
)
def test_the_canonical_form(written: str, stored: str) -> None:
    assert canonical(written) == stored
    assert canonical(stored) == stored


@pytest.mark.parametrize("text", ["", "x", "1x", "1 Gi", "Gi", "1.2.3", "1Kib"])
def test_what_is_no_quantity(text: str) -> None:
    assert canonical(text) is None
    assert amount(text) is None


def test_amounts_compare_across_units() -> None:
    assert amount("1Gi") == amount("1024Mi")
    assert amount("1500m") == amount("1.5")
