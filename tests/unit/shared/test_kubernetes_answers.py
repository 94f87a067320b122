"""What an API server's answers mean, how its paths are made, discovery and lists in pages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager

import pytest

from tapio_shared.codec import encode
from tapio_shared.errors import ApiError, ApiRetryable, ApiTerminal, ResourceExpired, RetryableError
from tapio_shared.facts import ServedResource
from tapio_shared.kubernetes import check, discover, error_of, list_all, object_path
from tapio_shared.ports import KubeResponse


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        pytest.param(("", "v1", "pods"), "/api/v1/pods", id="all of a core kind"),
        pytest.param(("", "v1", "nodes", "", "n1"), "/api/v1/nodes/n1", id="one of a cluster"),
        pytest.param(
            ("apps", "v1", "deployments", "ns"), "/apis/apps/v1/namespaces/ns/deployments", id="a namespace's"
        ),
        pytest.param(
            ("tapio.io", "v1alpha1", "tapioclusters", "ns", "demo", "status"),
            "/apis/tapio.io/v1alpha1/namespaces/ns/tapioclusters/demo/status",
            id="a subresource",
        ),
    ],
)
def test_paths(arguments: tuple[str, ...], path: str) -> None:
    assert object_path(*arguments) == path


def status(code: int, reason: str, message: str) -> bytes:
    return encode({"kind": "Status", "code": code, "reason": reason, "message": message})


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        pytest.param(400, "BadRequest", ApiTerminal, id="400"),
        pytest.param(401, "Unauthorized", ApiRetryable, id="401"),
        pytest.param(403, "Forbidden", ApiTerminal, id="403"),
        pytest.param(404, "NotFound", ApiTerminal, id="404"),
        pytest.param(409, "Conflict", ApiRetryable, id="409"),
        pytest.param(422, "Invalid", ApiTerminal, id="422"),
        pytest.param(429, "TooManyRequests", ApiRetryable, id="429"),
        pytest.param(500, "InternalError", ApiRetryable, id="500"),
        pytest.param(503, "ServiceUnavailable", ApiRetryable, id="503"),
    ],
)
def test_an_answer_of_failure_is_worth_a_retry_or_not(code: int, reason: str, error: type[ApiError]) -> None:
    found = error_of(code, status(code, reason, "It went wrong."), {"Retry-After": "3"})
    assert type(found) is error
    assert isinstance(found, ApiError)
    assert (found.code, found.reason, found.message, found.retry_after) == (code, reason, "It went wrong.", 3.0)
    assert isinstance(found, RetryableError) == (error is ApiRetryable)


@pytest.mark.parametrize(
    ("code", "body"),
    [
        pytest.param(410, status(410, "Gone", "gone"), id="as an HTTP status"),
        pytest.param(200, status(410, "Expired", "too old"), id="as the object of an ERROR event"),
    ],
)
def test_an_expired_version_means_to_list_anew(code: int, body: bytes) -> None:
    assert isinstance(error_of(code, body, {}), ResourceExpired)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(b"upstream timed out", "upstream timed out", id="a proxy's text"),
        pytest.param(b"", "The API server answered with HTTP 502", id="nothing"),
        pytest.param(b"\xff\xfe", "��", id="no text at all"),
    ],
)
def test_an_answer_that_is_no_status_is_an_error_all_the_same(body: bytes, message: str) -> None:
    with pytest.raises(ApiRetryable) as caught:
        check(KubeResponse(502, body))
    assert caught.value.message == message
    assert caught.value.retry_after is None


def test_a_successful_answer_is_its_body() -> None:
    assert check(KubeResponse(201, b"{}")) == b"{}"


class Answers:
    """A `Kube` with prepared answers by path and `continue`."""

    def __init__(self, answers: dict[str, KubeResponse]) -> None:
        self._answers = answers
        self.queries: list[Mapping[str, str]] = []

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout: float = 30.0,
    ) -> KubeResponse:
        self.queries.append(query or {})
        return self._answers[path + (query or {}).get("continue", "")]

    def watch(
        self, path: str, *, query: Mapping[str, str], silence: float = 70.0
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        raise AssertionError("Nothing here watches.")


def answer(document: object, code: int = 200) -> KubeResponse:
    return KubeResponse(code, encode(document))


def api_group(name: str, *versions: str) -> object:
    served = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": served, "preferredVersion": served[-1]}


def resources(*names: tuple[str, str]) -> KubeResponse:
    kinds = [{"name": name, "kind": kind, "namespaced": True} for name, kind in names]
    return answer({"groupVersion": "any", "resources": kinds})


async def test_discovery_tells_what_is_served_preferred_version_first() -> None:
    kube = Answers(
        {
            "/version": answer({"gitVersion": "v1.31.2"}),
            "/apis": answer({"groups": [api_group("autoscaling", "v2beta2", "v2"), api_group("other", "v1")]}),
            "/api/v1": resources(("services", "Service"), ("services/status", "Service"), ("pods", "Pod")),
            "/apis/autoscaling/v2": resources(("horizontalpodautoscalers", "HorizontalPodAutoscaler")),
            "/apis/autoscaling/v2beta2": KubeResponse(404, b""),
        }
    )
    wanted = [("", "Service"), ("autoscaling", "HorizontalPodAutoscaler"), ("policy", "PodDisruptionBudget")]
    version, found = await discover(kube, wanted)
    assert version == "v1.31.2"
    assert found == [
        ServedResource(group="", version="v1", kind="Service", plural="services", namespaced=True),
        ServedResource(
            group="autoscaling",
            version="v2",
            kind="HorizontalPodAutoscaler",
            plural="horizontalpodautoscalers",
            namespaced=True,
        ),
    ]


async def test_a_group_that_does_not_answer_is_not_taken_for_not_served() -> None:
    kube = Answers(
        {
            "/version": answer({"gitVersion": "v1.31.2"}),
            "/apis": answer({"groups": [api_group("metrics.k8s.io", "v1")]}),
            "/apis/metrics.k8s.io/v1": KubeResponse(503, b"service unavailable"),
        }
    )
    with pytest.raises(ApiRetryable):
        await discover(kube, [("metrics.k8s.io", "PodMetrics")])


async def test_a_list_is_read_in_pages() -> None:
    kube = Answers(
        {
            "/api/v1/pods": answer(
                {"metadata": {"resourceVersion": "7", "continue": "next"}, "items": [{"a": 1}, {"a": 2}]}
            ),
            "/api/v1/podsnext": answer({"metadata": {"resourceVersion": "7"}, "items": [{"a": 3}]}),
        }
    )
    assert await list_all(kube, "/api/v1/pods", {"labelSelector": "a=b"}) == ("7", [{"a": 1}, {"a": 2}, {"a": 3}])
    assert kube.queries == [
        {"labelSelector": "a=b", "limit": "250"},
        {"labelSelector": "a=b", "limit": "250", "continue": "next"},
    ]


def test_of_a_long_answer_the_beginning_and_the_end_are_kept() -> None:
    quoted = "x" * 100_000
    found = error_of(422, status(422, "Invalid", f"spec.selector: Invalid value: {quoted}: field is immutable"), {})
    assert isinstance(found, ApiTerminal)
    assert found.message.startswith("spec.selector: Invalid value: xxx")
    assert found.message.endswith("xxx: field is immutable")
    assert len(found.message) == 2_000 + len(" [...] ")
