"""Making a failing schedule small: events are left out, half of them at a time, for as long as it still fails."""

from __future__ import annotations

from tests.campaign.running import Outcome, run
from tests.campaign.schedule import Schedule


def shrunk(schedule: Schedule) -> tuple[Schedule, Outcome]:
    """The smallest schedule found that fails, with its outcome; `schedule` must fail. Some 3 runs for each event."""
    outcome = run(schedule)
    size = max(1, len(schedule.events) // 2)
    while True:
        smaller = None
        for start in range(0, len(schedule.events), size):
            left_out = {event.number for event in schedule.events[start : start + size]}
            tried = schedule.without(left_out)
            found = run(tried)
            if found.broken:
                smaller, outcome = tried, found
                break
        if smaller is not None:
            schedule = smaller
            size = min(size, max(1, len(schedule.events)))
        elif size == 1:
            return schedule, outcome
        else:
            size //= 2
