"""Fluxes in apertures and light radii, of every source that has an aperture."""

from dataclasses import dataclass

import numpy as np

from kira.extraction.engine import Engine, Shape
from kira.extraction.flags import Flag
from kira.extraction.measuring import Bools, Flags, Floats, measure_valid
from kira.extraction.noise import Image
from kira.extraction.survey_profile import SurveyProfile

LIGHT_FRACTIONS = (0.2, 0.5, 0.8)
"""Of the AUTO flux, for r20, r50 and r80."""
_GROWTH_RANGE = 6.0  # in units of a, as SEP's documentation of FLUX_RADIUS has it


@dataclass(frozen=True)
class Ellipses:
    """Places and shapes of n sources such that SEP takes them.

    Parameters
    ----------
    x, y : numpy.ndarray of float64, shape (n,)
        Barycentres, pixels.
    a, b : numpy.ndarray of float64, shape (n,)
        Rms along the axes, pixels; b is not above a.
    theta : numpy.ndarray of float64, shape (n,)
        Radians, within -pi/2 and pi/2.
    valid : numpy.ndarray of bool, shape (n,)
        Which are ellipses at all: finite, and b above 0.
    """

    x: Floats
    y: Floats
    a: Floats
    b: Floats
    theta: Floats
    valid: Bools

    @classmethod
    def of(cls, detections: "np.ndarray[tuple[int], np.dtype[np.void]]") -> "Ellipses":
        """Those of SEP's detections.

        SEP's axes and angle are rounded to float32: some angles come out just above pi/2 and some b above a, both of
        which its own apertures refuse.
        """
        x, y, a, b, theta = (detections[name].astype(np.float64) for name in ("x", "y", "a", "b", "theta"))
        b = np.minimum(a, b)
        theta = np.clip(theta, -np.pi / 2, np.pi / 2)
        valid = np.isfinite([x, y, a, b, theta]).all(axis=0) & (b > 0)
        return cls(x, y, a, b, theta, valid)

    @property
    def columns(self) -> Shape:
        """x, y, a, b, theta."""
        return self.x, self.y, self.a, self.b, self.theta


def auto_photometry(
    engine: Engine, pixels: Image, noise: Image, mask: Bools | None, ellipses: Ellipses, profile: SurveyProfile
) -> tuple[Floats, Floats, Floats, Flags]:
    """Measure fluxes in Kron ellipses as SExtractor's FLUX_AUTO does (computeautoflux in photom.c).

    The ellipse is `kron_factor` Kron radii large and at least `kron_minimum`, also where the Kron radius has no
    positive flux to be measured from. (SEP's documentation has a circle of 1.75 pixels for its least aperture: that is
    not what SExtractor does with the same number.)

    Returns
    -------
    scale, flux, error : numpy.ndarray of float64, shape (n,)
        Semi-axes of the ellipse in units of a and b; NaN where there is no ellipse.
    flags : numpy.ndarray of int32, shape (n,)
    """
    radius, radius_flags = measure_valid(
        ellipses.valid, lambda *shape: engine.kron_radius(pixels, mask, shape, profile.kron_range), ellipses.columns
    )
    # fmax: a radius that is not a number is none.
    scale = np.where(ellipses.valid, np.fmax(profile.kron_factor * radius, profile.kron_minimum), np.nan)
    valid = ellipses.valid & np.isfinite(scale)
    flux, error, flags = measure_valid(
        valid,
        lambda *shape: engine.sum_ellipse(pixels, noise, mask, shape[:5], shape[5], profile.kron_subpix),
        [*ellipses.columns, scale],
    )
    flags |= radius_flags
    _forget_unseen([scale, flux, error], flags)
    return scale, flux, error, flags


def circles(
    engine: Engine,
    image: tuple[Image, Image, Bools | None],
    centre: tuple[Floats, Floats],
    radii: Floats,
    subpix: int,
) -> tuple[Floats, Floats, Flags]:
    """Measure fluxes in circles.

    Parameters
    ----------
    engine : Engine
    image : (pixels, noise, mask)
    centre : (numpy.ndarray of float64, numpy.ndarray of float64), each of shape (n,)
        Pixels.
    radii : numpy.ndarray of float64, shape (m,)
        Pixels; NaN: not measured.
    subpix : int

    Returns
    -------
    flux, error : numpy.ndarray of float64, shape (n, m)
    flags : numpy.ndarray of int32, shape (n, m)
    """
    flux, error, flags = engine.sum_circles(*image, *centre, radii, subpix)
    _forget_unseen([flux, error], flags)
    return flux, error, flags


def light_radii(
    engine: Engine, pixels: Image, mask: Bools | None, ellipses: Ellipses, flux: Floats
) -> tuple[Floats, Flags]:
    """Measure the radii that hold the `LIGHT_FRACTIONS` of a flux (SExtractor's FLUX_RADIUS).

    Returns
    -------
    radii : numpy.ndarray of float64, shape (n, 3)
        Pixels; NaN where the flux is not positive.
    flags : numpy.ndarray of int32, shape (n,)
    """
    valid = ellipses.valid & (flux > 0)
    if not valid.any():  # SEP's growth curve of no source has no columns
        return np.full((len(flux), 3), np.nan), np.full(len(flux), int(Flag.NOT_MEASURED), dtype=np.int32)
    radii, flags = measure_valid(
        valid,
        lambda x, y, reach, norm: engine.light_radii(pixels, mask, x, y, reach, np.array(LIGHT_FRACTIONS), norm),
        [ellipses.x, ellipses.y, _GROWTH_RANGE * ellipses.a, flux],
    )
    return radii, flags


def _forget_unseen(columns: list[Floats], flags: Flags) -> None:
    """Make numbers NaN where all of the aperture is masked: SEP divides by the area that is left."""
    unseen = flags & Flag.APERTURE_ALL_MASKED > 0
    for column in columns:
        column[unseen] = np.nan
    flags[unseen] |= Flag.NOT_MEASURED
