"""Neo4j as its vendor documents it: memory, settings by version and edition, licences, members."""

from __future__ import annotations

import pytest

from tapio_reconciler.core.objects.neo4j_settings import memory_of
from tapio_shared.api.operator_config import OperatorConfig
from tapio_shared.api.validation import validate_cluster
from tapio_shared.json import JsonObject, JsonValue, object_at, objects_at, str_at, strings_at
from tests.support.rendered import objects_of, rendered


def cluster(neo4j: JsonObject, **spec: JsonValue) -> JsonObject:
    return {
        "apiVersion": "tapio.io/v1alpha1",
        "kind": "TapioCluster",
        "metadata": {"name": "one", "namespace": "default"},
        "spec": {"profile": "development", "intelligence": {"neo4j": neo4j}, **spec},
    }


def settings(neo4j: JsonObject, **spec: JsonValue) -> dict[str, str]:
    objects = objects_of(rendered(cluster(neo4j, **spec)))
    config = next(one for one in objects if str_at(one, "metadata", "name") == "one-neo4j-config")
    return strings_at(config, "data")


def members(neo4j: JsonObject) -> list[JsonObject]:
    objects = objects_of(rendered(cluster(neo4j)))
    return [
        one
        for one in objects
        if one["kind"] == "StatefulSet" and str_at(one, "metadata", "name").startswith("one-neo4j-")
    ]


@pytest.mark.parametrize(
    ("limit", "heap", "cache"),
    [
        pytest.param("2Gi", "512m", "512m", id="2Gi"),
        pytest.param("2500Mi", "851m", "512m", id="what the vendor's tool itself says of 2500m"),
        pytest.param("4Gi", "2048m", "512m", id="4Gi"),
        pytest.param("6Gi", "2816m", "1280m", id="between two rows"),
        pytest.param("8Gi", "3584m", "2048m", id="8Gi"),
        pytest.param("16Gi", "5120m", "7168m", id="the manual's example, 16g"),
        pytest.param("64Gi", "24576m", "28672m", id="64Gi"),
        pytest.param("256Gi", "31744m", "209920m", id="heap stays small enough for compressed pointers"),
    ],
)
def test_memory_follows_from_the_limit(limit: str, heap: str, cache: str) -> None:
    assert memory_of(limit) == (heap, cache)


@pytest.mark.parametrize(
    ("given", "requested", "limit", "heap"),
    [
        pytest.param({"requests": {"memory": "4Gi"}, "limits": {"memory": "8Gi"}}, "4Gi", "8Gi", "3584m", id="both"),
        pytest.param({"requests": {"memory": "4Gi"}}, "4Gi", "4Gi", "2048m", id="a request"),
        pytest.param({"limits": {"memory": "8Gi"}}, "8Gi", "8Gi", "3584m", id="a limit"),
    ],
)
def test_memory_that_is_given_stays_as_it_is(given: JsonObject, requested: str, limit: str, heap: str) -> None:
    (member,) = members({"resources": given})
    (container,) = objects_at(member, "spec", "template", "spec", "containers")
    assert str_at(container, "resources", "requests", "memory") == requested
    assert str_at(container, "resources", "limits", "memory") == limit
    assert settings({"resources": given})["NEO4J_server_memory_heap_max__size"] == heap


def test_a_single_member_has_no_cluster_settings() -> None:
    for found in (settings({}), settings({"edition": "Enterprise", "acceptLicenseAgreement": "eval"})):
        assert not [name for name in found if "cluster" in name.lower() or "initial_dbms" in name]


@pytest.mark.parametrize(
    ("version", "discovery"),
    [
        pytest.param(
            "5.26",
            {
                "NEO4J_dbms_cluster_discovery_version": "V2_ONLY",
                "NEO4J_dbms_cluster_discovery_v2_endpoints": "one-neo4j-headless.default.svc:6000",
            },
            id="5.26 has two discovery services",
        ),
        pytest.param(
            "2025.10.1",
            {"NEO4J_dbms_cluster_endpoints": "one-neo4j-headless.default.svc:6000"},
            id="from 2025.01 on there is one, under another name",
        ),
    ],
)
def test_members_find_each_other(version: str, discovery: dict[str, str]) -> None:
    found = settings({"replicas": 3, "acceptLicenseAgreement": "yes", "version": version})
    cluster_settings = {name: value for name, value in found.items() if "luster" in name or "initial_dbms" in name}
    assert cluster_settings == {
        "NEO4J_dbms_cluster_discovery_resolver__type": "DNS",
        "NEO4J_dbms_cluster_minimum__initial__system__primaries__count": "3",
        "NEO4J_initial_dbms_default__primaries__count": "3",
        "NEO4J_initial_dbms_automatically__enable__free__servers": "true",
        **discovery,
    }


def test_adding_a_member_changes_nothing_of_the_others() -> None:
    three = members({"replicas": 3, "acceptLicenseAgreement": "yes"})
    five = members({"replicas": 5, "acceptLicenseAgreement": "yes"})
    assert [str_at(one, "metadata", "name") for one in five] == [f"one-neo4j-{number}" for number in range(5)]
    assert five[:3] == three


def test_a_member_says_where_it_is_to_be_found() -> None:
    pod = object_at(members({"replicas": 3, "acceptLicenseAgreement": "yes"})[1], "spec", "template", "spec")
    env = {str_at(one, "name"): str_at(one, "value") for one in objects_at(objects_at(pod, "containers")[0], "env")}
    host = "$(POD_NAME).one-neo4j-headless.default.svc"
    assert {name: value for name, value in env.items() if "advertised" in name} == {
        "NEO4J_server_default__advertised__address": host,
        "NEO4J_server_cluster_advertised__address": f"{host}:6000",
        "NEO4J_server_cluster_raft_advertised__address": f"{host}:7000",
        "NEO4J_server_routing_advertised__address": f"{host}:7688",
    }
    assert pod["enableServiceLinks"] is False
    assert pod["terminationGracePeriodSeconds"] == 3600


