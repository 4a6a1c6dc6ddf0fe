"""The camera and the night: gains, noise, zero points, sky, seeing and the time of every row."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kira.sample.spec import SampleSpec, Stream
from kira.sdss import BANDS, Band

COLUMNS, FIELD_ROWS, FIELD_STEP = 2048, 1489, 1361
"""Pixels of a field, and the rows from one field to the next: neighbours share 128 rows."""

PIXEL_ARCSEC = 0.396
EXPOSURE_SECONDS = 53.907456
"""Time that a source takes to drift over a CCD; the constant of the DR7 calibration."""
ROW_SECONDS = 0.026322
SOFTBIAS = 1000
DAY_SECONDS = 86_400.0
NIGHT_TAI = 57_300.25 * DAY_SECONDS
"""TAI seconds (since MJD 0) at row 0 of the first frame: 2015-10-05, years after the last imaging run."""

FRAME_OFFSET: dict[Band, int] = {"r": 0, "i": 2, "u": 4, "z": 6, "g": 8}
"""The sky passes the bands in the order r i u z g, two frames apart: FRAME in a header = field + this."""
_CAMERA_ROW: dict[Band, int] = {"r": 1, "i": 2, "u": 3, "z": 4, "g": 5}

# Gain (e-/DN) and dark variance (DN^2) by camcol 1 to 6, from psField; runs after 1500 where it changed.
_GAIN: dict[Band, tuple[float, ...]] = {
    "u": (1.62, 1.825, 1.59, 1.6, 1.47, 2.17),
    "g": (3.32, 3.855, 3.845, 3.995, 4.05, 4.035),
    "r": (4.71, 4.6, 4.72, 4.76, 4.725, 4.895),
    "i": (5.165, 6.565, 4.86, 4.885, 4.64, 4.76),
    "z": (4.745, 5.155, 4.885, 4.775, 3.48, 4.69),
}
_DARK_VARIANCE: dict[Band, tuple[float, ...]] = {
    "u": (9.61, 12.6025, 8.7025, 12.6025, 9.3025, 7.0225),
    "g": (15.6025, 1.44, 1.3225, 1.96, 1.1025, 1.8225),
    "r": (1.8225, 1.00, 1.3225, 1.3225, 0.81, 0.9025),
    "i": (7.84, 6.25, 4.6225, 7.5625, 7.84, 5.0625),
    "z": (0.81, 1.0, 1.0, 12.6025, 2.1025, 1.21),
}

# A usual night: zero point and extinction (mag), sky (DN), saturation (DN) and seeing (FWHM, arcsec).
_ZERO_POINT: dict[Band, float] = {"u": -23.72, "g": -24.45, "r": -24.00, "i": -23.74, "z": -21.78}
_EXTINCTION: dict[Band, float] = {"u": 0.458, "g": 0.139, "r": 0.0735, "i": 0.0516, "z": 0.0274}
_SKY: dict[Band, float] = {"u": 27.0, "g": 97.0, "r": 155.0, "i": 225.0, "z": 115.0}
_SEEING: dict[Band, float] = {"u": 1.45, "g": 1.36, "r": 1.25, "i": 1.20, "z": 1.22}
SATURATION: dict[Band, int] = {"u": 60_349, "g": 50_065, "r": 43_653, "i": 23_653, "z": 62_990}

# Where a band's CCD lies against r: the same source has other pixels in every band.
ROW_OFFSET: dict[Band, float] = {"u": 7.27, "g": 13.84, "r": 0.0, "i": 3.79, "z": 9.55}
COLUMN_OFFSET: dict[Band, float] = {"u": 3.80, "g": 4.24, "r": 0.0, "i": -1.43, "z": 0.22}


@dataclass(frozen=True)
class Detector:
    """One CCD during one run: everything between the sky and the numbers in a file.

    Parameters
    ----------
    spec : SampleSpec
    camcol : int
    band : {"u", "g", "r", "i", "z"}
    """

    spec: SampleSpec
    camcol: int
    band: Band

    @property
    def band_index(self) -> int:
        """Place of the band in u g r i z."""
        return BANDS.index(self.band)

    @property
    def camera_row(self) -> int:
        """CAMROW of a header."""
        return _CAMERA_ROW[self.band]

    @property
    def gain(self) -> float:
        """Electrons a DN."""
        return _GAIN[self.band][self.camcol - 1]

    @property
    def dark_variance(self) -> float:
        """Variance of the amplifier and the dark current, DN^2."""
        return _DARK_VARIANCE[self.band][self.camcol - 1]

    @cached_property
    def _night(self) -> NDArray[np.float64]:
        """Five standard normal numbers that make this run and CCD its own."""
        return self.spec.random(Stream.NIGHT, self.spec.run, self.camcol, self.band_index).standard_normal(5)

    @cached_property
    def zero_point(self) -> float:
        """Coefficient aa of tsField, mag."""
        return round(_ZERO_POINT[self.band] + 0.02 * float(self._night[0]), 6)

    @property
    def extinction(self) -> float:
        """Coefficient kk of tsField, mag an airmass."""
        return _EXTINCTION[self.band]

    @property
    def airmass(self) -> float:
        """Airmass; one for the run, as neighbouring fields share pixels and so must share the calibration."""
        return 1.19 + 1e-4 * FRAME_OFFSET[self.band]

    @property
    def flux20(self) -> float:
        """Counts (DN) of a source of magnitude 20, FLUX20 of an fpC header.

        DR7's calibration, f/f0 = counts / exptime x 10^(0.4 (aa + kk airmass)), solved for f/f0 = 1e-8.
        """
        return 1e-8 * EXPOSURE_SECONDS * math.pow(10.0, -0.4 * (self.zero_point + self.extinction * self.airmass))

    @property
    def nanomaggies_per_count(self) -> float:
        """NMGY of a frame's header: nanomaggies a DN; magnitude 20 is 10 nanomaggies (22.5 - 2.5 log10)."""
        return 10.0 / self.flux20

    def seeing(self, field: int) -> float:
        """Full width at half maximum of the PSF in a field, arcsec: the night's seeing, and a few per cent around it.

        The night's part is one number for all bands of a camcol; a field's part is its own.
        """
        night = self.spec.random(Stream.NIGHT, self.spec.run, self.camcol).normal(0.0, 0.05)
        own = self.spec.random(Stream.NIGHT, self.spec.run, self.camcol, self.band_index, field).normal(0.0, 0.02)
        return float(np.clip(_SEEING[self.band] * (1.0 + night + own), 1.05, 1.6))

    def sky(self, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sky level, DN.

        Parameters
        ----------
        rows : ndarray of float64, shape (n,)
            Rows of the strip, counted from row 0 of field 0.
        columns : ndarray of float64, shape (m,)
            Columns from 0.

        Returns
        -------
        ndarray of float64, shape (n, m)
            A level that drifts by half a per cent with time, and a slope over the columns.
        """
        level = _SKY[self.band] * (1.0 + 0.04 * self._night[1])
        drift = 0.004 * np.sin(rows / 1500.0 + self._night[2])
        slope = 0.001 * self._night[3] * (columns - COLUMNS / 2) / (COLUMNS / 2)
        values: NDArray[np.float64] = level * (1.0 + drift[:, None] + slope[None, :])
        return values

    @cached_property
    def response(self) -> NDArray[np.float64]:
        """Response of each column to light, around 1, shape (2048,): what the flat field left behind."""
        random = self.spec.random(Stream.DETECTOR, self.spec.run, self.camcol, self.band_index)
        return 1.0 + 5e-4 * random.standard_normal(COLUMNS)

    def tai(self, field: int) -> float:
        """TAI seconds since MJD 0 when row 0 of a field was read."""
        return NIGHT_TAI + (field + FRAME_OFFSET[self.band]) * FIELD_STEP * ROW_SECONDS
