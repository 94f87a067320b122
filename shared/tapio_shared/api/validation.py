"""All that is wrong with a resource, at once: the one judge for the webhook, the planner and `tapioctl plan`.

Total: any JSON is answered by problems, never by an exception. Refuses nothing for a resource that is being deleted,
and nothing for an update that leaves the spec as it was: a finalizer must come off, and an annotation go on, however
wrong the spec is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Final, TypeAlias

from tapio_shared.api.changes import change_problems
from tapio_shared.api.collectors import COLLECTOR_TYPES
from tapio_shared.api.fields import field_problems
from tapio_shared.api.names import CLUSTER_KIND, COLLECTOR_KIND, INTELLIGENCE_KIND, collector_suffix
from tapio_shared.api.normalise import normalise_spec
from tapio_shared.api.problems import MAX_PROBLEMS, Problem, one_answer, problem
from tapio_shared.api.rules import Setting, cluster_rules, collector_rules, intelligence_rules
from tapio_shared.api.specs import SPEC_MODELS, spec_schema
from tapio_shared.api.trust import Trust
from tapio_shared.json import JsonObject, JsonValue, at, is_deeper, str_at

__all__ = [
    "Problem",
    "Trust",
    "one_answer",
    "validate",
    "validate_cluster",
    "validate_collector",
    "validate_intelligence",
]

MAX_NAME: Final = 63
"""Names stand in labels, whose values are at most this long."""

MAX_DEPTH: Final = 100
"""Levels of nesting in a spec. Opaque fields may nest at will, and all that reads a document recurses."""

SpecRules: TypeAlias = Callable[[JsonObject, Setting], Iterator[Problem]]

_RULES: Final[dict[str, SpecRules]] = {
    CLUSTER_KIND: cluster_rules,
    COLLECTOR_KIND: collector_rules,
    INTELLIGENCE_KIND: intelligence_rules,
}


def validate_cluster(document: JsonValue, *, trust: Trust, old: JsonValue = None) -> tuple[Problem, ...]:
    """All that is wrong with a TapioCluster; with `old`, also what the update must not change."""
    return validate(CLUSTER_KIND, document, trust=trust, old=old)


def validate_collector(document: JsonValue, *, trust: Trust, old: JsonValue = None) -> tuple[Problem, ...]:
    """All that is wrong with a TapioCollector; with `old`, also what the update must not change."""
    return validate(COLLECTOR_KIND, document, trust=trust, old=old)


def validate_intelligence(document: JsonValue, *, trust: Trust, old: JsonValue = None) -> tuple[Problem, ...]:
    """All that is wrong with a TapioIntelligence; with `old`, also what the update must not change."""
    return validate(INTELLIGENCE_KIND, document, trust=trust, old=old)


def validate(kind: str, document: JsonValue, *, trust: Trust, old: JsonValue = None) -> tuple[Problem, ...]:
    """All that is wrong with `document`, a resource of `kind`, normalised or not. Raises KeyError for other kinds."""
    if not isinstance(document, dict):
        return (problem((kind,), document, "an object"),)
    if at(document, "metadata", "deletionTimestamp") is not None:
        return ()
    given, former = document.get("spec"), at(old, "spec")
    former_too_deep = is_deeper(former, MAX_DEPTH)
    if is_deeper(given, MAX_DEPTH):
        return () if former_too_deep else (_TOO_DEEP,)
    spec, before = normalise_spec(kind, given), None if former_too_deep else normalise_spec(kind, former)
    if isinstance(old, dict) and spec == before:
        return ()
    found = chain(_metadata(kind, document), _spec(kind, document, spec, before, trust))
    return _without_repeats(islice(found, MAX_PROBLEMS))


_TOO_DEEP: Final = Problem(
    "spec",
    None,
    f"spec is nested more than {MAX_DEPTH} levels deep; it must be nested at most {MAX_DEPTH} levels deep.",
)


def _metadata(kind: str, document: JsonObject) -> Iterator[Problem]:
    name, collector = at(document, "metadata", "name"), str_at(document, "spec", "type")
    if not isinstance(name, str):
        return
    if kind == COLLECTOR_KIND and collector in COLLECTOR_TYPES:
        yield from _container_name(name, collector_suffix(collector, ""))
    elif len(name) > MAX_NAME:
        yield problem(("metadata", "name"), name, f"at most {MAX_NAME} characters long, to fit into labels")


def _container_name(name: str, prefix: str) -> Iterator[Problem]:
    """A TapioCollector's name, which with `prefix` is that of a container: a DNS label.

    The CRDs don't say so by CEL: they would refuse every change of one that is stored, even that of its finalizers.
    """
    path, most, instead = ("metadata", "name"), MAX_NAME - len(prefix), "make it anew by another name"
    if "." in name:
        yield problem(path, name, f"without dots, since its container is named {prefix}<name>; {instead}")
    if len(name) > most:
        allowed = f"at most {most} characters long, since its container is named {prefix}<name>"
        yield problem(path, name, f"{allowed}; {instead}")


def _spec(kind: str, document: JsonObject, spec: JsonValue, old: JsonValue, trust: Trust) -> Iterator[Problem]:
    if spec is None:
        yield problem(("spec",), None, "an object")
        return
    yield from field_problems(SPEC_MODELS[kind], spec_schema(kind), spec, ("spec",))
    if not isinstance(spec, dict):
        return
    yield from _RULES[kind](spec, Setting(str_at(document, "metadata", "namespace"), trust))
    if isinstance(old, dict):
        yield from change_problems(kind, spec, old)


def _without_repeats(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    return tuple({(entry.path, entry.message): entry for entry in problems}.values())
