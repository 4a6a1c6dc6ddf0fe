"""Kira's pages in Airflow's UI, in a real browser against the real api-server.

With `KIRA_SCREENSHOTS=folder` the pages are kept as pictures there, as docs/images has them.
"""

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import Observatory
from fastapi.routing import APIRoute
from playwright.sync_api import FrameLocator, Page, expect, sync_playwright

from kira.ledger.problems import groups
from kira.ledger.status import Known, catalogues
from kira.pages.app import create_app
from kira.pages.data import Data
from kira.sample import SampleSpec, write_sample
from kira.stack.airflow_server import USER

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]
CHROMIUM = "/usr/bin/chromium"
expect.set_options(timeout=30_000)  # the first picture of a server takes its imports along
NAME = "seen"
SPEC = SampleSpec(fields=1, bands=("g", "r", "i"))
FRAMES = [one for one in SPEC.frames() if str(one.release) == "dr12"]
CORRUPT = next(one for one in FRAMES if one.band == "g")


@dataclass
class Ingested:
    """An archive of synthetic frames, one of which was cut short on purpose, and what was done with it."""

    observatory: Observatory
    connection: str
    file: Path
    whole: bytes = field(repr=False)
    run: str

    @property
    def known(self) -> Known:
        """The catalogue in the ledger."""
        (found,) = [one for one in catalogues(self.observatory.ledger) if one.archive == NAME]
        return found

    def wait(self, run: str) -> str:
        """State in which a DAG run ended."""
        deadline, state = time.monotonic() + 600, ""
        while state not in ("success", "failed") and time.monotonic() < deadline:
            state = self.observatory.api.call("GET", f"/dags/sdss_ingest/dagRuns/{quote(run)}")["state"]
            time.sleep(1)
        return state


@pytest.fixture(scope="module")
def ingested(observatory: Observatory) -> Ingested:
    """An ingestion that has just been asked for."""
    folder = observatory.stack.config.home / "seen-sample"
    write_sample(SPEC, folder)
    file = folder / CORRUPT.release.service / CORRUPT.archive_path
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    connection = observatory.connect(NAME, folder)
    run = observatory.api.trigger("sdss_ingest", {"release": "dr12", "archive": connection, "bands": "gri"})
    return Ingested(observatory, connection, file, whole, run)


@pytest.fixture(scope="module")
def context(observatory: Observatory) -> Iterator[Any]:
    """A browser in which somebody is logged in."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1280, "height": 900}, base_url=base(observatory))
        page = context.new_page()
        page.goto("/auth/login")
        page.fill("input[name=username]", USER)
        page.fill("input[name=password]", observatory.stack.config.secrets.airflow_password)
        page.click("button[type=submit]")
        page.wait_for_selector("text=Dags")
        page.close()
        yield context
        browser.close()


@pytest.fixture
def page(context: Any) -> Iterator[Page]:
    """A page whose console stays clean."""
    page = context.new_page()
    said: list[str] = []
    page.on(
        "console",
        lambda message: said.append(f"{message.text} {message.location}") if message.type == "error" else None,
    )
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    page.close()
    assert said == []


def base(observatory: Observatory) -> str:
    return observatory.stack.config.url("airflow")


def inside(page: Page) -> FrameLocator:
    """What Airflow shows of Kira's pages."""
    return page.frame_locator("iframe")


def shot(page: Page, name: str) -> None:
    """Keep what is seen, where somebody asked for it."""
    if folder := os.environ.get("KIRA_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png")


def section(page: Page) -> Any:
    """The overview's part about the catalogue."""
    return inside(page).locator("section", has=page.get_by_role("heading", name=f"{NAME} · dr12"))


def test_without_a_login_no_route_answers(observatory: Observatory) -> None:
    routes = [route for route in create_app(Data(), []).routes if isinstance(route, APIRoute)]
    assert len(routes) >= 3
    for route in routes:
        path = "/kira" + re.sub(r"\{[^}]*\}", "1", route.path)
        for method in route.methods:
            status = httpx.request(method, base(observatory) + path, trust_env=False).status_code
            assert status in (401, 403), (method, path, status)
    stolen = httpx.get(base(observatory) + "/kira/", headers={"Authorization": "Bearer nonsense"}, trust_env=False)
    assert stolen.status_code in (401, 403)


