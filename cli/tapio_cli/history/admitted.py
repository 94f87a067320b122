"""What the webhook answered about a TapioCluster and what belongs to it."""

from __future__ import annotations

from tapio_cli.history.source import Recorded
from tapio_shared.admissions import Admission
from tapio_shared.codec import decode_as
from tapio_shared.errors import LogMissing, LogRefused, Undecodable
from tapio_shared.keys import OrderingKey, escape_token


async def admissions_of(admitted: Recorded | None, key: OrderingKey) -> list[Admission]:
    """Every recorded answer about objects in the cluster's namespace; none where they can't be read.

    Names of users lie in that log alone: who may read the history need not be allowed to read it, and who has restored
    one need not have restored that too.
    """
    if admitted is None:
        return []
    subject = f"tapio.admitted.{escape_token(key.target)}.{escape_token(key.namespace)}.>"
    found: list[Admission] = []
    try:
        info = await admitted.info()
        async for message in admitted.read(subject, up_to=info.last_sequence):
            try:
                one = decode_as(Admission, message.data)
            except Undecodable:
                continue
            if one.name == key.name or one.kind != "TapioCluster":
                found.append(one)
    except (LogRefused, LogMissing):
        return []
    return [one for one in found if one.handler == "validate"]
