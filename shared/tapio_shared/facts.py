"""What the log holds: facts we were told, decisions we took, outcomes of applying them.

Tagged unions of msgspec structs, frozen and keyword-only. The rules of their evolution: a new field has a default; a
changed meaning is a new tag with an upcaster; an unknown tag is `Undecodable`. A record that an older version would
misread says so by a higher `format`, which that version refuses (ADR 0017). All instants are whole milliseconds since
the Unix epoch, UTC, and named `..._at`; they say when *we were told*, by the clock of the process that wrote.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from tapio_shared.json import JsonObject

FORMAT: Final = 1
"""The newest format of records that this version reads, and the one in which it takes partitions over."""


class LogRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Base of everything in the log: encoding settings, and what a reader must know to read it."""

    format: int = 1
    """A version whose FORMAT is lower must not read this record: what it does not know of it changes its meaning."""


# --- facts about Kubernetes -----------------------------------------------------------------------------------


class ObjectObserved(LogRecord, frozen=True, kw_only=True, tag="ObjectObserved"):
    """An object exists and looks like this (slim: see `tapio_shared.slim`)."""

    uid: str
    resource_version: str
    object: JsonObject
    observed_at: int


class ObjectGone(LogRecord, frozen=True, kw_only=True, tag="ObjectGone"):
    """An object was deleted, or a complete observation did not hold it. `uid` is empty when it was never seen."""

    uid: str = ""
    resource_version: str = ""
    gone_at: int


