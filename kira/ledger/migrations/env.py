"""Alembic's entry: migrations run in the transaction that the ledger has begun, under its lock."""

from alembic import context

from kira.ledger.database import VERSION_TABLE
from kira.ledger.tables import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, version_table=VERSION_TABLE
)
context.run_migrations()
