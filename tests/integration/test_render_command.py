"""`tapioctl render` as a process: what it prints, where, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest
import yaml

from tapio_reconciler.core.previewing import UNKNOWN_UID
from tapio_shared.api.names import node_agent_name
from tapio_shared.json import JsonObject, at, objects_at, str_at
from tests.support.planned_world import discovery, example
from tests.support.rendered import context_of, objects_of, rendered_in

ROOT = Path(__file__).parents[2]
CLUSTER = """
apiVersion: tapio.io/v1alpha1
kind: TapioCluster
metadata: {name: one}
spec: {profile: development, intelligence: {embedded: true}}
"""
COLLECTOR = """
apiVersion: tapio.io/v1alpha1
kind: TapioCollector
metadata: {name: extra}
spec: {clusterRef: {name: one}, type: systemd}
"""
CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: tapio-operator-config, namespace: tapio-system}
data: {config.yaml: "images: {registry: mirror.example.org}"}
"""
NODES = """
apiVersion: v1
kind: NodeList
items:
- apiVersion: v1
  kind: Node
  metadata: {name: a, labels: {kubernetes.io/os: linux}}
  status:
    nodeInfo: {kernelVersion: 4.19.0, osImage: Debian GNU/Linux 10, architecture: amd64, operatingSystem: linux}
    conditions: [{type: Ready, status: "True"}]
"""


def render(
    *arguments: str, stdin: str = "", hash_seed: str = "0", folder: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).parent / "tapioctl"), "render", *arguments],
        input=stdin,
        cwd=folder,
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def objects(text: str) -> list[JsonObject]:
    return cast("list[JsonObject]", list(yaml.safe_load_all(text)))


def names(found: list[JsonObject]) -> list[tuple[str, str]]:
    return [(str_at(one, "kind"), str_at(one, "metadata", "name")) for one in found]


def test_a_stream_holds_what_the_planner_wants_byte_for_byte_under_any_order_of_hashing() -> None:
    first = render("-f", "examples/production.yaml", "--served", "monitoring.coreos.com/v1")
    other = render("-f", "examples/production.yaml", "--served", "monitoring.coreos.com/v1", hash_seed="4711")

    assert (first.returncode, first.stdout) == (0, other.stdout)
    context = context_of(example("production"), discovered=discovery(monitoring=True), fleet=None, uid=UNKNOWN_UID)
    assert objects(first.stdout) == objects_of(rendered_in(context))


def test_what_a_person_should_know_goes_to_standard_error_as_sentences() -> None:
    done = render("-f", "examples/production.yaml")

    copies = [node_agent_name("production", f"nats-{kind}", "default") for kind in ("ebpf", "systemd", "cni")]
    told = done.stderr.splitlines()
    start = "TapioCluster.tapio.io default/production: "
    assert [line.removeprefix(start).split(":")[0].split(" (")[0] for line in told] == [
        "LicenseNotAccepted",
        "EtcdAccessNotConfigured",
        "NotYetSupported",
        "Secret production-nats-auth is printed without its values",
        "Secret production-nats-tls is printed without its values",
        "Secret production-neo4j-auth is printed without its values",
        *(f"Secret {name} is printed without its values" for name in copies),
        f"Owner references and labels hold {UNKNOWN_UID} for the UID that the API server will give; what is printed "
        "is for reading, comparing and scanning, and is applied by the operator.",
    ]
    secret = next(one for one in objects(done.stdout) if str_at(one, "kind") == "Secret")
    assert secret.keys() & {"data", "stringData"} == set()
    assert "# Without its values (NEO4J_AUTH, " in done.stdout


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        pytest.param(
            "1.20", {"PodDisruptionBudget": "policy/v1beta1", "HorizontalPodAutoscaler": "autoscaling/v2beta2"}
        ),
        pytest.param("v1.22.3", {"PodDisruptionBudget": "policy/v1", "HorizontalPodAutoscaler": "autoscaling/v2beta2"}),
        pytest.param("1.29+gke", {"PodDisruptionBudget": "policy/v1", "HorizontalPodAutoscaler": "autoscaling/v2"}),
    ],
)
def test_the_versions_are_those_that_this_kubernetes_serves(version: str, expected: dict[str, str]) -> None:
    done = render("-f", "examples/production.yaml", "--kubernetes", version)

    found = {str_at(one, "kind"): str_at(one, "apiVersion") for one in objects(done.stdout)}
    assert {kind: found[kind] for kind in expected} == expected


