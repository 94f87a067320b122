"""Endpoints and EndpointSlices of Services, from the pods that their selectors match."""

from __future__ import annotations

from collections.abc import Sequence

from tapio_shared.errors import ApiError
from tapio_shared.json import JsonObject, object_at, objects_at, str_at, strings_at
from tapio_simulator.kubelet.ports import target_port
from tapio_simulator.kubelet.sight import label_keys, selector_keys
from tapio_simulator.machinery.client import is_already_there
from tapio_simulator.machinery.informer import Informers
from tapio_simulator.machinery.objects import (
    Key,
    is_finished,
    is_ready,
    is_terminating,
    key_of,
    merge_patch,
    owner_reference,
    uid_of,
)
from tapio_simulator.machinery.queue import WorkQueue
from tapio_simulator.machinery.resources import ENDPOINTS, PODS, SERVICES, SLICES

_SLICE_LABEL = "kubernetes.io/service-name"


def _ports(service: JsonObject, pod: JsonObject) -> list[JsonObject]:
    found: list[JsonObject] = []
    for port in objects_at(service, "spec", "ports"):
        number = target_port(port, pod)
        if number is not None:
            entry: JsonObject = {"port": number, "protocol": str_at(port, "protocol", default="TCP")}
            if name := str_at(port, "name"):
                entry["name"] = name
            found.append(entry)
    return found


def _is_counted_ready(service: JsonObject, pod: JsonObject) -> bool:
    published = object_at(service, "spec").get("publishNotReadyAddresses") is True
    return published or (is_ready(pod) and not is_terminating(pod))


def build_subsets(service: JsonObject, pods: Sequence[JsonObject]) -> list[JsonObject]:
    """The subsets of the Endpoints object: addresses of ready and of other pods, on one set of ports."""
    ready: list[JsonObject] = []
    waiting: list[JsonObject] = []
    ports: list[JsonObject] = []
    for pod in pods:
        address = str_at(pod, "status", "podIP")
        if not address:
            continue
        ports = ports or _ports(service, pod)
        entry: JsonObject = {
            "ip": address,
            "nodeName": str_at(pod, "spec", "nodeName"),
            "targetRef": {
                "kind": "Pod",
                "name": key_of(pod)[1],
                "namespace": key_of(pod)[0],
                "uid": uid_of(pod),
            },
        }
        if str_at(pod, "spec", "subdomain") == key_of(service)[1]:
            entry["hostname"] = str_at(pod, "spec", "hostname")
        (ready if _is_counted_ready(service, pod) else waiting).append(entry)
    if not ready and not waiting:
        return []
    subset: JsonObject = {}
    if ready:
        subset["addresses"] = list(ready)
    if waiting:
        subset["notReadyAddresses"] = list(waiting)
    if ports:
        subset["ports"] = list(ports)
    return [subset]


def build_slice(service: JsonObject, pods: Sequence[JsonObject]) -> JsonObject:
    """The one EndpointSlice of a Service, without its name."""
    endpoints: list[JsonObject] = []
    ports: list[JsonObject] = []
    for pod in pods:
        address = str_at(pod, "status", "podIP")
        if not address:
            continue
        ports = ports or _ports(service, pod)
        ready = _is_counted_ready(service, pod)
        entry: JsonObject = {
            "addresses": [address],
            "conditions": {"ready": ready, "serving": is_ready(pod), "terminating": is_terminating(pod)},
            "nodeName": str_at(pod, "spec", "nodeName"),
            "targetRef": {"kind": "Pod", "name": key_of(pod)[1], "namespace": key_of(pod)[0], "uid": uid_of(pod)},
        }
        if str_at(pod, "spec", "subdomain") == key_of(service)[1]:
            entry["hostname"] = str_at(pod, "spec", "hostname")
        endpoints.append(entry)
    return {
        "addressType": "IPv4",
        "endpoints": list(endpoints),
        "ports": [{"name": "", **port} for port in ports],
    }


