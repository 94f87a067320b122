"""The page has no users: it is for this machine alone, for who has its address, and for no other site's scripts."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from tapio_cli.history.archive import Archive
from tapio_cli.history.ui.guarding import loopback
from tapio_shared.errors import InvalidSettings
from tests.support.recorded_histories import recorded_history, write_archive
from tests.support.ui_pages import CLUSTER, TOKEN, page_of


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tmp_path_factory.mktemp("history") / "a", recorded_history())


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "tapio_cli", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        pytest.param("127.0.0.1", "127.0.0.1", id="the usual"),
        pytest.param("localhost", "127.0.0.1", id="by name"),
        pytest.param("127.8.0.1", "127.8.0.1", id="another of this machine"),
        pytest.param("::1", "::1", id="IPv6"),
    ],
)
def test_addresses_of_this_machine_alone_are_taken(host: str, address: str) -> None:
    assert loopback(host) == address


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "example.org", ""])
def test_any_other_address_is_refused(host: str) -> None:
    with pytest.raises(InvalidSettings, match=r"it listens on this machine alone, and .* is more than that\. Name 127"):
        loopback(host)


def test_the_command_refuses_it_before_anything_is_read(tmp_path: Path) -> None:
    ended = run("ui", "--from", str(tmp_path / "none"), "--host", "0.0.0.0")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        "tapioctl: The page has no users and passwords, so it listens on this machine alone, and 0.0.0.0 is more than "
        "that. Name 127.0.0.1, ::1 or localhost; to look at it from elsewhere, forward its port: "
        "ssh -L 8745:127.0.0.1:8745 THIS-HOST.\n"
    )


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        pytest.param(f"/{TOKEN}/", {}, 200, id="the page"),
        pytest.param(f"/{TOKEN}/", {"Host": "localhost:{port}"}, 200, id="by name"),
        pytest.param(f"/{TOKEN}/", {"Sec-Fetch-Site": "none"}, 200, id="typed"),
        pytest.param(f"/{TOKEN}/assets/main.js", {"Origin": "http://127.0.0.1:{port}"}, 200, id="from the page"),
        pytest.param(f"/{TOKEN}/assets/..%2f..%2fserving.py", {}, 404, id="no asset"),
        pytest.param(f"/{TOKEN}/assets/nothing.js", {}, 404, id="no such asset"),
        pytest.param("/", {}, 401, id="no token"),
        pytest.param(f"/{'u' * 32}/", {}, 401, id="a guessed token"),
        pytest.param(f"/{'u' * 32}/api/clusters", {}, 401, id="a guessed token for data"),
        pytest.param("/%C3%A9/", {}, 401, id="a token that is no ASCII"),
        pytest.param(f"/{TOKEN}/", {"Host": "evil.example:{port}"}, 421, id="a name that was pointed here"),
        pytest.param(f"/{TOKEN}/", {"Host": "127.0.0.1:1"}, 421, id="another port"),
        pytest.param(f"/{TOKEN}/api/clusters", {"Origin": "https://evil.example"}, 403, id="a foreign origin"),
        pytest.param(f"/{TOKEN}/api/clusters", {"Origin": "null"}, 403, id="a hidden origin"),
        pytest.param(f"/{TOKEN}/", {"Sec-Fetch-Site": "cross-site"}, 403, id="a foreign link"),
    ],
)
async def test_requests(path: str, headers: dict[str, str], status: int, archive: Path) -> None:
    async with page_of(Archive.open(archive)) as page, aiohttp.ClientSession() as session:
        given = {name: value.format(port=page.port) for name, value in headers.items()}
        async with session.get(f"http://127.0.0.1:{page.port}{path}", headers=given) as answer:
            assert answer.status == status
            assert CLUSTER not in await answer.text()
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
            assert answer.headers["Referrer-Policy"] == "no-referrer"


async def test_nothing_but_reading_is_served(archive: Path) -> None:
    async with (
        page_of(Archive.open(archive)) as page,
        aiohttp.ClientSession() as session,
        session.post(f"{page.url}api/clusters") as answer,
    ):
        assert answer.status == 405


async def test_a_port_that_is_taken_is_said(archive: Path) -> None:
    command = ["ui", "--from", str(archive), "--port"]
    async with page_of(Archive.open(archive)) as page:
        ended = await asyncio.to_thread(run, *command, str(page.port))
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"tapioctl: Port {page.port} of 127.0.0.1 can't be served: ")
    assert ended.stderr.endswith("Choose another (--port), or 0 for any free one.\n")
