"""Names of the operator's own installation: what deploy/ ships, services look for and `tapioctl` asks.

Each stands here once, since a service and the command line that disagree about one can't find each other. Names of
what is made for a TapioCluster are in api/names.py.
"""

from __future__ import annotations

from typing import Final

NAMESPACE: Final = "tapio-system"
"""Where the operator runs unless TAPIO_NAMESPACE says otherwise."""

OWN_TARGET: Final = "local"
"""Name of the Kubernetes cluster that the operator runs in, unless TAPIO_TARGET says otherwise."""

NATS_SERVICE: Final = "tapio-operator-nats"
"""Service of the operator's own NATS. `tapio-nats` would be that of a TapioCluster `tapio` in the same namespace."""
NATS_PORT: Final = 4222

WATCHER: Final = "tapio-watcher"
RECONCILER: Final = "tapio-reconciler"
"""ServiceAccounts of the services that observe and that write."""

WEBHOOK: Final = "tapio-webhook"
"""Service of the webhook; also as whom it applies its registration."""

WEBHOOK_CERTIFICATE: Final = "tapio-webhook-certificate"
"""Secret with the webhook's authority and certificate."""
WEBHOOK_CONFIGURATION: Final = "tapio-operator"
"""The MutatingWebhookConfiguration and the ValidatingWebhookConfiguration."""


def watcher_lease(target: str) -> str:
    """Name of the Lease that whoever watches `target` holds, in the operator's own namespace."""
    return f"tapio-watcher-{target}"
