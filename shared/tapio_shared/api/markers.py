"""Marks on model fields that the CRD generator and the normaliser read from the schema.

Keys that begin with `x-tapio-` never reach a CRD: the generator acts on them and takes them out.
"""

from __future__ import annotations

from typing import Final

from pydantic.config import JsonDict

SHORTHAND: Final = "x-tapio-shorthand"
"""The node also takes true and false, which mean `{enabled: true}` and `{enabled: false}`."""

RULES: Final = "x-kubernetes-validations"
"""CEL rules; left out of crds-legacy.yaml."""

OPAQUE: Final = "x-tapio-opaque"
"""The CRD does not spell this node out; see shapes.py for what the webhook and the planner check."""


def shorthand() -> JsonDict:
    """Marks a field whose value may be a boolean."""
    return {SHORTHAND: True}


def opaque() -> JsonDict:
    """Marks a model that stands in the CRD as an object of unknown fields, to keep the CRD small."""
    return {OPAQUE: True}


def immutable(what: str) -> JsonDict:
    """Marks a required field that can't change after creation."""
    return rules(("self == oldSelf", f"{what} can't be changed after creation."))


def rules(*pairs: tuple[str, str]) -> JsonDict:
    """Attaches CEL rules, each with the message for the person who broke it."""
    return {RULES: [{"rule": rule, "message": message} for rule, message in pairs]}


def list_map(*keys: str) -> JsonDict:
    """Marks a list whose entries are told apart by `keys`, so that two field managers can own entries of it."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}
