"""The examples by the library's own validation, which the compiled schemas of test_every_combination must not outdo."""

from __future__ import annotations

import copy

import kubernetes_validate  # pyright: ignore[reportMissingTypeStubs]
import pytest

from tapio_shared.api.served import assumed_discovery
from tapio_shared.json import str_at
from tests.support.planned_world import example
from tests.support.rendered import context_of, objects_of, rendered_in
from tests.support.schemas import NEWEST, OLDEST, published
from tests.unit.objects.golden import EXAMPLES


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_are_valid_strictly(name: str, version: str) -> None:
    for document in objects_of(rendered_in(context_of(example(name), discovered=assumed_discovery(version)))):
        assert kubernetes_validate.validate(copy.deepcopy(document), version, strict=True) == version, str_at(
            document, "kind"
        )


@pytest.mark.parametrize("version", [f"1.{minor}" for minor in range(25, int(NEWEST.partition(".")[2]) + 1)])
def test_what_is_assumed_to_be_served_has_a_schema_in_that_version(version: str) -> None:
    """The table of served versions beside the schemas that Kubernetes published with each release."""
    for one in assumed_discovery(version).resources:
        if one.group == "tapio.io":
            continue
        group = one.group.partition(".")[0]
        name = f"{one.kind}-{group}-{one.version}" if group else f"{one.kind}-{one.version}"
        assert f"{name.lower()}.json" in published(version)


@pytest.mark.parametrize("version", ["1.25", "1.26", NEWEST])
def test_what_is_not_assumed_to_be_served_has_none(version: str) -> None:
    served = {(one.kind, one.version) for one in assumed_discovery(version).resources}
    for kind, api in (("HorizontalPodAutoscaler", "v2beta2"), ("PodDisruptionBudget", "v1beta1")):
        group = "autoscaling" if kind.startswith("H") else "policy"
        assert ((kind, api) in served) is (f"{kind.lower()}-{group}-{api}.json" in published(version))
