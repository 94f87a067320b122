"""On which ports a service listens: its own settings, else the operator's configuration, as it was when it started.

The watcher and the webhook read the ConfigMap; the reconciler, which may not, reads what the log last said of it.
"""

from __future__ import annotations

from typing import cast

import structlog

from tapio_shared.api.operator_config import CONFIG_KEY, CONFIG_MAP, OperatorConfig, parse_operator_config
from tapio_shared.codec import decode_as, decode_record
from tapio_shared.errors import InvalidSettings, RetryableError, Undecodable
from tapio_shared.facts import ConfigurationObserved
from tapio_shared.json import JsonObject, at
from tapio_shared.keys import shared_subject
from tapio_shared.kubernetes import check, object_path
from tapio_shared.ports import EventLog, Kube
from tapio_shared.settings import Settings

log = structlog.get_logger(__name__)


def listener_ports(settings: Settings, config: OperatorConfig) -> tuple[int, int]:
    """Health and metrics port."""
    health = config.health.port if settings.health_port is None else settings.health_port
    metrics = config.metrics.port if settings.metrics_port is None else settings.metrics_port
    return health, metrics


async def config_from_kubernetes(kube: Kube, namespace: str, known: OperatorConfig | None = None) -> OperatorConfig:
    """The operator's configuration as its ConfigMap holds it; the defaults when there is none.

    A wrong one changes nothing: then it is the one `known` from before, else the defaults.
    """
    response = await kube.request("GET", object_path("", "v1", "configmaps", namespace, CONFIG_MAP))
    if response.status == 404:
        return OperatorConfig()
    text = at(cast("JsonObject", decode_as(dict, check(response))), "data", CONFIG_KEY)
    try:
        return parse_operator_config(text) if isinstance(text, str) else OperatorConfig()
    except InvalidSettings as err:
        log.warning("configuration refused", error=str(err))
        return known or OperatorConfig()


async def config_from_log(event_log: EventLog, target: str) -> OperatorConfig:
    """The operator's configuration as the watcher last told it; the defaults when it has not, or the log is away."""
    try:
        last = await event_log.last(shared_subject(0, target, "config"))
        fact = None if last is None else decode_record(last.data)
    except (RetryableError, Undecodable) as err:
        log.warning("configuration not known yet", error=str(err))
        return OperatorConfig()
    if not isinstance(fact, ConfigurationObserved):
        return OperatorConfig()
    return OperatorConfig.recorded(fact.configuration)
