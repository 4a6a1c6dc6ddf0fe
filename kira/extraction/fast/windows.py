"""Windowed positions, after `sep_windowed` of SEP 1.4.1 (aperture.c), and sums over their windows."""

import math
from typing import Any

import numpy as np
from numba import types

from kira.extraction.fast.apertures import circle_count
from kira.extraction.fast.arrays import COLUMN, FLAGS, IMAGE, MASK, OUT_COLUMN, OUT_TABLE, kernel
from kira.extraction.fast.extent import ANNULUS, HAS_MASKED, NOT_MEASURED, annulus, extent, fill_shares

_MOST_STEPS = 16
_REACH = 4.0
_LEAST_STEP = 0.0001
_FACTOR = 2.0
"""WINPOS_NITERMAX, WINPOS_NSIG, WINPOS_STEPMIN and WINPOS_FAC."""
_SUBPIX = 11
"""Default of `sep.winpos`."""
_PIXEL_VARIANCE = 1.0 / 12.0


@kernel()
def _step(pixels: Any, mask: Any, x: Any, y: Any, sigma: Any, shares: Any, squares: Any, gauss: Any) -> Any:
    """Sums of one iteration: weighted flux, weighted offsets, flag bits."""
    height, width = pixels.shape
    r = _REACH * sigma
    r2 = r * r
    inner, outer = annulus(r, ANNULUS)
    scale = -1.0 / (2.0 * sigma * sigma)
    xmin, xmax, ymin, ymax, flag = extent(x, y, r, r, width, height)
    masked = mask.size > 0
    light = weighted = along_x = along_y = 0.0
    area = masked_area = masked_weight = masked_x = masked_y = 0.0
    for ix in range(xmin, xmax):
        gauss[ix - xmin] = math.exp(scale * (ix - x) * (ix - x))
    for iy in range(ymin, ymax):
        dy = iy - y
        gauss_y = math.exp(scale * dy * dy)
        for ix in range(xmin, xmax):
            dx = ix - x
            distance = dx * dx + dy * dy
            if distance < outer:
                overlap = 1.0
                if distance > inner:
                    overlap = shares[circle_count(dx, dy, r2, _SUBPIX, squares)]
                weight = gauss_y * gauss[ix - xmin]
                if masked and mask[iy, ix] > 0:
                    flag |= HAS_MASKED
                    masked_area += overlap
                    masked_weight += overlap * weight
                    masked_x += overlap * weight * dx
                    masked_y += overlap * weight * dy
                else:
                    value = pixels[iy, ix] * overlap
                    light += value
                    value *= weight
                    weighted += value
                    along_x += value * dx
                    along_y += value * dy
                area += overlap
    if masked:
        mean = light / (area - masked_area)
        weighted += mean * masked_weight
        along_x += mean * masked_x
        along_y += mean * masked_y
    return weighted, along_x, along_y, flag


@kernel(types.void(IMAGE, MASK, COLUMN, COLUMN, COLUMN, OUT_COLUMN, OUT_COLUMN, FLAGS))
def windowed_positions(
    pixels: Any, mask: Any, x0: Any, y0: Any, sigma: Any, x_win: Any, y_win: Any, flags: Any
) -> None:
    """Iterate from n places to windowed positions, as `sep.winpos`.

    Parameters
    ----------
    pixels : numpy.ndarray of float32, shape (rows, columns)
    mask : numpy.ndarray of uint8, shape (rows, columns)
        Empty for none.
    x0, y0, sigma : numpy.ndarray of float64, shape (n,)
        Pixels; sigma is above 0.
    x_win, y_win : numpy.ndarray of float64, shape (n,)
    flags : numpy.ndarray of int32, shape (n,)
        The three are written; NaN and NOT_MEASURED where a place is no number.
    """
    gauss = np.zeros(pixels.shape[1] + 1)
    shares, squares = np.zeros(_SUBPIX * _SUBPIX + 1), np.zeros(_SUBPIX)
    fill_shares(shares, _SUBPIX)
    for i in range(len(x0)):
        x, y, flag = x0[i], y0[i], 0
        if not (math.isfinite(x) and math.isfinite(y) and math.isfinite(sigma[i])):
            x_win[i], y_win[i], flags[i] = math.nan, math.nan, NOT_MEASURED
            continue
        for _ in range(_MOST_STEPS):
            weighted, dx, dy, bits = _step(pixels, mask, x, y, sigma[i], shares, squares, gauss)
            flag |= bits
            if not weighted > 0.0:
                break
            dx /= weighted
            dy /= weighted
            x += dx * _FACTOR
            y += dy * _FACTOR
            if dx * dx + dy * dy < _LEAST_STEP * _LEAST_STEP:
                break
        x_win[i], y_win[i], flags[i] = x, y, flag


@kernel(types.void(IMAGE, IMAGE, COLUMN, COLUMN, COLUMN, MASK, OUT_TABLE))
def window_sums(pixels: Any, noise: Any, x: Any, y: Any, sigma: Any, valid: Any, sums: Any) -> None:
    """Sum over Gaussian windows; see `kira.extraction.windowed.window_sums`.

    Parameters
    ----------
    pixels, noise : numpy.ndarray of float32, shape (rows, columns)
    x, y, sigma : numpy.ndarray of float64, shape (n,)
    valid : numpy.ndarray of uint8, shape (1, n)
    sums : numpy.ndarray of float64, shape (4, n)
        Is written.
    """
    height, width = pixels.shape
    gauss = np.zeros(width + 1)
    for i in range(len(x)):
        sums[:, i] = 0.0
        if valid[0, i] == 0 or not (math.isfinite(x[i]) and math.isfinite(y[i])):
            continue
        reach = _REACH * sigma[i]
        xmin, xmax, ymin, ymax, _ = extent(x[i], y[i], reach + 1.0, reach + 1.0, width, height)
        scale = -0.5 / (sigma[i] * sigma[i])
        for ix in range(xmin, xmax):
            gauss[ix - xmin] = math.exp(scale * (ix - x[i]) * (ix - x[i]))
        flux = xx = yy = xy = 0.0
        for iy in range(ymin, ymax):
            dy = iy - y[i]
            gauss_y = math.exp(scale * dy * dy)
            for ix in range(xmin, xmax):
                dx = ix - x[i]
                if dx * dx + dy * dy <= reach * reach:
                    weight = gauss_y * gauss[ix - xmin]
                    flux += weight * pixels[iy, ix]
                    spread = weight * noise[iy, ix]
                    spread *= spread
                    xx += spread * (dx * dx + _PIXEL_VARIANCE)
                    yy += spread * (dy * dy + _PIXEL_VARIANCE)
                    xy += spread * dx * dy
        sums[0, i], sums[1, i], sums[2, i], sums[3, i] = flux, xx, yy, xy
