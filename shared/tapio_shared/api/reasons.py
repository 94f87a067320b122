"""Every word that status, conditions and Events may use, each with what it means for the person who reads it.

One enumeration per kind of word, so that a reason has one meaning wherever it is seen. docs/reasons.md is made from
this file (`make crds`); a word that isn't here must not be written to a status.
"""

from __future__ import annotations

from enum import StrEnum


class Word(StrEnum):
    """A word with its meaning: `Phase.READY == "Ready"`, `Phase.READY.meaning` is a whole sentence."""

    meaning: str

    def __new__(cls, word: str, meaning: str) -> Word:
        member = str.__new__(cls, word)
        member._value_ = word
        member.meaning = meaning
        member.__doc__ = meaning
        return member


class ConditionType(Word):
    """The types of conditions. Ready, Reconciling and Stalled follow kstatus."""

    READY = "Ready", "Everything that was asked for, and can run here, runs."
    RECONCILING = "Reconciling", "The operator is working towards the spec; present only while it is."
    STALLED = "Stalled", "The operator can't go on until somebody changes something; present only then."
    DEGRADED = "Degraded", "Tapio works, but not in the way that was asked for; the reason says what differs."
    PAUSED = "Paused", "The annotation tapio.io/paused stops all writes; present only while it does."
    NOT_YET_SUPPORTED = "NotYetSupported", "The spec sets fields that this version accepts but does not act on."
    MESSAGING_READY = "MessagingReady", "NATS takes observations in."
    GRAPH_STORE_READY = "GraphStoreReady", "Neo4j, or the embedded store, answers."
    CORRELATION_READY = "CorrelationReady", "The correlation service runs."
    GATEWAY_READY = "GatewayReady", "The API gateway runs."
    COLLECTORS_READY = "CollectorsReady", "Every collector that can run here runs."


class Phase(Word):
    """One word for a column. For display only: scripts should wait for conditions."""

    PENDING = "Pending", "Not used: a resource that the operator has not planned yet has no phase at all."
    PROGRESSING = "Progressing", "Objects are being written, or workloads are starting."
    READY = "Ready", "The condition Ready is True and nothing is Degraded."
    DEGRADED = "Degraded", "The condition Degraded is True."
    STALLED = "Stalled", "The condition Stalled is True: a person must act."
    PAUSED = "Paused", "The annotation tapio.io/paused stops all writes."
    DELETING = "Deleting", "The resource is being deleted and its objects are being removed."


class ComponentState(Word):
    """State of one component."""

    READY = "Ready", "All the replicas that were asked for are ready."
    PROGRESSING = "Progressing", "Pods are being started or replaced."
    WAITING = "Waiting", "It is not started before something it depends on is ready; the message names it."
    FAILED = "Failed", "It can't start as things are; the reason says why."
    UNAVAILABLE = "Unavailable", "It can't run in this Kubernetes cluster; nothing is broken."


class ReasonFamily(StrEnum):
    """Where a reason is used."""

    PROGRESS = "Progress"
    STALLED = "Stalled"
    COMPONENT = "Component"
    DEGRADED = "Degraded or skipped"


