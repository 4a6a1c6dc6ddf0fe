"""One number for the rows of a frame, whatever file they lie in and whichever run made them."""

import hashlib
import json
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

OF_THE_RUN = frozenset({"run_id"})
"""Columns that tell who made the rows, not what was measured."""

_FRAME = ("release", "rerun", "run", "camcol", "field", "band")


def rows_sha256(table: pa.Table) -> str:
    """SHA-256 of the rows of a table, hex.

    It depends on names and types of the columns and on their values to the last bit, in the order in which they come;
    not on chunks, encodings, metadata, byte order of the machine or version of pyarrow. Columns of `OF_THE_RUN` are
    left out.

    Parameters
    ----------
    table : pyarrow.Table
    """
    total = hashlib.sha256()
    for name, field in zip(table.column_names, table.schema, strict=True):
        if name not in OF_THE_RUN:
            total.update(json.dumps([name, str(_plain(field.type)), table.num_rows]).encode())
            _add(total, table[name])
    return total.hexdigest()


def rows_by_frame(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Cut a table of the catalogue into the rows of its frames, each in the order in which it was measured.

    Parameters
    ----------
    table : pyarrow.Table
        In canonical order, as `kira.catalog.read_parts` gives it.
    """
    if not table.num_rows:
        return
    begins = np.zeros(table.num_rows, dtype=bool)
    begins[0] = True
    for name in _FRAME:
        column = table[name]
        if not pa.types.is_integer(column.type):
            column = pc.dictionary_encode(column).unify_dictionaries()
            column = pa.chunked_array([chunk.indices for chunk in column.chunks])
        values = column.to_numpy()
        begins[1:] |= values[1:] != values[:-1]
    at = [*np.flatnonzero(begins).tolist(), table.num_rows]
    for begin, end in pairwise(at):
        release, rerun, run, camcol, field, band = (table[name][begin].as_py() for name in _FRAME)
        yield f"{release}-{rerun}-{run:06d}-{camcol}-{field:04d}-{band}", table.slice(begin, end - begin)


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _add(total: "hashlib._Hash", column: pa.ChunkedArray) -> None:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if column.null_count:
        total.update(b"without:" + np.packbits(column.is_null().to_numpy()).tobytes())
        column = column.drop_null()
    kind = column.type
    if pa.types.is_boolean(kind):
        total.update(np.packbits(column.to_numpy()).tobytes())
    elif pa.types.is_floating(kind) or pa.types.is_integer(kind):
        values = column.to_numpy()
        total.update(values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes())
    else:
        # Text: few different ones, often a single one for all rows. In the order in which each is first met.
        encoded = pc.dictionary_encode(column.combine_chunks())
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.combine_chunks()
        total.update(json.dumps(encoded.dictionary.to_pylist(), default=str).encode())
        total.update(encoded.indices.to_numpy().astype("<i4").tobytes())
