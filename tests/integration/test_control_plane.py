"""The control plane that other tests stand on: it enforces schemas and RBAC, calls webhooks, tells what was asked."""

from __future__ import annotations

import asyncio
import base64
import re
import signal
import ssl
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from aiohttp import web

from tapio_shared.adapters.clock import SystemClock
from tapio_shared.certificates import CertificateAuthority, Usage
from tapio_shared.json import JsonObject, at, objects_at, str_at
from tests.control_plane.launcher import ControlPlane
from tests.support.eventually import eventually

pytestmark = pytest.mark.real

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ROLES = "/apis/rbac.authorization.k8s.io/v1/namespaces/{}"
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


def _config_map(name: str, **data: str) -> JsonObject:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": dict(data)}


def test_the_version_is_one_that_clients_can_parse(control_plane: ControlPlane) -> None:
    found = re.fullmatch(r"v1\.(\d+)\.\d+.*", control_plane.server_version)

    assert found is not None
    assert int(found[1]) >= 20


def _shorthand_crd(plural: str) -> JsonObject:
    """A node without `type`: a boolean or an object, whose properties are checked."""
    shorthand: JsonObject = {
        "x-kubernetes-preserve-unknown-fields": True,
        "properties": {"enabled": {"type": "boolean"}},
    }
    collectors: JsonObject = {"type": "object", "properties": {"ebpf": shorthand}}
    schema: JsonObject = {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "properties": {"collectors": collectors}},
            "status": {"type": "object", "properties": {"phase": {"type": "string"}}},
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.tests.tapio.example"},
        "spec": {
            "group": "tests.tapio.example",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": plural.capitalize()},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                }
            ],
        },
    }


async def test_a_boolean_passes_where_the_schema_preserves_unknown_fields(
    control_plane: ControlPlane, namespace: str
) -> None:
    admin = control_plane.admin
    assert (await admin.call("POST", CRDS, _shorthand_crd("gadgets"))).status == 201
    path = f"/apis/tests.tapio.example/v1/namespaces/{namespace}/gadgets"

    async def served() -> bool:
        return (await admin.call("GET", path)).status == 200

    await eventually(served)

    def gadget(name: str, ebpf: bool | JsonObject) -> JsonObject:
        return {
            "apiVersion": "tests.tapio.example/v1",
            "kind": "Gadgets",
            "metadata": {"name": name},
            "spec": {"collectors": {"ebpf": ebpf}},
        }

    boolean = await admin.call("POST", path, gadget("boolean", False))
    nested = await admin.call("POST", path, gadget("object", {"enabled": True}))
    wrong = await admin.call("POST", path, gadget("wrong", {"enabled": "yes"}))

    assert (boolean.status, at(boolean.body, "spec", "collectors", "ebpf")) == (201, False)
    assert (nested.status, at(nested.body, "spec", "collectors", "ebpf", "enabled")) == (201, True)
    assert wrong.status == 422
    assert str_at(objects_at(wrong.body, "details", "causes")[0], "field") == "spec.collectors.ebpf.enabled"


async def test_a_service_account_may_do_what_its_role_says_and_no_more(
    control_plane: ControlPlane, namespace: str
) -> None:
    admin, core = control_plane.admin, f"/api/v1/namespaces/{namespace}"
    await admin.call("POST", f"{core}/serviceaccounts", {"metadata": {"name": "reader"}})
    rules: JsonObject = {
        "metadata": {"name": "reader"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}],
    }
    await admin.call("POST", f"{ROLES.format(namespace)}/roles", rules)
    binding: JsonObject = {
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": namespace}],
    }
    await admin.call("POST", f"{ROLES.format(namespace)}/rolebindings", binding)
    reader = control_plane.client(await control_plane.kubeconfig_for_service_account(namespace, "reader"))

    async def granted() -> bool:  # the authorizer sees a binding through a watch of its own
        return (await reader.call("GET", f"{core}/configmaps")).status == 200

    await eventually(granted)
    denied = await reader.call("POST", f"{core}/configmaps", _config_map("forbidden"))

    assert (denied.status, denied.reason) == (403, "Forbidden")
    assert f'User "system:serviceaccount:{namespace}:reader" cannot create' in str_at(denied.body, "message")
    assert (await admin.call("GET", f"{core}/configmaps/forbidden")).status == 404


async def test_a_token_needs_an_existing_service_account(control_plane: ControlPlane, namespace: str) -> None:
    with pytest.raises(LookupError, match=rf"{namespace}/nobody: HTTP 404, .*Create the service account first"):
        await control_plane.kubeconfig_for_service_account(namespace, "nobody")


async def test_a_client_certificate_carries_user_and_groups(control_plane: ControlPlane, namespace: str) -> None:
    member = control_plane.client(control_plane.kubeconfig_for("alice", ["system:masters"]))
    stranger = control_plane.client(control_plane.kubeconfig_for("alice"))
    path = f"/api/v1/namespaces/{namespace}/configmaps"

    assert (await member.call("GET", path)).status == 200
    denied = await stranger.call("GET", path)
    assert denied.status == 403
    assert 'User "alice" cannot list resource "configmaps"' in str_at(denied.body, "message")


