"""Between a reading and the watch's own word of it: what the watch tells until then is of before."""

from __future__ import annotations

from tapio_shared.json import JsonObject
from tapio_watcher.readings import Ahead, Heard

NAME = ("team", "settings")


def ahead(*, version: str = "5", uid: str = "u", told: str = "3") -> Ahead:
    """What a watch that told version 3 last is behind."""
    found = Ahead()
    found.read(NAME, version, uid, told=told, now=0.0)
    return found


def are_old(watch: Ahead, *versions: str, now: float = 1.0) -> list[bool]:
    return [watch.is_old(NAME, version, now=now) for version in versions]


def test_what_comes_until_what_was_read_is_of_before() -> None:
    assert are_old(ahead(), "4", "5", "6") == [True, False, False]


def test_a_watch_that_told_what_was_read_is_behind_nothing() -> None:
    assert are_old(ahead(version="3"), "4") == [False]


def test_a_second_reading_goes_by_what_was_told_since_the_first() -> None:
    watch = ahead()
    assert are_old(watch, "4") == [True]
    watch.read(NAME, "4", "u", told="5", now=1.0)
    assert are_old(watch, "5") == [False], "the watch has told 4"


def test_who_was_read_to_be_absent_is_until_its_end_is_told() -> None:
    watch = ahead(version="", uid="")
    assert are_old(watch, "4") == [True]
    watch.ended(NAME, "u")
    assert are_old(watch, "7") == [False]


def test_the_end_of_a_former_object_is_of_before_too() -> None:
    watch = ahead(uid="the new one")
    watch.ended(NAME, "the former one")
    assert are_old(watch, "4", "5") == [True, False]


def test_the_end_of_what_was_read_comes_after_it() -> None:
    watch = ahead()
    watch.ended(NAME, "u")
    assert are_old(watch, "7") == [False]


def test_a_watch_that_does_not_come_to_it_for_a_minute_has_missed_it() -> None:
    assert are_old(ahead(), "7", now=61.0) == [False]
    assert are_old(ahead(), "7", now=60.0) == [True]


def document(version: str) -> JsonObject:
    return {"metadata": {"resourceVersion": version, "uid": "u"}}


def test_what_watches_of_secrets_told_last_is_kept_for_them() -> None:
    heard = Heard()
    assert not heard.is_old(NAME, document("3"), now=0.0)
    heard.read(NAME, document("3"), now=0.0)
    assert not heard.is_old(NAME, document("4"), now=0.0), "3 was told, so nothing was ahead of it"
    heard.read(NAME, document("6"), now=0.0)
    assert [heard.is_old(NAME, document(version), now=0.0) for version in "567"] == [True, False, False]


def test_a_watch_of_one_secret_begins_after_what_was_read() -> None:
    heard = Heard()
    heard.read(NAME, document("3"), now=0.0)
    heard.begins(NAME, "3")
    assert not heard.is_old(NAME, document("4"), now=0.0)


def test_a_secret_that_ended_and_is_absent_is_behind_nothing() -> None:
    heard = Heard()
    heard.is_old(NAME, document("3"), now=0.0)
    heard.ended(NAME, document("4"))
    heard.read(NAME, {}, now=0.0)
    assert not heard.is_old(NAME, document("5"), now=0.0)
