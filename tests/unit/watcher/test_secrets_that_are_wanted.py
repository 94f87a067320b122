"""Which Secrets custom resources want: each for as long as one of them refers to it."""

from __future__ import annotations

import pytest

from tapio_shared.api import names
from tapio_shared.json import JsonObject
from tapio_shared.keys import OrderingKey
from tapio_watcher.versions import Name
from tapio_watcher.wanted import Wanted

KEYS = [OrderingKey("local", "team", name) for name in ("a", "b")]
PULL = ("team", "registry")
OWN = ("team", names.child_name("a", names.NATS_AUTH, "team"))


class Seen:
    """What is wanted, and what was said when that changed about the Secret that people bring."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.wanted = Wanted(self._begins, self._ends)

    def refer(self, key: OrderingKey, *secrets: str, is_ours: bool = True) -> None:
        pulled: list[JsonObject] = [{"name": one} for one in secrets]
        document: JsonObject = {
            "metadata": {"name": key.name, "namespace": key.namespace},
            "spec": {"image": {"pullSecrets": [*pulled]}},
        }
        self.wanted.told("TapioCluster", document, key if is_ours else None)

    def _begins(self, name: Name, key: OrderingKey) -> None:
        if name == PULL:
            self.said.append(f"{key.name} wants it")

    def _ends(self, name: Name) -> None:
        if name == PULL:
            self.said.append("nobody wants it")


def test_it_is_wanted_until_the_last_one_refers_to_it_no_more() -> None:
    seen = Seen()
    for key in KEYS:
        seen.refer(key, "registry")
    seen.refer(KEYS[0], "registry")
    assert seen.wanted.by(PULL) == KEYS
    seen.refer(KEYS[0])
    assert (seen.wanted.by(PULL), PULL in seen.wanted) == ([KEYS[1]], True)
    seen.wanted.gone("TapioCluster", ("team", "b"))
    seen.wanted.gone("TapioCluster", ("team", "b"))
    assert (seen.wanted.by(PULL), PULL in seen.wanted, PULL in list(seen.wanted)) == ([], False, False)
    assert seen.said == ["a wants it", "b wants it", "nobody wants it"]


def test_who_is_nobodys_refers_to_nothing() -> None:
    seen = Seen()
    seen.refer(KEYS[0], "registry")
    seen.refer(KEYS[0], "registry", is_ours=False)
    assert list(seen.wanted) == []


@pytest.mark.parametrize(("name", "is_made"), [(OWN, True), (PULL, False), (("team", "nobody"), False)], ids=str)
def test_what_the_operator_makes_for_a_key_is_known_by_its_name(name: Name, is_made: bool) -> None:
    seen = Seen()
    seen.refer(KEYS[0], "registry")
    assert seen.wanted.is_generated(name) is is_made
