"""`tapioctl render`: what a TapioCluster would be made of, as YAML, without any cluster.

Judged and rendered by the planner's own functions; there is no second renderer. Refuses to print anything while
something given would be `Stalled`: half of an answer is easily taken for the whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tapio_cli.documents import in_namespace, read_documents
from tapio_cli.manifests import as_files, as_stream, write_folder
from tapio_reconciler.core.previewing import UNKNOWN_UID, Preview, Surroundings, preview
from tapio_reconciler.core.wanting import ref_of
from tapio_shared.api.kinds import RESOURCE_KINDS
from tapio_shared.api.names import API_GROUP, API_VERSION, CLUSTER_KIND, is_dns_label
from tapio_shared.api.operator_config import CONFIG_KEY, CONFIG_MAP, OperatorConfig, parse_operator_config
from tapio_shared.api.served import assumed_discovery
from tapio_shared.errors import InvalidSettings
from tapio_shared.facts import FleetObserved
from tapio_shared.json import JsonObject, at, str_at
from tapio_watcher.fleet import fleet_of, seen_class, seen_namespace, seen_node

RENDERED, REFUSED, UNUSABLE = 0, 1, 2
"""Exit codes."""
_KINDS = frozenset(kind.kind for kind in RESOURCE_KINDS)
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user asked for. `output` None prints to standard output."""

    files: Sequence[str]
    kubernetes: str
    served: Sequence[str] = ()
    fleet: str = ""
    namespace: str = "default"
    output: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is to be printed, where, and how the command ends."""

    code: int
    output: str = ""
    remarks: Sequence[str] = ()


def render(request: Request) -> Answer:
    """Carry `request` out. Raises InvalidSettings for what can't be read or used at all (exit code 2)."""
    if not is_dns_label(request.namespace):
        raise InvalidSettings(
            f"--namespace is {request.namespace!r}; it must be a lower-case DNS label, such as default."
        )
    resources, config_maps, remarks = _sorted_out(read_documents(request.files), request.namespace)
    if not resources:
        raise InvalidSettings(f"There is no TapioCluster in {' and '.join(request.files)}; there is nothing to render.")
    config = _config(config_maps)
    surroundings = Surroundings(
        discovery=assumed_discovery(request.kubernetes, tuple(request.served)),
        config=config,
        fleet=_fleet(request.fleet, config) if request.fleet else None,
    )
    previews = preview(resources, surroundings)
    refused = [f"{ref}: {reason}: {message}" for one in previews for ref, reason, message in one.refusals]
    if refused:
        return Answer(code=REFUSED, remarks=[*refused, "Nothing was rendered."])
    for one in previews:
        remarks += [f"{one.cluster}: {reason}: {message}" for reason, message in one.notices]
        remarks += _on_secrets(one)
    if any(at(document, "metadata", "uid") is None for document in resources if document["kind"] == CLUSTER_KIND):
        remarks.append(
            f"Owner references and labels hold {UNKNOWN_UID} for the UID that the API server will give; what is "
            "printed is for reading, comparing and scanning, and is applied by the operator."
        )
    if request.output is None:
        return Answer(code=RENDERED, output=as_stream(previews), remarks=remarks)
    written = write_folder(request.output, as_files(previews))
    return Answer(code=RENDERED, remarks=[*remarks, f"{written} files are in {request.output}."])


def _sorted_out(
    documents: Sequence[JsonObject], namespace: str
) -> tuple[list[JsonObject], list[JsonObject], list[str]]:
    """Our resources, the operator's ConfigMap, and what is to be said about the rest."""
    resources: list[JsonObject] = []
    config_maps: list[JsonObject] = []
    remarks: list[str] = []
    for document in documents:
        kind, name = str_at(document, "kind"), str_at(document, "metadata", "name")
        if str_at(document, "apiVersion").partition("/")[0] == API_GROUP:
            resources.append(in_namespace(_known(document, kind, name), namespace))
        elif kind == "ConfigMap" and name == CONFIG_MAP:
            config_maps.append(document)
        else:
            remarks.append(f"{kind} {name} is left as it is: only Tapio's own resources are rendered.")
    seen: set[object] = set()
    for ref in (ref_of(document) for document in resources):
        if ref in seen:
            raise InvalidSettings(f"{ref} is given twice; which one is meant can't be told.")
        seen.add(ref)
    return resources, config_maps, remarks


def _known(document: JsonObject, kind: str, name: str) -> JsonObject:
    version = str_at(document, "apiVersion")
    if version != API_VERSION or kind not in _KINDS:
        raise InvalidSettings(f"{kind} of {version} is unknown; {API_VERSION} has {', '.join(sorted(_KINDS))}.")
    if not _NAME.fullmatch(name):
        raise InvalidSettings(f"metadata.name of a {kind} is {name!r}; it must be a lower-case DNS name, such as dev.")
    namespace = at(document, "metadata", "namespace")
    if namespace is not None and not (isinstance(namespace, str) and is_dns_label(namespace)):
        raise InvalidSettings(
            f"metadata.namespace of {kind} {name} is {namespace!r}; it must be a lower-case DNS label, such as default."
        )
    return document


def _config(config_maps: Sequence[JsonObject]) -> OperatorConfig:
    if len(config_maps) > 1:
        raise InvalidSettings(f"ConfigMap {CONFIG_MAP} is given {len(config_maps)} times; name one of them.")
    text = str_at(config_maps[0], "data", CONFIG_KEY) if config_maps else ""
    return parse_operator_config(text)


def _fleet(path: str, config: OperatorConfig) -> FleetObserved:
    """The fleet that `kubectl get nodes,namespaces,storageclasses,priorityclasses -o yaml` tells of."""
    by_kind: dict[str, list[JsonObject]] = {}
    for document in read_documents([path]):
        by_kind.setdefault(str_at(document, "kind"), []).append(document)
    if "Node" not in by_kind:
        raise InvalidSettings(
            f"{path} holds no Node. Write it with: kubectl get nodes,namespaces,storageclasses,priorityclasses -o yaml"
        )
    return fleet_of(
        [seen_node(one) for one in by_kind["Node"]],
        storage_classes=[seen_class(one) for one in by_kind.get("StorageClass", [])],
        namespaces=[seen_namespace(one) for one in by_kind.get("Namespace", [])],
        priority_classes=[seen_class(one) for one in by_kind.get("PriorityClass", [])],
        allowed_namespaces=config.node_agents.allowed_namespaces,
        now=0,
    )


def _on_secrets(one: Preview) -> list[str]:
    return [
        f"{one.cluster}: Secret {str_at(made.manifest, 'metadata', 'name')} is printed without its values "
        f"({', '.join(made.generated.keys)}), which the operator generates once."
        for made in one.objects
        if made.generated is not None
    ]
