"""How many frames are where: the sums, what is not published and why, and the check that finds damage."""

import multiprocessing
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, func, select, update

from kira.ledger import Context, Ledger, Outcome, Record, Stage
from kira.ledger.numbers import number_of
from kira.ledger.status import (
    NOT_REACHED,
    RETRYING,
    Integrity,
    Known,
    Unpublished,
    catalogues,
    check,
    integrity,
    last_reconciled,
    not_published,
    recent_runs,
    status,
    tallied,
)
from kira.ledger.tables import FrameTable, OutcomeTable, TallyTable
from kira.sdss import FrameId, Release, Selection

DR12 = Release(12)
CONTEXT = Context("batch-1", "shared", "dr12", "kira-1", "run-1", log="http://airflow/mirror")
OUTCOMES = [o for o in Outcome if o is not Outcome.WAITING and o is not Outcome.WITHDRAWN]
STAGES = list(Stage)


def frames(runs: Sequence[int] = (94,), camcols: Sequence[int] = (1,), fields: Sequence[int] = range(11, 21),
           bands: str = "ugriz") -> list[FrameId]:  # fmt: skip
    return [
        FrameId(DR12, run, 301, camcol, field, band)  # type: ignore[arg-type]
        for run in runs for camcol in camcols for field in fields for band in bands
    ]  # fmt: skip


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    made = Ledger(url)
    yield made
    made.engine.dispose()


def known(ledger: Ledger) -> Known:
    ledger.catalogue("shared", "dr12", "kira-1")
    (one,) = catalogues(ledger)
    return one


def listed(ledger: Ledger, found: list[FrameId], dates: dict[FrameId, str] | None = None) -> None:
    """As reconciliation leaves it, whole folder by whole folder."""
    places = {(frame.run, frame.rerun, frame.camcol) for frame in found}
    for place in sorted(places):
        mine = {f: (dates or {}).get(f, "date=2020") for f in found if (f.run, f.rerun, f.camcol) == place}
        ledger.reconcile(known(ledger).id, DR12, place, mine, None, lambda _: True)


def mixture(ledger: Ledger, found: list[FrameId], chance: random.Random) -> None:
    """Whatever can be recorded, of some of the frames, in any order."""
    listed(ledger, found)
    for number in range(30):
        context = replace(CONTEXT, batch=f"batch-{number % 7}", dag_run=f"run-{number % 5}")
        stage = chance.choice(STAGES)
        ledger.record(context, stage, [
            Record(
                frame, chance.choice(OUTCOMES), "for a reason", again=chance.random() < 0.2, size=chance.randrange(99),
                sha256=f"{chance.randrange(9):064x}", sources=chance.randrange(9), retrying=chance.random() < 0.2,
                listed=chance.choice([None, "date=2020", "date=2021"]),
            )
            for frame in chance.sample(found, 20)
        ])  # fmt: skip
    left = [frame for frame in found if chance.random() < 0.8]
    listed(ledger, left, {frame: chance.choice(["date=2020", "date=2021"]) for frame in left})
    ledger.settle("run-2")
    ledger.unpublish(known(ledger).id, "batch-3")
    ledger.try_again(known(ledger).id, Selection.parse("dr12", "94"))


@pytest.mark.parametrize("seed", range(4))
def test_the_sums_agree_whatever_happened(ledger: Ledger, seed: int) -> None:
    found = frames((94, 1000), (1, 2), range(11, 16))
    mixture(ledger, found, random.Random(seed))
    assert check(ledger, known(ledger)) == []
    now = status(ledger, known(ledger).id, Selection(DR12))
    assert now.total == len(found)
    assert now.disagreements() == []
    assert {sum(row.values()) for row in now.stages.values()} == {now.total}
    assert list(now.stages) == STAGES
    with ledger.database.reading() as connection:
        assert now.to_do == connection.scalar(select(func.count()).where(FrameTable.to_do))
        assert now.published == connection.scalar(
            select(func.count()).where(FrameTable.published_batch_id.is_not(None))
        )
        assert now.withdrawn == connection.scalar(select(func.count()).where(FrameTable.withdrawn))
    assert now.published
    assert now.withdrawn


