"""What the shared facts say that concerns every cluster: which APIs are served, and how the operator is configured.

Both are parsed once for all keys of a worker.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from tapio_reconciler.core.model import Served
from tapio_reconciler.core.state import State
from tapio_shared.api.operator_config import OperatorConfig
from tapio_shared.codec import encode
from tapio_shared.facts import ConfigurationObserved, DiscoveryObserved


def served_by(discovery: DiscoveryObserved) -> Served:
    """What an API server serves, as it was last told."""
    return served_in(encode(discovery))


@lru_cache(maxsize=8)
def served_in(discovery: bytes) -> Served:
    """What the encoded fact `discovery` says is served."""
    fact = msgspec.json.decode(discovery, type=DiscoveryObserved)
    return Served(tuple(fact.resources), fact.version)


def discovery_bytes(state: State) -> bytes:
    """What is known of it, as `served_in` takes it: a value that tells whether anything has changed."""
    found = state.shared_fact("discovery", DiscoveryObserved)
    return b"" if found is None else encode(found[1])


def configuration_of(state: State) -> OperatorConfig:
    """The operator's configuration as last told; the defaults where nothing was."""
    found = state.shared_fact("config", ConfigurationObserved)
    return OperatorConfig() if found is None else configuration_in(found[1])


def configuration_in(fact: ConfigurationObserved) -> OperatorConfig:
    """The configuration that a fact tells of."""
    return parsed_configuration(encode(fact.configuration))


@lru_cache(maxsize=8)
def parsed_configuration(document: bytes) -> OperatorConfig:
    """The configuration whose JSON is `document`."""
    return OperatorConfig.recorded(msgspec.json.decode(document))
