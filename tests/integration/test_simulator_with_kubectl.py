"""The closed list of calls that the real kubectl makes to the simulator, each tried once."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest_asyncio

from tapio_shared.adapters.clock import SystemClock
from tapio_shared.adapters.random import SeededRandom
from tapio_shared.json import JsonObject, at, int_at, objects_at, str_at
from tapio_simulator.cluster import SimulatedCluster
from tests.support.kube_calls import Calls

ROOT = Path(__file__).parents[2]
KUBECTL = Path(sys.executable).with_name("kubectl")
WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: "registry.example/web:1", ports: [{containerPort: 80}]}]
"""
CLUSTER = """
apiVersion: tapio.io/v1alpha1
kind: TapioCluster
metadata: {name: one, namespace: default}
spec: {profile: development, collectors: {kubernetes: true}}
"""


@dataclass(frozen=True, slots=True)
class Printed:
    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Kubectl:
    """The real kubectl, pointed at a simulated cluster, and calls beside it."""

    kubeconfig: Path
    folder: Path
    calls: Calls

    async def run(self, *arguments: str, stdin: str = "", editor: str = "") -> Printed:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "KUBECONFIG": str(self.kubeconfig),
            "KUBE_EDITOR": editor,
        }
        process = await asyncio.create_subprocess_exec(
            KUBECTL,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate(stdin.encode())
        return Printed(process.returncode or 0, out.decode(), err.decode())

    async def does(self, *arguments: str, stdin: str = "", editor: str = "") -> str:
        """Run, expect success, answer what was printed."""
        printed = await self.run(*arguments, stdin=stdin, editor=editor)
        assert printed.code == 0, f"kubectl {' '.join(arguments)}: {printed.err}"
        return printed.out

    async def deployment(self) -> JsonObject:
        return (await self.calls.get(self.calls.path("apps/v1", "deployments", "web"))).document

    async def cluster(self) -> JsonObject:
        return (await self.calls.get(self.calls.path("tapio.io/v1alpha1", "tapioclusters", "one"))).document


@pytest_asyncio.fixture
async def kubectl(tmp_path: Path) -> AsyncGenerator[Kubectl]:
    cluster = SimulatedCluster(SystemClock(), SeededRandom(1))
    await cluster.prepare()
    async with cluster.serve(tmp_path) as endpoint:
        yield Kubectl(endpoint.kubeconfig, tmp_path, Calls(cluster.kube(), "default"))


@pytest_asyncio.fixture
async def with_crds(kubectl: Kubectl) -> Kubectl:
    """The three CRDs are installed as the README says."""
    out = await kubectl.does("apply", "-f", str(ROOT / "crds" / "crds.yaml"))
    assert out.count(" created\n") == 3
    return kubectl


@pytest_asyncio.fixture
async def with_web(kubectl: Kubectl) -> Kubectl:
    assert await kubectl.does("apply", "-f", "-", stdin=WEB) == "deployment.apps/web created\n"
    return kubectl


async def test_crds_are_established(with_crds: Kubectl) -> None:
    out = await with_crds.does("wait", "--for=condition=Established", "crd/tapioclusters.tapio.io", "--timeout=5s")
    assert out == "customresourcedefinition.apiextensions.k8s.io/tapioclusters.tapio.io condition met\n"


async def test_apply_from_the_client_and_again(with_crds: Kubectl) -> None:
    assert await with_crds.does("apply", "-f", "-", stdin=CLUSTER) == "tapiocluster.tapio.io/one created\n"
    assert await with_crds.does("apply", "-f", "-", stdin=CLUSTER) == "tapiocluster.tapio.io/one unchanged\n"
    changed = CLUSTER.replace("development", "edge")
    assert await with_crds.does("apply", "-f", "-", stdin=changed) == "tapiocluster.tapio.io/one configured\n"
    assert str_at(await with_crds.cluster(), "spec", "profile") == "edge"


async def test_apply_on_the_server_and_a_conflict(with_crds: Kubectl) -> None:
    apply = ("apply", "--server-side", "-f", "-")
    assert await with_crds.does(*apply, stdin=CLUSTER) == "tapiocluster.tapio.io/one serverside-applied\n"
    other = await with_crds.run(*apply, "--field-manager=other", stdin=CLUSTER.replace("development", "edge"))
    assert other.code == 1
    assert 'Apply failed with 1 conflict: conflict with "kubectl": .spec.profile' in other.err
    await with_crds.does(
        *apply, "--field-manager=other", "--force-conflicts", stdin=CLUSTER.replace("development", "edge")
    )
    assert str_at(await with_crds.cluster(), "spec", "profile") == "edge"


async def test_moving_from_client_side_to_server_side_apply(with_crds: Kubectl) -> None:
    await with_crds.does("apply", "-f", "-", stdin=CLUSTER)
    printed = await with_crds.run("apply", "--server-side", "-f", "-", stdin=CLUSTER)
    assert (printed.code, printed.err) == (0, "")
    owners = objects_at(await with_crds.cluster(), "metadata", "managedFields")
    assert [str_at(owner, "manager") for owner in owners] == ["kubectl", "kubectl-last-applied"]


async def test_a_misspelt_field_is_refused_by_name(with_crds: Kubectl) -> None:
    printed = await with_crds.run("apply", "-f", "-", stdin=CLUSTER.replace("profile", "profil"))
    assert printed.code == 1
    assert 'strict decoding error: unknown field "spec.profil"' in printed.err


async def test_get_prints_the_columns_of_the_crd(with_crds: Kubectl) -> None:
    await with_crds.does("apply", "-f", "-", stdin=CLUSTER)
    header, row = (await with_crds.does("get", "tpc")).splitlines()
    assert header.split() == ["NAME", "PROFILE", "VERSION", "READY", "PHASE", "COMPONENTS", "AGE"]
    assert row.split()[:2] == ["one", "development"]
    assert "one" in await with_crds.does("get", "tapio", "-A")


async def test_get_as_json(with_crds: Kubectl) -> None:
    await with_crds.does("apply", "-f", "-", stdin=CLUSTER)
    document = msgspec.json.decode(await with_crds.does("get", "tpc", "one", "-o", "json"))
    assert at(document, "spec", "collectors", "kubernetes") is True


async def test_describe(with_crds: Kubectl) -> None:
    await with_crds.does("apply", "-f", "-", stdin=CLUSTER)
    out = await with_crds.does("describe", "tpc", "one")
    assert "Kind:         TapioCluster" in out
    assert "Profile:          development" in out
    assert "Events:" in out


async def test_explain(with_crds: Kubectl) -> None:
    # kubectl explains from its discovery cache, which is older than the CRDs here; this renews it.
    assert "tapioclusters" in await with_crds.does("api-resources", "--api-group=tapio.io")
    out = await with_crds.does("explain", "tpc.spec.profile")
    assert "FIELD: profile <string>" in out
    assert "production" in out


async def test_edit(with_crds: Kubectl) -> None:
    await with_crds.does("apply", "-f", "-", stdin=CLUSTER)
    out = await with_crds.does("edit", "tpc", "one", editor="sed -i s/profile:.*/profile:\\ edge/")
    assert out == "tapiocluster.tapio.io/one edited\n"
    assert str_at(await with_crds.cluster(), "spec", "profile") == "edge"


async def test_wait_for_a_condition(with_crds: Kubectl) -> None:
    await with_crds.does("apply", "-f", "-", stdin=CLUSTER)
    waiting = asyncio.create_task(with_crds.run("wait", "--for=condition=Ready", "tpc/one", "--timeout=30s"))
    condition: JsonObject = {
        "type": "Ready",
        "status": "True",
        "reason": "AllReady",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "observedGeneration": 1,
    }
    path = with_crds.calls.path("tapio.io/v1alpha1", "tapioclusters", "one")
    reply = await with_crds.calls.merge(f"{path}/status", {"status": {"conditions": [condition]}})
    assert reply.status == 200, reply.message
    assert (await waiting).out == "tapiocluster.tapio.io/one condition met\n"


async def test_delete(with_crds: Kubectl) -> None:
    await with_crds.does("apply", "-f", "-", stdin=CLUSTER)
    assert (
        await with_crds.does("delete", "tpc", "one") == 'tapiocluster.tapio.io "one" deleted from default namespace\n'
    )
    assert "NotFound" in (await with_crds.run("get", "tpc", "one")).err


async def test_builtin_kinds_are_listed_as_usual(with_web: Kubectl) -> None:
    header, row = (await with_web.does("get", "deploy", "-o", "wide")).splitlines()
    assert header.split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "CONTAINERS", "IMAGES", "SELECTOR", "AGE"]
    assert row.split()[:4] == ["web", "0/1", "0", "0"]
    assert "deployment.apps/web" in await with_web.does("get", "all")


