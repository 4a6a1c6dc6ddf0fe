"""What is planned, given what an archive lists and what the ledger says; on a POSIX store and SQLite."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from kira.errors import InvalidInput
from kira.extraction import Parameters
from kira.ledger import Context, Ledger, Outcome, Record, Stage
from kira.sdss import FrameId, Release, Selection
from kira.sdss.archive import Archive, ArchiveClient
from kira.stages import plan as plan_stage
from kira.stages.plan import Plan, batch_name, missing_frames, plan, report_path, run_key
from kira.stages.work import Attempt, Services
from kira.storage import Manifest, S3Mirror, catalogue_folder, open_store

ARCHIVE = Archive("shared", das="http://127.0.0.1:9/das", sas="http://127.0.0.1:9/sas")
DR12 = Release(12)
NOW = Attempt("manual__2026-11-22T08:00:00+00:00")
PARAMETERS = Parameters()


def frames(fields: range | list[int], *, run: int = 94, camcol: int = 1, bands: str = "r") -> list[FrameId]:
    return [FrameId(DR12, run, 301, camcol, field, band) for field in fields for band in bands]  # type: ignore[arg-type]


class Listed:
    """Answers like the archive's client, from a list."""

    def __init__(self, found: list[FrameId]) -> None:
        self.found = found

    def list_frames(self, selection: Selection) -> Iterator[FrameId]:
        return (frame for frame in self.found if frame in selection)

    list_from_run_list = list_frames


class Mirror:
    """The planner asks S3 for one thing only: to forget an object."""

    def __init__(self) -> None:
        self.forgotten: list[str] = []

    def delete(self, key: str) -> None:
        self.forgotten.append(key)


@pytest.fixture
def mirror() -> Mirror:
    return Mirror()


@pytest.fixture
def services(mirror: Mirror, tmp_path: Path) -> Services:
    store, ledger = open_store(f"file://{tmp_path}/stage"), Ledger(f"sqlite:///{tmp_path}/ledger.db")
    return Services(ARCHIVE, cast("S3Mirror", mirror), store, ledger)


def make(services: Services, found: list[FrameId], selection: Selection | None = None, **options: Any) -> Plan:
    settings: dict[str, Any] = {"batch_size": 10, "attempt": NOW} | options
    attempt, client = settings.pop("attempt"), cast("ArchiveClient", Listed(found))
    return plan(services, attempt, client, selection or Selection(DR12), PARAMETERS, **settings)


def planned(services: Services, done: Plan) -> list[str]:
    return [str(entry.frame) for uri in done.batches for entry in Manifest.load(services.store, uri).entries]


# -- frames asked for by name


def missing(found: list[FrameId], runs: str, camcols: str, fields: str, bands: str = "r") -> list[str]:
    selection = Selection.parse("dr12", runs, camcols, fields, bands)
    return [str(frame) for frame in missing_frames(selection, sorted(f for f in found if f in selection))]


def test_a_frame_asked_for_by_name_is_missing() -> None:
    assert missing(frames([11, 12]), "94", "1", "12, 500", "ri") == [
        "dr12-301-000094-1-0012-i", "dr12-301-000094-1-0500-i", "dr12-301-000094-1-0500-r",
    ]  # fmt: skip


def test_all_of_a_run_asked_for_by_name_is_missing() -> None:
    assert missing([], "94", "1-2", "12") == ["dr12-301-000094-1-0012-r", "dr12-301-000094-2-0012-r"]


def test_of_a_run_that_is_not_there_all_fields_typed_are_missing_in_all_camera_columns() -> None:
    assert missing([], "94", "", "12-13") == [
        f"dr12-301-000094-{camcol}-{field:04d}-r" for camcol in range(1, 7) for field in (12, 13)
    ]
    assert missing(frames([12], run=99), "94, 99", "1", "12-13") == [
        "dr12-301-000094-1-0012-r", "dr12-301-000094-1-0013-r",
    ]  # fmt: skip


