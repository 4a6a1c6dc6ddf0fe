"""Curves of growth and light radii, after `sep_sum_circann_multi` and `sep_flux_radius` of SEP 1.4.1 (aperture.c)."""

import math
from typing import Any

import numpy as np
from numba import types

from kira.extraction.fast.arrays import COLUMN, FLAGS, IMAGE, MASK, OUT_TABLE, kernel
from kira.extraction.fast.extent import ANNULUS, HAS_MASKED, NOT_MEASURED, extent, fetch

_STEPS = 64
"""Steps of the curve of growth (FLUX_RADIUS_BUFSIZE)."""
_MARGIN = 1.5  # pixels beyond the largest radius in which SEP looks for masked ones


@kernel()
def _bin_finely(pixels: Any, mask: Any, x: Any, y: Any, reach: Any, box: Any, subpix: Any, work: Any) -> None:
    """Put every sub-pixel into its step of the curve.

    A row of sub-pixels has its steps computed in one go. Each of a pixel's columns of sub-pixels has sums of its own:
    neighbours nearly always share a step, and would wait for each other.
    """
    light, area, masked_area, squares, steps, masked = work
    xmin, xmax, ymin, ymax = box
    scale = 1.0 / subpix
    offset = 0.5 * (scale - 1.0)
    density = 1.0 / (reach / _STEPS)
    for ix in range(xmin, xmax):
        dx1 = ix - x + offset
        for k in range(subpix):
            squares[(ix - xmin) * subpix + k] = dx1 * dx1
            dx1 += scale
    share = scale * scale
    for iy in range(ymin, ymax):
        dy = iy - y
        near = max(abs(dy) - 0.5, 0.0)
        if near > reach:
            continue
        half = math.sqrt(reach * reach - near * near) + 1.5
        first = max(xmin, int(max(x - half, 0.0)))
        last = min(xmax, int(min(x + half, xmax + 1.0)) + 1)
        begin, number = (first - xmin) * subpix, (last - first) * subpix
        dy1 = dy + offset
        for _ in range(subpix):
            dy2 = dy1 * dy1
            for k in range(number):
                steps[k] = np.int32(min(math.sqrt(squares[begin + k] + dy2) * density, float(_STEPS)))
            for ix in range(first, last):
                at = (ix - first) * subpix
                if masked:
                    to = masked_area if mask[iy, ix] > 0 else area
                    for k in range(subpix):
                        to[steps[at + k], k] += share
                    if mask[iy, ix] > 0:
                        continue
                value = share * pixels[iy, ix]
                for k in range(subpix):
                    light[steps[at + k], k] += value
            dy1 += scale


@kernel()
def _bin_coarsely(pixels: Any, mask: Any, x: Any, y: Any, reach: Any, box: Any, subpix: Any, work: Any) -> None:
    """Put whole pixels into a step of the curve where they are far from its bounds: steps are wider than pixels."""
    light, area, masked_area, _, _, masked = work
    xmin, xmax, ymin, ymax = box
    scale = 1.0 / subpix
    offset = 0.5 * (scale - 1.0)
    step = reach / _STEPS
    density = 1.0 / step
    outer = (reach + _MARGIN) * (reach + _MARGIN)
    for iy in range(ymin, ymax):
        dy = iy - y
        for ix in range(xmin, xmax):
            dx = ix - x
            if dx * dx + dy * dy >= outer:
                continue
            hidden = masked and mask[iy, ix] > 0
            distance = math.sqrt(dx * dx + dy * dy)
            within = distance % step
            fine = within < ANNULUS or within > step - ANNULUS
            number = subpix if fine else 1
            share = scale * scale if fine else 1.0
            dy1 = dy + offset if fine else dy
            for _ in range(number):
                dx1 = dx + offset if fine else dx
                for _ in range(number):
                    j = int(min(math.sqrt(dx1 * dx1 + dy1 * dy1) * density, float(_STEPS)))
                    if hidden:
                        masked_area[j, 0] += share
                    else:
                        area[j, 0] += share
                        light[j, 0] += share * pixels[iy, ix]
                    dx1 += scale
                dy1 += scale


