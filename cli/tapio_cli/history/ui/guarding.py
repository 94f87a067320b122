"""Who may see the page: this machine alone, and only who has its address.

The page has no users. So it listens on loopback and nowhere else; its address holds a token that nobody can guess; and
a request must name this host and come from this page, or a foreign site whose name was pointed at 127.0.0.1 could read
along (DNS rebinding).
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable, Mapping

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from tapio_shared.errors import InvalidSettings

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def loopback(host: str) -> str:
    """`host` as an address of this machine alone. InvalidSettings, with what to do instead, for any other."""
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        address = None
    if address is None or not address.is_loopback:
        raise InvalidSettings(
            f"The page has no users and passwords, so it listens on this machine alone, and {host} is more than that. "
            "Name 127.0.0.1, ::1 or localhost; to look at it from elsewhere, forward its port: "
            "ssh -L 8745:127.0.0.1:8745 THIS-HOST."
        )
    return str(address)


def origins(host: str, port: int) -> frozenset[str]:
    """The values of the header Host by which a browser may name this server."""
    name = f"[{host}]" if ":" in host else host
    return frozenset({f"{name}:{port}", f"localhost:{port}"})


def refusal(headers: Mapping[str, str], hosts: frozenset[str], given: str, token: str) -> tuple[int, str] | None:
    """Why a request is not answered, as a status and a sentence; None when it is."""
    host, origin, site = (headers.get(name, "") for name in ("Host", "Origin", "Sec-Fetch-Site"))
    if host not in hosts:
        return 421, f"This server is not {host or 'nameless'}; open the address that tapioctl printed."
    if origin and origin not in {f"http://{one}" for one in hosts}:
        return 403, f"{origin} may not read this page."
    if site not in {"", "none", "same-origin"}:
        return 403, "Another site may not read this page. Type or paste the address that tapioctl printed."
    if not hmac.compare_digest(given.encode(), token.encode()):
        return 401, "The address lacks its token; open the one that tapioctl printed when it began."
    return None


def guard(hosts: Callable[[], frozenset[str]], token: str) -> Middleware:
    """A middleware that answers only who may see the page."""

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        refused = refusal(request.headers, hosts(), request.path.split("/")[1], token)
        if refused is not None:
            status, sentence = refused
            return web.Response(status=status, text=f"{sentence}\n")
        return await handler(request)

    return guarded


async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
    """Signal handler of aiohttp: the headers go out with every answer, streams included."""
    response.headers.update(_HEADERS)


__all__ = ["Handler", "add_headers", "guard", "loopback", "origins", "refusal"]
