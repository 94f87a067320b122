"""Targets: other Kubernetes clusters that the operator serves, each known by a Secret with its kubeconfig.

The Secret stands in the operator's own namespace under the label tapio.io/target, its name is the target's. Whoever
writes it must not thereby run a program, read a file of ours or have us talk to an unproven server: what would do so
is refused by name, wherever in the kubeconfig it stands and whether or not the current context uses it.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import urlsplit

import yaml

from tapio_shared.api.labels import TARGET
from tapio_shared.codec import decode_as
from tapio_shared.errors import TargetMissing, UnusableTarget
from tapio_shared.json import JsonObject, object_at, objects_at, str_at, strings_at
from tapio_shared.kubernetes import check, object_path
from tapio_shared.ports import Kube

KUBECONFIG_KEY: Final = "kubeconfig"
MAX_NAME: Final = 40
"""Names of Leases and subjects are made of it."""

_NAME = re.compile(rf"[a-z0-9]([a-z0-9-]{{0,{MAX_NAME - 2}}}[a-z0-9])?")
_OF_A_USER: Final = {
    "exec": "would run a program in the operator's pod; put a token or client-certificate-data there",
    "auth-provider": "needs a program or a browser; put a token or client-certificate-data there",
    "client-certificate": "names a file, which the operator's pod does not have; use client-certificate-data",
    "client-key": "names a file, which the operator's pod does not have; use client-key-data",
    "tokenFile": "names a file, which the operator's pod does not have; use token",
    "username": "is basic authentication, which Kubernetes no longer has; use token",
    "password": "is basic authentication, which Kubernetes no longer has; use token",
    "as": "is not supported; give the identity that is meant credentials of its own",
    "as-uid": "is not supported; give the identity that is meant credentials of its own",
    "as-groups": "is not supported; give the identity that is meant credentials of its own",
    "as-user-extra": "is not supported; give the identity that is meant credentials of its own",
}
_OF_A_CLUSTER: Final = {
    "certificate-authority": "names a file, which the operator's pod does not have; use certificate-authority-data",
    "insecure-skip-tls-verify": "lets anybody answer for the API server; use certificate-authority-data",
}


@dataclass(frozen=True, slots=True)
class Target:
    """A kubeconfig that may be used. Never logged: it holds credentials."""

    name: str
    server: str
    kubeconfig: JsonObject

    def __repr__(self) -> str:
        return f"Target(name={self.name!r}, server={self.server!r})"


def target_of(secret: JsonObject) -> Target:
    """The target that a Secret tells of. `UnusableTarget` names everything that is wrong with it."""
    name, namespace = str_at(secret, "metadata", "name"), str_at(secret, "metadata", "namespace")
    problems = [] if _NAME.fullmatch(name) else [f"its name must be a DNS label of at most {MAX_NAME} characters"]
    document, found = _document(secret)
    problems += found
    server = ""
    if document is not None:
        server, found = _current(document)
        problems += _refused(document, "users", "user", _OF_A_USER)
        problems += _refused(document, "clusters", "cluster", _OF_A_CLUSTER)
        problems += found
    if problems or document is None:
        raise UnusableTarget(
            f"Secret {namespace}/{name} is no usable target: {'; '.join(problems)}. "
            "Mend the Secret; it is read again at once."
        )
    return Target(name, server, document)


async def read_target(home: Kube, namespace: str, name: str) -> Target:
    """The target `name` by its Secret of now. `UnusableTarget` when it can't be used, `TargetMissing` without one."""
    response = await home.request("GET", object_path("", "v1", "secrets", namespace, name))
    secret = {} if response.status == 404 else cast("JsonObject", decode_as(dict, check(response)))
    if strings_at(secret, "metadata", "labels").get(TARGET) != "true":
        raise TargetMissing(
            f"Target {name} has no Secret {namespace}/{name} with its kubeconfig and the label {TARGET}=true. "
            "Nothing is changed there; make the Secret to go on."
        )
    return target_of(secret)


def _document(secret: JsonObject) -> tuple[JsonObject | None, list[str]]:
    text = str_at(secret, "data", KUBECONFIG_KEY)
    if not text:
        return None, [f"it has no key {KUBECONFIG_KEY}"]
    try:
        document = yaml.load(base64.b64decode(text, validate=True), Loader=yaml.CSafeLoader)
    except (binascii.Error, yaml.YAMLError, ValueError, RecursionError):
        # The parser's own words would quote the text, which holds credentials.
        return None, [f"{KUBECONFIG_KEY} is not YAML"]
    if not isinstance(document, dict):
        return None, [f"{KUBECONFIG_KEY} is not a mapping, as a kubeconfig is"]
    return cast("JsonObject", document), []


def _refused(document: JsonObject, listed: str, what: str, fields: dict[str, str]) -> list[str]:
    return [
        f"{what} {str_at(one, 'name') or '(without a name)'} has {field}, which {why}"
        for one in objects_at(document, listed)
        for field, why in fields.items()
        if object_at(one, what).get(field) not in (None, False, "", [], {})
    ]


def _current(document: JsonObject) -> tuple[str, list[str]]:
    """The server of the current context, and what is wrong with how it is named."""
    current = str_at(document, "current-context")
    if not current:
        return "", ["current-context is missing"]
    context = _named(document, "contexts", "context", current)
    if context is None:
        return "", [f"current-context is {current}, and there is no such context"]
    problems: list[str] = []
    problems += _credentials(document, current, str_at(context, "user"))
    name = str_at(context, "cluster")
    cluster = _named(document, "clusters", "cluster", name)
    if cluster is None:
        return "", [*problems, f"context {current} names cluster {name or '(none)'}, and there is no such cluster"]
    server = str_at(cluster, "server").rstrip("/")
    try:
        address = urlsplit(server)
    except ValueError:
        return "", [*problems, f"server of cluster {name} is not a URL"]
    if address.username or address.password or address.query or address.fragment:
        return "", [*problems, f"server of cluster {name} holds more than an address"]
    if address.scheme != "https" or not address.hostname:
        found = server or "missing"
        problems.append(f"server of cluster {name} is {found}; it must begin with https:// and name a host")
    return server, problems


def _credentials(document: JsonObject, current: str, name: str) -> list[str]:
    user = _named(document, "users", "user", name)
    if user is None:
        return [f"context {current} names user {name or '(none)'}, and there is no such user"]
    if str_at(user, "token") or (str_at(user, "client-certificate-data") and str_at(user, "client-key-data")):
        return []
    return [f"user {name} has neither token nor client-certificate-data with client-key-data"]


def _named(document: JsonObject, listed: str, what: str, name: str) -> JsonObject | None:
    for one in objects_at(document, listed):
        if str_at(one, "name") == name:
            return object_at(one, what)
    return None
