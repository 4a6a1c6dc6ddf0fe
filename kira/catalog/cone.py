"""A cone on the sky, as somebody types it, and what is in it."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy import units
from astropy.coordinates import Angle, angular_separation

from kira.errors import InvalidInput
from kira.sdss import SkyRegion
from kira.sdss.quoting import quoted

Floats = npt.NDArray[np.float64]

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_SEXAGESIMAL = re.compile(r"[+-]?\d+([: ]+\d+){1,2}(\.\d*)?", re.ASCII)
_LONGEST, _SIGNS = 40, "°′″"
_SLACK = 1e-6
"""Degrees by which bounds are wider than the cone, so that rounding leaves nothing out."""
_ARCSEC = 3600.0


@dataclass(frozen=True)
class Cone:
    """All directions no further than a radius from an axis.

    Parameters
    ----------
    ra, dec : float
        Of the axis, degrees (ICRS).
    radius : float
        Degrees.

    Raises
    ------
    InvalidInput
        If a number is outside its range.
    """

    ra: float
    dec: float
    radius: float

    def __post_init__(self) -> None:
        SkyRegion("cone", (self.ra, self.dec, self.radius))

    @classmethod
    def parse(cls, ra: str, dec: str, radius: str) -> "Cone":
        """Read three texts: numbers are degrees, and so is what has a unit or is sexagesimal.

        Parameters
        ----------
        ra : str
            `10.5`, `0h42m`, `00:42:00` (in hours, as colons and spaces are read in right ascensions), `10d30m`.
        dec, radius : str
            `-0.3`, `-0:18:00`, `-0d18m`; a radius also as `30arcsec`, `1.5'`.

        Raises
        ------
        InvalidInput
            With one sentence about the first text that is no angle, or out of its range.
        """
        return cls(
            _degrees(ra, "right ascension", units.hourangle), _degrees(dec, "declination", units.deg),
            _degrees(radius, "radius", units.deg),
        )  # fmt: skip

    def separation(self, ra: Floats, dec: Floats) -> Floats:
        """Great-circle distances from the axis.

        Parameters
        ----------
        ra, dec : numpy.ndarray of float64, shape (n,)
            Degrees.

        Returns
        -------
        numpy.ndarray of float64, shape (n,)
            Arcsec; NaN where a coordinate is.
        """
        # Vincenty's formula, which is exact for the nearest neighbours and for antipodes alike.
        found: Floats = angular_separation(
            np.radians(self.ra), np.radians(self.dec), np.radians(ra), np.radians(dec)
        )  # fmt: skip
        return np.degrees(found) * _ARCSEC

    def inside(self, ra: Floats, dec: Floats) -> npt.NDArray[np.bool_]:
        """Which positions (degrees) are in the cone, its rim included; not those that are NaN."""
        mask: npt.NDArray[np.bool_] = self.separation(ra, dec) <= self.radius * _ARCSEC
        return mask

    def may_hold(self, ra: tuple[float, float] | None, dec: tuple[float, float] | None) -> bool:
        """Whether positions within such ranges (lowest and highest, degrees; None if unknown) can be in the cone."""
        if dec and not _overlap(dec, self._dec_range):
            return False
        return not ra or any(_overlap(ra, mine) for mine in self._ra_ranges)

    @cached_property
    def _dec_range(self) -> tuple[float, float]:
        return self.dec - self.radius - _SLACK, self.dec + self.radius + _SLACK

    @cached_property
    def _ra_ranges(self) -> tuple[tuple[float, float], ...]:
        """One range, or two where the cone lies across 0."""
        radius = self.radius + _SLACK
        if abs(self.dec) + radius >= 90:  # a pole is inside
            return ((0.0, 360.0),)
        # Where a meridian touches the cone: a right spherical triangle with the pole.
        half = np.degrees(np.arcsin(np.sin(np.radians(radius)) / np.cos(np.radians(self.dec)))) + _SLACK
        low, high = float(self.ra % 360 - half), float(self.ra % 360 + half)
        if low < 0:
            return (0.0, high), (low + 360, 360.0)
        if high > 360:
            return (0.0, high - 360), (low, 360.0)
        return ((low, high),)

    def __str__(self) -> str:
        return str(SkyRegion("cone", (self.ra, self.dec, self.radius)))


def _overlap(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] <= b[1] and b[0] <= a[1]


def _degrees(text: str, what: str, sexagesimal: Any) -> float:
    text = text.strip()
    if len(text) <= _LONGEST and all(one.isascii() or one in _SIGNS for one in text):
        if _NUMBER.fullmatch(text):
            return float(text)
        try:
            unit = sexagesimal if _SEXAGESIMAL.fullmatch(text) else units.deg
            return float(Angle(text, unit=unit).to_value(units.deg))
        except (ValueError, TypeError):
            pass
    raise InvalidInput(f"{what}: {quoted(text)} is not an angle; write degrees, 00:42:44.3, 10d41m or 30arcsec.")
