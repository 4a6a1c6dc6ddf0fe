"""A hint whether a source is a point: its half-light radius against that of the frame's own stars."""

import math

import numpy as np
import numpy.typing as npt

from kira.extraction.flags import Flag
from kira.extraction.measuring import Bools, Floats

LEAST_STARS = 10
"""Sources that it takes to say where a frame's stars lie."""
SIGNAL_TO_NOISE = (50.0, 20.0)
"""Of the AUTO flux from which on a source counts for that; the second where the first leaves too few."""
_LEAST_WIDTH = 0.01  # of the radius: the growth curve is no finer
_SPOILED = Flag.SATURATED | Flag.MASKED | Flag.NEAR_EDGE | Flag.MERGED | Flag.NEIGHBOURS | Flag.NOT_MEASURED


def point_like(table: npt.NDArray[np.void]) -> Floats:
    """Return how well the sources agree with points, 0 to 1.

    Points of all magnitudes have one half-light radius, that of the point spread function. It is taken from the frame:
    the mode of r50 among bright sources without flags, for stars are the sources that are all alike, with the spread
    below the mode as its width. A source's own error follows from its growth curve, which rises by 0.6 of the flux F
    between r20 and r80: an error s of F, half of which is inside r50, moves r50 by about s / 2 (r80 - r20) / (0.6 F).
    The hint is the probability that noise makes a point look this extended or more: 1/2 for the mode, near 0 for what
    is extended, above 1/2 for what is narrower.

    It is not the probability of being a star. It knows nothing of how many stars and galaxies there are, cannot tell a
    compact galaxy or a quasar from a star, gives high values to cosmic rays, and says little below a signal-to-noise
    ratio of ten. Where a frame's bright sources are mostly galaxies of one size it takes those for its stars.

    Parameters
    ----------
    table : numpy.ndarray, structured, shape (n,)
        r20, r50, r80, flux_auto, fluxerr_auto and flags of all sources of a frame.

    Returns
    -------
    numpy.ndarray of float64, shape (n,)
        NaN where r50 was not measured, and for all of a frame with fewer than `LEAST_STARS` bright sources.
    """
    r50, flux, error = table["r50"], table["flux_auto"], table["fluxerr_auto"]
    hint = np.full(len(table), np.nan)
    known = np.isfinite(r50) & (r50 > 0) & (flux > 0) & (error > 0)
    radius, width = stellar_radius(r50, np.where(known, flux / np.where(known, error, 1.0), 0.0), table["flags"])
    if math.isnan(radius):
        return hint
    own = 0.5 * error[known] / flux[known] * np.maximum(table["r80"] - table["r20"], 0.0)[known] / 0.6
    excess = (r50[known] - radius) / np.hypot(width, own)
    hint[known] = [0.5 * math.erfc(one / math.sqrt(2.0)) for one in excess]
    return hint


def stellar_radius(r50: Floats, signal_to_noise: Floats, flags: npt.NDArray[np.int32]) -> tuple[float, float]:
    """Return the half-light radius of the frame's stars and its spread, pixels; NaN where there are too few."""
    clean: Bools = (flags & int(_SPOILED) == 0) & np.isfinite(r50) & (r50 > 0)
    for least in SIGNAL_TO_NOISE:
        radii = np.sort(r50[clean & (signal_to_noise > least)])
        if len(radii) >= LEAST_STARS:
            mode = _mode(radii)
            width = 1.4826 * float(np.median(mode - radii[radii <= mode]))
            return mode, max(width, _LEAST_WIDTH * mode)
    return math.nan, math.nan


def _mode(values: Floats) -> float:
    """Half-sample mode of sorted values (Robertson & Cryer 1974): the densest half of the densest half, and on."""
    while len(values) > 3:
        half = (len(values) + 1) // 2
        start = int(np.argmin(values[half - 1 :] - values[: len(values) - half + 1]))
        values = values[start : start + half]
    return float(values.mean())
