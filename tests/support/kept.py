"""Histories that tests leave behind, for `replayed_everywhere` to plan again when the run ends."""

from __future__ import annotations

from collections.abc import Sequence

from tapio_shared.ports import Message

HISTORIES: list[Sequence[Message]] = []
"""Filled by whoever runs an operator, unless the test failed anyway."""
