"""Whether the containers of a bound pod would run, given what the cluster holds, and if not, what a kubelet would say.

Pure: every question about the cluster goes to `World`. Texts are those of the kubelet, since people and the operator's
conditions show them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from tapio_shared.json import JsonObject, at, list_at, object_at, objects_at, str_at
from tapio_simulator.kubelet.breakages import Behaviour
from tapio_simulator.kubelet.images import full_reference
from tapio_simulator.kubelet.ports import closed_probe_port, unmatched_service
from tapio_simulator.pod_security import violation


class World(Protocol):
    """What a kubelet can see."""

    def config_map_keys(self, namespace: str, name: str) -> frozenset[str] | None:
        """Keys of a ConfigMap; None when there is none."""
        ...

    def secret_keys(self, namespace: str, name: str) -> frozenset[str] | None: ...

    def services_of(self, pod: JsonObject) -> list[JsonObject]:
        """Services whose selector matches the pod."""
        ...

    def pod_security_labels(self, namespace: str) -> Mapping[str, str]:
        """Labels of the namespace when Pod Security is the kubelet's business, else none."""
        ...

    def is_image_known(self, image: str) -> bool: ...

    def behaviour_of(self, pod: JsonObject, container: str) -> Behaviour | None: ...


class State(Enum):
    RUNNING = "running"
    WAITING = "waiting"
    CRASHED = "crashed"
    COMPLETED = "completed"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one container. `complaint` is why a running one is not ready, or why one was killed."""

    state: State
    reason: str = ""
    message: str = ""
    exit_code: int = 0
    ready: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PodVerdict:
    """What becomes of a pod: by container name, in the order of the spec."""

    init: Mapping[str, Verdict]
    containers: Mapping[str, Verdict]
    warnings: tuple[tuple[str, str], ...] = ()
    """(reason, message) of Events."""
    needs: tuple[str, ...] = ()
    """What must appear or change before anything can get better: `configmap/<namespace>/<name>`, `secret/…`."""

    @property
    def is_initialised(self) -> bool:
        return all(verdict.state in (State.COMPLETED, State.RUNNING) for verdict in self.init.values())

    @property
    def crashed(self) -> tuple[str, ...]:
        every = {**self.init, **self.containers}
        return tuple(name for name, verdict in every.items() if verdict.state is State.CRASHED)


@dataclass(slots=True)
class _Findings:
    warnings: dict[tuple[str, str], None] = field(default_factory=dict[tuple[str, str], None])
    needs: dict[str, None] = field(default_factory=dict[str, None])

    def missing(self, kind: str, namespace: str, name: str) -> None:
        self.needs[f"{kind}/{namespace}/{name}"] = None

    def warn(self, reason: str, message: str) -> None:
        self.warnings[reason, message] = None


CREATING, INITIALISING = "ContainerCreating", "PodInitializing"


def judge(pod: JsonObject, world: World) -> PodVerdict:
    """What becomes of every container of `pod`, were it started now."""
    found = _Findings()
    init = objects_at(pod, "spec", "initContainers")
    regular = objects_at(pod, "spec", "containers")
    hanging = any(world.behaviour_of(pod, str_at(one, "name")) is Behaviour.HANG for one in regular)
    if _check_volumes(pod, world, found) or hanging:
        waiting = Verdict(State.WAITING, INITIALISING if init else CREATING)
        return _verdict(dict.fromkeys(_names(init), waiting), dict.fromkeys(_names(regular), waiting), found)
    started, blocked = dict[str, Verdict](), False
    for container in init:
        name = str_at(container, "name")
        if blocked:
            started[name] = Verdict(State.WAITING, INITIALISING)
            continue
        started[name] = _init_container(pod, container, world, found)
        blocked = started[name].state not in (State.COMPLETED, State.RUNNING)
    if blocked:
        return _verdict(started, dict.fromkeys(_names(regular), Verdict(State.WAITING, INITIALISING)), found)
    services = unmatched_service(pod, world.services_of(pod))
    judged: dict[str, Verdict] = {}
    for container in regular:
        verdict = _container(pod, container, world, found, has_init=bool(init))
        if verdict.ready and services:
            found.warn("Unhealthy", services)
            verdict = Verdict(State.RUNNING, message=services)
        judged[str_at(container, "name")] = verdict
    return _verdict(started, judged, found)


def _verdict(init: Mapping[str, Verdict], containers: Mapping[str, Verdict], found: _Findings) -> PodVerdict:
    return PodVerdict(init=init, containers=containers, warnings=tuple(found.warnings), needs=tuple(found.needs))


def _names(containers: Iterable[JsonObject]) -> list[str]:
    return [str_at(container, "name") for container in containers]


# --- containers ----------------------------------------------------------------------------------------------------


def _init_container(pod: JsonObject, container: JsonObject, world: World, found: _Findings) -> Verdict:
    name = str_at(container, "name")
    refused = _refusal(pod, container, world, found)
    if refused is not None:
        return refused
    behaviour = world.behaviour_of(pod, name)
    named = str_at(pod, "metadata", "annotations", "simulator.tapio.io/container") == name
    if behaviour is Behaviour.INIT_CRASH or (named and behaviour is Behaviour.CRASH):
        return _crashed(found, name, "Error", 1)
    if container.get("restartPolicy") == "Always":
        return Verdict(State.RUNNING, ready=True)
    return Verdict(State.COMPLETED, "Completed", ready=True)


def _container(pod: JsonObject, container: JsonObject, world: World, found: _Findings, *, has_init: bool) -> Verdict:
    name = str_at(container, "name")
    refused = _refusal(pod, container, world, found)
    if refused is not None:
        return refused
    match world.behaviour_of(pod, name):
        case Behaviour.CRASH:
            return _crashed(found, name, "Error", 1)
        case Behaviour.INIT_CRASH if not has_init:
            return _crashed(found, name, "Error", 1)
        case Behaviour.OOM:
            return _crashed(found, name, "OOMKilled", 137)
        case Behaviour.NEVER_READY:
            text = "Readiness probe failed: HTTP probe failed with statuscode: 503"
            found.warn("Unhealthy", text)
            return Verdict(State.RUNNING, message=text)
        case _:
            pass
    for probe, kills in (("startupProbe", True), ("livenessProbe", True), ("readinessProbe", False)):
        port = closed_probe_port(pod, container, probe)
        if port is None:
            continue
        what = probe.removesuffix("Probe").capitalize()
        text = f"{what} probe failed: dial tcp: port {port}: connect: connection refused"
        found.warn("Unhealthy", text)
        if not kills:
            return Verdict(State.RUNNING, message=text)
        found.warn("Killing", f"Container {name} failed {probe.removesuffix('Probe')} probe, will be restarted")
        return _crashed(found, name, "Error", 137)
    return Verdict(State.RUNNING, ready=True)


def _crashed(found: _Findings, name: str, reason: str, code: int) -> Verdict:
    found.warn("BackOff", f"Back-off restarting failed container {name}")
    return Verdict(State.CRASHED, reason, exit_code=code)


def _refusal(pod: JsonObject, container: JsonObject, world: World, found: _Findings) -> Verdict | None:
    """Why the container can't even be created: its image, its environment, or its security context."""
    image, namespace = str_at(container, "image"), str_at(pod, "metadata", "namespace")
    if not world.is_image_known(image):
        reference = full_reference(image)
        why = (
            f'failed to pull and unpack image "{reference}": failed to resolve reference "{reference}": '
            f"{reference}: not found"
        )
        found.warn("Failed", f'Failed to pull image "{image}": rpc error: code = NotFound desc = {why}')
        found.warn("Failed", "Error: ImagePullBackOff")
        text = f'Back-off pulling image "{image}": ErrImagePull: rpc error: code = NotFound desc = {why}'
        return Verdict(State.WAITING, "ImagePullBackOff", text)
    text = _environment(namespace, container, world, found) or violation(
        world.pod_security_labels(namespace), object_at(pod, "spec"), object_at(pod, "metadata")
    )
    if text:
        found.warn("Failed", f"Error: {text}")
        return Verdict(State.WAITING, "CreateContainerConfigError", text)
    return None


