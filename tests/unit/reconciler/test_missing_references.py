"""What a person must supply is named while it is missing: Secrets, and ConfigMaps of certificate authorities. One that
nobody told of is not called missing."""

from __future__ import annotations

import msgspec
import pytest

from tapio_shared.facts import ConfigurationObserved, ServedResource
from tapio_shared.json import JsonObject, objects_at, str_at
from tapio_shared.keys import ObjectRef
from tests.support.planned_world import START, World, discovery, example

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


AUTHORITIES = ObjectRef("tapio.io", "Authorities", "default", "corporate-ca")


def trusting(digests: JsonObject | None) -> World:
    """A converged development cluster whose pods trust the key bundle.pem of corporate-ca; None: it does not exist."""
    found = World.of(example("development"))
    network: JsonObject = {"caConfigMap": {"name": "corporate-ca", "key": "bundle.pem"}}
    found.share("config", ConfigurationObserved(configuration={"network": network}, observed_at=START))
    found.settle()
    tell(found, AUTHORITIES, digests)
    return found


def tell(found: World, authorities: ObjectRef, digests: JsonObject | None) -> None:
    if digests is None:
        found.lose(authorities)
        return
    metadata: JsonObject = {"name": authorities.name, "namespace": authorities.namespace}
    found.observe({"apiVersion": "tapio.io/v1", "kind": "Authorities", "metadata": metadata, "digests": digests})


_NAMED = "ConfigMap default/corporate-ca, which network.caConfigMap of the operator's configuration names for gateway, "


@pytest.mark.parametrize(
    ("digests", "message"),
    [
        pytest.param(
            None,
            "does not exist. Create it (kubectl create configmap corporate-ca -n default --from-file=bundle.pem=FILE), "
            "or name another one; the pods start by themselves then.",
            id="it does not exist",
        ),
        pytest.param(
            {"ca.crt": "a"},
            "holds nothing under the key bundle.pem (keys that hold something: ca.crt). Put PEM certificates there.",
            id="it lacks the key",
        ),
        pytest.param(
            {"bundle.pem": ""},
            "holds nothing under the key bundle.pem (keys that hold something: none). Put PEM certificates there.",
            id="it is empty",
        ),
    ],
)
def test_authorities_that_are_missing_are_named_until_they_come(digests: JsonObject | None, message: str) -> None:
    found = trusting(digests)
    found.settle()
    gateways = [one for one in objects_at(found.cluster, "status", "components") if str_at(one, "name") == "gateway"]
    assert [(str_at(one, "state"), str_at(one, "reason"), str_at(one, "message")) for one in gateways] == [
        ("Failed", "InvalidReference", _NAMED + message)
    ]
    assert condition(found, "Stalled") == "True"
    tell(found, AUTHORITIES, {"bundle.pem": "a"})
    found.settle()
    assert condition(found, "Stalled") == ""
    assert condition(found, "Ready") == "True"


def test_authorities_of_the_agents_namespace_are_named_for_the_agents() -> None:
    found = World.of(example("development"))
    network: JsonObject = {"caConfigMap": {"name": "corporate-ca"}}
    found.share("config", ConfigurationObserved(configuration={"network": network}, observed_at=START))
    found.edit(collectors={"systemd": True})
    found.settle()
    tell(found, ObjectRef("tapio.io", "Authorities", "tapio-nodes", "corporate-ca"), None)
    tell(found, AUTHORITIES, {"ca.crt": "a"})
    found.settle()
    failed = {
        str_at(one, "name"): str_at(one, "message")
        for one in objects_at(found.cluster, "status", "components")
        if str_at(one, "state") == "Failed"
    }
    assert set(failed) == {"systemd"}
    assert failed["systemd"].startswith("ConfigMap tapio-nodes/corporate-ca, which ")


def test_the_authority_that_a_gateways_route_names() -> None:
    found = World.of(example("development"))
    served = discovery()
    found.share("discovery", msgspec.structs.replace(served, resources=[*served.resources, *_ROUTES]))
    tls: JsonObject = {"secretRef": {"name": "door"}, "caConfigMapRef": {"name": "ours"}}
    exposure: JsonObject = {"type": "HTTPRoute", "host": "tapio.example.com", "parentRef": {"name": "public"}}
    found.edit(gateway={"tls": tls, "exposure": exposure})
    found.settle()
    assert condition(found, "Stalled") == ""
    ours = ObjectRef("tapio.io", "Authorities", "default", "ours")
    tell(found, ours, None)
    found.settle()
    gateways = [one for one in objects_at(found.cluster, "status", "components") if str_at(one, "name") == "gateway"]
    assert [str_at(one, "message") for one in gateways] == [
        "ConfigMap default/ours, which spec.gateway.tls.caConfigMapRef names for gateway, does not exist. Create it "
        "(kubectl create configmap ours -n default --from-file=ca.crt=FILE), or name another one; the Gateway trusts "
        "its certificate then."
    ]
    tell(found, ours, {"ca.crt": "a"})
    found.settle()
    assert condition(found, "Stalled") == ""


_ROUTES = [
    ServedResource(
        group="gateway.networking.k8s.io", version=version, kind=kind, plural=f"{kind.lower()}s", namespaced=True
    )
    for kind, version in (("HTTPRoute", "v1"), ("BackendTLSPolicy", "v1alpha3"))
]


def condition(found: World, kind: str) -> str:
    conditions = objects_at(found.cluster, "status", "conditions")
    return next((str_at(one, "status") for one in conditions if str_at(one, "type") == kind), "")
