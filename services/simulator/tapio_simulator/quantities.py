"""Canonical form of resource quantities, as k8s.io/apimachinery/pkg/api/resource serialises what it parsed.

"1000m" is stored as "1", "1024Mi" as "1Gi": what is written differs from what is read back, and clients that compare
must cope. Not for arithmetic.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache

_SHAPE = re.compile(r"^([+-]?)(\d+\.?\d*|\.\d+)([eE][+-]?\d+|[KMGTPE]i|[numkMGTPE]?)$")
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL = {-3: "n", -2: "u", -1: "m", 0: "", 1: "k", 2: "M", 3: "G", 4: "T", 5: "P", 6: "E"}
_EXPONENT_OF = {suffix: exponent for exponent, suffix in _DECIMAL.items()}


@lru_cache(maxsize=4096)
def canonical(text: str) -> str | None:
    """`text` in canonical form, or None when it is no quantity."""
    match = _SHAPE.match(text)
    if match is None:
        return None
    sign, digits, suffix = match.groups()
    number = Decimal(sign + digits)
    if suffix in _BINARY and suffix:
        return _binary(number * 1024 ** _BINARY.index(suffix))
    if suffix[:1] in ("e", "E") and len(suffix) > 1:
        return _exponent(number.scaleb(int(suffix[1:])))
    return _decimal(number.scaleb(3 * _EXPONENT_OF[suffix]))


@lru_cache(maxsize=4096)
def amount(text: str) -> Decimal | None:
    """The value of `text`, or None when it is no quantity."""
    match = _SHAPE.match(text)
    if match is None:
        return None
    sign, digits, suffix = match.groups()
    number = Decimal(sign + digits)
    if suffix in _BINARY and suffix:
        return number * Decimal(1024 ** _BINARY.index(suffix))
    if suffix[:1] in ("e", "E") and len(suffix) > 1:
        return number.scaleb(int(suffix[1:]))
    return number.scaleb(3 * _EXPONENT_OF[suffix])


def _binary(value: Decimal) -> str:
    whole = value.to_integral_value(ROUND_CEILING)
    if whole != value or abs(whole) < 1024:
        return _decimal(value)
    number, step = int(whole), 0
    while step < len(_BINARY) - 1 and number % 1024 == 0 and number != 0:
        number, step = number // 1024, step + 1
    return f"{number}{_BINARY[step]}"


def _decimal(value: Decimal) -> str:
    nanos = int((value * 10**9).to_integral_value(ROUND_CEILING))
    if nanos == 0:
        return "0"
    exponent = -3
    while exponent < 6 and nanos % 1000 == 0:
        nanos, exponent = nanos // 1000, exponent + 1
    return f"{nanos}{_DECIMAL[exponent]}"


def _exponent(value: Decimal) -> str:
    nanos = int((value * 10**9).to_integral_value(ROUND_CEILING))
    if nanos == 0:
        return "0"
    exponent = -9
    while nanos % 1000 == 0:
        nanos, exponent = nanos // 1000, exponent + 3
    return f"{nanos}e{exponent}" if exponent else str(nanos)
