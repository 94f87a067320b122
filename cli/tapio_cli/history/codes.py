"""Exit codes of the commands on the history, and the name of a file that is not whole yet."""

from __future__ import annotations

IDENTICAL, UNUSABLE, DIVERGED = 0, 1, 2
"""Everything came out the same; the history can't be read or checked; something came out, or would be, different."""
REFUSED = 3
"""The operator would refuse what was asked about."""
MISUSED = 64
"""An option or argument that there is not (EX_USAGE of sysexits.h): never to be taken for an answer of a command."""
FAULTY = 70
"""A fault of tapioctl itself, whatever was asked (EX_SOFTWARE)."""
PARTIAL = ".partial"
"""What a file's name ends with while it is being written."""
