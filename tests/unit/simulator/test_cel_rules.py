"""CEL rules of custom resources: transitions, escaped names, messages."""

from __future__ import annotations

import pytest

from tapio_shared.json import JsonObject, JsonValue
from tapio_simulator.cel_rules import check_rules, compile_rules


def broken(rule: JsonObject, value: JsonValue, old: JsonValue = None) -> list[str]:
    rules = compile_rules({"x-kubernetes-validations": [rule]})
    return [f"{cause.field}: {cause.message}" for cause in check_rules(rules, value, old, "object", "spec")]


def test_a_kept_rule_says_nothing() -> None:
    assert broken({"rule": "self.size > 1", "message": "too small"}, {"size": 2}) == []


def test_a_broken_rule_says_its_message() -> None:
    rule: JsonObject = {"rule": "self.size > 1", "message": "too small"}
    assert broken(rule, {"size": 1}) == ['spec: Invalid value: "object": too small']


def test_without_a_message_the_rule_is_quoted() -> None:
    assert broken({"rule": "self.size > 1"}, {"size": 1}) == [
        'spec: Invalid value: "object": failed rule: self.size > 1'
    ]


def test_a_transition_rule_waits_for_an_old_value() -> None:
    rule: JsonObject = {"rule": "self == oldSelf", "message": "can't change", "reason": "FieldValueForbidden"}
    assert broken(rule, {"a": 1}) == []
    assert broken(rule, {"a": 1}, {"a": 1}) == []
    assert broken(rule, {"a": 2}, {"a": 1}) == ["spec: Forbidden: can't change"]


def test_names_that_cel_reserves_are_escaped() -> None:
    rule: JsonObject = {"rule": "self.__namespace__ == 'a' && self.x__dash__y == 1", "message": "no"}
    assert broken(rule, {"namespace": "a", "x-y": 1}) == []
    assert broken(rule, {"namespace": "b", "x-y": 1}) == ['spec: Invalid value: "object": no']


def test_a_message_can_be_computed_and_the_field_named() -> None:
    rule: JsonObject = {"rule": "self.n < 3", "messageExpression": "'got ' + string(self.n)", "fieldPath": ".n"}
    assert broken(rule, {"n": 7}) == ['spec.n: Invalid value: "object": got 7']


def test_a_rule_that_can_not_be_evaluated_is_broken() -> None:
    (text,) = broken({"rule": "self.missing > 1", "message": "no"}, {"n": 1})
    assert text.startswith('spec: Invalid value: "object": ')


def test_a_rule_that_does_not_parse_is_refused() -> None:
    with pytest.raises(ValueError, match="Failed to parse"):
        compile_rules({"x-kubernetes-validations": [{"rule": "self +"}]})
