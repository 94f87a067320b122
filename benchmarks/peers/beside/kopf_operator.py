"""The peer: a TapioCluster operator on kopf, written as well as kopf allows.

Async handlers; one aiohttp session of its own for concurrent server-side applies; every kind of child watched with the
selector on the server's side, drift put right child by child; a finalizer, a status; no Events, no peering, no
discovery of new kinds, logs of warnings alone; uvloop and a cycle collector that rarely looks, as our services have.
What it has to apply it reads from files that were rendered for it, and so has less to compute than an operator.

It runs in an environment of its own (requirements.lock) and imports nothing of the project.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import gc
import json
import logging
import os
import ssl
import tempfile
from collections.abc import Iterable
from pathlib import Path

import aiohttp
import kopf
import msgspec
import uvloop
import yaml

GROUP, VERSION, PLURAL = "tapio.io", "v1alpha1", "tapioclusters"
CLUSTER, CLUSTER_NAMESPACE = "tapio.io/cluster", "tapio.io/cluster-namespace"
CONCURRENT = 64
"""Requests at once, as many as our workers have."""
UID = b"uid-of-cluster"
"""Stands in the documents for the UID of the TapioCluster."""

DOCUMENTS = Path(os.environ["PEER_DOCUMENTS"])
PROGRESS = Path(os.environ["PEER_PROGRESS"])
KUBECONFIG = os.environ["PEER_KUBECONFIG"]
WATCHES = json.loads(os.environ["PEER_WATCHES"])
SELECTOR = os.environ["PEER_SELECTOR"]

Key = tuple[str, str, str, str]
"""Group, plural, namespace, name."""


class Child(msgspec.Struct, frozen=True):
    """A line of children.json."""

    path: str
    phase: int
    group: str
    plural: str
    namespace: str
    name: str
    file: str

    @property
    def key(self) -> Key:
        return self.group, self.plural, self.namespace, self.name


class Operator:
    """What the handlers share."""

    def __init__(self) -> None:
        self.session: aiohttp.ClientSession | None = None
        self.server = ""
        self.specs: dict[tuple[str, str], tuple[str, dict]] = {}
        """Cluster -> UID and annotations of its NATS pods: what its children follow from."""
        self.versions: dict[Key, str] = {}
        """Child -> resourceVersion of our last apply: its echo needs no look."""
        self.held: dict[Key, int] = {}
        """Child -> hash of what it was last known to hold."""
        self.busy: dict[tuple[str, str], asyncio.Event] = {}
        """Clusters whose children are being applied."""
        self.resumed: set[tuple[str, str]] = set()
        self.checked: set[Key] = set()

    def open(self) -> None:
        """The session, with the credentials of the kubeconfig."""
        config = yaml.safe_load(Path(KUBECONFIG).read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.server = cluster["server"]
        context = ssl.create_default_context(cafile=_file(cluster, "certificate-authority"))
        context.load_cert_chain(_file(user, "client-certificate"), _file(user, "client-key"))
        connector = aiohttp.TCPConnector(limit=CONCURRENT, ssl=context)
        self.session = aiohttp.ClientSession(connector=connector)

    async def apply(self, child: Child, document: bytes) -> None:
        """One server-side apply."""
        body = await self.patch(f"{child.path}?fieldManager=peer&force=true", document, "application/apply-patch+yaml")
        self.versions[child.key] = body["metadata"]["resourceVersion"]
        self.held[child.key] = hash(document)

    async def patch(self, path: str, body: bytes, content_type: str) -> dict:
        """One patch; kopf tries the handler again when it fails."""
        async with self.session.patch(
            self.server + path, data=body, headers={"Content-Type": content_type}
        ) as response:
            answer = await response.read()
            if response.status >= 400:
                raise kopf.TemporaryError(answer.decode(), delay=1)
            return msgspec.json.decode(answer)

    async def reconcile(self, cluster: tuple[str, str], wanted: Iterable[Child]) -> None:
        """Apply those of `wanted` that are not known to hold what they should, phase by phase."""
        done = self.busy.setdefault(cluster, asyncio.Event())
        try:
            phases: dict[int, list[Child]] = {}
            for child in wanted:
                phases.setdefault(child.phase, []).append(child)
            for _, children in sorted(phases.items()):
                documents = [(child, self.document(cluster, child)) for child in children]
                await asyncio.gather(
                    *(self.apply(child, one) for child, one in documents if self.held.get(child.key) != hash(one))
                )
        finally:
            self.busy.pop(cluster, None)
            done.set()

    def document(self, cluster: tuple[str, str], child: Child) -> bytes:
        """What `child` shall be."""
        uid, annotations = self.specs[cluster]
        document = (DOCUMENTS / cluster[1] / child.file).read_bytes().replace(UID, uid.encode())
        if annotations and child.plural == "statefulsets" and child.name.endswith("-nats"):
            content = msgspec.json.decode(document)
            template = content["spec"]["template"]["metadata"]
            template["annotations"] = {**template.get("annotations", {}), **annotations}
            document = msgspec.json.encode(content)
        return document

    async def tell_progress(self) -> None:
        """For the benchmark, which asks when a restart is over: TapioClusters resumed, and children compared."""
        while True:
            PROGRESS.write_text(f"{len(self.resumed)} {len(self.checked)}")
            await asyncio.sleep(0.1)


@functools.lru_cache(maxsize=256)
def children_of(cluster: tuple[str, str]) -> list[Child]:
    """All children of a cluster."""
    return msgspec.json.decode((DOCUMENTS / cluster[1] / "children.json").read_bytes(), type=list[Child])


def holds(live: object, wanted: object) -> bool:
    """Whether `live` contains `wanted`, whatever else it has; API servers leave out what is empty."""
    if live is None:
        return not wanted
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(holds(live.get(name), one) for name, one in wanted.items())
    if isinstance(wanted, list):
        return isinstance(live, list) and len(live) == len(wanted) and all(map(holds, live, wanted))
    return live == wanted


def _file(section: dict, name: str) -> str:
    if name in section:
        return section[name]
    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.write(base64.b64decode(section[f"{name}-data"]))
    return file.name


OPERATOR = Operator()


@kopf.on.startup()
async def configure(settings: kopf.OperatorSettings, **_: object) -> None:
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.persistence.finalizer = "tapio.io/peer"
    settings.watching.reconnect_backoff = 0.1
    for group, version, plural in WATCHES:
        settings.watching.label_selectors[group, version, plural] = SELECTOR
    OPERATOR.open()


@kopf.on.cleanup()
async def close(**_: object) -> None:
    if OPERATOR.session is not None:
        await OPERATOR.session.close()


@kopf.on.login()
def login(**arguments: object) -> kopf.ConnectionInfo | None:
    return kopf.login_with_kubeconfig(**arguments)


@kopf.index(GROUP, VERSION, PLURAL)
async def clusters(namespace: str, name: str, uid: str, spec: kopf.Spec, **_: object) -> None:
    """What the children follow from; known of every cluster before any handler runs."""
    OPERATOR.specs[namespace, name] = uid, dict(spec.get("nats", {}).get("podAnnotations", {}))


@kopf.on.resume(GROUP, VERSION, PLURAL)
async def resume(
    namespace: str,
    name: str,
    meta: kopf.Meta,
    status: kopf.Status,
    patch: kopf.Patch,
    children: kopf.Index,
    **_: object,
) -> None:
    """After a start: make what is absent; what is there is compared when its kind is listed."""
    cluster = namespace, name
    await OPERATOR.reconcile(cluster, [child for child in children_of(cluster) if child.key not in children])
    write_status(cluster, meta, status, patch)
    OPERATOR.resumed.add(cluster)


@kopf.on.create(GROUP, VERSION, PLURAL)
@kopf.on.update(GROUP, VERSION, PLURAL)
async def change(
    namespace: str, name: str, meta: kopf.Meta, status: kopf.Status, patch: kopf.Patch, **_: object
) -> None:
    cluster = namespace, name
    await OPERATOR.reconcile(cluster, children_of(cluster))
    write_status(cluster, meta, status, patch)


def write_status(cluster: tuple[str, str], meta: kopf.Meta, status: kopf.Status, patch: kopf.Patch) -> None:
    """The status as rendered, of this generation, unless it is that already."""
    if status.get("observedGeneration") != meta["generation"]:
        rendered = msgspec.json.decode((DOCUMENTS / cluster[1] / "status.json").read_bytes())
        patch.status.update({**rendered, "observedGeneration": meta["generation"]})


@kopf.on.delete(GROUP, VERSION, PLURAL)
async def delete(namespace: str, name: str, **_: object) -> None:
    """Delete what no owner reference can: objects of the cluster's scope and of other namespaces."""
    for child in children_of((namespace, name)):
        if child.namespace != namespace:
            async with OPERATOR.session.delete(OPERATOR.server + child.path) as response:
                await response.read()
    OPERATOR.specs.pop((namespace, name), None)