async def test_describe_a_deployment(with_web: Kubectl) -> None:
    out = await with_web.does("describe", "deploy", "web")
    assert "Image:         registry.example/web:1" in out
    assert "Replicas:               1 desired | 0 updated | 0 total" in out


async def test_scale(with_web: Kubectl) -> None:
    assert await with_web.does("scale", "deploy", "web", "--replicas=3") == "deployment.apps/web scaled\n"
    assert int_at(await with_web.deployment(), "spec", "replicas") == 3


async def test_annotate_and_label(with_web: Kubectl) -> None:
    assert await with_web.does("annotate", "deploy", "web", "note=x") == "deployment.apps/web annotated\n"
    assert await with_web.does("label", "deploy", "web", "team=y") == "deployment.apps/web labeled\n"
    document = await with_web.deployment()
    assert at(document, "metadata", "annotations", "note") == "x"
    assert at(document, "metadata", "labels", "team") == "y"


async def test_rollout_restart_and_status(with_web: Kubectl) -> None:
    assert await with_web.does("rollout", "restart", "deploy", "web") == "deployment.apps/web restarted\n"
    document = await with_web.deployment()
    assert "kubectl.kubernetes.io/restartedAt" in str(at(document, "spec", "template", "metadata", "annotations"))
    following = asyncio.create_task(with_web.run("rollout", "status", "deploy", "web", "--timeout=30s"))
    status: JsonObject = {
        "observedGeneration": 2,
        "replicas": 1,
        "updatedReplicas": 1,
        "readyReplicas": 1,
        "availableReplicas": 1,
    }
    path = with_web.calls.path("apps/v1", "deployments", "web")
    await with_web.calls.merge(f"{path}/status", {"status": status})
    assert 'deployment "web" successfully rolled out' in (await following).out


