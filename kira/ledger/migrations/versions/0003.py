"""How many integrity checks were made on each day: a sum over all outcomes takes minutes for a whole survey."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the table, and sum up what the outcomes say; of tries that were repeated they have the last."""
    op.create_table(
        "checked",
        sa.Column("catalogue_id", sa.Integer, sa.ForeignKey("catalogue.id"), primary_key=True, autoincrement=False),
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("stage", sa.String(12), primary_key=True),
        sa.Column("checks", _NUMBER, nullable=False),
        sa.Column("failed", _NUMBER, nullable=False),
        sqlite_with_rowid=False,
    )
    day = "date(outcome.at)" if op.get_bind().dialect.name == "sqlite" else "CAST(outcome.at AS DATE)"
    op.execute(
        "INSERT INTO checked (catalogue_id, day, stage, checks, failed) "  # noqa: S608 - nothing from outside in it
        f"SELECT batch.catalogue_id, {day}, outcome.stage, SUM(outcome.checks), SUM(outcome.failed_checks) "
        "FROM outcome JOIN batch ON batch.id = outcome.batch_id "
        f"GROUP BY batch.catalogue_id, {day}, outcome.stage HAVING SUM(outcome.checks) > 0"
    )
