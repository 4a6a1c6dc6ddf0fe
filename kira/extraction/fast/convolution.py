"""From pixels to runs: the convolved image line by line, and what of it is above the threshold.

A run is a stretch of a line without a pixel at or below the threshold. The convolved image is nowhere kept as a whole.
"""

import numpy as np
import numpy.typing as npt
from numba import njit

Image = npt.NDArray[np.float32]

MASKED_NOISE = np.float32(1e30)
"""Noise of a masked pixel where each pixel has its own (BIG in SEP's sepcore.h): nothing is above its threshold."""

_WORD = 8  # flags that are looked at together


def normalised(kernel: npt.ArrayLike) -> Image:
    """Return a kernel whose absolute weights have the sum 1, rounded as SEP rounds it (sep_extract in extract.c).

    Parameters
    ----------
    kernel : array_like, shape (rows, columns)

    Returns
    -------
    numpy.ndarray of float32, shape (rows, columns)
    """
    weights = np.array(kernel, dtype=np.float32)
    total = np.float32(0.0)
    for weight in weights.ravel():  # one after another: numpy's own sum is pairwise
        total = np.float32(total + abs(weight))
    result: Image = weights / total
    return result


@njit(cache=True, nogil=True, error_model="numpy")
def runs_above(pixels, mask, noise, own_noise, threshold, kernel):  # type: ignore[no-untyped-def]
    """Convolve an image and find the runs above the threshold (convolve in convolve.c, the loop of sep_extract).

    The products of a pixel are summed in SEP's order and in float32, the kernel's rows first, so that the convolved
    values are SEP's to the last bit. What lies outside of the image counts as 0, and so does a masked pixel.

    Parameters
    ----------
    pixels : numpy.ndarray of float32, shape (rows, columns)
    mask : numpy.ndarray of bool, shape (rows, columns), or (0, 0) for none
    noise : numpy.ndarray of float32, shape (rows, columns), or (1, 1) for the same everywhere
    own_noise : bool
        Whether each pixel has its own noise.
    threshold : float32
        In units of the noise.
    kernel : numpy.ndarray of float32
        Normalised.

    Returns
    -------
    lines : numpy.ndarray of int64, shape (rows + 1,)
        Number of the first run of each line.
    begins, ends : numpy.ndarray of int32, shape (n,)
        First column of a run, and the one after its last.
    offsets : numpy.ndarray of int64, shape (n + 1,)
        Where each run's values begin in `values`.
    values : numpy.ndarray of float32
        Convolved values of all runs.
    """
    rows, columns = pixels.shape
    height, width = kernel.shape
    ahead = height - 1 - height // 2
    # The lines under the kernel, with zeros at both ends; that of row r is r modulo height.
    around = np.zeros((height, columns + width - 1), dtype=np.float32)
    convolved = np.zeros(columns, dtype=np.float32)
    limit = np.empty(columns, dtype=np.float32)
    for x in range(columns):
        limit[x] = threshold * noise[0, 0]
    # A word longer than the line, and its last flags never set: where the line ends, its last run does.
    words = np.zeros(columns // _WORD + 1, dtype=np.uint64)
    above = words.view(np.uint8)

    lines = np.zeros(rows + 1, dtype=np.int64)
    begins = np.empty(rows + columns, dtype=np.int32)
    ends = np.empty(rows + columns, dtype=np.int32)
    offsets = np.zeros(rows + columns + 1, dtype=np.int64)
    values = np.empty(16 * (rows + columns), dtype=np.float32)
    n = 0
    for row in range(-ahead, rows):
        _enter(pixels, mask, around, row + ahead, width // 2)
        if row < 0:
            continue
        if height == 3 and width == 3:
            _convolve_3x3(around, (row + 2) % 3, kernel, convolved)
        else:
            _convolve(around, row, kernel, convolved)
        if own_noise:
            _limits(noise[row], mask, row, threshold, limit)
        _compare(convolved, limit, above)
        if n + columns // 2 + 1 > begins.size:  # more runs than that a line cannot have
            more = 2 * begins.size + columns
            begins, ends, offsets = _longer(begins, more), _longer(ends, more), _longer(offsets, more + 1)
        first = n
        n = _runs_of_line(words, above, begins, ends, n)
        lines[row + 1] = n
        for run in range(first, n):
            begin, end = begins[run], ends[run]
            offset = offsets[run]
            offsets[run + 1] = offset + end - begin
            if offsets[run + 1] > values.size:
                values = _longer(values, 2 * values.size + columns)
            for x in range(begin, end):
                values[offset + x - begin] = convolved[x]
    return lines, begins[:n], ends[:n], offsets[: n + 1], values


@njit(cache=True, nogil=True)
def _longer(array, size):  # type: ignore[no-untyped-def]
    longer = np.empty(size, dtype=array.dtype)
    for i in range(array.size):
        longer[i] = array[i]
    return longer


@njit(cache=True, nogil=True)
def _enter(pixels, mask, around, row, left):  # type: ignore[no-untyped-def]
    """Put a row of the image in its place among those under the kernel: zeros where there is none or it is masked.

    SEP reads the first rows under the kernel before it applies the mask, which it then never does to them
    (arraybuffer_init in extract.c): there a mask of the image's first row is of no effect. Here it is.
    """
    rows, columns = pixels.shape
    line = around[row % around.shape[0]]
    if row >= rows:
        for x in range(line.size):
            line[x] = np.float32(0.0)
        return
    for x in range(columns):
        line[left + x] = pixels[row, x]
    if mask.size:
        for x in range(columns):
            if mask[row, x]:
                line[left + x] = np.float32(0.0)


@njit(cache=True, nogil=True)
def _convolve_3x3(around, top, kernel, convolved):  # type: ignore[no-untyped-def]
    n = convolved.size
    a0, a1, a2 = around[top][:n], around[top][1 : n + 1], around[top][2 : n + 2]
    middle = around[(top + 1) % 3]
    b0, b1, b2 = middle[:n], middle[1 : n + 1], middle[2 : n + 2]
    bottom = around[(top + 2) % 3]
    c0, c1, c2 = bottom[:n], bottom[1 : n + 1], bottom[2 : n + 2]
    p, q, r = kernel[0]
    s, t, u = kernel[1]
    v, w, z = kernel[2]
    for x in range(n):
        # In this order: SEP adds the nine products to 0 one after another.
        convolved[x] = (
            p * a0[x] + q * a1[x] + r * a2[x] + s * b0[x] + t * b1[x] + u * b2[x] + v * c0[x] + w * c1[x] + z * c2[x]
        )


@njit(cache=True, nogil=True)
def _convolve(around, row, kernel, convolved):  # type: ignore[no-untyped-def]
    height, width = kernel.shape
    n = convolved.size
    for x in range(n):
        convolved[x] = np.float32(0.0)
    for i in range(height):
        line = around[(row - height // 2 + i) % height]
        for j in range(width):
            weight = kernel[i, j]
            shifted = line[j : j + n]
            for x in range(n):
                convolved[x] += weight * shifted[x]


@njit(cache=True, nogil=True)
def _limits(noise, mask, row, threshold, limit):  # type: ignore[no-untyped-def]
    for x in range(limit.size):
        limit[x] = threshold * noise[x]
    if mask.size:
        for x in range(limit.size):
            if mask[row, x]:
                limit[x] = threshold * MASKED_NOISE


@njit(cache=True, nogil=True)
def _compare(convolved, limit, above):  # type: ignore[no-untyped-def]
    for x in range(convolved.size):
        above[x] = convolved[x] > limit[x]


@njit(cache=True, nogil=True)
def _runs_of_line(words, above, begins, ends, n):  # type: ignore[no-untyped-def]
    """Write down the runs of a line; return the number of runs so far."""
    inside = False
    for word in range(words.size):
        if words[word] == 0 and not inside:
            continue
        for x in range(_WORD * word, _WORD * word + _WORD):
            if above[x] and not inside:
                begins[n] = x
                inside = True
            elif inside and not above[x]:
                ends[n] = x
                n += 1
                inside = False
    return n
