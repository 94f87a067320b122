"""Nodes, a scheduler, a kubelet and a volume provisioner that run no containers, for simulated and real API servers.

They refuse to be generous: a pod becomes ready only when everything it names exists, fits and matches.
"""

from __future__ import annotations

from tapio_simulator.kubelet.breakages import Behaviour, Breakages, NodeFault
from tapio_simulator.kubelet.images import KnownImages
from tapio_simulator.kubelet.running import run_kubelet
from tapio_simulator.kubelet.settings import KubeletSettings, NodeShape, fleet

__all__ = [
    "Behaviour",
    "Breakages",
    "KnownImages",
    "KubeletSettings",
    "NodeFault",
    "NodeShape",
    "fleet",
    "run_kubelet",
]