def _environment(namespace: str, container: JsonObject, world: World, found: _Findings) -> str:
    """What the environment refers to and isn't there; empty when all is well."""
    for source in objects_at(container, "envFrom"):
        for field_name, kind in (("configMapRef", "configmap"), ("secretRef", "secret")):
            reference = object_at(source, field_name)
            if reference and reference.get("optional") is not True:
                text = _reference(kind, namespace, str_at(reference, "name"), None, world, found)
                if text:
                    return text
    for variable in objects_at(container, "env"):
        for field_name, kind in (("configMapKeyRef", "configmap"), ("secretKeyRef", "secret")):
            reference = object_at(variable, "valueFrom", field_name)
            if reference and reference.get("optional") is not True:
                name, key = str_at(reference, "name"), str_at(reference, "key")
                text = _reference(kind, namespace, name, key, world, found)
                if text:
                    return text
    return ""


def _keys(kind: str, namespace: str, name: str, world: World) -> frozenset[str] | None:
    return world.secret_keys(namespace, name) if kind == "secret" else world.config_map_keys(namespace, name)


def _reference(kind: str, namespace: str, name: str, key: str | None, world: World, found: _Findings) -> str:
    keys = _keys(kind, namespace, name, world)
    if keys is None:
        found.missing(kind, namespace, name)
        return f'{kind} "{name}" not found'
    if key is not None and key not in keys:
        found.missing(kind, namespace, name)
        word = "Secret" if kind == "secret" else "ConfigMap"
        return f"couldn't find key {key} in {word} {namespace}/{name}"
    return ""


