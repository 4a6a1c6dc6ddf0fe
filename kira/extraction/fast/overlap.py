"""Exact overlap of a pixel and a circle, after `circoverlap` of SEP 1.4.1 (overlap.h)."""

import math
from typing import Any

from kira.extraction.fast.arrays import kernel


@kernel()
def _segment(x1: Any, y1: Any, x2: Any, y2: Any, r: Any) -> Any:
    """Area between a chord and its arc."""
    chord = math.sqrt((x2 - x1) * (x2 - x1) + (y2 - y1) * (y2 - y1))
    theta = 2.0 * math.asin(0.5 * chord / r)
    return 0.5 * r * r * (theta - math.sin(theta))


@kernel()
def _triangle(x1: Any, y1: Any, x2: Any, y2: Any, x3: Any, y3: Any) -> Any:
    return 0.5 * abs(x1 * (y2 - y3) + x2 * (y3 - y1) + x3 * (y1 - y2))


@kernel()
def _first_quadrant(xmin: Any, ymin: Any, xmax: Any, ymax: Any, r: Any) -> Any:
    """Overlap of a rectangle that lies right of and above the centre."""
    r2 = r * r
    if xmin * xmin + ymin * ymin > r2:
        return 0.0
    if xmax * xmax + ymax * ymax < r2:
        return (xmax - xmin) * (ymax - ymin)
    right, above = xmax * xmax + ymin * ymin < r2, xmin * xmin + ymax * ymax < r2
    if right and above:
        x1, y1, x2, y2 = math.sqrt(r2 - ymax * ymax), ymax, xmax, math.sqrt(r2 - xmax * xmax)
        whole = (xmax - xmin) * (ymax - ymin)
        return whole - _triangle(x1, y1, x2, y2, xmax, ymax) + _segment(x1, y1, x2, y2, r)
    if right:
        x1, y1, x2, y2 = xmin, math.sqrt(r2 - xmin * xmin), xmax, math.sqrt(r2 - xmax * xmax)
        return (
            _segment(x1, y1, x2, y2, r) + _triangle(x1, y1, x1, ymin, xmax, ymin)
            + _triangle(x1, y1, x2, ymin, x2, y2)
        )  # fmt: skip
    if above:
        x1, y1, x2, y2 = math.sqrt(r2 - ymin * ymin), ymin, math.sqrt(r2 - ymax * ymax), ymax
        return (
            _segment(x1, y1, x2, y2, r) + _triangle(x1, y1, xmin, y1, xmin, ymax)
            + _triangle(x1, y1, xmin, y2, x2, y2)
        )  # fmt: skip
    x1, y1, x2, y2 = math.sqrt(r2 - ymin * ymin), ymin, xmin, math.sqrt(r2 - xmin * xmin)
    return _segment(x1, y1, x2, y2, r) + _triangle(x1, y1, x2, y2, xmin, ymin)


@kernel()
def _one_quadrant(xmin: Any, ymin: Any, xmax: Any, ymax: Any, r: Any) -> Any:
    """Overlap of a rectangle that no axis crosses, turned into the first quadrant."""
    if xmin >= 0.0:
        if ymin >= 0.0:
            return _first_quadrant(xmin, ymin, xmax, ymax, r)
        return _first_quadrant(-ymax, xmin, -ymin, xmax, r)
    if ymin >= 0.0:
        return _first_quadrant(-xmax, ymin, -xmin, ymax, r)
    return _first_quadrant(-xmax, -ymax, -xmin, -ymin, r)


@kernel()
def circle_overlap(xmin: Any, ymin: Any, xmax: Any, ymax: Any, r: Any) -> Any:
    """Area that a rectangle and a circle of radius r around (0, 0) share."""
    if r <= 0.0:
        return 0.0
    across, along = xmin < 0.0 < xmax, ymin < 0.0 < ymax
    if across and along:
        below = _one_quadrant(xmin, ymin, 0.0, 0.0, r) + _one_quadrant(0.0, ymin, xmax, 0.0, r)
        return below + _one_quadrant(xmin, 0.0, 0.0, ymax, r) + _one_quadrant(0.0, 0.0, xmax, ymax, r)
    if across:
        return _one_quadrant(xmin, ymin, 0.0, ymax, r) + _one_quadrant(0.0, ymin, xmax, ymax, r)
    if along:
        return _one_quadrant(xmin, ymin, xmax, 0.0, r) + _one_quadrant(xmin, 0.0, xmax, ymax, r)
    return _one_quadrant(xmin, ymin, xmax, ymax, r)
