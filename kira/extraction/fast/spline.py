"""Maps of the background from its mesh: median filter and bicubic spline, after background.c of SEP 1.4.1.

`filterback`, `makebackspline` and `bkg_line_flt_internal` there, in single precision as there: maps come out bit for
bit.
"""

from typing import Any

import numpy as np
from numba import types

from kira.extraction.fast.arrays import IMAGE, INDICES, OUT_IMAGE, OUT_ROW, ROW, kernel

_F = np.float32
_NONE = _F(-1e30)
_ONE, _TWO, _FOUR, _SIX, _HALF = _F(1.0), _F(2.0), _F(4.0), _F(6.0), _F(0.5)


@kernel()
def _median(values: Any, n: Any) -> Any:
    """Median of the first n, sorted in place."""
    for i in range(1, n):
        one, k = values[i], i
        while k > 0 and values[k - 1] > one:
            values[k] = values[k - 1]
            k -= 1
        values[k] = one
    if n % 2 == 1:
        return values[n // 2]
    return _F(np.float64(values[n // 2 - 1] + values[n // 2]) / 2.0)


@kernel(types.void(OUT_IMAGE, OUT_IMAGE))
def fill_missing(level: Any, noise: Any) -> None:
    """Give cells without a value the mean of the nearest that have one, in place (shape (m, n), -1e30 for none)."""
    rows, columns = level.shape
    found = level.copy()
    for py in range(rows):
        for px in range(columns):
            if not level[py, px] <= _NONE:
                continue
            nearest, number, value, spread = _F(1e30), 0, _F(0.0), _F(0.0)
            for y in range(rows):
                for x in range(columns):
                    if level[y, x] > _NONE:
                        distance = _F((x - px) * (x - px)) + _F((y - py) * (y - py))
                        if distance < nearest:
                            value, spread, number, nearest = level[y, x], noise[y, x], 1, distance
                        elif distance == nearest:
                            value += level[y, x]
                            spread += noise[y, x]
                            number += 1
            found[py, px] = value / _F(number) if number > 0 else _F(0.0)
            noise[py, px] = spread / _F(number) if number > 0 else _ONE
    level[:, :] = found


@kernel(types.void(IMAGE, types.int64, OUT_IMAGE))
def filtered(cells: Any, width: Any, result: Any) -> None:
    """Median over `width` by `width` cells, shape (m, n); at the edges over as many as there are on both sides."""
    rows, columns = cells.shape
    half = width // 2
    around = np.zeros(min(2 * half + 1, rows) * min(2 * half + 1, columns), dtype=_F)
    for y in range(rows):
        by = min(half, y, rows - 1 - y)
        for x in range(columns):
            bx = min(half, x, columns - 1 - x)
            n = 0
            for j in range(y - by, y + by + 1):
                for i in range(x - bx, x + bx + 1):
                    around[n] = cells[j, i]
                    n += 1
            result[y, x] = _median(around, n)


@kernel()
def _bend(values: Any, bends: Any, work: Any) -> None:
    """Second derivatives over 6 of a natural spline through equally spaced values, all of shape (n,)."""
    n = len(values)
    bends[0] = work[0] = _F(0.0)
    for i in range(1, n - 1):
        pivot = -_ONE / (bends[i - 1] + _FOUR)
        bends[i] = pivot
        work[i] = pivot * (work[i - 1] - _SIX * (values[i + 1] + values[i - 1] - _TWO * values[i]))
    if n > 1:
        bends[n - 1] = _F(0.0)
        for i in range(n - 2, 0, -1):
            bends[i] = _F(np.float64(bends[i] * bends[i + 1] + work[i]) / 6.0)


@kernel(types.void(IMAGE, OUT_IMAGE))
def column_bends(cells: Any, bends: Any) -> None:
    """Second derivatives, over 6, along the columns of a mesh; shape (m, n)."""
    rows, columns = cells.shape
    work, one, values = np.zeros(rows, dtype=_F), np.zeros(rows, dtype=_F), np.zeros(rows, dtype=_F)
    for x in range(columns):
        values[:] = cells[:, x]
        _bend(values, one, work)
        bends[:, x] = one


@kernel(types.void(types.int64, types.int64, types.int64, OUT_ROW, types.int64[::1]))
def places(width: Any, mesh: Any, cells: Any, along: Any, below: Any) -> None:
    """Where each pixel of a line lies between the centres of cells.

    Parameters
    ----------
    width, mesh, cells : int
        Pixels of the line and of a cell, and the number of cells.
    along : numpy.ndarray of float32, shape (width,)
        Distance from the centre below, in cells; added up pixel by pixel, as SEP does.
    below : numpy.ndarray of int64, shape (width,)
        The cell of that centre. Both are written.
    """
    step = _F(1.0 / mesh)
    start = _F(_F((mesh + 1) % 2) * step / _TWO)
    dx = _F((step - _ONE) / _TWO)
    node = cell = i = 0
    for x in range(width):
        if i == mesh // 2 and 0 < cell < cells - 1:
            node += 1
            dx = start
        along[x], below[x] = dx, node
        if i == mesh:
            cell += 1
            i = 0
        i += 1
        dx += step


@kernel()
def _nodes(cells: Any, bends: Any, y: Any, mesh: Any, nodes: Any, node_bends: Any, work: Any) -> None:
    """Values of the spline in row y at the centres of the cells' columns, and their second derivatives over 6."""
    rows = cells.shape[0]
    if rows == 1:
        nodes[:], node_bends[:] = cells[0], bends[0]
        return
    dy = _F(np.float64(_F(y) / _F(mesh)) - 0.5)
    below = int(dy)
    dy -= _F(below)
    if below < 0:
        below = 0
        dy -= _ONE
    elif below >= rows - 1:
        below = rows - 2
        dy += _ONE
    rest = _ONE - dy
    dy3, rest3 = dy * dy * dy - dy, rest * rest * rest - rest
    for x in range(cells.shape[1]):
        nodes[x] = (
            rest * cells[below, x] + dy * cells[below + 1, x] + rest3 * bends[below, x] + dy3 * bends[below + 1, x]
        )
    _bend(nodes, node_bends, work)


@kernel()
def fill_line(nodes: Any, bends: Any, along: Any, below: Any, line: Any) -> None:
    """Spline through nodes at each pixel of a line."""
    if len(nodes) == 1:
        line[:] = nodes[0]
        return
    begin, width = 0, len(line)
    while begin < width:
        node = below[begin]
        end = begin + 1
        while end < width and below[end] == node:
            end += 1
        low, high, low_bend, high_bend = nodes[node], nodes[node + 1], bends[node], bends[node + 1]
        # Parts are counted from 0: of an index that may be negative the compiler makes no vector.
        part, part_along = line[begin:end], along[begin:end]
        for x in range(end - begin):
            dx = part_along[x]
            rest = _ONE - dx
            part[x] = rest * (low + (rest * rest - _ONE) * low_bend) + dx * (high + (dx * dx - _ONE) * high_bend)
        begin = end


@kernel(types.void(IMAGE, IMAGE, types.int64, ROW, INDICES, types.float32, OUT_IMAGE))
def fill_map(cells: Any, bends: Any, mesh: Any, along: Any, below: Any, instead: Any, result: Any) -> None:
    """Spline through a mesh at every pixel.

    Parameters
    ----------
    cells, bends : numpy.ndarray of float32, shape (m, n)
        Values and their `column_bends`.
    mesh : int
        Pixels of a cell.
    along, below : numpy.ndarray of float32 and int64, shape (columns,)
        Of `places`.
    instead : float32
        Where the spline is not above 0; NaN: it is left as it is.
    result : numpy.ndarray of float32, shape (rows, columns)
        Is written.
    """
    nodes, node_bends, work = np.zeros(cells.shape[1], _F), np.zeros(cells.shape[1], _F), np.zeros(cells.shape[1], _F)
    for y in range(result.shape[0]):
        _nodes(cells, bends, y, mesh, nodes, node_bends, work)
        line = result[y]
        fill_line(nodes, node_bends, along, below, line)
        if instead > 0:
            for x in range(len(line)):
                line[x] = line[x] if line[x] > 0 else instead


@kernel(types.void(IMAGE, IMAGE, IMAGE, types.int64, ROW, INDICES, OUT_IMAGE))
def subtract_map(data: Any, cells: Any, bends: Any, mesh: Any, along: Any, below: Any, result: Any) -> None:
    """Subtract the spline through a mesh from data of shape (rows, columns); parameters as for `fill_map`."""
    nodes, node_bends, work = np.zeros(cells.shape[1], _F), np.zeros(cells.shape[1], _F), np.zeros(cells.shape[1], _F)
    line = np.zeros(data.shape[1], dtype=_F)
    for y in range(data.shape[0]):
        _nodes(cells, bends, y, mesh, nodes, node_bends, work)
        fill_line(nodes, node_bends, along, below, line)
        pixels, left = data[y], result[y]
        for x in range(len(line)):
            left[x] = pixels[x] - line[x]


@kernel(types.void(IMAGE, IMAGE, types.int64, ROW, INDICES, INDICES, INDICES, OUT_ROW))
def map_at(cells: Any, bends: Any, mesh: Any, along: Any, below: Any, rows: Any, columns: Any, values: Any) -> None:
    """Spline through a mesh at n pixels, `rows` and `columns` of shape (n,); `values` are written."""
    nodes, node_bends, work = np.zeros(cells.shape[1], _F), np.zeros(cells.shape[1], _F), np.zeros(cells.shape[1], _F)
    one = np.zeros(1, dtype=_F)
    last = -1
    for i in range(len(rows)):
        if rows[i] != last:
            last = rows[i]
            _nodes(cells, bends, last, mesh, nodes, node_bends, work)
        x = columns[i]
        fill_line(nodes, node_bends, along[x : x + 1], below[x : x + 1], one)
        values[i] = one[0]


@kernel()
def blend(nodes: Any, bends: Any, below: Any, a: Any, b: Any, bend_a: Any, bend_b: Any, line: Any) -> None:
    """Weigh the values and second derivatives at the nodes on both sides of each pixel of a line."""
    begin, width = 0, len(line)
    while begin < width:
        node = below[begin]
        end = begin + 1
        while end < width and below[end] == node:
            end += 1
        low, high, low_bend, high_bend = nodes[node], nodes[node + 1], bends[node], bends[node + 1]
        part, of_low, of_high = line[begin:end], a[begin:end], b[begin:end]
        of_low_bend, of_high_bend = bend_a[begin:end], bend_b[begin:end]
        for x in range(end - begin):
            part[x] = of_low[x] * low + of_high[x] * high + of_low_bend[x] * low_bend + of_high_bend[x] * high_bend
        begin = end
