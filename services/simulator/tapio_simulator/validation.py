"""Rules of builtin kinds: names, required fields, what may not change. The texts are Kubernetes' own.

Only what an operator can run into; not every rule of every field.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tapio_shared.json import JsonObject, at, list_at, object_at, objects_at, str_at, strings_at
from tapio_simulator.errors import Cause, invalid
from tapio_simulator.immutability import changed_causes, claim_causes, finalizer_causes
from tapio_simulator.names import label_causes, metadata_causes, shown
from tapio_simulator.quantities import amount
from tapio_simulator.resources import Resource
from tapio_simulator.schema import compile_custom
from tapio_simulator.selectors import label_selector_matches

_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_DATA_KEY_TEXT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
MAX_CONFIG = 1_048_576


def validate_create(resource: Resource, document: JsonObject) -> None:
    """StatusError 422 with every cause."""
    causes = [*metadata_causes(resource, document), *_spec(resource.kind, document)]
    if causes:
        raise invalid(resource, str_at(document, "metadata", "name"), causes)


def validate_update(resource: Resource, document: JsonObject, live: JsonObject, subresource: str) -> None:
    """StatusError 422 with every cause; 403 for what only deletion could undo (a claim's size)."""
    if subresource == "status":
        return
    causes = [
        *finalizer_causes(document, live),
        *label_causes(document),
        *_spec(resource.kind, document),
        *changed_causes(resource.kind, document, live),
    ]
    name = str_at(document, "metadata", "name")
    if resource.kind == "PersistentVolumeClaim":
        causes += claim_causes(document, live)
    if causes:
        raise invalid(resource, name, causes)


def _required(path: str, detail: str = "") -> Cause:
    return Cause(path, f"Required value{': ' + detail if detail else ''}", "FieldValueRequired")


def _spec(kind: str, document: JsonObject) -> list[Cause]:
    match kind:
        case "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet":
            return _workload(kind, document)
        case "Job":
            return _template(document, "spec", "template")
        case "CronJob":
            schedule = [] if str_at(document, "spec", "schedule") else [_required("spec.schedule")]
            return [*schedule, *_template(document, "spec", "jobTemplate", "spec", "template")]
        case "Pod":
            return _pod_spec(object_at(document, "spec"), "spec")
        case "Service":
            return _service(document)
        case "PersistentVolumeClaim":
            return _claim(document)
        case "ConfigMap" | "Secret":
            return _data(document)
        case "CustomResourceDefinition":
            return definition_causes(document)
        case "RoleBinding" | "ClusterRoleBinding":
            return [] if str_at(document, "roleRef", "name") else [_required("roleRef.name")]
        case "HorizontalPodAutoscaler":
            return _autoscaler(document)
        case "PodDisruptionBudget":
            spec = object_at(document, "spec")
            if "minAvailable" in spec and "maxUnavailable" in spec:
                value = shown({"minAvailable": spec["minAvailable"], "maxUnavailable": spec["maxUnavailable"]})
                return [Cause("spec", f"Invalid value: {value}: minAvailable and maxUnavailable cannot be both set")]
            return []
        case _:
            return []


def _workload(kind: str, document: JsonObject) -> list[Cause]:
    causes: list[Cause] = []
    selector = object_at(document, "spec", "selector")
    if "selector" not in object_at(document, "spec"):
        causes.append(_required("spec.selector"))
    elif not selector:
        causes.append(Cause("spec.selector", f"Invalid value: {{}}: empty selector is invalid for {kind.lower()}"))
    labels = strings_at(document, "spec", "template", "metadata", "labels")
    if "selector" not in object_at(document, "spec") or not label_selector_matches(selector, labels):
        causes.append(
            Cause(
                "spec.template.metadata.labels",
                f"Invalid value: {shown(dict(labels) or None)}: `selector` does not match template `labels`",
            )
        )
    replicas = at(document, "spec", "replicas")
    if isinstance(replicas, int) and replicas < 0:
        causes.append(Cause("spec.replicas", f"Invalid value: {replicas}: must be greater than or equal to 0"))
    # A StatefulSet's pods get a volume for each claim template; the template itself does not list them.
    claims = {str_at(claim, "metadata", "name") for claim in objects_at(document, "spec", "volumeClaimTemplates")}
    causes += _pod_spec(object_at(document, "spec", "template", "spec"), "spec.template.spec", claims)
    strategy = object_at(document, "spec", "strategy")
    if kind == "Deployment" and strategy.get("type") == "Recreate" and "rollingUpdate" in strategy:
        # An apply that only changes the type meets this too: the defaulted rollingUpdate has no owner and stays.
        text = "Forbidden: may not be specified when strategy `type` is 'Recreate'"
        causes.append(Cause("spec.strategy.rollingUpdate", text, "FieldValueForbidden"))
    return causes


def _template(document: JsonObject, *path: str) -> list[Cause]:
    return _pod_spec(object_at(document, *path, "spec"), ".".join((*path, "spec")))


def _pod_spec(spec: JsonObject, path: str, claims: Iterable[str] = ()) -> list[Cause]:
    causes: list[Cause] = []
    if not list_at(spec, "containers"):
        causes.append(_required(f"{path}.containers"))
    volumes = {*claims, *(str_at(volume, "name") for volume in objects_at(spec, "volumes"))}
    seen: set[str] = set()
    for group in ("initContainers", "containers"):
        for index, container in enumerate(objects_at(spec, group)):
            where = f"{path}.{group}[{index}]"
            name = str_at(container, "name")
            if not name:
                causes.append(_required(f"{where}.name"))
            elif name in seen:
                causes.append(Cause(f"{where}.name", f"Duplicate value: {shown(name)}", "FieldValueDuplicate"))
            seen.add(name)
            if not str_at(container, "image"):
                causes.append(_required(f"{where}.image"))
            causes += _mounts(container, where, volumes)
            causes += _resources(container, where)
    return causes


def _mounts(container: JsonObject, where: str, volumes: set[str]) -> list[Cause]:
    return [
        Cause(f"{where}.volumeMounts[{index}].name", f"Not found: {shown(str_at(mount, 'name'))}", "FieldValueNotFound")
        for index, mount in enumerate(objects_at(container, "volumeMounts"))
        if str_at(mount, "name") not in volumes
    ]


def _resources(container: JsonObject, where: str) -> list[Cause]:
    limits = strings_at(container, "resources", "limits")
    causes: list[Cause] = []
    for name, text in strings_at(container, "resources", "requests").items():
        limit = amount(limits[name]) if name in limits else None
        request = amount(text)
        if limit is not None and request is not None and request > limit:
            causes.append(
                Cause(
                    f"{where}.resources.requests",
                    f"Invalid value: {shown(text)}: must be less than or equal to {name} limit of {limits[name]}",
                )
            )
    return causes


def _service(document: JsonObject) -> list[Cause]:
    spec = object_at(document, "spec")
    causes: list[Cause] = []
    ports = objects_at(spec, "ports")
    headless = spec.get("clusterIP") == "None"
    if not ports and not headless and spec.get("type") != "ExternalName":
        causes.append(_required("spec.ports"))
    for index, port in enumerate(ports):
        if len(ports) > 1 and not str_at(port, "name"):
            causes.append(_required(f"spec.ports[{index}].name"))
        number = port.get("port")
        if not isinstance(number, int) or not 0 < number < 65536:
            causes.append(
                Cause(
                    f"spec.ports[{index}].port", f"Invalid value: {number or 0}: must be between 1 and 65535, inclusive"
                )
            )
    return causes


def _claim(document: JsonObject) -> list[Cause]:
    causes: list[Cause] = []
    if not list_at(document, "spec", "accessModes"):
        causes.append(_required("spec.accessModes", "at least 1 access mode is required"))
    if "storage" not in object_at(document, "spec", "resources", "requests"):
        causes.append(_required("spec.resources[storage]"))
    return causes


def _data(document: JsonObject) -> list[Cause]:
    causes = [
        Cause(f"{name}[{key}]", f"Invalid value: {shown(key)}: {_DATA_KEY_TEXT}")
        for name in ("data", "binaryData")
        for key in object_at(document, name)
        if not _DATA_KEY.fullmatch(key)
    ]
    if causes:
        return causes
    size = sum(len(str(value)) for name in ("data", "binaryData") for value in object_at(document, name).values())
    if size > MAX_CONFIG:
        return [Cause("", f"Too long: may not be more than {MAX_CONFIG} bytes", "FieldValueTooLong")]
    return []


def _autoscaler(document: JsonObject) -> list[Cause]:
    causes: list[Cause] = []
    most, least = at(document, "spec", "maxReplicas"), at(document, "spec", "minReplicas")
    if not isinstance(most, int) or most < 1:
        causes.append(Cause("spec.maxReplicas", f"Invalid value: {shown(most or 0)}: must be greater than 0"))
    elif isinstance(least, int) and most < least:
        causes.append(
            Cause("spec.maxReplicas", f"Invalid value: {most}: must be greater than or equal to `minReplicas`")
        )
    return causes


def definition_causes(definition: JsonObject) -> list[Cause]:
    """Rules of CustomResourceDefinitions themselves that an author runs into."""
    spec = object_at(definition, "spec")
    causes: list[Cause] = []
    expected = f"{str_at(spec, 'names', 'plural')}.{str_at(spec, 'group')}"
    name = str_at(definition, "metadata", "name")
    if name != expected:
        causes.append(Cause("metadata.name", f'Invalid value: "{name}": must be spec.names.plural+"."+spec.group'))
    versions = objects_at(spec, "versions")
    if sum(1 for version in versions if version.get("storage") is True) != 1:
        causes.append(Cause("spec.versions", "Invalid value: must have exactly one version marked as storage version"))
    for index, version in enumerate(versions):
        if not isinstance(at(version, "schema", "openAPIV3Schema"), dict):
            causes.append(
                Cause(
                    f"spec.versions[{index}].schema.openAPIV3Schema",
                    "Required value: schemas are required",
                    "FieldValueRequired",
                )
            )
            continue
        try:
            compile_custom(object_at(version, "schema", "openAPIV3Schema"))
        except ValueError as err:
            where = f"spec.versions[{index}].schema.openAPIV3Schema"
            causes.append(Cause(where, f"Invalid value: a validation rule does not compile: {err}"))
    return causes
