"""Which images a simulated registry holds. Never asks a real one."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from tapio_shared.api.images import DEFAULT_IMAGES, has_tag

UNKNOWN_TAG = "does-not-exist"
"""A tag that no repository has, for trying out what a wrong version does."""
_DEFAULT_REGISTRY, _DEFAULT_PROJECT = "docker.io", "library"


def repositories() -> tuple[str, ...]:
    """What the operator uses when nobody names an image, in any registry: mirrors keep the path."""
    paths = {image.repository.partition("/")[2] for image in DEFAULT_IMAGES.values()}
    return tuple(f"*/{path}" for path in sorted(paths))


def repository_of(image: str) -> str:
    """The repository of `image` with its registry: `nats:2` is in `docker.io/library/nats`."""
    name = image.partition("@")[0]
    if ":" in name.rpartition("/")[2]:
        name = name.rpartition(":")[0]
    first, slash, _ = name.partition("/")
    if not slash:
        return f"{_DEFAULT_REGISTRY}/{_DEFAULT_PROJECT}/{name}"
    named = "." in first or ":" in first or first == "localhost"
    return name if named else f"{_DEFAULT_REGISTRY}/{name}"


def full_reference(image: str) -> str:
    """`image` as a container runtime writes it: with registry and tag."""
    rest = image[len(image.partition("@")[0].rpartition("/")[0]) :]
    last = rest.rpartition("/")[2]
    name, at, digest = last.partition("@")
    if at:
        return f"{repository_of(image)}@{digest}"
    return f"{repository_of(image)}:{name.partition(':')[2] or 'latest'}"


@dataclass(frozen=True, slots=True)
class KnownImages:
    """An image is known when its repository matches one of `patterns` (shell wildcards) and it has a tag or digest."""

    patterns: tuple[str, ...] = (*repositories(), "*/tapio/*", "*/busybox", "*/pause", "*/natsio/*")

    def is_known(self, image: str) -> bool:
        if not has_tag(image) or image.endswith(f":{UNKNOWN_TAG}"):
            return False
        return matches_repository(image, self.patterns)


def matches_repository(image: str, patterns: tuple[str, ...]) -> bool:
    """Whether the image, its repository, or its repository without the registry matches a pattern."""
    repository = repository_of(image)
    forms = (image, repository, f"/{repository.partition('/')[2]}")
    return any(fnmatchcase(form, pattern) for pattern in patterns for form in forms)
