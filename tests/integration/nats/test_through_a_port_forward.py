"""`tapioctl --through CONTEXT` reaches NATS by a port-forward of its own, which ends with the command.

No Kubernetes of the tests has pods whose ports could be forwarded, so a program stands in for kubectl: it says what
kubectl says and passes bytes on. What kubectl says when it can't is asked of the real one.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest

from tapio_shared.adapters.clock import SystemClock
from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_log import NatsEventLog
from tapio_shared.adapters.nats_server import EmbeddedNatsServer
from tapio_shared.adapters.provisioning import provision
from tapio_shared.certificates import CertificateAuthority, Usage
from tapio_shared.ports import NewMessage
from tests.support.operator_in_process import NAMES, PARTITIONS
from tests.support.recorded_histories import recorded_history

_KUBECTL = """#!/bin/sh
"exec" "{python}" "$0" "$@"  # the path of a Python may have a space, which no first line may name
import asyncio, os, pathlib, sys
pathlib.Path({log!r}).write_text(" ".join(sys.argv[1:]))
pathlib.Path({log!r} + ".pid").write_text(str(os.getpid()))
async def forward(reader, writer):
    there = await asyncio.open_connection("127.0.0.1", {port})
    async def pump(source, sink):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
        sink.close()
    await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))
async def main():
    server = await asyncio.start_server(forward, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(f"Forwarding from 127.0.0.1:{{port}} -> 4222", flush=True)
    for number in range(5000):
        print(f"Handling connection for {{port}}", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


async def tapioctl(*arguments: str, environment: Mapping[str, str]) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tapio_cli", *arguments),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return cast("int", process.returncode), output.decode(), errors.decode()


@pytest.fixture(scope="module")
def history() -> list[NewMessage]:
    return [NewMessage(one.subject, one.data) for one in recorded_history()]


async def test_a_question_is_answered_through_it_and_it_ends(history: list[NewMessage], tmp_path: Path) -> None:
    async with EmbeddedNatsServer(tmp_path / "nats") as server:
        connection = await NatsConnection.connect([server.url], name="test")
        await provision(connection, partitions=PARTITIONS)
        log = NatsEventLog(connection)
        for message in history:
            await log.append(message)
        await connection.close()
        kubectl, noted = tmp_path / "kubectl", tmp_path / "arguments"
        kubectl.write_text(_KUBECTL.format(python=sys.executable, log=str(noted), port=server.port))
        kubectl.chmod(0o755)
        asked = ("status", f"default/{NAMES[0]}", "--through", "prod", "--nats-service", "ops/nats")
        code, output, errors = await tapioctl(*asked, environment={"KUBECTL": str(kubectl)})
    assert code == 0
    assert errors.startswith("Nothing has been heard since 2026-09-21T14:13:25.000Z of the watcher, ")
    assert len(errors.splitlines()) == 1
    assert f"default/{NAMES[0]}  Ready" in output
    assert noted.read_text() == ("--context=prod port-forward --address=127.0.0.1 --namespace=ops service/nats :4222")
    assert not Path(f"/proc/{(tmp_path / 'arguments.pid').read_text()}").exists()


@pytest.mark.parametrize(
    ("certified", "code", "told"),
    [
        pytest.param("nats.ops.svc", 0, "", id="the Service's name"),
        pytest.param(
            "nats.elsewhere.svc",
            1,
            "tapioctl: NATS at tls://127.0.0.1:",
            id="another name",
        ),
    ],
)
async def test_a_server_with_tls_is_known_by_the_name_of_its_service(
    certified: str, code: int, told: str, history: list[NewMessage], tmp_path: Path
) -> None:
    """Its certificate is for the Service and not for this machine, to which its port is forwarded."""
    now, day = SystemClock().now(), timedelta(days=1)
    authority = CertificateAuthority.create("ca", now=now, valid_for=day)
    # By 127.0.0.1 only the test itself connects, to fill the log.
    pair = authority.issue(
        "nats", now=now, valid_for=day, usage=Usage.SERVER, dns_names=[certified], ip_addresses=["127.0.0.1"]
    )
    files = {"cert": pair.certificate_pem, "key": pair.key_pem, "ca": authority.certificate_pem}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    tls = f"tls {{ cert_file: '{tmp_path / 'cert'}', key_file: '{tmp_path / 'key'}' }}"
    async with EmbeddedNatsServer(tmp_path / "nats", extra=tls) as server:
        connection = await NatsConnection.connect([server.url], name="test", ca_file=str(tmp_path / "ca"))
        await provision(connection, partitions=PARTITIONS)
        log = NatsEventLog(connection)
        for message in history:
            await log.append(message)
        await connection.close()
        kubectl = tmp_path / "kubectl"
        kubectl.write_text(_KUBECTL.format(python=sys.executable, log=str(tmp_path / "noted"), port=server.port))
        kubectl.chmod(0o755)
        through = ("--through", "prod", "--nats-service", "ops/nats", "--nats-ca", str(tmp_path / "ca"))
        answer = await tapioctl("status", f"default/{NAMES[0]}", *through, environment={"KUBECTL": str(kubectl)})
    assert answer[0] == code, answer
    assert answer[2].startswith(told)
    assert (f"default/{NAMES[0]}  Ready" in answer[1]) is (code == 0)
    assert ("certificate is not valid for 'nats.ops.svc'" in answer[2]) is (code == 1)


async def test_what_kubectl_says_is_told(tmp_path: Path) -> None:
    environment = {"KUBECONFIG": str(tmp_path / "none")}
    code, output, errors = await tapioctl("status", "--through", "prod", environment=environment)
    assert (code, output) == (1, "")
    assert errors == (
        "tapioctl: The operator's NATS can't be reached through context prod: kubectl port-forward to "
        'service/tapio-operator-nats in namespace tapio-system: error: context "prod" does not exist. Name another '
        "Service (--nats-service NAMESPACE/NAME), or NATS itself (--nats-url).\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            ("--nats-service", "nats"),
            "'nats' names no Service; write namespace/name, such as tapio-system/tapio-operator-nats.",
            id="no namespace",
        ),
        pytest.param(
            ("--nats-url", "nats://elsewhere"),
            "Both --through and --nats-url are given, and each says where NATS is. Give one of them.",
            id="two places",
        ),
    ],
)
async def test_options_that_can_not_be_used(arguments: tuple[str, ...], message: str) -> None:
    assert await tapioctl("status", "--through", "prod", *arguments, environment={}) == (
        1,
        "",
        f"tapioctl: {message}\n",
    )
