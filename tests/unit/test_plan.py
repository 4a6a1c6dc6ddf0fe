"""What is planned, given what an archive lists and what the ledger says; on a POSIX store and SQLite."""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, cast

import pytest

from kira.errors import ArchiveUnavailable, InvalidInput
from kira.extraction import Parameters
from kira.ledger import Context, Ledger, Outcome, Record, Stage
from kira.ledger.states import FAILURE_BUDGET
from kira.ledger.status import catalogues, check, status
from kira.sdss import FrameId, Release, Selection
from kira.sdss.archive import Archive, ArchiveClient
from kira.sdss.listing import Folder
from kira.sdss.listing import Listed as ListedFile
from kira.stages.places import mirror_key
from kira.stages.plan import Plan, batch_name, plan, report_path, run_key
from kira.stages.reconcile import missing_frames
from kira.stages.work import Attempt, Services
from kira.storage import Entry, Manifest, S3Mirror, catalogue_folder, open_store

ARCHIVE = Archive("shared", das="http://127.0.0.1:9/das", sas="http://127.0.0.1:9/sas")
DR12 = Release(12)
LATER = Attempt("scheduled__2026-11-23T08:00:00+00:00")
NOW = Attempt("manual__2026-11-22T08:00:00+00:00")
PARAMETERS = Parameters()


def frames(fields: range | list[int], *, run: int = 94, camcol: int = 1, bands: str = "r") -> list[FrameId]:
    return [FrameId(DR12, run, 301, camcol, field, band) for field in fields for band in bands]  # type: ignore[arg-type]


class Listed:
    """Answers like the archive's client, from a list."""

    def __init__(self, found: list[FrameId], dates: dict[FrameId, str] | None = None) -> None:
        self.found, self.dates = found, dates or {}

    def folders(self, selection: Selection) -> Iterator[Folder]:
        chosen = sorted((frame for frame in self.found if frame in selection), key=place)
        for (run, rerun, camcol), group in groupby(chosen, key=place):
            yield Folder(
                DR12, run, rerun, camcol, tuple(sorted(ListedFile(f, date=self.dates.get(f, "")) for f in group))
            )

    folders_from_run_list = folders

    def fields_in_sky(self, _selection: Selection) -> None:
        return None


def place(frame: FrameId) -> tuple[int, int, int]:
    return frame.run, frame.rerun, frame.camcol


class Mirror:
    """The planner asks S3 what it lists, and to forget an object."""

    bucket = "bucket"

    def __init__(self) -> None:
        self.forgotten: list[str] = []
        self.objects: dict[str, int] = {}

    def listing(self, prefix: str) -> dict[str, int]:
        return {key: size for key, size in self.objects.items() if key.startswith(prefix)}

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
    attempt, client = settings.pop("attempt"), cast("ArchiveClient", Listed(found, settings.pop("dates", None)))
    return plan(services, attempt, client, selection or Selection(DR12), PARAMETERS, **settings)


def planned(services: Services, done: Plan) -> list[str]:
    return [str(entry.frame) for uri in done.batches for entry in Manifest.load(services.store, uri).entries]


def sizes(services: Services, done: Plan) -> list[int]:
    return [len(Manifest.load(services.store, uri).entries) for uri in done.batches]


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
    assert sizes(services, done) == [10, 10, 5]
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


def test_what_is_too_much_for_one_run_is_left_for_the_next(services: Services) -> None:
    found = frames(range(11, 36))
    done = make(services, found, batch_size=8, max_batches=2)
    assert (len(done.batches), done.planned, done.left) == (2, 16, 9)
    assert planned(services, done) == [str(frame) for frame in found[:16]]
    # The first run is still at work: the next one takes the rest, and nothing twice.
    after = make(services, found, batch_size=8, max_batches=2, attempt=LATER, is_live=NOW.dag_run.__eq__)
    assert (after.planned, after.left, after.elsewhere) == (9, 0, 16)
    assert planned(services, after) == [str(frame) for frame in found[16:]]
    # It was killed: its batches are taken up as they were.
    third = make(services, found, batch_size=8, attempt=Attempt("third"))
    assert set(done.batches) | set(after.batches) == set(third.batches)
    assert third.why == {"unfinished": 25}


