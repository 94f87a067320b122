"""YAML and JSON documents as people write them into files, read the way kubectl reads them.

A text that looks like a date stays a text, a List is its items, and a key that stands twice is refused, since one of
the two would be lost without a word.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import cast

import yaml

from tapio_shared.errors import InvalidSettings
from tapio_shared.json import JsonObject, JsonValue, at, object_at, objects_at, str_at
from tapio_shared.yaml_keys import refuse_keys_that_stand_twice

STANDARD_INPUT = "-"


class _Loader(yaml.CSafeLoader):
    """A safe loader that refuses keys that stand twice, and leaves dates alone."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        refuse_keys_that_stand_twice(node)
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def read_documents(paths: Sequence[str]) -> list[JsonObject]:
    """Every document of the files, in order; `-` is standard input. Raises InvalidSettings with a whole sentence."""
    documents: list[JsonObject] = []
    for path in paths:
        name = "standard input" if path == STANDARD_INPUT else path
        for value in _values(_text(path, name), name):
            if value is None:
                continue
            if not isinstance(value, dict) or not str_at(value, "kind") or not str_at(value, "apiVersion"):
                raise InvalidSettings(f"A document of {name} is no Kubernetes object: it needs apiVersion and kind.")
            is_list = str_at(value, "kind").endswith("List") and isinstance(at(value, "items"), list)
            documents += objects_at(value, "items") if is_list else [value]
    return documents


def in_namespace(document: JsonObject, namespace: str) -> JsonObject:
    """`document` with a namespace, `namespace` when it names none."""
    metadata = object_at(document, "metadata")
    return {**document, "metadata": {**metadata, "namespace": str_at(metadata, "namespace") or namespace}}


def _text(path: str, name: str) -> str:
    try:
        return sys.stdin.read() if path == STANDARD_INPUT else Path(path).read_text(encoding="utf-8")
    except OSError as err:
        raise InvalidSettings(f"{name} can't be read: {err.strerror or err}.") from err
    except UnicodeDecodeError as err:
        raise InvalidSettings(f"{name} can't be read: it is no text in UTF-8 ({err.reason}).") from err


def _values(text: str, name: str) -> list[JsonValue]:
    try:
        return [_json(value) for value in yaml.load_all(text, Loader=_Loader)]
    except (yaml.YAMLError, ValueError, RecursionError) as err:
        why = " ".join(str(err).replace('in "<unicode string>", ', "at ").split()) or type(err).__name__
        raise InvalidSettings(f"{name} is not valid YAML: {why}.") from err


def _json(value: object) -> JsonValue:
    """What YAML holds as JSON: every key is a text; other types become texts, for the validator to refuse."""
    if isinstance(value, dict):
        return {
            str(key).lower() if isinstance(key, bool) else str(key): _json(child)
            for key, child in cast("dict[object, object]", value).items()
        }
    if isinstance(value, list):
        return [_json(child) for child in cast("list[object]", value)]
    return value if value is None or isinstance(value, str | int | float) else str(value)
