"""Cluster addresses and node ports of Services."""

from __future__ import annotations

from tapio_shared.json import JsonObject, JsonValue, list_at, object_at, objects_at, str_at
from tapio_simulator.store import Store

_FIRST_NODE_PORT = 30000


class Allocator:
    """Hands out addresses of 10.96.0.0/12 and node ports from 30000, lowest unused first after the last one given."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._next_address = 10
        self._next_port = _FIRST_NODE_PORT

    def allocate(self, service: JsonObject) -> None:
        """Give a new Service what its type needs. `service` is changed."""
        spec = object_at(service, "spec")
        service["spec"] = spec
        kind = str_at(spec, "type", default="ClusterIP")
        if kind == "ExternalName":
            return
        if not str_at(spec, "clusterIP"):
            spec["clusterIP"] = self._address()
        spec.setdefault("clusterIPs", [spec["clusterIP"]])
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        if kind in ("NodePort", "LoadBalancer"):
            for port in objects_at(spec, "ports"):
                if not port.get("nodePort"):
                    port["nodePort"] = self._next_port
                    self._next_port += 1

    def reallocate(self, service: JsonObject, live: JsonObject) -> None:
        """Keep allocated values that an update leaves out (Kubernetes' patchAllocatedValues)."""
        spec, old = object_at(service, "spec"), object_at(live, "spec")
        if str_at(spec, "type") != "ExternalName" and str_at(old, "type") != "ExternalName":
            for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                if not spec.get(name) and name in old:
                    value: JsonValue = old[name]
                    spec[name] = value
        if str_at(spec, "type") in ("NodePort", "LoadBalancer"):
            known = {
                (port.get("port"), port.get("protocol", "TCP")): port.get("nodePort")
                for port in objects_at(old, "ports")
            }
            for port in objects_at(spec, "ports"):
                kept = known.get((port.get("port"), port.get("protocol", "TCP")))
                if not port.get("nodePort") and kept:
                    port["nodePort"] = kept
        else:
            for port in objects_at(spec, "ports"):
                port.pop("nodePort", None)
        _drop_what_the_type_lacks(spec, old)
        self.allocate(service)

    def _address(self) -> str:
        used = (
            {
                str(address)
                for stored in self._store.table("services").objects.values()
                for address in list_at(stored.document, "spec", "clusterIPs")
            }
            if self._next_address > 0xFFFFE
            else frozenset[str]()
        )
        while True:
            number = self._next_address
            self._next_address = number + 1 if number < 0xFFFFE else 10
            address = f"10.{96 + (number >> 16)}.{(number >> 8) & 255}.{number & 255}"
            if address not in used:
                return address


_OF_NODE_PORTS = ("externalTrafficPolicy",)
_OF_LOAD_BALANCERS = ("allocateLoadBalancerNodePorts", "healthCheckNodePort", "loadBalancerClass")


def _drop_what_the_type_lacks(spec: JsonObject, old: JsonObject) -> None:
    """Take away what only the former type of a Service has and nobody changed (Kubernetes' dropTypeDependentFields)."""
    kind = str_at(spec, "type")
    lacks = () if kind == "LoadBalancer" else _OF_LOAD_BALANCERS
    for name in (*lacks, *(() if kind in ("NodePort", "LoadBalancer") else _OF_NODE_PORTS)):
        if name in old and spec.get(name) == old[name]:
            del spec[name]
