"""A Kubernetes for end-to-end tests, simulated or real, as kubectl and a witness of writes see it.

The witness is never the operator: the simulator's own write log, or the audit log of a real API server.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from tapio_cli.kubectl import Kubectl, KubectlError
from tapio_shared.json import JsonObject, JsonValue, at, objects_at, str_at, strings_at
from tests.control_plane.launcher import ControlPlane, start_control_plane
from tests.support.eventually import eventually
from tests.support.operator_processes import ServiceProcess

OPERATOR = "system:serviceaccount:tapio-system:tapio-"
"""How the users of the operator's services begin."""


@dataclass(frozen=True, slots=True)
class SeenWrite:
    """One request for a change that reached the API server, granted or not."""

    user: str
    verb: str
    resource: str
    namespace: str
    name: str
    subresource: str
    status: int


@dataclass(frozen=True, slots=True)
class _Writes:
    """The simulator's answer."""

    total: int
    writes: list[SeenWrite]


class Witness(Protocol):
    """Who counts writes."""

    async def position(self) -> int:
        """A position behind every request answered so far."""
        ...

    async def writes(self, since: int) -> list[SeenWrite]:
        """Every write after `since`, by anybody."""
        ...


class Kubernetes:
    """One running cluster, with nodes and a kubelet that runs no containers."""

    def __init__(
        self,
        kubeconfig: Path,
        witness: Witness,
        process: ServiceProcess | None = None,
        plane: ControlPlane | None = None,
    ) -> None:
        """`process` is the simulator; None for a real control plane, which is `plane`."""
        self.kubeconfig, self.witness, self._process, self._plane = kubeconfig, witness, process, plane
        self.is_real = process is None
        self.kubectl = Kubectl(kubeconfig)

    @property
    def simulator(self) -> ServiceProcess:
        """The process that answers, to be frozen."""
        assert self._process is not None
        return self._process

    @property
    def plane(self) -> ControlPlane:
        """The real control plane, to be restarted."""
        assert self._plane is not None
        return self._plane

    @property
    def minor(self) -> int:
        """Of the version of the real control plane."""
        return _minor(self.plane.server_version)

    async def operator_writes(self, since: int) -> list[SeenWrite]:
        """What the operator's services wrote after `since`, lease renewals left out."""
        found = await self.witness.writes(since)
        return [one for one in found if one.user.startswith(OPERATOR) and one.resource.partition(".")[0] != "leases"]

    async def get(self, kind: str, name: str, namespace: str = "default") -> JsonObject | None:
        """One object, or None when there is none."""
        try:
            return await self.kubectl.document("get", kind, name, "-n", namespace)
        except KubectlError as err:
            if "NotFound" in str(err) or "not found" in str(err):
                return None
            raise

    async def field(self, kind: str, name: str, path: tuple[str, ...], namespace: str = "default") -> JsonValue:
        """One field of one object; None when either is missing."""
        return at(await self.get(kind, name, namespace), *path)

    async def secret_values(self, name: str, namespace: str, *, besides: str) -> set[str]:
        """The values of a Secret in plain text and as the API carries them, but for the key `besides`."""
        data = strings_at(await self.get("secret", name, namespace), "data")
        data = {key: value for key, value in data.items() if key != besides}
        return {*data.values(), *(base64.b64decode(value).decode() for value in data.values())}

    async def names(self, kind: str, *selection: str) -> set[str]:
        """`Kind/namespace/name` of the objects of these kinds (comma-separated) in all namespaces."""
        listed = await self.kubectl.document("get", kind, "-A", *selection)
        return {
            "/".join(str_at(one, *path) for path in (("kind",), ("metadata", "namespace"), ("metadata", "name")))
            for one in objects_at(listed, "items")
        }

    async def apply(self, document: JsonObject, namespace: str = "default") -> None:
        """`kubectl apply` as a person does it."""
        await self.kubectl.run("apply", "-n", namespace, "-f", "-", stdin=json.dumps(document).encode())

    async def condition(self, name: str, kind: str, namespace: str = "default") -> tuple[str, str, str]:
        """Status, reason and message of a condition of a TapioCluster; empty strings when there is none."""
        document = await self.get("tapiocluster", name, namespace)
        for one in objects_at(document, "status", "conditions"):
            if str_at(one, "type") == kind:
                return str_at(one, "status"), str_at(one, "reason"), str_at(one, "message")
        return "", "", ""

    async def until_condition(
        self, name: str, kind: str, status: str, *, reason: str = "", namespace: str = "default", seconds: float = 60.0
    ) -> str:
        """Wait until a condition of a TapioCluster has this status (and reason); answers its message."""
        seen = ("", "", "")

        async def holds() -> bool:
            nonlocal seen
            seen = await self.condition(name, kind, namespace)
            return seen[0] == status and reason in ("", seen[1])

        try:
            await eventually(holds, seconds=seconds)
        except TimeoutError as err:
            document = await self.get("tapiocluster", name, namespace)
            raise AssertionError(
                f"{namespace}/{name} has {kind}={seen} and not {status} {reason} after {seconds:g} s. "
                f"Status: {json.dumps(at(document, 'status'), indent=1)}"
            ) from err
        return seen[2]

    async def until(self, condition: Callable[[], Awaitable[bool]], *, seconds: float = 60.0) -> None:
        """Wait for anything else."""
        await eventually(condition, seconds=seconds)


