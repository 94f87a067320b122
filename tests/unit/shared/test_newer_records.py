"""A record that only a newer version may read says so, and is refused with a sentence that names both versions."""

from __future__ import annotations

import pytest

from tapio_shared.codec import decode_record, encode
from tapio_shared.errors import NewerFormat, Undecodable
from tapio_shared.facts import FORMAT, ObjectGone
from tapio_watcher.encoding import digest_of_stored

NEXT = FORMAT + 1
GO_ON = "Run the version that wrote it, or a newer one; docs/upgrades.md says how to go back."


def test_the_present_format_costs_no_byte() -> None:
    assert encode(ObjectGone(gone_at=1)) == b'{"gone_at":1,"type":"ObjectGone"}'


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(
            f'{{"format":{NEXT},"gone_at":1,"type":"ObjectGone"}}',
            f"It is ObjectGone of format {NEXT}, and this version reads formats up to {FORMAT}. {GO_ON}",
            id="it fits and means something else",
        ),
        pytest.param(
            f'{{"format":{NEXT},"type":"ObjectGone","gone_at":"yesterday"}}',
            f"It is ObjectGone of format {NEXT}, and this version reads formats up to {FORMAT}. {GO_ON}",
            id="it does not fit any more",
        ),
        pytest.param(
            '{"type":"ObjectMoved","to":"x"}',
            f"It is ObjectMoved, a type of record that this version does not know. {GO_ON}",
            id="an unknown type",
        ),
    ],
)
def test_what_a_newer_version_wrote_is_refused_by_name(data: str, message: str) -> None:
    with pytest.raises(NewerFormat) as refused:
        decode_record(data.encode())
    assert str(refused.value) == message


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"garbage", id="no JSON"),
        pytest.param(b'{"type":"ObjectGone"}', id="a field is missing"),
        pytest.param(b'{"type":"ObjectGone","gone_at":1,"format":"x"}', id="a format that is no number"),
    ],
)
def test_what_is_broken_is_not_taken_for_newer(data: bytes) -> None:
    with pytest.raises(Undecodable) as refused:
        decode_record(data)
    assert not isinstance(refused.value, NewerFormat)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(f'{{"format":{NEXT},"gone_at":1,"type":"ObjectGone"}}', id="gone"),
        pytest.param(
            f'{{"format":{NEXT},"object":{{}},"observed_at":1,"resource_version":"1","type":"ObjectObserved","uid":"u"}}',
            id="observed",
        ),
    ],
)
def test_a_watcher_tells_anew_what_a_newer_one_told(data: str) -> None:
    with pytest.raises(NewerFormat, match=f"format {NEXT}, and this version reads formats up to {FORMAT}"):
        digest_of_stored(data.encode())
