"""Create, update and patch; subresources; what may not change; what is defaulted."""

from __future__ import annotations

import pytest

from tapio_shared.json import JsonObject, JsonValue, at, int_at, object_at, objects_at, str_at
from tests.support.kube_calls import JSON_PATCH, STRATEGIC, Calls, config_map, deployment


def stateful_set(name: str) -> JsonObject:
    document = deployment(name)
    document["kind"] = "StatefulSet"
    object_at(document, "spec")["serviceName"] = name
    return document


def service(name: str, **spec: JsonValue) -> JsonObject:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"ports": [{"port": 80, "protocol": "TCP"}], "selector": {"app": name}, **spec},
    }


async def test_creating_twice(calls: Calls) -> None:
    path = calls.path("v1", "configmaps")
    await calls.create(path, config_map("one"))
    reply = await calls.create(path, config_map("one"))
    assert (reply.status, reply.reason, reply.message) == (409, "AlreadyExists", 'configmaps "one" already exists')


async def test_a_generated_name(calls: Calls) -> None:
    reply = await calls.create(calls.path("v1", "configmaps"), {"metadata": {"generateName": "made-"}})
    name = str_at(reply.document, "metadata", "name")
    assert name.startswith("made-")
    assert len(name) == len("made-") + 5


async def test_no_namespace_no_object(calls: Calls) -> None:
    reply = await calls.create("/api/v1/namespaces/nowhere/configmaps", config_map("one"))
    assert (reply.status, reply.message) == (404, 'namespaces "nowhere" not found')


async def test_bad_names_are_refused(calls: Calls) -> None:
    reply = await calls.create(calls.path("v1", "configmaps"), config_map("Not_OK"))
    assert reply.status == 422
    assert reply.message.startswith('ConfigMap "Not_OK" is invalid: metadata.name: Invalid value: "Not_OK": a ')


async def test_a_stale_update_is_a_conflict(calls: Calls) -> None:
    path = calls.path("v1", "configmaps")
    first = await calls.create(path, config_map("one", {"a": "1"}))
    await calls.merge(f"{path}/one", {"data": {"a": "2"}})
    stale = config_map("one", {"a": "3"}, resourceVersion=first.version)
    reply = await calls.call("PUT", f"{path}/one", stale)
    assert (reply.status, reply.reason) == (409, "Conflict")
    assert reply.message == (
        'Operation cannot be fulfilled on configmaps "one": the object has been modified; please apply your changes '
        "to the latest version and try again"
    )


async def test_an_update_without_a_version_wins(calls: Calls) -> None:
    path = calls.path("v1", "configmaps")
    await calls.create(path, config_map("one", {"a": "1"}))
    reply = await calls.call("PUT", f"{path}/one", config_map("one", {"b": "2"}))
    assert (reply.status, object_at(reply.document, "data")) == (200, {"b": "2"})


async def test_a_write_without_effect_keeps_the_version(calls: Calls) -> None:
    path = calls.path("v1", "configmaps")
    first = await calls.create(path, config_map("one", {"a": "1"}))
    assert (await calls.merge(f"{path}/one", {"data": {"a": "1"}})).version == first.version


async def test_merge_patch_removes_by_null(calls: Calls) -> None:
    path = calls.path("v1", "configmaps")
    await calls.create(path, config_map("one", {"a": "1", "b": "2"}))
    reply = await calls.merge(f"{path}/one", {"data": {"a": None, "c": "3"}})
    assert object_at(reply.document, "data") == {"b": "2", "c": "3"}


