"""What `make pod-security` says of fixtures, on some that are written as the official ones are."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tapio_shared.json import JsonObject
from tests.pod_security.fixtures import Verdict, judge

SAFE: JsonObject = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {"name": "main", "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}
    ],
}
PROBING: JsonObject = {**SAFE, "hostPID": True}
WITH_HOST_PATH: JsonObject = {**SAFE, "volumes": [{"name": "a", "hostPath": {"path": "/"}}]}


@pytest.mark.parametrize(
    ("file", "spec", "verdict"),
    [
        pytest.param("restricted/v1.25/pass/base.yaml", SAFE, Verdict(1, 0, ()), id="one to admit"),
        pytest.param("baseline/v1.37/fail/hostnamespaces0.yaml", PROBING, Verdict(0, 1, ()), id="one to refuse"),
        pytest.param(
            "restricted/v1.31/fail/hostpathvolumes12.yaml",
            WITH_HOST_PATH,
            Verdict(0, 1, ()),
            id="refused by the rule that stands in",
        ),
        pytest.param(
            "baseline/v1.30/pass/base.yaml",
            PROBING,
            Verdict(0, 0, ("baseline/v1.30/pass/base.yaml is refused by hostnamespaces, and is to be admitted.",)),
            id="refused, and is to be admitted",
        ),
        pytest.param(
            "restricted/v1.30/fail/privileged0.yaml",
            SAFE,
            Verdict(0, 0, ("restricted/v1.30/fail/privileged0.yaml is admitted, and is to be refused by privileged.",)),
            id="admitted, and is to be refused",
        ),
        pytest.param(
            "baseline/v1.30/fail/privileged0.yaml",
            PROBING,
            Verdict(
                0,
                0,
                (
                    "baseline/v1.30/fail/privileged0.yaml is refused by hostnamespaces alone, "
                    "and is to be refused by privileged.",
                ),
            ),
            id="refused by another rule",
        ),
        pytest.param("restricted/v1.24/pass/base.yaml", PROBING, Verdict(0, 0, ()), id="a version before ours"),
    ],
)
def test_each_is_judged_by_where_it_stands(tmp_path: Path, file: str, spec: JsonObject, verdict: Verdict) -> None:
    path = tmp_path / "staging" / "test" / "testdata" / file
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump({"kind": "Pod", "metadata": {"name": "one"}, "spec": spec}))
    assert judge(tmp_path) == verdict
