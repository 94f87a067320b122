"""Takes the pictures of the page for docs/history-page.md: `make pictures`. The history is that of the tests."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from playwright.async_api import Page, expect

from tapio_cli.history.archive import Archive
from tapio_shared.admissions import Admission
from tests.support.incidents import KEY
from tests.support.recorded_histories import write_archive
from tests.support.ui_pages import admissions_log, an_incident, page_of
from tests.ui.chromium import window

FOLDER = Path("docs/pictures")
_CLUSTER = f"{KEY.namespace}/{KEY.name}"
_FAILED = "ImagePullFailed"


async def _incident(page: Page) -> None:
    """The instant at which the image could not be pulled, with its cause."""
    await page.locator("#list [role=option]", has_text=_FAILED).first.click()
    await expect(page.locator("#details .because")).to_be_visible()


async def _asked(page: Page) -> None:
    """What bob asked for, each mark with the same room."""
    await page.locator("#by-order").click()
    await page.locator("#list [role=option]", has_text="nats.image: absent").first.click()
    await expect(page.locator("#details .diff")).to_be_visible()


async def _keys(page: Page) -> None:
    """What keys there are."""
    await page.keyboard.press("?")
    await expect(page.locator("#keys")).to_be_visible()


_PICTURES = (("incident", False, _incident), ("cause", True, _asked), ("keys", False, _keys))
"""Name, whether it is dark, and how to get there."""


async def _take(archive: Archive, admissions: list[Admission]) -> None:
    FOLDER.mkdir(exist_ok=True)
    answers = await admissions_log(*admissions)
    for name, dark, go in _PICTURES:
        async with page_of(archive, answers=answers, title="incident.tapio") as served, window(dark=dark) as opened:
            await opened.page.goto(f"{served.url}#cluster={_CLUSTER}")
            await expect(opened.page.locator("body")).to_have_attribute("data-ready", "true")
            await expect(opened.page.locator("#list [role=option]").first).to_be_visible()
            await go(opened.page)
            await opened.page.mouse.move(4, 4)
            await opened.page.wait_for_load_state("networkidle")
            path = FOLDER / f"history-page-{name}.png"
            await opened.page.screenshot(path=path)
            print(path)  # noqa: T201


def main() -> None:
    """Take them all."""
    messages, admissions = an_incident()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_take(Archive.open(write_archive(Path(folder) / "incident.tapio", messages)), admissions))


if __name__ == "__main__":
    main()
