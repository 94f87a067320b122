"""Proxy, certificate authorities, registries and digests: what the operator's configuration does to every component."""

from __future__ import annotations

import pytest

from tapio_shared.api.operator_config import OperatorConfig, operator_config_problems
from tapio_shared.json import JsonObject, at, object_at, objects_at, str_at, strings_at
from tests.support.planned_world import example
from tests.support.random_specs import cluster
from tests.support.rendered import context_of, objects_of, rendered_in
from tests.unit.objects.golden import EXAMPLES
from tests.unit.objects.test_pod_security_levels import templates

VENDORS = frozenset({"nats", "neo4j"})
DIGEST = f"sha256:{'ab' * 32}"


def pods(document: JsonObject, config: JsonObject) -> dict[str, JsonObject]:
    """Every pod template by the component that it is of."""
    objects = objects_of(rendered_in(context_of(document, config=OperatorConfig.from_document(config))))
    found = [template for _, template in templates(objects)]
    return {str_at(one, "metadata", "labels", "app.kubernetes.io/component"): one for one in found}


def variables(template: JsonObject) -> dict[str, str]:
    """The variables of a pod's first container that have plain values."""
    return {str_at(one, "name"): str_at(one, "value") for one in objects_at(template, "spec", "containers", 0, "env")}


@pytest.mark.parametrize("name", EXAMPLES)
def test_tapios_own_programs_use_the_proxy_for_everything_outside(name: str) -> None:
    config: JsonObject = {
        "network": {
            "clusterDomain": "corp.example",
            "proxy": {"url": "http://proxy.example:3128", "noProxy": ["10.0.0.0/8", "fd00::/8"]},
        }
    }
    direct = "localhost,127.0.0.1,::1,.svc,.corp.example,$(KUBERNETES_SERVICE_HOST),10.0.0.0/8,fd00::/8"
    for component, template in pods(example(name), config).items():
        found = {key: value for key, value in variables(template).items() if key.upper().endswith("_PROXY")}
        spellings = {
            "HTTPS_PROXY": "http://proxy.example:3128",
            "HTTP_PROXY": "http://proxy.example:3128",
            "NO_PROXY": direct,
        }
        both = spellings | {key.lower(): value for key, value in spellings.items()}
        assert found == ({} if component in VENDORS else both), component


def test_neo4j_downloads_its_plugins_through_the_proxy() -> None:
    config: JsonObject = {"network": {"proxy": {"url": "http://proxy.example:3128"}}}
    found = pods(cluster({"intelligence": {"neo4j": {"plugins": ["graph-data-science"]}}}), config)
    assert variables(found["neo4j"])["https_proxy"] == "http://proxy.example:3128"


def test_a_component_may_say_otherwise() -> None:
    config: JsonObject = {"network": {"proxy": {"url": "http://proxy.example:3128"}}}
    spec: JsonObject = {"gateway": {"env": [{"name": "HTTPS_PROXY", "value": ""}]}}
    assert variables(pods(cluster(spec), config)["gateway"])["HTTPS_PROXY"] == ""


@pytest.mark.parametrize("name", EXAMPLES)
def test_tapios_own_programs_trust_the_fleets_authorities_besides_their_images(name: str) -> None:
    config: JsonObject = {"network": {"caConfigMap": {"name": "corporate-ca", "key": "bundle.pem"}}}
    for component, template in pods(example(name), config).items():
        volumes = {str_at(one, "name"): one for one in objects_at(template, "spec", "volumes")}
        if component in VENDORS:
            assert "trusted-ca" not in volumes
            continue
        assert object_at(volumes["trusted-ca"], "configMap") == {
            "name": "corporate-ca",
            "defaultMode": 0o444,
            "items": [{"key": "bundle.pem", "path": "ca.crt"}],
        }
        container = objects_at(template, "spec", "containers")[0]
        assert variables(template)["SSL_CERT_DIR"].split(":")[-2:] == ["/etc/ssl/certs", "/etc/tapio-ca"]
        mounts = {str_at(one, "name"): str_at(one, "mountPath") for one in objects_at(container, "volumeMounts")}
        assert mounts["trusted-ca"] == "/etc/tapio-ca"


def test_without_configuration_nothing_of_it_is_there() -> None:
    for template in pods(example("production"), {}).values():
        assert not {key for key in variables(template) if key.upper().endswith("_PROXY")}
        assert "/etc/tapio-ca" not in variables(template).get("SSL_CERT_DIR", "")
        assert "trusted-ca" not in {str_at(one, "name") for one in objects_at(template, "spec", "volumes")}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_air_gapped_registry_serves_every_image(name: str) -> None:
    for component, template in pods(example(name), {"images": {"registry": "mirror.local:5000/all"}}).items():
        for container in [*objects_at(template, "spec", "initContainers"), *objects_at(template, "spec", "containers")]:
            assert str_at(container, "image").startswith("mirror.local:5000/all/"), component


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_registry_and_pull_secrets_of_a_spec_go_before_the_operators(name: str) -> None:
    document = example(name)
    object_at(document, "spec")["image"] = {
        "registry": "own.local",
        "pullSecrets": [{"name": "pull"}, {"name": "pull"}],
    }
    document["metadata"] = {"name": "a", "namespace": "tapio-system"}
    for template in pods(document, {"images": {"registry": "mirror.local"}}).values():
        assert at(template, "spec", "imagePullSecrets") == [{"name": "pull"}]
        for container in objects_at(template, "spec", "containers"):
            assert str_at(container, "image").startswith("own.local/")


@pytest.mark.parametrize(
    ("image", "label"),
    [
        pytest.param(f"example.org/gateway@{DIGEST}", "v0.1.0", id="a digest alone shows Tapio's version"),
        pytest.param(f"example.org/gateway:v7@{DIGEST}", "v7", id="a tag beside a digest"),
        pytest.param(f"example.org/gateway:{'x' * 62}.-y", "x" * 62, id="a tag that is too long for a label"),
    ],
)
def test_an_image_by_digest_has_a_version_label_that_is_valid(image: str, label: str) -> None:
    found = pods(cluster({"gateway": {"image": image}}), {"images": {"registry": "mirror.local"}})["gateway"]
    assert strings_at(found, "metadata", "labels")["app.kubernetes.io/version"] == label
    assert str_at(found, "spec", "containers", 0, "image") == image


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        pytest.param(
            "network: {proxy: {url: 'http://me:secret@proxy:3128'}}", "without credentials", id="a password in the URL"
        ),
        pytest.param("network: {proxy: {url: 'socks5://proxy:1080'}}", "http://", id="another kind of proxy"),
        pytest.param("network: {clusterDomain: '*.local'}", "a domain such as cluster.local", id="a wildcard"),
        pytest.param("network: {caConfigMap: {name: a, key: a/b}}", "key", id="a key that is none"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused(text: str, answer: str) -> None:
    problems = operator_config_problems(text)
    assert len(problems) == 1
    assert answer in problems[0].message
