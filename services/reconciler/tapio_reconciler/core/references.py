"""What people must supply and is told not to exist, or to lack a key: Secrets that a workload's pods can't start
without, and ConfigMaps of certificate authorities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tapio_reconciler.core.model import GeneratedSecret, MadeSecret, WantedObject
from tapio_reconciler.core.state import Sight
from tapio_shared.api.labels import COMPONENT
from tapio_shared.api.references import AUTHORITIES_GROUP, AUTHORITIES_KIND
from tapio_shared.json import JsonObject, at, object_at, objects_at, str_at, strings_at
from tapio_shared.keys import ObjectRef

_ROUTE = "BackendTLSPolicy"
"""What a Gateway checks the gateway's certificate by (objects/exposure.py)."""


def missing_reference(
    component: str, objects: Sequence[WantedObject], seen: Sight, generated: frozenset[ObjectRef]
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
        for name, key in wanted.trusts:
            found = _missing_authorities(component, wanted.ref, name, key, seen)
            if found:
                return found
    return ""


def _missing_authorities(component: str, user: ObjectRef, name: str, key: str, seen: Sight) -> str:
    """The same of one ConfigMap of certificate authorities."""
    one = seen.get(ObjectRef(AUTHORITIES_GROUP, AUTHORITIES_KIND, user.namespace, name))
    if one is None:
        return ""
    is_route = user.kind == _ROUTE
    field = "spec.gateway.tls.caConfigMapRef" if is_route else "network.caConfigMap of the operator's configuration"
    named = f"ConfigMap {user.namespace}/{name}, which {field} names for {component},"
    if one.document is None:
        then = "the Gateway trusts its certificate" if is_route else "the pods start by themselves"
        return (
            f"{named} does not exist. Create it (kubectl create configmap {name} -n {user.namespace} "
            f"--from-file={key}=FILE), or name another one; {then} then."
        )
    held = object_at(one.document, "digests")
    if not held.get(key):
        keys = ", ".join(sorted(other for other, value in held.items() if value)) or "none"
        return (
            f"{named} holds nothing under the key {key} (keys that hold something: {keys}). Put PEM certificates there."
        )
    return ""


def trusted_authorities(manifest: JsonObject) -> tuple[tuple[str, str], ...]:
    """Which certificate authorities an object trusts, as `WantedObject.trusts` has it."""
    if str_at(manifest, "kind") == _ROUTE:
        named = objects_at(manifest, "spec", "validation", "caCertificateRefs")
        return tuple(sorted((str_at(one, "name"), "ca.crt") for one in named))
    volumes = objects_at(manifest, "spec", "template", "spec", "volumes")
    if not volumes:
        return ()
    mounted = (
        (str_at(volume, "configMap", "name"), str_at(item, "key"))
        for volume in volumes
        if at(volume, "configMap", "optional") is not True
        for item in objects_at(volume, "configMap", "items")
    )
    return tuple(sorted(set(mounted)))


def lost_credentials(secret: MadeSecret, ref: ObjectRef, seen: Sight) -> str:
    """Why no new values may be made up for a Secret that does not exist, as a sentence: a volume holds data that only
    the former ones open. Empty when there is no such volume."""
    known = seen.get(ref)
    if not isinstance(secret, GeneratedSecret) or not secret.opens or (known is not None and known.document):
        return ""
    for claim in seen.of_kind("PersistentVolumeClaim"):
        if claim.ref.namespace != ref.namespace:
            continue
        of_component = strings_at(claim.document, "metadata", "labels").get(COMPONENT) == secret.opens
        if of_component and str_at(claim.document, "status", "phase") == "Bound":
            user, _, _ = secret.templates["NEO4J_AUTH"].partition("/")
            return (
                f"Secret {ref.namespace}/{ref.name} does not exist any more, and the database on PersistentVolumeClaim "
                f"{claim.ref.name} opens with the password it held alone, so no new one is made up. Restore it "
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
