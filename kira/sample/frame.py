"""The layout from DR8 on: the calibrated, sky-subtracted frame of four HDUs."""

import numpy as np
from numpy.typing import NDArray

from kira.sample.camera import COLUMNS, DAY_SECONDS, FIELD_ROWS, FIELD_STEP, SOFTBIAS, Detector
from kira.sample.fitsfile import Card, blank_rows, data_bytes, header_bytes, mwrfits_table_hdu, synthetic_cards
from kira.sample.geometry import solution
from kira.sample.header import ORIGIN, image_cards, pointing_cards, run_cards, scan_cards, version_cards, wcs_cards
from kira.sample.strip import field_sky

Floats32 = NDArray[np.float32]

_SKY_SHAPE = (192, 256)
_SKY_COLUMNS = (
    {"name": "ALLSKY", "format": "49152E", "dim": "( 256, 192)"},
    {"name": "XINTERP", "format": "2048E"},
    {"name": "YINTERP", "format": "1489E"},
)
_SOLUTION_DOUBLES = (
    "A", "B", "C", "D", "E", "F", "DROW0", "DROW1", "DROW2", "DROW3", "DCOL0", "DCOL1", "DCOL2", "DCOL3",
    "CSROW", "CSCOL", "CCROW", "CCCOL", "RICUT", "MJD", "AIRMASS",
)  # fmt: skip
_SOLUTION_COLUMNS = tuple(
    {"name": name, "format": form}
    for name, form in [
        ("RUN", "J"), ("RERUN", "3A"), ("CAMCOL", "J"), ("FILTER", "A"), ("NODE", "D"), ("INCL", "D"),
        ("NAXIS", "2J"), ("FIELD", "J"), *((name, "D") for name in _SOLUTION_DOUBLES), ("MUERR", "E"), ("NUERR", "E"),
    ]
)  # fmt: skip


def float_compress(values: NDArray[np.floating], digits: int = 10) -> Floats32:
    """Round to some binary digits, so that the file compresses better (FLOATCOMPRESS of idlutils).

    Parameters
    ----------
    values : ndarray of float
    digits : int
        Significant binary digits to keep.

    Returns
    -------
    ndarray of float32, same shape
        Within 2^-digits / 2 of the values, relatively.
    """
    mantissa, exponent = np.frexp(values.astype(np.float32))
    rounded: Floats32 = np.ldexp(np.rint(mantissa * np.float32(2.0**digits)), exponent - digits).astype(np.float32)
    return rounded


def sky_grid(detector: Detector, field: int) -> tuple[Floats32, Floats32, Floats32]:
    """Sky of a field as HDU 2 has it.

    Returns
    -------
    allsky : ndarray of float32, shape (192, 256)
        Sky (DN) at the middle of bins of 8 x 8 pixels; the first row of bins lies before the field.
    xinterp, yinterp : ndarray of float32, shapes (2048,) and (1489,)
        Where in the grid each column and row lies: column / 8 - 7/16 and row / 8 + 9/16.
    """
    cols = 8.0 * np.arange(_SKY_SHAPE[1], dtype=np.float64) + 3.5
    rows = 8.0 * (np.arange(_SKY_SHAPE[0], dtype=np.float64) - 1) + 3.5
    allsky = detector.sky(rows + FIELD_STEP * field, cols)
    xinterp, yinterp = np.arange(COLUMNS) / 8.0 - 0.4375, np.arange(FIELD_ROWS) / 8.0 + 0.5625
    return allsky.astype(np.float32), xinterp.astype(np.float32), yinterp.astype(np.float32)


