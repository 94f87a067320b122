"""Doing without imports of somebody else's library, where what they bring is not needed and takes time or memory."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Generator
from contextlib import contextmanager
from types import ModuleType
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


class Deferred(ModuleType):
    """Stands for a module in `sys.modules` while another imports it, and imports it when something is asked of it."""

    def __getattr__(self, name: str) -> object:
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def deferred(name: str) -> Generator[None]:
    """Within this, `import name` gives a `Deferred`, unless it was imported before; submodules can't be imported."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = Deferred(name)
    try:
        yield
    finally:
        del sys.modules[name]