async def test_json_patch(calls: Calls) -> None:
    path = calls.path("v1", "configmaps")
    await calls.create(path, config_map("one", {"a": "1"}))
    operations: JsonValue = [
        {"op": "test", "path": "/data/a", "value": "1"},
        {"op": "replace", "path": "/data/a", "value": "2"},
        {"op": "add", "path": "/metadata/annotations", "value": {}},
        {"op": "add", "path": "/metadata/annotations/b~1c", "value": "3"},
    ]
    reply = await calls.call("PATCH", f"{path}/one", operations, JSON_PATCH)
    assert object_at(reply.document, "data") == {"a": "2"}
    assert object_at(reply.document, "metadata", "annotations") == {"b/c": "3"}
    failing: JsonValue = [{"op": "test", "path": "/data/a", "value": "9"}]
    assert (await calls.call("PATCH", f"{path}/one", failing, JSON_PATCH)).status == 422


async def test_strategic_merge_patch_merges_lists_by_key(calls: Calls) -> None:
    path = calls.path("apps/v1", "deployments")
    await calls.create(path, deployment("web"))
    patch: JsonObject = {
        "spec": {
            "template": {
                "spec": {"containers": [{"name": "web", "image": "web:2"}, {"name": "side", "image": "side:1"}]}
            }
        }
    }
    reply = await calls.call("PATCH", f"{path}/web", patch, STRATEGIC)
    containers = objects_at(reply.document, "spec", "template", "spec", "containers")
    assert sorted((str_at(entry, "name"), str_at(entry, "image")) for entry in containers) == [
        ("side", "side:1"),
        ("web", "web:2"),
    ]
    gone: JsonObject = {"spec": {"template": {"spec": {"containers": [{"name": "side", "$patch": "delete"}]}}}}
    reply = await calls.call("PATCH", f"{path}/web", gone, STRATEGIC)
    assert len(objects_at(reply.document, "spec", "template", "spec", "containers")) == 1


async def test_an_unknown_patch_type_is_refused(calls: Calls) -> None:
    path = calls.path("v1", "configmaps")
    await calls.create(path, config_map("one"))
    assert (await calls.call("PATCH", f"{path}/one", {}, "application/json")).status == 415


async def test_generation_follows_the_spec_alone(calls: Calls) -> None:
    path = calls.path("apps/v1", "deployments")

    def generation(document: JsonObject) -> int:
        return int_at(document, "metadata", "generation")

    made = await calls.create(path, deployment("web"))
    labelled = await calls.merge(f"{path}/web", {"metadata": {"labels": {"a": "b"}}})
    scaled = await calls.merge(f"{path}/web", {"spec": {"replicas": 3}})
    reported = await calls.merge(f"{path}/web/status", {"status": {"replicas": 3}})
    assert [generation(reply.document) for reply in (made, labelled, scaled, reported)] == [1, 1, 2, 2]


async def test_status_and_spec_do_not_cross(calls: Calls) -> None:
    path = calls.path("apps/v1", "deployments")
    await calls.create(path, deployment("web", replicas=1))
    both: JsonObject = {"spec": {"replicas": 4}, "status": {"replicas": 4}}
    reply = await calls.merge(f"{path}/web", both)
    assert (int_at(reply.document, "spec", "replicas"), int_at(reply.document, "status", "replicas")) == (4, 0)
    both["spec"] = {"replicas": 9}
    reply = await calls.merge(f"{path}/web/status", both)
    assert (int_at(reply.document, "spec", "replicas"), int_at(reply.document, "status", "replicas")) == (4, 4)