SELECTIONS = [
    ("", "", "", "ugriz"), ("94", "", "", "ugriz"), ("94-999", "2", "", "r"), ("", "1-3", "", "gz"),
    ("", "", "12-13", "ugriz"), ("1000", "2", "11, 15", "ui"), ("7", "", "", "ugriz"), ("94", "", "9999", "r"),
]  # fmt: skip


def test_a_selection_is_what_counting_by_hand_says(ledger: Ledger) -> None:
    found = frames((94, 1000), (1, 2), range(11, 16))
    mixture(ledger, found, random.Random(7))
    with ledger.database.reading() as connection:
        rows = {row.frame: row for row in connection.execute(select(FrameTable.__table__))}
    for runs, camcols, fields, bands in SELECTIONS:
        selection = Selection.parse("dr12", runs, camcols, fields, bands)
        mine = [(frame, rows[number_of(frame)]) for frame in found if frame in selection]
        now = status(ledger, known(ledger).id, selection)
        assert now.total == len(mine)
        assert now.published == sum(row.published_batch_id is not None for _, row in mine)
        assert now.to_do == sum(row.to_do for _, row in mine)
        assert now.withdrawn == sum(row.withdrawn for _, row in mine)
        assert now.size == sum(row.size or 0 for _, row in mine)
        sources: Counter[str] = Counter()
        for frame, row in mine:
            sources[frame.band] += row.sources if row.published_batch_id is not None else 0
        assert {band: n for band, n in now.sources.items() if n} == dict(+sources)
        for stage in STAGES:
            counts: Counter[str] = Counter()
            for _, row in mine:
                further = STAGES.index(Stage(row.stage)) - STAGES.index(stage)
                here = RETRYING if row.retrying else row.outcome
                counts["ok" if further > 0 else NOT_REACHED if further < 0 else here] += 1
            assert now.stages[stage] == dict(counts), (str(selection), stage)
        # A patch of sky that holds all of it is no other answer than none.
        everything = Counter({row: row.frames for row in tallied(ledger, known(ledger).id, selection, lambda _: True)})
        assert everything == Counter(
            {row: row.frames for row in tallied(ledger, known(ledger).id, selection)}
        )  # fmt: skip


def test_integrity_checks_are_added_up_by_day_and_what_was_fetched_again_is_healed(ledger: Ledger) -> None:
    one, two, three = frames()[:3]
    ledger.record(CONTEXT, Stage.MIRROR, [
        Record(one, Outcome.OK, checks=3), Record(two, Outcome.CHECKSUM_MISMATCH, "why", checks=1, failed_checks=1),
        Record(three, Outcome.CORRUPT_UPSTREAM, "why", checks=1, failed_checks=1),
    ])  # fmt: skip
    assert integrity(ledger, known(ledger).id) == Integrity(5, 2, 0)
    ledger.record(CONTEXT, Stage.MIRROR, [Record(two, Outcome.OK, checks=3)])
    found = integrity(ledger, known(ledger).id)
    assert found == Integrity(8, 2, 1)
    # Damaged again and again it is not healed, however often.
    for _ in range(3):
        ledger.record(CONTEXT, Stage.MIRROR, [
            Record(three, Outcome.CHECKSUM_MISMATCH, "why", checks=1, failed_checks=1, retrying=True)
        ])  # fmt: skip
    found = integrity(ledger, known(ledger).id)
    assert found == Integrity(11, 5, 1)
    today = datetime.now(UTC).date()
    assert integrity(ledger, known(ledger).id, today - timedelta(days=1)) == found
    assert integrity(ledger, known(ledger).id, today + timedelta(days=1)).checks == 0


def test_runs_are_told_the_newest_first(ledger: Ledger) -> None:
    for number in range(3):
        ledger.record(
            replace(CONTEXT, dag_run=f"run-{number}", dag="mine"), Stage.PLAN, [Record(frames()[0], Outcome.OK)]
        )
    found = recent_runs(ledger, 2)
    assert [(one.name, one.dag) for one in found] == [("run-2", "mine"), ("run-1", "mine")]
    assert [one.name for one in recent_runs(ledger, 9, found[0].began)] == ["run-1", "run-0"]
    assert last_reconciled(ledger, known(ledger).id) is None
    listed(ledger, frames())
    assert last_reconciled(ledger, known(ledger).id) is not None


