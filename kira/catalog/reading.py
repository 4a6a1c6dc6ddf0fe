"""Parts of a catalogue back to one table in canonical order, and a digest that proves two catalogues equal."""

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kira.catalog.kinds import schema_like
from kira.catalog.rows_digest import rows_sha256
from kira.catalog.schema import KEY, SCHEMA
from kira.errors import InvalidInput


def read_parts(parts: Iterable[bytes]) -> pa.Table:
    """Read the Parquet files of a catalogue.

    Parameters
    ----------
    parts : iterable of bytes
        Contents of the files, in any order.

    Returns
    -------
    pyarrow.Table
        All rows, sorted by `KEY`, in one chunk; with the schema of their kind, `SCHEMA` where there is no part.

    Raises
    ------
    InvalidInput
        If a part is not Parquet, damaged, of no kind of catalogue, or of another one than those before.
    """
    tables: list[pa.Table] = []
    for number, part in enumerate(parts):
        try:
            table = pq.read_table(pa.BufferReader(part))
        except (pa.ArrowException, OSError) as error:
            raise InvalidInput(f"Part {number} of the catalogue cannot be read as Parquet: {error}") from error
        try:
            schema = schema_like(table.schema)
        except InvalidInput:
            schema = None
        if schema is None or (tables and not schema.equals(tables[0].schema, check_metadata=False)):
            raise InvalidInput(f"Part {number} of the catalogue has other columns than this version of Kira writes.")
        tables.append(table.cast(tables[0].schema if tables else schema))
    return in_order(pa.concat_tables(tables) if tables else SCHEMA.empty_table())


def is_synthetic(part: bytes) -> bool:
    """Whether a Parquet file of a catalogue says that some of its frames were simulated."""
    metadata = pq.read_schema(pa.BufferReader(part)).metadata or {}
    return bool(metadata.get(b"synthetic") == b"yes")


def in_order(table: pa.Table) -> pa.Table:
    """Return the rows sorted by `KEY`, in one chunk."""
    return table.sort_by([(name, "ascending") for name in KEY]).combine_chunks()


def digest(table: pa.Table) -> str:
    """SHA-256 over all columns and rows in canonical order, but for the column that says which run measured a row.

    Depends on column names, types and values alone: not on the order of rows, on how they were spread over files or
    chunks, or on metadata. All NaN are one value. Rows of one `KEY` must not differ: validation refuses duplicates.

    Parameters
    ----------
    table : pyarrow.Table

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    table = in_order(table)
    return rows_sha256(pa.table({name: _one_nan(table[name]) for name in table.column_names}))


def _one_nan(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_nan(column), pa.scalar(float("nan"), column.type), column)
