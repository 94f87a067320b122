"""One running operator per kind of Kubernetes, shared by the tests that leave it as they found it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from itertools import count

import pytest
import pytest_asyncio

from tests.support.e2e_kubernetes import real_kubernetes, simulated_kubernetes
from tests.support.operator_run import OperatorRun, start_operator

_numbers = count(1)


@pytest_asyncio.fixture(
    scope="session", loop_scope="session", params=["simulated", pytest.param("real", marks=pytest.mark.real)]
)
async def shared_operator(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[OperatorRun]:
    """The operator with two workers and the webhook, on the simulator or on a control plane."""
    directory = tmp_path_factory.mktemp("operator")
    make = real_kubernetes if request.param == "real" else simulated_kubernetes
    async with make(directory) as kubernetes, start_operator(kubernetes, directory) as run:
        yield run


@pytest_asyncio.fixture(loop_scope="session")
async def operator(shared_operator: OperatorRun, request: pytest.FixtureRequest) -> AsyncGenerator[OperatorRun]:
    """The shared operator; the end of its logs is shown when the test fails."""
    before = request.session.testsfailed
    yield shared_operator
    if request.session.testsfailed > before:
        print(shared_operator.logs())  # noqa: T201 - pytest shows it with the failure


@pytest_asyncio.fixture(loop_scope="session")
async def namespace(shared_operator: OperatorRun) -> AsyncGenerator[str]:
    """A namespace of the test's own; its TapioClusters are gone before the next test begins."""
    name = f"e2e-{next(_numbers)}"
    kubectl = shared_operator.kubernetes.kubectl
    await kubectl.run("create", "namespace", name)
    yield name
    await kubectl.run("delete", "tapioclusters", "--all", "-n", name, "--timeout=60s")
    await kubectl.run("delete", "namespace", name, "--wait=false")
