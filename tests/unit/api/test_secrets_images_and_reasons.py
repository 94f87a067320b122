"""Which Secrets a resource refers to, which images run, what has no effect yet, and what the words mean."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given

from tapio_shared.api.images import DEFAULT_IMAGES, default_image, explicit_image, with_registry
from tapio_shared.api.names import CLUSTER_KIND, COLLECTOR_KIND, INTELLIGENCE_KIND
from tapio_shared.api.normalise import normalise_spec
from tapio_shared.api.not_yet_supported import not_yet_supported
from tapio_shared.api.reasons import ComponentState, ConditionType, EventReason, Phase, Reason, ReasonFamily, Word
from tapio_shared.api.references import referenced_secrets
from tapio_shared.json import JsonObject, JsonValue
from tests.support.api_documents import ANY_JSON

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("kind", "document", "expected"),
    [
        pytest.param(CLUSTER_KIND, {"metadata": {"name": "production"}, "spec": {}},
                     ("production-nats-auth", "production-nats-tls", "production-neo4j-auth"), id="the generated ones"),
        pytest.param(CLUSTER_KIND,
                     {"metadata": {"name": "p"}, "spec": {
                         "image": {"pullSecrets": [{"name": "pull"}, {"name": "pull"}, {}]},
                         "collectors": {"etcd": {"credentialsSecretRef": {"name": "etcd"}}, "ebpf": False},
                         "nats": {"external": {"credentialsSecretRef": {"name": "outside"}}},
                         "gateway": {"tls": {"secretRef": {"name": "tls"}},
                                     "auth": {"oidc": {"caSecretRef": {"name": "ca"}}},
                                     "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "no"}}}]}}},
                     ("ca", "etcd", "outside", "p-nats-auth", "p-nats-tls", "p-neo4j-auth", "pull", "tls"),
                     id="all that can be named"),
        pytest.param(COLLECTOR_KIND, {"spec": {"credentialsSecretRef": {"name": "etcd"}}}, ("etcd",), id="a collector"),
        pytest.param(INTELLIGENCE_KIND, {"spec": {"clusterRef": {"name": "p"}}}, ("p-neo4j-auth",),
                     id="an intelligence leads to its cluster's credentials"),
        pytest.param("ConfigMap", {}, (), id="another kind"),
    ],
)  # fmt: skip
def test_referenced_secrets(kind: str, document: JsonObject, expected: tuple[str, ...]) -> None:
    assert referenced_secrets(kind, document, "team-a") == expected


@given(ANY_JSON)
def test_any_json_refers_to_some_secrets(value: JsonValue) -> None:
    for kind in (CLUSTER_KIND, COLLECTOR_KIND, INTELLIGENCE_KIND):
        referenced_secrets(kind, {"spec": value, "metadata": value}, "team-a")


@pytest.mark.parametrize(
    ("component", "version", "expected"),
    [
        pytest.param("nats", None, "docker.io/library/nats:2.12-alpine", id="NATS"),
        pytest.param("nats", "2.14.1", "docker.io/library/nats:2.14.1-alpine", id="another NATS"),
        pytest.param("neo4j", None, "docker.io/library/neo4j:5.26-community", id="Neo4j Community"),
        pytest.param("neo4j-enterprise", "5.26.1", "docker.io/library/neo4j:5.26.1-enterprise", id="Neo4j Enterprise"),
        pytest.param("gateway", None, "ghcr.io/yairfalse/tapio-gateway:v0.1.0", id="our own follows the cluster"),
        pytest.param("ebpf", "v0.2.0", "ghcr.io/yairfalse/tapio-ebpf-collector:v0.2.0", id="our own, one apart"),
    ],
)  # fmt: skip
def test_default_images(component: str, version: str | None, expected: str) -> None:
    assert default_image(component, tapio_version="v0.1.0", version=version) == expected


@pytest.mark.parametrize(
    ("override", "version", "expected"),
    [
        pytest.param("r.io/gw", None, "r.io/gw:v0.1.0", id="no tag"),
        pytest.param("r.io:5000/gw", None, "r.io:5000/gw:v0.1.0", id="a port is no tag"),
        pytest.param("r.io/gw:stable", None, "r.io/gw:stable", id="a tag"),
        pytest.param("r.io/gw:stable", "v9", "r.io/gw:v9", id="a tag gives way to the component's version"),
        pytest.param("r.io/gw@sha256:" + "0" * 64, "v9", "r.io/gw@sha256:" + "0" * 64, id="a digest stays"),
    ],
)
def test_images_of_the_operators_configuration(override: str, version: str | None, expected: str) -> None:
    assert (
        default_image("gateway", tapio_version="v0.1.0", version=version, overrides={"gateway": override}) == expected
    )


def test_explicit_images_get_a_tag_when_they_have_none() -> None:
    assert explicit_image("r.io/gw", version=None, tapio_version="v0.1.0") == "r.io/gw:v0.1.0"
    assert explicit_image("r.io/gw:1", version="v9", tapio_version="v0.1.0") == "r.io/gw:1"


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        pytest.param("docker.io/library/nats:2", "m.io/hub/library/nats:2", id="a registry is replaced"),
        pytest.param("localhost/nats", "m.io/hub/nats", id="localhost is a registry"),
        pytest.param("library/nats:2", "m.io/hub/library/nats:2", id="a folder is none"),
        pytest.param("nats", "m.io/hub/nats", id="a bare name"),
    ],
)
def test_registries(image: str, expected: str) -> None:
    assert with_registry(image, "m.io/hub") == expected
    assert default_image("nats", tapio_version="v1", registry="m.io/hub") == "m.io/hub/library/nats:2.12-alpine"


def test_which_images_users_must_name() -> None:
    assert [name for name, image in DEFAULT_IMAGES.items() if not image.published] == [
        "operator", "correlation", "gateway", "ebpf", "systemd", "cni", "kubernetes", "etcd",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        pytest.param(CLUSTER_KIND, {"intelligence": {"neo4j": {"backup": {"enabled": True, "schedule": "0 2 * * *"}}}},
                     ["spec.intelligence.neo4j.backup.enabled", "spec.intelligence.neo4j.backup.schedule"],
                     id="the seed's backup"),
        pytest.param(CLUSTER_KIND, {"intelligence": {"neo4j": {"backup": {"schedule": "0 2 * * *"}}}}, [],
                     id="a backup that is off asks for nothing"),
        pytest.param(INTELLIGENCE_KIND, {"clusterRef": {"name": "p"}, "neo4j": {"backup": {"enabled": True}}},
                     ["spec.neo4j.backup.enabled"], id="an intelligence"),
        pytest.param(CLUSTER_KIND, {}, [], id="nothing"),
    ],
)  # fmt: skip
def test_not_yet_supported(kind: str, spec: JsonValue, expected: list[str]) -> None:
    normal = normalise_spec(kind, spec)
    assert isinstance(normal, dict)
    assert not_yet_supported(normal, kind) == expected


def test_words_of_the_api() -> None:
    """API.md's lists and the reasons of ADRs 0005, 0008 and 0014, so that none can be renamed without noticing."""
    assert " ".join(reason.value for reason in Reason if reason.family is ReasonFamily.PROGRESS) == (
        "AllReady Applying WaitingForDependency RollingOut RetryScheduled Resynchronising Terminating "
        "PausedByAnnotation"
    )
    assert " ".join(reason.value for reason in Reason if reason.family is ReasonFamily.STALLED) == (
        "InvalidSpec InvalidReference ImmutableField StorageShrinkRefused BudgetTooSmall UnsupportedVersion "
        "ObjectConflict Forbidden QuotaExceeded NamespaceMissing ClusterNotFound Superseded OverlapsWith"
    )
    assert " ".join(reason.value for reason in Reason if reason.family is ReasonFamily.COMPONENT) == (
        "ImagePullFailed CrashLooping OutOfMemory Unschedulable VolumePending NoDefaultStorageClass "
        "PodSecurityRefused InitFailed DependencyNotReady CredentialsInvalid NodesNotReady ScaledByAnother"
    )
    assert " ".join(reason.value for reason in Reason if reason.family is ReasonFamily.DEGRADED) == (
        "LicenseNotAccepted MembersNotRemoved VolumeNotGrown TooFewZones RequestMissing ApiNotServed "
        "NoEligibleNodes KernelTooOld BtfUnknown ArchitectureUnsupported "
        "ManagedControlPlane EtcdAccessNotConfigured MessageParked"
    )
    assert " ".join(phase.value for phase in Phase) == "Pending Progressing Ready Degraded Stalled Paused Deleting"
    assert " ".join(state.value for state in ComponentState) == "Ready Progressing Waiting Failed Unavailable"
    assert " ".join(condition.value for condition in ConditionType) == (
        "Ready Reconciling Stalled Degraded Paused NotYetSupported MessagingReady GraphStoreReady CorrelationReady "
        "GatewayReady CollectorsReady"
    )


def test_every_word_is_explained_in_a_sentence() -> None:
    for word in (*ConditionType, *Phase, *ComponentState, *EventReason, *Reason):
        assert word.meaning.endswith("."), word


@pytest.mark.parametrize(
    "word", [*ConditionType, *Phase, *ComponentState, *EventReason, *Reason], ids=lambda word: repr(str(word))
)
def test_a_word_is_written_somewhere_or_says_that_it_is_not(word: Word | Reason) -> None:
    """A page of reasons with one that never comes sends people looking for it."""
    quoted = f'|"{word.value}"' if isinstance(word, ConditionType) else ""  # a component names its condition so
    spelled = re.compile(rf"\b{type(word).__name__}\.{word.name}\b{quoted}")
    planner = (ROOT / "services/reconciler").rglob("*.py")
    is_written = any(spelled.search(path.read_text()) for path in planner)
    assert is_written is not ("Not used" in word.meaning)
