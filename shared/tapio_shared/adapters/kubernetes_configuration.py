"""kubernetes-asyncio's configuration and authentication, without the rest of it.

Its package imports a module per API and a class per kind: 1.5 s of start-up and 35 MB of memory in every process
(measured; see ../shared/reference/kubernetes-client.md). Only `config` and `client.configuration` are wanted, and they
import nothing else when the two package initialisers are passed over, but urllib3 (1.5 MB), which encodes the password
of a kubeconfig that holds one.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

from tapio_shared.absence import deferred

_PACKAGES = ("kubernetes_asyncio", "kubernetes_asyncio.client")


class ApiClient:
    """Stands for kubernetes-asyncio's client, which its loaders name in functions that are not used here."""


def _bare(name: str, locations: list[str]) -> ModuleType:
    module = ModuleType(name)
    module.__path__ = locations
    return module


def _load() -> tuple[Any, Any]:
    """The modules `client.configuration` and `config`, imported beside bare parents that are taken away again."""
    known = {name: sys.modules[name] for name in _PACKAGES if name in sys.modules}
    if len(known) < len(_PACKAGES):
        spec = importlib.util.find_spec("kubernetes_asyncio")
        if spec is None or not spec.submodule_search_locations:
            raise ImportError("kubernetes-asyncio is not installed.")
        root = list(spec.submodule_search_locations)
        sys.modules["kubernetes_asyncio"] = _bare("kubernetes_asyncio", root)
        client = _bare("kubernetes_asyncio.client", [f"{path}/client" for path in root])
        sys.modules["kubernetes_asyncio.client"] = client
    try:
        with deferred("urllib3"):
            configuration = importlib.import_module("kubernetes_asyncio.client.configuration")
        if len(known) < len(_PACKAGES):
            client = sys.modules["kubernetes_asyncio.client"]
            client.__dict__.update(Configuration=configuration.Configuration, ApiClient=ApiClient)
        return configuration, importlib.import_module("kubernetes_asyncio.config")
    finally:
        for name in _PACKAGES:
            if name in known:
                sys.modules[name] = known[name]
            else:
                sys.modules.pop(name, None)


_configuration, _config = _load()
Configuration: Any = _configuration.Configuration
ConfigException: type[Exception] = _config.ConfigException
load_kube_config: Any = _config.load_kube_config
load_kube_config_from_dict: Any = _config.load_kube_config_from_dict
load_incluster_config: Any = _config.load_incluster_config
