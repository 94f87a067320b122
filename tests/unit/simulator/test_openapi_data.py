"""The shipped schemas are what the generator writes from kubernetes-validate."""

from __future__ import annotations

import runpy
from pathlib import Path

SIMULATOR = Path(__file__).parents[3] / "services" / "simulator"


def test_the_data_is_up_to_date() -> None:
    generator = runpy.run_path(str(SIMULATOR / "generate_openapi.py"))
    written = (SIMULATOR / "tapio_simulator" / "data" / "openapi.json").read_text()
    assert generator["build"]() == written, "Run python services/simulator/generate_openapi.py."