def test_retrying_is_a_state_of_its_own_until_the_run_is_over(ledger: Ledger) -> None:
    one, two, three = frames(bands="r")[:3]
    listed(ledger, [one, two, three])
    ledger.record(CONTEXT, Stage.MIRROR, [
        Record(one, Outcome.ARCHIVE_UNAVAILABLE, "no answer", retrying=True),
        Record(two, Outcome.ARCHIVE_UNAVAILABLE, "no answer"),
    ])  # fmt: skip
    catalogue = known(ledger).id
    row = {RETRYING: 1, "archive_unavailable": 1, NOT_REACHED: 1}
    assert status(ledger, catalogue, Selection(DR12)).stages["mirror"] == row
    ledger.settle("another run")
    assert status(ledger, catalogue, Selection(DR12)).stages["mirror"] == row
    ledger.settle("run-1")
    assert status(ledger, catalogue, Selection(DR12)).stages["mirror"] == {"archive_unavailable": 2, NOT_REACHED: 1}
    assert {row.retrying for row in ledger.outcomes("run-1")} == {False}
    assert check(ledger, known(ledger)) == []


def test_the_end_of_a_run_settles_what_is_its_own_and_all_of_that(ledger: Ledger) -> None:
    one, two = frames(bands="r")[:2]
    listed(ledger, [one, two])
    trying = [Record(frame, Outcome.STORAGE_FAILED, "away", retrying=True) for frame in (one, two)]
    ledger.record(CONTEXT, Stage.MIRROR, trying)
    # The first was withdrawn meanwhile, the second taken up by another run.
    listed(ledger, [two])
    ledger.record(replace(CONTEXT, dag_run="run-2"), Stage.MIRROR, trying[1:])
    ledger.settle("run-1")
    found = {row.frame: row for row in unpublished(ledger)}
    assert (found[str(one)].retrying, found[str(one)].failures) == (False, 1)
    assert (found[str(two)].retrying, found[str(two)].failures, found[str(two)].dag_run) == (True, 0, "run-2")


def test_the_end_of_a_run_uses_up_the_budget(ledger: Ledger) -> None:
    (frame,) = frames(bands="r")[:1]
    listed(ledger, [frame])
    for number in range(5):
        assert status(ledger, known(ledger).id, Selection(DR12)).to_do == 1
        context = replace(CONTEXT, dag_run=f"run-{number}")
        ledger.record(context, Stage.MIRROR, [Record(frame, Outcome.STORAGE_FAILED, "away", retrying=True)])
        ledger.settle(context.dag_run)
    assert status(ledger, known(ledger).id, Selection(DR12)).to_do == 0
    assert check(ledger, known(ledger)) == []


# -- what is not published, and why


def unpublished(ledger: Ledger, *, waiting: bool = False, most: int = 1000, **selected: str) -> list[Unpublished]:
    return not_published(
        ledger, known(ledger), Selection.parse("dr12", **{"runs": ""} | selected), waiting=waiting, most=most
    )


def attempted(ledger: Ledger, context: Context, stage: Stage) -> None:
    with ledger.attempt(context, stage, 1):
        pass


def test_each_has_its_reason_its_advice_and_the_log_of_its_stage(ledger: Ledger) -> None:
    bad, trying, gone, stuck, fine, waits = frames(bands="r")[:6]
    listed(ledger, [bad, trying, gone, stuck, fine, waits])
    attempted(ledger, CONTEXT, Stage.MIRROR)
    attempted(ledger, replace(CONTEXT, log="http://airflow/publish"), Stage.PUBLISH)
    ledger.record(CONTEXT, Stage.MIRROR, [
        Record(bad, Outcome.CORRUPT_UPSTREAM, "half of it"), Record(stuck, Outcome.OK),
        Record(trying, Outcome.ARCHIVE_UNAVAILABLE, "no answer", retrying=True),
    ])  # fmt: skip
    ledger.record(CONTEXT, Stage.PUBLISH, [Record(f, Outcome.OK, sources=1) for f in (gone, fine)])
    listed(ledger, [bad, trying, stuck, fine, waits])

    found = {row.frame: row for row in unpublished(ledger)}
    assert set(found) == {str(frame) for frame in (bad, trying, gone, stuck)}
    row = found[str(bad)]
    assert (row.stage, row.outcome, row.reason, row.advice) == (
        "mirror", "corrupt_upstream", "half of it", Outcome.CORRUPT_UPSTREAM.advice,
    )  # fmt: skip
    assert (row.dag_run, row.batch, row.log, row.failures) == ("run-1", "batch-1", "http://airflow/mirror", 1)
    assert (found[str(trying)].retrying, found[str(trying)].reason) == (True, "no answer")
    assert found[str(trying)].advice == "wait: the run run-1 tries again"
    assert (found[str(gone)].withdrawn, found[str(gone)].advice) == (True, Outcome.WITHDRAWN.advice)
    assert "came through stage mirror" in found[str(stuck)].reason

    everything = unpublished(ledger, waiting=True)
    assert [row.frame for row in everything] == sorted([*found, str(waits)])
    (row,) = [row for row in everything if row.frame == str(waits)]
    assert (row.outcome, row.log, row.dag_run, row.advice) == ("waiting", "", "", Outcome.WAITING.advice)
    assert [row.frame for row in unpublished(ledger, most=2)] == [row.frame for row in unpublished(ledger)][:2]
    assert unpublished(ledger, runs="95") == []
    assert [row.frame for row in unpublished(ledger, runs="94", fields=str(bad.field))] == [str(bad)]


