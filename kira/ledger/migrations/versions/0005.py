"""How many damaged frames came whole later: from counts of failed checks alone it cannot be told."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the columns; what was healed before is not known any more."""
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.add_column("checked", sa.Column("healed", number, nullable=False, server_default="0"))
    op.add_column("frame", sa.Column("damaged", sa.Boolean, nullable=False, server_default=sa.false()))
    op.execute(
        "UPDATE frame SET damaged = true WHERE outcome IN ('checksum_mismatch', 'corrupt_upstream', 'quarantined')"
    )
