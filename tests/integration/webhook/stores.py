"""A simulated cluster in which the webhook keeps its certificate, at a date that a test chooses."""

from __future__ import annotations

from typing import cast

from tapio_shared.adapters.clock import ManualClock, SystemClock
from tapio_shared.adapters.random import SeededRandom
from tapio_shared.codec import decode_as, encode
from tapio_shared.installation import WEBHOOK_CERTIFICATE
from tapio_shared.json import JsonObject, strings_at
from tapio_shared.kubernetes import check, object_path
from tapio_shared.ports import Kube
from tapio_simulator.cluster import SimulatedCluster
from tapio_webhook.certificates import CertificateStore

NAMESPACE = "tapio-system"
NAMES = (f"tapio-webhook.{NAMESPACE}.svc",)
SECRET_PATH = object_path("", "v1", "secrets", NAMESPACE, WEBHOOK_CERTIFICATE)
DAY = 86_400


def ten_weeks_ago() -> ManualClock:
    """A clock whose certificates are valid today, and due for renewal after 70 days."""
    return ManualClock(SystemClock().now() - 70 * DAY * 1_000)


async def simulated(clock: ManualClock) -> Kube:
    """The API of a new simulated cluster with the operator's namespace."""
    cluster = SimulatedCluster(clock, SeededRandom(1))
    await cluster.prepare()
    kube = cluster.kube(user_agent="test")
    body: JsonObject = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    response = await kube.request("POST", object_path("", "v1", "namespaces"), body=encode(body))
    assert response.status in {201, 409}
    return kube


def store(kube: Kube, clock: ManualClock, *, names: tuple[str, ...] = NAMES) -> CertificateStore:
    """What one replica does about the certificate."""
    return CertificateStore(kube, clock, namespace=NAMESPACE, names=names, addresses=("127.0.0.1",))


async def secret_data(kube: Kube) -> dict[str, str]:
    """What the Secret holds, in base64."""
    return strings_at(cast("JsonObject", decode_as(dict, check(await kube.request("GET", SECRET_PATH)))), "data")
