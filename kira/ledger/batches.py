"""What became of one batch, and which batch a task of Airflow works on."""

from dataclasses import dataclass

from sqlalchemy import func, or_, select

from kira.ledger.ledger import Ledger
from kira.ledger.status import Known, Seen
from kira.ledger.tables import AttemptTable, BatchTable, CatalogueTable, DagRunTable, OutcomeTable


@dataclass(frozen=True)
class Batch:
    """A batch that the ledger knows of.

    Parameters
    ----------
    name : str
    catalogue : Known
        That its frames go into.
    runs : tuple of Seen
        DAG runs that worked on it, the newest first.
    """

    name: str
    catalogue: Known
    runs: tuple[Seen, ...]


def batch(ledger: Ledger, name: str) -> Batch | None:
    """A batch by its name; None if the ledger does not know it."""
    if "\0" in name:
        return None
    query = (
        select(BatchTable.id, CatalogueTable.id, CatalogueTable.archive, CatalogueTable.release, CatalogueTable.profile)
        .join(CatalogueTable, CatalogueTable.id == BatchTable.catalogue_id)
        .where(BatchTable.name == name)
    )
    with ledger.database.reading() as connection:
        row = connection.execute(query).first()
        if row is None:
            return None
        worked = select(AttemptTable.dag_run_id).where(AttemptTable.batch_id == row[0])
        runs = (
            select(DagRunTable.name, DagRunTable.dag, DagRunTable.began)
            .where(DagRunTable.id.in_(worked))
            .order_by(DagRunTable.began.desc(), DagRunTable.id.desc())
        )
        return Batch(name, Known(*row[1:]), tuple(Seen(*one) for one in connection.execute(runs)))


def batch_of_task(ledger: Ledger, run: str, map_index: int) -> str | None:
    """Batch that the tasks with a map index work on in a DAG run; None before the first of them began.

    All tasks of a batch have one index, and each attempt has the address of its task's log.
    """
    if "\0" in run:
        return None
    here = f"/mapped/{map_index}"
    query = (
        select(BatchTable.name)
        .join(AttemptTable, AttemptTable.batch_id == BatchTable.id)
        .join(DagRunTable, DagRunTable.id == AttemptTable.dag_run_id)
        .where(DagRunTable.name == run, or_(AttemptTable.log.endswith(here), AttemptTable.log.contains(f"{here}?")))
        .order_by(AttemptTable.began.desc())
        .limit(1)
    )
    with ledger.database.reading() as connection:
        return connection.scalar(query)


def outcomes_of_batch(ledger: Ledger, run: str, name: str) -> list[tuple[str, str, int]]:
    """Frames of a batch by stage and outcome, in one DAG run."""
    query = (
        select(OutcomeTable.stage, OutcomeTable.outcome, func.count())
        .join(DagRunTable, DagRunTable.id == OutcomeTable.dag_run_id)
        .join(BatchTable, BatchTable.id == OutcomeTable.batch_id)
        .where(DagRunTable.name == run, BatchTable.name == name)
        .group_by(OutcomeTable.stage, OutcomeTable.outcome)
    )
    with ledger.database.reading() as connection:
        return [(stage, outcome, frames) for stage, outcome, frames in connection.execute(query)]
