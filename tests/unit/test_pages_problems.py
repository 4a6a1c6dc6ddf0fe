"""The page of what is not published: groups that add up, sentences, and what its buttons would ask Airflow for."""

import html
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from test_pages import SCRIPT, Site, opened

from kira.airflow_glue import wiring
from kira.airflow_glue.request import Request
from kira.extraction import Profile
from kira.ledger import Context, Ledger, Outcome, Record, Stage
from kira.ledger.problems import Cause, Kind, first_frames, groups, numbers, shares
from kira.ledger.status import catalogues, not_published
from kira.pages.problems import MOST_FRAMES
from kira.sdss import FrameId, Release, Selection
from kira.stages.plan import report_path
from kira.storage import open_store

PROFILE = Profile.named("survey").slug
ROUTES = ("/problems", "/problems/frames", "/problems/requeue", "/problems/clear")
ALL = Selection(Release(12))
LOG = "http://airflow.example/dags/sdss_ingest/runs/run-1/tasks/batch.mirror"


def frame(field: int = 12, band: str = "r", run: int = 94, camcol: int = 1) -> FrameId:
    return FrameId.parse(f"dr12-301-{run:06d}-{camcol}-{field:04d}-{band}")


def context(run: str = "run-1", batch: str = "b-1", archive: str = "shared", profile: str = PROFILE) -> Context:
    return Context(batch, archive, "dr12", profile, run, log=LOG)


def failed(site: Site, *frames: FrameId, outcome: Outcome = Outcome.CORRUPT_UPSTREAM, **more: Any) -> None:
    one = more.pop("context", context())
    site.ledger.record(one, Stage.MIRROR, [Record(f, outcome, "cut short", **more) for f in frames])


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = opened(tmp_path)
    yield made
    made.ledger.engine.dispose()


def query(
    kind: str = "failed", stage: str = "mirror", outcome: str = "corrupt_upstream", **more: str
) -> dict[str, str]:
    return {"catalogue": "1", "kind": kind, "stage": stage, "outcome": outcome} | more


def bodies(text: str) -> list[dict[str, Any]]:
    found = re.search(r'data-bodies="([^"]*)"', text)
    assert found, text
    told: list[dict[str, Any]] = json.loads(html.unescape(found[1]))
    return told


# -- groups


def test_an_empty_ledger_has_no_problems(site: Site) -> None:
    answer = site.client.get("/problems")
    assert answer.status_code == 200
    assert "The ledger knows of no frame" in answer.text


def test_groups_by_cause_say_how_many_and_what_to_do(site: Site) -> None:
    site.ledger.record(context(), Stage.PLAN, [Record(frame(n), Outcome.OK) for n in range(11, 21)])
    failed(site, frame(11), frame(12))
    failed(site, frame(13), outcome=Outcome.ARCHIVE_UNAVAILABLE, retrying=True)
    for stage in Stage:
        site.ledger.record(context(), stage, [Record(frame(20), Outcome.OK, sources=5)])
    said = re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", site.client.get("/problems").text))
    assert "2 frames have failed" in said
    assert f"2 corrupt upstream at mirror What to do: {Outcome.CORRUPT_UPSTREAM.advice}" in html.unescape(said)
    assert "No ingestion takes them up by itself." in said
    assert "1 archive unavailable at mirror, being retried" in said
    assert "6 came through plan and no further" in said
    assert "The next ingestion takes them up by itself." in said


def test_nothing_is_in_the_way_of_what_is_published(site: Site) -> None:
    for stage in Stage:
        site.ledger.record(context(), stage, [Record(frame(), Outcome.OK)])
    assert "Nothing is in the way" in site.client.get("/problems").text


