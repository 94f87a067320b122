"""The configuration file of the NATS servers. Total: every valid spec gives a file that `nats-server -t` takes.

`$NAME` is filled in by the server from its pod's environment, which is where passwords come from: a ConfigMap holds
none. What the spec's `config` says is merged over it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal

from tapio_reconciler.core.objects import nats_users
from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.objects.merging import merged
from tapio_reconciler.core.objects.messaging import PORT as CLIENT
from tapio_shared.api import names
from tapio_shared.api.nats import USABLE_SHARE
from tapio_shared.api.quantity import parse_quantity
from tapio_shared.json import JsonObject, JsonValue, object_at

ROUTES, MONITOR = 6222, 8222
PID_FILE = "/var/run/nats/nats.pid"
STORE = "/data"
CERTIFICATES = "/etc/nats-certificates"
LAME_DUCK_GRACE, LAME_DUCK = 10, 30
"""Seconds: clients are told to move, then cut off over the rest. A pod's grace must be longer."""
_TOKEN = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_SIZES = frozenset({"max_payload", "max_control_line", "max_pending"})
"""Settings that are a number to NATS alone, which it writes with a unit and without quotes: 8MB."""
_SIZE = re.compile(r"[0-9]+[kmgt]?i?b?", re.ASCII | re.IGNORECASE)
_VARIABLE = re.compile(r"\$[A-Z][A-Z0-9_]*", re.ASCII)


def file_store(ctx: Context) -> int:
    """Bytes that JetStream may use of a server's volume."""
    return int(parse_quantity(ctx.effective.nats_storage) * USABLE_SHARE)


def nats_configuration(ctx: Context) -> str:
    """The server's configuration file."""
    settings: JsonObject = {
        "server_name": "$POD_NAME",
        "listen": f"0.0.0.0:{CLIENT}",
        "http": f"0.0.0.0:{MONITOR}",
        "pid_file": PID_FILE,
        "lame_duck_grace_period": f"{LAME_DUCK_GRACE}s",
        "lame_duck_duration": f"{LAME_DUCK}s",
        "max_payload": 8 << 20,
        "jetstream": {"store_dir": STORE, "max_memory_store": 0, "max_file_store": file_store(ctx)},
        "accounts": nats_users.accounts(permitted_users(ctx)),
        "system_account": nats_users.SYSTEM,
    }
    if ctx.effective.nats_tls:
        settings["tls"] = _tls(verify=False)
    if ctx.effective.nats_servers > 1:
        settings["cluster"] = _cluster(ctx)
    own = ctx.effective.spec.nats.config
    if own is not None:
        settings = merged(settings, dict(own))
    return "".join(f"{_key(key)}: {_of_key(key, value, 0)}\n" for key, value in settings.items())


def permitted_users(ctx: Context) -> tuple[nats_users.User, ...]:
    """The users, with the observers that collectors' own configuration enables besides the usual ones."""
    more: dict[str, set[str]] = {}
    for collector in ctx.effective.collectors:
        enabled = object_at(dict(collector.spec.config or {}), "observers")
        more.setdefault(collector.type, set()).update(name for name in enabled if _TOKEN.fullmatch(name))
    return nats_users.users(_sorted(more))


def _sorted(found: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    return {name: sorted(values) for name, values in sorted(found.items())}


def _cluster(ctx: Context) -> JsonObject:
    """Routes are believed by certificate. Without TLS only a network policy keeps others off their port: the address of
    a route has no room for a password that comes from the environment."""
    name, headless = ctx.child(names.NATS), ctx.child(names.NATS_HEADLESS)
    routes: list[JsonValue] = [
        f"nats-route://{name}-{number}.{headless}.{ctx.namespace}.svc:{ROUTES}"
        for number in range(ctx.effective.nats_servers)
    ]
    cluster: JsonObject = {
        "name": name,
        "listen": f"0.0.0.0:{ROUTES}",
        "no_advertise": True,
        "routes": routes,
    }
    if ctx.effective.nats_tls:
        cluster["tls"] = _tls(verify=True)
    return cluster


def _tls(*, verify: bool) -> JsonObject:
    """Servers verify each other; clients verify the server and show a password."""
    files: JsonObject = {
        "cert_file": f"{CERTIFICATES}/tls.crt",
        "key_file": f"{CERTIFICATES}/tls.key",
        "ca_file": f"{CERTIFICATES}/ca.crt",
    }
    return {**files, **({"verify": True} if verify else {}), "timeout": 5}


def _key(key: str) -> str:
    return key if _TOKEN.fullmatch(key) else _quoted(key)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _of_key(key: str, value: JsonValue, depth: int) -> str:
    bare = isinstance(value, str) and key in _SIZES and _SIZE.fullmatch(value)
    return value if isinstance(value, str) and bare else _text(value, depth)


def _text(value: JsonValue, depth: int = 0) -> str:
    """A value in NATS' configuration language, of which JSON is nearly a subset."""
    pad = "  " * (depth + 1)
    match value:
        case dict():
            inner = "".join(f"{pad}{_key(key)}: {_of_key(key, child, depth + 1)}\n" for key, child in value.items())
            return "{\n" + inner + "  " * depth + "}"
        case list() if any(isinstance(one, dict) for one in value):
            inner = "".join(f"{pad}{_text(child, depth + 1)}\n" for child in value)
            return "[\n" + inner + "  " * depth + "]"
        case list():
            return "[" + ", ".join(_text(child, depth + 1) for child in value) + "]"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            # Where a whole number is wanted, NATS takes no 1000.0; and it reads no exponents.
            return str(int(value)) if value.is_integer() else f"{Decimal(str(value)):f}"
        case None:
            return '""'
        case str():
            return value if _VARIABLE.fullmatch(value) else _quoted(value)
