"""The rows of a batch, matched with the frames that were expected."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kira.catalog.kinds import is_survey
from kira.errors import InvalidInput
from kira.sdss import BANDS, FrameId, Release
from kira.validation.thresholds import Thresholds

# Bits that each part of an identity takes in a frame's key; release is on top. 5 + 20 + 14 + 3 + 14 + 3 = 59 bits.
_KEY_PARTS = (("run", 20), ("rerun", 14), ("camcol", 3), ("field", 14), ("band", 3))

_FLAGS = {
    False: ("flag_extract", "flag_circle", "flag_kron", "flag_ellipse"),
    True: ("flags", "flags_win", "flags_auto"),
}
"""Columns of flag bits, by whether the catalogue is of kind `survey`."""


@dataclass(frozen=True)
class ExpectedFrame:
    """What extraction said of a frame that it finished.

    Parameters
    ----------
    frame : FrameId
    sources : int
        Number of sources, 0 included.
    background, rms : float
        Global background and its rms, in the unit of the frame's pixels.
    """

    frame: FrameId
    sources: int
    background: float
    rms: float


@dataclass(frozen=True, eq=False)
class Batch:
    """What the checks read."""

    table: pa.Table
    expected: tuple[ExpectedFrame, ...]
    thresholds: Thresholds

    def column(self, name: str) -> npt.NDArray[np.float64]:
        """Values of a column that is a number, read once."""
        if name not in self._columns:
            self._columns[name] = self.table[name].to_numpy()
        return self._columns[name]

    @cached_property
    def _columns(self) -> dict[str, npt.NDArray[np.float64]]:
        return {}

    @cached_property
    def survey(self) -> bool:
        """Whether the catalogue is of kind `survey`."""
        return is_survey(self.table.schema)

    @cached_property
    def flags(self) -> npt.NDArray[np.int64]:
        """All flag bits of each source, whichever part of it they are of."""
        names = _FLAGS[self.survey]
        values = np.zeros(self.table.num_rows, dtype=np.int64)
        for name in names:
            values |= self.column(name).astype(np.int64)
        return values

    @cached_property
    def bands(self) -> npt.NDArray[np.int64]:
        """Band of each expected frame, as its place in u g r i z."""
        return np.array([BANDS.index(e.frame.band) for e in self.expected], dtype=np.int64)

    @cached_property
    def row_bands(self) -> npt.NDArray[np.int64]:
        """Band of each row, as its place in u g r i z; -1 where its frame is not expected."""
        return np.where(self.index >= 0, np.append(self.bands, -1)[self.index], -1)

    @cached_property
    def _order(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Rows in the order of their frames, and where each frame begins among them, with the end of the last."""
        order = np.argsort(self.index, kind="stable")
        return order, np.searchsorted(self.index[order], np.arange(len(self.expected) + 1))

    def rows_of(self, frame: int) -> npt.NDArray[np.int64]:
        """Rows of an expected frame, by its place in `expected`."""
        order, begins = self._order
        return order[begins[frame] : begins[frame + 1]]

    @cached_property
    def index(self) -> npt.NDArray[np.int64]:
        """Place in `expected` of each row's frame; -1 where it is not expected."""
        if not self.expected:
            return np.full(self.table.num_rows, -1)
        keys = np.array([_frame_key(e.frame) for e in self.expected])
        order = np.argsort(keys, kind="stable")
        rows = _row_keys(self.table)
        place = np.minimum(np.searchsorted(keys[order], rows), len(keys) - 1)
        return np.where(keys[order][place] == rows, order[place], -1)

    @cached_property
    def counts(self) -> npt.NDArray[np.int64]:
        """Rows of each expected frame."""
        return np.bincount(self.index[self.index >= 0], minlength=len(self.expected))

    def first_row(self, bad: npt.NDArray[np.bool_]) -> tuple[int, str]:
        """First row of those that are bad, in the order of `expected`, and its frame."""
        rows = np.flatnonzero(bad)
        row = int(rows[np.argmin(self.index[rows])])
        return row, self.frame_of(row)

    def frame_of(self, row: int) -> str:
        """Canonical text form of a row's frame, which may be one that cannot be."""
        r = self.table.slice(row, 1).to_pylist()[0]
        return f"{r['release']}-{r['rerun']}-{r['run']:06d}-{r['camcol']}-{r['field']:04d}-{r['band']}"


def _frame_key(frame: FrameId) -> int:
    key = frame.release.number
    for name, bits in _KEY_PARTS:
        value = BANDS.index(frame.band) if name == "band" else getattr(frame, name)
        key = key << bits | value
    return key


def _row_keys(table: pa.Table) -> npt.NDArray[np.int64]:
    """One number for each row's frame, as `_frame_key`; negative where there can be no such frame."""
    key = _coded(table["release"], {str(r): r.number for r in _releases(table)})
    impossible = key < 0
    for name, bits in _KEY_PARTS:
        if name == "band":
            value = _coded(table["band"], {band: i for i, band in enumerate(BANDS)})
        else:
            value = table[name].to_numpy().astype(np.int64)
        impossible |= (value < 0) | (value >= 1 << bits)
        key = key << bits | value
    return np.where(impossible, -1, key)


def _releases(table: pa.Table) -> list[Release]:
    found = []
    for text in pc.unique(table["release"]).to_pylist():
        try:
            found.append(Release.parse(text))
        except InvalidInput:
            continue  # its rows get no key, and so are unexpected
    return found


def _coded(column: pa.ChunkedArray, codes: dict[str, int]) -> npt.NDArray[np.int64]:
    """Replace texts by their codes, -1 where there is none."""
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    meaning = np.array([codes.get(text, -1) for text in encoded.dictionary.to_pylist()] or [-1], dtype=np.int64)
    values: npt.NDArray[np.int64] = meaning[encoded.indices.to_numpy(zero_copy_only=False)]
    return values
