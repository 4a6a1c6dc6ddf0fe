"""Plain FITS bytes to a `Frame`, or a `BadFrame` that says why not."""

import math
from dataclasses import replace

import numpy as np

from kira.frames.anyfits import read_any
from kira.frames.calibration import Calibration, nmgy_from_flux20
from kira.frames.companions import Companions, Told, read_companions
from kira.frames.contents import Contents
from kira.frames.frame import Frame
from kira.frames.noise import NoiseSource, tabulated
from kira.frames.quick import read_known_layout
from kira.frames.structure import Irregular
from kira.sdss import FrameId, Service


def read_frame(content: bytes, frame_id: FrameId | None, companions: Companions | None = None) -> Frame:
    """Read a frame.

    Parameters
    ----------
    content : bytes
        Plain FITS, as `kira.frames.integrity.unpack` returns it.
    frame_id : FrameId or None
        What the file is said to be; the header must not contradict it. None: any FITS file with a two-dimensional
        image, compressed or not, of which the first is taken.
    companions : Companions, optional
        Files that lie beside the frame. One that cannot be read, or is of another field, is left aside with a remark.

    Returns
    -------
    Frame
        Its `data` is a copy: `content` can be let go.

    Raises
    ------
    BadFrame
        With one sentence: not readable as FITS, headers that promise other data than there are, wrong number or kind
        of HDUs, wrong shape, no valid pixel, no celestial WCS, or a header of another frame.
    """
    contents = _contents(content, frame_id)
    frame = Frame(
        id=frame_id,
        data=contents.data,
        wcs=contents.wcs,
        solution=contents.solution,
        column_calibration=contents.column_calibration,
        sky_grid=contents.sky_grid,
        mask=None if contents.finite else ~np.isfinite(contents.data),
        remarks=contents.remarks,
        **contents.facts,
    )
    if frame_id is None:
        return frame
    told = read_companions(frame_id, companions)
    nmgy, calibration = _calibration(frame_id, contents, told)
    gain, dark_variance, source = _noise_of_ccd(frame_id, contents, told)
    frame = replace(
        frame,
        nmgy=nmgy,
        calibration=calibration,
        gain=gain,
        dark_variance=dark_variance,
        noise_source=source,
        seeing=told.seeing,
        remarks=(*contents.remarks, *told.remarks),
    )
    if (planes := told.planes) is None:
        return frame
    bad = planes.bad if frame.mask is None else planes.bad | frame.mask
    return replace(frame, mask=bad if bad.any() else None, saturated=planes.saturated, interpolated=planes.interpolated)


def _contents(content: bytes, frame_id: FrameId | None) -> Contents:
    if frame_id:
        try:
            return read_known_layout(content, frame_id)
        except (Irregular, ValueError, OverflowError):
            pass  # unusual or wrong: astropy reads it, or has the words
    return read_any(content, frame_id, frame_id.plain_name if frame_id else "image")


def _calibration(frame_id: FrameId, contents: Contents, told: Told) -> tuple[float, Calibration]:
    """Nanomaggies per unit of a pixel, and from where."""
    if frame_id.release.service is Service.SAS:
        return 1.0, "frame"
    if not math.isnan(told.nmgy):
        return told.nmgy, "tsField"
    nmgy = nmgy_from_flux20(contents.flux20)
    return (nmgy, "FLUX20") if not math.isnan(nmgy) else (math.nan, "none")


def _noise_of_ccd(frame_id: FrameId, contents: Contents, told: Told) -> tuple[float, float, NoiseSource]:
    """Gain and dark variance, and from where; unknown where nothing says how many counts a pixel had."""
    if frame_id.release.service is Service.SAS and contents.sky_grid is None:
        return math.nan, math.nan, "none"
    if not math.isnan(told.gain):
        return told.gain, told.dark_variance, "psField"
    return (*tabulated(frame_id), "table")
