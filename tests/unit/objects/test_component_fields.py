"""Every field that API.md gives to components, set on every component, and its effect in the rendered objects."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import pytest

from tapio_reconciler.core.model import Component as Rendered
from tapio_shared.api.component import Component
from tapio_shared.api.trust import Trust
from tapio_shared.api.validation import validate_cluster
from tapio_shared.json import JsonObject, JsonValue, at, list_at, object_at, objects_at, str_at, strings_at
from tests.support.rendered import rendered

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")
ETCD: JsonObject = {"endpoints": ["https://10.0.0.1:2379"], "credentialsSecretRef": {"name": "etcd"}}
COLLECTORS = ("ebpf", "systemd", "cni", "kubernetes", "etcd")
COMPONENTS = ("nats", "neo4j", "correlation", "gateway", "graph", *COLLECTORS)


def cluster(component: str, fields: JsonObject, namespace: str = "tapio-system") -> JsonObject:
    """A TapioCluster with all components, and `fields` on one of them."""
    own: dict[str, JsonObject] = {component: fields}
    collectors: JsonObject = {name: own.get(name, {}) for name in COLLECTORS}
    collectors["etcd"] = {**ETCD, **own.get("etcd", {})}
    intelligence: JsonObject = {"neo4j": own.get("neo4j", {}), "correlation": own.get("correlation", {})}
    if component == "graph":
        intelligence = {"embedded": True, "correlation": fields}
    spec: JsonObject = {
        "collectors": collectors,
        "intelligence": intelligence,
        "nats": own.get("nats", {}),
        "gateway": own.get("gateway", {}),
    }
    return {"metadata": {"name": "c", "namespace": namespace}, "spec": spec}


def part(component: str, fields: JsonObject) -> Rendered | None:
    document = cluster(component, fields)
    assert validate_cluster(document, trust=Trust()) == (), "what is tested is valid"
    names = {"graph": ("graph", "correlation")}.get(component, (component,))
    return next((one for one in rendered(document).components if one.name in names), None)


def templates(found: Rendered) -> list[JsonObject]:
    return [object_at(one, "spec", "template") for one in found.objects if str_at(one, "kind") in WORKLOADS]


def pod(found: Rendered) -> JsonObject:
    return object_at(templates(found)[0], "spec")


def container(found: Rendered) -> JsonObject:
    return objects_at(pod(found), "containers")[0]


def metadata(found: Rendered, what: str) -> dict[str, str]:
    return strings_at(templates(found)[0], "metadata", what)


PROBE: JsonObject = {"exec": {"command": ["true"]}, "periodSeconds": 7}
AFFINITY: JsonObject = {
    "podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "rack", "labelSelector": {}}]
    }
}
TEMPLATE: JsonObject = {
    "metadata": {"annotations": {"note": "n"}},
    "spec": {"runtimeClassName": "gvisor", "containers": [{"name": "helper", "image": "example.org/helper:1"}]},
}
Check = Callable[[Rendered], bool]
FIELDS: Mapping[str, tuple[JsonValue, Check]] = {
    "image": ("example.org/own:7", lambda found: container(found)["image"] == "example.org/own:7"),
    "version": ("v9.9.9", lambda found: str_at(container(found), "image").partition(":v")[2].startswith("9.9.9")),
    "command": (["/own"], lambda found: container(found)["command"] == ["/own"]),
    "args": (["--own"], lambda found: container(found)["args"] == ["--own"]),
    "env": (
        [{"name": "OWN", "value": "x"}, {"name": "NODE_NAME", "value": "y"}],
        lambda found: (
            {one["name"]: one.get("value") for one in objects_at(container(found), "env")}.items()
            >= {"OWN": "x", "NODE_NAME": "y"}.items()
        ),
    ),
    "config": ({"own": {"marker": 4711}}, lambda found: "4711" in json.dumps([*found.objects])),
    "probes": (
        {"startup": "none", "readiness": PROBE, "liveness": "none"},
        lambda found: (
            not {"startupProbe", "livenessProbe"} & container(found).keys()
            and container(found)["readinessProbe"] == PROBE
        ),
    ),
    "resources": (
        {"requests": {"cpu": "700m", "memory": "5Gi"}, "limits": {"memory": "5Gi"}},
        lambda found: (
            container(found)["resources"] == {"requests": {"cpu": "700m", "memory": "5Gi"}, "limits": {"memory": "5Gi"}}
        ),
    ),
    "nodeSelector": ({"pool": "own"}, lambda found: strings_at(pod(found), "nodeSelector")["pool"] == "own"),
    "tolerations": (
        [{"key": "own", "operator": "Exists"}],
        lambda found: list_at(pod(found), "tolerations") == [{"key": "own", "operator": "Exists"}],
    ),
    "affinity": (
        AFFINITY,
        lambda found: at(pod(found), "affinity", "podAntiAffinity") == AFFINITY["podAntiAffinity"],
    ),
    "priorityClassName": ("own", lambda found: pod(found)["priorityClassName"] == "own"),
    "podLabels": ({"team": "own"}, lambda found: metadata(found, "labels")["team"] == "own"),
    "podAnnotations": ({"note": "own"}, lambda found: metadata(found, "annotations")["note"] == "own"),
    "podTemplate": (
        TEMPLATE,
        lambda found: (
            pod(found)["runtimeClassName"] == "gvisor"
            and metadata(found, "annotations")["note"] == "n"
            and objects_at(pod(found), "containers")[-1] == {"name": "helper", "image": "example.org/helper:1"}
        ),
    ),
}
CONFIGS: Mapping[str, JsonObject] = {
    "nats": {"max_connections": 4711},
    "neo4j": {"server.bolt.thread_pool_max_size": "4711"},
}


def test_the_table_holds_every_field_of_a_component() -> None:
    assert {*FIELDS, "enabled", "autoscaling"} == {
        field.alias or name for name, field in Component.model_fields.items()
    }


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("component", COMPONENTS)
def test_every_field_has_its_effect_on_every_component(component: str, field: str) -> None:
    value, has_effect = FIELDS[field]
    if field == "config" and component in CONFIGS:
        value = CONFIGS[component]
    before, after = part(component, {}), part(component, {field: value})
    assert before is not None
    assert after is not None
    assert not _holds(has_effect, before), "without the field there is no such effect"
    assert has_effect(after)


def _holds(check: Check, found: Rendered) -> bool:
    try:
        return check(found)
    except (KeyError, IndexError):
        return False


@pytest.mark.parametrize("component", ["correlation", "gateway"])
def test_what_can_be_scaled_is(component: str) -> None:
    found = part(component, {"autoscaling": {"min": 3, "max": 7}})
    assert found is not None
    scaler = next(one for one in found.objects if str_at(one, "kind") == "HorizontalPodAutoscaler")
    assert (at(scaler, "spec", "minReplicas"), at(scaler, "spec", "maxReplicas")) == (3, 7)


@pytest.mark.parametrize("component", [*COLLECTORS, "gateway", "correlation"])
def test_what_is_switched_off_is_not_there(component: str) -> None:
    assert part(component, {"enabled": False}) is None
    assert part(component, {"enabled": True}) is not None


OVERRIDES = ("image", "command", "args", "env", "podTemplate")


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("component", COLLECTORS)
def test_outside_trusted_namespaces_nobody_decides_what_runs_on_nodes(component: str, field: str) -> None:
    document = cluster(component, {field: FIELDS[field][0]}, namespace="team")
    paths = [one.path for one in validate_cluster(document, trust=Trust())]
    on_nodes = component in {"ebpf", "systemd", "cni"}
    if on_nodes and field in OVERRIDES:
        assert paths == [f"spec.collectors.{component}.{field}"]
    elif on_nodes and field == "probes":
        assert paths == [f"spec.collectors.{component}.probes.readiness.exec"]
    else:
        assert paths == []
