"""What is known of every object of a Kubernetes cluster is kept in little memory, and is exactly what was told."""

from __future__ import annotations

import sys
import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st

from tapio_shared.keys import ObjectRef, OrderingKey, object_subject, parse_subject
from tapio_shared.ports import Message
from tapio_watcher.encoding import EncodedFact, gone_fact, observed_fact
from tapio_watcher.entries import Known
from tapio_watcher.known import KnownFacts, is_of_object
from tapio_watcher.packed import Packed
from tapio_watcher.versions import Names, Versions

GROUPS, MEMBERS = st.sampled_from([f"team.c{number}" for number in range(40)]), st.sampled_from(["", "a", "aa", "b"])
_STEPS = st.lists(
    st.tuples(st.sampled_from(["set", "remove"]), GROUPS, MEMBERS, st.text("xyz .\t", max_size=4)), max_size=400
)
PARTITIONS = 4
UID = "0bc61f2c-8a4e-4d6f-9a37-0123456789ab"


@given(_STEPS)
@settings(max_examples=200)
def test_a_packed_map_holds_what_a_dict_would(steps: list[tuple[str, str, str, str]]) -> None:
    packed, model = Packed(), dict[tuple[str, str], str]()
    for what, group, member, value in steps:
        if what == "set":
            packed.set(group, value, member)
            model[group, member] = value
        else:
            packed.remove(group, member)
            model.pop((group, member), None)
        assert packed.get(group, member) == model.get((group, member))
    assert len(packed) == len(model)
    assert {(group, member): value for group, member, value in packed} == model
    assert sorted(packed.groups()) == sorted({group for group, _ in model})
    for group in {group for group, *_ in model} | {"team.c", "team"}:
        assert (group in packed) == any(one == group for one, _ in model)
        assert dict(packed.of(group)) == {member: value for (one, member), value in model.items() if one == group}


def test_versions_that_differ() -> None:
    ours, theirs = Versions(), Versions()
    for name, version in {("team", "same"): "1", ("team", "older"): "1", ("", "only.ours"): "7"}.items():
        ours.set(name, version)
    for name, version in {("team", "same"): "1", ("team", "older"): "2", ("team", "only=theirs"): ""}.items():
        theirs.set(name, version)
    assert sorted(ours.differences(theirs)) == [("", "only.ours"), ("team", "older"), ("team", "only=theirs")]
    assert (("", "only.ours") in ours, ("", "only.ours") in theirs, len(ours)) == (True, False, 3)


def test_a_set_of_names_holds_each_once() -> None:
    names = Names()
    for name in [("team", "a.b"), ("", "all"), ("team", "a.b"), ("team", "left out")]:
        names.add(name)
    names.discard(("team", "left out"))
    names.discard(("team", "never there"))
    assert (sorted(names), len(names), bool(names)) == ([("", "all"), ("team", "a.b")], 2, True)
    assert (("team", "a.b") in names, ("team", "left out") in names) == (True, False)
    names.clear()
    assert (list(names), bool(names)) == ([], False)


REFS = st.builds(
    ObjectRef,
    st.sampled_from(["", "apps", "rbac.authorization.k8s.io"]),
    st.sampled_from(["Service", "Role"]),
    st.sampled_from(["", "object", "team"]),
    st.sampled_from(["a", "a.b", "system:a b", "ü"]),
)
KEYS = st.builds(OrderingKey, st.just("local"), st.sampled_from(["object", "team"]), st.sampled_from(["one", "two.x"]))


def _observed(uid: str, text: str) -> EncodedFact:
    return observed_fact({"text": text}, uid=uid, resource_version="1", now=0)


_FACTS = st.one_of(
    st.builds(
        _observed, st.sampled_from(["", "0b1c-2d", "u 1", UID, UID.upper(), UID.replace("-", "~")]), st.text(max_size=3)
    ),
    st.just(gone_fact(uid="u", resource_version="", now=0)),
)


class Model:
    """The same as `KnownFacts`, as plain as can be."""

    def __init__(self) -> None:
        self.facts: dict[str, Known] = {}
        self.places: dict[ObjectRef, set[str]] = {}
        self.awaited: set[str] = set()

    def live(self) -> dict[str, Known]:
        return {subject: known for subject, known in self.facts.items() if known.is_present or subject in self.awaited}


