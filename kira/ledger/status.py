"""How many frames are where, which ones are not published and why, and whether the sums agree."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, func, select

from kira.ledger.frames import counted
from kira.ledger.ledger import Ledger
from kira.ledger.numbers import band_of, frame_of, in_selection, run_of, run_ranges
from kira.ledger.outcomes import Outcome, Stage
from kira.ledger.tables import (
    AttemptTable,
    BatchTable,
    CatalogueTable,
    CheckedTable,
    DagRunTable,
    FolderTable,
    FrameTable,
    OutcomeTable,
    TallyTable,
)
from kira.sdss import Release, Selection

RETRYING = "retrying"
NOT_REACHED = "not reached"
_STAGES = list(Stage)


@dataclass(frozen=True)
class Tallied:
    """Frames of one state; see `kira.ledger.tables.TallyTable`."""

    run: int
    band: str
    stage: str
    outcome: str
    retrying: bool
    published: bool
    withdrawn: bool
    to_do: bool
    frames: int
    sources: int
    size: int


@dataclass(frozen=True)
class Known:
    """A catalogue that the ledger knows of."""

    id: int
    archive: str
    release: str
    profile: str


@dataclass(frozen=True)
class Status:
    """Frames by stage and outcome.

    Parameters
    ----------
    total : int
        Frames that are known.
    stages : dict of str to dict of str to int
        For each stage the frames by outcome; `retrying` those that will be tried again by the run that has them, and
        `not reached` those that are not there yet or stopped before. Each adds up to the total.
    published : int
        Frames that a reader of the catalogue sees.
    withdrawn : int
        Frames that the archive does not list any more, be they published or not.
    to_do : int
        Frames that the next plan takes up.
    sources : dict of str to int
        In the catalogue, by band.
    size : int
        Bytes in the mirror.
    """

    total: int
    stages: dict[str, dict[str, int]]
    published: int
    withdrawn: int
    to_do: int
    sources: dict[str, int]
    size: int

    def disagreements(self) -> list[str]:
        """Stages whose outcomes do not add up to the total, one sentence each."""
        return [
            f"Stage {stage}: its outcomes add up to {sum(row.values()):,}, and there are {self.total:,} frames."
            for stage, row in self.stages.items() if sum(row.values()) != self.total
        ]  # fmt: skip


@dataclass(frozen=True)
class Unpublished:
    """A frame that is not published, with its reason and what to do."""

    frame: str
    stage: str
    outcome: str
    retrying: bool
    withdrawn: bool
    failures: int
    reason: str
    advice: str
    dag_run: str
    batch: str
    at: datetime
    log: str


def catalogues(ledger: Ledger) -> list[Known]:
    """All catalogues that the ledger knows of."""
    columns = (CatalogueTable.id, CatalogueTable.archive, CatalogueTable.release, CatalogueTable.profile)
    with ledger.database.reading() as connection:
        return [Known(*row) for row in connection.execute(select(*columns).order_by(CatalogueTable.id))]


def tallied(
    ledger: Ledger, catalogue: int, selection: Selection, within: Callable[[int], bool] | None = None
) -> list[Tallied]:
    """Frames of a selection by run, band and state.

    From the tallies, which takes milliseconds for millions of frames; only where fields or a patch of sky are selected
    are the frames of the selected runs counted themselves.

    Parameters
    ----------
    ledger : Ledger
    catalogue : int
    selection : Selection
    within : callable, optional
        Whether a frame, by its key, is in the patch of sky.
    """
    if selection.fields.everything and within is None:
        return list(_from_tallies(ledger, catalogue, selection))
    return list(_from_frames(ledger, catalogue, selection, within or (lambda _number: True)))


def _from_tallies(ledger: Ledger, catalogue: int, selection: Selection) -> Iterator[Tallied]:
    names = ("run", "band", "stage", "outcome", "retrying", "published", "withdrawn", "to_do")
    key = [getattr(TallyTable, name) for name in names]
    sums = [func.sum(getattr(TallyTable, name)) for name in ("frames", "sources", "size")]
    query = select(*key, *sums).where(TallyTable.catalogue_id == catalogue, TallyTable.frames > 0).group_by(*key)
    if not selection.camcols.everything:
        query = query.where(TallyTable.camcol.in_(list(selection.camcols)))
    with ledger.database.reading() as connection:
        for row in connection.execute(query):
            if row.run in selection.runs and row.band in selection.bands:
                yield Tallied(*row[:8], *(int(n) for n in row[8:]))


def _from_frames(
    ledger: Ledger, catalogue: int, selection: Selection, within: Callable[[int], bool]
) -> Iterator[Tallied]:
    names = ("stage", "outcome", "retrying", "published_batch_id", "withdrawn", "to_do", "sources", "size")
    found: dict[tuple[Any, ...], list[int]] = {}
    with ledger.database.reading() as connection:
        for low, high in run_ranges(selection):
            query = select(FrameTable.frame, *(getattr(FrameTable, name) for name in names)).where(
                FrameTable.catalogue_id == catalogue, FrameTable.frame >= low, FrameTable.frame < high
            )
            for number, stage, outcome, retrying, batch, withdrawn, to_do, sources, size in connection.execute(query):
                if in_selection(number, selection) and within(number):
                    key = (
                        run_of(number),
                        band_of(number),
                        stage,
                        outcome,
                        retrying,
                        batch is not None,
                        withdrawn,
                        to_do,
                    )
                    sums = found.setdefault(key, [0, 0, 0])
                    for place, value in enumerate((1, sources, size or 0)):
                        sums[place] += value
    for key, sums in found.items():
        yield Tallied(*key, *sums)


def status(ledger: Ledger, catalogue: int, selection: Selection) -> Status:
    """Frames of a selection by stage and outcome, for one catalogue."""
    rows = tallied(ledger, catalogue, selection)
    stages = {str(stage): _of_stage(rows, stage) for stage in _STAGES}
    sources: Counter[str] = Counter()
    for row in rows:
        if row.published:
            sources[row.band] += row.sources
    return Status(
        sum(row.frames for row in rows), stages, sum(row.frames for row in rows if row.published),
        sum(row.frames for row in rows if row.withdrawn), sum(row.frames for row in rows if row.to_do),
        {band: sources[band] for band in "ugriz" if band in sources}, sum(row.size for row in rows),
    )  # fmt: skip


def _of_stage(rows: list[Tallied], stage: Stage) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for row in rows:
        reached = _STAGES.index(Stage(row.stage))
        if reached > _STAGES.index(stage):
            name = str(Outcome.OK)  # it would not have come further
        elif reached < _STAGES.index(stage):
            name = NOT_REACHED
        else:
            name = RETRYING if row.retrying else row.outcome
        counts[name] += row.frames
    order = {str(outcome): n for n, outcome in enumerate(Outcome)} | {RETRYING: 100, NOT_REACHED: 101}
    return dict(sorted(counts.items(), key=lambda item: order[item[0]]))


@dataclass(frozen=True)
class Integrity:
    """Integrity checks.

    Parameters
    ----------
    checks, failed : int
        Made, and those that failed, tries that were repeated included.
    healed : int
        Frames that were damaged and came whole when they were fetched again.
    """

    checks: int
    failed: int
    healed: int


def integrity(ledger: Ledger, catalogue: int, since: date | None = None) -> Integrity:
    """Integrity checks of a catalogue's frames, from a day (UTC) on."""
    sums = (func.sum(column) for column in (CheckedTable.checks, CheckedTable.failed, CheckedTable.healed))
    made = select(*sums).where(CheckedTable.catalogue_id == catalogue)
    if since is not None:
        made = made.where(CheckedTable.day >= since)
    with ledger.database.reading() as connection:
        return Integrity(*(int(value or 0) for value in connection.execute(made).one()))


