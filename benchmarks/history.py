"""The history at size: how fast facts fold, how long a replay takes, and `at` and `explain` on a live log.

Commands are measured as people run them: as processes of their own, imports included.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.lives import Months
from tapio_cli.history.archive import Archive, ArchiveWriter, Header, Stream
from tapio_reconciler.core.reading import entry_of
from tapio_reconciler.core.state import State, evolve
from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_log import NatsEventLog
from tapio_shared.adapters.nats_server import EmbeddedNatsServer
from tapio_shared.adapters.provisioning import provision
from tapio_shared.codec import encode
from tapio_shared.facts import EpochAdvanced
from tapio_shared.keys import OrderingKey, address_of, epoch_subject
from tapio_shared.ports import NewMessage
from tests.support.planned_world import PARTITIONS, START

_BATCH = 500
_FOLDED = 200_000
"""Messages that are folded for the rate: they have to be in memory, or reading them would be measured too."""
_ASKED = 5
"""TapioClusters that `at` and `explain` are asked about."""
_UNDISTURBED = 5.0
_PAUSE = 0.02


def measure_history(console: Console, folder: Path, messages: int, clusters: int) -> None:
    """Make a history of so many messages in `folder`, unless one lies there, and print a table of what it takes."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"history-{messages}-{clusters}.tapio"
    if not path.exists():
        _make(console, path, Months(messages, clusters))
    table = Table(title=f"{messages} messages of {clusters} TapioClusters", title_justify="left")
    for column in ("what", "value"):
        table.add_column(column)
    keys, rate = _folding(path)
    table.add_row("folding (decode and evolve), aim 50,000", f"{rate:,.0f} messages/s of CPU of one core")
    asyncio.run(_replaying(table, path))
    asyncio.run(_asking(table, folder, path, keys))
    console.print(table)


def _make(console: Console, path: Path, months: Months) -> None:
    stream = Stream(
        created_at="2026-09-21T00:00:00Z",
        first_sequence=1,
        last_sequence=months.messages,
        max_age=30 * 86_400.0,
        partitions=PARTITIONS,
    )
    began = time.perf_counter()
    with ArchiveWriter(path, Header(made_at=START, operator_version="0.1.0", stream=stream)) as writer:
        for message in islice(months.told(), months.messages):
            writer.add(message)
    counted = ", ".join(f"{count:,} {kind}" for kind, count in months.counted.most_common())
    console.print(f"made {path} in {time.perf_counter() - began:.0f} s: {counted}; {path.stat().st_size:,} bytes")


def _folding(path: Path) -> tuple[list[OrderingKey], float]:
    """The keys of the history, the busiest first, and how many messages a second of CPU folds."""
    messages = list(islice(Archive.open(path).messages(), _FOLDED))
    states: dict[OrderingKey, State] = {}
    counted: dict[OrderingKey, int] = {}
    began = time.process_time()
    for message in messages:
        key = address_of(message.subject).key
        if key is not None:
            state = states.get(key)
            if state is None:
                state = states[key] = State(key)
            evolve(state, message.subject, entry_of(message))
            counted[key] = counted.get(key, 0) + 1
    taken = time.process_time() - began
    return sorted(counted, key=lambda one: -counted[one]), len(messages) / taken


async def _replaying(table: Table, path: Path) -> None:
    seconds, output = await _timed(["replay", "--from", str(path)])
    table.add_row(f"tapioctl replay on {os.cpu_count()} cores, aim 30 s", f"{seconds:.1f} s: {output.splitlines()[0]}")


async def _asking(table: Table, folder: Path, path: Path, keys: Sequence[OrderingKey]) -> None:
    """`at` and `explain` on a live log that holds all of it, and what they do to somebody who writes to it."""
    async with EmbeddedNatsServer(folder / f"{path.stem}-nats") as server:
        connection = await NatsConnection.connect([server.url], name="bench")
        try:
            log = NatsEventLog(connection)
            await provision(connection, partitions=PARTITIONS, max_bytes=16 << 30)
            if not (await log.info()).last_sequence:
                began = time.perf_counter()
                await _publish(log, path)
                table.add_row(f"appending it, {_BATCH} in flight", f"{time.perf_counter() - began:.0f} s")
            info = await log.info()
            table.add_row("what the stream holds", f"{info.messages:,} messages, {info.bytes / 1e9:.2f} GB")
            async with _Writer(log) as writer:
                await asyncio.sleep(_UNDISTURBED)
            table.add_row("one writer, nobody reads: append, p50 / p99 / most", writer.shown())
            asked = [keys[number * len(keys) // _ASKED] for number in range(_ASKED)]
            half = f"@{info.last_sequence // 2}"
            for arguments in (["at", "now"], ["at", half], ["explain"], ["status"]):
                async with _Writer(log) as writer:
                    taken = [
                        (await _timed([*arguments, f"{key.namespace}/{key.name}", "--nats-url", server.url]))[0]
                        for key in asked
                    ]
                shown = ", ".join(f"{one:.2f}" for one in taken)
                table.add_row(f"tapioctl {' '.join(arguments)}, of {_ASKED} clusters, aim 1 s", f"{shown} s")
                table.add_row("    the writer meanwhile", writer.shown())
        finally:
            await connection.close()


class _Writer:
    """Somebody who appends to the log a few times a second, and notes how long that takes."""

    def __init__(self, log: NatsEventLog) -> None:
        self._log = log
        self._taken: list[float] = []

    async def __aenter__(self) -> _Writer:
        self._writing = asyncio.create_task(self._write())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writing.cancel()
        await asyncio.wait([self._writing])

    def shown(self) -> str:
        """Median, ninety-ninth hundredth and worst of its appends."""
        ordered = sorted(self._taken)
        p50, p99 = (ordered[int(len(ordered) * share)] for share in (0.5, 0.99))
        return f"{p50 * 1000:.1f} / {p99 * 1000:.1f} / {ordered[-1] * 1000:.1f} ms ({len(ordered)} appends)"

    async def _write(self) -> None:
        record = encode(EpochAdvanced(worker="bench", partitions=PARTITIONS, advanced_at=START))
        while True:
            began = time.perf_counter()
            await self._log.append(NewMessage(epoch_subject(0), record))
            self._taken.append(time.perf_counter() - began)
            await asyncio.sleep(_PAUSE)


async def _publish(log: NatsEventLog, path: Path) -> None:
    """As the operator does: who tells a fact expects the one before it."""
    messages = Archive.open(path).messages()
    last: dict[str, int] = {}
    while batch := list(islice(messages, _BATCH)):
        new: list[NewMessage] = []
        for one in batch:
            is_fact = address_of(one.subject).what not in {"decision", "outcome"}
            new.append(NewMessage(one.subject, one.data, expected_last=last.get(one.subject, 0) if is_fact else None))
            last[one.subject] = one.sequence
        await asyncio.gather(*map(log.append, new))


async def _timed(arguments: Sequence[str]) -> tuple[float, str]:
    """How long a command of tapioctl takes from its start to its end, and what it prints."""
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tapio_cli", *arguments, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )
    output, errors = await process.communicate()
    if process.returncode not in {0, 2}:
        raise RuntimeError(f"tapioctl {' '.join(arguments)} ended with {process.returncode}: {errors.decode()}")
    return time.perf_counter() - began, output.decode()
