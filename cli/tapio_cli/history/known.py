"""What a history knows: Kubernetes clusters and TapioClusters, and a sentence for whoever names one that it doesn't."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from tapio_cli.history.source import Recorded
from tapio_shared.api.names import API_GROUP, CLUSTER_KIND
from tapio_shared.errors import LogRefused, TerminalError
from tapio_shared.installation import OWN_TARGET
from tapio_shared.keys import OrderingKey, address_of, escape_token

_OFFERED = 8
"""Names that are told when the one that was asked for is unknown."""


class NotInWindow(TerminalError):
    """The history does not cover what was asked for; the sentence says what it covers."""


async def recorded_keys(recorded: Recorded, target: str, namespace: str = "") -> list[OrderingKey]:
    """Every TapioCluster of `target`, in one namespace or in all, that is recorded: told of, or decided about.

    Read from the last messages of those subjects alone: a log may hold a million of others.
    """
    where = f"tapio.log.*.{escape_token(target)}.{escape_token(namespace) if namespace else '*'}.*"
    told = f"{where}.object.{escape_token(API_GROUP)}.{CLUSTER_KIND}.*.*"
    found: set[OrderingKey] = set()
    for message in (await recorded.last_per_subject(told, f"{where}.decision")).messages:
        try:
            key = address_of(message.subject).key
        except ValueError:
            continue
        if key is not None and key.target == target:
            found.add(key)
    return sorted(found)


async def named_keys(recorded: Recorded, target: str, namespace: str = "") -> list[OrderingKey]:
    """The same for whoever named `target` and `namespace`. NotInWindow when nobody has told of them.

    That a target has no TapioCluster is an answer, and that nobody has told a new log of its own target is one as well.
    """
    found = await recorded_keys(recorded, target, namespace)
    if found:
        return found
    nothing = f"No TapioCluster of namespace {namespace} of {target} is recorded."
    try:
        await check_target(recorded, target)
        spaces = {one.namespace for one in await recorded_keys(recorded, target)}
    except LogRefused:
        if not namespace:
            raise
        raise NotInWindow(nothing) from None
    if namespace:
        raise NotInWindow(f"{nothing} {_offered(namespace, spaces, 'There are some in')}")
    return found


async def check_target(recorded: Recorded, target: str) -> None:
    """NotInWindow when nobody has ever told the log of `target`."""
    found = await recorded.last_per_subject("tapio.log.0._shared.*.*")
    known = {address_of(one.subject).target for one in found.messages}
    if target not in known and (known or target != OWN_TARGET):
        raise NotInWindow(
            f"Nothing is recorded of a Kubernetes cluster {target} (--target). {_offered(target, known, 'There are')}"
        )


async def check_names(recorded: Recorded, keys: Iterable[OrderingKey], target: str) -> None:
    """NotInWindow when nobody has told of `target`, or of one of `keys`."""
    await check_target(recorded, target)
    known = await recorded_keys(recorded, target)
    for key in keys:
        if key not in known:
            raise NotInWindow(await unknown(recorded, key))


async def unknown(recorded: Recorded, key: OrderingKey) -> str:
    """That nothing is recorded of `key`, and of which ones there is, as far as the reader may ask for all of them.

    NotInWindow when it is the target that nobody has told of.
    """
    nothing = f"Nothing is recorded of TapioCluster {key.namespace}/{key.name} of {key.target}."
    try:
        known = await recorded_keys(recorded, key.target)
        if not known:
            await check_target(recorded, key.target)
    except LogRefused:
        return f"{nothing} Name one that exists, or existed while this history was recorded."
    names = [f"{one.namespace}/{one.name}" for one in known]
    return f"{nothing} {_offered(f'{key.namespace}/{key.name}', names, 'There are')}"


def _offered(asked: str, known: Iterable[str], there_are: str) -> str:
    """The names most like the one that was asked for."""
    names = sorted(known)
    close = get_close_matches(asked, names, n=_OFFERED, cutoff=0.0)
    if not close:
        return "None at all is recorded there: see `tapioctl doctor`."
    left = f" and {len(names) - len(close)} more" if len(names) > len(close) else ""
    return f"{there_are}: {', '.join(close)}{left}."
