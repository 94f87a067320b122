"""Whom the operator lets near the nodes: being allowed to create a TapioCluster must not mean root on every node.

The values come from the operator's own configuration (operator_config.py); rules.py applies them.
"""

from __future__ import annotations

from dataclasses import dataclass

from tapio_shared.api.names import NODE_NAMESPACE
from tapio_shared.installation import NAMESPACE


@dataclass(frozen=True, slots=True)
class Trust:
    """Namespaces whose resources may override node agents, and namespaces where node agents may live."""

    trusted_namespaces: tuple[str, ...] = (NAMESPACE,)
    node_namespaces: tuple[str, ...] = (NODE_NAMESPACE,)

    def is_trusted(self, namespace: str) -> bool:
        """Whether resources in `namespace` may override what runs on nodes."""
        return namespace in self.trusted_namespaces