def frame_bytes(detector: Detector, field: int, pixels: NDArray[np.uint16]) -> bytes:
    """Write a frame, not compressed.

    Parameters
    ----------
    detector : Detector
    field : int
    pixels : ndarray of uint16, shape (1489, 2048)
        DN with software bias and sky, as in the fpC frame of the same field.

    Returns
    -------
    bytes
        HDU 0 nanomaggies without sky, (DN - 1000 - sky) x calibration of its column, float32 of 10 binary digits;
        HDU 1 the calibration; HDU 2 the sky; HDU 3 the astrometric solution.
    """
    calibration = (detector.nanomaggies_per_count / detector.response).astype(np.float32)
    counts = pixels - np.float64(SOFTBIAS) - field_sky(detector, field)
    image = float_compress(counts * calibration)
    nmgy = detector.nanomaggies_per_count
    cards: list[Card] = [
        *image_cards(-32),
        ("EXTEND", True, "Extensions may be present"),
        ("BZERO", 0.0, "Set by MRD_SCALE"),
        ("BSCALE", 1.0, "Set by MRD_SCALE"),
        *pointing_cards(detector, field),
        ("ORIGIN", ORIGIN),
        ("TELESCOP", "2.5m"),
        ("TIMESYS", "TAI"),
        *run_cards(detector, field),
        *scan_cards(),
        ("COMMENT", " CCD-specific parameters"),
        ("CAMROW", detector.camera_row, "Row in the imaging camera"),
        ("BADLINES", 0, "Number of bad lines in frame"),
        ("EQUINOX", 2000.0),
        ("SOFTBIAS", SOFTBIAS, 'software "bias" added to all DN'),
        ("BUNIT", "nanomaggy", "1 nanomaggy = 3.631e-6 Jy"),
        ("FILTER", detector.band, "filter used"),
        ("CAMCOL", detector.camcol, "column in the imaging camera"),
        *version_cards(),
        *wcs_cards(detector, field, (1025.0, 745.0)),
        ("HISTORY", "KIRA.SAMPLE: TAN projection of the simulated strip"),
        ("COMMENT", " Calibration parameters"),
        ("COMMENT", " Floats truncated at 10 binary digits with FLOATCOMPRESS"),
        ("NMGY", nmgy, "Calibration factor [nMgy per count]"),
        ("NMGYIVAR", (0.01 * nmgy) ** -2, "Calibration factor inverse variance"),
        *((name, "kira") for name in ("VERSIDL", "VERSUTIL", "VERSPOP", "PCALIB", "PSKY")),
        ("RERUN", "301", "rerun"),
        ("HISTORY", "KIRA.SAMPLE: synthetic, not an observation"),
        *synthetic_cards(detector.spec),
    ]
    vector: list[Card] = [
        ("XTENSION", "IMAGE"), ("BITPIX", -32), ("NAXIS", 1), ("NAXIS1", COLUMNS), ("PCOUNT", 0), ("GCOUNT", 1),
    ]  # fmt: skip
    sky = np.zeros(
        1, dtype=[("ALLSKY", ">f4", _SKY_SHAPE), ("XINTERP", ">f4", COLUMNS), ("YINTERP", ">f4", FIELD_ROWS)]
    )
    sky["ALLSKY"][0], sky["XINTERP"][0], sky["YINTERP"][0] = sky_grid(detector, field)
    return b"".join((
        header_bytes(cards), data_bytes(image.astype(">f4")),
        header_bytes(vector), data_bytes(calibration.astype(">f4")),
        mwrfits_table_hdu(_SKY_COLUMNS, sky),
        mwrfits_table_hdu(_SOLUTION_COLUMNS, _solution_row(detector, field)),
    ))  # fmt: skip


def _solution_row(detector: Detector, field: int) -> NDArray[np.void]:
    """The one row of HDU 3; the distortion terms are 0."""
    row = blank_rows(_SOLUTION_COLUMNS, 1)
    for name in _SOLUTION_DOUBLES:
        row[name] = 0.0
    affine = solution(detector.camcol, field, detector.band)
    values: dict[str, object] = {
        "RUN": detector.spec.run,
        "RERUN": b"301",
        "CAMCOL": detector.camcol,
        "FILTER": detector.band.encode(),
        "NODE": 95.0,
        "INCL": 0.0,
        "NAXIS": (COLUMNS, FIELD_ROWS),
        "FIELD": field,
        **{name.upper(): getattr(affine, name) for name in "abcdef"},
        "RICUT": 100.0,
        "MJD": detector.tai(field) / DAY_SECONDS,
        "AIRMASS": detector.airmass,
        "MUERR": 0.0,
        "NUERR": 0.0,
    }
    for name, value in values.items():
        row[name] = value
    return row
