"""Golden renderings of the examples: `make golden` writes them anew, test_golden.py compares."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.support.planned_world import example
from tests.support.rendered import objects_of, rendered

FOLDER = Path(__file__).parent / "golden"
EXAMPLES = ("quickstart", "development", "production", "edge")


def rendering(name: str) -> str:
    """One example as YAML, every object in the order of rendering."""
    return yaml.safe_dump_all(objects_of(rendered(example(name), monitoring=True)), sort_keys=True, width=120)


def main() -> None:
    """Write every golden file."""
    FOLDER.mkdir(exist_ok=True)
    for name in EXAMPLES:
        (FOLDER / f"{name}.yaml").write_text(rendering(name))


if __name__ == "__main__":
    main()
