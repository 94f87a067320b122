"""Secrets that a workload's pods can't start without, and that are told not to exist or to lack a key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tapio_reconciler.core.model import GeneratedSecret, MadeSecret, WantedObject
from tapio_reconciler.core.state import Seen
from tapio_shared.api.labels import COMPONENT
from tapio_shared.json import JsonObject, at, object_at, objects_at, str_at, strings_at
from tapio_shared.keys import ObjectRef


def missing_reference(
    component: str, objects: Sequence[WantedObject], seen: Mapping[ObjectRef, Seen], generated: frozenset[ObjectRef]
) -> str:
    """What a person must supply before the pods of `component` can start, as a sentence; empty when nothing is known
    to be missing. A Secret nobody told of is unknown, not missing; `generated` ones are the operator's own to make."""
    for wanted in objects:
        namespace = wanted.ref.namespace
        for name, key in wanted.needs:
            ref = ObjectRef("", "Secret", namespace, name)
            one = seen.get(ref)
            if one is None or ref in generated:
                continue
            if one.document is None:
                return (
                    f"Secret {namespace}/{name}, which {component} needs, does not exist. Create it, or name "
                    "another one in the spec; the pods start by themselves then."
                )
            if key and at(one.document, "digests", key) is None:
                held = ", ".join(sorted(object_at(one.document, "digests"))) or "none"
                return (
                    f"Secret {namespace}/{name}, which {component} needs, has no key {key} (it has: {held}). Add "
                    "it, or name another Secret in the spec."
                )
    return ""


def lost_credentials(secret: MadeSecret, ref: ObjectRef, seen: Mapping[ObjectRef, Seen]) -> str:
    """Why no new values may be made up for a Secret that does not exist, as a sentence: a volume holds data that only
    the former ones open. Empty when there is no such volume."""
    known = seen.get(ref)
    if not isinstance(secret, GeneratedSecret) or not secret.opens or (known is not None and known.document):
        return ""
    for claim_ref, claim in seen.items():
        if claim_ref.kind != "PersistentVolumeClaim" or claim_ref.namespace != ref.namespace:
            continue
        of_component = strings_at(claim.document, "metadata", "labels").get(COMPONENT) == secret.opens
        if of_component and str_at(claim.document, "status", "phase") == "Bound":
            user, _, _ = secret.templates["NEO4J_AUTH"].partition("/")
            return (
                f"Secret {ref.namespace}/{ref.name} does not exist any more, and the database on PersistentVolumeClaim "
                f"{claim_ref.name} opens with the password it held alone, so no new one is made up. Restore it "
                f"(kubectl -n {ref.namespace} create secret generic {ref.name} --from-literal=username={user} "
                f"--from-literal=password=PASSWORD --from-literal=NEO4J_AUTH={user}/PASSWORD; it is noticed within ten "
                "minutes), or delete the claims of "
                f"{secret.opens} to begin with an empty database."
            )
    return ""


def needed_secrets(manifest: JsonObject) -> tuple[tuple[str, str], ...]:
    """What the pods of a workload can't start without, as `WantedObject.needs` has it."""
    pod = object_at(manifest, "spec", "template", "spec")
    return tuple(sorted(set(_needed(pod)))) if pod else ()


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
