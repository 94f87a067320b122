"""Where the three programs of a control plane are. Looks and never builds: `build` does that."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager")
KUBERNETES_VERSION = "1.20.2"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class MissingBinaries(Exception):
    """The programs of a control plane are not to be had; the message says which, and what to do."""


@dataclass(frozen=True, slots=True)
class Binaries:
    """The three programs, and how they were found (`TAPIO_CONTROL_PLANE`, `PATH`, `cache` or `built`)."""

    etcd: Path
    kube_apiserver: Path
    kube_controller_manager: Path
    source: str


def architecture() -> str:
    """Debian's name of this machine's architecture; `MissingBinaries` where the build was never tried."""
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise MissingBinaries(
            f"A control plane can't be built for the processor {machine}, only for {', '.join(_ARCHITECTURES)}. "
            "Set TAPIO_CONTROL_PLANE to a folder that holds " + ", ".join(PROGRAMS) + "."
        )
    return _ARCHITECTURES[machine]


def cache_folder(environment: Mapping[str, str]) -> Path:
    """`${TAPIO_CACHE:-~/.cache/tapio}/control-plane/<version-id>`. The id changes when the recipe does."""
    cache = Path(environment.get("TAPIO_CACHE") or Path.home() / ".cache" / "tapio")
    return cache.absolute() / "control-plane" / f"debian-bookworm-{KUBERNETES_VERSION}-{architecture()}"


def find_binaries(environment: Mapping[str, str]) -> Binaries | None:
    """From `$TAPIO_CONTROL_PLANE`, else PATH, else the cache; None when they must be built.

    A `TAPIO_CONTROL_PLANE` that lacks a program is an error, never passed over: the caller named it on purpose.
    """
    named = environment.get("TAPIO_CONTROL_PLANE")
    if named:
        return _named(Path(named).absolute())
    found = {program: shutil.which(program, path=environment.get("PATH")) for program in PROGRAMS}
    if all(found.values()):
        return _binaries({program: Path(path) for program, path in found.items() if path}, "PATH")
    cached = cache_folder(environment)
    return in_folder(cached, "cache") if cached.is_dir() else None


def in_folder(folder: Path, source: str) -> Binaries:
    """The programs of `folder`, which must hold all three."""
    return _binaries({program: folder / program for program in PROGRAMS}, source)


def _named(folder: Path) -> Binaries:
    missing = [program for program in PROGRAMS if not os.access(folder / program, os.X_OK)]
    if missing:
        raise MissingBinaries(
            f"TAPIO_CONTROL_PLANE is {folder}, which lacks the executable(s) {', '.join(missing)}. It must hold "
            f"{', '.join(PROGRAMS)}; unset it to use those on PATH, in the cache, or to build them."
        )
    return in_folder(folder, "TAPIO_CONTROL_PLANE")


def _binaries(paths: Mapping[str, Path], source: str) -> Binaries:
    etcd, api_server, controller_manager = (paths[program] for program in PROGRAMS)
    return Binaries(etcd, api_server, controller_manager, source)
