"""`tapioctl run`: the whole operator on this machine, against a simulated Kubernetes or a cluster named by the user.

Starts nats-server, the simulated API server (unless a context is named), the watcher, two workers and the webhook as
processes of their own, each under its own ServiceAccount, and ends them all together.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shlex
import shutil
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.console import Console
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from tapio_cli.children import Child, Children, wait_for_line, wait_until_ready
from tapio_cli.documents import read_documents
from tapio_cli.history.where import CLIENT_FILE
from tapio_cli.kubectl import Kubectl, KubectlError
from tapio_cli.progress import show_until_ready
from tapio_cli.service_accounts import service_kubeconfig
from tapio_shared.api.names import CLUSTER_KIND
from tapio_shared.errors import InvalidSettings
from tapio_shared.installation import NAMESPACE, WEBHOOK
from tapio_shared.json import str_at
from tapio_shared.subprocesses import free_port

WORKERS = 2
_PARTITIONS = "8"
_START = 60.0


class NatsServer(Protocol):
    """The part of an embedded nats-server that is needed here."""

    @property
    def url(self) -> str: ...

    @property
    def log(self) -> Path: ...

    async def ended(self) -> int:
        """Wait until it ends; answers its exit code."""
        ...

    def credentials(self, service: str) -> Path:
        """The file with which a service such as tapio-watcher connects."""
        ...


MakeNats = Callable[[Path, int], AbstractAsyncContextManager[NatsServer]]
"""Makes a server with its store in a folder and its log in so many partitions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user asked for. `context` empty means the simulated Kubernetes."""

    directory: Path
    manifests: Path
    example: Path | None = None
    context: str = ""
    kubeconfig: Path | None = None
    once: bool = False
    """End when the example is Ready, instead of running until Ctrl-C."""


async def run(options: Options, make_nats: MakeNats, console: Console) -> int:
    """Run until Ctrl-C (answers 0) or until a process fails (answers 1). InvalidSettings for what can't be used."""
    example = _Example.read(options.example)
    if not (options.manifests / "base").is_dir():
        raise InvalidSettings(
            f"{options.manifests} is not the deploy/ folder of this project, with what is to be installed. Run this in "
            "a checkout, or name the folder (--manifests)."
        )
    with _only_one(options.directory):
        children = Children(options.directory / "logs")
        _clear(options.directory)
        partitions = _partitions()
        async with make_nats(options.directory / "nats", partitions) as nats:
            try:
                console.print(f"nats-server       {nats.url}")
                _write_private(
                    options.directory / CLIENT_FILE,
                    json.dumps({"url": nats.url, "credentials": str(nats.credentials("tapioctl").resolve())}),
                )
                async with _kubernetes(options, children, console) as (kubectl, kubeconfig, webhook_port):
                    await _install(kubectl, options, console)
                    await _services(options, children, nats, partitions, kubectl, kubeconfig, webhook_port, console)
                    return await _until_the_end(options, example, children, nats, kubectl, kubeconfig, console)
            finally:
                console.print("stopping …")
                await children.stop()
                console.print("stopped.")


@asynccontextmanager
async def _kubernetes(
    options: Options, children: Children, console: Console
) -> AsyncGenerator[tuple[Kubectl, Path, int]]:
    """The cluster to run against: simulated, or the one whose context the user named."""
    webhook_port = free_port()
    if options.context:
        path = options.kubeconfig or Path(os.environ.get("KUBECONFIG", "") or Path.home() / ".kube" / "config")
        console.print(f"Kubernetes        context {options.context} of {path}")
        own = options.directory / "kubeconfig"
        text = await _context(path, options.context)
        _write_private(own, text)
        yield Kubectl(own), own, webhook_port
        return
    simulator = await children.start(
        "simulator",
        [
            sys.executable,
            "-m",
            "tapio_simulator",
            "--data",
            str(options.directory / "simulator"),
            "--port",
            str(free_port()),
            "--webhook",
            f"{NAMESPACE}/{WEBHOOK}=127.0.0.1:{webhook_port}",
        ],
        os.environ,
    )
    made = Path(await wait_for_line(simulator, "ready ", seconds=_START))
    own = options.directory / "kubeconfig"
    _write_private(own, made.read_text())
    console.print(f"simulated API     {own}")
    yield Kubectl(own), own, webhook_port


