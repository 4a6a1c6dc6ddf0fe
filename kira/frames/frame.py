"""A frame in memory: pixels, sky coordinates and the few facts of its header that later steps use."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_area

from kira.sdss import FrameId

ROWS, COLUMNS = 1489, 2048
"""Shape of every SDSS frame, pixels."""

_SECONDS_PER_DAY = 86_400.0


@dataclass(frozen=True, eq=False)
class Frame:
    """One field in one band, ready to be measured.

    Parameters
    ----------
    id : FrameId or None
        None for an image that is not from SDSS.
    data : numpy.ndarray of float32, shape (rows, columns)
        Pixel values in `bunit`, native byte order, C-contiguous. To DR7 they are as stored: `softbias` + sky +
        objects, in counts (DN). From DR8 the sky is subtracted and they are nanomaggies.
    wcs : astropy.wcs.WCS or None
        Celestial, ICRS. The centre of the first pixel is (0, 0) with `origin=0`, as SEP counts. None: no coordinates.
    bunit : str
        As the header writes it: `DNs` (to DR7), `nanomaggy` (from DR8), empty where it does not say.
    softbias : float
        Constant contained in the pixel values, in counts; 0 from DR8, where the header still says 1000 though the
        pixels no longer hold it.
    exptime : float
        Exposure time, s; NaN where unknown.
    tai : float
        International Atomic Time when the first row was read, seconds since MJD 0 (1858-11-17); NaN where unknown.
    sky : float
        Sky level as photo put it into the header, counts; NaN where unknown (all `frame` files, some `fpC`).
    nmgy_per_count : float
        Mean calibration factor of a `frame` file, nanomaggies per count; NaN where unknown.
    synthetic : bool
        The header says `SYNTHET = T`: rendered, not observed.
    mask, saturated : numpy.ndarray of bool, shape (rows, columns), or None
        Pixels not to be used, and saturated ones; None where nothing is known.
    gain : float
        Electrons in a unit of `data`; NaN where unknown.
    nmgy : float
        Nanomaggies in a unit of `data`; NaN where unknown.
    seeing : float
        Full width at half maximum of the point spread function, arcsec; NaN where unknown.
    """

    id: FrameId | None
    data: npt.NDArray[np.float32]
    wcs: WCS | None
    bunit: str = ""
    softbias: float = 0.0
    exptime: float = math.nan
    tai: float = math.nan
    sky: float = math.nan
    nmgy_per_count: float = math.nan
    synthetic: bool = False
    mask: npt.NDArray[np.bool_] | None = None
    saturated: npt.NDArray[np.bool_] | None = None
    gain: float = math.nan
    nmgy: float = math.nan
    seeing: float = math.nan
    calibration: str = "none"

    @property
    def noise(self) -> npt.NDArray[np.float32] | None:
        """One standard deviation of each pixel in the unit of `data`, photons of sources included; None: unknown."""
        return None

    @property
    def pixel_scale(self) -> float:
        """Arcsec a pixel, the mean of both axes; NaN without `wcs`."""
        if self.wcs is None:
            return math.nan
        return 3600.0 * math.sqrt(proj_plane_pixel_area(self.wcs.celestial))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.data.shape
        return rows, columns

    @property
    def mjd(self) -> float:
        """Modified Julian Date (TAI) when the first row was read, days; NaN where unknown."""
        return self.tai / _SECONDS_PER_DAY

    @property
    def name(self) -> str:
        """How to call it in a sentence."""
        return str(self.id) if self.id else "image"