@pytest.mark.parametrize("seed", range(2))
def test_groups_are_the_frames_counted(url: str, seed: int) -> None:
    ledger, chance = Ledger(url), random.Random(seed)
    outcomes = [o for o in Outcome if o is not Outcome.WAITING]
    for number in range(300):
        told = Record(frame(11 + number % 60, chance.choice("ugriz")), chance.choice(outcomes), "why",
                      retrying=chance.random() < 0.3)  # fmt: skip
        told_by = context(f"run-{number % 4}", f"b-{number % 4}")
        ledger.record(told_by, chance.choice(list(Stage)), [told])
    (known,) = catalogues(ledger)
    for run in (None, "run-1", "run-none"):
        wanted = [one for one in not_published(ledger, known, ALL) if run in (None, one.dag_run)]
        found = groups(ledger, known.id, run)
        assert sum(one.frames for one in found) == len(wanted)
        told = []
        for group in found:
            frames = first_frames(ledger, known, group.cause, dag_run=run, most=1000)
            assert len(frames) == group.frames
            assert len(numbers(ledger, known.id, group.cause, dag_run=run, most=1000)) == group.frames
            told += frames
            if run is None:
                by_run = {one.dag_run: one.frames for one in shares(ledger, known.id, group.cause, 9)}
                assert by_run == {name: sum(f.dag_run == name for f in frames) for name in by_run}
                assert sum(by_run.values()) == sum(f.dag_run != "" for f in frames)
        assert sorted(told, key=lambda one: one.frame) == sorted(wanted, key=lambda one: one.frame)
    ledger.engine.dispose()


