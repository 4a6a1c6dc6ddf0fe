"""A catalogue held against a reference of the same patch of sky: completeness, positions, magnitudes."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from kira.errors import InvalidInput

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
_ARCSEC = 180 * 3600 / np.pi


@dataclass(frozen=True)
class Matched:
    """For each reference source the nearest one of the catalogue.

    Parameters
    ----------
    index : numpy.ndarray of int64, shape (n,)
        Row of the catalogue.
    separation : numpy.ndarray of float64, shape (n,)
        Arcsec.
    within : numpy.ndarray of bool, shape (n,)
        Whether it is near enough to be the same.
    """

    index: npt.NDArray[np.int64]
    separation: Floats
    within: Bools


def match(ra: Floats, dec: Floats, reference_ra: Floats, reference_dec: Floats, radius: float) -> Matched:
    """Find the nearest source to each of a reference.

    Parameters
    ----------
    ra, dec, reference_ra, reference_dec : numpy.ndarray of float64
        Degrees. All pairs are compared: for the sources of a frame, not of a survey.
    radius : float
        Arcsec.

    Raises
    ------
    InvalidInput
        If one side is empty.
    """
    if not len(ra) or not len(reference_ra):
        raise InvalidInput("There is nothing to match: the catalogue or the reference has no source.")
    ours, theirs = _directions(ra, dec), _directions(reference_ra, reference_dec)
    # The largest product is the nearest, but it says little of how near: that is for the chord.
    index = np.argmax(theirs @ ours.T, axis=1)
    separation = 2 * np.arcsin(np.linalg.norm(theirs - ours[index], axis=1) / 2) * _ARCSEC
    return Matched(index, separation, separation <= radius)


def _directions(ra: Floats, dec: Floats) -> Floats:
    a, d = np.radians(np.asarray(ra, dtype=float)), np.radians(np.asarray(dec, dtype=float))
    # A source without coordinates is near to none.
    vectors = np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=-1)
    return np.where(np.isfinite(vectors), vectors, 0.0)


@dataclass(frozen=True)
class Recovery:
    """How many of the reference sources of a range of magnitudes were found."""

    brighter: float
    fainter: float
    found: int
    there: int

    @property
    def fraction(self) -> float:
        """Found of those that are there; NaN where there are none."""
        return self.found / self.there if self.there else float("nan")


def completeness(matched: Matched, magnitude: Floats, edges: Sequence[float]) -> list[Recovery]:
    """Count reference sources, and those found, between neighbouring magnitudes of `edges`."""
    bins = pairwise(edges)
    chosen = [(low, high, (magnitude > low) & (magnitude <= high)) for low, high in bins]
    return [Recovery(low, high, int((matched.within & one).sum()), int(one.sum())) for low, high, one in chosen]


@dataclass(frozen=True)
class Offset:
    """Median of a difference, its scatter (1.4826 median absolute deviations), and of how many."""

    median: float
    scatter: float
    number: int

    @property
    def error(self) -> float:
        """Of the median, if the differences are normal: 1.2533 scatter / sqrt(n)."""
        return 1.2533 * self.scatter / float(np.sqrt(self.number)) if self.number else float("nan")


def offset(difference: Any) -> Offset:
    """Median and scatter of differences; what is not finite is left out."""
    values = np.asarray(difference, dtype=float)
    values = values[np.isfinite(values)]
    if not len(values):
        return Offset(float("nan"), float("nan"), 0)
    median = float(np.median(values))
    return Offset(median, float(1.4826 * np.median(np.abs(values - median))), len(values))


def astrometry(
    ra: Floats, dec: Floats, reference_ra: Floats, reference_dec: Floats, matched: Matched
) -> tuple[Offset, Offset]:
    """How far sources lie east and north of their references, arcsec.

    Parameters
    ----------
    ra, dec, reference_ra, reference_dec : numpy.ndarray of float64
        As they were matched.
    matched : Matched
    """
    near = matched.within
    dec_, ra_ = dec[matched.index][near], ra[matched.index][near]
    east = ((ra_ - reference_ra[near] + 180) % 360 - 180) * np.cos(np.radians(reference_dec[near])) * 3600
    return offset(east), offset((dec_ - reference_dec[near]) * 3600)


def zero_point(flux: Floats, reference_magnitude: Floats) -> Offset:
    """Pogson magnitude of fluxes in nanomaggies minus those of the reference, of matched sources in the same order."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return offset(22.5 - 2.5 * np.log10(flux) - reference_magnitude)
