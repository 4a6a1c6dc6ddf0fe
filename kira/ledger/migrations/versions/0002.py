"""Where each frame is now, tallies, and short keys: a ledger for millions of frames.

What the first ledgers knew is kept: outcomes, attempts and claims are carried over, and the state of each frame is what
its newest outcome says.
"""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_CHUNK = 1000


def upgrade() -> None:
    """Set the old tables aside, make the new ones, carry over, and drop the old ones."""
    connection = op.get_bind()
    op.drop_index("outcome_by_catalogue", "outcome")
    op.drop_index("outcome_by_run", "outcome")
    op.drop_index("ix_stage_attempt_dag_run", "stage_attempt")
    if connection.dialect.name == "postgresql":
        for table in ("outcome", "stage_attempt"):
            op.execute(f"ALTER INDEX {table}_pkey RENAME TO {table}_0001_pkey")
    op.rename_table("outcome", "outcome_0001")
    op.rename_table("stage_attempt", "stage_attempt_0001")
    _make_tables()
    _carry_over(connection)
    op.drop_table("outcome_0001")
    op.drop_table("stage_attempt_0001")


def _make_tables() -> None:
    op.create_table(
        "catalogue",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("archive", sa.String(40), nullable=False),
        sa.Column("release", sa.String(8), nullable=False),
        sa.Column("profile", sa.String(80), nullable=False),
        sa.UniqueConstraint("archive", "release", "profile", name="catalogue_is_one"),
    )
    op.create_table(
        "dag_run",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(250), nullable=False, unique=True),
        sa.Column("dag", sa.String(250), nullable=False),
        sa.Column("began", sa.DateTime, nullable=False),
    )
    op.create_table(
        "batch",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(80), nullable=False, unique=True),
        sa.Column("catalogue_id", sa.Integer, sa.ForeignKey("catalogue.id"), nullable=False),
    )
    op.create_index("ix_batch_catalogue_id", "batch", ["catalogue_id"])
    op.create_table(
        "frame",
        sa.Column("catalogue_id", sa.Integer, sa.ForeignKey("catalogue.id"), primary_key=True, autoincrement=False),
        sa.Column("frame", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("stage", sa.String(12), nullable=False),
        sa.Column("outcome", sa.String(24), nullable=False),
        *(sa.Column(name, sa.Boolean, nullable=False) for name in ("retrying", "to_do", "withdrawn", "lost")),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("mismatches", sa.Integer, nullable=False),
        sa.Column("dag_run_id", sa.Integer, sa.ForeignKey("dag_run.id")),
        sa.Column("batch_id", sa.Integer, sa.ForeignKey("batch.id")),
        sa.Column("published_batch_id", sa.Integer, sa.ForeignKey("batch.id")),
        sa.Column("published_sha256", sa.LargeBinary(32)),
        sa.Column("sha256", sa.LargeBinary(32)),
        sa.Column("size", _NUMBER),
        sa.Column("sources", sa.Integer, nullable=False),
        sa.Column("listed", sa.String(120), nullable=False),
        sa.Column("seen", sa.String(120), nullable=False),
        sa.Column("at", sa.DateTime, nullable=False),
        sqlite_with_rowid=False,
    )
    to_do = sa.text("to_do")
    op.create_index("frame_to_do", "frame", ["catalogue_id", "frame"], sqlite_where=to_do, postgresql_where=to_do)
    op.create_index("frame_by_published_batch", "frame", ["published_batch_id"])
    op.create_table(
        "outcome",
        sa.Column("dag_run_id", sa.Integer, sa.ForeignKey("dag_run.id"), primary_key=True, autoincrement=False),
        sa.Column("batch_id", sa.Integer, sa.ForeignKey("batch.id"), primary_key=True, autoincrement=False),
        sa.Column("stage", sa.String(12), primary_key=True),
        sa.Column("frame", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("outcome", sa.String(24), nullable=False),
        sa.Column("reason", sa.String(2000), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("retrying", sa.Boolean, nullable=False),
        sa.Column("again", sa.Boolean, nullable=False),
        sa.Column("size", _NUMBER),
        sa.Column("sha256", sa.LargeBinary(32)),
        sa.Column("sources", sa.Integer),
        sa.Column("seconds", sa.Double),
        sa.Column("checks", sa.Integer, nullable=False),
        sa.Column("failed_checks", sa.Integer, nullable=False),
        sa.Column("at", sa.DateTime, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("outcome_by_frame", "outcome", ["frame"])
    op.create_table(
        "tally",
        sa.Column("catalogue_id", sa.Integer, sa.ForeignKey("catalogue.id"), primary_key=True, autoincrement=False),
        sa.Column("run", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("camcol", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("band", sa.String(1), primary_key=True),
        sa.Column("stage", sa.String(12), primary_key=True),
        sa.Column("outcome", sa.String(24), primary_key=True),
        *(sa.Column(name, sa.Boolean, primary_key=True) for name in ("retrying", "published", "withdrawn", "to_do")),
        *(sa.Column(name, _NUMBER, nullable=False) for name in ("frames", "sources", "size")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "folder",
        sa.Column("catalogue_id", sa.Integer, sa.ForeignKey("catalogue.id"), primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.Integer, primary_key=True, autoincrement=False) for name in ("run", "rerun", "camcol")),
        sa.Column("listing", sa.String(64), nullable=False),
        sa.Column("mirror", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime, nullable=False),
    )
    op.create_table(
        "stage_attempt",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("dag_run_id", sa.Integer, sa.ForeignKey("dag_run.id"), nullable=False),
        sa.Column("batch_id", sa.Integer, sa.ForeignKey("batch.id"), nullable=False),
        sa.Column("stage", sa.String(12), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("began", sa.DateTime, nullable=False),
        sa.Column("ended", sa.DateTime),
        sa.Column("frames", sa.Integer, nullable=False),
        sa.Column("size", _NUMBER, nullable=False),
        sa.Column("error", sa.String(2000), nullable=False),
        sa.Column("log", sa.String(500), nullable=False),
    )
    op.create_index("ix_stage_attempt_dag_run_id", "stage_attempt", ["dag_run_id"])
    op.create_index("ix_stage_attempt_batch_id", "stage_attempt", ["batch_id"])


def _number(frame: str) -> int:
    _, rerun, run, camcol, field, band = frame.split("-")
    digits = ((int(run) * 10**4 + int(rerun)) * 10 + int(camcol)) * 10**4 + int(field)
    return digits * 10 + "ugriz".index(band)


def _carry_over(connection: sa.Connection) -> None:
    metadata = sa.MetaData()
    metadata.reflect(connection)
    tables = metadata.tables
    old, attempts = tables["outcome_0001"], tables["stage_attempt_0001"]
    catalogues = _copy_names(
        connection, tables["catalogue"], ("archive", "release", "profile"),
        sa.select(old.c.archive, old.c.release, old.c.profile).distinct(),
    )  # fmt: skip
    began = sa.select(old.c.dag_run, sa.func.min(old.c.at)).group_by(old.c.dag_run)
    runs = _copy_names(
        connection, tables["dag_run"], ("name", "began", "dag"), began.add_columns(sa.literal("sdss_ingest"))
    )
    made_in = {b: catalogues[(a, r, p)] for b, a, r, p in connection.execute(
        sa.select(old.c.batch, old.c.archive, old.c.release, old.c.profile).distinct())}  # fmt: skip
    if made_in:
        connection.execute(
            tables["batch"].insert(), [{"name": name, "catalogue_id": number} for name, number in made_in.items()]
        )
    run_ids = {name: number for (name, _, _), number in runs.items()}
    batch_ids = {
        name: number for number, name in connection.execute(sa.select(tables["batch"].c.id, tables["batch"].c.name))
    }
    states: dict[tuple[int, int], dict[str, Any]] = {}
    for rows in _chunks(connection, sa.select(old).order_by(old.c.at)):
        connection.execute(tables["outcome"].insert(), [_outcome(row, run_ids, batch_ids) for row in rows])
        for row in rows:
            _follow(states, row, run_ids, batch_ids, made_in)
    for start in range(0, len(states), _CHUNK):
        connection.execute(tables["frame"].insert(), list(states.values())[start : start + _CHUNK])
    _count(connection, tables)
    for rows in _chunks(connection, sa.select(attempts)):
        kept = [row for row in rows if row["batch"] in batch_ids and row["dag_run"] in run_ids]
        if kept:
            connection.execute(tables["stage_attempt"].insert(), [
                {name: row[name] for name in ("stage", "attempt", "began", "ended", "frames")}
                | {"dag_run_id": run_ids[row["dag_run"]], "batch_id": batch_ids[row["batch"]], "size": 0, "error": "",
                   "log": ""}
                for row in kept
            ])  # fmt: skip


def _copy_names(
    connection: sa.Connection, table: sa.Table, columns: tuple[str, ...], query: sa.Select[Any]
) -> dict[tuple[Any, ...], int]:
    rows = [dict(zip(columns, row, strict=True)) for row in connection.execute(query)]
    if rows:
        connection.execute(table.insert(), rows)
    return {tuple(row[1:]): row[0] for row in connection.execute(sa.select(table.c.id, *(table.c[n] for n in columns)))}


def _chunks(connection: sa.Connection, query: sa.Select[Any]) -> Iterator[list[Any]]:
    for rows in connection.execute(query).mappings().partitions(_CHUNK):
        yield list(rows)


def _outcome(row: Any, runs: dict[str, int], batches: dict[str, int]) -> dict[str, Any]:
    names = ("stage", "outcome", "reason", "attempts", "again", "size", "sources", "seconds", "checks",
             "failed_checks", "at")  # fmt: skip
    return {name: row[name] for name in names} | {
        "dag_run_id": runs[row["dag_run"]], "batch_id": batches[row["batch"]], "frame": _number(row["frame"]),
        "retrying": False, "sha256": bytes.fromhex(row["sha256"]) if row["sha256"] else None,
    }  # fmt: skip


_ORDER = ("plan", "mirror", "stage", "extract", "validate", "publish")


def _follow(
    states: dict[tuple[int, int], dict[str, Any]], row: Any, runs: dict[str, int], batches: dict[str, int],
    made_in: dict[str, int],
) -> None:  # fmt: skip
    """Bring a frame's state to what an outcome says; they come in the order of time."""
    key = made_in[row["batch"]], _number(row["frame"])
    state = states.setdefault(key, {
        "catalogue_id": key[0], "frame": key[1], "retrying": False, "withdrawn": False, "lost": False, "failures": 0,
        "mismatches": 0, "published_batch_id": None, "published_sha256": None, "sha256": None, "size": None,
        "sources": 0, "listed": "", "seen": "",
    })  # fmt: skip
    good = row["outcome"] in ("ok", "ok_empty")
    if good and row["again"] and _is_further(state, row, batches):
        return
    done = good and row["stage"] == "publish"
    settled = row["outcome"] in ("corrupt_upstream", "bad_frame", "extraction_failed") or (
        (row["stage"], row["outcome"]) == ("plan", "not_in_archive")
    )
    if row["stage"] == "mirror" and good:
        state |= {"sha256": bytes.fromhex(row["sha256"]) if row["sha256"] else None, "size": row["size"]}
    if done:
        state |= {"published_batch_id": batches[row["batch"]], "published_sha256": state["sha256"],
                  "sources": row["sources"] or 0}  # fmt: skip
    state |= {"stage": row["stage"], "outcome": row["outcome"], "at": row["at"], "to_do": not (done or settled),
              "failures": int(not good), "dag_run_id": runs[row["dag_run"]],
              "batch_id": batches[row["batch"]]}  # fmt: skip


def _is_further(state: dict[str, Any], row: Any, batches: dict[str, int]) -> bool:
    # A run that found the work of another done does not take a frame back.
    if state.get("batch_id") != batches[row["batch"]] or state["outcome"] not in ("ok", "ok_empty"):
        return False
    return _ORDER.index(state["stage"]) > _ORDER.index(row["stage"])


def _count(connection: sa.Connection, tables: Any) -> None:
    frame, tally = tables["frame"], tables["tally"]
    number = frame.c.frame
    band = sa.case({place: name for place, name in enumerate("ugriz")}, value=number % 10)
    groups = (
        frame.c.catalogue_id, number // 10**10, number // 10**5 % 10, band, frame.c.stage, frame.c.outcome,
        frame.c.retrying, frame.c.published_batch_id.is_not(None), frame.c.withdrawn, frame.c.to_do,
    )  # fmt: skip
    sums = (sa.func.count(), sa.func.sum(frame.c.sources), sa.func.sum(sa.func.coalesce(frame.c.size, 0)))
    names = ("catalogue_id", "run", "camcol", "band", "stage", "outcome", "retrying", "published", "withdrawn",
             "to_do", "frames", "sources", "size")  # fmt: skip
    # By position: a database takes two equal expressions with parameters for two different ones.
    query = sa.select(*groups, *sums).group_by(*(sa.text(str(n)) for n in range(1, len(groups) + 1)))
    connection.execute(tally.insert().from_select(names, query))
