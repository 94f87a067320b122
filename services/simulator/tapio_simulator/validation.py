"""Rules of builtin kinds: names, required fields, what may not change. The texts are Kubernetes' own.

Only what an operator can run into; not every rule of every field.
"""

from __future__ import annotations

import re

import msgspec

from tapio_shared.json import JsonObject, JsonValue, at, list_at, object_at, objects_at, str_at, strings_at
from tapio_simulator.errors import Cause, forbidden, invalid
from tapio_simulator.quantities import amount
from tapio_simulator.resources import Resource
from tapio_simulator.selectors import label_selector_matches

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_QUALIFIED = re.compile(r"([a-z0-9.-]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and "
    "end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an "
    "alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_IMMUTABLE = "field is immutable"
_STATEFUL_MUTABLE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)
_STATEFUL_TEXT = (
    "Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_ANY_PATH_SEGMENT = ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")
MAX_CONFIG = 1_048_576


def shown(value: JsonValue) -> str:
    """A value as field errors show it."""
    return msgspec.json.encode(value).decode()


def validate_create(resource: Resource, document: JsonObject) -> None:
    """StatusError 422 with every cause."""
    causes = [*_metadata(resource, document), *_spec(resource.kind, document)]
    if causes:
        raise invalid(resource, str_at(document, "metadata", "name"), causes)


def validate_update(resource: Resource, document: JsonObject, live: JsonObject, subresource: str) -> None:
    """StatusError 422 with every cause; 403 for what only deletion could undo (a claim's size)."""
    if subresource == "status":
        return
    causes = [*_labels(document), *_spec(resource.kind, document), *_immutable(resource.kind, document, live)]
    name = str_at(document, "metadata", "name")
    if resource.kind == "PersistentVolumeClaim":
        causes += _claim_update(resource, document, live)
    if causes:
        raise invalid(resource, name, causes)


def name_problem(kind: str, name: str) -> str | None:
    """What is wrong with an object's name, in Kubernetes' words."""
    if kind in _ANY_PATH_SEGMENT:
        return "may not contain '/'" if "/" in name else None
    if kind == "Service":
        if len(name) > 63:
            return "must be no more than 63 characters"
        return None if _LABEL_1035.fullmatch(name) else _LABEL_1035_TEXT
    if kind == "Namespace":
        if len(name) > 63:
            return "must be no more than 63 characters"
        return None if _LABEL.fullmatch(name) else _LABEL_TEXT
    if len(name) > 253:
        return "must be no more than 253 characters"
    return None if _SUBDOMAIN.fullmatch(name) else _SUBDOMAIN_TEXT


def _metadata(resource: Resource, document: JsonObject) -> list[Cause]:
    name = str_at(document, "metadata", "name")
    problem = name_problem(resource.kind, name)
    causes = [Cause("metadata.name", f"Invalid value: {shown(name)}: {problem}")] if problem else []
    return [*causes, *_labels(document)]


def metadata_causes(resource: Resource, document: JsonObject) -> list[Cause]:
    """Rules of metadata that hold for custom resources too."""
    return _metadata(resource, document)


def _labels(document: JsonObject) -> list[Cause]:
    causes: list[Cause] = []
    for key, value in strings_at(document, "metadata", "labels").items():
        if not _QUALIFIED.fullmatch(key) or len(key.rpartition("/")[2]) > 63:
            causes.append(
                Cause(
                    "metadata.labels",
                    f"Invalid value: {shown(key)}: name part must consist of alphanumeric characters, '-', '_' or '.', and "
                    "must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex "
                    "used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
                )
            )
        if len(value) > 63:
            causes.append(
                Cause("metadata.labels", f"Invalid value: {shown(value)}: must be no more than 63 characters")
            )
        elif not _LABEL_VALUE.fullmatch(value):
            causes.append(
                Cause(
                    "metadata.labels",
                    f"Invalid value: {shown(value)}: a valid label must be an empty string or consist of alphanumeric "
                    "characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or "
                    "'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
                )
            )
    return causes


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
    if not label_selector_matches(selector, labels):
        causes.append(
            Cause(
                "spec.template.metadata.labels",
                f"Invalid value: {shown(dict(labels))}: `selector` does not match template `labels`",
            )
        )
    replicas = at(document, "spec", "replicas")
    if isinstance(replicas, int) and replicas < 0:
        causes.append(Cause("spec.replicas", f"Invalid value: {replicas}: must be greater than or equal to 0"))
    return [*causes, *_template(document, "spec", "template")]


def _template(document: JsonObject, *path: str) -> list[Cause]:
    return _pod_spec(object_at(document, *path, "spec"), ".".join((*path, "spec")))


def _pod_spec(spec: JsonObject, path: str) -> list[Cause]:
    causes: list[Cause] = []
    if not list_at(spec, "containers"):
        causes.append(_required(f"{path}.containers"))
    volumes = {str_at(volume, "name") for volume in objects_at(spec, "volumes")}
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


