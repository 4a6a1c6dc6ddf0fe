"""The report of a run, from the ledger alone; on a POSIX store and SQLite."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kira.ledger import Context, Ledger, Outcome, Record, Stage
from kira.sdss import FrameId
from kira.sdss.archive import Archive
from kira.stages.plan import report_path
from kira.stages.summary import RunIncomplete, summarize
from kira.stages.work import Services
from kira.storage import catalogue_folder, open_store

RUN = "manual__1"
CONTEXT = Context("batch-1", "shared", "dr7", "kira-1", RUN)
FU, FG, FR, FI, FZ = (FrameId.parse(f"dr7-40-004192-4-0300-{band}") for band in "ugriz")
OK = Outcome.OK


@pytest.fixture
def services(tmp_path: Path) -> Services:
    archive = Archive("shared", das="http://127.0.0.1:9/das", sas="http://127.0.0.1:9/sas")
    # The summary asks neither archive nor S3.
    made = Services(archive, None, open_store(f"file://{tmp_path}/stage"), Ledger(f"sqlite:///{tmp_path}/ledger.db"))  # type: ignore[arg-type]
    plan = {"release": "dr7", "profile": "kira-1", "planned": 5, "batches": ["file:///x/plan.jsonl"]}
    made.store.write(report_path("shared", RUN, "plan"), json.dumps(plan).encode())
    return made


def tell(services: Services, stage: Stage, *records: Record, context: Context = CONTEXT) -> None:
    services.ledger.record(context, stage, records)


def test_a_run_in_which_everything_happened(services: Services) -> None:
    missing = Record(FrameId.parse("dr7-40-004192-4-0999-r"), Outcome.NOT_IN_ARCHIVE, "not listed")
    tell(services, Stage.PLAN, missing, context=Context("plan-1", "shared", "dr7", "kira-1", RUN))
    tell(services, Stage.PLAN, *(Record(frame, OK) for frame in (FU, FG, FR, FI, FZ)))
    bad = Record(FU, Outcome.CORRUPT_UPSTREAM, "cut short", seconds=1.0, checks=1, failed_checks=1)
    tell(services, Stage.MIRROR, bad, *(Record(f, OK, size=100, seconds=0.5, checks=3) for f in (FG, FR, FI, FZ)))
    tell(services, Stage.STAGE, *(Record(f, OK, size=1000, checks=2) for f in (FG, FR, FI, FZ)))
    failed = Record(FG, Outcome.BAD_FRAME, "no WCS", checks=1)
    done = [Record(FR, OK, sources=10, checks=1), Record(FI, Outcome.OK_EMPTY, checks=1), Record(FZ, OK, sources=7)]
    tell(services, Stage.EXTRACT, failed, *done)
    tell(services, Stage.VALIDATE, *(Record(f, OK, checks=8) for f in (FR, FI, FZ)))
    tell(services, Stage.PUBLISH, Record(FR, OK, sources=10), Record(FI, OK, sources=0), Record(FZ, OK, sources=7))
    services.store.write(f"{catalogue_folder('shared', 'dr7', 'kira-1')}/batch=batch-1/part", b"x")
    began = datetime(2026, 11, 22, 8, tzinfo=UTC)
    for number in range(2):
        start = began + timedelta(hours=number)
        services.ledger.add_attempt(CONTEXT, Stage.MIRROR, 5, start, start + timedelta(seconds=4))

    report = summarize(services, RUN)
    assert report == json.loads(services.store.read(report_path("shared", RUN, "report")))
    assert report["frames"] == {"published": 3, "bad_frame": 1, "corrupt_upstream": 1, "not_in_archive": 1}
    assert next(iter(report["frames"])) == "published"
    assert report["sources"] == {"r": 10, "i": 0, "z": 7}
    assert report["checks"] == {"made": 1 + 12 + 8 + 3 + 24, "failed": 1}
    assert report["stages"]["mirror"] == {
        "frames": 5, "good": 4, "again": 0, "bytes": 400, "frame_seconds": 3.0, "wall_seconds": 8.0,
    }  # fmt: skip
    assert [report["stages"][s]["frames"] for s in ("plan", "stage", "extract", "publish")] == [6, 4, 4, 3]
    assert {problem["frame"]: problem["reason"] for problem in report["problems"]} == {
        str(FU): "cut short", str(FG): "no WCS", str(missing.frame): "not listed",
    }  # fmt: skip
    assert all(problem["advice"] for problem in report["problems"])
    assert report["stuck"] == []
    assert report["catalogue"].endswith("/shared/catalog/dr7/kira-1")


def test_frames_that_stopped_without_a_reason_fail_the_run_after_the_report(services: Services) -> None:
    tell(services, Stage.PLAN, Record(FR, OK), Record(FU, OK))
    tell(services, Stage.MIRROR, Record(FR, OK), Record(FU, Outcome.NOT_IN_ARCHIVE, "404"))
    with pytest.raises(RunIncomplete, match=rf"1 frames stopped.*the first {FR} after stage mirror in batch batch-1"):
        summarize(services, RUN)
    report = json.loads(services.store.read(report_path("shared", RUN, "report")))
    assert report["frames"] == {"not_in_archive": 1, "unfinished": 1}
    assert report["stuck"] == [{"frame": str(FR), "after": "mirror"}]
    assert report["catalogue"] == ""


def test_a_run_with_nothing_to_do_is_complete(services: Services) -> None:
    report = summarize(services, RUN)
    assert (report["frames"], report["sources"], report["problems"]) == ({}, {}, [])


def test_a_run_without_a_plan_says_so(services: Services) -> None:
    with pytest.raises(RunIncomplete, match="no plan"):
        summarize(services, "another run")
