"""Columns of what extraction returns, for each kind of profile."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kira.extraction.flags import Flag
from kira.extraction.survey_profile import SurveyProfile

__all__ = ["COLUMNS", "DETECTION", "PHOTOMETRY", "QUANTITIES", "SURVEY", "Flag", "Quantity", "survey_columns"]

DETECTION = np.dtype(
    [
        ("thresh", "f8"), ("npix", "i8"), ("tnpix", "i8"),
        ("xmin", "i8"), ("xmax", "i8"), ("ymin", "i8"), ("ymax", "i8"),
        ("x", "f8"), ("y", "f8"), ("x2", "f8"), ("y2", "f8"), ("xy", "f8"),
        ("errx2", "f8"), ("erry2", "f8"), ("errxy", "f8"),
        ("a", "f8"), ("b", "f8"), ("theta", "f8"), ("cxx", "f8"), ("cyy", "f8"), ("cxy", "f8"),
        ("cflux", "f8"), ("flux", "f8"), ("cpeak", "f8"), ("peak", "f8"),
        ("xcpeak", "i8"), ("ycpeak", "i8"), ("xpeak", "i8"), ("ypeak", "i8"),
    ]
)  # fmt: skip
"""Columns of kind `kira` that are taken from `sep.extract` under their own names."""

PHOTOMETRY = np.dtype(
    [
        ("flag_extract", "i2"),
        ("flux_circle", "f8"), ("fluxerr_circle", "f8"), ("flag_circle", "i2"),
        ("kron_radius", "f8"), ("flag_kron", "i2"),
        ("flux_ellipse", "f8"), ("fluxerr_ellipse", "f8"), ("flag_ellipse", "i2"),
        ("ra", "f8"), ("dec", "f8"),
    ]
)  # fmt: skip
"""Columns added to them."""

COLUMNS = np.dtype(DETECTION.descr + PHOTOMETRY.descr)
"""One row of `Extraction.table` of kind `kira`."""


@dataclass(frozen=True)
class Quantity:
    """One column of kind `survey`.

    Parameters
    ----------
    name : str
    type : str
        As numpy writes it.
    unit : str
        `pix`, `rad`, or `flux`: the unit of the frame's pixels; empty for a number without unit.
    definition : str
        What it is, and where the definition comes from.
    per_aperture : bool
        One number for each of the profile's apertures.
    """

    name: str
    type: str
    unit: str
    definition: str
    per_aperture: bool = False


_WINDOW = "sigma = 2 r50 / 2.35 and a radius of 4 sigma (SExtractor's XWIN_IMAGE, `sep.winpos`)"

QUANTITIES: tuple[Quantity, ...] = (
    Quantity(
        "x", "f8", "pix",
        "Column of the barycentre of the source's own pixels, convolved; 0 is the centre of the first pixel "
        "(SEP's x, SExtractor's X_IMAGE - 1)",
    ),
    Quantity("y", "f8", "pix", "Row of the barycentre"),
    Quantity(
        "x_err", "f8", "pix",
        "Error of x: the square root of sum(noise^2 (x_i - x)^2) / sum(I_i)^2 over the source's own pixels, "
        "with each pixel's noise (SExtractor's ERRX2_IMAGE)",
    ),
    Quantity("y_err", "f8", "pix", "Error of y"),
    Quantity("xy_cov", "f8", "pix2", "Covariance of x and y"),
    Quantity(
        "x_win", "f8", "pix",
        f"Column of the windowed position: mean weighted by a Gaussian of {_WINDOW}, iterated from the "
        "barycentre",
    ),
    Quantity("y_win", "f8", "pix", "Row of the windowed position"),
    Quantity(
        "x_win_err", "f8", "pix",
        "Error of x_win: 2 sqrt(sum(w_i^2 noise^2 ((x_i - x)^2 + 1/12))) / sum(w_i I_i), with w the Gaussian "
        "window (SExtractor's ERRX2WIN_IMAGE)",
    ),
    Quantity("y_win_err", "f8", "pix", "Error of y_win"),
    Quantity("xy_win_cov", "f8", "pix2", "Covariance of x_win and y_win"),
    Quantity("flags_win", "i4", "", "Flag bits of the windowed position; WINDOW_FAILED: it is the barycentre"),
    Quantity("xmin", "i4", "pix", "First column of the source's own pixels"),
    Quantity("xmax", "i4", "pix", "Last column of them"),
    Quantity("ymin", "i4", "pix", "First row of them"),
    Quantity("ymax", "i4", "pix", "Last row of them"),
    Quantity("xpeak", "i4", "pix", "Column of the brightest pixel"),
    Quantity("ypeak", "i4", "pix", "Row of the brightest pixel"),
    Quantity(
        "npix", "i4", "pix",
        "Number of the source's own pixels, those above the threshold when convolved (SEP's npix, "
        "SExtractor's ISOAREAF_IMAGE)",
    ),
    Quantity(
        "threshold", "f8", "flux",
        "Detection threshold above the background, the mean over the source (SEP's thresh)",
    ),
    Quantity("peak", "f8", "flux", "Brightest pixel"),
    Quantity("cpeak", "f8", "flux", "Brightest pixel, convolved"),
    Quantity("background", "f8", "flux", "Background at the barycentre, which was subtracted"),
    Quantity("background_rms", "f8", "flux", "Background's rms at the barycentre"),
    Quantity(
        "flux_iso", "f8", "flux",
        "Sum of the source's own pixels, not convolved (SEP's flux, SExtractor's FLUX_ISO)",
    ),
    Quantity("fluxerr_iso", "f8", "flux", "Its error: the root of the sum of noise^2"),
    Quantity("a", "f8", "pix", "Rms along the major axis (SExtractor's A_IMAGE)"),
    Quantity("b", "f8", "pix", "Rms along the minor axis (SExtractor's B_IMAGE)"),
    Quantity("theta", "f8", "rad", "Angle from the x axis to the major axis, counter-clockwise, -pi/2 to pi/2"),
    Quantity("elongation", "f8", "", "a / b"),
    Quantity("ellipticity", "f8", "", "1 - b / a"),
    Quantity(
        "fwhm", "f8", "pix",
        "Full width at half maximum, if the profile is a Gaussian: 2 sqrt(ln 2 (a^2 + b^2)). From pixels "
        "above the threshold alone: too small for faint sources, too large for bright ones with wings; for "
        "points 2 r50 is steadier. Not SExtractor's FWHM_IMAGE, which is from isophotal areas",
    ),
    Quantity(
        "auto_scale", "f8", "",
        "Semi-axes of the AUTO ellipse in units of a and b: the larger of kron_factor times the Kron radius, "
        "and kron_minimum (SExtractor's KRON_RADIUS)",
    ),
    Quantity(
        "flux_auto", "f8", "flux",
        "Flux in the AUTO ellipse around the barycentre (Kron 1980; SExtractor's FLUX_AUTO)",
    ),
    Quantity("fluxerr_auto", "f8", "flux", "Its error from the noise of each pixel"),
    Quantity("flags_auto", "i4", "", "Flag bits of the AUTO ellipse and of the Kron radius"),
    Quantity("flux_aper", "f8", "flux", "Flux in a circle of each of the profile's apertures", per_aperture=True),
    Quantity("fluxerr_aper", "f8", "flux", "Its error from the noise of each pixel", per_aperture=True),
    Quantity("flags_aper", "i4", "", "Flag bits of each circle", per_aperture=True),
    Quantity(
        "flux_star", "f8", "flux",
        "Flux if the source is a point: that in the circle of star_aperture times star_factor. NaN where the frame "
        "has fewer than five bright, single stars. Too low for what is extended",
    ),
    Quantity(
        "fluxerr_star", "f8", "flux",
        "Its error: the circle's noise, the error of star_factor, and by how much single stars differ from it",
    ),
    Quantity("flags_star", "i4", "", "Flag bits of the circle of star_aperture"),
    Quantity(
        "star_factor", "f8", "",
        "Aperture correction, the same for all sources of a frame: weighted median, over the frame's bright, single "
        "stars, of the flux in the circle of star_reference over that in the circle of star_aperture",
    ),
    Quantity("star_factor_err", "f8", "", "Its error"),
    Quantity("star_factor_number", "i4", "", "How many stars it is from, or how many were too few"),
    Quantity(
        "r20", "f8", "pix",
        "Radius around the barycentre that holds 20 % of flux_auto (SExtractor's FLUX_RADIUS); NaN where that"
        " is not positive",
    ),
    Quantity("r50", "f8", "pix", "Half-light radius: the same for 50 %"),
    Quantity("r80", "f8", "pix", "The same for 80 %"),
    Quantity("flags_radius", "i4", "", "Flag bits of the three radii"),
    Quantity(
        "point_like", "f8", "",
        "Hint, 0 to 1: the share of point sources that noise would make look this extended or more; near 0 "
        "for what is extended. NaN where it cannot be told",
    ),
    Quantity("flags", "i4", "", "Flag bits of the source: those of SEP's detection, and Kira's"),
)  # fmt: skip
"""Columns of kind `survey`, in their order. Fluxes are background-subtracted and in the unit of the frame's pixels."""


def survey_columns(n_apertures: int) -> np.dtype[np.void]:
    """Return one row of `Extraction.table` of kind `survey`.

    Parameters
    ----------
    n_apertures : int
        Length of the columns that have a number for each aperture.
    """
    fields: list[Any] = [
        (one.name, one.type, (n_apertures,)) if one.per_aperture else (one.name, one.type) for one in QUANTITIES
    ]
    return np.dtype(fields)


SURVEY = survey_columns(len(SurveyProfile().apertures))
"""One row of `Extraction.table` of the profile `survey`; `QUANTITIES` says what each column is."""