@pytest.mark.parametrize(("size", "most"), [(-1, 100), (5001, 100), (0, 0), (0, 1001)])
def test_numbers_out_of_range_are_refused_and_nothing_is_written(services: Services, size: int, most: int) -> None:
    with pytest.raises(InvalidInput, match="batch"):
        make(services, frames([11]), batch_size=size, max_batches=most)
    assert list(services.store.walk("shared")) == []
    assert services.ledger.outcomes(NOW.dag_run) == []


def test_a_batch_is_as_large_as_suits_what_there_is_to_do(services: Services) -> None:
    found = frames(range(11, 511))
    assert sizes(services, make(services, found, batch_size=0)) == [200, 200, 100]
    done = make(services, frames(range(11, 2511), run=99), Selection.parse("dr12", "99"), batch_size=0, max_batches=3)
    assert sizes(services, done) == [834, 834, 832]


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


FAILURES = [o for o in Outcome if not o.good and o not in (Outcome.WAITING, Outcome.WITHDRAWN)]


@pytest.mark.parametrize("outcome", FAILURES)
def test_only_what_the_same_bytes_would_give_again_is_settled(services: Services, outcome: Outcome) -> None:
    (frame,) = frames([11])
    tell(services, Stage.EXTRACT, outcome, frame)
    settled = outcome in (
        Outcome.CORRUPT_UPSTREAM, Outcome.QUARANTINED, Outcome.BAD_FRAME, Outcome.EXTRACTION_FAILED,
        Outcome.OUT_OF_MEMORY, Outcome.TIMED_OUT,
    )  # fmt: skip
    done = make(services, [frame])
    assert (done.settled, done.planned) == (int(settled), int(not settled))
    anew = make(services, [frame], again=True)
    assert (anew.settled, anew.planned) == (0, 1)


def test_what_fails_in_run_after_run_is_given_up_until_somebody_says_again(services: Services) -> None:
    (frame,) = frames([11])
    for number in range(FAILURE_BUDGET):
        assert make(services, [frame]).planned == 1
        context = Context("before", "shared", "dr12", PARAMETERS.slug, f"run-{number}")
        for _ in range(2):  # told again, when a task is cleared, it is still one failure
            services.ledger.record(context, Stage.MIRROR, [Record(frame, Outcome.STORAGE_FAILED, "disk full")])
    done = make(services, [frame])
    assert (done.settled, done.planned) == (1, 0)
    assert make(services, [frame], again=True).planned == 1


def test_what_failed_for_good_and_then_in_a_way_that_may_pass_is_planned(services: Services) -> None:
    (frame,) = frames([11])
    tell(services, Stage.EXTRACT, Outcome.BAD_FRAME, frame)
    tell(services, Stage.MIRROR, Outcome.ARCHIVE_UNAVAILABLE, frame)  # when it was tried again
    done = make(services, [frame])
    assert (done.settled, done.planned) == (0, 1)


def test_trying_again_fetches_bad_frames_anew_and_nothing_else(services: Services, mirror: Mirror) -> None:
    by_outcome = dict(zip(FAILURES, frames(range(11, 99)), strict=False))
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


# -- what changes in the archive and in the mirror


def mirrored(services: Services, mirror: Mirror, frame: FrameId, sha256: str, listed: str) -> None:
    """As the mirror stage leaves it."""
    mirror.objects[mirror_key(ARCHIVE, frame)] = 5
    context = Context("before", "shared", "dr12", PARAMETERS.slug, "earlier")
    record = Record(frame, Outcome.OK, size=5, sha256=sha256, listed=listed)
    services.ledger.record(context, Stage.MIRROR, [record])


def entry_of(services: Services, done: Plan) -> Entry:
    (uri,) = done.batches
    (entry,) = Manifest.load(services.store, uri).entries
    return entry


