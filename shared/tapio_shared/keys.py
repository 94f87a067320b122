"""Names of the log: ordering keys, partitions and subjects.

A Kubernetes name may hold characters that a NATS subject token may not (`.`, `*`, `>`, space) and, for cluster-scoped
objects, `:`; a namespace may be absent. One function escapes, one unescapes; `tests/unit/test_keys.py` holds the
round-trip law.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import msgspec

LOG_STREAM = "TAPIO_LOG"
ADMITTED_STREAM = "TAPIO_ADMITTED"
DEFAULT_PARTITIONS = 32
MAX_PARTITIONS = 49  # JetStream allows 50 open atomic batches per stream; each owner keeps one in flight.

_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")
_EMPTY = "_"
_TOKENS = 1_024
"""Tokens remembered, 200 bytes each: most of a subject's are those of the subject before."""


@lru_cache(_TOKENS)
def escape_token(text: str) -> str:
    """`text` as one subject token: letters, digits and `-` stay, any other byte becomes `=XX`; empty is `_`."""
    if text == "":
        return _EMPTY
    if _SAFE.issuperset(text):
        return text
    return "".join(chr(byte) if byte < 128 and chr(byte) in _SAFE else f"={byte:02X}" for byte in text.encode())


@lru_cache(_TOKENS)
def unescape_token(token: str) -> str:
    """The text that `escape_token` made `token` from. Raises ValueError on anything else."""
    if token == _EMPTY:
        return ""
    if _SAFE.issuperset(token):
        return token
    raw = bytearray()
    position = 0
    while position < len(token):
        char = token[position]
        if char == "=":
            raw.append(int(token[position + 1 : position + 3], 16))
            position += 3
        elif char in _SAFE:
            raw.append(ord(char))
            position += 1
        else:
            raise ValueError(f"{token!r} is not an escaped subject token: {char!r} is not allowed in one.")
    return raw.decode()


class OrderingKey(msgspec.Struct, frozen=True, order=True):
    """The TapioCluster that a fact belongs to. Facts of one key are totally ordered."""

    target: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.target}/{self.namespace}/{self.name}"


class ObjectRef(msgspec.Struct, frozen=True, order=True):
    """One Kubernetes object as the log names it; the version it is served under is not part of its name."""

    group: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        kind = f"{self.kind}.{self.group}" if self.group else self.kind
        return f"{kind} {self.namespace}/{self.name}" if self.namespace else f"{kind} {self.name}"


def ref_of_text(text: str) -> ObjectRef | None:
    """The object whose `str` is `text`; None where that is no object's."""
    kind, space, where = text.partition(" ")
    if not space:
        return None
    kind, _, group = kind.partition(".")
    namespace, _, name = where.rpartition("/")
    return ObjectRef(group, kind, namespace, name)


def partition_of(key: OrderingKey, partitions: int) -> int:
    """The partition of `key`: a stable hash, the same in every process and version."""
    text = "\x00".join((key.target, key.namespace, key.name)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") % partitions


def partition_prefix(partition: int) -> str:
    """Common prefix of every fact, decision and outcome of a partition; append `.>` to read it whole."""
    return f"tapio.log.{partition}"


def key_text(key: OrderingKey) -> str:
    """`<target>.<namespace>.<name>`, escaped: `key` as it stands in its subjects."""
    return f"{escape_token(key.target)}.{escape_token(key.namespace)}.{escape_token(key.name)}"


def key_prefix(key: OrderingKey, partitions: int) -> str:
    """Common prefix of the subjects of one key."""
    return f"{partition_prefix(partition_of(key, partitions))}.{key_text(key)}"


def object_subject(key: OrderingKey, ref: ObjectRef, partitions: int) -> str:
    """Where facts about one object of `key` go."""
    tokens = (ref.group, ref.kind, ref.namespace, ref.name)
    return f"{key_prefix(key, partitions)}.object.{'.'.join(map(escape_token, tokens))}"


def every_object_of(target: str) -> str:
    """Pattern of where facts about objects of all keys of `target` go."""
    return f"tapio.log.*.{escape_token(target)}.*.*.object.>"


def decision_subject(key: OrderingKey, partitions: int) -> str:
    return f"{key_prefix(key, partitions)}.decision"


def outcome_subject(key: OrderingKey, partitions: int) -> str:
    return f"{key_prefix(key, partitions)}.outcome"


def parked_subject(key: OrderingKey, partitions: int) -> str:
    """Where the owner of the partition notes which messages of `key` it can't read."""
    return f"{key_prefix(key, partitions)}.parked"


def timer_subject(key: OrderingKey, name: str, partitions: int) -> str:
    return f"{key_prefix(key, partitions)}.timer.{escape_token(name)}"


def shared_prefix(partition: int, target: str) -> str:
    """Common prefix of the facts that concern every key of `target` in `partition`."""
    return f"{partition_prefix(partition)}._shared.{escape_token(target)}"


def shared_subject(partition: int, target: str, what: str) -> str:
    """Subject of a shared fact: `what` is one of fleet, config, discovery, target, synced, sweep, parked."""
    return f"{shared_prefix(partition, target)}.{escape_token(what)}"


def epoch_subject(partition: int) -> str:
    return f"tapio.epoch.{partition}"


def cursor_subject(target: str, kind: str) -> str:
    return f"tapio.cursor.{escape_token(target)}.{escape_token(kind)}"


class Address(msgspec.Struct, frozen=True):
    """A subject of the log, taken apart. `key` is None for shared facts; `ref` is set for object facts alone."""

    partition: int
    target: str
    key: OrderingKey | None
    what: str  # object | decision | outcome | parked | timer | fleet | config | discovery | target | synced | sweep
    ref: ObjectRef | None = None
    timer: str = ""


def parse_subject(subject: str) -> Address:
    """The parts of a `tapio.log.…` subject. Raises ValueError when it is none of ours."""
    tokens = subject.split(".")
    if len(tokens) < 6 or tokens[0] != "tapio" or tokens[1] != "log":
        raise ValueError(f"{subject!r} is not a subject of the log (tapio.log.<partition>.…).")
    partition = int(tokens[2])
    if tokens[3] == "_shared":
        return Address(partition, unescape_token(tokens[4]), None, unescape_token(tokens[5]))
    target, namespace, name = map(unescape_token, tokens[3:6])
    key = OrderingKey(target, namespace, name)
    what, rest = tokens[6] if len(tokens) > 6 else "", tokens[7:]
    if what == "object" and len(rest) == 4:
        return Address(partition, target, key, what, ObjectRef(*map(unescape_token, rest)))
    if what == "timer" and len(rest) == 1:
        return Address(partition, target, key, what, timer=unescape_token(rest[0]))
    if what in {"decision", "outcome", "parked"} and not rest:
        return Address(partition, target, key, what)
    raise ValueError(f"{subject!r} is not a subject of the log: {what!r} with {len(rest)} further tokens.")


address_of = lru_cache(maxsize=131_072)(parse_subject)
"""`parse_subject`, remembered, for who reads a whole log, which holds many messages of each subject. Up to 100 MB."""


def subject_matches(pattern: str, subject: str) -> bool:
    """Whether a NATS filter with `*` and `>` matches `subject`."""
    wanted, tokens = pattern.split("."), subject.split(".")
    for index, part in enumerate(wanted):
        if part == ">":
            return len(tokens) > index
        if index >= len(tokens) or part not in {"*", tokens[index]}:
            return False
    return len(wanted) == len(tokens)
