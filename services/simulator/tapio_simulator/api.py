"""The API server: one request in, one answer out; no sockets.

Order as on a real server: locate → faults (a simulator's own) → authorise → handle. Everything that isn't on the closed
list is answered 501 with the name of the call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

import msgspec

from tapio_shared.json import JsonObject, str_at
from tapio_shared.ports import Clock, Random
from tapio_simulator import reads
from tapio_simulator.admission import Admission, WebhookCaller
from tapio_simulator.authorization import Attributes, Authorizer
from tapio_simulator.calls import Answer, Call, error_answer
from tapio_simulator.discovery import Discovery
from tapio_simulator.errors import (
    StatusError,
    forbidden,
    method_not_allowed,
    not_found,
    not_simulated,
    path_not_found,
)
from tapio_simulator.escalation import EscalationGuard
from tapio_simulator.faults import ConnectionReset, Fault, Faults, Verdict, refusal
from tapio_simulator.identity import Identities
from tapio_simulator.kinds import Kinds
from tapio_simulator.mutations import APPLY_TYPES, Mutations
from tapio_simulator.registry import Place, Registry
from tapio_simulator.reviews import Reviews
from tapio_simulator.store import Store
from tapio_simulator.subresources import Subresources
from tapio_simulator.watch import Watch
from tapio_simulator.writes import Write, WriteLog

WRITE_VERBS = frozenset({"create", "update", "patch", "apply", "delete", "deletecollection"})
Handler = Callable[[Place, Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Options:
    """How one simulated API server behaves."""

    enforce_rbac: bool = False
    """Whether users outside system:masters need RBAC rules, as on a real server."""
    history: int = 20_000
    """Events kept per resource; a watch from before them gets 410."""
    admit_pods: bool = True
    """Whether pods pass the admission plugins ServiceAccount, Priority and PodSecurity (see pod_admission.py)."""
    release: str = ""
    """What /version says, such as v1.34.0, instead of the release whose schemas are served. Nothing else changes."""


class ApiServer:
    """One simulated API server. `writes` and `faults` are for tests."""

    def __init__(
        self, clock: Clock, random: Random, *, webhooks: WebhookCaller | None = None, options: Options | None = None
    ) -> None:
        self._clock, self._random = clock, random
        self._options = options or Options()
        self.store = Store(history=self._options.history)
        self.registry = Registry()
        self.faults = Faults(random)
        self.writes = WriteLog()
        self.identities = Identities(clock, random)
        self.authorizer = Authorizer(self.store)
        self._discovery = Discovery(self.registry, self._options.release)
        self._mutations = Mutations(
            self.store,
            self.registry,
            Kinds(self.store, self.registry, admit_pods=self._options.admit_pods),
            Admission(self.store, random, webhooks),
            EscalationGuard(self.authorizer, enforced=self._options.enforce_rbac),
            clock,
            random,
        )
        self._subresources = Subresources(self.store, self._mutations, self.identities, clock)
        self._reviews = Reviews(self.authorizer, self.identities)

    # --- entry points ------------------------------------------------------------------------------------------

    async def handle(self, call: Call) -> Answer:
        """Answer anything but a watch. Raises ConnectionReset when a fault breaks the connection."""
        call = replace(call, received_at=self._clock.now())
        place = self.registry.locate(call.path)
        verb = verb_of(call, place)
        resource = place.resource.group_resource if place else call.path
        verdict = self.faults.judge(verb, resource, call.user.name, place.name if place else "")
        answer = await self._answer(call, place, verb, verdict)
        if verb in WRITE_VERBS and place is not None:
            self._record(call, place, verb, answer)
        if verdict.fault is not None and verdict.fault.action == "lost-answer":
            raise ConnectionReset
        return answer

    async def watch(self, call: Call) -> AsyncIterator[bytes]:
        """The lines of a watch. StatusError when it is refused; ConnectionReset inside, when a fault drops it."""
        call = replace(call, received_at=self._clock.now())
        place = self.registry.locate(call.path)
        if place is None:
            raise self._unknown(call)
        verdict = self.faults.judge("watch", place.resource.group_resource, call.user.name, place.name)
        if verdict.delay:
            await asyncio.sleep(verdict.delay)
        fault = verdict.fault
        if fault is not None and fault.action == "refuse":
            raise refusal(fault)
        if fault is not None and fault.action == "reset":
            raise ConnectionReset
        self._authorise(call, "watch", place)
        if place.subresource:
            raise method_not_allowed(place.resource)
        watch = Watch(self.store, place, call, self._clock)
        return _faulty(watch.lines(), fault, verdict.moment) if fault is not None else watch.lines()

    # --- requests ----------------------------------------------------------------------------------------------

    async def _answer(self, call: Call, place: Place | None, verb: str, verdict: Verdict) -> Answer:
        if verdict.delay:
            await asyncio.sleep(verdict.delay)
        fault = verdict.fault
        if fault is not None and fault.action == "reset":
            raise ConnectionReset
        try:
            if fault is not None and fault.action == "refuse":
                raise refusal(fault)
            if place is None:
                return await self._non_resource(call)
            self._authorise(call, verb, place)
            if fault is not None and fault.action == "stale-read" and verb in ("get", "list"):
                return self._stale(place, call, verb, fault)
            return await self._resource(call, place, verb)
        except StatusError as error:
            return error_answer(error)

    async def _resource(self, call: Call, place: Place, verb: str) -> Answer:
        if place.subresource and place.subresource != "status":
            return await self._subresource(call, place, verb)
        if place.subresource == "status" and not place.resource.status:
            raise not_found(place.resource, place.name) if not place.resource.custom else path_not_found()
        match verb:
            case "get":
                return reads.get(self.store, place, call)
            case "list":
                return reads.list_objects(self.store, place, call)
            case "create" if not place.name:
                return await self._mutations.create(place, call)
            case "update" if place.name:
                return await self._mutations.update(place, call)
            case "patch" | "apply" if place.name:
                return await self._mutations.patch(place, call)
            case "delete" if not place.subresource:
                return await self._mutations.delete(place, call)
            case "deletecollection":
                return await self._delete_collection(place, call)
            case _:
                raise method_not_allowed(place.resource)

    async def _delete_collection(self, place: Place, call: Call) -> Answer:
        answer = reads.list_objects(self.store, place, replace(call, accept="", query={**call.query, "limit": "0"}))
        for stored in reads.selected(self.store, place, call):
            one = replace(place, namespace=stored.key[0], name=stored.key[1])
            try:
                await self._mutations.delete(one, call)
            except StatusError as error:
                if error.reason != "NotFound":
                    raise
        return answer

    async def _subresource(self, call: Call, place: Place, verb: str) -> Answer:
        resource = place.resource
        match (place.subresource, verb):
            case ("scale", "get") if resource.scale:
                return self._subresources.get_scale(place)
            case ("scale", "update") if resource.scale:
                return await self._subresources.put_scale(place, call)
            case ("scale", "patch" | "apply") if resource.scale:
                return await self._subresources.patch_scale(place, call)
            case ("binding", "create") if resource.kind == "Pod":
                return await self._subresources.bind(place, call)
            case ("token", "create") if resource.kind == "ServiceAccount":
                return await self._subresources.token(place, call)
            case _:
                raise not_simulated(f"{call.method} {resource.group_resource}/{place.subresource}")

    def _stale(self, place: Place, call: Call, verb: str, fault: Fault) -> Answer:
        """A get or list answered by a lagging replica."""
        table = self.store.table(place.resource.storage_key)
        version = max(self.store.version - fault.stale_by, table.oldest, 1)
        past = self.store.as_of(place.resource.storage_key, version)
        store = self.store if past is None else past
        return reads.get(store, place, call) if verb == "get" else reads.list_objects(store, place, call)

    async def _non_resource(self, call: Call) -> Answer:
        if call.method == "GET":
            if call.path in ("/healthz", "/readyz", "/livez"):
                return Answer(200, b"ok", content_type="text/plain")
            found = self._discovery.answer(call)
            if found is not None:
                return found
        if call.method == "POST":
            review = self._reviews.answer(call)
            if review is not None:
                return review
        raise self._unknown(call)

    def _unknown(self, call: Call) -> StatusError:
        """404 for a custom resource that isn't defined (or no longer), 501 for what is outside the closed list."""
        parts = call.path.strip("/").split("/")
        if parts[0] == "apis" and len(parts) >= 2 and parts[1] not in KUBERNETES_GROUPS and "." in parts[1]:
            return path_not_found()
        if parts[0] == "apis" and len(parts) >= 3 and parts[1] in self.registry.groups():
            served = self.registry.versions(parts[1])
            if parts[2] not in served:
                return path_not_found()
        return not_simulated(f"{call.method} {call.path}")

    # --- access and record -------------------------------------------------------------------------------------

    def _authorise(self, call: Call, verb: str, place: Place) -> None:
        if not self._options.enforce_rbac:
            return
        resource = place.resource
        wanted = Attributes(
            "patch" if verb == "apply" else verb,
            resource.group,
            resource.plural,
            place.subresource,
            place.namespace,
            place.name,
        )
        if self.authorizer.allowed(call.user, wanted):
            return
        scope = f'in the namespace "{place.namespace}"' if place.namespace else "at the cluster scope"
        raise forbidden(
            resource,
            place.name,
            f'User "{call.user.name}" cannot {wanted.verb} resource "{wanted.full_resource}" in API group '
            f'"{resource.group}" {scope}',
        )

    def _record(self, call: Call, place: Place, verb: str, answer: Answer) -> None:
        name = place.name
        if not name and answer.status == 201:
            name = _name_in(answer)
        self.writes.record(
            Write(
                verb=verb,
                resource=place.resource.group_resource,
                namespace=place.namespace,
                name=name,
                subresource=place.subresource,
                user=call.user.name,
                field_manager=call.field_manager,
                at=call.received_at,
                status=answer.status,
                version=answer.version,
                dry_run=bool(call.query.get("dryRun")),
            )
        )