class NodeGroup(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Nodes that look alike to us. `count` nodes, of which `ready` are Ready."""

    count: int
    ready: int
    os: str = "linux"
    architecture: str = ""
    kernel: str = ""
    os_image: str = ""
    runtime: str = ""
    zone: str = ""
    virtual: bool = False
    control_plane: bool = False
    btf_label: str = ""
    platform: str = ""
    """Who runs the Kubernetes cluster, where a node tells: eks, gke, aks, openshift, hypershift, k3s, rke2, ..."""
    labels: dict[str, str] = {}
    """Labels common to all nodes of the group: those of `FleetObserved.dropped_labels` are missing."""
    taints: list[str] = []
    """`key=value:effect`, sorted."""


class FleetObserved(LogRecord, frozen=True, kw_only=True, tag="FleetObserved"):
    """The Nodes of a target, reduced to groups (sorted), so that a node's heartbeat changes nothing."""

    groups: list[NodeGroup]
    hosts: int
    """How many schedulable, Ready nodes there are."""
    zones: list[str]
    """Their distinct zones, sorted."""
    storage_classes: list[str] = []
    """Names of the StorageClasses, sorted."""
    default_storage_class: str = ""
    expandable_storage_classes: list[str] | None = None
    """Those of them that let their volumes grow, sorted; None when the writer did not say."""
    namespaces: dict[str, str] = {}
    """Namespaces that matter to placement (allowed node-agent namespaces that exist) -> enforced Pod Security level."""
    priority_classes: list[str] = []
    dropped_labels: list[str] | None = None
    """Keys of node labels that no group holds, since they differ from node to node or say nothing of placement; `*`
    stands for any. None: an older record, which does not tell, so any label may be on any node."""
    observed_at: int


class ConfigurationObserved(LogRecord, frozen=True, kw_only=True, tag="ConfigurationObserved"):
    """The operator's ConfigMap as last read and accepted, in its normal form; {} means the defaults."""

    configuration: JsonObject
    problems: list[str] = []
    """What was wrong with a newer text that was therefore not taken over."""
    observed_at: int


class ServedResource(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One kind that the API server serves under one group and version."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool


class DiscoveryObserved(LogRecord, frozen=True, kw_only=True, tag="DiscoveryObserved"):
    """What the API server of a target serves, of the kinds that the operator knows, most preferred version first."""

    version: str
    """`gitVersion`, such as v1.31.2."""
    resources: list[ServedResource]
    observed_at: int


class TargetObserved(LogRecord, frozen=True, kw_only=True, tag="TargetObserved"):
    """How the operator reaches a target other than its own cluster. Without this fact a target is the operator's own.

    `connected`: it is watched, and may be written to with the credentials of this digest. `refused`: its Secret can't
    be used, and `message` says why. `removed`: it has none any more. In both nothing is planned for the target's keys.
    """

    state: str  # "connected" | "refused" | "removed"
    server: str = ""
    credentials: str = ""
    """Keyed digest of the kubeconfig, so that who holds a connection sees that it has changed."""
    message: str = ""
    observed_at: int


class Synced(LogRecord, frozen=True, kw_only=True, tag="Synced"):
    """The watcher's word: since `generation` began, the log holds a complete observation of `kinds` of this target.

    `generation` identifies the log and the watcher's list that this rests on; a key is planned only when this fact
    is present in its partition.
    """

    generation: str
    kinds: list[str]
    synced_at: int
    complete_from: int = 0
    """Nothing that this fact vouches for stands before this sequence; 0 when the writer did not say. A log that
    begins later may have dropped something, and is no complete observation until a sweep or another fact says so."""


class SweepMarked(LogRecord, frozen=True, kw_only=True, tag="SweepMarked"):
    """Start or end of a sweep: everything live below `below` has been re-published by the end.

    Where the log has little room, it is said meanwhile how far the sweep has come.
    """

    phase: str  # "started" | "under way" | "ended"
    below: int
    marked_at: int
    complete_from: int = 0
    """As in Synced, as far as it is vouched for at this mark."""


class TimerDue(LogRecord, frozen=True, kw_only=True, tag="TimerDue"):
    """A timer that a plan asked for has come due. It wakes; it carries no state."""

    name: str
    due_at: int
    fired_at: int
    decision: int
    cluster_uid: str


# --- decisions ------------------------------------------------------------------------------------------------


class Inputs(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a plan depends on besides state. Shared facts are named by the sequence at which they were read."""

    now: int
    operator_version: str
    logic: int = 1
    """Revision of the rules of order and of retries by which this was planned."""
    partition_epoch: int = 0
    shared_revisions: dict[str, int] = {}
    """`what` of each shared fact used (fleet, config, discovery, synced) -> its sequence."""
    log_begins: int = 0
    """First sequence that the log held after the state had been read from it: what stood before may be missing."""
    record_limit: int = 0
    """Bytes that the log takes for one record, when the decision that this state asks for is larger; 0 when it fits."""


class ApplyAction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Apply one object. `digest` is of the rendered object; the object itself is rendered again, or kept in `pods`."""

    group: str
    version: str
    kind: str
    plural: str
    namespace: str = ""
    name: str
    component: str
    phase: int
    """Objects of a lower phase are applied before those of a higher one."""
    mode: str = "apply"
    """create (must not exist) | apply (server-side apply) | generate (a Secret, created once) | expand (a
    PersistentVolumeClaim that exists asks for more storage)."""
    digest: str = ""
    reason: str
    """One sentence: why now."""


class DeleteAction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Delete one object, only if it is still the one that was observed."""

    group: str
    version: str
    kind: str
    plural: str
    namespace: str = ""
    name: str
    uid: str
    resource_version: str
    component: str = ""
    reason: str
    phase: int = 0
    """Objects of a lower phase are deleted before those of a higher one."""
    propagation: str = "Background"
    """What becomes of what the object owns: Background (it goes too) | Orphan (it stays and has no owner)."""


class EventIntent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A Kubernetes Event (core/v1) for a person."""

    type: str  # Normal | Warning
    reason: str
    message: str
    regarding: str = ""
    """`Kind/name` the message is about when it isn't the TapioCluster."""


class Timer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    due_at: int


class DecisionRecorded(LogRecord, frozen=True, kw_only=True, tag="DecisionRecorded"):
    """A plan, recorded before anything of it is applied."""

    revision: int
    """Highest sequence of the key's own facts folded into the plan's state."""
    cluster_uid: str = ""
    generation: int = 0
    inputs: Inputs
    digest: str
    """Of the whole plan: what replay compares."""
    desired_digest: str
    """Of what is wanted (objects, status), whatever is left to do: equal and no effects means nothing to record."""
    cause: str = ""
    """Subject of the fact that made the key dirty (the newest one), or `takeover`."""
    apply: list[ApplyAction] = []
    delete: list[DeleteAction] = []
    status: JsonObject | None = None
    """The whole wanted status when it is to be written, else None."""
    finalizer: str = ""
    """add | remove | nothing."""
    events: list[EventIntent] = []
    timers: list[Timer] = []
    waiting: list[str] = []
    """Whole sentences: what is being waited for."""
    objects: dict[str, str] = {}
    """Every wanted object (its ObjectRef as text) -> digest of its rendering."""
    pod_templates: bytes = b""
    """The pod template of every workload as rendered: zlib-compressed canonical JSON, workload -> template. Lets a
    later planner tell a change of the spec from a change of the operator's own code."""
    force_reconcile: str = ""
    """The value of tapio.io/force-reconcile that this decision carries out."""
    resources: dict[str, JsonObject] = {}
    """Status of TapioCollector and TapioIntelligence resources to write: `Kind/name` -> whole status."""
    rests_on: int = 0
    """CRC-32 of the newest message that this was planned from, of its subject and its bytes; 0 when the writer did not
    say. A log that went back and has grown again holds another one at that sequence. Not part of `digest`."""


class ObjectResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one write went. `error` is empty when it went well."""

    ref: str
    action: str  # apply | create | generate | expand | delete | status | finalizer
    digest: str = ""
    uid: str = ""
    resource_version: str = ""
    code: int = 0
    error_reason: str = ""
    error: str = ""
    retryable: bool = False


class AppliedWrite(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A write that went well and has not been observed yet, so that a plan from an older view does not repeat it."""

    resource_version: str
    digest: str
    applied_at: int
    recorded: int = 0
    """Sequence of the outcome that first told of it; 0 means the very outcome that holds this."""
    repeats: int = 0
    """How often the same had been written before, and was not observed either (from rules 5 on)."""


class DeletedObject(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A deletion that went well and has not been observed yet, so that a plan from an older view does not repeat it."""

    uid: str
    deleted_at: int
    recorded: int = 0
    """Sequence of the outcome that first told of it; 0 means the very outcome that holds this."""
    repeats: int = 0
    """How often it had been deleted before, and that was not observed either (from rules 5 on)."""


class DroppedFields(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Fields that the API server drops of a status, since its CRD does not know them."""

    fields: list[str]
    """Paths, in order; their parts are joined by `/`, and those of a list's entries follow the list's."""
    dropped_at: int
    """When they were asked for last, in milliseconds."""


class FailedWrite(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The last write of an object failed. With another `digest` wanted it is tried at once, else at `retry_at`."""

    action: str
    digest: str = ""
    code: int = 0
    error_reason: str = ""
    error: str
    attempt: int = 1
    failed_at: int
    retry_at: int


class OutcomeRecorded(LogRecord, frozen=True, kw_only=True, tag="OutcomeRecorded"):
    """How applying a decision went. Folded by `evolve`: it carries what the next plan needs to know about writes."""

    decision: int
    """Sequence of the decision."""
    cluster_uid: str = ""
    ended_at: int
    results: list[ObjectResult] = []
    """Every write of this decision, in the order of the decision."""
    applied: dict[str, AppliedWrite] = {}
    """Object -> our newest write of it, carried on until it has been observed."""
    settled: dict[str, str] = {}
    """Object -> digest of an observed object that differs from what was applied, yet is what the API server makes of
    it. Carried on, so that a server's own normalisation is never fought."""
    failures: dict[str, FailedWrite] = {}
    """Object (or `status`, `finalizer`) -> its failed write, carried on until it succeeds or is no longer wanted."""
    corrections: dict[str, list[int]] = {}
    """Object -> instants of our latest corrections of somebody else's changes (newest last, at most 8), so that two
    controllers that disagree about a field do not fight at full speed."""
    force_reconcile: str = ""
    """The value of tapio.io/force-reconcile that has been carried out."""
    deleted: dict[str, DeletedObject] = {}
    """Object -> our deletion of it, carried on until its end has been observed (from rules 3 on)."""
    released: dict[str, str] = {}
    """StatefulSet that was deleted without its pods, to be made anew -> UID of the one that was. Carried on until
    another one is observed, or none is wanted any more (from rules 4 on)."""
    dropped: dict[str, DroppedFields] = {}
    """Status (`status`, or of which resource) -> what its last write came back without (from rules 7 on)."""


# --- what is not part of a key's state ------------------------------------------------------------------------


class IdleKey(msgspec.Struct, frozen=True, array_like=True):
    """A key of which nothing is to be done."""

    revision: int
    """Highest sequence of the key's own records, up to which that holds."""
    timers: tuple[tuple[str, int], ...] = ()
    """Name of each of its timers, and when it is due."""


class IdleKeys(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of one partition of which nothing is to be done, by `<target>.<namespace>.<name>` as in subjects."""

    made_by: str
    """The code that planned them: the operator's version, and a digest of its source."""
    shared: dict[str, dict[str, int]]
    """Target -> shared fact -> sequence of the one that the plans rest on."""
    keys: dict[str, IdleKey]
    told_at: int
    """By the clock that the timers go by: it has not been set back since they were named."""


class EpochAdvanced(LogRecord, frozen=True, kw_only=True, tag="EpochAdvanced"):
    """A worker took a partition over. The message's sequence is the fencing token."""

    worker: str
    partitions: int
    advanced_at: int
    idle: IdleKeys | None = None
    """What the next owner need not plan (ADR 0031). Whoever leaves it out or ignores it loses time alone."""


class CursorMoved(LogRecord, frozen=True, kw_only=True, tag="CursorMoved"):
    """Where the watch of one kind resumes: the version of the last list or bookmark."""

    kind: str
    resource_version: str
    generation: str
    moved_at: int
    cluster: str = ""
    """UID of the namespace kube-system, by which one Kubernetes cluster is told from another; empty when not asked."""


class MessageParked(LogRecord, frozen=True, kw_only=True, tag="MessageParked"):
    """A message could not be decoded; it stays where it is, and this says so, for as long as history is kept.

    Appended by the owner of its partition, in the order of the messages, one for each, and in a storm of them one a
    second. What a state holds of a message that can't be read is the same record, in that message's place.
    """

    subject: str
    sequence: int
    reason: str
    parked_at: int
    others: int = 0
    """How many unreadable messages of the same key came since the last record and have none of their own."""
    newer: bool = False
    """Whether the message itself says that a newer version wrote it: by its format, or by a type that is unknown."""


Fact: TypeAlias = (
    ObjectObserved
    | ObjectGone
    | FleetObserved
    | ConfigurationObserved
    | DiscoveryObserved
    | TargetObserved
    | Synced
    | SweepMarked
    | TimerDue
    | OutcomeRecorded
)
Record: TypeAlias = Fact | DecisionRecorded | EpochAdvanced | CursorMoved | MessageParked
