"""What the examples render to is what was read and committed, byte for byte."""

from __future__ import annotations

import pytest

from tests.unit.objects.golden import FILES, FOLDER, rendering


@pytest.mark.parametrize("name", FILES)
def test_the_rendering_is_the_golden_one(name: str) -> None:
    path = FOLDER / f"{name}.yaml"
    golden = path.read_text() if path.exists() else ""
    assert rendering(name) == golden, "read the diff; then `make golden`"


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} <= set(FILES)
