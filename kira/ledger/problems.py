"""Frames that are not published, by what keeps them: how many, by which runs, and the first of them.

How many is a sum of the tallies; which ones is read along the index `frame_unpublished`. So both take milliseconds for
millions of frames.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Select, and_, false, func, or_, select, text

from kira.ledger.ledger import Ledger
from kira.ledger.outcomes import Outcome, Stage
from kira.ledger.status import Known, Unpublished, unpublished_of
from kira.ledger.tables import UNPUBLISHED, BatchTable, DagRunTable, FrameTable, TallyTable
from kira.sdss import Release


class Kind(StrEnum):
    """How it stands with frames that are not published."""

    FAILED = "failed"
    """Something went wrong, and its run will not try again."""
    UNFINISHED = "unfinished"
    """All was well as far as it came; its run is at work on it, or stopped."""
    RETRYING = "retrying"
    """Something went wrong, and its run will try again."""
    WITHDRAWN = "withdrawn"
    """The archive does not list it any more."""


@dataclass(frozen=True)
class Cause:
    """What keeps frames from being published.

    Parameters
    ----------
    kind : Kind
    stage : Stage or None
        Where; None for withdrawn frames, which may be anywhere.
    outcome : Outcome or None
        What became of them there.
    """

    kind: Kind
    stage: Stage | None = None
    outcome: Outcome | None = None

    @property
    def advice(self) -> str:
        """The sentence that says what to do."""
        if self.outcome is None:
            return Outcome.WITHDRAWN.advice
        if self.kind is Kind.RETRYING:
            return "wait: their run tries again by itself"
        if self.kind is Kind.UNFINISHED:
            return "wait if their run is still at work; else clear its failed task, or let the next ingestion go on"
        return self.outcome.advice


@dataclass(frozen=True)
class Group:
    """Frames that one cause keeps.

    Parameters
    ----------
    cause : Cause
    frames : int
    to_do : int
        Of these, the ones that the next plan takes up by itself.
    """

    cause: Cause
    frames: int
    to_do: int


@dataclass(frozen=True)
class Share:
    """Frames of a group that one DAG run had last."""

    dag_run: str
    dag: str
    frames: int


def groups(ledger: Ledger, catalogue: int, dag_run: str | None = None) -> list[Group]:
    """Frames that are not published, by cause; failures first, and the largest group first.

    Parameters
    ----------
    ledger : Ledger
    catalogue : int
    dag_run : str, optional
        Only frames that this DAG run had last.
    """
    names = ("stage", "outcome", "retrying", "withdrawn", "to_do")
    key = [getattr(TallyTable, name) for name in names]
    query = (
        select(*key, func.sum(TallyTable.frames))
        .where(TallyTable.catalogue_id == catalogue, TallyTable.frames > 0, text(UNPUBLISHED))
        .group_by(*key)
    )
    frames: Counter[Cause] = Counter()
    to_do: Counter[Cause] = Counter()
    with ledger.database.reading() as connection:
        tallied = [(*row[:5], int(row[5])) for row in connection.execute(query)]
        if dag_run is not None:
            tallied = list(_of_run(connection, catalogue, dag_run, {row[:4] for row in tallied}))
    for stage, outcome, retrying, withdrawn, taken_up, count in tallied:
        cause = _cause(stage, outcome, retrying=retrying, withdrawn=withdrawn)
        frames[cause] += count
        to_do[cause] += count if taken_up else 0
    order = list(Kind)
    found = [Group(cause, count, to_do[cause]) for cause, count in frames.items()]
    return sorted(found, key=lambda one: (order.index(one.cause.kind), -one.frames, str(one.cause)))


def _of_run(
    connection: Connection, catalogue: int, dag_run: str, states: set[tuple[str, str, bool, bool]]
) -> Iterator[tuple[str, str, bool, bool, bool, int]]:
    number = connection.scalar(select(DagRunTable.id).where(DagRunTable.name == dag_run))
    if number is None:
        return  # else frames that no run has had would be meant
    for stage, outcome, retrying, withdrawn in states:
        query = (
            select(FrameTable.to_do, func.count())
            .where(
                FrameTable.catalogue_id == catalogue, FrameTable.stage == stage, FrameTable.outcome == outcome,
                FrameTable.retrying.is_(retrying), FrameTable.withdrawn.is_(withdrawn),
                FrameTable.dag_run_id == number, text(UNPUBLISHED),
            )
            .group_by(FrameTable.to_do)
        )  # fmt: skip
        for taken_up, count in connection.execute(query):
            yield stage, outcome, retrying, withdrawn, taken_up, count


def _cause(stage: str, outcome: str, *, retrying: bool, withdrawn: bool) -> Cause:
    if withdrawn:
        return Cause(Kind.WITHDRAWN)
    what = Outcome(outcome)
    kind = Kind.RETRYING if retrying else Kind.UNFINISHED if what.good else Kind.FAILED
    return Cause(kind, Stage(stage), what)


def first_frames(
    ledger: Ledger, known: Known, cause: Cause, *, dag_run: str | None = None, most: int = 50, skip: int = 0
) -> list[Unpublished]:
    """The first frames that a cause keeps, those of the newest DAG run first.

    Parameters
    ----------
    ledger : Ledger
    known : Known
    cause : Cause
    dag_run : str, optional
        Only frames that this DAG run had last.
    most, skip : int
        So many frames, after so many.
    """
    names = ("frame", "stage", "outcome", "retrying", "withdrawn", "failures", "dag_run_id", "batch_id", "at")
    columns = [getattr(FrameTable, name) for name in names]
    query = (
        _kept(ledger, known.id, cause, dag_run)
        .outerjoin(DagRunTable, DagRunTable.id == FrameTable.dag_run_id)
        .outerjoin(BatchTable, BatchTable.id == FrameTable.batch_id)
        .with_only_columns(*columns, DagRunTable.name.label("dag_run"), BatchTable.name.label("batch"))
        .order_by(FrameTable.dag_run_id.desc(), FrameTable.frame)
        .offset(skip)
        .limit(most)
    )
    release = Release.parse(known.release)
    with ledger.database.reading() as connection:
        return [unpublished_of(connection, row, release) for row in connection.execute(query).all()]


def numbers(ledger: Ledger, catalogue: int, cause: Cause, *, dag_run: str | None = None, most: int) -> list[int]:
    """Keys of frames that a cause keeps (see `kira.ledger.numbers`), so many at most."""
    with ledger.database.reading() as connection:
        return list(connection.scalars(_kept(ledger, catalogue, cause, dag_run).limit(most)))


def shares(ledger: Ledger, catalogue: int, cause: Cause, most: int) -> list[Share]:
    """DAG runs that had the frames last, the newest first, so many at most; how many frames of the cause each has."""
    found: list[Share] = []
    before = None
    with ledger.database.reading() as connection:
        while len(found) < most:
            # From run to run along the index: a sum over all of them would count what is not asked for.
            newest = _kept(ledger, catalogue, cause, None).with_only_columns(func.max(FrameTable.dag_run_id))
            if before is not None:
                newest = newest.where(FrameTable.dag_run_id < before)
            before = connection.scalar(newest)
            if before is None:
                break
            own = (
                _kept(ledger, catalogue, cause, None)
                .with_only_columns(func.count())
                .where(FrameTable.dag_run_id == before)
            )
            name, dag = connection.execute(
                select(DagRunTable.name, DagRunTable.dag).where(DagRunTable.id == before)
            ).one()
            found.append(Share(name, dag, connection.scalar(own) or 0))
    return found


def _kept(ledger: Ledger, catalogue: int, cause: Cause, dag_run: str | None) -> Select[Any]:
    states = [(cause.stage, cause.outcome, cause.kind is Kind.RETRYING)]
    withdrawn = cause.stage is None or cause.outcome is None
    if withdrawn:
        key = (TallyTable.stage, TallyTable.outcome, TallyTable.retrying)
        there = select(*key).where(
            TallyTable.catalogue_id == catalogue, TallyTable.withdrawn.is_(True), TallyTable.frames > 0
        )
        with ledger.database.reading() as connection:
            states = [(Stage(s), Outcome(o), r) for s, o, r in connection.execute(there.distinct())]
    # Each state is one place in the index.
    places = [
        and_(FrameTable.stage == stage, FrameTable.outcome == outcome, FrameTable.retrying.is_(retrying),
             FrameTable.withdrawn.is_(withdrawn), FrameTable.catalogue_id == catalogue)
        for stage, outcome, retrying in states
    ]  # fmt: skip
    query = select(FrameTable.frame).where(or_(false(), *places), text(UNPUBLISHED))
    if dag_run is not None:
        number = select(DagRunTable.id).where(DagRunTable.name == dag_run).scalar_subquery()
        query = query.where(FrameTable.dag_run_id == number)
    return query


def tallied_places(ledger: Ledger, catalogue: int, cause: Cause) -> list[tuple[int, int, str]]:
    """Run, camcol and band of the camera columns in which a cause keeps frames."""
    query = (
        select(TallyTable.run, TallyTable.camcol, TallyTable.band)
        .where(TallyTable.catalogue_id == catalogue, TallyTable.frames > 0)
        .distinct()
    )
    if cause.stage is None or cause.outcome is None:
        query = query.where(TallyTable.withdrawn.is_(True))
    else:
        query = query.where(
            TallyTable.stage == cause.stage.value, TallyTable.outcome == cause.outcome.value,
            TallyTable.retrying.is_(cause.kind is Kind.RETRYING), TallyTable.withdrawn.is_(False),
        )  # fmt: skip
    with ledger.database.reading() as connection:
        return [(run, camcol, band) for run, camcol, band in connection.execute(query)]


@dataclass(frozen=True)
class Column:
    """Frames of one band of a camera column of a run, in one state.

    Parameters
    ----------
    run, camcol : int
    band : str
    frames : int
    taken_up : bool
        Whether an ingestion that tries again works on them.
    """

    run: int
    camcol: int
    band: str
    frames: int
    taken_up: bool


def columns(ledger: Ledger, catalogue: int) -> list[Column]:
    """All that is known of a catalogue, by run, camcol, band and state."""
    names = ("run", "camcol", "band", "frames", "outcome", "to_do", "withdrawn")
    query = select(*(getattr(TallyTable, name) for name in names)).where(
        TallyTable.catalogue_id == catalogue, TallyTable.frames > 0
    )
    with ledger.database.reading() as connection:
        return [
            Column(run, camcol, band, frames, taken_up(outcome, to_do, withdrawn))
            for run, camcol, band, frames, outcome, to_do, withdrawn in connection.execute(query)
        ]


def taken_up(outcome: str, to_do: bool, withdrawn: bool) -> bool:
    """Whether an ingestion that tries again works on frames of a state."""
    return not withdrawn and (to_do or (not Outcome(outcome).good and outcome not in _NOT_FAILED))


_NOT_FAILED = {Outcome.WAITING, Outcome.NOT_IN_ARCHIVE, Outcome.WITHDRAWN}
