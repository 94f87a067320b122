"""Having an optional import of somebody else's library fail, where what it brings is not needed and takes long."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import cast


@contextmanager
def absent(name: str) -> Generator[None]:
    """Within this, `import name` finds nothing, unless it was imported before.

    https://docs.python.org/3/reference/import.html#the-module-cache: None there forces ModuleNotFoundError.
    """
    if name in sys.modules:
        yield
        return
    modules = cast("dict[str, object]", sys.modules)
    modules[name] = None
    try:
        yield
    finally:
        del modules[name]
