"""Any FITS image, read with astropy; and the words for what is wrong with a frame.

A successful open proves nothing: astropy reads headers first and data when asked. So every array of a frame is read
here, and what the headers say is held against the bytes that are there before any array is made.
"""

import io
import re
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.wcs import WCS

from kira.errors import BadFrame
from kira.frames.astrometry import AsTrans, read_solution
from kira.frames.contents import CAMERA_CHECKSUMS, Contents, contradiction, header_facts, number
from kira.frames.frame import COLUMNS, ROWS
from kira.frames.integrity import FITS_MAGIC, MAX_BYTES
from kira.frames.noise import SkyGrid
from kira.frames.structure import CARD, Irregular
from kira.sdss import FrameId, Service

_HDUS = {Service.DAS: 1, Service.SAS: 4}
_MOST_LETTERS = 300
_COUNTS = re.compile(rb"(Z?NAXIS|TFIELDS) *= *\+?0*([0-9]{4,})")
"""How many axes or columns there are, in a header; 999 are allowed (FITS standard 4.0, 4.4.1 and 7.3.1)."""


def read_any(content: bytes, frame_id: FrameId | None, name: str) -> Contents:
    """Read a frame, or the first two-dimensional image of any other FITS file.

    Parameters
    ----------
    content : bytes
        Plain FITS.
    frame_id : FrameId or None
        What it is said to be; None for an image that is not from SDSS, which may also be a compressed image.
    name : str
        How to call it in a sentence.

    Returns
    -------
    Contents

    Raises
    ------
    BadFrame
        As `kira.frames.read_frame` says.
    """
    if not content.startswith(FITS_MAGIC):
        # astropy would decompress gzip bytes without a word; whether they are whole is for `unpack` to say.
        raise BadFrame(f"{name}: does not begin as plain FITS does.")
    _hold_counts(content, name)
    try:
        with _open(content) as hdus:
            _hold_headers_against_bytes(hdus, len(content), name)
            _hold_checksums(hdus, frame_id, name)
            if frame_id:
                return _sdss_frame(hdus, frame_id, name)
        # Opened again: checksums are those of the table that a compressed image is stored as.
        with _open(content, compressed_images=True) as hdus:
            return _other_image(hdus, name)
    except (BadFrame, MemoryError):
        raise
    except Exception as error:
        # astropy raises OSError, TypeError, ValueError, KeyError, VerifyError and more on damaged input.
        raise BadFrame(f"{name}: not readable as FITS ({type(error).__name__}: {_in_one_line(error)}).") from error


def _in_one_line(error: Exception) -> str:
    """What a library says, which may hold line ends and bytes of the file, as part of a sentence."""
    # That of a KeyError is its text in quotation marks.
    words = " ".join(str(error.args[0] if isinstance(error, KeyError) and error.args else error).split())
    text = "".join(letter if letter.isprintable() else "?" for letter in words)
    return (text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}…").rstrip(".")


def _open(content: bytes, *, compressed_images: bool = False) -> Any:
    # Not as unsigned integers, where astropy would forget BLANK: as floats, in which blank pixels are NaN.
    return fits.open(io.BytesIO(content), memmap=False, uint=False, disable_image_compression=not compressed_images)


def _sdss_frame(hdus: Any, frame_id: FrameId, name: str) -> Contents:
    _hold_layout_against_id(hdus, frame_id, name)
    data, finite = _pixels(hdus[0], name)
    for hdu in hdus[1:]:
        _ = hdu.data  # read, so that nothing passes that cannot be read
    header = hdus[0].header
    wcs = _celestial_wcs(header)
    if wcs is None:
        raise BadFrame(f"{name}: its header has no celestial coordinates (WCS).")
    vector = grid = solution = None
    remarks: tuple[str, ...] = ()
    if frame_id.release.service is Service.SAS:
        vector, grid = hdus[1].data.astype(np.float32), _sky_grid(hdus[2].data)
        if grid is None:
            remarks = ("The noise is not known: HDU 2 does not tell how its sky lies on the pixels.",)
        solution, why_not = _solution(hdus[3].data, frame_id, wcs)
        remarks += why_not
    facts, flux20 = header_facts(header, frame_id), number(header, "FLUX20")
    return Contents(data, finite, wcs, facts, flux20, vector, grid, solution, remarks)


