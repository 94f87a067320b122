"""Over which nodes and zones replicas are spread: by the nodes that there are, not by their state of the moment."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from tapio_reconciler.core.model import Rendered
from tapio_shared.api.reasons import Reason
from tapio_shared.facts import NodeGroup
from tapio_shared.json import JsonObject, object_at, objects_at, str_at
from tests.support.rendered import objects_of
from tests.support.small_fleets import CONTROL_PLANE, DEDICATED, POOLS, group, on, patched

STRICT, SOFT = "DoNotSchedule", "ScheduleAnyway"


def spreads(rendered: Rendered) -> Iterator[JsonObject]:
    for one in objects_of(rendered):
        yield from objects_at(one, "spec", "template", "spec", "topologySpreadConstraints")


def strictness(rendered: Rendered, workload: str, kind: str = "StatefulSet") -> dict[str, str]:
    """Topology key -> what is done when it can't be."""
    found = next(
        one
        for one in objects_of(rendered)
        if str_at(one, "kind") == kind and str_at(one, "metadata", "name") == workload
    )
    constraints = objects_at(found, "spec", "template", "spec", "topologySpreadConstraints")
    return {str_at(one, "topologyKey").rpartition("/")[2]: str_at(one, "whenUnsatisfiable") for one in constraints}


@pytest.mark.parametrize(
    ("groups", "spec", "hosts", "zones"),
    [
        pytest.param([group("a"), group("b"), group("c")], {}, STRICT, STRICT, id="a host and a zone for each"),
        pytest.param([group("a", 3)], {}, STRICT, SOFT, id="one zone"),
        pytest.param(
            [group("a", taints=[CONTROL_PLANE]), group("b"), group("c")], {}, SOFT, SOFT, id="one takes no pods"
        ),
        pytest.param(
            [group("a", ready=0), group("b"), group("c")], {}, STRICT, STRICT, id="one is not ready for a while"
        ),
        pytest.param([group("a", virtual=True), group("b"), group("c")], {}, SOFT, SOFT, id="one is no machine"),
        pytest.param([group("a", os="windows"), group("b"), group("c")], {}, SOFT, SOFT, id="one runs Windows"),
        pytest.param(
            [group("a", taints=[f"{DEDICATED[:-10]}PreferNoSchedule"]), group("b"), group("c")],
            {},
            STRICT,
            STRICT,
            id="a taint that keeps nothing away",
        ),
        pytest.param(
            [group(zone, taints=[DEDICATED]) for zone in "abc"],
            {"scheduling": {"tolerations": [{"key": "dedicated", "value": "tapio", "effect": "NoSchedule"}]}},
            STRICT,
            STRICT,
            id="nodes of our own",
        ),
        pytest.param(
            [group(zone, taints=[DEDICATED]) for zone in "abc"],
            {"scheduling": {"tolerations": [{"key": "dedicated", "value": "other", "effect": "NoSchedule"}]}},
            SOFT,
            SOFT,
            id="nodes of somebody else",
        ),
        pytest.param(
            [group("a", labels={"pool": "x"}), group("b", labels={"pool": "y"}), group("c", labels={"pool": "y"})],
            {"scheduling": {"nodeSelector": {"pool": "y"}}},
            SOFT,
            SOFT,
            id="a selector that leaves two",
        ),
    ],
)
def test_three_replicas_are_spread_strictly_where_three_nodes_take_them(
    groups: list[NodeGroup], spec: JsonObject, hosts: str, zones: str
) -> None:
    rendered = on(groups, spec)
    assert strictness(rendered, "any-nats") == {"hostname": hosts, "zone": zones}
    reasons = {notice.reason for notice in rendered.notices}
    assert (Reason.TOO_FEW_ZONES in reasons) == (SOFT in {hosts, zones})


