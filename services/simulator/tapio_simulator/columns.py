"""Printer columns: those of builtin kinds as kubectl users know them, and `additionalPrinterColumns`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from tapio_shared.json import JsonObject, JsonValue, at, int_at, list_at, object_at, objects_at, str_at, strings_at
from tapio_simulator.jsonpath import values_at
from tapio_simulator.registry import Served

Cell = Callable[[JsonObject], JsonValue]
NONE = "<none>"


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `priority` above 0 is printed with `-o wide` alone."""

    name: str
    cell: Cell
    type: str = "string"
    priority: int = 0
    format: str = ""
    description: str = ""


def _name(document: JsonObject) -> JsonValue:
    return str_at(document, "metadata", "name")


def _created(document: JsonObject) -> JsonValue:
    return str_at(document, "metadata", "creationTimestamp")


_AGELESS = ("CustomResourceDefinition", "Event")
NAME = Column("Name", _name, format="name")
AGE = Column("Age", _created, type="date")


def columns_of(served: Served) -> list[Column]:
    """The columns of one resource, name first."""
    if served.resource.custom:
        return [NAME, *(_custom(column) for column in served.columns)] if served.columns else [NAME, AGE]
    known = [NAME, *_BUILTIN.get(served.resource.kind, ())]
    return known if served.resource.kind in _AGELESS else [*known, AGE]


def _custom(column: JsonObject) -> Column:
    path, type_ = str_at(column, "jsonPath"), str_at(column, "type")

    def cell(document: JsonObject) -> JsonValue:
        found = values_at(document, path)
        if not found:
            return None
        value = found[0]
        if type_ == "date" or isinstance(value, str):
            return value
        if type_ in ("integer", "number", "boolean"):
            return value
        return str(value)

    return Column(
        str_at(column, "name"),
        cell,
        type_,
        int_at(column, "priority"),
        str_at(column, "format"),
        str_at(column, "description"),
    )


def _text(*path: str, default: str = "") -> Cell:
    return lambda document: str_at(document, *path) or default


def _number(*path: str) -> Cell:
    return lambda document: int_at(document, *path)


def _length(*path: str) -> Cell:
    return lambda document: len(list_at(document, *path))


def _selector(*path: str) -> Cell:
    @lru_cache(maxsize=1)
    def nothing() -> str:
        return NONE

    def cell(document: JsonObject) -> JsonValue:
        labels = strings_at(document, *path)
        return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or nothing()

    return cell


def _ready_of(ready: tuple[str, ...], wanted: tuple[str, ...]) -> Cell:
    return lambda document: f"{int_at(document, *ready)}/{int_at(document, *wanted, default=1)}"


def _images(document: JsonObject) -> JsonValue:
    return ",".join(str_at(entry, "image") for entry in objects_at(document, "spec", "template", "spec", "containers"))


def _containers(document: JsonObject) -> JsonValue:
    return ",".join(str_at(entry, "name") for entry in objects_at(document, "spec", "template", "spec", "containers"))


_TEMPLATE = (
    Column("Containers", _containers, priority=1),
    Column("Images", _images, priority=1),
    Column("Selector", _selector("spec", "selector", "matchLabels"), priority=1),
)


def _pod_ready(document: JsonObject) -> JsonValue:
    statuses = objects_at(document, "status", "containerStatuses")
    ready = sum(1 for status in statuses if status.get("ready") is True)
    return f"{ready}/{len(list_at(document, 'spec', 'containers'))}"


def _pod_status(document: JsonObject) -> JsonValue:
    if str_at(document, "metadata", "deletionTimestamp"):
        return "Terminating"
    for status in objects_at(document, "status", "initContainerStatuses"):
        reason = str_at(status, "state", "waiting", "reason") or str_at(status, "state", "terminated", "reason")
        if reason and reason not in ("Completed", "PodInitializing"):
            return f"Init:{reason}"
    for status in objects_at(document, "status", "containerStatuses"):
        reason = str_at(status, "state", "waiting", "reason") or str_at(status, "state", "terminated", "reason")
        if reason:
            return reason
    return str_at(document, "status", "reason") or str_at(document, "status", "phase")


def _pod_restarts(document: JsonObject) -> JsonValue:
    return str(sum(int_at(status, "restartCount") for status in objects_at(document, "status", "containerStatuses")))


def _ports(document: JsonObject) -> JsonValue:
    texts: list[str] = []
    for port in objects_at(document, "spec", "ports"):
        node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
        texts.append(f"{port.get('port')}{node_port}/{port.get('protocol', 'TCP')}")
    return ",".join(texts) or NONE


