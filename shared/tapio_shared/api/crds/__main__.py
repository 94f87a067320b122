"""`make crds`: writes crds/*.yaml, docs/reasons.md and docs/settings.md, or with --check compares them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

import yaml

from tapio_shared.api.crds import build_crds
from tapio_shared.api.reasons_page import render_reasons
from tapio_shared.api.settings_page import render_settings

ROOT: Final = Path(__file__).parents[4]

_HEADER: Final = """\
# Made by `make crds` from shared/tapio_shared/api; edit the models, not this file.
# For Kubernetes {versions}
"""


class _PlainDumper(yaml.SafeDumper):
    """Writes everything in full: not every reader of a CRD follows YAML's anchors."""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def rendered() -> dict[Path, str]:
    """The generated files, by their path within the repository."""
    return {
        Path("crds/crds.yaml"): _yaml(cel=True, versions="1.25 and newer; crds-legacy.yaml is for older ones."),
        Path("crds/crds-legacy.yaml"): _yaml(cel=False, versions="1.20 to 1.24: without CEL rules."),
        Path("docs/reasons.md"): render_reasons(),
        Path("docs/settings.md"): render_settings(),
    }


def main(arguments: list[str]) -> int:
    """Writes or compares; 1 when --check finds a difference."""
    parser = argparse.ArgumentParser(prog="python -m tapio_shared.api.crds", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the files instead of writing them")
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of the repository")
    options = parser.parse_args(arguments)
    stale = 0
    for path, text in rendered().items():
        target = options.root / path
        if target.is_file() and target.read_text() == text:
            continue
        stale += 1
        if options.check:
            sys.stderr.write(f"{path} differs from the models; run `make crds`.\n")
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
            sys.stdout.write(f"wrote {path}\n")
    return 1 if options.check and stale else 0


def _yaml(*, cel: bool, versions: str) -> str:
    documents = yaml.dump_all(build_crds(cel=cel), Dumper=_PlainDumper, sort_keys=False, width=110, allow_unicode=True)
    return _HEADER.format(versions=versions) + "---\n" + documents


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
