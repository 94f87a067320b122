"""A real API server takes the CRDs and the examples, stores their normal form and refuses what it can."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from tapio_shared.api.normalise import normalise, normalise_spec
from tapio_shared.api.specs import SPEC_MODELS
from tapio_shared.api.trust import Trust
from tapio_shared.api.validation import validate
from tapio_shared.json import JsonObject
from tests.control_plane.launcher import ControlPlane
from tests.support.api_documents import SLOW, resources

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
KUBECTL = Path(sys.prefix) / "bin/kubectl"
EXAMPLES = ["quickstart", "development", "production", "edge"]
CRDS = ["tapioclusters.tapio.io", "tapiocollectors.tapio.io", "tapiointelligences.tapio.io"]
FIRST_MINOR_WITH_CEL = 25

Kubectl: TypeAlias = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def kubectl(control_plane: ControlPlane) -> Kubectl:
    """kubectl as administrator, with the CRDs of this server's version installed."""

    def run(*arguments: str, stdin: JsonObject | None = None) -> subprocess.CompletedProcess[str]:
        command = [str(KUBECTL), f"--kubeconfig={control_plane.kubeconfig}", *arguments]
        text = None if stdin is None else json.dumps(stdin)
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)

    name = "crds.yaml" if has_cel(control_plane) else "crds-legacy.yaml"
    applied = run("apply", "-f", str(ROOT / "crds" / name))
    assert applied.returncode == 0, applied.stderr

    def conditions(crd: str) -> str:
        return run("get", "crd", crd, "-o", "jsonpath={.status.conditions}").stdout.strip()

    # kubectl fails, instead of waiting, while a new CRD has no conditions at all: first wait until it has some.
    some = Retrying(retry=retry_if_result(lambda text: text == ""), wait=wait_fixed(0.1), stop=stop_after_delay(60))
    for crd in CRDS:
        some(conditions, crd)
        waited = run("wait", "--for=condition=Established", "--timeout=60s", f"crd/{crd}")
        assert waited.returncode == 0, waited.stderr
    return run


def has_cel(control_plane: ControlPlane) -> bool:
    return int(control_plane.server_version.split(".")[1]) >= FIRST_MINOR_WITH_CEL


def example(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / f"examples/{name}.yaml").read_text())
    return document


def test_the_crds_are_structural_and_established(kubectl: Kubectl) -> None:
    for crd in CRDS:
        conditions = json.loads(kubectl("get", "crd", crd, "-o", "json").stdout)["status"]["conditions"]
        assert {entry["type"]: entry["status"] for entry in conditions} == {
            "NamesAccepted": "True",
            "Established": "True",
        }


@pytest.mark.parametrize("how", [pytest.param([], id="apply"), pytest.param(["--server-side"], id="server-side apply")])
@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_accepted_and_stored_in_normal_form(
    kubectl: Kubectl, namespace: str, name: str, how: list[str]
) -> None:
    document = example(name)
    document["metadata"]["namespace"] = namespace
    applied = kubectl("apply", *how, "-f", "-", stdin=document)
    assert applied.returncode == 0, applied.stderr
    stored = json.loads(kubectl("get", "-n", namespace, "tpc", document["metadata"]["name"], "-o", "json").stdout)
    assert normalise_spec("TapioCluster", stored["spec"]) == normalise_spec("TapioCluster", document["spec"])


def test_static_defaults_are_stored_and_no_others(kubectl: Kubectl, namespace: str) -> None:
    spec: JsonObject = {"collectors": {"kubernetes": {}}, "intelligence": {"neo4j": {}}, "nats": {"observations": {}}}
    document: JsonObject = {
        "apiVersion": "tapio.io/v1alpha1",
        "kind": "TapioCluster",
        "metadata": {"name": "bare", "namespace": namespace},
        "spec": spec,
    }
    created = kubectl("create", "-f", "-", "-o", "json", stdin=document)
    assert created.returncode == 0, created.stderr
    assert json.loads(created.stdout)["spec"] == normalise_spec("TapioCluster", spec)


def test_wrong_values_are_refused_by_the_schema(kubectl: Kubectl, namespace: str) -> None:
    document: JsonObject = {
        "apiVersion": "tapio.io/v1alpha1",
        "kind": "TapioCluster",
        "metadata": {"name": "a" * 64, "namespace": namespace},
        "spec": {"profile": "prod", "nats": {"storage": "10GB", "env": [{"name": "A"}, {"name": "A"}]}},
    }
    refused = kubectl("create", "--validate=false", "-f", "-", stdin=document)
    assert refused.returncode == 1
    for path in ("metadata.name", "spec.profile", "spec.nats.storage", "spec.nats.env[1]"):
        assert path in refused.stderr


def test_rules_are_enforced_where_the_server_knows_cel(
    kubectl: Kubectl, namespace: str, control_plane: ControlPlane
) -> None:
    document = example("development")
    document["metadata"]["namespace"] = namespace
    document["spec"]["nats"] = {"replicas": 2}
    created = kubectl("create", "-f", "-", stdin=document)
    if has_cel(control_plane):
        assert "The number of NATS servers must be odd, so that they can vote." in created.stderr
    else:
        assert created.returncode == 0, created.stderr


def test_columns_short_names_and_category(kubectl: Kubectl, namespace: str) -> None:
    document = example("edge")
    document["metadata"]["namespace"] = namespace
    assert kubectl("apply", "-f", "-", stdin=document).returncode == 0
    wide = kubectl("get", "-n", namespace, "tpc", "-o", "wide").stdout.splitlines()
    assert wide[0].split() == ["NAME", "PROFILE", "VERSION", "READY", "PHASE", "COMPONENTS", "MESSAGE", "AGE"]
    assert wide[1].split()[:2] == ["edge", "edge"]
    assert "tapiocluster.tapio.io/edge" in kubectl("get", "-n", namespace, "tapio").stdout
    for short in ("tpcol", "tpint"):
        assert kubectl("get", "-n", namespace, short).returncode == 0


@settings(max_examples=25, suppress_health_check=[*SLOW, HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_what_validation_accepts_the_server_accepts(kubectl: Kubectl, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(SPEC_MODELS)))
    document = data.draw(resources(kind, garbage=False))
    document["metadata"] = {"name": "production", "namespace": "default"}
    if validate(kind, document, trust=Trust()) == ():
        # As the webhook stores it: a null means absent to us, and is refused by a server that asks no webhook.
        created = kubectl("create", "--dry-run=server", "-f", "-", stdin=normalise(document))
        assert created.returncode == 0, created.stderr