@pytest.mark.parametrize("outcome", [o for o in OUTCOMES if not o.good])
def test_every_failure_comes_with_what_to_do(ledger: Ledger, outcome: Outcome) -> None:
    (frame,) = frames(bands="r")[:1]
    ledger.record(CONTEXT, Stage.EXTRACT, [Record(frame, outcome, "for a reason")])
    (row,) = unpublished(ledger)
    assert (row.reason, row.advice, row.outcome) == ("for a reason", outcome.advice, outcome)


def test_odd_letters_in_a_reason_are_kept_out_of_the_way(ledger: Ledger) -> None:
    (frame,) = frames(bands="r")[:1]
    ledger.record(CONTEXT, Stage.EXTRACT, [Record(frame, Outcome.BAD_FRAME, "TELESCOP is 'a\0b\udcffc'")])
    ledger.end_attempt(ledger.begin_attempt(CONTEXT, Stage.EXTRACT, 1), error="\0" * 3000)
    assert unpublished(ledger)[0].reason == "TELESCOP is 'a\ufffdb?c'"


# -- the check finds what is wrong


@pytest.fixture
def whole(ledger: Ledger) -> Ledger:
    found = frames(bands="r")
    listed(ledger, found)
    for stage in STAGES:
        ledger.record(CONTEXT, stage, [Record(frame, Outcome.OK, size=5, sources=3) for frame in found[:6]])
    ledger.record(CONTEXT, Stage.MIRROR, [Record(found[6], Outcome.ARCHIVE_UNAVAILABLE, "no answer")])
    assert check(ledger, known(ledger)) == []
    return ledger


