"""Which sources of a catalogue somebody wants: of which frames, where on the sky."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kira.sdss import BANDS, Numbers, Selection
from kira.sdss.identifiers import Band

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
_ALL = Numbers()


class Region(Protocol):
    """A part of the sky; positions and ranges are in degrees."""

    def inside(self, ra: Floats, dec: Floats) -> Mask:
        """Which positions are in it."""

    def may_hold(self, ra: tuple[float, float] | None, dec: tuple[float, float] | None) -> bool:
        """Whether positions within such ranges can be in it; None is an unknown range."""


@dataclass(frozen=True)
class Query:
    """What is wanted of a catalogue; without anything, all of it.

    Parameters
    ----------
    runs, camcols, fields : Numbers
        Empty means all.
    bands : tuple of str
        Some of u, g, r, i, z.
    primary : bool
        Only sources that are in their own field's part of the overlap with the next one; schema 2 knows them.
    region : Region, optional
    """

    runs: Numbers = _ALL
    camcols: Numbers = _ALL
    fields: Numbers = _ALL
    bands: tuple[Band, ...] = BANDS
    primary: bool = False
    region: Region | None = None

    @classmethod
    def parse(
        cls, runs: str = "", camcols: str = "", fields: str = "", bands: str = "", *, primary: bool = False,
        region: Region | None = None,
    ) -> "Query":  # fmt: skip
        """Read the texts of a command line: as those of `Selection.parse`, from which this takes its sentences too."""
        found = Selection.parse("dr1", runs, camcols, fields, bands)
        return cls(found.runs, found.camcols, found.fields, found.bands, primary, region)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that have to be looked at to tell which rows are wanted."""
        names = [name for name, numbers in self._numbers.items() if not numbers.everything]
        names += ["band"] * (self.bands != BANDS) + ["primary"] * self.primary
        return (*names, "ra", "dec") if self.region else tuple(names)

    def may_hold(self, ranges: Mapping[str, tuple[Any, Any]]) -> bool:
        """Whether rows can be wanted, by the lowest and highest value of some of their columns."""
        for name, numbers in self._numbers.items():
            if name in ranges and not numbers.everything:
                low, high = ranges[name]
                if not any(first <= high and low <= last for first, last in numbers.ranges):
                    return False
        if "band" in ranges and not any(ranges["band"][0] <= band <= ranges["band"][1] for band in self.bands):
            return False
        if self.primary and ranges.get("primary") == (False, False):
            return False
        return self.region is None or self.region.may_hold(ranges.get("ra"), ranges.get("dec"))

    def mask(self, table: pa.Table) -> Mask:
        """Which rows are wanted, of a table with at least `columns`."""
        wanted: Mask = np.ones(table.num_rows, dtype=bool)
        for name, numbers in self._numbers.items():
            if not numbers.everything:
                values = _values(table[name], -1)
                wanted &= np.any([(values >= low) & (values <= high) for low, high in numbers.ranges], axis=0)
        if self.bands != BANDS:
            wanted &= _values(pc.is_in(table["band"].cast(pa.string()), pa.array(self.bands)), False)
        if self.primary:
            wanted &= _values(table["primary"], False)
        if self.region is not None and wanted.any():
            wanted &= self.region.inside(_values(table["ra"], np.nan), _values(table["dec"], np.nan))
        return wanted

    @property
    def _numbers(self) -> dict[str, Numbers]:
        return {"run": self.runs, "camcol": self.camcols, "field": self.fields}

    def __str__(self) -> str:
        told = [f"{name} {numbers}" for name, numbers in self._numbers.items() if not numbers.everything]
        told += [f"bands {''.join(self.bands)}"] * (self.bands != BANDS) + ["primary"] * self.primary
        return "; ".join(([str(self.region)] if self.region else []) + told) or "all"


def _values(column: pa.ChunkedArray, missing: Any) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = pc.fill_null(column, missing).to_numpy()
    return found
