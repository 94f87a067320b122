"""What a cluster consists of, built part by part, each again only where something that it followed from has changed.

Most changes of a spec concern one component. Which fields of a spec a part follows from is noted while it is built, so
that none can be left out; everything else in a context is compared as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from operator import is_
from types import MappingProxyType
from typing import Final, TypeVar, cast

import msgspec

from tapio_reconciler.core.objects.context import Context
from tapio_shared.api.base import ApiModel
from tapio_shared.api.cluster import TapioClusterSpec
from tapio_shared.codec import digest
from tapio_shared.json import JsonObject

T = TypeVar("T")
Path = tuple[str, ...]
_DEPTH: Final = 2
"""Fields are noted one by one of a spec and of its parts (`nats.external`), and below that as they are."""
_NO_SPEC: Final = TapioClusterSpec()
_bytes_of: Final = msgspec.msgpack.Encoder(enc_hook=vars).encode
"""Of what may hold any JSON, in which 1 == True and 1 == 1.0; of a model its fields."""


class _Noting:
    """Stands for a model, and notes every field that is read of it with what it held."""

    _model: ApiModel
    _path: Path
    _read: dict[Path, object]

    def __init__(self, model: ApiModel, path: Path, read: dict[Path, object]) -> None:
        self.__dict__.update(_model=model, _path=path, _read=read)

    def __getattr__(self, name: str) -> object:
        """Asked the first time alone: the answer becomes an attribute."""
        model, path, read = self._model, (*self._path, name), self._read
        value: object = getattr(model, name)
        if name not in type(model).model_fields:  # A method, which may look at all of it.
            read[self._path] = model
        elif isinstance(value, ApiModel) and len(path) < _DEPTH:
            read[(*path, "__class__")] = type(value)
            value = _Noting(value, path, read)
        else:
            read[path] = value
        self.__dict__[name] = value
        return value


@dataclass(frozen=True, slots=True)
class _Part:
    """What was built, given these very things, from these fields of the spec."""

    built: object
    given: tuple[object, ...]
    read: Mapping[Path, object]


@dataclass(frozen=True, slots=True)
class Built:
    """The parts of one cluster, by name, and what they all followed from. Never changed in place."""

    beside: tuple[object, ...]
    parts: Mapping[str, _Part]


class Building:
    """Builds the parts of one cluster. Those of a building before are taken where they would come to the same."""

    __slots__ = ("_beside", "_ctx", "_digests", "_former", "_known", "_parts")

    def __init__(
        self, ctx: Context, former: Built | None = None, known: Mapping[str, JsonObject] = MappingProxyType({})
    ) -> None:
        """`known` are objects by their digests: what comes to the same is one of them, and not held twice."""
        self._ctx, self._known = ctx, known
        self._digests: dict[int, tuple[JsonObject, str]] = {}
        self._beside = _beside_the_spec(ctx)
        is_as_before = former is not None and former.beside == self._beside
        self._former: Mapping[str, _Part] = former.parts if former is not None and is_as_before else {}
        self._parts: dict[str, _Part] = {}

    def built(self) -> Built:
        """What has been built, for the next to begin with."""
        return Built(self._beside, self._parts)

    def part(self, name: str, build: Callable[[Context], T], *given: object) -> T:
        """What `build` makes of the context and of what it is `given`: what it made before, while that is the same."""
        found = self._former.get(name)
        if found is None or not self._holds(found, given):
            read: dict[Path, object] = {}
            spec = cast("TapioClusterSpec", _Noting(self._ctx.effective.spec, (), read))
            found = _Part(build(replace(self._ctx, effective=replace(self._ctx.effective, spec=spec))), given, read)
        self._parts[name] = found
        return cast("T", found.built)

    def objects(self, built: Iterable[JsonObject]) -> tuple[JsonObject, ...]:
        """Objects that were built, or those that are known and the same as they are."""
        return tuple(map(self._same, built))

    def digest_of(self, built: JsonObject) -> str:
        """The digest of an object: worked out at most once of each that was built here."""
        known = self._digests.get(id(built))
        return digest(built) if known is None else known[1]

    def _same(self, built: JsonObject) -> JsonObject:
        found = digest(built)
        same = self._known.get(found, built)
        self._digests[id(same)] = same, found
        return same

    def steady(self, name: str, value: T) -> T:
        """The value of that name that there was before, if that is equal. Not for JSON, in which 1 == True."""
        found = self._former.get(name)
        if found is None or found.built != value:
            found = _Part(value, (), {})
        self._parts[name] = found
        return cast("T", found.built)

    def _holds(self, part: _Part, given: tuple[object, ...]) -> bool:
        if len(part.given) != len(given) or not all(map(is_, part.given, given)):
            return False
        spec = self._ctx.effective.spec
        return all(_is_same(_value_at(spec, path), value) for path, value in part.read.items())


def _beside_the_spec(ctx: Context) -> tuple[object, ...]:
    """Everything in a context but the spec."""
    effective = replace(ctx.effective, spec=_NO_SPEC)
    return (*(getattr(ctx, one.name) for one in fields(ctx) if one.name != "effective"), _bytes_of(effective))


def _value_at(model: object, path: Path) -> object:
    for name in path:
        model = getattr(model, name, None)
    return model


def _is_same(one: object, other: object) -> bool:
    if one is other:
        return True
    if type(one) is not type(other) or one != other:
        return False
    return isinstance(one, str | int) or _bytes_of(one) == _bytes_of(other)
