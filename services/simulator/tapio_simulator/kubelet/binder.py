"""Volumes for claims: an external provisioner, and, where no controller manager does it, the binder as well.

On a real API server only PersistentVolumes are made here: the controller manager asks by annotation
(`volume.beta.kubernetes.io/storage-provisioner`) and binds. Expansion and reclaiming are a provisioner's in both.
"""

from __future__ import annotations

from tapio_shared.errors import ApiError
from tapio_shared.json import JsonObject, at, object_at, objects_at, str_at, strings_at
from tapio_shared.ports import Clock
from tapio_simulator.kubelet.scheduler import SELECTED_NODE
from tapio_simulator.kubelet.settings import PROVISIONER, KubeletSettings
from tapio_simulator.machinery.client import is_already_there
from tapio_simulator.machinery.events import EventRecorder
from tapio_simulator.machinery.informer import Informers
from tapio_simulator.machinery.objects import Key, finalizers_of, is_finished, is_terminating, key_of, uid_of
from tapio_simulator.machinery.queue import WorkQueue
from tapio_simulator.machinery.resources import CLAIMS, CLASSES, PODS, VOLUMES
from tapio_simulator.quantities import amount

COMPONENT = "persistentvolume-controller"
PROTECTION = "kubernetes.io/pvc-protection"
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
_ASKED = ("volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner")