def test_what_the_image_writes_is_writable_and_its_own_configuration_is_kept() -> None:
    pod = object_at(members({})[0], "spec", "template", "spec")
    container, first = objects_at(pod, "containers")[0], objects_at(pod, "initContainers")[0]
    mounts = {str_at(one, "mountPath") for one in objects_at(container, "volumeMounts") if "readOnly" not in one}
    assert mounts == {"/data", "/logs", "/plugins", "/tmp", "/var/lib/neo4j/conf", "/var/lib/neo4j/run"}
    assert first["image"] == container["image"]
    assert first["command"] == ["cp", "-R", "/var/lib/neo4j/conf/.", "/conf-to-change"]


LICENSED: JsonObject = {"acceptLicenseAgreement": "yes"}


@pytest.mark.parametrize(
    ("neo4j", "count", "edition", "condition"),
    [
        pytest.param({}, 1, "community", "", id="nothing said"),
        pytest.param({"edition": "Community"}, 1, "community", "", id="Community"),
        pytest.param({"edition": "Community", **LICENSED}, 1, "community", "", id="Community in spite of a licence"),
        pytest.param(LICENSED, 1, "enterprise", "", id="Auto with a licence"),
        pytest.param({"replicas": 3, **LICENSED}, 3, "enterprise", "", id="a cluster with a licence"),
        pytest.param({"edition": "Enterprise", **LICENSED}, 1, "enterprise", "", id="Enterprise with a licence"),
        pytest.param({"replicas": 3}, 1, "community", "Degraded", id="a cluster without one"),
        pytest.param({"edition": "Enterprise"}, 1, "community", "Degraded", id="Enterprise without one"),
        pytest.param({"replicas": 3, "onUnlicensed": "Refuse"}, 0, "", "Stalled", id="a refused cluster"),
        pytest.param({"edition": "Enterprise", "onUnlicensed": "Refuse"}, 0, "", "Stalled", id="refused Enterprise"),
        pytest.param({"onUnlicensed": "Refuse"}, 1, "community", "", id="nothing to refuse"),
    ],
)
def test_editions_and_licences(neo4j: JsonObject, count: int, edition: str, condition: str) -> None:
    found = members(neo4j)
    assert len(found) == count
    for one in found:
        image = str_at(objects_at(object_at(one, "spec", "template", "spec"), "containers")[0], "image")
        assert image == f"docker.io/library/neo4j:5.26-{edition}"
    notices = [one for one in rendered(cluster(neo4j)).notices if one.reason == "LicenseNotAccepted"]
    assert [one.condition for one in notices] == ([condition] if condition else [])
    data = settings(neo4j) if count else {}
    assert data.get("NEO4J_ACCEPT_LICENSE_AGREEMENT", "") == ("yes" if edition == "enterprise" else "")


@pytest.mark.parametrize(
    ("neo4j", "message"),
    [
        pytest.param(
            {"edition": "Community", "replicas": 3},
            "spec.intelligence.neo4j.replicas is 3; it must be 1 while edition is Community, which can't be clustered.",
            id="a cluster of Community",
        ),
        pytest.param(
            {"config": {"server.directories.data": "/elsewhere"}},
            "must be absent, since the operator decides this setting itself.",
            id="a path of the operator's",
        ),
        pytest.param(
            {"config": {"dbms.cluster.discovery.version": "V1_ONLY"}},
            "must be absent, since the operator decides this setting itself.",
            id="discovery",
        ),
        pytest.param(
            {"config": {"NEO4J_AUTH": "none"}},
            'must be named like a setting of Neo4j, such as "db.logs.query.enabled".',
            id="a variable instead of a setting",
        ),
        pytest.param(
            {"config": {"db.logs.query.enabled": ["INFO"]}},
            "must be one line of text, a number, true or false.",
            id="a list",
        ),
    ],
)
def test_what_cannot_work_is_refused(neo4j: JsonObject, message: str) -> None:
    problems = validate_cluster(cluster(neo4j), trust=OperatorConfig().trust)
    assert len(problems) == 1
    assert problems[0].message.endswith(message)


def test_own_settings_and_plugins() -> None:
    found = settings({"config": {"db.logs.query.enabled": True, "db.tx_log.rotation.size": "64M"}, "plugins": ["apoc"]})
    assert found["NEO4J_db_logs_query_enabled"] == "true"
    assert found["NEO4J_db_tx__log_rotation_size"] == "64M"
    assert found["NEO4J_PLUGINS"] == '["apoc"]'


def test_no_budget_for_one_member_and_one_that_never_blocks_for_several() -> None:
    def budgets(neo4j: JsonObject) -> list[JsonObject]:
        objects = objects_of(rendered(cluster(neo4j)))
        return [
            object_at(one, "spec")
            for one in objects
            if one["kind"] == "PodDisruptionBudget" and str_at(one, "metadata", "name") == "one-neo4j"
        ]

    assert budgets({}) == []
    assert [one["maxUnavailable"] for one in budgets({"replicas": 3, **LICENSED})] == [1]


@pytest.mark.parametrize(
    ("config", "address"),
    [
        pytest.param({}, "0.0.0.0", id="by itself"),
        pytest.param({"server.default_listen_address": "[::]"}, "[::]", id="on a cluster with IPv6 alone"),
    ],
)
def test_where_it_listens_can_be_told(config: JsonObject, address: str) -> None:
    assert settings({"config": config})["NEO4J_server_default__listen__address"] == address
    assert validate_cluster(cluster({"config": config}), trust=OperatorConfig().trust) == ()