class Endpoints:
    """The endpoints and endpoint-slice controllers in one."""

    def __init__(self, informers: Informers, delay: float) -> None:
        self._delay = delay
        self._services, self._pods = informers.of(SERVICES), informers.of(PODS)
        self._endpoints, self._slices = informers.of(ENDPOINTS), informers.of(SLICES)
        self._by_selector = self._services.index(selector_keys)
        self._by_label = self._pods.index(label_keys)
        self._slices_of = self._slices.index(
            lambda one: [f"{key_of(one)[0]}/{strings_at(one, 'metadata', 'labels').get(_SLICE_LABEL, '')}"]
        )
        self.queue: WorkQueue[Key] = WorkQueue("endpoints")
        self._services.subscribe(self._service_changed)
        self._pods.subscribe(self._pod_changed)

    async def run(self, workers: int) -> None:
        await self.queue.run(workers, self._sync)

    def _service_changed(self, before: JsonObject | None, after: JsonObject | None) -> None:
        document = after if after is not None else before
        if document is not None:
            self.queue.add_after(key_of(document), self._delay)

    def _pod_changed(self, before: JsonObject | None, after: JsonObject | None) -> None:
        for pod in (before, after):
            if pod is None:
                continue
            labels = strings_at(pod, "metadata", "labels").items()
            for key in label_keys(pod)[1:]:
                for service in self._by_selector[key]:
                    if strings_at(service, "spec", "selector").items() <= labels:
                        self.queue.add_after(key_of(service), self._delay)

    async def _sync(self, key: Key) -> None:
        namespace = key[0]
        service = self._services.get(*key)
        known = self._endpoints.get(*key)
        if service is None:
            if known is not None:
                await self._endpoints.delete(known)
            return
        selector = strings_at(service, "spec", "selector")
        if not selector or is_terminating(service) or str_at(service, "spec", "type") == "ExternalName":
            return
        pods = self._matching(namespace, selector)
        labels: JsonObject = dict(strings_at(service, "metadata", "labels"))
        try:
            await self._write_endpoints(service, known, labels, pods)
            await self._write_slice(service, labels, pods)
        except ApiError as err:
            if not is_already_there(err):
                raise

    async def _write_endpoints(
        self, service: JsonObject, known: JsonObject | None, labels: JsonObject, pods: list[JsonObject]
    ) -> None:
        namespace, name = key_of(service)
        subsets = build_subsets(service, pods)
        if known is None:
            document: JsonObject = {
                "apiVersion": "v1",
                "kind": "Endpoints",
                "metadata": {"name": name, "namespace": namespace, "labels": labels},
            }
            if subsets:
                document["subsets"] = list(subsets)
            await self._endpoints.create(namespace, document)
        elif objects_at(known, "subsets") != subsets:
            await self._endpoints.patch(known, {"subsets": list(subsets) or None})

    async def _write_slice(self, service: JsonObject, labels: JsonObject, pods: list[JsonObject]) -> None:
        namespace, name = key_of(service)
        wanted = build_slice(service, pods)
        known = self._slices_of[f"{namespace}/{name}"]
        if known:
            before: JsonObject = {part: known[0][part] for part in ("endpoints", "ports") if known[0].get(part)}
            after: JsonObject = {part: wanted[part] for part in ("endpoints", "ports") if wanted[part]}
            patch = merge_patch(before, after)
            if patch:
                await self._slices.patch(known[0], patch)
            return
        document: JsonObject = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "generateName": f"{name}-",
                "namespace": namespace,
                "labels": {
                    **labels,
                    _SLICE_LABEL: name,
                    "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                },
                "ownerReferences": [owner_reference(service, "v1", "Service")],
            },
            **wanted,
        }
        await self._slices.create(namespace, document)

    def _matching(self, namespace: str, selector: dict[str, str]) -> list[JsonObject]:
        keys = [f"{namespace}/{name}={value}" for name, value in selector.items()]
        smallest = min(keys, key=self._by_label.count)
        found = [
            pod
            for pod in self._by_label[smallest]
            if not is_finished(pod) and selector.items() <= strings_at(pod, "metadata", "labels").items()
        ]
        return sorted(found, key=key_of)
