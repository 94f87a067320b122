"""The operator's ConfigMap as the watcher takes it over: the newest that is right, and what is wrong with another."""

from __future__ import annotations

import structlog

from tapio_shared.api.operator_config import CONFIG_KEY, OperatorConfig, parse_operator_config
from tapio_shared.errors import InvalidSettings
from tapio_shared.facts import ConfigurationObserved, Record
from tapio_shared.json import JsonObject, at

log = structlog.get_logger(__name__)


def text_of(config_map: JsonObject) -> str | None:
    """The configuration's text; None when the ConfigMap has none."""
    text = at(config_map, "data", CONFIG_KEY)
    return text if isinstance(text, str) else None


class Configuration:
    """The configuration in force. The defaults are in force until something else was taken over."""

    def __init__(self) -> None:
        self.current = OperatorConfig()
        self.problems: list[str] = []

    @property
    def authorities(self) -> str:
        """Name of the ConfigMap of certificate authorities that it names; empty when it names none."""
        named = self.current.network.ca_config_map
        return "" if named is None else named.name

    def remember(self, told: Record | None) -> None:
        """Go on from the last good configuration on the log: a restart must not fall back to the defaults."""
        if isinstance(told, ConfigurationObserved) and told.configuration:
            try:
                self.current = OperatorConfig.recorded(told.configuration)
            except ValueError as err:
                log.warning("recorded configuration not usable", error=str(err))

    def take(self, text: str | None) -> None:
        """Take a new text over when it is right, else keep what is in force. No text means the defaults."""
        if text is None:
            self.current, self.problems = OperatorConfig(), []
            return
        try:
            self.current, self.problems = parse_operator_config(text), []
        except InvalidSettings as err:
            self.problems = [str(err)]
            log.warning("configuration refused", error=str(err))

    def fact(self, now: int) -> ConfigurationObserved:
        """What the log is to hold of it."""
        return ConfigurationObserved(configuration=self.current.document(), problems=self.problems, observed_at=now)
