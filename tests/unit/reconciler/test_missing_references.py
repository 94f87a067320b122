"""A Secret that a person must supply is named while it is missing; one that nobody told of is not called missing."""

from __future__ import annotations

import pytest

from tapio_shared.facts import ConfigurationObserved
from tapio_shared.json import JsonObject, objects_at, str_at
from tapio_shared.keys import ObjectRef
from tests.support.planned_world import START, World, example

TLS = ObjectRef("", "Secret", "default", "door")


def world(secret: JsonObject | None, *, told: bool = True) -> World:
    """A converged development cluster whose gateway asks for Secret door; `secret` is None where it does not exist."""
    found = World.of(example("development"))
    found.settle()
    if told and secret is None:
        found.lose(TLS)
    elif told:
        found.observe(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "door", "namespace": "default"},
                **(secret or {}),
            }
        )
    found.edit(gateway={"tls": {"secretRef": {"name": "door"}}})
    return found


def gateway(found: World) -> JsonObject:
    planned = found.step(ready=False)
    status = planned.decision.status or {}
    return next(one for one in objects_at(status, "components") if str_at(one, "name") == "gateway")


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        pytest.param(
            None,
            "Secret default/door, which gateway needs, does not exist. Create it, or name another one in the spec; "
            "the pods start by themselves then.",
            id="it does not exist",
        ),
        pytest.param(
            {"digests": {"tls.crt": "a", "ca.crt": "b"}},
            "Secret default/door, which gateway needs, has no key tls.key (it has: ca.crt, tls.crt). Add it, or name "
            "another Secret in the spec.",
            id="it lacks a key",
        ),
    ],
)
def test_what_is_missing_is_said(secret: JsonObject | None, message: str) -> None:
    found = gateway(world(secret))
    assert (str_at(found, "state"), str_at(found, "reason"), str_at(found, "message")) == (
        "Failed",
        "InvalidReference",
        message,
    )


@pytest.mark.parametrize(
    ("secret", "told"),
    [
        pytest.param({"digests": {"tls.crt": "a", "tls.key": "b"}}, True, id="it is there"),
        pytest.param(None, False, id="nobody told of it"),
    ],
)
def test_what_is_there_or_unknown_is_not_called_missing(secret: JsonObject | None, told: bool) -> None:
    assert str_at(gateway(world(secret, told=told)), "reason") != "InvalidReference"


def test_the_password_that_the_operator_makes_itself_is_nobodys_to_supply() -> None:
    found = World.of(example("development"))
    found.lose(ObjectRef("", "Secret", "default", "dev-neo4j-auth"))
    planned = found.step()
    reasons = {str_at(one, "reason") for one in objects_at(planned.decision.status, "components")}
    assert "InvalidReference" not in reasons


@pytest.mark.parametrize(
    ("network", "hint"),
    [
        pytest.param({}, "", id="no authorities"),
        pytest.param(
            {"caConfigMap": {"name": "corporate-ca"}},
            " Its pods wait for ConfigMap default/corporate-ca (network.caConfigMap of the operator's configuration) "
            "where it does not exist: kubectl get configmap -n default corporate-ca",
            id="authorities",
        ),
    ],
)
def test_pods_that_do_not_start_lead_to_the_authorities_that_they_mount(network: JsonObject, hint: str) -> None:
    found = World.of(example("development"))
    found.share("config", ConfigurationObserved(configuration={"network": network}, observed_at=START))
    found.settle()
    assert {str_at(one, "message") for one in objects_at(found.cluster, "status", "components")} == {""}
    deployment = found.find(ObjectRef("apps", "Deployment", "default", "dev-gateway"))
    assert deployment is not None
    deployment["status"] = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 0}
    found.observe(deployment)
    assert str_at(gateway(found), "message") == (
        "Deployment dev-gateway has 0 of 1 pods ready and 1 of them up to date." + hint
    )
