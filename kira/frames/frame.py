"""A frame in memory: pixels, sky coordinates, calibration, noise and mask, whichever of the two layouts it came in."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from astropy.wcs import WCS

from kira.frames.astrometry import AsTrans, Astrometry, to_sky
from kira.frames.calibration import Calibration
from kira.frames.noise import NoiseSource, SkyGrid, count_noise, nanomaggy_noise
from kira.sdss import Band, FrameId

ROWS, COLUMNS = 1489, 2048
"""Shape of every SDSS frame, pixels."""

_SECONDS_PER_DAY = 86_400.0
_ARCSEC_PER_DEGREE = 3600.0


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
        Celestial, ICRS. The centre of the first pixel is (0, 0) with `origin=0`, as SEP counts. None only where `id`
        is None too, and the header has no celestial coordinates.
    solution : AsTrans or None
        SDSS's own astrometric solution (HDU 3 of a `frame` file), better than `wcs`, which is a fit to it. None where
        there is none, or it cannot be used.
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
    nmgy : float
        Nanomaggies per unit of a pixel's value: 1 from DR8; NaN where unknown.
    calibration : {"tsField", "FLUX20", "frame", "none"}
        Where `nmgy` comes from.
    gain : float
        Electrons a DN, also where `data` are nanomaggies; NaN where unknown.
    dark_variance : float
        Variance of amplifier and dark current, DN^2; NaN where unknown.
    noise_source : {"psField", "table", "none"}
        Where `gain` and `dark_variance` come from.
    seeing : float
        Full width at half maximum of the PSF, arcsec; NaN where unknown.
    mask : numpy.ndarray of bool or None, shape of `data`
        True where a pixel must not be used: it has no value (not finite), or the light of a ghost. None where there is
        no such pixel as far as known. `kira.frames.masks` says why interpolated and saturated pixels are not in it.
    saturated : numpy.ndarray of bool or None, shape of `data`
        True where a pixel was saturated, by fpM. None without fpM: in a corrected frame saturated pixels have been
        interpolated, and lie far below tsField's saturation level (medians of 600 to 3,100 counts where that is
        24,000 to 63,000), so that no rule on the values finds them.
    interpolated : numpy.ndarray of bool or None, shape of `data`
        True where the value was estimated from neighbours, by fpM; None without fpM.
    column_calibration : numpy.ndarray of float32 or None, shape (columns,)
        Nanomaggies a count for each column of a `frame` file (HDU 1).
    sky_grid : SkyGrid or None
        The sky that was subtracted from a `frame` file (HDU 2).
    remarks : tuple of str
        Sentences about what could not be known or used, and about what SDSS itself says is bad.
    synthetic : bool
        The header says `SYNTHET = T`: rendered, not observed.
    """

    id: FrameId | None
    data: npt.NDArray[np.float32]
    wcs: WCS | None
    solution: AsTrans | None = None
    bunit: str = ""
    softbias: float = 0.0
    exptime: float = math.nan
    tai: float = math.nan
    sky: float = math.nan
    nmgy_per_count: float = math.nan
    nmgy: float = math.nan
    calibration: Calibration = "none"
    gain: float = math.nan
    dark_variance: float = math.nan
    noise_source: NoiseSource = "none"
    seeing: float = math.nan
    mask: npt.NDArray[np.bool_] | None = None
    saturated: npt.NDArray[np.bool_] | None = None
    interpolated: npt.NDArray[np.bool_] | None = None
    column_calibration: npt.NDArray[np.float32] | None = None
    sky_grid: SkyGrid | None = None
    remarks: tuple[str, ...] = ()
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
    def band(self) -> Band | None:
        """Band; None for an image that is not from SDSS."""
        return self.id.band if self.id else None

    @property
    def name(self) -> str:
        """How to call it in a sentence."""
        return str(self.id) if self.id else "image"

    @property
    def pixel_scale(self) -> float:
        """Side of a pixel, arcsec: the square root of its area; NaN without coordinates.

        In the middle of the frame by SDSS's solution, at its reference by a WCS.
        """
        if self.solution is not None:
            rows, columns = self.shape
            return self.solution.pixel_scale((columns - 1) / 2, (rows - 1) / 2)
        if self.wcs is None:
            return math.nan
        return math.sqrt(abs(float(np.linalg.det(self.wcs.pixel_scale_matrix)))) * _ARCSEC_PER_DEGREE

    @property
    def to_sky_by(self) -> WCS | AsTrans | None:
        """The best that turns pixels into right ascension and declination."""
        return self.solution or self.wcs

    @property
    def astrometry(self) -> Astrometry:
        """What that is."""
        return "asTrans" if self.solution is not None else "WCS" if self.wcs is not None else "none"

    @cached_property
    def noise(self) -> npt.NDArray[np.float32] | None:
        """Noise of each pixel, 1 sigma in the unit of `data`, shape of `data`; None where it cannot be known.

        Computed when it is first asked for, and kept. It is the noise of the light and the amplifier in a pixel as it
        was read; that interpolation and SDSS's rounding of `frame` files (0.1 %) change it is not in it.
        """
        if self.noise_source == "none":
            return None
        if self.calibration != "frame":
            return count_noise(self.data - np.float32(self.softbias), self.gain, self.dark_variance)
        if self.column_calibration is None or self.sky_grid is None:
            return None
        return nanomaggy_noise(self.data, self.column_calibration, self.sky_grid, self.gain, self.dark_variance)

    def sky_positions(
        self, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Right ascension and declination (ICRS, degrees) of pixels counted from 0; NaN without coordinates."""
        by = self.to_sky_by
        if by is None or not len(x):
            return np.full(len(x), np.nan), np.full(len(x), np.nan)
        return to_sky(by, x, y)
