"""The page as people use it, in a headless Chromium: by pointer, by keyboard, on a log that grows, and on a long one.

`make test-browser` runs these. What the page shows is compared with what the commands say of the same history.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import FloatRect, Locator, Page, expect

from tapio_cli.history.archive import Archive
from tapio_cli.history.instants import sequence_at
from tapio_cli.history.snapshots import snapshot
from tapio_cli.history.source import Recorded
from tapio_cli.history.story import Story, read_story
from tapio_cli.history.ui.chapter import Chapter
from tapio_shared.admissions import Admission
from tapio_shared.facts import DecisionRecorded
from tapio_shared.json import object_at, objects_at, str_at
from tapio_shared.ports import Message
from tests.support.incidents import KEY
from tests.support.recorded_histories import recorded_history, write_archive
from tests.support.ui_pages import (
    CLUSTER,
    TRACE,
    admissions_log,
    an_incident,
    grown,
    log_of,
    page_of,
    pods_told,
)
from tests.ui.chromium import Window, window

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]
INCIDENT = f"{KEY.namespace}/{KEY.name}"
SOME = re.compile(r"^\d+$")
EVENTS = 100_000
AXIS = 26
"""Pixels above the first lane: no mark lies there."""


@pytest.fixture(scope="module")
def told() -> tuple[list[Message], list[Admission]]:
    return an_incident()


@pytest.fixture(scope="module")
def admissions(told: tuple[list[Message], list[Admission]]) -> list[Admission]:
    return told[1]


@pytest.fixture(scope="module")
def history() -> list[Message]:
    return recorded_history()


@pytest.fixture(scope="module")
def archive(told: tuple[list[Message], list[Admission]], tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return Archive.open(write_archive(tmp_path_factory.mktemp("history") / "incident.tapio", told[0]))


@pytest.fixture(scope="module")
def story(archive: Archive) -> Story:
    return asyncio.run(read_story(archive, KEY))


@asynccontextmanager
async def shown(
    log: Recorded, *, admissions: Sequence[Admission] = (), cluster: str = INCIDENT, live: bool = False
) -> AsyncGenerator[Page]:
    """The page on `log`, once it shows the newest instant. Nothing may go wrong in it, and nobody else is asked."""
    answers = await admissions_log(*admissions)
    async with page_of(log, answers=answers, live=live) as served, window() as opened:
        await opened.page.goto(f"{served.url}#cluster={cluster}")
        await expect(opened.page.locator("body")).to_have_attribute("data-ready", "true", timeout=60_000)
        await expect(opened.page.locator("#tree")).to_have_attribute("data-revision", SOME)
        yield opened.page
        _nothing_wrong(opened, served.url)


def _nothing_wrong(opened: Window, url: str) -> None:
    assert opened.said == []
    assert [one for one in opened.asked if not one.startswith(url)] == []


async def box_of(page: Page) -> FloatRect:
    found = await page.locator("#lanes").bounding_box()
    assert found is not None
    return found


async def revision(page: Page) -> int:
    """The revision whose objects are shown."""
    return int(await page.locator("#tree").get_attribute("data-revision") or 0)


async def objects(page: Page) -> list[str]:
    """The objects that the tree holds."""
    found: list[str] = await page.locator("#tree [data-ref]").evaluate_all("items => items.map(one => one.dataset.ref)")
    return sorted(found)


def chosen(page: Page) -> Locator:
    """The line of the chosen mark."""
    return page.locator("#list [aria-selected=true]")


def state_of(page: Page, lane: str) -> Locator:
    """What is said of a lane's state at the instant."""
    return page.locator(f"#names [data-lane={lane}] .said")


def roll_out(story: Story) -> tuple[int, DecisionRecorded]:
    """The decision by which the image that nobody has came into the StatefulSet."""
    asked = next(one.sequence for one in story.own if b"nats:does-not-exist" in one.message.data)
    return next(
        (one.sequence, one.entry.record)
        for one in story.own
        if one.sequence > asked and isinstance(one.entry.record, DecisionRecorded) and one.entry.record.apply
    )


async def test_there_is_a_lane_for_every_component_and_the_end_is_shown(archive: Archive, story: Story) -> None:
    async with shown(archive) as page:
        lanes: list[str] = await page.locator("#names li").evaluate_all("items => items.map(one => one.dataset.lane)")
        status = object_at(snapshot(story, story.ends), "status")
        names = [str_at(one, "name") for one in objects_at(status, "components")]
        assert lanes[: 2 + len(names)] == ["TapioCluster", "operator", *names]
        assert await page.title() == f"{INCIDENT} · Tapio history"
        await expect(page.locator("#phase")).to_have_text("Ready")
        assert await objects(page) == sorted(object_at(snapshot(story, await revision(page)), "objects"))