class SimulatorWitness:
    """The simulator's write log, by its debugging endpoint."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl

    async def position(self) -> int:
        return (await self._read(-1))[0]

    async def writes(self, since: int) -> list[SeenWrite]:
        return (await self._read(since))[1]

    async def _read(self, since: int) -> tuple[int, list[SeenWrite]]:
        text = await self._kubectl.run("get", "--raw", f"/debug/writes?since={since}")
        answer = msgspec.json.decode(text, type=_Writes)
        return answer.total, answer.writes


class AuditWitness:
    """The audit log of a real API server."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane

    async def position(self) -> int:
        return await self._plane.audit_position()

    async def writes(self, since: int) -> list[SeenWrite]:
        return [
            SeenWrite(
                user=event.user.username,
                verb=event.verb,
                resource=event.object_ref.resource,
                namespace=event.object_ref.namespace,
                name=event.object_ref.name,
                subresource=event.object_ref.subresource,
                status=event.response_status.code,
            )
            for event in await self._plane.audit_events(since=since)
            if event.is_write
        ]


@asynccontextmanager
async def simulated_kubernetes(directory: Path) -> AsyncGenerator[Kubernetes]:
    """`python -m tapio_simulator` as a process."""
    simulator = ServiceProcess(
        "simulator",
        "tapio_simulator",
        folder=directory / "logs",
        environment=os.environ,
        arguments=("--data", str(directory / "simulator")),
    )
    await simulator.start()
    try:
        kubeconfig = Path(await simulator.until_line("ready "))
        yield Kubernetes(kubeconfig, SimulatorWitness(Kubectl(kubeconfig)), simulator)
    finally:
        await simulator.stop()


@asynccontextmanager
async def real_kubernetes(
    directory: Path, *, nodes: int = 3, shutdown: float | None = None
) -> AsyncGenerator[Kubernetes]:
    """A control plane of its own, with the simulator's kubelet and so many of its nodes. `shutdown`: the seconds that
    each pod takes to end; hardly any when absent."""
    async with start_control_plane(directory) as plane:
        old = _minor(plane.server_version) < _POD_SECURITY_SINCE
        kubelet = ServiceProcess(
            "kubelet",
            "tapio_simulator.kubelet",
            folder=directory / "logs",
            environment=os.environ,
            arguments=(
                *("--kubeconfig", str(plane.kubeconfig), "--nodes", str(nodes)),
                *(["--pod-security"] if old else []),
                *([] if shutdown is None else ["--shutdown", str(shutdown)]),
            ),
        )
        await kubelet.start()
        try:
            yield Kubernetes(plane.kubeconfig, AuditWitness(plane), plane=plane)
        finally:
            await kubelet.stop()


_POD_SECURITY_SINCE = 23


def _minor(version: str) -> int:
    return int("".join(char for char in version.split(".")[1] if char.isdigit()))


def spec_of(document: JsonObject) -> JsonObject:
    """The spec of a document, to be changed in place."""
    spec: JsonValue = document["spec"]
    assert isinstance(spec, dict)
    return spec