@dataclass(frozen=True)
class Seen:
    """A DAG run that the ledger knows of."""

    name: str
    dag: str
    began: datetime


def recent_runs(ledger: Ledger, most: int, before: datetime | None = None) -> list[Seen]:
    """DAG runs, the newest first."""
    query = select(DagRunTable.name, DagRunTable.dag, DagRunTable.began).order_by(
        DagRunTable.began.desc(), DagRunTable.id.desc()
    )
    if before is not None:
        query = query.where(DagRunTable.began < before)
    with ledger.database.reading() as connection:
        return [Seen(*row) for row in connection.execute(query.limit(most))]


def last_reconciled(ledger: Ledger, catalogue: int) -> datetime | None:
    """When a plan last compared a folder of the archive with the ledger, UTC; None if it never did."""
    query = select(func.max(FolderTable.at)).where(FolderTable.catalogue_id == catalogue)
    with ledger.database.reading() as connection:
        return connection.scalar(query)


def not_published(
    ledger: Ledger, known: Known, selection: Selection, *, waiting: bool = False, most: int = 1000
) -> list[Unpublished]:
    """Frames of a selection that failed, are retried, were withdrawn or are stuck, with reason and next step.

    Parameters
    ----------
    ledger : Ledger
    known : Known
    selection : Selection
    waiting : bool
        Also those that simply wait for their turn.
    most : int
    """
    release = Release.parse(known.release)
    names = ("frame", "stage", "outcome", "retrying", "withdrawn", "failures", "dag_run_id", "batch_id", "at")
    done = (FrameTable.stage == Stage.PUBLISH.value) & FrameTable.outcome.in_([Outcome.OK, Outcome.OK_EMPTY])
    query = (
        select(*(getattr(FrameTable, name) for name in names), DagRunTable.name.label("dag_run"),
               BatchTable.name.label("batch"))
        .outerjoin(DagRunTable, DagRunTable.id == FrameTable.dag_run_id)
        .outerjoin(BatchTable, BatchTable.id == FrameTable.batch_id)
        .where(FrameTable.catalogue_id == known.id, ~done | FrameTable.withdrawn)
        .order_by(FrameTable.frame)
    )  # fmt: skip
    if not waiting:
        query = query.where((FrameTable.outcome != Outcome.WAITING.value) | FrameTable.withdrawn)
    found: list[Unpublished] = []
    with ledger.database.reading() as connection:
        for low, high in run_ranges(selection):
            part = query.where(FrameTable.frame >= low, FrameTable.frame < high)
            # As they are asked for: there may be millions, of which the first are wanted.
            for row in connection.execute(part, execution_options={"yield_per": 500}):
                if len(found) >= most:
                    return found
                if in_selection(row.frame, selection):
                    found.append(unpublished_of(connection, row, release))
    return found


