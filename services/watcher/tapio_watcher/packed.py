"""A map of short texts that takes little more memory than the texts themselves. Pure.

An entry of a dict of texts takes some 200 bytes beside them, and a watcher keeps one for every object of a Kubernetes
cluster. Here some dozen entries share one text, and are found in it by searching, which is as fast.
"""

from __future__ import annotations

from collections.abc import Iterator

_FEWEST = 8
"""Texts of an empty map; a power of two."""
_FULL = 16
"""Entries per text, on average, beyond which there are twice as many texts."""


class Packed:
    """Values by group and member. Groups and members hold no space, tab or newline, values no newline."""

    def __init__(self) -> None:
        self._texts = ["\n"] * _FEWEST
        self._mask = _FEWEST - 1
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, group: str) -> bool:
        """Whether a group has any member."""
        return f"\n{group} " in self._texts[hash(group) & self._mask]

    def get(self, group: str, member: str = "") -> str | None:
        """The value of one member."""
        text = self._texts[hash(group) & self._mask]
        start = text.find(f"\n{group} {member}\t")
        if start < 0:
            return None
        start += len(group) + len(member) + 3
        return text[start : text.index("\n", start)]

    def set(self, group: str, value: str, member: str = "") -> None:
        """Give a member a value, whether it had one or not."""
        place = hash(group) & self._mask
        text = self._texts[place]
        start = text.find(f"\n{group} {member}\t")
        if start < 0:
            self._texts[place] = f"{text}{group} {member}\t{value}\n"
            self._count += 1
            if self._count > _FULL * len(self._texts):
                self._spread()
        else:
            start += len(group) + len(member) + 3
            self._texts[place] = f"{text[:start]}{value}{text[text.index(chr(10), start) :]}"

    def remove(self, group: str, member: str = "") -> None:
        """Forget a member, if it is known."""
        place = hash(group) & self._mask
        text = self._texts[place]
        start = text.find(f"\n{group} {member}\t")
        if start >= 0:
            self._texts[place] = text[:start] + text[text.index("\n", start + 1) :]
            self._count -= 1

    def of(self, group: str) -> list[tuple[str, str]]:
        """The members of a group with their values."""
        text, found = self._texts[hash(group) & self._mask], list[tuple[str, str]]()
        prefix = f"\n{group} "
        start = text.find(prefix)
        while start >= 0:
            start += len(prefix)
            end = text.index("\n", start)
            member, _, value = text[start:end].partition("\t")
            found.append((member, value))
            start = text.find(prefix, end)
        return found

    def __iter__(self) -> Iterator[tuple[str, str, str]]:
        """Group, member and value of all that is kept. The map must not change meanwhile."""
        for text in self._texts:
            for line in text.split("\n")[1:-1]:
                name, _, value = line.partition("\t")
                group, _, member = name.partition(" ")
                yield group, member, value

    def groups(self) -> Iterator[str]:
        """Every group that has a member, once. The map must not change meanwhile."""
        for text in self._texts:
            yield from {line.partition(" ")[0] for line in text.split("\n")[1:-1]}

    def _spread(self) -> None:
        """Twice as many texts: each keeps its entries or hands them to the one that lies as far on as there were."""
        former, half = self._texts, len(self._texts)
        self._mask = 2 * half - 1
        self._texts = [*former, *(["\n"] * half)]
        for place, text in enumerate(former):
            parts: tuple[list[str], list[str]] = ["\n"], ["\n"]
            for line in text.split("\n")[1:-1]:
                parts[1 if hash(line.partition(" ")[0]) & half else 0].append(f"{line}\n")
            self._texts[place], self._texts[place + half] = "".join(parts[0]), "".join(parts[1])
