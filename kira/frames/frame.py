"""A frame in memory: pixels, sky coordinates and the few facts of its header that later steps use."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from astropy.wcs import WCS

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
    wcs : astropy.wcs.WCS
        Celestial, ICRS. The centre of the first pixel is (0, 0) with `origin=0`, as SEP counts.
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
    """

    id: FrameId | None
    data: npt.NDArray[np.float32]
    wcs: WCS
    bunit: str = ""
    softbias: float = 0.0
    exptime: float = math.nan
    tai: float = math.nan
    sky: float = math.nan
    nmgy_per_count: float = math.nan
    synthetic: bool = False

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
