"""Command lines of the three programs, for any version from 1.20 on: a flag that a program lacks is left out."""

from __future__ import annotations

import random
import re
import socket
import subprocess
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from tapio_shared.json import JsonObject

from .audit import METADATA
from .binaries import Binaries
from .credentials import Credentials
from .processes import StartFailed

ISSUER = "https://kubernetes.default.svc"
_LISTENING_PORTS = range(20_000, 32_000)


@dataclass(frozen=True, slots=True)
class Options:
    """What a test may want otherwise. `nodelifecycle` is off: without kubelets it would taint every Node."""

    audit_rules: tuple[JsonObject, ...] = METADATA
    controllers: tuple[str, ...] = ("*", "-nodelifecycle")
    api_server_flags: tuple[str, ...] = ()
    controller_manager_flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ports:
    """Loopback TCP ports."""

    etcd: int
    etcd_peer: int
    api_server: int
    controller_manager: int


def free_ports() -> Ports:
    """Four different ports that are free at the moment, below those that Linux gives to outgoing connections.

    Otherwise a client that keeps trying while the API server is down could be given the very port it tries, connect
    to itself, and keep the API server from coming back.
    """
    numbers: list[int] = []
    with ExitStack() as held:
        for candidate in random.sample(_LISTENING_PORTS, k=len(_LISTENING_PORTS)):
            probe = held.enter_context(socket.socket())
            with suppress(OSError):
                probe.bind(("127.0.0.1", candidate))
                numbers.append(candidate)
            if len(numbers) == 4:
                return Ports(*numbers)
    raise StartFailed(f"No four ports are free between {_LISTENING_PORTS.start} and {_LISTENING_PORTS.stop}.")


def etcd_command(binaries: Binaries, directory: Path, ports: Ports) -> list[str]:
    """etcd on loopback, in plain text, without waiting for the disk where this version can do so."""
    client, peer = f"http://127.0.0.1:{ports.etcd}", f"http://127.0.0.1:{ports.etcd_peer}"
    flags = [
        f"--data-dir={directory / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
    ]
    # etcd 3.4 knows --unsafe-no-fsync without listing it in --help, so ask by trying.
    trial = subprocess.run(
        [binaries.etcd, "--unsafe-no-fsync", "--version"], capture_output=True, check=False, timeout=30
    )
    if trial.returncode == 0:
        flags.append("--unsafe-no-fsync")
    return [str(binaries.etcd), *flags]


def api_server_command(
    binaries: Binaries, directory: Path, ports: Ports, credentials: Credentials, options: Options
) -> list[str]:
    """kube-apiserver with RBAC, client certificates, service-account tokens and an audit log."""
    always = {
        "etcd-servers": f"http://127.0.0.1:{ports.etcd}",
        "bind-address": "127.0.0.1",
        "advertise-address": "127.0.0.1",
        "secure-port": str(ports.api_server),
        "tls-cert-file": str(credentials.serving_certificate),
        "tls-private-key-file": str(credentials.serving_key),
        "client-ca-file": str(credentials.authority_file),
        "service-account-key-file": str(credentials.service_account_public_key),
        "service-account-signing-key-file": str(credentials.service_account_private_key),
        "service-account-issuer": ISSUER,
        "authorization-mode": "RBAC",
        "allow-privileged": "true",
        "service-cluster-ip-range": "10.0.0.0/16",  # a /24 is full after 250 Services
        "audit-policy-file": str(directory / "audit-policy.yaml"),
        "audit-log-path": str(directory / "audit.log"),
        "audit-log-maxsize": "10000",  # megabytes: rotation would hide events from AuditLog
    }
    where_known = {
        "endpoint-reconciler-type": "none",  # the others refuse a loopback address, once a second, in the log
        "profiling": "false",
    }
    program = binaries.kube_apiserver
    return [str(program), *_flags(always), *_flags(_known(program, where_known)), *options.api_server_flags]


def controller_manager_command(
    binaries: Binaries, kubeconfig: Path, ports: Ports, credentials: Credentials, options: Options
) -> list[str]:
    """kube-controller-manager: garbage collection, namespaces, service accounts and the workload controllers."""
    always = {
        "kubeconfig": str(kubeconfig),
        "authentication-kubeconfig": str(kubeconfig),
        "authorization-kubeconfig": str(kubeconfig),
        "bind-address": "127.0.0.1",
        "secure-port": str(ports.controller_manager),
        "service-account-private-key-file": str(credentials.service_account_private_key),
        "root-ca-file": str(credentials.authority_file),
        "use-service-account-credentials": "true",
        "leader-elect": "false",
        "controllers": ",".join(options.controllers),
    }
    where_known = {
        "port": "0",  # the unsecured port of 1.20 is the same for everybody
        "kube-api-qps": "200",
        "kube-api-burst": "400",
        "profiling": "false",
    }
    program = binaries.kube_controller_manager
    return [str(program), *_flags(always), *_flags(_known(program, where_known)), *options.controller_manager_flags]


def _known(program: Path, flags: dict[str, str]) -> dict[str, str]:
    answer = subprocess.run([program, "--help"], capture_output=True, text=True, check=True, timeout=60)
    known = set(re.findall(r"^\s+--([a-z0-9-]+)", answer.stdout + answer.stderr, re.MULTILINE))
    return {name: value for name, value in flags.items() if name in known}


def _flags(values: dict[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in values.items()]
