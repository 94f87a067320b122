"""Reading the API server's audit log: whole lines, after a position, without the reader's own marks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tapio_shared.json import JsonObject
from tests.control_plane.audit import METADATA, AuditLog, write_policy


def _line(verb: str, uri: str, code: int = 200) -> str:
    event: JsonObject = {
        "kind": "Event",
        "stage": "ResponseComplete",
        "verb": verb,
        "requestURI": uri,
        "user": {"username": "alice", "groups": ["system:authenticated"]},
        "objectRef": {"resource": "configmaps", "namespace": "default", "name": "one", "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "code": code},
        "annotations": {"authorization.k8s.io/decision": "allow"},
    }
    return json.dumps(event) + "\n"


def test_only_whole_lines_after_the_position_are_read(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log")
    assert (log.size, log.read()) == (0, [])

    log.path.write_text(_line("create", "/first", 201))
    position = log.size
    with log.path.open("a") as file:
        file.write(_line("update", "/second", 409) + _line("get", "/third")[:40])

    assert [event.request_uri for event in log.read()] == ["/first", "/second"]
    (second,) = log.read(position)
    assert (second.verb, second.object_ref.name, second.response_status.code) == ("update", "one", 409)
    assert (second.user.username, second.succeeded) == ("alice", False)


@pytest.mark.parametrize("length", [pytest.param(40, id="a little"), pytest.param(200_000, id="a great deal")])
def test_a_position_lies_between_lines_however_much_of_the_next_is_written(tmp_path: Path, length: int) -> None:
    log = AuditLog(tmp_path / "audit.log")
    line = _line("patch", "/" + "x" * length)
    log.path.write_text(line[:length])
    assert log.size == 0
    log.path.write_text(_line("create", "/first") + line[:length])
    position = log.size
    log.path.write_text(_line("create", "/first") + line)
    assert [event.verb for event in log.read(position)] == ["patch"]


def test_marks_are_found_and_left_out(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log")
    log.path.write_text(_line("get", "/version?marker=1.") + _line("get", "/version"))

    assert log.holds("/version?marker=1.", 0)
    assert not log.holds("/version?marker=2.", 0)
    assert [event.request_uri for event in log.read()] == ["/version"]


@pytest.mark.parametrize(
    ("verb", "uri", "is_write"),
    [
        pytest.param("create", "/api/v1/namespaces", True, id="create"),
        pytest.param("patch", "/api/v1/namespaces/a?fieldManager=b", True, id="apply"),
        pytest.param("deletecollection", "/api/v1/namespaces/a/pods", True, id="delete many"),
        pytest.param("create", "/api/v1/namespaces?dryRun=All", False, id="dry run"),
        pytest.param("list", "/api/v1/namespaces", False, id="list"),
        pytest.param("watch", "/api/v1/namespaces?watch=1", False, id="watch"),
    ],
)
def test_what_counts_as_a_write(tmp_path: Path, verb: str, uri: str, is_write: bool) -> None:
    log = AuditLog(tmp_path / "audit.log")
    log.path.write_text(_line(verb, uri))

    assert [event.is_write for event in log.read()] == [is_write]


def test_the_policy_logs_marks_whatever_the_rules_say(tmp_path: Path) -> None:
    write_policy(tmp_path / "policy.yaml", [{"level": "None", "verbs": ["get"]}, *METADATA])

    assert yaml.safe_load((tmp_path / "policy.yaml").read_text())["rules"] == [
        {"level": "Metadata", "nonResourceURLs": ["/version"]},
        {"level": "None", "verbs": ["get"]},
        {"level": "Metadata"},
    ]
