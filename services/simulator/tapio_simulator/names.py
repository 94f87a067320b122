"""Names and labels: which are allowed, in Kubernetes' words."""

from __future__ import annotations

import re

import msgspec

from tapio_shared.json import JsonObject, JsonValue, str_at, strings_at
from tapio_simulator.errors import Cause
from tapio_simulator.resources import Resource

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_QUALIFIED = re.compile(r"([a-z0-9.-]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an "
    "alphabetic character, and "
    "end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must "
    "start and end with an "
    "alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_LABEL_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_ANY_PATH_SEGMENT = ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")


def shown(value: JsonValue) -> str:
    """A value as field errors show it."""
    return msgspec.json.encode(value).decode()


def name_problem(kind: str, name: str) -> str | None:
    """What is wrong with an object's name, in Kubernetes' words."""
    if kind in _ANY_PATH_SEGMENT:
        return "may not contain '/'" if "/" in name else None
    if kind == "Service":
        if len(name) > 63:
            return "must be no more than 63 characters"
        return None if _LABEL_1035.fullmatch(name) else _LABEL_1035_TEXT
    if kind == "Namespace":
        if len(name) > 63:
            return "must be no more than 63 characters"
        return None if _LABEL.fullmatch(name) else _LABEL_TEXT
    if len(name) > 253:
        return "must be no more than 253 characters"
    return None if _SUBDOMAIN.fullmatch(name) else _SUBDOMAIN_TEXT


def metadata_causes(resource: Resource, document: JsonObject) -> list[Cause]:
    name = str_at(document, "metadata", "name")
    problem = name_problem(resource.kind, name)
    causes = [Cause("metadata.name", f"Invalid value: {shown(name)}: {problem}")] if problem else []
    return [*causes, *label_causes(document)]


def label_causes(document: JsonObject) -> list[Cause]:
    causes: list[Cause] = []
    for key, value in strings_at(document, "metadata", "labels").items():
        if not _QUALIFIED.fullmatch(key) or len(key.rpartition("/")[2]) > 63:
            causes.append(
                Cause(
                    "metadata.labels",
                    f"Invalid value: {shown(key)}: name part must consist of alphanumeric characters, '-', '_' or '.', "
                    "and "
                    "must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', "
                    "regex "
                    "used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
                )
            )
        if len(value) > 63:
            causes.append(
                Cause("metadata.labels", f"Invalid value: {shown(value)}: must be no more than 63 characters")
            )
        elif not _LABEL_VALUE.fullmatch(value):
            causes.append(
                Cause(
                    "metadata.labels",
                    f"Invalid value: {shown(value)}: {_LABEL_VALUE_TEXT}",
                )
            )
    return causes
