"""Exit codes of the commands on the history."""

from __future__ import annotations

IDENTICAL, UNUSABLE, DIVERGED = 0, 1, 2
"""Everything came out the same; the history can't be read or checked; something came out, or would be, different."""
REFUSED = 3
"""The operator would refuse what was asked about."""
