"""Fluxes of point sources: a small circle, and what the frame's own stars have outside it."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kira.extraction.engine import Engine
from kira.extraction.measuring import Bools, Flags, Floats
from kira.extraction.noise import Image
from kira.extraction.photometry import circles
from kira.extraction.survey_profile import SurveyProfile

LEAST_STARS = 5
"""Stars that it takes: of fewer a median says little, and nothing about itself."""
LEAST_SIGNAL = 20.0
"""Signal-to-noise ratio of the AUTO flux from which on a star is used."""
LEAST_POINT_LIKE = 0.05
MOST_NEIGHBOURS = 0.005
"""Part of a star's flux that all detections in and at the large circle may have together."""
_BESIDE = 4.0  # pixels from the large circle's edge, within which a neighbour's light reaches into it
_FLOOR = 0.005  # by which no star's ratio is better known: the PSF varies that much over a frame
_MEDIAN = 1.2533  # error of a median over that of a mean, for normal errors
_NORMAL = 1.4826
_SCATTER = 2.33  # twice the error of a median deviation, whose efficiency is 0.37, times sqrt(n)


@dataclass(frozen=True)
class Correction:
    """What a star's flux in the small circle has to be multiplied by.

    Parameters
    ----------
    factor : float
        NaN where the frame has too few stars.
    error : float
        Of the factor.
    spread : float
        By how much single stars' factors differ, as far as that is more than their noise: the PSF is not the same all
        over the frame.
    stars : int
        How many it is from.
    """

    factor: float = math.nan
    error: float = math.nan
    spread: float = math.nan
    stars: int = 0


def star_fluxes(
    engine: Engine,
    image: tuple[Image, Image, Bools | None],
    table: npt.NDArray[np.void],
    centre: tuple[Floats, Floats],
    pixel_scale: float,
    profile: SurveyProfile,
) -> tuple[Floats, Floats, Flags, Correction]:
    """Measure all sources as if they were points.

    The flux is that of the circle of `star_aperture`, times the frame's own curve of growth: the median of the ratio of
    fluxes in circles of `star_reference` and `star_aperture` over the frame's bright, single stars. SDSS calibrates
    with 7.43 arcsec for all stars (Stoughton et al. 2002, section 4.4.5).

    The frame's stars and not psField's PSF: that ends at 10 arcsec, and its wings are of a fit to the core. In five
    bands of two fields it has 0.979 to 0.999 of the light of 7.43 arcsec within 3 arcsec, the stars have 0.956 to
    0.970.

    Parameters
    ----------
    engine : Engine
    image : (pixels, noise, mask)
        Background-subtracted, and one standard deviation of each pixel.
    table : numpy.ndarray, structured, shape (n,)
        All other columns of the frame's sources, `point_like` and `flags` too.
    centre : (numpy.ndarray of float64, numpy.ndarray of float64), each of shape (n,)
        Pixels.
    pixel_scale : float
        Arcsec.
    profile : SurveyProfile

    Returns
    -------
    flux, error : numpy.ndarray of float64, shape (n,)
        NaN where the frame has too few stars. The error holds the circle's noise, the correction's error and its
        spread: variance = q^2 e^2 + f^2 (error^2 + spread^2).
    flags : numpy.ndarray of int32, shape (n,)
        Of the small circle.
    correction : Correction
    """
    small, large = profile.star_aperture / pixel_scale, profile.star_reference / pixel_scale
    flux, error, flags = _circle(engine, image, centre, small, profile)
    chosen = _single_stars(table, centre, large + _BESIDE) & (flags == 0) & (flux > 0)
    places = centre[0][chosen], centre[1][chosen]
    whole, its_error, its_flags = _circle(engine, image, places, large, profile)
    good = its_flags == 0
    found = correction(flux[chosen][good], error[chosen][good], whole[good], its_error[good])
    total: Floats = np.sqrt((found.factor * error) ** 2 + flux**2 * (found.error**2 + found.spread**2))
    return found.factor * flux, total, flags, found


def correction(flux: Floats, error: Floats, whole: Floats, its_error: Floats) -> Correction:
    """Median ratio of two circles' fluxes.

    Parameters
    ----------
    flux, error : numpy.ndarray of float64, shape (n,)
        Of stars in the small circle, all above 0.
    whole, its_error : numpy.ndarray of float64, shape (n,)
        In the large one, which holds the small one: they share its noise.

    Returns
    -------
    Correction
        The median is weighted with the inverse variances, and its error 1.25 times that of a mean so weighted.
    """
    if len(flux) < LEAST_STARS:
        return Correction(stars=len(flux))
    ratio = whole / flux
    variance = (np.maximum(its_error**2 - error**2, 0.0) + ((ratio - 1.0) * error) ** 2) / flux**2
    weight = 1.0 / (variance + _FLOOR**2)
    factor = _weighted_median(ratio, weight)
    scatter = _NORMAL * _weighted_median(np.abs(ratio - factor), weight)
    # A scatter squared is known to 2.33 / sqrt(n) of itself: what is no more than that above the noise is no spread.
    noise = _weighted_median(variance, weight) * (1.0 + _SCATTER / math.sqrt(len(flux)))
    spread = math.sqrt(max(scatter**2 - noise, 0.0))
    of_mean = math.sqrt(float((weight**2 * (variance + spread**2)).sum())) / float(weight.sum())
    return Correction(factor, _MEDIAN * of_mean, spread, len(flux))


def _circle(
    engine: Engine,
    image: tuple[Image, Image, Bools | None],
    centre: tuple[Floats, Floats],
    radius: float,
    profile: SurveyProfile,
) -> tuple[Floats, Floats, Flags]:
    flux, error, flags = circles(engine, image, centre, np.array([radius]), profile.aperture_subpix)
    return flux[:, 0], error[:, 0], flags[:, 0]


def _single_stars(table: npt.NDArray[np.void], centre: tuple[Floats, Floats], reach: float) -> Bools:
    """Which sources are bright points, without flags, and alone to a distance (pixels)."""
    x, y = centre
    with np.errstate(invalid="ignore"):
        stars: Bools = (table["flags"] == 0) & (table["flags_win"] == 0) & (table["point_like"] > LEAST_POINT_LIKE)
        stars &= table["flux_auto"] > LEAST_SIGNAL * table["fluxerr_auto"]
    for i in np.flatnonzero(stars):
        near = np.hypot(x - x[i], y - y[i]) < reach
        near[i] = False
        stars[i] = np.fmax(table["flux_auto"][near], 0.0).sum() < MOST_NEIGHBOURS * table["flux_auto"][i]
    return stars


def _weighted_median(values: Floats, weights: Floats) -> float:
    """Where the weights on both sides are the same: between the centres of the values' weights it is linear."""
    order = np.argsort(values)
    below = np.cumsum(weights[order]) - 0.5 * weights[order]
    return float(np.interp(0.5 * weights.sum(), below, values[order]))