class Reason(StrEnum):
    """Why a condition has its status, why a component is not ready, why an Event was written."""

    meaning: str
    family: ReasonFamily

    def __new__(cls, word: str, family: ReasonFamily, meaning: str) -> Reason:
        member = str.__new__(cls, word)
        member._value_ = word
        member.family = family
        member.meaning = meaning
        member.__doc__ = meaning
        return member

    ALL_READY = "AllReady", ReasonFamily.PROGRESS, "Every component is ready."
    APPLYING = "Applying", ReasonFamily.PROGRESS, "Objects are being written to the Kubernetes API."
    WAITING_FOR_DEPENDENCY = (
        "WaitingForDependency",
        ReasonFamily.PROGRESS,
        "A component waits until another one is ready; the message names both.",
    )
    ROLLING_OUT = "RollingOut", ReasonFamily.PROGRESS, "Pods are being started or replaced."
    RETRY_SCHEDULED = (
        "RetryScheduled",
        ReasonFamily.PROGRESS,
        "The Kubernetes API refused or did not answer; the message says what, and when it is tried again.",
    )
    RESYNCHRONISING = (
        "Resynchronising",
        ReasonFamily.PROGRESS,
        "The event log does not hold a complete observation yet, so nothing is planned; this ends by itself.",
    )
    TERMINATING = "Terminating", ReasonFamily.PROGRESS, "The resource is being deleted."
    PAUSED_BY_ANNOTATION = (
        "PausedByAnnotation",
        ReasonFamily.PROGRESS,
        'The annotation tapio.io/paused is "true"; remove it to let the operator write again. Ready is False by it '
        "when what was ready has ceased to run meanwhile.",
    )

    INVALID_SPEC = (
        "InvalidSpec",
        ReasonFamily.STALLED,
        "The spec holds values that are not allowed; the message names each with what is allowed.",
    )
    INVALID_REFERENCE = (
        "InvalidReference",
        ReasonFamily.STALLED,
        "The spec names an object that does not exist, or lacks the keys that are needed.",
    )
    IMMUTABLE_FIELD = (
        "ImmutableField",
        ReasonFamily.STALLED,
        "A field was changed that can't change after creation; set it back, or create a new resource.",
    )
    STORAGE_SHRINK_REFUSED = (
        "StorageShrinkRefused",
        ReasonFamily.STALLED,
        "A volume can grow but not shrink; set the size back to at least what the volume has.",
    )
    BUDGET_TOO_SMALL = (
        "BudgetTooSmall",
        ReasonFamily.STALLED,
        "spec.resources is too small to be shared out; the message names the smallest budget that works.",
    )
    UNSUPPORTED_VERSION = (
        "UnsupportedVersion",
        ReasonFamily.STALLED,
        "This operator can't run the version that was asked for. Not used yet: this release takes any.",
    )
    OBJECT_CONFLICT = (
        "ObjectConflict",
        ReasonFamily.STALLED,
        'An object of the needed name exists and is not ours; delete it, or annotate it tapio.io/adopt: "true".',
    )
    FORBIDDEN = (
        "Forbidden",
        ReasonFamily.STALLED,
        "The operator's ServiceAccount, or the operator's configuration, does not allow what was asked for.",
    )
    QUOTA_EXCEEDED = (
        "QuotaExceeded",
        ReasonFamily.STALLED,
        "A ResourceQuota of the namespace leaves no room; the message is the API server's.",
    )
    NAMESPACE_MISSING = (
        "NamespaceMissing",
        ReasonFamily.STALLED,
        "The node agents' namespace does not exist; the message holds the command that creates it.",
    )
    CLUSTER_NOT_FOUND = (
        "ClusterNotFound",
        ReasonFamily.STALLED,
        "spec.clusterRef names a TapioCluster that does not exist in this namespace.",
    )
    SUPERSEDED = (
        "Superseded",
        ReasonFamily.STALLED,
        "Something else already configures the same part; the message names it and what to remove.",
    )
    OVERLAPS_WITH = (
        "OverlapsWith",
        ReasonFamily.STALLED,
        "An older collector of the same type already runs on some of the same nodes.",
    )

    IMAGE_PULL_FAILED = "ImagePullFailed", ReasonFamily.COMPONENT, "A container's image can't be pulled."
    CRASH_LOOPING = "CrashLooping", ReasonFamily.COMPONENT, "A container ends again and again soon after its start."
    OUT_OF_MEMORY = "OutOfMemory", ReasonFamily.COMPONENT, "A container was killed for exceeding its memory limit."
    UNSCHEDULABLE = "Unschedulable", ReasonFamily.COMPONENT, "No node can take a pod; the message is the scheduler's."
    VOLUME_PENDING = "VolumePending", ReasonFamily.COMPONENT, "A PersistentVolumeClaim is not bound yet."
    NO_DEFAULT_STORAGE_CLASS = (
        "NoDefaultStorageClass",
        ReasonFamily.COMPONENT,
        "A volume is needed, no storageClassName is set and the Kubernetes cluster has no default class.",
    )
    POD_SECURITY_REFUSED = (
        "PodSecurityRefused",
        ReasonFamily.COMPONENT,
        "The namespace's Pod Security level, or another admission rule, refuses the pods.",
    )
    INIT_FAILED = "InitFailed", ReasonFamily.COMPONENT, "An init container failed."
    DEPENDENCY_NOT_READY = (
        "DependencyNotReady",
        ReasonFamily.COMPONENT,
        "Something that this component needs is not ready; the message names it.",
    )
    CREDENTIALS_INVALID = (
        "CredentialsInvalid",
        ReasonFamily.COMPONENT,
        "A Secret with credentials lacks a key, or the service refuses what it holds.",
    )
    NODES_NOT_READY = (
        "NodesNotReady",
        ReasonFamily.COMPONENT,
        "Some nodes have no ready pod of a collector. Within what its update strategy allows it counts as ready.",
    )

    SCALED_BY_ANOTHER = (
        "ScaledByAnother",
        ReasonFamily.COMPONENT,
        "It is ready; a HorizontalPodAutoscaler that is not the operator's owns its replicas; the message names it.",
    )

    LICENSE_NOT_ACCEPTED = (
        "LicenseNotAccepted",
        ReasonFamily.DEGRADED,
        "Neo4j clusters need the Enterprise edition and its licence was not accepted, so one Community member runs; or "
        "none, where that is asked for, or a volume holds Enterprise's databases.",
    )
    MEMBERS_NOT_REMOVED = (
        "MembersNotRemoved",
        ReasonFamily.DEGRADED,
        "More Neo4j members run than are asked for, since a member must give its databases away first; the message "
        "holds the commands.",
    )
    VOLUME_NOT_GROWN = (
        "VolumeNotGrown",
        ReasonFamily.DEGRADED,
        "A volume is smaller than asked for: its StorageClass does not let it grow, the API server refused, or its "
        "storage system is not done; the message says which, and the next step.",
    )
    TOO_FEW_ZONES = (
        "TooFewZones",
        ReasonFamily.DEGRADED,
        "There are fewer zones or hosts than replicas, so they are spread as well as it goes.",
    )
    REQUEST_MISSING = (
        "RequestMissing",
        ReasonFamily.DEGRADED,
        "An autoscaler steers by a resource that a container does not request, so it can't measure and does nothing; "
        "the message names both.",
    )
    API_NOT_SERVED = (
        "ApiNotServed",
        ReasonFamily.DEGRADED,
        "The Kubernetes cluster does not serve an API that was asked for; the message names it.",
    )
    NO_ELIGIBLE_NODES = (
        "NoEligibleNodes",
        ReasonFamily.DEGRADED,
        "No node fits the collector's selectors, operating system and architecture.",
    )
    KERNEL_TOO_OLD = "KernelTooOld", ReasonFamily.DEGRADED, "eBPF collection needs Linux 5.8 or newer."
    BTF_UNKNOWN = (
        "BtfUnknown",
        ReasonFamily.DEGRADED,
        'It can\'t be told whether the kernel has BTF; label the node tapio.io/btf: "true" or "false".',
    )
    ARCHITECTURE_UNSUPPORTED = (
        "ArchitectureUnsupported",
        ReasonFamily.DEGRADED,
        "The collector runs on amd64 and arm64 alone.",
    )
    MANAGED_CONTROL_PLANE = (
        "ManagedControlPlane",
        ReasonFamily.DEGRADED,
        "The control plane is run by the provider, so its etcd can't be reached.",
    )
    ETCD_ACCESS_NOT_CONFIGURED = (
        "EtcdAccessNotConfigured",
        ReasonFamily.DEGRADED,
        "The etcd collector needs endpoints and a Secret with client credentials.",
    )
    MESSAGE_PARKED = (
        "MessageParked",
        ReasonFamily.DEGRADED,
        "A message of the event log about this cluster can't be read, so what it tells of is left alone meanwhile.",
    )


class EventReason(Word):
    """Reasons that Kubernetes Events have beside those of conditions."""

    COMPONENT_READY = "ComponentReady", "A component that was not ready is ready now."
    RESUMED = "Resumed", "The annotation tapio.io/paused was taken away; the operator writes again."
    CHANGED_BY_ANOTHER = (
        "ChangedByAnother",
        "Somebody else changes or deletes an object again and again; the message names it, and who changes it.",
    )
