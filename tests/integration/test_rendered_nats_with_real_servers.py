"""What is rendered for NATS, run by real servers: a cluster with JetStream, users that may do what they must, a stream
that is made, kept and mended."""

# pyright: reportUnknownMemberType=false
# nats-py leaves the types of keyword options open.

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import nats
import nats.errors
import pytest
from hypothesis import given
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from tapio_reconciler.core.model import Rendered
from tapio_shared.adapters.nats_server import find_binary
from tapio_shared.api.budget import BudgetTooSmall
from tapio_shared.json import JsonObject, JsonValue, at, objects_at, str_at
from tests.support.eventually import eventually
from tests.support.odd_specs import ODD, OddSpec
from tests.support.planned_world import example
from tests.support.random_specs import quick, specs
from tests.support.rendered import rendered
from tests.support.rendered_nats import RenderedNats, rendered_nats

STREAM_INFO = "$JS.API.STREAM.INFO.OBSERVATIONS"


def cluster(spec: JsonObject) -> JsonObject:
    return {"apiVersion": "tapio.io/v1alpha1", "kind": "TapioCluster", "metadata": {"name": "any"}, "spec": spec}


@asynccontextmanager
async def user(made: RenderedNats, name: str, inbox: str = "_INBOX") -> AsyncGenerator[Client]:
    context = None if made.ca is None else ssl.create_default_context(cafile=str(made.ca))
    connection = await nats.connect(
        servers=made.urls,
        user=name,
        password=made.passwords[name],
        tls=context,
        inbox_prefix=inbox.encode(),
        error_cb=_ignored,
    )
    try:
        yield connection
    finally:
        await connection.close()


async def _ignored(_error: Exception) -> None:
    """Violations of permissions are asserted by what does not happen."""


async def ask(client: Client, subject: str, body: JsonValue = None) -> JsonObject:
    data = b"" if body is None else json.dumps(body).encode()
    message = await client.request(subject, data, timeout=5)
    answer: JsonObject = json.loads(message.data)
    return answer


async def keep(made: RenderedNats, *, password: str = "") -> subprocess.CompletedProcess[str]:
    """Run the stream keeper as its Job does."""
    file = made.folder / "streams.json"
    file.write_text(json.dumps(made.streams))
    environment = {
        **os.environ,
        "NATS_USERNAME": "streams",
        "NATS_PASSWORD": password or made.passwords["streams"],
    }
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "tapio_streams", str(file)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@asynccontextmanager
async def running(spec: JsonObject, folder: Path) -> AsyncGenerator[RenderedNats]:
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(rendered_nats(rendered(cluster(spec)), folder))


async def test_three_servers_of_production_form_a_cluster_over_tls_and_hold_the_stream_three_times(
    tmp_path: Path,
) -> None:
    async with running({"profile": "production"}, tmp_path) as made:
        assert len(made.servers) == 3
        done = await keep(made)
        assert (done.returncode, done.stderr) == (0, done.stderr), done.stderr
        async with user(made, "streams", "_INBOX_streams") as client:
            info = await ask(client, STREAM_INFO)
        config = info["config"]
        assert isinstance(config, dict)
        assert config["num_replicas"] == 3
        assert config["subjects"] == ["observations.>"]
        found = info["cluster"]
        assert isinstance(found, dict)
        assert isinstance(found["replicas"], list)
        assert len(found["replicas"]) == 2


async def test_only_the_full_health_check_waits_until_a_restarted_server_is_current(tmp_path: Path) -> None:
    async with running({"profile": "production"}, tmp_path) as made:
        assert (await keep(made)).returncode == 0
        async with user(made, "ebpf") as collector, user(made, "streams", "_INBOX_streams") as client:
            leader = str_at(await ask(client, STREAM_INFO), "cluster", "leader")
            server = next(one for one in made.servers if one.name != leader)

            async def is_current() -> bool:
                replicas = objects_at(await ask(client, STREAM_INFO), "cluster", "replicas")
                found = next(one for one in replicas if str_at(one, "name") == server.name)
                return found.get("current") is True and found.get("offline") is not True

            await server.stop()
            stream, block = collector.jetstream(), os.urandom(60_000)
            for _ in range(100):
                await asyncio.gather(*(stream.publish("observations.kernel", block, timeout=30) for _ in range(20)))
            await server.start()

            async def serves_and_lags() -> bool:
                return not await is_current() and await server.healthy("?js-server-only=true")

            await eventually(serves_and_lags, seconds=30)
            await eventually(is_current, seconds=60)
            await eventually(server.healthy, seconds=60)


