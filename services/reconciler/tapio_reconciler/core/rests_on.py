"""What a decision stands on: the newest record of its state, by what it says.

A decision names the sequences that it rests on. In a log that lost its end in a power cut and has grown again, other
records stand at those sequences, and nothing about the numbers shows it. Whatever of a state was lost, its newest
record was; so a checksum of that one tells.
"""

from __future__ import annotations

from tapio_reconciler.core.parked import SHARED_FACTS
from tapio_reconciler.core.state import Entry, State


def checksum_of(state: State) -> int:
    """The checksum of the newest record that a plan of `state` rests on, the key's own or shared; 0 without any."""
    newest = _newest(state)
    return 0 if newest is None else newest.checksum


def newest_of(state: State) -> int:
    """The sequence of that record; 0 without any."""
    newest = _newest(state)
    return 0 if newest is None else newest.sequence


def _newest(state: State) -> Entry | None:
    newest: Entry | None = None
    for entry in (*state.own.values(), *(state.shared[name] for name in SHARED_FACTS if name in state.shared)):
        if newest is None or entry.sequence > newest.sequence:
            newest = entry
    return newest
