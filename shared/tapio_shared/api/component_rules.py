"""What must hold for every component, whichever it is, beyond the check of each single field.

Works on normalised JSON, not on models: a rule must still speak when another field of the same spec is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from tapio_shared.api.labels import RESERVED_KEYS, RESERVED_PREFIXES
from tapio_shared.api.problems import Path, Problem, key_problem, path_text, problem
from tapio_shared.api.quantity import quantity_or_none
from tapio_shared.api.shapes import DIRECTIVE, exactly_one, shape_problems
from tapio_shared.json import JsonObject, at, list_at, object_at, str_at

PROBE_HANDLERS = ("httpGet", "tcpSocket", "exec", "grpc")
_NEVER_TAKEN_AWAY: tuple[tuple[str, ...], ...] = (
    (),
    ("metadata",),
    ("metadata", "labels"),
    ("metadata", "annotations"),
    ("spec",),
)
"""Parts of a pod template that an overlay may add to, and never remove: the selectors are among the labels."""
_ADDED_TO: Mapping[str, str] = {
    "containers": "the component's own container is among them",
    "volumes": "the component's own containers mount them",
}
"""Lists of a pod's spec that an overlay never takes away whole."""
_RESOURCE = re.compile(r"cpu|memory|ephemeral-storage|hugepages-\S+|[^/\s]+/[^/\s]+", re.ASCII)
_RESOURCES_ALLOWED = "cpu, memory, ephemeral-storage, hugepages-SIZE, or have a prefix as nvidia.com/gpu has"
ENV_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef")


def component_problems(component: JsonObject, path: Path) -> Iterator[Problem]:
    """All that is wrong within one component; fields of a wrong type are left to fields.py."""
    yield from _environment(component, path)
    yield from _probes(component, path)
    yield from _pod_template(component, path)
    yield from _resource_names(object_at(component, "resources"), (*path, "resources"))
    yield from resource_problems(object_at(component, "resources"), (*path, "resources"))
    yield from placement_problems(component, path)
    yield from _autoscaling(component, path)
    for name in ("podLabels", "podAnnotations"):
        yield from reserved_keys(object_at(component, name), (*path, name))


def placement_problems(owner: JsonObject, path: Path) -> Iterator[Problem]:
    """What is wrong with `affinity` and `tolerations`, of a component or of spec.scheduling."""
    affinity = owner.get("affinity")
    if isinstance(affinity, dict):
        yield from shape_problems("Affinity", affinity, (*path, "affinity"))
    for index, toleration in enumerate(list_at(owner, "tolerations")):
        if not isinstance(toleration, dict):
            continue
        where: Path = (*path, "tolerations", index)
        if toleration.get("operator") == "Exists" and toleration.get("value"):
            yield problem((*where, "value"), toleration["value"], "absent when operator is Exists")
        if toleration.get("operator") != "Exists" and toleration.get("key") is None:
            yield problem((*where, "key"), None, "set unless operator is Exists")
        seconds = toleration.get("tolerationSeconds")
        if seconds is not None and toleration.get("effect") != "NoExecute":
            yield problem((*where, "tolerationSeconds"), seconds, "absent unless effect is NoExecute")


def _resource_names(resources: JsonObject, path: Path) -> Iterator[Problem]:
    """Resources by names that Kubernetes refuses in a container."""
    for kind in ("requests", "limits"):
        for name in object_at(resources, kind):
            if not _RESOURCE.fullmatch(name):
                yield key_problem((*path, kind, name), _RESOURCES_ALLOWED)


def resource_problems(resources: JsonObject, path: Path) -> Iterator[Problem]:
    """Requests that are larger than their limits."""
    limits = object_at(resources, "limits")
    for name, request in object_at(resources, "requests").items():
        amount, limit = quantity_or_none(request), quantity_or_none(limits.get(name))
        if amount is not None and limit is not None and amount > limit:
            yield problem((*path, "requests", name), request, f"at most the limit, {limits[name]}")