async def test_observations_go_from_a_collector_to_the_loader_and_no_user_may_do_more(tmp_path: Path) -> None:
    async with running({"profile": "development"}, tmp_path) as made:
        assert (await keep(made)).returncode == 0
        async with user(made, "ebpf") as collector:
            acknowledged = await collector.jetstream().publish("observations.kernel", b"seen", timeout=5)
            assert (acknowledged.stream, acknowledged.seq) == ("OBSERVATIONS", 1)
            for subject in ("observations.lifecycle", "$JS.API.STREAM.DELETE.OBSERVATIONS", "$JS.API.STREAM.PURGE.A"):
                with pytest.raises(nats.errors.TimeoutError):
                    await collector.request(subject, b"", timeout=0.3)
        async with user(made, "correlation") as loader:
            bound = await loader.jetstream().pull_subscribe_bind(durable="neo4j-loader", stream="OBSERVATIONS")
            (message,) = await bound.fetch(1, timeout=5)
            assert (message.subject, message.data) == ("observations.kernel", b"seen")
            await message.ack_sync()
            with pytest.raises(nats.errors.TimeoutError):
                await loader.request("$JS.API.STREAM.DELETE.OBSERVATIONS", b"", timeout=0.3)


async def test_a_collector_hears_nothing_of_what_the_loader_fetches(tmp_path: Path) -> None:
    async with running({"profile": "development"}, tmp_path) as made:
        await keep(made)
        async with user(made, "cni") as spy, user(made, "ebpf") as collector, user(made, "correlation") as loader:
            heard = await spy.subscribe("_INBOX.>")
            await spy.flush()
            await collector.jetstream().publish("observations.kernel", b"private", timeout=5)
            bound = await loader.jetstream().pull_subscribe_bind(durable="neo4j-loader", stream="OBSERVATIONS")
            await bound.fetch(1, timeout=5)
            await spy.flush()
            texts = [message.data async for message in _pending(heard)]
            assert b"private" not in texts


async def _pending(subscription: Subscription) -> AsyncGenerator[Msg]:
    while subscription.pending_msgs:
        yield await subscription.next_msg(timeout=1)


async def test_nobody_gets_in_without_a_password(tmp_path: Path) -> None:
    async with running({"profile": "development"}, tmp_path) as made:
        with pytest.raises((nats.errors.Error, ConnectionError)):
            await nats.connect(servers=made.urls, allow_reconnect=False, error_cb=_ignored)


async def test_a_second_run_changes_nothing_and_drift_is_mended_without_losing_a_message(tmp_path: Path) -> None:
    async with running({"profile": "development"}, tmp_path) as made:
        assert '"stream OBSERVATIONS' in (first := await keep(made)).stderr + first.stdout
        again = await keep(made)
        assert '"changed": []' in again.stdout + again.stderr
        async with user(made, "ebpf") as collector, user(made, "streams", "_INBOX_streams") as client:
            await collector.jetstream().publish("observations.kernel", b"kept", timeout=5)
            info = await ask(client, STREAM_INFO)
            config = info["config"]
            assert isinstance(config, dict)
            await ask(client, "$JS.API.STREAM.UPDATE.OBSERVATIONS", {**config, "max_bytes": 1 << 20, "max_age": 10**12})
            mended = await keep(made)
            assert "stream OBSERVATIONS: max_age, max_bytes" in mended.stdout + mended.stderr
            info = await ask(client, STREAM_INFO)
            state, config = info["state"], info["config"]
            assert isinstance(state, dict)
            assert isinstance(config, dict)
            assert (state["messages"], config["max_bytes"]) == (1, 1 << 30)


