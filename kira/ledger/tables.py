"""Tables of the ledger.

What is written once a frame and stage (`outcome`) is history and is looked up by DAG run or by frame; where each frame
is now is one row of `frame`; how many frames are where is kept in `tally`, so that a status of millions of frames is a
sum over some thousand rows. All three change in one transaction (`kira.ledger.ledger`), and `kira status --check`
proves that they agree.
"""

from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from typing_extensions import override

UNPUBLISHED = "(withdrawn OR (outcome <> 'waiting' AND (stage <> 'publish' OR outcome NOT IN ('ok', 'ok_empty'))))"
"""Frames that somebody may have to look at: all but those that are published, and those that wait for their first plan.

A text, and no expression, so that the condition of a query is word for word that of the index: else SQLite does not
see that the index holds all that is asked for."""

# SQLite numbers rows by itself only where the key is an INTEGER.
Number = BigInteger().with_variant(Integer, "sqlite")


class Hex(TypeDecorator[str]):
    """A checksum: hexadecimal in Python, half as long in the database."""

    impl = LargeBinary
    cache_ok = True

    @override
    def process_bind_param(self, value: str | None, dialect: Any) -> bytes | None:
        return None if value is None else bytes.fromhex(value)

    @override
    def process_result_value(self, value: bytes | None, dialect: Any) -> str | None:
        return None if value is None else bytes(value).hex()


class Base(DeclarativeBase):
    """Tables of the ledger."""


class CatalogueTable(Base):
    """A catalogue: one archive, one release, one set of extraction parameters."""

    __tablename__ = "catalogue"
    __table_args__ = (UniqueConstraint("archive", "release", "profile", name="catalogue_is_one"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    archive: Mapped[str] = mapped_column(String(40))
    release: Mapped[str] = mapped_column(String(8))
    profile: Mapped[str] = mapped_column(String(80))


class DagRunTable(Base):
    """An Airflow DAG run."""

    __tablename__ = "dag_run"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(250), unique=True)
    """Airflow's run id."""
    dag: Mapped[str] = mapped_column(String(250))
    began: Mapped[datetime] = mapped_column()


class BatchTable(Base):
    """Frames that travel together."""

    __tablename__ = "batch"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    catalogue_id: Mapped[int] = mapped_column(ForeignKey("catalogue.id"), index=True)


class FrameTable(Base):
    """Where a frame is now, on its way into one catalogue."""

    __tablename__ = "frame"
    __table_args__ = (
        Index("frame_to_do", "catalogue_id", "frame", sqlite_where=text("to_do"), postgresql_where=text("to_do")),
        Index("frame_by_published_batch", "published_batch_id"),
        Index(
            "frame_unpublished",
            "catalogue_id",
            "stage",
            "outcome",
            "retrying",
            "withdrawn",
            "dag_run_id",
            "frame",
            sqlite_where=text(UNPUBLISHED),
            postgresql_where=text(UNPUBLISHED),
        ),
        {"sqlite_with_rowid": False},
    )

    catalogue_id: Mapped[int] = mapped_column(ForeignKey("catalogue.id"), primary_key=True, autoincrement=False)
    frame: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=False)
    """See `kira.ledger.numbers`."""
    stage: Mapped[str] = mapped_column(String(12))
    """The stage that it reached."""
    outcome: Mapped[str] = mapped_column(String(24))
    """What became of it there."""
    retrying: Mapped[bool] = mapped_column(default=False)
    """Whether the DAG run that it is in will try that stage again."""
    to_do: Mapped[bool] = mapped_column(default=True)
    """Whether the next plan takes it up; follows from the other columns."""
    withdrawn: Mapped[bool] = mapped_column(default=False)
    """Whether the archive does not list it any more."""
    lost: Mapped[bool] = mapped_column(default=False)
    """Whether the mirror should have it and has not."""
    failures: Mapped[int] = mapped_column(default=0)
    """DAG runs in a row that ended with a failure for it."""
    mismatches: Mapped[int] = mapped_column(default=0)
    """Checksum mismatches in a row."""
    damaged: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Whether its bytes were not what they should be, the last time that something was done with them."""
    dag_run_id: Mapped[int | None] = mapped_column(ForeignKey("dag_run.id"), default=None)
    batch_id: Mapped[int | None] = mapped_column(ForeignKey("batch.id"), default=None)
    published_batch_id: Mapped[int | None] = mapped_column(ForeignKey("batch.id"), default=None)
    """By which batch it is in the catalogue."""
    published_sha256: Mapped[str | None] = mapped_column(Hex(32), default=None)
    """Of the archive's file that its rows in the catalogue were made from."""
    sha256: Mapped[str | None] = mapped_column(Hex(32), default=None)
    """Of the archive's file as it was mirrored last."""
    size: Mapped[int | None] = mapped_column(Number, default=None)
    """Bytes of the same."""
    sources: Mapped[int] = mapped_column(default=0)
    """In the catalogue."""
    listed: Mapped[str] = mapped_column(String(120), default="")
    """What the archive's listing says of it now (size, date, checksum)."""
    seen: Mapped[str] = mapped_column(String(120), default="")
    """What it said when the file was fetched."""
    at: Mapped[datetime] = mapped_column()
    """When this last changed, UTC."""