async def _context(kubeconfig: Path, name: str) -> str:
    """The kubeconfig of one context. InvalidSettings, with those that there are, when it can't be had."""
    try:
        return await Kubectl(kubeconfig, name).run("config", "view", "--minify", "--flatten", "--raw")
    except KubectlError as err:
        if not kubeconfig.is_file():
            raise InvalidSettings(f"There is no kubeconfig {kubeconfig}. Name one (--kubeconfig FILE).") from err
        there_are = (await Kubectl(kubeconfig).run("config", "get-contexts", "-o", "name")).split()
        raise InvalidSettings(
            f"Context {name} of {kubeconfig} can't be used: {err}. It has these contexts: "
            f"{', '.join(there_are) or 'none'}."
        ) from err


async def _install(kubectl: Kubectl, options: Options, console: Console) -> None:
    """Apply deploy/: CRDs, namespaces, ServiceAccounts and RBAC; CRDs without CEL where the server is too old."""
    version = str_at(await kubectl.document("version"), "serverVersion", "minor", default="0")
    old = int("".join(char for char in version if char.isdigit()) or "0") < 25
    overlay = options.manifests / ("legacy" if old else "base")
    await kubectl.run("apply", "-k", str(overlay))
    # kubectl fails, instead of waiting, while a new CRD has no conditions at all.
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type(KubectlError), wait=wait_fixed(0.2), stop=stop_after_delay(_START), reraise=True
    ):
        with attempt:
            await kubectl.run("wait", "--for=condition=Established", "--timeout=30s", "crd/tapioclusters.tapio.io")
    console.print(f"installed         {overlay}")


async def _services(
    options: Options,
    children: Children,
    nats: NatsServer,
    partitions: int,
    kubectl: Kubectl,
    kubeconfig: Path,
    webhook_port: int,
    console: Console,
) -> None:
    names = ["watcher", "webhook", *(f"reconciler-{number}" for number in range(1, WORKERS + 1))]
    started: list[tuple[Child, Path]] = []
    for name in names:
        service = name.partition("-")[0]
        own = options.directory / "services" / f"{service}.kubeconfig"
        if not own.exists():
            text = await service_kubeconfig(kubectl, kubeconfig, NAMESPACE, f"tapio-{service}")
            _write_private(own, text)
        ports = options.directory / "services" / f"{name}.ports"
        environment = {
            **{name: value for name, value in os.environ.items() if _is_passed_on(name)},
            "TAPIO_NATS_URL": nats.url,
            "TAPIO_NATS_CREDENTIALS": str(nats.credentials(f"tapio-{service}").resolve()),
            "TAPIO_KUBECONFIG": str(own),
            "TAPIO_NAME": name,
            "TAPIO_NAMESPACE": NAMESPACE,
            "TAPIO_BIND_ADDRESS": "127.0.0.1",
            "TAPIO_HEALTH_PORT": "0",
            "TAPIO_METRICS_PORT": "0",
            "TAPIO_PORTS_FILE": str(ports),
            "TAPIO_PARTITIONS": str(partitions),
        }
        if service == "webhook":
            environment |= {
                "TAPIO_WEBHOOK_PORT": str(webhook_port),
                "TAPIO_WEBHOOK_URL": f"https://127.0.0.1:{webhook_port}",
            }
        child = await children.start(name, [sys.executable, "-m", f"tapio_{service}"], environment)
        started.append((child, ports))
    for child, ports_file in started:
        ports_in_use = await wait_until_ready(child, ports_file, seconds=_START)
        console.print(
            f"{child.name:<17} health http://127.0.0.1:{ports_in_use['health']}/readyz, "
            f"metrics http://127.0.0.1:{ports_in_use['metrics']}/metrics",
            soft_wrap=True,
        )


