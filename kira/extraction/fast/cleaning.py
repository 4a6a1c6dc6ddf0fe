"""Cleaning: objects that are no more than the wings of a brighter one (clean in extract.c)."""

import math

import numpy as np
from numba import njit

from kira.extraction.fast.branches import sorted_by

_ZONE = 10.0
"""Distance up to which two objects are compared, in units of the sum of their major axes (CLEAN_ZONE in extract.h)."""
_FAR = 1e10
_CELL = 32.0  # pixels
_KINDS, _SMALLEST = 14, 2
_CLEARLY_LESS = 0.999999


@njit(cache=True, nogil=True, error_model="numpy")
def faint_limit(one, minarea, threshold, pixels):  # type: ignore[no-untyped-def]
    """Return the height above the threshold that `minarea` pixels of an object have (analysemthresh in analyse.c).

    That is SEP's number, which is not quite it: the heap that it keeps leaves out the pixel after the first `minarea`,
    is not a heap any more where it is deeper than two, and with just `minarea` pixels its first is taken for its least.

    Parameters
    ----------
    one : record of `kira.extraction.fast.moments.OBJECT`
    minarea : int
    threshold : float32
        In units of the noise.
    pixels : tuple of numpy.ndarray
        As in `kira.extraction.fast.moments.survey_pixels`.

    Returns
    -------
    float32
    """
    _, _, _, filtered, noise = pixels
    n, first = one.npix, one.first
    if n < minarea:
        return np.float32(0.0)
    heap = np.empty(minarea, dtype=np.float32)
    for i in range(minarea):
        heap[i] = filtered[first + i] - threshold * noise[first + i]
    if n == minarea:
        return heap[0]
    _sort(heap)
    for i in range(first + minarea + 1, first + n):
        height = filtered[i] - threshold * noise[i]
        if height > heap[0]:
            heap[0] = height
            _sift(heap)
    return heap[0]


