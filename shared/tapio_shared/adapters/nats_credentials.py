"""What a service shows to NATS: a credentials file with a JWT and the key that signs the server's challenge, or a
file with a user and a password, for servers that keep their users in their own configuration.

nats-py leaves this to the package `nkeys`, which is published as source alone and so can't be installed from wheels;
`cryptography` signs as well. Seeds (https://docs.nats.io/using-nats/nats-tools/nk) are base32 of two prefix bytes,
32 bytes of Ed25519 seed and a CRC-16).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tapio_shared.errors import InvalidSettings

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_BLOCK = re.compile(r"-{3,}BEGIN ([A-Z ]+)-{3,}\s+(\S+)\s+-{3,}END [A-Z ]+-{3,}")
_JWT, _SEED = "NATS USER JWT", "USER NKEY SEED"
_SEED_PREFIX = 18 << 3  # 'S', then 'U' for a user: the first five bits of each letter.
_USER_PREFIX = 20 << 3
_SEED_BYTES = 32


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What nats-py calls on every (re)connect. The file is read each time, since credentials are rotated on disk."""

    jwt: Callable[[], bytes]
    sign: Callable[[str], bytes]


class Login(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user and a password, as JSON in a file of their own: never in an address, which is logged."""

    user: str
    password: str


def read_login(path: str) -> Login | None:
    """The login in the file at `path`; None when it is no JSON, as a credentials file is none. `InvalidSettings`."""
    try:
        data = Path(path).read_bytes()
        return msgspec.json.decode(data, type=Login) if data.lstrip().startswith(b"{") else None
    except (OSError, msgspec.DecodeError) as err:
        raise InvalidSettings(f"The NATS login file {path} can't be used: {err}.") from err


@dataclass(frozen=True, slots=True)
class LoginCallbacks:
    """The same of a user and a password."""

    user: Callable[[], str]
    password: Callable[[], str]


def as_callbacks(login: Login) -> LoginCallbacks:
    """Callbacks that answer with `login`."""
    return LoginCallbacks(lambda: login.user, lambda: login.password)


def login_callbacks(path: str) -> LoginCallbacks | None:
    """Callbacks that answer from the login file at `path`; None when it is none. `InvalidSettings` if it can't be used
    now."""
    if read_login(path) is None:
        return None

    def now() -> Login:
        try:
            login = read_login(path)
        except InvalidSettings as err:
            raise OSError(str(err)) from err  # The kind of error after which nats-py tries again.
        if login is None:
            raise OSError(f"The NATS login file {path} can't be used: it holds no JSON any more.")
        return login

    return LoginCallbacks(lambda: now().user, lambda: now().password)


def write_login(path: Path, login: Login) -> None:
    """Write `login` where its owner alone can read it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_bytes(msgspec.json.encode(login))


def credentials_callbacks(path: str) -> Callbacks:
    """Callbacks that answer from the credentials file at `path`; `InvalidSettings` when it can't be used now."""
    _read(path)

    def now() -> tuple[str, Ed25519PrivateKey]:
        try:
            return _read(path)
        except InvalidSettings as err:
            raise OSError(str(err)) from err  # The kind of error after which nats-py tries again.

    def jwt() -> bytes:
        return now()[0].encode()

    def sign(nonce: str) -> bytes:
        return base64.b64encode(now()[1].sign(nonce.encode()))

    return Callbacks(jwt, sign)


def user_key(seed: str) -> Ed25519PrivateKey:
    """The key of a user's seed (`SU…`). ValueError when it is none."""
    try:
        raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
    except binascii.Error as err:
        raise ValueError(f"the seed is not base32: {err}") from err
    body, checksum = raw[:-2], int.from_bytes(raw[-2:], "little")
    if len(body) != _SEED_BYTES + 2 or binascii.crc_hqx(body, 0) != checksum:
        raise ValueError("the seed is cut short or mistyped")
    if body[0] & 0xF8 != _SEED_PREFIX or ((body[0] & 0x07) << 5 | body[1] >> 3) != _USER_PREFIX:
        raise ValueError("the seed is not a user's")
    # Imported here: it takes 7 MB, which a process that logs in with a password, or not at all, need not carry.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    return Ed25519PrivateKey.from_private_bytes(body[2:])


def _read(path: str) -> tuple[str, Ed25519PrivateKey]:
    try:
        blocks = dict(_BLOCK.findall(Path(path).read_text()))
        return blocks[_JWT], user_key(blocks[_SEED])
    except KeyError as err:
        raise InvalidSettings(f"The NATS credentials file {path} has no block {err.args[0]}.") from err
    except (OSError, ValueError) as err:
        raise InvalidSettings(f"The NATS credentials file {path} can't be used: {err}.") from err
