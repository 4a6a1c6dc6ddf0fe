"""What the first release of Kira left, put where a test wants it: see tests/data/first-release/README.md."""

import json
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "data" / "first-release"
OLD_STAGE, OLD_ARCHIVE = "file:///srv/kira/stage", "http://archive.invalid/sample"
FIRST, SECOND = "manual__2026-11-22T09:00:00+00:00", "manual__2026-11-22T10:00:00+00:00"
PUBLISHED = [f"dr7-40-009001-3-0011-{band}" for band in "giru"]
DAMAGED, PLANNED = "dr7-40-009001-3-0011-z", "dr7-40-009001-3-0012-r"


@dataclass(frozen=True)
class Left:
    """Where it is now.

    Parameters
    ----------
    database : Path
        The SQLite file, as the first release left it until somebody opens it.
    stage_url : str
    expected : dict
        What the first release said.
    """

    database: Path
    stage_url: str
    expected: dict[str, Any]

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy URL."""
        return f"sqlite:///{self.database}"


def put(folder: Path, archive: str = OLD_ARCHIVE) -> Left:
    """Copy ledger and staging store into a folder, as if the first release had worked there.

    Parameters
    ----------
    folder : Path
    archive : str
        Address of its archive.
    """
    stage_url = f"file://{folder}/stage"

    def here(text: str) -> str:
        return text.replace(OLD_STAGE, stage_url).replace(OLD_ARCHIVE, archive)

    shutil.copytree(FOLDER / "stage", folder / "stage")
    for path in (folder / "stage").rglob("*.json*"):
        path.write_text(here(path.read_text()))
    database = folder / "ledger.db"
    with sqlite3.connect(database) as connection:
        connection.executescript(here((FOLDER / "ledger.sql").read_text()))
    connection.close()
    return Left(database, stage_url, json.loads((FOLDER / "expected.json").read_text()))
