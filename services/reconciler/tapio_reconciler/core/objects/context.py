"""What every builder is given: the cluster, where it runs, and how its objects are named and labelled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from tapio_reconciler.core.model import Served
from tapio_shared.api import names
from tapio_shared.api.component import Component as ComponentSpec
from tapio_shared.api.effective import EffectiveCluster
from tapio_shared.api.images import default_image, explicit_image, with_registry
from tapio_shared.api.labels import managed_labels, node_instance, selector_labels
from tapio_shared.api.operator_config import OperatorConfig
from tapio_shared.facts import FleetObserved
from tapio_shared.json import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One cluster being rendered. Everything in it is a value; nothing reads a clock or an environment."""

    name: str
    namespace: str
    uid: str
    effective: EffectiveCluster
    served: Served
    fleet: FleetObserved | None
    config: OperatorConfig
    secret_digests: Mapping[str, str] = field(default_factory=dict[str, str])
    """Digest of what each known Secret of the namespace holds, so that a change of it rolls the pods that use it."""
    learned: Mapping[str, str] = field(default_factory=dict[str, str])
    """Component -> what its last pod template was made for (the annotation tapio.io/fleet), see placement.py."""

    scalers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Deployment -> the HorizontalPodAutoscalers that scale it and are not ours."""
    enterprise_claims: tuple[str, ...] = ()
    """Names of Neo4j's claims whose databases its Enterprise edition made."""
    graph_began_as_community: bool = False
    """Whether one of Neo4j's volumes was made for Community, and may hold what Community wrote."""
    kept: frozenset[str] = frozenset()
    """Collectors among the effective ones, by component, that are not rendered and go on as they are: what others hold
    for them is."""
    graph_began_with: int = 0
    """How many Neo4j members the graph's cluster was formed of, where that is known; never changed afterwards."""

    @property
    def node_namespace(self) -> str:
        return self.effective.spec.node_agents.namespace or names.NODE_NAMESPACE

    def child(self, suffix: str) -> str:
        """Name of an object in the cluster's own namespace."""
        return names.child_name(self.name, suffix, self.namespace)

    def node_child(self, suffix: str) -> str:
        """Name of an object in the node agents' namespace."""
        return names.node_agent_name(self.name, suffix, self.namespace)

    def cluster_scoped(self, component: str) -> str:
        return names.cluster_scoped_name(self.namespace, self.name, component)

    def labels(
        self, app: str, component: str, *, version: str = "", collector: str = "", node: bool = False
    ) -> JsonObject:
        """All labels of a managed object."""
        inherited = self.effective.spec.inherited_metadata.labels or {}
        own = _managed_labels(
            self.name,
            self.namespace,
            self.uid,
            app,
            component,
            version,
            collector,
            node_instance(self.name, self.namespace) if node else "",
        )
        return {**dict(sorted(inherited.items())), **own}

    def selector(self, app: str, component: str, *, node: bool = False) -> JsonObject:
        """What selects a component's pods, for ever."""
        instance = node_instance(self.name, self.namespace) if node else self.name
        return {**selector_labels(name=app, instance=instance, component=component)}

    def owner(self) -> JsonObject:
        """The controller reference to the TapioCluster, for objects of its own namespace."""
        return {
            "apiVersion": names.API_VERSION,
            "kind": names.CLUSTER_KIND,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }

    def metadata(
        self,
        name: str,
        app: str,
        component: str,
        *,
        version: str = "",
        collector: str = "",
        annotations: Mapping[str, str] | None = None,
    ) -> JsonObject:
        """Metadata of an object in the cluster's own namespace, which the TapioCluster controls."""
        document = self._metadata(name, self.labels(app, component, version=version, collector=collector), annotations)
        document["namespace"] = self.namespace
        document["ownerReferences"] = [self.owner()]
        return document

    def node_metadata(
        self, name: str, app: str, component: str, *, version: str = "", annotations: Mapping[str, str] | None = None
    ) -> JsonObject:
        """Metadata of an object in the node agents' namespace: found by label, removed by teardown."""
        labels = self.labels(app, component, version=version, collector=component, node=True)
        document = self._metadata(name, labels, annotations)
        document["namespace"] = self.node_namespace
        return document

    def cluster_metadata(self, app: str, component: str) -> JsonObject:
        """Metadata of a cluster-scoped object: found by label, removed by teardown."""
        return self._metadata(self.cluster_scoped(component), self.labels(app, component), None)

    def _metadata(self, name: str, labels: JsonObject, annotations: Mapping[str, str] | None) -> JsonObject:
        document: JsonObject = {"name": name, "labels": labels}
        inherited = self.effective.spec.inherited_metadata.annotations or {}
        merged = {**inherited, **(annotations or {})}
        if merged:
            document["annotations"] = dict(sorted(merged.items()))
        return document

    def image(self, component: str, spec: ComponentSpec, *, node_agent: bool = False) -> str:
        """The image of a component: named by its spec, else the default for its version, from the right registry."""
        version = self.effective.version
        if spec.image:
            return explicit_image(spec.image, version=spec.version, tapio_version=version)
        trusted = self.config.trust.is_trusted(self.namespace)
        own_registry = self.effective.spec.image.registry if trusted or not node_agent else None
        return self._default_image(component, spec.version, own_registry)

    def sidecar_image(self, component: str) -> str:
        """The image of a container that stands beside a component's own, which no spec names."""
        return self._default_image(component, None, self.effective.spec.image.registry)

    def _default_image(self, component: str, version: str | None, registry: str | None) -> str:
        image = default_image(
            component,
            tapio_version=self.effective.version,
            version=version,
            overrides=self.config.image_overrides,
        )
        wanted = registry or self.config.images.registry
        return with_registry(image, wanted) if wanted else image

    def version(self, spec: ComponentSpec, image: str) -> str:
        """The version that a component's labels and status show: its own, else its image's tag, else Tapio's."""
        if spec.version:
            return spec.version
        tail = image.partition("@")[0].rpartition("/")[2]
        return tail.partition(":")[2] or self.effective.version


@lru_cache(maxsize=256)
def _managed_labels(
    cluster: str, namespace: str, uid: str, app: str, component: str, version: str, collector: str, instance: str
) -> Mapping[str, str]:
    """The operator's own labels in order of their names: those of a component are the same on each of its objects."""
    labels = managed_labels(
        cluster=cluster,
        namespace=namespace,
        uid=uid,
        name=app,
        component=component,
        version=version,
        collector=collector,
        instance=instance,
    )
    return dict(sorted(labels.items()))