async def test_the_pointer_scrubs_to_any_instant(archive: Archive, story: Story) -> None:
    async with shown(archive) as page:
        newest, box = await revision(page), await box_of(page)
        await page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + AXIS / 2)
        await page.mouse.down()
        await page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + AXIS / 2, steps=8)
        await page.mouse.up()
        instant = (await page.locator("#instant").inner_text()).removesuffix(" UTC").replace(" ", "T") + "Z"
        wanted = sequence_at(story, instant, now=story.last_at)
        await expect(page.locator("#tree")).to_have_attribute("data-revision", str(wanted))
        assert wanted < newest
        assert await objects(page) == sorted(object_at(snapshot(story, wanted), "objects"))


async def test_an_incident_is_seen_and_its_cause_is_a_click_away(
    archive: Archive, story: Story, admissions: list[Admission]
) -> None:
    async with shown(archive, admissions=admissions) as page:
        refused = page.locator("#list [role=option]", has_text="ImagePullFailed").first
        await refused.click()
        await expect(state_of(page, "nats")).to_have_text("Failed")
        await expect(page.locator("#phase")).not_to_have_text("Ready")
        wrote, decision = roll_out(story)
        marks = Chapter(story, admissions).marks
        number = next(number for number, mark in enumerate(marks) if mark.sequence == wrote)
        await page.locator(f"#event-{number}").click()
        details = page.locator("#details")
        await expect(details.locator(".revision").first).to_have_text(f"@{wrote}")
        await expect(details.locator(".because")).to_contain_text("by bob@example.org")
        await expect(details.locator(".because")).to_contain_text("docker.io/library/nats:does-not-exist")
        await expect(details.locator("#trace code")).to_have_text(TRACE)
        reasons = [*(one.reason for one in decision.apply), *(one.reason for one in decision.delete)]
        await expect(details.locator(".writes li span:not(.action)")).to_have_text(reasons)


async def test_a_mark_is_chosen_where_it_is_drawn_and_shows_its_diff(
    archive: Archive, admissions: list[Admission]
) -> None:
    async with shown(archive, admissions=admissions) as page:
        await page.locator("#by-order").click()
        box, bob = await box_of(page), page.locator("#list [role=option]", has_text="by bob@example.org").last
        await bob.click()
        # In order, every mark has the same room, and there is room for one at both ends (model.js, range).
        count = int(await page.locator("#timeline").get_attribute("aria-valuemax") or 0)
        rank = int(await page.locator("#timeline").get_attribute("aria-valuenow") or 0)
        margin = max(count * 0.02, 1)
        lane: int = await page.locator("#names li").evaluate_all(
            "items => items.findIndex(one => one.dataset.lane === 'TapioCluster')"
        )
        await page.locator("#first").click()
        await expect(page.locator("#timeline")).to_have_attribute("aria-valuenow", "0")
        place = (rank + 1 + margin) / (count + 2 * margin)
        await page.mouse.click(box["x"] + box["width"] * place, box["y"] + AXIS + 34 * lane + 17)
        await expect(page.locator("#timeline")).to_have_attribute("aria-valuenow", str(rank + 1))
        details = page.locator("#details")
        await expect(details.locator(".text")).to_contain_text("spec.nats.image")
        await expect(details.locator(".diff .added", has_text="does-not-exist").first).to_be_visible()
        await page.mouse.move(box["x"] + box["width"] * place, box["y"] + AXIS + 34 * lane + 18)
        await expect(page.locator("#tip")).to_contain_text("spec.nats.image")


async def test_an_object_of_the_tree_is_shown_as_it_was(archive: Archive) -> None:
    async with shown(archive) as page:
        item = page.locator("#tree [data-ref='StatefulSet.apps default/one-nats']")
        await item.click()
        document = page.locator("#details .document")
        await expect(document).to_contain_text("kind: StatefulSet")
        await expect(document).not_to_contain_text("does-not-exist")
        await page.locator("#list [role=option]", has_text="ImagePullFailed").first.click()
        await expect(state_of(page, "nats")).to_have_text("Failed")
        await item.click()
        await expect(document).to_contain_text("does-not-exist")


