"""HEALPix pixels: numbers of positions, pixels as parts of the sky, and how many hold a catalogue in even shares."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cdshealpix
import numpy as np
import numpy.typing as npt
from astropy import units
from astropy.coordinates import Latitude, Longitude

from kira.catalog.cone import Cone
from kira.errors import InvalidInput

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

DEEPEST = 29
"""Order whose pixels, of 0.4 mas, are numbered by the 64 bits of an integer."""
_BASE = 12
_COARSE = 2
"""Up to this order pixels are so large that a circle round one says little."""


def pixel_numbers(ra: Floats, dec: Floats, order: int = DEEPEST) -> Integers:
    """Nested HEALPix pixels of positions.

    Parameters
    ----------
    ra, dec : numpy.ndarray of float64, shape (n,)
        Degrees, finite.
    order : int

    Returns
    -------
    numpy.ndarray of int64, shape (n,)
    """
    if not len(ra):
        return np.zeros(0, dtype=np.int64)
    # Beyond a pole, or the whole turn, is where rounding may have put a number.
    longitude, latitude = Longitude(ra % 360, units.deg), Latitude(np.clip(dec, -90, 90), units.deg)
    # One thread: what calls this may be one of several.
    found = cdshealpix.lonlat_to_healpix(longitude, latitude, order, num_threads=1)
    return np.asarray(found).astype(np.int64)


@dataclass(frozen=True)
class Pixel:
    """A pixel of the nested scheme.

    Parameters
    ----------
    order, number : int
    """

    order: int
    number: int

    def may_hold(self, ra: tuple[float, float] | None, dec: tuple[float, float] | None) -> bool:
        """Whether positions within such ranges (degrees) can be in it."""
        return self.circle is None or self.circle.may_hold(ra, dec)

    @cached_property
    def circle(self) -> Cone | None:
        """A circle that holds it; None for the largest pixels."""
        if self.order <= _COARSE:
            return None
        number = np.array([self.number], dtype=np.uint64)
        ra, dec = (_degrees(one)[0] for one in cdshealpix.healpix_to_lonlat(number, self.order))
        # Points along the edges, which bend outwards between their corners.
        edge = [_degrees(one).ravel() for one in cdshealpix.vertices(number, self.order, step=4)]
        axis = Cone(ra, dec, 180.0)
        return Cone(ra, dec, 1.05 * float(axis.separation(edge[0], edge[1]).max()) / 3600)

    def __str__(self) -> str:
        return f"HEALPix order {self.order} pixel {self.number}"


@dataclass(frozen=True)
class Tiling:
    """Pixels of several orders that do not overlap, as one part of the sky.

    Parameters
    ----------
    pixels : tuple of Pixel
        In the order of the deepest pixels in them.
    """

    pixels: tuple[Pixel, ...]

    def places(self, numbers: Integers) -> Integers:
        """In which of the pixels deepest pixels lie.

        Parameters
        ----------
        numbers : numpy.ndarray of int64, shape (n,)

        Returns
        -------
        numpy.ndarray of int64, shape (n,)
            Indices into `pixels`; -1 where they lie in none.
        """
        found = np.searchsorted(self._begin, numbers, side="right") - 1
        return np.where((found >= 0) & (numbers < self._end[found]), found, -1)

    def inside(self, ra: Floats, dec: Floats) -> npt.NDArray[np.bool_]:
        """Which positions (degrees) are in it; not those that are NaN."""
        mask = np.isfinite(ra) & np.isfinite(dec)
        mask[mask] = self.places(pixel_numbers(ra[mask], dec[mask])) >= 0
        return mask

    def may_hold(self, ra: tuple[float, float] | None, dec: tuple[float, float] | None) -> bool:
        """Whether positions within such ranges (degrees) can be in it."""
        return any(pixel.may_hold(ra, dec) for pixel in self.pixels)

    @cached_property
    def _begin(self) -> Integers:
        return np.array([pixel.number << 2 * (DEEPEST - pixel.order) for pixel in self.pixels], dtype=np.int64)

    @cached_property
    def _end(self) -> Integers:
        return np.array([pixel.number + 1 << 2 * (DEEPEST - pixel.order) for pixel in self.pixels], dtype=np.int64)

    def __str__(self) -> str:
        return f"{len(self.pixels)} HEALPix pixels"


@dataclass
class Histogram:
    """How many positions there are in each pixel of one order, those without any left out.

    Parameters
    ----------
    order : int
    pixels : numpy.ndarray of int64, shape (n,)
        Ascending.
    counts : numpy.ndarray of int64, shape (n,)
    """

    order: int
    pixels: Integers
    counts: Integers

    @classmethod
    def of(cls, order: int, positions: Iterable[tuple[Floats, Floats]]) -> "Histogram":
        """Count positions (right ascensions and declinations, degrees, finite) that come in pieces."""
        found = cls(order, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
        for ra, dec in positions:
            numbers = np.concatenate([found.pixels, pixel_numbers(ra, dec, order)])
            weights = np.concatenate([found.counts, np.ones(len(ra), dtype=np.int64)])
            found.pixels, places = np.unique(numbers, return_inverse=True)
            found.counts = np.bincount(places, weights, len(found.pixels)).astype(np.int64)
        return found

    def coarser(self, order: int) -> "Histogram":
        """The same for a lower order."""
        parents = self.pixels >> 2 * (self.order - order)
        pixels, places = np.unique(parents, return_inverse=True)
        return Histogram(order, pixels, np.bincount(places, self.counts, len(pixels)).astype(np.int64))

    def partition(self, most: int) -> list[tuple[Pixel, int]]:
        """Pixels, as large as may be, none with more than so many positions, and their numbers of positions.

        In the order of the deepest pixels in them.

        Raises
        ------
        InvalidInput
            If a pixel of this order has more.
        """
        if self.counts.max(initial=0) > most:
            raise InvalidInput(
                f"{int(self.counts.max()):,} sources lie in one HEALPix pixel of order {self.order}: no partition can "
                f"have at most {most:,}."
            )
        levels = [self.coarser(order) for order in range(self.order)] + [self]
        counts = [dict(zip(level.pixels.tolist(), level.counts.tolist(), strict=True)) for level in levels]
        return [found for base in range(_BASE) for found in _split(counts, 0, base, most)]


def _split(counts: list[dict[int, int]], order: int, pixel: int, most: int) -> Iterator[tuple[Pixel, int]]:
    count = counts[order].get(pixel, 0)
    if count > most:
        for child in range(4 * pixel, 4 * pixel + 4):
            yield from _split(counts, order + 1, child, most)
    elif count:
        yield Pixel(order, pixel), count


def _degrees(angles: Any) -> Floats:
    return np.asarray(angles.to_value(units.deg), dtype=np.float64)
