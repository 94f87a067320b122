"""Every alert rule that is generated passes promtool, and has a section in docs/alerts.md that says what to do."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest
import yaml

from tapio_shared.json import JsonObject, object_at, objects_at, str_at
from tests.control_plane.promtool import ensure_promtool
from tests.support.planned_world import example
from tests.support.rendered import objects_of, rendered

ROOT = Path(__file__).parents[2]
_ENTERPRISE: JsonObject = {"neo4j": {"replicas": 3, "acceptLicenseAgreement": "eval"}}


def clusters() -> dict[str, JsonObject]:
    """Specs whose rules differ."""
    found = {name: example(name) for name in ("quickstart", "production", "development", "edge")}
    production = found["production"]
    found["enterprise"] = {**production, "spec": {**object_at(production, "spec"), "intelligence": _ENTERPRISE}}
    external: JsonObject = {"external": {"url": "nats://elsewhere:4222"}}
    found["external"] = {**production, "spec": {**object_at(production, "spec"), "nats": external}}
    switched_on: JsonObject = {"prometheus": {"enabled": True}}
    for name in ("development", "edge"):
        found[name] = {**found[name], "spec": {**object_at(found[name], "spec"), "monitoring": switched_on}}
    return found


def rules_of(document: JsonObject) -> JsonObject:
    found = [one for one in objects_of(rendered(document, monitoring=True)) if one["kind"] == "PrometheusRule"]
    assert len(found) == 1
    return object_at(found[0], "spec")


@pytest.mark.real
@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in sorted(clusters())])
async def test_promtool_accepts_the_rules(name: str, tmp_path: Path) -> None:
    promtool = await ensure_promtool(os.environ)
    rules = rules_of(clusters()[name])
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(rules))
    process = await asyncio.create_subprocess_exec(
        promtool,
        "check",
        "rules",
        "--lint=all",
        "--lint-fatal",
        file,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told = (await process.communicate())[0].decode()
    assert process.returncode == 0, told
    expected = sum(len(objects_at(group, "rules")) for group in objects_at(rules, "groups"))
    assert f"SUCCESS: {expected} rules found" in told


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in sorted(clusters())])
def test_every_alert_says_what_to_do(name: str) -> None:
    sections = re.findall(r"^## (\w+)$", (ROOT / "docs" / "alerts.md").read_text(), re.MULTILINE)
    for group in objects_at(rules_of(clusters()[name]), "groups"):
        for rule in objects_at(group, "rules"):
            alert = str_at(rule, "alert")
            assert alert in sections
            assert str_at(rule, "annotations", "runbook") == f"docs/alerts.md#{alert.lower()}"
            assert str_at(rule, "annotations", "description").endswith(f"-n {object_namespace(name)}")


def object_namespace(name: str) -> str:
    return str_at(clusters()[name], "metadata", "namespace", default="default")


def test_no_section_is_about_an_alert_that_does_not_exist() -> None:
    alerts = {
        str_at(rule, "alert")
        for document in clusters().values()
        for group in objects_at(rules_of(document), "groups")
        for rule in objects_at(group, "rules")
    }
    sections = re.findall(r"^## (\w+)$", (ROOT / "docs" / "alerts.md").read_text(), re.MULTILINE)
    assert sorted(sections) == sorted(alerts)