@njit(cache=True, nogil=True)
def _sort(values):  # type: ignore[no-untyped-def]
    """Sort in place (Shell's sort: numpy's takes Numba seconds to compile, and a frame has little to sort)."""
    gap = values.size
    while gap > 1:
        gap = max(gap * 5 // 11, 1)
        for i in range(gap, values.size):
            value, j = values[i], i
            while j >= gap and values[j - gap] > value:
                values[j] = values[j - gap]
                j -= gap
            values[j] = value


@njit(cache=True, nogil=True)
def _sift(heap):  # type: ignore[no-untyped-def]
    n = heap.size
    parent = 0
    while 2 * parent + 2 <= n:
        following = 2 * parent + 2
        if following != n and heap[following - 1] > heap[following]:
            following += 1
        child = following - 1
        if heap[parent] <= heap[child]:
            return
        heap[parent], heap[child] = heap[child], heap[parent]
        parent = following  # SEP goes on beside the child that it has swapped


@njit(cache=True, nogil=True, error_model="numpy")
def survivors(objects, parameter):  # type: ignore[no-untyped-def]
    """Tell which objects are sources of their own.

    An object is taken for another's wing where the Moffat profile of the brighter one, of exponent `parameter`, is at
    its place above its `mthresh`.

    Parameters
    ----------
    objects : numpy.ndarray of `kira.extraction.fast.moments.OBJECT`, shape (n,)
    parameter : float

    Returns
    -------
    numpy.ndarray of bool, shape (n,)
    """
    n = objects.size
    stays = np.ones(n, dtype=np.bool_)
    x, y, a, flux = np.empty(n), np.empty(n), np.empty(n, dtype=np.float32), np.empty(n, dtype=np.float32)
    height, slope = np.empty(n), np.empty(n)
    for i in range(n):
        one = objects[i]
        x[i], y[i], a[i], flux[i] = one.x, one.y, one.a, one.cflux
        area = math.pi * np.float64(one.a) * np.float64(one.b)
        height[i] = np.float64(one.cflux) / (2 * area * np.float64(one.abcor))
        slope[i] = ((height[i] / np.float64(one.thresh)) ** (1.0 / parameter) - 1) * area / one.npix
    kinds, order, bounds, across, down = _cells(objects, x, y, a)
    for i in range(n):
        if not stays[i]:
            continue
        for kind in range(_KINDS):
            if bounds[kind * across * down] == bounds[(kind + 1) * across * down]:
                continue
            left, right, low, high = 0, across, 0, down
            if kind and kinds[i]:
                reach = _ZONE * (np.float64(a[i]) + 2.0 ** (kind - _SMALLEST)) + 1.0
                left, right = max(int((x[i] - reach) // _CELL), 0), min(int((x[i] + reach) // _CELL) + 1, across)
                low, high = max(int((y[i] - reach) // _CELL), 0), min(int((y[i] + reach) // _CELL) + 1, down)
            for line in range(low, high):
                first = (kind * down + line) * across
                for k in range(bounds[first + left], bounds[first + right]):
                    if order[k] > i and stays[order[k]]:
                        _compare(i, order[k], x, y, a, flux, height, slope, objects, parameter, stays)
    return stays


@njit(cache=True, nogil=True)
def _cells(objects, x, y, a):  # type: ignore[no-untyped-def]
    """Sort objects by size and place, so that most pairs that are too far from each other are never looked at.

    Each kind has sizes up to 2^(kind - _SMALLEST); those of kind 0, larger or nowhere in the image, are
    looked at with all others.
    """
    n = x.size
    columns = rows = 1
    for i in range(n):
        columns, rows = max(columns, objects[i].xmax + 1), max(rows, objects[i].ymax + 1)
    across, down = int(columns // _CELL) + 1, int(rows // _CELL) + 1
    kinds = np.zeros(n, dtype=np.int32)
    for i in range(n):
        if 0.0 <= x[i] < columns and 0.0 <= y[i] < rows and a[i] < 2.0 ** (_KINDS - 1 - _SMALLEST):
            kinds[i] = 1
            while a[i] > 2.0 ** (kinds[i] - _SMALLEST):
                kinds[i] += 1
    keys = np.zeros(n, dtype=np.int32)
    for i in range(n):
        if kinds[i]:
            keys[i] = (kinds[i] * down + int(y[i] // _CELL)) * across + int(x[i] // _CELL)
    order, bounds = sorted_by(np.arange(n), keys, 0, _KINDS * down * across)
    return kinds, order, bounds, across, down


@njit(cache=True, nogil=True, error_model="numpy")
def _compare(i, j, x, y, a, flux, height, slope, objects, parameter, stays):  # type: ignore[no-untyped-def]
    dx, dy = np.float32(x[i] - x[j]), np.float32(y[i] - y[j])
    reach = a[i] + a[j]
    reach *= reach
    if np.float64(dx * dx + dy * dy) > np.float64(reach) * _ZONE * _ZONE:
        return
    if flux[j] < flux[i]:
        if _covers(objects[i], height[i], slope[i], dx, dy, parameter, objects[j].mthresh):
            stays[j] = False
    elif _covers(objects[j], height[j], slope[j], dx, dy, parameter, objects[i].mthresh):
        stays[i] = False


@njit(cache=True, nogil=True, error_model="numpy")
def _covers(bright, height, slope, dx, dy, parameter, limit):  # type: ignore[no-untyped-def]
    distance = bright.cxx * dx * dx + bright.cyy * dy * dy + bright.cxy * dx * dy
    value = 1 + slope * np.float64(distance)
    if not value > 1.0:
        return False
    # Most are far from the limit, and a division is much faster than a power.
    if parameter == 1.0 and value < _FAR and height > 0.0 and height / value < _CLEARLY_LESS * np.float64(limit):
        return False
    return np.float32(height * value**-parameter if value < _FAR else 0.0) > limit
