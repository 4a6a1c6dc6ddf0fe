"""Settings of the stages, read from the environment once, where they are used.

| variable | meaning |
|---|---|
| `KIRA_STAGE_URL` | root of staged frames and catalogues: `hdfs://host:port/path` or `file:///path` |
| `KIRA_S3_BUCKET` | bucket of the mirror |
| `KIRA_LEDGER_URL` | SQLAlchemy URL of the ledger |
| `KIRA_ARCHIVE_CONNECTIONS` | simultaneous connections of one mirror task to the archive (default 4) |
| `KIRA_BATCH_ATTEMPTS` | most attempts at one batch in one DAG run, over all its stages (default 12) |
| `KIRA_REFERENCE_EVERY` | one field in so many is held against a reference (default 10; 1: all, 0: none) |
| `KIRA_THRESHOLDS` | TOML file of validation's limits; see docs/validation.md |
| `KIRA_REFERENCE_CATALOGUE` | path or URL of a catalogue, for frames that have no reference beside them |
| `KIRA_HDFS_UI` | the NameNode's page, such as `http://namenode:9870`: for links and for the state of HDFS |
| `KIRA_SPARK_UI` | page of a Spark master or history server, if there is one: for the same |
| `KIRA_HDFS_PAGE`, `KIRA_SPARK_PAGE` | the same as a browser reaches them, for links, where that is another address |
| `KIRA_SPARK_PROPERTIES` | file of Spark properties for the extraction's jobs; see docs/clusters.md |
| `KIRA_FRAME_MEMORY_MB` | of a Spark worker while it is at a frame (default 3072); see `kira.extraction.limits` |
| `KIRA_FRAME_SECONDS` | time that one frame may take in a Spark worker (default 600); see `kira.extraction.limits` |

`KIRA_RETRY_SECONDS` (first wait before a stage is tried again), `KIRA_SCHEDULE` (of `sdss_ingest`), `KIRA_ALERTS` and
`KIRA_ALERT_FRAMES` (who is told of runs that failed, or left so many frames behind; docs/monitoring.md) are read in
`kira/airflow_glue`.
"""

import os
from dataclasses import dataclass

from kira.errors import InvalidInput
from kira.sdss.urls import checked_url


@dataclass(frozen=True)
class Settings:
    """See the module's table."""

    stage_url: str
    bucket: str
    ledger_url: str
    connections: int = 4
    batch_attempts: int = 12
    reference_every: int = 10
    thresholds: str = ""
    reference_catalogue: str = ""
    hdfs_ui: str = ""
    spark_ui: str = ""
    spark_properties: str = ""

    @classmethod
    def from_environment(cls) -> "Settings":
        """Read the environment; InvalidInput names the variable that is missing or wrong."""
        wanted = {"stage_url": "KIRA_STAGE_URL", "bucket": "KIRA_S3_BUCKET", "ledger_url": "KIRA_LEDGER_URL"}
        for variable in wanted.values():
            if not os.environ.get(variable):
                raise InvalidInput(
                    f"{variable} is not set in the environment of Airflow's tasks: see kira/settings.py."
                )
        values = {name: os.environ[variable] for name, variable in wanted.items()}
        return cls(
            **values, connections=_number("KIRA_ARCHIVE_CONNECTIONS", 4, 64),
            batch_attempts=_number("KIRA_BATCH_ATTEMPTS", 12, 1000),
            reference_every=_number("KIRA_REFERENCE_EVERY", 10, 10_000, least=0),
            thresholds=os.environ.get("KIRA_THRESHOLDS", ""),
            reference_catalogue=os.environ.get("KIRA_REFERENCE_CATALOGUE", ""),
            hdfs_ui=page_url("KIRA_HDFS_UI"), spark_ui=page_url("KIRA_SPARK_UI"),
            spark_properties=os.environ.get("KIRA_SPARK_PROPERTIES", ""),
        )  # fmt: skip


def page_url(variable: str) -> str:
    """Address of a page, without a slash at its end; empty where the variable is not set."""
    text = os.environ.get(variable, "").rstrip("/")
    return checked_url(text, variable) if text else ""


def _number(variable: str, default: int, most: int, least: int = 1) -> int:
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal() or not least <= int(text) <= most:
        raise InvalidInput(f"{variable}={text} is not a number from {least} to {most}.")
    return int(text)
