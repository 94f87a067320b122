"""Specs that nobody here would write are rendered as well as those of the examples."""

from __future__ import annotations

import copy

import pytest

from tapio_reconciler.core.previewing import Surroundings, preview
from tapio_shared.api.labels import CLUSTER, CLUSTER_NAMESPACE, MANAGED_BY, MANAGED_BY_OPERATOR
from tapio_shared.api.names import NODE_NAMESPACE
from tapio_shared.api.operator_config import OperatorConfig
from tapio_shared.api.served import assumed_discovery
from tapio_shared.json import str_at, strings_at
from tests.support.odd_specs import ODD, OddSpec
from tests.support.references import Given, broken_references
from tests.support.schemas import violations
from tests.unit.objects.test_every_combination import generated, manifests
from tests.unit.objects.test_pod_security_levels import exceeded, templates

PAIR = frozenset({"tls.crt", "tls.key", "ca.crt"})
PULL = frozenset({".dockerconfigjson"})
GIVEN = Given(
    {
        "etcd": PAIR,
        "gateway-tls": PAIR,
        "nats-creds": frozenset({"nats.creds", "username", "password"}),
        "own": frozenset({"token"}),
        "pull": PULL,
        "pull2": PULL,
    }
)


@pytest.mark.parametrize("odd", [pytest.param(one, id=name) for name, one in ODD.items()])
def test_it_is_valid_refers_to_what_exists_and_is_restricted(odd: OddSpec) -> None:
    surroundings = Surroundings(
        discovery=assumed_discovery(odd.kubernetes, odd.served), config=OperatorConfig(), fleet=odd.nodes
    )
    (found,) = preview([odd.document], surroundings)
    assert found.refusals == ()
    objects = manifests(found)
    assert objects
    assert [line for one in objects for line in violations(one, odd.kubernetes)] == []
    assert broken_references(objects, GIVEN, generated(found)) == []
    for one in objects:
        labels = strings_at(one, "metadata", "labels")
        assert (labels[MANAGED_BY], labels[CLUSTER]) == (MANAGED_BY_OPERATOR, odd.name)
        assert labels[CLUSTER_NAMESPACE] == odd.namespace
    for workload, template in templates(objects):
        if str_at(workload, "metadata", "namespace") != NODE_NAMESPACE:
            assert exceeded(template, "latest") == frozenset(), str_at(workload, "metadata", "name")
    assert preview([copy.deepcopy(odd.document)], surroundings) == (found,)
