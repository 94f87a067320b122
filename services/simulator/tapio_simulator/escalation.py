"""Nobody grants what they don't hold: the API server's check of Roles and bindings (rbac/escalation_check.go).

Users with the verb `escalate` on roles, or `bind` on the role that is bound, may. Only where RBAC is enforced.
"""

from __future__ import annotations

from collections.abc import Iterator

from tapio_shared.json import JsonObject, list_at, objects_at, str_at
from tapio_simulator.authorization import Attributes, Authorizer, permits
from tapio_simulator.calls import User
from tapio_simulator.errors import StatusError, forbidden
from tapio_simulator.registry import Place

RBAC = "rbac.authorization.k8s.io"
_ROLES = ("Role", "ClusterRole")
_BINDINGS = ("RoleBinding", "ClusterRoleBinding")


class EscalationGuard:
    """Checks documents of the RBAC group before they are stored."""

    def __init__(self, authorizer: Authorizer, *, enforced: bool) -> None:
        self._authorizer, self._enforced = authorizer, enforced

    def check(self, user: User, place: Place, document: JsonObject, live: JsonObject | None) -> None:
        """StatusError 403 when `document` grants `user` or others more than `user` has."""
        resource = place.resource
        if not self._enforced or resource.group != RBAC or "system:masters" in user.groups:
            return
        if resource.kind in _ROLES:
            if live is not None and live.get("rules") == document.get("rules"):
                return
            wanted = Attributes("escalate", RBAC, resource.plural, namespace=place.namespace, name=place.name)
            if not self._authorizer.allowed(user, wanted):
                self._refuse_missing(user, place, document, objects_at(document, "rules"))
        elif resource.kind in _BINDINGS:
            cluster = str_at(document, "roleRef", "kind") == "ClusterRole"
            plural, name = "clusterroles" if cluster else "roles", str_at(document, "roleRef", "name")
            namespace = "" if cluster else place.namespace
            if not self._authorizer.allowed(
                user, Attributes("bind", RBAC, plural, namespace=place.namespace, name=name)
            ):
                rules = self._authorizer.role_rules(document, namespace)
                self._refuse_missing(user, place, document, rules)

    def _refuse_missing(self, user: User, place: Place, document: JsonObject, rules: list[JsonObject]) -> None:
        held = list(self._authorizer.rules(user, place.namespace))
        missing = [_text(one) for rule in rules for one in _single(rule) if not any(permits(has, one) for has in held)]
        if missing:
            raise _forbidden(user, place, str_at(document, "metadata", "name"), missing)


def _single(rule: JsonObject) -> Iterator[Attributes]:
    """Every single permission that `rule` grants."""
    names = [str(name) for name in list_at(rule, "resourceNames")] or [""]
    for verb in list_at(rule, "verbs"):
        for path in list_at(rule, "nonResourceURLs"):
            yield Attributes(str(verb), path=str(path))
        for group in list_at(rule, "apiGroups"):
            for full in list_at(rule, "resources"):
                resource, _, subresource = str(full).partition("/")
                for name in names:
                    yield Attributes(str(verb), str(group), resource, subresource, name=name)


def _text(one: Attributes) -> str:
    """A missing permission as Kubernetes prints its rule."""
    if one.path:
        return f'{{NonResourceURLs:["{one.path}"], Verbs:["{one.verb}"]}}'
    names = f', ResourceNames:["{one.name}"]' if one.name else ""
    return f'{{APIGroups:["{one.group}"], Resources:["{one.full_resource}"]{names}, Verbs:["{one.verb}"]}}'


def _forbidden(user: User, place: Place, name: str, missing: list[str]) -> StatusError:
    groups = " ".join(f'"{group}"' for group in user.groups)
    why = f'user "{user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n'
    return forbidden(place.resource, name, why + "\n".join(missing))
