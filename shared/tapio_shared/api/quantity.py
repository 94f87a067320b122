"""Kubernetes quantities (`500m`, `10Gi`, `1e3`) as exact decimals.

Follows https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/. Never uses floats: the sum
of a budget's shares must be the budget. Refuses what no resource can be (exponents of three digits, texts of more
than 64 characters), so that a hostile spec can't make a number that is too large to print.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

QUANTITY_PATTERN: Final = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,2})?$"
"""Also stands in the CRDs, so the API server refuses what this module can't read."""

MAX_LENGTH: Final = 64

_QUANTITY = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,2})?", re.ASCII)
_BINARY: Final = {f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", start=1)}
_DECIMAL: Final = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal("1e3"),
    "M": Decimal("1e6"),
    "G": Decimal("1e9"),
    "T": Decimal("1e12"),
    "P": Decimal("1e15"),
    "E": Decimal("1e18"),
}


def parse_quantity(quantity: str | int) -> Decimal:
    """The exact value of `quantity` in its base unit (cores, bytes). Raises ValueError when it is none."""
    text = str(quantity)
    match = _QUANTITY.fullmatch(text) if len(text) <= MAX_LENGTH else None
    if match is None:
        raise ValueError(f"{text!r} is not a Kubernetes quantity such as 500m, 2 or 10Gi.")
    number, suffix = Decimal(match[1]), match[2] or ""
    if suffix in _BINARY:
        return number * _BINARY[suffix]
    if suffix in _DECIMAL:
        return number * _DECIMAL[suffix]
    return number * Decimal(10) ** int(suffix[1:])


def is_quantity(quantity: str | int) -> bool:
    """Whether `parse_quantity` can read it."""
    try:
        parse_quantity(quantity)
    except ValueError:
        return False
    return True


def quantity_or_none(value: object) -> Decimal | None:
    """The value of anything that may be a quantity; None when it is none. For JSON that nobody has checked yet."""
    if isinstance(value, bool) or not isinstance(value, int | str) or not is_quantity(value):
        return None
    return parse_quantity(value)
