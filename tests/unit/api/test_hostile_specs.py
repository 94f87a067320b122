"""A spec may hold secrets in wrong places, huge keys and endless nesting: answers stay short and repeat no secret."""

from __future__ import annotations

import pytest

from tapio_shared.api.names import CLUSTER_KIND
from tapio_shared.api.problems import MAX_MESSAGE, one_answer
from tapio_shared.api.trust import Trust
from tapio_shared.api.validation import MAX_DEPTH, validate_cluster
from tapio_shared.codec import decode_as
from tapio_shared.errors import Undecodable
from tapio_shared.json import JsonObject, JsonValue

PLANTED = "hunter2-planted"
TRUST = Trust()


def cluster(spec: JsonValue) -> JsonObject:
    return {"kind": CLUSTER_KIND, "metadata": {"name": "production", "namespace": "tapio-system"}, "spec": spec}


def nested(levels: int) -> JsonValue:
    value: JsonValue = "end"
    for _ in range(levels):
        value = {"a": value}
    return value


def container(env: JsonValue) -> JsonObject:
    return {"nats": {"podTemplate": {"spec": {"containers": [{"name": "nats", "env": env}]}}}}


def external(url: str) -> JsonObject:
    return {"nats": {"external": {"url": url}}}


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"nats": {"env": [{"PASSWORD": PLANTED}]}}, id="a variable as a key"),
        pytest.param({"nats": {"env": {"PASSWORD": PLANTED}}}, id="an object for the list"),
        pytest.param({"nats": {"env": [f"PASSWORD={PLANTED}"]}}, id="a text for an entry"),
        pytest.param({"nats": {"env": f"PASSWORD={PLANTED}"}}, id="a text for the list"),
        pytest.param({"nats": {"env": [{"name": "A", "value": {"b": PLANTED}}]}}, id="an object for a value"),
        pytest.param(container([{"PASSWORD": PLANTED}]), id="a variable as a key of the pod template"),
        pytest.param(container(PLANTED), id="a text for the list of the pod template"),
        pytest.param(external(f"nats://tapio:{PLANTED}@nats"), id="in an address"),
        pytest.param(external(f"nats://tapio:{PLANTED}/x@nats"), id="with a slash, in an address"),
        pytest.param(external(f"nats://tapio:p@{PLANTED}@nats"), id="with an @, in an address"),
        pytest.param(external(f"tapio:{PLANTED}@nats:4222"), id="in an address without its scheme"),
        pytest.param(external(f"nats://a:4222,tapio:{PLANTED}@nats"), id="in the second of two addresses"),
        pytest.param({"monitoring": {"otlpEndpoint": f"u:{PLANTED}@collector"}}, id="in the address of a collector"),
    ],
)
def test_no_answer_repeats_a_secret(spec: JsonObject) -> None:
    problems = validate_cluster(cluster(spec), trust=TRUST)
    assert problems
    assert PLANTED not in one_answer(problems)
    assert PLANTED not in repr([entry.value for entry in problems if not isinstance(entry.value, dict)])


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({"nats": {"podLabels": {"env": "a b"}}}, 'spec.nats.podLabels.env is "a b"', id="a label env"),
        pytest.param({"nats": {"env": [{"name": "a b"}]}}, 'spec.nats.env[0].name is "a b"', id="a variable's name"),
        pytest.param(
            {"nats": {"image": "example.com/nats:1@sha256:12"}},
            'spec.nats.image is "example.com/nats:1@sha256:12"',
            id="an image by digest",
        ),
    ],
)
def test_what_is_no_secret_is_repeated(spec: JsonObject, expected: str) -> None:
    assert expected in one_answer(validate_cluster(cluster(spec), trust=TRUST))


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"k" * 500_000: 1}, id="a key"),
        pytest.param({"nats": {f"{number}" + "k" * 100_000: 1 for number in range(10)}}, id="ten keys"),
        pytest.param({"nats": {"storage": "9" * 100_000}}, id="a quantity"),
        pytest.param({"nats": {"probes": {"k" * 100_000: {"k" * 100_000: 1}}}}, id="keys in keys"),
    ],
)
def test_a_huge_text_makes_no_huge_answer(spec: JsonObject) -> None:
    problems = validate_cluster(cluster(spec), trust=TRUST)
    assert problems
    assert max(len(entry.path) for entry in problems) < MAX_MESSAGE
    assert len(one_answer(problems)) <= 20 * MAX_MESSAGE


def test_a_huge_class_name_is_cut_in_a_refused_update() -> None:
    old, new = cluster({"nats": {"storageClassName": "a"}}), cluster({"nats": {"storageClassName": "b" * 100_000}})
    assert len(one_answer(validate_cluster(new, trust=TRUST, old=old))) < 3 * MAX_MESSAGE


@pytest.mark.parametrize("levels", [MAX_DEPTH, 450, 900, 5_000])
def test_endless_nesting_is_a_problem_and_no_crash(levels: int) -> None:
    (found,) = validate_cluster(cluster({"nats": {"config": nested(levels)}}), trust=TRUST)
    assert found.message == "spec is nested more than 100 levels deep; it must be nested at most 100 levels deep."


def test_deep_but_not_endless_nesting_is_allowed() -> None:
    assert validate_cluster(cluster({"nats": {"config": nested(MAX_DEPTH - 2)}}), trust=TRUST) == ()


def test_an_endlessly_nested_spec_does_not_keep_metadata_from_changing_nor_itself_from_being_mended() -> None:
    deep = cluster({"nats": {"config": nested(900)}})
    assert validate_cluster(deep, trust=TRUST, old=deep) == ()
    assert validate_cluster(cluster({}), trust=TRUST, old=deep) == ()


def test_endlessly_nested_bytes_are_undecodable() -> None:
    with pytest.raises(Undecodable):
        decode_as(dict, b'{"a":' * 5_000 + b"1" + b"}" * 5_000)