def _other_image(hdus: Any, name: str) -> Contents:
    """The first image of two dimensions, which may be compressed and in an extension."""
    hdu = next((hdu for hdu in hdus if _is_image(hdu)), None)
    if hdu is None:
        raise BadFrame(f"{name}: no HDU is a two-dimensional image.")
    rows, columns = hdu.shape
    if isinstance(hdu, fits.CompImageHDU) and rows * columns * 4 > MAX_BYTES:
        # An image that is not compressed has all its bytes in the file; this one could be of any size.
        raise BadFrame(f"{name}: a compressed image of {rows:,} x {columns:,} pixels is more than is unpacked.")
    data, finite = _pixels(hdu, name)
    remarks = ["It is not a frame of SDSS: flux calibration, noise, seeing and masked pixels are not known."]
    try:
        wcs = _celestial_wcs(hdu.header)
    except Exception as error:  # noqa: BLE001 - wcslib and astropy raise many kinds, and pixels do not need them
        wcs = None
        remarks.append(f"Its coordinates cannot be read ({type(error).__name__}): sources have no RA and Dec.")
    else:
        if wcs is None:
            remarks.append("Its header has no celestial coordinates (WCS): sources have no RA and Dec.")
    return Contents(data, finite, wcs, header_facts(hdu.header, None), remarks=tuple(remarks))


def _is_image(hdu: Any) -> bool:
    return bool(hdu.is_image and len(hdu.shape) == 2 and 0 not in hdu.shape)


def _hold_counts(content: bytes, name: str) -> None:
    """Refuse a header with more axes or columns than FITS has: astropy makes a list of so many, and takes hours."""
    for match in _COUNTS.finditer(content):
        if match.start() % CARD == 0:
            said = f"{match[1].decode()} = {match[2].decode()[:20]}"
            raise BadFrame(f"{name}: a header says {said} where FITS allows 999.")


def _hold_headers_against_bytes(hdus: Any, n_bytes: int, name: str) -> None:
    """Refuse headers that promise more or less data than the file has, before an array is made of them."""
    last = hdus.fileinfo(len(hdus) - 1)  # the length is known once all headers are read
    promised = last["datLoc"] + last["datSpan"]
    if promised != n_bytes:
        how = "cut short" if promised > n_bytes else "the rest belongs to no HDU"
        raise BadFrame(f"{name}: its headers promise {promised:,} bytes and the file has {n_bytes:,}: {how}.")


def _hold_checksums(hdus: Any, frame_id: FrameId | None, name: str) -> None:
    """Check the CHECKSUM and DATASUM of the HDUs that have them.

    But not those that a frame of SDSS inherited from the raw image (`CAMERA_CHECKSUMS`): they would refuse every frame
    of the survey's last years. That such a file is whole its compression's own checksum has said.
    """
    for number_, hdu in enumerate(hdus):
        if frame_id and number_ == 0 and _are_the_cameras(hdu.header):
            continue
        if 0 in (hdu.verify_datasum(), hdu.verify_checksum()):
            raise BadFrame(f"{name}: HDU {number_} does not have the CHECKSUM or DATASUM that its header says.")


def _are_the_cameras(header: Any) -> bool:
    return all(key in header and comment.match(header.comments[key]) for key, comment in CAMERA_CHECKSUMS.items())


def _hold_layout_against_id(hdus: Any, frame_id: FrameId, name: str) -> None:
    wanted = _HDUS[frame_id.release.service]
    if len(hdus) != wanted:
        raise BadFrame(f"{name}: {len(hdus)} HDUs where a frame of {frame_id.release} has {wanted}.")
    header = hdus[0].header
    shape = tuple(header.get(f"NAXIS{i}", 0) for i in range(header["NAXIS"], 0, -1))
    if shape != (ROWS, COLUMNS):
        raise BadFrame(f"{name}: an array of shape {shape} where a frame has ({ROWS}, {COLUMNS}).")
    if wrong := contradiction(header, frame_id):
        raise BadFrame(f"{name}: {wrong}.")
    if wanted == 4:
        _hold_extensions(hdus, frame_id, name)


