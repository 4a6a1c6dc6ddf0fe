"""Detection as `sep.extract` does it, in compiled kernels: from pixels to objects with their moments."""

import numpy as np
import numpy.typing as npt
from numba import njit

from kira.extraction.fast.cleaning import faint_limit, survivors
from kira.extraction.fast.components import COLUMN, FIRST, LENGTH, LINE, NEXT, NPIX, OFFSET, components
from kira.extraction.fast.convolution import MASKED_NOISE, normalised, runs_above
from kira.extraction.fast.deblending import deblend
from kira.extraction.fast.moments import OBJECT, mark_truncated, measure, survey_pixels
from kira.extraction.profile import Profile

Image = npt.NDArray[np.float32]

_FLOATS = ("x", "y", "x2", "y2", "xy", "errx2", "erry2", "errxy", "a", "b", "theta", "cxx", "cyy", "cxy",
           "cflux", "flux", "cpeak", "peak")  # fmt: skip
DETECTION = np.dtype(
    [("thresh", "f8")]
    + [(name, "i8") for name in ("npix", "tnpix", "xmin", "xmax", "ymin", "ymax")]
    + [(name, "f8") for name in _FLOATS]
    + [(name, "i8") for name in ("xcpeak", "ycpeak", "xpeak", "ypeak")]
    + [("flag", "i2")]
)
"""Columns of `sep.extract`."""


def extract(
    pixels: Image, threshold: float, noise: float | Image, mask: npt.NDArray[np.bool_] | None, profile: Profile
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.int32]]:
    """Detect, deblend and clean as `sep.extract(..., filter_type="conv")`.

    There are no limits to what it takes, but for memory: about 150 bytes for each pixel above the threshold.

    Parameters
    ----------
    pixels : numpy.ndarray of float32, shape (rows, columns)
        Background-subtracted.
    threshold : float
        In units of the noise.
    noise : float or numpy.ndarray of float32, shape (rows, columns)
    mask : numpy.ndarray of bool, shape (rows, columns), or None
    profile : Profile

    Returns
    -------
    detections : numpy.ndarray of `DETECTION`, shape (n,)
        In SEP's order.
    segments : numpy.ndarray of int32, shape (rows, columns)
        Number of the source that a pixel belongs to, from 1; 0 for none.
    """
    pixels = np.ascontiguousarray(pixels, dtype=np.float32)
    own_noise = np.ndim(noise) > 0
    noises = np.ascontiguousarray(noise if own_noise else [[noise]], dtype=np.float32)
    masked = np.zeros((0, 0), dtype=np.bool_) if mask is None else np.ascontiguousarray(mask, dtype=np.bool_)
    if (own_noise and noises.shape != pixels.shape) or (mask is not None and masked.shape != pixels.shape):
        raise ValueError(f"noise {noises.shape} and mask {masked.shape} are not of the image's shape {pixels.shape}.")
    relative = np.float32(threshold)
    lines, begins, ends, offsets, values = runs_above(
        pixels, masked, noises, own_noise, relative, normalised(profile.kernel)
    )
    found, pieces = components(lines, begins, ends, offsets, pixels.shape[1], profile.minarea)
    segments = np.zeros(pixels.shape, dtype=np.int32)
    listed = _listed(found, pieces, values, pixels, masked, noises, own_noise)
    objects = _objects(
        found, listed, relative, segments, profile.minarea, profile.deblend_levels, profile.deblend_contrast, own_noise
    )
    if profile.clean > 0:
        _set_faint_limits(objects, profile.minarea, relative, listed)
        objects = objects[survivors(objects, float(profile.clean))]
    _number(segments, objects, listed[0], listed[1])
    detections = np.empty(len(objects), dtype=DETECTION)
    for name in DETECTION.names or ():
        detections[name] = objects[name]
    return detections, segments


@njit(cache=True, nogil=True)
def _listed(found, pieces, values, pixels, mask, noise, own_noise):  # type: ignore[no-untyped-def]
    """Return what is known of the pixels of all components, one component after another."""
    n = found[:, NPIX].sum()
    xs, ys = np.empty(n, dtype=np.int32), np.empty(n, dtype=np.int32)
    plain, filtered, noises = np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n, np.float32)
    i = 0
    for component in range(found.shape[0]):
        piece = found[component, FIRST]
        while piece >= 0:
            y, x, offset = pieces[piece, LINE], pieces[piece, COLUMN], pieces[piece, OFFSET]
            for k in range(pieces[piece, LENGTH]):
                hidden = mask.size > 0 and mask[y, x + k]
                xs[i], ys[i] = x + k, y
                plain[i] = np.float32(0.0) if hidden else pixels[y, x + k]
                filtered[i] = values[offset + k]
                if own_noise:
                    noises[i] = MASKED_NOISE if hidden else noise[y, x + k]
                else:
                    noises[i] = noise[0, 0]
                i += 1
            piece = pieces[piece, NEXT]
    return xs, ys, plain, filtered, noises


@njit(cache=True, nogil=True, error_model="numpy")
def _objects(found, pixels, threshold, numbers, minarea, levels, contrast, own_noise):  # type: ignore[no-untyped-def]
    """Deblend and measure all components (sortit in extract.c)."""
    rows, columns = numbers.shape
    objects = np.zeros(found.shape[0] + 16, dtype=OBJECT)
    seed = np.ones(1, dtype=np.int64)
    whole = np.zeros(1, dtype=OBJECT)
    n = first = 0
    for component in range(found.shape[0]):
        one = whole[0]
        one.first, one.npix, one.flag = first, found[component, NPIX], 0
        first += one.npix
        one.thresh = _mean_threshold(one, threshold, pixels[4]) if own_noise else threshold * pixels[4][0]
        survey_pixels(one, pixels)
        mark_truncated(one, columns, rows)
        parts = deblend(one, pixels, numbers, minarea, levels, contrast, seed)
        if n + max(parts.size, 1) > objects.size:
            more = np.zeros(2 * objects.size + parts.size, dtype=OBJECT)
            for k in range(n):
                more[k] = objects[k]
            objects = more
        if parts.size == 0:
            measure(one, True, pixels)
            objects[n] = one
            n += 1
        for k in range(parts.size):
            survey_pixels(parts[k], pixels)
            measure(parts[k], True, pixels)
            objects[n] = parts[k]
            n += 1
    return objects[:n]


@njit(cache=True, nogil=True, error_model="numpy")
def _mean_threshold(one, threshold, noise):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(one.first, one.first + one.npix):
        total += np.float64(threshold * noise[i])
    return np.float32(total / one.npix)


@njit(cache=True, nogil=True)
def _set_faint_limits(objects, minarea, threshold, pixels):  # type: ignore[no-untyped-def]
    for i in range(objects.size):
        objects[i].mthresh = faint_limit(objects[i], minarea, threshold, pixels)


@njit(cache=True, nogil=True)
def _number(segments, objects, xs, ys):  # type: ignore[no-untyped-def]
    for k in range(objects.size):
        for i in range(objects[k].first, objects[k].first + objects[k].npix):
            segments[ys[i], xs[i]] = k + 1
