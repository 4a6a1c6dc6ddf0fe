"""The two layouts of SDSS's frames, read in a few milliseconds.

Only for files that are in every respect as SDSS's pipelines wrote them: keywords that are known, values in their simple
form, nothing twice, sizes that add up. Whatever else a file is, `read_known_layout` refuses it without an opinion
(`Irregular`), and `kira.frames.anyfits` reads it with astropy or says what is wrong. So this module can be quick and
can't be wrong: what it accepts, astropy reads to the same bits.
"""

import re
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.wcs import WCS, Wcsprm

from kira.frames.astrometry import AsTrans, read_solution
from kira.frames.contents import CAMERA_CHECKSUMS, Contents, contradiction, header_facts, number
from kira.frames.frame import COLUMNS, ROWS
from kira.frames.noise import SkyGrid
from kira.frames.structure import CARD, Hdu, Irregular, Table, read_hdus
from kira.sdss import FrameId, Service

Floats = npt.NDArray[np.float32]

_START = ["SIMPLE", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2"]
_KEYWORDS = """
SIMPLE BITPIX NAXIS NAXIS1 NAXIS2 EXTEND BZERO BSCALE TAI RA DEC SPA IPA IPARATE AZ ALT FOCUS DATE-OBS TAIHMS
DATASUM CHECKSUM BUNITS ORIGIN TELESCOP TIMESYS RUN FRAME CCDLOC STRIPE STRIP FLAVOR OBSERVER SYS_SCN EQNX_SCN NODE
INCL XBORE YBORE FIELD OBJECT EXPTIME SYSTEM CCDMODE C_OBS COLBIN ROWBIN DAVERS SCDMETHD SCDWIDTH SCDDECMF SCDOFSET
SCDDYNTH SCDSTTHL SCDSTTHR SCDREDSZ SCDSKYL SCDSKYR CAMROW BADLINES EQUINOX SOFTBIAS FLUX20 FLUX0 FCALI_ID SKY BUNIT
FILTER CAMCOL VERSION DERV_VER ASTR_VER ASTRO_ID BIAS_ID FRAME_ID KO_VER PS_ID ATVSN RADECSYS RADESYS CTYPE1 CTYPE2
CUNIT1 CUNIT2 CRPIX1 CRPIX2 CRVAL1 CRVAL2 CD1_1 CD1_2 CD2_1 CD2_2 NMGY NMGYIVAR VERSIDL VERSUTIL VERSPOP PCALIB PSKY
RERUN SYNTHET SIMSEED SIMVERS
"""
_KNOWN = frozenset(_KEYWORDS.split())
"""Keywords of the primary headers of both layouts. Any other might change what the pixels or coordinates mean."""
_VECTOR = {"XTENSION": "IMAGE", "BITPIX": -32, "NAXIS": 1, "NAXIS1": COLUMNS, "PCOUNT": 0, "GCOUNT": 1}
_TABLE_START = ["XTENSION", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "PCOUNT", "GCOUNT", "TFIELDS"]
_TABLE_COLUMN = re.compile(r"(TTYPE|TFORM|TDIM)[1-9]\d*", re.ASCII)
_GRID = re.compile(r"\( *(\d+), *(\d+)\)", re.ASCII)
_CTYPES = (["RA---TAN", "DEC--TAN"], ["DEC--TAN", "RA---TAN"])
_WCS_NUMBERS = ("CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2", "CD1_1", "CD1_2", "CD2_1", "CD2_2")
_RADECSYS, _RADESYS = b"RADECSYS=", b"RADESYS ="
_BLOCK_ROWS = 64
"""Rows converted at a time: half a MB, which the processor's cache holds while the values are looked at again."""


def read_known_layout(content: bytes, frame_id: FrameId) -> Contents:
    """Read a frame whose file is in every respect as expected.

    Parameters
    ----------
    content : bytes
        Plain FITS.
    frame_id : FrameId
        What it is said to be.

    Returns
    -------
    Contents

    Raises
    ------
    Irregular, ValueError
        If anything at all is unusual or wrong. The text is not for people: `kira.frames.anyfits` finds the words.
    """
    hdus = read_hdus(content)
    primary = hdus[0]
    _hold_primary(primary, frame_id)
    vector = grid = solution = None
    wcs = _celestial_wcs(primary)
    if frame_id.release.service is Service.DAS:
        _expect(len(hdus) == 1 and primary.get("BITPIX") == 16 and primary.get("BZERO") == 32_768)
        data, finite = _counts(primary), True
    else:
        _expect(len(hdus) == 4 and primary.get("BITPIX") == -32 and primary.get("BZERO", 0) == 0)
        data, finite = _nanomaggies(primary)
        vector, grid = _column_calibration(hdus[1]), _sky_grid(hdus[2])
        solution = _solution(hdus[3], frame_id, wcs)
    return Contents(
        data=data,
        finite=finite,
        wcs=wcs,
        facts=header_facts(primary, frame_id),
        flux20=number(primary, "FLUX20"),
        column_calibration=vector,
        sky_grid=grid,
        solution=solution,
    )


def _expect(condition: bool) -> None:
    if not condition:
        raise Irregular("it is not laid out as expected")


def _hold_primary(primary: Hdu, frame_id: FrameId) -> None:
    cards = primary.cards
    _expect(primary.regular and cards.keys() <= _KNOWN and list(cards)[:5] == _START)
    for key in cards:  # astropy and wcslib have their own ways with values that are none
        primary.get(key)
    _expect(primary.get("SIMPLE") is True and primary.get("NAXIS") == 2)
    _expect((primary.get("NAXIS2"), primary.get("NAXIS1")) == (ROWS, COLUMNS) and primary.get("BSCALE", 1) == 1)
    if cards.keys() & CAMERA_CHECKSUMS.keys():  # checking others is astropy's work
        _expect(all(comment.match(_comment(cards.get(key, ""))) for key, comment in CAMERA_CHECKSUMS.items()))
    _expect(contradiction(primary, frame_id) is None)


def _comment(card: str) -> str:
    """Comment of a card whose value is a text without a quotation mark in it."""
    return re.sub(r"^ *'[^']*' */ *", "", card)


def _counts(primary: Hdu) -> Floats:
    """Unsigned 16-bit integers, stored as signed ones less 32768."""
    stored = np.frombuffer(primary.data, ">i2").reshape(ROWS, COLUMNS)
    data = stored.astype(np.float32)
    data += np.float32(32_768.0)
    _expect(not _constant(data))
    return data


def _nanomaggies(primary: Hdu) -> tuple[Floats, bool]:
    """Big-endian floats to native ones, and whether all are finite."""
    stored = np.frombuffer(primary.data, ">f4").reshape(ROWS, COLUMNS)
    data = np.empty((ROWS, COLUMNS), np.float32)
    finite = True
    for row in range(0, ROWS, _BLOCK_ROWS):
        block = data[row : row + _BLOCK_ROWS]
        np.copyto(block, stored[row : row + _BLOCK_ROWS])
        finite = finite and bool(np.isfinite(block).all())
    _expect((finite or bool(np.isfinite(data).any())) and not _constant(data))
    return data, finite


def _constant(data: Floats) -> bool:
    """Whether all pixels have the same value; of a frame of the sky the first row says it."""
    first = data[0, 0]
    return bool((data[0] == first).all() and (data == first).all())


def _column_calibration(hdu: Hdu) -> Floats:
    _expect(hdu.regular and list(hdu.cards) == list(_VECTOR))
    _expect({key: hdu.get(key) for key in _VECTOR} == _VECTOR)
    vector = np.frombuffer(hdu.data, ">f4").astype(np.float32)
    _expect(bool(np.isfinite(vector).all()))
    return vector


def _table(hdu: Hdu) -> Table:
    """One row, and no other cards than those that make its columns."""
    names = list(hdu.cards)
    _expect(hdu.regular and names[: len(_TABLE_START)] == _TABLE_START)
    _expect(all(_TABLE_COLUMN.fullmatch(name) for name in names[len(_TABLE_START) :]))
    _expect((hdu.get("NAXIS2"), hdu.get("PCOUNT"), hdu.get("GCOUNT")) == (1, 0, 1))
    _expect(len({name for name in names if name.startswith("TTYPE")}) == hdu.whole("TFIELDS"))
    return Table(hdu)


def _sky_grid(hdu: Hdu) -> SkyGrid:
    table = _table(hdu)
    _expect([hdu.get(f"TTYPE{i}") for i in (1, 2, 3)] == ["ALLSKY", "XINTERP", "YINTERP"] and "TTYPE4" not in hdu.cards)
    shape = _GRID.fullmatch(str(hdu.get("TDIM1")))
    values, x, y = (table.column(name)[0] for name in ("ALLSKY", "XINTERP", "YINTERP"))
    _expect(
        all(a.dtype == np.float32 for a in (values, x, y)) and "TDIM2" not in hdu.cards and "TDIM3" not in hdu.cards
    )
    if shape is None or int(shape[1]) * int(shape[2]) != len(values):
        raise Irregular("its sky is no grid")
    grid = values.reshape(int(shape[2]), int(shape[1]))
    _expect((len(x), len(y)) == (COLUMNS, ROWS) and SkyGrid.fits(grid, x, y))
    return SkyGrid(grid, x, y)


def _solution(hdu: Hdu, frame_id: FrameId, wcs: WCS) -> AsTrans:
    table = _table(hdu)
    for name in ("RUN", "CAMCOL", "FIELD"):
        found: Any = table.column(name)
        _expect(found.dtype.kind == "i" and found.shape == (1, 1) and found[0, 0] == getattr(frame_id, name.lower()))

    def value(name: str) -> object:
        values = table.column(name)
        _expect(values.shape == (1, 1))
        return values[0, 0]

    return read_solution(value, frame_id.band, wcs, (ROWS, COLUMNS))


def _celestial_wcs(primary: Hdu) -> WCS:
    """Coordinates by wcslib's own reader of headers.

    astropy's WCS takes the header apart four times on its way there, to look for distortions, of which the known
    keywords have none. What it does besides is done here: the deprecated RADECSYS becomes RADESYS, as it is for the
    other path, and the shape of the image is kept.
    """
    _expect(not {"RADECSYS", "RADESYS"} <= primary.cards.keys())
    _expect([primary.get(f"CTYPE{i}") for i in (1, 2)] in _CTYPES)
    _expect(all(isinstance(primary.get(key), float | int) for key in _WCS_NUMBERS))
    _expect(primary.get("CUNIT1", "deg") == primary.get("CUNIT2", "deg") == "deg")
    header = primary.header
    if "RADECSYS" in primary.cards:
        starts = (i for i in range(0, len(header), CARD) if header.startswith(_RADECSYS, i))
        at = next(starts)
        header = header[:at] + _RADESYS + header[at + len(_RADECSYS) :]
    wcs = WCS(naxis=2, fix=False)
    wcs.wcs = Wcsprm(header=header, relax=True, warnings=False)
    _expect(wcs.wcs.naxis == 2)
    wcs.wcs.set()
    _expect(wcs.has_celestial)
    wcs.pixel_shape = (COLUMNS, ROWS)
    return wcs
