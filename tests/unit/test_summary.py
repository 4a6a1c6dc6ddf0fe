"""The report of a run, from the ledger alone; on a POSIX store and SQLite."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kira.ledger import Context, Ledger, Outcome, Record, Stage
from kira.sdss import FrameId
from kira.sdss.archive import Archive
from kira.stages.extraction import OUTCOMES
from kira.stages.plan import report_path
from kira.stages.summary import RunIncomplete, summarize
from kira.stages.work import Services
from kira.storage import Manifest, open_store

RUN = "manual__1"
CONTEXT = Context("batch-1", "shared", "dr7", "kira-1", RUN)
FU, FG, FR, FI, FZ = (FrameId.parse(f"dr7-40-004192-4-0300-{band}") for band in "ugriz")
OK = Outcome.OK
MANIFEST = Manifest(CONTEXT.batch, CONTEXT.archive, CONTEXT.release, CONTEXT.profile, "plan", RUN, ())


@pytest.fixture
def services(tmp_path: Path) -> Services:
    archive = Archive("shared", das="http://127.0.0.1:9/das", sas="http://127.0.0.1:9/sas")
    # The summary asks neither archive nor S3.
    made = Services(archive, None, open_store(f"file://{tmp_path}/stage"), Ledger(f"sqlite:///{tmp_path}/ledger.db"))  # type: ignore[arg-type]
    planned(made, 0)
    return made


def planned(services: Services, frames: int, missing: int = 0) -> None:
    """As the plan stage leaves it."""
    batches = [MANIFEST.save(services.store)] if frames else []
    plan = {
        "release": "dr7",
        "profile": "kira-1",
        "planned": frames,
        "missing": missing,
        "withdrawn": 0,
        "batches": batches,
    }
    services.store.write(report_path("shared", RUN, "plan"), json.dumps(plan).encode())


def tell(services: Services, stage: Stage, *records: Record, context: Context = CONTEXT) -> None:
    services.ledger.record(context, stage, records)


def test_a_run_in_which_everything_happened(services: Services) -> None:
    planned(services, 5, missing=1)
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
    rows = [{"frame": str(frame), "outcome": "ok"} for frame in (FR, FI, FZ)]
    services.store.write(f"{MANIFEST.published}/{OUTCOMES}", "".join(json.dumps(r) + "\n" for r in rows).encode())
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
    assert report["synthetic"] is False
    assert report["catalogue"].endswith("/shared/catalog/dr7/kira-1")


def test_frames_that_stopped_without_a_reason_fail_the_run_after_the_report(services: Services) -> None:
    planned(services, 2)
    tell(services, Stage.PLAN, Record(FR, OK), Record(FU, OK))
    tell(services, Stage.MIRROR, Record(FR, OK), Record(FU, Outcome.NOT_IN_ARCHIVE, "404"))
    with pytest.raises(RunIncomplete, match=rf"1 frames stopped.*the first {FR} after stage mirror in batch batch-1"):
        summarize(services, RUN)
    report = json.loads(services.store.read(report_path("shared", RUN, "report")))
    assert report["frames"] == {"not_in_archive": 1, "unfinished": 1}
    assert report["stuck"] == [{"frame": str(FR), "after": "mirror", "batch": "batch-1"}]
    assert report["catalogue"] == ""


def test_the_same_frame_of_another_archive_does_not_count_for_it(services: Services) -> None:
    """A run that a backfill processes again may be asked for another archive: its id stays."""
    planned(services, 1)
    other = replace(CONTEXT, archive="another", batch="batch-0")
    for stage in Stage:
        services.ledger.record(other, stage, [Record(FR, OK)])
    tell(services, Stage.PLAN, Record(FR, OK))
    with pytest.raises(RunIncomplete, match=rf"the first {FR} after stage plan in batch batch-1"):
        summarize(services, RUN)


def test_frames_that_validation_holds_back_fail_the_run_after_the_report(services: Services) -> None:
    planned(services, 2)
    for stage in (Stage.PLAN, Stage.MIRROR, Stage.STAGE, Stage.EXTRACT):
        tell(services, stage, Record(FR, OK), Record(FU, OK))
    tell(services, Stage.VALIDATE, *(Record(f, Outcome.NOT_VALID, "Check noise failed") for f in (FR, FU)))
    with pytest.raises(RunIncomplete, match="2 frames are held back by validation: Check noise failed"):
        summarize(services, RUN)
    report = json.loads(services.store.read(report_path("shared", RUN, "report")))
    assert (report["frames"], report["stuck"]) == ({"not_valid": 2}, [])


@pytest.mark.parametrize(("frames", "missing"), [(2, 0), (1, 1), (4, 2)])
def test_sums_that_disagree_fail_the_run_after_the_report(services: Services, frames: int, missing: int) -> None:
    planned(services, frames, missing)
    tell(services, Stage.PLAN, Record(FR, Outcome.NOT_IN_ARCHIVE, "not listed"))
    with pytest.raises(RunIncomplete, match=f"{frames + missing} frames were planned or found missing, but 1 have"):
        summarize(services, RUN)
    assert services.store.exists(report_path("shared", RUN, "report"))


def test_a_run_of_which_a_published_frame_is_synthetic_says_so(services: Services) -> None:
    planned(services, 2)
    for frame in (FR, FU):
        tell(services, Stage.PUBLISH, Record(frame, OK))
    rows = [{"frame": str(frame), "outcome": "ok", "synthetic": frame is FU} for frame in (FR, FU)]
    services.store.write(f"{MANIFEST.published}/{OUTCOMES}", "".join(json.dumps(r) + "\n" for r in rows).encode())
    assert summarize(services, RUN)["synthetic"] is True


def test_another_run_s_outcomes_of_the_same_batch_are_not_this_run_s(services: Services) -> None:
    planned(services, 1)
    for stage in Stage:
        tell(services, stage, Record(FR, OK, size=100, sources=7, seconds=1.0, checks=2),
             context=replace(CONTEXT, dag_run="manual__0"))  # fmt: skip
    with pytest.raises(RunIncomplete, match="1 frames were planned or found missing, but 0 have"):
        summarize(services, RUN)
    for stage in Stage:
        tell(services, stage, Record(FR, OK, again=True, size=100, sources=7, seconds=0.0))
    report = summarize(services, RUN)
    assert (report["frames"], report["sources"]) == ({"published": 1}, {"r": 7})
    assert report["checks"] == {"made": 0, "failed": 0}
    assert report["stages"]["mirror"] == {
        "frames": 1, "good": 1, "again": 1, "bytes": 0, "frame_seconds": 0.0, "wall_seconds": 0.0,
    }  # fmt: skip


def test_what_an_earlier_attempt_of_the_same_run_did_counts(services: Services) -> None:
    """A stage that is tried again finds done what its first attempt did: the run did it all the same."""
    planned(services, 2)
    tell(services, Stage.MIRROR, Record(FR, OK, size=100, seconds=1.5), Record(FU, Outcome.ARCHIVE_UNAVAILABLE, "503"))
    tell(
        services, Stage.MIRROR, Record(FR, OK, again=True, size=100, seconds=0.0), Record(FU, OK, size=30, seconds=1.0)
    )
    tell(services, Stage.PUBLISH, Record(FR, OK), Record(FU, OK))
    figures = summarize(services, RUN)["stages"]["mirror"]
    assert (figures["again"], figures["bytes"], figures["frame_seconds"]) == (1, 130, 2.5)


def test_a_run_that_is_processed_again_has_the_outcomes_of_before(services: Services) -> None:
    for stage in Stage:
        tell(services, stage, Record(FR, OK, sources=7))
    planned(services, 0)  # the plan of the second time found all of it published
    assert summarize(services, RUN)["frames"] == {"published": 1}


def test_a_run_with_nothing_to_do_is_complete(services: Services) -> None:
    report = summarize(services, RUN)
    assert (report["frames"], report["sources"], report["problems"]) == ({}, {}, [])


def test_a_run_without_a_plan_says_so(services: Services) -> None:
    with pytest.raises(RunIncomplete, match="no plan"):
        summarize(services, "another run")
