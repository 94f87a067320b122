"""How a component reaches NATS: address, user, and what its pods must mount and be told for it.

Nothing secret is in what is rendered: an address holds `${NATS_PASSWORD}`, which the programs expand from a variable
that comes out of a Secret. Components of the cluster's own namespace read that Secret; node agents live elsewhere and
read a copy that holds their own password alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from tapio_reconciler.core.model import CopiedSecret, Flow, GeneratedSecret, MadeSecret
from tapio_reconciler.core.objects import nats_users
from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.objects.flows import to_urls
from tapio_reconciler.core.objects.pod import mount, secret_volume
from tapio_shared.api import names
from tapio_shared.codec import digest
from tapio_shared.json import JsonObject

PORT = 4222
CREDENTIALS_KEY, USERNAME_KEY, PASSWORD_KEY = "nats.creds", "username", "password"
_FOLDER = "/etc/tapio-nats"
_CA = "ca.crt"
_SYSTEM_CERTIFICATES = "/etc/ssl/certs"
_VOLUME = "nats-access"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """One component's way to NATS."""

    url: str
    """With user and `${NATS_PASSWORD}` in it, for programs that expand variables in their configuration."""
    bare_url: str
    """Without: for programs that read NATS_USERNAME and NATS_PASSWORD themselves."""
    env: tuple[JsonObject, ...] = ()
    volumes: tuple[JsonObject, ...] = ()
    mounts: tuple[JsonObject, ...] = ()
    credentials_file: str = ""
    """Path of a credentials file (JWT and seed); empty where a user and a password are shown."""
    ca_file: str = ""
    made: tuple[MadeSecret, ...] = ()
    """Secrets that must be made for it in the namespace of its pods."""
    digest: str = ""
    """Of what its pods read, so that they restart when it changes."""

    def settings(self) -> JsonObject:
        """The `nats` part of a component's configuration file."""
        document: JsonObject = {"url": self.url}
        for name, path in (("credentials", self.credentials_file), ("ca", self.ca_file)):
            if path:
                document[name] = path
        return document

    @property
    def group(self) -> int:
        """The fsGroup that lets a program which is not root read what is mounted; 0 where nothing is."""
        return 65532 if self.volumes else 0


def client_url(ctx: Context) -> str:
    """Where components reach NATS: the TapioCluster's own, or the external one that its spec names."""
    external = ctx.effective.spec.nats.external
    if external is not None:
        return external.url
    scheme = "tls" if ctx.effective.nats_tls else "nats"
    return f"{scheme}://{ctx.child(names.NATS)}.{ctx.namespace}.svc:{PORT}"


def to_nats(ctx: Context) -> tuple[Flow, ...]:
    """From a component to NATS: the TapioCluster's own, or the external one, of which only the ports are known."""
    external = ctx.effective.spec.nats.external
    return (Flow(app=names.NATS, ports=(PORT,)),) if external is None else to_urls(*external.url.split(","))


def access(ctx: Context, user: str, *, node: bool = False) -> Access:
    """How the component that is `user` on our own NATS reaches the one that it is to use."""
    external = ctx.effective.spec.nats.external
    if external is None:
        return _own(ctx, user, node=node)
    reference = external.credentials_secret_ref
    if reference is None:
        return Access(url=external.url, bare_url=external.url)
    if not node:
        return _external(ctx, reference.name, reference.name)
    has_file = _holds_file(ctx, reference.name)
    copy = _copy(
        ctx,
        user,
        {key: (reference.name, key) for key in ((CREDENTIALS_KEY,) if has_file else (USERNAME_KEY, PASSWORD_KEY))},
    )
    return _external(ctx, reference.name, ctx.node_child(names.nats_copy_suffix(user)), made=(copy,))


def auth_secret(ctx: Context) -> GeneratedSecret:
    """The passwords of all users: made once, and kept with the volumes whose streams they open."""
    metadata = ctx.metadata(ctx.child(names.NATS_AUTH), names.NATS, names.NATS)
    metadata.pop("ownerReferences")
    # A letter first: nats-server takes a variable of digits for a number, and one like 1e5 for another number.
    return GeneratedSecret(
        manifest={"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque"},
        templates=dict.fromkeys(nats_users.passwords(nats_users.users({})), "t{password}"),
        length=32,
        separate=True,
    )


