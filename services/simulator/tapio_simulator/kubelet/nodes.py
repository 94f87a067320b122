"""Node objects, their conditions under faults, and the Leases that keep a node lifecycle controller content."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import structlog

from tapio_shared.errors import ApiError, ApiTerminal, RetryableError
from tapio_shared.json import JsonObject, at, objects_at, str_at
from tapio_shared.ports import Clock
from tapio_simulator.kubelet.breakages import Breakages, NodeFault
from tapio_simulator.kubelet.settings import KubeletSettings, NodeShape
from tapio_simulator.machinery.client import Client, is_already_there
from tapio_simulator.machinery.informer import Informer, Informers
from tapio_simulator.machinery.objects import merge_patch, with_condition
from tapio_simulator.machinery.resources import LEASES, NODES
from tapio_simulator.stamps import timestamp

log = structlog.get_logger(__name__)

LEASE_NAMESPACE = "kube-node-lease"
_TAINTS = {
    NodeFault.NOT_READY: ("node.kubernetes.io/not-ready", ("NoSchedule", "NoExecute")),
    NodeFault.LOST: ("node.kubernetes.io/unreachable", ("NoSchedule", "NoExecute")),
    NodeFault.DISK_PRESSURE: ("node.kubernetes.io/disk-pressure", ("NoSchedule",)),
}
_TAINT_KEYS = frozenset(key for key, _ in _TAINTS.values())


def address_of(index: int) -> str:
    """Internal address of the node with this number."""
    return f"192.168.{index // 250}.{index % 250 + 2}"


def build_node(shape: NodeShape, index: int) -> JsonObject:
    """The Node as a kubelet registers it."""
    capacity: JsonObject = {
        "cpu": shape.cpu,
        "memory": shape.memory,
        "ephemeral-storage": shape.storage,
        "pods": str(shape.pods),
    }
    labels: JsonObject = {
        "kubernetes.io/hostname": shape.name,
        "kubernetes.io/os": shape.operating_system,
        "kubernetes.io/arch": shape.architecture,
        "topology.kubernetes.io/zone": shape.zone,
        "topology.kubernetes.io/region": shape.region,
        **shape.labels,
    }
    spec: JsonObject = {"podCIDR": f"10.244.{index % 256}.0/24", "providerID": f"simulator://{shape.name}"}
    if shape.taints:
        spec["taints"] = list(shape.taints)
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": shape.name, "labels": labels},
        "spec": spec,
        "status": {
            "capacity": capacity,
            "allocatable": dict(capacity),
            "addresses": [
                {"type": "InternalIP", "address": address_of(index)},
                {"type": "Hostname", "address": shape.name},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": {
                "machineID": f"{index:032x}",
                "systemUUID": f"{index:032x}",
                "bootID": f"{index:032x}",
                "kernelVersion": shape.kernel,
                "osImage": shape.os_image,
                "containerRuntimeVersion": shape.runtime,
                "kubeletVersion": shape.kubelet,
                "kubeProxyVersion": shape.kubelet,
                "operatingSystem": shape.operating_system,
                "architecture": shape.architecture,
            },
        },
    }


def conditions_under(node: JsonObject, fault: NodeFault | None, now: str) -> list[JsonObject]:
    """The conditions of a node with this fault; times of transition are kept where nothing changed."""
    pressure = fault is NodeFault.DISK_PRESSURE
    wanted = [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        (
            ("DiskPressure", "True", "KubeletHasDiskPressure", "kubelet has disk pressure")
            if pressure
            else ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure")
        ),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ]
    if fault is NodeFault.LOST:
        wanted = [(kind, "Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.") for kind, *_ in wanted]
    elif fault is NodeFault.NOT_READY:
        wanted[-1] = ("Ready", "False", "KubeletNotReady", "container runtime network not ready")
    conditions = objects_at(node, "status", "conditions")
    for kind, status, reason, message in wanted:
        known = next((one for one in conditions if one.get("type") == kind), node)
        beat = str_at(known, "lastHeartbeatTime", default=now) if known.get("status") == status else now
        entry: JsonObject = {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": beat,
            "lastTransitionTime": now,
        }
        conditions = with_condition(conditions, entry)
    return conditions


def taints_under(node: JsonObject, fault: NodeFault | None) -> list[JsonObject]:
    """The taints of a node with this fault; others' taints stay."""
    kept = [one for one in objects_at(node, "spec", "taints") if one.get("key") not in _TAINT_KEYS]
    if fault is None:
        return kept
    key, effects = _TAINTS[fault]
    added: list[JsonObject] = [{"key": key, "effect": effect} for effect in effects]
    return [*kept, *added]


