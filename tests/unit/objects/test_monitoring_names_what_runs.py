"""Alerts and dashboards ask for the pods and volumes of one cluster: all of them, and nobody else's."""

from __future__ import annotations

import re

import pytest

from tapio_shared.json import JsonObject, objects_at, str_at, strings_at
from tests.support.rendered import objects_of, rendered

SPEC: JsonObject = {
    "profile": "production",
    "collectors": {"kubernetes": True, "ebpf": True},
    "monitoring": {"grafana": {"enabled": True}},
}
PATTERN = re.compile(r'(deployment|statefulset|pod|persistentvolumeclaim)=~\\?"([^"\\]*)')


def objects(name: str) -> list[JsonObject]:
    document: JsonObject = {"metadata": {"name": name, "namespace": "some"}, "spec": SPEC}
    return objects_of(rendered(document, monitoring=True))


def patterns(found: list[JsonObject]) -> dict[str, set[str]]:
    """Label -> patterns, in all rules and dashboards."""
    texts = [
        str_at(rule, "expr")
        for one in found
        if str_at(one, "kind") == "PrometheusRule"
        for group in objects_at(one, "spec", "groups")
        for rule in objects_at(group, "rules")
    ]
    texts += [
        text
        for one in found
        if str_at(one, "kind") == "ConfigMap"
        for file, text in strings_at(one, "data").items()
        if file.endswith(".json")
    ]
    answer: dict[str, set[str]] = {}
    for text in texts:
        for label, pattern in PATTERN.findall(text):
            answer.setdefault(label, set()).add(pattern)
    return answer


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("any", id="short"),
        pytest.param("my.tapio", id="with a dot"),
        pytest.param("1st", id="beginning with a digit"),
        pytest.param("a-name-that-is-so-long-that-none-of-its-children-can-have-it", id="long"),
    ],
)
def test_every_workload_is_watched_and_none_of_a_neighbour(name: str) -> None:
    found, asked = objects(name), patterns(objects(name))
    neighbours = {str_at(one, "metadata", "name") for one in objects(f"{name}-nats"[-63:])}
    for label, kinds in (("deployment", {"Deployment"}), ("statefulset", {"StatefulSet"})):
        wanted = {str_at(one, "metadata", "name") for one in found if str_at(one, "kind") in kinds}
        assert len(asked[label]) == 1
        (pattern,) = asked[label]
        assert {one for one in wanted if re.fullmatch(pattern, one)} == wanted != set()
        assert not [one for one in neighbours if re.fullmatch(pattern, one)]
    for one in found:
        if str_at(one, "kind") not in {"Deployment", "StatefulSet"}:
            continue
        workload = str_at(one, "metadata", "name")
        assert all(re.fullmatch(pattern, f"{workload}-0") for pattern in asked["pod"])
        for claim in objects_at(one, "spec", "volumeClaimTemplates"):
            claimed = f"{str_at(claim, 'metadata', 'name')}-{workload}-0"
            assert all(re.fullmatch(pattern, claimed) for pattern in asked["persistentvolumeclaim"])
            assert not any(re.fullmatch(pattern, f"data-{name}-other-0") for pattern in asked["persistentvolumeclaim"])
