"""A table of sources as a file that astronomers' tools open, with units and descriptions."""

import io
import warnings
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from astropy import units
from astropy.io import fits
from astropy.io.votable import writeto
from astropy.io.votable.tree import VOTableFile
from astropy.table import Column, MaskedColumn, Table

from kira.errors import InvalidInput

_SUFFIXES = {".parquet": "parquet", ".fits": "fits", ".vot": "votable", ".xml": "votable", ".csv": "csv"}
_ZSTD_LEVEL = 3


def format_of(path: PurePath | str) -> str:
    """Format that a file's name asks for.

    Raises
    ------
    InvalidInput
        If its ending is none of those that are known.
    """
    suffix = PurePath(path).suffix.lower()
    if suffix not in _SUFFIXES:
        raise InvalidInput(f"{path}: a table is written as .parquet, .fits, .vot or .csv, not as {suffix or 'that'}.")
    return _SUFFIXES[suffix]


def table_bytes(table: pa.Table, kind: str) -> bytes:
    """Write a table.

    Parameters
    ----------
    table : pyarrow.Table
        Its fields carry `unit`, `ucd` and `description`; the metadata of its schema goes along where the format has
        room for it.
    kind : {"parquet", "fits", "votable", "csv"}

    Returns
    -------
    bytes
        The same for the same table.
    """
    writers: Mapping[str, Callable[[pa.Table], bytes]] = {
        "parquet": _parquet, "fits": _fits, "votable": _votable, "csv": _csv,
    }  # fmt: skip
    return writers[kind](table)


def about(table: pa.Table) -> dict[str, str]:
    """What a table says of itself, in the order of its names; what pyarrow keeps there for itself is left out."""
    found = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items() if not k.startswith(b"ARROW")}
    return dict(sorted(found.items()))


def to_astropy(table: pa.Table) -> Table:
    """An astropy table with units and descriptions; `ucd` is in each column's `meta`."""
    result = Table(meta=about(table))
    for field, chunks in zip(table.schema, table.columns, strict=True):
        told = {k.decode(): v.decode() for k, v in (field.metadata or {}).items()}
        values, masked = _values(chunks)
        unit = units.Unit(told["unit"], parse_strict="silent") if told.get("unit") else None
        kind = MaskedColumn if masked is not None else Column
        options: dict[str, Any] = {} if masked is None else {"mask": masked}
        result[field.name] = kind(
            values, unit=unit, description=told.get("description"), meta={"ucd": told.get("ucd", "")}, **options
        )
    return result


def _values(chunks: pa.ChunkedArray) -> tuple[Any, Any]:
    array = chunks.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    masked = np.asarray(array.is_null()) if array.null_count else None
    if pa.types.is_string(array.type):
        return np.array([text or "" for text in array.to_pylist()], dtype=str), masked
    filled = array.fill_null(False if pa.types.is_boolean(array.type) else 0) if masked is not None else array
    return filled.to_numpy(zero_copy_only=False), masked


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    schema = table.schema.with_metadata(about(table))
    combined = pa.Table.from_arrays(table.combine_chunks().columns, schema=schema)
    pq.write_table(
        combined, sink, version="2.6", compression="zstd", compression_level=_ZSTD_LEVEL, write_statistics=True
    )
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _fits(table: pa.Table) -> bytes:
    told = to_astropy(table)
    meta, told.meta = dict(told.meta), {}
    texts = {name: (told[name].unit, told[name].description, told[name].meta["ucd"]) for name in told.colnames}
    for name in told.colnames:
        told[name].unit = None
    hdu = fits.table_to_hdu(told)
    hdu.name = "SOURCES"
    for number, (name, (unit, description, ucd)) in enumerate(texts.items(), 1):
        if unit is not None:
            # FITS knows no nanomaggy; SDSS's own files write the name all the same, and TOPCAT and astropy show it.
            hdu.header[f"TUNIT{number}"] = unit.to_string()
        hdu.header[f"TCOMM{number}"] = _ascii(description or name)
        if ucd:
            hdu.header[f"TUCD{number}"] = ucd
    for name, text in meta.items():
        for line in _wrapped(f"{name}: {text}"):
            hdu.header["HISTORY"] = line
    out = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(out, checksum=False)
    return out.getvalue()


def _wrapped(text: str) -> list[str]:
    text = _ascii(text)
    return [text[i : i + 72] for i in range(0, len(text), 72)]


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()


def _votable(table: pa.Table) -> bytes:
    told = to_astropy(table)
    meta, told.meta = dict(told.meta), {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", units.UnitsWarning)
        made = VOTableFile.from_table(told)
    first = made.get_first_table()
    first.description = "; ".join(f"{name}: {text}" for name, text in meta.items()) or None
    for field in first.fields:
        field.ucd = told[field.name].meta["ucd"] or None
        # As it stands, also where the standard of the day has no such unit.
        if told[field.name].unit is not None:
            field._unit = told[field.name].unit
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        writeto(made, out, tabledata_format="binary2")
    return out.getvalue()


def _csv(table: pa.Table) -> bytes:
    plain = pa.table(
        [c.cast(pa.string()) if pa.types.is_dictionary(c.type) else c for c in table.columns], table.column_names
    )
    out = pa.BufferOutputStream()
    pacsv.write_csv(plain, out, pacsv.WriteOptions(quoting_style="needed"))
    content: bytes = out.getvalue().to_pybytes()
    return content
