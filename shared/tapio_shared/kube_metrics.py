"""What every service counts of its requests to the Kubernetes API, in Prometheus' terms."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from tapio_shared.kubernetes import APPLY_PATCH

_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "DELETE": "delete"}
_PATCHES = {APPLY_PATCH: "apply"}


class KubeMetrics:
    """Counts answers by verb and HTTP status; status 0 stands for a request that was not answered."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "tapio_kube_requests",
            "Requests to the Kubernetes API, by verb and HTTP status (0: not answered).",
            ["verb", "code"],
            registry=registry,
        )

    def answered(self, method: str, content_type: str, status: int) -> None:
        """Count one request. A list is a get: only the API server knows better."""
        verb = _PATCHES.get(content_type, "patch") if method == "PATCH" else _VERBS.get(method, method.lower())
        self._requests.labels(verb, str(status)).inc()

    def watched(self, status: int) -> None:
        """Count one watch that was opened, or refused."""
        self._requests.labels("watch", str(status)).inc()
