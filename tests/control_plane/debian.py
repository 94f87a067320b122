"""Debian bookworm's archive through apt, without root and without touching this machine's apt or dpkg.

A private apt root has its own source list, state and cache; the packages are unpacked into a folder, not installed.
apt checks signatures against Debian's archive keyring, so whatever it hands out is Debian's. Mirrors and proxies are
those of the machine: the mirror's address is taken from its own sources, proxies come from its apt configuration.
"""

from __future__ import annotations

import lzma
import shutil
import subprocess
import tarfile
from pathlib import Path

from .progress import BuildFailed, Progress

SUITE = "bookworm"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_DEFAULT_MIRROR = "http://deb.debian.org/debian/"
_STATUS = Path("/var/lib/dpkg/status")


class DebianArchive:
    """A private apt root below `folder`."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self._folder, self._progress = folder, progress
        for part in ("state/lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        self._sources = folder / "sources.list"
        self._status = folder / "status"

    async def update(self) -> None:
        """Fetch and verify bookworm's index of packages and sources."""
        _require()
        signed, mirror = f"[signed-by={KEYRING}]", machine_mirror()
        self._sources.write_text("".join(f"{kind} {signed} {mirror} {SUITE} main\n" for kind in ("deb", "deb-src")))
        if _STATUS.exists():
            shutil.copyfile(_STATUS, self._status)
        else:
            self._status.touch()
        await self._apt("update")

    async def download_source(self, package: str) -> None:
        """The files of a source package, verified, into `folder`."""
        await self._apt("source", "--download-only", package)

    async def unpack_packages(self, packages: list[str], target: Path) -> None:
        """Download just these packages, whatever is installed, and unpack them below `target`."""
        await self._apt("download", *packages)
        for file in sorted(self._folder.glob("*.deb")):
            await self._unpack(file, target)

    async def unpack_with_dependencies(self, packages: list[str], target: Path) -> None:
        """Download these packages and what they need beyond what is installed, and unpack them below `target`."""
        await self._apt("install", "--download-only", "--no-install-recommends", "--yes", *packages)
        for file in sorted((self._folder / "cache" / "archives").glob("*.deb")):
            await self._unpack(file, target)

    async def _unpack(self, file: Path, target: Path) -> None:
        await self._progress.run("dpkg-deb", "--extract", file, target, cwd=self._folder)

    async def _apt(self, *arguments: str) -> None:
        options = {
            "Dir::Etc::sourcelist": self._sources,
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State": self._folder / "state",
            "Dir::State::status": self._status,
            "Dir::Cache": self._folder / "cache",
            "APT::Sandbox::User": "",  # the folder may be readable by its owner alone
            "Debug::NoLocking": "true",  # dpkg's lock needs root; the build has a lock of its own
            "Acquire::Retries": "3",
        }
        flags = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        await self._progress.run("apt-get", *flags, *arguments, cwd=self._folder)


def machine_mirror() -> str:
    """The Debian mirror that this machine's own sources name."""
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return choose_mirror(listed.stdout)


def choose_mirror(listing: str) -> str:
    """The first archive for bookworm in `listing` (lines of URI, release, component), else any of Debian, else ours."""
    targets = [line.split() for line in listing.splitlines()]
    main = [(target[0], target[1]) for target in targets if len(target) == 3 and target[2] == "main"]
    same_suite = [uri for uri, release in main if release == SUITE]
    debian = [uri for uri, _ in main if uri.rstrip("/").endswith("/debian")]
    return next(iter([*same_suite, *debian]), _DEFAULT_MIRROR)


def unpack_source(files: Path, package: str, target: Path) -> list[Path]:
    """Unpack a downloaded source package; returns Debian's patches in the order in which they apply.

    Not dpkg-source, which is part of dpkg-dev and often not installed. The archives are unpacked as they are: apt has
    verified them, and Debian's own Python 3.11.2 has no extraction filters.
    """
    (upstream,) = files.glob(f"{package}_*.orig.tar.gz")
    (packaging,) = files.glob(f"{package}_*.debian.tar.xz")
    with tarfile.open(upstream) as archive:
        archive.extractall(target)
    (top,) = target.iterdir()
    for entry in top.iterdir():
        entry.rename(target / entry.name)
    top.rmdir()
    with lzma.open(packaging) as compressed, tarfile.open(fileobj=compressed) as archive:
        archive.extractall(target)
    patches = target / "debian" / "patches"
    series = (patches / "series").read_text().splitlines()
    return [patches / line.split()[0] for line in series if line.strip() and not line.startswith("#")]


def _require() -> None:
    missing = [tool for tool in ("apt-get", "dpkg-deb", "gpgv") if shutil.which(tool) is None]
    if missing:
        raise BuildFailed(
            f"A control plane is built from Debian's source package, and this machine lacks {', '.join(missing)}. "
            "Set TAPIO_CONTROL_PLANE to a folder with etcd, kube-apiserver and kube-controller-manager instead."
        )
    if not KEYRING.exists():
        raise BuildFailed(f"There is no {KEYRING} to check signatures with. Install debian-archive-keyring.")