def _external(document: JsonObject) -> JsonValue:
    match str_at(document, "spec", "type"):
        case "LoadBalancer":
            found = [
                str_at(entry, "ip") or str_at(entry, "hostname")
                for entry in objects_at(document, "status", "loadBalancer", "ingress")
            ]
            return ",".join(found) or "<pending>"
        case "ExternalName":
            return str_at(document, "spec", "externalName")
        case _:
            return ",".join(str(entry) for entry in list_at(document, "spec", "externalIPs")) or NONE


def _node_status(document: JsonObject) -> JsonValue:
    ready = next(
        (entry for entry in objects_at(document, "status", "conditions") if entry.get("type") == "Ready"), None
    )
    text = "Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"
    return f"{text},SchedulingDisabled" if at(document, "spec", "unschedulable") is True else text


def _node_roles(document: JsonObject) -> JsonValue:
    prefix = "node-role.kubernetes.io/"
    roles = [key.removeprefix(prefix) for key in strings_at(document, "metadata", "labels") if key.startswith(prefix)]
    return ",".join(sorted(roles)) or NONE


def _capacity(document: JsonObject) -> JsonValue:
    return str_at(document, "status", "capacity", "storage")


def _access_modes(document: JsonObject) -> JsonValue:
    short = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
    modes = list_at(document, "status", "accessModes")
    return ",".join(short.get(str(mode), str(mode)) for mode in modes)


def _data_count(document: JsonObject) -> JsonValue:
    return len(object_at(document, "data")) + len(object_at(document, "binaryData"))


def _duration(document: JsonObject) -> JsonValue:
    return ""


def _completions(document: JsonObject) -> JsonValue:
    return f"{int_at(document, 'status', 'succeeded')}/{int_at(document, 'spec', 'completions', default=1)}"


def _job_status(document: JsonObject) -> JsonValue:
    for condition in objects_at(document, "status", "conditions"):
        if condition.get("status") == "True" and condition.get("type") in ("Complete", "Failed", "Suspended"):
            return str_at(condition, "type")
    return "Running"


def _targets(document: JsonObject) -> JsonValue:
    texts: list[str] = []
    current = objects_at(document, "status", "currentMetrics")
    for index, metric in enumerate(objects_at(document, "spec", "metrics")):
        wanted = at(metric, "resource", "target", "averageUtilization")
        found = at(current[index], "resource", "current", "averageUtilization") if index < len(current) else None
        name = str_at(metric, "resource", "name", default=str_at(metric, "type"))
        texts.append(f"{name}: {found if found is not None else '<unknown>'}%/{wanted if wanted is not None else '?'}%")
    return ", ".join(texts) or NONE


def _involved(document: JsonObject) -> JsonValue:
    kind = str_at(document, "involvedObject", "kind").lower()
    return f"{kind}/{str_at(document, 'involvedObject', 'name')}"


def _last_seen(document: JsonObject) -> JsonValue:
    return str_at(document, "lastTimestamp") or str_at(document, "eventTime") or _created(document)


def _role(document: JsonObject) -> JsonValue:
    return f"{str_at(document, 'roleRef', 'kind')}/{str_at(document, 'roleRef', 'name')}"


def _hosts(document: JsonObject) -> JsonValue:
    return ",".join(str_at(rule, "host") or "*" for rule in objects_at(document, "spec", "rules")) or "*"