def test_an_ingestion_is_followed_and_what_failed_is_found_and_mended(page: Page, ingested: Ingested) -> None:
    """Live to the verdict, in three clicks to the frame that is corrupt, and by a button back to a whole catalogue."""
    page.goto("/")
    page.get_by_role("link", name="Kira", exact=True).click()
    expect(inside(page).get_by_role("heading", name="Systems")).to_be_visible()
    inside(page).locator("html").evaluate("page => { page.dataset.first = 'yes'; }")
    published, seen = section(page).locator("dl.figures dd").first, set[str]()
    deadline = time.monotonic() + 400
    while "2 of 3 frames" not in seen and time.monotonic() < deadline:
        if published.count():
            seen.add(published.inner_text())
        page.wait_for_timeout(250)
    # A page that comes while the plan is being made knows of no frames yet.
    assert seen - {"0 of 0 frames"} == {"0 of 3 frames", "2 of 3 frames"}
    assert inside(page).locator("html").get_attribute("data-first") == "yes", "the page was loaded again"
    expect(section(page).locator(".verdict")).to_have_text("1 of 3 frames has failed")
    expect(section(page).locator(".synthetic")).to_have_text("synthetic frames")
    assert ingested.wait(ingested.run) == "success"  # with a frame left behind
    shot(page, "overview")

    shown = inside(page)
    section(page).get_by_role("link", name="1 failed").click()
    expect(shown.get_by_role("heading", name="Not published, by cause")).to_be_visible()
    expect(shown.locator(".verdict")).to_have_text("1 frame has failed")
    shown.locator("summary").first.click()
    shown.get_by_role("link", name=str(CORRUPT), exact=True).click()
    expect(shown.get_by_role("heading", name=str(CORRUPT), exact=True)).to_be_visible()
    expect(shown.locator("p.where span.bad")).to_contain_text("fetched twice")

    # Its neighbour was measured.
    shown.get_by_role("link", name="r", exact=True).click()
    expect(shown.locator("#count")).to_contain_text(re.compile(r"^[\d,]+ sources in survey-"))
    shown.locator("#canvas").press("n")
    expect(shown.locator("#source")).to_contain_text("magnitude")

    shown.get_by_role("link", name="Problems").click()
    shown.get_by_label("Catalogue").select_option(str(ingested.known.id))
    shown.get_by_role("button", name="Show").click()
    shown.locator("summary").first.click()
    ingested.file.write_bytes(ingested.whole)
    shown.get_by_role("button", name="Requeue these frames").click()
    expect(shown.locator("dialog[open]")).to_contain_text(ingested.connection)
    expect(shown.get_by_role("button", name="Leave it")).to_be_focused()
    assert serious(page, inside=True) == []
    shot(page, "problems")
    shown.get_by_role("button", name="Requeue", exact=True).click()
    expect(shown.locator("dialog .answer .good")).to_contain_text("was started")
    started = unquote(str(shown.locator("dialog .answer a").get_attribute("href")).rpartition("/")[2])
    assert ingested.observatory.api.call("GET", f"/dags/sdss_ingest/dagRuns/{quote(started)}")["conf"]["again"] is True
    assert ingested.wait(started) == "success"
    assert groups(ingested.observatory.ledger, ingested.known.id) == []
    shown.locator("dialog[open] [data-close]").click()
    shown.get_by_role("link", name="Overview").click()
    expect(section(page).locator(".verdict")).to_have_text("Whole: all 3 frames are published")


def test_somebody_was_told_of_the_frame_that_was_left_behind(ingested: Ingested) -> None:
    """Airflow's own callback sent it, and its links lead to the run."""
    assert ingested.wait(ingested.run) == "success"
    deadline, alerts = time.monotonic() + 60, list[Any]()
    while not alerts and time.monotonic() < deadline:
        alerts = [one for one in ingested.observatory.told if one["run"] == ingested.run]
        time.sleep(0.5)
    (alert,) = alerts
    assert (alert["severity"], alert["dag"], alert["left"]) == ("warning", "sdss_ingest", 1)
    assert str(CORRUPT) in alert["text"]
    assert "fetched twice" in alert["text"]
    assert any(ingested.run in unquote(str(one)) for one in alert["links"].values())


def test_airflow_leads_to_the_pages_and_back(page: Page, ingested: Ingested) -> None:
    """By the tabs of the DAG, the run, the task and its instance; by the task's own links; and out of the frame."""
    assert ingested.wait(ingested.run) == "success"
    run = f"/dags/sdss_ingest/runs/{ingested.run}"
    instance = f"{run}/tasks/batch.extract/mapped/0"
    for place, heading in (
        ("/dags/sdss_ingest", NAME), (run, f"Run {ingested.run}"),
        ("/dags/sdss_ingest/tasks/batch.extract", "Not published, by cause"), (instance, "Batch dr12-"),
    ):  # fmt: skip
        page.goto(place)
        tab = page.get_by_role("link", name="Kira", exact=True).and_(page.locator("a[href^='/dags/']"))
        tab.click()  # not the link of the navigation, which is there before the tabs are
        expect(inside(page).get_by_role("heading", name=heading).first).to_be_visible()
    page.goto(f"{instance}/details")
    folder = page.get_by_role("link", name="HDFS").get_attribute("href") or ""
    listed = page.request.get(folder)
    assert listed.ok, folder
    assert "stage.jsonl" in {one["pathSuffix"] for one in listed.json()["FileStatuses"]["FileStatus"]}
    page.get_by_role("link", name="Kira: this batch").click()
    expect(inside(page).get_by_role("heading", name="Batch dr12-")).to_be_visible()
    inside(page).get_by_role("link", name="the run’s tasks").click()
    expect(page).to_have_url(re.compile("/dags/sdss_ingest/runs/[^/]+$"))


