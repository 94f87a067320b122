"""Whether probes and Services reach a port that the pod declares. Pure.

A real container may listen on a port that it does not declare; a simulated one listens on exactly what it declares.
"""

from __future__ import annotations

from collections.abc import Iterable

from tapio_shared.json import JsonObject, JsonValue, at, objects_at, str_at


def closed_probe_port(pod: JsonObject, container: JsonObject, probe: str) -> str | None:
    """The port of `probe` (a field of `container`) on which nothing listens; None when there is no such."""
    port = _probe_port(container, probe)
    if port is None or _is_open(pod, container, port):
        return None
    return str(port)


def _probe_port(container: JsonObject, probe: str) -> JsonValue:
    for handler in ("httpGet", "tcpSocket", "grpc"):
        if at(container, probe, handler, "host"):
            return None
        port = at(container, probe, handler, "port")
        if port is not None:
            return port
    return None


def _is_open(pod: JsonObject, container: JsonObject, port: JsonValue) -> bool:
    """A name counts within its container, as for the kubelet; a number for the whole pod, which has one address."""
    if isinstance(port, str) and not port.isdigit():
        return any(entry.get("name") == port for entry in objects_at(container, "ports"))
    return any(at(entry, "containerPort") == int(str(port)) for entry in _ports(pod))


def _ports(pod: JsonObject) -> Iterable[JsonObject]:
    for container in objects_at(pod, "spec", "containers"):
        yield from objects_at(container, "ports")
    for container in objects_at(pod, "spec", "initContainers"):
        if container.get("restartPolicy") == "Always":
            yield from objects_at(container, "ports")


def target_port(service_port: JsonObject, pod: JsonObject) -> int | None:
    """The number that a Service's port leads to in `pod`; None when no container declares it."""
    wanted: JsonValue = service_port.get("targetPort")
    if wanted is None:
        wanted = service_port.get("port")
    protocol = str_at(service_port, "protocol", default="TCP")
    for entry in _ports(pod):
        number = entry.get("containerPort")
        if str_at(entry, "protocol", default="TCP") != protocol or not isinstance(number, int):
            continue
        if wanted in (entry.get("name"), number):
            return number
    return None


def unmatched_service(pod: JsonObject, services: Iterable[JsonObject]) -> str:
    """Which Service leads to a port that the pod does not have, as a sentence; empty when all match."""
    for service in services:
        for port in objects_at(service, "spec", "ports"):
            if target_port(port, pod) is None:
                wanted = port.get("targetPort", port.get("port"))
                return (
                    f"Readiness probe failed: Service {str_at(service, 'metadata', 'name')} sends port "
                    f"{port.get('port')} to {wanted}, which no container of the pod declares"
                )
    return ""
