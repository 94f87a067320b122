"""The value types that the custom resources are made of, each with its check and its schema.

A check says what *is* allowed, as the rest of the sentence "it must be ...", so that one answer can name every wrong
value. What the API server can check too stands in the schema as a pattern; the rest is the webhook's and planner's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sized
from enum import StrEnum
from typing import Annotated, Final, Literal, TypeVar, cast
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, GetPydanticSchema, Strict, WithJsonSchema
from pydantic import JsonValue as PydanticJsonValue
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError, core_schema

from tapio_shared.api.cron import cron_fault
from tapio_shared.api.duration import DURATION_PATTERN, is_duration
from tapio_shared.api.duration import MAX_LENGTH as MAX_DURATION_LENGTH
from tapio_shared.api.quantity import QUANTITY_PATTERN, is_quantity, parse_quantity
from tapio_shared.json import JsonObject

NOT_ALLOWED: Final = "not_allowed"
"""Type of the errors below; their context holds `allowed`, the rest of the sentence "it must be ..."."""

T = TypeVar("T")


def refusal(allowed: str) -> PydanticCustomError:
    """The error of a value that is not allowed."""
    return PydanticCustomError(NOT_ALLOWED, "must be {allowed}", {"allowed": allowed})


def _require(is_allowed: Callable[[str], bool], allowed: str) -> AfterValidator:
    def check(text: str) -> str:
        if not is_allowed(text):
            raise refusal(allowed)
        return text

    return AfterValidator(check)


def _matches(pattern: str) -> Callable[[str], bool]:
    return lambda text: re.fullmatch(pattern, text, re.ASCII) is not None


# --- lists and opaque objects ----------------------------------------------------------------------------------

Items = Annotated[tuple[T, ...], Strict(False)]
"""A JSON list, kept as a tuple: everything else in a spec is strict, and strict tuples refuse lists."""

OPAQUE_SCHEMA: Final[JsonObject] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}

Opaque = Annotated[
    dict[str, PydanticJsonValue],
    GetPydanticSchema(lambda _source, _handler: core_schema.dict_schema(core_schema.str_schema())),
    WithJsonSchema({**OPAQUE_SCHEMA}),
]
"""An object of a Kubernetes type that the CRD does not spell out (affinity, podTemplate); see shapes.py."""

# --- quantities, durations, schedules --------------------------------------------------------------------------

QUANTITY_ALLOWED: Final = 'a Kubernetes quantity that is not negative, such as 500m, 2 or "10Gi"'


def _quantity_text(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not is_quantity(value) or parse_quantity(value) < 0:
        raise refusal(QUANTITY_ALLOWED)
    return value


_INT_OR_STRING: Final = {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True}

Quantity = Annotated[
    str, BeforeValidator(_quantity_text), WithJsonSchema({**_INT_OR_STRING, "pattern": QUANTITY_PATTERN})
]
"""A Kubernetes quantity as text; whole numbers are read too and become text."""


_TOO_LARGE: Final = 2**63
"""Bytes that neither Kubernetes nor NATS can count."""


def _size_text(value: object) -> object:
    text = _quantity_text(value)
    if isinstance(text, str) and parse_quantity(text) < 1:
        raise refusal('a size of at least one byte, such as "10Gi"')
    if isinstance(text, str) and parse_quantity(text) >= _TOO_LARGE:
        raise refusal('a size of less than 8Ei, such as "10Gi"')
    return text


Size = Annotated[str, BeforeValidator(_size_text), WithJsonSchema({**_INT_OR_STRING, "pattern": QUANTITY_PATTERN})]
"""A quantity of bytes, at least one and less than 8Ei."""


def _amount(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and re.fullmatch(r"(100|[0-9]{1,2})%", value, re.ASCII):
        return value
    raise refusal('a whole number that is not negative, or a percentage such as "10%"')


AmountOrPercent = Annotated[
    int | str,
    BeforeValidator(_amount),
    WithJsonSchema({**_INT_OR_STRING, "pattern": "^(100|[0-9]{1,2})%$"}),
]
"""A number of pods, or a share of them."""

Duration = Annotated[
    str,
    _require(is_duration, "a duration such as 30s, 15m or 1h30m"),
    WithJsonSchema({"type": "string", "minLength": 1, "pattern": DURATION_PATTERN, "maxLength": MAX_DURATION_LENGTH}),
]


def _schedule(text: str) -> str:
    fault = cron_fault(text)
    if fault is not None:
        raise refusal(f'a cron schedule such as "0 2 * * *"; {fault}')
    return text


CronSchedule = Annotated[
    str, AfterValidator(_schedule), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 128})
]
TimeZone = Annotated[
    str,
    _require(_matches(r"[A-Za-z0-9_+-]{1,32}(/[A-Za-z0-9_+-]{1,32}){0,2}"), "a time zone name such as Europe/Helsinki"),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 98}),
]

# --- names -----------------------------------------------------------------------------------------------------

_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"

OBJECT_NAME_ALLOWED: Final = (
    "a Kubernetes name: at most 253 lower-case letters, digits, - and ., with a letter or digit at both ends"
)


def is_object_name(text: str) -> bool:
    """Whether `text` can be the name of most Kubernetes objects: a DNS subdomain."""
    return len(text) <= 253 and _matches(_SUBDOMAIN)(text)


ObjectName = Annotated[
    str,
    _require(is_object_name, OBJECT_NAME_ALLOWED),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 253}),
]
NamespaceName = Annotated[
    str,
    _require(_matches(_LABEL), "a namespace name: at most 63 lower-case letters, digits and -"),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 63}),
]


def is_label_key(text: str) -> bool:
    """Whether `text` can be the key of a label: a name, with or without a DNS subdomain and / before it."""
    prefix, slash, name = text.rpartition("/")
    return _matches(_QUALIFIED)(name) and (not slash or (len(prefix) <= 253 and _matches(_SUBDOMAIN)(prefix)))


LabelKey = Annotated[
    str, _require(is_label_key, "a label key such as team or example.com/team, at most 63 characters after the /")
]
CLASS_ALLOWED: Final = "such as internal or service.k8s.aws/nlb, at most 63 characters after the /"
ClassName = Annotated[
    str,
    _require(
        lambda text: is_object_name(text) or is_label_key(text),
        f"the name of an IngressClass, or the class of a load balancer {CLASS_ALLOWED}",
    ),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 317}),
]
LabelValue = Annotated[
    str,
    _require(
        lambda text: text == "" or _matches(_QUALIFIED)(text),
        "a label value: at most 63 letters, digits, -, _ and ., beginning and ending with a letter or digit",
    ),
]
MAX_KEYS: Final = 500
"""Keys of one map; checked before each of them is, so that a hostile map is refused at once."""


def _few_keys(value: object) -> object:
    if isinstance(value, Sized) and not isinstance(value, str) and len(value) > MAX_KEYS:
        raise refusal(f"an object of at most {MAX_KEYS} keys")
    return value


Labels = Annotated[
    dict[LabelKey, LabelValue],
    BeforeValidator(_few_keys),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": "string", "maxLength": 63}}),
]
Annotations = Annotated[
    dict[LabelKey, str],
    BeforeValidator(_few_keys),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": "string"}}),
]
Quantities = Annotated[dict[LabelKey, Quantity], BeforeValidator(_few_keys)]
"""Quantities by resource name."""
EnvName = Annotated[
    str,
    _require(_matches(r"[-._a-zA-Z][-._a-zA-Z0-9]*"), "a variable name: letters, digits, -, _ and ., no digit first"),
    WithJsonSchema({"type": "string", "minLength": 1}),
]

# --- images and versions ---------------------------------------------------------------------------------------

_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_HOST = r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?"
_PATH = r"[a-z0-9]+([._-]+[a-z0-9]+)*"

ImageReference = Annotated[
    str,
    _require(
        lambda text: (
            len(text) <= 512 and _matches(rf"({_HOST}/)?{_PATH}(/{_PATH})*(:{_TAG})?(@sha256:[0-9a-f]{{64}})?")(text)
        ),
        "an image reference such as registry.example.com/tapio/gateway:v0.1.0, or one with a @sha256: digest",
    ),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 512}),
]
ImageRegistry = Annotated[
    str,
    _require(
        lambda text: len(text) <= 255 and _matches(rf"{_HOST}(/{_PATH})*")(text),
        "a registry such as registry.example.com or registry.example.com:5000/mirror, without scheme and trailing /",
    ),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 255}),
]
Version = Annotated[
    str,
    _require(_matches(_TAG), "a version that can be an image tag, such as v0.1.0"),
    WithJsonSchema({"type": "string", "pattern": f"^{_TAG}$", "maxLength": 128}),
]

# --- addresses -------------------------------------------------------------------------------------------------


def _is_url(schemes: tuple[str, ...]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        if any(char.isspace() or ord(char) < 32 for char in text):
            return False
        try:
            parts = urlsplit(text)
            has_port = parts.port is None or parts.port > 0
            return parts.scheme in schemes and bool(parts.hostname) and has_port and "@" not in parts.netloc
        except ValueError:
            return False

    return check


def _is_nats_url(text: str) -> bool:
    urls = text.split(",")
    return all(_is_url(("nats", "tls", "ws", "wss"))(url) and "@" not in url for url in urls)


_URL_SCHEMA: Final = WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 2048})

HttpsUrl = Annotated[
    str,
    _require(_is_url(("https",)), "an https:// address such as https://login.example.com, without credentials"),
    _URL_SCHEMA,
]
HttpUrl = Annotated[
    str,
    _require(
        _is_url(("http", "https")),
        "an http:// or https:// address such as http://otel.tracing.svc:4318, without credentials",
    ),
    _URL_SCHEMA,
]
NatsUrl = Annotated[
    str,
    _require(
        _is_nats_url,
        "a nats:// or tls:// address such as nats://nats.example.com:4222, or several with commas between, "
        "without credentials",
    ),
    _URL_SCHEMA,
]
EtcdEndpoint = Annotated[
    str,
    _require(_is_url(("https", "http")), "an etcd endpoint such as https://10.0.0.1:2379, without credentials"),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 512}),
]
IPV4_PATTERN: Final = r"^([0-9]{1,3}[.]){3}[0-9]{1,3}$"
"""What looks like an IP address, among what can be a host name. Also stands in a CEL rule."""

HostName = Annotated[
    str,
    _require(
        lambda text: len(text) <= 253 and _matches(rf"(\*\.)?{_SUBDOMAIN}")(text) and not _matches(IPV4_PATTERN)(text),
        "a host name such as tapio.example.com, and no IP address",
    ),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 253}),
]


PathPrefix = Annotated[
    str,
    _require(
        lambda text: text.startswith("/") and len(text) <= 1024 and not any(char.isspace() for char in text),
        "a path prefix such as /api/v1",
    ),
    WithJsonSchema({"type": "string", "pattern": "^/", "maxLength": 1024}),
]
PluginName = Annotated[
    str,
    _require(_matches(r"[a-z0-9][a-z0-9-]{0,62}"), "the name of a Neo4j plugin, such as apoc"),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 63}),
]


def _probe(value: object) -> object:
    if not isinstance(value, dict) and value != "none":
        raise refusal('a Kubernetes probe (an object), or "none" for no probe at all')
    return cast("object", value)


ProbeChoice = Annotated[
    dict[str, PydanticJsonValue] | Literal["none"],
    GetPydanticSchema(
        lambda _source, _handler: core_schema.no_info_plain_validator_function(
            _probe, serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value)
        )
    ),
    WithJsonSchema({"x-kubernetes-preserve-unknown-fields": True}),
]
"""A Kubernetes probe instead of the component's own, or the word none."""

Text = Annotated[
    str,
    _require(lambda text: text != "", "a text of at least one character"),
    WithJsonSchema({"type": "string", "minLength": 1}),
]
Count = Annotated[int, Field(ge=0)]


def word_schema(words: type[StrEnum]) -> JsonDict:
    """Schema of a word of reasons.py, spelled out in place."""
    return {"type": "string", "enum": [word.value for word in words]}
