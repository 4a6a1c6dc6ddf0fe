"""Windowed positions, after `sep_windowed` of SEP 1.4.1 (aperture.c), and sums over their windows."""

import math
from typing import Any

import numpy as np
from numba import types

from kira.extraction.fast.arrays import COLUMN, FLAGS, IMAGE, MASK, OUT_COLUMN, OUT_TABLE, kernel
from kira.extraction.fast.coverage import circle_count, fill_squares, lanes
from kira.extraction.fast.extent import (
    ANNULUS,
    HAS_MASKED,
    NOT_MEASURED,
    annulus,
    extent,
    fetch,
    fill_shares,
    line_ranges,
)

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
    squares_x, squares_y = squares
    fill_squares(squares_x, xmin, xmax, x, _SUBPIX)
    light = weighted = along_x = along_y = 0.0
    area = masked_area = masked_weight = masked_x = masked_y = 0.0
    for ix in range(xmin, xmax):
        gauss[ix - xmin] = math.exp(scale * (ix - x) * (ix - x))
    for iy in range(ymin, ymax):
        dy = iy - y
        gauss_y = math.exp(scale * dy * dy)
        fill_squares(squares_y, iy, iy + 1, y, _SUBPIX)
        for ix in range(xmin, xmax):
            dx = ix - x
            distance = dx * dx + dy * dy
            if distance < outer:
                overlap = 1.0
                if distance > inner:
                    overlap = shares[circle_count(dx, dy, r2, _SUBPIX, squares_x[ix - xmin], squares_y[0])]
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


@kernel()
def _any_masked(mask: Any, x: Any, y: Any, r: Any) -> Any:
    """Whether there is a masked pixel in the box of a circle."""
    if mask.size == 0:
        return False
    xmin, xmax, ymin, ymax, _ = extent(x, y, r, r, mask.shape[1], mask.shape[0])
    for iy in range(ymin, ymax):
        row = mask[iy, xmin:xmax]
        found = np.uint8(0)
        for k in range(len(row)):
            found |= row[k]
        if found > 0:
            return True
    return False


@kernel()
def _row_sums(row: Any, gauss: Any, offsets: Any) -> Any:
    """Sum of the products of pixels and weights, and of pixels and weights times offsets; four sums side by side."""
    s0 = s1 = s2 = s3 = t0 = t1 = t2 = t3 = 0.0
    n = len(row)
    for k in range(0, n - 3, 4):
        p0, p1, p2, p3 = row[k], row[k + 1], row[k + 2], row[k + 3]
        s0, s1, s2, s3 = s0 + p0 * gauss[k], s1 + p1 * gauss[k + 1], s2 + p2 * gauss[k + 2], s3 + p3 * gauss[k + 3]
        t0, t1 = t0 + p0 * offsets[k], t1 + p1 * offsets[k + 1]
        t2, t3 = t2 + p2 * offsets[k + 2], t3 + p3 * offsets[k + 3]
    for k in range(n // 4 * 4, n):
        s0 += row[k] * gauss[k]
        t0 += row[k] * offsets[k]
    return (s0 + s1) + (s2 + s3), (t0 + t1) + (t2 + t3)


@kernel()
def _clear_step(pixels: Any, x: Any, y: Any, sigma: Any, shares: Any, squares: Any, gauss: Any, offsets: Any) -> Any:
    """`_step` where no pixel is masked: a row's inner pixels are summed at once, for the window is a product."""
    height, width = pixels.shape
    r = _REACH * sigma
    r2 = r * r
    inner, outer = annulus(r, ANNULUS)
    scale = -1.0 / (2.0 * sigma * sigma)
    xmin, xmax, ymin, ymax, flag = extent(x, y, r, r, width, height)
    squares_x, squares_y = squares
    fill_squares(squares_x, xmin, xmax, x, _SUBPIX)
    weighted = along_x = along_y = 0.0
    for k in range(xmax - xmin):
        dx = xmin + k - x
        gauss[k] = math.exp(scale * dx * dx)
        offsets[k] = gauss[k] * dx
    for iy in range(ymin, ymax):
        dy = iy - y
        row = pixels[iy, xmin:xmax]
        first, begin, end, last = line_ranges(x, dy * dy, inner, outer, xmin, xmax)
        first, begin, end, last = first - xmin, begin - xmin, end - xmin, last - xmin
        fill_squares(squares_y, iy, iy + 1, y, _SUBPIX)
        light, light_x = _row_sums(row[begin:end], gauss[begin:end], offsets[begin:end])
        for edge in range(first, last - (end - begin)):
            k = edge if edge < begin else edge + end - begin
            dx = xmin + k - x
            distance = dx * dx + dy * dy
            if distance < outer:
                value = np.float64(row[k])
                if distance > inner:
                    value *= shares[circle_count(dx, dy, r2, _SUBPIX, squares_x[k], squares_y[0])]
                light += value * gauss[k]
                light_x += value * offsets[k]
        gauss_y = math.exp(scale * dy * dy)
        weighted += gauss_y * light
        along_x += gauss_y * light_x
        along_y += gauss_y * dy * light
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
    gauss, offsets = np.zeros(pixels.shape[1] + 1), np.zeros(pixels.shape[1] + 1)
    shares, fetched = np.zeros(_SUBPIX * _SUBPIX + 1), np.zeros(1)
    squares = (np.zeros((pixels.shape[1], lanes(_SUBPIX))), np.zeros((1, lanes(_SUBPIX))))
    fill_shares(shares, _SUBPIX)
    for i in range(len(x0)):
        x, y, flag = x0[i], y0[i], 0
        if not (math.isfinite(x) and math.isfinite(y) and math.isfinite(sigma[i])):
            x_win[i], y_win[i], flags[i] = math.nan, math.nan, NOT_MEASURED
            continue
        r = _REACH * sigma[i]
        xmin, xmax, ymin, ymax, _ = extent(x, y, r, r, pixels.shape[1], pixels.shape[0])
        fetched[0] = fetch(pixels, xmin, xmax, ymin, ymax)
        for _ in range(_MOST_STEPS):
            if _any_masked(mask, x, y, _REACH * sigma[i]):
                weighted, dx, dy, bits = _step(pixels, mask, x, y, sigma[i], shares, squares, gauss)
            else:
                weighted, dx, dy, bits = _clear_step(pixels, x, y, sigma[i], shares, squares, gauss, offsets)
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
