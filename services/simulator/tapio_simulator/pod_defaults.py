"""Defaults of pods and pod templates (k8s.io/kubernetes/pkg/apis/core/v1/defaults.go)."""

from __future__ import annotations

from tapio_shared.json import JsonObject, object_at, objects_at, str_at
from tapio_simulator.quantities import canonical

DEFAULT_MODE = 0o644


def default_pod(document: JsonObject) -> None:
    """A Pod. `document` is changed."""
    spec = document.get("spec")
    if not isinstance(spec, dict):
        return
    default_pod_spec(spec)
    for name in ("containers", "initContainers"):
        for container in objects_at(spec, name):
            _requests_from_limits(container)
    spec.setdefault("enableServiceLinks", True)
    document.setdefault("status", {})


def default_template(template: JsonObject) -> None:
    """A pod template. `template` is changed."""
    metadata = template.get("metadata")
    if not isinstance(metadata, dict):
        template["metadata"] = {}
    spec = template.get("spec")
    if isinstance(spec, dict):
        default_pod_spec(spec)


def default_pod_spec(spec: JsonObject) -> None:
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    if "serviceAccountName" in spec:
        spec.setdefault("serviceAccount", spec["serviceAccountName"])
    for name in ("containers", "initContainers", "ephemeralContainers"):
        for container in objects_at(spec, name):
            _container(container, host_network=spec.get("hostNetwork") is True)
    for volume in objects_at(spec, "volumes"):
        _volume(volume)
    for constraint in objects_at(spec, "topologySpreadConstraints"):
        constraint.setdefault("whenUnsatisfiable", "DoNotSchedule")


def _container(container: JsonObject, *, host_network: bool) -> None:
    if "imagePullPolicy" not in container:
        container["imagePullPolicy"] = "Always" if _is_latest(str_at(container, "image")) else "IfNotPresent"
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    container.setdefault("resources", {})
    for port in objects_at(container, "ports"):
        port.setdefault("protocol", "TCP")
        if host_network and not port.get("hostPort"):
            port["hostPort"] = port.get("containerPort")
    for entry in objects_at(container, "env"):
        field_ref = object_at(entry, "valueFrom", "fieldRef")
        if field_ref:
            field_ref.setdefault("apiVersion", "v1")
        resource_ref = object_at(entry, "valueFrom", "resourceFieldRef")
        if resource_ref:
            resource_ref.setdefault("divisor", canonical("0") or "0")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(name)
        if isinstance(probe, dict):
            _probe(probe)
    for hook in ("postStart", "preStop"):
        _http_get(object_at(container, "lifecycle", hook))


def _requests_from_limits(container: JsonObject) -> None:
    """Pods alone, never templates: what is limited but not requested is requested."""
    resources = object_at(container, "resources")
    limits = object_at(resources, "limits")
    if not limits:
        return
    requests = resources.setdefault("requests", {})
    if isinstance(requests, dict):
        for name, value in limits.items():
            requests.setdefault(name, value)


def _is_latest(image: str) -> bool:
    if "@" in image:
        return False
    _, colon, tag = image.rpartition("/")[2].partition(":")
    return not colon or tag == "latest"


def _probe(probe: JsonObject) -> None:
    probe.setdefault("timeoutSeconds", 1)
    probe.setdefault("periodSeconds", 10)
    probe.setdefault("successThreshold", 1)
    probe.setdefault("failureThreshold", 3)
    _http_get(probe)
    grpc = object_at(probe, "grpc")
    if grpc:
        grpc.setdefault("service", "")


def _http_get(holder: JsonObject) -> None:
    http = object_at(holder, "httpGet")
    if http:
        http.setdefault("path", "/")
        http.setdefault("scheme", "HTTP")


def _volume(volume: JsonObject) -> None:
    if len(volume) == 1:
        volume["emptyDir"] = {}
    for source in ("configMap", "secret", "downwardAPI", "projected"):
        files = volume.get(source)
        if isinstance(files, dict):
            files.setdefault("defaultMode", DEFAULT_MODE)
    for item in objects_at(volume, "downwardAPI", "items"):
        if field_ref := object_at(item, "fieldRef"):
            field_ref.setdefault("apiVersion", "v1")
    for projection in objects_at(volume, "projected", "sources"):
        if token := object_at(projection, "serviceAccountToken"):
            token.setdefault("expirationSeconds", 3600)
        for item in objects_at(projection, "downwardAPI", "items"):
            if field_ref := object_at(item, "fieldRef"):
                field_ref.setdefault("apiVersion", "v1")
    host_path = volume.get("hostPath")
    if isinstance(host_path, dict):
        host_path.setdefault("type", "")
    claim = object_at(volume, "ephemeral", "volumeClaimTemplate", "spec")
    if claim:
        claim.setdefault("volumeMode", "Filesystem")
