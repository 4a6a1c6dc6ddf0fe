"""Measurements of kind `survey`: SExtractor's, with masks, flags and errors from the noise of every pixel."""

import numpy as np
import numpy.typing as npt

from kira.errors import ExtractionFailed
from kira.extraction.background import remaining_sky
from kira.extraction.buffers import Buffers
from kira.extraction.columns import survey_columns
from kira.extraction.detection import detect, quantum, subtract_background
from kira.extraction.flags import Flag
from kira.extraction.measuring import Bools, Floats
from kira.extraction.noise import Image, pixel_noise, unusable
from kira.extraction.photometry import Ellipses, auto_photometry, circles, light_radii
from kira.extraction.point_like import point_like
from kira.extraction.segments import Segments, crowded, isophotal_errors, touched
from kira.extraction.star_flux import star_fluxes
from kira.extraction.survey_profile import SurveyProfile
from kira.extraction.windowed import windowed_positions
from kira.frames import Frame

_SAME = ("xmin", "xmax", "ymin", "ymax", "xpeak", "ypeak", "npix", "peak", "cpeak", "x", "y")


def measure_survey(frame: Frame, profile: SurveyProfile) -> tuple[npt.NDArray[np.void], float, float, Buffers]:
    """Find and measure the sources of a frame.

    Parameters
    ----------
    frame : Frame
    profile : SurveyProfile

    Returns
    -------
    table : numpy.ndarray, structured, shape (n_sources,)
        Columns of `kira.extraction.columns.survey_columns`.
    background, rms : float
        Global background and its rms.
    limits : Buffers
        SEP's limits that it took.

    Raises
    ------
    ExtractionFailed
        If all pixels are masked, the noise is none, or SEP's limits cannot be raised far enough.
    """
    mask = unusable(frame)
    if mask.all():
        raise ExtractionFailed("no pixel can be used: all are masked.")
    masked = mask if mask.any() else None
    background, pixels = subtract_background(frame.data, masked, profile, profile.dither * quantum(frame))
    level, rms = background.back(), _positive(background.rms(), background.globalrms)
    detection_noise = rms if profile.detection_noise == "map" else background.globalrms
    detections, segments, limits = detect(pixels, masked, detection_noise, profile, segments=True)
    assert segments is not None  # noqa: S101 (for mypy: they were asked for)

    sky = np.zeros((), dtype=np.float32)
    if profile.background == "mean":
        sky = remaining_sky(pixels, segments, masked, rms, profile.mesh, profile.mesh_filter, profile.background_growth)
        pixels -= sky
    sky = np.broadcast_to(sky, pixels.shape)
    noise = pixel_noise(frame, pixels, rms)
    # For sums that are not SEP's: a pixel without value has neither light nor noise.
    pixels[mask] = 0.0
    noise = np.where(mask, np.float32(0.0), noise)
    table = _measure(frame, profile, (pixels, noise, masked), detections, segments)
    rows, columns = (np.clip(np.rint(table[name]).astype(int), 0, None) for name in ("y", "x"))
    table["background"], table["background_rms"] = level[rows, columns] + sky[rows, columns], rms[rows, columns]
    # SEP measured these when it detected, by the first pass.
    table["flux_iso"] -= table["npix"] * sky[rows, columns]
    table["peak"] -= sky[table["ypeak"], table["xpeak"]]
    table["point_like"] = point_like(table)
    centre = _centre(table, profile)
    table["flux_star"], table["fluxerr_star"], table["flags_star"], star = star_fluxes(
        (pixels, noise, masked), table, centre, frame.pixel_scale, profile
    )
    table["star_factor"], table["star_factor_err"], table["star_factor_number"] = star.factor, star.error, star.stars
    if limits != Buffers.of(profile):
        table["flags"] |= Flag.CROWDED_LIMITS_RAISED
    return table, background.globalback, background.globalrms, limits


def _positive(rms: Image, instead: float) -> Image:
    """SEP's spline through the cells may swing below 0 beside a cell of much noise."""
    rms[~(rms > 0)] = instead
    return rms


