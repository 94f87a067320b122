"""Which images the simulated registries hold."""

from __future__ import annotations

import pytest

from tapio_shared.api.images import DEFAULT_IMAGES, default_image
from tapio_simulator.kubelet import KnownImages
from tapio_simulator.kubelet.images import full_reference, repository_of


@pytest.mark.parametrize("component", sorted(DEFAULT_IMAGES))
@pytest.mark.parametrize("registry", [None, "mirror.example:5000/kubernetes"])
def test_every_default_image_is_known(component: str, registry: str | None) -> None:
    image = default_image(component, tapio_version="v0.1.0", registry=registry)

    assert KnownImages().is_known(image)


@pytest.mark.parametrize(
    ("image", "known"),
    [
        pytest.param("nats:2.12", True, id="short name with a tag"),
        pytest.param("nats@sha256:" + "0" * 64, True, id="digest"),
        pytest.param("docker.io/library/neo4j:5.26-community", True, id="full name"),
        pytest.param("nats", False, id="no tag"),
        pytest.param("nats:does-not-exist", False, id="the tag that does not exist"),
        pytest.param("registry.example/unknown/thing:1", False, id="unknown repository"),
        pytest.param("localhost:5000/unknown", False, id="a port is no tag"),
    ],
)
def test_an_image_is_known_by_repository_and_tag(image: str, known: bool) -> None:
    assert KnownImages().is_known(image) is known


def test_patterns_replace_the_defaults() -> None:
    images = KnownImages(patterns=("registry.example/*",))

    assert images.is_known("registry.example/web:1")
    assert not images.is_known("nats:2.12")


@pytest.mark.parametrize(
    ("image", "repository", "reference"),
    [
        ("nats", "docker.io/library/nats", "docker.io/library/nats:latest"),
        ("nats:2.12", "docker.io/library/nats", "docker.io/library/nats:2.12"),
        ("a/b:1", "docker.io/a/b", "docker.io/a/b:1"),
        ("localhost:5000/a:1", "localhost:5000/a", "localhost:5000/a:1"),
        ("ghcr.io/a/b@sha256:ff", "ghcr.io/a/b", "ghcr.io/a/b@sha256:ff"),
        ("ghcr.io/a/b:1@sha256:ff", "ghcr.io/a/b", "ghcr.io/a/b@sha256:ff"),
    ],
)
def test_references_are_completed_as_a_runtime_does(image: str, repository: str, reference: str) -> None:
    assert (repository_of(image), full_reference(image)) == (repository, reference)