class OutcomeTable(Base):
    """The outcome of one frame in one stage, for one DAG run that worked on its batch.

    A later attempt of the same DAG run replaces it and counts up; another DAG run has its own.
    """

    __tablename__ = "outcome"
    __table_args__ = (Index("outcome_by_frame", "frame"), {"sqlite_with_rowid": False})

    dag_run_id: Mapped[int] = mapped_column(ForeignKey("dag_run.id"), primary_key=True, autoincrement=False)
    batch_id: Mapped[int] = mapped_column(ForeignKey("batch.id"), primary_key=True, autoincrement=False)
    stage: Mapped[str] = mapped_column(String(12), primary_key=True)
    frame: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=False)
    outcome: Mapped[str] = mapped_column(String(24))
    reason: Mapped[str] = mapped_column(String(2000), default="")
    attempts: Mapped[int] = mapped_column(default=1)
    retrying: Mapped[bool] = mapped_column(default=False)
    """Whether this DAG run will try again."""
    again: Mapped[bool] = mapped_column(default=False)
    """Whether the stage found its work done by an earlier attempt or ingestion."""
    size: Mapped[int | None] = mapped_column(Number, default=None)
    """Bytes that the stage handled."""
    sha256: Mapped[str | None] = mapped_column(Hex(32), default=None)
    sources: Mapped[int | None] = mapped_column(default=None)
    seconds: Mapped[float | None] = mapped_column(default=None)
    checks: Mapped[int] = mapped_column(default=0)
    """Integrity checks made on the frame in this stage."""
    failed_checks: Mapped[int] = mapped_column(default=0)
    at: Mapped[datetime] = mapped_column()
    """When it was recorded, UTC."""


class TallyTable(Base):
    """How many frames of a camera column are in which state: the rows of `frame`, counted."""

    __tablename__ = "tally"
    __table_args__ = ({"sqlite_with_rowid": False},)

    catalogue_id: Mapped[int] = mapped_column(ForeignKey("catalogue.id"), primary_key=True, autoincrement=False)
    run: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    camcol: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    band: Mapped[str] = mapped_column(String(1), primary_key=True)
    stage: Mapped[str] = mapped_column(String(12), primary_key=True)
    outcome: Mapped[str] = mapped_column(String(24), primary_key=True)
    retrying: Mapped[bool] = mapped_column(primary_key=True)
    published: Mapped[bool] = mapped_column(primary_key=True)
    """Whether rows of the frame are in the catalogue, be it on its way anew or not."""
    withdrawn: Mapped[bool] = mapped_column(primary_key=True)
    to_do: Mapped[bool] = mapped_column(primary_key=True)
    frames: Mapped[int] = mapped_column(Number)
    sources: Mapped[int] = mapped_column(Number)
    size: Mapped[int] = mapped_column(Number)


class CheckedTable(Base):
    """How many integrity checks were made in a stage on a day, tries that were repeated included."""

    __tablename__ = "checked"
    __table_args__ = ({"sqlite_with_rowid": False},)

    catalogue_id: Mapped[int] = mapped_column(ForeignKey("catalogue.id"), primary_key=True, autoincrement=False)
    day: Mapped[date] = mapped_column(primary_key=True)
    """UTC."""
    stage: Mapped[str] = mapped_column(String(12), primary_key=True)
    checks: Mapped[int] = mapped_column(Number)
    failed: Mapped[int] = mapped_column(Number)
    healed: Mapped[int] = mapped_column(Number, default=0, server_default="0")
    """Frames that were damaged and came whole in this stage on this day."""


class FolderTable(Base):
    """One camera column of one run as the last reconciliation found it: what has not changed is not compared."""

    __tablename__ = "folder"

    catalogue_id: Mapped[int] = mapped_column(ForeignKey("catalogue.id"), primary_key=True, autoincrement=False)
    run: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    rerun: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    camcol: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    listing: Mapped[str] = mapped_column(String(64), default="")
    """Hash of what the archive listed."""
    mirror: Mapped[str] = mapped_column(String(64), default="")
    """Hash of what S3 listed."""
    at: Mapped[datetime] = mapped_column()


class AttemptTable(Base):
    """One attempt of one stage on one batch: begun and, if it got that far, ended."""

    __tablename__ = "stage_attempt"

    id: Mapped[int] = mapped_column(primary_key=True)
    dag_run_id: Mapped[int] = mapped_column(ForeignKey("dag_run.id"), index=True)
    batch_id: Mapped[int] = mapped_column(ForeignKey("batch.id"), index=True)
    stage: Mapped[str] = mapped_column(String(12))
    attempt: Mapped[int] = mapped_column()
    """Try number of the Airflow task."""
    began: Mapped[datetime] = mapped_column()
    ended: Mapped[datetime | None] = mapped_column(default=None)
    """Empty while it is at work, and for ever if its process was killed."""
    frames: Mapped[int] = mapped_column()
    size: Mapped[int] = mapped_column(Number, default=0)
    """Bytes that it handled."""
    error: Mapped[str] = mapped_column(String(2000), default="")
    """Why it failed, if it did."""
    log: Mapped[str] = mapped_column(String(500), default="")
    """Where the log of the Airflow task can be read."""


class ClaimTable(Base):
    """The batch by which a frame is in the catalogue of a staging store: one and no other, whoever runs at once."""

    __tablename__ = "claim"

    store: Mapped[str] = mapped_column(String(300), primary_key=True)
    archive: Mapped[str] = mapped_column(String(40), primary_key=True)
    release: Mapped[str] = mapped_column(String(8), primary_key=True)
    profile: Mapped[str] = mapped_column(String(80), primary_key=True)
    frame: Mapped[str] = mapped_column(String(40), primary_key=True)
    batch: Mapped[str] = mapped_column(String(80), index=True)
