"""What was measured of a batch, by band: the table of a report."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from kira.extraction.flags import Flag
from kira.sdss import BANDS, Band
from kira.validation.against import east_north, zero_point_of
from kira.validation.batch import Batch
from kira.validation.comparison import Comparisons, bright_found, depth, recoveries, spurious_part

DOUBTFUL = (
    Flag.TRUNCATED | Flag.DEBLEND_OVERFLOW | Flag.SINGULAR | Flag.NOT_MEASURED | Flag.SATURATED | Flag.MASKED
    | Flag.NEAR_EDGE | Flag.APERTURE_TRUNCATED | Flag.APERTURE_MASKED | Flag.APERTURE_ALL_MASKED
    | Flag.APERTURE_NON_POSITIVE
)  # fmt: skip
"""Bits that make a number of a source doubtful; that it was blended is not one of them."""


@dataclass(frozen=True)
class BandFigures:
    """Numbers of one band; None where they cannot be known.

    Parameters
    ----------
    band : str
    frames, sources : int
    background, rms : float or None
        Medians over frames, in the unit of their pixels.
    sources_per_frame : float or None
        Median.
    flagged, not_finite : float or None
        Part of the sources with a flag that makes a number doubtful, and without a total flux.
    reference : str
        Names of the references, with the number of frames; empty where there is none.
    matched : int
        Bright sources whose offsets are known.
    east, east_scatter, north, north_scatter : float or None
        Catalogue minus reference, arcsec.
    zero_point, zero_point_scatter : float or None
        Catalogue minus reference, mag.
    zero_point_column : str
        What was compared; empty where nothing was.
    zero_point_stars : int
    bright, bright_found : int
        Stars of the reference that should be found, and those that were.
    spurious : float or None
        Part of the sources that the reference, a photoObj or a truth, does not have.
    depth_95, depth_50 : float or None
        Magnitudes at which 95 and 50 % of the reference's stars are found.
    """

    band: Band
    frames: int
    sources: int
    background: float | None
    rms: float | None
    sources_per_frame: float | None
    flagged: float | None
    not_finite: float | None
    reference: str = ""
    matched: int = 0
    east: float | None = None
    east_scatter: float | None = None
    north: float | None = None
    north_scatter: float | None = None
    zero_point: float | None = None
    zero_point_scatter: float | None = None
    zero_point_column: str = ""
    zero_point_stars: int = 0
    bright: int = 0
    bright_found: int = 0
    spurious: float | None = None
    depth_95: float | None = None
    depth_50: float | None = None


def figures(comparisons: Comparisons) -> tuple[BandFigures, ...]:
    """Numbers of each band that has frames, in the order u g r i z."""
    batch = comparisons.batch
    return tuple(
        _of_band(comparisons, batch, band, k) for k, band in enumerate(BANDS) if (batch.bands == k).any()
    )  # fmt: skip


def _of_band(comparisons: Comparisons, batch: Batch, band: Band, k: int) -> BandFigures:
    chosen = np.flatnonzero(batch.bands == k)
    rows = batch.row_bands == k
    total = batch.column("flux_auto" if batch.survey else "flux_ellipse")[rows]
    compared = comparisons.bands.get(band, ())
    values: dict[str, Any] = {}
    if compared:
        east, north = east_north(compared)
        zero, bins = zero_point_of(compared), recoveries(compared, band)
        got, there = bright_found(compared)
        names = Counter(one.reference.name for one in compared)
        values = {
            "reference": _names(names), "matched": east.number,
            "east": _plain(east.median), "east_scatter": _plain(east.scatter),
            "north": _plain(north.median), "north_scatter": _plain(north.scatter),
            "zero_point": _plain(zero.median), "zero_point_scatter": _plain(zero.scatter),
            "zero_point_column": comparisons.column, "zero_point_stars": zero.number,
            "bright": there, "bright_found": got, "spurious": _plain(spurious_part(compared)),
            "depth_95": _plain(depth(bins, 0.95)), "depth_50": _plain(depth(bins, 0.5)),
        }  # fmt: skip
    return BandFigures(
        band, len(chosen), int(rows.sum()),
        _plain(_median([batch.expected[i].background for i in chosen])),
        _plain(_median([batch.expected[i].rms for i in chosen])), _plain(_median(batch.counts[chosen])),
        _plain(_mean((batch.flags[rows] & int(DOUBTFUL)) != 0)), _plain(_mean(~np.isfinite(total))), **values,
    )  # fmt: skip


def _names(counted: Counter[str]) -> str:
    shown = [f"{name} ({n:,} frame{'' if n == 1 else 's'})" for name, n in counted.most_common(3)]
    others = len(counted) - len(shown)
    return ", ".join(shown) + (f" and {others:,} others" if others else "")


def _median(values: Any) -> float:
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    return float(np.median(finite)) if len(finite) else math.nan


def _mean(values: Any) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _plain(value: float) -> float | None:
    """A number that JSON has."""
    return round(float(value), 6) if math.isfinite(value) else None
