"""The second pass of the background: the mean of the pixels in which no source was found."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from kira.extraction.measuring import Bools
from kira.extraction.noise import Image
from kira.extraction.segments import Segments

Floats = npt.NDArray[np.float64]

CLIP = 5.0
"""Rms from which on a pixel is no sky, as cosmic rays are not. Not the usual 3: Poisson noise is skew, and cutting it
at 3 on both sides moves the mean of u, where a pixel's sky is 44 electrons, by 0.006 rms; at 5 by nothing."""
LEAST_FREE = 0.3
"""Part of a cell's pixels without a source that it takes to know its mean."""


def remaining_sky(
    pixels: Image, segments: Segments, mask: Bools | None, rms: Image, mesh: int, mesh_filter: int, growth: int
) -> Image:
    """Estimate what the first pass of the background left over.

    SEP's first pass takes 2.5 medians minus 1.5 means of a cell, sources and all, for the level between the sources;
    of skew noise that is not the mean, and a circle adds up means. Here the sources are known: in each cell the mean of
    the pixels farther than `growth` from all of them is taken, then the median of neighbouring cells, then a natural
    cubic spline through the cells' centres. By this the mean flux of circles at empty places is 0; undetected sources
    are part of the sky.

    A cell with too few free pixels has the median of its neighbours; where they have too few as well, as in globular
    clusters, the first pass stands.

    Parameters
    ----------
    pixels : numpy.ndarray of float32, shape (rows, columns)
        After the first pass.
    segments : numpy.ndarray of int32, shape (rows, columns)
        0 where no source is.
    mask : numpy.ndarray of bool, shape (rows, columns), or None
        Pixels that must not be used.
    rms : numpy.ndarray of float32, shape (rows, columns)
        Of the background.
    mesh, mesh_filter : int
        Width of a cell in pixels, and of the median filter in cells.
    growth : int
        Pixels by which sources are grown on all sides: a square, whose corners are farther.

    Returns
    -------
    numpy.ndarray of float32, shape (rows, columns)
        In the unit of the pixels, to be subtracted from them.
    """
    cells = smoothed(_cell_means(pixels, _covered(segments, mask, growth), rms, mesh), mesh_filter)
    along_y, along_x = (spline_weights(n, mesh) for n in pixels.shape)
    sky: Image = (along_y @ cells).astype(np.float32) @ along_x.T.astype(np.float32)
    return sky


def smoothed(means: Floats, width: int) -> Floats:
    """Median of each cell and those around it; 0, which changes nothing, where no mean is known.

    Parameters
    ----------
    means : numpy.ndarray of float64, shape (m, n)
        NaN where none is known.
    width : int
        Of the filter, cells.
    """
    return np.nan_to_num(_median_filter(means, width), nan=0.0)


def _covered(segments: Segments, mask: Bools | None, growth: int) -> Bools:
    """Pixels of sources and those near them, and the masked ones."""
    rows, columns = segments.shape
    # One long line of bytes is ten times as fast as numpy's booleans in two dimensions; what runs over the end of a row
    # lands in the margin.
    width = columns + growth
    grown = np.zeros((rows, width), dtype=np.uint8)
    grown[:, :columns] = segments > 0
    line = grown.reshape(-1)
    for stride in (1, width):
        reached = 0
        while reached < growth:  # each round at most doubles the reach
            step = min(reached + 1, growth - reached)
            wider = line.copy()
            wider[step * stride :] |= line[: -step * stride]
            wider[: -step * stride] |= line[step * stride :]
            line, reached = wider, reached + step
    covered = line.reshape(rows, width)[:, :columns].view(np.bool_)
    return covered if mask is None else covered | mask


