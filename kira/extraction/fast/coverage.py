"""How many of a pixel's sub-pixels are in a circle: the innermost loops of aperture.i of SEP 1.4.1."""

import math
from typing import Any

from kira.extraction.fast.arrays import kernel


@kernel()
def lanes(subpix: Any) -> Any:
    """Room for the squares of a row of sub-pixels: some more, so that they are compared several at a time."""
    return (subpix + 3) // 4 * 4


@kernel()
def fill_squares(squares: Any, begin: Any, end: Any, centre: Any, subpix: Any) -> None:
    """Squared distances of the sub-pixels of pixels from a centre, along one axis.

    Parameters
    ----------
    squares : numpy.ndarray of float64, shape (m, `lanes(subpix)`)
        The first `end - begin` lines are written; what there are no sub-pixels for is infinite.
    begin, end : int
        First pixel, and one after the last.
    centre : float
        Pixels.
    subpix : int
    """
    scale = 1.0 / subpix
    offset = 0.5 * (scale - 1.0)
    for i in range(end - begin):
        line = squares[i]
        distance = begin + i - centre + offset
        # Added up one by one, as SEP does, so that it rounds alike.
        for k in range(len(line)):
            line[k] = distance * distance if k < subpix else math.inf
            distance += scale


@kernel()
def circle_count(dx: Any, dy: Any, r2: Any, subpix: Any, squares_x: Any, squares_y: Any) -> Any:
    """Count the sub-pixels whose centres are in a circle.

    Parameters
    ----------
    dx, dy : float
        From the circle's centre to the pixel's.
    r2 : float
        Radius squared.
    subpix : int
    squares_x, squares_y : numpy.ndarray of float64, shape (`lanes(subpix)`,)
        The pixel's line of `fill_squares` along both axes.
    """
    half = 0.5 * (1.0 - 1.0 / subpix)
    # Near the edge, but not crossed by it, needs no counting. The margins are many times what rounding could change.
    far_x, far_y = abs(dx) + half, abs(dy) + half
    if far_x * far_x + far_y * far_y < r2 * (1.0 - 1e-12):
        return subpix * subpix
    near_x, near_y = max(abs(dx) - half, 0.0), max(abs(dy) - half, 0.0)
    if near_x * near_x + near_y * near_y > r2 * (1.0 + 1e-12):
        return 0
    count = 0
    # The usual numbers of lanes are written out: of a loop whose length is known the compiler makes vectors.
    if len(squares_x) == 8:
        for j in range(subpix):
            dy2 = squares_y[j]
            for k in range(8):
                count += squares_x[k] + dy2 < r2
    elif len(squares_x) == 12:
        for j in range(subpix):
            dy2 = squares_y[j]
            for k in range(12):
                count += squares_x[k] + dy2 < r2
    else:
        for j in range(subpix):
            dy2 = squares_y[j]
            for k in range(subpix):
                count += squares_x[k] + dy2 < r2
    return count
