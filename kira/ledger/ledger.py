"""The ledger: where every frame is, and why, in a database."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, Index, String, and_, case, create_engine, delete, event, func, inspect, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

from kira.ledger.outcomes import Outcome, Stage
from kira.sdss import FrameId

_BUSY_SECONDS = 60
_LOCK = 0x6B697261  # any number that nobody else takes
_GOOD = [outcome.value for outcome in Outcome if outcome.good]


class Base(DeclarativeBase):
    """Tables of the ledger."""


class OutcomeRow(Base):
    """The outcome of one frame in one stage, as part of one batch; a later attempt replaces it and counts up."""

    __tablename__ = "outcome"

    batch: Mapped[str] = mapped_column(String(80), primary_key=True)
    frame: Mapped[str] = mapped_column(String(40), primary_key=True)
    stage: Mapped[str] = mapped_column(String(12), primary_key=True)
    archive: Mapped[str] = mapped_column(String(40))
    release: Mapped[str] = mapped_column(String(8))
    band: Mapped[str] = mapped_column(String(1))
    profile: Mapped[str] = mapped_column(String(80))
    dag_run: Mapped[str] = mapped_column(String(250))
    outcome: Mapped[str] = mapped_column(String(24))
    reason: Mapped[str] = mapped_column(String(2000), default="")
    attempts: Mapped[int] = mapped_column(default=1)
    again: Mapped[bool] = mapped_column(default=False)
    """Whether the stage found its work done by an earlier attempt or ingestion."""
    size: Mapped[int | None] = mapped_column(default=None)
    """Bytes that the stage handled."""
    sha256: Mapped[str | None] = mapped_column(String(64), default=None)
    sources: Mapped[int | None] = mapped_column(default=None)
    seconds: Mapped[float | None] = mapped_column(default=None)
    checks: Mapped[int] = mapped_column(default=0)
    """Integrity checks made on the frame in this stage."""
    failed_checks: Mapped[int] = mapped_column(default=0)
    at: Mapped[datetime] = mapped_column()
    """When it was recorded, UTC."""

    __table_args__ = (
        Index("outcome_by_catalogue", "archive", "release", "profile", "stage", "outcome"),
        Index("outcome_by_run", "dag_run"),
    )


class StageRow(Base):
    """One attempt of one stage on one batch, begun and, if it got that far, ended."""

    __tablename__ = "stage_attempt"

    id: Mapped[int] = mapped_column(primary_key=True)
    batch: Mapped[str] = mapped_column(String(80))
    stage: Mapped[str] = mapped_column(String(12))
    dag_run: Mapped[str] = mapped_column(String(250), index=True)
    attempt: Mapped[int] = mapped_column()
    began: Mapped[datetime] = mapped_column()
    ended: Mapped[datetime | None] = mapped_column(default=None)
    frames: Mapped[int] = mapped_column()


class ClaimRow(Base):
    """The batch by which a frame is, or is about to be, in a catalogue: one and no other, whoever runs at once."""

    __tablename__ = "claim"

    archive: Mapped[str] = mapped_column(String(40), primary_key=True)
    release: Mapped[str] = mapped_column(String(8), primary_key=True)
    profile: Mapped[str] = mapped_column(String(80), primary_key=True)
    frame: Mapped[str] = mapped_column(String(40), primary_key=True)
    batch: Mapped[str] = mapped_column(String(80), index=True)
    at: Mapped[datetime] = mapped_column()
    """When it was claimed, UTC."""


@dataclass(frozen=True)
class Context:
    """What all outcomes of one batch have in common.

    Parameters
    ----------
    batch, archive, release, profile : str
        As in the batch's manifest.
    dag_run : str
        The Airflow DAG run that does the work.
    attempt : int
        Try number of the Airflow task.
    """

    batch: str
    archive: str
    release: str
    profile: str
    dag_run: str
    attempt: int = 1


@dataclass(frozen=True)
class Record:
    """The outcome of one frame in one stage; see `OutcomeRow` for the meaning of the numbers."""

    frame: FrameId
    outcome: Outcome
    reason: str = ""
    again: bool = False
    size: int | None = None
    sha256: str | None = None
    sources: int | None = None
    seconds: float | None = None
    checks: int = 0
    failed_checks: int = 0


class Ledger:
    """Outcomes in a database.

    Parameters
    ----------
    url : str
        SQLAlchemy URL: `sqlite:///…` or `postgresql+…://…`. Missing tables are created.
    """

    def __init__(self, url: str) -> None:
        self.engine = create_engine(url)
        if self.engine.dialect.name == "sqlite":
            _let_writers_wait(self.engine)
        self._create_tables()

    # SQLite's change to a write-ahead log is refused at once where another process is about it too.
    @retry(
        retry=retry_if_exception_type(OperationalError), stop=stop_after_attempt(8), wait=wait_random(0.05, 0.2),
        reraise=True,
    )  # fmt: skip
    def _create_tables(self) -> None:
        if Base.metadata.tables.keys() <= set(inspect(self.engine).get_table_names()):
            return
        # Tasks open an empty ledger at the same time: one creates all tables in one transaction, the others wait.
        lock = "BEGIN IMMEDIATE" if self.engine.dialect.name == "sqlite" else f"SELECT pg_advisory_xact_lock({_LOCK})"
        with self.engine.begin() as connection:
            connection.exec_driver_sql(lock)
            Base.metadata.create_all(connection)

    @contextmanager
    def _session(self) -> Iterator[Session]:
        with Session(self.engine) as session, session.begin():
            yield session

    def _insert(self, table: type[Base]) -> Any:
        return (postgresql.insert if self.engine.dialect.name == "postgresql" else sqlite.insert)(table)

    def record(self, context: Context, stage: Stage, records: Iterable[Record]) -> None:
        """Write outcomes; the newest stands, and the attempts are counted."""
        rows = [_row(context, stage, record) for record in records]
        if not rows:
            return
        statement = self._insert(OutcomeRow)
        keys = ("batch", "frame", "stage")
        changed: dict[str, Any] = {
            name: statement.excluded[name] for name in rows[0] if name not in (*keys, "attempts")
        }
        # Work found done says nothing new: sizes, times and checks of the attempt that did it stay.
        stays = and_(statement.excluded["again"], OutcomeRow.outcome.in_(_GOOD))
        for name in set(changed) - {"dag_run", "at", "again"}:
            changed[name] = case((stays, getattr(OutcomeRow, name)), else_=changed[name])
        changed["attempts"] = OutcomeRow.attempts + 1
        with self._session() as session:
            for start in range(0, len(rows), 500):  # SQLite takes 32,766 values a statement
                chunk = rows[start : start + 500]
                session.execute(statement.values(chunk).on_conflict_do_update(index_elements=keys, set_=changed))

    @contextmanager
    def attempt(self, context: Context, stage: Stage, frames: int) -> Iterator[None]:
        """Keep on record that a stage began, and that it ended; a killed one has no end."""
        row = _stage_row(context, stage, frames, _now())
        with self._session() as session:
            session.add(row)
            session.flush()
            row_id = row.id
        yield
        with self._session() as session:
            session.get_one(StageRow, row_id).ended = _now()

    def add_attempt(self, context: Context, stage: Stage, frames: int, began: datetime, ended: datetime) -> None:
        """Keep on record an attempt that another process made, with its times in UTC; told twice, it is one."""
        row = _stage_row(context, stage, frames, began.replace(tzinfo=None))
        row.ended = ended.replace(tzinfo=None)
        same = select(StageRow.id).where(
            StageRow.batch == row.batch,
            StageRow.stage == row.stage,
            StageRow.dag_run == row.dag_run,
            StageRow.began == row.began,
        )
        with self._session() as session:
            if session.scalar(same) is None:
                session.add(row)

    def published(self, archive: str, release: str, profile: str) -> set[str]:
        """Frames that are in a catalogue, as text."""
        query = select(OutcomeRow.frame).where(
            OutcomeRow.archive == archive,
            OutcomeRow.release == release,
            OutcomeRow.profile == profile,
            OutcomeRow.stage == Stage.PUBLISH,
            OutcomeRow.outcome == Outcome.OK,
        )
        with self._session() as session:
            return set(session.scalars(query))

    def claim(self, context: Context, frames: Iterable[FrameId]) -> dict[str, str]:
        """Claim frames for a batch's place in a catalogue; all of them or, if others hold some, none.

        Returns
        -------
        dict of str to str
            Batches that hold some of the frames, by frame; empty if the claim succeeded.
        """
        catalogue = {"archive": context.archive, "release": context.release, "profile": context.profile}
        names = [str(frame) for frame in frames]
        others: dict[str, str] = {}
        with Session(self.engine) as session:
            for start in range(0, len(names), 500):
                chunk = names[start : start + 500]
                rows = [catalogue | {"frame": name, "batch": context.batch, "at": _now()} for name in chunk]
                session.execute(self._insert(ClaimRow).values(rows).on_conflict_do_nothing())
                held = select(ClaimRow.frame, ClaimRow.batch).filter_by(**catalogue).where(
                    ClaimRow.frame.in_(chunk), ClaimRow.batch != context.batch
                )  # fmt: skip
                others |= {frame: batch for frame, batch in session.execute(held)}
            if not others:
                session.commit()
        return others

    def drop_claims(self, batch: str, *, older_than: timedelta) -> None:
        """Give up what a batch claimed a while ago."""
        with self._session() as session:
            session.execute(delete(ClaimRow).where(ClaimRow.batch == batch, ClaimRow.at <= _now() - older_than))

    def claimed_only(self, archive: str, release: str, profile: str) -> set[str]:
        """Batches that claimed frames of a catalogue, of which the ledger does not say that they were published."""
        told = select(OutcomeRow.frame).where(
            OutcomeRow.batch == ClaimRow.batch,
            OutcomeRow.frame == ClaimRow.frame,
            OutcomeRow.stage == Stage.PUBLISH,
            OutcomeRow.outcome == Outcome.OK,
        )
        query = select(ClaimRow.batch).where(
            ClaimRow.archive == archive,
            ClaimRow.release == release,
            ClaimRow.profile == profile,
            ~told.exists(),
        )
        with self._session() as session:
            return set(session.scalars(query))

    def failed(self, archive: str, release: str, profile: str, outcomes: Iterable[Outcome]) -> set[str]:
        """Frames that ever had one of these outcomes on their way to a catalogue, as text."""
        query = select(OutcomeRow.frame).where(
            OutcomeRow.archive == archive,
            OutcomeRow.release == release,
            OutcomeRow.profile == profile,
            OutcomeRow.outcome.in_(list(outcomes)),
        )
        with self._session() as session:
            return set(session.scalars(query))

    def outcomes(self, dag_run: str, stage: Stage | None = None) -> list[OutcomeRow]:
        """All outcomes of one DAG run, by frame and stage."""
        query = select(OutcomeRow).where(OutcomeRow.dag_run == dag_run)
        if stage is not None:
            query = query.where(OutcomeRow.stage == stage)
        with Session(self.engine, expire_on_commit=False) as session:
            return list(session.scalars(query.order_by(OutcomeRow.frame, OutcomeRow.at)))

    def progress(self, dag_runs: Sequence[str]) -> list[tuple[str, str, int, int]]:
        """Frames with an outcome, as (stage, outcome, frames, bytes), over some DAG runs."""
        query = (
            select(OutcomeRow.stage, OutcomeRow.outcome, func.count(), func.coalesce(func.sum(OutcomeRow.size), 0))
            .where(OutcomeRow.dag_run.in_(dag_runs))
            .group_by(OutcomeRow.stage, OutcomeRow.outcome)
        )
        with self._session() as session:
            rows = session.execute(query)
            return [(stage, outcome, frames, size or 0) for stage, outcome, frames, size in rows]

    def attempts(self, dag_run: str) -> list[StageRow]:
        """All attempts of stages of one DAG run, in the order in which they began."""
        query = select(StageRow).where(StageRow.dag_run == dag_run).order_by(StageRow.began)
        with Session(self.engine, expire_on_commit=False) as session:
            return list(session.scalars(query))


def _row(context: Context, stage: Stage, record: Record) -> dict[str, Any]:
    return {
        "batch": context.batch, "frame": str(record.frame), "stage": stage.value, "archive": context.archive,
        "release": context.release, "band": record.frame.band, "profile": context.profile,
        "dag_run": context.dag_run, "outcome": record.outcome.value, "reason": record.reason[:2000], "attempts": 1,
        "again": record.again, "size": record.size, "sha256": record.sha256, "sources": record.sources,
        "seconds": record.seconds, "checks": record.checks, "failed_checks": record.failed_checks, "at": _now(),
    }  # fmt: skip


def _stage_row(context: Context, stage: Stage, frames: int, began: datetime) -> StageRow:
    return StageRow(
        batch=context.batch,
        stage=stage,
        dag_run=context.dag_run,
        attempt=context.attempt,
        began=began,
        frames=frames,
    )


def _now() -> datetime:
    # Both databases then store the same: UTC without a zone.
    return datetime.now(UTC).replace(tzinfo=None)


def _let_writers_wait(engine: Engine) -> None:
    # Several tasks write at once: a write-ahead log lets readers go on, and a writer waits for its turn.
    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_SECONDS * 1000}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.close()
