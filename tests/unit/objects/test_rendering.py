"""What the examples render to: configuration that its programs take, selectors that stay, a budget that is kept."""

from __future__ import annotations

import pytest
import yaml

from tapio_shared.json import JsonValue, at, objects_at, str_at, strings_at
from tests.support.planned_world import example
from tests.support.rendered import objects_of, rendered
from tests.unit.objects.golden import EXAMPLES


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_selects_pods_and_claims_never_holds_what_may_change(name: str) -> None:
    for one in objects_of(rendered(example(name))):
        for label in strings_at(one, "spec", "selector", "matchLabels"):
            assert label in {
                "app.kubernetes.io/name",
                "app.kubernetes.io/instance",
                "app.kubernetes.io/component",
                "tapio.io/member",
            }
        for claim in objects_at(one, "spec", "volumeClaimTemplates"):
            assert "app.kubernetes.io/version" not in strings_at(claim, "metadata", "labels")


def test_the_budget_of_the_production_example_is_shared_out_within_itself() -> None:
    found = objects_of(rendered(example("production")))
    total = 0
    for one in found:
        if str_at(one, "kind") not in {"Deployment", "StatefulSet"} or "kubernetes" in str_at(one, "metadata", "name"):
            continue
        replicas = at(one, "spec", "replicas") or 2
        container = objects_at(one, "spec", "template", "spec", "containers")[0]
        memory = str_at(container, "resources", "requests", "memory")
        size = int(memory[:-2]) * (1024 if memory.endswith("Gi") else 1)
        total += size * (replicas if isinstance(replicas, int) else 2)
    assert 15.9 * 1024 <= total <= 16 * 1024


def test_configuration_files_hold_what_the_programs_read() -> None:
    found = {str_at(one, "metadata", "name"): one for one in objects_of(rendered(example("quickstart")))}
    document: JsonValue = yaml.safe_load(str_at(found["production-correlation-config"], "data", "config.yaml"))
    assert at(document, "nats", "url") == "tls://correlation:${NATS_PASSWORD}@production-nats.tapio-system.svc:4222"
    assert at(document, "graph", "url") == "bolt://production-neo4j.tapio-system.svc:7687"
    assert at(document, "engines", "rootCause", "enabled") is True
