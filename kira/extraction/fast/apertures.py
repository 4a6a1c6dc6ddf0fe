"""Sums over circles and ellipses, and Kron radii.

After aperture.i, `sep_sum_circle`, `sep_sum_ellipse` and `sep_kron_radius` of SEP 1.4.1 (aperture.c), in its order of
summation and with its types: sums come out bit for bit.
"""

import math
from typing import Any

import numpy as np
from numba import types

from kira.extraction.fast.arrays import (
    COLUMN,
    FLAG_TABLE,
    FLAGS,
    IMAGE,
    MASK,
    OUT_COLUMN,
    OUT_TABLE,
    kernel,
)  # fmt: skip
from kira.extraction.fast.coverage import circle_count, fill_squares, lanes
from kira.extraction.fast.extent import (
    ALL_MASKED,
    ANNULUS,
    HAS_MASKED,
    NON_POSITIVE,
    NOT_MEASURED,
    annulus,
    ellipse_coefficients,
    ellipse_extent,
    extent,
    fetch,
    fill_shares,
    line_ranges,
)  # fmt: skip
from kira.extraction.fast.overlap import circle_overlap

_LEAST = np.float32(-1e30)
"""Below it a pixel has no value for the Kron radius (BIG in sepcore.h)."""


@kernel()
def _circle(pixels: Any, noise: Any, variance: Any, mask: Any, x: Any, y: Any, r: Any, fine: Any) -> Any:
    height, width = pixels.shape
    subpix, shares, squares_x, squares_y, start_x, start_y = fine
    r2 = r * r
    inner, outer = annulus(r, ANNULUS)
    xmin, xmax, ymin, ymax, flag = extent(x, y, r, r, width, height)
    mapped, masked = noise.size > 0, mask.size > 0
    light = light_variance = area = masked_area = 0.0
    for iy in range(ymin, ymax):
        dy = iy - y
        first, begin, end, last = line_ranges(x, dy * dy, inner, outer, xmin, xmax)
        for part in range(3):
            if part == 1 and not masked:
                row = pixels[iy, begin:end]
                if mapped:
                    spread = noise[iy, begin:end]
                    for k in range(len(row)):
                        light += row[k]
                        light_variance += spread[k] * spread[k]
                else:
                    for k in range(len(row)):
                        light += row[k]
                        light_variance += variance
                continue
            start, stop = (first, begin) if part == 0 else (begin, end) if part == 1 else (end, last)
            for ix in range(start, stop):
                dx = ix - x
                distance = dx * dx + dy * dy
                if distance < outer:
                    overlap = 1.0
                    if distance > inner:
                        if subpix > 0:
                            across, along = squares_x[ix - start_x], squares_y[iy - start_y]
                            overlap = shares[circle_count(dx, dy, r2, subpix, across, along)]
                        else:
                            overlap = circle_overlap(dx - 0.5, dy - 0.5, dx + 0.5, dy + 0.5, r)
                    if masked and mask[iy, ix] > 0:
                        flag |= HAS_MASKED
                        masked_area += overlap
                    else:
                        if mapped:
                            variance = noise[iy, ix] * noise[iy, ix]
                        light += pixels[iy, ix] * overlap
                        light_variance += variance * overlap
                    area += overlap
    if masked:
        factor = area / (area - masked_area)
        light *= factor
        light_variance *= factor
    return light, math.sqrt(light_variance), flag


@kernel(
    types.void(IMAGE, IMAGE, types.float32, MASK, COLUMN, COLUMN, COLUMN, types.int64, OUT_TABLE, OUT_TABLE, FLAG_TABLE)
)
def sum_circles(
    pixels: Any, noise: Any, variance: Any, mask: Any, x: Any, y: Any, radii: Any, subpix: Any,
    flux: Any, error: Any, flags: Any,
) -> None:  # fmt: skip
    """Sum circles of several radii around each of n places, as `sep.sum_circle`.

    Parameters
    ----------
    pixels, noise : numpy.ndarray of float32, shape (rows, columns)
        An empty `noise` stands for `variance` everywhere.
    variance : float32
    mask : numpy.ndarray of uint8, shape (rows, columns)
        Empty for none.
    x, y : numpy.ndarray of float64, shape (n,)
        Pixels.
    radii : numpy.ndarray of float64, shape (m,)
        Pixels.
    subpix : int
        0: exact overlap.
    flux, error : numpy.ndarray of float64, shape (n, m)
    flags : numpy.ndarray of int32, shape (n, m)
        The three are written; NaN and NOT_MEASURED where a place or radius is no number.
    """
    height, width = pixels.shape
    largest = 0.0
    for r in radii:
        largest = max(largest, r) if math.isfinite(r) else largest
    shares, fetched = np.zeros(subpix * subpix + 1), np.zeros(1)
    squares_x, squares_y = np.zeros((width, lanes(subpix))), np.zeros((height, lanes(subpix)))
    if subpix > 0:
        fill_shares(shares, subpix)
    for i in range(len(x)):
        start_x, end_x, start_y, end_y, _ = extent(x[i], y[i], largest, largest, width, height)
        if subpix > 0:
            fill_squares(squares_x, start_x, end_x, x[i], subpix)
            fill_squares(squares_y, start_y, end_y, y[i], subpix)
        fetched[0] = fetch(pixels, start_x, end_x, start_y, end_y)
        if noise.size > 0:
            fetched[0] = fetch(noise, start_x, end_x, start_y, end_y)
        fine = (subpix, shares, squares_x, squares_y, start_x, start_y)
        for k in range(len(radii)):
            r = radii[k]
            if math.isfinite(x[i]) and math.isfinite(y[i]) and math.isfinite(r) and r >= 0.0:
                flux[i, k], error[i, k], flags[i, k] = _circle(pixels, noise, variance, mask, x[i], y[i], r, fine)
            else:
                flux[i, k], error[i, k], flags[i, k] = math.nan, math.nan, NOT_MEASURED


