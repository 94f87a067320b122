"""The operator's NATS through a port-forward of kubectl that lasts as long as the command."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from tapio_cli.kubectl import find_kubectl
from tapio_shared.errors import TapioError
from tapio_shared.installation import NATS_PORT
from tapio_shared.subprocesses import die_with_parent

_READY = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) -> ")
_PATIENCE = 20.0
"""Seconds that kubectl may take until it forwards."""


class NotForwarded(TapioError):
    """kubectl could not forward a port; the text is what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """Through which cluster, and to which Service in it."""

    context: str
    """In the kubeconfig that kubectl takes: $KUBECONFIG, or ~/.kube/config."""
    namespace: str
    service: str

    @property
    def server_name(self) -> str:
        """The name that the servers' certificate is for."""
        return f"{self.service}.{self.namespace}.svc"


@asynccontextmanager
async def forwarded(wanted: Forward) -> AsyncGenerator[int]:
    """Forward any free port of this machine to NATS; answers it. `NotForwarded` with what kubectl said."""
    command = ["port-forward", "--address=127.0.0.1", f"--namespace={wanted.namespace}", f"service/{wanted.service}"]
    process = await asyncio.create_subprocess_exec(
        find_kubectl(),
        f"--context={wanted.context}",
        *command,
        f":{NATS_PORT}",
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        preexec_fn=die_with_parent,
    )
    assert process.stdout is not None, "it was asked for"
    assert process.stderr is not None, "it was asked for"
    try:
        try:
            async with asyncio.timeout(_PATIENCE):
                line = (await process.stdout.readline()).decode(errors="replace")
                said = _READY.match(line)
                # Without a line on standard output kubectl has ended, and says why on the other one.
                why = "" if said else (await process.stderr.read()).decode(errors="replace").strip() or line.strip()
        except TimeoutError:
            said, why = None, f"it forwarded nothing for {_PATIENCE:.0f} s"
        if said is None:
            raise NotForwarded(
                f"The operator's NATS can't be reached through context {wanted.context}: kubectl port-forward to "
                f"service/{wanted.service} in namespace {wanted.namespace}: {why}. Name another Service "
                "(--nats-service NAMESPACE/NAME), or NATS itself (--nats-url)."
            )
        # What it says of each connection is read, or it would wait for room at some time.
        reading = [asyncio.create_task(_drain(one)) for one in (process.stdout, process.stderr)]
        try:
            yield int(said[1])
        finally:
            for task in reading:
                task.cancel()
    finally:
        if process.returncode is None:
            # Not `terminate`, which would reap a process that has just ended before asyncio's watcher does.
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)
        await process.wait()


async def _drain(stream: asyncio.StreamReader) -> None:
    while await stream.readline():
        pass
