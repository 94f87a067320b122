"""What is served, as clients discover it: legacy and aggregated discovery, /version, OpenAPI."""

from __future__ import annotations

from tapio_shared.json import JsonObject, JsonValue
from tapio_simulator.calls import Answer, Call, json_answer
from tapio_simulator.errors import path_not_found
from tapio_simulator.openapi import OpenApi
from tapio_simulator.registry import Registry
from tapio_simulator.resources import ALL_VERBS, Resource
from tapio_simulator.schema import document

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_VIRTUAL: dict[str, tuple[tuple[str, str], ...]] = {
    "authentication.k8s.io": (("selfsubjectreviews", "SelfSubjectReview"), ("tokenreviews", "TokenReview")),
    "authorization.k8s.io": (
        ("selfsubjectaccessreviews", "SelfSubjectAccessReview"),
        ("selfsubjectrulesreviews", "SelfSubjectRulesReview"),
        ("subjectaccessreviews", "SubjectAccessReview"),
    ),
}


class Discovery:
    """Answers GET of the paths that describe the API."""

    def __init__(self, registry: Registry, release: str = "") -> None:
        """`release`: what is said of it; empty for that of the schemas that are served."""
        self._registry, self._release = registry, release
        self._openapi = OpenApi(registry)

    def answer(self, call: Call) -> Answer | None:
        """The answer, or None when the path describes nothing. StatusError 404 for an unknown group."""
        parts = call.path.strip("/").split("/")
        aggregated = "apidiscovery.k8s.io" in call.accept and "v=v2" in call.accept.replace("v2beta1", "")
        match parts:
            case ["version"]:
                return json_answer(version(self._release))
            case ["api"]:
                return self._aggregated([""]) if aggregated else json_answer(self._core_versions())
            case ["apis"]:
                groups = [group for group in self._registry.groups() if group]
                return self._aggregated(groups) if aggregated else json_answer(self._group_list(groups))
            case ["api", "v1"]:
                return json_answer(self._resource_list("", "v1"))
            case ["apis", group]:
                self._check(group)
                return json_answer({"kind": "APIGroup", "apiVersion": "v1", **self._group(group)})
            case ["apis", group, wanted]:
                self._check(group, wanted)
                return json_answer(self._resource_list(group, wanted))
            case ["openapi", *rest]:
                return self._openapi.answer(rest, call)
            case _:
                return None

    def _check(self, group: str, wanted: str = "") -> None:
        if group not in self._registry.groups() or (wanted and wanted not in self._registry.versions(group)):
            raise path_not_found()

    @staticmethod
    def _core_versions() -> JsonObject:
        return {
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1"}],
        }

    def _group_list(self, groups: list[str]) -> JsonObject:
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [self._group(group) for group in groups]}

    def _group(self, group: str) -> JsonObject:
        versions: list[JsonValue] = [
            {"groupVersion": f"{group}/{name}", "version": name} for name in self._registry.versions(group)
        ]
        return {"name": group, "versions": versions, "preferredVersion": versions[0]}

    def _of(self, group: str, wanted: str) -> list[Resource]:
        found = [served.resource for served in self._registry]
        return sorted(
            (resource for resource in found if (resource.group, resource.version) == (group, wanted)),
            key=lambda resource: resource.plural,
        )

    # --- legacy ------------------------------------------------------------------------------------------------

    def _resource_list(self, group: str, wanted: str) -> JsonObject:
        entries: list[JsonValue] = []
        for resource in self._of(group, wanted):
            entry: JsonObject = {
                "name": resource.plural,
                "singularName": resource.singular,
                "namespaced": resource.namespaced,
                "kind": resource.kind,
                "verbs": list(ALL_VERBS),
                "storageVersionHash": "",
            }
            if resource.short_names:
                entry["shortNames"] = list(resource.short_names)
            if resource.categories:
                entry["categories"] = list(resource.categories)
            entries.append(entry)
            for name, kind, verbs in _subresources(resource):
                sub: JsonObject = {
                    "name": f"{resource.plural}/{name}",
                    "singularName": "",
                    "namespaced": resource.namespaced,
                    "kind": kind,
                    "verbs": list(verbs),
                }
                if kind == "Scale":
                    sub.update({"group": "autoscaling", "version": "v1"})
                if kind == "TokenRequest":
                    sub.update({"group": "authentication.k8s.io", "version": "v1"})
                entries.append(sub)
        for plural, kind in _VIRTUAL.get(group, ()):
            virtual: JsonObject = {"name": plural, "singularName": kind.lower(), "namespaced": False, "kind": kind}
            entries.append({**virtual, "verbs": ["create"]})
        name = f"{group}/{wanted}" if group else wanted
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": entries}

    # --- aggregated --------------------------------------------------------------------------------------------

    def _aggregated(self, groups: list[str]) -> Answer:
        items: list[JsonValue] = []
        for group in groups:
            versions: list[JsonValue] = [
                {"version": name, "resources": self._aggregated_resources(group, name), "freshness": "Current"}
                for name in self._registry.versions(group)
            ]
            metadata: JsonObject = {"creationTimestamp": None, **({"name": group} if group else {})}
            items.append({"metadata": metadata, "versions": versions})
        body: JsonObject = {
            "kind": "APIGroupDiscoveryList",
            "apiVersion": "apidiscovery.k8s.io/v2",
            "metadata": {},
            "items": items,
        }
        answer = json_answer(body)
        return Answer(answer.status, answer.body, answer.headers, AGGREGATED)

    def _aggregated_resources(self, group: str, wanted: str) -> list[JsonValue]:
        entries: list[JsonValue] = []
        for resource in self._of(group, wanted):
            entry: JsonObject = {
                "resource": resource.plural,
                "responseKind": {"group": group, "version": wanted, "kind": resource.kind},
                "scope": "Namespaced" if resource.namespaced else "Cluster",
                "singularResource": resource.singular,
                "verbs": list(ALL_VERBS),
            }
            if resource.short_names:
                entry["shortNames"] = list(resource.short_names)
            if resource.categories:
                entry["categories"] = list(resource.categories)
            subresources: list[JsonValue] = [
                {"subresource": name, "responseKind": _response_kind(resource, kind), "verbs": list(verbs)}
                for name, kind, verbs in _subresources(resource)
            ]
            if subresources:
                entry["subresources"] = subresources
            entries.append(entry)
        for plural, kind in _VIRTUAL.get(group, ()):
            virtual: JsonObject = {
                "resource": plural,
                "responseKind": {"group": group, "version": wanted, "kind": kind},
                "scope": "Cluster",
                "singularResource": kind.lower(),
                "verbs": ["create"],
            }
            entries.append(virtual)
        return entries


def _subresources(resource: Resource) -> list[tuple[str, str, tuple[str, ...]]]:
    found: list[tuple[str, str, tuple[str, ...]]] = []
    if resource.kind == "Pod":
        found.append(("binding", "Binding", ("create",)))
    if resource.scale:
        found.append(("scale", "Scale", ("get", "patch", "update")))
    if resource.status:
        found.append(("status", resource.kind, ("get", "patch", "update")))
    if resource.kind == "ServiceAccount":
        found.append(("token", "TokenRequest", ("create",)))
    return found


def _response_kind(resource: Resource, kind: str) -> JsonObject:
    if kind == "Scale":
        return {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    if kind == "TokenRequest":
        return {"group": "authentication.k8s.io", "version": "v1", "kind": kind}
    return {"group": resource.group, "version": resource.version, "kind": kind}


def version(release: str = "") -> JsonObject:
    """/version, of a Kubernetes release: that whose schemas are served, when it is empty."""
    git = release or str(document()["version"])
    major, minor, _ = git.removeprefix("v").split(".")
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"{git}+tapio-simulator",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "python",
        "platform": "linux/amd64",
    }
