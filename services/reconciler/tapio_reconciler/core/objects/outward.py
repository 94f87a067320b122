"""How components reach what is outside the Kubernetes cluster: proxy and certificate authorities, from the operator's
configuration, so that they are said once for a fleet of clusters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tapio_reconciler.core.model import Component, Flow
from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.objects.flows import to_urls
from tapio_shared.json import JsonObject, objects_at, str_at

_AUTHORITIES = "/etc/tapio-ca"
_VOLUME = "trusted-ca"
_FOLDERS, _SYSTEM = "SSL_CERT_DIR", "/etc/ssl/certs"
_OWN_NAMES = ("localhost", "127.0.0.1", "::1", ".svc")
_API_SERVER = "$(KUBERNETES_SERVICE_HOST)"
"""The kubelet fills it in."""


def proxy_env(ctx: Context) -> list[JsonObject]:
    """The variables that programs know proxies by, in both spellings, since wget and curl read the small ones only."""
    network = ctx.config.network
    if network.proxy.url is None:
        return []
    direct = ",".join([*_OWN_NAMES, f".{network.cluster_domain}", _API_SERVER, *network.proxy.no_proxy])
    values = {"HTTPS_PROXY": network.proxy.url, "HTTP_PROXY": network.proxy.url, "NO_PROXY": direct}
    return [{"name": spelt, "value": value} for name, value in values.items() for spelt in (name, name.lower())]


def to_proxy(ctx: Context) -> tuple[Flow, ...]:
    """To the proxy, where there is one."""
    return to_urls(ctx.config.network.proxy.url)


def with_authorities(ctx: Context, env: Sequence[JsonObject]) -> list[JsonObject]:
    """`env`, in which Go looks for authorities where it did before, and in the ConfigMap's folder too."""
    if ctx.config.network.ca_config_map is None:
        return [*env]
    before = next((str_at(one, "value") for one in env if one["name"] == _FOLDERS), _SYSTEM)
    others = [one for one in env if one["name"] != _FOLDERS]
    return [*others, {"name": _FOLDERS, "value": f"{before}:{_AUTHORITIES}"}]


def mounting_authorities(ctx: Context, components: Sequence[Component]) -> list[Component]:
    """`components`, of which those whose pods mount that ConfigMap say so."""
    source = ctx.config.network.ca_config_map
    if source is None:
        return [*components]
    found: list[Component] = []
    for component in components:
        namespaces = [str_at(one, "metadata", "namespace") for one in component.objects if _mounts(one)]
        found.append(replace(component, mounts=f"{namespaces[0]}/{source.name}") if namespaces else component)
    return found


def _mounts(workload: JsonObject) -> bool:
    volumes = objects_at(workload, "spec", "template", "spec", "volumes")
    return any(str_at(one, "name") == _VOLUME for one in volumes)


def authorities_volumes(ctx: Context) -> list[JsonObject]:
    """The ConfigMap of the authorities, as a volume."""
    source = ctx.config.network.ca_config_map
    if source is None:
        return []
    items: list[JsonObject] = [{"key": source.key, "path": "ca.crt"}]
    return [{"name": _VOLUME, "configMap": {"name": source.name, "defaultMode": 0o444, "items": [*items]}}]


def authorities_mounts(ctx: Context) -> list[JsonObject]:
    """Where that volume is mounted."""
    if ctx.config.network.ca_config_map is None:
        return []
    return [{"name": _VOLUME, "mountPath": _AUTHORITIES, "readOnly": True}]
