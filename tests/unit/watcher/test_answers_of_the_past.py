"""What is believed of an API server's answers about one object, when some of them are of before."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from tapio_shared.errors import ApiRetryable, ApiUnavailable
from tapio_shared.json import JsonObject, str_at
from tapio_watcher.answers import Answers
from tapio_watcher.past import DOUBTED
from tests.support.virtual_time import run_virtually

NAME = ("team", "settings")
GONE, BEHIND = "", "behind"


class Server:
    """Answers a question by the version that it asks for at least, and keeps what it was asked."""

    def __init__(self, answers: Mapping[str, str]) -> None:
        self._answers = answers
        self.asked: list[str] = []

    async def read(self, at_least: str) -> JsonObject | None:
        self.asked.append(at_least)
        answer = self._answers[at_least]
        if answer == BEHIND:
            raise ApiRetryable(504, "Timeout", f"Too large resource version: {at_least}")
        return {"metadata": {"resourceVersion": answer}} if answer else None


async def believed(
    server: Server, *, told: str = "", was_read: str = "", ended: str = "", is_comparable: str = ""
) -> str:
    """The version that is believed, empty for none, where so much is known."""
    answers = Answers(comparable=bool(is_comparable))
    if ended:
        answers.ended(NAME, ended)
    found = await answers.present(NAME, server.read, lambda: (told, was_read))
    return "" if found is None else str_at(found, "metadata", "resourceVersion")


@pytest.mark.parametrize(
    ("known", "answers"),
    [
        pytest.param({}, {"": "7"}, id="nothing is known of it"),
        pytest.param({}, {"": GONE}, id="nothing is known, and there is none"),
        pytest.param({"told": "7"}, {"": "7"}, id="what was told last"),
        pytest.param({"told": "5"}, {"": "7", "5": "7"}, id="newer"),
        pytest.param({"told": "5"}, {"": GONE, "5": GONE}, id="its end"),
        pytest.param({"told": "5", "was_read": "6"}, {"": "7", "5": "7", "6": "7"}, id="newer than what was read too"),
        pytest.param({"ended": "6"}, {"": "7", "6": "7"}, id="made anew"),
        pytest.param({"ended": "6"}, {"": GONE}, id="still gone"),
        pytest.param({"told": "5", "is_comparable": "yes"}, {"": "7"}, id="newer, as a comparison says"),
        pytest.param({"told": "5", "is_comparable": "yes"}, {"": GONE, "5": GONE}, id="its end, which has no version"),
    ],
)
def test_what_can_not_be_of_before_is_believed(known: dict[str, str], answers: dict[str, str]) -> None:
    server = Server(answers)
    assert run_virtually(believed(server, **known)) == answers[""]
    assert server.asked == list(answers), "as many questions as need be"


@pytest.mark.parametrize(
    ("known", "answers"),
    [
        pytest.param({"told": "5"}, {"": GONE, "5": BEHIND}, id="none, of before it was made"),
        pytest.param({"told": "5"}, {"": "3", "5": BEHIND}, id="it, of before it was changed"),
        pytest.param({"told": "5"}, {"": GONE, "5": "5"}, id="another server knows of it"),
        pytest.param({"told": "5", "was_read": "6"}, {"": "5", "6": BEHIND}, id="of before it was read"),
        pytest.param({"ended": "6"}, {"": "3", "6": BEHIND}, id="of before it ended"),
        pytest.param({"ended": "6"}, {"": "3", "6": GONE}, id="another server knows of its end"),
        pytest.param({"told": "5", "is_comparable": "yes"}, {"": "3"}, id="older, as a comparison says"),
        pytest.param(
            {"told": "5", "is_comparable": "yes"}, {"": GONE, "5": BEHIND}, id="none, though versions compare"
        ),
    ],
)
def test_what_may_be_of_before_is_none(known: dict[str, str], answers: dict[str, str]) -> None:
    server = Server(answers)
    with pytest.raises(ApiUnavailable):
        run_virtually(believed(server, **known))
    assert server.asked == list(answers)


@pytest.mark.parametrize(("answer", "comparable"), [(GONE, False), (GONE, True), ("3", False), ("3", True)], ids=str)
def test_a_server_that_stays_behind_was_restored_and_is_believed(answer: str, comparable: bool) -> None:
    async def run() -> None:
        answers, server = Answers(comparable=comparable), Server({"": answer, "5": BEHIND})

        async def ask() -> JsonObject | None:
            return await answers.present(NAME, server.read, lambda: ("5", ""))

        with pytest.raises(ApiUnavailable, match="seen at version 5 or later"):
            await ask()
        await asyncio.sleep(DOUBTED - 1)
        with pytest.raises(ApiUnavailable):
            await ask()
        await asyncio.sleep(1)
        assert await ask() == await server.read("")

    run_virtually(run())


async def test_another_failure_says_nothing_of_the_past() -> None:
    async def read(at_least: str) -> JsonObject | None:
        if at_least:
            raise ApiRetryable(500, "InternalError", "etcd is away, say")
        return None

    with pytest.raises(ApiRetryable, match="etcd is away"):
        await Answers(comparable=False).present(NAME, read, lambda: ("5", ""))


def test_every_past_is_doubted_for_as_long() -> None:
    async def run() -> None:
        answers = Answers(comparable=False)

        async def ask(**said: str) -> JsonObject | None:
            server = Server({"": GONE, "5": said["at_least"]})
            return await answers.present(NAME, server.read, lambda: ("5", ""))

        with pytest.raises(ApiUnavailable):
            await ask(at_least=BEHIND)
        await asyncio.sleep(DOUBTED)
        assert await ask(at_least=GONE) is None
        with pytest.raises(ApiUnavailable):
            await ask(at_least=BEHIND)

    run_virtually(run())
