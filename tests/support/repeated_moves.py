"""`python -m tests.support.repeated_moves <seed>`: one seeded run of a moving cluster in virtual time, as its writes.

A program of its own, since only a new process has another order of hashing.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

import msgspec

from tapio_shared.adapters.random import SeededRandom
from tapio_shared.json import JsonObject
from tapio_simulator.cluster import SimulatedCluster
from tapio_simulator.controllers import ControllerSettings, run_controllers
from tapio_simulator.faults import Fault
from tapio_simulator.kubelet import Behaviour, NodeFault
from tests.support.kube_calls import Calls, new_namespace
from tests.support.virtual_time import VirtualClock, run_virtually
from tests.support.workloads import claim_template, template, workload


async def _create(calls: Calls, plural: str, document: JsonObject) -> None:
    reply = await calls.create(calls.path("apps/v1", plural), document)
    assert reply.status == 201, reply.message


async def _moves(seed: int) -> list[str]:
    clock, random = VirtualClock(), SeededRandom(seed)
    cluster, settings = SimulatedCluster(clock, random), ControllerSettings()
    await cluster.prepare()
    cluster.faults.add(Fault("drop-watch", verbs=frozenset({"watch"}), after=(5.0, 30.0)))
    cluster.faults.add(Fault("delay", seconds=(0.0, 0.01)))
    running = asyncio.create_task(run_controllers(cluster.kube(), clock, random, settings))
    calls = await new_namespace(cluster.kube(user_agent="tester"))
    await _create(calls, "deployments", workload("Deployment", "web", template("web"), replicas=4))
    await _create(calls, "daemonsets", workload("DaemonSet", "agent", template("agent")))
    stateful = workload("StatefulSet", "db", template("db"), replicas=3, volumeClaimTemplates=[claim_template()])
    await _create(calls, "statefulsets", stateful)
    await asyncio.sleep(20)
    settings.breakages.break_node("node-2", NodeFault.LOST)
    settings.breakages.break_pods("*/web-*", Behaviour.CRASH)
    await asyncio.sleep(400)
    settings.breakages.heal_all()
    await calls.delete(calls.path("apps/v1", "statefulsets", "db"), propagationPolicy="Foreground")
    await asyncio.sleep(60)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    return [
        f"{one.at} {one.verb} {one.resource} {one.namespace}/{one.name} {one.subresource} {one.status} {one.version}"
        for one in cluster.writes
    ]


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(run_virtually(_moves(int(sys.argv[1])))))
