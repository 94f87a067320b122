"""`doctor` on the operator itself: each thing that it checks is broken, found, and told with what to do.

Its log away, a watcher that died and a webhook that is gone are broken on a running operator: tests/e2e/test_doctor.py.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from tapio_cli.doctor.findings import Finding, Verdict
from tapio_cli.doctor.operator import (
    CONFIGURATION,
    LEASES,
    LOG,
    TARGETS,
    VERSIONS,
    WINDOW,
    WORKERS,
    examine_log,
    is_webhook_off,
    lease_finding,
)
from tapio_cli.doctor.webhook import ANSWER, CERTIFICATE, answer_finding, certificate_finding
from tapio_cli.history.archive import Archive
from tapio_cli.history.known import recorded_keys
from tapio_cli.history.source import Recorded
from tapio_cli.history.story import read_story
from tapio_shared.adapters.memory_log import MemoryEventLog
from tapio_shared.certificates import CertificateAuthority, Usage
from tapio_shared.codec import decode_record, encode
from tapio_shared.facts import ConfigurationObserved, DecisionRecorded, EpochAdvanced, SweepMarked, TargetObserved
from tapio_shared.json import JsonObject, JsonValue
from tapio_shared.keys import epoch_subject, shared_subject
from tapio_shared.ports import Message, NewMessage
from tests.support.operator_in_process import NAMES, PARTITIONS
from tests.support.recorded_histories import recorded_history, write_archive
from tests.support.virtual_time import VirtualClock

NOW = 1_790_000_000_000
NEVER = "Partitions 1, 2 of 3 never had an owner."


@pytest.fixture(scope="module")
def history() -> list[Message]:
    return recorded_history()


async def log_of(messages: Sequence[Message], owned: Sequence[int]) -> MemoryEventLog:
    """A log that holds `messages`, and in which a worker has taken over some partitions."""
    log = MemoryEventLog(VirtualClock(), partitions=PARTITIONS)
    for message in messages:
        await log.append(NewMessage(message.subject, message.data))
    for partition in owned:
        record = EpochAdvanced(worker="worker-7", partitions=PARTITIONS, advanced_at=NOW)
        await log.append(NewMessage(epoch_subject(partition), encode(record)))
    return log


async def examined(log: Recorded, *, is_live: bool = True, living: Sequence[str] | None = None) -> dict[str, Finding]:
    stories = [await read_story(log, key) for key in await recorded_keys(log, "local")]
    return {one.check: one for one in await examine_log(log, stories, now=NOW, is_live=is_live, living=living)}


def problem(found: dict[str, Finding]) -> tuple[str, str]:
    """The one check that found a problem, and its evidence; it says what to do next."""
    problems = [one for one in found.values() if one.verdict is Verdict.PROBLEM]
    assert len(problems) == 1, found
    assert problems[0].next_step
    return problems[0].check, problems[0].evidence


def without_epochs(history: Sequence[Message]) -> list[Message]:
    return [one for one in history if not one.subject.startswith("tapio.epoch.")]


async def test_a_log_in_which_all_is_well(history: list[Message]) -> None:
    found = await examined(await log_of(without_epochs(history), range(PARTITIONS)))
    assert {check: one.verdict for check, one in found.items()} == dict.fromkeys(
        (LOG, WINDOW, WORKERS, VERSIONS, CONFIGURATION, TARGETS), Verdict.OK
    )
    assert found[WORKERS].evidence == "3 partitions were last taken over by worker-7."
    assert found[VERSIONS].evidence.startswith("The last decisions are all of version ")


async def test_a_log_that_nobody_writes_to() -> None:
    log = MemoryEventLog(VirtualClock(), partitions=0)
    assert problem(await examined(log)) == (LOG, "The log is empty: no watcher has written to it.")


async def test_partitions_that_nobody_took_over(history: list[Message]) -> None:
    assert problem(await examined(await log_of(without_epochs(history), [0]))) == (WORKERS, NEVER)


async def test_a_worker_that_works_no_more_and_whom_nobody_followed(history: list[Message]) -> None:
    log = await log_of(without_epochs(history), range(PARTITIONS))
    assert problem(await examined(log, living=["worker-8"])) == (
        WORKERS,
        "worker-7 is not running any more, and nobody has taken over its partitions: 0, 1, 2.",
    )
    assert (await examined(log, living=["worker-7"]))[WORKERS].evidence == (
        "3 partitions are owned by worker-7; all of these are running."
    )


@pytest.mark.parametrize(
    ("configuration", "is_off"),
    [
        pytest.param({}, False, id="by default"),
        pytest.param({"webhooks": {"enabled": True}}, False, id="on"),
        pytest.param({"webhooks": {"enabled": False}}, True, id="off"),
    ],
)
async def test_a_webhook_that_was_switched_off_is_not_missed(
    history: list[Message], configuration: JsonObject, is_off: bool
) -> None:
    log = await log_of(without_epochs(history), range(PARTITIONS))
    fact = ConfigurationObserved(configuration=configuration, observed_at=NOW)
    await log.append(NewMessage(shared_subject(0, "local", "config"), encode(fact)))
    assert await is_webhook_off(log) is is_off


async def test_a_configuration_that_was_refused(history: list[Message]) -> None:
    log = await log_of(without_epochs(history), range(PARTITIONS))
    fact = ConfigurationObserved(
        configuration={}, problems=["reconcileInterval is 1; it must be text."], observed_at=NOW
    )
    for partition in range(PARTITIONS):
        await log.append(NewMessage(shared_subject(partition, "local", "config"), encode(fact)))
    assert problem(await examined(log)) == (
        CONFIGURATION,
        "reconcileInterval is 1; it must be text. The configuration from before stays in force.",
    )


async def test_a_target_whose_secret_is_refused(history: list[Message]) -> None:
    log = await log_of(without_epochs(history), range(PARTITIONS))
    for name, state in (("east", "refused"), ("west", "connected"), ("north", "removed")):
        fact = TargetObserved(state=state, message="It has no server.", observed_at=NOW)
        await log.append(NewMessage(shared_subject(0, name, "target"), encode(fact)))
    assert problem(await examined(log)) == (TARGETS, "The Secret of target east can't be used: It has no server.")


async def test_versions_that_are_mixed(history: list[Message]) -> None:
    def of_another_version(message: Message) -> Message:
        record = decode_record(message.data)
        if not isinstance(record, DecisionRecorded) or f".{NAMES[1]}." not in message.subject:
            return message
        inputs = msgspec.structs.replace(record.inputs, operator_version="0.2.0")
        data = encode(msgspec.structs.replace(record, inputs=inputs))
        return Message(message.subject, message.sequence, data, message.headers, message.written_at)

    mixed = [of_another_version(one) for one in without_epochs(history)]
    check, evidence = problem(await examined(await log_of(mixed, range(PARTITIONS))))
    assert check == VERSIONS
    assert f"0.2.0 decided last for default/{NAMES[1]}." in evidence


async def test_a_history_that_is_complete_nowhere(history: list[Message], tmp_path: Path) -> None:
    last_synced = max(one.sequence for one in history if one.subject.endswith((".synced", ".sweep")))
    late = [one for one in history if one.sequence > last_synced]
    archive = Archive.open(write_archive(tmp_path / "late", late, first=late[0].sequence))
    found = await examined(archive, is_live=False)
    assert problem(found)[0] == WINDOW
    assert f"The history of local/default/{NAMES[0]} is complete nowhere." in found[WINDOW].evidence
    assert found[WORKERS] == Finding(
        area="operator", check=WORKERS, verdict=Verdict.UNKNOWN, evidence="An archive does not tell who works now."
    )


@pytest.mark.parametrize(
    ("times", "ago", "verdict"),
    [
        pytest.param(10, 0, Verdict.PROBLEM, id="swept again and again"),
        pytest.param(9, 0, Verdict.OK, id="swept now and then"),
        pytest.param(10, 3_600_001, Verdict.OK, id="that was earlier"),
    ],
)
async def test_a_log_that_is_too_small(history: list[Message], times: int, ago: int, verdict: Verdict) -> None:
    log = await log_of(without_epochs(history), range(PARTITIONS))
    for _ in range(times):
        for phase in ("started", "ended"):
            mark = SweepMarked(phase=phase, below=2, marked_at=NOW - ago)
            await log.append(NewMessage(shared_subject(0, "local", "sweep"), encode(mark)))
    found = (await examined(log))[WINDOW]
    assert found.verdict is verdict
    if verdict is Verdict.PROBLEM:
        assert found.evidence == "The log was swept 10 times within an hour: it is small for what must stay in it."
        assert found.next_step == (
            "The watcher tells everything again by itself; if this lasts, see its log, which says how large "
            "TAPIO_LOG_MAX_BYTES must be."
        )


@pytest.mark.parametrize(
    ("holder", "renewed", "verdict", "evidence"),
    [
        pytest.param("w", "2026-09-21T14:13:15Z", Verdict.OK, "w leads, renewed 5 s ago.", id="led"),
        pytest.param("", "", Verdict.PROBLEM, "Nobody holds Lease a/b.", id="nobody leads"),
        pytest.param(
            "w",
            "2026-09-21T14:12:20Z",
            Verdict.PROBLEM,
            "w holds Lease a/b and has not renewed it for 60 s.",
            id="a leader that died",
        ),
    ],
)
def test_a_lease(holder: str, renewed: str, verdict: Verdict, evidence: str) -> None:
    lease: JsonObject = {"spec": {"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": 15}}
    found = lease_finding(lease, "Lease a/b", NOW)
    assert (found.check, found.verdict, found.evidence) == (LEASES, verdict, evidence)
    assert bool(found.next_step) == (verdict is Verdict.PROBLEM)


def certificate(valid_for: timedelta, *, issued: int = NOW) -> JsonObject:
    """The webhook's Secret with a certificate that lasts so long."""
    authority = CertificateAuthority.create("a test", now=issued, valid_for=timedelta(days=3650))
    pair = authority.issue("webhook", now=issued, valid_for=valid_for, usage=Usage.SERVER, dns_names=["webhook"])
    return {"data": {"tls.crt": base64.b64encode(pair.certificate_pem).decode()}}


