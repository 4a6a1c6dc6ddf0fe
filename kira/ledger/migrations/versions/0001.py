"""The tables of the first ledgers, which did not keep their version."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "outcome",
        sa.Column("batch", sa.String(80), primary_key=True),
        sa.Column("frame", sa.String(40), primary_key=True),
        sa.Column("stage", sa.String(12), primary_key=True),
        sa.Column("dag_run", sa.String(250), primary_key=True),
        sa.Column("archive", sa.String(40), nullable=False),
        sa.Column("release", sa.String(8), nullable=False),
        sa.Column("band", sa.String(1), nullable=False),
        sa.Column("profile", sa.String(80), nullable=False),
        sa.Column("outcome", sa.String(24), nullable=False),
        sa.Column("reason", sa.String(2000), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("again", sa.Boolean, nullable=False),
        sa.Column("size", sa.Integer),
        sa.Column("sha256", sa.String(64)),
        sa.Column("sources", sa.Integer),
        sa.Column("seconds", sa.Float),
        sa.Column("checks", sa.Integer, nullable=False),
        sa.Column("failed_checks", sa.Integer, nullable=False),
        sa.Column("at", sa.DateTime, nullable=False),
    )
    op.create_index("outcome_by_catalogue", "outcome", ["archive", "release", "profile", "stage", "outcome"])
    op.create_index("outcome_by_run", "outcome", ["dag_run"])
    op.create_table(
        "stage_attempt",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("batch", sa.String(80), nullable=False),
        sa.Column("stage", sa.String(12), nullable=False),
        sa.Column("dag_run", sa.String(250), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("began", sa.DateTime, nullable=False),
        sa.Column("ended", sa.DateTime),
        sa.Column("frames", sa.Integer, nullable=False),
    )
    op.create_index("ix_stage_attempt_dag_run", "stage_attempt", ["dag_run"])
    op.create_table(
        "claim",
        sa.Column("store", sa.String(300), primary_key=True),
        sa.Column("archive", sa.String(40), primary_key=True),
        sa.Column("release", sa.String(8), primary_key=True),
        sa.Column("profile", sa.String(80), primary_key=True),
        sa.Column("frame", sa.String(40), primary_key=True),
        sa.Column("batch", sa.String(80), nullable=False),
    )
    op.create_index("ix_claim_batch", "claim", ["batch"])
