"""The database under the ledger: SQLite or PostgreSQL, its locks, and its version."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, InterfaceError, NoSuchModuleError, OperationalError
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

from kira.errors import InvalidInput, KiraError, LedgerUnavailable
from kira.ledger.tables import Base

MIGRATIONS = Path(__file__).parent / "migrations"
VERSION_TABLE = "kira_version"
"""Where the version of the tables is kept; others keep theirs in a table of Alembic's own name."""
BEFORE_MIGRATIONS = "0001"
_BUSY_SECONDS = 60
_LOCK = 0x6B697261  # any number that nobody else takes


class Database:
    """A connection pool, transactions that exclude each other, and migrations.

    Parameters
    ----------
    url : str
        SQLAlchemy URL, `sqlite:///…` or `postgresql+psycopg://…`.

    Raises
    ------
    InvalidInput
        If the URL is neither.

    Notes
    -----
    A database that is away, full or locked for too long is `LedgerUnavailable` in every transaction.
    """

    def __init__(self, url: str) -> None:
        try:
            backend = make_url(url).get_backend_name()
            if backend not in ("sqlite", "postgresql"):
                raise InvalidInput(
                    f"The ledger is kept in SQLite or PostgreSQL, not in {backend}: see KIRA_LEDGER_URL."
                )
            # A server that was restarted leaves dead connections in the pool.
            self.engine = create_engine(url, pool_pre_ping=backend == "postgresql")
        except (ArgumentError, NoSuchModuleError) as error:
            raise InvalidInput(f"KIRA_LEDGER_URL is not the URL of a database: {type(error).__name__}.") from error
        self.on_sqlite = backend == "sqlite"
        if self.on_sqlite:
            _let_writers_wait(self.engine)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Transaction that only reads."""
        with _in_a_sentence(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Transaction that only reads, and whose statements all see the ledger as it is at the first."""
        with _in_a_sentence(), self.engine.connect() as connection:
            if self.on_sqlite:
                connection.exec_driver_sql("BEGIN")
            else:
                connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection

    @contextmanager
    def alone(self, lock: int = 0) -> Iterator[Connection]:
        """Transaction that no other with the same lock runs beside; on SQLite, no other that writes at all.

        Parameters
        ----------
        lock : int
            0 for the whole ledger, else the number of a catalogue: what frames were and what they become has to be
            read and written by one at a time, or the tallies would be wrong.
        """
        with _in_a_sentence(), self.engine.begin() as connection:
            if self.on_sqlite:
                # A transaction that read before it writes is refused where another one wrote meanwhile.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK}, {int(lock)})")
            yield connection

    # SQLite's change to a write-ahead log is refused at once where another process is about it too.
    @retry(
        retry=retry_if_exception_type(LedgerUnavailable), stop=stop_after_attempt(8), wait=wait_random(0.05, 0.2),
        reraise=True,
    )  # fmt: skip
    def bring_up_to_date(self) -> None:
        """Make the tables, or change those of an older version; nothing, quickly, where they are as they should be.

        Raises
        ------
        KiraError
            If a newer version of Kira made them, tables of others have their names, or the change fails: then nothing
            is changed.
        """
        if self.version() == newest():
            return
        # Tasks open an empty ledger at the same time: one makes all tables in one transaction, the others wait.
        with self.alone() as connection:
            found = _version(connection)
            if found == newest():
                return
            if found is not None and not (MIGRATIONS / "versions" / f"{found}.py").exists():
                raise KiraError(
                    f"The ledger is of version {found}, which this version of Kira does not know: a newer one made "
                    "it. Use that, or another ledger."
                )
            _refuse_other_s_tables(connection, found)
            try:
                _upgrade(connection, found)
            except (ValueError, LookupError) as error:
                raise KiraError(
                    f"The ledger could not be brought from version {found} to {newest()}, and was left as it is; this "
                    f"stands against it: {type(error).__name__}: {error}."
                ) from error

    def version(self) -> str | None:
        """Version of the tables; None where there are none."""
        with self.reading() as connection:
            return _version(connection)


@contextmanager
def _in_a_sentence() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        # All other kinds are mistakes of ours; the first is what SQLite makes of a file that is no database.
        if type(error) not in (DatabaseError, OperationalError, InterfaceError):
            raise
        reason = (str(error.orig).strip() or type(error.orig).__name__).splitlines()[0].rstrip(".")
        raise LedgerUnavailable(f"The ledger's database refused or lost an operation: {reason}.") from error


@cache
def newest() -> str:
    """Version that this code works with."""
    return max(path.stem for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def _version(connection: Connection) -> str | None:
    tables = set(inspect(connection).get_table_names())
    if VERSION_TABLE in tables:
        found = connection.execute(select(text("version_num")).select_from(text(VERSION_TABLE))).scalar()
        return None if found is None else str(found)
    # The first ledgers did not say their version.
    return BEFORE_MIGRATIONS if {"outcome", "stage_attempt", "claim"} <= tables else None


def _refuse_other_s_tables(connection: Connection, found: str | None) -> None:
    ours = set(Base.metadata.tables) - ({"outcome", "stage_attempt", "claim"} if found else set())
    if found in (None, BEFORE_MIGRATIONS) and (taken := ours & set(inspect(connection).get_table_names())):
        raise KiraError(
            f"The database has tables already that are not the ledger's ({', '.join(sorted(taken))}), as Airflow's own "
            "has: give the ledger a database of its own, see KIRA_LEDGER_URL."
        )


def _upgrade(connection: Connection, found: str | None) -> None:
    # Slow to import, and seldom needed.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    if found == BEFORE_MIGRATIONS:
        command.stamp(config, BEFORE_MIGRATIONS)
    command.upgrade(config, "head")


def _let_writers_wait(engine: Engine) -> None:
    # Several tasks write at once: a write-ahead log lets readers go on, and a writer waits for its turn.
    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_SECONDS * 1000}")
        cursor.execute("PRAGMA journal_mode=WAL")
        # With a write-ahead log a power cut cannot damage the file; only FULL keeps every commit through one.
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA cache_size=-65536")
        cursor.close()