# --- what may not change ----------------------------------------------------------------------------------------


def _immutable(kind: str, document: JsonObject, live: JsonObject) -> list[Cause]:
    match kind:
        case "Deployment" | "DaemonSet" | "ReplicaSet":
            return _same(document, live, ("spec", "selector"))
        case "StatefulSet":
            spec, old = object_at(document, "spec"), object_at(live, "spec")
            if any(spec.get(name) != old.get(name) for name in (spec.keys() | old.keys()) - set(_STATEFUL_MUTABLE)):
                return [Cause("spec", _STATEFUL_TEXT, "FieldValueForbidden")]
            return []
        case "Job":
            return [
                *_same(document, live, ("spec", "selector")),
                *_same(document, live, ("spec", "completions")),
                *_same(document, live, ("spec", "template")),
                *_same(document, live, ("spec", "completionMode")),
            ]
        case "Service":
            old, new = at(live, "spec", "clusterIP"), at(document, "spec", "clusterIP")
            if old and new != old and at(document, "spec", "type") != "ExternalName" != at(live, "spec", "type"):
                value = shown([new] if new else None)
                return [Cause("spec.clusterIPs[0]", f"Invalid value: {value}: may not change once set")]
            return []
        case "Secret" | "ConfigMap":
            return _immutable_data(kind, document, live)
        case "RoleBinding" | "ClusterRoleBinding":
            if document.get("roleRef") != live.get("roleRef"):
                value = shown(document.get("roleRef"))
                return [Cause("roleRef", f"Invalid value: {value}: cannot change roleRef")]
            return []
        case "StorageClass":
            names = ("provisioner", "parameters", "reclaimPolicy", "volumeBindingMode")
            return [
                Cause(name, f"Forbidden: updates to {name} are forbidden.", "FieldValueForbidden")
                for name in names
                if document.get(name) != live.get(name)
            ]
        case "Pod":
            return _pod_update(document, live)
        case _:
            return []


def _same(document: JsonObject, live: JsonObject, path: tuple[str, ...]) -> list[Cause]:
    new, old = at(document, *path), at(live, *path)
    if new == old:
        return []
    return [Cause(".".join(path), f"Invalid value: {shown(new)}: {_IMMUTABLE}")]


def _immutable_data(kind: str, document: JsonObject, live: JsonObject) -> list[Cause]:
    causes: list[Cause] = []
    if kind == "Secret":
        causes += _same(document, live, ("type",))
    if live.get("immutable") is True:
        if document.get("immutable") is not True:
            causes.append(
                Cause("immutable", "Forbidden: field is immutable when `immutable` is set", "FieldValueForbidden")
            )
        causes += [
            Cause(name, "Forbidden: field is immutable when `immutable` is set", "FieldValueForbidden")
            for name in ("data", "binaryData")
            if document.get(name) != live.get(name)
        ]
    return causes


def _pod_update(document: JsonObject, live: JsonObject) -> list[Cause]:
    mutable = {"activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "schedulingGates"}

    def frozen(pod: JsonObject) -> JsonObject:
        spec = {name: value for name, value in object_at(pod, "spec").items() if name not in mutable}
        for group in ("containers", "initContainers"):
            spec[group] = [
                {name: value for name, value in container.items() if name != "image"}
                for container in objects_at(spec, group)
            ]
        return spec

    if frozen(document) == frozen(live):
        return []
    return [
        Cause(
            "spec",
            "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
            "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing "
            "tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
            "FieldValueForbidden",
        )
    ]


def _claim_update(resource: Resource, document: JsonObject, live: JsonObject) -> list[Cause]:
    new, old = object_at(document, "spec"), object_at(live, "spec")
    fixed = (new.keys() | old.keys()) - {"resources", "volumeAttributesClassName", "volumeName"}
    if any(new.get(name) != old.get(name) for name in fixed) or (
        old.get("volumeName") and new.get("volumeName") != old.get("volumeName")
    ):
        return [
            Cause(
                "spec",
                "Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for "
                "bound claims",
                "FieldValueForbidden",
            )
        ]
    asked = amount(str_at(new, "resources", "requests", "storage"))
    have = amount(str_at(old, "resources", "requests", "storage"))
    if asked is None or have is None or asked == have:
        return []
    if asked < have:
        return [
            Cause(
                "spec.resources.requests.storage",
                "Forbidden: field can not be less than previous value",
                "FieldValueForbidden",
            )
        ]
    if str_at(live, "status", "phase") != "Bound":
        return [
            Cause(
                "spec",
                "Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for "
                "bound claims",
                "FieldValueForbidden",
            )
        ]
    return []


def claim_not_expandable(resource: Resource, name: str) -> Exception:
    """403 of the PersistentVolumeClaimResize admission plugin."""
    return forbidden(
        resource,
        name,
        "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
    )


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
    return causes
