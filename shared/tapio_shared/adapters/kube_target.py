"""`ports.Kube` to a target other than the operator's own cluster, by the kubeconfig in the target's Secret."""

from __future__ import annotations

import ssl
from typing import cast

from tapio_shared.adapters.kube_http import Configured, HttpKube, Source
from tapio_shared.adapters.kubernetes_configuration import ConfigException, Configuration, load_kube_config_from_dict
from tapio_shared.errors import UnusableTarget
from tapio_shared.kube_metrics import KubeMetrics
from tapio_shared.pacing import Pacing
from tapio_shared.ports import Kube
from tapio_shared.targets import read_target


class _Secret(Source):
    """The Secret is read each time, so that a renewed credential is used as soon as the old one fails."""

    def __init__(self, home: Kube, namespace: str, name: str) -> None:
        self._home, self._namespace, self._name = home, namespace, name

    async def load(self) -> Configured:
        target = await read_target(self._home, self._namespace, self._name)
        configuration = Configuration()
        try:
            await load_kube_config_from_dict(target.kubeconfig, client_configuration=configuration)
        except (ConfigException, ValueError, OSError) as err:
            raise self._unusable(err) from err
        return cast("Configured", configuration)

    def _unusable(self, err: Exception) -> UnusableTarget:
        return UnusableTarget(
            f"The kubeconfig in Secret {self._namespace}/{self._name} can't be used: {type(err).__name__}. "
            "Check that its certificates and keys are base64 of PEM; the Secret is read again at once."
        )

    async def connect(self, metrics: KubeMetrics | None, pacing: Pacing | None) -> HttpKube:
        """A client, not entered yet."""
        try:
            return await HttpKube.from_source(self, metrics, pacing)
        except (ssl.SSLError, ValueError) as err:
            raise self._unusable(err) from err


async def connect_target(
    home: Kube, namespace: str, name: str, *, metrics: KubeMetrics | None = None, pacing: Pacing | None = None
) -> HttpKube:
    """Client of target `name`, whose Secret is in `namespace` of `home`. `UnusableTarget` when that can't be used."""
    return await _Secret(home, namespace, name).connect(metrics, pacing)