class Binder:
    """Provisions, binds, expands and reclaims volumes."""

    def __init__(self, informers: Informers, clock: Clock, events: EventRecorder, settings: KubeletSettings) -> None:
        self._clock, self._events, self._settings = clock, events, settings
        self._claims, self._volumes = informers.of(CLAIMS), informers.of(VOLUMES)
        self._classes, self._pods = informers.of(CLASSES), informers.of(PODS)
        self._users = self._pods.index(_claims_used)
        self.queue: WorkQueue[tuple[str, str, str]] = WorkQueue("binder")
        self._claims.subscribe(self._claim_changed)
        self._volumes.subscribe(self._volume_changed)
        self._classes.subscribe(self._class_changed)
        self._pods.subscribe(self._pod_changed)

    async def run(self, workers: int) -> None:
        await self.queue.run(workers, self._sync)

    async def create_class(self) -> None:
        """The cluster's default StorageClass, unless it is there."""
        name = self._settings.storage_class
        if not name or self._classes.get("", name) is not None:
            return
        mode = "WaitForFirstConsumer" if self._settings.wait_for_consumer else "Immediate"
        document: JsonObject = {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": name, "annotations": {_DEFAULT_CLASS: "true"}},
            "provisioner": PROVISIONER,
            "reclaimPolicy": "Delete",
            "allowVolumeExpansion": True,
            "volumeBindingMode": mode,
        }
        try:
            await self._classes.create("", document)
        except ApiError as err:
            if not is_already_there(err):
                raise

    # --- what changes ----------------------------------------------------------------------------------------------

    def _claim_changed(self, before: JsonObject | None, after: JsonObject | None) -> None:
        document = after if after is not None else before
        if document is not None:
            self.queue.add(("claim", *key_of(document)))
            if after is None:
                self.queue.add(("volume", "", str_at(document, "spec", "volumeName")))

    def _volume_changed(self, _before: JsonObject | None, after: JsonObject | None) -> None:
        if after is not None:
            self.queue.add(("volume", *key_of(after)))

    def _class_changed(self, _before: JsonObject | None, _after: JsonObject | None) -> None:
        for key, claim in self._claims.objects.items():
            if str_at(claim, "status", "phase") != "Bound":
                self.queue.add(("claim", *key))

    def _pod_changed(self, before: JsonObject | None, after: JsonObject | None) -> None:
        if before is not None and (after is None or is_finished(after)):
            for name in _claims_used(before):
                self.queue.add(("claim", *_split(name)))

    # --- claims ----------------------------------------------------------------------------------------------------

    async def _sync(self, key: tuple[str, str, str]) -> None:
        kind, namespace, name = key
        if kind == "volume":
            await self._sync_volume(name)
            return
        claim = self._claims.get(namespace, name)
        if claim is None:
            return
        if is_terminating(claim):
            await self._let_go(claim)
        elif str_at(claim, "status", "phase") == "Bound":
            await self._expand(claim)
        elif self._settings.binds_claims:
            await self._bind(claim)
        elif self._is_asked(claim):
            await self._provision(claim, self._class_of(claim))

    def _class_of(self, claim: JsonObject) -> JsonObject | None:
        return self._classes.get("", str_at(claim, "spec", "storageClassName"))

    @staticmethod
    def _is_asked(claim: JsonObject) -> bool:
        annotations = strings_at(claim, "metadata", "annotations")
        return any(annotations.get(name) == PROVISIONER for name in _ASKED)

    def _default_class(self) -> str:
        """The newest class that is marked as default, as Kubernetes picks it."""
        marked = [
            one
            for one in self._classes.objects.values()
            if strings_at(one, "metadata", "annotations").get(_DEFAULT_CLASS) == "true"
        ]
        if not marked:
            return ""
        newest = max(marked, key=lambda one: (str_at(one, "metadata", "creationTimestamp"), key_of(one)[1]))
        return key_of(newest)[1]

    def _warn(self, claim: JsonObject, reason: str, message: str) -> None:
        self._events.warning(CLAIMS, claim, reason, message, component=COMPONENT)

    async def _bind(self, claim: JsonObject) -> None:
        name = at(claim, "spec", "storageClassName")
        if name is None:
            default = self._default_class()
            if not default:
                text = "no persistent volumes available for this claim and no storage class is set"
                self._events.normal(CLAIMS, claim, "FailedBinding", text, component=COMPONENT, essential=True)
                return
            assigned = await self._claims.patch(claim, {"spec": {"storageClassName": default}})
            if assigned is None:
                return
            claim = assigned
        if name == "":
            await self._bind_existing(claim)
            return
        found = self._class_of(claim)
        if found is None:
            text = f'storageclass.storage.k8s.io "{str_at(claim, "spec", "storageClassName")}" not found'
            self._warn(claim, "ProvisioningFailed", text)
            return
        selected = strings_at(claim, "metadata", "annotations").get(SELECTED_NODE)
        if found.get("volumeBindingMode") == "WaitForFirstConsumer" and not selected:
            text = "waiting for first consumer to be created before binding"
            self._events.normal(CLAIMS, claim, "WaitForFirstConsumer", text, component=COMPONENT)
            return
        if found.get("provisioner") != PROVISIONER:
            text = (
                f"Waiting for a volume to be created either by the external provisioner '{found.get('provisioner')}' "
                "or manually by the system administrator. If volume creation is delayed, please verify that the "
                "provisioner is running and correctly registered."
            )
            self._events.normal(CLAIMS, claim, "ExternalProvisioning", text, component=COMPONENT)
            return
        volume = await self._provision(claim, found)
        await self._bind_to(claim, volume)

    async def _bind_existing(self, claim: JsonObject) -> None:
        """A claim without class takes a volume made by hand: the one it names."""
        volume = self._volumes.get("", str_at(claim, "spec", "volumeName"))
        if volume is None:
            text = "no persistent volumes available for this claim and no storage class is set"
            self._events.normal(CLAIMS, claim, "FailedBinding", text, component=COMPONENT, essential=True)
            return
        await self._bind_to(claim, volume)

    async def _provision(self, claim: JsonObject, found: JsonObject | None) -> JsonObject:
        name = f"pvc-{uid_of(claim)}"
        known = self._volumes.get("", name)
        if known is not None:
            return known
        return await self._volumes.create("", build_volume(name, claim, found or {}))

    async def _bind_to(self, claim: JsonObject, volume: JsonObject) -> None:
        """Two writes for the claim: what it is bound to, then that it is; one for the volume. A retry goes on."""
        name = key_of(volume)[1]
        bound: JsonObject | None = claim
        if str_at(claim, "spec", "volumeName") != name or PROTECTION not in finalizers_of(claim):
            marks = ("pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller")
            annotations: JsonObject = dict.fromkeys(marks, "yes")
            metadata: JsonObject = {"annotations": annotations}
            if PROTECTION not in finalizers_of(claim):
                metadata["finalizers"] = [*finalizers_of(claim), PROTECTION]
            bound = await self._claims.patch(claim, {"metadata": metadata, "spec": {"volumeName": name}})
        if bound is None:
            return
        if str_at(volume, "status", "phase") != "Bound":
            await self._volumes.patch(volume, {"status": {"phase": "Bound"}}, subresource="status")
        status: JsonObject = {
            "phase": "Bound",
            "accessModes": at(volume, "spec", "accessModes"),
            "capacity": object_at(volume, "spec", "capacity"),
        }
        await self._claims.patch(bound, {"status": status}, subresource="status")

    async def _let_go(self, claim: JsonObject) -> None:
        """Remove the protection once no pod uses the claim (pvc-protection-controller)."""
        names = finalizers_of(claim)
        if not self._settings.binds_claims or PROTECTION not in names or self._users["/".join(key_of(claim))]:
            return
        await self._claims.patch(claim, {"metadata": {"finalizers": [one for one in names if one != PROTECTION]}})

    async def _expand(self, claim: JsonObject) -> None:
        """Give a claim what it asks for, where its class allows it."""
        wanted, has = at(claim, "spec", "resources", "requests", "storage"), at(claim, "status", "capacity", "storage")
        asked, there = amount(str(wanted)), amount(str(has))
        found = self._class_of(claim)
        if asked is None or there is None or asked <= there or found is None:
            return
        if found.get("allowVolumeExpansion") is not True or found.get("provisioner") != PROVISIONER:
            return
        volume = self._volumes.get("", str_at(claim, "spec", "volumeName"))
        if volume is not None:
            await self._volumes.patch(volume, {"spec": {"capacity": {"storage": wanted}}})
        await self._claims.patch(
            claim, {"status": {"capacity": {"storage": wanted}, "conditions": None}}, subresource="status"
        )
        text = f"Resize volume succeeded: {str_at(claim, 'spec', 'volumeName')} has {wanted}"
        self._events.normal(CLAIMS, claim, "VolumeResizeSuccessful", text, component=COMPONENT)

    # --- volumes ---------------------------------------------------------------------------------------------------

    async def _sync_volume(self, name: str) -> None:
        """A provisioned volume whose claim is gone is deleted or released, as its reclaim policy says."""
        volume = self._volumes.get("", name)
        if volume is None or is_terminating(volume):
            return
        if strings_at(volume, "metadata", "annotations").get(_PROVISIONED_BY) != PROVISIONER:
            return
        claim = object_at(volume, "spec", "claimRef")
        known = self._claims.get(str_at(claim, "namespace"), str_at(claim, "name"))
        if known is not None and uid_of(known) == claim.get("uid"):
            return
        if str_at(volume, "spec", "persistentVolumeReclaimPolicy") == "Delete":
            await self._volumes.delete(volume)
        elif self._settings.binds_claims and str_at(volume, "status", "phase") != "Released":
            await self._volumes.patch(volume, {"status": {"phase": "Released"}}, subresource="status")


