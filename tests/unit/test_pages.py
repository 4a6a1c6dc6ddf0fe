"""The pages as an application of their own: what they say, and that nothing is answered to whoever may not read."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi import Depends, HTTPException
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from kira.ledger import Context, Ledger, Outcome, Record, Stage
from kira.pages.app import create_app
from kira.pages.data import Data, Remembered
from kira.sdss import FrameId
from kira.settings import Settings

SCRIPT = "<script>alert(1)</script>"
FRAMES = [FrameId.parse(f"dr12-301-000094-1-0012-{band}") for band in "ugriz"]
CONTEXT = Context("b-1", "shared", "dr12", "survey-1", f"run {SCRIPT}", log="/log")


@dataclass
class Site:
    """The pages, and what they look at."""

    client: TestClient
    ledger: Ledger


def opened(folder: Path, allowed: bool = True) -> Site:
    def guard() -> None:
        if not allowed:
            raise HTTPException(401, "Not authenticated")

    settings = Settings(f"file://{folder}/stage", "bucket", f"sqlite:///{folder}/ledger.db")
    app = create_app(Data(lambda: settings), [Depends(guard)])
    return Site(TestClient(app, raise_server_exceptions=False), Ledger(settings.ledger_url))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = opened(tmp_path)
    yield made
    made.ledger.engine.dispose()


def test_without_a_login_no_route_answers(tmp_path: Path) -> None:
    client = opened(tmp_path, allowed=False).client
    routes = [route for route in client.app.routes if isinstance(route, APIRoute)]  # type: ignore[attr-defined]
    assert {route.path for route in client.app.routes} == {route.path for route in routes}  # type: ignore[attr-defined]
    for route in routes:
        path = route.path
        for name in route.param_convertors:
            path = path.replace(f"{{{name}}}", "kira.css").replace(f"{{{name}:path}}", "kira.css")
        for method in route.methods:
            assert client.request(method, path).status_code == 401, (method, path)


def test_an_empty_ledger_says_how_to_begin(site: Site) -> None:
    answer = site.client.get("/")
    assert answer.status_code == 200
    assert "Nothing was ingested yet" in answer.text


def test_the_overview_says_what_is_whole_and_what_is_not(site: Site) -> None:
    for stage in Stage:
        site.ledger.record(CONTEXT, stage, [Record(f, Outcome.OK, size=10, sources=7, checks=2) for f in FRAMES[:3]])
    site.ledger.record(CONTEXT, Stage.MIRROR, [Record(FRAMES[3], Outcome.CORRUPT_UPSTREAM, SCRIPT, failed_checks=1)])
    text = site.client.get("/").text
    assert "1 of 4 frames has failed" in text
    assert "1 corrupt upstream" in text
    assert "3 of 4 frames" in text
    assert "36 checks, 1 failed, 0 frames healed by fetching again" in text
    assert SCRIPT not in text  # it is the name of the run
    assert "run &lt;script&gt;" in text


def test_what_changes_is_served_alone(site: Site) -> None:
    live = site.client.get("/overview/live")
    assert live.status_code == 200
    assert "<html" not in live.text


def test_only_what_we_serve_is_loaded(site: Site) -> None:
    answer = site.client.get("/")
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    for name in ("kira.css", "kira.js", "htmx.min.js", "pico.min.css"):
        assert f"/static/{name}" in answer.text
        assert site.client.get(f"/static/{name}").status_code == 200
    assert "//" not in answer.text.replace("http-equiv", "")


@pytest.mark.parametrize(
    "name", ["../app.py", "..%2fapp.py", "%2e%2e/data.py", "VENDORED.md", "none.css", "/etc/passwd"]
)
def test_only_known_files_are_served(site: Site, name: str) -> None:
    assert site.client.get(f"/static/{name}").status_code == 404


def test_a_setting_that_is_missing_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KIRA_STAGE_URL", "KIRA_LEDGER_URL", "KIRA_S3_BUCKET"):
        monkeypatch.delenv(name, raising=False)
    client = TestClient(create_app(Data(), []), raise_server_exceptions=False)
    answer = client.get("/")
    assert answer.status_code == 400
    assert "is not set in the environment" in answer.text


def test_a_value_is_remembered_for_its_time() -> None:
    made: list[int] = []

    def make() -> int:
        made.append(1)
        return len(made)

    for_ever, never = Remembered(make, 1000), Remembered(make, -1)
    assert [for_ever(), for_ever()] == [1, 1]
    assert [never(), never()] == [2, 3]
