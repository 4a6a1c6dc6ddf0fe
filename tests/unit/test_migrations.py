"""Tables of the ledger: a fresh one, one of the first version brought up to date, and ones that cannot be."""

import multiprocessing
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext

from kira.errors import KiraError, LedgerUnavailable
from kira.ledger import Context, Ledger, Outcome, Record, Stage
from kira.ledger.database import MIGRATIONS, VERSION_TABLE, Database, newest
from kira.ledger.numbers import number_of
from kira.ledger.status import Known, catalogues, check, integrity, status
from kira.ledger.tables import Base
from kira.sdss import FrameId, Selection

DAY = datetime(2026, 11, 1, 8)
OLD_TABLES = {"outcome", "stage_attempt", "claim"}
FRAMES = [FrameId.parse(f"dr7-40-004192-4-{field:04d}-r") for field in range(11, 21)]
NAMES = [str(frame) for frame in FRAMES]
PUBLISHED, FAILED, UNAVAILABLE, STAGED, MISSING, TWICE, EMPTY = NAMES[:7]


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def opened(url: str) -> Iterator[Callable[[], Ledger]]:
    """Opens the ledger, and closes it when all is over."""
    ledgers: list[Ledger] = []

    def open_it() -> Ledger:
        ledgers.append(Ledger(url))
        return ledgers[-1]

    yield open_it
    for ledger in ledgers:
        ledger.engine.dispose()


