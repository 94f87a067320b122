"""Of a name that nobody has told of there is no answer; that there is nothing yet is one."""

from __future__ import annotations

import pytest

from tapio_cli.history.known import NotInWindow, named_keys
from tapio_shared.adapters.memory_log import MemoryEventLog
from tapio_shared.codec import encode
from tapio_shared.facts import TargetObserved
from tapio_shared.keys import shared_subject
from tapio_shared.ports import NewMessage
from tests.support.virtual_time import VirtualClock


async def test_a_new_log_has_no_cluster_of_its_own_target_and_does_not_know_of_others() -> None:
    log = MemoryEventLog(VirtualClock(), partitions=3)
    assert await named_keys(log, "local") == []
    with pytest.raises(
        NotInWindow, match=r"cluster east \(--target\)\. None at all is recorded there: see `tapioctl doctor`\.$"
    ):
        await named_keys(log, "east")


async def test_a_target_that_is_served_under_another_name_than_the_usual_is_named() -> None:
    log = MemoryEventLog(VirtualClock(), partitions=3)
    fact = TargetObserved(state="refused", message="It has no server.", observed_at=1)
    await log.append(NewMessage(shared_subject(0, "east", "target"), encode(fact)))
    assert await named_keys(log, "east") == []
    with pytest.raises(NotInWindow, match=r"cluster local \(--target\)\. There are: east\.$"):
        await named_keys(log, "local")
