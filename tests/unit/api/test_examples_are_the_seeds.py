"""The seed's four manifests are the examples, byte for byte, and pass every check."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tapio_shared.api.trust import Trust
from tapio_shared.api.validation import validate_cluster

ROOT = Path(__file__).parents[3]
SEED = (ROOT / "docs/seed/tapio-operator.md").read_bytes()
PATTERNS = {
    "quickstart": rb"kubectl apply -f - <<EOF\n(.*?)EOF\n",
    "development": rb"### Minimal Development Setup\n```yaml\n(.*?)```",
    "production": rb"### Production HA Setup\n```yaml\n(.*?)```",
    "edge": rb"### Edge Deployment\n```yaml\n(.*?)```",
}
EXAMPLES = [pytest.param(name, id=name) for name in PATTERNS]


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_is_the_seeds_block(name: str) -> None:
    (block,) = re.findall(PATTERNS[name], SEED, re.DOTALL)
    assert (ROOT / "examples" / f"{name}.yaml").read_bytes() == block


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_is_valid_wherever_it_is_applied(name: str) -> None:
    document = yaml.safe_load((ROOT / "examples" / f"{name}.yaml").read_text())
    for namespace in ("default", "tapio-system"):
        document["metadata"]["namespace"] = namespace
        assert validate_cluster(document, trust=Trust()) == ()