def unpublished_of(connection: Any, row: Any, release: Release) -> Unpublished:
    """A frame's row (with the names `dag_run` and `batch`) with its reason, what to do, and the task's log."""
    told = connection.execute(
        select(OutcomeTable.reason).where(
            OutcomeTable.frame == row.frame,
            OutcomeTable.dag_run_id == row.dag_run_id,
            OutcomeTable.batch_id == row.batch_id,
            OutcomeTable.stage == row.stage,
        )
    ).scalar()
    log = connection.execute(
        select(AttemptTable.log)
        .where(AttemptTable.dag_run_id == row.dag_run_id, AttemptTable.batch_id == row.batch_id)
        # Of the stage where it is; a frame that was planned and no more has none there.
        .order_by((AttemptTable.stage == row.stage).desc(), AttemptTable.began.desc())
        .limit(1)
    ).scalar()
    reason, advice = words(row, told or "")
    return Unpublished(
        str(frame_of(row.frame, release)), row.stage, row.outcome, row.retrying, row.withdrawn, row.failures, reason,
        advice, row.dag_run or "", row.batch or "", row.at, log or "",
    )  # fmt: skip


def words(row: Any, reason: str) -> tuple[str, str]:
    """Reason and next step of a frame that is not published."""
    outcome = Outcome(row.outcome)
    if row.withdrawn:
        return "the archive does not list it any more", Outcome.WITHDRAWN.advice
    if row.retrying:
        return reason, f"wait: the run {row.dag_run} tries again"
    if outcome is Outcome.WAITING:
        return "no plan has taken it up yet", outcome.advice
    if outcome.good:
        return (
            f"it came through stage {row.stage} and no further yet",
            "wait if its run is still at work; else the next ingestion takes it up again",
        )
    return reason, outcome.advice


