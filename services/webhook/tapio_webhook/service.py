"""The webhook's life: have a certificate, serve, be registered while the configuration says so."""

from __future__ import annotations

import asyncio

import structlog

from tapio_shared.api.operator_config import OperatorConfig
from tapio_shared.errors import TapioError
from tapio_shared.listeners import config_from_kubernetes
from tapio_shared.ports import Kube
from tapio_webhook.certificates import CertificateStore
from tapio_webhook.registration import Endpoint, register, unregister

log = structlog.get_logger(__name__)

LOOK_EVERY = 5.0
"""Seconds between two looks at configuration, certificate and registration."""


class Registrar:
    """Keeps certificate and registration as they should be."""

    def __init__(self, kube: Kube, certificates: CertificateStore, endpoint: Endpoint, *, namespace: str) -> None:
        self._kube, self._certificates, self._endpoint, self._namespace = kube, certificates, endpoint, namespace
        self.config = OperatorConfig()
        self._unregistered = False
        self._ready = False

    def is_ready(self) -> bool:
        """Whether a certificate is served and the registration is as configured."""
        return self._ready

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            try:
                await self.look()
            except TapioError as err:
                log.warning("registration not kept", error=str(err))
            await asyncio.sleep(LOOK_EVERY)

    async def look(self) -> None:
        """One look: take over a changed configuration, renew the certificate, correct the registration."""
        self.config = await config_from_kubernetes(self._kube, self._namespace, known=self.config)
        await self._certificates.refresh()
        if self.config.webhooks.enabled:
            if await register(self._kube, self._endpoint, self._certificates.bundle):
                log.info("webhooks registered")
            self._unregistered = False
        elif not self._unregistered:
            await unregister(self._kube)
            self._unregistered = True
            log.info("webhooks unregistered")
        self._ready = True