async def test_scale(calls: Calls) -> None:
    path = calls.path("apps/v1", "deployments")
    await calls.create(path, deployment("web", replicas=2))
    scale = await calls.get(f"{path}/web/scale")
    assert (scale.document["kind"], scale.document["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert int_at(scale.document, "spec", "replicas") == 2
    reply = await calls.merge(f"{path}/web/scale", {"spec": {"replicas": 5}})
    assert (reply.status, int_at(reply.document, "spec", "replicas")) == (200, 5)
    stored = await calls.get(f"{path}/web")
    assert int_at(stored.document, "spec", "replicas") == 5
    assert int_at(stored.document, "metadata", "generation") == 2


@pytest.mark.parametrize(
    ("group", "plural", "document", "patch", "field"),
    [
        pytest.param(
            "apps/v1",
            "deployments",
            deployment("x"),
            {
                "spec": {
                    "selector": {"matchLabels": {"app": "x", "b": "c"}},
                    "template": {"metadata": {"labels": {"b": "c"}}},
                }
            },
            "spec.selector",
            id="a Deployment's selector",
        ),
        pytest.param(
            "apps/v1",
            "statefulsets",
            stateful_set("x"),
            {"spec": {"serviceName": "y"}},
            "spec",
            id="a StatefulSet's Service",
        ),
        pytest.param(
            "v1",
            "services",
            service("x"),
            {"spec": {"clusterIP": "10.96.200.200"}},
            "spec.clusterIPs[0]",
            id="a cluster IP",
        ),
        pytest.param(
            "v1",
            "secrets",
            {"metadata": {"name": "x"}, "data": {"a": "Yg=="}},
            {"type": "other"},
            "type",
            id="a Secret's type",
        ),
        pytest.param(
            "v1",
            "configmaps",
            {"metadata": {"name": "x"}, "immutable": True, "data": {"a": "b"}},
            {"data": {"a": "c"}},
            "data",
            id="an immutable ConfigMap",
        ),
        pytest.param(
            "rbac.authorization.k8s.io/v1",
            "rolebindings",
            {
                "metadata": {"name": "x"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "a"},
            },
            {"roleRef": {"name": "b"}},
            "roleRef",
            id="a binding's role",
        ),
        pytest.param(
            "v1",
            "persistentvolumeclaims",
            {
                "metadata": {"name": "x"},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "storageClassName": "a",
                    "resources": {"requests": {"storage": "2Gi"}},
                },
            },
            {"spec": {"storageClassName": "b"}},
            "spec",
            id="a claim's storage class",
        ),
    ],
)
async def test_what_may_not_change(
    calls: Calls, group: str, plural: str, document: JsonObject, patch: JsonObject, field: str
) -> None:
    path = calls.path(group, plural)
    made = await calls.create(path, document)
    assert made.status == 201, made.message
    reply = await calls.merge(f"{path}/x", patch)
    assert (reply.status, reply.reason) == (422, "Invalid")
    fields = [str_at(cause, "field") for cause in objects_at(reply.document, "details", "causes")]
    assert field in fields, reply.message


async def test_volume_claim_templates_are_refused_in_kubernetes_words(calls: Calls) -> None:
    path = calls.path("apps/v1", "statefulsets")
    await calls.create(path, stateful_set("db"))
    claim: JsonValue = [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}]
    reply = await calls.merge(f"{path}/db", {"spec": {"volumeClaimTemplates": claim}})
    assert reply.message.startswith(
        'StatefulSet.apps "db" is invalid: spec: Forbidden: updates to statefulset spec for fields other than '
    )


async def test_a_service_keeps_its_address_when_an_apply_leaves_it_out(calls: Calls) -> None:
    path = calls.path("v1", "services", "web")
    document: JsonObject = {**service("web"), "apiVersion": "v1", "kind": "Service"}
    made = await calls.apply(path, document)
    object_at(document, "spec")["sessionAffinity"] = "ClientIP"
    reply = await calls.apply(path, document)
    assert reply.status == 200, reply.message
    assert at(reply.document, "spec", "clusterIP") == at(made.document, "spec", "clusterIP")
    assert at(reply.document, "spec", "sessionAffinityConfig") == {"clientIP": {"timeoutSeconds": 10800}}


async def test_a_service_loses_what_only_its_former_type_has(calls: Calls) -> None:
    path = f"{calls.path('v1', 'services')}/one"
    await calls.apply(path, service("one", type="LoadBalancer"))
    reply = await calls.apply(path, service("one", type="ClusterIP"))
    assert (reply.status, reply.message) == (200, "")
    spec = object_at(reply.document, "spec")
    assert {"allocateLoadBalancerNodePorts", "externalTrafficPolicy"} & spec.keys() == set()
    assert "nodePort" not in objects_at(spec, "ports")[0]


