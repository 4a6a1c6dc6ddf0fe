"""Kira's pages in Airflow's UI, in a real browser against the real api-server."""

import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote

import httpx
import pytest
from conftest import Observatory
from fastapi.routing import APIRoute
from playwright.sync_api import FrameLocator, Page, expect, sync_playwright

from kira.ledger import Context, Outcome, Record, Stage
from kira.ledger.problems import Cause, Kind, groups
from kira.ledger.status import catalogues, recent_runs
from kira.pages.app import create_app
from kira.pages.data import Data
from kira.sample import SampleSpec, write_sample
from kira.stack.airflow_server import USER

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]
CHROMIUM = "/usr/bin/chromium"


@pytest.fixture(scope="module")
def published(observatory: Observatory) -> str:
    """Name of an archive of synthetic frames, ingested."""
    folder = observatory.stack.config.home / "seen-sample"
    write_sample(SampleSpec(fields=1, bands=("g", "r")), folder)
    output = observatory.kira("run", "--archive", str(folder), "--bands", "gr")
    match = re.search(r"/kira/([a-z0-9-]+)/catalog/", output)
    assert match
    return match[1]


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
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    page.close()
    assert said == []


def base(observatory: Observatory) -> str:
    return observatory.stack.config.url("airflow")


def inside(page: Page) -> FrameLocator:
    """What Airflow shows of Kira's pages."""
    return page.frame_locator("iframe")


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


def test_from_the_navigation_to_the_verdict(page: Page, published: str) -> None:
    page.goto("/")
    page.get_by_role("link", name="Kira", exact=True).click()
    section = inside(page).locator("section", has=page.get_by_role("heading", name=f"{published} · dr12"))
    expect(section.locator(".verdict")).to_have_text("Whole: all 2 frames are published")
    expect(section.locator(".flow li")).to_have_count(6)


def test_dark_as_the_ui_around_it(page: Page, published: str) -> None:
    page.goto("/plugin/kira")
    shown = inside(page).locator("html")
    expect(inside(page).locator("h2").first).to_be_visible()
    for theme in ("dark", "light"):
        page.evaluate(f"document.documentElement.className = '{theme}'")
        expect(shown).to_have_attribute("data-theme", theme)


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_cut_off(page: Page, published: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto("/kira/")
    expect(page.locator(".verdict").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_what_failed_is_asked_for_again(page: Page, published: str, observatory: Observatory) -> None:
    """The button's request is taken by Airflow for the cookie's sake, and the frame comes into the catalogue."""
    ledger = observatory.ledger
    (known,) = [one for one in catalogues(ledger) if (one.archive, one.release) == (published, "dr12")]
    frame = next(one for one in SampleSpec(fields=1, bands=("g", "r")).frames() if str(one.release) == "dr12")
    run = recent_runs(ledger, 1)[0].name
    broken = Context("b-broken", published, "dr12", known.profile, run)
    ledger.record(broken, Stage.MIRROR, [Record(frame, Outcome.CORRUPT_UPSTREAM, "cut short")])
    cause = Cause(Kind.FAILED, Stage.MIRROR, Outcome.CORRUPT_UPSTREAM)
    assert [one.frames for one in groups(ledger, known.id) if one.cause == cause] == [1]

    page.goto("/plugin/kira")
    shown = inside(page)
    shown.get_by_role("link", name="Problems").click()
    shown.get_by_label("Catalogue").select_option(str(known.id))
    shown.get_by_role("button", name="Show").click()
    expect(shown.locator(".verdict")).to_have_text("1 frames have failed")
    shown.locator("summary").first.click()
    shown.get_by_role("button", name="Requeue these frames").click()
    expect(shown.locator("dialog[open]")).to_contain_text(f"kira_archive_{published}")
    expect(shown.get_by_role("button", name="Leave it")).to_be_focused()
    shown.get_by_role("button", name="Requeue", exact=True).click()
    expect(shown.locator("dialog .answer .good")).to_contain_text("was started", timeout=30_000)
    href = str(shown.locator("dialog .answer a").get_attribute("href"))
    started = unquote(href.rpartition("/")[2])
    told = observatory.api.call("GET", f"/dags/sdss_ingest/dagRuns/{quote(started)}")
    assert told["conf"]["again"] is True
    deadline = time.monotonic() + 600
    while told["state"] not in ("success", "failed") and time.monotonic() < deadline:
        time.sleep(3)
        told = observatory.api.call("GET", f"/dags/sdss_ingest/dagRuns/{quote(started)}")
    assert told["state"] == "success"
    assert groups(ledger, known.id) == []

    page.goto(f"/kira/runs/{quote(started)}")
    expect(page.get_by_role("heading", name=f"Run {started}")).to_be_visible()
    expect(page.locator("main")).to_contain_text("apache-airflow")


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
