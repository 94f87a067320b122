"""Alerts and dashboards ask for the pods and volumes of one cluster: all of them, and nobody else's."""

from __future__ import annotations

import re

import pytest

from tapio_shared.api.names import node_agent_name
from tapio_shared.json import JsonObject, objects_at, str_at, strings_at
from tests.support.rendered import objects_of, rendered

SPEC: JsonObject = {
    "profile": "production",
    "collectors": {"kubernetes": True, "ebpf": True},
    "monitoring": {"grafana": {"enabled": True}},
}
PATTERN = re.compile(r'(deployment|statefulset|daemonset|pod|persistentvolumeclaim)=~\\?"([^"\\]*)')


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
    for kind in ("Deployment", "StatefulSet", "DaemonSet"):
        label, kinds = kind.lower(), {kind}
        wanted = {str_at(one, "metadata", "name") for one in found if str_at(one, "kind") in kinds}
        assert len(asked[label]) == 1
        (pattern,) = asked[label]
        assert {one for one in wanted if re.fullmatch(pattern, one)} == wanted != set()
        assert not [one for one in neighbours if re.fullmatch(pattern, one)]
    agents = {
        pattern for pattern in asked["pod"] if re.fullmatch(pattern, f"{node_agent_name(name, 'ebpf', 'some')}-x")
    }
    own = asked["pod"] - agents
    assert (len(agents), len(own)) == (1, 1)
    for one in found:
        if str_at(one, "kind") not in {"Deployment", "StatefulSet"}:
            continue
        workload = str_at(one, "metadata", "name")
        assert {pattern for pattern in asked["pod"] if re.fullmatch(pattern, f"{workload}-0")} == own
        for claim in objects_at(one, "spec", "volumeClaimTemplates"):
            claimed = f"{str_at(claim, 'metadata', 'name')}-{workload}-0"
            assert all(re.fullmatch(pattern, claimed) for pattern in asked["persistentvolumeclaim"])
            assert not any(re.fullmatch(pattern, f"data-{name}-other-0") for pattern in asked["persistentvolumeclaim"])


def test_a_stream_that_nobody_keeps_is_told_by_the_name_of_its_cron_job() -> None:
    found = objects("any")
    (cron_job,) = [one for one in found if str_at(one, "kind") == "CronJob"]
    rules = [
        rule
        for one in found
        if str_at(one, "kind") == "PrometheusRule"
        for group in objects_at(one, "spec", "groups")
        for rule in objects_at(group, "rules")
        if str_at(rule, "alert") == "TapioStreamsNotKept"
    ]
    assert [str_at(rule, "expr") for rule in rules] == [
        'time() - kube_cronjob_status_last_successful_time{namespace="some",'
        f'cronjob="{str_at(cron_job, "metadata", "name")}"}} > 3600'
    ]


def boards(spec: JsonObject) -> list[str]:
    document: JsonObject = {"metadata": {"name": "any", "namespace": "some"}, "spec": spec}
    (made,) = [
        one
        for one in objects_of(rendered(document))
        if str_at(one, "kind") == "ConfigMap" and str_at(one, "metadata", "name") == "any-dashboards"
    ]
    return sorted(strings_at(made, "data"))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param(SPEC, ["collectors", "messaging", "overview", "storage"], id="all of it"),
        pytest.param(
            {**SPEC, "collectors": {}, "nats": {"external": {"url": "nats://elsewhere:4222"}}},
            ["overview", "storage"],
            id="neither collectors nor NATS of its own",
        ),
    ],
)
def test_there_is_a_dashboard_of_each_part_that_runs(spec: JsonObject, expected: list[str]) -> None:
    assert boards(spec) == [f"tapio-some-any-{name}.json" for name in expected]
