"""Sharing `spec.resources` out among the components that do not run on every node.

One budget: NATS, Neo4j, correlation and gateway divide it by weight, a disabled component's share goes to the others
pro rata, explicit resources of a component come off first, and each share is divided by its replicas. What is left
must reach every component's floor, else the smallest budget that works is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from typing import Final

from tapio_shared.api.component import ResourceRequirements
from tapio_shared.api.quantity import parse_quantity
from tapio_shared.json import JsonObject

WEIGHTS: Final[Mapping[str, int]] = {"neo4j": 50, "nats": 20, "correlation": 20, "gateway": 10}
_MI = Decimal(1 << 20)
_MILLI = Decimal("0.001")
FLOORS: Final[Mapping[str, Mapping[str, Decimal]]] = {
    "neo4j": {"memory": 2048 * _MI, "cpu": 500 * _MILLI},
    "nats": {"memory": 256 * _MI, "cpu": 100 * _MILLI},
    "correlation": {"memory": 128 * _MI, "cpu": 50 * _MILLI},
    "gateway": {"memory": 128 * _MI, "cpu": 50 * _MILLI},
}
_SHARED = ("cpu", "memory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One component's part in the budget."""

    component: str
    replicas: int
    explicit: ResourceRequirements | None = None


class BudgetTooSmall(ValueError):
    """The budget can't be shared out; the text names the smallest one that works."""


def share_out(budget: ResourceRequirements, shares: list[Share]) -> dict[str, JsonObject]:
    """Resources per pod of every component without explicit ones. Raises `BudgetTooSmall`."""
    result: dict[str, JsonObject] = {share.component: {} for share in shares if share.explicit is None}
    for kind in ("requests", "limits"):
        values: Mapping[str, str | int] = (budget.requests if kind == "requests" else budget.limits) or {}
        for resource in _SHARED:
            if resource not in values:
                continue
            amounts = _amounts(parse_quantity(values[resource]), resource, kind, shares)
            for component, amount in amounts.items():
                section = result[component].setdefault(kind, {})
                if isinstance(section, dict):
                    section[resource] = format_amount(amount, resource)
    return result


def _amounts(total: Decimal, resource: str, kind: str, shares: list[Share]) -> dict[str, Decimal]:
    """What each component without explicit resources gets, per pod."""
    taken = sum((_explicit(share, resource, kind) * share.replicas for share in shares), Decimal(0))
    sharing = [share for share in shares if share.explicit is None]
    weight = sum(WEIGHTS[share.component] for share in sharing)
    if not sharing:
        return {}
    left = max(total - taken, Decimal(0))
    amounts = {share.component: left * WEIGHTS[share.component] / weight / share.replicas for share in sharing}
    short = [share for share in sharing if amounts[share.component] < FLOORS[share.component][resource]]
    if short:
        needed = taken + max(
            FLOORS[share.component][resource] * share.replicas * weight / WEIGHTS[share.component] for share in sharing
        )
        names = ", ".join(
            f"{share.component} needs {format_amount(FLOORS[share.component][resource], resource)} for each of "
            f"{share.replicas}"
            for share in short
        )
        raise BudgetTooSmall(
            f"spec.resources.{kind}.{resource} is {format_amount(total, resource)}, which is too small: {names}. "
            f"The smallest that works is {format_amount(needed, resource, up=True)}."
        )
    return amounts


def _explicit(share: Share, resource: str, kind: str) -> Decimal:
    if share.explicit is None:
        return Decimal(0)
    limits: Mapping[str, str | int] = share.explicit.limits or {}
    # Kubernetes takes a limit for the request that is not given.
    values = {**limits, **(share.explicit.requests or {})} if kind == "requests" else limits
    return parse_quantity(values[resource]) if resource in values else Decimal(0)


def format_amount(amount: Decimal, resource: str, *, up: bool = False) -> str:
    """Whole milli-cores or whole Mi, rounded down so that the sum stays within the budget (or up, for a minimum)."""
    rounding = ROUND_UP if up else ROUND_DOWN
    if resource == "cpu":
        return f"{int((amount / _MILLI).to_integral_value(rounding))}m"
    mebibytes = int((amount / _MI).to_integral_value(rounding))
    return f"{mebibytes // 1024}Gi" if mebibytes % 1024 == 0 and mebibytes else f"{mebibytes}Mi"
