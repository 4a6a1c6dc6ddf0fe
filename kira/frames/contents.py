"""What is in a frame's own file: what the quick reader and astropy's both hand over, and the checks they share."""

import math
import re
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from astropy.wcs import WCS

from kira.frames.astrometry import AsTrans
from kira.frames.noise import SkyGrid
from kira.sdss import FrameId, Service

FRAME_NUMBER_OFFSET = {"r": 0, "i": 2, "u": 4, "z": 6, "g": 8}
"""FRAME in a header minus the field's number. The sky drifts over the five filters in this order, two frames from one
to the next, and one FRAME number is one moment."""

CAMERA_CHECKSUMS = {
    "DATASUM": re.compile(r"Data checksum created ", re.ASCII),
    "CHECKSUM": re.compile(r"HDU checksum created ", re.ASCII),
}
"""How the comments begin of checksums that the camera's computers wrote into raw images in the survey's last years.

Corrected frames inherit all cards of the raw image, and so these, which their own pixels cannot match: the time behind
them is half a minute after the exposure. A checksum with another comment is that of the file itself.
"""


class Header(Protocol):
    """What astropy's headers and those of `kira.frames.structure` have in common."""

    def get(self, keyword: str, default: Any = None, /) -> Any:
        """Value of a card, or the default."""


@dataclass(frozen=True, eq=False)
class Contents:
    """What a frame's own file tells.

    Parameters
    ----------
    data : ndarray of float32, shape (rows, columns)
    finite : bool
        Whether every pixel has a value.
    wcs : astropy.wcs.WCS or None
    facts : dict
        Attributes of `Frame` by name, from the header.
    flux20 : float
        FLUX20 of an fpC's header; NaN where there is none.
    column_calibration : ndarray of float32 or None
    sky_grid : SkyGrid or None
    solution : AsTrans or None
    remarks : tuple of str
    """

    data: npt.NDArray[np.float32]
    finite: bool
    wcs: WCS | None
    facts: dict[str, Any]
    flux20: float = math.nan
    column_calibration: npt.NDArray[np.float32] | None = None
    sky_grid: SkyGrid | None = None
    solution: AsTrans | None = None
    remarks: tuple[str, ...] = field(default=())


def contradiction(header: Header, frame_id: FrameId) -> str | None:
    """What a header says that its frame's id does not; None if they agree."""
    for key, value in {
        "RUN": frame_id.run,
        "CAMCOL": frame_id.camcol,
        "FILTER": frame_id.band,
        "FRAME": frame_id.field + FRAME_NUMBER_OFFSET[frame_id.band],
    }.items():
        # A value that is not there says nothing; one that is there has to agree.
        found = header.get(key)
        if found is not None and str(found).strip() != str(value):
            return f"its header says {key} = {found!r} where {frame_id} has {value!r}"
    return None


def header_facts(header: Header, frame_id: FrameId | None) -> dict[str, Any]:
    """Read the few header values that `Frame` keeps."""
    bunit = str(header.get("BUNIT", "")).strip()
    sky_subtracted = frame_id.release.service is Service.SAS if frame_id else bunit.startswith("nanomagg")
    return {
        "bunit": bunit,
        "softbias": 0.0 if sky_subtracted else number(header, "SOFTBIAS", 0.0),
        "exptime": number(header, "EXPTIME"),
        "tai": number(header, "TAI"),
        "sky": number(header, "SKY"),
        "nmgy_per_count": number(header, "NMGY"),
        "synthetic": header.get("SYNTHET", False) is True,
    }


def number(header: Header, key: str, default: float = math.nan) -> float:
    """Read a number of the header, which may be missing, a text (EXPTIME) or 'NA'."""
    try:
        return float(header.get(key, default))
    except (TypeError, ValueError):
        return default
