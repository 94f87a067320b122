"""Last messages that are asked for a few subjects at a time go together, whoever writes meanwhile."""

from __future__ import annotations

import asyncio

from tapio_shared.adapters.nats_log import NatsEventLog
from tapio_shared.ports import NewMessage
from tests.support.nats_servers import Nats

SUBJECTS = [f"tapio.log.1.{number}" for number in range(10)]


async def test_a_view_in_slices_is_one_of_the_log_as_it_was_at_its_revision(nats_server: Nats) -> None:
    connection = await nats_server.connect()
    try:
        await nats_server.provision_anew(connection)
        log = NatsEventLog(connection, slice_size=3)
        await log.append_batch([NewMessage(one, b"") for one in SUBJECTS])

        is_over = asyncio.Event()

        async def write() -> None:
            """One subject after the other, so that the last ten messages are always the last of each."""
            while not is_over.is_set():
                for one in SUBJECTS:
                    await log.append(NewMessage(one, b""))

        async def look() -> int:
            view = await log.last_per_subject("tapio.log.1.>", "tapio.log.2.>")
            assert [one.sequence for one in view.messages] == list(range(view.revision - 9, view.revision + 1))
            return view.revision

        assert await look() == 10
        writing = asyncio.create_task(write())
        try:
            seen = [await look() for _ in range(40)]
        finally:
            is_over.set()  # Not cancelled: an append that was sent would still land, between what is compared below.
            await writing
        assert seen[0] < seen[-1]
        assert await log.last_per_subject("tapio.log.3.>") == await NatsEventLog(connection).last_per_subject(
            "tapio.log.3.>"
        )
    finally:
        await connection.close()