class Nodes:
    """Registers the nodes of the settings, renews their Leases, and shows faults in them."""

    def __init__(
        self, client: Client, informers: Informers, clock: Clock, settings: KubeletSettings, breakages: Breakages
    ) -> None:
        self._client, self._clock, self._settings, self._breakages = client, clock, settings, breakages
        self._informer: Informer = informers.of(NODES)
        self._changed = asyncio.Event()
        self.shapes = {shape.name: index for index, shape in enumerate(settings.nodes)}
        self._informer.subscribe(lambda _before, _after: self._changed.set())
        breakages.subscribe(self._changed.set)

    def fault_of(self, name: str) -> NodeFault | None:
        node = self._informer.get("", name)
        return None if node is None else self._breakages.fault_of(node)

    async def register(self) -> None:
        """Create what is missing; a node that is already there is taken over."""
        for shape in self._settings.nodes:
            index = self.shapes[shape.name]
            node = build_node(shape, index)
            now = timestamp(self._clock.now())
            node["status"] = {**_status(node), "conditions": list(conditions_under(node, None, now))}
            made = self._informer.get("", shape.name)
            if made is None:
                try:
                    made = await self._informer.create("", node)
                except ApiError as err:
                    if not is_already_there(err):
                        raise
                    continue
            wanted: JsonObject = {**_status(node), "conditions": list(conditions_under(made, None, now))}
            patch = merge_patch(_status(made), wanted)
            if patch:
                await self._informer.patch(made, {"status": patch}, subresource="status")

    async def run(self) -> None:
        """Renew Leases and show faults until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._beat(), name="node leases")
            tasks.create_task(self._follow(), name="node faults")

    async def _follow(self) -> None:
        while True:
            self._changed.clear()
            try:
                for name in self.shapes:
                    await self._show(name)
            except (RetryableError, ApiTerminal) as err:
                log.warning("node not updated", error=str(err))
                await asyncio.sleep(1)
                continue
            await self._changed.wait()

    async def _show(self, name: str) -> None:
        node = self._informer.get("", name)
        if node is None:
            return
        fault = self._breakages.fault_of(node)
        conditions = conditions_under(node, fault, timestamp(self._clock.now()))
        if conditions != objects_at(node, "status", "conditions"):
            node = await self._informer.patch(node, {"status": {"conditions": list(conditions)}}, subresource="status")
            if node is None:
                return
        taints = taints_under(node, fault)
        if taints != objects_at(node, "spec", "taints"):
            await self._informer.patch(node, {"spec": {"taints": list(taints) or None}})

    async def _beat(self) -> None:
        while True:
            for name in self.shapes:
                if self.fault_of(name) is NodeFault.LOST:
                    continue
                try:
                    await self._renew(name)
                except (RetryableError, ApiTerminal) as err:
                    log.warning("lease not renewed", node=name, error=str(err))
            await asyncio.sleep(self._settings.heartbeat)

    async def _renew(self, name: str) -> None:
        now = datetime.fromtimestamp(self._clock.now() / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        patch: JsonObject = {"spec": {"renewTime": now}}
        if await self._client.patch(LEASES, LEASE_NAMESPACE, name, patch) is not None:
            return
        node = self._informer.get("", name)
        if node is None:
            return
        lease: JsonObject = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": name,
                "namespace": LEASE_NAMESPACE,
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Node", "name": name, "uid": str(at(node, "metadata", "uid"))}
                ],
            },
            "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now},
        }
        await self._client.create(LEASES, LEASE_NAMESPACE, lease)


def _status(node: JsonObject) -> JsonObject:
    status = node.get("status")
    return status if isinstance(status, dict) else {}
