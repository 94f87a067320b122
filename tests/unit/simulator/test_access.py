"""Who may do what: tokens, RBAC, access reviews, and what is outside the closed list."""

from __future__ import annotations

import pytest
import pytest_asyncio

from tapio_shared.adapters.clock import SystemClock
from tapio_shared.adapters.random import SeededRandom
from tapio_shared.json import JsonObject, JsonValue, at, str_at
from tapio_simulator.api import Options
from tapio_simulator.calls import User
from tapio_simulator.cluster import SimulatedCluster
from tapio_simulator.identity import service_account
from tests.support.kube_calls import Calls, config_map

PATH = "/api/v1/namespaces/default/configmaps"
RBAC = "/apis/rbac.authorization.k8s.io/v1"


@pytest_asyncio.fixture
async def strict() -> SimulatedCluster:
    """A cluster that enforces RBAC, where ServiceAccount `worker` may read ConfigMaps of `default`."""
    made = SimulatedCluster(SystemClock(), SeededRandom(7), options=Options(enforce_rbac=True))
    await made.prepare()
    admin = Calls(made.kube(), "default")
    role: JsonObject = {
        "metadata": {"name": "reader"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]}],
    }
    binding: JsonObject = {
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "worker", "namespace": "default"}],
    }
    for plural, document in (("roles", role), ("rolebindings", binding)):
        made_one = await admin.create(f"{RBAC}/namespaces/default/{plural}", document)
        assert made_one.status == 201, made_one.message
    await admin.create("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "worker"}})
    return made


async def test_what_is_granted_is_allowed_and_the_rest_named(strict: SimulatedCluster) -> None:
    worker = Calls(strict.kube(service_account("default", "worker")), "default")
    assert (await worker.get(PATH)).status == 200
    reply = await worker.create(PATH, config_map("one"))
    assert (reply.status, reply.reason) == (403, "Forbidden")
    assert reply.message == (
        'configmaps is forbidden: User "system:serviceaccount:default:worker" cannot create resource "configmaps" '
        'in API group "" in the namespace "default"'
    )
    assert (await worker.get("/api/v1/configmaps")).message.endswith("at the cluster scope")
    assert (await worker.get("/api/v1/namespaces/default/secrets/x")).message == (
        'secrets "x" is forbidden: User "system:serviceaccount:default:worker" cannot get resource "secrets" '
        'in API group "" in the namespace "default"'
    )


async def test_patching_is_what_applying_needs(strict: SimulatedCluster) -> None:
    worker = Calls(strict.kube(service_account("default", "worker")), "default")
    reply = await worker.apply(f"{PATH}/one", config_map("one"))
    assert 'cannot patch resource "configmaps"' in reply.message


async def test_an_access_review_answers_the_same(strict: SimulatedCluster) -> None:
    worker = Calls(strict.kube(service_account("default", "worker")), "default")

    async def may(verb: str) -> bool:
        attributes: JsonObject = {"verb": verb, "resource": "configmaps", "namespace": "default"}
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        reply = await worker.create(path, {"spec": {"resourceAttributes": attributes}})
        return at(reply.document, "status", "allowed") is True

    assert (await may("get"), await may("delete")) == (True, False)


async def test_a_token_request_makes_a_token_of_its_account(strict: SimulatedCluster) -> None:
    admin = Calls(strict.kube(), "default")
    path = "/api/v1/namespaces/default/serviceaccounts/worker/token"
    reply = await admin.create(path, {"spec": {"expirationSeconds": 3600}})
    assert reply.status == 201
    user = strict.api.identities.user_of(str_at(reply.document, "status", "token"))
    assert user is not None
    assert user.name == "system:serviceaccount:default:worker"
    assert strict.api.identities.user_of("made up") is None


async def test_nobody_grants_what_they_do_not_hold(strict: SimulatedCluster) -> None:
    admin = Calls(strict.kube(), "default")
    rules: list[JsonValue] = [
        {"apiGroups": [RBAC.split("/")[2]], "resources": ["roles", "rolebindings"], "verbs": ["create"]},
    ]
    subject: JsonObject = {"kind": "ServiceAccount", "name": "worker", "namespace": "default"}
    reference: JsonObject = {"apiGroup": RBAC.split("/")[2], "kind": "ClusterRole", "name": "granter"}
    await admin.create(f"{RBAC}/clusterroles", {"metadata": {"name": "granter"}, "rules": rules})
    await admin.create(
        f"{RBAC}/clusterrolebindings", {"metadata": {"name": "granter"}, "roleRef": reference, "subjects": [subject]}
    )
    await admin.create(f"{RBAC}/clusterroles", {"metadata": {"name": "strong"}, "rules": [rule("secrets", "get")]})
    worker = Calls(strict.kube(service_account("default", "worker")), "default")
    path = f"{RBAC}/namespaces/default"
    held = await worker.create(f"{path}/roles", {"metadata": {"name": "a"}, "rules": [rule("configmaps", "get")]})
    assert held.status == 201, held.message
    more = await worker.create(f"{path}/roles", {"metadata": {"name": "b"}, "rules": [rule("secrets", "get")]})
    assert (more.status, more.reason) == (403, "Forbidden")
    assert more.message.endswith(
        "is attempting to grant RBAC permissions not currently held:\n"
        '{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}'
    )
    strong: JsonObject = {**reference, "name": "strong"}
    bound = await worker.create(
        f"{path}/rolebindings", {"metadata": {"name": "b"}, "roleRef": strong, "subjects": [subject]}
    )
    assert bound.status == 403


def rule(resource: str, verb: str) -> JsonObject:
    return {"apiGroups": [""], "resources": [resource], "verbs": [verb]}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        pytest.param("GET", "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas", id="a group that isn't served"),
        pytest.param("GET", "/api/v1/namespaces/default/podtemplates", id="a kind that isn't served"),
        pytest.param("GET", "/api/v1/namespaces/default/pods/x/log", id="a subresource that isn't served"),
        pytest.param("GET", "/metrics", id="a path that isn't served"),
    ],
)
async def test_what_is_not_on_the_closed_list_is_named(cluster: SimulatedCluster, method: str, path: str) -> None:
    calls = Calls(cluster.kube(User("somebody")), "default")
    reply = await calls.call(method, path)
    assert (reply.status, reply.reason) == (501, "NotImplemented")
    assert reply.message.startswith("The simulator does not serve GET ")