def test_a_frame_that_the_archive_lists_otherwise_is_planned_to_replace_its_rows(
    services: Services, mirror: Mirror
) -> None:
    first, second = frames([11, 12])
    for frame in (first, second):
        make(services, [frame], dates={frame: "2020"})
        mirrored(services, mirror, frame, "ab" * 32, "date=2020")
        published(services, frame)
    dates = {first: "2020", second: "2021"}
    done = make(services, [first, second], dates=dates)
    assert (done.published, done.changed, done.planned, done.why) == (1, 1, 1, {"changed": 1})
    entry = entry_of(services, done)
    assert (entry.frame, entry.listed, entry.published, entry.replaces) == (
        second, "date=2021", "ab" * 32, "before"
    )  # fmt: skip
    # Noticed once, it is to do until it is done.
    assert make(services, [first, second], dates=dates).why == {"changed": 1}
    mirrored(services, mirror, second, "cd" * 32, "date=2021")
    assert make(services, [first, second], dates=dates).why == {"unfinished": 1}
    tell(services, Stage.PUBLISH, Outcome.OK, second)
    assert make(services, [first, second], dates=dates).planned == 0


def test_a_frame_that_was_damaged_in_the_archive_is_planned_once_it_is_another_file(services: Services) -> None:
    (frame,) = frames([11])
    make(services, [frame], dates={frame: "2020"})
    context = Context("before", "shared", "dr12", PARAMETERS.slug, "earlier")
    record = Record(frame, Outcome.CORRUPT_UPSTREAM, "half of it", listed="date=2020")
    services.ledger.record(context, Stage.MIRROR, [record])
    assert make(services, [frame], dates={frame: "2020"}).settled == 1
    assert make(services, [frame], dates={frame: "2021"}).why == {"changed": 1}


@pytest.mark.parametrize("size", [None, 4])
def test_a_frame_that_the_mirror_has_lost_is_planned(services: Services, mirror: Mirror, size: int | None) -> None:
    (frame,) = frames([11])
    make(services, [frame])
    mirrored(services, mirror, frame, "ab" * 32, "")
    published(services, frame)
    assert make(services, [frame]).planned == 0
    key = mirror_key(ARCHIVE, frame)
    if size is None:
        del mirror.objects[key]
    else:
        mirror.objects[key] = size
    done = make(services, [frame])
    assert (done.lost, done.planned, done.why) == (1, 1, {"lost": 1})
    assert entry_of(services, done).published == "ab" * 32
    # Fetched again it is what it was: back where it was, and not measured again.
    mirror.objects[key] = 5
    context = Context("again", "shared", "dr12", PARAMETERS.slug, "later")
    same = Record(frame, Outcome.SAME_BYTES, size=5, sha256="ab" * 32, listed="")
    services.ledger.record(context, Stage.MIRROR, [same])
    done = make(services, [frame])
    assert (done.published, done.planned) == (1, 0)


def test_a_withdrawn_frame_is_told_of_once_and_nothing_is_taken_away(services: Services, mirror: Mirror) -> None:
    first, second = frames([11, 12])
    make(services, [first, second])
    mirrored(services, mirror, second, "ab" * 32, "")
    folder = published(services, second)
    done = make(services, [first], attempt=LATER)
    assert (done.found, done.withdrawn, done.missing) == (1, 1, 0)
    (row,) = services.ledger.problems(LATER.dag_run, 10)
    assert (row.frame, row.outcome) == (str(second), Outcome.WITHDRAWN)
    assert services.store.exists(folder)
    assert mirror.objects
    assert make(services, [first], attempt=Attempt("third")).withdrawn == 0
    back = make(services, [first, second], attempt=Attempt("fourth"))
    assert (back.returned, back.published, back.planned) == (1, 1, 1)


