"""CustomResourceDefinitions: what they add to the served API, and defaulting and checking of their objects."""

from __future__ import annotations

import msgspec

from tapio_shared.json import JsonObject, JsonValue, list_at, object_at, objects_at, str_at
from tapio_simulator.cel_rules import check_rules
from tapio_simulator.crd_validation import check
from tapio_simulator.errors import Cause, invalid
from tapio_simulator.fieldsets import item_element
from tapio_simulator.immutability import finalizer_causes
from tapio_simulator.names import metadata_causes
from tapio_simulator.registry import Registry, Served
from tapio_simulator.resources import Resource
from tapio_simulator.schema import ANY, Schema, compile_custom


def serve(registry: Registry, definition: JsonObject) -> None:
    """Make `registry` serve every version that `definition` serves."""
    name = str_at(definition, "metadata", "name")
    registry.remove_definition(name)
    for version in objects_at(definition, "spec", "versions"):
        if version.get("served") is True:
            registry.add(served_version(definition, version))


def served_version(definition: JsonObject, version: JsonObject) -> Served:
    """One version of a custom resource as the registry knows it."""
    spec = object_at(definition, "spec")
    names = object_at(spec, "names")
    raw = object_at(version, "schema", "openAPIV3Schema")
    group, plural = str_at(spec, "group"), str_at(names, "plural")
    scale = object_at(version, "subresources", "scale")
    resource = Resource(
        group=group,
        version=str_at(version, "name"),
        kind=str_at(names, "kind"),
        plural=plural,
        namespaced=str_at(spec, "scope") == "Namespaced",
        short_names=tuple(str(entry) for entry in list_at(names, "shortNames")),
        categories=tuple(str(entry) for entry in list_at(names, "categories")),
        status="status" in object_at(version, "subresources"),
        scale=bool(scale),
        scale_paths=(
            str_at(scale, "specReplicasPath"),
            str_at(scale, "statusReplicasPath"),
            str_at(scale, "labelSelectorPath"),
        ),
        generation=True,
        singular=str_at(names, "singular"),
        list_kind=str_at(names, "listKind"),
        custom=True,
        storage_key=f"{plural}.{group}",
    )
    return Served(
        resource,
        compile_custom(raw),
        raw_schema=raw,
        columns=tuple(objects_at(version, "additionalPrinterColumns")),
        definition_name=str_at(definition, "metadata", "name"),
    )


def establish(definition: JsonObject, live: JsonObject | None, now: str) -> None:
    """Write the status that says the definition is accepted and served. `definition` is changed."""
    spec = object_at(definition, "spec")
    stored = [str_at(version, "name") for version in objects_at(spec, "versions") if version.get("storage") is True]
    before = list_at(live or {}, "status", "storedVersions")
    known = {str_at(entry, "type"): entry for entry in objects_at(live or {}, "status", "conditions")}
    conditions: list[JsonValue] = [
        known.get(type_)
        or {"type": type_, "status": "True", "lastTransitionTime": now, "reason": reason, "message": message}
        for type_, reason, message in (
            ("NamesAccepted", "NoConflicts", "no conflicts found"),
            ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        )
    ]
    definition["status"] = {
        "conditions": conditions,
        "acceptedNames": dict(object_at(spec, "names")),
        "storedVersions": [*before, *(name for name in stored if name not in before)],
    }


# --- objects ----------------------------------------------------------------------------------------------------


def default_custom(served: Served, document: JsonObject) -> None:
    """Fill in the schema's defaults. `document` is changed."""
    _default(document, served.schema)


def _default(value: JsonValue, schema: Schema) -> None:
    if isinstance(value, dict):
        for name, child in schema.fields.items():
            if child.has_default and (name not in value or (value[name] is None and not child.nullable)):
                value[name] = msgspec.json.decode(msgspec.json.encode(child.default))
        for name, entry in value.items():
            declared = schema.fields.get(name) or schema.element
            if declared is not None and name != "metadata":
                _default(entry, declared)
    elif isinstance(value, list) and schema.element is not None:
        for item in value:
            _default(item, schema.element)


def validate_custom(served: Served, document: JsonObject, live: JsonObject | None) -> None:
    """StatusError 422 naming every violation of the schema, and of list keys."""
    causes = metadata_causes(served.resource, document) if live is None else finalizer_causes(document, live)
    check(document, served.raw_schema, "", causes, root=True)
    if not causes:
        _check_lists(document, served.schema, "", causes)
    if not causes and served.schema.ruled:
        _check_rules(document, live, served.schema, "", causes)
    if causes:
        raise invalid(served.resource, str_at(document, "metadata", "name"), causes)


def _check_lists(value: JsonValue, schema: Schema, path: str, causes: list[Cause]) -> None:
    if isinstance(value, dict):
        for name, entry in value.items():
            declared = schema.fields.get(name) or schema.element
            if declared is not None and isinstance(entry, dict | list) and name != "metadata":
                _check_lists(entry, declared, f"{path}.{name}" if path else name, causes)
    elif isinstance(value, list) and schema.shape == "list":
        element = schema.element or ANY
        if not schema.atomic:
            causes += _duplicates(value, schema, path)
        for index, item in enumerate(value):
            if isinstance(item, dict | list):
                _check_lists(item, element, f"{path}[{index}]", causes)


def _duplicates(items: list[JsonValue], schema: Schema, path: str) -> list[Cause]:
    """Items of a set or keyed list that appear twice."""
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, item in enumerate(items):
        element = item_element(item, schema)
        if element in seen:
            text = f"Duplicate value: {element[2:]}"
            causes.append(Cause(f"{path}[{index}]", text, "FieldValueDuplicate"))
        seen.add(element)
    return causes


def _check_rules(value: JsonValue, old: JsonValue, schema: Schema, path: str, causes: list[Cause]) -> None:
    """CEL rules of `value` and everything below it. Old items of a list are found by their key alone."""
    if schema.rules and value is not None:
        causes += check_rules(schema.rules, value, old, schema.type or "object", path)
    if isinstance(value, dict):
        before = old if isinstance(old, dict) else {}
        for name, entry in value.items():
            child = schema.fields.get(name) or schema.element
            if child is not None and child.ruled:
                _check_rules(entry, before.get(name), child, f"{path}.{name}" if path else name, causes)
    elif isinstance(value, list) and schema.element is not None and schema.element.ruled:
        known: dict[str, JsonValue] = {}
        if schema.keys and isinstance(old, list):
            known = {item_element(item, schema): item for item in old}
        for index, item in enumerate(value):
            before_item = known.get(item_element(item, schema)) if schema.keys else None
            _check_rules(item, before_item, schema.element, f"{path}[{index}]", causes)
