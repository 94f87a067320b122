"""What is broken on purpose, changeable while everything runs: by this object from tests, by annotations from kubectl.

kubectl annotate node node-1 simulator.tapio.io/fault=disk-pressure
kubectl annotate pod x simulator.tapio.io/behaviour=crash
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from fnmatch import fnmatchcase

from tapio_shared.json import JsonObject, strings_at
from tapio_simulator.kubelet.images import matches_repository
from tapio_simulator.machinery.objects import key_of

BEHAVIOUR = "simulator.tapio.io/behaviour"
"""Annotation of a pod: one of `Behaviour`."""
CONTAINER = "simulator.tapio.io/container"
"""Annotation of a pod: the container that behaves so (a shell wildcard); every one when absent."""
FAULT = "simulator.tapio.io/fault"
"""Annotation of a node: one of `NodeFault`."""


class Behaviour(StrEnum):
    """How a container behaves once everything it needs is there."""

    CRASH = "crash"
    """Ends with code 1, again and again."""
    OOM = "oom"
    """Is killed for its memory, again and again."""
    NEVER_READY = "never-ready"
    """Runs, and fails its readiness probe."""
    INIT_CRASH = "init-crash"
    """Its init containers end with code 1, again and again; a pod without any crashes."""
    HANG = "hang"
    """Never starts: stays ContainerCreating."""


class NodeFault(StrEnum):
    NOT_READY = "not-ready"
    """The kubelet runs and says so: Ready=False."""
    LOST = "lost"
    """Nothing is heard of the node: Ready=Unknown; its pods can't be deleted in an orderly way."""
    DISK_PRESSURE = "disk-pressure"
    """Takes no new pods."""


class Breakages:
    """Everything that is broken at the moment. Changes take effect at once."""

    def __init__(self) -> None:
        self._images: dict[str, None] = {}
        self._pods: dict[str, tuple[Behaviour, str]] = {}
        self._nodes: dict[str, NodeFault] = {}
        self._listeners: list[Callable[[], None]] = []

    def subscribe(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    def _changed(self) -> None:
        for listener in self._listeners:
            listener()

    def break_image(self, pattern: str) -> None:
        """Images that match (shell wildcards, on the image or its repository) can't be pulled any more."""
        self._images[pattern] = None
        self._changed()

    def heal_image(self, pattern: str) -> None:
        self._images.pop(pattern, None)
        self._changed()

    def break_pods(self, pattern: str, behaviour: Behaviour, *, container: str = "*") -> None:
        """Pods whose `namespace/name` matches behave so; the last pattern that matches counts."""
        self._pods.pop(pattern, None)
        self._pods[pattern] = (behaviour, container)
        self._changed()

    def heal_pods(self, pattern: str) -> None:
        self._pods.pop(pattern, None)
        self._changed()

    def break_node(self, name: str, fault: NodeFault) -> None:
        self._nodes[name] = fault
        self._changed()

    def heal_node(self, name: str) -> None:
        self._nodes.pop(name, None)
        self._changed()

    def heal_all(self) -> None:
        for table in (self._images, self._pods, self._nodes):
            table.clear()
        self._changed()

    # --- questions -------------------------------------------------------------------------------------------------

    def is_image_broken(self, image: str) -> bool:
        return bool(self._images) and matches_repository(image, tuple(self._images))

    def behaviour_of(self, pod: JsonObject, container: str) -> Behaviour | None:
        """How `container` of `pod` behaves; None: as it should."""
        if self._pods:
            name = "/".join(key_of(pod))
            for pattern, (behaviour, containers) in reversed(self._pods.items()):
                if fnmatchcase(name, pattern) and fnmatchcase(container, containers):
                    return behaviour
        annotations = strings_at(pod, "metadata", "annotations")
        word = annotations.get(BEHAVIOUR, "")
        if word in _BEHAVIOURS and fnmatchcase(container, annotations.get(CONTAINER, "*")):
            return Behaviour(word)
        return None

    def fault_of(self, node: JsonObject) -> NodeFault | None:
        known = self._nodes.get(key_of(node)[1])
        if known is not None:
            return known
        word = strings_at(node, "metadata", "annotations").get(FAULT, "")
        return NodeFault(word) if word in _FAULTS else None


_BEHAVIOURS = frozenset(entry.value for entry in Behaviour)
_FAULTS = frozenset(entry.value for entry in NodeFault)