def watch_children() -> None:
    """An index and an event handler for every kind of child."""
    for group, version, plural in WATCHES:

        @kopf.index(group, version, plural, id="children")
        async def children(
            namespace: str | None, name: str, group: str = group, plural: str = plural, **_: object
        ) -> dict:
            return {(group, plural, namespace or "", name): True}

        @kopf.on.event(group, version, plural, id=f"child-{plural}.{group}")
        async def child_event(
            body: kopf.Body,
            type: str | None,  # noqa: A002 - kopf's name
            group: str = group,
            plural: str = plural,
            **_: object,
        ) -> None:
            await correct(group, plural, body, is_gone=type == "DELETED")


async def correct(group: str, plural: str, body: kopf.Body, *, is_gone: bool) -> None:
    """Apply a child that doesn't hold what it should; our own applies come back here as well."""
    metadata = body["metadata"]
    labels = metadata.get("labels", {})
    cluster = labels.get(CLUSTER_NAMESPACE, metadata.get("namespace", "")), labels.get(CLUSTER, "")
    key = group, plural, metadata.get("namespace", ""), metadata["name"]
    applying = OPERATOR.busy.get(cluster)
    if applying is not None:
        await applying.wait()
    if not is_gone and OPERATOR.versions.get(key) == metadata["resourceVersion"]:
        return
    child = next((one for one in children_of(cluster) if one.key == key), None) if cluster in OPERATOR.specs else None
    if child is None:
        return
    document = OPERATOR.document(cluster, child)
    if is_gone or not holds(dict(body), msgspec.json.decode(document)):
        await OPERATOR.apply(child, document)
    else:
        OPERATOR.held[key] = hash(document)
    OPERATOR.checked.add(key)


async def main() -> None:
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    watch_children()
    telling = asyncio.create_task(OPERATOR.tell_progress())
    await kopf.operator(clusterwide=True, standalone=True)
    telling.cancel()


if __name__ == "__main__":
    os.environ["KUBECONFIG"] = KUBECONFIG
    logging.basicConfig(level=logging.WARNING)
    uvloop.run(main())
