"""An archive holds what was written, in any size; what was damaged on the way is never read as if it were whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio_cli.history.archive import MAGIC, Archive, ArchiveError, ArchiveWriter
from tapio_cli.history.export import Exported, export
from tapio_cli.history.source import Sources
from tapio_shared.adapters.memory_log import MemoryEventLog
from tapio_shared.ports import Message, NewMessage
from tests.support.recorded_histories import write_archive
from tests.support.virtual_time import VirtualClock

MESSAGES = [
    Message(f"tapio.log.{number % 3}.a", number, b"x" * (number % 50), {"traceparent": str(number)}, 1_000 + number)
    for number in range(1, 5_001)
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_archive(tmp_path_factory.mktemp("archives") / "whole", MESSAGES).read_bytes()


def damaged(folder: Path, data: bytes) -> Archive:
    path = folder / "damaged"
    path.write_bytes(data)
    return Archive.open(path)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    archive = Archive.open(write_archive(tmp_path / "a", MESSAGES))
    assert list(archive.messages()) == MESSAGES
    assert archive.header.stream.last_sequence == 5_000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"], "nothing else is left"


async def test_a_part_of_it_is_read_as_from_a_log(tmp_path: Path) -> None:
    archive = Archive.open(write_archive(tmp_path / "a", MESSAGES))
    found = [message.sequence async for message in archive.read("tapio.log.1.>", from_sequence=10, up_to=20)]
    assert found == [10, 13, 16, 19]


async def test_a_log_is_exported_as_it_is_at_that_moment(tmp_path: Path) -> None:
    log = MemoryEventLog(VirtualClock(), partitions=2)
    for number in range(5):
        await log.append(NewMessage(f"tapio.log.{number % 2}.a", b"x", {"traceparent": "t"}))
    await log.append(NewMessage("tapio.epoch.1", b"who writes is no history"))
    done = await export(Sources(log, None), tmp_path / "a", now=7, operator_version="0.1.0")
    assert done == Exported(messages=5, admissions=None)
    archive = Archive.open(tmp_path / "a")
    assert [(one.subject, one.sequence, one.headers) for one in archive.messages()][-1] == (
        "tapio.log.0.a",
        5,
        {"traceparent": "t"},
    )
    assert (archive.header.made_at, archive.header.stream.partitions) == (7, 2)


async def recorded_with_answers() -> Sources:
    clock = VirtualClock()
    log, admitted = MemoryEventLog(clock, partitions=2), MemoryEventLog(clock)
    for number in range(3):
        await log.append(NewMessage("tapio.log.1.a", str(number).encode()))
        await admitted.append(NewMessage("tapio.admitted.local.team.a", f"alice {number}".encode()))
    return Sources(log, admitted)


async def test_what_the_webhook_answered_is_read_beside_the_log(tmp_path: Path) -> None:
    sources = await recorded_with_answers()
    done = await export(sources, tmp_path / "a", now=7, operator_version="0.1.0")
    assert done == Exported(messages=3, admissions=3)
    archive = Archive.open(tmp_path / "a")
    assert archive.admitted is not None
    answers = [one.data async for one in archive.admitted.read("tapio.admitted.>", up_to=2)]
    assert answers == [b"alice 0", b"alice 1"]
    assert [one.data for one in archive.messages()] == [b"0", b"1", b"2"]


async def test_names_of_users_are_left_out_when_asked_for(tmp_path: Path) -> None:
    sources = await recorded_with_answers()
    done = await export(sources, tmp_path / "a", now=7, operator_version="0.1.0", with_users=False)
    assert done == Exported(messages=3, admissions=None)
    archive = Archive.open(tmp_path / "a")
    assert archive.admitted is None
    assert [one.data for one in archive.messages()] == [b"0", b"1", b"2"]


async def test_an_archive_that_misses_an_answer_is_refused(tmp_path: Path) -> None:
    """As if somebody had cut a block out and mended the chain of checksums, but not what the trailer tells."""
    header = Archive.open(write_archive(tmp_path / "a", MESSAGES)).header
    with ArchiveWriter(tmp_path / "b", header) as writer:
        writer.add(MESSAGES[0])
        writer.admissions = 1
    with pytest.raises(ArchiveError, match="is cut off after 1 messages"):
        list(Archive.open(tmp_path / "b").messages())


@pytest.mark.parametrize("number", [1, 2])
async def test_an_archive_of_a_former_format_is_read(number: int) -> None:
    """Written before the webhook's answers were in archives, and before Zstandard was; never to be written anew."""
    archive = Archive.open(Path(__file__).parent / "golden" / f"format-{number}.tapio")
    assert archive.header.stream.partitions == 2
    assert (archive.admitted is None) == (number == 1)
    if archive.admitted is not None:
        answers = [one.data async for one in archive.admitted.read("tapio.admitted.>", up_to=1)]
        assert answers == [b"answer"]
    assert [(one.subject, one.sequence, one.data, one.headers, one.written_at) for one in archive.messages()] == [
        ("tapio.log.0.a", 1, b"one", {"traceparent": "1"}, 1_001),
        ("tapio.log.1.a", 3, b"two", {}, 1_003),
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "is no archive of a history", id="nothing"),
        pytest.param(b"PK\x03\x04 something else", "is no archive of a history", id="another file"),
        pytest.param(b"TAPIO-HISTORY 4\n", "has format 4, and this version reads formats 1 to 3", id="from the future"),
        pytest.param(MAGIC, "has no header", id="nothing but its name"),
        pytest.param(
            MAGIC + b"\xff\xff\xff\xff" + b"x" * 40, r"was changed in block 0 \(bytes 16 to", id="a wild length"
        ),
    ],
)
def test_what_is_no_archive_is_refused(data: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=message):
        damaged(tmp_path, data)


@given(cut=st.floats(0, 1, exclude_max=True))
def test_a_file_that_was_cut_off_anywhere_is_refused(
    cut: float, whole: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = whole[: max(int(len(whole) * cut), len(MAGIC))]
    with pytest.raises(ArchiveError, match=r"is cut off (in block|after)|has no header"):
        list(damaged(tmp_path_factory.mktemp("cut"), data).messages())


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_file_of_which_any_bit_was_changed_is_refused(
    place: float, bit: int, whole: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data, at = bytearray(whole), int(len(whole) * place)
    data[at] ^= 1 << bit
    with pytest.raises(ArchiveError, match=r"is no archive|has format|was changed in block|is cut off in block"):
        list(damaged(tmp_path_factory.mktemp("changed"), bytes(data)).messages())


def test_a_file_to_which_something_was_added_is_refused(whole: bytes, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="is cut off in block"):
        list(damaged(tmp_path, whole + b"more").messages())


def test_a_failed_export_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(AttributeError):
        write_archive(tmp_path / "a", [MESSAGES[0], None])  # type: ignore[list-item]
    assert list(tmp_path.iterdir()) == []