def test_what_spark_did_is_drawn(page: Page, ingested: Ingested) -> None:
    assert ingested.wait(ingested.run) == "success"
    page.goto(f"/kira/runs/{quote(ingested.run)}")
    expect(page.locator("main")).to_contain_text("apache-airflow")
    shot(page, "run")
    page.get_by_role("link", name=re.compile("^dr12-")).last.click()
    drawing = page.get_by_role("img", name="Spark tasks by worker over time")
    expect(drawing).to_be_visible()
    assert drawing.locator("rect").count() >= 1
    drawing.scroll_into_view_if_needed()
    shot(page, "batch")


def test_dark_as_the_ui_around_it(page: Page, ingested: Ingested) -> None:
    page.goto("/plugin/kira")
    shown = inside(page).locator("html")
    expect(inside(page).locator("h2").first).to_be_visible()
    for theme in ("dark", "light"):
        page.evaluate(f"document.documentElement.className = '{theme}'")
        expect(shown).to_have_attribute("data-theme", theme)


def pages(ingested: Ingested) -> list[str]:
    """Addresses of one page of each kind."""
    assert ingested.wait(ingested.run) == "success"
    frame = next(one for one in FRAMES if one.band == "r")
    its_field = f"/kira/fields/{NAME}/dr12/{frame.run}/{frame.camcol}/{frame.field}"
    batches = {one.batch for one in ingested.observatory.ledger.outcomes(ingested.run)}
    batch = f"/kira/batches/{quote(next(one for one in batches if one))}"
    return [
        "/kira/", "/kira/problems", "/kira/runs", f"/kira/runs/{quote(ingested.run)}", batch, f"{batch}/report",
        "/kira/sky", "/kira/frames?q=r", its_field, f"/kira/frames/{NAME}/{frame}",
        f"/kira/frames/{NAME}/{frame}/header",
    ]  # fmt: skip


def serious(page: Page, *, inside: bool = False) -> list[str]:
    """What axe finds to be serious or worse."""
    shown = next(frame for frame in page.frames if "/kira/" in frame.url) if inside else page
    found = Axe().run(shown).response["violations"]
    return [f"{shown.url}: {one['id']}: {one['nodes'][0]['html']}" for one in found
            if one["impact"] in ("serious", "critical")]  # fmt: skip


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_anybody_can_use_them(page: Page, ingested: Ingested, theme: Any) -> None:
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    found: list[str] = []
    for address in pages(ingested):
        page.goto(address)
        page.wait_for_load_state("networkidle")
        expect(page.locator("html")).to_have_attribute("data-theme", theme)
        found += serious(page)
        if address.endswith("/sky") and theme == "light":
            shot(page, "sky")
    assert found == []


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_cut_off(page: Page, ingested: Ingested, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    wide = []
    for address in pages(ingested):
        page.goto(address)
        page.wait_for_load_state("networkidle")
        if page.evaluate("document.documentElement.scrollWidth") > width:
            wide.append(address)
        if width < 500 and address == "/kira/":
            shot(page, "overview-phone")
    assert wide == []


def test_another_site_cannot_press_the_button(context: Any, observatory: Observatory) -> None:
    """A form of another site is sent without the cookie, and Airflow takes no form for JSON anyway."""
    runs = len(observatory.dag_runs())
    page = context.new_page()  # whose console says that it was refused, as it should
    page.goto("about:blank")
    address = f"{base(observatory)}/api/v2/dags/sdss_ingest/dagRuns"
    page.route("http://elsewhere.example/", lambda route: route.fulfill(
        content_type="text/html",
        body=f'<form method="post" action="{address}" enctype="text/plain"><input name=\'{{"logical_date": null, "x\' '
        f'value=\'": 1}}\'></form>',
    ))  # fmt: skip
    page.goto("http://elsewhere.example/")
    with page.expect_response(address) as answer:
        page.evaluate("document.forms[0].submit()")
    assert answer.value.status in (401, 403, 422)
    assert len(observatory.dag_runs()) == runs
    page.close()
