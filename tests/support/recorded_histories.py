"""Histories of a whole operator in one process, and archives of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tapio_cli.history.archive import ArchiveWriter, Header, Stream
from tapio_shared.ports import Message
from tests.support.operator_in_process import NAMES, PARTITIONS, operator_in_process
from tests.support.virtual_time import run_virtually

START = 1_700_000_000_000


def recorded_history(seed: int = 1) -> list[Message]:
    """What is recorded while three clusters become ready, one of them is edited by hand and one is changed."""
    return run_virtually(_recorded(seed))


async def _recorded(seed: int) -> list[Message]:
    async with operator_in_process(seed) as operator:
        await operator.until_converged()
        path = f"/apis/tapio.io/v1alpha1/namespaces/default/tapioclusters/{NAMES[0]}"
        await operator.patch(path, {"spec": {"gateway": {"replicas": 2}}})
        await operator.patch(operator.paths()[0], {"metadata": {"labels": {"app.kubernetes.io/managed-by": "me"}}})
        await operator.until_converged()
        return list(operator.log.lives[-1])


def write_archive(path: Path, messages: Sequence[Message], *, first: int = 1) -> Path:
    """An archive of `messages`."""
    stream = Stream(
        created_at="2026", first_sequence=first, last_sequence=messages[-1].sequence, max_age=0, partitions=PARTITIONS
    )
    with ArchiveWriter(path, Header(made_at=START, operator_version="1", stream=stream)) as writer:
        for message in messages:
            writer.add(message)
    return path
