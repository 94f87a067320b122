"""A fault of tapioctl itself: told in a sentence, with what shows where it is in a file to hand on."""

from __future__ import annotations

import os
import shlex
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path


def told_fault(err: Exception, arguments: Sequence[str]) -> str:
    """What to say of an error that nobody foresaw; its traceback, which holds no values, is written to a new file."""
    typed = shlex.join(["tapioctl", *arguments])
    text = f"{typed}\n\n{''.join(traceback.format_exception(err))}"
    what = " ".join(f"{type(err).__name__}: {err}".split()).rstrip(".")
    try:
        where = f"Its traceback is in {_written(text)}."
    except OSError:
        where = f"Its traceback:\n{text}"
    return (
        f"This is a fault of tapioctl itself, not of what you typed: {what}. Please report it with what you typed, and "
        f"ask another way meanwhile. {where}"
    )


def _written(text: str) -> Path:
    number, path = tempfile.mkstemp(prefix="tapioctl-fault-", suffix=".txt")
    with os.fdopen(number, "w") as file:
        file.write(text)
    return Path(path)
