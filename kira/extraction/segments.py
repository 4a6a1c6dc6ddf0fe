"""What follows from which pixels are whose: isophotal errors, and what touches a source."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kira.extraction.measuring import Bools, Floats
from kira.extraction.noise import Image

if TYPE_CHECKING:
    from kira.extraction.engine import Engine
    from kira.extraction.photometry import Ellipses

Segments = npt.NDArray[np.int32]

CROWDED_SHARE = 0.1
"""Part of the AUTO ellipse in other sources' pixels from which on its flux is taken for theirs too (as SExtractor)."""


def isophotal_errors(
    segments: Segments, noise: Image, x: Floats, y: Floats, light: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """Errors of the isophotal flux and of the barycentre from the noise of the source's own pixels.

    Parameters
    ----------
    segments : numpy.ndarray of int32, shape (rows, columns)
        Number of the source that a pixel belongs to, from 1; 0 for none.
    noise : numpy.ndarray of float32, shape (rows, columns)
    x, y : numpy.ndarray of float64, shape (n,)
        Barycentres.
    light : numpy.ndarray of float64, shape (n,)
        Sum of the values that weigh the barycentre, those of the convolved image.

    Returns
    -------
    flux_variance, xx, yy, xy : numpy.ndarray of float64, shape (n,)
        sum(s^2), and sum(s^2 dx dx), sum(s^2 dy dy), sum(s^2 dx dy) over light^2.
    """
    lines, columns = np.nonzero(segments)
    owner = segments[lines, columns] - 1
    variance = noise[lines, columns].astype(np.float64) ** 2
    dx, dy = columns - x[owner], lines - y[owner]

    def total(values: Floats) -> Floats:
        return np.bincount(owner, values, minlength=len(x)).astype(np.float64)

    with np.errstate(divide="ignore", invalid="ignore"):
        norm = np.where(light > 0, 1.0 / light**2, np.nan)
    return (
        total(variance), total(variance * dx * dx) * norm, total(variance * dy * dy) * norm,
        total(variance * dx * dy) * norm,
    )  # fmt: skip


def touched(segments: Segments, marked: Bools | None, n: int) -> Bools:
    """Which sources have a marked pixel among their own or beside them, diagonally too.

    Parameters
    ----------
    segments : numpy.ndarray of int32, shape (rows, columns)
    marked : numpy.ndarray of bool, shape (rows, columns), or None
    n : int
        Number of sources.

    Returns
    -------
    numpy.ndarray of bool, shape (n,)
    """
    found = np.zeros(n + 1, dtype=bool)
    if marked is not None and marked.any():
        found[segments[_grown(marked)]] = True
    return found[1:]


def crowded(
    engine: "Engine", segments: Segments, ellipses: "Ellipses", scale: Floats, npix: npt.NDArray[np.int64]
) -> Bools:
    """Which AUTO ellipses hold more than `CROWDED_SHARE` of pixels of other sources.

    Parameters
    ----------
    engine : Engine
    segments : numpy.ndarray of int32, shape (rows, columns)
    ellipses : Ellipses
    scale : numpy.ndarray of float64, shape (n,)
        Of the ellipses; NaN for none.
    npix : numpy.ndarray of int, shape (n,)
        Each source's own pixels, all of which are taken to be inside.

    Returns
    -------
    numpy.ndarray of bool, shape (n,)
    """
    found = np.zeros(len(scale), dtype=bool)
    valid = np.flatnonzero(ellipses.valid & np.isfinite(scale))
    x, y, a, b, theta = (column[valid] for column in ellipses.columns)
    inside = engine.owned_inside(segments, (x, y, a, b, theta), scale[valid])
    area = np.pi * ellipses.a[valid] * ellipses.b[valid] * scale[valid] ** 2
    found[valid] = inside - npix[valid] > CROWDED_SHARE * area
    return found


def _grown(marked: Bools) -> Bools:
    """Marked pixels and their eight neighbours."""
    lines = marked.copy()
    lines[1:] |= marked[:-1]
    lines[:-1] |= marked[1:]
    grown = lines.copy()
    grown[:, 1:] |= lines[:, :-1]
    grown[:, :-1] |= lines[:, 1:]
    return grown