def _cell_means(pixels: Image, covered: Bools, rms: Image, mesh: int) -> Floats:
    """Mean of what is not covered in each cell, NaN where that is too little of a whole cell."""
    columns = np.arange(0, pixels.shape[1], mesh)
    sums, free = [], []
    for begin in range(0, pixels.shape[0], mesh):  # a row of cells at a time stays in the processor's cache
        rows = slice(begin, begin + mesh)
        level = pixels[rows]
        usable = np.abs(level) < CLIP * rms[rows]  # false for NaN
        usable &= ~covered[rows]
        sums.append(np.add.reduceat(np.where(usable, level, np.float32(0)).sum(axis=0, dtype=np.float64), columns))
        free.append(np.add.reduceat(usable.sum(axis=0), columns))
    number = np.array(free)
    known = number >= LEAST_FREE * mesh * mesh
    return np.where(known, np.array(sums) / np.maximum(number, 1), np.nan)


def _median_filter(cells: Floats, width: int) -> Floats:
    """Median of the cells around each that are known, NaN where none is; an even width is one wider."""
    half = width // 2
    around = np.lib.stride_tricks.sliding_window_view(
        np.pad(cells, half, constant_values=np.nan), (2 * half + 1, 2 * half + 1)
    ).reshape(*cells.shape, -1)
    known = ~np.isnan(around).all(axis=-1)
    found = np.full(cells.shape, np.nan)
    found[known] = np.nanmedian(around[known], axis=-1)
    return found


@lru_cache(maxsize=16)
def spline_weights(n: int, mesh: int) -> Floats:
    """Weights of the cells' values in a natural cubic spline through their centres, at each pixel of an axis.

    Kept for the next frame: it must not be written to.

    Beyond the outermost centres it is constant.

    Parameters
    ----------
    n : int
        Pixels of the axis.
    mesh : int
        Pixels of a cell; the last may have fewer.

    Returns
    -------
    numpy.ndarray of float64, shape (n, m)
        For m cells; each row's sum is 1.
    """
    nodes = cell_centres(n, mesh)
    m = len(nodes)
    if m == 1:
        return np.ones((n, 1))
    bend = spline_bends(nodes)
    k, a, b, bend_a, bend_b = spline_places(n, nodes)
    weights: Floats = bend_a[:, None] * bend[k] + bend_b[:, None] * bend[k + 1]
    weights[np.arange(n), k] += a
    weights[np.arange(n), k + 1] += b
    weights.flags.writeable = False
    return weights


def cell_centres(n: int, mesh: int) -> Floats:
    """Return the middle of each cell of an axis of n pixels; the last may have fewer of them."""
    edges = np.append(np.arange(0, n, mesh), n)
    centres: Floats = (edges[:-1] + edges[1:] - 1) / 2
    return centres


def spline_bends(nodes: Floats) -> Floats:
    """Weights of m values in the second derivatives of a natural cubic spline through them, shape (m, m)."""
    m = len(nodes)
    # Second derivatives at the nodes follow from the values by S d = R v (natural: 0 at both ends).
    left, right, gap = np.eye(m), np.zeros((m, m)), np.diff(nodes)
    for i in range(1, m - 1):
        before, after = gap[i - 1], gap[i]
        left[i, i - 1 : i + 2] = before, 2 * (before + after), after
        right[i, i - 1 : i + 2] = 6 / before, -6 / before - 6 / after, 6 / after
    return np.linalg.solve(left, right).astype(np.float64, copy=False)


def spline_places(n: int, nodes: Floats) -> tuple[npt.NDArray[np.int64], Floats, Floats, Floats, Floats]:
    """Where the pixels of an axis lie between nodes.

    Parameters
    ----------
    n : int
        Pixels of the axis.
    nodes : numpy.ndarray of float64, shape (m,)
        Two at least.

    Returns
    -------
    below : numpy.ndarray of int64, shape (n,)
        The node below each.
    a, b, bend_a, bend_b : numpy.ndarray of float64, shape (n,)
        Weights of the values and second derivatives at that node and the next.
    """
    m = len(nodes)
    gap = np.diff(nodes)
    x = np.clip(np.arange(n), nodes[0], nodes[-1])
    k = np.clip(np.searchsorted(nodes, x) - 1, 0, m - 2)
    width = gap[k]
    b = (x - nodes[k]) / width
    a = 1 - b
    return k, a, b, (a**3 - a) * width**2 / 6, (b**3 - b) * width**2 / 6
