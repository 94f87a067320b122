"""Listening sockets of the services: on every address of a pod, whichever family its Kubernetes cluster has."""

from __future__ import annotations

import socket
from typing import Final

EVERY_ADDRESS: Final = ("0.0.0.0", "::", "")  # noqa: S104 - what is asked for, not what is opened


def listening_socket(address: str, port: int) -> socket.socket:
    """A TCP socket that listens on `address`; 0 for `port` takes any free one. Raises OSError.

    The unspecified address of either family means every address of both, as in Go: asyncio would open 0.0.0.0 for IPv4
    alone, and the kubelet of a cluster with IPv6 alone would find no probe answered. https://pkg.go.dev/net#Listen
    """
    if address in EVERY_ADDRESS and socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    family = socket.AF_INET6 if ":" in address and address not in EVERY_ADDRESS else socket.AF_INET
    return socket.create_server(("" if address in EVERY_ADDRESS else address, port), family=family)
