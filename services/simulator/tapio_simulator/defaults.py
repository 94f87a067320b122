"""Defaults of builtin kinds.

Those that matter for "has it changed": an operator that compares what it asked for with what it reads back must meet
the same additions as on a real API server. Source: k8s.io/kubernetes/pkg/apis/*/v1/defaults.go. Pod templates are in
pod_defaults.py.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping

from tapio_shared.json import JsonObject, JsonValue, object_at, objects_at, str_at, strings_at
from tapio_simulator.pod_defaults import default_pod, default_template

Defaulter = Callable[[JsonObject], None]


def ensure(parent: JsonObject, name: str) -> JsonObject:
    """The object `parent[name]`, made when it isn't there."""
    found = parent.get(name)
    if isinstance(found, dict):
        return found
    made: JsonObject = {}
    parent[name] = made
    return made


def default_document(kind: str, document: JsonObject) -> None:
    """Fill in the defaults of `kind`. `document` is changed."""
    defaulter = _DEFAULTERS.get(kind)
    if defaulter is not None:
        defaulter(document)


def _deployment(document: JsonObject) -> None:
    spec = ensure(document, "spec")
    spec.setdefault("replicas", 1)
    strategy = ensure(spec, "strategy")
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = ensure(strategy, "rollingUpdate")
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    default_template(ensure(spec, "template"))
    document.setdefault("status", {})


def _stateful_set(document: JsonObject) -> None:
    spec = ensure(document, "spec")
    spec.setdefault("podManagementPolicy", "OrderedReady")
    strategy = ensure(spec, "updateStrategy")
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
        ensure(strategy, "rollingUpdate")
    rolling = strategy.get("rollingUpdate")
    if strategy["type"] == "RollingUpdate" and isinstance(rolling, dict):
        rolling.setdefault("partition", 0)
    retention = ensure(spec, "persistentVolumeClaimRetentionPolicy")
    retention.setdefault("whenDeleted", "Retain")
    retention.setdefault("whenScaled", "Retain")
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    default_template(ensure(spec, "template"))
    for claim in objects_at(spec, "volumeClaimTemplates"):
        claim.setdefault("kind", "PersistentVolumeClaim")
        claim.setdefault("apiVersion", "v1")
        ensure(claim, "spec").setdefault("volumeMode", "Filesystem")
        ensure(claim, "status").setdefault("phase", "Pending")
    status = ensure(document, "status")
    status.setdefault("replicas", 0)
    status.setdefault("availableReplicas", 0)


def _daemon_set(document: JsonObject) -> None:
    spec = ensure(document, "spec")
    strategy = ensure(spec, "updateStrategy")
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = ensure(strategy, "rollingUpdate")
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)
    spec.setdefault("revisionHistoryLimit", 10)
    default_template(ensure(spec, "template"))
    status = ensure(document, "status")
    for name in ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"):
        status.setdefault(name, 0)


def _replica_set(document: JsonObject) -> None:
    spec = ensure(document, "spec")
    spec.setdefault("replicas", 1)
    default_template(ensure(spec, "template"))
    ensure(document, "status").setdefault("replicas", 0)


def _job(document: JsonObject) -> None:
    _job_spec(ensure(document, "spec"))
    labels = strings_at(document, "spec", "template", "metadata", "labels")
    if labels and not object_at(document, "metadata", "labels"):
        ensure(document, "metadata")["labels"] = dict[str, JsonValue](labels)
    document.setdefault("status", {})


def _job_spec(spec: JsonObject) -> None:
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("podReplacementPolicy", "TerminatingOrFailed")
    default_template(ensure(spec, "template"))


def _cron_job(document: JsonObject) -> None:
    spec = ensure(document, "spec")
    spec.setdefault("concurrencyPolicy", "Allow")
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    # The defaulting function of Jobs runs on the template too, but only for its pod and for backoff-free fields.
    template = ensure(spec, "jobTemplate")
    default_template(ensure(ensure(template, "spec"), "template"))
    document.setdefault("status", {})