def _hold_extensions(hdus: Any, frame_id: FrameId, name: str) -> None:
    """Check the three extensions of a `frame` file: calibration vector, sky grid, astrometric solution."""
    calibration, sky, astrometry = hdus[1:]
    if not (calibration.is_image and calibration.shape == (COLUMNS,)):
        raise BadFrame(f"{name}: HDU 1 is not the calibration vector of {COLUMNS} columns.")
    if not np.isfinite(calibration.data).all():
        raise BadFrame(f"{name}: the calibration vector (HDU 1) has values that are not finite.")
    for hdu, number_, column in ((sky, 2, "ALLSKY"), (astrometry, 3, "RUN")):
        names = getattr(getattr(hdu, "columns", None), "names", ())
        if column not in names:
            raise BadFrame(f"{name}: HDU {number_} is not the table with {column} that a frame has there.")
    found = {key: int(astrometry.data[key][0]) for key in ("RUN", "CAMCOL", "FIELD") if key in astrometry.columns.names}
    for key, value in found.items():
        if value != getattr(frame_id, key.lower()):
            raise BadFrame(f"{name}: its HDU 3 says {key} = {value} where {frame_id} is expected.")


def _sky_grid(table: Any) -> SkyGrid | None:
    """The sky of HDU 2, if it is told how it lies on the pixels."""
    if not {"ALLSKY", "XINTERP", "YINTERP"} <= set(table.names):
        return None
    values, x, y = (np.array(table[key][0], dtype=np.float32) for key in ("ALLSKY", "XINTERP", "YINTERP"))
    return SkyGrid(values, x, y) if (x.shape, y.shape) == ((COLUMNS,), (ROWS,)) and SkyGrid.fits(values, x, y) else None


def _solution(table: Any, frame_id: FrameId, wcs: WCS) -> tuple[AsTrans | None, tuple[str, ...]]:
    """The astrometric solution of HDU 3, if it can be used; else why not."""
    try:
        return read_solution(lambda name: table[name][0], frame_id.band, wcs, (ROWS, COLUMNS)), ()
    except (Irregular, KeyError, TypeError, ValueError) as error:
        why = _in_one_line(error)
        return None, (f"Positions are by the header's WCS; the solution in HDU 3 was not used: {why}.",)


def _pixels(hdu: Any, name: str) -> tuple[npt.NDArray[np.float32], bool]:
    """Read an image as native float32, scaled by BZERO and BSCALE; and whether all pixels are finite."""
    if not _is_image(hdu):
        raise BadFrame(f"{name}: the primary HDU is no two-dimensional image.")
    data: npt.NDArray[np.float32] = np.array(hdu.data, dtype=np.float32, order="C")
    finite = np.isfinite(data)
    if not finite.any():
        raise BadFrame(f"{name}: no pixel has a value, all are NaN.")
    if (data == data[0, 0]).all():
        raise BadFrame(f"{name}: all pixels have the same value, {data[0, 0]:g}.")
    return data, bool(finite.all())


def _celestial_wcs(header: Any) -> WCS | None:
    """Read the WCS without astropy's warnings about two known traps of SDSS headers; None if it is not celestial.

    They are avoided, not silenced: Python's warning filters belong to the process, and frames are read in threads.
    `RADECSYS` is given its present name, `RADESYS`; `fix=False` leaves alone what astropy would rewrite with a warning,
    such as `DATE-OBS = '19/09/98'` (run 94), none of which has a part in the coordinates.
    """
    if "RADECSYS" in header and "RADESYS" not in header:
        header.rename_keyword("RADECSYS", "RADESYS")
    wcs = WCS(header, fix=False)
    return wcs if wcs.naxis == 2 and wcs.has_celestial else None
