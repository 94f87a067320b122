"""kubectl as a child process: the machine's own when there is one beside us or on PATH."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path
from typing import cast

from tapio_shared.errors import InvalidSettings, TapioError
from tapio_shared.json import JsonObject


class KubectlError(TapioError):
    """kubectl ended with an error; the text is what it said."""


def find_kubectl() -> str:
    """Path of kubectl: what $KUBECTL names, else the one that came with the set-up, else the machine's."""
    named = os.environ.get("KUBECTL")
    if named:
        return named
    beside = Path(sys.executable).with_name("kubectl")
    found = str(beside) if beside.exists() else shutil.which("kubectl")
    if found is None:
        raise InvalidSettings("There is no kubectl here. `make setup` brings one; or install it and try again.")
    return found


class Kubectl:
    """kubectl against one kubeconfig, and a context in it."""

    def __init__(self, kubeconfig: Path, context: str = "") -> None:
        self._base = [find_kubectl(), f"--kubeconfig={kubeconfig}", *([f"--context={context}"] if context else [])]

    async def run(self, *arguments: str, stdin: bytes | None = None) -> str:
        """Run one command and answer what it printed. `KubectlError` with its message when it fails."""
        process = await asyncio.create_subprocess_exec(
            *self._base,
            *arguments,
            stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if name != "KUBECONFIG"},
        )
        output, errors = await process.communicate(stdin)
        if process.returncode != 0:
            text = errors.decode(errors="replace").strip()
            raise KubectlError(f"`kubectl {' '.join(arguments)}` failed: {text}")
        return output.decode(errors="replace")

    async def document(self, *arguments: str, stdin: bytes | None = None) -> JsonObject:
        """Run one command with `-o json` and answer the document."""
        return cast("JsonObject", json.loads(await self.run(*arguments, "-o", "json", stdin=stdin)))