@pytest.mark.parametrize(
    ("version", "groups", "policy", "hosts"),
    [
        pytest.param("v1.26.0", [group("a", 3), group("b", taints=[CONTROL_PLANE])], "Honor", STRICT, id="1.26"),
        pytest.param("v1.25.16", [group("a", 3), group("b", taints=[CONTROL_PLANE])], "", SOFT, id="1.25 counts it"),
        pytest.param("v1.25.16", [group("a", 3)], "", STRICT, id="1.25 where every node takes pods"),
        pytest.param("", [group("a", 3), group("b", taints=[CONTROL_PLANE])], "", SOFT, id="unknown"),
    ],
)
def test_a_node_that_takes_no_pod_never_keeps_one_pending(
    version: str, groups: list[NodeGroup], policy: str, hosts: str
) -> None:
    rendered = on(groups, version=version)
    assert {str_at(one, "nodeTaintsPolicy") for one in spreads(rendered)} == {policy}
    assert strictness(rendered, "any-nats")["hostname"] == hosts


@pytest.mark.parametrize(
    ("version", "most", "hosts"),
    [
        pytest.param("v1.25.16", 3, STRICT, id="1.25, one for each host at most"),
        pytest.param("v1.25.16", 4, SOFT, id="1.25, and two on one"),
        pytest.param("v1.26.0", 4, STRICT, id="1.26, where a cordoned node does not count"),
    ],
)
def test_what_an_autoscaler_may_make_counts_where_a_cordoned_node_does(version: str, most: int, hosts: str) -> None:
    gateway: JsonObject = {"enabled": True, "replicas": 2, "autoscaling": {"max": most}}
    rendered = on([group("a", 3)], {"gateway": gateway}, version=version)
    assert strictness(rendered, "any-gateway", "Deployment")["hostname"] == hosts
    budget = next(
        one
        for one in objects_of(rendered)
        if str_at(one, "kind") == "PodDisruptionBudget" and str_at(one, "metadata", "name") == "any-gateway"
    )
    assert object_at(budget, "spec")["maxUnavailable"] == 1


def test_replicas_are_spread_over_the_nodes_that_a_patch_leaves() -> None:
    rendered = on(POOLS, {"nats": patched(nodeSelector={"pool": "y"})})
    assert strictness(rendered, "any-nats") == {"hostname": SOFT, "zone": SOFT}


@pytest.mark.parametrize(
    ("component", "strict"),
    [
        pytest.param({"nodeSelector": {"pool": "y"}}, (SOFT, SOFT), id="a selector of its own"),
        pytest.param({"tolerations": []}, (SOFT, SOFT), id="no toleration of its own"),
        pytest.param({"priorityClassName": "high"}, (STRICT, STRICT), id="those of all"),
    ],
)
def test_a_component_is_spread_over_the_nodes_that_take_its_own_pods(
    component: JsonObject, strict: tuple[str, str]
) -> None:
    groups = [msgspec.structs.replace(one, taints=[DEDICATED] * (one.zone == "a")) for one in POOLS]
    tolerated: JsonObject = {"tolerations": [{"key": "dedicated", "value": "tapio"}]}
    rendered = on(groups, {"scheduling": tolerated, "nats": component})
    assert strictness(rendered, "any-nats") == dict(zip(("hostname", "zone"), strict, strict=True))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        pytest.param({}, "spread 3 replicas, and 2 hosts in 2 zones", id="NATS"),
        pytest.param(
            {"nats": {"nodeSelector": {"pool": "x"}}}, "spread 3 replicas, and 1 host in 1 zone", id="NATS on a pool"
        ),
        pytest.param({"nats": {"external": {"url": "nats://a:4222"}}}, None, id="two are enough for the rest"),
        pytest.param(
            {
                "nats": {"external": {"url": "nats://a:4222"}},
                "intelligence": {"neo4j": {"enabled": False}, "correlation": {"enabled": False, "replicas": 9}},
            },
            None,
            id="what is switched off",
        ),
        pytest.param({"nats": {"affinity": {}}}, None, id="what has an affinity given is not spread"),
        pytest.param({"scheduling": {"affinity": {}}}, None, id="an affinity for all"),
    ],
)
def test_what_is_said_of_too_few_places(spec: JsonObject, message: str | None) -> None:
    notices = on(POOLS[:2], spec).notices
    found = [notice.message for notice in notices if str(notice.reason) == "TooFewZones"]
    rest = " can take them; replicas are spread as well as it goes. Add nodes in other zones."
    assert found == ([] if message is None else [f"High availability would {message}{rest}"])
