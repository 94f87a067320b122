"""ControllerRevisions: the templates that StatefulSets and DaemonSets go back to or still run."""

from __future__ import annotations

from tapio_shared.errors import ApiError
from tapio_shared.json import JsonObject, int_at, object_at, strings_at
from tapio_simulator.controllers.replicas import adopt, by_controller, orphans_of
from tapio_simulator.machinery.client import is_already_there
from tapio_simulator.machinery.informer import Informers
from tapio_simulator.machinery.objects import key_of, owner_reference, short_hash, uid_of
from tapio_simulator.machinery.resources import REVISIONS, Collection
from tapio_simulator.selectors import label_selector_matches

REVISION_LABEL = "controller-revision-hash"


class Revisions:
    """The history of one kind of workload."""

    def __init__(self, informers: Informers, collection: Collection) -> None:
        self._collection = collection
        self._revisions = informers.of(REVISIONS)
        self._owned = self._revisions.index(by_controller)
        self._orphans = self._revisions.index(orphans_of)

    def name_of(self, workload: JsonObject) -> str:
        """The name of the revision that holds the current template."""
        return f"{key_of(workload)[1]}-{short_hash(object_at(workload, 'spec', 'template'))}"

    def template_of(self, workload: JsonObject, name: str) -> JsonObject:
        """The template of the revision of that name; the current one when it is not kept any more."""
        found = self._revisions.get(key_of(workload)[0], name)
        kept = {} if found is None else object_at(found, "data", "spec", "template")
        return kept or object_at(workload, "spec", "template")

    def exists(self, workload: JsonObject, name: str) -> bool:
        return self._revisions.get(key_of(workload)[0], name) is not None

    async def ensure(self, workload: JsonObject) -> str:
        """Create the revision of the current template, or make it the latest again; answers its name."""
        namespace, _ = key_of(workload)
        selector = object_at(workload, "spec", "selector")
        for orphan in self._orphans[namespace]:
            if selector and label_selector_matches(selector, strings_at(orphan, "metadata", "labels")):
                await adopt(self._revisions, orphan, workload, self._collection)
        name = self.name_of(workload)
        history = sorted(self._owned[uid_of(workload)], key=lambda one: int_at(one, "revision"))
        latest = int_at(history[-1], "revision") if history else 0
        known = self._revisions.get(namespace, name)
        if known is not None:
            if int_at(known, "revision") < latest:
                await self._revisions.patch(known, {"revision": latest + 1})
            return name
        document: JsonObject = {
            "apiVersion": "apps/v1",
            "kind": "ControllerRevision",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": {
                    **strings_at(workload, "spec", "template", "metadata", "labels"),
                    REVISION_LABEL: name.rpartition("-")[2],
                },
                "ownerReferences": [owner_reference(workload, self._collection.api_version, self._collection.kind)],
            },
            "revision": latest + 1,
            "data": {"spec": {"template": object_at(workload, "spec", "template")}},
        }
        try:
            await self._revisions.create(namespace, document)
        except ApiError as err:
            if not is_already_there(err):
                raise
        return name

    async def truncate(self, workload: JsonObject, live: set[str]) -> None:
        """Delete revisions beyond `revisionHistoryLimit` that no pod is of."""
        limit = int_at(workload, "spec", "revisionHistoryLimit", default=10)
        history = sorted(self._owned[uid_of(workload)], key=lambda one: int_at(one, "revision"))
        idle = [one for one in history if key_of(one)[1] not in live]
        for one in idle[: max(len(idle) - limit, 0)]:
            await self._revisions.delete(one)