async def test_wrong_types_are_a_bad_request(calls: Calls) -> None:
    document = deployment("web")
    object_at(document, "spec")["replicas"] = "three"
    reply = await calls.create(calls.path("apps/v1", "deployments"), document)
    assert (reply.status, reply.reason) == (400, "BadRequest")
    assert reply.message.startswith('Deployment in version "v1" cannot be handled as a Deployment: ')


async def test_unknown_fields_are_dropped(calls: Calls) -> None:
    reply = await calls.create(calls.path("v1", "configmaps"), {**config_map("one"), "nonsense": 1})
    assert reply.status == 201
    assert "nonsense" not in reply.document


async def test_keys_of_data_are_checked(calls: Calls) -> None:
    reply = await calls.create(calls.path("v1", "configmaps"), config_map("one", {"b/c": "1"}))
    assert reply.message == (
        'ConfigMap "one" is invalid: data[b/c]: Invalid value: "b/c": a valid config key must consist of alphanumeric '
        "characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is "
        "'[-._a-zA-Z0-9]+')"
    )


async def test_every_wrong_field_is_named(calls: Calls) -> None:
    document = deployment("web")
    container: JsonObject = {"name": "web", "volumeMounts": [{"name": "no", "mountPath": "/x"}]}
    object_at(document, "spec", "template", "spec")["containers"] = [container]
    reply = await calls.create(calls.path("apps/v1", "deployments"), document)
    assert reply.message == (
        'Deployment.apps "web" is invalid: [spec.template.spec.containers[0].image: Required value, '
        'spec.template.spec.containers[0].volumeMounts[0].name: Not found: "no"]'
    )


async def test_a_pod_template_is_defaulted(calls: Calls) -> None:
    reply = await calls.create(calls.path("apps/v1", "deployments"), deployment("web"))
    spec = object_at(reply.document, "spec")
    assert {name: spec[name] for name in ("replicas", "revisionHistoryLimit", "progressDeadlineSeconds")} == {
        "replicas": 1,
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600,
    }
    assert object_at(spec, "template", "spec") == {
        "containers": [
            {
                "name": "web",
                "image": "registry.example/web:1",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "imagePullPolicy": "IfNotPresent",
            }
        ],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
    }


async def test_string_data_becomes_data(calls: Calls) -> None:
    document: JsonObject = {"metadata": {"name": "one"}, "stringData": {"a": "b"}}
    reply = await calls.create(calls.path("v1", "secrets"), document)
    assert (object_at(reply.document, "data"), str_at(reply.document, "type")) == ({"a": "Yg=="}, "Opaque")
    assert "stringData" not in reply.document


async def test_empty_maps_and_lists_are_not_stored(calls: Calls) -> None:
    document = config_map("one", {}, labels={}, annotations={}, finalizers=[])
    made = await calls.create(calls.path("v1", "configmaps"), document)
    assert "data" not in made.document
    applied = await calls.apply(
        calls.path("v1", "configmaps", "two"), {**document, "metadata": {"name": "two", "labels": {}}}
    )
    assert "data" not in applied.document
    for reply in (made, applied):
        assert {"labels", "annotations", "finalizers"}.isdisjoint(object_at(reply.document, "metadata"))


async def test_empty_structs_are_stored(calls: Calls) -> None:
    document = deployment("web")
    object_at(document, "spec", "template", "spec")["volumes"] = [{"name": "scratch", "emptyDir": {}}]
    reply = await calls.create(calls.path("apps/v1", "deployments"), document)
    assert at(reply.document, "spec", "template", "spec", "volumes") == [{"name": "scratch", "emptyDir": {}}]
