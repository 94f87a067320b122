"""Rights follow from what is enabled, and are nothing more than what a component uses."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given

from tapio_shared.api.budget import BudgetTooSmall
from tapio_shared.json import JsonObject, at, list_at, objects_at, str_at, strings_at
from tests.support.planned_world import example
from tests.support.random_specs import cluster, quick, specs
from tests.support.rendered import context_of, objects_of, rendered_in
from tests.unit.objects.golden import EXAMPLES
from tests.unit.objects.test_pod_security_levels import templates

READING = ["get", "list", "watch"]
Account = tuple[str, str]
"""Namespace and name of a ServiceAccount."""


def granted(objects: Sequence[JsonObject]) -> dict[Account, list[JsonObject]]:
    """The rules that each ServiceAccount is given, by any binding."""
    roles = {
        (str_at(one, "kind"), str_at(one, "metadata", "name")): objects_at(one, "rules")
        for one in objects
        if str_at(one, "kind") in {"Role", "ClusterRole"}
    }
    found: dict[Account, list[JsonObject]] = {}
    bound: set[tuple[str, str]] = set()
    for one in objects:
        if str_at(one, "kind") in {"RoleBinding", "ClusterRoleBinding"}:
            role = (str_at(one, "roleRef", "kind"), str_at(one, "roleRef", "name"))
            bound.add(role)
            for subject in objects_at(one, "subjects"):
                assert str_at(subject, "kind") == "ServiceAccount", "never a group or a user"
                account = (str_at(subject, "namespace"), str_at(subject, "name"))
                found.setdefault(account, []).extend(roles[role])
    assert bound == set(roles), "a role that nothing binds"
    return found


def check(document: JsonObject) -> None:
    """Only Kubernetes collectors hold rules, only to read, and only they mount a token."""
    ctx = context_of(document)
    objects = objects_of(rendered_in(ctx))
    watches_secrets = any(one.watch_secrets for one in ctx.effective.collectors)
    rights = granted(objects)
    pods = templates(objects)
    by_account = {
        (str_at(workload, "metadata", "namespace"), str_at(pod, "spec", "serviceAccountName")): pod
        for workload, pod in pods
    }
    accounts = {
        (str_at(one, "metadata", "namespace"), str_at(one, "metadata", "name"))
        for one in objects
        if str_at(one, "kind") == "ServiceAccount"
    }
    assert accounts == set(by_account), "every ServiceAccount is some pod's, and every pod has one of its own"
    for account, pod in by_account.items():
        uses_token = at(pod, "spec", "automountServiceAccountToken") is True
        assert uses_token is (account in rights), account
        is_collector = strings_at(pod, "metadata", "labels")["app.kubernetes.io/name"] == "tapio-kubernetes"
        assert uses_token is is_collector
    assert set(rights) <= set(by_account)
    for rule in (rule for rules in rights.values() for rule in rules):
        assert list_at(rule, "verbs") == READING
        for field in ("apiGroups", "resources", "verbs"):
            assert "*" not in list_at(rule, field)
        assert "nonResourceURLs" not in rule
        assert watches_secrets or "secrets" not in list_at(rule, "resources")


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_rights_of_an_example_are_what_it_uses(name: str) -> None:
    check(example(name))


@quick
@given(specs())
def test_the_rights_of_any_spec_are_what_it_uses(spec: JsonObject) -> None:
    try:
        check(cluster(spec))
    except BudgetTooSmall:
        return


@pytest.mark.parametrize("watches", [pytest.param(True, id="asked for"), pytest.param(False, id="not asked for")])
def test_secrets_are_read_only_when_asked_for(watches: bool) -> None:
    document = cluster({"collectors": {"kubernetes": {"watchSecrets": watches}}})
    check(document)
    rules = [rule for rules in granted(objects_of(rendered_in(context_of(document)))).values() for rule in rules]
    assert any("secrets" in list_at(rule, "resources") for rule in rules) is watches


def test_without_a_kubernetes_collector_nothing_is_granted() -> None:
    objects = objects_of(rendered_in(context_of(cluster({"collectors": {"ebpf": True}}))))
    kinds = {str_at(one, "kind") for one in objects}
    assert kinds.isdisjoint({"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"})