def registration(*bundles: str) -> JsonObject:
    hooks: list[JsonValue] = [{"clientConfig": {"caBundle": one}} for one in bundles]
    return {"webhooks": hooks}


DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("secret", "registered", "evidence"),
    [
        pytest.param(
            certificate(20 * DAY, issued=NOW - 30 * 86_400_000),
            registration("ca"),
            "The certificate has expired at 2026-09-11T14:13:20.000Z.",
            id="expired",
        ),
        pytest.param(
            certificate(3 * DAY),
            registration("ca"),
            "The certificate expires at 2026-09-24T14:13:20.000Z and has not been renewed.",
            id="not renewed",
        ),
        pytest.param(
            certificate(90 * DAY),
            registration("ca", ""),
            "The registration of the webhook trusts no certificate authority.",
            id="nothing is trusted",
        ),
        pytest.param(
            {"data": {"tls.crt": base64.b64encode(b"rubbish").decode()}},
            registration("ca"),
            "Secret a/tapio-webhook-certificate holds no certificate.",
            id="no certificate",
        ),
        pytest.param(
            {}, registration("ca"), "Secret a/tapio-webhook-certificate holds no certificate.", id="an empty Secret"
        ),
    ],
)
def test_a_webhook_whose_certificate_is_no_good(secret: JsonObject, registered: JsonObject, evidence: str) -> None:
    found = certificate_finding(secret, [registered], "a", NOW)
    assert (found.check, found.verdict, found.evidence) == (CERTIFICATE, Verdict.PROBLEM, evidence)
    assert found.next_step


