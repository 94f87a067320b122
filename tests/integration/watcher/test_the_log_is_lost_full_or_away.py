"""JetStream away, deleted, cut short or overflowing: nothing is lost that Kubernetes still has."""

from __future__ import annotations

import shutil
from pathlib import Path

from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_log import NatsEventLog
from tapio_shared.adapters.nats_server import EmbeddedNatsServer
from tapio_shared.codec import decode_record
from tapio_shared.errors import LogRefused, RetryableError
from tapio_shared.facts import CursorMoved, Synced
from tapio_shared.json import at
from tapio_shared.keys import OrderingKey, cursor_subject, object_subject, shared_subject
from tapio_shared.ports import NewMessage
from tests.integration.watcher.world import (
    CLUSTER,
    CLUSTER_REF,
    PARTITIONS,
    TARGET,
    Watched,
    World,
    cluster_document,
    config_map,
    config_map_ref,
)
from tests.support.eventually import eventually

OTHER = OrderingKey(TARGET, "default", "other")


async def test_a_watcher_that_may_make_no_streams_works_on_those_that_are_there(tmp_path: Path) -> None:
    async def refuse() -> None:
        raise LogRefused("The NATS user of the watcher may not publish on $js.api.stream.create.tapio_log.")

    async with World(tmp_path) as world:
        await world.create(config_map(answer="42"))
        async with world.watcher(provision=refuse):
            assert await _answer(world) == "42"
            before = await _generation(world)
            await world.delete_log()
            await world.provision()  # by somebody who may
            await eventually(lambda: _has_other_generation(world, before))
            assert await _answer(world) == "42"


