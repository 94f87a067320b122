"""Finds a control plane's programs, or builds them once from Debian's source package `kubernetes` and caches them.

`python -m tests.control_plane.build` prints the folder. Every step of the recipe is needed, see the comments; it
wants no root, no Docker and nothing installed beyond apt. Safe to run from several processes at once, and again after
an interruption: finished steps and compiled packages are kept until the whole is done.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from .binaries import KUBERNETES_VERSION, Binaries, MissingBinaries, cache_folder, find_binaries, in_folder
from .debian import DebianArchive, unpack_source
from .progress import BuildFailed, Progress

_GO = "1.19"
_NEEDED_BYTES = 4 * 1024**3
_PACKAGES = [f"golang-{_GO}-go", f"golang-{_GO}-src", "golang-github-modern-go-reflect2-dev", "etcd-server"]
_TOOLS = {
    "git": "git",
    "make": "make",
    "patch": "patch",
    "rsync": "rsync",
}  # bash, diff and such are essential in Debian
_REFLECT2 = Path("github.com/modern-go/reflect2")
_VERSION_PACKAGES = ("component-base/version", "client-go/pkg/version")


async def ensure_binaries(environment: Mapping[str, str], console: Console | None = None) -> Binaries:
    """The programs wherever `find_binaries` finds them, else built into the cache (5 to 8 minutes on two cores)."""
    found = find_binaries(environment)
    if found is not None:
        return found
    target, shown = cache_folder(environment), console or Console(stderr=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _lock(target.with_name(target.name + ".lock"), shown) as held:
        if not target.is_dir():  # another process may have built it while this one waited
            await _build(target, shown, held)
    return in_folder(target, "built")


async def _build(target: Path, console: Console, held: int) -> None:
    work = target.with_name(target.name + ".building")
    work.mkdir(exist_ok=True)
    _check_space(work)
    console.print(f"Building Kubernetes {KUBERNETES_VERSION} in {work}, log: build.log there.", soft_wrap=True)
    progress = Progress(console, work / "build.log", work / "done", held, total=5)
    archive = DebianArchive(work / "apt", progress)
    tools, source, output = work / "tools", work / "source", work / "output"
    async with progress.step("Downloading source, Go and etcd from Debian", 15) as todo:
        if todo:
            await archive.update()
            await archive.download_source("kubernetes")
            _empty(tools)
            await archive.unpack_packages(_PACKAGES, tools)
            lacking = [package for tool, package in _TOOLS.items() if shutil.which(tool) is None]
            if lacking:
                await archive.unpack_with_dependencies(lacking, tools)
    environment = _go_environment(work, tools)
    async with progress.step("Unpacking and patching the source", 15) as todo:
        if todo:
            _empty(source)
            for patch in unpack_source(work / "apt", "kubernetes", source):
                await progress.run("patch", "-p1", "-i", patch, cwd=source, environment=environment)
            _replace_reflect2(source / "vendor" / _REFLECT2, tools / "usr/share/gocode/src" / _REFLECT2)
            await progress.run("git", "init", "--quiet", ".", cwd=source, environment=environment)
    tree = _in_gopath(work / "gopath", source)
    async with progress.step("Generating code", 80) as todo:
        if todo:
            # Without it the API server lacks openapi.GetOpenAPIDefinitions.
            await progress.run("make", "generated_files", cwd=tree, environment=environment)
    async with progress.step("Compiling kube-apiserver and kube-controller-manager", 260) as todo:
        if todo:
            output.mkdir(exist_ok=True)
            programs = [f"k8s.io/kubernetes/cmd/{name}" for name in ("kube-apiserver", "kube-controller-manager")]
            flags = ["-o", f"{output}/", "-ldflags", _linker_flags()]
            await progress.run("go", "build", *flags, *programs, cwd=tree, environment=environment)
    async with progress.step("Checking the programs", 2) as todo:
        if todo:
            shutil.copy2(tools / "usr/bin/etcd", output / "etcd")
            for name in ("etcd", "kube-apiserver", "kube-controller-manager"):
                await progress.run(output / name, "--version", cwd=output)
    output.rename(target)
    shutil.rmtree(work)


def _go_environment(work: Path, tools: Path) -> dict[str, str]:
    """Only what the build needs, so that a person's Go settings don't leak in."""
    root = tools / "usr/lib" / f"go-{_GO}"
    triplets = [str(folder) for folder in sorted((tools / "usr/lib").glob("*-linux-gnu"))]
    return {
        "PATH": os.pathsep.join([str(root / "bin"), os.environ.get("PATH", os.defpath), str(tools / "usr/bin")]),
        "LD_LIBRARY_PATH": os.pathsep.join(triplets),
        "GIT_EXEC_PATH": "" if shutil.which("git") else str(tools / "usr/lib/git-core"),
        "HOME": str(work),
        "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
        "GOROOT": str(root),
        "GOPATH": str(work / "gopath"),
        "GOCACHE": str(work / "gocache"),
        "GOFLAGS": "",
        "GO111MODULE": "off",  # module mode fails: "updates to go.mod needed"
        "CGO_ENABLED": "0",
    }


def _replace_reflect2(vendored: Path, debian: Path) -> None:
    """The vendored one reads map internals that Go 1.18 changed: the first custom resource would be a segfault."""
    for pattern in ("*.go", "*.s"):
        for old in vendored.glob(pattern):
            old.unlink()
        for new in debian.glob(pattern):
            shutil.copyfile(new, vendored / new.name)


def _in_gopath(gopath: Path, source: Path) -> Path:
    """Kubernetes' makefiles work only below $GOPATH/src; a symbolic link does."""
    tree = gopath / "src/k8s.io/kubernetes"
    tree.parent.mkdir(parents=True, exist_ok=True)
    if not tree.is_symlink():
        tree.symlink_to(source)
    return tree


def _linker_flags() -> str:
    """Both version packages count: without client-go's, /version says v0.0.0-master, which clients can't parse."""
    major, minor, _ = KUBERNETES_VERSION.split(".")
    values = {"gitVersion": f"v{KUBERNETES_VERSION}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return "-s -w " + " ".join(
        f"-X k8s.io/kubernetes/vendor/k8s.io/{package}.{name}={value}"
        for package in _VERSION_PACKAGES
        for name, value in values.items()
    )


def _empty(folder: Path) -> None:
    """An empty folder: what an interrupted step left is removed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


def _check_space(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < _NEEDED_BYTES:
        raise BuildFailed(
            f"{folder} has {free / 1024**3:.1f} GiB free; the build needs {_NEEDED_BYTES / 1024**3:.0f} GiB for a few "
            "minutes. Free some, or set TAPIO_CACHE to a folder with more room."
        )


@contextmanager
def _lock(path: Path, console: Console) -> Generator[int]:
    """One build at a time, over all processes; ends with the last process that inherited the descriptor."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.print(f"Another process builds the control plane; waiting for {path}.", soft_wrap=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


async def _main(console: Console) -> Binaries:
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await ensure_binaries(os.environ, console)


def main() -> int:
    """Print where the programs are; progress and errors go to standard error."""
    console = Console(stderr=True, highlight=False)
    try:
        binaries = asyncio.run(_main(console))
    except (BuildFailed, MissingBinaries) as err:
        console.print(str(err), markup=False, soft_wrap=True)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("Interrupted; run it again to go on from here.")
        return 130
    console.print(f"From {binaries.source}:", end=" ")
    Console().print(str(binaries.kube_apiserver.parent), soft_wrap=True, highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
