"""deploy/: generated files are up to date, everything builds, and no service may do more than it does."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import cast

import pytest
import yaml

from tapio_reconciler.core.objects.kubernetes_rbac import GRANTED_RULES
from tapio_shared.json import JsonObject, list_at, objects_at, str_at

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("deploy_generate", DEPLOY / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def built(overlay: str) -> list[JsonObject]:
    kubectl = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or "kubectl"
    text = subprocess.run(
        [kubectl, "kustomize", str(DEPLOY / overlay)], capture_output=True, text=True, check=True
    ).stdout
    return cast("list[JsonObject]", list(yaml.safe_load_all(text)))


def role(name: str) -> list[JsonObject]:
    found = [
        one
        for one in built("base")
        if str_at(one, "kind") in {"ClusterRole", "Role"} and str_at(one, "metadata", "name") == name
    ]
    return [rule for one in found for rule in objects_at(one, "rules")]


def test_generated_files_are_up_to_date() -> None:
    for path, text in generator().files().items():
        assert path.read_text() == text, f"{path.name} differs; run `make deploy-manifests`"


@pytest.mark.parametrize("overlay", ["base", "legacy"])
def test_both_overlays_build(overlay: str) -> None:
    kinds = [str_at(one, "kind") for one in built(overlay)]
    assert kinds.count("CustomResourceDefinition") == 3
    assert kinds.count("Namespace") == 2
    assert kinds.count("ServiceAccount") == 3


def test_the_reconciler_neither_lists_nor_watches_and_gets_secrets_alone() -> None:
    for rule in role("tapio-reconciler"):
        verbs = set(list_at(rule, "verbs"))
        assert not verbs & {"list", "watch", "*"}
        assert "get" not in verbs or list_at(rule, "resources") == ["secrets"]


def test_the_watcher_writes_nothing_but_its_lease_and_its_key() -> None:
    writes = {
        (resource, verb)
        for rule in role("tapio-watcher")
        for resource in list_at(rule, "resources")
        for verb in list_at(rule, "verbs")
        if verb not in {"get", "list", "watch"}
    }
    assert writes == {("leases", "create"), ("leases", "update"), ("secrets", "create")}


@pytest.mark.parametrize("folder", ["base", "target"])
def test_secrets_are_listed_by_the_watcher_in_its_own_namespace_alone(folder: str) -> None:
    listing = {
        (str_at(one, "kind"), str_at(one, "metadata", "namespace"), str_at(one, "metadata", "name"))
        for one in built(folder)
        for rule in objects_at(one, "rules")
        if "secrets" in list_at(rule, "resources") and "list" in list_at(rule, "verbs")
    }
    own = {("Role", "tapio-system", "tapio-watcher")} if folder == "base" else set[tuple[str, str, str]]()
    assert listing - {("ClusterRole", "", "tapio-operator-grants-secrets")} == own


def test_nobody_escalates_and_nothing_is_a_wildcard() -> None:
    for one in built("base"):
        for rule in objects_at(one, "rules"):
            words = {str(word) for part in ("verbs", "resources", "apiGroups") for word in list_at(rule, part)}
            assert not words & {"*", "escalate", "bind", "impersonate"}


def test_the_operator_holds_what_it_hands_on_and_no_more() -> None:
    assert role("tapio-operator-grants") == [dict(rule) for rule in GRANTED_RULES]
    bound = {str_at(one, "roleRef", "name") for one in built("base") if str_at(one, "kind") == "ClusterRoleBinding"}
    assert "tapio-operator-grants-secrets" not in bound