async def test_a_deleted_log_is_made_anew_and_filled_again_under_another_generation(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.create(cluster_document())
        await world.create(config_map(answer="42"))
        async with world.watcher():
            before = await _generation(world)
            await world.delete_log()
            await eventually(lambda: _has_other_generation(world, before))
            assert await _answer(world) == "42"
            assert await world.observed(CLUSTER_REF) is not None


async def test_a_watcher_that_may_not_make_the_log_waits_for_it(tmp_path: Path) -> None:
    async def may_not() -> None:
        return None

    async with World(tmp_path) as world:
        await world.create(config_map(answer="42"))
        async with world.watcher(provision=may_not) as watched:
            await world.delete_log()
            await eventually(lambda: _is_not_ready(watched))
            await world.provision()
            await eventually(watched.is_synced)
            assert await _answer(world) == "42"


async def _back_up(world: World, backup: Path) -> None:
    """Copy the store of a nats-server that stands still meanwhile."""
    await world.nats.stop()
    shutil.copytree(world.nats.store, backup)
    await world.nats.start()


async def _put_back(world: World, backup: Path) -> None:
    """End nats-server and give it the store of before; it is not started."""
    await world.nats.stop()
    shutil.rmtree(world.nats.store)
    shutil.copytree(backup, world.nats.store)


async def test_a_log_that_lost_its_end_is_filled_again_under_another_generation(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.create(config_map(answer="42"))
        async with world.watcher():
            before = await _generation(world)
            await _back_up(world, tmp_path / "backup")
            await world.patch(config_map(), {"data": {"answer": "43"}})
            await eventually(lambda: _is(world, "43"), seconds=20)
            for number in range(3):
                await world.create(config_map(f"more-{number}"))
            await eventually(lambda: _told(world, "more-2"))
            await _put_back(world, tmp_path / "backup")
            await world.nats.start()
            await eventually(lambda: _has_other_generation(world, before))
            assert await _answer(world) == "43"
            assert await world.observed(config_map_ref("more-2")) is not None


async def test_a_log_that_lost_its_end_and_has_grown_again_is_filled_again_too(tmp_path: Path) -> None:
    """By the time that the watcher sees it again, the log is longer than it ever was."""
    async with World(tmp_path) as world:
        await world.create(config_map(answer="42"))
        async with world.watcher():
            before = await _generation(world)
            await _back_up(world, tmp_path / "backup")
            await world.patch(config_map(), {"data": {"answer": "43"}})
            await eventually(lambda: _is(world, "43"), seconds=20)
            length = (await world.log.info()).last_sequence
            await _put_back(world, tmp_path / "backup")
            async with EmbeddedNatsServer(world.nats.store.parent) as elsewhere:
                other = await NatsConnection.connect([elsewhere.url], name="other")
                while (await NatsEventLog(other).info()).last_sequence <= length:
                    await NatsEventLog(other).append(NewMessage("tapio.log.0.local.default.other.decision", b"{}"))
                await other.close()
            await world.nats.start()
            await eventually(lambda: _has_other_generation(world, before))
            assert await _answer(world) == "43"


async def test_what_changes_while_nats_is_away_is_told_when_it_is_back(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.create(config_map("changed", answer="42"))
        await world.create(config_map("deleted"))
        async with world.watcher() as watched:
            await world.nats.kill()
            await world.patch(config_map("changed"), {"data": {"answer": "43"}})
            await world.delete(config_map("deleted"))
            await eventually(lambda: _is_in_trouble(watched))
            assert not watched.watcher.is_ready()
            await world.nats.start()
            await eventually(lambda: world.is_gone(config_map_ref("deleted")))
            document = await world.observed(config_map_ref("changed"))
            assert at(document, "data", "answer") == "43"
            await eventually(watched.is_synced)
            await eventually(lambda: _is_ready(watched))


async def test_what_a_full_log_pushed_out_is_told_again(tmp_path: Path) -> None:
    async with World(tmp_path, max_bytes=1 << 20) as world:
        await world.create(cluster_document())
        await world.create(config_map(answer="42"))
        async with world.watcher():
            for _ in range(40):
                await world.log.append(NewMessage(subject="tapio.cursor.test.filling", data=b"x" * 60_000))
            await eventually(lambda: _is_told_from_the_window(world))
            assert await _answer(world) == "42"


async def test_a_storm_on_one_object_is_thinned_and_holds_nobody_up(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.create(config_map(answer="0"))
        await world.create(config_map("quiet", cluster="other"))
        async with world.watcher() as watched:
            for number in range(500):
                await world.patch(config_map(), {"data": {"answer": str(number)}})
            await world.patch(config_map("quiet", cluster="other"), {"data": {"answer": "heard"}})
            await eventually(lambda: _is_heard(world))
            await eventually(lambda: _is(world, "499"))
            storm = await world.messages(object_subject(CLUSTER, config_map_ref(), PARTITIONS))
            assert len(storm) <= 30
            assert watched.count("facts_coalesced_total") >= 470


async def test_cursors_are_written_rarely(tmp_path: Path) -> None:
    subject = cursor_subject(TARGET, "ConfigMap")
    async with World(tmp_path) as world:
        async with world.watcher():
            await eventually(lambda: _exists(world, subject))
            for number in range(5):
                await world.create(config_map(f"settings-{number}"))
            await eventually(lambda: _told(world, "settings-4"))
        async with world.watcher():
            pass
        cursors = await world.messages(subject)
    assert len(cursors) == 1
    record = decode_record(cursors[0].data)
    assert isinstance(record, CursorMoved)
    assert record.resource_version.isdigit()


async def _generation(world: World) -> str:
    message = await world.log.last(shared_subject(0, TARGET, "synced"))
    record = None if message is None else decode_record(message.data)
    return record.generation if isinstance(record, Synced) else ""


async def _has_other_generation(world: World, before: str) -> bool:
    try:
        return await _generation(world) not in {"", before}
    except RetryableError:
        return False


async def _answer(world: World) -> object:
    return at(await world.observed(config_map_ref()), "data", "answer")


async def _is(world: World, answer: str) -> bool:
    try:
        return await _answer(world) == answer
    except RetryableError:
        return False


async def _told(world: World, name: str) -> bool:
    return await world.observed(config_map_ref(name)) is not None


async def _is_heard(world: World) -> bool:
    return at(await world.observed(config_map_ref("quiet"), OTHER), "data", "answer") == "heard"


async def _is_in_trouble(watched: Watched) -> bool:
    return watched.watcher.trouble != ""


async def _is_ready(watched: Watched) -> bool:
    return watched.watcher.is_ready()


async def _is_not_ready(watched: Watched) -> bool:
    return not watched.watcher.is_ready()


async def _exists(world: World, subject: str) -> bool:
    return await world.log.last(subject) is not None


async def _is_told_from_the_window(world: World) -> bool:
    first = (await world.log.info()).first_sequence
    subjects = [
        object_subject(CLUSTER, CLUSTER_REF, PARTITIONS),
        object_subject(CLUSTER, config_map_ref(), PARTITIONS),
        *(shared_subject(partition, TARGET, "synced") for partition in range(PARTITIONS)),
    ]
    last = [await world.log.last(subject) for subject in subjects]
    return first > 1 and all(message is not None and message.sequence >= first for message in last)
