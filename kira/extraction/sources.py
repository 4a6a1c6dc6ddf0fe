"""Pixels to sources: what a profile asks for, and what Kira measured."""

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kira.errors import ExtractionFailed
from kira.extraction.buffers import Buffers
from kira.extraction.columns import COLUMNS, DETECTION
from kira.extraction.detection import subtract_background
from kira.extraction.engine import Engine, engine_of
from kira.extraction.flags import Flag
from kira.extraction.measuring import measure_valid
from kira.extraction.parameters import Parameters
from kira.extraction.profile import Profile
from kira.extraction.survey import measure_survey
from kira.extraction.survey_profile import SurveyProfile
from kira.frames import Frame


@dataclass(frozen=True, eq=False)
class Extraction:
    """What was found on one frame.

    Parameters
    ----------
    table : numpy.ndarray, structured, shape (n_sources,)
        One row a source, in the order in which SEP found them; the columns are those of the profile's kind, `COLUMNS`
        or `survey_columns` of `kira.extraction.columns`. Positions in pixels from (0, 0), the centre of the first
        pixel; angles in radians; fluxes in the unit of the frame's pixels, background subtracted. Kind `kira` has `ra`
        and `dec` in degrees (ICRS), NaN for a frame without coordinates.
    background, rms : float
        Global mean background and its rms (`globalback`, `globalrms`) of the first pass, in the unit of the pixels.
    seconds : float
        Wall-clock time that it took.
    limits : Buffers or None
        SEP's limits that it took.
    raised : bool
        Whether they are larger than the profile's; then every row has `Flag.CROWDED_LIMITS_RAISED`.
    """

    table: npt.NDArray[np.void]
    background: float
    rms: float
    seconds: float
    limits: Buffers | None = None
    raised: bool = False

    @property
    def n_sources(self) -> int:
        """Number of sources."""
        return len(self.table)


def extract(frame: Frame, profile: Profile) -> Extraction:
    """Find and measure the sources of a frame.

    Independent frames may be extracted in threads. Where SEP's limits are too small for a frame they are raised and the
    frame is tried again.

    Parameters
    ----------
    frame : Frame
    profile : Profile
        `Parameters`: as Kira did. Right ascension and declination are added, and errors (background noise alone, the
        same rms for every pixel), which Kira left at 0; they change none of its other numbers. Pixels that
        have no value (NaN, or beyond 1e15) are masked, no others. `SurveyProfile`: see there.

    Returns
    -------
    Extraction
        With no rows where nothing was found.

    Raises
    ------
    ExtractionFailed
        If the frame has no usable pixel or noise, or SEP's limits cannot be raised far enough.
    """
    begin = time.perf_counter()
    try:
        table, background, rms, limits = _measure(frame, profile)
    except ExtractionFailed as error:
        raise ExtractionFailed(f"{frame.name}: {error}") from error
    except MemoryError:
        raise
    except Exception as error:  # SEP raises plain Exception, with the C library's message
        raise ExtractionFailed(f"{frame.name}: SEP failed: {str(error).rstrip('.')}.") from error
    return Extraction(table, background, rms, time.perf_counter() - begin, limits, raised=limits != Buffers.of(profile))


def _measure(frame: Frame, profile: Profile) -> tuple[npt.NDArray[np.void], float, float, Buffers]:
    match profile:
        case SurveyProfile():
            return measure_survey(frame, profile)
        case Parameters():
            return _measure_kira(frame, profile)
    raise ExtractionFailed(f"no kind of profile: {type(profile).__name__}.")


def _measure_kira(frame: Frame, parameters: Parameters) -> tuple[npt.NDArray[np.void], float, float, Buffers]:
    """Measure as Kira did: one noise for all pixels."""
    engine = engine_of(parameters)
    mask = engine.without_value(frame.data)
    if mask is not None and mask.all():
        raise ExtractionFailed("no pixel can be used: all are without a value.")
    background, pixels = subtract_background(engine, frame.data, mask, parameters)
    rms = background.globalrms
    detections, _, limits = engine.detect(pixels, mask, rms, parameters)
    table = np.zeros(len(detections), dtype=COLUMNS)
    for column in DETECTION.names or ():
        table[column] = detections[column]
    # Some angles of SEP are just above pi/2, rounded from float32; its own apertures refuse them.
    table["theta"] = np.clip(table["theta"], -np.pi / 2, np.pi / 2)
    table["flag_extract"] = detections["flag"]
    if limits != Buffers.of(parameters):
        table["flag_extract"] |= int(Flag.CROWDED_LIMITS_RAISED)

    flux, error, flags = engine.sum_circles(
        pixels, rms, mask, table["x"], table["y"], np.array([parameters.circle_radius]), parameters.circle_subpix
    )
    table["flux_circle"], table["fluxerr_circle"], table["flag_circle"] = flux[:, 0], error[:, 0], flags[:, 0]
    _measure_ellipses(engine, pixels, mask, rms, table, parameters)
    table["ra"], table["dec"] = frame.sky_positions(table["x"], table["y"])
    return table, background.globalback, rms, limits


def _measure_ellipses(
    engine: Engine,
    pixels: npt.NDArray[np.float32],
    mask: npt.NDArray[np.bool_] | None,
    rms: float,
    table: npt.NDArray[np.void],
    parameters: Parameters,
) -> None:
    """Fill in Kron radii and fluxes, NaN with `Flag.NOT_MEASURED` where SEP could only raise."""
    shape = [table[name] for name in ("x", "y", "a", "b", "theta")]
    valid = np.isfinite(shape).all(axis=0) & (table["a"] >= table["b"]) & (table["b"] >= 0)
    radius, flag = measure_valid(
        valid, lambda *ellipse: engine.kron_radius(pixels, mask, ellipse, parameters.kron_range), shape
    )
    table["kron_radius"], table["flag_kron"] = radius, flag

    valid &= np.isfinite(radius) & (radius >= 0)
    factor, subpix = parameters.kron_factor, parameters.ellipse_subpix
    table["flux_ellipse"], table["fluxerr_ellipse"], table["flag_ellipse"] = measure_valid(
        valid,
        lambda *ellipse: engine.sum_ellipse(pixels, rms, mask, ellipse[:5], factor * ellipse[5], subpix),
        [*shape, radius],
    )