def test_a_folder_that_is_gone_is_withdrawn_and_what_was_not_asked_for_is_not(services: Services) -> None:
    found = frames([11], camcol=1) + frames([11], camcol=2) + frames([11], run=99)
    make(services, found)
    done = make(services, found[:1], Selection.parse("dr12", "94"))
    assert (done.found, done.withdrawn) == (1, 1)
    assert make(services, found[:1], Selection.parse("dr12", "94", "1"), attempt=LATER).withdrawn == 0
    assert make(services, [], Selection.parse("dr12", "94", "1", "12-20"), attempt=LATER).withdrawn == 0
    assert make(services, found[:1], by_run_list=True, attempt=LATER).withdrawn == 0
    assert make(services, found).returned == 1


def test_a_frame_asked_for_in_vain_is_planned_once_it_is_there(services: Services) -> None:
    found = frames([12, 13])
    selection = Selection.parse("dr12", "94", "1", "12, 13", "r")
    assert make(services, found[:1], selection).missing == 1
    done = make(services, found, selection)
    assert (done.missing, done.found, done.planned) == (0, 2, 2)


def test_the_archive_grows_by_one_field(services: Services) -> None:
    found = frames(range(11, 31))
    for frame in found:
        published(services, frame)
    grown = [*found, *frames([31], bands="ugriz")]
    done = make(services, grown)
    assert (done.new, done.published, done.planned) == (5, 20, 5)
    assert {entry.frame.field for entry in Manifest.load(services.store, done.batches[0]).entries} == {31}


def test_the_sums_agree_after_all_of_it(services: Services, mirror: Mirror) -> None:
    found = frames(range(11, 71))
    make(services, found)
    for number, frame in enumerate(found[:30]):
        mirrored(services, mirror, frame, f"{number:064x}", "")
        tell(services, Stage.EXTRACT, list(Outcome)[number % len(Outcome)] if number % 3 else Outcome.OK, frame)
        if number % 5 == 0:
            published(services, frame)
    make(services, found[5:], attempt=LATER)
    (known,) = catalogues(services.ledger)
    assert check(services.ledger, known) == []
    now = status(services.ledger, known.id, Selection(DR12))
    assert now.total == 60
    assert now.disagreements() == []


class Cut(Listed):
    """An archive that stops answering after its first folder."""

    def folders(self, selection: Selection) -> Iterator[Folder]:
        yield next(super().folders(selection))
        raise ArchiveUnavailable("no answer")


def test_what_an_attempt_noticed_that_did_not_come_to_its_end_is_in_the_plan(services: Services) -> None:
    found = frames([11, 12]) + frames([11], run=99)
    make(services, found)
    cut = cast("ArchiveClient", Cut(found[1:]))
    with pytest.raises(ArchiveUnavailable):
        plan(services, LATER, cut, Selection(DR12), PARAMETERS)
    assert make(services, found[1:], attempt=replace(LATER, number=2)).withdrawn == 1
    (row,) = services.ledger.problems(LATER.dag_run, 10)
    assert (row.frame, row.outcome) == (str(found[0]), Outcome.WITHDRAWN)
    assert make(services, found[1:], attempt=Attempt("third")).withdrawn == 0


@pytest.mark.parametrize("why", ["changed", "lost", "retried"])
def test_what_a_run_at_work_has_in_hand_is_left_to_it_whatever_it_is_for(
    services: Services, mirror: Mirror, why: str
) -> None:
    (frame,) = frames([11])
    make(services, [frame], dates={frame: "2020"})
    mirrored(services, mirror, frame, "ab" * 32, "date=2020")
    published(services, frame)
    dates = {frame: "2021" if why == "changed" else "2020"}
    if why != "changed":
        mirror.objects.clear()
    assert make(services, [frame], dates=dates).planned == 1
    if why == "retried":
        context = Context("again", "shared", "dr12", PARAMETERS.slug, NOW.dag_run)
        trying = Record(frame, Outcome.ARCHIVE_UNAVAILABLE, "no answer", retrying=True)
        services.ledger.record(context, Stage.MIRROR, [trying])
    for again in (False, True):
        other = make(services, [frame], dates=dates, attempt=LATER, is_live=NOW.dag_run.__eq__, again=again)
        assert (other.planned, other.elsewhere) == (0, 1)
    assert make(services, [frame], dates=dates, attempt=LATER).planned == 1
