"""Every object of every combination is valid by Kubernetes' own schemas, finds what it names, and is the same twice."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings

from tapio_reconciler.core.objects.kubernetes_rbac import GRANTED_RULES, SECRETS_RULE
from tapio_reconciler.core.previewing import Preview, preview
from tapio_shared.api.kinds import MANAGED_KINDS
from tapio_shared.api.labels import (
    APPLYSET_PART_OF,
    CLUSTER,
    CLUSTER_NAMESPACE,
    MANAGED_BY,
    MANAGED_BY_OPERATOR,
    applyset_id,
)
from tapio_shared.api.reasons import Reason
from tapio_shared.json import JsonObject, at, list_at, objects_at, str_at, strings_at
from tests.support.random_specs import GIVEN_CONFIG_MAPS, GIVEN_SECRETS, NAME, NAMESPACE, Case, cases, quick
from tests.support.references import Given, broken_references
from tests.support.schemas import violations

GIVEN = Given(GIVEN_SECRETS, GIVEN_CONFIG_MAPS)


def check(case: Case) -> None:
    previews = preview(case.resources, case.surroundings)
    refused = {reason for one in previews for _, reason, _ in one.refusals}
    assert refused <= {Reason.BUDGET_TOO_SMALL}, [one.refusals for one in previews]
    for one in previews:
        objects = manifests(one)
        assert [line for document in objects for line in violations(document, case.kubernetes)] == []
        assert broken_references(objects, GIVEN, generated(one)) == []
        for document in objects:
            check_labels(document)
    assert preview(copy.deepcopy(case.resources), case.surroundings) == previews


def check_labels(document: JsonObject) -> None:
    """Ours by label, of a kind that the operator manages, and owned by the TapioCluster where it can be."""
    labels = strings_at(document, "metadata", "labels")
    assert labels[MANAGED_BY] == MANAGED_BY_OPERATOR
    assert (labels[CLUSTER_NAMESPACE], labels[CLUSTER]) == (NAMESPACE, NAME)
    assert labels[APPLYSET_PART_OF] == applyset_id(NAME, NAMESPACE)
    kind, group = str_at(document, "kind"), str_at(document, "apiVersion").rpartition("/")[0]
    assert (group, kind) in {(one.group, one.kind) for one in MANAGED_KINDS} | {("", "Secret")}
    owned = str_at(document, "metadata", "namespace") == NAMESPACE and kind != "Secret"
    assert (at(document, "metadata", "ownerReferences") is not None) is owned
    if kind in {"Role", "ClusterRole"}:
        assert all(is_granted(rule) for rule in objects_at(document, "rules"))


def is_granted(rule: JsonObject) -> bool:
    """Whether the operator holds a rule (ADR 0004), and it names everything."""
    return any(
        list_at(rule, "apiGroups") == list_at(one, "apiGroups")
        and {str(name) for name in list_at(rule, "resources")} <= {str(name) for name in list_at(one, "resources")}
        and list_at(rule, "verbs") == ["get", "list", "watch"]
        for one in (*GRANTED_RULES, SECRETS_RULE)
    )


def manifests(one: Preview) -> list[JsonObject]:
    return [made.manifest for made in one.objects]


def generated(one: Preview) -> dict[str, frozenset[str]]:
    return {
        str_at(made.manifest, "metadata", "name"): frozenset(made.generated.keys)
        for made in one.objects
        if made.generated is not None
    }


@quick
@given(cases())
def test_it_is_valid_and_refers_to_what_exists(case: Case) -> None:
    check(case)


@pytest.mark.campaign
@pytest.mark.timeout(1_800)
@settings(quick, max_examples=3_000)
@given(cases())
def test_campaign_it_is_valid_and_refers_to_what_exists(case: Case) -> None:
    check(case)
