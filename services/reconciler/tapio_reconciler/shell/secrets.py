"""Making the Secrets that the operator makes itself: passwords, copies for another namespace, certificates.

The values live here for a moment and in Kubernetes; they are never logged, recorded or answered. A value that exists
is kept whatever it is: two operators at once, or a retained Secret of a former cluster, must not lock anybody out.
Every change of an existing Secret is on condition of the version that was read.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import cast

from tapio_reconciler.core.changes import may_take_over
from tapio_reconciler.core.components import SOMEBODY_ELSES
from tapio_reconciler.core.model import CertificateSecret, CopiedSecret, GeneratedSecret, MadeSecret
from tapio_shared.api.labels import COPY, key_of_object
from tapio_shared.api.names import FIELD_MANAGER
from tapio_shared.codec import decode_as, encode
from tapio_shared.errors import ApiRetryable, ApiTerminal
from tapio_shared.facts import ApplyAction
from tapio_shared.json import JsonObject, object_at, str_at, strings_at
from tapio_shared.kubernetes import MERGE_PATCH, check, object_path
from tapio_shared.ports import Kube, KubeResponse, Random

Values = Mapping[str, bytes]


async def make_secret(kube: Kube, random: Random, action: ApplyAction, secret: MadeSecret, now: int) -> JsonObject:
    """Make the Secret of `action`, or give an existing one what it lacks; answers it as it is then. `ApiError`."""
    if isinstance(secret, GeneratedSecret):
        response = await _create(kube, action, secret.manifest, _passwords(random, secret, {}), {})
        if response.status != 409:
            return _document(response)
        live = await _read(kube, action.namespace, action.name)
        if not secret.separate or not set(secret.keys) - set(_values(live)):
            return live
        return await _change(kube, action, live, _passwords(random, secret, _values(live)), {})
    if isinstance(secret, CopiedSecret):
        values = await _copied(kube, secret)
        annotations = {COPY: "true"}
    else:
        values, annotations = _certificates(secret, {}, now)
    response = await _create(kube, action, secret.manifest, values, annotations)
    if response.status != 409:
        return _document(response)
    live = await _read(kube, action.namespace, action.name)
    labels = strings_at(secret.manifest, "metadata", "labels")
    namespace, cluster = key_of_object(labels) or ("", "")
    if not may_take_over(live, secret.manifest, cluster=cluster, namespace=namespace):
        raise ApiTerminal(409, SOMEBODY_ELSES, f"Secret {action.namespace}/{action.name} exists and is not ours")
    if isinstance(secret, CertificateSecret):
        values, annotations = _certificates(secret, _values(live), now)
    return await _change(kube, action, live, values, annotations)


def _passwords(random: Random, secret: GeneratedSecret, held: Values) -> dict[str, bytes]:
    """What is made up: for each key that is not held, the same password in all unless they are separate."""
    password = random.token(secret.length)
    made: dict[str, bytes] = {}
    for key, text in sorted(secret.templates.items()):
        if key not in held:
            made[key] = text.replace("{password}", password).encode()
            password = random.token(secret.length) if secret.separate else password
    return made


async def _copied(kube: Kube, secret: CopiedSecret) -> dict[str, bytes]:
    namespace, _ = key_of_object(strings_at(secret.manifest, "metadata", "labels")) or ("", "")
    sources = {name: _values(await _read(kube, namespace, name)) for name, _ in sorted(set(secret.values.values()))}
    values: dict[str, bytes] = {}
    for key, (name, source_key) in secret.values.items():
        if source_key not in sources[name]:
            raise ApiRetryable(404, "NotFound", f"Secret {namespace}/{name} has no key {source_key} yet")
        values[key] = sources[name][source_key]
    return values


def _certificates(secret: CertificateSecret, held: Values, now: int) -> tuple[dict[str, bytes], dict[str, str]]:
    # Imported here: cryptography takes 8 MB, which a worker need not carry whose clusters' servers don't speak TLS.
    from tapio_reconciler.shell.certificates import certificates  # noqa: PLC0415

    return certificates(secret, held, now)


async def _create(
    kube: Kube, action: ApplyAction, manifest: JsonObject, values: Values, annotations: Mapping[str, str]
) -> KubeResponse:
    body = {**manifest, "data": _encoded(values)}
    if annotations:
        metadata = object_at(manifest, "metadata")
        body["metadata"] = {**metadata, "annotations": {**strings_at(metadata, "annotations"), **annotations}}
    return await kube.request(
        "POST",
        object_path(action.group, action.version, action.plural, action.namespace),
        query={"fieldManager": FIELD_MANAGER},
        body=encode(body),
    )


async def _change(
    kube: Kube, action: ApplyAction, live: JsonObject, values: Values, annotations: Mapping[str, str]
) -> JsonObject:
    """Set keys of the very Secret that was read; others of it stay. A newer one is refused and planned again."""
    version = str_at(live, "metadata", "resourceVersion")
    metadata: JsonObject = {"resourceVersion": version, "annotations": dict(annotations)}
    response = await kube.request(
        "PATCH",
        object_path("", "v1", "secrets", action.namespace, action.name),
        query={"fieldManager": FIELD_MANAGER},
        body=encode({"metadata": metadata, "data": _encoded(values)}),
        content_type=MERGE_PATCH,
    )
    return _document(response)


async def _read(kube: Kube, namespace: str, name: str) -> JsonObject:
    return _document(await kube.request("GET", object_path("", "v1", "secrets", namespace, name)))


def _encoded(values: Values) -> JsonObject:
    return {key: base64.b64encode(value).decode() for key, value in sorted(values.items())}


def _values(secret: JsonObject) -> dict[str, bytes]:
    return {key: base64.b64decode(text) for key, text in strings_at(secret, "data").items()}


def _document(response: KubeResponse) -> JsonObject:
    return cast("JsonObject", decode_as(dict, check(response)))
