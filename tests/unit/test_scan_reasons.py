"""No failed check without a reason, and no reason without a failed check."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scan.reasons import SKIPS, Failure, Skip, judged, read_skips

FAILURE = Failure("CKV_1", "be safe", "Deployment/gateway", "production")
SKIP = Skip("CKV_1", "Deployment/(gateway|correlation)", "It is safe in another way, see the docs.")


@pytest.mark.parametrize(
    ("failures", "skips", "complaints"),
    [
        pytest.param([FAILURE], [SKIP], [], id="a failure with its reason"),
        pytest.param(
            [FAILURE],
            [],
            [
                "production: Deployment/gateway fails CKV_1 (be safe). Mend it, or give a reason in skips.yaml.",
            ],
            id="a failure without a reason",
        ),
        pytest.param(
            [],
            [SKIP],
            ["skips.yaml: nothing fails CKV_1 on Deployment/(gateway|correlation) any more. Remove the line."],
            id="a reason without a failure",
        ),
        pytest.param(
            [Failure("CKV_1", "be safe", "Deployment/gateway-2", "edge")],
            [SKIP, Skip("CKV_1", ".*-2", "Another reason, five words long.")],
            ["skips.yaml: nothing fails CKV_1 on Deployment/(gateway|correlation) any more. Remove the line."],
            id="a pattern matches whole names",
        ),
    ],
)
def test_failures_and_reasons_are_matched(failures: list[Failure], skips: list[Skip], complaints: list[str]) -> None:
    assert judged(failures, skips) == complaints


def test_the_reasons_are_sentences() -> None:
    assert len(read_skips(SKIPS)) > 5


def test_a_skip_without_a_reason_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "skips.yaml"
    path.write_text("- {check: CKV_1, where: .*, reason: because}\n")
    with pytest.raises(ValueError, match="is skipped without a reason"):
        read_skips(path)
