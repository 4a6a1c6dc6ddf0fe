"""The second pass of the background: the loops of `kira.extraction.background`."""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types

from kira.extraction.background import (
    CLIP,
    LEAST_FREE,
    cell_centres,
    smoothed,
    spline_bends,
    spline_places,
    spline_weights,
)  # fmt: skip
from kira.extraction.fast.arrays import (
    IMAGE,
    INDICES,
    MASK,
    OUT_IMAGE,
    OUT_TABLE,
    ROW,
    SEGMENTS,
    image,
    kernel,
    mask_bytes,
)  # fmt: skip
from kira.extraction.fast.spline import blend
from kira.extraction.measuring import Bools, Floats
from kira.extraction.noise import Image

_Indices = npt.NDArray[np.int64]
_F = np.float32
_LANE = 64


@kernel()
def _count_sources(segments: Any, y: Any, growth: Any, sign: Any, number: Any) -> None:
    """Add the pixels of sources in row y, grown along the row, to the counts of each column."""
    row = segments[y]
    width = len(row)
    reach = -1  # first column that no source so far reaches
    for start in range(0, width, _LANE):
        lane, used = row[start : start + _LANE], np.int32(0)
        for k in range(len(lane)):
            used |= lane[k]
        if used == 0:
            continue
        for x in range(start, min(start + _LANE, width)):
            if row[x] > 0:
                begin, end = max(x - growth, reach, 0), min(x + growth + 1, width)
                for k in range(begin, end):
                    number[k] += sign
                reach = max(reach, end)


@kernel(types.void(IMAGE, SEGMENTS, MASK, IMAGE, types.int64, types.int64, OUT_TABLE, types.int32[:, ::1]))
def free_sums(pixels: Any, segments: Any, mask: Any, rms: Any, mesh: Any, growth: Any, sums: Any, free: Any) -> None:
    """Sum the pixels of each column of a row of cells that are far from sources and not too far from 0.

    Parameters
    ----------
    pixels, rms : numpy.ndarray of float32, shape (rows, columns)
    segments : numpy.ndarray of int32, shape (rows, columns)
        0 where no source is.
    mask : numpy.ndarray of uint8, shape (rows, columns)
        Empty for none.
    mesh, growth : int
        Pixels of a cell, and by which sources are grown.
    sums, free : numpy.ndarray of float64 and int32, shape (m, columns)
        For m rows of cells; added to. The second is how many pixels were taken.
    """
    height, width = pixels.shape
    near, free_here = np.zeros(width, dtype=np.int32), np.zeros(width, dtype=np.int32)
    clip = _F(CLIP)
    for y in range(min(growth, height)):
        _count_sources(segments, y, growth, 1, near)
    for y in range(height):
        if y + growth < height:
            _count_sources(segments, y + growth, growth, 1, near)
        if y - growth - 1 >= 0:
            _count_sources(segments, y - growth - 1, growth, -1, near)
        row, noise, total, number = pixels[y], rms[y], sums[y // mesh], free[y // mesh]
        # In short loops over few arrays, of which the compiler makes vectors.
        for x in range(width):
            free_here[x] = near[x] == 0 and abs(row[x]) < clip * noise[x]
        if mask.size > 0:
            hidden = mask[y]
            for x in range(width):
                free_here[x] &= hidden[x] == 0
        for x in range(width):
            total[x] += row[x] if free_here[x] else _F(0.0)
        for x in range(width):
            number[x] += free_here[x]


@kernel(types.void(OUT_IMAGE, IMAGE, IMAGE, INDICES, ROW, ROW, ROW, ROW))
def _subtract(pixels: Any, nodes: Any, bends: Any, below: Any, a: Any, b: Any, bend_a: Any, bend_b: Any) -> None:
    """Subtract splines through nodes, and their second derivatives, of each row (shape (rows, m)) in place."""
    line = np.zeros(pixels.shape[1], dtype=_F)
    for y in range(pixels.shape[0]):
        blend(nodes[y], bends[y], below, a, b, bend_a, bend_b, line)
        row = pixels[y]
        for x in range(len(line)):
            row[x] -= line[x]


@lru_cache(maxsize=16)
def _axis(n: int, mesh: int) -> tuple[npt.NDArray[Any], ...]:
    """Spline through the cells' centres of an axis: `spline_bends` and `spline_places`; frames have the same axes."""
    nodes = cell_centres(n, mesh)
    found = (spline_bends(nodes), *spline_places(n, nodes))
    for one in found:
        one.flags.writeable = False
    return found


class RemainingSky:
    """What the first pass left over, of an image of some shape.

    Parameters
    ----------
    cells : numpy.ndarray of float64, shape (m, n)
        Values at the centres of the mesh's cells.
    shape : tuple of int
        Rows and columns of the image.
    mesh : int
        Pixels of a cell.
    """

    def __init__(self, cells: Floats, shape: tuple[int, ...], mesh: int) -> None:
        self._mesh, self._columns = mesh, shape[1]
        # Not as products of matrices: threads of BLAS would wait for each other on a busy machine.
        if len(cells) == 1:
            self._rows = np.repeat(cells, shape[0], axis=0)
        else:
            bend, k, *weights = _axis(shape[0], mesh)
            bends = np.einsum("ij,jk->ik", bend, cells)
            a, b, bend_a, bend_b = (one[:, None] for one in weights)
            self._rows = a * cells[k] + b * cells[k + 1] + bend_a * bends[k] + bend_b * bends[k + 1]

    @classmethod
    def measured(
        cls, pixels: Image, segments: npt.NDArray[np.int32], mask: Bools | None, rms: Image, mesh: int, width: int,
        growth: int,
    ) -> "RemainingSky":  # fmt: skip
        """Measure it; see `kira.extraction.background.remaining_sky`."""
        rows, columns = pixels.shape
        shape = (rows - 1) // mesh + 1, columns
        sums, free = np.zeros(shape), np.zeros(shape, dtype=np.int32)
        owner = np.ascontiguousarray(segments, dtype=np.int32)
        free_sums(image(pixels), owner, mask_bytes(mask), image(rms), mesh, growth, sums, free)
        edges = np.arange(0, columns, mesh)
        total, number = np.add.reduceat(sums, edges, axis=1), np.add.reduceat(free, edges, axis=1)
        means = np.where(number >= LEAST_FREE * mesh * mesh, total / np.maximum(number, 1), np.nan)
        return cls(smoothed(means, width), pixels.shape, mesh)

    def at(self, rows: _Indices, columns: _Indices) -> npt.NDArray[np.float32]:
        """Return it at single pixels."""
        weights = spline_weights(self._columns, self._mesh)[columns]
        values: npt.NDArray[np.float32] = np.einsum("nk,nk->n", self._rows[rows], weights).astype(np.float32)
        return values

    def subtract_from(self, pixels: Image) -> None:
        """Subtract it in place."""
        if self._rows.shape[1] == 1:
            pixels -= self._rows.astype(np.float32)
            return
        bend, below, *weights = _axis(self._columns, self._mesh)
        bends = np.einsum("yk,jk->yj", self._rows, bend).astype(np.float32)
        single = [np.ascontiguousarray(one, dtype=np.float32) for one in weights]
        _subtract(pixels, np.ascontiguousarray(self._rows, dtype=np.float32), bends, below, *single)
