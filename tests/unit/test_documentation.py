"""What the documentation points at exists, and every page can be found from README.md."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for path in map(Path, subprocess.check_output(["git", "ls-files", "*.md"], cwd=ROOT, text=True).split())
    if "seed" not in path.parts  # as it was given
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
MENTIONED = re.compile(r"`((?:docs|deploy|examples|crds|shared|services|cli|tests)/[\w./-]+\.(?:md|py|yaml|json))`")


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    broken: list[str] = []
    for link in LINK.findall((ROOT / page).read_text()):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_files_that_are_named_exist(page: Path) -> None:
    assert [one for one in MENTIONED.findall((ROOT / page).read_text()) if not (ROOT / one).exists()] == []


def test_every_page_is_found_from_the_readme() -> None:
    linked = {link.partition("#")[0] for link in LINK.findall((ROOT / "README.md").read_text())}
    assert {str(page) for page in PAGES if page.parent == Path("docs")} <= linked


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_targets_of_make_exist(page: Path) -> None:
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z][a-z-]+)", (ROOT / page).read_text(), re.MULTILINE))
    assert named - known == set()
