"""The ServiceAccount `default` of every namespace; without it no pod is admitted there."""

from __future__ import annotations

from tapio_shared.errors import ApiError
from tapio_shared.json import JsonObject, str_at
from tapio_simulator.machinery.client import is_already_there
from tapio_simulator.machinery.informer import Informers
from tapio_simulator.machinery.objects import is_terminating, key_of
from tapio_simulator.machinery.queue import WorkQueue
from tapio_simulator.machinery.resources import NAMESPACES, SERVICE_ACCOUNTS

NAME = "default"


class ServiceAccounts:
    """The service-account controller."""

    def __init__(self, informers: Informers) -> None:
        self._namespaces, self._accounts = informers.of(NAMESPACES), informers.of(SERVICE_ACCOUNTS)
        self.queue: WorkQueue[str] = WorkQueue("serviceaccounts")
        self._namespaces.subscribe(lambda _before, after: None if after is None else self.queue.add(key_of(after)[1]))
        self._accounts.subscribe(self._account_changed)

    async def run(self, workers: int) -> None:
        await self.queue.run(workers, self._sync)

    def _account_changed(self, before: JsonObject | None, after: JsonObject | None) -> None:
        if after is None and before is not None and key_of(before)[1] == NAME:
            self.queue.add(key_of(before)[0])

    async def _sync(self, namespace: str) -> None:
        found = self._namespaces.get("", namespace)
        if found is None or is_terminating(found) or str_at(found, "status", "phase") == "Terminating":
            return
        if self._accounts.get(namespace, NAME) is not None:
            return
        document: JsonObject = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": NAME, "namespace": namespace},
        }
        try:
            await self._accounts.create(namespace, document)
        except ApiError as err:
            if not is_already_there(err):
                raise
