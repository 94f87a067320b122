"""RBAC: whether a user may do something, from the Roles and bindings in the store.

Members of system:masters may do everything. Enforcement is a setting: unit tests and simulations run without.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tapio_shared.json import JsonObject, list_at, objects_at, str_at
from tapio_simulator.calls import User
from tapio_simulator.store import Store, Stored

_RBAC = "rbac.authorization.k8s.io"


@dataclass(frozen=True, slots=True)
class Attributes:
    """What somebody wants to do. Non-resource requests have a `path` and no resource."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def full_resource(self) -> str:
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


class Authorizer:
    """Evaluates RBAC rules."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def allowed(self, user: User, wanted: Attributes) -> bool:
        if "system:masters" in user.groups:
            return True
        return any(permits(rule, wanted) for rule in self.rules(user, wanted.namespace))

    def rules(self, user: User, namespace: str) -> Iterator[JsonObject]:
        """Every rule that binds `user`, cluster-wide or in `namespace`."""
        for binding in self._table("clusterrolebindings").values():
            if _binds(binding.document, user, ""):
                yield from self.role_rules(binding.document, "")
        if not namespace:
            return
        for key, binding in self._table("rolebindings").items():
            if key[0] == namespace and _binds(binding.document, user, namespace):
                yield from self.role_rules(binding.document, namespace)

    def _table(self, plural: str) -> dict[tuple[str, str], Stored]:
        return self._store.table(f"{plural}.{_RBAC}").objects

    def role_rules(self, binding: JsonObject, namespace: str) -> list[JsonObject]:
        """The rules of the role that `binding` refers to; none when it does not exist."""
        name = str_at(binding, "roleRef", "name")
        cluster = str_at(binding, "roleRef", "kind") == "ClusterRole"
        key = ("", name) if cluster else (namespace, name)
        role = self._table("clusterroles" if cluster else "roles").get(key)
        return [] if role is None else objects_at(role.document, "rules")


def _binds(binding: JsonObject, user: User, namespace: str) -> bool:
    for subject in objects_at(binding, "subjects"):
        name = str_at(subject, "name")
        match str_at(subject, "kind"):
            case "User" if name == user.name:
                return True
            case "Group" if name in user.groups:
                return True
            case "ServiceAccount":
                owner = str_at(subject, "namespace") or namespace
                if user.name == f"system:serviceaccount:{owner}:{name}":
                    return True
            case _:
                continue
    return False


def permits(rule: JsonObject, wanted: Attributes) -> bool:
    """Whether one rule allows `wanted`."""

    def has(field: str, value: str) -> bool:
        entries = list_at(rule, field)
        return value in entries or "*" in entries

    if not has("verbs", wanted.verb):
        return False
    if wanted.path:
        return any(
            entry == wanted.path or (str(entry).endswith("*") and wanted.path.startswith(str(entry)[:-1]))
            for entry in list_at(rule, "nonResourceURLs")
        )
    names = list_at(rule, "resourceNames")
    return (
        has("apiGroups", wanted.group)
        and (has("resources", wanted.full_resource) or f"*/{wanted.subresource}" in list_at(rule, "resources"))
        and (not names or wanted.name in names)
    )
