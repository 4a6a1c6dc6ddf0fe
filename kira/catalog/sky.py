"""From pixels to the sky: what a position, an error ellipse and a direction on the image are in degrees and arcsec."""

from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.wcs import WCS

from kira.frames.astrometry import AsTrans, to_sky

Floats = npt.NDArray[np.float64]
_STEP = 0.5
_ARCSEC = 3600.0


class LocalSky:
    """The sky around positions on an image.

    Parameters
    ----------
    by : astropy.wcs.WCS, AsTrans or None
        What turns pixels into the sky; None makes everything NaN.
    x, y : numpy.ndarray of float64, shape (n,)
        Pixels; (0, 0) is the centre of the first pixel.

    Attributes
    ----------
    ra, dec : numpy.ndarray of float64, shape (n,)
        Degrees, ICRS; 0 <= ra < 360.
    jacobian : numpy.ndarray of float64, shape (n, 2, 2)
        Arcsec to the east and to the north (rows) for one pixel along x and along y (columns).
    """

    def __init__(self, by: WCS | AsTrans | None, x: Floats, y: Floats) -> None:
        n = len(x)
        if by is None or n == 0:
            self.ra, self.dec = np.full(n, np.nan), np.full(n, np.nan)
            self.jacobian = np.full((n, 2, 2), np.nan)
            return
        # One call for all five points of the cross around each position: a WCS costs by the call.
        dx, dy = np.array([[0, 0], [_STEP, 0], [-_STEP, 0], [0, _STEP], [0, -_STEP]]).T[..., np.newaxis]
        good = np.isfinite(x) & np.isfinite(y)
        ra, dec = (
            np.reshape(part, (5, n))
            for part in to_sky(by, (np.where(good, x, 0.0) + dx).ravel(), (np.where(good, y, 0.0) + dy).ravel())
        )  # fmt: skip
        self.ra, self.dec = np.where(good, ra[0] % 360.0, np.nan), np.where(good, dec[0], np.nan)
        east = np.stack([_turn(ra[1] - ra[2]), _turn(ra[3] - ra[4])], axis=-1) * np.cos(np.radians(dec[0]))[:, None]
        north = np.stack([dec[1] - dec[2], dec[3] - dec[4]], axis=-1)
        jacobian = np.stack([east, north], axis=-2) * (_ARCSEC / (2 * _STEP))
        self.jacobian = np.where(good[:, None, None], jacobian, np.nan)

    def covariance(self, xx: Floats, yy: Floats, xy: Floats) -> tuple[Floats, Floats, Floats]:
        """Variances and covariance on the image (pix2) as those to the east, to the north, and of both (arcsec2)."""
        c = np.stack([np.stack([xx, xy], -1), np.stack([xy, yy], -1)], -2)
        sky = self.jacobian @ c @ np.swapaxes(self.jacobian, -1, -2)
        return sky[:, 0, 0], sky[:, 1, 1], sky[:, 0, 1]

    def direction(self, theta: Floats) -> tuple[Floats, Floats]:
        """Length (arcsec) of one pixel in a direction, and that direction's position angle.

        Parameters
        ----------
        theta : numpy.ndarray of float64, shape (n,)
            Angle from the x axis, towards the y axis, radians.

        Returns
        -------
        scale : numpy.ndarray of float64
            Arcsec per pixel.
        angle : numpy.ndarray of float64
            Degrees east of north, 0 <= angle < 180: an axis has no head.
        """
        along = np.stack([np.cos(theta), np.sin(theta)], axis=-1)[..., np.newaxis]
        east, north = (part[..., 0] for part in np.moveaxis(self.jacobian @ along, -2, 0))
        angle = np.degrees(np.arctan2(east, north)) % 180.0
        # Just below 0 the remainder is rounded up to the whole 180.
        return np.hypot(east, north), np.where(angle >= 180.0, 0.0, angle)

    @property
    def scale(self) -> Floats:
        """Arcsec per pixel, the geometric mean of both directions."""
        j = self.jacobian
        scale: Floats = np.sqrt(np.abs(j[:, 0, 0] * j[:, 1, 1] - j[:, 0, 1] * j[:, 1, 0]))
        return scale


def _turn(degrees: Any) -> Any:
    """A difference of right ascensions, across 0 too."""
    return (degrees + 180.0) % 360.0 - 180.0
