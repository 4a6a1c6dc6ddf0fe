"""Pixels to the sky: SDSS's own astrometric solution of a frame (asTrans), or the WCS of a header.

A `frame` file has its field's and band's row of asTrans in HDU 3. The TAN WCS in its header is a fit to it, without
the cubic distortion terms: on real frames it is 0.03 arcsec off in most places and up to 0.17 at the edges, differently
in each band.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from astropy.wcs import WCS

from kira.frames.structure import Irregular

Floats = npt.NDArray[np.float64]
Astrometry = Literal["asTrans", "WCS", "none"]
"""What turns pixels into right ascension and declination.

`asTrans`: SDSS's astrometric solution in HDU 3, from DR8. `WCS`: that of the header. `none`: neither is known.
"""

FARTHEST = 2.0
"""Arcsec that a solution may be off the header's WCS at a corner or the middle of a frame; beyond it is another's."""

_AFFINE = ("a", "b", "c", "d", "e", "f")
_ROW, _COLUMN = (tuple(f"{name}{power}" for power in range(4)) for name in ("drow", "dcol"))
_CENTRE = 0.5
"""SDSS's row and column at the centre of the first pixel, which is 0 in Kira, as in SEP."""
_ARCSEC = 3600.0


@dataclass(frozen=True)
class AsTrans:
    """SDSS's astrometric solution of one field in one band, without its colour terms.

    With row and col in SDSS's convention (0.5 at the centre of the first pixel),

        row' = row + drow0 + drow1 col + drow2 col^2 + drow3 col^3
        col' = col + dcol0 + dcol1 col + dcol2 col^2 + dcol3 col^3
        mu   = a + b row' + c col'
        nu   = d + e row' + f col'

    in degrees (https://data.sdss.org/datamodel/files/PHOTO_REDUX/RERUN/RUN/astrom/asTrans.html). mu and nu are
    longitude and latitude on the great circle of the scan, which crosses the equator at the right ascension `node`
    with the inclination `incl` (Pier et al. 2003, AJ 125, 1559).

    The solution has terms for the colour of an object too (csrow, cscol), for the atmosphere refracts blue light more
    than red. A frame has one band and so no colours: they are left out, which is right for a source of colour 0 and up
    to 0.05 arcsec a magnitude off in g, 0.02 in u and 0.01 in r, i and z.

    Parameters
    ----------
    node, incl : float
        Degrees.
    affine : tuple of six floats
        a to f: degrees, and degrees a pixel.
    row, column : tuple of four floats
        drow0 to drow3 and dcol0 to dcol3, pixels.
    """

    node: float
    incl: float
    affine: tuple[float, ...]
    row: tuple[float, ...]
    column: tuple[float, ...]

    def sky(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Right ascension (0 to 360) and declination of pixel positions.

        Parameters
        ----------
        x, y : numpy.ndarray of float64, or what becomes it
            Column and row; (0, 0) is the centre of the first pixel.

        Returns
        -------
        ra, dec : numpy.ndarray of float64
            Degrees, ICRS.
        """
        # In float32 an angle would be known to 0.1 arcsec only.
        col, row = (np.asarray(values, dtype=np.float64) + _CENTRE for values in (x, y))
        a, b, c, d, e, f = self.affine
        row_, col_ = row + _cubic(self.row, col), col + _cubic(self.column, col)
        along, nu = np.radians(a - self.node + b * row_ + c * col_), np.radians(d + e * row_ + f * col_)
        # The direction with the node as first axis and the scan's pole as third, turned about the node by incl.
        first, second, third = np.cos(nu) * np.cos(along), np.cos(nu) * np.sin(along), np.sin(nu)
        cos, sin = np.cos(np.radians(self.incl)), np.sin(np.radians(self.incl))
        second, third = second * cos - third * sin, second * sin + third * cos
        ra = (self.node + np.degrees(np.arctan2(second, first))) % 360.0
        return ra, np.degrees(np.arctan2(third, np.hypot(first, second)))

    def pixel_scale(self, x: float, y: float) -> float:
        """Side of the pixel at a position, arcsec: the square root of its area."""
        col, row = x + _CENTRE, y + _CENTRE
        _, b, c, d, e, f = self.affine
        _, one, two, three = self.column
        # Of the distortion only what col' changes with col counts: rows are shifted along themselves.
        stretch = 1.0 + one + 2.0 * two * col + 3.0 * three * col**2
        nu = d + e * (row + _cubic(self.row, col)) + f * (col + _cubic(self.column, col))
        return float(np.sqrt(abs((b * f - c * e) * stretch * np.cos(np.radians(nu))))) * _ARCSEC


def _cubic(terms: tuple[float, ...], col: Floats | float) -> Floats | float:
    return terms[0] + col * (terms[1] + col * (terms[2] + col * terms[3]))


def read_solution(value: Callable[[str], object], band: str, wcs: WCS, shape: tuple[int, int]) -> AsTrans:
    """Read the solution of a frame, and hold it against the header's WCS.

    Parameters
    ----------
    value : callable
        Value of a column of HDU 3, by its name in small letters.
    band : str
        Of the frame: the table says of which it is.
    wcs : astropy.wcs.WCS
        Celestial; made by SDSS from the same solution.
    shape : tuple of int
        Rows and columns.

    Raises
    ------
    Irregular
        If it is of another band, not finite, or not of this frame: more than `FARTHEST` off the WCS.
    KeyError, TypeError, ValueError
        If a column is missing, or is no number.
    """
    found = value("filter")
    if (found.decode("latin-1") if isinstance(found, bytes) else str(found)).strip() != band:
        raise Irregular(f"it is of the band {found!r}")
    node, incl = (float(value(name)) for name in ("node", "incl"))  # type: ignore[arg-type]
    terms = (tuple(float(value(name)) for name in names) for names in (_AFFINE, _ROW, _COLUMN))  # type: ignore[arg-type]
    solution = AsTrans(node, incl, *terms)
    _hold_against(solution, wcs, shape)
    return solution


def _hold_against(solution: AsTrans, wcs: WCS, shape: tuple[int, int]) -> None:
    rows, columns = shape
    x = np.array([0.0, columns - 1.0, 0.0, columns - 1.0, (columns - 1.0) / 2])
    y = np.array([0.0, 0.0, rows - 1.0, rows - 1.0, (rows - 1.0) / 2])
    with np.errstate(all="ignore"):  # nonsense overflows, and then compares as what it is
        (ra, dec), (wcs_ra, wcs_dec) = solution.sky(x, y), to_sky(wcs, x, y)
        east = ((ra - wcs_ra + 180.0) % 360.0 - 180.0) * np.cos(np.radians(wcs_dec))
        apart = float(np.hypot(east, dec - wcs_dec).max()) * _ARCSEC
    if np.isnan(apart):
        raise Irregular("its numbers are not finite")
    if apart > FARTHEST:
        raise Irregular(f"it lies {apart:,.1f} arcsec off the header's coordinates")


def to_sky(by: WCS | AsTrans, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Right ascension and declination of pixel positions, by a celestial WCS or SDSS's solution.

    Parameters
    ----------
    by : astropy.wcs.WCS or AsTrans
    x, y : numpy.ndarray of float64
        (0, 0) is the centre of the first pixel.

    Returns
    -------
    ra, dec : numpy.ndarray of float64
        Degrees, ICRS.
    """
    if isinstance(by, AsTrans):
        return by.sky(x, y)
    ra, dec = by.all_pix2world(x, y, 0, ra_dec_order=True)
    return ra, dec
