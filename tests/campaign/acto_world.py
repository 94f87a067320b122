"""Where Acto's specs run: a Kubernetes cluster that has everything the good values refer to, and one TapioCluster."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

from tapio_reconciler.core.rules import NEWEST
from tapio_shared.api.trust import Trust
from tapio_shared.codec import encode
from tapio_shared.json import JsonObject, object_at, objects_at, str_at
from tapio_shared.kubernetes import check, object_path
from tapio_shared.ports import KubeResponse
from tapio_simulator.kubelet import KubeletSettings
from tapio_simulator.kubelet.settings import PROVISIONER, NodeShape, fleet
from tapio_webhook.admission import MUTATE, answer
from tests.campaign.acto_values import CLUSTER, COLLECTOR, INTELLIGENCE
from tests.campaign.sieve_ends import OPERATOR, Named, end_of
from tests.campaign.sieve_operator import StruckOperator
from tests.support.random_specs import GIVEN_CONFIG_MAPS, GIVEN_SECRETS, NAME, NAMESPACE

_PLURALS: Final = {CLUSTER: "tapioclusters", COLLECTOR: "tapiocollectors", INTELLIGENCE: "tapiointelligences"}
_MEMBERS: Final = {CLUSTER: NAME, COLLECTOR: "more", INTELLIGENCE: "mind"}
"""Name of the one resource of each kind."""
_NODES = fleet(6, NodeShape(name="", labels={"disk": "ssd", "pool": "tapio"}))
_COUNTS = frozenset({"deployment.kubernetes.io/revision", "deprecated.daemonset.template.generation"})
_HISTORY = frozenset(
    {
        "lastScaleTime",
        "NEO4J_dbms_cluster_minimum__initial__system__primaries__count",
        "NEO4J_initial_dbms_default__primaries__count",
        "NEO4J_db_format",
    }
)
_KEPT = ("secrets ", "persistentvolumeclaims ", "persistentvolumes ")


@dataclass(frozen=True, slots=True)
class Standing:
    """How a resource stands, as its status says for its newest generation."""

    ready: bool
    stalled: str
    """Reason of the condition Stalled; empty when it is not."""
    message: str

    def __str__(self) -> str:
        return f"Stalled/{self.stalled}: {self.message}" if self.stalled else "Ready" if self.ready else "neither"


class ActoOperator(StruckOperator):
    """The operator, and what people do with its resources. `webhook` says whether that is registered."""

    kubelet = KubeletSettings(
        nodes=_NODES, startup=(0.0, 0.0), shutdown=(0.0, 0.0), job_seconds=0.0, crash_backoff=(0.2, 1.0)
    )

    async def set_up(self, *, webhook: bool) -> None:
        """Everything but the TapioCluster; the operator has begun."""
        await self.prepare()
        for namespace in (NAMESPACE, "tapio-nodes"):
            for name, keys in GIVEN_SECRETS.items():
                data: JsonObject = {key: f"{name} {key}" for key in sorted(keys)}
                await self._post("", "v1", "secrets", namespace, {"metadata": {"name": name}, "stringData": data})
            for name, keys in GIVEN_CONFIG_MAPS.items():
                values: JsonObject = dict.fromkeys(sorted(keys), "debug")
                await self._post("", "v1", "configmaps", namespace, {"metadata": {"name": name}, "data": values})
        await self._post("scheduling.k8s.io", "v1", "priorityclasses", "", {"metadata": {"name": "high"}, "value": 10})
        await self._post(
            "storage.k8s.io",
            "v1",
            "storageclasses",
            "",
            {"metadata": {"name": "fast"}, "provisioner": PROVISIONER, "allowVolumeExpansion": True},
        )
        await self.configure(f"plannerLogic: {NEWEST}\nwebhooks:\n  enabled: {str(webhook).lower()}\n")
        self.begin()

    async def _post(self, group: str, version: str, plural: str, namespace: str, document: JsonObject) -> None:
        check(await self.admin.request("POST", object_path(group, version, plural, namespace), body=encode(document)))

    # --- what people do ----------------------------------------------------------------------------------------

    async def put(self, kind: str, spec: JsonObject) -> KubeResponse:
        """Make the resource of `kind`, or give it another spec; answers what the API server said."""
        found = self.resource(kind)
        document = _document(kind, spec)
        base = object_path("tapio.io", "v1alpha1", _PLURALS[kind], NAMESPACE)
        if found is None:
            return await self.admin.request("POST", base, body=encode(document))
        document = {**found, "spec": spec}
        return await self.admin.request("PUT", f"{base}/{_MEMBERS[kind]}", body=encode(document))

    async def remove(self, kind: str) -> None:
        """Delete the resource of `kind`, and wait until what belonged to it is gone."""
        base = object_path("tapio.io", "v1alpha1", _PLURALS[kind], NAMESPACE)
        check(await self.admin.request("DELETE", f"{base}/{_MEMBERS[kind]}"))
        await self.settle(lambda: self.resource(kind) is None, quiet=20.0)

    def refusals(self, kind: str, spec: JsonObject) -> list[str]:
        """What the webhook says against giving the resource of `kind` this spec."""
        found = self.resource(kind)
        request: JsonObject = {
            "uid": "1",
            "kind": {"group": "tapio.io", "version": "v1alpha1", "kind": kind},
            "operation": "CREATE" if found is None else "UPDATE",
            "namespace": NAMESPACE,
            "name": _MEMBERS[kind],
            "object": {**(found or _document(kind, spec)), "spec": spec},
            "oldObject": found,
        }
        said = answer(request, handler=MUTATE, trust=Trust(), target="local", now=self.clock.now())
        response = object_at(said.document, "response")
        return [] if response.get("allowed") else [str_at(response, "status", "message")]

    # --- what is there -----------------------------------------------------------------------------------------

    def resource(self, kind: str) -> JsonObject | None:
        found = self.cluster.api.store.get(f"{_PLURALS[kind]}.tapio.io", (NAMESPACE, _MEMBERS[kind]))
        return None if found is None else found.document

    def standing(self, kind: str) -> Standing:
        document = self.resource(kind)
        generation = object_at(document, "metadata").get("generation")
        newest = [
            one
            for one in objects_at(document, "status", "conditions")
            if one.get("observedGeneration") == generation and one.get("status") == "True"
        ]
        stalled = next((one for one in newest if one.get("type") == "Stalled"), None)
        return Standing(
            ready=any(one.get("type") == "Ready" for one in newest),
            stalled="" if stalled is None else str_at(stalled, "reason"),
            message="" if stalled is None else str_at(stalled, "message"),
        )

    async def come_to_rest(self, kind: str) -> Standing:
        """Wait until the resource of `kind` is Ready or Stalled at its newest generation, and nobody writes."""

        def done() -> bool:
            standing = self.standing(kind)
            return bool(standing.ready or standing.stalled) and bool(self.cluster_standing())

        try:
            await self.settle(done, quiet=20.0, longest=900.0)
        except AssertionError as err:
            spec, status = object_at(self.resource(kind), "spec"), object_at(self.resource(kind), "status")
            raise AssertionError(f"{kind} {encode(spec).decode()} does not come to rest: {encode(status)!r}") from err
        return self.standing(kind)

    def cluster_standing(self) -> Standing | None:
        standing = self.standing(CLUSTER)
        return standing if standing.ready or standing.stalled else None

    def running(self) -> Named:
        """Everything but people's own resources, credentials and volumes, made comparable with another deployment."""
        return {
            name: _as_if_new(one)
            for name, one in end_of(self.cluster).objects.items()
            if not name.startswith(_KEPT) and ".tapio.io" not in name.partition(" ")[0]
        }

    def written_since(self, mark: int) -> list[str]:
        """What the operator changed since `mark` writes had come, statuses, Events and Leases apart."""
        return [
            f"{one.verb} {one.resource} {one.namespace}/{one.name}"
            for one in self.cluster.writes.since(mark)
            if one.user in OPERATOR
            and one.effective
            and one.subresource != "status"
            and one.resource not in ("events", "leases.coordination.k8s.io")
        ]


