"""Golden renderings of the examples: `make golden` writes them anew, test_golden.py compares.

On a current Kubernetes whole; on the oldest one what is different there, and no file when nothing is.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from tapio_shared.api.served import OLDEST, assumed_discovery
from tapio_shared.json import JsonObject
from tests.support.planned_world import example
from tests.support.rendered import context_of, objects_of, rendered, rendered_in

FOLDER = Path(__file__).parent / "golden"
EXAMPLES = ("quickstart", "development", "production", "edge")
_OLD = f"{OLDEST[0]}.{OLDEST[1]}"
FILES = (*EXAMPLES, *(f"{name}-on-{_OLD}" for name in EXAMPLES))


def rendering(name: str) -> str:
    """One file: an example as YAML, every object in the order of rendering."""
    example_name, _, old = name.partition("-on-")
    current = objects_of(rendered(example(example_name), monitoring=True))
    if not old:
        return _yaml(current)
    discovered = assumed_discovery(old, ("monitoring.coreos.com/v1",))
    found = objects_of(rendered_in(context_of(example(example_name), discovered=discovered)))
    return _yaml([one for one in found if one not in current])


def _yaml(objects: list[JsonObject]) -> str:
    return yaml.safe_dump_all(objects, sort_keys=True, width=120)


def main() -> None:
    """Write every golden file."""
    FOLDER.mkdir(exist_ok=True)
    for name in FILES:
        text, path = rendering(name), FOLDER / f"{name}.yaml"
        path.write_text(text) if text else path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
