"""DAG runs and batches as their report needs them: which catalogues, which attempts, how fast before."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, or_, select

from kira.ledger.ledger import Ledger
from kira.ledger.outcomes import Stage
from kira.ledger.status import Known, Seen
from kira.ledger.tables import AttemptTable, BatchTable, CatalogueTable, DagRunTable, OutcomeTable

_CATALOGUE = (CatalogueTable.id, CatalogueTable.archive, CatalogueTable.release, CatalogueTable.profile)


@dataclass(frozen=True)
class Pace:
    """How fast a stage was in one DAG run.

    Parameters
    ----------
    frames, size : int
        Frames and bytes of attempts that ended well.
    seconds : float
        Their wall-clock time, summed over batches.
    """

    frames: int
    size: int
    seconds: float

    @property
    def rate(self) -> float | None:
        """Frames a second; None where no time is known."""
        return self.frames / self.seconds if self.seconds > 0 else None


@dataclass(frozen=True)
class RunLine:
    """A DAG run in a list.

    Parameters
    ----------
    seen : Seen
    ended : datetime or None
        End of the last attempt that ended.
    batches : int
    attempts, failed, at_work : int
        Attempts of stages on batches; those that failed, and those without an end: at work, or killed.
    """

    seen: Seen
    ended: datetime | None
    batches: int
    attempts: int
    failed: int
    at_work: int


def seen(ledger: Ledger, name: str) -> Seen | None:
    """A DAG run by its id; None if the ledger does not know it."""
    query = select(DagRunTable.name, DagRunTable.dag, DagRunTable.began).where(DagRunTable.name == name)
    # What is no text in PostgreSQL is no name in it either.
    if "\0" in name or len(name) > 250:
        return None
    with ledger.database.reading() as connection:
        row = connection.execute(query).one_or_none()
    return Seen(*row) if row else None


def run_lines(ledger: Ledger, most: int, before: tuple[datetime, str] | None = None) -> list[RunLine]:
    """DAG runs, the newest first, with sums of their attempts.

    Parameters
    ----------
    ledger : Ledger
    most : int
    before : tuple of datetime and str, optional
        When the last run of the page before began, and its name.
    """
    runs = select(DagRunTable.id, DagRunTable.name, DagRunTable.dag, DagRunTable.began)
    if before is not None:
        at, name = before
        same = (DagRunTable.began == at) & (DagRunTable.name < name)
        runs = runs.where(or_(DagRunTable.began < at, same))
    runs = runs.order_by(DagRunTable.began.desc(), DagRunTable.name.desc()).limit(most)
    with ledger.database.reading() as connection:
        found = connection.execute(runs).all()
        sums = (
            select(
                AttemptTable.dag_run_id, func.max(AttemptTable.ended), func.count(AttemptTable.batch_id.distinct()),
                func.count(), func.count().filter(AttemptTable.error != ""),
                func.count().filter(AttemptTable.ended.is_(None)),
            )
            .where(AttemptTable.dag_run_id.in_([row.id for row in found]))
            .group_by(AttemptTable.dag_run_id)
        )  # fmt: skip
        made = {row[0]: row[1:] for row in connection.execute(sums)}
    return [RunLine(Seen(*row[1:]), *made.get(row.id, (None, 0, 0, 0, 0))) for row in found]


def catalogues_of(ledger: Ledger, dag_run: str) -> list[Known]:
    """Catalogues that a DAG run worked for; more than one if it was processed again with other parameters."""
    run = select(DagRunTable.id).where(DagRunTable.name == dag_run).scalar_subquery()
    batches = select(AttemptTable.batch_id).where(AttemptTable.dag_run_id == run)
    # A run that planned and came no further has no attempts.
    planned = select(OutcomeTable.batch_id).where(OutcomeTable.dag_run_id == run).limit(1)
    with ledger.database.reading() as connection:
        for part in (batches, planned):
            query = select(*_CATALOGUE).where(
                CatalogueTable.id.in_(select(BatchTable.catalogue_id).where(BatchTable.id.in_(part)))
            )
            if found := [Known(*row) for row in connection.execute(query.order_by(CatalogueTable.id))]:
                return found
    return []


def catalogue_of_batch(ledger: Ledger, batch: str) -> Known | None:
    """The catalogue that a batch is meant for; None if the ledger does not know the batch."""
    if "\0" in batch or len(batch) > 80:
        return None
    query = select(*_CATALOGUE).join(BatchTable, BatchTable.catalogue_id == CatalogueTable.id)
    with ledger.database.reading() as connection:
        row = connection.execute(query.where(BatchTable.name == batch)).one_or_none()
    return Known(*row) if row else None


def runs_of_batch(ledger: Ledger, batch: str) -> list[Seen]:
    """DAG runs that worked on a batch, the oldest first."""
    query = (
        select(DagRunTable.name, DagRunTable.dag, DagRunTable.began)
        .where(
            DagRunTable.id.in_(
                select(AttemptTable.dag_run_id)
                .join(BatchTable, BatchTable.id == AttemptTable.batch_id)
                .where(BatchTable.name == batch)
            )
        )
        .order_by(DagRunTable.began, DagRunTable.id)
    )
    with ledger.database.reading() as connection:
        return [Seen(*row) for row in connection.execute(query)]


def paces(ledger: Ledger, catalogue: int, before: datetime, most: int) -> list[tuple[Seen, dict[Stage, Pace]]]:
    """How fast each stage was in the DAG runs of a catalogue that began before a time, the newest first.

    Parameters
    ----------
    ledger : Ledger
    catalogue : int
    before : datetime
    most : int
        DAG runs that are looked at.

    Returns
    -------
    list of (Seen, dict of Stage to Pace)
        From attempts that ended well; runs without any are left out.
    """
    of_catalogue = (
        select(AttemptTable.dag_run_id)
        .join(BatchTable, BatchTable.id == AttemptTable.batch_id)
        .where(BatchTable.catalogue_id == catalogue)
    )
    runs = (
        select(DagRunTable.id, DagRunTable.name, DagRunTable.dag, DagRunTable.began)
        .where(DagRunTable.began < before, DagRunTable.id.in_(of_catalogue))
        .order_by(DagRunTable.began.desc(), DagRunTable.id.desc())
        .limit(most)
    )
    with ledger.database.reading() as connection:
        known = {row.id: Seen(*row[1:]) for row in connection.execute(runs)}
        ended = (
            select(AttemptTable.dag_run_id, AttemptTable.stage, AttemptTable.frames, AttemptTable.size,
                   AttemptTable.began, AttemptTable.ended)
            .join(BatchTable, BatchTable.id == AttemptTable.batch_id)
            .where(AttemptTable.dag_run_id.in_(known), BatchTable.catalogue_id == catalogue, AttemptTable.error == "",
                   AttemptTable.ended.is_not(None), AttemptTable.frames > 0)
        )  # fmt: skip
        sums: dict[int, dict[Stage, Pace]] = defaultdict(dict)
        for run, stage, frames, size, began, end in connection.execute(ended):
            old = sums[run].get(Stage(stage), Pace(0, 0, 0.0))
            seconds = ((end or began) - began).total_seconds()
            sums[run][Stage(stage)] = Pace(old.frames + frames, old.size + size, old.seconds + seconds)
    return [(one, sums[number]) for number, one in known.items() if number in sums]
