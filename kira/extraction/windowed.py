"""Windowed positions with their errors."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kira.extraction.flags import Flag
from kira.extraction.measuring import Bools, Flags, Floats, measure_valid
from kira.extraction.noise import Image

if TYPE_CHECKING:
    from kira.extraction.engine import Engine

SIGMA_OF_RADIUS = 2.0 / 2.35
"""Window's sigma over the half-light radius, as SExtractor has it: 2 sqrt(2 ln 2) is 2.35, and r50 half of the FWHM."""
LEAST_SIGMA = 0.5 * SIGMA_OF_RADIUS
"""For a half-light radius of half a pixel, SExtractor's least."""
_REACH = 4.0  # of the window, in sigma: WINPOS_NSIG
_STEP = 2.0  # of the iteration: WINPOS_FAC, by which a Gaussian source's window position moves too little
_PIXEL_VARIANCE = 1.0 / 12.0
_CHUNK = 1 << 20  # pixels at a time


@dataclass(frozen=True)
class Positions:
    """Windowed positions of n sources; see `kira.extraction.columns.QUANTITIES`.

    Parameters
    ----------
    x, y : numpy.ndarray of float64, shape (n,)
        Pixels.
    x_var, y_var, xy_cov : numpy.ndarray of float64, shape (n,)
        Pixels squared; NaN where there is no flux in the window.
    flags : numpy.ndarray of int32, shape (n,)
    """

    x: Floats
    y: Floats
    x_var: Floats
    y_var: Floats
    xy_cov: Floats
    flags: Flags


def windowed_positions(
    engine: "Engine",
    image: tuple[Image, Image, Bools | None],
    start: tuple[Floats, Floats],
    r50: Floats,
    boxes: Floats,
) -> Positions:
    """Iterate to the windowed positions, and estimate their errors.

    Parameters
    ----------
    engine : Engine
    image : (pixels, noise, mask)
        Background-subtracted, and one standard deviation of each; 0 where masked.
    start : (numpy.ndarray of float64, numpy.ndarray of float64), each of shape (n,)
        Barycentres.
    r50 : numpy.ndarray of float64, shape (n,)
        Half-light radii, pixels; where there is none the least window is used.
    boxes : numpy.ndarray of float64, shape (4, n)
        xmin, xmax, ymin, ymax of the sources' own pixels. A position that leaves them by more than a pixel is another
        source's: it is given up for the barycentre, with the flag WINDOW_FAILED.

    Returns
    -------
    Positions
    """
    pixels, noise, mask = image
    x0, y0 = start
    sigma = np.fmax(SIGMA_OF_RADIUS * np.where(np.isfinite(r50), r50, 0.0), LEAST_SIGMA)
    # No window beyond the image: its sums take time and memory with the square of it.
    sigma = np.minimum(sigma, max(pixels.shape) / _REACH)
    finite = np.isfinite(x0) & np.isfinite(y0)
    x, y, flags = measure_valid(finite, lambda *args: engine.windowed(pixels, mask, *args), [x0, y0, sigma])
    xmin, xmax, ymin, ymax = boxes
    stayed = (x >= xmin - 1) & (x <= xmax + 1) & (y >= ymin - 1) & (y <= ymax + 1)  # false for NaN
    sums = engine.window_sums(pixels, noise, x, y, sigma, stayed)
    failed = finite & ~(sums[0] > 0)
    flags[failed] |= Flag.WINDOW_FAILED
    x[failed], y[failed] = x0[failed], y0[failed]
    flux, xx, yy, xy = np.where(failed, engine.window_sums(pixels, noise, x, y, sigma, failed), sums)
    with np.errstate(divide="ignore", invalid="ignore"):
        norm = np.where(flux > 0, (_STEP / flux) ** 2, np.nan)
    return Positions(x, y, xx * norm, yy * norm, xy * norm, flags)


def window_sums(pixels: Image, noise: Image, x: Floats, y: Floats, sigma: Floats, valid: Bools) -> Floats:
    """Sum over the Gaussian windows of sources.

    With the weights w_i = exp(-r_i^2 / 2 sigma^2) within 4 sigma, a pixel's value I_i and its noise s_i, the windowed
    position 2 sum(w_i I_i (x_i - x)) / sum(w_i I_i) has the variance 4 sum(w_i^2 s_i^2 (x_i - x)^2) / sum(w_i I_i)^2.
    SExtractor (winpos.c) adds the pixel's own extent, 1/12, to the squared distances, and so does this.

    Parameters
    ----------
    pixels, noise : numpy.ndarray of float32, shape (rows, columns)
    x, y, sigma : numpy.ndarray of float64, shape (n,)
    valid : numpy.ndarray of bool, shape (n,)
        The others' sums are 0.

    Returns
    -------
    numpy.ndarray of float64, shape (4, n)
        sum(w I), and sums of w^2 s^2 times dx^2 + 1/12, dy^2 + 1/12 and dx dy.
    """
    sums = np.zeros((4, len(x)))
    for rows, half in _groups(sigma, valid):
        steps = np.arange(-half, half + 1)
        columns = np.rint(x[rows]).astype(np.int64)[:, None] + steps
        lines = np.rint(y[rows]).astype(np.int64)[:, None] + steps
        dx, dy = columns - x[rows, None], lines - y[rows, None]
        scale = -0.5 / sigma[rows, None] ** 2
        in_x = (columns >= 0) & (columns < pixels.shape[1])
        in_y = (lines >= 0) & (lines < pixels.shape[0])
        weight = (np.exp(scale * dy * dy) * in_y)[:, :, None] * (np.exp(scale * dx * dx) * in_x)[:, None, :]
        weight *= (dx * dx)[:, None, :] + (dy * dy)[:, :, None] <= (_REACH * sigma[rows, None, None]) ** 2
        lines, columns = lines.clip(0, pixels.shape[0] - 1), columns.clip(0, pixels.shape[1] - 1)
        where = lines[:, :, None], columns[:, None, :]
        variance = (weight * noise[where]) ** 2
        sums[0, rows] = np.einsum("nyx,nyx->n", weight, pixels[where])
        sums[1, rows] = np.einsum("nyx,nx->n", variance, dx * dx + _PIXEL_VARIANCE)
        sums[2, rows] = np.einsum("nyx,ny->n", variance, dy * dy + _PIXEL_VARIANCE)
        sums[3, rows] = np.einsum("nyx,ny,nx->n", variance, dy, dx)
    return sums


def _groups(sigma: Floats, valid: Bools) -> Iterator[tuple["np.ndarray[tuple[int], np.dtype[np.int64]]", int]]:
    """Sources whose windows have about the same size, a million pixels of windows at a time, and half their width."""
    half = np.ceil(_REACH * sigma + 1).astype(np.int64)
    # Sizes in steps of a quarter or so: few groups, and little that is summed for nothing.
    half = np.where(half > 8, np.ceil(8 * 1.25 ** np.ceil(np.log(half / 8) / np.log(1.25))).astype(np.int64), half)
    for size in np.unique(half[valid]):
        chosen = np.flatnonzero(valid & (half == size))
        many = max(1, _CHUNK // int(2 * size + 1) ** 2)
        for begin in range(0, len(chosen), many):
            yield chosen[begin : begin + many], int(size)
