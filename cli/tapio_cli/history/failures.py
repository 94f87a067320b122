"""Writes that failed last, as the newest outcome has them, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tapio_cli.history.printing import moment
from tapio_reconciler.core.state import State
from tapio_shared.facts import FailedWrite, OutcomeRecorded

_VERBS = {"finalizer": "write", "generate": "create", "status": "write"}
_STATUS = "status"
RENEW_CRDS = (
    "Apply those of the operator's release: kubectl apply -f crds/crds.yaml, before Kubernetes 1.25 "
    "crds/crds-legacy.yaml."
)


def failures_of(state: State) -> Mapping[str, FailedWrite]:
    """What can't be written, as a person names it -> how that failed. The TapioCluster's own status is not among it."""
    outcome = state.find("outcome", OutcomeRecorded)
    failures = {} if outcome is None else outcome[1].failures
    return {_named(state, what): one for what, one in sorted(failures.items()) if what != _STATUS}


def failed_writes(failures: Mapping[str, FailedWrite]) -> Iterator[str]:
    """A sentence for each, or one for all that failed alike."""
    alike: dict[str, list[tuple[str, FailedWrite]]] = {}
    for what, failure in failures.items():
        alike.setdefault(failure.error, []).append((what, failure))
    for error, failed in alike.items():
        (what, first), last = failed[0], max(one.failed_at for _, one in failed)
        times = "once" if first.attempt == 1 else f"{first.attempt} times"
        more = f", and {len(failed) - 1} more writes in the same way" if len(failed) > 1 else ""
        retry = min(one.retry_at for _, one in failed)
        yield (
            f"The {_VERBS.get(first.action, first.action)} of {what} failed {times}{more}, last at {moment(last)}: "
            f"{error}; it is tried again at {moment(retry)}."
        )


def status_failure(state: State) -> FailedWrite | None:
    """How the write of the TapioCluster's own status failed, if it did."""
    outcome = state.find("outcome", OutcomeRecorded)
    return None if outcome is None else outcome[1].failures.get(_STATUS)


def status_not_written(state: State) -> Iterator[str]:
    """That what the status says is old, if it is because it can't be written; or is not all, since the API server drops
    some of it."""
    outcome = state.find("outcome", OutcomeRecorded)
    dropped = None if outcome is None else outcome[1].dropped.get(_STATUS)
    if dropped is not None:
        yield (
            f"The API server drops {', '.join(dropped.fields)} of the status, which its CRDs do not know: they "
            f"are of another version than the operator. {RENEW_CRDS}"
        )
    failure = status_failure(state)
    if failure is not None:
        yield (
            f"The status of TapioCluster {state.key.namespace}/{state.key.name} can't be written, so what it says is "
            f"older than {moment(failure.failed_at)}: {failure.error}; it is tried again at {moment(failure.retry_at)}."
        )


def _named(state: State, what: str) -> str:
    if what == "finalizer":
        return f"the finalizer of TapioCluster {state.key.namespace}/{state.key.name}"
    kind, slash, name = what.partition("/")
    if slash and kind in {"TapioCollector", "TapioIntelligence"}:
        return f"the status of {kind} {state.key.namespace}/{name}"
    return what
