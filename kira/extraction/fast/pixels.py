"""Passes over whole frames: which pixels can be used, how noisy they are, and in which steps their numbers go.

The arithmetic is that of `kira.extraction.noise`, `kira.extraction.detection` and `kira.frames.noise`, in single
precision and in the same order, so that every number is the same.
"""

import math
from typing import Any

import numpy as np
from numba import types

from kira.extraction.fast.arrays import IMAGE, INDICES, MASK, OUT_IMAGE, OUT_MASK, ROW, kernel
from kira.extraction.noise import FLOOR, LARGEST

_F = np.float32
_LARGEST = _F(LARGEST)


@kernel(types.boolean(IMAGE))
def whole_numbers(data: Any) -> Any:
    """Whether all numbers of shape (rows, columns) that are finite are whole."""
    for y in range(data.shape[0]):
        row = data[y]
        odd = 0
        for x in range(len(row)):
            one = row[x]
            odd += one != np.rint(one) and abs(one) < _F(np.inf)
        if odd > 0:
            return False
    return True


@kernel(types.int64(IMAGE, MASK, IMAGE, OUT_MASK))
def mark_unusable(data: Any, mask: Any, noise: Any, result: Any) -> Any:
    """Mark the pixels without value or noise, and those masked already; return how many there are.

    Parameters
    ----------
    data : numpy.ndarray of float32, shape (rows, columns)
    mask : numpy.ndarray of uint8, and noise : numpy.ndarray of float32, shape (rows, columns)
        Empty where not known.
    result : numpy.ndarray of uint8, shape (rows, columns)
        Is written: 0 or 1.
    """
    total = 0
    for y in range(data.shape[0]):
        row, marks = data[y], result[y]
        for x in range(len(row)):
            marks[x] = not abs(row[x]) <= _LARGEST
        if mask.size > 0:
            hidden = mask[y]
            for x in range(len(row)):
                marks[x] |= hidden[x] != 0
        if noise.size > 0:
            spread = noise[y]
            for x in range(len(row)):
                marks[x] |= not (spread[x] > _F(0.0) and spread[x] < _F(np.inf))
        number = 0
        for x in range(len(row)):
            number += marks[x]
        total += number
    return total


@kernel(types.void(IMAGE, types.float32, types.float32, types.float32, OUT_IMAGE))
def count_noise(data: Any, bias: Any, per_gain: Any, dark: Any, noise: Any) -> None:
    """Noise of counts, DN: sqrt(max(data - bias, 0) / gain + dark variance) (`kira.frames.noise.count_noise`)."""
    for y in range(data.shape[0]):
        row, result = data[y], noise[y]
        for x in range(len(row)):
            counts = row[x] - bias
            counts = _F(0.0) if counts < _F(0.0) else counts
            result[x] = math.sqrt(counts * per_gain + dark)


@kernel(types.void(IMAGE, ROW, IMAGE, INDICES, INDICES, ROW, types.float32, types.float32, OUT_IMAGE))
def nanomaggy_noise(
    data: Any, calibration: Any, sky: Any, below: Any, above: Any, weight: Any, per_gain: Any, dark: Any, noise: Any
) -> None:
    """Noise of a calibrated frame, nanomaggies (`kira.frames.noise.nanomaggy_noise`).

    Parameters
    ----------
    data : numpy.ndarray of float32, shape (rows, columns)
        Nanomaggies.
    calibration : numpy.ndarray of float32, shape (columns,)
        Nanomaggies a count; NaN where there is none.
    sky : numpy.ndarray of float32, shape (m, columns)
        Counts.
    below, above : numpy.ndarray of int64, weight : numpy.ndarray of float32, shape (rows,)
        Rows of `sky` on both sides of each row, and the weight of the second.
    per_gain, dark : float32
    noise : numpy.ndarray of float32, shape (rows, columns)
        Is written.
    """
    for y in range(data.shape[0]):
        row, result, low, high, share = data[y], noise[y], sky[below[y]], sky[above[y]], weight[y]
        for x in range(len(row)):
            counts = low[x] + share * (high[x] - low[x]) + row[x] / calibration[x]
            counts = _F(0.0) if counts < _F(0.0) else counts
            result[x] = math.sqrt(counts * per_gain + dark) * calibration[x]


@kernel(types.void(IMAGE, IMAGE, types.float32, OUT_IMAGE))
def photon_noise(pixels: Any, rms: Any, gain: Any, noise: Any) -> None:
    """Noise of the background and of the light above it (`kira.extraction.noise.pixel_noise`)."""
    floor = _F(FLOOR)
    for y in range(pixels.shape[0]):
        row, spread, result = pixels[y], rms[y], noise[y]
        for x in range(len(row)):
            background = spread[x] * spread[x]
            variance, least = background + row[x] / gain, floor * background
            result[x] = math.sqrt(least if variance < least else variance)


@kernel(types.void(OUT_IMAGE, IMAGE, MASK, OUT_IMAGE))
def blank(pixels: Any, noise: Any, mask: Any, result: Any) -> None:
    """Set masked pixels to 0, and write the noise into `result`, 0 where masked."""
    for y in range(pixels.shape[0]):
        row, spread, hidden, out = pixels[y], noise[y], mask[y], result[y]
        for x in range(len(row)):
            row[x] = row[x] if hidden[x] == 0 else _F(0.0)
            out[x] = spread[x] if hidden[x] == 0 else _F(0.0)
