"""The key that Secret values are digested with: made once, kept in a Secret of the operator's own namespace.

Without a key, the digest of a guessable value would tell it to whoever reads the log. The id says which key it was.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import cast

from tapio_shared.codec import decode_as, encode
from tapio_shared.errors import ApiTerminal
from tapio_shared.json import JsonObject, str_at
from tapio_shared.kubernetes import check, object_path
from tapio_shared.ports import Kube, Random

DIGEST_KEY_SECRET = "tapio-operator-digest-key"  # noqa: S105 - the name of a Secret
_LENGTH = 48
_ID_LENGTH = 8
_LEAST = 16


@dataclass(frozen=True, slots=True)
class DigestKey:
    """Key and id; never logged."""

    key: bytes
    id: str

    def __repr__(self) -> str:
        return f"DigestKey(id={self.id!r})"


async def load_digest_key(kube: Kube, namespace: str, random: Random) -> DigestKey:
    """Read the key; make it when there is none. Of two watchers that make one, the first wins and both read it."""
    path = object_path("", "v1", "secrets", namespace, DIGEST_KEY_SECRET)
    response = await kube.request("GET", path)
    if response.status == 404:
        body: JsonObject = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": DIGEST_KEY_SECRET, "namespace": namespace},
            "type": "Opaque",
            "stringData": {"key": random.token(_LENGTH), "id": random.identifier()[:_ID_LENGTH]},
        }
        created = await kube.request("POST", object_path("", "v1", "secrets", namespace), body=encode(body))
        if created.status != 409:
            check(created)
        response = await kube.request("GET", path)
    document = cast("JsonObject", decode_as(dict, check(response)))
    key, identifier = (_value(document, name) for name in ("key", "id"))
    if len(key) < _LEAST or not identifier:
        raise ApiTerminal(
            422,
            "Invalid",
            f"Secret {namespace}/{DIGEST_KEY_SECRET} holds no key of at least {_LEAST} bytes and no id. "
            "Delete it: it is made again, and every Secret is digested anew.",
        )
    return DigestKey(key[:64], identifier.decode("ascii", "replace"))


def _value(document: JsonObject, name: str) -> bytes:
    try:
        return base64.b64decode(str_at(document, "data", name), validate=True)
    except binascii.Error:
        return b""
