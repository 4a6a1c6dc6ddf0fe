"""Where the fields of a release are on the sky, and which of them may touch a patch of it."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kira.errors import InvalidInput
from kira.sdss.sky import SkyRegion

PIXEL_DEGREES = 0.396 / 3600
FIELD_RADIUS = (float(np.hypot(2048, 1489)) / 2 + 20) * PIXEL_DEGREES
"""From a field's centre to its corners, 0.141 degrees; with 20 pixels for the bands, whose CCDs lie a little apart."""

Floats = NDArray[np.float64]
FieldsByPlace = dict[tuple[int, int], frozenset[int]]
"""Numbers of fields by run and camcol."""
_KINDS = (np.int32, np.int16, np.int8, np.int16)


def touches(region: SkyRegion, ra: Floats, dec: Floats, radius: float = FIELD_RADIUS) -> NDArray[np.bool_]:
    """Whether circles of a radius about some centres touch a region; all in degrees.

    Near a box's corners a circle that stays outside may count: declination and right ascension are compared each for
    itself, with the most that the circle reaches in either.
    """
    if region.kind == "cone":
        # Here because it costs a second, which a form that is only looked at need not wait for.
        from astropy.coordinates import angular_separation

        to = np.radians(region.numbers)
        apart = angular_separation(np.radians(ra), np.radians(dec), to[0], to[1])
        return np.asarray(apart <= to[2] + np.radians(radius))
    ra_from, ra_to, dec_from, dec_to = region.numbers
    near = (dec >= dec_from - radius) & (dec <= dec_to + radius)
    # A circle of radius r about declination d reaches asin(sin r / cos d) to either side, all round at a pole.
    at_pole = np.abs(dec) + radius >= 90
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.degrees(np.arcsin(np.minimum(1.0, np.sin(np.radians(radius)) / np.cos(np.radians(dec)))))
    width = (ra_to - ra_from) % 360 or 360.0
    beside = (ra - ra_from + reach) % 360 <= width + 2 * reach
    return np.asarray(near & (at_pole | (width + 2 * reach >= 360) | beside))


@dataclass(frozen=True, eq=False)
class FieldPositions:
    """Where the fields of a release are; arrays of equal length, one value a field.

    Parameters
    ----------
    run, rerun, camcol, field : ndarray of int
    ra, dec : ndarray of float64
        Of the field's centre, degrees (ICRS).
    """

    run: NDArray[np.int32]
    rerun: NDArray[np.int16]
    camcol: NDArray[np.int8]
    field: NDArray[np.int16]
    ra: Floats
    dec: Floats

    @classmethod
    def read(cls, path: Path) -> "FieldPositions":
        """Read the six columns that are needed from a `window_flist.fits`, whatever others it has.

        Raises
        ------
        InvalidInput
            If it is no such file, or not whole.
        """
        from astropy.io import fits
        from astropy.utils.exceptions import AstropyWarning

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", AstropyWarning)  # that is how astropy says that a file is cut short
                with fits.open(path, memmap=True) as hdus:
                    rows = hdus[1].data
                    ra, dec = (np.array(rows[name], dtype=np.float64) for name in ("RA", "DEC"))
                    here = np.isfinite(ra) & np.isfinite(dec)
                    numbers = (
                        np.asarray(rows[name])[here].astype(np.int64) for name in ("RUN", "RERUN", "CAMCOL", "FIELD")
                    )
                    run, rerun, camcol, field = (_narrow(n, k) for n, k in zip(numbers, _KINDS, strict=True))
        except (OSError, LookupError, ValueError, TypeError, AttributeError, AstropyWarning) as error:
            reason = " ".join(str(error).split())[:200]
            raise InvalidInput(f"it is not a whole window_flist.fits ({type(error).__name__}: {reason})") from error
        return cls(run, rerun, camcol, field, ra[here] % 360, dec[here])

    def touching(self, region: SkyRegion, reruns: tuple[int, ...] = ()) -> FieldsByPlace:
        """Fields that may touch a region, by run and camcol.

        Parameters
        ----------
        region : SkyRegion
        reruns : tuple of int, optional
            Only of these; default of all, as the sky of a run does not depend on how it was reduced.
        """
        chosen = touches(region, self.ra, self.dec)
        if reruns:
            chosen &= np.isin(self.rerun, reruns)
        rows = np.flatnonzero(chosen)
        places: dict[tuple[int, int], set[int]] = {}
        columns = (self.run[rows].tolist(), self.camcol[rows].tolist(), self.field[rows].tolist())
        for run, camcol, field in zip(*columns, strict=True):
            places.setdefault((run, camcol), set()).add(field)
        return {place: frozenset(fields) for place, fields in sorted(places.items())}


def _narrow(values: NDArray[np.int64], kind: Any) -> NDArray[Any]:
    narrow = values.astype(kind)
    if not np.array_equal(narrow, values):
        raise ValueError(f"a number of a field is too large for {np.dtype(kind)}")
    return narrow
