"""What every service imports first, so that what it imports next brings less along.

structlog imports rich, and that pygments, to print errors in colour on a terminal; a service writes JSON: 3 MB.
"""

from __future__ import annotations

import importlib

from tapio_shared.absence import absent

with absent("rich"):
    importlib.import_module("structlog")
