"""Where a service finds its API server, and what it says when it finds none there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tapio_shared.adapters.kube_http import load_configuration
from tapio_shared.errors import InvalidSettings


@pytest.mark.parametrize(
    ("kubeconfig", "said"),
    [
        pytest.param(
            "",
            "The Kubernetes configuration of this pod's service account can't be used: Service host/port is not set. "
            "Outside of a cluster, name a kubeconfig (TAPIO_KUBECONFIG).",
            id="no cluster around it",
        ),
        pytest.param(
            "{}/none", "There is no kubeconfig {}/none. Name one that there is (TAPIO_KUBECONFIG).", id="no such file"
        ),
        pytest.param(
            "{}/pod.yaml",
            "The Kubernetes configuration of context (current) of {}/pod.yaml can't be used: Invalid kube-config file. "
            "Expected key current-context in {}/pod.yaml.",
            id="another kind of file",
        ),
    ],
)
async def test_a_configuration_that_can_not_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kubeconfig: str, said: str
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    (tmp_path / "pod.yaml").write_text("apiVersion: v1\nkind: Pod\n")
    with pytest.raises(InvalidSettings) as caught:
        await load_configuration(kubeconfig.replace("{}", str(tmp_path)), "")
    assert str(caught.value) == said.replace("{}", str(tmp_path))
