"""Settings of the stages, read from the environment once, where they are used.

| variable | meaning |
|---|---|
| `KIRA_STAGE_URL` | root of staged frames and catalogues: `hdfs://host:port/path` or `file:///path` |
| `KIRA_S3_BUCKET` | bucket of the mirror |
| `KIRA_LEDGER_URL` | SQLAlchemy URL of the ledger |
| `KIRA_ARCHIVE_CONNECTIONS` | simultaneous connections of one mirror task to the archive (default 4) |
"""

import os
from dataclasses import dataclass

from kira.errors import InvalidInput


@dataclass(frozen=True)
class Settings:
    """See the module's table."""

    stage_url: str
    bucket: str
    ledger_url: str
    connections: int = 4

    @classmethod
    def from_environment(cls) -> "Settings":
        """Read the environment; InvalidInput names the variable that is missing or wrong."""
        wanted = {"stage_url": "KIRA_STAGE_URL", "bucket": "KIRA_S3_BUCKET", "ledger_url": "KIRA_LEDGER_URL"}
        for variable in wanted.values():
            if not os.environ.get(variable):
                raise InvalidInput(
                    f"{variable} is not set in the environment of Airflow's tasks: see kira/settings.py."
                )
        connections = os.environ.get("KIRA_ARCHIVE_CONNECTIONS", "4")
        if not connections.isdecimal() or not 1 <= int(connections) <= 64:
            raise InvalidInput(f"KIRA_ARCHIVE_CONNECTIONS={connections} is not a number from 1 to 64.")
        values = {name: os.environ[variable] for name, variable in wanted.items()}
        return cls(**values, connections=int(connections))
