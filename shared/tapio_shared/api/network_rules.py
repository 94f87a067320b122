"""What Kubernetes asks of a rule of a NetworkPolicy beyond its shape: addresses, ports, and what excludes what.

The rules of `networkPolicy.extraIngress` and `extraEgress` stand in every policy: one that the API server refuses would
keep all of them from being applied.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from tapio_shared.api.problems import Path, Problem, path_text, problem
from tapio_shared.json import JsonObject, JsonValue, list_at, object_at

_PEERS: Final = ("from", "to")
_SELECTORS: Final = ("namespaceSelector", "podSelector")
_PROTOCOLS: Final = ("TCP", "UDP", "SCTP")
_LAST_PORT: Final = 65535
_BLOCK: Final = "a block of addresses with nothing but zeros behind its mask, such as 10.0.0.0/8 or fd00::/8"


def network_rule_problems(rule: JsonObject, path: Path) -> Iterator[Problem]:
    """All that is wrong with the values of one rule; what has a wrong type is left to shapes.py."""
    for side in _PEERS:
        for index, peer in enumerate(list_at(rule, side)):
            if isinstance(peer, dict):
                yield from _peer(peer, (*path, side, index))
    for index, port in enumerate(list_at(rule, "ports")):
        if isinstance(port, dict):
            yield from _port(port, (*path, "ports", index))


def _peer(peer: JsonObject, path: Path) -> Iterator[Problem]:
    given = [name for name in ("ipBlock", *_SELECTORS) if peer.get(name) is not None]
    if not given or ("ipBlock" in given and len(given) > 1):
        where = path_text(path)
        found = " and ".join(given) or "nothing"
        yield Problem(
            where, None, f"{where} must hold ipBlock alone, or namespaceSelector and podSelector, but holds {found}."
        )
    block, where_block = object_at(peer, "ipBlock"), (*path, "ipBlock")
    text = block.get("cidr")
    network = _network(text)
    if isinstance(text, str) and network is None:
        yield problem((*where_block, "cidr"), text, _BLOCK)
    for index, entry in enumerate(list_at(block, "except")):
        inner = _network(entry)
        if isinstance(entry, str) and (inner is None or (network is not None and not _is_within(inner, network))):
            yield problem((*where_block, "except", index), entry, f"a block of addresses within {text}, and smaller")


def _network(text: JsonValue) -> IPv4Network | IPv6Network | None:
    """The block that `text` names, as Kubernetes has it since 1.36: with a mask, and no bits beyond that."""
    try:
        return ip_network(text) if isinstance(text, str) and "/" in text else None
    except ValueError:
        return None


def _is_within(inner: IPv4Network | IPv6Network, outer: IPv4Network | IPv6Network) -> bool:
    same = inner.version == outer.version and inner.prefixlen > outer.prefixlen
    return same and inner.network_address in outer


def _port(port: JsonObject, path: Path) -> Iterator[Problem]:
    number, last, protocol = _number(port.get("port")), _number(port.get("endPort")), port.get("protocol")
    if protocol is not None and protocol not in _PROTOCOLS:
        yield problem((*path, "protocol"), protocol, f"one of {', '.join(_PROTOCOLS)}")
    if number is not None and not 1 <= number <= _LAST_PORT:
        yield problem((*path, "port"), number, f"a port between 1 and {_LAST_PORT}, or its name")
    if last is None:
        return
    if number is None:
        yield problem((*path, "endPort"), last, "absent unless port is a number")
    elif not number <= last <= _LAST_PORT:
        yield problem((*path, "endPort"), last, f"between port, {number}, and {_LAST_PORT}")


def _number(value: JsonValue) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
