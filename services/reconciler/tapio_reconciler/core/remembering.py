"""What was worked out before and follows again from the very same things: memory, and never state.

A plan is a function of its state and inputs, and most of what it works out is what the plan before it did, since one
fact of fifty is new. What is remembered never changes an answer: it is answered again only where all that it followed
from is still the same object, and nothing that an answer may follow from is ever changed in place.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import is_
from typing import TypeVar, cast

T = TypeVar("T")


class Remembered:
    """Answers by name, each with what it followed from. Kept with a state, and gone with it.

    All calls for one name work out the same thing, and answer one type.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[object, ...], object]] = {}

    def again(self, name: str, basis: tuple[object, ...], work_out: Callable[[], T]) -> T:
        """What `work_out()` answers, which follows from `basis` alone; not called while every part is the same."""
        known = self._known.get(name)
        if known is not None and _are_same(known[0], basis):
            return cast("T", known[1])
        answer = work_out()
        self._known[name] = (basis, answer)
        return answer

    def steady(self, name: str, basis: tuple[object, ...], work_out: Callable[[], T]) -> T:
        """As `again`; and an answer equal to the one before *is* that one, so that what follows from it follows again.

        Only where equal answers are interchangeable: of JSON, in which `1 == True`, ask for the bytes.
        """
        known = self._known.get(name)
        if known is None:
            return self.again(name, basis, work_out)
        former = cast("T", known[1])
        if _are_same(known[0], basis):
            return former
        answer = work_out()
        if answer == former:
            answer = former
        self._known[name] = (basis, answer)
        return answer


def _are_same(known: tuple[object, ...], basis: tuple[object, ...]) -> bool:
    return len(known) == len(basis) and all(map(is_, known, basis))