def _as_if_new(document: JsonObject) -> JsonObject:
    """An object without what says how it came to be.

    That is Kubernetes' own count of how often a template was changed, when a scaler last scaled, with how many members
    a graph began, which is never rewritten (graph_members.py), and whether its volume began under Community
    (docs/graph.md).
    """
    metadata, found = object_at(document, "metadata"), copy.deepcopy(document)
    annotations = {name: one for name, one in object_at(metadata, "annotations").items() if name not in _COUNTS}
    found["metadata"] = {**metadata, "annotations": annotations}
    for part in ("data", "status"):
        if part in found:
            found[part] = {name: one for name, one in object_at(found, part).items() if name not in _HISTORY}
    for container in objects_at(found, "spec", "template", "spec", "containers"):
        if "env" in container:  # Each setting of the graph is a variable that refers to its configuration.
            container["env"] = [one for one in objects_at(container, "env") if str_at(one, "name") not in _HISTORY]
    return found


def _document(kind: str, spec: JsonObject) -> JsonObject:
    document: JsonObject = {
        "apiVersion": "tapio.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": _MEMBERS[kind]},
        "spec": spec,
    }
    return document


def bases(kind: str) -> Sequence[JsonObject]:
    """Specs of the TapioCluster that sequences of `kind` begin with."""
    if kind == CLUSTER:
        return (
            {"profile": "development"},
            {"profile": "edge", "collectors": {"kubernetes": True}, "intelligence": {"embedded": True}},
            {"profile": "development", "gateway": {"enabled": True}, "nats": {"storage": "20Gi"}},
        )
    without = cast("JsonObject", {"profile": "edge", "collectors": {"kubernetes": True}})
    return (without,)
