"""Label and field selectors of lists and watches.

Field selectors are a closed list per kind, as in the API server: any other field is 400.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from tapio_shared.json import JsonObject, JsonValue, at, strings_at
from tapio_simulator.errors import bad_request
from tapio_simulator.resources import Resource

Predicate = Callable[[JsonObject], bool]

_SET = re.compile(r"^\s*(?P<key>[^\s=!,()]+)\s+(?P<operator>in|notin)\s*\((?P<values>[^)]*)\)\s*$")
_EXACT = re.compile(r"^\s*(?P<key>[^\s=!,()]+)\s*(?P<operator>==|!=|=)\s*(?P<value>[^\s=!,()]*)\s*$")
_EXISTS = re.compile(r"^\s*(?P<not>!?)\s*(?P<key>[^\s=!,()]+)\s*$")

_FIELDS: Mapping[str, tuple[str, ...]] = {
    "Pod": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    "Event": (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
    "Secret": ("type",),
    "Namespace": ("status.phase",),
    "Node": ("spec.unschedulable",),
    "Service": ("spec.clusterIP", "spec.type"),
    "Job": ("status.successful",),
    "ReplicaSet": ("status.replicas",),
}


def _split(text: str) -> list[str]:
    """Parts between commas that aren't inside parentheses."""
    parts, depth, current = list[str](), 0, ""
    for char in text:
        if char == "," and depth == 0:
            parts.append(current)
            current = ""
            continue
        depth += (char == "(") - (char == ")")
        current += char
    return [part for part in (*parts, current) if part.strip()]


def _label_requirement(part: str) -> Callable[[Mapping[str, str]], bool]:
    if match := _SET.match(part):
        key = match["key"]
        values = frozenset(value.strip() for value in match["values"].split(","))
        if match["operator"] == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if match := _EXACT.match(part):
        key, value = match["key"], match["value"]
        if match["operator"] == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if match := _EXISTS.match(part):
        key = match["key"]
        if match["not"]:
            return lambda labels: key not in labels
        return lambda labels: key in labels
    raise bad_request(f"unable to parse requirement: found '{part.strip()}', expected: identifier, =, !=, in, notin")


def label_predicate(selector: str) -> Predicate | None:
    """Whether an object's labels match; None matches everything. StatusError 400 when it can't be parsed."""
    requirements = [_label_requirement(part) for part in _split(selector)]
    if not requirements:
        return None

    def matches(document: JsonObject) -> bool:
        labels = strings_at(document, "metadata", "labels")
        return all(requirement(labels) for requirement in requirements)

    return matches


def label_selector_matches(selector: JsonObject, labels: Mapping[str, str]) -> bool:
    """A `metav1.LabelSelector` (matchLabels, matchExpressions) against `labels`."""
    if any(labels.get(name) != value for name, value in strings_at(selector, "matchLabels").items()):
        return False
    expressions = selector.get("matchExpressions")
    for expression in expressions if isinstance(expressions, list) else []:
        key, operator, values = at(expression, "key"), at(expression, "operator"), at(expression, "values")
        known = values if isinstance(values, list) else []
        found = labels.get(str(key))
        if operator == "In" and found not in known:
            return False
        if operator == "NotIn" and found in known:
            return False
        if operator == "Exists" and found is None:
            return False
        if operator == "DoesNotExist" and found is not None:
            return False
    return True


def _field_text(value: JsonValue) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def field_predicate(selector: str, resource: Resource) -> Predicate | None:
    """Whether an object's fields match; None matches everything. StatusError 400 for a field that isn't served."""
    wanted: list[tuple[tuple[str, ...], str, bool]] = []
    allowed = (
        "metadata.name",
        *(("metadata.namespace",) if resource.namespaced else ()),
        *_FIELDS.get(resource.kind, ()),
    )
    for part in _split(selector):
        match = _EXACT.match(part)
        if match is None:
            raise bad_request(f"invalid selector: '{selector}'; can't understand '{part}'")
        if match["key"] not in allowed:
            raise bad_request(
                f'Unable to find "{resource.group}/{resource.version}, Resource={resource.plural}" that match label '
                f'selector "", field selector "{selector}": field label not supported: {match["key"]}'
            )
        wanted.append((tuple(match["key"].split(".")), match["value"], match["operator"] == "!="))
    if not wanted:
        return None

    def matches(document: JsonObject) -> bool:
        return all((_field_text(at(document, *path)) == value) != negated for path, value, negated in wanted)

    return matches


def exact_name(selector: str) -> str | None:
    """The name that a field selector pins (`metadata.name=x`), which makes a list a single look-up."""
    for part in _split(selector):
        match = _EXACT.match(part)
        if match is not None and match["key"] == "metadata.name" and match["operator"] != "!=":
            return match["value"]
    return None


def combined(first: Predicate | None, second: Predicate | None) -> Predicate | None:
    if first is None or second is None:
        return first or second
    return lambda document: first(document) and second(document)
