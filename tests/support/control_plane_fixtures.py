"""The control plane as pytest fixtures: one for the whole run, a namespace per test.

Loaded as a plugin by tests/conftest.py; importing these names into a test module would start one for each module.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator
from itertools import count
from pathlib import Path

import pytest
import pytest_asyncio

from tests.control_plane.binaries import find_binaries
from tests.control_plane.launcher import ControlPlane, start_control_plane

_numbers = count(1)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def control_plane(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[ControlPlane]:
    """A running etcd, kube-apiserver and kube-controller-manager. For tests marked `real`."""
    if find_binaries(os.environ) is None:
        pytest.fail(
            "This test needs the programs of a control plane. Run `python -m tests.control_plane.build` once "
            "(about 6 minutes), or set TAPIO_CONTROL_PLANE to a folder that holds them."
        )
    async with start_control_plane(tmp_path_factory.mktemp("control-plane")) as plane:
        yield plane


@pytest.fixture
def admin_kubeconfig(control_plane: ControlPlane) -> Path:
    """A kubeconfig that may do everything."""
    return control_plane.kubeconfig


@pytest_asyncio.fixture
async def namespace(control_plane: ControlPlane, request: pytest.FixtureRequest) -> AsyncGenerator[str]:
    """A new namespace named after the test; its deletion is asked for at the end and not waited for."""
    stem = re.sub("[^a-z0-9]+", "-", request.function.__name__.lower()).strip("-")[:50]
    name = f"{stem}-{next(_numbers)}"
    made = await control_plane.admin.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    assert made.status == 201, made.text
    yield name
    await control_plane.admin.call("DELETE", f"/api/v1/namespaces/{name}")
