"""Record the golden histories: `make golden-histories`, when what is rendered was changed on purpose.

Each is what an operator in one process recorded on a simulated Kubernetes, in virtual time, from one seed: no value of
a Secret is in it, and the names of users are made up. `format-1.tapio` is never recorded again: no code writes it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec

from tapio_shared.admissions import Admission, admitted_subject
from tapio_shared.api.normalise import normalise_spec
from tapio_shared.codec import decode_record, digest, encode
from tapio_shared.facts import DecisionRecorded, ObjectObserved
from tapio_shared.json import object_at
from tapio_shared.keys import parse_subject
from tapio_shared.ports import Message
from tapio_shared.telemetry import setup_logging
from tests.support.operator_in_process import NAMES
from tests.support.recorded_histories import (
    history_of_a_bad_image,
    history_of_a_pause,
    history_of_new_rules,
    recorded_history,
    write_archive,
)

FOLDER = Path(__file__).parent
USER = "alice@example.org"
TAMPERED = "tampered-decision"
RECORDED = {
    "edited-by-hand": recorded_history,
    "a-bad-image": history_of_a_bad_image,
    "a-pause": history_of_a_pause,
    "new-rules": history_of_new_rules,
}
"""Name of a golden history -> how it is recorded."""


def tampered(history: list[Message]) -> list[Message]:
    """`history` with a decision that leaves one object out, as no planner had decided."""
    for place, message in enumerate(history):
        record = decode_record(message.data)
        if isinstance(record, DecisionRecorded) and len(record.apply) > 1:
            forged = msgspec.structs.replace(record, apply=record.apply[1:], digest="0" * 32)
            return [*history[:place], replace(message, data=encode(forged)), *history[place + 1 :]]
    raise AssertionError("a history of an operator holds a decision that applies several objects")


def admitted(history: list[Message]) -> list[Message]:
    """What a webhook would have recorded of every spec of a TapioCluster in `history`."""
    found: list[Message] = []
    known: dict[str, str] = {}
    for message in history:
        ref = parse_subject(message.subject).ref
        record = decode_record(message.data)
        if ref is None or ref.kind != "TapioCluster" or not isinstance(record, ObjectObserved):
            continue
        spec = digest(normalise_spec(ref.kind, object_at(record.object, "spec")))
        operation = "UPDATE" if ref.name in known else "CREATE"
        if known.get(ref.name) == spec:
            continue
        known[ref.name] = spec
        answer = Admission(
            request=str(message.sequence),
            handler="validate",
            target="local",
            kind=ref.kind,
            namespace=ref.namespace,
            name=ref.name,
            operation=operation,
            user=USER if ref.name == NAMES[0] else "bob@example.org",
            allowed=True,
            spec_digest=spec,
            answered_at=message.written_at,
        )
        subject = admitted_subject("local", ref.namespace, ref.name)
        found.append(Message(subject, len(found) + 1, encode(answer), {}, message.written_at))
    return found


def exported(history: list[Message]) -> list[Message]:
    """What `tapioctl export` takes along."""
    return [message for message in history if message.subject.startswith("tapio.log.")]


def main() -> None:
    setup_logging("warning")
    for name, record in RECORDED.items():
        history = exported(record())
        write_archive(FOLDER / f"{name}.tapio", history, admitted=admitted(history))
    write_archive(FOLDER / f"{TAMPERED}.tapio", tampered(exported(recorded_history())))


if __name__ == "__main__":
    main()
