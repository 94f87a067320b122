"""Names are valid, short and never shared by two clusters; labels lead back to the cluster."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio_shared.api import labels, names

SUFFIXES = (
    "nats", "nats-headless", "nats-config", "nats-auth", "neo4j", "neo4j-0", "neo4j-1", "neo4j-auth",
    "correlation", "gateway", "ebpf", "systemd", "cni", "kubernetes", "etcd",
)  # fmt: skip
CLUSTERS = st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?", fullmatch=True)
NAMESPACES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


# The hashes: printf '%s' team-a/team.prod | sha256sum | cut -c1-8
@pytest.mark.parametrize(
    ("cluster", "suffix", "name"),
    [
        pytest.param("production", "neo4j", "production-neo4j", id="readable where it can be"),
        pytest.param("a" * 38, "nats-headless", "a" * 38 + "-nats-headless", id="exactly 52 characters"),
        pytest.param("a" * 39, "nats-headless", "a" * 29 + "-nats-headless-bfea5450", id="53 characters are cut"),
        pytest.param("team.prod", "nats", "team-prod-nats-3b417641", id="no dots in a Service's name"),
        pytest.param("1st", "nats", "t1st-nats-d2711453", id="no digit first in a Service's name"),
    ],
)
def test_child_names(cluster: str, suffix: str, name: str) -> None:
    assert names.child_name(cluster, suffix, "team-a") == name


def test_node_agents_of_two_namespaces_stay_apart() -> None:
    first = names.node_agent_name("production", "ebpf", "team-a")
    second = names.node_agent_name("production", "ebpf", "team-b")
    assert first != second
    assert first.startswith("production-ebpf-")


@given(CLUSTERS, NAMESPACES, st.sampled_from(SUFFIXES))
def test_every_name_is_a_short_dns_label(cluster: str, namespace: str, suffix: str) -> None:
    for name in (
        names.child_name(cluster, suffix, namespace),
        names.node_agent_name(cluster, suffix, namespace),
    ):
        assert len(name) <= 52
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name, re.ASCII)


@given(CLUSTERS, NAMESPACES)
def test_objects_of_one_cluster_have_different_names(cluster: str, namespace: str) -> None:
    assert len({names.child_name(cluster, suffix, namespace) for suffix in SUFFIXES}) == len(SUFFIXES)


@given(st.sets(CLUSTERS, min_size=2, max_size=6), NAMESPACES)
def test_two_clusters_of_a_namespace_never_share_a_name(clusters: set[str], namespace: str) -> None:
    made = [names.child_name(cluster, suffix, namespace) for cluster in clusters for suffix in SUFFIXES]
    assert len(set(made)) == len(made)


@given(CLUSTERS, CLUSTERS, CLUSTERS)
def test_collectors_with_long_names_stay_apart(cluster: str, one: str, other: str) -> None:
    first, second = names.collector_suffix("ebpf", one), names.collector_suffix("ebpf", other)
    same = names.child_name(cluster, first, "x") == names.child_name(cluster, second, "x")
    assert same == (one == other)


def test_a_collector_of_its_own_never_takes_another_clusters_name() -> None:
    of_collector = names.child_name("a", names.collector_suffix("kubernetes", "gateway"), "team-a")
    assert of_collector != names.child_name("a-kubernetes", "gateway", "team-a") == "a-kubernetes-gateway"


def test_cluster_scoped_names() -> None:
    assert names.cluster_scoped_name("team-a", "production", "kubernetes") == "tapio:team-a:production:kubernetes"


def test_managed_labels_say_everything() -> None:
    assert labels.managed_labels(
        cluster="production", namespace="team-a", uid="u-1", name="nats", component="nats", version="v0.1.0"
    ) == {
        "app.kubernetes.io/name": "nats",
        "app.kubernetes.io/instance": "production",
        "app.kubernetes.io/component": "nats",
        "app.kubernetes.io/part-of": "tapio",
        "app.kubernetes.io/managed-by": "tapio-operator",
        "app.kubernetes.io/version": "v0.1.0",
        "tapio.io/cluster": "production",
        "tapio.io/cluster-namespace": "team-a",
        "tapio.io/cluster-uid": "u-1",
        # printf '%s' production.team-a.TapioCluster.tapio.io | openssl dgst -sha256 -binary | base64 (KEP-3659)
        "applyset.kubernetes.io/part-of": "applyset-U6U0hpTb4wZirwgVegxZPVetUTariMHuGgD8EMcy-xs-v1",
    }


@given(CLUSTERS, NAMESPACES)
def test_labels_lead_back_to_the_cluster(cluster: str, namespace: str) -> None:
    made = labels.managed_labels(
        cluster=cluster, namespace=namespace, uid="u", name="nats", component="nats", version="v1+meta.", collector="c"
    )
    assert labels.key_of_object(made) == (namespace, cluster)
    assert all(LABEL_VALUE.fullmatch(value) for value in made.values())
    assert LABEL_VALUE.fullmatch(labels.node_instance(cluster, namespace))
    assert made.items() >= labels.selector_labels(name="nats", instance=cluster, component="nats").items()


@pytest.mark.parametrize(
    "foreign",
    [
        pytest.param({}, id="no labels"),
        pytest.param({"tapio.io/cluster": "a", "tapio.io/cluster-namespace": "b"}, id="not managed by us"),
        pytest.param({"app.kubernetes.io/managed-by": "tapio-operator"}, id="no cluster"),
        pytest.param({"app.kubernetes.io/managed-by": "Helm", "tapio.io/cluster": "a"}, id="managed by Helm"),
    ],
)
def test_foreign_objects_have_no_key(foreign: dict[str, str]) -> None:
    assert labels.key_of_object(foreign) is None


@given(st.text(max_size=200))
def test_any_text_becomes_a_label_value(text: str) -> None:
    assert LABEL_VALUE.fullmatch(labels.label_value(text))