FIRST = number_of(frames(bands="r")[0])
DAMAGE: dict[str, tuple[Any, str]] = {
    "tally off by one": (
        update(TallyTable).where(TallyTable.published).values(frames=TallyTable.frames + 1),
        "run 94, camcol 1, band r, publish ok: the tally says 7 frames, and there are 6.",
    ),
    "sources off by one": (
        update(TallyTable).where(TallyTable.published).values(sources=TallyTable.sources + 1), "publish ok",
    ),
    "bytes off by one": (update(TallyTable).where(TallyTable.published).values(size=TallyTable.size - 1), "publish ok"),
    "tally lost": (
        delete(TallyTable).where(TallyTable.stage == "mirror", TallyTable.frames > 0),
        "mirror archive_unavailable: the tally says 0",
    ),
    "frame moved by hand": (
        update(FrameTable).where(FrameTable.frame == FIRST).values(stage="stage"),
        "run 94, camcol 1, band r, stage ok: the tally says 0 frames, and there are 1.",
    ),
    "frame moved by hand to where it never was": (
        update(FrameTable).where(FrameTable.frame == FIRST).values(outcome="ok_empty"),
        "1 frames are said to be where no outcome says so, the first dr12-301-000094-1-0011-r.",
    ),
    "flag changed by hand": (
        update(FrameTable).where(FrameTable.frame == FIRST).values(to_do=True), "the tally says 6 frames",
    ),
    "frame lost": (delete(FrameTable).where(FrameTable.frame == FIRST), "the tally says 6 frames, and there are 5"),
    "outcome changed by hand": (
        update(OutcomeTable).where(OutcomeTable.stage == "mirror", OutcomeTable.outcome != "ok").values(outcome="ok"),
        "1 frames are said to be where no outcome says so",
    ),
    "published without an outcome": (
        delete(OutcomeTable).where(OutcomeTable.frame == FIRST, OutcomeTable.stage == "publish"),
        "1 frames are said to be published, and no outcome says so, the first dr12-301-000094-1-0011-r.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found(whole: Ledger, kind: str) -> None:
    statement, sentence = DAMAGE[kind]
    with whole.engine.begin() as connection:
        assert connection.execute(statement).rowcount == 1
    assert sentence in "\n".join(check(whole, known(whole)))


def test_a_stage_that_was_cleared_and_failed_does_not_take_what_is_published_away(whole: Ledger) -> None:
    first = frames(bands="r")[0]
    ledger = whole
    ledger.record(CONTEXT, Stage.STAGE, [Record(first, Outcome.STORAGE_FAILED, "HDFS was away")])
    assert check(ledger, known(ledger)) == []
    stages = {row.stage for row in ledger.outcomes("run-1") if row.frame == str(first)}
    assert stages == {"plan", "mirror", "stage", "publish"}
    now = status(ledger, known(ledger).id, Selection(DR12))
    assert (now.published, now.stages["stage"]["storage_failed"]) == (6, 1)


def test_rates_are_of_what_ended_well(ledger: Ledger) -> None:
    began = datetime(2026, 11, 22, 8, tzinfo=UTC)
    for second in (10, 30):
        ledger.add_attempt(CONTEXT, Stage.EXTRACT, 5, began.replace(hour=second % 9), began.replace(
            hour=second % 9, second=second), size=100)  # fmt: skip
    with pytest.raises(OSError, match="away"), ledger.attempt(CONTEXT, Stage.EXTRACT, 5):
        raise OSError("away")
    ledger.begin_attempt(CONTEXT, Stage.EXTRACT, 5)
    assert set(ledger.rates("shared", "dr12")) == {Stage.EXTRACT}
    rate = ledger.rates("shared", "dr12")[Stage.EXTRACT]
    assert (rate.frames, rate.size, rate.seconds) == (10, 200, 40.0)
    assert ledger.rates("shared", "dr7") == ledger.rates("sdss", "dr12") == {}


# -- many at once


def _record(url: str, number: int, meet: Callable[[], object]) -> None:
    chance, found = random.Random(number), frames((94, 1000), (1,), range(11, 16))
    ledger = Ledger(url)
    meet()
    for turn in range(12):
        context = replace(CONTEXT, batch=f"batch-{chance.randrange(3)}", dag_run=f"run-{number}")
        stage = chance.choice(STAGES)
        ledger.record(context, stage, [
            Record(frame, chance.choice(OUTCOMES), "why", size=turn, sources=2, retrying=chance.random() < 0.3)
            for frame in chance.sample(found, 25)
        ])  # fmt: skip
        if turn % 4 == 0:
            mine = {f: f"date={turn}" for f in found if f.run == 94 and chance.random() < 0.9}
            ledger.reconcile(ledger.catalogue("shared", "dr12", "kira-1"), DR12, (94, 301, 1), mine, None,
                             lambda _: True)  # fmt: skip
            ledger.settle(f"run-{number}")
            ledger.unpublish(ledger.catalogue("shared", "dr12", "kira-1"), "batch-1")
    ledger.engine.dispose()


def test_the_sums_agree_while_many_write_and_after(url: str) -> None:
    first = Ledger(url)
    one = known(first)
    fork = multiprocessing.get_context("fork")
    barrier = fork.Barrier(4)
    first.engine.dispose()  # connections are not for two processes
    writers = [fork.Process(target=_record, args=(url, number, barrier.wait)) for number in range(3)]
    for writer in writers:
        writer.start()
    barrier.wait()
    looks = 0
    while any(writer.is_alive() for writer in writers):
        assert check(first, one) == []
        assert status(first, one.id, Selection(DR12)).disagreements() == []
        looks += 1
    assert looks > 1
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert check(first, one) == []
    assert status(first, one.id, Selection(DR12)).total == 50
    first.engine.dispose()