async def test_what_jetstream_refuses_is_said_with_its_reason(tmp_path: Path) -> None:
    async with running({"profile": "development"}, tmp_path) as made:
        await keep(made)
        stream = made.streams["stream"]
        assert isinstance(stream, dict)
        stream["storage"] = "memory"
        refused = await keep(made)
        assert refused.returncode == 3
        assert "Stream OBSERVATIONS can't be made as it is wanted" in refused.stdout + refused.stderr


@pytest.mark.parametrize(
    ("age", "window"), [pytest.param("1s", 1, id="the shortest"), pytest.param("876000h", 120, id="the longest")]
)
async def test_a_stream_is_made_whatever_the_age_of_what_it_keeps(tmp_path: Path, age: str, window: int) -> None:
    """JetStream refuses a window for duplicates that is longer than messages are kept."""
    spec: JsonObject = {"profile": "development", "nats": {"observations": {"maxAge": age}}}
    async with running(spec, tmp_path) as made:
        done = await keep(made)
        assert done.returncode == 0, done.stderr
        async with user(made, "streams", "_INBOX_streams") as client:
            config = (await ask(client, STREAM_INFO))["config"]
    assert at(config, "duplicate_window") == window * 1_000_000_000


async def test_a_wrong_password_is_worth_another_try(tmp_path: Path) -> None:
    async with running({"profile": "development"}, tmp_path) as made:
        done = await asyncio.wait_for(keep(made, password="wrong"), 60)
        assert done.returncode == 1
        assert "wrong" not in (done.stdout + done.stderr).replace("went wrong", "")


@pytest.mark.parametrize("name", ["quickstart", "development", "production", "edge"])
def test_nats_server_accepts_its_configuration(name: str, tmp_path: Path) -> None:
    made = rendered_nats(rendered(example(name)), tmp_path)
    for server in made.servers:
        checked = subprocess.run(
            [find_binary(), "-t", "-c", str(server.configuration)],
            env=server.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert checked.returncode == 0, checked.stderr


def test_nats_server_accepts_numbers_as_json_has_them(tmp_path: Path) -> None:
    config: JsonObject = {"max_connections": 1000.0, "max_payload": 1e6, "tls": {"timeout": 2.5}}
    spec: JsonObject = {"profile": "production", "nats": {"storage": "7.9Ei", "config": config}}
    made = rendered_nats(rendered(cluster(spec)), tmp_path)
    text = made.servers[0].configuration.read_text()
    assert [line for line in text.splitlines() if line.startswith("max_")] == [
        "max_payload: 1000000",
        "max_connections: 1000",
    ]
    checked = subprocess.run(
        [find_binary(), "-t", "-c", str(made.servers[0].configuration)],
        env=made.servers[0].environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


@quick
@given(specs())
def test_nats_server_accepts_what_any_spec_gives(spec: JsonObject) -> None:
    try:
        found = rendered(cluster(spec))
    except BudgetTooSmall:
        return
    check_configuration(found)


@pytest.mark.parametrize("odd", [pytest.param(one, id=name) for name, one in ODD.items()])
def test_nats_server_accepts_what_an_odd_spec_gives(odd: OddSpec) -> None:
    check_configuration(rendered(cluster(odd.spec)))


def check_configuration(found: Rendered) -> None:
    """`nats-server -t` of what is rendered for NATS, where that is ours."""
    if all(one.name != "nats" for one in found.components):
        return
    with tempfile.TemporaryDirectory() as folder:
        server = rendered_nats(found, Path(folder)).servers[0]
        checked = subprocess.run(
            [find_binary(), "-t", "-c", str(server.configuration)],
            env=server.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert checked.returncode == 0, checked.stderr


async def test_an_external_nats_of_one_server_gets_the_stream_with_as_many_replicas_as_it_allows(
    tmp_path: Path,
) -> None:
    async with running({"profile": "development"}, tmp_path) as made:
        stream = made.streams["stream"]
        assert isinstance(stream, dict)
        stream["num_replicas"] = 3
        made.streams["mayHaveFewerReplicas"] = True
        first, second = await keep(made), await keep(made)
        assert (first.returncode, second.returncode) == (0, 0), first.stderr
        assert '"changed": []' in second.stdout + second.stderr
        async with user(made, "streams", "_INBOX_streams") as client:
            assert at(await ask(client, STREAM_INFO), "config", "num_replicas") == 1
