"""Who a worker is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import tapio_reconciler
import tapio_shared


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this worker is, as its decisions and epochs say."""

    worker: str
    operator_version: str
    partitions: int
    code: str = ""
    """Digest of the code that plans (`code_digest`), by which two builds of one version are told apart."""

    @property
    def made_by(self) -> str:
        """Whose plans these are: other code may plan otherwise."""
        return f"{self.operator_version} {self.code}".rstrip()


def code_digest() -> str:
    """Digest of all source that a plan may depend on: this service's and what it shares with the others."""
    state = hashlib.blake2b(digest_size=8)
    for package in (tapio_reconciler, tapio_shared):
        root = Path(str(package.__file__)).parent
        for file in sorted(root.rglob("*.py")):
            state.update(f"{file.relative_to(root)}\0".encode())
            state.update(file.read_bytes())
    return state.hexdigest()
