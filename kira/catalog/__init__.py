"""The catalogue of sources: its schema, rows, files."""

from kira.catalog.reading import digest, is_synthetic, read_parts
from kira.catalog.rows import source_table, to_table
from kira.catalog.schema import COLUMNS, KEY, SCHEMA, Column
from kira.catalog.writing import file_metadata, parquet_bytes

__all__ = [
    "COLUMNS", "KEY", "SCHEMA", "Column", "digest", "file_metadata", "is_synthetic", "parquet_bytes", "read_parts",
    "source_table", "to_table",
]  # fmt: skip
