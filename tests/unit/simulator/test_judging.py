"""What becomes of a pod's containers, given what the cluster holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from tapio_shared.json import JsonObject, JsonValue, object_at
from tapio_simulator.kubelet.breakages import Behaviour
from tapio_simulator.kubelet.images import KnownImages
from tapio_simulator.kubelet.judging import PodVerdict, State, Verdict, judge

IMAGE = "docker.io/library/nats:2.12-alpine"
READY = Verdict(State.RUNNING, ready=True)


@dataclass(frozen=True, slots=True)
class Holdings:
    """A `World` as plain tables; what is in no table does not exist."""

    config_maps: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    secrets: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    services: tuple[JsonObject, ...] = ()
    behaviours: Mapping[str, Behaviour] = field(default_factory=dict[str, Behaviour])
    labels: Mapping[str, str] = field(default_factory=dict[str, str])

    def config_map_keys(self, namespace: str, name: str) -> frozenset[str] | None:
        return self.config_maps.get(f"{namespace}/{name}")

    def secret_keys(self, namespace: str, name: str) -> frozenset[str] | None:
        return self.secrets.get(f"{namespace}/{name}")

    def services_of(self, pod: JsonObject) -> list[JsonObject]:
        return list(self.services)

    def pod_security_labels(self, namespace: str) -> Mapping[str, str]:
        return self.labels

    def is_image_known(self, image: str) -> bool:
        return KnownImages().is_known(image)

    def behaviour_of(self, pod: JsonObject, container: str) -> Behaviour | None:
        return self.behaviours.get(container)


def _pod(container: JsonObject | None = None, **spec: JsonValue) -> JsonObject:
    main: JsonObject = {"name": "main", "image": IMAGE, "ports": [{"name": "http", "containerPort": 80}]}
    return {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"containers": [{**main, **(container or {})}], **spec},
    }


def _service(target: JsonValue) -> JsonObject:
    port: JsonObject = {"port": 8080} if target is None else {"port": 8080, "targetPort": target}
    return {"metadata": {"name": "front"}, "spec": {"ports": [port]}}


def _env(source: str, name: str, key: str, **more: JsonValue) -> JsonObject:
    return {"env": [{"name": "X", "valueFrom": {source: {"name": name, "key": key, **more}}}]}


def _main(verdict: PodVerdict) -> tuple[State, str, bool]:
    main = verdict.containers["main"]
    return main.state, main.reason, main.ready


BROKEN_CONFIG = (State.WAITING, "CreateContainerConfigError", False)
CREATING = (State.WAITING, "ContainerCreating", False)
RUNS = (State.RUNNING, "", True)
UNREADY = (State.RUNNING, "", False)


@pytest.mark.parametrize(
    ("container", "outcome", "message"),
    [
        pytest.param({}, RUNS, "", id="nothing asked for"),
        pytest.param(
            {"envFrom": [{"configMapRef": {"name": "none"}}]},
            BROKEN_CONFIG,
            'configmap "none" not found',
            id="environment from a ConfigMap that isn't there",
        ),
        pytest.param(
            {"envFrom": [{"secretRef": {"name": "none", "optional": True}}]}, RUNS, "", id="an optional source"
        ),
        pytest.param(
            _env("secretKeyRef", "login", "user"),
            BROKEN_CONFIG,
            "couldn't find key user in Secret default/login",
            id="a key that the Secret lacks",
        ),
        pytest.param(_env("secretKeyRef", "login", "user", optional=True), RUNS, "", id="an optional key"),
        pytest.param(_env("secretKeyRef", "login", "password"), RUNS, "", id="a key that is there"),
        pytest.param(
            _env("configMapKeyRef", "settings", "none"),
            BROKEN_CONFIG,
            "couldn't find key none in ConfigMap default/settings",
            id="a key that the ConfigMap lacks",
        ),
        pytest.param(_env("fieldRef", "", ""), RUNS, "", id="a field of the pod itself"),
        pytest.param({"readinessProbe": {"httpGet": {"port": "http"}}}, RUNS, "", id="a probe on a named port"),
        pytest.param({"readinessProbe": {"tcpSocket": {"port": 80}}}, RUNS, "", id="a probe on a number"),
        pytest.param({"readinessProbe": {"exec": {"command": ["true"]}}}, RUNS, "", id="a probe that runs a command"),
        pytest.param(
            {"readinessProbe": {"httpGet": {"port": "admin"}}},
            UNREADY,
            "Readiness probe failed: dial tcp: port admin: connect: connection refused",
            id="a readiness probe on a port that is not declared",
        ),
    ],
)
def test_a_container(container: JsonObject, outcome: tuple[State, str, bool], message: str) -> None:
    world = Holdings(
        config_maps={"default/settings": frozenset({"level"})}, secrets={"default/login": frozenset({"password"})}
    )
    verdict = judge(_pod(container), world)
    assert _main(verdict) == outcome
    assert verdict.containers["main"].message == message


@pytest.mark.parametrize(
    ("image", "known"),
    [
        pytest.param("docker.io/library/nats:2.12-alpine", True, id="what the operator uses"),
        pytest.param("nats:2.12-alpine", True, id="the same in short"),
        pytest.param("registry.example/library/nats:2.12-alpine", True, id="a mirror"),
        pytest.param("docker.io/library/nats@sha256:00", True, id="a digest"),
        pytest.param("docker.io/library/nats", False, id="no tag"),
        pytest.param("docker.io/library/nats:does-not-exist", False, id="the tag that nobody has"),
        pytest.param("docker.io/library/redis:7", False, id="another repository"),
    ],
)
def test_images(image: str, known: bool) -> None:
    verdict = judge(_pod({"image": image}), Holdings())
    assert _main(verdict) == (RUNS if known else (State.WAITING, "ImagePullBackOff", False))
    assert [reason for reason, _ in verdict.warnings] == ([] if known else ["Failed", "Failed"])


@pytest.mark.parametrize(
    ("volume", "outcome", "warning"),
    [
        pytest.param({"emptyDir": {}}, RUNS, "", id="an empty folder"),
        pytest.param({"secret": {"secretName": "login"}}, RUNS, "", id="a Secret"),
        pytest.param(
            {"secret": {"secretName": "none"}},
            CREATING,
            'MountVolume.SetUp failed for volume "v" : secret "none" not found',
            id="a Secret that isn't there",
        ),
        pytest.param({"secret": {"secretName": "none", "optional": True}}, RUNS, "", id="an optional Secret"),
        pytest.param(
            {"configMap": {"name": "settings", "items": [{"key": "none", "path": "x"}]}},
            CREATING,
            'MountVolume.SetUp failed for volume "v" : references non-existent config key: none',
            id="a key that the ConfigMap lacks",
        ),
        pytest.param(
            {"projected": {"sources": [{"configMap": {"name": "settings"}}, {"secret": {"name": "none"}}]}},
            CREATING,
            'MountVolume.SetUp failed for volume "v" : secret "none" not found',
            id="a part of a projection",
        ),
    ],
)
def test_volumes(volume: JsonObject, outcome: tuple[State, str, bool], warning: str) -> None:
    world = Holdings(
        config_maps={"default/settings": frozenset({"level"})}, secrets={"default/login": frozenset({"password"})}
    )
    verdict = judge(_pod(volumes=[{"name": "v", **volume}]), world)
    assert _main(verdict) == outcome
    assert verdict.warnings == ((("FailedMount", warning),) if warning else ())


@pytest.mark.parametrize(
    ("target", "ready"),
    [
        pytest.param("http", True, id="a name"),
        pytest.param(80, True, id="a number"),
        pytest.param("grpc", False, id="a name that no container has"),
        pytest.param(81, False, id="a number that no container has"),
        pytest.param(None, False, id="the Service's own port, which no container has"),
    ],
)
def test_services(target: JsonValue, ready: bool) -> None:
    service = _service(target)
    verdict = judge(_pod(), Holdings(services=(service,)))
    assert _main(verdict) == (RUNS if ready else UNREADY)
    assert [reason for reason, _ in verdict.warnings] == ([] if ready else ["Unhealthy"])


@pytest.mark.parametrize(
    ("behaviour", "state", "reason", "code"),
    [
        pytest.param(Behaviour.CRASH, State.CRASHED, "Error", 1, id="crash"),
        pytest.param(Behaviour.INIT_CRASH, State.CRASHED, "Error", 1, id="init-crash without init containers"),
        pytest.param(Behaviour.OOM, State.CRASHED, "OOMKilled", 137, id="oom"),
        pytest.param(Behaviour.NEVER_READY, State.RUNNING, "", 0, id="never-ready"),
        pytest.param(Behaviour.HANG, State.WAITING, "ContainerCreating", 0, id="hang"),
    ],
)
def test_behaviours(behaviour: Behaviour, state: State, reason: str, code: int) -> None:
    main = judge(_pod(), Holdings(behaviours={"main": behaviour})).containers["main"]
    assert (main.state, main.reason, main.exit_code, main.ready) == (state, reason, code, False)


@pytest.mark.parametrize("probe", [pytest.param("startupProbe"), pytest.param("livenessProbe")])
def test_a_probe_that_kills(probe: str) -> None:
    verdict = judge(_pod({probe: {"tcpSocket": {"port": 9}}}), Holdings())
    assert _main(verdict) == (State.CRASHED, "Error", False)
    assert [reason for reason, _ in verdict.warnings] == ["Unhealthy", "Killing", "BackOff"]


def test_an_init_container_holds_the_others_back() -> None:
    pod = _pod(initContainers=[{"name": "prepare", "image": IMAGE}, {"name": "then", "image": IMAGE}])
    verdict = judge(pod, Holdings(behaviours={"prepare": Behaviour.INIT_CRASH}))
    assert {name: one.state for name, one in verdict.init.items()} == {
        "prepare": State.CRASHED,
        "then": State.WAITING,
    }
    assert _main(verdict) == (State.WAITING, "PodInitializing", False)
    assert not verdict.is_initialised
    healed = judge(pod, Holdings())
    assert {name: one.state for name, one in healed.init.items()} == {
        "prepare": State.COMPLETED,
        "then": State.COMPLETED,
    }
    assert healed.containers["main"] == READY


def test_what_is_missing_is_named_so_that_its_arrival_is_noticed() -> None:
    pod = _pod(_env("secretKeyRef", "login", "user"))
    assert judge(pod, Holdings()).needs == ("secret/default/login",)
    assert judge(pod, Holdings(secrets={"default/login": frozenset({"user"})})).needs == ()


def test_pod_security_holds_containers_back_where_the_api_server_does_not_know_it() -> None:
    labels = {"pod-security.kubernetes.io/enforce": "baseline"}
    pod = _pod()
    object_at(pod, "spec")["hostNetwork"] = True
    verdict = judge(pod, Holdings(labels=labels))
    assert _main(verdict) == BROKEN_CONFIG
    assert verdict.containers["main"].message == (
        'violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)'
    )
    assert _main(judge(_pod(), Holdings(labels=labels))) == RUNS