_WORKLOAD_READY = Column("Ready", _ready_of(("status", "readyReplicas"), ("spec", "replicas")))
_BUILTIN: Mapping[str, tuple[Column, ...]] = {
    "ConfigMap": (Column("Data", _data_count, "integer"),),
    "CronJob": (
        Column("Schedule", _text("spec", "schedule")),
        Column("Timezone", _text("spec", "timeZone", default=NONE)),
        Column("Suspend", lambda document: str(at(document, "spec", "suspend") is True)),
        Column("Active", _length("status", "active"), "integer"),
        Column("Last Schedule", _text("status", "lastScheduleTime", default=NONE)),
    ),
    "DaemonSet": (
        Column("Desired", _number("status", "desiredNumberScheduled"), "integer"),
        Column("Current", _number("status", "currentNumberScheduled"), "integer"),
        Column("Ready", _number("status", "numberReady"), "integer"),
        Column("Up-to-date", _number("status", "updatedNumberScheduled"), "integer"),
        Column("Available", _number("status", "numberAvailable"), "integer"),
        Column("Node Selector", _selector("spec", "template", "spec", "nodeSelector")),
        *_TEMPLATE,
    ),
    "Deployment": (
        _WORKLOAD_READY,
        Column("Up-to-date", _number("status", "updatedReplicas"), "integer"),
        Column("Available", _number("status", "availableReplicas"), "integer"),
        *_TEMPLATE,
    ),
    "Event": (
        Column("Last Seen", _last_seen, "date"),
        Column("Type", _text("type")),
        Column("Reason", _text("reason")),
        Column("Object", _involved),
        Column("Message", _text("message")),
    ),
    "HorizontalPodAutoscaler": (
        Column(
            "Reference",
            lambda document: "/".join(str_at(document, "spec", "scaleTargetRef", part) for part in ("kind", "name")),
        ),
        Column("Targets", _targets),
        Column("MinPods", _number("spec", "minReplicas"), "integer"),
        Column("MaxPods", _number("spec", "maxReplicas"), "integer"),
        Column("Replicas", _number("status", "currentReplicas"), "integer"),
    ),
    "Ingress": (
        Column("Class", _text("spec", "ingressClassName", default=NONE)),
        Column("Hosts", _hosts),
        Column("Address", lambda _: ""),
        Column("Ports", lambda document: "80, 443" if list_at(document, "spec", "tls") else "80"),
    ),
    "Job": (
        Column("Status", _job_status),
        Column("Completions", _completions),
        Column("Duration", _duration),
    ),
    "Lease": (Column("Holder", _text("spec", "holderIdentity")),),
    "Namespace": (Column("Status", _text("status", "phase")),),
    "NetworkPolicy": (Column("Pod-Selector", _selector("spec", "podSelector", "matchLabels")),),
    "Node": (
        Column("Status", _node_status),
        Column("Roles", _node_roles),
        Column("Version", _text("status", "nodeInfo", "kubeletVersion")),
        Column("OS-Image", _text("status", "nodeInfo", "osImage"), priority=1),
        Column("Kernel-Version", _text("status", "nodeInfo", "kernelVersion"), priority=1),
    ),
    "PersistentVolume": (
        Column("Capacity", _text("spec", "capacity", "storage")),
        Column("Reclaim Policy", _text("spec", "persistentVolumeReclaimPolicy")),
        Column("Status", _text("status", "phase")),
        Column("StorageClass", _text("spec", "storageClassName")),
    ),
    "PersistentVolumeClaim": (
        Column("Status", _text("status", "phase")),
        Column("Volume", _text("spec", "volumeName")),
        Column("Capacity", _capacity),
        Column("Access Modes", _access_modes),
        Column("StorageClass", _text("spec", "storageClassName")),
    ),
    "Pod": (
        Column("Ready", _pod_ready),
        Column("Status", _pod_status),
        Column("Restarts", _pod_restarts),
        Column("IP", _text("status", "podIP", default=NONE), priority=1),
        Column("Node", _text("spec", "nodeName", default=NONE), priority=1),
    ),
    "PodDisruptionBudget": (
        Column("Min Available", lambda document: str(at(document, "spec", "minAvailable") or "N/A")),
        Column("Max Unavailable", lambda document: str(at(document, "spec", "maxUnavailable") or "N/A")),
        Column("Allowed Disruptions", _number("status", "disruptionsAllowed"), "integer"),
    ),
    "PriorityClass": (
        Column("Value", _number("value"), "integer"),
        Column("Global-Default", lambda document: document.get("globalDefault") is True, "boolean"),
    ),
    "ReplicaSet": (
        Column("Desired", _number("spec", "replicas"), "integer"),
        Column("Current", _number("status", "replicas"), "integer"),
        Column("Ready", _number("status", "readyReplicas"), "integer"),
        *_TEMPLATE,
    ),
    "RoleBinding": (Column("Role", _role),),
    "ClusterRoleBinding": (Column("Role", _role),),
    "Secret": (Column("Type", _text("type")), Column("Data", _data_count, "integer")),
    "Service": (
        Column("Type", _text("spec", "type")),
        Column("Cluster-IP", _text("spec", "clusterIP", default=NONE)),
        Column("External-IP", _external),
        Column("Port(s)", _ports),
        Column("Selector", _selector("spec", "selector"), priority=1),
    ),
    "ServiceAccount": (Column("Secrets", _length("secrets"), "integer"),),
    "StatefulSet": (_WORKLOAD_READY, *_TEMPLATE[:2]),
    "StorageClass": (
        Column("Provisioner", _text("provisioner")),
        Column("ReclaimPolicy", _text("reclaimPolicy")),
        Column("VolumeBindingMode", _text("volumeBindingMode")),
        Column("AllowVolumeExpansion", lambda document: document.get("allowVolumeExpansion") is True, "boolean"),
    ),
    "CustomResourceDefinition": (Column("Created At", _created),),
}
