"""What all models of the custom resources share.

Models hold *normalised* documents (normalise.py): no shorthand, no null. They are frozen and strict: a number is
never read from a text, an unknown key is an error. Refuses to read Python's own names from a document: a user who
writes `high_availability` must be told that it is `highAvailability`.
"""

from __future__ import annotations

from typing import Self, cast

from pydantic import BaseModel, ConfigDict

from tapio_shared.json import JsonObject, JsonValue


def json_name(field: str) -> str:
    """The JSON name of a field, by the Kubernetes API conventions: `issuer_url` is `issuerURL`."""
    first, *rest = field.split("_")
    return first + "".join("URL" if word == "url" else word[:1].upper() + word[1:] for word in rest)


class ApiModel(BaseModel):
    """Base of every model of the API: frozen, strict, no unknown keys, camelCase in JSON."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        alias_generator=json_name,
        validate_by_name=True,
        validate_by_alias=True,
    )

    @classmethod
    def from_document(cls, document: JsonValue) -> Self:
        """The model of a normalised JSON document. Raises pydantic's ValidationError, which names all faults."""
        return cls.model_validate(document, by_alias=True, by_name=False)

    def document(self) -> JsonObject:
        """The JSON document of this model, without the fields that are absent."""
        return cast("JsonObject", self.model_dump(mode="json", by_alias=True, exclude_none=True))
