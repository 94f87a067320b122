"""The browser of the page's end-to-end tests: the machine's Chromium, or Debian's, which is installed once by apt.

`python -m tests.ui.chromium` installs it where there is none. Nothing else is downloaded: Playwright, which drives it,
would bring a build of its own from elsewhere, and is told which program to use instead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.async_api import ConsoleMessage, Page, async_playwright

SETTING = "TAPIO_CHROMIUM"
"""Environment variable: path of the Chromium to use, where it is none of the usual names on PATH."""
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_PACKAGES = ("chromium", "fonts-dejavu-core")
_HOW = (
    "Install Chromium (on Debian: apt-get install chromium; elsewhere a chromium or google-chrome on PATH), or name "
    f"one: {SETTING}=/path/to/chromium."
)
_LOOK: Mapping[str, str] = {"DEBIAN_FRONTEND": "noninteractive"}
WIDTH, HEIGHT = 1440, 900


class NoBrowser(Exception):
    """There is no Chromium, and it can't be installed here; the sentence says what to do."""


def find_chromium(environment: Mapping[str, str]) -> Path:
    """The Chromium of this machine; `NoBrowser` when there is none."""
    named = environment.get(SETTING)
    if named:
        if not Path(named).is_file():
            raise NoBrowser(f"{SETTING} names {named}, and there is no such file.")
        return Path(named)
    for name in _NAMES:
        found = shutil.which(name)
        if found is not None:
            return Path(found)
    raise NoBrowser(f"The tests of the page need a browser, and there is none. {_HOW}")


def install() -> Path:
    """The Chromium of this machine, installed by apt where there is none. `NoBrowser` where that can't be."""
    try:
        return find_chromium(os.environ)
    except NoBrowser:
        if os.environ.get(SETTING):
            raise
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise NoBrowser(f"The tests of the page need a browser, and only root can install one with apt-get. {_HOW}")
    for command in (("update", "-q"), ("install", "-q", "-y", "--no-install-recommends", *_PACKAGES)):
        print(f"apt-get {' '.join(command)}", flush=True)  # noqa: T201 - a step that takes a minute
        if subprocess.run(["apt-get", *command], env={**os.environ, **_LOOK}, check=False).returncode != 0:
            raise NoBrowser(f"`apt-get {' '.join(command)}` failed, see above. {_HOW}")
    return find_chromium(os.environ)


@dataclass(slots=True)
class Window:
    """A page in a browser, and what went wrong in it."""

    page: Page
    said: list[str] = field(default_factory=list[str])
    """Warnings and errors of the console, and exceptions that nobody caught."""
    asked: list[str] = field(default_factory=list[str])
    """Every address that was asked for."""

    def hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.said.append(f"{message.type}: {message.text}")


@asynccontextmanager
async def window(
    *, dark: bool = False, width: int = WIDTH, height: int = HEIGHT, scale: float = 1.0
) -> AsyncGenerator[Window]:
    """A headless browser with one empty page, in UTC and English."""
    async with (
        async_playwright() as playwright,
        # As root Chromium has no sandbox, and it is shown nothing but our own page.
        await playwright.chromium.launch(
            executable_path=find_chromium(os.environ), chromium_sandbox=False, args=["--font-render-hinting=none"]
        ) as browser,
        await browser.new_context(
            viewport={"width": width, "height": height},
            device_scale_factor=scale,
            locale="en-GB",
            timezone_id="UTC",
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
        ) as context,
    ):
        opened = Window(await context.new_page())
        opened.page.set_default_timeout(30_000)
        opened.page.on("console", lambda message: opened.hear(message))
        opened.page.on("pageerror", lambda error: opened.said.append(f"exception: {error}"))
        opened.page.on("request", lambda request: opened.asked.append(request.url))
        yield opened


if __name__ == "__main__":
    try:
        print(install())  # noqa: T201
    except NoBrowser as err:
        sys.exit(str(err))
