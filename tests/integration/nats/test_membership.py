"""Membership on a real server: who joins is seen, who leaves or dies is missed, and nobody flickers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from tapio_shared.adapters.memory_membership import MemoryMembership
from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_membership import NatsMembership
from tapio_shared.adapters.nats_server import EmbeddedNatsServer
from tapio_shared.adapters.provisioning import MEMBER_TTL, provision
from tapio_shared.ports import Membership
from tests.support.nats_servers import Nats

Changes = AsyncIterator[tuple[str, ...]]


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncGenerator[EmbeddedNatsServer]:
    async with EmbeddedNatsServer(tmp_path) as server:
        connection = await NatsConnection.connect([server.url], name="test")
        await provision(connection, partitions=4)
        await connection.close()
        yield server


@pytest.fixture(params=["memory", "one server"])
def nats(request: pytest.FixtureRequest) -> Nats | None:
    """Where the membership is kept; None means in memory."""
    if request.param == "memory":
        return None
    nats: Nats = request.getfixturevalue("nats_server")
    return nats


@pytest_asyncio.fixture
async def membership(nats: Nats | None) -> AsyncGenerator[Membership]:
    if nats is None:
        yield MemoryMembership()
        return
    connection = await nats.connect()
    await nats.provision_anew(connection)
    yield NatsMembership(connection)
    await connection.close()


async def until(changes: Changes, wanted: tuple[str, ...], seconds: float = 10.0) -> list[tuple[str, ...]]:
    """Every answer up to the one that is wanted."""
    seen: list[tuple[str, ...]] = []
    async with asyncio.timeout(seconds):
        async for members in changes:
            seen.append(members)
            if members == wanted:
                break
    return seen


async def test_the_members_are_told_at_once_then_after_each_change(membership: Membership) -> None:
    async with membership.changes() as changes:
        assert await anext(changes) == ()
        await membership.join("b.2")
        assert await until(changes, ("b.2",)) == [("b.2",)]
        await membership.join("a")
        assert await until(changes, ("a", "b.2")) == [("a", "b.2")]
        await membership.leave("b.2")
        assert await until(changes, ("a",)) == [("a",)]
        await membership.leave("a")
        assert await until(changes, ()) == [()]


async def test_joining_twice_is_joining_once(membership: Membership) -> None:
    await membership.join("a")
    await membership.join("a")
    await membership.leave("a")
    async with membership.changes() as changes:
        assert await until(changes, ()) == [()]


async def test_who_dies_is_missed_within_the_time_to_live_and_who_lives_is_not(server: EmbeddedNatsServer) -> None:
    async with AsyncExitStack() as stack:
        dying, living = [await NatsConnection.connect([server.url], name="test") for _ in range(2)]
        stack.push_async_callback(living.close)
        membership = NatsMembership(living)
        await NatsMembership(dying).join("dies")
        await membership.join("lives")
        async with membership.changes() as changes:
            await until(changes, ("dies", "lives"))
            died = time.monotonic()
            await dying.close()
            assert await until(changes, ("lives",)) == [("lives",)]
            assert time.monotonic() - died < MEMBER_TTL + 1.5
        await membership.leave("lives")


async def test_a_server_that_restarts_costs_no_membership(server: EmbeddedNatsServer) -> None:
    connection = await NatsConnection.connect([server.url], name="test")
    membership = NatsMembership(connection)
    await membership.join("lives")
    async with membership.changes() as changes:
        await until(changes, ("lives",))
        await server.kill()
        await server.start()
        await membership.join("new")
        assert await until(changes, ("lives", "new")) == [("lives", "new")]
    await membership.leave("lives")
    await membership.leave("new")
    await connection.close()
