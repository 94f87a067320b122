"""How often Python looks for cycles, in a process that decodes and plans much."""

from __future__ import annotations

import gc

_NEW_CONTAINERS = 20_000
"""Containers made and not freed since, after which the cycle collector looks at the youngest."""


def spare_the_collector() -> None:
    """Have the cycle collector look less often, and never at what was imported.

    By default it runs after every 700 new containers, which a single decoded object is; it took 9 % of a worker's time,
    and 12 % of a replay's. Documents hold no cycles, so reference counting frees them at once.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_CONTAINERS, 10, 10)
