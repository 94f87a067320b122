"""What is rendered after something else is what is rendered at once, though most of it is taken from before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tapio_reconciler.core.building import Building, Built
from tapio_reconciler.core.model import Component, Rendered
from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.rendering import render
from tapio_shared.api.budget import BudgetTooSmall
from tapio_shared.api.cluster import TapioClusterSpec
from tapio_shared.codec import encode
from tapio_shared.json import JsonObject, JsonValue, object_at
from tests.support.planned_world import example
from tests.support.random_specs import cluster, quick, specs
from tests.support.rendered import context_of

AGENTS = ("ebpf", "systemd", "cni")
SERVED = context_of(example("production"), monitoring=True).served


def context(document: JsonObject, uid: str = "u") -> Context:
    """Of a TapioCluster, always on the same API server: another `Served` would be something new."""
    return replace(context_of(document, uid=uid), served=SERVED)


def rendered(of: Context, former: Built | None = None) -> tuple[Rendered, Built]:
    building = Building(of, former)
    return render(of, building), building.built()


def what_it_says(found: Rendered) -> Sequence[object]:
    """All of it, JSON as bytes, since in Python `1 == True`."""
    return [found, [encode(one.objects) for one in found.components]]


@st.composite
def lives(draw: st.DrawFn) -> list[JsonObject]:
    """Specs, one after the other, in which some fields are those of another one."""
    found = [draw(specs())]
    for _ in range(draw(st.integers(1, 3))):
        other = draw(specs())
        names = sorted({"profile", *other, *found[-1]})
        taken = draw(st.sets(st.sampled_from(names), max_size=2))
        kept = {name: value for name, value in found[-1].items() if name not in taken}
        found.append({**kept, **{name: other[name] for name in taken if name in other}})
    return found


@quick
@given(lives())
def test_what_is_built_again_is_what_is_built_anew(life: list[JsonObject]) -> None:
    built: Built | None = None
    for spec in life:
        try:
            of = context(cluster(spec))
        except BudgetTooSmall:
            assume(False)
            return
        found, built = rendered(of, built)
        fresh, _ = rendered(of)
        assert what_it_says(found) == what_it_says(fresh)


def component(found: Rendered, name: str) -> Component:
    return next(one for one in found.components if one.name == name)


def changed(name: str, **fields: JsonValue) -> Context:
    """The production example with other fields in one part of its spec."""
    document = example("production")
    spec = object_at(document, "spec")
    return context({**document, "spec": {**spec, name: {**object_at(spec, name), **fields}}})


@pytest.mark.parametrize(
    ("part", "fields", "anew"),
    [
        pytest.param("gateway", {"podAnnotations": {"a": "b"}}, {"gateway", "monitoring"}, id="pods of the gateway"),
        pytest.param("nats", {"podAnnotations": {"a": "b"}}, {"nats", "monitoring"}, id="pods of NATS"),
        pytest.param("nodeAgents", {"capabilities": "privileged"}, {*AGENTS, "monitoring"}, id="agents"),
        pytest.param("gateway", {}, set[str](), id="nothing"),
    ],
)
def test_only_what_follows_from_a_change_is_built(part: str, fields: JsonObject, anew: set[str]) -> None:
    before, built = rendered(changed(part))
    after, _ = rendered(changed(part, **fields), built)
    same = [one.name for one in after.components if one is component(before, one.name)]
    assert {one.name for one in after.components} - {*same} == anew


@pytest.mark.parametrize("answer", [pytest.param(True, id="true"), pytest.param(1.0, id="1.0")])
def test_a_value_of_another_type_is_another_value(answer: JsonValue) -> None:
    _, built = rendered(changed("gateway", config={"extra": 1}))
    of = changed("gateway", config={"extra": answer})
    found, _ = rendered(of, built)
    assert what_it_says(found) == what_it_says(rendered(of)[0])


def test_everything_is_built_anew_where_something_beside_the_spec_changes() -> None:
    document = example("production")
    before, built = rendered(context(document))
    after, _ = rendered(context(document, uid="another"), built)
    assert [one.name for one in after.components if one is component(before, one.name)] == []


def limits_of_the_gateway(spec: TapioClusterSpec) -> object:
    return spec.gateway.rate_limit.document()


def all_of_the_gateway(spec: TapioClusterSpec) -> object:
    return spec.gateway.document()


def all_of_it(spec: TapioClusterSpec) -> object:
    return spec.document()


def collector_of_etcd(spec: TapioClusterSpec) -> object:
    return "none" if spec.collectors is None else str(spec.collectors.etcd)


@pytest.mark.parametrize(
    ("read", "before", "after"),
    [
        pytest.param(
            limits_of_the_gateway,
            {"gateway": {"rateLimit": {"requestsPerSecond": 1}}},
            {"gateway": {"rateLimit": {"requestsPerSecond": 2}}},
            id="a field of a field of a part",
        ),
        pytest.param(
            all_of_the_gateway,
            {"gateway": {"replicas": 1}},
            {"gateway": {"replicas": 2}},
            id="all of a part",
        ),
        pytest.param(
            all_of_it,
            {"deletionPolicy": "Retain"},
            {"deletionPolicy": "Delete"},
            id="all of a spec",
        ),
        pytest.param(
            collector_of_etcd,
            {"collectors": {"kubernetes": {}}},
            {},
            id="a part that is taken away",
        ),
    ],
)
def test_whatever_is_read_of_a_spec_counts(
    read: Callable[[TapioClusterSpec], object], before: JsonObject, after: JsonObject
) -> None:
    known = Building(spec_alone(before))
    built = known.part("one", lambda ctx: read(ctx.effective.spec))
    assert Building(spec_alone(before), known.built()).part("one", lambda _: "built") == built
    again = Building(spec_alone(after), known.built()).part("one", lambda ctx: read(ctx.effective.spec))
    assert again == read(spec_alone(after).effective.spec) != built


def spec_alone(spec: JsonObject) -> Context:
    """A context in which nothing but the spec differs."""
    found = context(cluster(spec))
    return replace(found, effective=replace(context(cluster({})).effective, spec=found.effective.spec))
