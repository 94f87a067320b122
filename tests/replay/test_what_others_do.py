"""What others do to a TapioCluster's objects, which no condition says: `explain`, `status`, `doctor` and Events do.

They change or delete them again and again, or keep them from going by finalizers of theirs.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from tapio_cli.doctor.cluster import examine
from tapio_cli.doctor.findings import Finding, Verdict
from tapio_cli.history.standing import status_of
from tapio_cli.history.story import read_story
from tapio_shared.codec import decode_as
from tapio_shared.json import JsonObject, object_at, objects_at, str_at
from tapio_shared.kubernetes import check
from tests.support.incidents import KEY, NAME, Incident, incident
from tests.support.virtual_time import run_virtually

BOB = "bob@example.org"
FIRST = 6
"""Lines that a person reads first."""
Plant = Callable[[Incident], Awaitable[None]]


async def selector_disputed(one: Incident) -> None:
    """A controller that is at odds with the operator about a Service."""
    for turn in range(12):
        wrong: JsonObject = {"spec": {"selector": {"app.kubernetes.io/name": f"mesh-{turn}"}}}
        await one.edit_object("v1", "services", f"{NAME}-nats", wrong, manager="mesh-controller")
        await asyncio.sleep(2)  # virtual seconds, in which it is set back


async def deleted_again_and_again(one: Incident) -> None:
    for _ in range(4):
        await one.delete("v1", "services", f"{NAME}-nats")
        await asyncio.sleep(5)  # virtual seconds, in which it is made again


async def guard(one: Incident, group: str, plural: str, name: str) -> None:
    finalizers: JsonObject = {"metadata": {"finalizers": ["example.org/backup"]}}
    await one.edit_object(group, plural, name, finalizers, manager="backup-operator")


async def object_held(one: Incident) -> None:
    await guard(one, "v1", "configmaps", f"{NAME}-nats-config")
    await one.delete("v1", "configmaps", f"{NAME}-nats-config")
    await asyncio.sleep(5)  # virtual seconds, in which it does not go


async def end_held(one: Incident) -> None:
    await guard(one, "v1", "configmaps", f"{NAME}-nats-config")
    await one.delete("tapio.io/v1alpha1", "tapioclusters", NAME)
    await one.until_condition("Ready", "False", "Terminating")


async def cluster_held(one: Incident) -> None:
    finalizers: JsonObject = {"metadata": {"finalizers": ["tapio.io/teardown", "example.org/approval"]}}
    await one.edit(BOB, finalizers)
    await one.delete("tapio.io/v1alpha1", "tapioclusters", NAME)
    await one.until(lambda found: object_at(found, "metadata")["finalizers"] == ["example.org/approval"])


INCIDENTS = [
    *(
        pytest.param(
            selector_disputed,
            about,
            [
                rf"\AService default/{NAME}-nats is changed again and again by mesh-controller: the operator set it "
                r"back 5 times within five minutes, last at \S+Z\. It waits a minute between two corrections now, "
                rf"and Service default/{NAME}-nats stays meanwhile as mesh-controller left it\. Have mesh-controller "
                rf"leave ",
            ],
            id=f"a controller that is at odds with the operator, asked about {about or 'the cluster'}",
        )
        for about in ("", f"Service/{NAME}-nats")
    ),
    pytest.param(
        deleted_again_and_again,
        "",
        [rf"\AService default/{NAME}-nats is deleted again and again: the operator made it again 4 times within five"],
        id="somebody who deletes again and again",
    ),
    *(
        pytest.param(
            object_held,
            about,
            [
                rf"\AConfigMap default/{NAME}-nats-config is being deleted since \S+Z, and stays for the finalizer "
                r"example\.org/backup, which whoever put it there has to take off\. See whether the controller .*: "
                rf"kubectl patch configmap {NAME}-nats-config -n default --type=merge -p ",
                rf"ConfigMap default/{NAME}-nats-config has the finalizer example\.org/backup since .* by "
                rf"backup-operator",
            ],
            id=f"an object that is kept from going, asked about {about or 'the cluster'}",
        )
        for about in ("", f"ConfigMap/{NAME}-nats-config")
    ),
    pytest.param(
        end_held,
        "",
        [
            rf"\AConfigMap default/{NAME}-nats-config is being deleted since \S+Z, and stays for the finalizer "
            rf"example.org/backup",
            "since .* by backup-operator",
            "Terminating",
        ],
        id="a deletion that an object holds up",
    ),
    pytest.param(
        cluster_held,
        "",
        [
            rf"\ATapioCluster.tapio.io default/{NAME} is being deleted since \S+Z, and stays for the finalizer "
            r"example.org/approval, .* The operator has done its part of it, and writes its status no more\.",
            rf"has the finalizer example.org/approval since .* by {BOB}",
        ],
        id="a cluster that is kept from going",
    ),
]


@pytest.mark.parametrize(("plant", "about", "expected"), INCIDENTS)
def test_the_first_lines_say_what_others_do(plant: Plant, about: str, expected: list[str]) -> None:
    async def first_lines() -> list[str]:
        async with incident() as one:
            await plant(one)
            found = await one.explained(about)
            return [found.answer, *found.because][:FIRST]

    text = "\n".join(run_virtually(first_lines()))
    assert [pattern for pattern in expected if not re.search(pattern, text)] == [], text


@pytest.mark.parametrize(
    ("plant", "expected"),
    [
        pytest.param(
            selector_disputed,
            [
                f"Service default/{NAME}-nats is changed again and again by mesh-controller: the operator set it "
                "back 5 times within five minutes, last at TIME. It waits a minute between two corrections now, and "
                f"Service default/{NAME}-nats stays meanwhile as mesh-controller left it."
            ],
            id="an object that somebody else keeps changing",
        ),
        pytest.param(
            cluster_held,
            [
                f"TapioCluster.tapio.io default/{NAME} is being deleted since TIME, and stays for the finalizer "
                "example.org/approval, which whoever put it there has to take off. The operator has done its part of "
                "it, and writes its status no more."
            ],
            id="a cluster that is kept from going",
        ),
    ],
)
def test_a_status_says_it_too(plant: Plant, expected: list[str]) -> None:
    async def remarks() -> list[str]:
        async with incident() as one:
            await plant(one)
            found = status_of(await read_story(one.operator.log, KEY), (), now=one.operator.clock.now())["remarks"]
            return cast("list[str]", found)

    assert [re.sub(r"2026-\S+Z", "TIME", one) for one in run_virtually(remarks())] == expected


def test_what_ended_an_hour_ago_is_over() -> None:
    async def remarks() -> object:
        async with incident() as one:
            await selector_disputed(one)
            await asyncio.sleep(3_600)  # virtual seconds, in which nobody changes anything
            return status_of(await read_story(one.operator.log, KEY), (), now=one.operator.clock.now())["remarks"]

    assert run_virtually(remarks()) == []


@pytest.mark.parametrize(
    ("plant", "expected"),
    [
        pytest.param(
            selector_disputed,
            f"Service default/{NAME}-nats is changed again and again by mesh-controller: it was set back 5 times "
            "within five minutes, and is set back once a minute at most now. Have mesh-controller leave it alone, or "
            "ask for the change in the spec.",
            id="changed",
        ),
        pytest.param(
            deleted_again_and_again,
            f"Service default/{NAME}-nats is deleted again and again: it was made again 5 times within five minutes. "
            "The audit log of the API server says by whom.",
            id="deleted",
        ),
    ],
)
def test_an_event_counts_it(plant: Plant, expected: str) -> None:
    async def events() -> list[JsonObject]:
        async with incident() as one:
            await plant(one)
            await plant(one)
            answer = await one.operator.admin.request("GET", "/api/v1/namespaces/default/events")
            found = objects_at(cast("JsonObject", decode_as(dict, check(answer))), "items")
            return [event for event in found if str_at(event, "reason") == "ChangedByAnother"]

    (event,) = run_virtually(events())
    assert (event["type"], event["message"]) == ("Warning", expected)
    assert str_at(event, "involvedObject", "kind") == "TapioCluster"


async def _examined(plant: Plant) -> list[Finding]:
    async with incident() as one:
        await plant(one)
        return examine(await read_story(one.operator.log, KEY), one.operator.clock.now())


async def a_while_after(plant: Plant, one: Incident) -> None:
    await plant(one)
    await asyncio.sleep(70)  # virtual seconds, in which a controller that runs would have taken its finalizer off


async def disputed_until_it_pauses(one: Incident) -> None:
    await selector_disputed(one)
    await asyncio.sleep(60)  # virtual seconds, after which it is set back once more


def test_who_keeps_changing_an_object_is_named() -> None:
    problems = [one for one in run_virtually(_examined(disputed_until_it_pauses)) if one.verdict is Verdict.PROBLEM]
    assert [one.check for one in problems] == ["other writers"]
    assert problems[0].evidence.startswith(
        f"Service default/{NAME}-nats is changed again and again by mesh-controller: the operator set it back 6 times"
    )
    assert problems[0].next_step == (
        f"Have mesh-controller leave Service default/{NAME}-nats alone, or ask for its change in the spec of the "
        f"TapioCluster. Who writes it: kubectl get service {NAME}-nats -n default -o yaml --show-managed-fields"
    )


async def held_for_a_while(one: Incident) -> None:
    await a_while_after(object_held, one)


def test_what_keeps_an_object_from_going_is_named() -> None:
    problems = [one for one in run_virtually(_examined(held_for_a_while)) if one.verdict is Verdict.PROBLEM]
    assert [one.check for one in problems] == ["deletions"]
    assert f"ConfigMap default/{NAME}-nats-config is being deleted since " in problems[0].evidence
    assert problems[0].next_step == (
        "See whether the controller that example.org/backup is of still runs. Only if it is gone for good, and what it "
        f"guards may be left: kubectl patch configmap {NAME}-nats-config -n default --type=merge -p "
        """'{"metadata": {"finalizers": null}}'"""
    )


def test_a_finalizer_is_given_a_minute() -> None:
    assert [one for one in run_virtually(_examined(object_held)) if one.verdict is not Verdict.OK] == []


async def end_held_for_a_while(one: Incident) -> None:
    await a_while_after(end_held, one)


async def cluster_held_for_a_while(one: Incident) -> None:
    await a_while_after(cluster_held, one)


async def end_while_paused(one: Incident) -> None:
    await one.edit(BOB, {"metadata": {"annotations": {"tapio.io/paused": "true"}}})
    await one.until_condition("Paused", "True")
    await one.delete("tapio.io/v1alpha1", "tapioclusters", NAME)
    await asyncio.sleep(5)  # virtual seconds, in which nothing is deleted


@pytest.mark.parametrize(
    ("plant", "verdict", "evidence", "next_step"),
    [
        pytest.param(
            end_held,
            Verdict.OK,
            f"ConfigMap default/{NAME}-nats-config is being deleted.",
            "",
            id="it has just begun",
        ),
        pytest.param(
            end_held_for_a_while,
            Verdict.PROBLEM,
            "and stays for the finalizer example.org/backup",
            f"kubectl patch configmap {NAME}-nats-config",
            id="an object holds it up",
        ),
        pytest.param(
            cluster_held_for_a_while,
            Verdict.PROBLEM,
            "The operator has done its part of it, and writes its status no more.",
            f"kubectl patch tapiocluster.tapio.io {NAME} -n default --type=merge",
            id="the TapioCluster itself is kept",
        ),
        pytest.param(
            end_while_paused,
            Verdict.PROBLEM,
            f"TapioCluster default/{NAME} is paused (tapio.io/paused), so that nothing of it is deleted.",
            f"kubectl annotate tapiocluster {NAME} -n default tapio.io/paused-",
            id="it is paused",
        ),
    ],
)
def test_of_a_cluster_that_is_being_deleted_it_is_said_whether_that_goes_on(
    plant: Plant, verdict: Verdict, evidence: str, next_step: str
) -> None:
    (found,) = run_virtually(_examined(plant))
    assert (found.check, found.verdict) == ("components", verdict)
    assert evidence in found.evidence
    assert next_step in found.next_step
