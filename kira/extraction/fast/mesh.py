"""Background of every cell of a mesh: clipped histograms and their mode, after background.c of SEP 1.4.1.

`backstat`, `backhisto` and `backguess` there. Sums are in SEP's order, for the limits of histograms follow from them.
"""

import math
from typing import Any

import numpy as np
from numba import types

from kira.extraction.fast.arrays import IMAGE, MASK, OUT_IMAGE, ROW, kernel

_NONE = np.float32(-1e30)
"""Value of a cell with too few pixels; pixels below it have none (BIG in sepcore.h)."""
_LEAST_GOOD = 0.5  # of a cell's pixels: BACK_MINGOODFRAC
_MOST_LEVELS = 4096  # QUANTIF_NMAXLEVELS
_HALF_RANGE = 5  # of a histogram, in sigma: QUANTIF_NSIGMA
_LEVELS = math.sqrt(2.0 / math.pi) * _HALF_RANGE / 4  # a pixel: QUANTIF_AMIN is 4
_CONVERGED = 1e-4
_MOST_STEPS = 100
_F = np.float32


@kernel()
def _moments(rows: Any, hidden: Any, masked: Any, width: Any, low: Any, high: Any, sums: Any) -> None:
    """Sum of the pixels of each cell from `low` to `high`, of their squares, and their number.

    Four cells go side by side: each sum waits for its last addition, which rounds in SEP's order.
    """
    cells = sums.shape[0]
    height, columns = rows.shape
    sums[:, :] = 0.0
    whole = (columns // width) // 4 * 4
    for y in range(height):
        for m in range(0, whole, 4):
            b0, b1, b2, b3 = m * width, (m + 1) * width, (m + 2) * width, (m + 3) * width
            l0, l1, l2, l3 = low[m], low[m + 1], low[m + 2], low[m + 3]
            h0, h1, h2, h3 = high[m], high[m + 1], high[m + 2], high[m + 3]
            s0, s1, s2, s3 = sums[m, 0], sums[m + 1, 0], sums[m + 2, 0], sums[m + 3, 0]
            q0, q1, q2, q3 = sums[m, 1], sums[m + 1, 1], sums[m + 2, 1], sums[m + 3, 1]
            n0 = n1 = n2 = n3 = 0
            # Counted from 0: of an index that may be negative the compiler makes no vector.
            c0, c1 = rows[y, b0 : b0 + width], rows[y, b1 : b1 + width]
            c2, c3 = rows[y, b2 : b2 + width], rows[y, b3 : b3 + width]
            for x in range(width):
                p0, p1, p2, p3 = c0[x], c1[x], c2[x], c3[x]
                in0, in1, in2, in3 = l0 <= p0 <= h0, l1 <= p1 <= h1, l2 <= p2 <= h2, l3 <= p3 <= h3
                if masked:
                    in0, in1 = in0 and hidden[y, b0 + x] == 0, in1 and hidden[y, b1 + x] == 0
                    in2, in3 = in2 and hidden[y, b2 + x] == 0, in3 and hidden[y, b3 + x] == 0
                # What is left out adds 0, which changes no sum.
                v0, v1 = np.float64(p0) if in0 else 0.0, np.float64(p1) if in1 else 0.0
                v2, v3 = np.float64(p2) if in2 else 0.0, np.float64(p3) if in3 else 0.0
                s0, s1, s2, s3 = s0 + v0, s1 + v1, s2 + v2, s3 + v3
                q0, q1, q2, q3 = q0 + v0 * v0, q1 + v1 * v1, q2 + v2 * v2, q3 + v3 * v3
                n0, n1, n2, n3 = n0 + in0, n1 + in1, n2 + in2, n3 + in3
            sums[m, 0], sums[m + 1, 0], sums[m + 2, 0], sums[m + 3, 0] = s0, s1, s2, s3
            sums[m, 1], sums[m + 1, 1], sums[m + 2, 1], sums[m + 3, 1] = q0, q1, q2, q3
            sums[m, 2] += n0
            sums[m + 1, 2] += n1
            sums[m + 2, 2] += n2
            sums[m + 3, 2] += n3
        for m in range(whole, cells):
            s, q, n = sums[m, 0], sums[m, 1], 0
            for x in range(m * width, min((m + 1) * width, columns)):
                p = rows[y, x]
                if low[m] <= p <= high[m] and not (masked and hidden[y, x] > 0):
                    s += np.float64(p)
                    q += np.float64(p) * np.float64(p)
                    n += 1
            sums[m, 0], sums[m, 1] = s, q
            sums[m, 2] += n


@kernel()
def _histogram(rows: Any, hidden: Any, masked: Any, begin: Any, end: Any, cell: Any, histogram: Any, bins: Any) -> Any:
    """Fill a cell's histogram; return the number, sum and sum of squares of bins, and the number in the lower half."""
    levels, zero, scale = cell
    shift = _F(0.499999 - np.float64(zero / scale))
    top = _F(levels)
    number: Any = 0
    total: Any = 0
    squares: Any = 0
    low: Any = 0
    for y in range(rows.shape[0]):
        row = rows[y, begin:end]
        for x in range(len(row)):
            place = row[x] / scale + shift
            inside = place > _F(-1.0) and place < top
            bins[x] = np.int32(place) if inside else np.int32(levels)
        if masked:
            for x in range(len(row)):
                if hidden[y, begin + x] > 0:
                    bins[x] = np.int32(levels)
        row_number = row_total = row_low = np.int32(0)
        row_squares = np.int64(0)
        for k in range(end - begin):
            one = bins[k]
            if one < levels:
                row_number += np.int32(1)
                row_total += one
                row_squares += np.int64(one * one)
                row_low += np.int32(one < levels // 2)
        number += row_number
        total += row_total
        squares += row_squares
        low += row_low
        for k in range(end - begin):
            histogram[bins[k]] += np.int32(1)
    return number, total, squares, low


@kernel()
def _rounded(value: Any) -> Any:
    return int(value + 0.5)


@kernel()
def _mode(histogram: Any, sums: Any, cell: Any, start: Any) -> Any:
    """Mode and sigma of a histogram, clipped at 3 sigma until sigma stays (`backguess`).

    SEP adds up all bins in each round. Sums of bins are whole numbers, exact in any order: here what the limits newly
    leave out is taken off them. SEP finds the median from both ends, taking a bin from the side that has less by then;
    it ends at the highest bin for which those two below it have less than those above.
    """
    levels, zero, scale = cell
    number, total, squares, under_split = sums
    top = levels - 1
    lcut, hcut, split, under_cut = 0, top, levels // 2, 0
    mean = median = start
    sigma, last = 10.0 * top, 1.0
    for _ in range(_MOST_STEPS):
        if not (sigma >= 0.1 and abs(sigma / last - 1.0) > _CONVERGED):
            break
        last = sigma
        while split > lcut and not under_split - under_cut - histogram[split - 1] < number - under_split + under_cut:
            split -= 1
            under_split -= histogram[split]
        while split < hcut and under_split - under_cut < number - under_split + under_cut - histogram[split]:
            under_split += histogram[split]
            split += 1
        median = 0.0
        if split > 0:
            more = np.float64(number - 2 * (under_split - under_cut))
            median = (split - 1) + 0.5 + more / (2.0 * max(histogram[split], histogram[split - 1]))
        mean = sigma = 0.0
        if number > 0:
            mean = np.float64(total) / np.float64(number)
            sigma = np.float64(squares) / np.float64(number) - mean * mean
        sigma = math.sqrt(sigma) if sigma > 0.0 else 0.0
        # No number compares as false: then the limits are those of the histogram.
        low, high = median - 3.0 * sigma, median + 3.0 * sigma
        new_low = min(int(low + 0.5), top) if low > 0.0 else 0
        new_high = int(max(high, 0.0) + 0.5) if high < top else top
        while lcut < new_low:
            number, total, squares = _without(histogram, lcut, 1, number, total, squares)
            under_cut += histogram[lcut]
            lcut += 1
        while lcut > new_low:
            lcut -= 1
            under_cut -= histogram[lcut]
            number, total, squares = _without(histogram, lcut, -1, number, total, squares)
        while hcut > new_high:
            number, total, squares = _without(histogram, hcut, 1, number, total, squares)
            hcut -= 1
        while hcut < new_high:
            hcut += 1
            number, total, squares = _without(histogram, hcut, -1, number, total, squares)
        while split < lcut:
            under_split += histogram[split]
            split += 1
        while split > max(hcut, lcut):
            split -= 1
            under_split -= histogram[split]
    if abs(sigma) > 0.0:
        if abs((mean - median) / sigma) < 0.3:
            level = zero + (2.5 * median - 1.5 * mean) * scale
        else:
            level = zero + median * scale
    else:
        level = zero + mean * scale
    return _F(level), _F(sigma * scale)


@kernel()
def _without(histogram: Any, i: Any, sign: Any, number: Any, total: Any, squares: Any) -> Any:
    count = sign * np.int64(histogram[i])
    return number - count, total - count * i, squares - count * i * i


@kernel()
def _dither(rows: Any, along: Any, across: Any, amount: Any, dithered: Any) -> None:
    """Add even noise; see `kira.extraction.detection.dithered`."""
    for y in range(rows.shape[0]):
        row, result = rows[y], dithered[y]
        for x in range(len(row)):
            step = along[y] + across[x]
            step = step - _F(1.0) if step >= _F(1.0) else step
            result[x] = (step - _F(0.5)) * amount + row[x]


@kernel()
def _limits(sums: Any, least: Any, cell: Any, low: Any, high: Any) -> None:
    """Cut a cell at 2 sigma; one with fewer pixels than `least` at nothing."""
    number = sums[2]
    if _F(number) < _F(least):
        low[cell], high[cell] = _F(1.0), _F(-1.0)
        return
    mean = sums[0] / number
    sigma = sums[1] / number - mean * mean
    sigma = math.sqrt(sigma) if sigma > 0.0 else 0.0
    low[cell], high[cell] = _F(mean - 2.0 * sigma), _F(mean + 2.0 * sigma)


@kernel(types.void(IMAGE, MASK, types.int64, ROW, ROW, types.float32, OUT_IMAGE, OUT_IMAGE))
def cell_statistics(
    data: Any, mask: Any, width: Any, along: Any, across: Any, dither: Any, level: Any, noise: Any
) -> None:
    """Measure level and noise of every cell of a mesh.

    Parameters
    ----------
    data : numpy.ndarray of float32, shape (rows, columns)
    mask : numpy.ndarray of uint8, shape (rows, columns)
        Empty for none.
    width : int
        Of a cell, and its height; pixels.
    along, across : numpy.ndarray of float32, shape (rows,) and (columns,)
        Whose sums are the dither's places between 0 and 1.
    dither : float32
        Width of the dither; 0 for none.
    level, noise : numpy.ndarray of float32, shape (m, n)
        Of m rows of n cells; written. -1e30 where too few pixels are valid.
    """
    height, columns = data.shape
    cells = level.shape[1]
    masked = mask.size > 0
    low, high, sums = np.zeros(cells, dtype=_F), np.zeros(cells, dtype=_F), np.zeros((cells, 3))
    histogram, bins = np.zeros(_MOST_LEVELS + 1, dtype=np.int32), np.zeros(min(width, columns), dtype=np.int32)
    scratch = np.zeros((min(width, height) if dither > 0 else 0, columns), dtype=_F)
    least_value = np.nextafter(_NONE, _F(0.0))
    for j in range(level.shape[0]):
        begin, end = j * width, min((j + 1) * width, height)
        rows, hidden = data[begin:end], mask[begin:end]
        if dither > 0:
            _dither(rows, along[begin:end], across, dither, scratch)
            rows = scratch[: end - begin]
        low[:], high[:] = least_value, np.inf
        _moments(rows, hidden, masked, width, low, high, sums)
        for m in range(cells):
            area = (min((m + 1) * width, columns) - m * width) * (end - begin)
            _limits(sums[m], area * _LEAST_GOOD, m, low, high)
        # A cell without limits has none of its pixels in them.
        _moments(rows, hidden, masked, width, low, high, sums)
        for m in range(cells):
            if low[m] > high[m]:
                level[j, m], noise[j, m] = _NONE, _NONE
                continue
            number = sums[m, 2]
            mean = sums[m, 0] / number
            sigma = sums[m, 1] / number - mean * mean
            sigma = math.sqrt(sigma) if sigma > 0.0 else 0.0
            levels = min(int(_LEVELS * number + 1.0), _MOST_LEVELS)
            scale = _F(2 * _HALF_RANGE * sigma / levels) if sigma > 0.0 else _F(1.0)
            cell = (levels, _F(mean - _HALF_RANGE * sigma), scale)
            histogram[: levels + 1] = 0
            found = _histogram(rows, hidden, masked, m * width, min((m + 1) * width, columns), cell, histogram, bins)
            level[j, m], noise[j, m] = _mode(histogram, found, cell, np.float64(_F(mean)))
