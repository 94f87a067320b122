"""What the overlay of a pod may not ask for outside trusted namespaces: the node below it, or another's identity.

Being allowed to create a TapioCluster must not mean root on the nodes, also where no Pod Security level is enforced;
and it must not mean to act as any ServiceAccount of the namespace. Node agents are stricter: see rules.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from tapio_shared.api.problems import Path, Problem, problem
from tapio_shared.api.reasons import Reason
from tapio_shared.json import JsonObject, JsonValue, list_at, object_at

_OF_POD = ("hostNetwork", "hostPID", "hostIPC", "hostUsers")
_IDENTITY = ("serviceAccountName", "serviceAccount", "automountServiceAccountToken")
_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
_OF_CONTAINER = ("privileged", "allowPrivilegeEscalation", "procMount")


def host_access_problems(template: JsonObject, path: Path, why: str) -> Iterator[Problem]:
    """Everything in the overlay `template` that reaches the host; `why` says why not, after "absent, "."""
    pod, where = object_at(template, "spec"), (*path, "spec")
    for name in (*_OF_POD, *_IDENTITY):
        if pod.get(name) not in (None, False):
            yield _refused((*where, name), pod[name], why)
    for index, volume in enumerate(list_at(pod, "volumes")):
        if isinstance(volume, dict) and volume.get("hostPath") is not None:
            yield _refused((*where, "volumes", index, "hostPath"), volume["hostPath"], why)
    yield from _windows(object_at(pod, "securityContext"), (*where, "securityContext"), why)
    for kind in _CONTAINERS:
        for index, container in enumerate(list_at(pod, kind)):
            if isinstance(container, dict):
                yield from _of_container(container, (*where, kind, index), why)


def _of_container(container: JsonObject, path: Path, why: str) -> Iterator[Problem]:
    security, where = object_at(container, "securityContext"), (*path, "securityContext")
    for name in _OF_CONTAINER:
        if security.get(name) not in (None, False, "Default"):
            yield _refused((*where, name), security[name], why)
    added = list_at(security, "capabilities", "add")
    if added:
        yield _refused((*where, "capabilities", "add"), added, why)
    yield from _windows(security, where, why)
    for index, port in enumerate(list_at(container, "ports")):
        if isinstance(port, dict) and port.get("hostPort") not in (None, 0):
            yield _refused((*path, "ports", index, "hostPort"), port["hostPort"], why)
    for index, device in enumerate(list_at(container, "volumeDevices")):
        yield _refused((*path, "volumeDevices", index), device, why)


def _windows(security: JsonObject, path: Path, why: str) -> Iterator[Problem]:
    if object_at(security, "windowsOptions").get("hostProcess") is True:
        yield _refused((*path, "windowsOptions", "hostProcess"), True, why)


def _refused(path: Path, value: JsonValue, why: str) -> Problem:
    return problem(path, value, f"absent, {why}", Reason.FORBIDDEN)
