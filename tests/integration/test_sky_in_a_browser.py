"""The page of the sky in a real browser: what is drawn, and where clicks and keys lead."""

import shutil
import socket
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import uvicorn
from playwright.sync_api import Page, sync_playwright

from kira.ledger import Context, Ledger, Outcome, Record, Stage
from kira.pages.app import create_app
from kira.pages.data import Data
from kira.sdss import FrameId
from kira.settings import Settings
from kira.stages.positions import FROM_LIST, Positions, write_positions
from kira.storage import open_store

pytestmark = pytest.mark.integration

CONTEXT = Context("b-1", "shared", "dr12", "survey-1", "run 1")
PUBLISHED, FAILED, UNKNOWN, PAPER = (0, 114, 178), (213, 94, 0), (184, 184, 184), (0, 0, 0)
FIELD_DEGREES = 1489 * 0.396 / 3600


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A strip northwards at RA 200, fields 11 to 15: published, failed in one band, and three that nobody asked for."""
    folder = tmp_path_factory.mktemp("sky")
    settings = Settings(f"file://{folder}/stage", "bucket", f"sqlite:///{folder}/ledger.db")
    ledger = Ledger(settings.ledger_url)
    number = np.arange(11, 16)
    write_positions(open_store(settings.stage_url), "shared", Positions(
        np.full(5, 94, np.int32), np.full(5, 1, np.int8), number.astype(np.int16), np.full(5, 200, np.float32),
        (40 + 0.15 * (number - 11)).astype(np.float32), FROM_LIST,
    ))  # fmt: skip
    good = [FrameId.parse(f"dr12-301-000094-1-0011-{band}") for band in "ugriz"]
    for stage in Stage:
        ledger.record(CONTEXT, stage, [Record(f, Outcome.OK, sources=9) for f in good])
    bad = FrameId.parse("dr12-301-000094-1-0012-z")
    ledger.record(CONTEXT, Stage.MIRROR, [Record(bad, Outcome.CORRUPT_UPSTREAM, "cut short")])
    ledger.engine.dispose()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = create_app(Data(lambda: settings), [])
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 60
    while not server.started and time.monotonic() < until:
        time.sleep(0.05)
    assert server.started
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(30)


@pytest.fixture
def page(address: str) -> Iterator[Page]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("There is no Chromium: what the map draws is NOT proven.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        made = browser.new_page(viewport={"width": 1000, "height": 900}, reduced_motion="reduce")
        wrong: list[str] = []
        made.on("pageerror", lambda error: wrong.append(str(error)))
        made.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        # A browser asks for a picture of the site by itself.
        made.route("**/favicon.ico", lambda route: route.fulfill(status=204))
        made.goto(f"{address}/sky")
        made.locator("#sky-tools").wait_for(state="visible")
        yield made
        assert wrong == []
        browser.close()


def search(page: Page, text: str) -> None:
    page.fill("#sky-at", text)
    page.press("#sky-at", "Enter")
    page.locator("#sky-view caption", has_text="field").wait_for()
    page.wait_for_timeout(1200)  # until it stands still


def colour(page: Page, north: float, east: float) -> tuple[int, ...]:
    """Colour of the map so many degrees from its centre; the table's caption says how much of the sky half of it is."""
    found: list[int] = page.evaluate(
        """([north, east]) => {
          const canvas = document.getElementById("sky-fields"), radius = Number(location.hash.split(",")[2]);
          const scale = Math.min(canvas.width, canvas.height) / 2 / radius;
          const x = canvas.width / 2 - east * scale, y = canvas.height / 2 - north * scale;
          return [...canvas.getContext("2d").getImageData(Math.round(x), Math.round(y), 1, 1).data];
        }""",
        [north, east],
    )
    return tuple(found[:3])


def test_fields_are_drawn_where_they_are_in_the_colour_of_their_state(page: Page) -> None:
    legend = page.locator("#sky-legend").inner_text().replace("\n", " ")
    assert "published: 1" in legend
    assert "failed: 1" in legend
    assert "not asked for: 3" in legend
    search(page, "94-1-11")
    assert page.locator("#sky-here").inner_text().startswith("94-1-11 · published in all bands")
    across, along = 2048 * 0.396 / 3600 / 2, FIELD_DEGREES / 2
    # A footprint is longer across the run, here in right ascension, than along it.
    assert along < 0.09 < across
    for east in (-0.1, 0.0, 0.1):
        assert colour(page, -0.07, east) == PUBLISHED
    assert colour(page, -0.09, 0.05) == PAPER
    assert colour(page, -0.03, 0.125) == colour(page, -0.03, -0.125) == PAPER
    assert colour(page, 0.11, 0.1) == FAILED  # the next field, north of it
    assert colour(page, 0.35, 0.1) == UNKNOWN
    page.select_option("#sky-band", "r")
    page.wait_for_timeout(300)
    assert colour(page, 0.11, 0.1) == UNKNOWN  # it failed in z alone, and of r nothing is known
    assert "failed: 0" in page.locator("#sky-legend").inner_text()


def test_a_click_leads_to_the_field(page: Page) -> None:
    asked: list[str] = []
    # The page of a field is another's.
    page.route("**/fields/**", lambda route: (asked.append(route.request.url), route.fulfill(body="a field")))
    search(page, "94-1-13")
    box = page.locator("#sky-lines").bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] / 2 + 3, box["y"] + box["height"] / 2 - 3)
    page.wait_for_url("**/fields/shared/dr12/94/1/13")
    assert len(asked) == 1


def test_it_is_used_by_keyboard(page: Page) -> None:
    page.route("**/fields/**", lambda route: route.fulfill(body="a field"))
    search(page, "94-1-13")

    def looks_at() -> list[float]:
        page.wait_for_timeout(800)
        return [float(number) for number in page.evaluate("location.hash").lstrip("#").split(",")]

    ra, dec, radius = looks_at()
    page.focus("#sky-lines")
    page.keyboard.press("ArrowUp")
    up = looks_at()
    assert up[0] == ra
    assert up[1] > dec
    page.keyboard.press("ArrowLeft")
    assert looks_at()[0] > ra  # the east is on the left
    page.keyboard.press("+")
    assert looks_at()[2] == pytest.approx(radius / 1.5, rel=0.01)
    page.keyboard.press("0")
    page.wait_for_timeout(800)
    assert page.evaluate("location.hash") == ""
    search(page, "94-1-12")
    page.focus("#sky-lines")
    page.keyboard.press("Enter")
    page.wait_for_url("**/fields/shared/dr12/94/1/12")


def test_what_is_no_place_is_said_and_nothing_of_it_is_run(page: Page) -> None:
    page.fill("#sky-at", "<img src=x onerror=alert(1)>")
    page.press("#sky-at", "Enter")
    page.locator("#sky-said", has_text="is no place").wait_for()
    assert page.locator("#sky-said img").count() == 0


def test_all_of_it_fits_on_a_phone(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    search(page, "94-1-11")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert colour(page, -0.07, 0.0) == PUBLISHED