async def test_edit_a_builtin_kind(with_web: Kubectl) -> None:
    await with_web.does("edit", "deploy", "web", editor="sed -i s/web:1/web:2/")
    containers = objects_at(await with_web.deployment(), "spec", "template", "spec", "containers")
    assert str_at(containers[0], "image") == "registry.example/web:2"


async def test_typed_commands_that_only_speak_protobuf(kubectl: Kubectl) -> None:
    assert await kubectl.does("create", "namespace", "team") == "namespace/team created\n"
    await kubectl.does("create", "configmap", "one", "-n", "team", "--from-literal=a=b")
    await kubectl.does("create", "secret", "generic", "two", "-n", "team", "--from-literal=c=d")
    stored = [
        (await kubectl.calls.get(f"/api/v1/namespaces/team/{path}")).document
        for path in ("configmaps/one", "secrets/two")
    ]
    assert [document["data"] for document in stored] == [{"a": "b"}, {"c": "ZA=="}]
    await kubectl.does("create", "serviceaccount", "robot")
    assert len((await kubectl.does("create", "token", "robot")).strip()) > 20
    assert await kubectl.does("auth", "can-i", "create", "pods") == "yes\n"
    assert "kubernetes-admin" in await kubectl.does("auth", "whoami")
    refused = await kubectl.run("create", "deployment", "web", "--image=x")
    assert "accepted media types include: application/json" in refused.err


async def test_what_is_not_served_is_named(kubectl: Kubectl) -> None:
    printed = await kubectl.run("get", "--raw", "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas")
    assert printed.code == 1
    assert "The simulator does not serve GET /apis/flowcontrol.apiserver.k8s.io/v1/flowschemas" in printed.err