# --- volumes -------------------------------------------------------------------------------------------------------


def _check_volumes(pod: JsonObject, world: World, found: _Findings) -> bool:
    """Whether a volume can't be mounted."""
    namespace = str_at(pod, "metadata", "namespace")
    bad = False
    for volume in objects_at(pod, "spec", "volumes"):
        name = str_at(volume, "name")
        for kind, target, wanted in _volume_sources(volume):
            keys = _keys(kind, namespace, target, world)
            if keys is None:
                text = f'{kind} "{target}" not found'
            elif missing := [key for key in wanted if key not in keys]:
                text = f"references non-existent {kind} key: {missing[0]}".replace("configmap", "config")
            else:
                continue
            bad = True
            found.missing(kind, namespace, target)
            found.warn("FailedMount", f'MountVolume.SetUp failed for volume "{name}" : {text}')
    return bad


def _volume_sources(volume: JsonObject) -> Iterable[tuple[str, str, list[str]]]:
    """(kind, name, keys) of every ConfigMap and Secret that the volume must have."""
    secret, config = object_at(volume, "secret"), object_at(volume, "configMap")
    if secret and secret.get("optional") is not True:
        yield "secret", str_at(secret, "secretName"), _items(secret)
    if config and config.get("optional") is not True:
        yield "configmap", str_at(config, "name"), _items(config)
    for source in objects_at(volume, "projected", "sources"):
        for kind, field_name in (("secret", "secret"), ("configmap", "configMap")):
            inner = object_at(source, field_name)
            if inner and inner.get("optional") is not True and at(inner, "name") != "kube-root-ca.crt":
                yield kind, str_at(inner, "name"), _items(inner)


def _items(source: JsonObject) -> list[str]:
    return [str_at(item, "key") for item in list_at(source, "items") if isinstance(item, dict)]
