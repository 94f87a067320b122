"""Incidents that people are called for at night: the first lines of `explain` name what was planted, and who did it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from tapio_cli.history.standing import status_of
from tapio_cli.history.story import read_story
from tapio_shared.api.images import DEFAULT_TAPIO_VERSION
from tapio_shared.codec import decode_as
from tapio_shared.json import JsonObject, JsonValue, object_at, objects_at, str_at
from tapio_shared.kubernetes import check
from tapio_simulator.faults import Fault
from tests.support.e2e_objects import small_cluster
from tests.support.incidents import KEY, NAME, Incident, incident
from tests.support.operator_in_process import RECONCILER
from tests.support.virtual_time import run_virtually

BOB = "bob@example.org"
FIRST = 6
"""Lines that a person reads first."""
Plant = Callable[[Incident], Awaitable[None]]


def nats(**fields: object) -> JsonObject:
    return {"spec": {"nats": cast("JsonObject", fields)}}


def behaves(behaviour: str) -> JsonObject:
    return nats(podAnnotations={"simulator.tapio.io/behaviour": behaviour})


def spec_change(patch: JsonObject, reason: str) -> Plant:
    """Bob changes the spec, after which the cluster is not Ready for `reason`."""

    async def plant(one: Incident) -> None:
        await one.edit(BOB, patch)
        await one.until_condition("Ready", "False", reason)

    return plant


def rolled_out(patch: JsonObject) -> Plant:
    """Bob changes the spec, and all is well."""

    async def plant(one: Incident) -> None:
        await one.edit(BOB, patch)
        await one.until(lambda found: _generation(found) == object_at(found, "status").get("observedGeneration"))
        await one.until_condition("Ready", "True")

    return plant


def _generation(cluster: JsonObject) -> object:
    return object_at(cluster, "metadata")["generation"]


async def paused(one: Incident) -> None:
    await one.edit(BOB, {"metadata": {"annotations": {"tapio.io/paused": "true"}}})
    await one.until_condition("Paused", "True")


async def deleted_while_paused(one: Incident) -> None:
    await paused(one)
    await one.delete("apps/v1", "statefulsets", f"{NAME}-nats")
    await one.until_condition("Paused", "True")


async def invalid_without_webhook(one: Incident) -> None:
    await one.edit(BOB, nats(podTemplate={"spec": {"hostNetwork": True}}), webhook=False)
    await one.until_condition("Stalled", "True")


async def edited_by_hand(one: Incident) -> None:
    wrong: JsonObject = {"spec": {"selector": {"app.kubernetes.io/name": "else"}}}
    await one.edit_object("v1", "services", f"{NAME}-nats", wrong, manager="kubectl-edit")
    await one.until_condition("Ready", "True")


async def deleted_by_hand(one: Incident) -> None:
    await one.delete("v1", "services", f"{NAME}-nats")
    await one.until_condition("Ready", "True")


async def credentials_deleted(one: Incident) -> None:
    await one.delete("v1", "secrets", f"{NAME}-nats-auth")
    await one.until_condition("Ready", "True")


async def credentials_changed(one: Incident) -> None:
    password: JsonObject = {"data": {"gateway": "bmV3", "kubernetes": "bmV3"}}
    await one.edit_object("v1", "secrets", f"{NAME}-nats-auth", password, manager="vault")
    await one.until_condition("Ready", "True")


async def somebody_elses(one: Incident) -> None:
    document: JsonObject = {"metadata": {"name": f"{NAME}-nats"}, "spec": {"ports": [{"port": 1}]}}
    await one.make("v1", "services", document)
    await one.create(BOB, small_cluster(NAME, version=DEFAULT_TAPIO_VERSION))
    await one.until_condition("Stalled", "True", "ObjectConflict")


async def no_storage_class(one: Incident) -> None:
    given = small_cluster(NAME, version=DEFAULT_TAPIO_VERSION, nats={"storageClassName": "none-such"})
    await one.create(BOB, given)
    await one.until_condition("Ready", "False", "VolumePending")


async def scaled_by_somebody_else(one: Incident) -> None:
    more: JsonObject = {"spec": {"replicas": 4}}
    await one.edit_object("apps/v1", "deployments", f"{NAME}-kubernetes", more, manager="keda")
    await asyncio.sleep(5)  # virtual seconds, for whatever is done about it
    await one.until_condition("Ready", "True")


async def status_not_written(one: Incident) -> None:
    verbs, users = frozenset({"apply", "patch"}), frozenset({RECONCILER.name})
    one.operator.cluster.faults.add(Fault(action="refuse", verbs=verbs, status=503, users=users))
    await one.edit(BOB, nats(podLabels={"team": "a"}))
    await asyncio.sleep(5)  # virtual seconds, for whatever is tried


async def missing_secret(one: Incident) -> None:
    await one.edit(BOB, nats(external={"url": "nats://elsewhere:4222", "credentialsSecretRef": {"name": "creds"}}))
    await one.until_condition("Ready", "False")


async def refused_by_the_api_server(one: Incident) -> None:
    one.operator.cluster.faults.add(
        Fault(action="refuse", verbs=frozenset({"apply"}), status=403, users=frozenset({RECONCILER.name}))
    )
    await one.edit(BOB, nats(podAnnotations={"note": "x"}))
    await one.until_condition("Ready", "False")


async def rights_lost(one: Incident) -> None:
    verbs, users = frozenset({"apply", "patch", "create"}), frozenset({RECONCILER.name})
    one.operator.cluster.faults.add(Fault(action="refuse", verbs=verbs, status=403, users=users))
    await one.edit(BOB, nats(podAnnotations={"note": "x"}))
    await asyncio.sleep(5)  # virtual seconds, for whatever is tried


async def throttled(one: Incident) -> None:
    one.operator.cluster.faults.add(
        Fault(
            action="refuse",
            verbs=frozenset({"apply"}),
            status=429,
            retry_after=30,
            users=frozenset({RECONCILER.name}),
        )
    )
    await one.edit(BOB, nats(podAnnotations={"note": "x"}))
    await one.until(lambda found: "429" in str(found.get("status")))


async def lost_worker(one: Incident) -> None:
    await one.operator.kill("w0")
    await one.edit(BOB, nats(podAnnotations={"note": "x"}))
    one.operator.start_worker("w1")
    await one.until(lambda found: _generation(found) == object_at(found, "status").get("observedGeneration"))


async def full_disk(one: Incident) -> None:
    """The disks of all nodes are full, and then a pod is to come anew."""
    answer = await one.operator.admin.request("GET", "/api/v1/nodes")
    nodes = objects_at(cast("JsonObject", decode_as(dict, check(answer))), "items")
    fault: JsonObject = {"metadata": {"annotations": {"simulator.tapio.io/fault": "disk-pressure"}}}
    for node in nodes:
        await one.operator.patch(f"/api/v1/nodes/{str_at(node, 'metadata', 'name')}", fault)
    await one.edit(BOB, nats(podAnnotations={"note": "x"}))
    await one.until_condition("Ready", "False", "Unschedulable")


async def forced(one: Incident) -> None:
    await one.edit(BOB, {"metadata": {"annotations": {"tapio.io/force-reconcile": "now"}}})
    await one.until_condition("Ready", "True")


async def deleted(one: Incident) -> None:
    await one.delete("tapio.io/v1alpha1", "tapioclusters", NAME)
    await one.until(lambda found: not found)


async def node_agents_refused(one: Incident) -> None:
    labels: JsonObject = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}}
    await one.operator.patch("/api/v1/namespaces/tapio-nodes", labels)
    await one.edit(BOB, {"spec": {"collectors": {"ebpf": True}}})
    await one.until_condition("CollectorsReady", "False", "PodSecurityRefused")


async def node_agents_without_namespace(one: Incident) -> None:
    await one.edit(BOB, {"spec": {"collectors": {"ebpf": True}}})
    await one.until(lambda found: "ebpf" in str(found.get("status")))
    await one.until_condition("CollectorsReady", "True")
    check(await one.operator.admin.request("DELETE", "/api/v1/namespaces/tapio-nodes"))
    await one.until_condition("Stalled", "True", "NamespaceMissing")


async def overlap(one: Incident) -> None:
    spec: JsonObject = {"type": "kubernetes", "clusterRef": {"name": NAME}}
    document: JsonObject = {
        "apiVersion": "tapio.io/v1alpha1",
        "kind": "TapioCollector",
        "metadata": {"name": "again"},
        "spec": spec,
    }
    await one.create(BOB, document)
    await one.until_condition("Stalled", "True", kind="TapioCollector", name="again")


async def collector_without_cluster(one: Incident) -> None:
    document: JsonObject = {
        "apiVersion": "tapio.io/v1alpha1",
        "kind": "TapioCollector",
        "metadata": {"name": "alone"},
        "spec": {"type": "kubernetes", "clusterRef": {"name": NAME}},
    }
    await one.create(BOB, document)
    await one.until_condition("Stalled", "True", kind="TapioCollector", name="alone")


SCALED = nats(replicas=3)

INCIDENTS = [
    pytest.param(
        spec_change(nats(image="docker.io/library/nats:does-not-exist"), "ImagePullFailed"),
        "",
        ["ImagePullFailed", "nats:does-not-exist", BOB],
        id="a bad image",
    ),
    pytest.param(spec_change(behaves("crash"), "CrashLooping"), "", ["CrashLooping", BOB], id="a crash loop"),
    pytest.param(spec_change(behaves("oom"), "OutOfMemory"), "", ["OutOfMemory", BOB], id="out of memory"),
    pytest.param(
        spec_change(behaves("crash"), "CrashLooping"),
        "nats",
        [r"\Anats is Failed since .*: CrashLooping: ", "was last written by the decision", "podAnnotations", BOB],
        id="a component that fails",
    ),
    pytest.param(
        deleted_while_paused,
        "nats",
        [
            rf"\AStatefulSet.apps default/{NAME}-nats is gone since .*, and is not made again while the TapioCluster "
            r"is paused \(tapio.io/paused\)\.\n"
        ],
        id="a component whose workload is gone",
    ),
    pytest.param(
        throttled, f"StatefulSet/{NAME}-nats", [r"\AThe apply of .* failed once, last at "], id="a write that fails"
    ),
    pytest.param(
        spec_change(nats(resources={"requests": {"cpu": "1000"}}), "Unschedulable"),
        "",
        ["Unschedulable", "Insufficient cpu", BOB],
        id="no node is large enough",
    ),
    pytest.param(
        spec_change(nats(priorityClassName="none-such"), "DependencyNotReady"),
        "",
        ["none-such", BOB],
        id="a missing priority class",
    ),
    pytest.param(paused, "", ["is paused by the annotation tapio.io/paused since .*@", BOB], id="a paused cluster"),
    pytest.param(
        invalid_without_webhook,
        "",
        ["is stalled", "hostNetwork", "by kubectl-edit"],
        id="an invalid spec, the webhook being off",
    ),
    pytest.param(
        edited_by_hand,
        f"Service/{NAME}-nats",
        ["was last written by the decision", "by kubectl-edit", "spec.selector"],
        id="an edit by hand",
    ),
    pytest.param(
        deleted_by_hand, f"Service/{NAME}-nats", ["was last written", "was deleted, or lost"], id="a deleted object"
    ),
    pytest.param(
        node_agents_refused,
        "",
        ["PodSecurityRefused", 'violates PodSecurity "baseline', "spec.collectors", BOB],
        id="pods that Pod Security refuses",
    ),
    pytest.param(
        credentials_deleted, "", [rf"Secret default/{NAME}-nats-auth was deleted, or lost"], id="lost credentials"
    ),
    pytest.param(
        credentials_deleted,
        f"StatefulSet/{NAME}-nats",
        [rf"Secret default/{NAME}-nats-auth was deleted, or lost"],
        id="who rolled for lost credentials",
    ),
    pytest.param(
        credentials_changed,
        f"Deployment/{NAME}-kubernetes",
        [rf"Secret default/{NAME}-nats-auth was changed at .* by vault: digests\.gateway: "],
        id="credentials that somebody rotates",
    ),
    pytest.param(
        node_agents_without_namespace,
        "",
        [
            "NamespaceMissing",
            r'and \d more writes in the same way, .*: namespaces "tapio-nodes" not found;',
            r"\d objects were deleted, or lost the labels by which the operator finds them, from .* and \d more\.",
        ],
        id="the node agents' namespace is gone",
    ),
    pytest.param(missing_secret, "", ["creds", BOB], id="a missing Secret"),
    pytest.param(refused_by_the_api_server, "", ["403", "tried again at", BOB], id="rights that were taken away"),
    pytest.param(
        rights_lost,
        "",
        [
            rf"\AThe status of TapioCluster default/{NAME} can't be written, so what it says is older than .* 403",
            "The apply of StatefulSet.* failed once",
        ],
        id="all rights were taken away",
    ),
    pytest.param(throttled, "", ["429", "tried again at", BOB], id="an API server that is busy"),
    pytest.param(full_disk, "", ["Unschedulable", "disk-pressure", "podAnnotations", BOB], id="a full disk"),
    pytest.param(lost_worker, f"StatefulSet/{NAME}-nats", ["podAnnotations", BOB], id="a lost worker"),
    pytest.param(forced, "", ["force-reconcile", BOB], id="a forced reconcile"),
    pytest.param(
        deleted,
        "",
        [
            "does not exist since",
            rf"TapioCluster.tapio.io default/{NAME} was deleted at ",
            r"was asked to be deleted at [^;]*; by whom, only the audit log of the API server says\.",
        ],
        id="a deleted cluster",
    ),
    pytest.param(overlap, "TapioCollector/again", ["is stalled", "Overlap", BOB], id="a collector that overlaps"),
    pytest.param(
        rolled_out({"spec": {"version": "v0.2.0"}}),
        f"Deployment/{NAME}-kubernetes",
        ["spec.version: v0.1.0 → v0.2.0", BOB],
        id="an upgrade",
    ),
    pytest.param(
        scaled_by_somebody_else,
        f"Deployment/{NAME}-kubernetes",
        ["by keda", "spec.replicas: 1 → 4"],
        id="somebody else scales",
    ),
    pytest.param(rolled_out(SCALED), f"StatefulSet/{NAME}-nats", ["replicas", BOB], id="scaled by the spec"),
]


@pytest.mark.parametrize(("plant", "about", "expected"), INCIDENTS)
def test_the_first_lines_name_the_cause_and_who(plant: Plant, about: str, expected: list[str]) -> None:
    lines = run_virtually(_first_lines(plant, about))
    text = "\n".join(lines)
    assert [pattern for pattern in expected if not re.search(pattern, text)] == [], text


@pytest.mark.parametrize(
    ("plant", "expected"),
    [
        pytest.param(
            somebody_elses,
            ["Service default/one-nats exists and is not managed by this", f"was created at .* by {BOB}"],
            id="somebody else's object of the same name",
        ),
        pytest.param(
            no_storage_class, ["VolumePending", "none-such", f"was created at .* by {BOB}"], id="no such storage class"
        ),
        pytest.param(
            collector_without_cluster,
            [
                rf"\ATapioCluster default/{NAME} does not exist\.",
                "It is named by TapioCollector default/alone: create it, or correct spec.clusterRef.name there.",
            ],
            id="a collector of a cluster that there is not",
        ),
    ],
)
def test_of_a_cluster_that_never_became_ready(plant: Plant, expected: list[str]) -> None:
    text = "\n".join(run_virtually(_first_lines(plant, "", ready=False)))
    assert [pattern for pattern in expected if not re.search(pattern, text)] == [], text


@pytest.mark.parametrize(
    ("plant", "expected"),
    [
        pytest.param(forced, [], id="a status that is new"),
        pytest.param(
            deleted_while_paused,
            [
                "The components are shown as they were when the pause began. What has gone or changed since: tapioctl "
                f"doctor default/{NAME}"
            ],
            id="a paused cluster",
        ),
        pytest.param(
            status_not_written,
            [
                f"The status of TapioCluster default/{NAME} can't be written, so what it says is older than TIME: the "
                "simulator was told to refuse this request with 503; it is tried again at TIME.",
                "The spec has changed since this status was written. Whether anybody acts on it: tapioctl explain "
                f"default/{NAME}",
            ],
            id="a change that the status does not know of",
        ),
    ],
)
def test_a_status_that_is_older_than_what_it_stands_for_says_so(plant: Plant, expected: list[str]) -> None:
    async def remarks() -> JsonValue:
        async with incident() as one:
            await plant(one)
            return status_of(await read_story(one.operator.log, KEY), ())["remarks"]

    assert [re.sub(r"2026-\S+Z", "TIME", str(one)) for one in cast("list[str]", run_virtually(remarks()))] == expected


@pytest.mark.parametrize(
    ("plant", "ready", "phase", "remarks"),
    [
        pytest.param(deleted, True, "Deleted", [], id="deleted"),
        pytest.param(
            collector_without_cluster,
            False,
            "Missing",
            ["It is named by TapioCollector default/alone: create it, or correct spec.clusterRef.name there."],
            id="it never was",
        ),
    ],
)
def test_what_is_no_more_is_told_from_what_never_was(
    plant: Plant, ready: bool, phase: str, remarks: list[JsonValue]
) -> None:
    async def status() -> JsonObject:
        async with incident(ready=ready) as one:
            await plant(one)
            return status_of(await read_story(one.operator.log, KEY), ())

    found = run_virtually(status())
    assert (found["exists"], found["phase"], found["remarks"]) == (False, phase, remarks)


async def _first_lines(plant: Plant, about: str, *, ready: bool = True) -> list[str]:
    async with incident(ready=ready) as one:
        await plant(one)
        found = await one.explained(about)
        return [found.answer, *found.because][:FIRST]