KUBERNETES_GROUPS = frozenset(
    {
        "apps",
        "autoscaling",
        "batch",
        "policy",
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "apiregistration.k8s.io",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "certificates.k8s.io",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "events.k8s.io",
        "flowcontrol.apiserver.k8s.io",
        "networking.k8s.io",
        "node.k8s.io",
        "rbac.authorization.k8s.io",
        "resource.k8s.io",
        "scheduling.k8s.io",
        "storage.k8s.io",
    }
)
"""Groups of Kubernetes itself: what isn't served of them is a gap of the simulator, not an unknown custom resource."""


def verb_of(call: Call, place: Place | None) -> str:
    """The API verb of a request."""
    match call.method:
        case "GET":
            return "get" if place is None or place.name else "list"
        case "POST":
            return "create"
        case "PUT":
            return "update"
        case "PATCH":
            return "apply" if call.content_type.partition(";")[0].strip() in APPLY_TYPES else "patch"
        case "DELETE":
            return "delete" if place is None or place.name else "deletecollection"
        case other:
            return other.lower()


def _name_in(answer: Answer) -> str:
    document: JsonObject = msgspec.json.decode(answer.body)
    return str_at(document, "metadata", "name")


async def _faulty(lines: AsyncIterator[bytes], fault: Fault, moment: float) -> AsyncIterator[bytes]:
    """`lines` until `moment` seconds have passed; then the connection breaks, or falls silent for ever."""
    deadline = asyncio.get_running_loop().time() + moment
    iterator = aiter(lines)
    while True:
        left = deadline - asyncio.get_running_loop().time()
        following = asyncio.ensure_future(anext(iterator))
        done, _ = await asyncio.wait((following,), timeout=max(left, 0))
        if not done:
            following.cancel()
            if fault.action == "stall-watch":
                await asyncio.get_running_loop().create_future()
            raise ConnectionReset
        try:
            line = following.result()
        except StopAsyncIteration:
            return
        yield line
