"""Pixels to sources, with SEP: background, detection, deblending, circular and Kron photometry."""

import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import sep

from kira.errors import ExtractionFailed
from kira.extraction.columns import COLUMNS, DETECTION, Flag
from kira.extraction.parameters import Parameters
from kira.frames import Frame

_limits_lock = threading.Lock()


@dataclass(frozen=True, eq=False)
class Extraction:
    """What was found on one frame.

    Parameters
    ----------
    table : numpy.ndarray, structured, shape (n_sources,)
        One row a source with the fields of `kira.extraction.columns.COLUMNS`, in the order in which SEP found them.
        Positions in pixels from (0, 0), the centre of the first pixel; angles in radians, `ra` and `dec` in degrees
        (ICRS); fluxes in the unit of the frame's pixels, background subtracted.
    background, rms : float
        Global mean background and its rms (`globalback`, `globalrms`), in the unit of the frame's pixels.
    seconds : float
        Wall-clock time that it took.
    """

    table: npt.NDArray[np.void]
    background: float
    rms: float
    seconds: float

    @property
    def n_sources(self) -> int:
        """Number of sources."""
        return len(self.table)


def extract(frame: Frame, parameters: Parameters) -> Extraction:
    """Find and measure the sources of a frame as Kira did.

    Independent frames may be extracted in threads. Two things are added to Kira: right ascension and declination,
    and errors (background noise alone, the same rms for every pixel), which Kira left at 0. They change none of its
    other numbers. Pixels that are not finite are masked.

    Parameters
    ----------
    frame : Frame
    parameters : Parameters

    Returns
    -------
    Extraction
        With no rows where nothing was found.

    Raises
    ------
    ExtractionFailed
        If SEP's pixel buffer or deblending limit is too small, or the frame has no usable noise.
    """
    begin = time.perf_counter()
    _set_limits(parameters)
    finite = np.isfinite(frame.data)
    mask = None if finite.all() else ~finite
    try:
        background, pixels = _subtract_background(frame.data, mask, parameters)
        detections = _detect(pixels, mask, background.globalrms, parameters)
        table = _measure(pixels, mask, background.globalrms, detections, parameters)
    except ExtractionFailed as error:
        raise ExtractionFailed(f"{frame.name}: {error}") from error
    except MemoryError:
        raise
    except Exception as error:  # SEP raises plain Exception, with the C library's message
        raise ExtractionFailed(f"{frame.name}: {_sentence(error, parameters)}") from error
    table["ra"], table["dec"] = frame.sky_positions(table["x"], table["y"])
    return Extraction(table, background.globalback, background.globalrms, time.perf_counter() - begin)


def _set_limits(parameters: Parameters) -> None:
    """Set SEP's two limits, which belong to the process; touched only where they differ."""
    with _limits_lock:
        if sep.get_extract_pixstack() != parameters.pixstack:
            sep.set_extract_pixstack(parameters.pixstack)
        if sep.get_sub_object_limit() != parameters.sub_object_limit:
            sep.set_sub_object_limit(parameters.sub_object_limit)


def _sentence(error: Exception, parameters: Parameters) -> str:
    text = str(error)
    if "pixel buffer full" in text:
        return f"more pixels above the threshold than the pixel buffer holds (pixstack {parameters.pixstack:,})."
    if "deblending overflow" in text:
        return f"a detection splits into more than {parameters.sub_object_limit:,} branches (sub_object_limit)."
    return f"SEP failed: {text.rstrip('.')}."


def _subtract_background(
    data: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_] | None, parameters: Parameters
) -> tuple[Any, npt.NDArray[np.float32]]:
    """Return SEP's background and a copy of the data without it."""
    mesh, median = parameters.mesh, parameters.mesh_filter
    background = sep.Background(data, mask=mask, bw=mesh, bh=mesh, fw=median, fh=median)
    if not (np.isfinite(background.globalback) and np.isfinite(background.globalrms) and background.globalrms > 0):
        raise ExtractionFailed(
            f"no usable noise level: background {background.globalback:g}, rms {background.globalrms:g}."
        )
    pixels = data.copy()
    background.subfrom(pixels)
    return background, pixels


def _detect(
    pixels: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_] | None, rms: float, parameters: Parameters
) -> npt.NDArray[np.void]:
    """Detect and deblend.

    `err=rms` makes the threshold relative, which is the same threshold, and gives the position errors; all other
    columns come out bit for bit as with Kira's absolute threshold.
    """
    detections: npt.NDArray[np.void] = sep.extract(
        pixels,
        parameters.threshold,
        err=rms,
        mask=mask,
        minarea=parameters.minarea,
        filter_kernel=np.array(parameters.kernel),
        deblend_nthresh=parameters.deblend_levels,
        deblend_cont=parameters.deblend_contrast,
        clean=parameters.clean > 0,
        clean_param=parameters.clean or 1.0,
    )
    return detections


def _measure(
    pixels: npt.NDArray[np.float32],
    mask: npt.NDArray[np.bool_] | None,
    rms: float,
    detections: npt.NDArray[np.void],
    parameters: Parameters,
) -> npt.NDArray[np.void]:
    """Fill a table with detections and their photometry; `ra` and `dec` are left for the caller."""
    table = np.zeros(len(detections), dtype=COLUMNS)
    for column in DETECTION.names or ():
        table[column] = detections[column]
    # Some angles of SEP are just above pi/2, rounded from float32; its own apertures refuse them.
    table["theta"] = np.clip(table["theta"], -np.pi / 2, np.pi / 2)
    table["flag_extract"] = detections["flag"]

    table["flux_circle"], table["fluxerr_circle"], table["flag_circle"] = sep.sum_circle(
        pixels, table["x"], table["y"], parameters.circle_radius, err=rms, mask=mask, subpix=parameters.circle_subpix
    )
    _measure_ellipses(pixels, mask, rms, table, parameters)
    return table


def _measure_ellipses(
    pixels: npt.NDArray[np.float32],
    mask: npt.NDArray[np.bool_] | None,
    rms: float,
    table: npt.NDArray[np.void],
    parameters: Parameters,
) -> None:
    """Fill in Kron radii and fluxes, NaN with `Flag.NOT_MEASURED` where SEP could only raise."""
    shape = [table[name] for name in ("x", "y", "a", "b", "theta")]
    valid = np.isfinite(shape).all(axis=0) & (table["a"] >= table["b"]) & (table["b"] >= 0)
    radius, flag = _where(
        valid, lambda *ellipse: sep.kron_radius(pixels, *ellipse, parameters.kron_range, mask=mask), shape
    )
    table["kron_radius"], table["flag_kron"] = radius, flag

    valid &= np.isfinite(radius) & (radius >= 0)
    factor, subpix = parameters.kron_factor, parameters.ellipse_subpix
    table["flux_ellipse"], table["fluxerr_ellipse"], table["flag_ellipse"] = _where(
        valid,
        lambda x, y, a, b, theta, kron: sep.sum_ellipse(
            pixels, x, y, a, b, theta, factor * kron, err=rms, mask=mask, subpix=subpix
        ),
        [*shape, radius],
    )


def _where(valid: npt.NDArray[np.bool_], measure: Any, columns: list[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    """Measure the valid rows only; the others become NaN, their flag (the last result) `NOT_MEASURED`."""
    results = measure(*(column[valid] for column in columns))
    filled = [np.full(len(valid), np.nan) for _ in results[:-1]]
    for target, values in zip(filled, results, strict=False):
        target[valid] = values
    flag = np.full(len(valid), int(Flag.NOT_MEASURED), dtype=np.int16)
    flag[valid] = results[-1]
    return [*filled, flag]