def build_volume(name: str, claim: JsonObject, found: JsonObject) -> JsonObject:
    """The PersistentVolume that a provisioner makes for `claim` of class `found`."""
    namespace, claim_name = key_of(claim)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {_PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "accessModes": at(claim, "spec", "accessModes"),
            "capacity": {"storage": at(claim, "spec", "resources", "requests", "storage")},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": namespace,
                "name": claim_name,
                "uid": uid_of(claim),
            },
            "csi": {"driver": PROVISIONER, "volumeHandle": name},
            "persistentVolumeReclaimPolicy": str_at(found, "reclaimPolicy", default="Delete"),
            "storageClassName": str_at(claim, "spec", "storageClassName"),
            "volumeMode": str_at(claim, "spec", "volumeMode", default="Filesystem"),
        },
    }


def _claims_used(pod: JsonObject) -> list[str]:
    """Index keys `<namespace>/<claim>` of the claims that a pod mounts."""
    if is_finished(pod):
        return []
    namespace = key_of(pod)[0]
    found = [str_at(one, "persistentVolumeClaim", "claimName") for one in objects_at(pod, "spec", "volumes")]
    return [f"{namespace}/{name}" for name in found if name]


def _split(name: str) -> Key:
    namespace, _, claim = name.partition("/")
    return namespace, claim