def test_of_a_camera_column_that_is_typed_and_not_there_all_fields_typed_are_missing() -> None:
    found = frames([12, 13]) + frames([12], run=99)
    assert missing(found, "94", "1-2", "12-13, 20") == [
        "dr12-301-000094-1-0020-r", "dr12-301-000094-2-0012-r", "dr12-301-000094-2-0013-r", "dr12-301-000094-2-0020-r",
    ]  # fmt: skip


def test_a_hole_in_a_range_is_missing_and_the_end_of_a_run_is_not() -> None:
    found = frames([12, 13, 15]) + frames([20], camcol=2)
    assert missing(found, "94", "", "11-9999") == ["dr12-301-000094-1-0014-r"]


def test_a_missing_band_is_missing() -> None:
    assert missing(frames([12, 13], bands="ri")[:-1], "94", "1", "11-20", "ri") == ["dr12-301-000094-1-0013-i"]


@pytest.mark.parametrize(("runs", "fields"), [("", ""), ("94", ""), ("", "12-13"), ("90-99", "12"), ("94", "12")])
def test_a_field_with_two_bands_has_five_whatever_is_asked_for(runs: str, fields: str) -> None:
    found = frames([12], bands="ugr")
    assert missing(found, runs, "", fields, "ugriz") == ["dr12-301-000094-1-0012-i", "dr12-301-000094-1-0012-z"]
    assert missing(found, runs, "", fields, "ugz") == ["dr12-301-000094-1-0012-z"]
    assert missing(found, runs, "", fields, "ugr") == []


def test_a_field_with_one_band_was_copied_that_way() -> None:
    found = frames([12], bands="g") + frames([12], camcol=2, bands="r") + frames([13], bands="i")
    assert missing(found, "", "", "", "ugriz") == []
    # Asked for by name it has five all the same.
    assert len(missing(found, "94", "1", "12", "ugriz")) == 4


def test_of_a_range_of_runs_only_those_that_exist_can_have_missing_frames() -> None:
    found = frames([12, 14]) + frames([12], run=99)
    assert missing(found, "1-999999", "1", "12-14") == ["dr12-301-000094-1-0013-r"]
    assert missing(found, "90-100", "1", "13") == []  # nothing of it is listed, and no run is named
    assert missing(found, "94, 95-100", "1", "13") == ["dr12-301-000094-1-0013-r"]


@pytest.mark.parametrize(("runs", "fields"), [("", "12"), ("94", ""), ("", "")])
def test_where_all_is_meant_nothing_is_missing(runs: str, fields: str) -> None:
    assert missing(frames([11, 13]), runs, "1", fields) == []


def test_missing_frames_are_outcomes_of_the_plan(services: Services) -> None:
    done = make(services, frames([12]), Selection.parse("dr12", "94", "1", "12-12, 77", "r"))
    assert (done.found, done.planned, done.missing) == (1, 1, 1)
    rows = {row.frame: row for row in services.ledger.outcomes(NOW.dag_run, Stage.PLAN)}
    assert rows["dr12-301-000094-1-0012-r"].outcome == "ok"
    gone = rows["dr12-301-000094-1-0077-r"]
    assert gone.outcome == "not_in_archive"
    assert gone.reason.startswith(
        "dr12-301-000094-1-0077-r was asked for, but is not listed in http://127.0.0.1:9/sas/"
    )


def test_the_run_list_knows_no_missing_frames(services: Services) -> None:
    done = make(services, frames([12]), Selection.parse("dr12", "94", "1", "12, 77", "r"), by_run_list=True)
    assert done.missing == 0


# -- batches


