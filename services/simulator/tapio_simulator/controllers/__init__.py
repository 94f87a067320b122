"""The controller manager of a simulated cluster, kubelets included. A real API server has one of its own."""

from __future__ import annotations

from tapio_simulator.controllers.running import run_controllers
from tapio_simulator.controllers.settings import ControllerSettings

__all__ = ["ControllerSettings", "run_controllers"]