def test_several_documents_and_files_make_one_answer_and_the_operators_configuration_counts() -> None:
    namespace = "\napiVersion: v1\nkind: Namespace\nmetadata: {name: here}\n"
    done = render("-f", "-", "-n", "here", stdin="---".join([CLUSTER, COLLECTOR, CONFIG, namespace]))

    assert done.returncode == 0, done.stderr
    found = objects(done.stdout)
    assert {str_at(one, "metadata", "namespace") for one in found} == {"here", "tapio-nodes", ""}
    assert [kind for kind, _ in names(found)].count("DaemonSet") == 1
    images = {
        str_at(container, "image").partition("/")[0]
        for one in found
        for container in objects_at(one, "spec", "template", "spec", "containers")
    }
    assert images == {"mirror.example.org"}
    assert "Namespace here is left as it is: only Tapio's own resources are rendered." in done.stderr.splitlines()


def test_the_uid_of_a_live_cluster_is_kept() -> None:
    done = render("-f", "-", stdin=CLUSTER.replace("{name: one}", "{name: one, uid: u-1}"))

    owners = [at(one, "metadata", "ownerReferences", 0, "uid") for one in objects(done.stdout)]
    assert set(owners) - {None} == {"u-1"}
    assert UNKNOWN_UID not in done.stderr