def test_batches_hold_every_frame_once_in_order(services: Services) -> None:
    found = frames(range(11, 36))
    done = make(services, list(reversed(found)))
    sizes = [len(Manifest.load(services.store, uri).entries) for uri in done.batches]
    assert sizes == [10, 10, 5]
    assert planned(services, done) == [str(frame) for frame in found]
    assert len(services.ledger.outcomes(NOW.dag_run, Stage.PLAN)) == 25
    assert json.loads(services.store.read(report_path("shared", NOW.dag_run, "plan")))["batches"] == done.batches


def test_the_same_frames_make_the_same_batch_whatever_the_run(services: Services) -> None:
    found = frames(range(11, 31))
    first = make(services, found)
    again = make(services, found, attempt=Attempt("scheduled__later"))
    assert first.batches == again.batches
    one = batch_name(ARCHIVE, PARAMETERS, found)
    assert one == batch_name(ARCHIVE, PARAMETERS, found)
    others = [
        batch_name(ARCHIVE, PARAMETERS, found[:-1]),
        batch_name(ARCHIVE, replace(PARAMETERS, threshold=2.0), found),
        batch_name(replace(ARCHIVE, name="sdss"), PARAMETERS, found),
    ]
    assert len({one, *others}) == 4


def test_what_was_stored_for_a_batch_does_not_depend_on_the_run_s_name(services: Services) -> None:
    odd = Attempt("manual__2026-11-22T08:00:00.5+00:00 /../ 'x' é" + "y" * 300)
    done = make(services, frames([11]), attempt=odd)
    assert services.store.exists(report_path("shared", odd.dag_run, "plan"))
    assert planned(services, done) == ["dr12-301-000094-1-0011-r"]
    assert run_key("a:b") != run_key("a-b")


def test_more_batches_than_airflow_maps_are_refused_and_nothing_is_written(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_stage, "MAX_BATCHES", 3)
    with pytest.raises(InvalidInput, match="25 frames make 4 batches of 8, and one run takes 3"):
        make(services, frames(range(11, 36)), batch_size=8)
    assert list(services.store.walk("shared")) == []
    assert services.ledger.outcomes(NOW.dag_run) == []
    assert len(make(services, frames(range(11, 35)), batch_size=8).batches) == 3


def test_a_thousand_batches_are_the_limit(services: Services) -> None:
    assert plan_stage.MAX_BATCHES == 1000
    with pytest.raises(InvalidInput, match="1,001 batches of 1, and one run takes 1000"):
        make(services, frames(range(11, 1012)), batch_size=1)


def test_nothing_to_do_makes_no_batch(services: Services) -> None:
    done = make(services, [])
    assert (done.found, done.planned, done.batches) == (0, 0, [])


# -- what is done


def tell(services: Services, stage: Stage, outcome: Outcome, frame: FrameId, profile: str = PARAMETERS.slug) -> None:
    context = Context("before", "shared", "dr12", profile, "earlier")
    services.ledger.record(context, stage, [Record(frame, outcome, "for a reason")])


def published(services: Services, frame: FrameId, profile: str = PARAMETERS.slug) -> str:
    """As the publish stage leaves it; the folder."""
    folder = f"{catalogue_folder('shared', 'dr12', profile)}/batch=before"
    services.store.write(f"{folder}/part-00000-0.parquet", b"x")
    tell(services, Stage.PUBLISH, Outcome.OK, frame, profile)
    return folder


def test_what_is_published_is_not_planned(services: Services) -> None:
    first, second = frames([11, 12])
    published(services, first)
    for again in (False, True):
        done = make(services, [first, second], again=again)
        assert (done.found, done.published, done.planned) == (2, 1, 1)
        assert planned(services, done) == [str(second)]


def test_what_is_published_with_other_parameters_is_planned(services: Services) -> None:
    (frame,) = frames([11])
    published(services, frame, profile="kira-other")
    assert make(services, [frame]).planned == 1


