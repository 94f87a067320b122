"""Which Secrets custom resources want: each for as long as one of them refers to it."""

from __future__ import annotations

import sys
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapio_shared.api import names
from tapio_shared.json import JsonObject
from tapio_shared.keys import OrderingKey
from tapio_watcher.versions import Name
from tapio_watcher.wanted import Wanted

KEYS = [OrderingKey("local", "team", name) for name in ("a", "b")]
PULL = ("team", "registry")
_OWN_FILES = ("packed", "wanted")
"""What other files take are names that are remembered, of as many TapioClusters at the most."""
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
    assert (seen.wanted.by(PULL), PULL in seen.wanted, PULL in seen.wanted.all()) == ([], False, False)
    assert seen.said == ["a wants it", "b wants it", "nobody wants it"]


def test_who_is_nobodys_refers_to_nothing() -> None:
    seen = Seen()
    seen.refer(KEYS[0], "registry")
    seen.refer(KEYS[0], "registry", is_ours=False)
    assert seen.wanted.all() == []


@pytest.mark.parametrize(("name", "is_made"), [(OWN, True), (PULL, False), (("team", "nobody"), False)], ids=str)
def test_what_the_operator_makes_for_a_key_is_known_by_its_name(name: Name, is_made: bool) -> None:
    seen = Seen()
    seen.refer(KEYS[0], "registry")
    assert seen.wanted.is_generated(name) is is_made


_SECRETS = st.sampled_from([["registry"], [], ["registry", "other"], ["a.b", "other"]])
_STEPS = st.lists(
    st.tuples(st.sampled_from(["TapioCluster", "TapioCollector"]), st.sampled_from(KEYS), _SECRETS), max_size=30
)


@given(_STEPS)
@settings(max_examples=200)
def test_a_key_wants_what_its_resources_refer_to_now(steps: list[tuple[str, OrderingKey, list[str]]]) -> None:
    begun: set[tuple[Name, OrderingKey]] = set()
    wanted = Wanted(lambda name, key: begun.add((name, key)), lambda name: begun.difference_update(_of(begun, name)))
    model: dict[tuple[str, str], tuple[OrderingKey, set[str]]] = {}
    for kind, key, secrets in steps:
        document: JsonObject = {"metadata": {"name": "x", "namespace": "team"}, "spec": {}}
        if kind == "TapioCluster":
            document["spec"] = {"image": {"pullSecrets": [{"name": one} for one in secrets]}}
        elif secrets:
            document["spec"] = {"credentialsSecretRef": {"name": secrets[0]}}
        wanted.told(kind, document, key)
        model[kind, "x"] = key, set(secrets[:1] if kind == "TapioCollector" else secrets)
    for secret in ("registry", "other", "a.b"):
        keys = sorted({key for key, secrets in model.values() if secret in secrets})
        assert wanted.by(("team", secret)) == keys
        assert (("team", secret) in wanted) == bool(keys) == bool(_of(begun, ("team", secret)))


def _of(begun: set[tuple[Name, OrderingKey]], name: Name) -> list[tuple[Name, OrderingKey]]:
    return [one for one in begun if one[0] == name]


def test_every_secret_is_in_one_share() -> None:
    seen = Seen()
    for key in KEYS:
        seen.refer(key, "registry")
    shares = [name for number in range(7) for name in seen.wanted.share(number, 7)]
    assert (sorted(shares), len(shares)) == (seen.wanted.all(), 13)
    assert seen.wanted.share(3, 7) == sorted(seen.wanted.share(3, 7))


def test_what_a_cluster_wants_takes_little_memory() -> None:
    tracemalloc.start()
    try:
        wanted, count = Wanted(lambda _name, _key: None, lambda _name: None), 2_000
        for number in range(count):
            name = f"cluster-{number:05}"
            document: JsonObject = {"metadata": {"name": name, "namespace": f"team-{number % 50}"}, "spec": {}}
            wanted.told("TapioCluster", document, OrderingKey("local", f"team-{number % 50}", name))
        own = [tracemalloc.Filter(inclusive=True, filename_pattern=f"*/tapio_watcher/{one}.py") for one in _OWN_FILES]
        kept = tracemalloc.take_snapshot().filter_traces(own).statistics("filename")
    finally:
        tracemalloc.stop()
    taken = sum(one.size for one in kept) / count
    assert taken < 900, f"{taken:.0f} bytes per TapioCluster on {sys.implementation.name}"
    assert len(wanted.all()) == 6 * count
