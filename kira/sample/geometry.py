"""Where a strip lies on the sky: pixels to right ascension and declination and back.

A drift scan along the celestial equator, as of SDSS stripe 82 (node 95, inclination 0 degrees), so that the great
circle's coordinates mu and nu are right ascension and declination. Rows run east, columns run north. Rows and columns
count from 0 at the centre of the first pixel; SDSS's own ROWC and COLC are 0.5 more.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kira.sample.camera import COLUMN_OFFSET, FIELD_STEP, ROW_OFFSET, ROW_SECONDS
from kira.sdss import Band

Floats = NDArray[np.float64]

TRACKING = 15.041060
"""Speed of the scan, arcsec a TAI second."""
ROW_DEGREES = TRACKING * ROW_SECONDS / 3600.0
COLUMN_DEGREES = 1.1e-4
START_RA = 330.0
"""Right ascension (deg) of row 0 of field 0 in band r."""


def central_declination(camcol: int) -> float:
    """Declination (deg) of column 1024 of a camera column: the south strip of stripe 82, 25.2 arcmin apart."""
    return 0.1037 + 0.4193 * (camcol - 4)


@dataclass(frozen=True)
class Affine:
    """SDSS's astrometric solution of one field in one band, without its small distortion terms.

    mu = a + b row + c col and nu = d + e row + f col, in degrees, with row and col in SDSS's convention (0.5 at the
    centre of the first pixel): columns a to f of tsField and A to F of a frame's HDU 3.
    """

    a: float
    b: float
    c: float
    d: float
    e: float
    f: float

    def sky(self, row: Floats | float, col: Floats | float) -> tuple[Floats, Floats]:
        """Right ascension and declination (deg) of pixels counted from 0 at the first pixel's centre."""
        r, k = np.asarray(row) + 0.5, np.asarray(col) + 0.5
        return (self.a + self.b * r + self.c * k) % 360.0, self.d + self.e * r + self.f * k

    def tangent(self, row: float, col: float) -> dict[str, float]:
        """TAN keywords CRVAL and CD of the projection that touches the sky at a pixel (counted from 0).

        A tangent plane follows the scan's plane coordinates to 0.03 pixels over a field within 1.2 degrees of the
        equator.
        """
        ra, dec = self.sky(row, col)
        shrink = float(np.cos(np.radians(dec)))
        return {
            "CRVAL1": float(ra),
            "CRVAL2": float(dec),
            "CD1_1": self.c * shrink,
            "CD1_2": self.b * shrink,
            "CD2_1": self.f,
            "CD2_2": self.e,
        }


def solution(camcol: int, field: int, band: Band) -> Affine:
    """Astrometric solution of one field in one band."""
    mu = START_RA + ROW_DEGREES * (FIELD_STEP * field - ROW_OFFSET[band])
    nu = central_declination(camcol) - COLUMN_DEGREES * (1024.0 + COLUMN_OFFSET[band])
    return Affine(mu % 360.0, ROW_DEGREES, 0.0, nu, 0.0, COLUMN_DEGREES)
