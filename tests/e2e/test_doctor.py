"""`tapioctl doctor` on a running operator: what is wrong with its log, its leases, its webhook and its versions."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import ssl
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import pytest

from tapio_cli.doctor.operator import (
    CONFIGURATION,
    LEASES,
    LOG,
    RIGHTS,
    TARGETS,
    VERSIONS,
    WINDOW,
    WORKERS,
)
from tapio_cli.doctor.webhook import ANSWER, CERTIFICATE
from tapio_shared.json import JsonObject, objects_at, str_at
from tests.support.e2e_kubernetes import Kubernetes, real_kubernetes, simulated_kubernetes
from tests.support.e2e_objects import small_cluster
from tests.support.freezing import freeze
from tests.support.operator_run import OperatorRun, start_operator

_ALL = (LOG, WINDOW, WORKERS, VERSIONS, CONFIGURATION, TARGETS, LEASES, RIGHTS, CERTIFICATE, ANSWER)


async def doctor(run: OperatorRun, *arguments: str) -> tuple[int, str, str]:
    """Exit code, output and errors of the command."""
    command = [sys.executable, "-m", "tapio_cli", "doctor", "--nats-url", run.nats.url, *arguments]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    return cast("int", process.returncode), output.decode(), errors.decode()


async def checked(run: OperatorRun) -> tuple[int, dict[str, str]]:
    """Exit code, and the verdict of each check of the operator with its evidence."""
    code, output, errors = await doctor(run, "--kubeconfig", str(run.kubernetes.kubeconfig), "-o", "json")
    assert output, errors
    found = cast("JsonObject", json.loads(output))
    return code, {
        str_at(one, "check"): f"{str_at(one, 'verdict')}: {str_at(one, 'evidence')}"
        for one in objects_at(found, "operator")
    }


@pytest.mark.timeout(200)
async def test_each_thing_that_is_wrong_with_the_operator_is_found(tmp_path: Path) -> None:
    async with simulated_kubernetes(tmp_path) as kubernetes, start_operator(kubernetes, tmp_path, workers=1) as run:
        await kubernetes.apply(small_cluster("one"))
        await kubernetes.until_condition("one", "Ready", "True")
        await run.settled()

        code, found = await checked(run)
        assert {check: text.partition(":")[0] for check, text in found.items()} == dict.fromkeys(_ALL, "ok")
        assert code == 0

        without = (await doctor(run))[1]
        assert "No kubeconfig was named." in without
        assert "unknown" in without

        await kubernetes.kubectl.run("delete", "clusterrolebinding", "tapio-watcher")
        assert (await checked(run))[1][RIGHTS] == (
            "problem: ServiceAccount tapio-system/tapio-watcher may not watch tapioclusters. ServiceAccount "
            "tapio-system/tapio-watcher may not watch statefulsets."
        )

        await freeze(run["webhook"])
        assert (await checked(run))[1][ANSWER].endswith(" s: the API server had no answer from it in time.")
        await kubernetes.kubectl.run("delete", "mutatingwebhookconfiguration", "tapio-operator")
        assert (await checked(run))[1][
            CERTIFICATE
        ] == "problem: MutatingWebhookConfiguration tapio-operator does not exist."
        run["webhook"].send_signal(signal.SIGCONT)  # It registers itself again.

        await run["webhook"].kill()
        await kubernetes.kubectl.run("delete", "secret", "tapio-webhook-certificate", "-n", "tapio-system")
        await run["watcher"].kill()
        lease = '{"spec": {"renewTime": "2020-01-01T00:00:00.000000Z"}}'
        await kubernetes.kubectl.run(
            "patch", "lease", "tapio-watcher-local", "-n", "tapio-system", "--type=merge", "-p", lease
        )
        code, found = await checked(run)
        assert code == 2
        assert found[LEASES].startswith("problem: watcher holds Lease tapio-system/tapio-watcher-local and has not")
        assert found[ANSWER].endswith(" s: the API server could not reach it.")
        assert found[CERTIFICATE] == "problem: Secret tapio-system/tapio-webhook-certificate does not exist."

        await run.nats.kill()
        code, output, errors = await doctor(run)
        assert (code, output) == (1, "")
        assert errors.splitlines()[-1].startswith("tapioctl: ")

        await run.nats.start()  # What was recorded is replayed when the run ends.


@asynccontextmanager
async def hanging_after_tls(kubernetes: Kubernetes, directory: Path) -> AsyncGenerator[asyncio.Event]:
    """A server in place of the webhook, with its certificate, that reads what is asked and answers nothing; the event
    tells that it was asked."""
    secret = await kubernetes.kubectl.document("get", "secret", "tapio-webhook-certificate", "-n", "tapio-system")
    for name in ("tls.crt", "tls.key"):
        (directory / name).write_bytes(base64.b64decode(str_at(secret, "data", name)))
    registered = await kubernetes.kubectl.document("get", "mutatingwebhookconfiguration", "tapio-operator")
    place = urlsplit(str_at(objects_at(registered, "webhooks")[0], "clientConfig", "url"))
    trusted, asked = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), asyncio.Event()
    trusted.load_cert_chain(directory / "tls.crt", directory / "tls.key")

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            asked.set()
        writer.close()

    async with await asyncio.start_server(hang, place.hostname, place.port, ssl=trusted):
        yield asked


@pytest.mark.real
@pytest.mark.timeout(280)
async def test_a_real_api_server_is_asked_whether_the_webhook_answers(tmp_path: Path) -> None:
    async with real_kubernetes(tmp_path) as kubernetes, start_operator(kubernetes, tmp_path, workers=1) as run:
        await kubernetes.apply(small_cluster("one"))
        await kubernetes.until_condition("one", "Ready", "True")
        code, found = await checked(run)
        assert {check: text.partition(":")[0] for check, text in found.items()} == dict.fromkeys(_ALL, "ok"), found
        assert code == 0

        await freeze(run["webhook"])
        assert (await checked(run))[1][ANSWER].endswith(" s: the API server had no answer from it in time.")
        run["webhook"].send_signal(signal.SIGCONT)

        await run["webhook"].kill()
        async with hanging_after_tls(kubernetes, tmp_path) as asked:
            found = (await checked(run))[1]
            assert asked.is_set()
        assert found[ANSWER].endswith(" s: the API server had no answer from it in time.")
        assert found[CERTIFICATE].startswith("ok: ")
        assert (await checked(run))[1][ANSWER].endswith(" s: the API server could not reach it.")
        names = await kubernetes.names("tapioclusters", "-A")
        assert {name.rpartition("/")[2] for name in names} == {"one"}, "what doctor asks is kept"
