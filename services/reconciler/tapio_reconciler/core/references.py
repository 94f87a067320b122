"""Secrets that a workload's pods can't start without, and that are told not to exist or to lack a key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tapio_reconciler.core.model import Component
from tapio_reconciler.core.state import Seen
from tapio_shared.json import JsonObject, at, object_at, objects_at, str_at
from tapio_shared.keys import ObjectRef


def missing_reference(component: Component, seen: Mapping[ObjectRef, Seen], generated: frozenset[ObjectRef]) -> str:
    """What a person must supply before the pods of `component` can start, as a sentence; empty when nothing is known
    to be missing. A Secret nobody told of is unknown, not missing; `generated` ones are the operator's own to make."""
    for manifest in component.objects:
        template = object_at(manifest, "spec", "template")
        namespace = str_at(manifest, "metadata", "namespace")
        for name, key in sorted(set(_needed(object_at(template, "spec")))):
            ref = ObjectRef("", "Secret", namespace, name)
            one = seen.get(ref)
            if one is None or ref in generated:
                continue
            if one.document is None:
                return (
                    f"Secret {namespace}/{name}, which {component.name} needs, does not exist. Create it, or name "
                    "another one in the spec; the pods start by themselves then."
                )
            if key and at(one.document, "digests", key) is None:
                held = ", ".join(sorted(object_at(one.document, "digests"))) or "none"
                return (
                    f"Secret {namespace}/{name}, which {component.name} needs, has no key {key} (it has: {held}). Add "
                    "it, or name another Secret in the spec."
                )
    return ""


def _needed(pod: JsonObject) -> Iterator[tuple[str, str]]:
    """(Secret, key) of everything that is not optional; no key where the whole Secret is mounted."""
    for volume in objects_at(pod, "volumes"):
        name = str_at(volume, "secret", "secretName")
        if name and at(volume, "secret", "optional") is not True:
            yield from ((name, str_at(item, "key")) for item in objects_at(volume, "secret", "items"))
            yield name, ""
    for container in (*objects_at(pod, "initContainers"), *objects_at(pod, "containers")):
        for variable in objects_at(container, "env"):
            source = object_at(variable, "valueFrom", "secretKeyRef")
            if source and source.get("optional") is not True:
                yield str_at(source, "name"), str_at(source, "key")