async def _until_the_end(
    options: Options,
    example: _Example | None,
    children: Children,
    nats: NatsServer,
    kubectl: Kubectl,
    kubeconfig: Path,
    console: Console,
) -> int:
    named = shlex.quote(str(kubeconfig.resolve()))
    console.print(f"ready: in another terminal, type: export KUBECONFIG={named}", soft_wrap=True)
    console.print(
        "       then: kubectl apply -f examples/production.yaml && kubectl get tapioclusters -w", soft_wrap=True
    )
    if shutil.which("kubectl") is None or shutil.which("tapioctl") is None:
        beside = shlex.quote(str(Path(sys.executable).parent))
        console.print(f"       kubectl and tapioctl are in {beside}: export PATH={beside}:$PATH", soft_wrap=True)
    console.print("       Ctrl-C here stops everything.")
    showing = asyncio.create_task(_show_example(example, kubectl, console), name="example")
    ending = asyncio.create_task(_until_one_ends(children, nats), name="processes")
    try:
        await asyncio.wait({showing, ending}, return_when=asyncio.FIRST_COMPLETED)
        if showing.done():
            showing.result()
            if options.once and example is not None:
                return 0
            await ending
        console.print(ending.result(), markup=False)
        return 1
    finally:
        for task in (showing, ending):
            task.cancel()
        await asyncio.gather(showing, ending, return_exceptions=True)


async def _until_one_ends(children: Children, nats: NatsServer) -> str:
    """Wait until any process ends, nats-server included, without which no other can go on; answers what to say."""
    child = asyncio.create_task(children.until_one_ends(), name="children")
    server = asyncio.create_task(nats.ended(), name="nats-server")
    try:
        await asyncio.wait({child, server}, return_when=asyncio.FIRST_COMPLETED)
        if server.done():
            return f"nats-server ended with code {server.result()}. Its output is in {nats.log}."
        one = child.result()
        return f"{one.name} ended with code {one.process.returncode}. Its output:\n{one.tail()}"
    finally:
        for task in (child, server):
            task.cancel()
        await asyncio.gather(child, server, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class _Example:
    """A file to apply, and the TapioClusters in it, by namespace and name."""

    text: bytes
    clusters: Sequence[tuple[str, str]]

    @classmethod
    def read(cls, file: Path | None) -> _Example | None:
        """What `file` holds, read before anything is started for it."""
        if file is None:
            return None
        clusters = [
            (str_at(document, "metadata", "namespace", default="default"), str_at(document, "metadata", "name"))
            for document in read_documents([str(file)])
            if str_at(document, "kind") == CLUSTER_KIND
        ]
        return cls(file.read_bytes(), clusters)


async def _show_example(example: _Example | None, kubectl: Kubectl, console: Console) -> None:
    if example is not None:
        await kubectl.run("apply", "-f", "-", stdin=example.text)
        await show_until_ready(kubectl, example.clusters, console)


class _only_one:  # noqa: N801 - reads as a statement
    """Refuse a second run in the same folder."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / "lock"

    def __enter__(self) -> None:
        self._file = self._path.open("w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            raise InvalidSettings(
                f"Another run is using {self._path.parent}. Stop it with Ctrl-C, or name another folder."
            ) from err

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _is_passed_on(variable: str) -> bool:
    """Whether a service sees it: where things are is decided here, how much is logged and kept is the user's to say."""
    return not variable.startswith("TAPIO_") or variable.startswith("TAPIO_LOG_")


def _partitions() -> int:
    text = os.environ.get("TAPIO_PARTITIONS", _PARTITIONS)
    if not text.isdecimal():
        raise InvalidSettings(
            f"TAPIO_PARTITIONS is {text!r}; it must be a number of partitions, such as {_PARTITIONS}."
        )
    return int(text)


def _clear(directory: Path) -> None:
    """Begin anew: the simulated cluster lives in memory, so an old log would tell of another cluster."""
    for name in ("nats", "services", "logs", "simulator"):
        shutil.rmtree(directory / name, ignore_errors=True)
    for name in ("services", "logs"):
        (directory / name).mkdir(parents=True)


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)