@kernel()
def _ellipse_count(dx: Any, dy: Any, cxx: Any, cyy: Any, cxy: Any, r2: Any, subpix: Any) -> Any:
    scale = 1.0 / subpix
    offset = 0.5 * (scale - 1.0)
    count = 0
    dy1 = dy + offset
    for _ in range(subpix):
        dx1 = dx + offset
        dy2 = dy1 * dy1
        for _ in range(subpix):
            if cxx * dx1 * dx1 + cyy * dy2 + cxy * dx1 * dy1 < r2:
                count += 1
            dx1 += scale
        dy1 += scale
    return count


@kernel()
def _ellipse(
    pixels: Any, noise: Any, variance: Any, mask: Any, x: Any, y: Any, shape: Any, r: Any, subpix: Any, shares: Any
) -> Any:
    height, width = pixels.shape
    cxx, cyy, cxy = ellipse_coefficients(shape[0], shape[1], shape[2])
    r2 = r * r
    inner, outer = annulus(r, ANNULUS / shape[1])
    xmin, xmax, ymin, ymax, flag = ellipse_extent(x, y, cxx, cyy, cxy, r, width, height)
    mapped, masked = noise.size > 0, mask.size > 0
    light = light_variance = area = masked_area = 0.0
    for iy in range(ymin, ymax):
        dy = iy - y
        for ix in range(xmin, xmax):
            dx = ix - x
            distance = cxx * dx * dx + cyy * dy * dy + cxy * dx * dy
            if distance < outer:
                overlap = 1.0
                if distance > inner:
                    overlap = shares[_ellipse_count(dx, dy, cxx, cyy, cxy, r2, subpix)]
                if masked and mask[iy, ix] > 0:
                    flag |= HAS_MASKED
                    masked_area += overlap
                else:
                    if mapped:
                        variance = noise[iy, ix] * noise[iy, ix]
                    light += pixels[iy, ix] * overlap
                    light_variance += variance * overlap
                area += overlap
    if masked:
        factor = area / (area - masked_area)
        light *= factor
        light_variance *= factor
    return light, math.sqrt(light_variance), flag


@kernel(
    types.void(
        IMAGE, IMAGE, types.float32, MASK, COLUMN, COLUMN, COLUMN, COLUMN, COLUMN, COLUMN, types.int64,
        OUT_COLUMN, OUT_COLUMN, FLAGS,
    )
)  # fmt: skip
def sum_ellipses(
    pixels: Any, noise: Any, variance: Any, mask: Any, x: Any, y: Any, a: Any, b: Any, theta: Any, r: Any, subpix: Any,
    flux: Any, error: Any, flags: Any,
) -> None:  # fmt: skip
    """Sum one ellipse for each of n sources, as `sep.sum_ellipse`; `subpix` is 1 at least.

    Parameters are those of `sum_circles`, with semi-axes a and b (pixels), the angle theta (radians) and r in units of
    the axes, each of shape (n,). What SEP would raise for is NaN, with the flag NOT_MEASURED.
    """
    shares = np.zeros(subpix * subpix + 1)
    fill_shares(shares, subpix)
    half_turn = math.pi / 2.0
    for i in range(len(x)):
        if r[i] >= 0.0 and b[i] >= 0.0 and a[i] >= b[i] and theta[i] >= -half_turn and theta[i] <= half_turn:
            flux[i], error[i], flags[i] = _ellipse(
                pixels, noise, variance, mask, x[i], y[i], (a[i], b[i], theta[i]), r[i], subpix, shares
            )
        else:
            flux[i], error[i], flags[i] = math.nan, math.nan, NOT_MEASURED


@kernel(types.void(IMAGE, MASK, COLUMN, COLUMN, COLUMN, COLUMN, COLUMN, types.float64, OUT_COLUMN, FLAGS))
def kron_radii(
    pixels: Any, mask: Any, x: Any, y: Any, a: Any, b: Any, theta: Any, r: Any, radii: Any, flags: Any
) -> None:
    """Measure Kron radii within ellipses of r times the axes of each of n sources, as `sep.kron_radius`.

    The results, `radii` in units of the axes and `flags`, are written.
    """
    height, width = pixels.shape
    masked = mask.size > 0
    for i in range(len(x)):
        cxx, cyy, cxy = ellipse_coefficients(a[i], b[i], theta[i])
        xmin, xmax, ymin, ymax, flag = ellipse_extent(x[i], y[i], cxx, cyy, cxy, r, width, height)
        moment = light = 0.0
        number = 0
        for iy in range(ymin, ymax):
            dy = iy - y[i]
            for ix in range(xmin, xmax):
                dx = ix - x[i]
                distance = cxx * dx * dx + cyy * dy * dy + cxy * dx * dy
                if distance <= r * r:
                    if pixels[iy, ix] < _LEAST or (masked and mask[iy, ix] > 0):
                        flag |= HAS_MASKED
                    else:
                        moment += math.sqrt(distance) * pixels[iy, ix]
                        light += pixels[iy, ix]
                        number += 1
        radii[i] = 0.0
        if number == 0:
            flag |= ALL_MASKED
        elif moment <= 0.0 or light <= 0.0:
            flag |= NON_POSITIVE
        else:
            radii[i] = moment / light
        flags[i] = flag
