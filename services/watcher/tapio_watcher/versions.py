"""The versions of all objects of a kind, as they were last seen, and sets of their names. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tapio_shared.keys import escape_token, unescape_token
from tapio_watcher.packed import Packed

Name = tuple[str, str]
"""Namespace and name."""


class Versions:
    """Versions by name; some 50 bytes per object."""

    def __init__(self) -> None:
        self._packed = Packed()

    def __len__(self) -> int:
        return len(self._packed)

    def __contains__(self, name: object) -> bool:
        match name:
            case (str(namespace), str(called)):
                return token_of((namespace, called)) in self._packed
            case _:
                return False

    def get(self, name: Name) -> str | None:
        """The version of an object; None when it is not known."""
        version = self._packed.get(token_of(name))
        return version if version is None or version.isdigit() else unescape_token(version)

    def set(self, name: Name, version: str) -> None:
        # Nearly all are numbers, and each another one: there is no use in remembering how to escape them.
        self._packed.set(token_of(name), version if version.isdigit() else escape_token(version))

    def remove(self, name: Name) -> None:
        """Forget an object, if it is known."""
        self._packed.remove(token_of(name))

    def lacks(self, tokens: Iterable[str]) -> list[str]:
        """Those of these names, each as `token_of` writes it, that are not known."""
        return [token for token in tokens if token not in self._packed]

    def differences(self, others: Versions) -> list[Name]:
        """The objects whose versions differ, or that either does not know; in no order."""
        ours, theirs = self._packed, others._packed
        found = [token for token, _, version in theirs if ours.get(token) != version]
        found += [token for token, _, _ in ours if theirs.get(token) is None]
        return [name_in(token) for token in found]


class Names:
    """A set of names; some 40 bytes for each."""

    def __init__(self) -> None:
        self._packed = Packed()

    def __len__(self) -> int:
        return len(self._packed)

    def __contains__(self, name: Name) -> bool:
        return token_of(name) in self._packed

    def __iter__(self) -> Iterator[Name]:
        """In no order. The set must not change meanwhile."""
        return map(name_in, self._packed.groups())

    def add(self, name: Name) -> None:
        self._packed.set(token_of(name), "")

    def discard(self, name: Name) -> None:
        """Leave out a name, if it is there."""
        self._packed.remove(token_of(name))

    def clear(self) -> None:
        self._packed = Packed()


def token_of(name: Name) -> str:
    """A name as one word without spaces."""
    return f"{escape_token(name[0])}.{escape_token(name[1])}"


def name_in(token: str) -> Name:
    """The name of which `token_of` made `token`."""
    namespace, _, name = token.partition(".")
    return unescape_token(namespace), unescape_token(name)