def check(ledger: Ledger, known: Known) -> list[str]:
    """Whether the sums of a catalogue agree: one sentence for each that does not.

    - The tallies are the frames, counted.
    - Each stage's outcomes add up to the number of frames.
    - The newest outcome of each frame is where the frame is said to be.
    - A frame that is said to be published has a publish outcome of that batch.
    """
    selection = Selection(Release.parse(known.release))
    wrong = status(ledger, known.id, selection).disagreements()
    # What is recorded meanwhile is in all of it or in none.
    with ledger.database.snapshot() as connection:
        wrong += _check_tallies(connection, known)
        here = FrameTable.catalogue_id == known.id
        told = select(OutcomeTable.frame).where(
            OutcomeTable.frame == FrameTable.frame, OutcomeTable.batch_id == FrameTable.batch_id,
            OutcomeTable.dag_run_id == FrameTable.dag_run_id, OutcomeTable.stage == FrameTable.stage,
            OutcomeTable.outcome == FrameTable.outcome,
        )  # fmt: skip
        # Bytes that were fetched again and found the same put a frame back where it was.
        same = select(OutcomeTable.frame).where(
            OutcomeTable.frame == FrameTable.frame, OutcomeTable.batch_id == FrameTable.batch_id,
            OutcomeTable.dag_run_id == FrameTable.dag_run_id, OutcomeTable.outcome == Outcome.SAME_BYTES.value,
        )  # fmt: skip
        astray = select(FrameTable.frame).where(
            here, FrameTable.outcome != Outcome.WAITING.value, ~told.exists(), ~same.exists()
        )  # fmt: skip
        published = select(OutcomeTable.frame).where(
            OutcomeTable.frame == FrameTable.frame, OutcomeTable.batch_id == FrameTable.published_batch_id,
            OutcomeTable.stage == Stage.PUBLISH.value,
        )  # fmt: skip
        unheard = select(FrameTable.frame).where(here, FrameTable.published_batch_id.is_not(None), ~published.exists())
        for query, sentence in (
            (astray, "{} are said to be where no outcome says so, the first {}."),
            (unheard, "{} are said to be published, and no outcome says so, the first {}."),
        ):
            count = connection.scalar(select(func.count()).select_from(query.subquery())) or 0
            if count:
                first = connection.scalar(query.order_by(FrameTable.frame).limit(1))
                frame = frame_of(int(first or 0), Release.parse(known.release))
                wrong.append(f"{known.archive} {known.release}: " + sentence.format(f"{count:,} frames", frame))
    return wrong


def _check_tallies(connection: Connection, known: Known) -> list[str]:
    names = ("run", "camcol", "band", "stage", "outcome", "retrying", "published", "withdrawn", "to_do")
    sums = ("frames", "sources", "size")
    query = select(*(getattr(TallyTable, name) for name in (*names, *sums)))
    kept = {
        tuple(row[:9]): tuple(int(n) for n in row[9:])
        for row in connection.execute(query.where(TallyTable.catalogue_id == known.id)) if any(row[9:])
    }  # fmt: skip
    true = {
        (*row[:5], *map(bool, row[5:9])): tuple(int(n) for n in row[9:])
        for row in connection.execute(counted(known.id))
    }
    return [
        f"{known.archive} {known.release}: run {key[0]}, camcol {key[1]}, band {key[2]}, {key[3]} {key[4]}: the "
        f"tally says {kept.get(key, (0, 0, 0))[0]:,} frames, and there are {true.get(key, (0, 0, 0))[0]:,}."
        for key in sorted(kept.keys() | true.keys()) if kept.get(key) != true.get(key)
    ]  # fmt: skip
