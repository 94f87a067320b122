"""Which Secrets the custom resources refer to, and for which keys. Pure.

Kept as text (packed.py): each TapioCluster refers to six Secrets at least.
"""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

from tapio_shared.api.references import copied_secrets, made_secrets, referenced_elsewhere, referenced_secrets
from tapio_shared.json import JsonObject, str_at
from tapio_shared.keys import OrderingKey, key_text, unescape_token
from tapio_watcher.packed import Packed
from tapio_watcher.versions import Name, name_in, token_of


class Wanted:
    """The Secrets that are wanted. `begins` is called when a key wants one, `ends` when nobody does any more."""

    def __init__(self, begins: Callable[[Name, OrderingKey], None], ends: Callable[[Name], None]) -> None:
        self._begins, self._ends = begins, ends
        self._references = Packed()
        """By name and kind of a resource: its key and the Secrets that it refers to, as words."""
        self._wanting = Packed()
        """By Secret and key: how many resources of the key refer to it."""

    def __contains__(self, name: Name) -> bool:
        return token_of(name) in self._wanting

    def share(self, number: int, of: int) -> list[Name]:
        """Those of one of `of` shares, in order. In which share a Secret is follows from its name alone."""
        tokens = (token for token in self._wanting.groups() if crc32(token.encode()) % of == number)
        return sorted(map(name_in, tokens))

    def all(self) -> list[Name]:
        """Every Secret that is wanted, in order."""
        return self.share(0, 1)

    def by(self, name: Name) -> list[OrderingKey]:
        """The keys that want a Secret, each once, in order."""
        return sorted(_key_in(word) for word, _ in self._wanting.of(token_of(name)))

    def is_generated(self, name: Name) -> bool:
        """Whether the operator makes this Secret for one of its keys: it will carry our labels."""
        return any(
            name[1] in (*made_secrets(key.name, key.namespace), *copied_secrets(key.name, key.namespace))
            for key in self.by(name)
        )

    def told(self, kind: str, document: JsonObject, key: OrderingKey | None) -> None:
        """A custom resource refers to these Secrets now; without `key` it is nobody's."""
        name = str_at(document, "metadata", "namespace"), str_at(document, "metadata", "name")
        if key is None:
            self.gone(kind, name)
            return
        before = self._references.get(token_of(name), kind)
        own = ((name[0], secret) for secret in referenced_secrets(kind, document, name[0]))
        secrets = (*own, *referenced_elsewhere(kind, document, name[0]))
        now = " ".join((key_text(key), *map(token_of, secrets)))
        if now != before:
            self._references.set(token_of(name), now, kind)
            self._count(now, +1)
            if before is not None:
                self._count(before, -1)

    def gone(self, kind: str, name: Name) -> None:
        """A custom resource is gone, and refers to nothing."""
        before = self._references.get(token_of(name), kind)
        if before is not None:
            self._references.remove(token_of(name), kind)
            self._count(before, -1)

    def _count(self, reference: str, change: int) -> None:
        key, *secrets = reference.split(" ")
        for secret in secrets:
            before = int(self._wanting.get(secret, key) or 0)
            if before + change:
                self._wanting.set(secret, str(before + change), key)
            else:
                self._wanting.remove(secret, key)
            if not before:
                self._begins(name_in(secret), _key_in(key))
            elif secret not in self._wanting:
                self._ends(name_in(secret))


def _key_in(text: str) -> OrderingKey:
    """The key of which `key_text` made `text`."""
    return OrderingKey(*map(unescape_token, text.split(".")))
