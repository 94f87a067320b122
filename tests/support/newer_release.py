"""`python -m tests.support.newer_release MODULE`: a service of this code as a release with a newer format of records.

Its decisions and outcomes, the epochs under which it owns partitions, and what its watcher tells are of the next
format, which it reads too. What it says of objects has another meaning: the document stands under another name and
`object` is empty, so that whoever reads it by the old meaning believes that all of them have lost their contents.
"""

from __future__ import annotations

import runpy
import sys
from typing import cast

import msgspec

from tapio_shared import facts

NEXT = facts.FORMAT + 1
_STAMPED = frozenset({"DecisionRecorded", "OutcomeRecorded", "FleetObserved", "ConfigurationObserved", "Synced"})
_FIELD = "object"
_RENAMED = "document"


def plant() -> None:
    """Make this process the newer release; before anything of the operator is imported."""
    facts.__dict__["FORMAT"] = NEXT
    from tapio_shared import codec  # noqa: PLC0415 - what it imports from `facts` is the planted format

    encode, decode = codec.encode, codec.decode_record

    def encode_newer(value: object) -> bytes:
        data = encode(value)
        kind = str(value.__struct_config__.tag) if isinstance(value, msgspec.Struct) else ""
        if kind not in _STAMPED and kind != "ObjectObserved":
            return data
        document = cast("dict[str, object]", msgspec.json.decode(data)) | {"format": NEXT}
        if kind == "ObjectObserved":
            document |= {_RENAMED: document[_FIELD], _FIELD: {}}
        return encode(document)

    def decode_newer(data: bytes | memoryview) -> facts.Record:
        document = cast("dict[str, object]", msgspec.json.decode(data))
        if document.get("format") == NEXT and _RENAMED in document:
            document[_FIELD] = document.pop(_RENAMED)
            return decode(encode(document))
        return decode(data)

    codec.__dict__["encode"], codec.__dict__["decode_record"] = encode_newer, decode_newer


if __name__ == "__main__":
    plant()
    module = sys.argv.pop(1)
    runpy.run_module(module, run_name="__main__", alter_sys=True)
