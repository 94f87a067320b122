"""Whether objects that are applied together find each other: every name, label, key and port that one object uses of
another must be there. Knows nothing of the builders; reads objects as Kubernetes does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tapio_shared.json import JsonObject, JsonValue, at, list_at, object_at, objects_at, str_at, strings_at

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")
_METADATA_FIELDS = ("metadata.", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.podIP")
Keys = Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Given:
    """What people bring: Secrets and ConfigMaps by name, with their keys."""

    secrets: Keys = field(default_factory=dict[str, frozenset[str]])
    config_maps: Keys = field(default_factory=dict[str, frozenset[str]])


def broken_references(objects: Sequence[JsonObject], given: Given, generated: Keys) -> list[str]:
    """Every reference that leads nowhere, as a line. `generated`: the keys of Secrets whose values are made up."""
    return list(_References(objects, given, generated).broken())


class _References:
    def __init__(self, objects: Sequence[JsonObject], given: Given, generated: Keys) -> None:
        self._objects = objects
        self._given, self._generated = given, generated
        self._by_name = {(_kind(one), _namespace(one), _name(one)): one for one in objects}
        self._workloads = [one for one in objects if _kind(one) in WORKLOADS]

    def broken(self) -> Iterator[str]:
        counted = Counter((_kind(one), _namespace(one), _name(one)) for one in self._objects)
        for (kind, namespace, name), count in sorted(counted.items()):
            if count > 1:
                yield f"{count} objects are {kind} {namespace}/{name}"
        checks = {
            "Service": self._service,
            "PodDisruptionBudget": self._budget,
            "NetworkPolicy": self._policy,
            "HorizontalPodAutoscaler": self._autoscaler,
            "VerticalPodAutoscaler": self._vertical,
            "RoleBinding": self._binding,
            "ClusterRoleBinding": self._binding,
            "Ingress": self._ingress,
            "HTTPRoute": self._route,
            "BackendTLSPolicy": self._tls_policy,
            "ServiceMonitor": self._service_monitor,
            "PodMonitor": self._pod_monitor,
        }
        for one in self._objects:
            found = self._workload(one) if _kind(one) in WORKLOADS else checks.get(_kind(one), _nothing)(one)
            for line in found:
                yield f"{_kind(one)} {_namespace(one)}/{_name(one)}: {line}"
        yield from self._unused()

    # --- pods ------------------------------------------------------------------------------------------------------

    def _workload(self, workload: JsonObject) -> Iterator[str]:
        namespace, pod = _namespace(workload), _pod(workload)
        labels = _pod_labels(workload)
        if not strings_at(workload, "spec", "selector", "matchLabels").items() <= labels.items():
            yield "selects other pods than its own"
        if ("ServiceAccount", namespace, str_at(pod, "serviceAccountName")) not in self._by_name:
            yield f"no ServiceAccount {str_at(pod, 'serviceAccountName')}"
        if _kind(workload) == "StatefulSet":
            service = self._by_name.get(("Service", namespace, str_at(workload, "spec", "serviceName")))
            if service is None:
                yield "no Service of its serviceName"
            elif not strings_at(service, "spec", "selector").items() <= labels.items():
                yield "the Service of its serviceName selects other pods"
        for one in objects_at(pod, "topologySpreadConstraints"):
            if not strings_at(one, "labelSelector", "matchLabels").items() <= labels.items():
                yield "is spread over other pods than its own"
        for one in objects_at(pod, "imagePullSecrets"):
            if str_at(one, "name") not in self._given.secrets:
                yield f"nobody brings the pull secret {str_at(one, 'name')}"
        yield from self._volumes(workload)
        for container in [*objects_at(pod, "initContainers"), *objects_at(pod, "containers")]:
            yield from self._container(namespace, container)

    def _volumes(self, workload: JsonObject) -> Iterator[str]:
        namespace, pod = _namespace(workload), _pod(workload)
        volumes = {str_at(one, "name"): one for one in objects_at(pod, "volumes")}
        claims = {str_at(one, "metadata", "name") for one in objects_at(workload, "spec", "volumeClaimTemplates")}
        if len(volumes) != len(objects_at(pod, "volumes")) or volumes.keys() & claims:
            yield "two volumes have one name"
        mounted: set[str] = set()
        for container in [*objects_at(pod, "initContainers"), *objects_at(pod, "containers")]:
            paths = [str_at(one, "mountPath") for one in objects_at(container, "volumeMounts")]
            if len(set(paths)) != len(paths):
                yield f"container {_of(container)} mounts two volumes at one path"
            for mount in objects_at(container, "volumeMounts"):
                name = str_at(mount, "name")
                mounted.add(name)
                if name not in volumes and name not in claims:
                    yield f"container {_of(container)} mounts {name}, which is no volume"
                config = str_at(volumes.get(name, {}), "configMap", "name")
                sub_path = str_at(mount, "subPath")
                if config and sub_path and sub_path not in (self._keys_of_config_map(namespace, config) or ()):
                    yield f"ConfigMap {config} has no key {sub_path} to mount"
        for name in sorted((volumes.keys() | claims) - mounted):
            yield f"volume {name} is mounted by nobody"
        for name, volume in volumes.items():
            for source in [volume, *objects_at(volume, "projected", "sources")]:
                yield from self._volume_source(namespace, name, source)

    def _volume_source(self, namespace: str, volume: str, source: JsonObject) -> Iterator[str]:
        config, secret = object_at(source, "configMap"), object_at(source, "secret")
        claim = str_at(source, "persistentVolumeClaim", "claimName")
        if config and config.get("optional") is not True:
            yield from self._has_keys(
                f"volume {volume}: ConfigMap {str_at(config, 'name')}",
                self._keys_of_config_map(namespace, str_at(config, "name")),
                [str_at(item, "key") for item in objects_at(config, "items")],
            )
        if secret and secret.get("optional") is not True:
            name = str_at(secret, "secretName") or str_at(secret, "name")
            items = [str_at(item, "key") for item in objects_at(secret, "items")]
            yield from self._has_keys(f"volume {volume}: Secret {name}", self._keys_of_secret(namespace, name), items)
        if claim and ("PersistentVolumeClaim", namespace, claim) not in self._by_name:
            yield f"volume {volume}: no PersistentVolumeClaim {claim}"

    def _container(self, namespace: str, container: JsonObject) -> Iterator[str]:
        names = [str_at(one, "name") for one in objects_at(container, "env")]
        if len(set(names)) != len(names):
            yield f"container {_of(container)} sets a variable twice"
        for entry in objects_at(container, "env"):
            yield from self._variable(namespace, container, entry)
        for entry in objects_at(container, "envFrom"):
            config, secret = str_at(entry, "configMapRef", "name"), str_at(entry, "secretRef", "name")
            if config and not self._keys_of_config_map(namespace, config):
                yield f"container {_of(container)}: no ConfigMap {config}"
            if secret and not self._keys_of_secret(namespace, secret):
                yield f"container {_of(container)}: no Secret {secret}"
        ports = [*objects_at(container, "ports")]
        known = [value for one in ports for value in (at(one, "name"), at(one, "containerPort"))]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            for action in ("httpGet", "tcpSocket", "grpc"):
                port = at(container, probe, action, "port")
                if port is not None and port not in known:
                    yield f"container {_of(container)}: its {probe} asks port {port}, which it does not have"

    def _variable(self, namespace: str, container: JsonObject, entry: JsonObject) -> Iterator[str]:
        source = object_at(entry, "valueFrom")
        what = f"container {_of(container)}, variable {str_at(entry, 'name')}:"
        for kind, field_name, keys_of in (
            ("ConfigMap", "configMapKeyRef", self._keys_of_config_map),
            ("Secret", "secretKeyRef", self._keys_of_secret),
        ):
            ref = object_at(source, field_name)
            if ref and ref.get("optional") is not True:
                name = str_at(ref, "name")
                yield from self._has_keys(f"{what} {kind} {name}", keys_of(namespace, name), [str_at(ref, "key")])
        path = str_at(source, "fieldRef", "fieldPath")
        if path and not path.startswith(_METADATA_FIELDS):
            yield f"{what} no field {path}"
        other = str_at(source, "resourceFieldRef", "containerName")
        if other and other != _of(container):
            yield f"{what} reads the resources of {other}"

    def _has_keys(self, what: str, keys: frozenset[str] | None, wanted: Sequence[str]) -> Iterator[str]:
        if keys is None:
            yield f"{what} does not exist"
            return
        for key in wanted:
            if key not in keys:
                yield f"{what} has no key {key}"

    def _keys_of_config_map(self, namespace: str, name: str) -> frozenset[str] | None:
        found = self._by_name.get(("ConfigMap", namespace, name))
        if found is None:
            return self._given.config_maps.get(name)
        return frozenset([*object_at(found, "data"), *object_at(found, "binaryData")])

    def _keys_of_secret(self, namespace: str, name: str) -> frozenset[str] | None:
        if ("Secret", namespace, name) in self._by_name:
            return self._generated.get(name, frozenset())
        return self._given.secrets.get(name)

    # --- what points to pods ---------------------------------------------------------------------------------------

    def _selected(self, namespace: str, selector: JsonObject) -> list[JsonObject]:
        wanted = strings_at(selector)
        return [
            one
            for one in self._workloads
            if wanted and _namespace(one) == namespace and wanted.items() <= _pod_labels(one).items()
        ]

    def _service(self, service: JsonObject) -> Iterator[str]:
        pods = self._selected(_namespace(service), object_at(service, "spec", "selector"))
        if not pods:
            yield "selects no pods"
        for port in objects_at(service, "spec", "ports"):
            target = at(port, "targetPort") or at(port, "port")
            for pod in pods:
                if target not in _ports(pod):
                    yield f"port {at(port, 'port')} leads to {target}, which {_name(pod)} does not have"

    def _budget(self, budget: JsonObject) -> Iterator[str]:
        pods = self._selected(_namespace(budget), object_at(budget, "spec", "selector", "matchLabels"))
        if len(pods) != 1 and len({_pod_component(one) for one in pods}) != 1:
            yield f"guards {len(pods)} workloads"
        if at(budget, "spec", "maxUnavailable") in (0, "0%") or at(budget, "spec", "minAvailable") == "100%":
            yield "blocks every drain"
        least, replicas = at(budget, "spec", "minAvailable"), [at(one, "spec", "replicas") for one in pods]
        if isinstance(least, int) and all(isinstance(one, int) and one <= least for one in replicas):
            yield "blocks every drain"

    def _policy(self, policy: JsonObject) -> Iterator[str]:
        pods = self._selected(_namespace(policy), object_at(policy, "spec", "podSelector", "matchLabels"))
        if not pods:
            yield "selects no pods"
        for rule in objects_at(policy, "spec", "ingress"):
            for port in objects_at(rule, "ports"):
                if not any(at(port, "port") in _ports(pod) for pod in pods):
                    yield f"lets in to port {at(port, 'port')}, which none of its pods has"
        for direction, side in (("ingress", "from"), ("egress", "to")):
            for rule in objects_at(policy, "spec", direction):
                for peer in objects_at(rule, side):
                    selector = object_at(peer, "podSelector", "matchLabels")
                    if "app.kubernetes.io/component" not in selector:
                        continue  # pods of others, such as the DNS server's
                    if not self._peers(_namespace(policy), peer):
                        yield f"names pods in {direction} that nobody makes: {selector}"

    def _peers(self, namespace: str, peer: JsonObject) -> list[JsonObject]:
        where = object_at(peer, "namespaceSelector")
        named = strings_at(where, "matchLabels").get("kubernetes.io/metadata.name")
        spaces = [named] if named else [_namespace(one) for one in self._workloads] if where else [namespace]
        selector = object_at(peer, "podSelector", "matchLabels")
        return [pod for space in spaces for pod in self._selected(space, selector)]

    def _autoscaler(self, autoscaler: JsonObject) -> Iterator[str]:
        target = self._target(autoscaler, "scaleTargetRef")
        if target is None:
            yield "scales nothing"
        elif "replicas" in object_at(target, "spec"):
            yield "scales a workload that sets its replicas"
        low, high = at(autoscaler, "spec", "minReplicas"), at(autoscaler, "spec", "maxReplicas")
        if not isinstance(low, int) or not isinstance(high, int) or low > high:
            yield f"scales between {low} and {high}"

    def _vertical(self, autoscaler: JsonObject) -> Iterator[str]:
        target = self._target(autoscaler, "targetRef")
        if target is None:
            yield "recommends for nothing"
            return
        if str_at(autoscaler, "spec", "updatePolicy", "updateMode") == "Off":
            return
        steered = {
            str_at(metric, kind, "name")
            for one in self._of("HorizontalPodAutoscaler")
            if self._target(one, "scaleTargetRef") is target
            for metric in objects_at(one, "spec", "metrics")
            for kind in ("resource", "containerResource")
        }
        for policy in objects_at(autoscaler, "spec", "resourcePolicy", "containerPolicies"):
            for resource in list_at(policy, "controlledResources"):
                if resource in steered:
                    yield f"fights a HorizontalPodAutoscaler over {resource}"

    def _target(self, autoscaler: JsonObject, name: str) -> JsonObject | None:
        target = object_at(autoscaler, "spec", name)
        found = self._by_name.get((str_at(target, "kind"), _namespace(autoscaler), str_at(target, "name")))
        return found if str_at(found, "apiVersion") == str_at(target, "apiVersion") else None

    # --- the rest --------------------------------------------------------------------------------------------------

    def _binding(self, binding: JsonObject) -> Iterator[str]:
        role = object_at(binding, "roleRef")
        namespace = _namespace(binding) if str_at(role, "kind") == "Role" else ""
        if (str_at(role, "kind"), namespace, str_at(role, "name")) not in self._by_name:
            yield f"no {str_at(role, 'kind')} {str_at(role, 'name')}"
        for subject in objects_at(binding, "subjects"):
            named = (str_at(subject, "kind"), str_at(subject, "namespace"), str_at(subject, "name"))
            if named not in self._by_name:
                yield f"no {' '.join(named)}"

    def _ingress(self, ingress: JsonObject) -> Iterator[str]:
        for rule in objects_at(ingress, "spec", "rules"):
            for path in objects_at(rule, "http", "paths"):
                service = object_at(path, "backend", "service")
                yield from self._backend(_namespace(ingress), str_at(service, "name"), object_at(service, "port"))
        for tls in objects_at(ingress, "spec", "tls"):
            name = str_at(tls, "secretName")
            if not name:
                continue  # A certificate of the controller's own.
            if not {"tls.crt", "tls.key"} <= (self._keys_of_secret(_namespace(ingress), name) or frozenset()):
                yield f"no certificate in Secret {name}"

    def _route(self, route: JsonObject) -> Iterator[str]:
        for rule in objects_at(route, "spec", "rules"):
            for backend in objects_at(rule, "backendRefs"):
                port: JsonObject = {"number": at(backend, "port")}
                namespace = str_at(backend, "namespace") or _namespace(route)
                yield from self._backend(namespace, str_at(backend, "name"), port)

    def _tls_policy(self, policy: JsonObject) -> Iterator[str]:
        for target in objects_at(policy, "spec", "targetRefs"):
            port: JsonObject = {"name": at(target, "sectionName")}
            yield from self._backend(_namespace(policy), str_at(target, "name"), port)
        for one in objects_at(policy, "spec", "validation", "caCertificateRefs"):
            keys = self._keys_of_config_map(_namespace(policy), str_at(one, "name"))
            yield from self._has_keys(f"ConfigMap {str_at(one, 'name')}", keys, ["ca.crt"])

    def _backend(self, namespace: str, name: str, port: JsonObject) -> Iterator[str]:
        service = self._by_name.get(("Service", namespace, name))
        ports = objects_at(service, "spec", "ports")
        if not any(
            at(one, "port") == at(port, "number") or ("name" in port and at(one, "name") == at(port, "name"))
            for one in ports
        ):
            yield f"no Service {name} with port {port}"

    def _service_monitor(self, monitor: JsonObject) -> Iterator[str]:
        selector = strings_at(monitor, "spec", "selector", "matchLabels")
        spaces = _spaces(monitor)
        services = [
            one
            for one in self._of("Service")
            if (spaces is None or _namespace(one) in spaces)
            and selector.items() <= strings_at(one, "metadata", "labels").items()
        ]
        for endpoint in objects_at(monitor, "spec", "endpoints"):
            port = str_at(endpoint, "port")
            if not any(port in {str_at(p, "name") for p in objects_at(one, "spec", "ports")} for one in services):
                yield f"no Service that it selects has a port {port}"

    def _pod_monitor(self, monitor: JsonObject) -> Iterator[str]:
        selector = strings_at(monitor, "spec", "selector", "matchLabels")
        spaces = _spaces(monitor)
        pods = [
            one
            for one in self._workloads
            if (spaces is None or _namespace(one) in spaces) and selector.items() <= _pod_labels(one).items()
        ]
        for endpoint in objects_at(monitor, "spec", "podMetricsEndpoints"):
            if not any(str_at(endpoint, "port") in _ports(one) for one in pods):
                yield f"no pod that it selects has a port {str_at(endpoint, 'port')}"

    def _unused(self) -> Iterator[str]:
        """Objects that exist for pods or bindings and that none of them uses."""
        accounts = {(_namespace(one), str_at(_pod(one), "serviceAccountName")) for one in self._workloads}
        roles = {
            (str_at(one, "roleRef", "kind"), str_at(one, "roleRef", "name"))
            for one in [*self._of("RoleBinding"), *self._of("ClusterRoleBinding")]
        }
        for one in self._of("ServiceAccount"):
            if (_namespace(one), _name(one)) not in accounts:
                yield f"ServiceAccount {_namespace(one)}/{_name(one)}: no pod uses it"
        for one in [*self._of("Role"), *self._of("ClusterRole")]:
            if (_kind(one), _name(one)) not in roles:
                yield f"{_kind(one)} {_name(one)}: nothing binds it"

    def _of(self, kind: str) -> list[JsonObject]:
        return [one for one in self._objects if _kind(one) == kind]


def _nothing(_: JsonObject) -> Iterator[str]:
    yield from ()


def _spaces(monitor: JsonObject) -> list[JsonValue] | None:
    """The namespaces that a monitor looks into; None is all."""
    if at(monitor, "spec", "namespaceSelector", "any") is True:
        return None
    return list_at(monitor, "spec", "namespaceSelector", "matchNames") or [_namespace(monitor)]


def _kind(document: JsonObject) -> str:
    return str_at(document, "kind")


def _namespace(document: JsonObject) -> str:
    return str_at(document, "metadata", "namespace")


def _name(document: JsonObject) -> str:
    return str_at(document, "metadata", "name")


def _of(container: JsonObject) -> str:
    return str_at(container, "name")


def _template(workload: JsonObject) -> JsonObject:
    outer = ("spec", "jobTemplate") if _kind(workload) == "CronJob" else ()
    return object_at(workload, *outer, "spec", "template")


def _pod(workload: JsonObject) -> JsonObject:
    return object_at(_template(workload), "spec")


def _pod_labels(workload: JsonObject) -> dict[str, str]:
    return strings_at(_template(workload), "metadata", "labels")


def _pod_component(workload: JsonObject) -> str:
    return _pod_labels(workload).get("app.kubernetes.io/component", "")


def _ports(workload: JsonObject) -> list[JsonValue]:
    """Names and numbers of a workload's ports."""
    ports = [port for one in objects_at(_pod(workload), "containers") for port in objects_at(one, "ports")]
    return [value for port in ports for value in (at(port, "name"), at(port, "containerPort"))]
