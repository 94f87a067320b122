"""A client certificate that ends, at a real API server: what was put in its place is used, by the same client."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tapio_shared.adapters.kube_http import HttpKube
from tests.control_plane.launcher import ControlPlane
from tests.support.eventually import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.real]
_SECONDS = 4
_MASTERS = ["system:masters"]


async def test_a_client_goes_on_with_a_new_certificate_when_its_own_has_ended(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    ends = control_plane.expiring_kubeconfig_for("somebody", _MASTERS, seconds=_SECONDS, name="ends")
    shutil.copy(ends, kubeconfig)
    async with await HttpKube.connect(kubeconfig=str(kubeconfig)) as kube:
        assert (await kube.request("GET", "/api/v1/namespaces")).status == 200

        async def has_ended() -> bool:
            return (await kube.request("GET", "/api/v1/namespaces")).status == 401

        await eventually(has_ended, seconds=_SECONDS + 20)
        renewed = control_plane.expiring_kubeconfig_for("somebody", _MASTERS, seconds=600, name="renewed")
        shutil.copy(renewed, kubeconfig)
        assert (await kube.request("GET", "/api/v1/namespaces")).status == 200
        async with kube.watch("/api/v1/namespaces", query={"timeoutSeconds": "1"}) as lines:
            assert [line async for line in lines] != []
