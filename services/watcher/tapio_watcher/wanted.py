"""Which Secrets the custom resources refer to, and for which keys. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tapio_shared.api.references import copied_secrets, made_secrets, referenced_elsewhere, referenced_secrets
from tapio_shared.json import JsonObject, str_at
from tapio_shared.keys import OrderingKey
from tapio_watcher.versions import Name


class Wanted:
    """The Secrets that are wanted. `begins` is called when a key wants one, `ends` when nobody does any more."""

    def __init__(self, begins: Callable[[Name, OrderingKey], None], ends: Callable[[Name], None]) -> None:
        self._begins, self._ends = begins, ends
        self._references: dict[tuple[str, Name], tuple[OrderingKey, tuple[Name, ...]]] = {}
        self._keys: dict[Name, tuple[OrderingKey, ...]] = {}
        """Secret -> keys that want it, each as often as resources of it do."""

    def __contains__(self, name: object) -> bool:
        return name in self._keys

    def __iter__(self) -> Iterator[Name]:
        return iter(self._keys)

    def by(self, name: Name) -> list[OrderingKey]:
        """The keys that want a Secret, each once, in order."""
        return sorted(set(self._keys.get(name, ())))

    def is_generated(self, name: Name) -> bool:
        """Whether the operator makes this Secret for one of its keys: it will carry our labels."""
        return any(
            name[1] in (*made_secrets(key.name, key.namespace), *copied_secrets(key.name, key.namespace))
            for key in self._keys.get(name, ())
        )

    def told(self, kind: str, document: JsonObject, key: OrderingKey | None) -> None:
        """A custom resource refers to these Secrets now; without `key` it is nobody's."""
        name = str_at(document, "metadata", "namespace"), str_at(document, "metadata", "name")
        if key is None:
            self.gone(kind, name)
            return
        before = self._references.get((kind, name))
        own = tuple((name[0], secret) for secret in referenced_secrets(kind, document, name[0]))
        now = (key, (*own, *referenced_elsewhere(kind, document, name[0])))
        if now != before:
            self._references[kind, name] = now
            self._count(now, +1)
            if before is not None:
                self._count(before, -1)

    def gone(self, kind: str, name: Name) -> None:
        """A custom resource is gone, and refers to nothing."""
        before = self._references.pop((kind, name), None)
        if before is not None:
            self._count(before, -1)

    def _count(self, reference: tuple[OrderingKey, tuple[Name, ...]], change: int) -> None:
        key, secrets = reference
        for name in secrets:
            keys = self._keys.get(name, ())
            if change > 0:
                self._keys[name] = (*keys, key)
                if key not in keys:
                    self._begins(name, key)
                continue
            at = keys.index(key)
            self._keys[name] = (*keys[:at], *keys[at + 1 :])
            if not self._keys[name]:
                del self._keys[name]
                self._ends(name)
