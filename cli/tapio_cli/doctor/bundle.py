"""A support bundle: what somebody else needs to see what is wrong, in one file, and nothing that he must not see.

Names of users are left out altogether: they are in a log of their own, which is not read for this.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tapio_cli.doctor.findings import Finding
from tapio_cli.doctor.redaction import redacted, redacted_text
from tapio_cli.history.fields import changed_fields
from tapio_cli.history.snapshots import snapshot
from tapio_cli.history.standing import status_of
from tapio_cli.history.story import Story
from tapio_cli.history.timeline import event_of, happened
from tapio_cli.kubectl import Kubectl, KubectlError
from tapio_shared.codec import to_document
from tapio_shared.facts import ObjectObserved
from tapio_shared.json import JsonObject, JsonValue
from tapio_shared.ports import LogInfo

_EVENTS = 2_000
"""Lines of each time line, the newest."""
_TAIL = 1 << 20
"""Bytes of each service's own log, the newest."""
_KINDS = ("deployments", "pods", "leases", "events", "configmaps")
_ABOUT = """\
A support bundle of the Tapio Operator, made by `tapioctl diagnostics`.

doctor.json       what each check found, of the operator and of each TapioCluster
log.json          the state of the log
clusters/*/       status, objects as last told, and the newest {events} lines of the history
kubernetes/       the operator's own Deployments, Pods, Leases, Events and ConfigMaps, with a kubeconfig alone
logs/             the newest output of each service, of a run on one machine alone

Left out: names of users; values of environment variables, arguments, annotations and configuration; fields that are
named like secrets; logins in addresses, tokens and keys in any text. Where something was, "(redacted)" stands. Look
before you hand it on: texts that people wrote, such as names of objects, are in it.
"""
Files = dict[str, bytes]


def cluster_files(stories: Sequence[Story]) -> Files:
    """Of each TapioCluster how it stands, its objects, and what happened last."""
    files: Files = {}
    for story in stories:
        folder = f"clusters/{story.key.namespace}_{story.key.name}"
        # The last change is told with values, by people's words; how it came about stands in the history.
        files[f"{folder}/status.json"] = _json({**status_of(story, ()), "lastChange": None})
        if story.window is not None:
            files[f"{folder}/objects.json"] = _json(snapshot(story, story.window[1].sequence))
        lines: list[JsonValue] = [*_lines(story)]
        files[f"{folder}/history.json"] = _json(lines[-_EVENTS:])
    return files


def _lines(story: Story) -> Iterator[JsonObject]:
    """The time line; of a change the fields that changed, and not what they were or are."""
    records = sorted((*story.own, *story.shared), key=lambda one: one.sequence)
    for one in happened(records, {}):
        event = event_of(one)
        line: JsonObject = {"at": event.at, "sequence": event.sequence, "what": event.what, "about": event.about}
        if isinstance(one.record, ObjectObserved) and isinstance(one.before, ObjectObserved):
            yield {**line, "changed": [each.path for each in changed_fields(one.before.object, one.record.object)]}
        else:
            yield {**line, "text": event.text}


def finding_files(findings: Mapping[str, Sequence[Finding]], info: LogInfo, about: JsonObject) -> Files:
    """What the doctor found, and what the log says of itself."""
    found: JsonObject = {name: [to_document(one) for one in each] for name, each in findings.items()}
    return {
        "README.txt": _ABOUT.format(events=_EVENTS).encode(),
        "about.json": _json(about),
        "doctor.json": _json(found),
        "log.json": _json(
            {
                "createdAt": info.created_at,
                "firstSequence": info.first_sequence,
                "lastSequence": info.last_sequence,
                "messages": info.messages,
                "bytes": info.bytes,
                "maxBytes": info.max_bytes,
                "maxAgeSeconds": info.max_age,
                "partitions": info.partitions,
            }
        ),
    }


async def kubernetes_files(kubectl: Kubectl, namespace: str) -> Files:
    """The operator's own objects; what can't be read is said in place of it."""
    files: Files = {}
    for kind in _KINDS:
        try:
            files[f"kubernetes/{kind}.json"] = _json(await kubectl.document("get", kind, "-n", namespace))
        except KubectlError as err:
            files[f"kubernetes/{kind}.txt"] = redacted_text(f"{err}\n").encode()
    return files


def log_files(folder: Path) -> Files:
    """The newest output of each service of a run on this machine."""
    return {
        f"logs/{path.name}": redacted_text(path.read_bytes()[-_TAIL:].decode(errors="replace")).encode()
        for path in sorted(folder.glob("*.log"))
    }


def write_bundle(path: Path, files: Files, *, made_at: int) -> None:
    """Pack `files` below one folder into a compressed tar file, for its owner's eyes."""
    partial = path.with_name(f"{path.name}.partial")
    partial.touch(mode=0o600)
    with tarfile.open(partial, "w:gz") as packed:
        for name, data in sorted(files.items()):
            member = tarfile.TarInfo(f"tapio-diagnostics/{name}")
            member.size, member.mtime, member.mode = len(data), made_at // 1000, 0o600
            packed.addfile(member, io.BytesIO(data))
    partial.replace(path)


def _json(document: JsonValue) -> bytes:
    return json.dumps(redacted(document), indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
