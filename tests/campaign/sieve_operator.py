"""The operator as processes that can be struck at any one thing that they write, decide or are told.

Watcher (under its Lease), worker and webhook (with its registration) run in one event loop on virtual time, each behind
a door of its own: what it writes to Kubernetes and to the log, and what its watches tell it, passes there and has a
name. `choose` is asked at each; where it says so, the process ends there, or does not hear what it was told. A dead
process never hears an answer again, and another one begins in its place.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from prometheus_client import CollectorRegistry

from tapio_reconciler.shell.applying import Applier
from tapio_reconciler.shell.capacity import Capacity
from tapio_reconciler.shell.events import EventWriter
from tapio_reconciler.shell.identity import Identity
from tapio_reconciler.shell.metrics import Metrics as ReconcilerMetrics
from tapio_reconciler.shell.partition import Partition
from tapio_reconciler.shell.targets import Targets
from tapio_reconciler.shell.worker import Worker
from tapio_shared.adapters.kube_lease import KubeLease
from tapio_shared.adapters.memory_log import MemoryEventLog
from tapio_shared.api.operator_config import OperatorConfig
from tapio_shared.codec import encode
from tapio_shared.json import JsonObject, str_at
from tapio_simulator.admission import WebhookCallFailed
from tapio_simulator.api import Options
from tapio_simulator.cluster import SimulatedCluster
from tapio_watcher.metrics import Metrics as WatcherMetrics
from tapio_watcher.watcher import Identity as WatcherIdentity
from tapio_watcher.watcher import Pace, Watcher
from tapio_webhook.admission import answer
from tapio_webhook.certificates import CertificateStore
from tapio_webhook.reading import read_request
from tapio_webhook.recording import AdmissionRecorder
from tapio_webhook.registration import Endpoint
from tapio_webhook.service import Registrar
from tests.campaign.sieve_doors import Door, LogDoor
from tests.campaign.sieve_past import Past
from tests.campaign.sieve_process import Choose, Moment, Process, Role, Strike, nowhere
from tests.support.operator_in_process import PARTITIONS, RECONCILER, WATCHER, Operator, WitnessKube

ROLES: tuple[Role, ...] = ("watcher", "worker", "webhook")
RENEWALS = 2
"""Of what is written again and again for ever (Leases), so many are struck; the others are the same once more."""
RESTART = 1.0
"""Seconds until another process begins in the place of a dead one."""
UNTIL_RELIST = 20.0
"""Seconds for which what was not heard stays unheard; then the watch ends with 410 and everything is listed."""
_PACE = Pace(look_at_log=0.5, discover=5.0, settle=0.05, cursors=5.0, flush=0.0)
_NAMESPACE = "tapio-system"


class StruckOperator(Operator):
    """One watcher, one worker and one webhook, and the supervisor that begins them again."""

    def __init__(self, seed: int, *, release: str = "") -> None:
        """`release`: of the API server, where its age matters."""
        super().__init__(seed)
        options = Options(release=release)
        self.cluster = SimulatedCluster(self.clock, self.random, webhooks=self, options=options)
        self.kube = WitnessKube(self.cluster.kube(RECONCILER, user_agent="reconciler"), self.log)
        self.admin = self.cluster.kube(user_agent="test")
        self.admitted = MemoryEventLog(self.clock)
        self.choose: Choose = nowhere
        self.strike: Strike | None = None
        """What was done in this run, once it was."""
        self.activity = 0
        """Writes of the operator so far, to Kubernetes and to the log; Leases apart."""
        self.decided: list[int] = []
        """Version of the API server at each decision."""
        self.named: Counter[tuple[Moment, str]] = Counter()
        self.processes: dict[Role, Process] = {}
        self._begun: Counter[Role] = Counter()
        self._dead: asyncio.Queue[Process] = asyncio.Queue()
        self._whole = asyncio.Event()
        self._past: Past | None = None
        self._healed_at = 0.0
        self._trust = OperatorConfig().trust
        self._recorder: AdmissionRecorder | None = None

    # --- beginning and ending ----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin every process, and the supervisor."""
        for role in ROLES:
            self._begin(role)
        self.tasks["supervisor"] = asyncio.create_task(self._supervise(), name="supervisor")

    async def restart(self) -> None:
        """End every process and begin another one in its place."""
        for process in list(self.processes.values()):
            self._end(process)
        await self._whole.wait()

    def is_well(self) -> bool:
        """Whether every process lives and is ready, and nobody is shown the past any more."""
        now = self.clock.monotonic()
        return now >= self._healed_at and all(one.is_alive and one.is_ready() for one in self.processes.values())

    async def settle(self, done: Callable[[], bool], *, quiet: float = 45.0, longest: float = 3_000.0) -> None:
        """Wait until `done`, and until nothing was written for `quiet` seconds."""
        deadline, since, mark = self.clock.monotonic() + longest, self.clock.monotonic(), -1
        while True:
            self.raise_errors()
            now = self.clock.monotonic()
            if not self.is_well() or not done() or self.activity != mark:
                since, mark = now, self.activity
            elif now - since >= quiet:
                return
            if now > deadline:
                raise AssertionError(f"Nothing came to rest. {self.not_ready()} {self.operator_writes_named()[-10:]}")
            await asyncio.sleep(1.0)

    async def end(self) -> None:
        for process in self.processes.values():
            process.is_alive = False
        running = [task for process in self.processes.values() for task in process.tasks] + list(self.tasks.values())
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        self.tasks.clear()

    def raise_errors(self) -> None:
        """Fail when a process has ended by itself."""
        for process in self.processes.values():
            for task in process.tasks:
                if process.is_alive and task.done():
                    task.result()
                    raise AssertionError(f"{process.name} has ended by itself.")
        super().raise_errors()

    async def _supervise(self) -> None:
        while True:
            process = await self._dead.get()
            for task in process.tasks:
                task.cancel()
            await asyncio.wait(process.tasks)
            await self.membership.leave(process.name)
            await asyncio.sleep(RESTART)
            self._begin(process.role)
            if all(one.is_alive for one in self.processes.values()):
                self._whole.set()

    def _end(self, process: Process) -> None:
        if process.is_alive:
            process.is_alive = False
            self._whole.clear()
            self._dead.put_nowait(process)

    def _begin(self, role: Role) -> None:
        self._begun[role] += 1
        process = Process(role, f"{role}-{self._begun[role]}")
        now = self.clock.monotonic()
        if self._past is not None and role != "webhook" and now < self._past.until:
            process.past = self._past
        main = {"watcher": self._watcher, "worker": self._worker, "webhook": self._webhook}[role](process)
        process.tasks.append(asyncio.create_task(main, name=process.name))
        self.processes[role] = process

    async def _watcher(self, process: Process) -> None:
        kube = Door(self, process, self.cluster.kube(WATCHER, user_agent="watcher"))
        watcher = self.watcher = Watcher(
            kube,
            LogDoor(self, process, self.log),
            KubeLease(kube, self.clock, namespace=_NAMESPACE, name="tapio-watcher-local", holder=process.name),
            WatcherIdentity(target="local", namespace=_NAMESPACE, partitions=PARTITIONS),
            provision=self._provision,
            clock=self.clock,
            random=self.random,
            metrics=WatcherMetrics(CollectorRegistry()),
            pace=_PACE,
        )
        process.is_ready = lambda: watcher.is_synced
        await watcher.run()

    async def _worker(self, process: Process) -> None:
        kube, log = Door(self, process, self.kube), LogDoor(self, process, self.log)
        identity, capacity = Identity(worker=process.name, operator_version="1", partitions=PARTITIONS), Capacity()
        metrics = ReconcilerMetrics(CollectorRegistry())
        targets = Targets("local", Applier(kube, self.random, EventWriter(kube, self.clock), metrics))

        def make_partition(number: int) -> Partition:
            return Partition(number, log, targets, identity, self.clock, metrics, capacity)

        worker = Worker(process.name, PARTITIONS, self.membership, make_partition, metrics)
        process.is_ready = worker.is_ready
        await worker.run()

    async def _webhook(self, process: Process) -> None:
        kube = Door(self, process, self.cluster.kube(WATCHER, user_agent="webhook"))
        names = ("tapio-webhook.tapio-system.svc",)
        certificates = CertificateStore(kube, self.clock, namespace=_NAMESPACE, names=names, addresses=())
        registrar = Registrar(kube, certificates, Endpoint(namespace=_NAMESPACE), namespace=_NAMESPACE)
        recorder = self._recorder = AdmissionRecorder(CollectorRegistry())
        process.is_ready = registrar.is_ready
        async with asyncio.TaskGroup() as group:
            group.create_task(recorder.run(LogDoor(self, process, self.admitted)), name="recorder")
            group.create_task(registrar.run(), name="registrar")

    async def call(self, client_config: JsonObject, body: bytes, timeout: float) -> bytes:
        """Answer a review as the webhook's process does (`WebhookCaller`)."""
        process = self.processes.get("webhook")
        if process is None or not process.is_alive or self._recorder is None:
            raise WebhookCallFailed("connection refused")
        handler = str_at(client_config, "service", "path").strip("/")
        found = answer(read_request(body), handler=handler, trust=self._trust, target="local", now=self.clock.now())
        if found.admission is not None:
            self._recorder.put(found.admission)
        return encode(found.document)

    # --- striking ----------------------------------------------------------------------------------------------

    def name_of(self, moment: Moment, what: str) -> str:
        """The name of what happens now: the same in every run up to where a case strikes."""
        self.named[moment, what] += 1
        return f"{what} #{self.named[moment, what]}"

    def ask(self, moment: Moment, name: str) -> Strike | None:
        """What is to be done here; at most once in a run."""
        if self.strike is None:
            self.strike = self.choose(moment, name)
            return self.strike
        return None

    def begin_past(self, strike: Strike) -> None:
        """Let watcher and worker fail over, to successors that are shown the past."""
        until = self.clock.monotonic() + RESTART + 15.0 + strike.seconds  # a dead leader's Lease lasts 15 seconds
        self._healed_at = until
        if strike.kind == "lag":
            self.log.lag = strike.lag
            asyncio.get_running_loop().call_later(until - self.clock.monotonic(), self._catch_up)
        else:
            self._past = Past(strike.version, until, is_cache=strike.kind == "cache")
        for role in ("watcher", "worker"):
            self._end(self.processes[role])

    def _catch_up(self) -> None:
        self.log.lag = 0

    def deafen(self, process: Process, strike: Strike, what: str) -> None:
        process.deaf_to = what if strike.kind == "object" else "*"
        process.relist_at = self._healed_at = self.clock.monotonic() + UNTIL_RELIST

    async def write(self, process: Process, what: str, *, is_renewal: bool = False) -> Strike | None:
        """Called before each write; answers what is to be done after it."""
        await process.check()
        if not is_renewal:
            self.activity += 1
        elif self.named["before", f"{process.role} {what}"] >= RENEWALS:
            return None
        name = self.name_of("before", f"{process.role} {what}")
        if self.ask("before", name) is not None:
            self._end(process)
        await process.check()
        return self.ask("after", name)

    async def written(self, process: Process, strike: Strike | None) -> None:
        """Called after each write."""
        if strike is not None:
            self._end(process)
        await process.check()
