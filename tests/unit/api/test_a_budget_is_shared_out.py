"""`spec.resources`: what is shared out stays within the budget, above the floors, and makes pods that are valid."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio_shared.api.budget import FLOORS, BudgetTooSmall, Share, share_out
from tapio_shared.api.cluster import TapioClusterSpec
from tapio_shared.api.component import ResourceRequirements
from tapio_shared.api.effective import effective_cluster
from tapio_shared.api.quantity import parse_quantity
from tapio_shared.json import JsonObject, JsonValue, at, object_at

_UNITS = {"cpu": "m", "memory": "Mi"}
_MOST = {"cpu": 64_000, "memory": 262_144}
_NAMED = re.compile(r"spec\.resources\.(requests|limits)\.(cpu|memory) is .* The smallest that works is (\S+)\.")


def amounts(resource: str) -> st.SearchStrategy[str]:
    return st.integers(1, _MOST[resource]).map(lambda count: f"{count}{_UNITS[resource]}")


def sections() -> st.SearchStrategy[dict[str, str]]:
    return st.fixed_dictionaries({}, optional={"cpu": amounts("cpu"), "memory": amounts("memory")})


@st.composite
def explicit(draw: st.DrawFn) -> ResourceRequirements:
    return ResourceRequirements.model_validate({"requests": draw(sections()), "limits": draw(sections())})


@st.composite
def parts(draw: st.DrawFn) -> list[Share]:
    chosen = draw(st.lists(st.sampled_from(sorted(FLOORS)), unique=True, min_size=1))
    return [
        Share(component=name, replicas=draw(st.integers(1, 7)), explicit=draw(st.none() | explicit()))
        for name in chosen
    ]


def shared(budget: dict[str, dict[str, str]], shares: list[Share]) -> dict[str, JsonObject]:
    return share_out(ResourceRequirements.model_validate(budget), shares)


def named(error: BudgetTooSmall) -> tuple[str, str, str]:
    """(requests|limits, cpu|memory, the smallest that works), as the sentence says."""
    found = _NAMED.fullmatch(str(error))
    assert found is not None, str(error)
    return found[1], found[2], found[3]


def taken(share: Share, kind: str, resource: str) -> Decimal:
    """What a component with resources of its own costs, as Kubernetes counts it."""
    if share.explicit is None:
        return Decimal(0)
    document = share.explicit.document()
    value = at(document, kind, resource)
    if value is None and kind == "requests":
        value = at(document, "limits", resource)
    return parse_quantity(str(value)) * share.replicas if value is not None else Decimal(0)


@given(st.fixed_dictionaries({"requests": sections(), "limits": sections()}), parts())
def test_shares_are_within_the_budget_above_the_floors_and_the_named_minimum_is_one(
    budget: dict[str, dict[str, str]], shares: list[Share]
) -> None:
    for _ in range(5):
        try:
            found = shared(budget, shares)
            break
        except BudgetTooSmall as error:
            kind, resource, least = named(error)
            unit = Decimal("0.001") if resource == "cpu" else Decimal(1 << 20)
            less = int(parse_quantity(least) / unit) - 1
            budget = {**budget, kind: {**budget[kind], resource: f"{less}{_UNITS[resource]}"}}
            with pytest.raises(BudgetTooSmall, match=rf"{kind}\.{resource} is"):
                shared({kind: {resource: budget[kind][resource]}}, shares)
            budget = {**budget, kind: {**budget[kind], resource: least}}
    else:
        raise AssertionError("the minimum that was named is too small again")
    for kind in ("requests", "limits"):
        for resource, total in budget[kind].items():
            given_out = {one.component: at(found[one.component], kind, resource) for one in shares if not one.explicit}
            for name, value in given_out.items():
                assert parse_quantity(str(value)) >= FLOORS[name][resource]
            cost = sum(
                parse_quantity(str(given_out[one.component])) * one.replicas
                if one.component in given_out
                else taken(one, kind, resource)
                for one in shares
            )
            assert not given_out or cost <= parse_quantity(total)


NEO4J: JsonObject = {"neo4j": {}, "correlation": {"replicas": 5}}


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(
            {"resources": {"requests": {"memory": "8Gi"}, "limits": {"cpu": "1500m"}}, "intelligence": NEO4J},
            id="a share of limits below the component's own request for cpu",
        ),
        pytest.param(
            {"resources": {"requests": {"cpu": "4"}, "limits": {"memory": "5Gi"}}, "intelligence": NEO4J},
            id="a share of limits below the component's own request for memory",
        ),
        pytest.param(
            {
                "resources": {"requests": {"memory": "16Gi"}, "limits": {"memory": "32Gi"}},
                "gateway": {"replicas": 1, "resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "26Gi"}}},
            },
            id="explicit resources that take more of the limits than of the requests",
        ),
    ],
)
def test_no_pod_asks_for_more_than_its_limit(spec: JsonObject) -> None:
    effective = effective_cluster(TapioClusterSpec.model_validate(spec), version="v0.1.0")
    for name, resources in effective.resources.items():
        limits = object_at(resources, "limits")
        for resource, request in object_at(resources, "requests").items():
            limit: JsonValue = limits.get(resource)
            assert limit is None or parse_quantity(str(request)) <= parse_quantity(str(limit)), (name, resource)


def test_a_limit_without_a_request_counts_as_one() -> None:
    spec: JsonObject = {
        "resources": {"requests": {"memory": "16Gi"}},
        "gateway": {"replicas": 1, "resources": {"limits": {"memory": "7Gi"}}},
    }
    found = effective_cluster(TapioClusterSpec.model_validate(spec), version="v0.1.0").resources
    assert at(found["neo4j"], "requests", "memory") == "5Gi", "50 of 90 parts of 9Gi"
