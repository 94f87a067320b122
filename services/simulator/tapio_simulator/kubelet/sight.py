"""What a kubelet sees of the cluster, from informers; and which pods to look at again when something appears."""

from __future__ import annotations

from collections.abc import Mapping

from tapio_shared.json import JsonObject, object_at, str_at, strings_at
from tapio_simulator.kubelet.breakages import Behaviour, Breakages
from tapio_simulator.kubelet.settings import KubeletSettings
from tapio_simulator.machinery.informer import Informers
from tapio_simulator.machinery.objects import key_of
from tapio_simulator.machinery.resources import CONFIG_MAPS, NAMESPACES, PODS, SECRETS, SERVICES


def names_only(document: JsonObject) -> JsonObject:
    """A ConfigMap or Secret without its values: a kubelet that runs nothing has no use for them."""
    metadata = object_at(document, "metadata")
    data: JsonObject = dict.fromkeys((*object_at(document, "data"), *object_at(document, "binaryData")))
    kept = ("name", "namespace", "uid", "resourceVersion")
    return {"metadata": {name: metadata[name] for name in kept if name in metadata}, "data": data}


def label_keys(document: JsonObject) -> list[str]:
    """Index keys: `<namespace>/<label>=<value>`, and the namespace itself."""
    namespace = key_of(document)[0]
    labels = strings_at(document, "metadata", "labels")
    return [namespace, *(f"{namespace}/{name}={value}" for name, value in labels.items())]


class Sight:
    """Implements `judging.World`."""

    def __init__(self, informers: Informers, settings: KubeletSettings, breakages: Breakages) -> None:
        self._settings, self._breakages = settings, breakages
        self._config_maps = informers.of(CONFIG_MAPS, names_only)
        self._secrets = informers.of(SECRETS, names_only)
        self._namespaces = informers.of(NAMESPACES)
        self._services = informers.of(SERVICES).index(selector_keys)
        self.pods_by_label = informers.of(PODS).index(label_keys)

    def config_map_keys(self, namespace: str, name: str) -> frozenset[str] | None:
        found = self._config_maps.get(namespace, name)
        return None if found is None else frozenset(object_at(found, "data"))

    def secret_keys(self, namespace: str, name: str) -> frozenset[str] | None:
        found = self._secrets.get(namespace, name)
        return None if found is None else frozenset(object_at(found, "data"))

    def services_of(self, pod: JsonObject) -> list[JsonObject]:
        labels = strings_at(pod, "metadata", "labels")
        found: dict[str, JsonObject] = {}
        for key in label_keys(pod)[1:]:
            for service in self._services[key]:
                selector = strings_at(service, "spec", "selector")
                if selector.items() <= labels.items():
                    found[key_of(service)[1]] = service
        return [found[name] for name in sorted(found)]

    def pod_security_labels(self, namespace: str) -> Mapping[str, str]:
        if not self._settings.checks_pod_security:
            return {}
        found = self._namespaces.get("", namespace)
        return {} if found is None else strings_at(found, "metadata", "labels")

    def is_image_known(self, image: str) -> bool:
        return self._settings.images.is_known(image) and not self._breakages.is_image_broken(image)

    def behaviour_of(self, pod: JsonObject, container: str) -> Behaviour | None:
        return self._breakages.behaviour_of(pod, container)

    def pods_of_service(self, service: JsonObject) -> list[JsonObject]:
        selector = strings_at(service, "spec", "selector")
        if not selector:
            return []
        namespace = key_of(service)[0]
        smallest = min(
            (f"{namespace}/{name}={value}" for name, value in selector.items()), key=self.pods_by_label.count
        )
        return [
            pod
            for pod in self.pods_by_label[smallest]
            if selector.items() <= strings_at(pod, "metadata", "labels").items()
        ]


def selector_keys(service: JsonObject) -> list[str]:
    """One label of the selector is enough to find the service from a pod; the rest is compared."""
    selector = strings_at(service, "spec", "selector")
    if not selector or str_at(service, "spec", "type") == "ExternalName":
        return []
    name = min(selector)
    return [f"{key_of(service)[0]}/{name}={selector[name]}"]
