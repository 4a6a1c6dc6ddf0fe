"""FITS files as bytes: headers in a given order, images, and tables in the two styles that SDSS's files have.

Written by hand, and not by astropy's writer, because keywords, their order and the comment blocks of IDL's mwrfits are
to be those of SDSS's files, and because nothing may depend on the time or the version of a library.
"""

import bz2
import gzip
import io
import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from kira.sample.spec import SIMULATOR_VERSION, SampleSpec

Card = tuple[str, Any] | tuple[str, Any, str]
"""Keyword, value, comment."""

_BLOCK = 2880
_NUMPY_TYPE = {"A": "S", "B": "u1", "I": ">i2", "J": ">i4", "E": ">f4", "D": ">f8"}


def synthetic_cards(spec: SampleSpec) -> list[Card]:
    """Cards that tell of every primary header of the sample that nobody observed this."""
    return [
        ("SYNTHET", True, "Simulated by Kira, not an observation"),
        ("SIMSEED", spec.seed, "Seed of the simulation"),
        ("SIMVERS", SIMULATOR_VERSION, "Version of kira.sample"),
        ("COMMENT", "SYNTHETIC DATA made by Kira (kira.sample) in the layout of an SDSS file."),
        ("COMMENT", "No telescope saw this sky; the run number was never used by SDSS."),
    ]


def header_bytes(cards: Iterable[Card]) -> bytes:
    """Write a header, END and padding included."""
    header = fits.Header()
    for card in cards:
        header.append(fits.Card(*card), bottom=True)
    return bytes(header.tostring().encode("ascii"))


def data_bytes(array: NDArray[Any]) -> bytes:
    """Bytes of an array that is already in FITS's byte order, padded."""
    raw = array.tobytes()
    return raw + b"\0" * (-len(raw) % _BLOCK)


def compress(data: bytes, name: str) -> bytes:
    """Compress as a file's name says: `.gz` (no name and no time inside), `.bz2`, or not at all."""
    if name.endswith(".bz2"):
        return bz2.compress(data, 9)
    if not name.endswith(".gz"):
        return data
    out = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=out, mtime=0, compresslevel=5) as file:
        file.write(data)
    return out.getvalue()


@cache
def columns(table: str) -> tuple[dict[str, str], ...]:
    """Columns of an SDSS table in their order: name, format (TFORM) and where given unit and dim (TDIM).

    Parameters
    ----------
    table : {"tsField", "psField", "photoObj"}
    """
    resource = json.loads((files("kira.sample") / "columns.json").read_text("ascii"))
    return tuple(resource[table])


def blank_rows(table: Iterable[Mapping[str, str]], n: int) -> NDArray[np.void]:
    """Rows of a table in FITS's byte order: -9999 in columns of floats, 0 in those of integers, empty texts.

    Parameters
    ----------
    table : iterable of mappings
        Columns with name and format, as `columns` gives them.
    n : int

    Returns
    -------
    structured ndarray, shape (n,)
        Fields of several values keep the order of FITS: a dim of (15, 5) is the shape (5, 15).
    """
    kinds: list[tuple[str, str] | tuple[str, str, tuple[int, ...]]] = []
    for column in table:
        count, code = int(column["format"].strip()[:-1] or 1), column["format"].strip()[-1]
        if code == "A":
            kinds.append((column["name"], f"S{count}"))
        elif count == 1:
            kinds.append((column["name"], _NUMPY_TYPE[code]))
        else:
            shape = tuple(int(d) for d in reversed(column.get("dim", f"({count})").strip("()").split(",")))
            kinds.append((column["name"], _NUMPY_TYPE[code], shape))
    rows = np.zeros(n, dtype=np.dtype(kinds))
    for name in rows.dtype.names or ():
        if rows[name].dtype.kind == "f":
            rows[name] = -9999.0
    return rows


def table_hdu(table: Iterable[Mapping[str, str]], rows: NDArray[np.void]) -> bytes:
    """Write a binary table as fpC's pipelines do: format, dimensions, name and unit of one column after the other."""
    listed = list(table)
    cards: list[Card] = _table_start(rows, len(listed))
    for i, column in enumerate(listed, 1):
        cards.append((f"TFORM{i}", column["format"]))
        if "dim" in column:
            cards.append((f"TDIM{i}", column["dim"]))
        cards.append((f"TTYPE{i}", column["name"]))
        if "unit" in column:
            cards.append((f"TUNIT{i}", column["unit"]))
    return header_bytes(cards) + data_bytes(rows)


def mwrfits_table_hdu(table: Iterable[Mapping[str, str]], rows: NDArray[np.void]) -> bytes:
    """Write a binary table as IDL's mwrfits does: all names, all formats, all dimensions, with comments between."""
    listed = list(table)
    cards = _table_start(rows, len(listed))
    cards += [*_banner("End of mandatory fields"), ("COMMENT", ""), *_banner("Column names")[1:]]
    cards += [(f"TTYPE{i}", c["name"]) for i, c in enumerate(listed, 1)]
    cards += _banner("Column formats")
    cards += [(f"TFORM{i}", c["format"]) for i, c in enumerate(listed, 1)]
    if any("dim" in c for c in listed):
        cards += _banner("Column dimensions (2 D or greater)")
        cards += [(f"TDIM{i}", c["dim"]) for i, c in enumerate(listed, 1) if "dim" in c]
    return header_bytes(cards) + data_bytes(rows)


def _table_start(rows: NDArray[np.void], n_columns: int) -> list[Card]:
    return [
        ("XTENSION", "BINTABLE"),
        ("BITPIX", 8),
        ("NAXIS", 2),
        ("NAXIS1", rows.dtype.itemsize),
        ("NAXIS2", len(rows)),
        ("PCOUNT", 0),
        ("GCOUNT", 1),
        ("TFIELDS", n_columns),
    ]


def _banner(text: str) -> list[Card]:
    return [("COMMENT", ""), ("COMMENT", f" *** {text} ***"), ("COMMENT", "")]