@kernel()
def _any_masked(mask: Any, x: Any, y: Any, r: Any, box: Any) -> Any:
    xmin, xmax, ymin, ymax = box
    for iy in range(ymin, ymax):
        dy = iy - y
        for ix in range(xmin, xmax):
            dx = ix - x
            if mask[iy, ix] > 0 and dx * dx + dy * dy < r * r:
                return True
    return False


@kernel()
def _inverse(reach: Any, curve: Any, target: Any) -> Any:
    """Radius at which the curve reaches a flux: linear between its steps."""
    step = reach / _STEPS
    i = 0
    while i < _STEPS and curve[i] < target:
        i += 1
    if i == 0:
        if target <= 0.0 or curve[0] == 0.0:
            return 0.0
        return step * target / curve[0]
    if i == _STEPS:
        return reach
    return step * (i + (target - curve[i - 1]) / (curve[i] - curve[i - 1]))


@kernel(types.void(IMAGE, MASK, COLUMN, COLUMN, COLUMN, COLUMN, COLUMN, types.int64, OUT_TABLE, FLAGS))
def light_radii(
    pixels: Any, mask: Any, x: Any, y: Any, reach: Any, fractions: Any, total: Any, subpix: Any, radii: Any, flags: Any
) -> None:
    """Radii that hold fractions of a flux, of n sources, as `sep.flux_radius`.

    Parameters
    ----------
    pixels : numpy.ndarray of float32, shape (rows, columns)
    mask : numpy.ndarray of uint8, shape (rows, columns)
        Empty for none.
    x, y, reach, total : numpy.ndarray of float64, shape (n,)
        Centre and largest radius, pixels, and the flux.
    fractions : numpy.ndarray of float64, shape (m,)
    subpix : int
        1 at least.
    radii : numpy.ndarray of float64, shape (n, m)
    flags : numpy.ndarray of int32, shape (n,)
        The two are written; NaN and NOT_MEASURED where a centre or radius is no number.
    """
    height, width = pixels.shape
    curve, fetched = np.zeros(_STEPS), np.zeros(1)
    light, area = np.zeros((_STEPS + 1, subpix)), np.zeros((_STEPS + 1, subpix))
    masked_area = np.zeros((_STEPS + 1, subpix))
    squares, steps = np.zeros(width * subpix), np.zeros(width * subpix, dtype=np.int32)
    for i in range(len(x)):
        r = reach[i]
        if not (math.isfinite(x[i]) and math.isfinite(y[i]) and math.isfinite(r) and r > 0.0):
            radii[i, :], flags[i] = math.nan, NOT_MEASURED
            continue
        light[:], area[:], masked_area[:] = 0.0, 0.0, 0.0
        xmin, xmax, ymin, ymax, flag = extent(x[i], y[i], r + _MARGIN, r + _MARGIN, width, height)
        box = (xmin, xmax, ymin, ymax)
        fetched[0] = fetch(pixels, xmin, xmax, ymin, ymax)
        masked = mask.size > 0 and _any_masked(mask, x[i], y[i], r + _MARGIN, box)
        if masked:
            flag |= HAS_MASKED
        work = (light, area, masked_area, squares, steps, masked)
        # In steps this narrow every pixel is near a bound, and divided.
        if r / _STEPS <= 2.0 * ANNULUS:
            _bin_finely(pixels, mask, x[i], y[i], r, box, subpix, work)
        else:
            _bin_coarsely(pixels, mask, x[i], y[i], r, box, subpix, work)
        flux = 0.0
        for j in range(_STEPS):
            here = light[j].sum()
            if masked:
                seen, hidden = area[j].sum(), masked_area[j].sum()
                here = here * ((seen + hidden) / seen) if seen > 0.0 else 0.0
            flux += here
            curve[j] = flux
        for k in range(len(fractions)):
            radii[i, k] = _inverse(r, curve, fractions[k] * total[i])
        flags[i] = flag