def _own(ctx: Context, user: str, *, node: bool) -> Access:
    url, tls = client_url(ctx), ctx.effective.nats_tls
    secret, key, ca_secret = ctx.child(names.NATS_AUTH), user, ctx.child(names.NATS_TLS)
    made: tuple[MadeSecret, ...] = ()
    if node:
        values = {PASSWORD_KEY: (secret, user)} | ({_CA: (ca_secret, _CA)} if tls else {})
        made = (_copy(ctx, user, values),)
        secret = ca_secret = ctx.node_child(names.nats_copy_suffix(user))
        key = PASSWORD_KEY
    scheme, _, rest = url.partition("://")
    env: list[JsonObject] = [{"name": "NATS_USERNAME", "value": user}, _from_secret("NATS_PASSWORD", secret, key)]
    read = [_value_digest(ctx, secret, key, node=node)]
    if not tls:
        return Access(
            url=f"{scheme}://{user}:${{NATS_PASSWORD}}@{rest}",
            bare_url=url,
            env=tuple(env),
            made=made,
            digest=digest(read),
        )
    # Go programs add the authorities of these folders to those of the image; the address has no room for one.
    env.append({"name": "SSL_CERT_DIR", "value": f"{_FOLDER}:{_SYSTEM_CERTIFICATES}"})
    return Access(
        url=f"{scheme}://{user}:${{NATS_PASSWORD}}@{rest}",
        bare_url=url,
        env=tuple(env),
        volumes=(secret_volume(_VOLUME, ca_secret, _CA),),
        mounts=(mount(_VOLUME, _FOLDER),),
        ca_file=f"{_FOLDER}/{_CA}",
        made=made,
        digest=digest([*read, _value_digest(ctx, ca_secret, _CA, node=node)]),
    )


def _external(ctx: Context, source: str, secret: str, made: tuple[MadeSecret, ...] = ()) -> Access:
    """With what the Secret that a person supplied holds: a credentials file, else a user and a password."""
    url = client_url(ctx)
    read = digest(ctx.secret_digests.get(source, ""))
    if _holds_file(ctx, source):
        path = f"{_FOLDER}/{CREDENTIALS_KEY}"
        return Access(
            url=url,
            bare_url=url,
            env=({"name": "NATS_CREDS", "value": path},),
            volumes=(secret_volume(_VOLUME, secret, CREDENTIALS_KEY),),
            mounts=(mount(_VOLUME, _FOLDER),),
            credentials_file=path,
            made=made,
            digest=read,
        )
    with_login = ",".join(one.strip().replace("://", "://${NATS_USERNAME}:${NATS_PASSWORD}@") for one in url.split(","))
    env = (
        _from_secret("NATS_USERNAME", secret, USERNAME_KEY),
        _from_secret("NATS_PASSWORD", secret, PASSWORD_KEY),
    )
    return Access(url=with_login, bare_url=url, env=env, made=made, digest=read)


def _copy(ctx: Context, user: str, values: dict[str, tuple[str, str]]) -> CopiedSecret:
    metadata = ctx.node_metadata(ctx.node_child(names.nats_copy_suffix(user)), f"tapio-{user}", user)
    manifest: JsonObject = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque"}
    return CopiedSecret(manifest=manifest, values=values)


def _holds_file(ctx: Context, secret: str) -> bool:
    return CREDENTIALS_KEY in _digests(ctx, secret)


def _value_digest(ctx: Context, secret: str, key: str, *, node: bool) -> str:
    return _digests(ctx, f"{ctx.node_namespace}/{secret}" if node else secret).get(key, "")


def _digests(ctx: Context, secret: str) -> dict[str, str]:
    """Key -> digest of a Secret's value; empty for one that nobody told of."""
    pairs = (text.partition("=") for text in ctx.secret_digests.get(secret, "").split(",") if text)
    return {key: value for key, _, value in pairs}


def _from_secret(variable: str, secret: str, key: str) -> JsonObject:
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
