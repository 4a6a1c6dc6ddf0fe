"""What SEP knows of an object, and its measurement from the list of its pixels (analyse.c)."""

import math

import numpy as np
from numba import njit

MERGED, TRUNCATED, SINGULAR = 1, 2, 8
"""Bits of `flag`: SEP_OBJ_MERGED, SEP_OBJ_TRUNC, SEP_OBJ_SINGU."""

_WHOLE = ("npix", "tnpix", "xmin", "xmax", "ymin", "ymax", "xcpeak", "ycpeak", "xpeak", "ypeak", "first", "flag")
_DOUBLE = ("x", "y", "x2", "y2", "xy", "errx2", "erry2", "errxy")
_SINGLE = ("a", "b", "theta", "cxx", "cyy", "cxy", "cflux", "flux", "cpeak", "peak", "thresh", "mthresh", "abcor")
OBJECT = np.dtype(
    [(name, kind) for kind, names in (("i8", _WHOLE), ("f8", _DOUBLE), ("f4", _SINGLE)) for name in names]
)
"""SEP's `objstruct` with its types, by the names of `sep.extract`; `first` is where its pixels begin."""

_LARGE = np.float32(1e30)  # BIG in sepcore.h
_LEAST_DETERMINANT = 0.00694
_PIXEL_VARIANCE = 0.0833333
_PIXEL_VARIANCE_OF_ERRORS = 0.08333


@njit(cache=True, nogil=True, error_model="numpy")
def survey_pixels(one, pixels):  # type: ignore[no-untyped-def]
    """Find an object's limits, peaks and convolved flux (preanalyse in analyse.c).

    Parameters
    ----------
    one : record of `OBJECT`
        With `first` and `npix`.
    pixels : tuple of numpy.ndarray, each of shape (n,)
        x and y (int32), value, convolved value and noise (float32) of the pixels of all objects.
    """
    xs, ys, values, filtered, _ = pixels
    xmin, xmax, ymin, ymax = 1 << 30, 0, 1 << 30, 0
    peak = cpeak = -_LARGE
    at = at_convolved = -1
    total = 0.0
    for i in range(one.first, one.first + one.npix):
        xmin, xmax = min(xmin, xs[i]), max(xmax, xs[i])
        ymin, ymax = min(ymin, ys[i]), max(ymax, ys[i])
        if peak < values[i]:
            peak, at = values[i], i
        if cpeak < filtered[i]:
            cpeak, at_convolved = filtered[i], i
        total += filtered[i]
    one.xmin, one.xmax, one.ymin, one.ymax = xmin, xmax, ymin, ymax
    one.peak, one.cpeak, one.cflux = peak, cpeak, np.float32(total)
    one.xpeak = xs[at] if at >= 0 else 0
    one.ypeak = ys[at] if at >= 0 else 0
    one.xcpeak = xs[at_convolved] if at_convolved >= 0 else 0
    one.ycpeak = ys[at_convolved] if at_convolved >= 0 else 0


@njit(cache=True, nogil=True)
def mark_truncated(one, columns, rows):  # type: ignore[no-untyped-def]
    """Set the bit TRUNCATED of an object that has a pixel at the image's edge."""
    if one.xmin == 0 or one.ymin == 0 or one.xmax == columns - 1 or one.ymax == rows - 1:
        one.flag |= TRUNCATED


