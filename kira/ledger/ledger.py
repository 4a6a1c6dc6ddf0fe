"""The ledger: where every frame is, and why, in a database."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import (
    Connection,
    Engine,
    Index,
    String,
    and_,
    case,
    create_engine,
    delete,
    event,
    func,
    inspect,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

from kira.ledger.outcomes import Outcome, Stage
from kira.sdss import FrameId

T = TypeVar("T")
_BUSY_SECONDS = 60
_LOCK = 0x6B697261  # any number that nobody else takes
_GOOD = [outcome.value for outcome in Outcome if outcome.good]


class Base(DeclarativeBase):
    """Tables of the ledger."""


class OutcomeRow(Base):
    """The outcome of one frame in one stage, for one DAG run that worked on its batch.

    A later attempt of the same DAG run replaces it and counts up; another DAG run has its own.
    """

    __tablename__ = "outcome"

    batch: Mapped[str] = mapped_column(String(80), primary_key=True)
    frame: Mapped[str] = mapped_column(String(40), primary_key=True)
    stage: Mapped[str] = mapped_column(String(12), primary_key=True)
    dag_run: Mapped[str] = mapped_column(String(250), primary_key=True)
    archive: Mapped[str] = mapped_column(String(40))
    release: Mapped[str] = mapped_column(String(8))
    band: Mapped[str] = mapped_column(String(1))
    profile: Mapped[str] = mapped_column(String(80))
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
    """The batch by which a frame is in the catalogue of a staging store: one and no other, whoever runs at once."""

    __tablename__ = "claim"

    store: Mapped[str] = mapped_column(String(300), primary_key=True)
    archive: Mapped[str] = mapped_column(String(40), primary_key=True)
    release: Mapped[str] = mapped_column(String(8), primary_key=True)
    profile: Mapped[str] = mapped_column(String(80), primary_key=True)
    frame: Mapped[str] = mapped_column(String(40), primary_key=True)
    batch: Mapped[str] = mapped_column(String(80), index=True)


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
        with self._alone() as connection:
            Base.metadata.create_all(connection)

    @contextmanager
    def _alone(self) -> Iterator[Connection]:
        """Transaction that no other of its kind runs beside."""
        lock = "BEGIN IMMEDIATE" if self.engine.dialect.name == "sqlite" else f"SELECT pg_advisory_xact_lock({_LOCK})"
        with self.engine.begin() as connection:
            connection.exec_driver_sql(lock)
            yield connection

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
        keys = ("batch", "frame", "stage", "dag_run")
        changed: dict[str, Any] = {
            name: statement.excluded[name] for name in rows[0] if name not in (*keys, "attempts")
        }
        # Work found done says nothing new: sizes, times and checks of the attempt that did it stay.
        stays = and_(statement.excluded["again"], OutcomeRow.outcome.in_(_GOOD))
        for name in set(changed) - {"at", "again"}:
            changed[name] = case((stays, getattr(OutcomeRow, name)), else_=changed[name])
        changed["attempts"] = OutcomeRow.attempts + 1
        with self._session() as session:
            for chunk in _chunks(rows):
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

    def published(self, archive: str, release: str, profile: str) -> dict[str, set[str]]:
        """Frames that were published, as text, by the batch that brought them."""
        query = select(OutcomeRow.batch, OutcomeRow.frame).where(
            OutcomeRow.archive == archive,
            OutcomeRow.release == release,
            OutcomeRow.profile == profile,
            OutcomeRow.stage == Stage.PUBLISH,
            OutcomeRow.outcome == Outcome.OK,
        )
        found: dict[str, set[str]] = {}
        with self._session() as session:
            for batch, frame in session.execute(query):
                found.setdefault(batch, set()).add(frame)
        return found

    @contextmanager
    def claiming(
        self, context: Context, store: str, frames: Iterable[FrameId], is_published: Callable[[str], bool]
    ) -> Iterator[dict[str, str]]:
        """Hold the catalogues while a batch is made part of one.

        Parameters
        ----------
        context : Context
        store : str
            URL of the staging store.
        frames : iterable of FrameId
        is_published : callable
            Whether another batch is really there: an interrupted run may have left a claim and no more.

        Yields
        ------
        dict of str to str
            Batches of the catalogue that hold some of the frames already, by frame. If there are none the frames are
            claimed for this batch, unless what is done meanwhile raises.
        """
        key = {"store": store, "archive": context.archive, "release": context.release, "profile": context.profile}
        names = [str(frame) for frame in frames]
        mine = [getattr(ClaimRow, name) == value for name, value in key.items()]
        with self._alone() as connection:
            others: dict[str, str] = {}
            for chunk in _chunks(names):
                held = select(ClaimRow.frame, ClaimRow.batch).where(
                    *mine, ClaimRow.frame.in_(chunk), ClaimRow.batch != context.batch
                )
                others |= {frame: batch for frame, batch in connection.execute(held)}
            gone = {batch for batch in set(others.values()) if not is_published(batch)}
            others = {frame: batch for frame, batch in others.items() if batch not in gone}
            if not others:
                connection.execute(delete(ClaimRow).where(*mine, ClaimRow.batch.in_(gone)))
                for chunk in _chunks(names):
                    rows = [key | {"frame": name, "batch": context.batch} for name in chunk]
                    connection.execute(self._insert(ClaimRow).values(rows).on_conflict_do_nothing())
            yield others

    def claimed(self, context: Context, store: str) -> set[str]:
        """Batches that hold claims of the catalogue that a batch is meant for; may be asked while claiming."""
        query = select(ClaimRow.batch).where(
            ClaimRow.store == store,
            ClaimRow.archive == context.archive,
            ClaimRow.release == context.release,
            ClaimRow.profile == context.profile,
        )
        with self._session() as session:
            return set(session.scalars(query.distinct()))

    def failed(self, archive: str, release: str, profile: str, outcomes: Iterable[Outcome]) -> set[str]:
        """Frames whose newest outcome on their way to a catalogue is one of these, as text."""
        mine = (OutcomeRow.archive == archive, OutcomeRow.release == release, OutcomeRow.profile == profile)
        wanted = [outcome.value for outcome in outcomes]
        ever = select(OutcomeRow.frame).where(*mine, OutcomeRow.outcome.in_(wanted))
        query = select(OutcomeRow.frame, OutcomeRow.outcome).where(*mine, OutcomeRow.frame.in_(ever))
        with self._session() as session:
            newest = {frame: outcome for frame, outcome in session.execute(query.order_by(OutcomeRow.at))}
        return {frame for frame, outcome in newest.items() if outcome in wanted}

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


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    # SQLite takes 32,766 values a statement.
    return (items[start : start + 500] for start in range(0, len(items), 500))


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