def test_a_fleet_decides_what_can_work(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text(NODES)
    wanted = CLUSTER.replace("embedded: true}", "embedded: true}, collectors: {ebpf: true}")

    without = render("-f", "-", stdin=wanted)
    done = render("-f", "-", "--fleet", str(tmp_path / "fleet.yaml"), stdin=wanted)

    assert any(kind == "DaemonSet" for kind, _ in names(objects(without.stdout)))
    assert not any(kind == "DaemonSet" for kind, _ in names(objects(done.stdout)))
    assert (
        "KernelTooOld: ebpf is skipped: Can't be observed: 1 node with Linux 4.19.0; eBPF collection needs 5.8 or "
        "newer." in done.stderr
    )


def test_a_folder_holds_a_file_for_each_object_and_nothing_of_an_earlier_rendering(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "mine.yaml").write_text("mine: true\n")
    first = render("-f", "-", "-o", str(tmp_path), stdin=f"{CLUSTER}---{COLLECTOR}")
    assert (first.returncode, first.stdout) == (0, "")
    stream = render("-f", "-", stdin=f"{CLUSTER}---{COLLECTOR}")
    files = sorted(path for path in tmp_path.rglob("*.yaml") if path.name != "mine.yaml")
    written = [document for path in files for document in objects(path.read_text())]
    assert sorted(names(written)) == sorted(names(objects(stream.stdout)))
    assert tmp_path / "default" / "statefulset.one-nats.yaml" in files
    assert any(path.parent.name == "tapio-nodes" for path in files)
    before = {path: path.read_bytes() for path in files}

    again = render("-f", "-", "-o", str(tmp_path), stdin=CLUSTER, hash_seed="7")

    assert again.returncode == 0, again.stderr
    after = {path: path.read_bytes() for path in tmp_path.rglob("*.yaml") if path.name != "mine.yaml"}
    assert after.keys() < before.keys()
    assert not any(path.parent.name == "tapio-nodes" for path in after)
    assert (tmp_path / "mine.yaml").read_text() == "mine: true\n"


def test_a_file_of_somebody_else_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "default" / "statefulset.one-nats.yaml"
    path.parent.mkdir()
    path.write_text("mine: true\n")

    done = render("-f", "-", "-o", str(tmp_path), stdin=CLUSTER)

    assert done.returncode == 2
    assert done.stderr == f"tapioctl: {path} exists and was not written by tapioctl render; move it away.\n"
    assert [one for one in tmp_path.rglob("*") if one.is_file()] == [path]


def test_an_invalid_resource_gets_the_whole_answer_of_the_webhook_and_nothing_is_printed() -> None:
    wrong = CLUSTER.replace("{profile: development", "{profile: huge, nats: {replicas: 2}")
    done = render("-f", "-", stdin=f"{wrong}---{COLLECTOR}---{CLUSTER.replace('one', 'two')}")

    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert lines[0].startswith("TapioCluster.tapio.io default/one: InvalidSpec: ")
    assert "spec.profile" in lines[0]
    assert "spec.nats.replicas" in lines[0]
    assert lines[-1] == "Nothing was rendered."


@pytest.mark.parametrize(
    ("stdin", "said"),
    [
        pytest.param(
            COLLECTOR,
            "TapioCollector.tapio.io default/extra: ClusterNotFound: There is no TapioCluster one in namespace "
            "default. Create it, or correct spec.clusterRef.name.",
            id="a collector without its cluster",
        ),
        pytest.param(
            f"{CLUSTER.replace('embedded: true}', 'embedded: true}, collectors: {systemd: true}')}---{COLLECTOR}",
            "TapioCollector.tapio.io default/extra: OverlapsWith: A collector of type systemd already runs on some of "
            "the same nodes: spec.collectors.systemd of the TapioCluster. Choose other nodes with spec.nodeSelector, "
            "or set spec.allowOverlap to true.",
            id="a collector that overlaps",
        ),
        pytest.param(
            CLUSTER.replace("{embedded: true}", "{embedded: true}, resources: {requests: {memory: 1Mi}}"),
            "TapioCluster.tapio.io default/one: BudgetTooSmall: ",
            id="a budget that is too small",
        ),
    ],
)
def test_what_would_be_stalled_is_refused_with_its_reason(stdin: str, said: str) -> None:
    done = render("-f", "-", stdin=stdin)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[0].startswith(said)


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        pytest.param(["-f", "nowhere.yaml"], "", "nowhere.yaml can't be read: ", id="no such file"),
        pytest.param(["-f", "-"], "a: [", "standard input is not valid YAML: ", id="no YAML"),
        pytest.param(
            ["-f", "-"],
            CLUSTER + "spec: {}\n",
            "standard input is not valid YAML: the key spec stands twice",
            id="a key that stands twice",
        ),
        pytest.param(["-f", "-"], "", "There is no TapioCluster in -; there is nothing to render.", id="nothing"),
        pytest.param(["-f", "-"], "- a\n", "A document of standard input is no Kubernetes object", id="no object"),
        pytest.param(
            ["-f", "-"],
            f"{CLUSTER}---{CLUSTER}",
            "TapioCluster.tapio.io default/one is given twice; which one is meant can't be told.",
            id="given twice",
        ),
        pytest.param(
            ["-f", "-"],
            CLUSTER.replace("v1alpha1", "v1"),
            "TapioCluster of tapio.io/v1 is unknown; tapio.io/v1alpha1 has TapioCluster, TapioCollector, "
            "TapioIntelligence.",
            id="another version",
        ),
        pytest.param(
            ["-f", "-"],
            CLUSTER.replace("name: one", "name: One_"),
            "metadata.name of a TapioCluster is 'One_'; it must be a lower-case DNS name, such as dev.",
            id="no name",
        ),
        pytest.param(
            ["-f", "-"],
            CLUSTER.replace("name: one", "name: one, namespace: N_x"),
            "metadata.namespace of TapioCluster one is 'N_x'; it must be a lower-case DNS label, such as default.",
            id="no namespace",
        ),
        pytest.param(
            ["-f", "-"],
            CLUSTER.replace("name: one", "name: one, namespace: 5"),
            "metadata.namespace of TapioCluster one is 5; it must be a lower-case DNS label, such as default.",
            id="a number for a namespace",
        ),
        pytest.param(
            ["-f", "-", "--kubernetes", "1.19"],
            CLUSTER,
            "Kubernetes 1.19 is not supported; the oldest supported version is 1.20.",
            id="an old Kubernetes",
        ),
        pytest.param(
            ["-f", "-", "--kubernetes", "latest"],
            CLUSTER,
            "'latest' is no Kubernetes version; write it like 1.31 or v1.31.2.",
            id="no version",
        ),
        pytest.param(
            ["-f", "-", "--served", "apps/v1"],
            CLUSTER,
            "The operator makes no objects of apps/v1; what may be served besides",
            id="a group of Kubernetes' own",
        ),
        pytest.param(
            ["-f", "-"],
            f"{CLUSTER}---{CONFIG.replace('registry', 'registri')}",
            "ConfigMap tapio-operator-config, key config.yaml: ",
            id="a wrong configuration",
        ),
    ],
)
def test_what_cannot_be_used_is_said_in_one_sentence(arguments: list[str], stdin: str, said: str) -> None:
    done = render(*arguments, stdin=stdin)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"tapioctl: {said}")
    assert "Traceback" not in done.stderr


def test_a_text_that_looks_like_a_date_stays_a_text() -> None:
    done = render(
        "-f", "-", stdin=CLUSTER.replace("{profile: development", "{version: 2024-01-01, profile: development")
    )

    assert done.returncode == 0, done.stderr
    assert "app.kubernetes.io/version: '2024-01-01'" in done.stdout


def test_the_help_shows_examples_and_exit_codes() -> None:
    done = render("--help")

    assert "tapioctl render -f examples/production.yaml" in done.stdout
    assert "Exit codes: 0 rendered; 1 a resource would be refused" in done.stdout
