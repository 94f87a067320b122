"""Randomness: the system's for real runs, a seeded one for runs that must be repeatable."""

from __future__ import annotations

import random
import secrets
import string
from collections.abc import Callable

_LETTERS = string.ascii_letters + string.digits
_IDENTIFIER = string.ascii_lowercase + string.digits
_IDENTIFIER_LENGTH = 16


class SystemRandom:
    """`ports.Random` from the operating system; fit for passwords."""

    def uniform(self, low: float, high: float) -> float:
        return random.SystemRandom().uniform(low, high)

    def token(self, length: int) -> str:
        return _text(secrets.choice, _LETTERS, length)

    def identifier(self) -> str:
        return _text(secrets.choice, _IDENTIFIER, _IDENTIFIER_LENGTH)


class SeededRandom:
    """`ports.Random` that answers the same for the same seed; for simulation and tests, never for passwords."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)

    def token(self, length: int) -> str:
        return _text(self._random.choice, _LETTERS, length)

    def identifier(self) -> str:
        return _text(self._random.choice, _IDENTIFIER, _IDENTIFIER_LENGTH)


def _text(choose: Callable[[str], str], alphabet: str, length: int) -> str:
    return "".join(choose(alphabet) for _ in range(length))