def test_what_was_published_and_is_no_longer_there_is_planned(services: Services) -> None:
    (frame,) = frames([11])
    folder = published(services, frame)
    assert make(services, [frame]).planned == 0
    services.store.delete(folder)
    done = make(services, [frame])
    assert (done.published, done.planned) == (0, 1)


@pytest.mark.parametrize("outcome", [o for o in Outcome if not o.good])
def test_only_what_the_same_bytes_would_give_again_is_settled(services: Services, outcome: Outcome) -> None:
    (frame,) = frames([11])
    tell(services, Stage.EXTRACT, outcome, frame)
    settled = outcome in (Outcome.CORRUPT_UPSTREAM, Outcome.BAD_FRAME, Outcome.EXTRACTION_FAILED)
    done = make(services, [frame])
    assert (done.settled, done.planned) == (int(settled), int(not settled))
    anew = make(services, [frame], again=True)
    assert (anew.settled, anew.planned) == (0, 1)


def test_what_failed_for_good_and_then_in_a_way_that_may_pass_is_planned(services: Services) -> None:
    (frame,) = frames([11])
    tell(services, Stage.EXTRACT, Outcome.BAD_FRAME, frame)
    tell(services, Stage.MIRROR, Outcome.ARCHIVE_UNAVAILABLE, frame)  # when it was tried again
    done = make(services, [frame])
    assert (done.settled, done.planned) == (0, 1)


def test_trying_again_fetches_bad_frames_anew_and_nothing_else(services: Services, mirror: Mirror) -> None:
    by_outcome = dict(zip([o for o in Outcome if not o.good], frames(range(11, 99)), strict=False))
    done, good = frames([200, 201])
    found = [*by_outcome.values(), done, good]
    entries = {e.frame: e for uri in make(services, found).batches for e in Manifest.load(services.store, uri).entries}
    for outcome, frame in by_outcome.items():
        tell(services, Stage.EXTRACT, outcome, frame)
    # Of a frame that is published its past does not count.
    tell(services, Stage.EXTRACT, Outcome.BAD_FRAME, done)
    published(services, done)
    for frame in found:
        services.store.write(entries[frame].staged, b"x")

    make(services, found)
    assert mirror.forgotten == []
    assert make(services, found, again=True).planned == len(found) - 1
    bad = entries[by_outcome[Outcome.BAD_FRAME]]
    assert mirror.forgotten == [bad.key]
    assert {frame for frame in found if not services.store.exists(entries[frame].staged)} == {bad.frame}


def test_what_failed_and_was_published_since_is_published(services: Services) -> None:
    (frame,) = frames([11])
    tell(services, Stage.EXTRACT, Outcome.BAD_FRAME, frame)
    published(services, frame)
    done = make(services, [frame])
    assert (done.published, done.settled, done.planned) == (1, 0, 0)


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize(
    ("outcomes", "kept"),
    [
        ([Outcome.OK, Outcome.OK], True),
        ([Outcome.OK, Outcome.OK_EMPTY], True),
        ([Outcome.OK, Outcome.CHECKSUM_MISMATCH], False),
        ([Outcome.BAD_FRAME, Outcome.OK], False),
    ],
)
def test_an_unpublished_result_is_used_again_unless_frames_failed_in_it(
    services: Services, outcomes: list[Outcome], kept: bool, again: bool
) -> None:
    found = frames([11, 12])
    manifest = Manifest.load(services.store, make(services, found).batches[0])
    rows = "".join(
        json.dumps({"frame": str(f), "outcome": o.value}) + "\n" for f, o in zip(found, outcomes, strict=True)
    )
    services.store.write(f"{manifest.extracted}/_outcomes.jsonl", rows.encode())
    services.store.write(f"{manifest.folder}/stage.jsonl", b"kept")
    make(services, found, again=again)
    assert services.store.exists(manifest.extracted) is kept
    # Nothing but the result goes.
    assert services.store.exists(manifest.path)
    assert services.store.read(f"{manifest.folder}/stage.jsonl") == b"kept"
