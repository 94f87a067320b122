"""Deleting a TapioCluster: all it made goes, in every namespace; data and credentials as `deletionPolicy` says."""

from __future__ import annotations

import pytest

from tests.support.e2e_objects import left_of, small_cluster
from tests.support.operator_run import OperatorRun

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        pytest.param(
            "Retain",
            {
                "PersistentVolumeClaim/{}/data-one-nats-0",
                "PersistentVolumeClaim/{}/data-one-neo4j-0-0",
                "Secret/{}/one-nats-auth",
                "Secret/{}/one-neo4j-auth",
            },
            id="data stays",
        ),
        pytest.param("Delete", set[str](), id="data goes"),
    ],
)
async def test_a_deleted_cluster_leaves_only_its_data(
    operator: OperatorRun, namespace: str, policy: str, kept: set[str]
) -> None:
    kubernetes = operator.kubernetes
    document = small_cluster(
        "one", profile="development", collectors={"kubernetes": True, "ebpf": True}, deletionPolicy=policy
    )
    await kubernetes.apply(document, namespace)
    await kubernetes.until_condition("one", "Ready", "True", namespace=namespace)
    made = await left_of(kubernetes, "one", namespace)
    assert {one.split("/")[1] for one in made} == {namespace, "tapio-nodes", ""}

    await kubernetes.kubectl.run("delete", "tapiocluster", "one", "-n", namespace, "--timeout=60s")

    expected = {name.format(namespace) for name in kept}
    assert expected <= made

    async def only_data_is_left() -> bool:
        return await left_of(kubernetes, "one", namespace) == expected

    await kubernetes.until(only_data_is_left)


async def test_a_cluster_made_anew_uses_the_data_that_was_kept(operator: OperatorRun, namespace: str) -> None:
    kubernetes = operator.kubernetes
    document = small_cluster("one", profile="development")
    await kubernetes.apply(document, namespace)
    await kubernetes.until_condition("one", "Ready", "True", namespace=namespace)
    password = await kubernetes.field("secret", "one-neo4j-auth", ("data",), namespace)
    assert password

    await kubernetes.kubectl.run("delete", "tapiocluster", "one", "-n", namespace, "--timeout=60s")
    await kubernetes.apply(document, namespace)

    await kubernetes.until_condition("one", "Ready", "True", namespace=namespace)
    assert await kubernetes.field("secret", "one-neo4j-auth", ("data",), namespace) == password