@njit(cache=True, nogil=True, error_model="numpy")
def measure(one, robust, pixels):  # type: ignore[no-untyped-def]
    """Measure an object's moments, ellipse, area and flux (analyse in analyse.c).

    As in SEP, a pixel's product of value and coordinates is rounded to float32, their sum is kept in float64.

    Parameters
    ----------
    one : record of `OBJECT`
        After `survey_pixels`, with `thresh`.
    robust : bool
        Whether to keep the barycentre of an object with the bit MERGED: that of the pixels it had before it was given
        some of the faint ones around.
    pixels : tuple of numpy.ndarray
        As in `survey_pixels`.
    """
    xs, ys, values, filtered, _ = pixels
    xmin, ymin = one.xmin, one.ymin
    threshold = np.float64(one.thresh)
    half = (threshold + np.float64(one.peak)) / 2.0
    area = half_area = 0
    mx = my = mx2 = my2 = mxy = flux = 0.0
    for i in range(one.first, one.first + one.npix):
        u, v = np.float32(xs[i] - xmin), np.float32(ys[i] - ymin)
        light, value = filtered[i], values[i]
        flux += value
        area += value > threshold
        half_area += value > half
        mx += light * u
        my += light * v
        mx2 += light * u * u
        my2 += light * v * v
        mxy += light * u * v

    total = np.float64(one.cflux)
    x, y = mx / total, my / total
    if robust and one.flag & MERGED:
        x0, y0 = one.x - xmin, one.y - ymin
        x2 = mx2 / total + x0 * x0 - 2 * x * x0
        y2 = my2 / total + y0 * y0 - 2 * y * y0
        xy = mxy / total + x0 * y0 - x * y0 - x0 * y
        x, y = x0, y0
    else:
        x2 = mx2 / total - x * x
        y2 = my2 / total - y * y
        xy = mxy / total - x * y
    one.tnpix = area
    one.flux = np.float32(flux)
    errors = _errors(one, x, y, pixels)
    _ellipse(one, x2, y2, xy, errors)
    one.x, one.y = x + xmin, y + ymin
    one.abcor = _correction(one, threshold, half, half_area)


@njit(cache=True, nogil=True, error_model="numpy")
def _errors(one, x, y, pixels):  # type: ignore[no-untyped-def]
    """Variances and covariance of the barycentre and the sum of the pixels' variances."""
    xs, ys, _, _, noise = pixels
    xx = yy = xy = total = 0.0
    for i in range(one.first, one.first + one.npix):
        variance = np.float64(noise[i] * noise[i])
        dx, dy = (xs[i] - one.xmin) - x, (ys[i] - one.ymin) - y
        total += variance
        xx += variance * dx * dx
        yy += variance * dy * dy
        xy += variance * dx * dy
    norm = np.float64(one.cflux) * np.float64(one.cflux)
    return xx / norm, yy / norm, xy / norm, total


@njit(cache=True, nogil=True, error_model="numpy")
def _ellipse(one, x2, y2, xy, errors):  # type: ignore[no-untyped-def]
    xx, yy, covariance, total = errors
    determinant = x2 * y2 - xy * xy
    if determinant < _LEAST_DETERMINANT:  # all pixels in one line
        x2 += _PIXEL_VARIANCE
        y2 += _PIXEL_VARIANCE
        determinant = x2 * y2 - xy * xy
        one.flag |= SINGULAR
        total *= _PIXEL_VARIANCE_OF_ERRORS / (np.float64(one.cflux) * np.float64(one.cflux))
        if xx * yy - covariance * covariance < total * total:
            xx += total
            yy += total
    one.errx2, one.erry2, one.errxy = xx, yy, covariance
    one.x2, one.y2, one.xy = x2, y2, xy
    difference = x2 - y2
    one.theta = np.float32(math.atan2(2.0 * xy, difference) / 2.0 if abs(difference) > 0.0 else math.pi / 4.0)
    root = math.sqrt(0.25 * difference * difference + xy * xy)
    mean = 0.5 * (x2 + y2)
    one.a, one.b = np.float32(math.sqrt(mean + root)), np.float32(math.sqrt(mean - root))
    one.cxx, one.cyy = np.float32(y2 / determinant), np.float32(x2 / determinant)
    one.cxy = np.float32(-2 * xy / determinant)


@njit(cache=True, nogil=True, error_model="numpy")
def _correction(one, threshold, half, half_area):  # type: ignore[no-untyped-def]
    """How much smaller a b is than of the Gaussian with the object's area above the threshold and above half its peak.

    It is at most 1, and 1 where it cannot be told.
    """
    ratio = threshold / half
    if not ratio > 0.0:
        return np.float32(1.0)
    ring = np.float64(half_area - one.tnpix)
    log = math.log(ratio if ratio < 1.0 else 0.99)
    correction = np.float32(
        (ring if ring < 0.0 else -1.0) / (2 * math.pi * log * np.float64(one.a) * np.float64(one.b))
    )
    return np.float32(1.0) if correction > np.float32(1.0) else correction