def reserved_keys(labels: JsonObject, path: Path) -> Iterator[Problem]:
    """Labels or annotations that the operator itself sets."""
    for key, value in labels.items():
        if key in RESERVED_KEYS or key.startswith(RESERVED_PREFIXES):
            yield problem((*path, key), value, "absent, since the operator sets this key itself")


def _environment(component: JsonObject, path: Path) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, entry in enumerate(list_at(component, "env")):
        if not isinstance(entry, dict):
            continue
        where: Path = (*path, "env", index)
        name = str_at(entry, "name")
        if name in seen:
            yield problem((*where, "name"), name, "a name that no other entry of the list has")
        seen.add(name)
        source = entry.get("valueFrom")
        if not isinstance(source, dict):
            continue
        if entry.get("value"):
            text = path_text(where)
            yield Problem(text, None, f"{text} sets both value and valueFrom; it must set one of them.")
        yield from exactly_one(source, ENV_SOURCES, (*where, "valueFrom"))
        yield from shape_problems("EnvVarSource", source, (*where, "valueFrom"))


def _probes(component: JsonObject, path: Path) -> Iterator[Problem]:
    for name, probe in object_at(component, "probes").items():
        if isinstance(probe, dict):
            where: Path = (*path, "probes", name)
            yield from exactly_one(probe, PROBE_HANDLERS, where)
            yield from shape_problems("Probe", probe, where)


def _pod_template(component: JsonObject, path: Path) -> Iterator[Problem]:
    template = component.get("podTemplate")
    if not isinstance(template, dict):
        return
    where: Path = (*path, "podTemplate")
    yield from shape_problems("PodTemplateSpec", template, where, overlay=True)
    for inner in _NEVER_TAKEN_AWAY:
        owner, name = at(template, *inner[:-1]), inner[-1] if inner else ""
        given = at(template, *inner)
        if (name and isinstance(owner, dict) and name in owner and given is None) or (
            isinstance(given, dict) and DIRECTIVE in given
        ):
            yield problem((*where, *inner), given, f"an object without {DIRECTIVE}, since it is added to what is there")
    for name in ("labels", "annotations"):
        yield from reserved_keys(object_at(template, "metadata", name), (*where, "metadata", name))
    for name, why in _ADDED_TO.items():
        # A component's container has the name of its field; that of a TapioCollector's nobody knows here.
        own = str(path[-1]) if name == "containers" and len(path) > 1 else None
        yield from _own_entries(template, name, why, where, own)


def _own_entries(template: JsonObject, name: str, why: str, where: Path, own: str | None) -> Iterator[Problem]:
    """An overlay that takes away what the component can't be without: a whole list, or the container `own`."""
    spec, path = object_at(template, "spec"), (*where, "spec", name)
    if name in spec and spec[name] is None:
        yield problem(path, None, f"a list, or absent, since {why}")
    for index, entry in enumerate(list_at(spec, name)):
        if isinstance(entry, dict) and entry.get(DIRECTIVE) == "replace":
            yield problem((*path, index, DIRECTIVE), "replace", f"absent, or delete for one entry, since {why}")
        elif isinstance(entry, dict) and entry.get(DIRECTIVE) == "delete" and entry.get("name") == own:
            yield problem((*path, index, DIRECTIVE), "delete", f"absent, since {own} is the component's own container")


def _autoscaling(component: JsonObject, path: Path) -> Iterator[Problem]:
    where: Path = (*path, "autoscaling")
    low, high = at(component, "autoscaling", "min"), at(component, "autoscaling", "max")
    if isinstance(low, int) and isinstance(high, int) and low > high:
        yield problem((*where, "max"), high, f"at least autoscaling.min, {low}")
    for index, metric in enumerate(list_at(component, "autoscaling", "metrics")):
        yield from shape_problems("MetricSpec", metric, (*where, "metrics", index))
