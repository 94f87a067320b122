"""Scans what is rendered from the examples with checkov: no failed check without a written reason, no stale reason.

checkov is run from a virtual environment of its own (`make scan` makes it from requirements.lock): with its 99 packages
it would double the time and the size of the project's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import yaml

from tapio_shared.json import JsonObject, JsonValue, object_at, objects_at, str_at, strings_at
from tests.scan.reasons import SKIPS, Failure, judged, read_skips
from tests.support.planned_world import example
from tests.support.rendered import objects_of, rendered
from tests.unit.objects.golden import EXAMPLES

NAMESPACE = "tapio"
"""The examples name none; objects without one would all fail the check for the namespace `default`."""


def main(arguments: Sequence[str]) -> int:
    """Scan with the checkov at the given path; 0 when all that failed is accounted for."""
    with tempfile.TemporaryDirectory() as folder:
        components = write_examples(Path(folder))
        failures, passed = scan(arguments[0], Path(folder), components)
    complaints = judged(failures, read_skips(SKIPS))
    for complaint in complaints:
        sys.stdout.write(f"{complaint}\n")
    summary = (
        f"checkov: {passed} checks passed, {len(failures)} failed, of which {len(complaints)} are not accounted for."
    )
    sys.stdout.write(f"{summary}\n")
    return 1 if complaints or not passed else 0


def write_examples(folder: Path) -> dict[str, str]:
    """Render every example into `folder`; answers the component of each object, by Kind.namespace.name."""
    components: dict[str, str] = {}
    for name in EXAMPLES:
        document = example(name)
        object_at(document, "metadata")["namespace"] = NAMESPACE
        objects = objects_of(rendered(document, monitoring=True))
        (folder / f"{name}.yaml").write_text(yaml.safe_dump_all(objects))
        components |= {resource_name(one): component_of(one) for one in objects}
    return components


def resource_name(document: JsonObject) -> str:
    """What checkov calls an object."""
    metadata = object_at(document, "metadata")
    return f"{str_at(document, 'kind')}.{str_at(metadata, 'namespace', default='default')}.{str_at(metadata, 'name')}"


def component_of(document: JsonObject) -> str:
    """Kind/component of an object."""
    return f"{str_at(document, 'kind')}/{strings_at(document, 'metadata', 'labels')['app.kubernetes.io/component']}"


def scan(checkov: str, folder: Path, components: dict[str, str]) -> tuple[list[Failure], int]:
    """What failed, and how many checks passed."""
    command = [checkov, "--directory", str(folder), "--framework", "kubernetes", "--output", "json", "--skip-download"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        report = cast("JsonValue", json.loads(done.stdout))
    except ValueError:
        sys.exit(f"checkov ended with {done.returncode} and printed no report:\n{done.stdout}\n{done.stderr}")
    found = objects_at(report, "results", "failed_checks")
    failures = [
        Failure(
            str_at(one, "check_id"),
            str_at(one, "check_name"),
            components[str_at(one, "resource")],
            Path(str_at(one, "file_path")).stem,
        )
        for one in found
    ]
    passed = object_at(report, "summary").get("passed")
    return failures, passed if isinstance(passed, int) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
