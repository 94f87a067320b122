"""The Pod Security Standards `baseline` and `restricted`, with the texts of the API server's own admission.

Which rules hold in which version, and which rule of `restricted` stands in for one of `baseline`, is here; the rules
are in pod_security_rules.py. Source: k8s.io/pod-security-admission/policy (registry.go, check_*.go). Versions before
1.25 are judged as 1.25, as the oldest that is supported; `latest` is the newest that is known here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tapio_shared.json import JsonObject
from tapio_simulator import pod_security_rules as rules

ENFORCE = "pod-security.kubernetes.io/enforce"
VERSION = "pod-security.kubernetes.io/enforce-version"
OLDEST, NEWEST = 25, 37
"""Minor versions of Kubernetes."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that a pod breaks: its identifier, what is forbidden, and the details."""

    rule: str
    reason: str
    details: str

    def __str__(self) -> str:
        return f"{self.reason} ({self.details})" if self.details else self.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    name: str
    check: rules.Check
    since: int = 0
    instead_of: str = ""
    """The rule of `baseline` that is not judged besides."""


_BASELINE = (
    _Rule(name="appArmorProfile", check=rules.app_armor),
    _Rule(name="capabilities_baseline", check=rules.baseline_capabilities),
    _Rule(name="hostNamespaces", check=rules.host_namespaces),
    _Rule(name="hostPathVolumes", check=rules.host_paths),
    _Rule(name="hostPorts", check=rules.host_ports),
    _Rule(name="hostProbesAndHostLifecycle", check=rules.probe_hosts, since=34),
    _Rule(name="privileged", check=rules.privileged),
    _Rule(name="procMount", check=rules.proc_mount),
    _Rule(name="seLinuxOptions", check=rules.selinux),
    _Rule(name="seccompProfile_baseline", check=rules.unconfined),
    _Rule(name="sysctls", check=rules.sysctls),
    _Rule(name="windowsHostProcess", check=rules.windows_host_process),
)
_RESTRICTED = (
    _Rule(name="allowPrivilegeEscalation", check=rules.escalation),
    _Rule(name="capabilities_restricted", check=rules.restricted_capabilities, instead_of="capabilities_baseline"),
    _Rule(name="procMount_restricted", check=rules.unmasked_proc, since=35, instead_of="procMount"),
    _Rule(name="restrictedVolumes", check=rules.volume_types, instead_of="hostPathVolumes"),
    _Rule(name="runAsNonRoot", check=rules.non_root),
    _Rule(name="runAsUser", check=rules.root_user),
    _Rule(name="seccompProfile_restricted", check=rules.confined, instead_of="seccompProfile_baseline"),
)


def violations(level: str, version: str, spec: JsonObject, metadata: JsonObject) -> list[Violation]:
    """What of a pod the standard `level` forbids in `version` (`latest` or such as `v1.31`), in the official order."""
    minor = _minor(version)
    if level not in {"baseline", "restricted"}:
        return []
    own = [rule for rule in (_RESTRICTED if level == "restricted" else ()) if rule.since <= minor]
    replaced = {rule.instead_of for rule in own}
    judged = [rule for rule in _BASELINE if rule.since <= minor and rule.name not in replaced]
    pod = rules.Pod(spec, metadata, minor)
    found = [(rule, rule.check(pod)) for rule in (*judged, *own)]
    return [Violation(rule.name, *answer) for rule, answer in found if answer is not None]


def violation(labels: Mapping[str, str], spec: JsonObject, metadata: JsonObject) -> str:
    """Why a pod is refused in a namespace with these labels; empty when it is admitted."""
    level, version = labels.get(ENFORCE, "privileged"), labels.get(VERSION, "latest")
    found = violations(level, version, spec, metadata)
    if not found:
        return ""
    return f'violates PodSecurity "{level}:{version}": {", ".join(str(one) for one in found)}'


def _minor(version: str) -> int:
    found = re.fullmatch(r"v1\.(\d+)", version)
    return NEWEST if found is None else min(max(int(found[1]), OLDEST), NEWEST)
