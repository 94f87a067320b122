"""Latency and faults, seeded: what a test asks the simulated API server to do wrong.

Rules are tried in order; the first that matches a request and comes up by its probability acts. Nothing here happens
unless a test adds a rule.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tapio_shared.json import JsonObject
from tapio_shared.ports import Random
from tapio_simulator.errors import StatusError

Action = Literal["refuse", "reset", "lost-answer", "stale-read", "drop-watch", "stall-watch", "delay"]
_REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


@dataclass(slots=True)
class Fault:
    """One rule.

    `refuse` answers `status` without doing anything; `reset` breaks the connection before doing anything;
    `lost-answer` does the work, then breaks the connection; `stale-read` answers a get or list from `stale_by` versions
    ago; `drop-watch` and `stall-watch` act on a watch after `after` seconds; `delay` waits `seconds`
    (low, high) and then lets the next rules act.
    """

    action: Action
    verbs: frozenset[str] = frozenset()
    """Empty: every verb (get, list, watch, create, update, patch, apply, delete, deletecollection)."""
    resources: frozenset[str] = frozenset()
    """Empty: every resource (`deployments.apps`, `pods`)."""
    users: frozenset[str] = frozenset()
    name: str = ""
    probability: float = 1.0
    times: int | None = None
    """How often it may act; None for ever."""
    status: int = 500
    retry_after: int | None = None
    seconds: tuple[float, float] = (0.0, 0.0)
    after: tuple[float, float] = (0.0, 0.0)
    stale_by: int = 1
    acted: int = field(default=0, init=False)

    def matches(self, verb: str, resource: str, user: str, name: str) -> bool:
        return (
            (not self.verbs or verb in self.verbs)
            and (not self.resources or resource in self.resources)
            and (not self.users or user in self.users)
            and (not self.name or name == self.name)
            and (self.times is None or self.acted < self.times)
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What shall happen to one request: a delay, and possibly one fault."""

    delay: float = 0.0
    fault: Fault | None = None
    moment: float = 0.0
    """Watches: seconds after which the fault acts."""


NOTHING = Verdict()


class ConnectionReset(Exception):
    """The simulated connection breaks: no answer reaches the client."""


class Faults:
    """The rules in force."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.rules: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        self.rules.append(fault)
        return fault

    def clear(self) -> None:
        self.rules.clear()

    def judge(self, verb: str, resource: str, user: str, name: str) -> Verdict:
        """Decide about one request; draws randomness only for rules that match."""
        if not self.rules:
            return NOTHING
        delay = 0.0
        for fault in self.rules:
            if not fault.matches(verb, resource, user, name):
                continue
            if fault.probability < 1.0 and self._random.uniform(0.0, 1.0) >= fault.probability:
                continue
            fault.acted += 1
            if fault.action == "delay":
                delay += self._random.uniform(*fault.seconds)
                continue
            moment = self._random.uniform(*fault.after) if fault.after != (0.0, 0.0) else 0.0
            return Verdict(delay, fault, moment)
        return Verdict(delay)


def refusal(fault: Fault) -> StatusError:
    """The answer of a `refuse` rule."""
    headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    details: JsonObject | None = None if fault.retry_after is None else {"retryAfterSeconds": fault.retry_after}
    return StatusError(
        fault.status,
        _REASONS.get(fault.status, ""),
        f"the simulator was told to refuse this request with {fault.status}",
        details,
        headers,
    )
