"""The JSON Schemas of a record's files: published with the package, and laid into each record."""

from functools import cache
from pathlib import Path

RECORD_SCHEMA = "record.schema.json"
FRAME_SCHEMA = "frame.schema.json"
"""Of one line of a batch's file."""
_FOLDER = Path(__file__).parent / "schemas"


@cache
def schemas() -> dict[str, bytes]:
    """The schemas by their names in a record; JSON Schema 2020-12."""
    return {name: (_FOLDER / name).read_bytes() for name in (RECORD_SCHEMA, FRAME_SCHEMA)}


def schema_of(path: str) -> str:
    """Name of the schema that a file of a record conforms to, or its lines; empty where there is none."""
    if path == "record.json":
        return RECORD_SCHEMA
    return FRAME_SCHEMA if path.startswith("batches/") else ""
