"""A support bundle holds what one needs to see what is wrong, and nothing that is planted as a secret."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import cast

import pytest

from tapio_cli.doctor.bundle import log_files
from tapio_cli.doctor.redaction import REDACTED, redacted, redacted_text
from tapio_shared.admissions import admitted_subject
from tapio_shared.codec import encode
from tapio_shared.json import JsonObject, JsonValue, list_at, objects_at, str_at
from tapio_shared.ports import Message
from tests.support.incidents import KEY, incident
from tests.support.recorded_histories import write_archive
from tests.support.virtual_time import run_virtually

ALICE, PLANTED = "alice@example.org", "hunter2-in-the-wrong-place"
CLUSTER = f"{KEY.namespace}_{KEY.name}"


async def _recorded() -> tuple[list[Message], list[Message]]:
    """A cluster whose user has put a secret wherever one can be put."""
    spec: JsonObject = {
        "nats": {"env": [{"name": "TOKEN", "value": PLANTED}], "podAnnotations": {"note": PLANTED}},
        "gateway": {"enabled": True, "args": [f"--password={PLANTED}"]},
    }
    async with incident(spec=spec) as one:
        await one.edit(ALICE, {"spec": {"nats": {"env": [{"name": "OTHER", "value": f"{PLANTED}-2"}]}}})
        await one.edit(ALICE, {"spec": {"gateway": {"args": [f"https://me:{PLANTED}@example.org"]}}})
        await one.until_condition("Ready", "True")
        asked = [
            Message(
                admitted_subject(each.target, each.namespace, each.name), number, encode(each), {}, each.answered_at
            )
            for number, each in enumerate(one.admissions, start=1)
        ]
        return list(one.operator.log.lives[-1]), asked


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    told, asked = run_virtually(_recorded())
    path = write_archive(tmp_path_factory.mktemp("history") / "a", told, admitted=asked)
    assert any(PLANTED.encode() in one.data for one in told), "what is planted is recorded, or nothing is proven"
    return path


def tapioctl(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tapio_cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


def members(path: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with tarfile.open(path) as packed:
        for one in packed.getmembers():
            file = packed.extractfile(one)
            assert file is not None
            found[one.name.removeprefix("tapio-diagnostics/")] = file.read()
    return found


def test_a_bundle_says_what_is_wrong_and_holds_no_secret_and_no_name(archive: Path, tmp_path: Path) -> None:
    ended = tapioctl("diagnostics", "bundle.tar.gz", "--from", str(archive), folder=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    path = tmp_path / "bundle.tar.gz"
    assert ended.stdout == (
        f"7 files are in bundle.tar.gz ({path.stat().st_size} bytes). Look into it before you hand it on.\n"
    )
    assert path.stat().st_mode & 0o777 == 0o600
    found = members(path)
    assert sorted(found) == [
        "README.txt",
        "about.json",
        *(f"clusters/{CLUSTER}/{name}.json" for name in ("history", "objects", "status")),
        "doctor.json",
        "log.json",
    ]
    for name, data in found.items():
        assert PLANTED.encode() not in data, name
        assert ALICE.encode() not in data, name

    doctor = cast("JsonObject", json.loads(found["doctor.json"]))
    assert [str_at(one, "check") for one in objects_at(doctor, "operator")][:2] == ["log reachable", "window complete"]
    lines = cast("list[JsonObject]", json.loads(found[f"clusters/{CLUSTER}/history.json"]))
    changed = [one for one in lines if "spec.nats.env[OTHER]" in str(list_at(one, "changed"))]
    assert [str_at(one, "about") for one in changed] == [f"TapioCluster.tapio.io {KEY.namespace}/{KEY.name}"]
    objects = found[f"clusters/{CLUSTER}/objects.json"].decode()
    assert '"name": "OTHER"' in objects
    assert REDACTED in objects


def test_the_output_of_a_run_in_this_folder_is_packed(tmp_path: Path) -> None:
    logs = tmp_path / ".run" / "logs"
    logs.mkdir(parents=True)
    (logs / "watcher.log").write_text(f"connected to nats://tapio:{PLANTED}@127.0.0.1:4222\n")
    assert log_files(logs) == {"logs/watcher.log": b"connected to nats://(redacted)@127.0.0.1:4222\n"}


def test_a_file_that_can_not_be_written_is_said(archive: Path, tmp_path: Path) -> None:
    ended = tapioctl("diagnostics", "none/bundle.tar.gz", "--from", str(archive), folder=tmp_path)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        "tapioctl: none/bundle.tar.gz can't be written: No such file or directory. Name another file.\n"
    )


@pytest.mark.parametrize(
    ("given", "left"),
    [
        pytest.param(
            {"env": [{"name": "A", "value": "x"}]}, {"env": [{"name": "A", "value": REDACTED}]}, id="variable"
        ),
        pytest.param(
            {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
            {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
            id="a reference stays",
        ),
        pytest.param({"args": ["-x", "y"]}, {"args": [REDACTED, REDACTED]}, id="arguments"),
        pytest.param({"annotations": {"a": "b"}}, {"annotations": {"a": REDACTED}}, id="annotations"),
        pytest.param({"data": {"k": {"deep": 1}}}, {"data": {"k": REDACTED}}, id="data of a ConfigMap"),
        pytest.param({"apiToken": "x"}, {"apiToken": REDACTED}, id="a telling name"),
        pytest.param({"pullSecrets": ["x"]}, {"pullSecrets": ["x"]}, id="names of Secrets"),
        pytest.param(
            {"credentialsSecretRef": {"name": "x"}}, {"credentialsSecretRef": {"name": "x"}}, id="a Secret's name"
        ),
        pytest.param({"replicas": 3, "image": "nats:2.12"}, {"replicas": 3, "image": "nats:2.12"}, id="the rest stays"),
        pytest.param({"metadata": {"managedFields": []}}, {"metadata": {}}, id="managers"),
    ],
)
def test_what_is_left_of_a_document(given: JsonValue, left: JsonValue) -> None:
    assert redacted(given) == left


@pytest.mark.parametrize(
    ("given", "left"),
    [
        pytest.param("tls://me:pw@host:4222", "tls://(redacted)@host:4222", id="a login"),
        pytest.param("Authorization: Bearer abcdefgh.ijk", "Authorization: Bearer (redacted)", id="a token"),
        pytest.param("password=abc, then", "password=(redacted), then", id="a password"),
        pytest.param('{"api_key": "abc"}', '{"api_key": "(redacted)"}', id="a key in JSON"),
        pytest.param(
            'spec.x: Invalid value: "abc": too long', "spec.x: Invalid value: (redacted): too long", id="refused"
        ),
        pytest.param("a -----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY----- b", "a (redacted) b", id="PEM"),
        pytest.param("pod one-nats-0: ImagePullBackOff", "pod one-nats-0: ImagePullBackOff", id="the rest stays"),
    ],
)
def test_what_is_left_of_a_text(given: str, left: str) -> None:
    assert redacted_text(given) == left
