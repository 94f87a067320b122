"""How the simulated controller manager behaves."""

from __future__ import annotations

from dataclasses import dataclass, field

from tapio_simulator.kubelet.breakages import Breakages
from tapio_simulator.kubelet.settings import KubeletSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerSettings:
    """Settings of everything that makes objects move in a simulated cluster."""

    kubelet: KubeletSettings = field(default_factory=KubeletSettings)
    breakages: Breakages = field(default_factory=Breakages)
    """Kept by tests to break things while everything runs."""
    workers: int = 8
    """Keys that each controller works on at a time."""
    endpoints_delay: float = 0.1
    """Seconds in which changes of a Service's pods are gathered before its Endpoints are written."""
