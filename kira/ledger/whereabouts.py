"""Where some frames are, in each catalogue of an archive, and why."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import aliased

from kira.ledger.ledger import Ledger
from kira.ledger.numbers import frame_of, number_of
from kira.ledger.outcomes import Outcome, Stage
from kira.ledger.status import words
from kira.ledger.tables import BatchTable, CatalogueTable, DagRunTable, FrameTable, OutcomeTable
from kira.sdss import BANDS, FrameId, Release


@dataclass(frozen=True)
class Whereabouts:
    """Where a frame is on its way into one catalogue; see `kira.ledger.tables.FrameTable`.

    Parameters
    ----------
    reason, advice : str
        Why it is not published, and what to do; empty where it is.
    dag_run, dag, batch : str
        The DAG run and the batch that have it, or had it last; empty if there was none.
    published_batch : str
        By which batch it is in the catalogue; empty if it is not.
    """

    archive: str
    profile: str
    frame: FrameId
    stage: str
    outcome: str
    retrying: bool
    withdrawn: bool
    to_do: bool
    failures: int
    size: int | None
    sha256: str | None
    sources: int
    listed: str
    at: datetime
    dag_run: str
    dag: str
    batch: str
    published_batch: str
    reason: str
    advice: str

    @property
    def published(self) -> bool:
        """Whether a reader of the catalogue sees it."""
        return bool(self.published_batch)

    @property
    def staged(self) -> bool:
        """Whether its pixels came as far as the staging store, as far as the ledger knows."""
        done = self.stage == Stage.STAGE and Outcome(self.outcome).good
        return self.published or done or self.stage in (Stage.EXTRACT, Stage.VALIDATE, Stage.PUBLISH)


_COLUMNS = ("frame", "stage", "outcome", "retrying", "withdrawn", "to_do", "failures", "size", "sha256", "sources",
            "listed", "at")  # fmt: skip


def whereabouts(ledger: Ledger, frames: Sequence[FrameId], archive: str | None = None) -> list[Whereabouts]:
    """Say where frames are, by their keys: a few rows, however many the ledger has.

    Parameters
    ----------
    ledger : Ledger
    frames : sequence of FrameId
        All of one release; those that are not known are left out.
    archive : str, optional
        Of all archives by default.

    Returns
    -------
    list of Whereabouts
        By catalogue, then by frame.
    """
    if not frames:
        return []
    release = frames[0].release
    holder = aliased(BatchTable)
    query = (
        select(
            CatalogueTable.archive, CatalogueTable.profile, *(getattr(FrameTable, name) for name in _COLUMNS),
            DagRunTable.name.label("dag_run"), DagRunTable.dag, BatchTable.name.label("batch"),
            holder.name.label("published_batch"), OutcomeTable.reason,
        )
        .join(CatalogueTable, CatalogueTable.id == FrameTable.catalogue_id)
        .outerjoin(DagRunTable, DagRunTable.id == FrameTable.dag_run_id)
        .outerjoin(BatchTable, BatchTable.id == FrameTable.batch_id)
        .outerjoin(holder, holder.id == FrameTable.published_batch_id)
        .outerjoin(
            OutcomeTable,
            (OutcomeTable.frame == FrameTable.frame) & (OutcomeTable.dag_run_id == FrameTable.dag_run_id)
            & (OutcomeTable.batch_id == FrameTable.batch_id) & (OutcomeTable.stage == FrameTable.stage),
        )
        .order_by(FrameTable.catalogue_id, FrameTable.frame)
    )  # fmt: skip
    mine = select(CatalogueTable.id).where(CatalogueTable.release == str(release))
    if archive is not None:
        mine = mine.where(CatalogueTable.archive == archive)
    with ledger.database.reading() as connection:
        # One catalogue at a time: the key of `frame` begins with it.
        found = [
            row
            for catalogue in connection.scalars(mine.order_by(CatalogueTable.id)).all()
            for row in connection.execute(
                query.where(FrameTable.catalogue_id == catalogue, FrameTable.frame.in_([number_of(f) for f in frames]))
            )
        ]
    return [_told(row, release) for row in found]


def dags_of(ledger: Ledger, dag_runs: Iterable[str]) -> dict[str, str]:
    """DAGs of some DAG runs."""
    query = select(DagRunTable.name, DagRunTable.dag).where(DagRunTable.name.in_(list(dag_runs)))
    with ledger.database.reading() as connection:
        return {name: dag for name, dag in connection.execute(query)}


def frames_of_field(release: Release, run: int, camcol: int, field: int) -> list[FrameId]:
    """All frames that a field can have: five bands, in each of the release's reruns."""
    return [FrameId(release, run, rerun, camcol, field, band) for rerun in release.reruns for band in BANDS]


def _told(row: Row[Any], release: Release) -> Whereabouts:
    values = dict(row._mapping)
    done = values["stage"] == Stage.PUBLISH and Outcome(values["outcome"]).goes_on and not values["withdrawn"]
    reason, advice = ("", "") if done else words(row, values["reason"] or "")
    texts = {name: values[name] or "" for name in ("dag_run", "dag", "batch", "published_batch")}
    return Whereabouts(
        **values | texts | {"frame": frame_of(values["frame"], release), "reason": reason, "advice": advice}
    )
