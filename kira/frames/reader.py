"""Plain FITS bytes to a `Frame`, or a `BadFrame` that says why not.

A successful open proves nothing: astropy reads headers first and data when asked. So every array is read here, and what
the headers say is held against the bytes that are there before any array is made.
"""

import io
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.wcs import WCS

from kira.errors import BadFrame
from kira.frames.frame import COLUMNS, ROWS, Frame
from kira.frames.integrity import FITS_MAGIC
from kira.sdss import FrameId, Service

FRAME_NUMBER_OFFSET = {"r": 0, "i": 2, "u": 4, "z": 6, "g": 8}
"""FRAME in a header minus the field's number. The sky drifts over the five filters in this order, two frames from one
to the next, and one FRAME number is one moment."""

_HDUS = {Service.DAS: 1, Service.SAS: 4}


def read_frame(content: bytes, frame_id: FrameId | None) -> Frame:
    """Read a frame.

    Parameters
    ----------
    content : bytes
        Plain FITS, as `kira.frames.integrity.unpack` returns it.
    frame_id : FrameId or None
        What the file is said to be; the header must not contradict it. None: any FITS file whose primary HDU is an
        image with celestial coordinates.

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
    name = frame_id.plain_name if frame_id else "image"
    if not content.startswith(FITS_MAGIC):
        # astropy would decompress gzip bytes without a word; whether they are whole is for `unpack` to say.
        raise BadFrame(f"{name}: does not begin as plain FITS does.")
    try:
        with fits.open(io.BytesIO(content), memmap=False, disable_image_compression=True) as hdus:
            _hold_headers_against_bytes(hdus, len(content), name)
            _hold_checksums(hdus, name)
            if frame_id:
                _hold_layout_against_id(hdus, frame_id, name)
            data = _pixels(hdus[0], name)
            for hdu in hdus[1:]:
                _ = hdu.data  # read, so that nothing passes that cannot be read
            header = hdus[0].header
            wcs = _celestial_wcs(header, name)
    except (BadFrame, MemoryError):
        raise
    except Exception as error:
        # astropy raises OSError, TypeError, ValueError, KeyError, VerifyError and more on damaged input.
        raise BadFrame(f"{name}: not readable as FITS ({type(error).__name__}: {error}).") from error
    return Frame(id=frame_id, data=data, wcs=wcs, **_facts(header, frame_id))


def _hold_headers_against_bytes(hdus: Any, n_bytes: int, name: str) -> None:
    """Refuse headers that promise more or less data than the file has, before an array is made of them."""
    last = hdus.fileinfo(len(hdus) - 1)  # the length is known once all headers are read
    promised = last["datLoc"] + last["datSpan"]
    if promised != n_bytes:
        how = "cut short" if promised > n_bytes else "the rest belongs to no HDU"
        raise BadFrame(f"{name}: its headers promise {promised:,} bytes and the file has {n_bytes:,}: {how}.")


def _hold_checksums(hdus: Any, name: str) -> None:
    """Check the CHECKSUM and DATASUM of the HDUs that have them; SDSS frames have none, rendered ones may."""
    for number, hdu in enumerate(hdus):
        if 0 in (hdu.verify_datasum(), hdu.verify_checksum()):
            raise BadFrame(f"{name}: HDU {number} does not have the CHECKSUM or DATASUM that its header says.")


def _hold_layout_against_id(hdus: Any, frame_id: FrameId, name: str) -> None:
    wanted = _HDUS[frame_id.release.service]
    if len(hdus) != wanted:
        raise BadFrame(f"{name}: {len(hdus)} HDUs where a frame of {frame_id.release} has {wanted}.")
    header = hdus[0].header
    shape = tuple(header.get(f"NAXIS{i}", 0) for i in range(header["NAXIS"], 0, -1))
    if shape != (ROWS, COLUMNS):
        raise BadFrame(f"{name}: an array of shape {shape} where a frame has ({ROWS}, {COLUMNS}).")
    for key, value in {
        "RUN": frame_id.run,
        "CAMCOL": frame_id.camcol,
        "FILTER": frame_id.band,
        "FRAME": frame_id.field + FRAME_NUMBER_OFFSET[frame_id.band],
    }.items():
        # A value that is not there says nothing; one that is there has to agree.
        found = header.get(key)
        if found is not None and str(found).strip() != str(value):
            raise BadFrame(f"{name}: its header says {key} = {found!r} where {frame_id} has {value!r}.")
    if wanted == 4:
        _hold_extensions(hdus, frame_id, name)


def _hold_extensions(hdus: Any, frame_id: FrameId, name: str) -> None:
    """Check the three extensions of a `frame` file: calibration vector, sky grid, astrometric solution."""
    calibration, sky, astrometry = hdus[1:]
    if not (calibration.is_image and calibration.shape == (COLUMNS,)):
        raise BadFrame(f"{name}: HDU 1 is not the calibration vector of {COLUMNS} columns.")
    if not np.isfinite(calibration.data).all():
        raise BadFrame(f"{name}: the calibration vector (HDU 1) has values that are not finite.")
    for hdu, number, column in ((sky, 2, "ALLSKY"), (astrometry, 3, "RUN")):
        names = getattr(getattr(hdu, "columns", None), "names", ())
        if column not in names:
            raise BadFrame(f"{name}: HDU {number} is not the table with {column} that a frame has there.")
    found = {key: int(astrometry.data[key][0]) for key in ("RUN", "CAMCOL", "FIELD") if key in astrometry.columns.names}
    for key, value in found.items():
        if value != getattr(frame_id, key.lower()):
            raise BadFrame(f"{name}: its HDU 3 says {key} = {value} where {frame_id} is expected.")


def _pixels(hdu: Any, name: str) -> npt.NDArray[np.float32]:
    """Read the primary array as native float32, scaled by BZERO and BSCALE."""
    if not hdu.is_image or hdu.header["NAXIS"] != 2 or 0 in hdu.shape:
        raise BadFrame(f"{name}: the primary HDU is no two-dimensional image.")
    data: npt.NDArray[np.float32] = np.array(hdu.data, dtype=np.float32, order="C")
    if not np.isfinite(data).any():
        raise BadFrame(f"{name}: no pixel has a value, all are NaN.")
    if (data == data[0, 0]).all():
        raise BadFrame(f"{name}: all pixels have the same value, {data[0, 0]:g}.")
    return data


def _celestial_wcs(header: Any, name: str) -> WCS:
    """Read the WCS without astropy's warnings about two known traps of SDSS headers.

    They are avoided, not silenced: Python's warning filters belong to the process, and frames are read in threads.
    `RADECSYS` is given its present name, `RADESYS`; `fix=False` leaves alone what astropy would rewrite with a warning,
    such as `DATE-OBS = '19/09/98'` (run 94), none of which has a part in the coordinates.
    """
    if "RADECSYS" in header and "RADESYS" not in header:
        header.rename_keyword("RADECSYS", "RADESYS")
    wcs = WCS(header, fix=False)
    if not (wcs.naxis == 2 and wcs.has_celestial):
        raise BadFrame(f"{name}: its header has no celestial coordinates (WCS).")
    return wcs


def _facts(header: Any, frame_id: FrameId | None) -> dict[str, Any]:
    """Read the few header values that `Frame` keeps."""
    bunit = str(header.get("BUNIT", "")).strip()
    sky_subtracted = frame_id.release.service is Service.SAS if frame_id else bunit.startswith("nanomagg")
    return {
        "bunit": bunit,
        "softbias": 0.0 if sky_subtracted else _number(header, "SOFTBIAS", 0.0),
        "exptime": _number(header, "EXPTIME"),
        "tai": _number(header, "TAI"),
        "sky": _number(header, "SKY"),
        "nmgy_per_count": _number(header, "NMGY"),
        "synthetic": header.get("SYNTHET", False) is True,
    }


def _number(header: Any, key: str, default: float = math.nan) -> float:
    """Read a number of the header, which may be missing, a text (EXPTIME) or 'NA'."""
    try:
        return float(header.get(key, default))
    except (TypeError, ValueError):
        return default
