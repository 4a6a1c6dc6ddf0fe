"""A whole catalogue in canonical order, a stretch at a time, so that it need not fit into memory."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kira.catalog.parts import Group
from kira.catalog.published import Progress, Published
from kira.catalog.reading import in_order

_FIELD = ("release", "run", "rerun", "camcol", "field")
"""What the rows of a stretch have in common with no other stretch: the beginning of `KEY`."""
_ROWS_AT_ONCE = 256 * 1024
_ROWS_PER_GROUP = 128 * 1024
_ZSTD_LEVEL = 3  # as parquet_bytes

Field = tuple[Any, ...]


def stretches(catalogue: Published, rows: int = _ROWS_AT_ONCE, progress: Progress | None = None) -> Iterator[pa.Table]:
    """All rows in the order of `KEY`.

    Parameters
    ----------
    catalogue : Published
        A row group whose fields lie in two stretches is read twice: a batch's files hold neighbouring fields.
    rows : int
        A stretch is ended by the field that fills it. What is held in memory is about twice as much, and the row
        groups that are read.
    progress : callable, optional
        Told how many of how many rows are done.

    Yields
    ------
    pyarrow.Table
        With `catalogue.schema`, in one chunk.
    """
    spans, sizes = [], Counter[Field]()
    for group in catalogue.groups():
        if counted := _count(catalogue.read([group], _FIELD)):
            spans.append((group, min(counted), max(counted)))
            sizes.update(counted)
    done = 0
    for first, last in _cut(sizes, rows):
        groups = [group for group, lowest, highest in spans if lowest <= last and highest >= first]
        table = in_order(_within(catalogue, groups, first, last))
        done += table.num_rows
        catalogue.tally.rows += table.num_rows
        if progress:
            progress(done, sizes.total())
        yield table


def write_parquet(
    catalogue: Published, sink: BinaryIO, rows: int = _ROWS_AT_ONCE, progress: Progress | None = None
) -> int:
    """Write all of a catalogue in canonical order as one Parquet file; same catalogue, same bytes.

    Parameters
    ----------
    catalogue : Published
    sink : file
        Open for writing bytes.
    rows : int
        See `stretches`; the bytes written do not depend on it.
    progress : callable, optional

    Returns
    -------
    int
        Number of rows.
    """
    schema, rest, total = catalogue.schema, catalogue.schema.empty_table(), 0
    options: dict[str, Any] = {"version": "2.6", "compression": "zstd", "compression_level": _ZSTD_LEVEL}
    with pq.ParquetWriter(sink, schema, write_statistics=True, **options) as writer:
        for table in stretches(catalogue, rows, progress):
            rest = pa.concat_tables([rest, table])
            while rest.num_rows >= _ROWS_PER_GROUP:
                writer.write_table(_whole(rest.slice(0, _ROWS_PER_GROUP)), _ROWS_PER_GROUP)
                rest = rest.slice(_ROWS_PER_GROUP)
            total += table.num_rows
        if rest.num_rows:
            writer.write_table(_whole(rest), _ROWS_PER_GROUP)
    return total


def _whole(table: pa.Table) -> pa.Table:
    # How a column is cut into chunks, and what else its dictionary holds, would show in the file.
    columns = [
        column.cast(column.type.value_type).combine_chunks().dictionary_encode()
        if pa.types.is_dictionary(column.type) else column.combine_chunks()
        for column in table.columns
    ]  # fmt: skip
    return pa.Table.from_arrays(columns, schema=table.schema)


def _count(table: pa.Table) -> dict[Field, int]:
    counted = table.group_by(list(_FIELD)).aggregate([([], "count_all")])
    keys = zip(*(counted[name].to_pylist() for name in _FIELD), strict=True)
    return dict(zip(keys, counted["count_all"].to_pylist(), strict=True))


def _cut(sizes: Counter[Field], rows: int) -> Iterator[tuple[Field, Field]]:
    """First and last field of each stretch."""
    first: Field | None = None
    held = 0
    for field in sorted(sizes):
        first = field if first is None else first
        held += sizes[field]
        last = field
        if held >= rows:
            yield first, last
            first, held = None, 0
    if first is not None:
        yield first, last


def _within(catalogue: Published, groups: Sequence[Group], first: Field, last: Field) -> pa.Table:
    """Rows of the fields from the first to the last."""
    tables = [catalogue.schema.empty_table()]
    for group in groups:
        table = catalogue.read([group], catalogue.schema.names)
        tables.append(table.filter(pc.and_(_compared(table, first, pc.greater), _compared(table, last, pc.less))))
    return pa.concat_tables(tables)


def _compared(table: pa.Table, field: Field, beyond: Any) -> Any:
    """Rows that are of a field, or beyond it."""
    result = pa.chunked_array([pa.array([True] * table.num_rows, pa.bool_())])
    for name, value in reversed(list(zip(_FIELD, field, strict=True))):
        column, limit = table[name], pa.scalar(value, table[name].type)
        result = pc.or_(beyond(column, limit), pc.and_(pc.equal(column, limit), result))
    return result
