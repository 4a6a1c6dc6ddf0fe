"""Reports of DAG runs and batches: numbers that are those of the ledger, and nothing that runs."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from real_frames import plain
from test_pages import SCRIPT, Site, opened

from kira.extraction import Parameters
from kira.ledger import Context, Outcome, Record, Stage
from kira.pages.gantt import WIDTH, Span, gantt
from kira.pages.runs import RUNS
from kira.sdss import FrameId
from kira.sdss.archive import Archive
from kira.stages.extraction import (
    JOB,
    OUTCOMES,
    TASKS,
    VALIDATION_PAGE,
    JobNotes,
    Measured,
    Task,
    TaskRun,
    extract_batch,
    read_tasks,
    timed_task,
)
from kira.stages.plan import report_path
from kira.stages.publish import publish
from kira.stages.summary import summarize
from kira.stages.validate import validate
from kira.stages.work import Attempt, Services
from kira.storage import Entry, Manifest, Store, open_store

PROFILE = Parameters()
TEXTS = [f"dr12-301-000094-1-0012-{band}" for band in "gr"]
RUN = "manual__2026-11-22T08:00:00+00:00"
AT = datetime(2026, 11, 22, 8)
VERSIONS = {"kira", "sep", "numba", "numpy", "astropy", "pyarrow", "python"}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = opened(tmp_path)
    yield made
    made.ledger.engine.dispose()


def context(run: str = RUN, batch: str = "b-1") -> Context:
    return Context(batch, "shared", "dr12", PROFILE.slug, run)


def attempt(site: Site, stage: Stage, frames: int, seconds: float, at: datetime = AT, **more: str) -> None:
    ended = at + timedelta(seconds=seconds)
    site.ledger.add_attempt(context(**more), stage, frames, at.replace(tzinfo=UTC), ended.replace(tzinfo=UTC))


def page_of(site: Site, name: str) -> str:
    answer = site.client.get(f"/runs/{quote(name, safe='')}")
    assert answer.status_code == 200, answer.text
    return answer.text


def rows(text: str) -> list[list[str]]:
    """Cells of all rows of all tables."""
    found = []
    for row in re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL):
        cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
        found.append([re.sub(r"\s+", " ", re.sub("<[^>]*>", "", cell)).strip() for cell in cells])
    return found


# -- real frames, taken through the last stages


@pytest.fixture(scope="module")
def whole(shared_sdss: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Store, Manifest]]:
    """A run of two real frames, extracted by two tasks, validated, published and summed up."""
    folder = tmp_path_factory.mktemp("whole")
    site, store = opened(folder), open_store(f"file://{folder}/stage")
    entries = []
    for text in TEXTS:
        content = plain(shared_sdss, text)
        store.write(f"shared/frames/{text}", content)
        sha = hashlib.sha256(content).hexdigest()
        entries.append(Entry(FrameId.parse(text), "http://none/x", "k", f"shared/frames/{text}", 1, "0" * 64,
                             len(content), sha))  # fmt: skip
    manifest = Manifest("b-1", "shared", "dr12", PROFILE.slug, "stage", RUN, tuple(entries))
    planned = replace(manifest, stage="plan")
    uri = planned.save(store)
    store.write(f"{manifest.folder}/parameters.json", json.dumps(PROFILE.as_dict()).encode())
    plan = {"selection": "dr12, runs 94", "release": "dr12", "profile": PROFILE.slug, "found": 2, "published": 0,
            "planned": 2, "missing": 0, "withdrawn": 0, "batches": [uri]}  # fmt: skip
    store.write(report_path("shared", RUN, "plan"), json.dumps(plan).encode())
    asked = {"request": {"archive": "kira_archive_shared", "runs": "94"}, "versions": {"apache-airflow": "3.99"}}
    store.write(report_path("shared", RUN, "request"), json.dumps(asked).encode())
    archive = Archive("shared", das="http://127.0.0.1:9/das", sas="http://127.0.0.1:9/sas")
    services = Services(archive, None, store, site.ledger)  # type: ignore[arg-type]
    for stage in (Stage.PLAN, Stage.MIRROR, Stage.STAGE):
        site.ledger.record(context(), stage, [Record(entry.frame, Outcome.OK) for entry in entries])
    notes = JobNotes()

    def run_all(tasks: Sequence[Task]) -> list[list[Measured]]:
        each = [replace(task, number=n, entries=(entry,)) for task in tasks for n, entry in enumerate(task.entries)]
        done = [timed_task(task, str(task.number), 0) for task in each]
        notes.tasks += [run for _, run in reversed(done)]
        return [measured for measured, _ in done]

    extract_batch(store, manifest, PROFILE, 2, run_all, notes=notes)
    validate(services, Attempt(RUN), manifest)
    publish(services, Attempt(RUN), manifest)
    summarize(services, RUN)
    yield site, store, manifest
    site.ledger.engine.dispose()


def test_each_task_is_kept_with_the_result(whole: tuple[Site, Store, Manifest]) -> None:
    _, store, manifest = whole
    tasks = read_tasks(store, manifest.published)
    assert [one.number for one in tasks] == [0, 1]
    assert {one.slowest for one in tasks} == set(TEXTS)
    outcomes = [json.loads(line) for line in store.read(f"{manifest.published}/{OUTCOMES}").decode().splitlines()]
    assert sum(one.sources for one in tasks) == sum(one["sources"] for one in outcomes) > 500
    for one in tasks:
        assert (one.frames, one.failed, one.attempt, one.alone) == (1, 0, 0, False)
        assert one.host
        assert one.process > 0
        assert one.seconds >= one.slowest_seconds > 0
    assert tasks[0].ended <= tasks[1].began
    job = json.loads(store.read(f"{manifest.published}/{JOB}"))
    assert set(job["versions"]) == VERSIONS
    assert job["began"] <= tasks[0].began <= tasks[1].ended <= job["ended"]


def test_the_report_of_a_run_has_the_ledger_s_numbers(whole: tuple[Site, Store, Manifest]) -> None:
    site, _, _ = whole
    text = page_of(site, RUN)
    assert "2 published" in text
    assert "The run has written no report yet" not in text
    by_name = {row[0]: row for row in rows(text) if row}
    figures = {row["band"]: row for row in site.ledger.figures(RUN) if row["stage"] == "publish"}
    for band in "gr":
        sources = int(figures[band]["sources"])
        assert by_name[band][1:6] == ["1", f"{sources:,}", f"{sources:.1f}", "none", "0"]
    assert by_name["extract"][1] == "2"
    assert "kira_archive_shared" in text
    assert "3.99" in text
    assert "checks passed" in text
    assert text.count("<svg") == 1


def test_the_report_of_a_batch(whole: tuple[Site, Store, Manifest]) -> None:
    site, _, _ = whole
    text = site.client.get("/batches/b-1/report").text
    assert "published" in text
    assert text.count("<rect") == 2
    for word in ("sep", "numpy", "astropy", "python"):
        assert f"<dt>{word}</dt>" in text
    assert "/batches/b-1/validation" in text
    assert f"/runs/{quote(RUN)}" in text
    assert "style=" not in text
    assert "Synthetic" not in text


def test_the_page_of_plots_is_served_and_can_do_nothing(whole: tuple[Site, Store, Manifest]) -> None:
    site, store, manifest = whole
    answer = site.client.get("/batches/b-1/validation")
    assert answer.content == store.read(f"{manifest.published}/{VALIDATION_PAGE}")
    policy = answer.headers["Content-Security-Policy"]
    assert "sandbox" in policy
    assert "default-src 'none'" in policy
    assert "script" not in policy
    assert "unsafe" not in policy
    style = answer.text.partition("<style>")[2].partition("</style>")[0]
    assert base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() in policy


# -- what an older version left, or somebody broke


def test_a_folder_without_tasks_reads_as_before(site: Site, tmp_path: Path) -> None:
    attempt(site, Stage.EXTRACT, 2, 5)
    store = open_store(f"file://{tmp_path}/stage")
    manifest = Manifest("b-1", "shared", "dr12", PROFILE.slug, "plan", RUN, ())
    assert "Nobody kept what its Spark tasks did" in site.client.get("/batches/b-1/report").text
    store.write(f"{manifest.published}/{JOB}", json.dumps({"began": "x", "ended": "y", "cores": 4}).encode())
    assert read_tasks(store, manifest.published) == []
    text = site.client.get("/batches/b-1/report").text
    assert "Nobody kept what its Spark tasks did" in text
    assert "<dd>not kept</dd>" in text
    assert site.client.get("/batches/b-1/validation").status_code == 404


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[]", b'{"number": 1}', b"null", b""])
def test_what_cannot_be_read_is_said(site: Site, tmp_path: Path, content: bytes) -> None:
    attempt(site, Stage.EXTRACT, 2, 5)
    store = open_store(f"file://{tmp_path}/stage")
    manifest = Manifest("b-1", "shared", "dr12", PROFILE.slug, "plan", RUN, ())
    for name in (JOB, TASKS, "_validation.json", "_validation.html"):
        store.write(f"{manifest.published}/{name}", content)
    for name in ("plan", "report", "figures", "request"):
        store.write(report_path("shared", RUN, name), content)
    text = site.client.get("/batches/b-1/report").text
    assert "cannot be read" in text or "Nobody kept" in text
    assert page_of(site, RUN)
    assert site.client.get("/batches/b-1/validation").status_code == 200


def test_slow_tasks_are_named(site: Site, tmp_path: Path) -> None:
    attempt(site, Stage.EXTRACT, 40, 60)
    store = open_store(f"file://{tmp_path}/stage")
    manifest = Manifest("b-1", "shared", "dr12", PROFILE.slug, "plan", RUN, ())

    def task(number: int, seconds: float, host: str = "node1", **more: object) -> TaskRun:
        ended = AT + timedelta(seconds=seconds)
        one = TaskRun(number, 0, False, AT.isoformat(), ended.isoformat(), host, "1", number, 10, 0, 99, TEXTS[0], 1.0)
        return replace(one, **more)  # type: ignore[arg-type]

    tasks = [task(n, 10) for n in range(5)] + [task(5, 14.9), task(6, 15.1, SCRIPT, failed=2), task(7, 60, alone=True)]
    lines = "".join(json.dumps(vars(one)) + "\n" for one in tasks)
    store.write(f"{manifest.extracted}/{TASKS}", lines.encode())
    text = site.client.get("/batches/b-1/report").text
    named = re.findall(r"<li>task (\d+): ([\d.]+) s for 10 frames", text)
    assert named == [("6", "15.1")]  # alone in its round, the last is no slower than its like
    assert SCRIPT not in text
    assert "&lt;script&gt;" in text


# -- runs


def test_a_run_is_compared_with_the_median_of_those_before(site: Site, tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/stage")
    for number, seconds in enumerate((10.0, 20.0, 100.0)):
        attempt(site, Stage.MIRROR, 100, seconds, run=f"earlier {number}", batch=f"b-{number}")
        bands = {"bands": {"r": {"frames": 10, "sources": 1000 + number, "failed": 0}}}
        store.write(report_path("shared", f"earlier {number}", "figures"), json.dumps(bands).encode())
    attempt(site, Stage.MIRROR, 100, 40.0, batch="b-9")
    frame = FrameId.parse(TEXTS[1])
    for stage in Stage:
        site.ledger.record(context(batch="b-9"), stage, [Record(frame, Outcome.OK, sources=90)])
    by_name = {row[0]: row for row in rows(page_of(site, RUN)) if row}
    assert by_name["mirror"] == ["mirror", "100", "40.0", "", "2.50", "5.00 (3 runs)", "0.50 times, slower", "0"]
    assert by_name["r"] == ["r", "1", "90", "90.0", "100.1 (3 runs)", "0"]
    first = {row[0]: row for row in rows(page_of(site, "earlier 0")) if row}
    assert first["mirror"][5:7] == ["none", ""]


def test_an_attempt_that_failed_is_told_with_its_reason(site: Site) -> None:
    number = site.ledger.begin_attempt(context(), Stage.STAGE, 3)
    site.ledger.end_attempt(number, error=f"StorageError: {SCRIPT}")
    site.ledger.begin_attempt(context(), Stage.STAGE, 3)
    text = page_of(site, RUN)
    assert "StorageError: &lt;script&gt;" in text
    assert SCRIPT not in text
    assert "1 failed</span>, 1 without an end" in text
    assert 'class="bar stage failed"' in text
    assert 'class="bar stage open"' in text


@pytest.mark.parametrize("name", ["a/b", "../../etc/passwd", SCRIPT, "ü ☃", "q\"uo'te", "100%", "a?b#c", "x" * 250])
def test_a_run_may_be_called_anything(site: Site, name: str) -> None:
    attempt(site, Stage.MIRROR, 1, 1, run=name)
    answer = site.client.get("/runs/" + quote(name, safe="").replace(".", "%2E"))
    assert answer.status_code == 200
    assert SCRIPT not in answer.text
    assert SCRIPT not in site.client.get("/runs").text


@pytest.mark.parametrize(
    "path",
    ["/runs/none", "/runs/%00", "/runs/" + "x" * 3000, f"/runs/{quote(SCRIPT, safe='')}", "/batches/none",
     "/batches/none/validation", "/batches/%00", "/batches/..%2f..%2fetc"],
)  # fmt: skip
def test_what_the_ledger_does_not_know_is_not_found(site: Site, path: str) -> None:
    attempt(site, Stage.MIRROR, 1, 1)
    answer = site.client.get(path)
    assert answer.status_code == 404
    assert SCRIPT not in answer.text


def test_runs_are_listed_in_parts(site: Site) -> None:
    names = [f"run-{number:03d}" for number in range(RUNS + 3)]
    for name in names:
        attempt(site, Stage.MIRROR, 1, 1, run=name)
    first = site.client.get("/runs").text
    following = re.search(r'href="(/runs\?before=[^"]*)"', first)
    assert following
    second = site.client.get(following[1].replace("&amp;", "&")).text
    seen = [re.findall(r">(run-\d{3})</a>", text) for text in (first, second)]
    assert [len(part) for part in seen] == [RUNS, 3]
    assert sorted([*seen[0], *seen[1]]) == names
    assert "Earlier runs" not in second
    assert site.client.get("/runs?before=yesterday").status_code == 400


def test_an_empty_ledger_has_no_runs(site: Site) -> None:
    assert "The ledger knows of no run" in site.client.get("/runs").text


# -- places of bars


def test_bars_are_where_their_times_are() -> None:
    def span(row: str, begin: float, end: float | None) -> Span:
        return Span(row, "k", "t", AT + timedelta(seconds=begin), None if end is None else AT + timedelta(seconds=end))

    made = gantt(
        [span("a", 0, 50), span("b", 50, 100), span("a", 75, None), span("c", 99, 99)], AT + timedelta(seconds=100), 9
    )
    assert made is not None
    assert [(name, [(bar.x, bar.width) for bar in bars]) for name, _, bars in made.rows] == [
        ("a", [(0.0, 500.0), (750.0, 250.0)]), ("b", [(500.0, 500.0)]), ("c", [(990.0, 2.0)]),
    ]  # fmt: skip
    assert made.ticks[0] == (0.0, "0 s")
    assert all(0 <= x <= WIDTH for x, _ in made.ticks)
    assert gantt([], AT, 9) is None
    few = gantt([span(name, 0, 1) for name in "abc"], AT, 2)
    assert few is not None
    assert few.left_out == 1
