"""`HttpKube` against a small HTTP server that misbehaves on purpose; API servers: see tests/contract/kubernetes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
import yaml
from aiohttp import web

from tapio_shared.adapters.kube_http import USER_AGENT, HttpKube, load_configuration
from tapio_shared.api.operator_config import Limits
from tapio_shared.errors import ApiRetryable, ApiTerminal, ApiUnavailable, InvalidSettings, ResourceExpired

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
EXPIRED = b'{"kind":"Status","code":410,"reason":"Expired","message":"too old resource version"}'
FORBIDDEN = b'{"kind":"Status","code":403,"reason":"Forbidden","message":"pods is forbidden"}'


class Server:
    """What a test sets as `handler` answers every request."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.handler: Handler = self._unset
        self.port = 0

    async def _unset(self, _: web.Request) -> web.StreamResponse:
        return web.Response(status=500)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request, web.BaseRequest)
        return await self.handler(request)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

    @property
    def token(self) -> Path:
        return self.directory / "token"

    def kubeconfig(self, **cluster: str) -> str:
        """Path of a kubeconfig with two contexts: `here`, and `nowhere`, where nobody listens."""
        here = {"server": f"http://127.0.0.1:{self.port}", **cluster}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": "here", "cluster": here},
                {"name": "nowhere", "cluster": {"server": "http://127.0.0.1:1"}},
            ],
            "users": [{"name": "tester", "user": {"tokenFile": str(self.token)}}],
            "contexts": [
                {"name": name, "context": {"cluster": name, "user": "tester"}} for name in ("here", "nowhere")
            ],
            "current-context": "here",
        }
        path = self.directory / "kubeconfig"
        path.write_text(yaml.safe_dump(document))
        return str(path)


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncGenerator[Server]:
    server = Server(tmp_path)
    server.token.write_text("first")
    runner = web.ServerRunner(web.Server(server.handle), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.port = runner.addresses[0][1]
    yield server
    await runner.cleanup()


@pytest_asyncio.fixture
async def kube(server: Server) -> AsyncGenerator[HttpKube]:
    async with await HttpKube.connect(kubeconfig=server.kubeconfig()) as kube:
        yield kube


async def collect(lines: AsyncIterator[bytes], into: list[bytes]) -> None:
    async for line in lines:
        into.append(line)


async def test_a_request_arrives_as_it_was_made(server: Server, kube: HttpKube) -> None:
    seen: dict[str, object] = {}

    async def handler(request: web.Request) -> web.Response:
        seen.update(
            method=request.method,
            path=request.path,
            query=dict(request.query),
            body=await request.read(),
            headers=[request.headers[name] for name in ("Authorization", "User-Agent", "Accept", "Content-Type")],
        )
        return web.Response(status=409, body=b"conflict", headers={"Retry-After": "7"})

    server.handler = handler
    answer = await kube.request(
        "PATCH",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/tapio:demo:a",
        query={"fieldManager": "tapio", "force": "true"},
        body=b"{}",
        content_type="application/apply-patch+yaml",
    )
    assert (answer.status, answer.body, answer.headers["Retry-After"]) == (409, b"conflict", "7")
    assert seen == {
        "method": "PATCH",
        "path": "/apis/rbac.authorization.k8s.io/v1/clusterroles/tapio:demo:a",
        "query": {"fieldManager": "tapio", "force": "true"},
        "body": b"{}",
        "headers": ["Bearer first", USER_AGENT, "application/json", "application/apply-patch+yaml"],
    }


async def test_refused_credentials_are_read_again_once_for_all(server: Server, kube: HttpKube) -> None:
    """Ten requests are refused together: the token is read again, and each is repeated once."""
    tokens: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        tokens.append(request.headers["Authorization"])
        return web.Response(status=401 if tokens[-1] == "Bearer first" else 200)

    server.handler = handler
    server.token.write_text("second")
    answers = await asyncio.gather(*(kube.request("GET", "/version") for _ in range(10)))
    assert {answer.status for answer in answers} == {200}
    assert sorted(tokens) == ["Bearer first"] * 10 + ["Bearer second"] * 10


async def test_credentials_that_stay_refused_are_an_answer(server: Server, kube: HttpKube) -> None:
    requests = 0

    async def handler(_: web.Request) -> web.Response:
        nonlocal requests
        requests += 1
        return web.Response(status=401)

    server.handler = handler
    assert (await kube.request("GET", "/version")).status == 401
    assert requests == 2


async def test_a_watch_with_refused_credentials_is_opened_again(server: Server, kube: HttpKube) -> None:
    async def handler(request: web.Request) -> web.Response:
        known = request.headers["Authorization"] == "Bearer second"
        return web.Response(status=200 if known else 401, body=b"{}\n")

    server.handler = handler
    server.token.write_text("second")
    lines: list[bytes] = []
    async with kube.watch("/api/v1/pods", query={}) as watch:
        await collect(watch, lines)
    assert lines == [b"{}"]


async def test_nobody_listening_is_an_api_server_that_is_not_available(server: Server) -> None:
    async with await HttpKube.connect(kubeconfig=server.kubeconfig(), context="nowhere") as kube:
        with pytest.raises(
            ApiUnavailable, match=r"The API server at http://127\.0\.0\.1:1 did not answer GET /version"
        ):
            await kube.request("GET", "/version")
        with pytest.raises(ApiUnavailable, match="The watch of /api/v1/pods can't be opened"):
            async with kube.watch("/api/v1/pods", query={}):
                pytest.fail("Nobody listens.")


async def test_an_answer_that_does_not_come_is_not_waited_for(server: Server, kube: HttpKube) -> None:
    async def handler(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    server.handler = handler
    with pytest.raises(ApiUnavailable, match="TimeoutError"):
        await kube.request("GET", "/version", timeout=0.2)


async def test_no_more_requests_than_allowed_are_under_way(server: Server, kube: HttpKube) -> None:
    under_way, most, release = 0, 0, asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        if under_way == Limits().concurrent_requests:
            release.set()
        await release.wait()
        under_way -= 1
        return web.Response()

    server.handler = handler
    await asyncio.gather(*(kube.request("GET", "/version") for _ in range(Limits().concurrent_requests + 20)))
    assert most == Limits().concurrent_requests


async def test_whoever_asks_waits_until_the_server_wants_to_be_asked_again(server: Server, kube: HttpKube) -> None:
    """After a 429 neither a request nor a watch leaves before the time that it named."""
    answered, asked = 0.0, list[float]()

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal answered
        if not answered:
            answered = asyncio.get_running_loop().time()
            return web.Response(status=429, headers={"Retry-After": "1"})
        asked.append(asyncio.get_running_loop().time())
        return web.Response(text="{}\n")

    server.handler = handler
    assert (await kube.request("GET", "/version")).status == 429

    async def watch() -> None:
        lines: list[bytes] = []
        async with kube.watch("/api/v1/pods", query={}) as told:
            await collect(told, lines)
        assert lines == [b"{}"]

    await asyncio.gather(watch(), *(kube.request("GET", "/version") for _ in range(5)))
    assert len(asked) == 6
    assert min(asked) - answered > 0.99


async def test_a_watch_that_is_refused_holds_lists_back_too(server: Server, kube: HttpKube) -> None:
    answered = 0.0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal answered
        if "watch" in request.query:
            answered = asyncio.get_running_loop().time()
            return web.Response(status=429, headers={"Retry-After": "1"})
        return web.Response(text="{}")

    server.handler = handler
    with pytest.raises(ApiRetryable) as refused:
        async with kube.watch("/api/v1/pods", query={}):
            pass
    assert refused.value.retry_after == 1.0
    await kube.request("GET", "/api/v1/pods")
    assert asyncio.get_running_loop().time() - answered > 0.99


async def test_proxies_of_the_environment_are_ignored(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response()

    server.handler = handler
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with await HttpKube.connect(kubeconfig=server.kubeconfig()) as kube:
        assert (await kube.request("GET", "/version")).status == 200


async def test_a_proxy_of_the_kubeconfig_is_used(server: Server) -> None:
    async with await HttpKube.connect(kubeconfig=server.kubeconfig(**{"proxy-url": "http://127.0.0.1:1"})) as kube:
        with pytest.raises(ApiUnavailable, match="ClientProxyConnectionError"):
            await kube.request("GET", "/version")


@pytest.mark.parametrize(
    ("kubeconfig", "context", "message"),
    [
        pytest.param("kubeconfig", "elsewhere", "context elsewhere of", id="no such context"),
        pytest.param("missing", "", r"There is no kubeconfig .*missing\. Name one that there is", id="no such file"),
        pytest.param("", "", "this pod's service account can't be used", id="not in a pod"),
    ],
)
async def test_a_configuration_that_can_not_be_used_is_told(
    server: Server, kubeconfig: str, context: str, message: str
) -> None:
    server.kubeconfig()
    path = str(server.directory / kubeconfig) if kubeconfig else ""
    with pytest.raises(InvalidSettings, match=message):
        await HttpKube.connect(kubeconfig=path, context=context)


async def test_a_kubeconfig_that_is_being_written_is_no_reason_to_end(server: Server) -> None:
    """Who renews it may truncate it first, and it is read again at that moment."""
    path = Path(server.kubeconfig())
    whole, told = path.read_text(), list[str]()
    for length in range(len(whole)):
        path.write_text(whole[:length])
        try:
            await load_configuration(str(path), "")
        except InvalidSettings as err:
            told.append(str(err))
    assert len(told) > len(whole) // 2
    said = f"The Kubernetes configuration of context (current) of {path} can't be used: "
    assert [one for one in told if not one.startswith(said)] == []


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        pytest.param([b'{"a":1}\n{"b":2}\n'], [b'{"a":1}', b'{"b":2}'], id="two lines in one chunk"),
        pytest.param([b'{"a"', b":1}", b"\n{", b"}\n"], [b'{"a":1}', b"{}"], id="lines in pieces"),
        pytest.param([b"\n\n{}\n\n"], [b"{}"], id="empty lines"),
        pytest.param([b"{}\n{"], [b"{}"], id="a line that breaks off"),
        pytest.param([b"x" * (9 << 20), b"\n"], [b"x" * (9 << 20)], id="a line of 9 MB"),
    ],
)
async def test_a_watch_is_read_line_by_line(
    server: Server, kube: HttpKube, chunks: list[bytes], expected: list[bytes]
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        assert dict(request.query) == {"resourceVersion": "5", "watch": "1"}
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
        return response

    server.handler = handler
    lines: list[bytes] = []
    async with kube.watch("/api/v1/pods", query={"resourceVersion": "5"}) as watch:
        await collect(watch, lines)
    assert lines == expected


async def test_a_silent_watch_is_given_up(server: Server, kube: HttpKube) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"{}\n")
        await asyncio.sleep(60)
        return response

    server.handler = handler
    lines: list[bytes] = []
    async with kube.watch("/api/v1/pods", query={}, silence=0.3) as watch:
        with pytest.raises(ApiUnavailable, match=r"was silent for 0\.3 s"):
            await collect(watch, lines)
    assert lines == [b"{}"]


async def test_a_watch_that_breaks_is_an_error_and_not_an_end(server: Server, kube: HttpKube) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"{}\n")
        assert request.transport is not None
        request.transport.abort()
        return response

    server.handler = handler
    lines: list[bytes] = []
    async with kube.watch("/api/v1/pods", query={}) as watch:
        with pytest.raises(ApiUnavailable, match="The watch of /api/v1/pods broke"):
            await collect(watch, lines)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        pytest.param(410, EXPIRED, ResourceExpired, id="expired"),
        pytest.param(403, FORBIDDEN, ApiTerminal, id="forbidden"),
    ],
)
async def test_a_refused_watch_says_why(
    server: Server, kube: HttpKube, status: int, body: bytes, error: type[Exception]
) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status, body=body)

    server.handler = handler
    with pytest.raises(error, match=r"too old resource version|pods is forbidden"):
        async with kube.watch("/api/v1/pods", query={}):
            pytest.fail("The watch was refused.")


async def test_leaving_a_watch_closes_its_connection(server: Server, kube: HttpKube) -> None:
    closed = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"{}\n")
                await asyncio.sleep(0.01)
        except (ConnectionError, asyncio.CancelledError):
            closed.set()
            raise

    server.handler = handler
    async with kube.watch("/api/v1/pods", query={}) as watch:
        assert await anext(watch) == b"{}"
    async with asyncio.timeout(5):
        await closed.wait()
