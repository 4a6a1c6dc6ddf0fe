"""Measurements of kind `survey`: SExtractor's, with masks, flags and errors from the noise of every pixel."""

import numpy as np
import numpy.typing as npt

from kira.errors import ExtractionFailed
from kira.extraction.buffers import Buffers
from kira.extraction.columns import survey_columns
from kira.extraction.detection import subtract_background
from kira.extraction.engine import Engine, engine_of
from kira.extraction.flags import Flag
from kira.extraction.measuring import Bools, Floats
from kira.extraction.noise import Image
from kira.extraction.photometry import Ellipses, auto_photometry, circles, light_radii
from kira.extraction.point_like import point_like
from kira.extraction.segments import Segments, crowded
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
    engine = engine_of(profile)
    mask, known_noise = engine.usable(frame)
    if mask is not None and mask.all():
        raise ExtractionFailed("no pixel can be used: all are masked.")
    dither = profile.dither * engine.quantum(frame) if profile.dither > 0 else 0.0
    background, pixels = subtract_background(engine, frame.data, mask, profile, dither)
    rms = background.noise()
    detection_noise = rms if profile.detection_noise == "map" else background.globalrms
    detections, segments, limits = engine.detect(pixels, mask, detection_noise, profile, segments=True)
    assert segments is not None  # noqa: S101 (for mypy: they were asked for)

    sky = engine.remaining_sky(pixels, segments, mask, rms, profile) if profile.background == "mean" else None
    noise = engine.pixel_noise(frame, known_noise, pixels, rms, mask)
    table = _measure(engine, frame, profile, (pixels, noise, mask), detections, segments)
    rows, columns = (np.clip(np.rint(table[name]).astype(np.int64), 0, None) for name in ("y", "x"))
    table["background"], table["background_rms"] = background.at(rows, columns), rms[rows, columns]
    if sky is not None:
        here = sky.at(rows, columns)
        table["background"] += here
        # SEP measured these when it detected, by the first pass.
        table["flux_iso"] -= table["npix"] * here
        table["peak"] -= sky.at(table["ypeak"].astype(np.int64), table["xpeak"].astype(np.int64))
    table["point_like"] = point_like(table)
    centre = _centre(table, profile)
    table["flux_star"], table["fluxerr_star"], table["flags_star"], star = star_fluxes(
        engine, (pixels, noise, mask), table, centre, frame.pixel_scale, profile
    )
    table["star_factor"], table["star_factor_err"], table["star_factor_number"] = star.factor, star.error, star.stars
    if limits != Buffers.of(profile):
        table["flags"] |= Flag.CROWDED_LIMITS_RAISED
    return table, background.globalback, background.globalrms, limits


def _measure(
    engine: Engine,
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

    variances = engine.isophotal_errors(segments, noise, ellipses.x, ellipses.y, detections["cflux"].astype(np.float64))
    table["fluxerr_iso"], table["x_err"], table["y_err"] = np.sqrt(variances[:3])
    table["xy_cov"] = variances[3]

    table["auto_scale"], table["flux_auto"], table["fluxerr_auto"], table["flags_auto"] = auto_photometry(
        engine, pixels, noise, mask, ellipses, profile
    )
    radii, table["flags_radius"] = light_radii(engine, pixels, mask, ellipses, table["flux_auto"])
    table["r20"], table["r50"], table["r80"] = radii.T

    boxes = np.array([table[name] for name in ("xmin", "xmax", "ymin", "ymax")], dtype=np.float64)
    window = windowed_positions(engine, image, (ellipses.x, ellipses.y), table["r50"], boxes)
    table["x_win"], table["y_win"], table["xy_win_cov"] = window.x, window.y, window.xy_cov
    table["x_win_err"], table["y_win_err"] = np.sqrt([window.x_var, window.y_var])
    table["flags_win"] = window.flags

    table["flux_aper"], table["fluxerr_aper"], table["flags_aper"] = circles(
        engine,
        image,
        _centre(table, profile),
        np.array(profile.apertures) / frame.pixel_scale,
        profile.aperture_subpix,
    )
    table["flags"] = detections["flag"] | _source_flags(engine, frame, table, ellipses, segments, mask)
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
    engine: Engine,
    frame: Frame,
    table: npt.NDArray[np.void],
    ellipses: Ellipses,
    segments: Segments,
    mask: Bools | None,
) -> npt.NDArray[np.int32]:
    """Kira's own bits of the column `flags`."""
    n = len(table)
    auto = table["flags_auto"]
    at_edge = (table["xmin"] == 0) | (table["ymin"] == 0)
    at_edge |= (table["xmax"] == frame.shape[1] - 1) | (table["ymax"] == frame.shape[0] - 1)
    flags = np.zeros(n, dtype=np.int32)
    for flag, which in (
        (Flag.NOT_MEASURED, auto & Flag.NOT_MEASURED > 0),
        (Flag.SATURATED, engine.touched(segments, frame.saturated, n)),
        (Flag.MASKED, engine.touched(segments, mask, n)),
        (Flag.NEAR_EDGE, at_edge | (auto & Flag.APERTURE_TRUNCATED > 0)),
        (Flag.NEIGHBOURS, crowded(engine, segments, ellipses, table["auto_scale"], table["npix"])),
        (Flag.WINDOW_FAILED, table["flags_win"] & Flag.WINDOW_FAILED > 0),
    ):
        flags[which] |= flag
    return flags
