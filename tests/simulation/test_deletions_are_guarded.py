"""Deletions by an operator that is shown the past, or that nobody tells of what became of them."""

from __future__ import annotations

import pytest

from tapio_reconciler.core.rules import NEWEST
from tests.campaign.sieve_operator import StruckOperator
from tests.campaign.sieve_process import Moment, Strike
from tests.campaign.sieve_scenarios import NAME, changed, example, is_ready, make
from tests.support.virtual_time import run_virtually

_GATEWAY = [
    f"delete {resource} default/{NAME}-gateway{suffix}/ 200"
    for resource, suffix in (
        ("configmaps", "-config"),
        ("deployments.apps", ""),
        ("networkpolicies.networking.k8s.io", "-flows"),
        ("serviceaccounts", ""),
        ("services", ""),
        ("services", "-metrics"),
    )
]


async def _at_rest(logic: int, *, release: str = "") -> StruckOperator:
    """An operator that has made a TapioCluster with a gateway, and has nothing more to do."""
    operator = StruckOperator(1, release=release)
    await operator.prepare()
    await operator.configure(f"plannerLogic: {logic}")
    operator.begin()
    await make(operator, "TapioCluster", NAME, spec=example("development"))
    await operator.settle(lambda: is_ready(operator))
    return operator


def _deciding(operator: StruckOperator) -> int:
    """How many decisions name a deletion."""
    return sum(1 for _, decision in operator.log.decisions() if decision.delete)


@pytest.mark.parametrize(
    ("logic", "most"),
    [
        pytest.param(2, 1_000, id="rules 2: again and again"),
        pytest.param(NEWEST, 6, id="the newest rules: every five seconds"),
    ],
)
def test_a_deletion_is_decided_every_five_seconds_while_the_watcher_fails_over(logic: int, most: int) -> None:
    async def run() -> None:
        operator = await _at_rest(logic)

        def choose(moment: Moment, name: str) -> Strike | None:
            is_told = moment == "after" and name.startswith("watcher append") and "TapioCluster" in name
            return Strike("crash") if is_told else None

        operator.choose = choose
        await changed({"gateway": {"enabled": False}})(operator)
        await operator.settle(lambda: is_ready(operator))
        assert operator.strike is not None
        assert sorted(operator.deletes()) == sorted(_GATEWAY)
        assert (1 if most < 100 else 100) <= _deciding(operator) <= most
        await operator.end()

    run_virtually(run())


@pytest.mark.parametrize(
    ("release", "is_told"),
    [
        pytest.param("v1.34.0", True, id="versions don't compare: people's own resources are asked for"),
        pytest.param("v1.35.0", False, id="versions compare: the past is not even told"),
    ],
)
def test_an_operator_that_is_shown_the_past_deletes_nothing_that_is_wanted(release: str, is_told: bool) -> None:
    """For a moment the gateway was switched off; a successor that sees that moment alone must leave it running."""

    async def run() -> None:
        operator = await _at_rest(NEWEST, release=release)

        def choose(moment: Moment, _name: str) -> Strike | None:
            table = operator.cluster.api.store.table("tapioclusters.tapio.io")
            switched_off = table.events[-2].version
            return Strike("past", version=switched_off) if moment == "decision" else None

        operator.choose = choose
        await changed({"gateway": {"enabled": False}})(operator)
        await changed({"gateway": {"enabled": True, "replicas": 2}})(operator)
        await operator.settle(lambda: is_ready(operator))
        assert operator.strike is not None
        said = b"TapioCluster default/edge was changed, and nobody has told of that yet."
        assert any(said in message.data for message in operator.log.stored) is is_told
        assert operator.deletes() == []
        await operator.end()

    run_virtually(run())


def test_a_watcher_that_takes_over_while_a_replica_of_the_log_is_behind_tells_the_end_of_what_was_told_last() -> None:
    async def run() -> None:
        operator = await _at_rest(NEWEST)
        before = len(operator.log.stored)
        await changed({"collectors": {"systemd": True}})(operator)
        await operator.settle(lambda: is_ready(operator))

        def choose(moment: Moment, _name: str) -> Strike | None:
            lag = len(operator.log.stored) - before  # what was told of the collector's objects is not in the replica
            return Strike("lag", lag=lag) if moment == "decision" else None

        operator.choose = choose
        await changed({"collectors": {"systemd": False}})(operator)
        await operator.settle(lambda: is_ready(operator))
        assert operator.strike is not None
        assert any("systemd" in one for one in operator.deletes())
        await operator.end()

    run_virtually(run())