async def test_the_audit_log_counts_every_write(control_plane: ControlPlane, namespace: str) -> None:
    user = control_plane.client(control_plane.kubeconfig_for("writer", ["system:masters"]))
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    since = await control_plane.audit_position()

    await user.call("GET", path)
    await user.call("POST", path, _config_map("one", key="a"))
    await user.call("POST", path, _config_map("one", key="a"))
    await user.apply(f"{path}/two", _config_map("two", key="a"))
    await user.call("POST", path, _config_map("three"), query={"dryRun": "All"})
    await user.call("DELETE", f"{path}/one")

    events = [one for one in await control_plane.audit_events(since=since) if one.user.username == "writer"]
    assert [(one.verb, one.object_ref.name, one.response_status.code) for one in events if one.is_write] == [
        ("create", "one", 201),
        ("create", "one", 409),
        ("patch", "two", 201),
        ("delete", "one", 200),
    ]
    assert [one.verb for one in events if not one.is_write] == ["list", "create"]


async def test_objects_and_resource_versions_survive_a_restart_of_the_api_server(
    control_plane: ControlPlane, namespace: str
) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    made = await control_plane.admin.call("POST", path, _config_map("kept", key="a"))
    before = control_plane.api_server.pid

    await control_plane.restart_api_server(grace=0)

    assert control_plane.api_server.pid not in {0, before}
    found = await control_plane.admin.call("GET", f"{path}/kept")
    assert at(found.body, "metadata", "resourceVersion") == at(made.body, "metadata", "resourceVersion")


@asynccontextmanager
async def _refusing_webhook(folder: Path) -> AsyncGenerator[JsonObject]:
    """A webhook on loopback that refuses everything; yields its `clientConfig`."""
    now = SystemClock().now()
    authority = CertificateAuthority.create("webhook authority", now=now, valid_for=timedelta(hours=1))
    own = authority.issue(
        "webhook", now=now, valid_for=timedelta(hours=1), usage=Usage.SERVER, ip_addresses=["127.0.0.1"]
    )
    (folder / "webhook.pem").write_bytes(own.certificate_pem + own.key_pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "webhook.pem")

    async def refuse(request: web.Request) -> web.Response:
        asked: JsonObject = await request.json()
        response: JsonObject = {
            "uid": str_at(asked, "request", "uid"),
            "allowed": False,
            "status": {"message": "Not on a Monday."},
        }
        return web.json_response({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})

    application = web.Application()
    application.router.add_post("/validate", refuse)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        port: int = runner.addresses[0][1]
        bundle = base64.b64encode(authority.certificate_pem).decode()
        yield {"url": f"https://127.0.0.1:{port}/validate", "caBundle": bundle}
    finally:
        await runner.cleanup()


async def test_the_api_server_asks_a_webhook_on_loopback(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    path = f"/api/v1/namespaces/{namespace}/secrets"
    async with _refusing_webhook(tmp_path) as client_config:
        configuration: JsonObject = {
            "metadata": {"name": "monday"},
            "webhooks": [
                {
                    "name": "monday.tests.tapio.example",
                    "clientConfig": client_config,
                    "admissionReviewVersions": ["v1"],
                    "sideEffects": "None",
                    "rules": [
                        {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["secrets"], "operations": ["CREATE"]}
                    ],
                    "objectSelector": {"matchLabels": {"test": namespace}},
                }
            ],
        }
        assert (await control_plane.admin.call("POST", WEBHOOKS, configuration)).status == 201
        secret: JsonObject = {"metadata": {"generateName": "refused-", "labels": {"test": namespace}}}
        messages: list[str] = []

        async def refused() -> bool:  # the API server learns of the configuration through a watch of its own
            answer = await control_plane.admin.call("POST", path, secret)
            messages.append(str_at(answer.body, "message"))
            return answer.status >= 400

        try:
            await eventually(refused)
        finally:
            await control_plane.admin.call("DELETE", f"{WEBHOOKS}/monday")
        assert 'webhook "monday.tests.tapio.example" denied the request: Not on a Monday.' in messages[-1]


async def test_nothing_is_left_when_the_launcher_is_killed(control_plane: ControlPlane, tmp_path: Path) -> None:
    del control_plane  # its fixture has checked that there are programs to launch
    command = [sys.executable, "-m", "tests.control_plane.launcher", str(tmp_path)]
    launcher = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert launcher.stdout is not None
    async with asyncio.timeout(120):
        ready = (await launcher.stdout.readline()).decode()
    programs = psutil.Process(launcher.pid).children(recursive=True)

    launcher.send_signal(signal.SIGKILL)
    await launcher.wait()

    assert ready.startswith("Kubernetes v1.")
    assert len(programs) == 3
    _, alive = await asyncio.to_thread(psutil.wait_procs, programs, timeout=20)
    assert alive == []
