"""What follows from which pixels are whose: the loops of `kira.extraction.segments`."""

from typing import Any

import numpy as np
from numba import types

from kira.extraction.fast.arrays import COLUMN, IMAGE, MASK, OUT_COLUMN, OUT_TABLE, SEGMENTS, kernel
from kira.extraction.fast.extent import ANNULUS, annulus, ellipse_coefficients, ellipse_extent

_LANE = 64


@kernel(types.void(SEGMENTS, IMAGE, COLUMN, COLUMN, OUT_TABLE))
def owned_variances(segments: Any, noise: Any, x: Any, y: Any, sums: Any) -> None:
    """Sum the variances of sources' own pixels.

    Parameters
    ----------
    segments : numpy.ndarray of int32, shape (rows, columns)
        Number of the source that a pixel belongs to, from 1; 0 for none.
    noise : numpy.ndarray of float32, shape (rows, columns)
    x, y : numpy.ndarray of float64, shape (n,)
        Barycentres.
    sums : numpy.ndarray of float64, shape (n, 4)
        Is added to: s^2, s^2 dx dx, s^2 dy dy and s^2 dx dy.
    """
    height, width = segments.shape
    for iy in range(height):
        for begin in range(0, width, _LANE):
            end = min(begin + _LANE, width)
            lane, used = segments[iy, begin:end], np.int32(0)
            for k in range(len(lane)):
                used |= lane[k]
            if used == 0:
                continue
            for ix in range(begin, end):
                i = segments[iy, ix] - 1
                if 0 <= i < len(x):
                    variance = np.float64(noise[iy, ix]) * np.float64(noise[iy, ix])
                    dx, dy = ix - x[i], iy - y[i]
                    sums[i, 0] += variance
                    sums[i, 1] += variance * dx * dx
                    sums[i, 2] += variance * dy * dy
                    sums[i, 3] += variance * dx * dy


@kernel(types.void(SEGMENTS, MASK, types.uint8[::1]))
def mark_touched(segments: Any, marked: Any, found: Any) -> None:
    """Mark the sources that have a marked pixel among their own or beside them.

    `found` (uint8, one more than sources) is written at the sources' numbers, from 1.
    """
    height, width = segments.shape
    for iy in range(height):
        for begin in range(0, width, _LANE):
            end = min(begin + _LANE, width)
            lane, used = marked[iy, begin:end], np.uint8(0)
            for k in range(len(lane)):
                used |= lane[k]
            if used == 0:
                continue
            for ix in range(begin, end):
                if marked[iy, ix] > 0:
                    for jy in range(max(iy - 1, 0), min(iy + 2, height)):
                        for jx in range(max(ix - 1, 0), min(ix + 2, width)):
                            if 0 <= segments[jy, jx] < len(found):
                                found[segments[jy, jx]] = 1


@kernel(types.void(SEGMENTS, COLUMN, COLUMN, COLUMN, COLUMN, COLUMN, COLUMN, OUT_COLUMN))
def owned_inside(segments: Any, x: Any, y: Any, a: Any, b: Any, theta: Any, r: Any, number: Any) -> None:
    """Count the pixels of any source whose centres are in ellipses: `sep.sum_ellipse` of 1 and 0, subpix 1."""
    height, width = segments.shape
    for i in range(len(x)):
        cxx, cyy, cxy = ellipse_coefficients(a[i], b[i], theta[i])
        inner, outer = annulus(r[i], ANNULUS / b[i])
        xmin, xmax, ymin, ymax, _ = ellipse_extent(x[i], y[i], cxx, cyy, cxy, r[i], width, height)
        count = 0
        for iy in range(ymin, ymax):
            dy = iy - y[i]
            for ix in range(xmin, xmax):
                dx = ix - x[i]
                distance = cxx * dx * dx + cyy * dy * dy + cxy * dx * dy
                if distance < outer and segments[iy, ix] > 0:
                    if distance > inner and not cxx * dx * dx + cyy * (dy * dy) + cxy * dx * dy < r[i] * r[i]:
                        continue
                    count += 1
        number[i] = count