@given(
    st.lists(
        st.tuples(st.sampled_from(["append", "learn", "place", "unplace", "expect", "drop"]), KEYS, REFS, _FACTS),
        max_size=60,
    ),
    st.sampled_from(["local", "elsewhere"]),
)
@settings(max_examples=300)
def test_what_is_known_is_what_was_told(
    steps: list[tuple[str, OrderingKey, ObjectRef, EncodedFact]], target: str
) -> None:
    facts, model, subjects = KnownFacts(target), Model(), dict[str, ObjectRef]()
    for sequence, (what, key, ref, fact) in enumerate(steps, start=1):
        subject = object_subject(key, ref, PARTITIONS)
        subjects[subject] = ref
        match what:
            case "append":
                facts.appended(subject, sequence, fact, 1_000 + sequence)
                model.facts[subject] = Known(sequence, fact.digest, fact.uid, 1_000 + sequence)
            case "learn":
                assert facts.learn(Message(subject, sequence, fact.data, written_at=1_000 + sequence)) == ""
                model.facts[subject] = Known(sequence, fact.digest, fact.uid, 1_000 + sequence)
                if not fact.is_gone:
                    model.places.setdefault(ref, set()).add(subject)
            case "place":
                facts.add_place(subject)
                model.places.setdefault(ref, set()).add(subject)
            case "unplace":
                facts.remove_place(subject)
                model.places.setdefault(ref, set()).discard(subject)
            case "expect":
                facts.expect(subject)
                model.awaited.add(subject)
            case _:
                facts.dropped(subject)
                was = model.facts.pop(subject, None)
                if was is not None and (was.is_present or subject in model.awaited):
                    model.facts[subject] = Known(0, b"", was.uid if was.is_present else "", was.written_at)
                    model.places.setdefault(ref, set()).add(subject)
    assert len(facts) == len(model.facts)
    live = model.live()
    for subject, ref in subjects.items():
        assert facts.get(subject) == model.facts.get(subject)
        assert facts.places(ref) == tuple(sorted(model.places.get(ref, ())))
        listed = Versions()
        listed.set((ref.namespace, ref.name), "7")
        assert facts.present(ref.group, ref.kind, besides=listed) == [
            one for one in facts.present(ref.group, ref.kind) if one != ref
        ]
        said = b"" if subject not in model.facts else model.facts[subject].digest
        is_place = subject in model.places.get(ref, ()) and subject in model.facts
        others = {one for one, other in subjects.items() if other == ref and one != subject}
        assert facts.is_settled(subject, said, only_place=False) == is_place
        assert facts.is_settled(subject, said, only_place=True) == (
            is_place and not any(one in model.facts or one in model.awaited | model.places[ref] for one in others)
        )
        assert not facts.is_settled(subject, b"another", only_place=False)
        assert facts.present(ref.group, ref.kind) == sorted(
            one for one, places in model.places.items() if places and (one.group, one.kind) == (ref.group, ref.kind)
        )
    by_sequence = sorted(live, key=lambda subject: (live[subject].sequence, subject))
    assert facts.live_below(len(steps) + 1) == [(live[subject].sequence, subject) for subject in by_sequence]
    assert sorted(one.sequence for one in facts.live()) == [live[subject].sequence for subject in by_sequence]
    if live:
        assert facts.oldest().sequence <= live[by_sequence[0]].sequence
        assert facts.oldest().written_at <= live[by_sequence[0]].written_at
        facts.look_for_oldest()
        assert facts.oldest().sequence == live[by_sequence[0]].sequence
    facts.forget_gone(len(steps) + 1)
    assert len(facts) == len(live)


@given(
    st.lists(st.sampled_from(["tapio", "log", "2", "object", "_", "a_", "A-1", "a=2Eb", "=2e", "=C3", ""]), max_size=12)
)
@settings(max_examples=300)
def test_what_is_not_a_subject_of_an_object_is_told_apart_as_by_the_parser(middle: list[str]) -> None:
    for subject in (".".join(middle), ".".join(["tapio", "log", "2", "a", "b", "c", "object", *middle[-4:]])):
        try:
            wanted: object = parse_subject(subject).ref is not None
        except ValueError as err:
            wanted = str(err)
        try:
            found: object = is_of_object(subject)
        except ValueError as err:
            found = str(err)
        assert found == wanted


def test_what_can_not_be_read_counts_for_its_sequence() -> None:
    facts = KnownFacts()
    told = "tapio.log.2.local.team.tapio.object.apps.Deployment.team.web"
    odd = "tapio.log.2.local.team.tapio.object.apps"
    assert facts.learn(Message(told, 7, b"{")).startswith("A message of the log is not a fact about an object")
    assert facts.learn(Message(odd, 8, b"{}")).startswith(f"'{odd}' is not a subject of the log")
    assert (facts.sequence_of(told), facts.sequence_of(odd), len(facts)) == (7, 8, 2)
    assert facts.live_below(9) == [(7, told), (8, odd)]
    assert facts.places(ObjectRef("apps", "Deployment", "team", "web")) == (told,)


def test_an_object_takes_little_memory() -> None:
    tracemalloc.start()
    try:
        facts, versions, subjects, count = KnownFacts("local"), Versions(), list[str](), 10_000
        before = tracemalloc.get_traced_memory()[0]
        for number in range(count):
            key = OrderingKey("local", "team", f"cluster-{number // 30}")
            ref = ObjectRef("apps", f"Kind{number % 30}", "team", f"cluster-{number // 30}-gateway-config")
            subject = object_subject(key, ref, PARTITIONS)
            facts.add_place(subject)
            fact = observed_fact(
                {"n": number}, uid=f"0bc61f2c-8a4e-4d6f-9a37-{number:012}", resource_version="1", now=0
            )
            facts.appended(subject, number, fact, 1_790_000_000_000)
            versions.set((ref.kind, ref.name), str(number))
            subjects.append(subject)
        taken = tracemalloc.get_traced_memory()[0] - before - sum(sys.getsizeof(subject) for subject in subjects)
    finally:
        tracemalloc.stop()
    assert taken / count < 200, f"{taken / count:.0f} bytes per object on {sys.implementation.name}"
    assert [facts.sequence_of(subject) for subject in subjects] == list(range(count))
    names = [(f"Kind{number % 30}", f"cluster-{number // 30}-gateway-config") for number in range(count)]
    assert [versions.get(name) for name in names] == [str(number) for number in range(count)]
