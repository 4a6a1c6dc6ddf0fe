"""What all apertures share: their boxes in the image, and the coefficients of ellipses.

After `boxextent`, `boxextent_ellipse` and `sep_ellipse_coeffs` of SEP 1.4.1 (aperture.c).
"""

import math
from typing import Any

from kira.extraction.fast.arrays import kernel

TRUNCATED = 0x10
HAS_MASKED = 0x20
ALL_MASKED = 0x40
NON_POSITIVE = 0x80
NOT_MEASURED = 0x100
ANNULUS = 0.7072
"""Half of a pixel's diagonal, and a little: pixels farther from an aperture's edge are inside or outside as a whole."""


@kernel()
def truncated(value: Any, limit: Any) -> Any:
    """Cut off the fraction, as C's cast to an integer does; what is far outside 0 to `limit` stays just outside.

    No number becomes -2, as C's cast makes it the least integer.
    """
    if not value > -2.0:
        return -2
    if value > limit + 2.0:
        return limit + 2
    return int(value)


@kernel()
def extent(x: Any, y: Any, rx: Any, ry: Any, width: Any, height: Any) -> Any:
    """Box of an aperture within the image: first column, one after the last, the same of rows, and flag bits."""
    flag = 0
    xmin, xmax = truncated(x - rx + 0.5, width), truncated(x + rx + 1.4999999, width)
    ymin, ymax = truncated(y - ry + 0.5, height), truncated(y + ry + 1.4999999, height)
    if xmin < 0:
        xmin, flag = 0, TRUNCATED
    if xmax > width:
        xmax, flag = width, TRUNCATED
    if ymin < 0:
        ymin, flag = 0, TRUNCATED
    if ymax > height:
        ymax, flag = height, TRUNCATED
    return xmin, xmax, ymin, ymax, flag


@kernel()
def ellipse_extent(x: Any, y: Any, cxx: Any, cyy: Any, cxy: Any, r: Any, width: Any, height: Any) -> Any:
    """`extent` of an ellipse cxx dx^2 + cyy dy^2 + cxy dx dy = r^2."""
    rx = cxx - cxy * cxy / (4.0 * cyy)
    rx = r / math.sqrt(rx) if rx > 0.0 else 0.0
    ry = cyy - cxy * cxy / (4.0 * cxx)
    ry = r / math.sqrt(ry) if ry > 0.0 else 0.0
    return extent(x, y, rx, ry, width, height)


@kernel()
def ellipse_coefficients(a: Any, b: Any, theta: Any) -> Any:
    """Coefficients cxx, cyy and cxy of an ellipse with semi-axes a and b (pixels) and an angle theta (radians)."""
    cos, sin = math.cos(theta), math.sin(theta)
    cxx = cos * cos / (a * a) + sin * sin / (b * b)
    cyy = sin * sin / (a * a) + cos * cos / (b * b)
    cxy = 2.0 * cos * sin * (1.0 / (a * a) - 1.0 / (b * b))
    return cxx, cyy, cxy


@kernel()
def annulus(r: Any, margin: Any) -> Any:
    """Squares of the radii below which a pixel is all inside, and from which on it is all outside."""
    inner = r - margin
    inner = inner * inner if inner > 0.0 else 0.0
    outer = r + margin
    return inner, outer * outer


@kernel()
def fill_shares(shares: Any, subpix: Any) -> Any:
    """Area of k sub-pixels, for k from 0 to all of them: added up one by one, as SEP does, so that it rounds alike."""
    scale = 1.0 / subpix
    shares[0] = 0.0
    for k in range(subpix * subpix):
        shares[k + 1] = shares[k] + scale * scale


@kernel()
def line_ranges(x: Any, dy2: Any, inner: Any, outer: Any, xmin: Any, xmax: Any) -> Any:
    """Parts of a line of pixels in a circle's box.

    Parameters
    ----------
    x : float
        Column of the centre.
    dy2 : float
        Squared distance of the line from it.
    inner, outer : float
        Of `annulus`.
    xmin, xmax : int
        The box.

    Returns
    -------
    first, begin, end, last : int
        All pixels from `begin` to before `end` are surely inside, all before `first` and from `last` on surely outside:
        rounding is far less than the margins.
    """
    if outer - dy2 <= 0.0:
        return xmin, xmin, xmin, xmin
    half = math.sqrt(outer - dy2) + 1e-6
    first = max(truncated(math.ceil(x - half), xmax), xmin)
    last = max(min(truncated(math.floor(x + half), xmax) + 1, xmax), first)
    half = math.sqrt(max(inner - dy2, 0.0)) - 1e-6
    begin = min(max(truncated(math.ceil(x - half), xmax), first), last)
    end = min(max(truncated(math.floor(x + half), xmax) + 1, begin), last)
    return first, begin, end, last


@kernel()
def fetch(image: Any, xmin: Any, xmax: Any, ymin: Any, ymax: Any) -> Any:
    """Read a pixel of every cache line of a box, so that the box is near when its sums begin.

    One after the other the sums would wait for each of its lines of pixels; here nothing waits. The result is for the
    compiler, which leaves out what nobody uses.
    """
    total = 0.0
    for iy in range(ymin, ymax):
        for ix in range(xmin, xmax, 16):
            total += image[iy, ix]
    return total
