"""ConfigMaps of certificate authorities that resources and the operator's configuration name: what they hold, by key.

They are people's, so no label selects them. One watch per name, over all namespaces, tells of those that exist and,
once its list is complete, of those that do not: most clusters name one and the same, in a namespace each. Bundles are
large and public; of each key a digest is told, which is empty where the key holds nothing. Refuses to tell of others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Container

from tapio_shared.api.references import AUTHORITIES_GROUP, AUTHORITIES_KIND, Trust, trust_of, trusted_config_maps
from tapio_shared.codec import digest
from tapio_shared.facts import ServedResource
from tapio_shared.json import JsonObject, object_at, str_at
from tapio_shared.keys import ObjectRef, OrderingKey
from tapio_shared.ports import Clock
from tapio_watcher.api import Api
from tapio_watcher.encoding import observed_fact
from tapio_watcher.following import KindWatch
from tapio_watcher.packed import Packed
from tapio_watcher.publishing import FactWriter
from tapio_watcher.versions import Name, name_in, token_of

_CONFIG_MAPS = ServedResource(group="", version="v1", kind="ConfigMap", plural="configmaps", namespaced=True)
_LISTED_WITHIN = 5.0
"""Seconds that the word on a complete observation waits for these lists."""


class Authorities:
    """Who wants which of these ConfigMaps, and their facts. Tasks run in `group`."""

    def __init__(self, api: Api, writer: FactWriter, target: str, clock: Clock, group: asyncio.TaskGroup) -> None:
        self._api, self._writer, self._target, self._clock, self._group = api, writer, target, clock, group
        self._trusted = ""
        """The name in the operator's configuration; empty when it has none."""
        self._clusters = Packed()
        """By name of a TapioCluster: the two words of its `Trust`."""
        self._by_name: dict[str, _Named] = {}

    # --- who wants what ----------------------------------------------------------------------------------------

    def told(self, kind: str, document: JsonObject, key: OrderingKey | None) -> None:
        """A custom resource is like this now."""
        name = str_at(document, "metadata", "namespace"), str_at(document, "metadata", "name")
        if kind != "TapioCluster":
            return
        if key is None:
            self.gone(kind, name)
            return
        before = self._wanted_by(name)
        self._clusters.set(token_of(name), token_of(trust_of(document)))
        self._want(name, before)

    def gone(self, kind: str, name: Name) -> None:
        """A custom resource is gone, and wants nothing."""
        if kind == "TapioCluster":
            before = self._wanted_by(name)
            self._clusters.remove(token_of(name))
            self._want(name, before)

    def configured(self, trusted: str) -> None:
        """The operator's configuration names this ConfigMap, or none when it is empty."""
        if trusted != self._trusted:
            former, self._trusted = self._trusted, trusted
            for token in sorted(self._clusters.groups()):
                name = name_in(token)
                self._want(name, self._wanted_by(name, former))

    def _wanted_by(self, cluster: Name, trusted: str | None = None) -> tuple[Name, ...]:
        """The ConfigMaps that a TapioCluster wants; `trusted` is the name in the configuration, if not that of now."""
        trust = self._clusters.get(token_of(cluster))
        if trust is None:
            return ()
        return trusted_config_maps(cluster[0], Trust(*name_in(trust)), self._trusted if trusted is None else trusted)

    def _want(self, cluster: Name, before: tuple[Name, ...]) -> None:
        key, now = OrderingKey(self._target, *cluster), self._wanted_by(cluster)
        for namespace, name in sorted({*before} - {*now}):
            self._by_name[name].forget(namespace, key)
            if self._by_name[name].is_unwanted:
                self._by_name.pop(name).end()
        for namespace, name in now:
            self._named(name).want(namespace, key)

    def _named(self, name: str) -> _Named:
        known = self._by_name.get(name)
        if known is None:
            known = self._by_name[name] = _Named(name, self._writer, self._clock)
            known.begin(self._api, self._group)
        return known

    # --- again and again ---------------------------------------------------------------------------------------

    async def settled(self) -> None:
        """Wait until all that are wanted now have been listed, or can't be listed for now."""
        for one in list(self._by_name.values()):
            await one.settled()

    async def compare(self) -> None:
        """Compare with the API server's own lists. Raises TapioError for the first that can't be read."""
        for name in sorted(self._by_name):
            if name in self._by_name:
                await self._by_name[name].compare()


class _Named:
    """All ConfigMaps of one name."""

    def __init__(self, name: str, writer: FactWriter, clock: Clock) -> None:
        self._name, self._writer, self._clock = name, writer, clock
        self._wanting: dict[str, set[OrderingKey]] = {}
        """Namespace -> keys of the TapioClusters that want this ConfigMap of it."""
        self._held: dict[str, JsonObject] = {}
        """Namespace -> digest of every key of the ConfigMap there."""
        self._is_complete = False

    def begin(self, api: Api, group: asyncio.TaskGroup) -> None:
        """Follow all of this name."""
        self._watch = KindWatch(api, _CONFIG_MAPS, self, selector={"fieldSelector": f"metadata.name={self._name}"})
        self._task = group.create_task(self._watch.run(), name=f"authorities-{self._name}")

    def end(self) -> None:
        """Follow them no more."""
        self._task.cancel()
        self._watch.is_listed.set()

    async def settled(self) -> None:
        """Wait for the first list, as long as that may take when all is well."""
        try:
            async with asyncio.timeout(_LISTED_WITHIN):
                await self._watch.is_listed.wait()
        except TimeoutError:
            return  # What is not told yet is unknown, and nothing waits for it.

    async def compare(self) -> None:
        await self._watch.compare()

    @property
    def is_unwanted(self) -> bool:
        return not self._wanting

    def want(self, namespace: str, key: OrderingKey) -> None:
        known = self._wanting.setdefault(namespace, set())
        if key not in known:
            known.add(key)
            self._publish(namespace, key)

    def forget(self, namespace: str, key: OrderingKey) -> None:
        known = self._wanting.get(namespace, set())
        known.discard(key)
        if not known:
            self._wanting.pop(namespace, None)

    # --- the sink ----------------------------------------------------------------------------------------------

    def observed(self, document: JsonObject) -> None:
        namespace = str_at(document, "metadata", "namespace")
        values: JsonObject = {**object_at(document, "data"), **object_at(document, "binaryData")}
        self._held[namespace] = {key: digest(value) if value else "" for key, value in values.items()}
        self._tell(namespace)

    def gone(self, name: Name, *, uid: str = "", resource_version: str = "") -> None:
        self._held.pop(name[0], None)
        self._tell(name[0])

    def complete(self, names: Container[Name]) -> None:
        for namespace in [one for one in self._held if (one, self._name) not in names]:
            del self._held[namespace]
        self._is_complete = True
        for namespace in sorted(self._wanting):
            self._tell(namespace)

    def _tell(self, namespace: str) -> None:
        for key in sorted(self._wanting.get(namespace, ())):
            self._publish(namespace, key)

    def _publish(self, namespace: str, key: OrderingKey) -> None:
        ref, held = ObjectRef(AUTHORITIES_GROUP, AUTHORITIES_KIND, namespace, self._name), self._held.get(namespace)
        if held is not None:
            document: JsonObject = {"kind": AUTHORITIES_KIND, "digests": held}
            fact = observed_fact(document, uid="", resource_version="", now=self._clock.now())
            self._writer.observed(key, ref, fact, only_place=False)
        elif self._is_complete:
            self._writer.gone(ref, key=key)
