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
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path

import aiohttp
import kopf
import msgspec
import uvloop
import yaml

GROUP, VERSION, PLURAL = "tapio.io", "v1alpha1", "tapioclusters"
CLUSTER, CLUSTER_NAMESPACE = "tapio.io/cluster", "tapio.io/cluster-namespace"
CONCURRENT = int(os.environ["PEER_CONCURRENT"])
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
        """Clusters that were handled since the start."""
        self.checked: set[Key] = set()
        """Children that were compared since the start."""

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

    async def look_around(self) -> None:
        """Before any watch opens: which clusters there are, and which children hold what they should.

        kopf's indices are made for this, but wake every waiting object for every object that is indexed: a restart with
        2,000 children took four times as long.
        """
        async for cluster in self.listed(f"/apis/{GROUP}/{VERSION}/{PLURAL}", ""):
            metadata = cluster["metadata"]
            self.note((metadata["namespace"], metadata["name"]), metadata["uid"], cluster.get("spec", {}))
        for group, version, plural in WATCHES:
            root = f"/apis/{group}/{version}" if group else f"/api/{version}"
            async for live in self.listed(f"{root}/{plural}", SELECTOR):
                self.compare(group, plural, live)

    async def listed(self, path: str, selector: str) -> AsyncIterator[dict]:
        """All objects of a kind, in pages."""
        query = {"limit": "500", "labelSelector": selector}
        while True:
            async with self.session.get(self.server + path, params=query) as response:
                response.raise_for_status()
                page = msgspec.json.decode(await response.read())
            for one in page["items"]:
                yield one
            query["continue"] = page["metadata"].get("continue", "")
            if not query["continue"]:
                return

    def note(self, cluster: tuple[str, str], uid: str, spec: Mapping) -> None:
        """What the children of a cluster follow from."""
        self.specs[cluster] = uid, dict(spec.get("nats", {}).get("podAnnotations", {}))

    def compare(self, group: str, plural: str, live: Mapping) -> tuple[Child, bytes] | None:
        """The child that `live` is, and what it shall be; whether it holds that is noted. None: none of ours."""
        metadata = live["metadata"]
        cluster = cluster_of(metadata)
        key = group, plural, metadata.get("namespace", ""), metadata["name"]
        found = (one for one in children_of(cluster) if one.key == key) if cluster in self.specs else ()
        child = next(iter(found), None)
        if child is None:
            return None
        document = self.document(cluster, child)
        self.checked.add(key)
        wanted = msgspec.json.decode(document)
        del wanted["apiVersion"], wanted["kind"]  # the items of a list have neither
        if holds(live, wanted):
            self.versions[key], self.held[key] = metadata["resourceVersion"], hash(document)
        else:
            self.held.pop(key, None)
        return child, document

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
        told = ""
        while True:
            progress = f"{len(self.resumed)} {len(self.checked)}"
            if progress != told:
                PROGRESS.write_text(progress)
                told = progress
            await asyncio.sleep(0.2)


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
    await OPERATOR.look_around()


@kopf.on.cleanup()
async def close(**_: object) -> None:
    if OPERATOR.session is not None:
        await OPERATOR.session.close()


@kopf.on.login()
def login(**arguments: object) -> kopf.ConnectionInfo | None:
    return kopf.login_with_kubeconfig(**arguments)


@kopf.on.resume(GROUP, VERSION, PLURAL)
@kopf.on.create(GROUP, VERSION, PLURAL)
@kopf.on.update(GROUP, VERSION, PLURAL)
async def change(
    namespace: str,
    name: str,
    uid: str,
    meta: kopf.Meta,
    spec: kopf.Spec,
    status: kopf.Status,
    patch: kopf.Patch,
    **_: object,
) -> None:
    """Apply the children that are not known to hold what they should, and write the status."""
    cluster = namespace, name
    OPERATOR.note(cluster, uid, spec)
    await OPERATOR.reconcile(cluster, children_of(cluster))
    write_status(cluster, meta, status, patch)
    OPERATOR.resumed.add(cluster)


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
    """An event handler for every kind of child."""
    for group, version, plural in WATCHES:

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
    applying = OPERATOR.busy.get(cluster_of(metadata))
    if applying is not None:
        await applying.wait()
    key = group, plural, metadata.get("namespace", ""), metadata["name"]
    if not is_gone and OPERATOR.versions.get(key) == metadata["resourceVersion"]:
        return
    found = OPERATOR.compare(group, plural, dict(body))
    if found is not None and (is_gone or key not in OPERATOR.held):
        await OPERATOR.apply(*found)


def cluster_of(metadata: Mapping) -> tuple[str, str]:
    """The cluster that a child is of, by its labels."""
    labels = metadata.get("labels", {})
    return labels.get(CLUSTER_NAMESPACE, metadata.get("namespace", "")), labels.get(CLUSTER, "")


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
