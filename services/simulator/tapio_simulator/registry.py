"""Which resources are served right now: the builtin list, plus what CustomResourceDefinitions add at run time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tapio_shared.json import JsonObject, JsonValue
from tapio_simulator.resources import BUILTIN, Resource
from tapio_simulator.schema import Schema, builtin

BUILTIN_GROUPS = (
    "",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
)


@dataclass(frozen=True, slots=True)
class Served:
    """A resource together with its compiled type. The last three are set for custom resources alone."""

    resource: Resource
    schema: Schema
    raw_schema: JsonObject = field(default_factory=dict[str, JsonValue])
    columns: tuple[JsonObject, ...] = ()
    definition_name: str = ""
    """Name of the CustomResourceDefinition."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a resource path names. `name` is empty for a collection, `namespace` for all namespaces."""

    served: Served
    namespace: str
    name: str
    subresource: str

    @property
    def resource(self) -> Resource:
        return self.served.resource


class Registry:
    """Served resources by (group, version, plural)."""

    def __init__(self) -> None:
        self._served: dict[tuple[str, str, str], Served] = {}
        for resource in BUILTIN:
            self.add(Served(resource, builtin(resource.schema)))
        self.revision = 0
        """Grows with every change; discovery and OpenAPI cache by it."""

    def add(self, served: Served) -> None:
        resource = served.resource
        self._served[resource.group, resource.version, resource.plural] = served
        self.revision = getattr(self, "revision", 0) + 1

    def remove_definition(self, definition_name: str) -> list[Served]:
        """Stop serving what a CustomResourceDefinition brought."""
        gone = [served for served in self._served.values() if served.definition_name == definition_name]
        for served in gone:
            resource = served.resource
            del self._served[resource.group, resource.version, resource.plural]
        self.revision += 1
        return gone

    def find(self, group: str, version: str, plural: str) -> Served | None:
        return self._served.get((group, version, plural))

    def builtin(self, plural: str) -> Served:
        """The builtin resource of that plural name."""
        return next(
            served
            for served in self._served.values()
            if served.resource.plural == plural and not served.resource.custom
        )

    def groups(self) -> list[str]:
        """API groups in discovery's order: Kubernetes' own first, custom ones by name."""
        custom = sorted({served.resource.group for served in self._served.values()} - set(BUILTIN_GROUPS))
        return [*BUILTIN_GROUPS, *custom]

    def versions(self, group: str) -> list[str]:
        found = {served.resource.version for served in self._served.values() if served.resource.group == group}
        return sorted(found) or ["v1"]

    def __iter__(self) -> Iterator[Served]:
        return iter(self._served.values())

    def locate(self, path: str) -> Place | None:
        """What `path` names, or None when it is no path of a served resource."""
        parts = path.strip("/").split("/")
        if len(parts) >= 3 and parts[0] == "api":
            group, version, rest = "", parts[1], parts[2:]
        elif len(parts) >= 4 and parts[0] == "apis":
            group, version, rest = parts[1], parts[2], parts[3:]
        else:
            return None
        namespace = ""
        if rest[0] == "namespaces" and len(rest) >= 3 and rest[2] not in ("status", "finalize"):
            namespace, rest = rest[1], rest[2:]
        served = self.find(group, version, rest[0])
        if served is None or len(rest) > 3 or (bool(namespace) and not served.resource.namespaced):
            return None
        name = rest[1] if len(rest) > 1 else ""
        if name and served.resource.namespaced and not namespace:
            return None
        return Place(served, namespace, name, rest[2] if len(rest) > 2 else "")
