"""Tells which managed Deployments somebody else's HorizontalPodAutoscalers scale.

Such an autoscaler carries no label of ours: whose Deployment it scales follows from its target, which may be told of
later. Said once per Deployment, and only who: what an autoscaler wants moves with every measurement. Refuses to tell
of autoscalers that the operator makes, and of those that were handed over to it (`tapio.io/adopt`).
"""

from __future__ import annotations

from collections.abc import Container

from tapio_shared.api.labels import ADOPT
from tapio_shared.json import JsonObject, str_at, strings_at
from tapio_shared.keys import ObjectRef, OrderingKey
from tapio_shared.ports import Clock
from tapio_watcher.encoding import observed_fact
from tapio_watcher.following import Sink
from tapio_watcher.publishing import FactWriter
from tapio_watcher.routing import key_of
from tapio_watcher.versions import Name, Versions

SCALER_GROUP, SCALER_KIND = "tapio.io", "Scaler"


def scaled_deployment(document: JsonObject) -> Name | None:
    """Namespace and name of the Deployment that somebody else's autoscaler scales; None for anything else."""
    if key_of("", document) is not None or strings_at(document, "metadata", "annotations").get(ADOPT) == "true":
        return None
    if str_at(document, "spec", "scaleTargetRef", "kind") != "Deployment":
        return None
    return str_at(document, "metadata", "namespace"), str_at(document, "spec", "scaleTargetRef", "name")


def scaler_ref(deployment: Name) -> ObjectRef:
    """Under which name the scalers of a Deployment stand in the log."""
    namespace, name = deployment
    return ObjectRef(SCALER_GROUP, SCALER_KIND, namespace, f"Deployment-{name}")


class Scalers:
    """Keeps who scales what, and which Deployments are ours."""

    def __init__(self, writer: FactWriter, clock: Clock) -> None:
        self._writer, self._clock = writer, clock
        self._targets: dict[Name, Name] = {}
        self._owners: dict[Name, OrderingKey] = {}
        self._has_autoscalers = False

    def autoscaler_observed(self, name: Name, document: JsonObject) -> None:
        before, target = self._targets.get(name), scaled_deployment(document)
        if before == target:
            return
        self.autoscaler_gone(name)
        if target is not None:
            self._targets[name] = target
            self._publish(target)

    def autoscaler_gone(self, name: Name) -> None:
        target = self._targets.pop(name, None)
        if target is not None:
            self._publish(target)

    def autoscalers_complete(self, names: Container[Name]) -> None:
        """Every autoscaler has been told of: before that a Deployment would look like one that nobody scales."""
        self._has_autoscalers = True
        for name in sorted(name for name in self._targets if name not in names):
            self.autoscaler_gone(name)
        scaled = set(self._targets.values())
        for target in sorted(scaled):
            self._publish(target)
        told = {scaler_ref(target) for target in scaled}
        for ref in self._writer.known.present(SCALER_GROUP, SCALER_KIND):
            if ref not in told:
                self._writer.gone(ref)

    def told(self, kind: str, document: JsonObject, key: OrderingKey | None) -> None:
        """A Deployment is as it is; without `key` it is not managed."""
        name = str_at(document, "metadata", "namespace"), str_at(document, "metadata", "name")
        if key is None:
            self.gone(kind, name)
        elif self._owners.get(name) != key:
            self._owners[name] = key
            self._publish(name)

    def gone(self, kind: str, name: Name) -> None:
        """A Deployment is gone, or ours no more."""
        if self._owners.pop(name, None) is not None:
            self._writer.gone(scaler_ref(name))

    def _publish(self, deployment: Name) -> None:
        key = self._owners.get(deployment)
        if key is None or not self._has_autoscalers:
            return
        names = sorted(name for (_, name), target in self._targets.items() if target == deployment)
        if not names:
            self._writer.gone(scaler_ref(deployment))
            return
        document: JsonObject = {"kind": SCALER_KIND, "autoscalers": [*names]}
        fact = observed_fact(document, uid="", resource_version="", now=self._clock.now())
        self._writer.observed(key, scaler_ref(deployment), fact)


class AutoscalerSink:
    """All HorizontalPodAutoscalers: `objects` publishes ours, `scalers` learns of the others."""

    def __init__(self, objects: Sink, scalers: Scalers) -> None:
        self._objects, self._scalers = objects, scalers

    def observed(self, document: JsonObject) -> None:
        name = str_at(document, "metadata", "namespace"), str_at(document, "metadata", "name")
        self._objects.observed(document)
        self._scalers.autoscaler_observed(name, document)

    def gone(self, name: Name, *, uid: str = "", resource_version: str = "") -> None:
        self._objects.gone(name, uid=uid, resource_version=resource_version)
        self._scalers.autoscaler_gone(name)

    def complete(self, names: Versions) -> None:
        self._objects.complete(names)
        self._scalers.autoscalers_complete(names)
