"""The versions of all objects of a kind, as they were last seen. Pure."""

from __future__ import annotations

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
                return self.get((namespace, called)) is not None
            case _:
                return False

    def get(self, name: Name) -> str | None:
        """The version of an object; None when it is not known."""
        version = self._packed.get(_token(name))
        return None if version is None else unescape_token(version)

    def set(self, name: Name, version: str) -> None:
        self._packed.set(_token(name), escape_token(version))

    def remove(self, name: Name) -> None:
        """Forget an object, if it is known."""
        self._packed.remove(_token(name))

    def differences(self, others: Versions) -> list[Name]:
        """The objects whose versions differ, or that either does not know; in no order."""
        ours, theirs = self._packed, others._packed
        found = [token for token, _, version in theirs if ours.get(token) != version]
        found += [token for token, _, _ in ours if theirs.get(token) is None]
        return [_name(token) for token in found]


def _token(name: Name) -> str:
    return f"{escape_token(name[0])}.{escape_token(name[1])}"


def _name(token: str) -> Name:
    namespace, _, name = token.partition(".")
    return unescape_token(namespace), unescape_token(name)
