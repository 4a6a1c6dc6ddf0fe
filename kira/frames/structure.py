"""The structure of plain FITS files, read quickly: headers, where their data lie, columns of binary tables.

For the few kinds of file that SDSS's pipelines wrote. What is unusual is refused or marked, never guessed: for frames
astropy is asked then, and a companion that cannot be read is not used.
"""

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from kira.frames.integrity import FITS_BLOCK, FITS_MAGIC

CARD = 80
_END = b"END".ljust(CARD)
_MOST_HEADER_BYTES = 100 * FITS_BLOCK
"""Eight times the longest header among SDSS's files; what has no END within it is not searched further."""
_COMMENTARY = frozenset(("COMMENT ", "HISTORY ", "        "))
_VALUE = re.compile(
    r" *(?:'(?P<text>(?:[^']|'')*)'|(?P<whole>[+-]?\d+)|(?P<real>[+-]?\d+\.\d*(?:E[+-]?\d+)?)|(?P<truth>[TF]))"
    r" *(?:/.*)?",
    re.ASCII,
)
_FORM = re.compile(r"(\d*)([LBIJKAEDP])(?:[A-Z]?\(\d*\))?", re.ASCII)
_TYPES = {"L": "S1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}


class Irregular(Exception):
    """Bytes that are not what SDSS's pipelines wrote; the text says in what, without a full stop."""


@dataclass(frozen=True)
class Hdu:
    """One header and data unit.

    Parameters
    ----------
    header : bytes
        All cards without END.
    cards : dict of str to str
        What stands behind `= ` by keyword; of keywords that stand twice the first, as astropy reads it.
    data : memoryview
        Without padding; not copied.
    regular : bool
        Every byte is printable ASCII, every card a keyword with a value or a commentary, and none stands twice.
    """

    header: bytes = field(repr=False)
    cards: dict[str, str]
    data: memoryview = field(repr=False)
    regular: bool

    def get(self, keyword: str, default: Any = None) -> Any:
        """Value of a card: str, int, float or bool, or the default where there is none.

        Raises
        ------
        Irregular
            If the value is none of the four in its simple form.
        """
        card = self.cards.get(keyword)
        if card is None:
            return default
        match = _VALUE.fullmatch(card)
        if not match:
            raise Irregular(f"its {keyword} is not a plain value")
        kind = match.lastgroup
        text = match[kind] if kind else ""
        if kind == "text":
            return text.replace("''", "'").rstrip()
        if kind == "whole":
            return int(text)
        return float(text) if kind == "real" else text == "T"

    def whole(self, keyword: str, default: int | None = None) -> int:
        """Whole number of a card.

        Raises
        ------
        Irregular
            If it is not there and has no default, or is something else.
        """
        value = self.get(keyword, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise Irregular(f"its {keyword} is not a whole number")
        return value


def read_hdus(content: bytes) -> list[Hdu]:
    """Split a plain FITS file into its HDUs, and hold what the headers promise against the bytes that are there.

    Parameters
    ----------
    content : bytes
        The whole file.

    Returns
    -------
    list of Hdu

    Raises
    ------
    Irregular
        If it does not begin as FITS, a header has no end, or the headers promise more or less than there is.
    """
    if not content.startswith(FITS_MAGIC):
        raise Irregular("it does not begin as plain FITS does")
    found: list[Hdu] = []
    view, start = memoryview(content), 0
    while start < len(content):
        if found and not content.startswith(b"XTENSION=", start):
            raise Irregular("bytes follow that belong to no HDU")
        end = _end(content, start)
        cards, regular = _cards(content[start:end])
        begin = _next_block(end + CARD)
        hdu = Hdu(content[start:end], cards, view[begin:begin], regular and not content[end + CARD : begin].strip(b" "))
        size = _data_size(hdu)
        start = _next_block(begin + size)
        if start > len(content):
            raise Irregular("it is cut short")
        found.append(Hdu(hdu.header, cards, view[begin : begin + size], hdu.regular))
    return found


def _next_block(position: int) -> int:
    return -(-position // FITS_BLOCK) * FITS_BLOCK


def _end(content: bytes, start: int) -> int:
    """Position of a header's END card."""
    position = start
    while (position := content.find(_END, position, start + _MOST_HEADER_BYTES)) >= 0:
        if (position - start) % CARD == 0:
            return position
        position += 1
    raise Irregular("a header has no end")


def _cards(header: bytes) -> tuple[dict[str, str], bool]:
    text = header.decode("latin-1")
    cards: dict[str, str] = {}
    regular = text.isascii() and text.isprintable()
    for i in range(0, len(text), CARD):
        keyword = text[i : i + 8]
        if keyword in _COMMENTARY:
            continue
        name = keyword.rstrip(" ")
        if text[i + 8 : i + 10] != "= " or name in cards:
            regular = False
        else:
            cards[name] = text[i + 10 : i + CARD]
    return cards, regular


def _data_size(hdu: Hdu) -> int:
    """Bytes of an HDU's data without padding (FITS standard 4.0, equation 2)."""
    axes = [hdu.whole(f"NAXIS{i}") for i in range(1, hdu.whole("NAXIS") + 1)] if hdu.whole("NAXIS") < 10 else [-1]
    if min(axes, default=0) < 0 or hdu.whole("PCOUNT", 0) < 0 or "GROUPS" in hdu.cards:
        raise Irregular("a header does not say how many data there are")
    elements = 1 if axes else 0
    for axis in axes:
        elements *= axis
    return abs(hdu.whole("BITPIX")) // 8 * hdu.whole("GCOUNT", 1) * (hdu.whole("PCOUNT", 0) + elements)


@dataclass(frozen=True)
class Table:
    """A binary table.

    Parameters
    ----------
    hdu : Hdu

    Raises
    ------
    Irregular
        On reading: if it is no binary table, has columns of a kind that SDSS's files have not, or lacks one.
    """

    hdu: Hdu

    @cached_property
    def _columns(self) -> dict[str, tuple[str, int, int]]:
        """Format code, how many values and byte offset of each column by its name in lower case."""
        hdu = self.hdu
        if hdu.get("XTENSION") != "BINTABLE" or (hdu.whole("BITPIX"), hdu.whole("NAXIS")) != (8, 2):
            raise Irregular("an HDU is not the binary table that belongs there")
        columns: dict[str, tuple[str, int, int]] = {}
        offset = 0
        for i in range(1, hdu.whole("TFIELDS") + 1):
            match = _FORM.fullmatch(str(hdu.get(f"TFORM{i}")).strip())
            if not match or any(f"{key}{i}" in hdu.cards for key in ("TSCAL", "TZERO", "TNULL")):
                raise Irregular(f"column {i} of a table is of a kind that SDSS's files do not have")
            count, code = int(match[1] or 1), match[2]
            columns.setdefault(str(hdu.get(f"TTYPE{i}")).strip().lower(), (code, count, offset))
            offset += count * (1 if code == "A" else 8 if code == "P" else np.dtype(_TYPES[code]).itemsize)
        if offset != hdu.whole("NAXIS1"):
            raise Irregular("a table's columns are not as wide as its rows")
        return columns

    def __len__(self) -> int:
        return self.hdu.whole("NAXIS2")

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._columns

    def column(self, name: str) -> npt.NDArray[Any]:
        """Values of a column, in native byte order.

        Parameters
        ----------
        name : str
            In small or capital letters: both occur for the same columns.

        Returns
        -------
        ndarray
            Shape (rows, values a row). Of text (`A`) bytes, shape (rows, 1). Of arrays that lie in the heap (`P`)
            int32: how many elements, and at which byte of the heap.
        """
        if name not in self:
            raise Irregular(f"it has no column {name}")
        code, count, offset = self._columns[name.lower()]
        if code == "A":
            kind, count = np.dtype(f"S{max(count, 1)}"), 1
        else:
            kind, count = (np.dtype(">i4"), 2 * count) if code == "P" else (np.dtype(_TYPES[code]), count)
        width, rows = self.hdu.whole("NAXIS1"), len(self)
        if rows == 0 or width * rows > self.hdu.data.nbytes:
            raise Irregular("a table has no rows")
        values = np.ndarray((rows, count), kind, self.hdu.data, offset, (width, kind.itemsize))
        return values.astype(kind.newbyteorder("="))

    @property
    def heap(self) -> memoryview:
        """What lies behind the rows."""
        size = self.hdu.whole("NAXIS1") * len(self)
        return self.hdu.data[self.hdu.whole("THEAP", size) :]
