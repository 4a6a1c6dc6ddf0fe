"""fpM: which pixels SDSS's pipeline (photo) interpolated, found saturated, or gave another mark.

A file has one binary table for each of ten planes, and last a table of their names. A row is one object of the plane,
a list of spans: three 16-bit numbers each, row and first and last column
(https://data.sdss.org/datamodel/files/PHOTO_REDUX/RERUN/RUN/objcs/CAMCOL/fpM.html).

What the planes mean for finding sources, and why only one of them makes a pixel bad:

=============== ================== ====================================================================================
plane           becomes            because
=============== ================== ====================================================================================
INTERP          `interpolated`     The pixel has a value estimated from its neighbours: bad columns, bleeding trails,
                                   cosmic rays. photo finds objects on such pixels and flags them, and so does the LSST
                                   stack on SDSS frames. Left out they would be holes: on the five frames of run 4192
                                   field 300, SEP then loses 28 of 1,691 sources that the LSST stack confirms, and 8 of
                                   169 that it does not.
CR              `interpolated`     A cosmic ray was there and its pixels were interpolated; all lie in INTERP.
SATUR           `saturated`        The value is no measurement, but masked out it turns a bright star into a ring of
                                   false sources. The star is to be found, and flagged.
GHOST           `bad`              The light is that of a bright star elsewhere, reflected in the camera.
NOTCHECKED      nothing            photo did not look for objects here: a rim of 4 to 6 pixels that its filter needs,
                                   and the cores of bright saturated stars, which it treats apart. The pixels have
                                   values like any others.
OBJECT,         nothing            What photo found here. CATOBJECT and SUBTRACTED are empty in an fpC's mask.
BRIGHTOBJECT,
BINOBJECT,
CATOBJECT,
SUBTRACTED
=============== ================== ====================================================================================
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kira.frames.frame import COLUMNS, ROWS
from kira.frames.structure import Hdu, Irregular, Table, read_hdus

Mask = npt.NDArray[np.bool_]

_PREFIX = "S_MASK_"
_BYTES_A_SPAN = 6
_MOST_MARKS = 10 * ROWS * COLUMNS
"""Pixels marked in one plane, overlaps counted each time: a mask of more is damaged, and would take much memory."""


@dataclass(frozen=True, eq=False)
class Planes:
    """What fpM says of the pixels, in the terms of this module's table; three arrays of bool, shape (1489, 2048)."""

    bad: Mask
    saturated: Mask
    interpolated: Mask


def read_mask(content: bytes) -> tuple[dict[str, int], Planes]:
    """Read an fpM file.

    Parameters
    ----------
    content : bytes
        Plain FITS.

    Returns
    -------
    dict of str to int
        RUN, CAMCOL and FIELD of its header. The band is in the file's name only.
    Planes

    Raises
    ------
    Irregular
        If it is no fpM file of a whole frame, or damaged.
    """
    hdus = read_hdus(content)
    header = hdus[0]
    if (header.whole("MASKROWS"), header.whole("MASKCOLS")) != (ROWS, COLUMNS):
        raise Irregular("its masks are not of the size of a frame")
    names = Table(hdus[-1])
    planes = {
        name[0].decode("latin-1").strip(): int(value[0])
        for name, value in zip(names.column("attributeName"), names.column("Value"), strict=True)
    }

    def marked(*wanted: str) -> Mask:
        return _paint(_plane(hdus, planes, name) for name in wanted)

    identity = {key: header.whole(key) for key in ("RUN", "CAMCOL", "FIELD")}
    return identity, Planes(bad=marked("GHOST"), saturated=marked("SATUR"), interpolated=marked("INTERP", "CR"))


def _plane(hdus: list[Hdu], planes: dict[str, int], name: str) -> Table:
    """Table of a plane: that of plane 0 is HDU 1, and the names are in the last HDU."""
    number = planes.get(_PREFIX + name, -1)
    if not 0 <= number < len(hdus) - 2:
        raise Irregular(f"it has no plane {name}")
    return Table(hdus[number + 1])


def _paint(tables: Iterable[Table]) -> Mask:
    """Mark the pixels of all spans of some planes."""
    mask = np.zeros(ROWS * COLUMNS, dtype=np.bool_)
    for table in tables:
        if not len(table):
            continue
        row, first, last = _spans(table)
        if not ((row >= 0) & (row < ROWS) & (first >= 0) & (first <= last) & (last < COLUMNS)).all():
            raise Irregular("a span lies outside the frame")
        lengths = last - first + 1
        total = int(lengths.sum())
        if total > _MOST_MARKS:
            raise Irregular("it marks more pixels than a frame has")
        # The pixels of all spans in one array: a running number, less the number at which each span began.
        begins = row * COLUMNS + first - (np.cumsum(lengths) - lengths)
        mask[np.repeat(begins, lengths) + np.arange(total)] = True
    return mask.reshape(ROWS, COLUMNS)


def _spans(table: Table) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Row, first and last column of all spans of a plane."""
    # An object's offset from its parent's region; in the file of a whole frame the parent is the frame.
    if table.column("row0").any() or table.column("col0").any():
        raise Irregular("an object of a mask is not placed in the frame")
    heap = table.heap
    pieces = []
    for spans, (size, offset) in zip(table.column("nspan")[:, 0].tolist(), table.column("s").tolist(), strict=True):
        if size == 0:  # some files have objects without spans
            continue
        if size != spans * _BYTES_A_SPAN or offset < 0 or size < 0 or offset + size > heap.nbytes:
            raise Irregular("a list of spans is not where its table says")
        pieces.append(heap[offset : offset + size])
    numbers = np.frombuffer(b"".join(pieces), ">i2").reshape(-1, 3).astype(np.int64)
    return numbers[:, 0], numbers[:, 1], numbers[:, 2]
