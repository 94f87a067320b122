"""Laws of the algebra of field sets, and of apply built on it."""

from __future__ import annotations

from typing import cast

from hypothesis import assume, given
from hypothesis import strategies as st

from tapio_shared.json import JsonObject, JsonValue
from tapio_simulator.apply import apply
from tapio_simulator.fieldsets import FieldSet, compare, difference, field_set, intersection, paths, union
from tapio_simulator.managed import Managed, Owner
from tapio_simulator.schema import compile_custom

_SCHEMA = compile_custom(
    {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "a": {"type": "string"},
                    "b": {"type": "object", "additionalProperties": {"type": "string"}},
                    "plain": {"type": "array", "items": {"type": "string"}},
                    "keyed": {
                        "type": "array",
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["name"],
                        "items": {
                            "type": "object",
                            "properties": {"name": {"type": "string"}, "v": {"type": "string"}},
                        },
                    },
                },
            }
        },
    }
)
_TEXT = st.sampled_from(["x", "y", "z"])


@st.composite
def documents(draw: st.DrawFn) -> JsonObject:
    """Documents with a scalar, a map, an atomic list and a list keyed by name, each of which may be absent."""
    spec: JsonObject = {}
    if draw(st.booleans()):
        spec["a"] = draw(_TEXT)
    if draw(st.booleans()):
        spec["b"] = dict[str, JsonValue](draw(st.dictionaries(_TEXT, _TEXT, min_size=1, max_size=2)))
    if draw(st.booleans()):
        spec["plain"] = list[JsonValue](draw(st.lists(_TEXT, max_size=2)))
    if draw(st.booleans()):
        values = draw(st.dictionaries(_TEXT, st.none() | _TEXT, max_size=3))
        spec["keyed"] = [{"name": name, "v": value} if value else {"name": name} for name, value in values.items()]
    return {"spec": spec}


DOCUMENTS = documents()


def members(fields: FieldSet) -> set[str]:
    return set(paths(fields))


@given(DOCUMENTS, DOCUMENTS)
def test_the_algebra_is_that_of_sets(first: JsonObject, second: JsonObject) -> None:
    one, two = field_set(first, _SCHEMA), field_set(second, _SCHEMA)
    assert members(union(one, two)) == members(one) | members(two)
    assert members(difference(one, two)) == members(one) - members(two)
    assert members(intersection(one, two)) == members(one) & members(two)


@given(DOCUMENTS)
def test_a_document_does_not_differ_from_itself(document: JsonObject) -> None:
    comparison = compare(document, document, _SCHEMA)
    assert (comparison.added, comparison.modified, comparison.removed) == ({}, {}, {})


@given(DOCUMENTS, DOCUMENTS)
def test_added_and_removed_are_each_others_mirror(first: JsonObject, second: JsonObject) -> None:
    there, back = compare(first, second, _SCHEMA), compare(second, first, _SCHEMA)
    assert members(there.added) == members(back.removed)
    assert members(there.modified) == members(back.modified)


def applied(live: JsonObject, config: JsonObject, managed: Managed, manager: str) -> tuple[JsonObject, Managed, bool]:
    owner = Owner(manager, "Apply", "example.com/v1")
    result = apply(live, config, _SCHEMA, managed, owner, force=True, now="now", ignored={})
    return result.document, result.managed, result.changed


def spec_of(document: JsonObject) -> dict[str, JsonValue]:
    """The spec without what is empty: an applier can't tell an emptied field from an absent one."""
    spec = cast("dict[str, JsonValue]", document.get("spec") or {})
    return {name: value for name, value in spec.items() if value not in ({}, [])}


@given(DOCUMENTS)
def test_applying_twice_changes_nothing(config: JsonObject) -> None:
    document, managed, _ = applied({}, config, Managed({}, {}), "one")
    again, _, changed = applied(document, config, managed, "one")
    assert not changed
    assert again == document


@given(DOCUMENTS, DOCUMENTS)
def test_a_sole_applier_gets_exactly_what_it_asks_for(first: JsonObject, second: JsonObject) -> None:
    document, managed, _ = applied({}, first, Managed({}, {}), "one")
    document, managed, _ = applied(document, second, managed, "one")

    def by_name(spec: dict[str, JsonValue]) -> dict[str, JsonValue]:
        keyed = cast("list[JsonObject]", spec.get("keyed") or [])
        return {**spec, "keyed": cast("JsonValue", {str(item["name"]): item for item in keyed})}

    assert by_name(spec_of(document)) == by_name(spec_of(second))


@given(DOCUMENTS, DOCUMENTS)
def test_a_forced_apply_always_holds_what_it_sent(first: JsonObject, second: JsonObject) -> None:
    assume(second["spec"] != {})  # An empty object sent is owned as such, but keeps what others put into it.
    document, managed, _ = applied({}, first, Managed({}, {}), "one")
    document, managed, _ = applied(document, second, managed, "two")
    wanted = field_set(second, _SCHEMA)
    assert members(wanted) <= members(field_set(document, _SCHEMA))
    comparison = compare(document, second, _SCHEMA)
    assert members(intersection(wanted, comparison.modified)) == set()