def test_a_webhook_whose_certificate_is_good() -> None:
    found = certificate_finding(certificate(90 * DAY), [registration("ca"), registration("ca")], "a", NOW)
    assert (found.verdict, found.evidence) == (
        Verdict.OK,
        "It is valid until 2026-12-20T14:13:20.000Z, and registered.",
    )


UNSEEN: JsonObject = {"spec": {"profile": "development"}}
SEEN: JsonObject = {"spec": {"profile": "development", "version": "v0.1.0"}}


@pytest.mark.parametrize(
    ("made", "seconds", "verdict", "evidence"),
    [
        pytest.param(
            SEEN, 0.24, Verdict.OK, "It had its say on a TapioCluster that was not kept, in 0.2 s.", id="answers"
        ),
        pytest.param(
            UNSEEN,
            10.2,
            Verdict.PROBLEM,
            "A TapioCluster passed it unseen, in 10.2 s: the API server had no answer from it in time.",
            id="hangs",
        ),
        pytest.param(
            UNSEEN,
            0.1,
            Verdict.PROBLEM,
            "A TapioCluster passed it unseen, in 0.1 s: the API server could not reach it.",
            id="is away",
        ),
        pytest.param(
            SEEN,
            5.1,
            Verdict.PROBLEM,
            "It answered, and yet a TapioCluster took 5.1 s: one of its handlers, or another's, hangs.",
            id="one of two hangs",
        ),
        pytest.param(
            None,
            10.0,
            Verdict.PROBLEM,
            "The API server refuses TapioClusters, as it had no answer from the webhook: it is so.",
            id="somebody made it indispensable",
        ),
    ],
)
def test_a_webhook_that_is_asked(made: JsonObject | None, seconds: float, verdict: Verdict, evidence: str) -> None:
    found = answer_finding(made, seconds, "a", why="it is so")
    assert (found.check, found.verdict, found.evidence) == (ANSWER, verdict, evidence)
    assert bool(found.next_step) == (verdict is Verdict.PROBLEM)
