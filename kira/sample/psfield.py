"""psField: the PSF, gain and dark variance of one field, which both layouts have beside their frames."""

import math

import numpy as np

from kira.sample.camera import Detector
from kira.sample.fitsfile import Card, blank_rows, columns, header_bytes, synthetic_cards, table_hdu
from kira.sample.optics import Psf
from kira.sample.spec import SampleSpec
from kira.sample.strip import field_sky
from kira.sdss import BANDS

_EIGENIMAGES = (
    {"name": "nrow_b", "format": "1J"},
    {"name": "ncol_b", "format": "1J"},
    {"name": "c", "format": "25E", "dim": "(5,5)"},
    {"name": "lambda", "format": "1E"},
    {"name": "RNROW", "format": "1J"},
    {"name": "RNCOL", "format": "1J"},
    {"name": "RTYPE", "format": "1J"},
    {"name": "RROWS", "format": "1PE(0)"},
    {"name": "RROW0", "format": "1J"},
    {"name": "RCOL0", "format": "1J"},
    {"name": "counts", "format": "1E"},
)
_EIGENIMAGE_BYTES = 144


def psfield_bytes(spec: SampleSpec, camcol: int, field: int) -> bytes:
    """Write the psField of one field.

    Parameters
    ----------
    spec : SampleSpec
    camcol, field : int

    Returns
    -------
    bytes
        HDU 6 has what the simulation knows, one row with arrays over u g r i z; other floats are -9999. HDUs 1 to 5,
        the PSF's eigenimages in the five bands, have no rows: the PSF is the sum of Gaussians that HDU 6 gives. SDSS's
        files have three more tables, about their own calibration and software.
    """
    detectors = [Detector(spec, camcol, band) for band in BANDS]
    psfs = [Psf(d.seeing(field)) for d in detectors]
    sky = [float(field_sky(d, field).mean()) for d in detectors]
    rows = blank_rows(columns("psField"), 1)
    values: dict[str, object] = {
        "field": field,
        "sky": sky,
        "skysig": [math.sqrt(s / d.gain + d.dark_variance) for s, d in zip(sky, detectors, strict=True)],
        "psf_sigma1": [p.sigmas[0] for p in psfs],
        "psf_sigma2": [p.sigmas[1] for p in psfs],
        "psf_b": psfs[0].peak_ratio,
        "psf_p0": 0.0,
        "psf_width": [p.fwhm for p in psfs],
        "psf_sigma1_2G": [p.sigmas[0] for p in psfs],
        "psf_sigma2_2G": [p.sigmas[1] for p in psfs],
        "psf_b_2G": psfs[0].peak_ratio,
        "gain": [d.gain for d in detectors],
        "dark_variance": [d.dark_variance for d in detectors],
    }
    for name, value in values.items():
        rows[name] = value
    cards: list[Card] = [
        ("SIMPLE", True),
        ("BITPIX", 8),
        ("NAXIS", 0),
        ("EXTEND", True),
        ("RUN", spec.run, "Imaging Run Number"),
        ("CAMCOL", camcol, "Column in imaging camera"),
        ("FIELD", field, "This field"),
        ("FIELD0", spec.first_field, "First field reduced"),
        ("NFIELDS", spec.fields, "Number of fields reduced"),
        ("FILTERS", "u g r i z", "Filters present in file"),
        ("DSCALE", 32, "Scaling for bias drift (lbias and rbi"),
        ("INCL", 0.0, "Great circle inclination wrt cel. eq."),
        ("NODE", 95.0, "RA of great circle's asending node. ("),
        *((name, "kira") for name in ("VERSION", "DERV_VER", "PS_ID", "ASTR_VER", "BIAS_ID")),
        *synthetic_cards(spec),
    ]
    none = np.zeros(0, dtype=f"V{_EIGENIMAGE_BYTES}")
    return b"".join((
        header_bytes(cards),
        table_hdu(_EIGENIMAGES, none) * len(BANDS),
        table_hdu(columns("psField"), rows),
    ))  # fmt: skip