def test_a_group_is_read_along_the_index(site: Site) -> None:
    """Else a page would look through 4.69 million frames for the three that failed."""
    failed(site, frame())
    site.ledger.record(context(), Stage.PLAN, [Record(frame(13), Outcome.WITHDRAWN)])
    (known,) = catalogues(site.ledger)
    asked: list[tuple[str, Any]] = []

    def listen(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        asked.append((statement, parameters))

    event.listen(site.ledger.engine, "before_cursor_execute", listen)
    cause = Cause(Kind.FAILED, Stage.MIRROR, Outcome.CORRUPT_UPSTREAM)
    first_frames(site.ledger, known, cause)
    numbers(site.ledger, known.id, cause, most=9)
    shares(site.ledger, known.id, cause, 9)
    groups(site.ledger, known.id, "run-1")
    numbers(site.ledger, known.id, Cause(Kind.WITHDRAWN), most=9)
    event.remove(site.ledger.engine, "before_cursor_execute", listen)
    plans = []
    with site.ledger.engine.connect() as connection:
        for statement, parameters in asked:
            if re.search(r"FROM frame\b", statement):
                rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                plans.append(" ".join(row[3] for row in rows))
    assert len(plans) >= 5
    assert all("INDEX frame_unpublished (catalogue_id=?" in plan and "stage=?" in plan for plan in plans), plans


# -- frames of a group


def test_a_group_opens_to_its_frames(site: Site) -> None:
    with site.ledger.attempt(context(), Stage.MIRROR, 2):
        failed(site, frame(11), frame(12, "g"))
    text = site.client.get("/problems/frames", params=query()).text
    assert "<html" not in text
    assert "cut short" in text
    assert 'href="/frames/shared/dr12-301-000094-1-0012-g"' in text
    assert f'href="{LOG}"' in text
    assert "/dags/sdss_ingest/runs/run-1" in text
    assert "Requeue these frames" in text


def test_a_large_group_comes_in_parts(site: Site) -> None:
    failed(site, *(frame(n) for n in range(11, 11 + MOST_FRAMES + 3)))
    first = site.client.get("/problems/frames", params=query()).text
    assert first.count("/frames/shared/") == MOST_FRAMES
    assert f"skip={MOST_FRAMES}" in first
    rest = site.client.get("/problems/frames", params=query(skip=str(MOST_FRAMES))).text
    assert rest.count("/frames/shared/") == 3
    assert "The next ones" not in rest


@pytest.mark.parametrize("log", ["javascript:alert(1)", "data:text/html,x", SCRIPT])
def test_a_log_that_is_no_address_is_no_link(site: Site, log: str) -> None:
    told = Context("b-1", "shared", "dr12", PROFILE, "run-1", log=log)
    with site.ledger.attempt(told, Stage.MIRROR, 1):
        failed(site, frame(), context=told)
    text = site.client.get("/problems/frames", params=query()).text
    assert html.escape(log) in text
    assert f'href="{html.escape(log)}"' not in text


# -- what comes from outside


def test_nonsense_is_refused_in_a_sentence(site: Site) -> None:
    failed(site, frame())
    read = {
        "/problems": {"catalogue", "run"}, "/problems/clear": {"run"},
        "/problems/frames": {"catalogue", "run", "kind", "stage", "outcome", "skip"},
        "/problems/requeue": {"catalogue", "run", "kind", "stage", "outcome"},
    }  # fmt: skip
    for path, names in read.items():
        for name in names:
            for value in ("../../etc/passwd", SCRIPT, "1' OR '1'='1", "-1", "9" * 30, "\x00", "²"):
                answer = site.client.get(path, params=query() | {name: value})
                assert answer.status_code == 400, (path, name, value)
                assert "That cannot be" in answer.text
                assert SCRIPT not in answer.text


def test_what_a_ledger_holds_is_no_markup(site: Site) -> None:
    told = context(run=f"run {SCRIPT}", batch=f"b {SCRIPT}")
    site.ledger.record(told, Stage.MIRROR, [Record(frame(), Outcome.BAD_FRAME, f"\"{SCRIPT}' onload=x")])
    for path in ROUTES:
        answer = site.client.get(path, params=query(outcome="bad_frame", run=f"run {SCRIPT}"))
        assert answer.status_code == 200, answer.text
        assert SCRIPT not in answer.text
        assert "&lt;script&gt;" in answer.text


def test_nothing_is_changed_by_asking(site: Site) -> None:
    failed(site, frame())
    for path in ROUTES:
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            assert site.client.request(method, path).status_code == 405


# -- requeue


def test_the_button_asks_for_exactly_these_frames(site: Site) -> None:
    failed(site, frame(11), frame(12), frame(13), frame(20, "g", camcol=2))
    for stage in Stage:
        site.ledger.record(context(), stage, [Record(frame(14), Outcome.OK)])
    answer = site.client.get("/problems/requeue", params=query()).text
    told = bodies(answer)
    assert [body["logical_date"] for body in told] == [None, None]
    assert [body["conf"] for body in told] == [
        {"again": True, "profile": "survey", "release": "dr12", "archive": "kira_archive_shared", "runs": "94",
         "camcols": "1", "fields": "11-13", "bands": "r"},
        {"again": True, "profile": "survey", "release": "dr12", "archive": "kira_archive_shared", "runs": "94",
         "camcols": "2", "fields": "20", "bands": "g"},
    ]  # fmt: skip
    assert "Requeue 4 frames?" in answer
    assert "It covers 3 known frames; 3 of them are not published" in answer
    assert "by custom" in answer


def test_the_form_of_the_dag_takes_what_is_asked(site: Site) -> None:
    failed(site, frame(11), frame(13), frame(20, "g", camcol=2))
    params = wiring.release_param() | wiring.selection_params() | wiring.planning_params()
    for body in bodies(site.client.get("/problems/requeue", params=query()).text):
        assert body["conf"].keys() <= params.keys()
        for name, value in body["conf"].items():
            params[name].value = value
            assert params[name].resolve() == value


def test_a_selection_that_takes_in_more_says_how_much(site: Site) -> None:
    # A diagonal: no three selections are it.
    failed(
        site, *(frame(n, band, run=90 + n, camcol=1 + n % 6) for n, band in zip(range(11, 19), "ugrizugr", strict=True))
    )
    failed(site, frame(12, "u", run=101, camcol=6), outcome=Outcome.BAD_FRAME)
    answer = site.client.get("/problems/requeue", params=query()).text
    told = bodies(answer)
    assert len(told) == 3
    selections = [Request.from_mapping(body["conf"]).selection() for body in told]
    for n, band in zip(range(11, 19), "ugrizugr", strict=True):
        assert any(frame(n, band, run=90 + n, camcol=1 + n % 6) in one for one in selections)
    covered = [int(n) for n in re.findall(r"It covers (\d+) known", answer)]
    assert covered == [
        sum(one in selection for one in (
            *(frame(n, b, run=90 + n, camcol=1 + n % 6) for n, b in zip(range(11, 19), "ugrizugr", strict=True)),
            frame(12, "u", run=101, camcol=6),
        ))
        for selection in selections
    ]  # fmt: skip


def test_very_many_frames_are_asked_for_by_camera_columns(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kira.pages.requeue.MOST_EXACT", 3)
    failed(site, *(frame(n, band) for n in range(11, 14) for band in "gr"))
    (body,) = bodies(site.client.get("/problems/requeue", params=query()).text)
    assert (body["conf"]["runs"], body["conf"]["camcols"], body["conf"]["fields"], body["conf"]["bands"]) == (
        "94", "1", "", "gr",
    )  # fmt: skip


def test_where_counting_would_take_long_it_is_said_that_they_are_no_more(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kira.pages.requeue.MOST_COUNTED", 1)
    failed(site, frame(11), frame(12))
    assert "It covers at most 2 known frames" in site.client.get("/problems/requeue", params=query(run="run-1")).text


def test_the_connection_is_that_of_the_run_that_had_the_frames(site: Site, tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/stage")
    left = {"request": {"archive": "kira_archive_mine", "field_list": "run list"}, "versions": {}}
    store.write(report_path("shared", "run-1", "request"), json.dumps(left).encode())
    failed(site, frame())
    answer = site.client.get("/problems/requeue", params=query()).text
    (body,) = bodies(answer)
    assert body["conf"]["archive"] == "kira_archive_mine"
    assert body["conf"]["field_list"] == "run list"
    assert "by custom" not in answer


@pytest.mark.parametrize("left", [b"", b"[]", b"{", b"\xff"])
def test_a_word_that_cannot_be_read_is_none(site: Site, tmp_path: Path, left: bytes) -> None:
    open_store(f"file://{tmp_path}/stage").write(report_path("shared", "run-1", "request"), left)
    failed(site, frame())
    assert "by custom" in site.client.get("/problems/requeue", params=query()).text


def test_sdss_has_the_connection_that_is_always_there(site: Site) -> None:
    failed(site, frame(), context=context(archive="sdss"))
    (body,) = bodies(site.client.get("/problems/requeue", params=query()).text)
    assert body["conf"]["archive"] == "kira_archive"


@pytest.mark.parametrize("profile", ["survey-000000000000", "mine-1", "kira-1"])
def test_other_parameters_would_fill_another_catalogue(site: Site, profile: str) -> None:
    failed(site, frame(), context=context(profile=profile))
    answer = site.client.get("/problems/requeue", params=query())
    assert answer.status_code == 400
    assert "an ingestion would fill another catalogue" in answer.text


def test_what_an_ingestion_can_do_nothing_for_is_not_asked_for(site: Site) -> None:
    failed(site, frame(), outcome=Outcome.STORAGE_FAILED, retrying=True)
    retried = query(kind="retrying", outcome="storage_failed")
    assert "Requeue" not in site.client.get("/problems/frames", params=retried).text
    assert site.client.get("/problems/requeue", params=retried).status_code == 400
    gone = query()  # nobody failed of this
    assert "No frame is kept by that cause any more" in site.client.get("/problems/requeue", params=gone).text


def test_clearing_is_asked_for_by_name(site: Site) -> None:
    failed(site, frame(), context=context(run='a "b" & c'))
    answer = site.client.get("/problems/clear", params={"run": 'a "b" & c'}).text
    (body,) = bodies(answer)
    assert body == {"dag_run_id": 'a "b" & c', "only_failed": True, "reset_dag_runs": True}
    assert site.client.get("/problems/clear").status_code == 400