def _service(document: JsonObject) -> None:
    spec = ensure(document, "spec")
    spec.setdefault("sessionAffinity", "None")
    if spec["sessionAffinity"] == "ClientIP":
        ensure(ensure(spec, "sessionAffinityConfig"), "clientIP").setdefault("timeoutSeconds", 10800)
    kind = spec.setdefault("type", "ClusterIP")
    for port in objects_at(spec, "ports"):
        port.setdefault("protocol", "TCP")
        if not port.get("targetPort"):
            port["targetPort"] = port.get("port")
    if kind != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if kind in ("NodePort", "LoadBalancer"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    ensure(ensure(document, "status"), "loadBalancer")


def _claim(document: JsonObject) -> None:
    ensure(document, "spec").setdefault("volumeMode", "Filesystem")
    ensure(document, "status").setdefault("phase", "Pending")


def _volume(document: JsonObject) -> None:
    spec = ensure(document, "spec")
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    spec.setdefault("volumeMode", "Filesystem")
    ensure(document, "status").setdefault("phase", "Pending")
    host_path = spec.get("hostPath")
    if isinstance(host_path, dict):
        host_path.setdefault("type", "")


def _event(document: JsonObject) -> None:
    for name in ("firstTimestamp", "lastTimestamp", "eventTime"):
        document.setdefault(name, None)
    document.setdefault("reportingComponent", "")
    document.setdefault("reportingInstance", "")
    document.setdefault("source", {})


def _role(document: JsonObject) -> None:
    if not document.get("rules"):
        document["rules"] = None


def _quota(document: JsonObject) -> None:
    document.setdefault("status", {})


def _secret(document: JsonObject) -> None:
    _encode_string_data(document)
    if not document.get("type"):
        document["type"] = "Opaque"


def _encode_string_data(document: JsonObject) -> None:
    plain = document.pop("stringData", None)
    if isinstance(plain, dict):
        data = ensure(document, "data")
        for name, value in plain.items():
            data[name] = base64.b64encode(str(value).encode()).decode()


def _autoscaler(document: JsonObject) -> None:
    spec = ensure(document, "spec")
    spec.setdefault("minReplicas", 1)
    if not spec.get("metrics"):
        spec["metrics"] = [
            {
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
            }
        ]
    behavior = spec.get("behavior")
    if isinstance(behavior, dict):
        _scaling_rules(ensure(behavior, "scaleUp"), up=True)
        _scaling_rules(ensure(behavior, "scaleDown"), up=False)
    status = ensure(document, "status")
    status.setdefault("currentMetrics", None)
    status.setdefault("desiredReplicas", 0)


def _scaling_rules(rules: JsonObject, *, up: bool) -> None:
    rules.setdefault("selectPolicy", "Max")
    if up:
        rules.setdefault("stabilizationWindowSeconds", 0)
    if not rules.get("policies"):
        percent: JsonObject = {"type": "Percent", "value": 100, "periodSeconds": 15}
        rules["policies"] = [{"type": "Pods", "value": 4, "periodSeconds": 15}, percent] if up else [percent]


def _disruption_budget(document: JsonObject) -> None:
    status = ensure(document, "status")
    for name in ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"):
        status.setdefault(name, 0)


def _network_policy(document: JsonObject) -> None:
    spec = ensure(document, "spec")
    spec.setdefault("podSelector", {})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    for rule in (*objects_at(spec, "ingress"), *objects_at(spec, "egress")):
        for port in objects_at(rule, "ports"):
            port.setdefault("protocol", "TCP")


def _ingress(document: JsonObject) -> None:
    ensure(ensure(document, "status"), "loadBalancer")


def _binding(document: JsonObject) -> None:
    reference = document.get("roleRef")
    if isinstance(reference, dict):
        reference.setdefault("apiGroup", "rbac.authorization.k8s.io")
    for subject in objects_at(document, "subjects"):
        if subject.get("kind") in ("User", "Group"):
            subject.setdefault("apiGroup", "rbac.authorization.k8s.io")


def _storage_class(document: JsonObject) -> None:
    document.setdefault("reclaimPolicy", "Delete")
    document.setdefault("volumeBindingMode", "Immediate")


def _priority_class(document: JsonObject) -> None:
    document.setdefault("preemptionPolicy", "PreemptLowerPriority")


def _namespace(document: JsonObject) -> None:
    labels = ensure(ensure(document, "metadata"), "labels")
    name = str_at(document, "metadata", "name")
    if name:
        labels["kubernetes.io/metadata.name"] = name
    ensure(document, "spec").setdefault("finalizers", ["kubernetes"])
    ensure(document, "status").setdefault("phase", "Active")


def _node(document: JsonObject) -> None:
    document.setdefault("spec", {})
    status = ensure(document, "status")
    if "allocatable" not in status and "capacity" in status:
        status["allocatable"] = dict(object_at(status, "capacity"))


def _endpoints(document: JsonObject) -> None:
    for subset in objects_at(document, "subsets"):
        for port in objects_at(subset, "ports"):
            port.setdefault("protocol", "TCP")


def _endpoint_slice(document: JsonObject) -> None:
    for port in objects_at(document, "ports"):
        port.setdefault("protocol", "TCP")
        port.setdefault("name", "")


def _webhooks(document: JsonObject) -> None:
    mutating = document.get("kind") == "MutatingWebhookConfiguration"
    for webhook in objects_at(document, "webhooks"):
        webhook.setdefault("failurePolicy", "Fail")
        webhook.setdefault("matchPolicy", "Equivalent")
        webhook.setdefault("namespaceSelector", {})
        webhook.setdefault("objectSelector", {})
        webhook.setdefault("timeoutSeconds", 10)
        if mutating:
            webhook.setdefault("reinvocationPolicy", "Never")
        service = object_at(webhook, "clientConfig", "service")
        if service:
            service.setdefault("port", 443)
        for rule in objects_at(webhook, "rules"):
            rule.setdefault("scope", "*")


def _definition(document: JsonObject) -> None:
    spec = ensure(document, "spec")
    names = ensure(spec, "names")
    kind = str_at(names, "kind")
    if kind:
        names.setdefault("singular", kind.lower())
        names.setdefault("listKind", f"{kind}List")
    ensure(spec, "conversion").setdefault("strategy", "None")


_DEFAULTERS: Mapping[str, Defaulter] = {
    "ClusterRole": _role,
    "ClusterRoleBinding": _binding,
    "CronJob": _cron_job,
    "CustomResourceDefinition": _definition,
    "DaemonSet": _daemon_set,
    "Deployment": _deployment,
    "EndpointSlice": _endpoint_slice,
    "Endpoints": _endpoints,
    "Event": _event,
    "HorizontalPodAutoscaler": _autoscaler,
    "Ingress": _ingress,
    "Job": _job,
    "MutatingWebhookConfiguration": _webhooks,
    "Namespace": _namespace,
    "NetworkPolicy": _network_policy,
    "Node": _node,
    "PersistentVolume": _volume,
    "PersistentVolumeClaim": _claim,
    "Pod": default_pod,
    "PodDisruptionBudget": _disruption_budget,
    "PriorityClass": _priority_class,
    "ReplicaSet": _replica_set,
    "ResourceQuota": _quota,
    "Role": _role,
    "RoleBinding": _binding,
    "Secret": _secret,
    "Service": _service,
    "StatefulSet": _stateful_set,
    "StorageClass": _storage_class,
    "ValidatingWebhookConfiguration": _webhooks,
}