class FirstLedger:
    """A ledger as the first version of Kira made and filled it: without a word on its version."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine, self.minutes = engine, 0
        with engine.begin() as connection, Operations.context(MigrationContext.configure(connection)):
            script: dict[str, Any] = {}
            exec((MIGRATIONS / "versions" / "0001.py").read_text(), script)  # noqa: S102 - our own file
            script["upgrade"]()
        self.tables = sa.MetaData()
        self.tables.reflect(engine)

    def tell(
        self, batch: str, dag_run: str, stage: str, frame: str, outcome: str = "ok", release: str = "dr7",
        **more: Any,
    ) -> None:  # fmt: skip
        self.minutes += 1
        row: dict[str, Any] = {
            "batch": batch, "frame": frame, "stage": stage, "dag_run": dag_run, "archive": "shared",
            "release": release, "band": frame[-1], "profile": "kira-1", "outcome": outcome, "reason": "",
            "attempts": 1, "again": False, "size": None, "sha256": None, "sources": None, "seconds": 1.5, "checks": 2,
            "failed_checks": 0, "at": DAY + timedelta(minutes=self.minutes),
        }  # fmt: skip
        self.insert("outcome", row | more)

    def through(self, batch: str, dag_run: str, frame: str, *stages: str, **more: Any) -> None:
        """A frame that came well through some stages."""
        known: dict[str, dict[str, Any]] = {
            "mirror": {"size": 5000, "sha256": f"{int(frame[-6:-2]):064x}"}, "publish": {"sources": 7},
        }  # fmt: skip
        for stage in stages:
            self.tell(batch, dag_run, stage, frame, **known.get(stage, {}) | more)

    def insert(self, table: str, row: dict[str, Any]) -> None:
        with self.engine.begin() as connection:
            connection.execute(self.tables.tables[table].insert(), [row])

    def attempt(self, batch: str, dag_run: str, stage: str, ended: int | None) -> None:
        began = DAY + timedelta(hours=1)
        self.insert("stage_attempt", {
            "batch": batch, "stage": stage, "dag_run": dag_run, "attempt": 2, "began": began, "frames": 3,
            "ended": None if ended is None else began + timedelta(seconds=ended),
        })  # fmt: skip

    def claim(self, batch: str, frame: str) -> None:
        self.insert("claim", {
            "store": "file:///stage", "archive": "shared", "release": "dr7", "profile": "kira-1", "frame": frame,
            "batch": batch,
        })  # fmt: skip

    def rows(self, *names: str) -> dict[str, list[Any]]:
        with self.engine.connect() as connection:
            return {
                name: sorted(map(repr, connection.execute(sa.select(table))))
                for name, table in self.tables.tables.items()
                if name in (names or OLD_TABLES)
            }


ALL = ("plan", "mirror", "stage", "extract", "validate", "publish")


@pytest.fixture
def first(engine: sa.Engine) -> FirstLedger:
    made = FirstLedger(engine)
    made.through("one", "run-1", PUBLISHED, *ALL)
    made.through("one", "run-1", FAILED, "plan")
    made.tell("one", "run-1", "mirror", FAILED, "corrupt_upstream", reason="half of it", failed_checks=1)
    made.through("one", "run-1", UNAVAILABLE, "plan")
    made.tell("one", "run-1", "mirror", UNAVAILABLE, "archive_unavailable", reason="no answer", attempts=3)
    made.through("two", "run-2", STAGED, "plan", "mirror", "stage")
    made.tell("plan-run-2", "run-2", "plan", MISSING, "not_in_archive", reason="not listed")
    # Two runs on one batch: the second finds the work of the first done, and is killed on its way.
    made.through("three", "run-3", TWICE, *ALL)
    made.through("three", "run-4", TWICE, "mirror", "stage", again=True, seconds=0.0)
    made.through("three", "run-3", EMPTY, *ALL[:3])
    for stage in ALL[3:]:
        made.tell("three", "run-3", stage, EMPTY, "ok_empty", sources=0)
    made.through("other", "run-5", "dr12-301-000094-1-0012-r", *ALL, release="dr12")
    made.attempt("one", "run-1", "mirror", 60)
    made.attempt("two", "run-2", "stage", None)
    made.claim("one", PUBLISHED)
    made.claim("three", TWICE)
    return made


def known(ledger: Ledger, release: str = "dr7") -> Known:
    (found,) = [one for one in catalogues(ledger) if one.release == release]
    return found


def differences(engine: sa.Engine) -> list[Any]:
    with engine.connect() as connection:
        settings = {"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        return [
            change
            for change in compare_metadata(MigrationContext.configure(connection, opts=settings), Base.metadata)
            # SQLite does not tell names of keys that it made itself.
            if not (engine.dialect.name == "sqlite" and change[0] in ("add_constraint", "remove_constraint"))
        ]


# -- a fresh one


def test_a_fresh_ledger_has_the_tables_that_the_code_works_with(
    engine: sa.Engine, opened: Callable[[], Ledger]
) -> None:
    assert opened().database.version() == newest()
    assert differences(engine) == []
    # The comparison does see what is otherwise.
    with engine.begin() as connection:
        connection.execute(sa.text("DROP INDEX outcome_by_frame"))
        connection.execute(sa.text("ALTER TABLE stage_attempt ADD COLUMN more INTEGER"))
    assert {change[0] for change in differences(engine)} == {"add_index", "remove_column"}


def test_keys_are_those_that_the_code_counts_on(engine: sa.Engine, opened: Callable[[], Ledger]) -> None:
    opened()
    seen = sa.inspect(engine)
    for name, table in Base.metadata.tables.items():
        assert seen.get_pk_constraint(name)["constrained_columns"] == [c.name for c in table.primary_key]
        told = {tuple(sorted(key["column_names"])) for key in seen.get_unique_constraints(name)}
        wanted = {
            tuple(sorted(column.name for column in key.columns))
            for key in table.constraints if isinstance(key, sa.UniqueConstraint)
        }  # fmt: skip
        assert told == wanted, name
        far = {(key["constrained_columns"][0], key["referred_table"]) for key in seen.get_foreign_keys(name)}
        assert far == {(key.parent.name, key.column.table.name) for key in table.foreign_keys}, name


def test_indexes_of_what_is_to_do_are_of_that_alone(engine: sa.Engine, opened: Callable[[], Ledger]) -> None:
    opened()
    table = "sqlite_master" if engine.dialect.name == "sqlite" else "pg_indexes"
    columns = ("sql", "name") if engine.dialect.name == "sqlite" else ("indexdef", "indexname")
    with engine.connect() as connection:
        query = (
            sa.select(sa.column(columns[0])).select_from(sa.table(table)).where(sa.column(columns[1]) == "frame_to_do")
        )
        text = connection.scalar(query)
    assert re.search(r"WHERE \(?to_do\)?", str(text))


# -- an old one


def test_nothing_of_the_first_version_is_lost(first: FirstLedger, opened: Callable[[], Ledger]) -> None:
    before = first.rows()
    ledger = opened()
    assert set(sa.inspect(first.engine).get_table_names()) == set(Base.metadata.tables) | {VERSION_TABLE}
    assert differences(first.engine) == []
    for one in catalogues(ledger):
        assert check(ledger, one) == []

    rows = [row for run in range(1, 6) for row in ledger.outcomes(f"run-{run}")]
    assert len(rows) == len(before["outcome"])
    row = next(row for row in rows if (row.frame, row.stage, row.dag_run) == (TWICE, "mirror", "run-4"))
    assert (row.batch, row.again, row.size, row.seconds, row.checks) == ("three", True, 5000, 0.0, 2)
    assert row.sha256 == f"{FRAMES[5].field:064x}"
    (row,) = [row for row in rows if row.outcome == "archive_unavailable"]
    assert (row.reason, row.attempts, row.band, row.archive, row.profile) == ("no answer", 3, "r", "shared", "kira-1")

    mirror, stage = ledger.attempts("run-1") + ledger.attempts("run-2")
    assert (mirror.stage, mirror.attempt, mirror.frames) == ("mirror", 2, 3)
    assert mirror.ended == mirror.began + timedelta(minutes=1) == DAY + timedelta(hours=1, minutes=1)
    assert (stage.batch, stage.ended) == ("two", None)

    assert first.rows("claim")["claim"] == before["claim"]
    context = Context("four", "shared", "dr7", "kira-1", "run-6")
    with ledger.claiming(context, "file:///stage", FRAMES, lambda _: True) as others:
        assert others == {PUBLISHED: "one", TWICE: "three"}


def test_each_frame_is_where_the_first_version_left_it(first: FirstLedger, opened: Callable[[], Ledger]) -> None:
    ledger = opened()
    assert ledger.published("shared", "dr7", "kira-1") == {"one": {PUBLISHED}, "three": {TWICE, EMPTY}}
    assert ledger.published("shared", "dr12", "kira-1") == {"other": {"dr12-301-000094-1-0012-r"}}
    dr7 = known(ledger)
    todo = {str(one.frame): (one.why, one.dag_run, one.batch) for one in ledger.to_do(dr7.id, Selection.parse("dr7"))}
    assert todo == {UNAVAILABLE: ("failed", "run-1", "one"), STAGED: ("unfinished", "run-2", "two")}
    now = status(ledger, dr7.id, Selection.parse("dr7"))
    assert (now.total, now.published, now.to_do, now.size, now.sources) == (7, 3, 2, 4 * 5000, {"r": 14})
    assert now.stages["publish"] == {"ok": 2, "ok_empty": 1, "not reached": 4}
    assert now.stages["mirror"]["corrupt_upstream"] == now.stages["plan"]["not_in_archive"] == 1


def test_integrity_checks_of_before_are_added_up(first: FirstLedger, opened: Callable[[], Ledger]) -> None:
    first.tell("one", "run-9", "stage", PUBLISHED, checks=2, failed_checks=1)
    found = integrity(opened(), known(opened()).id)
    with first.engine.connect() as connection:
        told = connection.execute(sa.text(
            "SELECT SUM(checks), SUM(failed_checks) FROM outcome JOIN batch ON batch.id = outcome.batch_id "
            "JOIN catalogue ON catalogue.id = batch.catalogue_id WHERE catalogue.release = 'dr7'"
        )).one()  # fmt: skip
    assert (found.checks, found.failed) == tuple(told)
    assert found.failed == 2


def test_work_goes_on_after_the_change(first: FirstLedger, opened: Callable[[], Ledger]) -> None:
    ledger = opened()
    dr7 = known(ledger)
    context = Context("two", "shared", "dr7", "kira-1", "run-2")
    for stage in list(Stage)[3:]:
        ledger.record(context, stage, [Record(FRAMES[3], Outcome.OK, sources=4)])
    ledger.try_again(dr7.id, Selection.parse("dr7"))
    # What was mirrored before listings were kept counts as fetched as it is listed now; changes count from then on.
    listed = {frame: "date=2026" for frame in FRAMES}
    found, gone = ledger.reconcile(dr7.id, FRAMES[0].release, (4192, 40, 4), listed, None, lambda _: True)
    assert (found.new, found.changed, gone) == (3, 0, [])
    found, _ = ledger.reconcile(
        dr7.id, FRAMES[0].release, (4192, 40, 4), listed | {FRAMES[0]: "date=2027"}, None, lambda _: True
    )
    assert found.changed == 1
    assert check(ledger, dr7) == []
    assert "two" in ledger.published_batches(dr7.id)


def everything(engine: sa.Engine) -> dict[str, list[str]]:
    tables = Base.metadata.tables.items()
    with engine.connect() as connection:
        return {name: sorted(map(repr, connection.execute(sa.select(table)))) for name, table in tables}


def test_opened_again_it_is_left_alone(first: FirstLedger, opened: Callable[[], Ledger], engine: sa.Engine) -> None:
    opened()
    before = everything(engine)
    assert opened().database.version() == newest()
    assert everything(engine) == before


def test_an_empty_ledger_of_the_first_version_is_brought_up_to_date(
    engine: sa.Engine, opened: Callable[[], Ledger]
) -> None:
    FirstLedger(engine)
    assert catalogues(opened()) == []
    assert differences(engine) == []


def test_more_rows_than_go_into_one_statement(engine: sa.Engine, opened: Callable[[], Ledger]) -> None:
    made = FirstLedger(engine)
    columns = {"archive": "shared", "release": "dr7", "band": "r", "profile": "kira-1", "reason": "", "attempts": 1}
    rows = [
        columns | {
            "batch": f"batch-{n // 500}", "frame": f"dr7-40-{run:06d}-4-{n:04d}-r", "stage": stage, "dag_run": "run",
            "outcome": "ok", "again": False, "size": 10, "sha256": "ab" * 32, "sources": 2, "seconds": 0.1,
            "checks": 1, "failed_checks": 0, "at": DAY + timedelta(seconds=number),
        }
        for number, stage in enumerate(("mirror", "publish")) for run in (94, 4192) for n in range(1300)
    ]  # fmt: skip
    with engine.begin() as connection:
        connection.execute(made.tables.tables["outcome"].insert(), rows)
    ledger = opened()
    now = status(ledger, known(ledger).id, Selection.parse("dr7"))
    assert (now.total, now.published, now.sources, now.size) == (2600, 2600, {"r": 5200}, 26000)
    assert check(ledger, known(ledger)) == []


def _open(url: str, meet: Callable[[], object], told: Any) -> None:
    meet()
    try:
        ledger = Ledger(url)
        told.put(sorted(len(frames) for frames in ledger.published("shared", "dr7", "kira-1").values()))
    except BaseException as error:
        told.put(repr(error))
        raise


def test_processes_that_open_an_old_ledger_at_once_change_it_once(first: FirstLedger, url: str) -> None:
    first.engine.dispose()
    fork = multiprocessing.get_context("fork")
    barrier, told = fork.Barrier(3), fork.Queue()
    openers = [fork.Process(target=_open, args=(url, barrier.wait, told)) for _ in range(3)]
    for opener in openers:
        opener.start()
    assert [told.get(timeout=120) for _ in openers] == [[1, 2]] * 3
    for opener in openers:
        opener.join(60)
    ledger = Ledger(url)
    assert check(ledger, known(ledger)) == []
    assert len(ledger.outcomes("run-1")) == 10
    ledger.engine.dispose()


# -- ones that cannot be


def test_a_ledger_of_a_newer_version_is_left_alone(engine: sa.Engine, opened: Callable[[], Ledger], url: str) -> None:
    opened()
    with engine.begin() as connection:
        connection.execute(sa.update(sa.table(VERSION_TABLE, sa.column("version_num"))).values(version_num="9999"))
    with pytest.raises(KiraError, match=r"version 9999, which this version of Kira does not know.* Use that, or"):
        Ledger(url)
    assert Database(url).version() == "9999"


def test_a_change_that_fails_in_the_middle_leaves_the_old_ledger(first: FirstLedger, url: str) -> None:
    first.tell("three", "run-3", "publish", "no frame at all")  # read last of all
    before = first.rows()
    with pytest.raises(KiraError, match=r"could not be brought from version 0001 .* was left as it is") as raised:
        Ledger(url)
    assert not isinstance(raised.value, LedgerUnavailable)
    assert set(sa.inspect(first.engine).get_table_names()) == OLD_TABLES
    assert first.rows() == before
    indexes = {index["name"] for index in sa.inspect(first.engine).get_indexes("outcome")}
    assert indexes == {"outcome_by_catalogue", "outcome_by_run"}
    # Once what stood against it is gone, it is brought up to date.
    with first.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM outcome WHERE frame = 'no frame at all'"))
    ledger = Ledger(url)
    assert ledger.published("shared", "dr7", "kira-1") == {"one": {PUBLISHED}, "three": {TWICE, EMPTY}}
    ledger.engine.dispose()


@pytest.mark.parametrize("old", [False, True])
def test_a_database_that_others_have_tables_in_is_not_touched(engine: sa.Engine, url: str, old: bool) -> None:
    if old:
        FirstLedger(engine)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE dag_run (id INTEGER)"))  # as Airflow's database has
    before = set(sa.inspect(engine).get_table_names())
    with pytest.raises(KiraError, match=r"\(dag_run\).* give the ledger a database of its own"):
        Ledger(url)
    assert set(sa.inspect(engine).get_table_names()) == before


def test_keys_are_the_same_in_the_migration_and_in_the_code() -> None:
    script: dict[str, Any] = {}
    exec((MIGRATIONS / "versions" / "0002.py").read_text(), script)  # noqa: S102 - our own file
    for text in ("dr12-301-000094-1-0012-u", "dr7-40-999999-6-9999-z", "dr1-1-000001-1-0000-r"):
        assert script["_number"](text) == number_of(FrameId.parse(text))
    assert script["_ORDER"] == tuple(Stage)
