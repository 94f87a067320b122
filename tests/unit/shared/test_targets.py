"""What a Secret must hold to be a target, and what it may not."""

from __future__ import annotations

import base64
from typing import cast

import pytest
import yaml

from tapio_shared.errors import UnusableTarget
from tapio_shared.json import JsonObject, JsonValue, object_at, objects_at
from tapio_shared.targets import MAX_NAME, target_of

TOKEN = "s3cret-t0ken"


def kubeconfig() -> JsonObject:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "there",
        "contexts": [{"name": "there", "context": {"cluster": "east", "user": "tapio"}}],
        "clusters": [{"name": "east", "cluster": {"server": "https://10.0.0.1:6443/"}}],
        "users": [{"name": "tapio", "user": {"token": TOKEN}}],
    }


def secret(document: JsonValue, name: str = "east") -> JsonObject:
    text = document if isinstance(document, str) else yaml.safe_dump(document)
    return {
        "metadata": {"name": name, "namespace": "tapio-system"},
        "data": {"kubeconfig": base64.b64encode(text.encode()).decode()},
    }


def problems(given: JsonObject) -> str:
    with pytest.raises(UnusableTarget) as caught:
        target_of(given)
    text = str(caught.value)
    assert TOKEN not in text
    assert text.endswith("Mend the Secret; it is read again at once.")
    return text


def test_a_token_and_an_address_suffice() -> None:
    found = target_of(secret(kubeconfig()))
    assert (found.name, found.server) == ("east", "https://10.0.0.1:6443")
    assert TOKEN not in repr(found)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("exec", {"command": "aws"}, id="a program"),
        pytest.param("auth-provider", {"name": "gcp"}, id="a provider"),
        pytest.param("client-certificate", "/etc/cert", id="a certificate's file"),
        pytest.param("client-key", "/etc/key", id="a key's file"),
        pytest.param("tokenFile", "/var/run/token", id="a token's file"),
        pytest.param("username", "admin", id="basic authentication"),
        pytest.param("as", "system:admin", id="somebody else's identity"),
    ],
)
@pytest.mark.parametrize("is_used", [pytest.param(True, id="used"), pytest.param(False, id="of another context")])
def test_what_a_user_may_not_have_is_named(field: str, value: JsonValue, *, is_used: bool) -> None:
    document = kubeconfig()
    if not is_used:
        cast("list[JsonValue]", document["users"]).append({"name": "other", "user": {}})
    object_at(objects_at(document, "users")[-1], "user")[field] = value
    assert f"user {'tapio' if is_used else 'other'} has {field}, which" in problems(secret(document))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        pytest.param("certificate-authority", "/ca.crt", "cluster east has certificate-authority, which", id="a file"),
        pytest.param("insecure-skip-tls-verify", True, "cluster east has insecure-skip-tls-verify, which", id="no TLS"),
        pytest.param("insecure-skip-tls-verify", "true", "has insecure-skip-tls-verify, which", id="no TLS as a text"),
        pytest.param("server", "http://10.0.0.1", "server of cluster east is http://10.0.0.1; it must", id="HTTP"),
        pytest.param("server", "", "server of cluster east is missing", id="no server"),
        pytest.param("server", "https://u:p@10.0.0.1", "holds more than an address", id="a password"),
        pytest.param("server", "https://[", "is not a URL", id="no URL"),
    ],
)
def test_what_a_cluster_may_not_have_is_named(field: str, value: JsonValue, message: str) -> None:
    document = kubeconfig()
    object_at(objects_at(document, "clusters")[0], "cluster")[field] = value
    assert message in problems(secret(document))


def test_tls_that_is_verified_may_say_so() -> None:
    document = kubeconfig()
    object_at(objects_at(document, "clusters")[0], "cluster")["insecure-skip-tls-verify"] = False
    assert target_of(secret(document)).name == "east"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param({"metadata": {"name": "east", "namespace": "x"}}, "it has no key kubeconfig", id="nothing"),
        pytest.param(secret("{"), "kubeconfig is not YAML", id="no YAML"),
        pytest.param(secret("[]"), "kubeconfig is not a mapping", id="a list"),
        pytest.param(secret({}), "current-context is missing", id="empty"),
        pytest.param(secret({"current-context": "a"}), "current-context is a, and there is no such context", id="none"),
        pytest.param(secret(kubeconfig(), "East.1"), "must be a DNS label", id="a name"),
        pytest.param(secret(kubeconfig(), "a" * (MAX_NAME + 1)), f"at most {MAX_NAME} characters", id="a long name"),
        pytest.param(
            secret({**kubeconfig(), "users": [{"name": "tapio", "user": {}}]}),
            "user tapio has neither token nor client-certificate-data",
            id="no credentials",
        ),
        pytest.param(secret({**kubeconfig(), "users": None}), "names user tapio, and there is no such", id="no user"),
        pytest.param(secret({**kubeconfig(), "clusters": 1}), "names cluster east, and there is no such", id="cluster"),
    ],
)
def test_what_is_missing_is_named(given: JsonObject, message: str) -> None:
    assert message in problems(given)


def test_everything_is_named_at_once() -> None:
    document = kubeconfig()
    object_at(objects_at(document, "users")[0], "user")["exec"] = {"command": "aws"}
    object_at(objects_at(document, "clusters")[0], "cluster").update({"insecure-skip-tls-verify": True, "server": "x"})
    text = problems(secret(document, "East"))
    assert all(one in text for one in ("its name must", "has exec", "insecure-skip-tls-verify", "must begin with"))
