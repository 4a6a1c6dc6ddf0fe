"""Background and detection, which the kinds of profile have in common."""

from typing import Any

import numpy as np
import numpy.typing as npt
import sep

from kira.errors import ExtractionFailed
from kira.extraction.buffers import Buffers, within_limits
from kira.extraction.measuring import Bools
from kira.extraction.noise import Image
from kira.extraction.profile import Profile


def subtract_background(data: Image, mask: Bools | None, profile: Profile) -> tuple[Any, Image]:
    """Return SEP's background and a copy of the data without it.

    Raises
    ------
    ExtractionFailed
        If there is no usable noise level.
    """
    mesh, median = profile.mesh, profile.mesh_filter
    background = sep.Background(data, mask=mask, bw=mesh, bh=mesh, fw=median, fh=median)
    if not (np.isfinite(background.globalback) and np.isfinite(background.globalrms) and background.globalrms > 0):
        raise ExtractionFailed(
            f"no usable noise level: background {background.globalback:g}, rms {background.globalrms:g}."
        )
    pixels = data.copy()
    background.subfrom(pixels)
    return background, pixels


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
