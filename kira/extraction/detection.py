"""Background and detection, which the kinds of profile have in common."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import sep

from kira.errors import ExtractionFailed
from kira.extraction.buffers import Buffers, within_limits
from kira.extraction.measuring import Bools
from kira.extraction.noise import Image
from kira.extraction.profile import Profile
from kira.frames import Frame

if TYPE_CHECKING:
    from kira.extraction.engine import Background, Engine

_PLASTIC = 1.324717957244746
"""The plastic number, root of p^3 = p + 1."""


def subtract_background(
    engine: "Engine", data: Image, mask: Bools | None, profile: Profile, dither: float = 0.0
) -> tuple["Background", Image]:
    """Return the background and a copy of the data without it.

    Parameters
    ----------
    engine : Engine
    data : numpy.ndarray of float32, shape (rows, columns)
    mask : numpy.ndarray of bool, shape (rows, columns), or None
    profile : Profile
    dither : float
        Width of what is added to the data for the estimate alone, in the unit of the data; see `dithered`.

    Raises
    ------
    ExtractionFailed
        If there is no usable noise level.
    """
    background = engine.background(data, mask, profile, dither)
    if not (np.isfinite(background.globalback) and np.isfinite(background.globalrms) and background.globalrms > 0):
        raise ExtractionFailed(
            f"no usable noise level: background {background.globalback:g}, rms {background.globalrms:g}."
        )
    return background, background.subtracted(data)


def quantum(frame: Frame) -> float:
    """Return the step of the frame's numbers, in their unit; 0 where it is not known.

    That is 1 where all are whole, and the calibration of a count where the frame has one: SDSS's calibrated frames are
    counts times that.
    """
    finite = frame.data[np.isfinite(frame.data)]
    if (finite == np.rint(finite)).all():
        return 1.0
    return frame.nmgy_per_count if frame.nmgy_per_count > 0 else 0.0


def dithered(data: Image, width: float) -> Image:
    """Add evenly spread numbers from -width / 2 to width / 2, always the same ones.

    They are the additive sequence of Roberts (2018) for two dimensions, (i / p + j / p^2) mod 1 with p = 1.3247...: any
    cell of the background's mesh gets all of the range, more evenly than random numbers would.
    """
    steps = np.add.outer(*dither_places(data.shape))
    steps -= steps >= 1
    steps -= np.float32(0.5)
    steps *= np.float32(width)
    steps += data
    result: Image = steps
    return result


def dither_places(shape: tuple[int, ...]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return i / p mod 1 of all rows, and j / p^2 mod 1 of all columns."""
    rows, columns = shape
    along = (np.arange(rows) / _PLASTIC % 1.0).astype(np.float32)
    return along, (np.arange(columns) / _PLASTIC**2 % 1.0).astype(np.float32)


def detect(
    pixels: Image, mask: Bools | None, rms: float | Image, profile: Profile, *, segments: bool = False
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.int32] | None, Buffers]:
    """Detect and deblend.

    The threshold is relative to `rms`, which also gives SEP's position errors; with one number for all pixels all other
    columns come out bit for bit as with an absolute threshold.

    The filter is a plain convolution, as SExtractor's. SEP's "matched" one, its default where there is a map of the
    noise, measures the threshold in units of the *filtered* noise, which for this kernel is 0.375 of the pixels': 1.5
    there is 0.56 here, and finds mostly noise.

    Parameters
    ----------
    pixels : numpy.ndarray of float32, shape (rows, columns)
        Background-subtracted.
    mask : numpy.ndarray of bool, shape (rows, columns), or None
    rms : float or numpy.ndarray of float32, shape (rows, columns)
    profile : Profile
    segments : bool
        Whether to return the map of segments.

    Returns
    -------
    detections : numpy.ndarray, structured, shape (n,)
        As `sep.extract` has them.
    segments : numpy.ndarray of int32, shape (rows, columns), or None
        Number of the source that a pixel belongs to, from 1.
    limits : Buffers
        SEP's limits that it took.

    Raises
    ------
    ExtractionFailed
        If SEP's limits cannot be raised far enough.
    """

    def run() -> Any:
        return sep.extract(
            pixels,
            profile.threshold,
            err=rms,
            mask=mask,
            minarea=profile.minarea,
            filter_kernel=np.array(profile.kernel),
            filter_type="conv",
            deblend_nthresh=profile.deblend_levels,
            deblend_cont=profile.deblend_contrast,
            clean=profile.clean > 0,
            clean_param=profile.clean or 1.0,
            segmentation_map=segments,
        )

    found, limits = within_limits(profile, pixels.size, run)
    return (*found, limits) if segments else (found, None, limits)