async def test_all_of_it_can_be_done_by_keyboard(archive: Archive, story: Story) -> None:
    async with shown(archive) as page:
        keys, slider, focused = page.keyboard, page.locator("#timeline"), page.locator(":focus")
        await keys.press("Tab")
        await expect(focused).to_have_text("To the time line")
        await keys.press("1")
        await expect(slider).to_be_focused()

        last = await slider.get_attribute("aria-valuenow")
        await keys.press("Home")
        await expect(slider).to_have_attribute("aria-valuenow", "0")
        await keys.press("ArrowRight")
        await expect(slider).to_have_attribute("aria-valuenow", "1")
        await keys.press("End")
        await expect(slider).to_have_attribute("aria-valuenow", last or "")

        for _ in range(3):  # TapioCluster, operator, nats
            await keys.press("ArrowDown")
        await expect(page.locator("#names .chosen .name")).to_have_text("nats")
        await keys.press("ArrowLeft")
        await expect(chosen(page)).to_contain_text("one-nats")
        await keys.press("Enter")
        await expect(page.locator("#details")).to_be_focused()
        await expect(page.locator("#details .because")).to_contain_text("was last written by the decision")

        await keys.press("2")
        await expect(focused).to_have_attribute("data-branch", "nats")
        await keys.press("ArrowLeft")
        await expect(focused).to_have_attribute("aria-expanded", "false")
        await keys.press("ArrowRight")
        await keys.press("ArrowRight")
        await expect(focused).to_have_attribute("data-ref", re.compile("^ConfigMap "))
        await keys.press("Enter")
        await expect(page.locator("#details .document")).to_contain_text("kind: ConfigMap")

        await keys.press("3")
        await expect(page.locator("#list")).to_be_focused()
        before = await chosen(page).get_attribute("data-number")
        await keys.press("ArrowUp")
        await expect(chosen(page)).not_to_have_attribute("data-number", before or "")

        await keys.press("?")
        await expect(page.locator("#keys")).to_be_visible()
        await keys.press("Escape")
        await expect(page.locator("#keys")).to_be_hidden()
        await keys.press("c")
        await expect(page.locator("#cluster")).to_be_focused()
        assert story.ends >= await revision(page)


async def test_what_is_recorded_while_one_looks_is_shown_and_followed(history: list[Message]) -> None:
    log = await log_of(history)
    async with shown(log, cluster=CLUSTER, live=True) as page:
        await expect(page.locator("#follow")).to_have_attribute("aria-pressed", "true")
        appended = await log.append(pods_told(history, ready=41))
        await expect(page.locator("#tree")).to_have_attribute("data-revision", str(appended.sequence))
        await expect(chosen(page)).to_contain_text("ready: 2 → 41")

        await page.locator("#previous").click()  # Who looks at an instant is left there.
        await expect(page.locator("#follow")).to_have_attribute("aria-pressed", "false")
        stays = await page.locator("#instant").inner_text()
        appended = await log.append(pods_told(history, ready=42))
        await expect(page.locator("#list [role=option]", has_text="→ 42")).to_have_class("later")
        assert await page.locator("#instant").inner_text() == stays

        await page.keyboard.press("l")
        await expect(page.locator("#tree")).to_have_attribute("data-revision", str(appended.sequence))


async def test_an_address_leads_to_the_mark_that_was_looked_at(archive: Archive) -> None:
    async with page_of(archive) as served, window() as opened:
        page = opened.page
        await page.goto(f"{served.url}#cluster={INCIDENT}")
        await page.locator("#list [role=option]", has_text="ImagePullFailed").first.click()
        await expect(page.locator("#details .revision").first).to_have_text(re.compile("^@"))
        mark, address = await page.locator("#details .revision").first.inner_text(), page.url
        await page.goto("about:blank")
        await page.goto(address)
        await expect(page.locator("#details .revision").first).to_have_text(mark)
        await expect(page.locator("#tree")).to_have_attribute("data-revision", mark.removeprefix("@"))


async def test_a_server_that_ended_is_said(history: list[Message]) -> None:
    log = await log_of(history)
    async with window() as opened:
        async with page_of(log, live=True) as served:
            await opened.page.goto(f"{served.url}#cluster={CLUSTER}")
            await expect(opened.page.locator("body")).to_have_attribute("data-ready", "true")
        await expect(opened.page.locator("#trouble")).to_contain_text("is tapioctl ui still running?")


async def test_a_hundred_thousand_events_are_no_burden(history: list[Message], tmp_path: Path) -> None:
    path = write_archive(tmp_path / "long.tapio", grown(history, EVENTS))
    async with shown(Archive.open(path), cluster=CLUSTER) as page:
        marks = int(await page.locator("#timeline").get_attribute("aria-valuemax") or 0)
        assert marks > EVENTS
        await page.locator("#timeline").focus()
        taken: list[float] = []
        for key in ("ArrowLeft", "PageUp", "Home", "ArrowRight", "+", "+", "+", "-", "0", "t", "t", "End"):
            taken.append(await page.evaluate(_UNTIL_DRAWN, key))
        assert sorted(taken)[len(taken) // 2] < 250, taken  # milliseconds from a key to what it draws
        # An instant in the middle: its objects, and its line.
        newest, box = history[-1].sequence + EVENTS, await box_of(page)
        await expect(page.locator("#tree")).to_have_attribute("data-revision", str(newest))
        await page.mouse.click(box["x"] + box["width"] / 2, box["y"] + AXIS / 2)
        await expect(page.locator("#tree")).not_to_have_attribute("data-revision", str(newest))
        assert abs(await revision(page) - newest / 2) < newest / 10


_UNTIL_DRAWN = """key => new Promise(done => {
  const began = performance.now();
  document.getElementById("timeline").dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
  requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - began)));
})"""