def _measure(
    frame: Frame,
    profile: SurveyProfile,
    image: tuple[Image, Image, Bools | None],
    detections: npt.NDArray[np.void],
    segments: Segments,
) -> npt.NDArray[np.void]:
    pixels, noise, mask = image
    table = np.zeros(len(detections), dtype=survey_columns(len(profile.apertures)))
    for name in _SAME:
        table[name] = detections[name]
    table["threshold"], table["flux_iso"] = detections["thresh"], detections["flux"]
    ellipses = Ellipses.of(detections)
    _shapes(table, ellipses)

    variances = isophotal_errors(segments, noise, ellipses.x, ellipses.y, detections["cflux"].astype(np.float64))
    table["fluxerr_iso"], table["x_err"], table["y_err"] = np.sqrt(variances[:3])
    table["xy_cov"] = variances[3]

    table["auto_scale"], table["flux_auto"], table["fluxerr_auto"], table["flags_auto"] = auto_photometry(
        pixels, noise, mask, ellipses, profile
    )
    radii, table["flags_radius"] = light_radii(pixels, mask, ellipses, table["flux_auto"])
    table["r20"], table["r50"], table["r80"] = radii.T

    boxes = np.array([table[name] for name in ("xmin", "xmax", "ymin", "ymax")], dtype=np.float64)
    window = windowed_positions(pixels, noise, mask, (ellipses.x, ellipses.y), table["r50"], boxes)
    table["x_win"], table["y_win"], table["xy_win_cov"] = window.x, window.y, window.xy_cov
    table["x_win_err"], table["y_win_err"] = np.sqrt([window.x_var, window.y_var])
    table["flags_win"] = window.flags

    table["flux_aper"], table["fluxerr_aper"], table["flags_aper"] = circles(
        pixels,
        noise,
        mask,
        _centre(table, profile),
        np.array(profile.apertures) / frame.pixel_scale,
        profile.aperture_subpix,
    )
    table["flags"] = detections["flag"] | _source_flags(frame, table, ellipses, segments, mask)
    return table


def _centre(table: npt.NDArray[np.void], profile: SurveyProfile) -> tuple[Floats, Floats]:
    """Where the circles are."""
    suffix = "_win" if profile.aperture_centre == "windowed" else ""
    return table[f"x{suffix}"], table[f"y{suffix}"]


def _shapes(table: npt.NDArray[np.void], ellipses: Ellipses) -> None:
    table["a"], table["b"], table["theta"] = ellipses.a, ellipses.b, ellipses.theta
    with np.errstate(divide="ignore", invalid="ignore"):
        table["elongation"] = np.where(ellipses.b > 0, ellipses.a / ellipses.b, np.nan)
        table["ellipticity"] = np.where(ellipses.a > 0, 1.0 - ellipses.b / ellipses.a, np.nan)
    table["fwhm"] = 2.0 * np.sqrt(np.log(2.0) * (ellipses.a**2 + ellipses.b**2))


def _source_flags(
    frame: Frame, table: npt.NDArray[np.void], ellipses: Ellipses, segments: Segments, mask: Bools | None
) -> npt.NDArray[np.int32]:
    """Kira's own bits of the column `flags`."""
    n = len(table)
    auto = table["flags_auto"]
    at_edge = (table["xmin"] == 0) | (table["ymin"] == 0)
    at_edge |= (table["xmax"] == frame.shape[1] - 1) | (table["ymax"] == frame.shape[0] - 1)
    flags = np.zeros(n, dtype=np.int32)
    for flag, which in (
        (Flag.NOT_MEASURED, auto & Flag.NOT_MEASURED > 0),
        (Flag.SATURATED, touched(segments, frame.saturated, n)),
        (Flag.MASKED, touched(segments, mask, n)),
        (Flag.NEAR_EDGE, at_edge | (auto & Flag.APERTURE_TRUNCATED > 0)),
        (Flag.NEIGHBOURS, crowded(segments, ellipses, table["auto_scale"], table["npix"])),
        (Flag.WINDOW_FAILED, table["flags_win"] & Flag.WINDOW_FAILED > 0),
    ):
        flags[which] |= flag
    return flags
