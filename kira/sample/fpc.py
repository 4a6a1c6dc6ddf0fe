"""DR7's layout: the fpC frame and the tsField table that calibrates it."""

import numpy as np
from numpy.typing import NDArray

from kira.sample.camera import DAY_SECONDS, PIXEL_ARCSEC, SATURATION, SOFTBIAS, Detector
from kira.sample.fitsfile import Card, blank_rows, columns, data_bytes, header_bytes, synthetic_cards, table_hdu
from kira.sample.geometry import solution
from kira.sample.header import ORIGIN, image_cards, pointing_cards, run_cards, scan_cards, version_cards, wcs_cards
from kira.sample.optics import Psf
from kira.sample.spec import SampleSpec
from kira.sample.strip import field_sky
from kira.sdss import BANDS

_SCD = ("SCDWIDTH", "SCDDECMF", "SCDOFSET", "SCDDYNTH", "SCDSTTHL", "SCDSTTHR", "SCDREDSZ", "SCDSKYL", "SCDSKYR")


def fpc_bytes(detector: Detector, field: int, pixels: NDArray[np.uint16]) -> bytes:
    """Write an fpC frame, not compressed.

    Parameters
    ----------
    detector : Detector
    field : int
    pixels : ndarray of uint16, shape (1489, 2048)
        DN with software bias and sky.

    Returns
    -------
    bytes
        One HDU of 16-bit integers; with BZERO 32768 they are unsigned.
    """
    sky = float(field_sky(detector, field).mean())
    cards: list[Card] = [
        *image_cards(16),
        ("BZERO", 32768.0),
        ("BSCALE", 1.0),
        *pointing_cards(detector, field),
        ("BUNITS", "ADUs"),
        ("ORIGIN", ORIGIN),
        ("TELESCOP", "2.5m"),
        ("TIMESYS", "TAI"),
        *run_cards(detector, field),
        ("OBSERVER", "kira", "Observer"),
        *scan_cards(),
        ("SCDMETHD", "none", "scdMethod"),
        *((name, 0) for name in _SCD),
        ("COMMENT", " CCD-specific parameters"),
        ("CAMROW", detector.camera_row, "Row in the imaging camera"),
        ("BADLINES", 0, "Number of bad lines in frame"),
        ("EQUINOX", 2000.0),
        ("SOFTBIAS", SOFTBIAS, 'software "bias" added to all DN'),
        ("FLUX20", detector.flux20, "Number of DN in 20th mag object"),
        ("FLUX0", -9999.0, "Number of DN in 0th mag object"),
        ("FCALI_ID", "None"),
        ("SKY", round(sky, 2), "Approx. sky level (DN)"),
        ("BUNIT", "DNs"),
        ("FILTER", detector.band, "filter used"),
        ("CAMCOL", detector.camcol, "column in the imaging camera"),
        *version_cards(),
        *wcs_cards(detector, field, (1024.5, 744.5)),
        *synthetic_cards(detector.spec),
    ]
    signed = (pixels.astype(np.int32) - 32_768).astype(">i2")
    return header_bytes(cards) + data_bytes(signed)


def tsfield_bytes(spec: SampleSpec, camcol: int, field: int, counts: tuple[int, int]) -> bytes:
    """Write the tsField table of one field: one row, arrays over u g r i z.

    Parameters
    ----------
    spec : SampleSpec
    camcol, field : int
    counts : (int, int)
        Stars and galaxies in the field, as listed in photoObj.

    Returns
    -------
    bytes
        What the simulation knows is filled in; other floats are -9999. The PSF's third Gaussian has no column, and
        its place, the power law's amplitude psf_p0, is 0.
    """
    detectors = [Detector(spec, camcol, band) for band in BANDS]
    psfs = [Psf(d.seeing(field)) for d in detectors]
    solutions = [solution(camcol, field, band) for band in BANDS]
    # maggies/arcsec^2: nanomaggies a pixel over the pixel's area
    sky = [field_sky(d, field).mean() * d.nanomaggies_per_count * 1e-9 / PIXEL_ARCSEC**2 for d in detectors]
    rows = blank_rows(columns("tsField"), 1)
    values: dict[str, object] = {
        "field": field,
        "quality": 3,
        **{name: [getattr(s, name) for s in solutions] for name in "abcdef"},
        **{f"{axis}{power}": 0.0 for axis in ("dRow", "dCol") for power in range(4)},
        **dict.fromkeys(("csRow", "csCol", "ccRow", "ccCol", "muErr", "nuErr"), 0.0),
        "riCut": 100.0,
        "mjd": [d.tai(field) / DAY_SECONDS for d in detectors],
        "airmass": [d.airmass for d in detectors],
        "aa": [d.zero_point for d in detectors],
        "kk": [d.extinction for d in detectors],
        **dict.fromkeys(("aaErr", "bb", "bbErr", "cc", "ccErr", "kkErr", "rowOffset", "colOffset"), 0.0),
        "nObjects": sum(counts),
        "nStars": counts[0],
        "nGals": counts[1],
        "saturation_level": [SATURATION[band] for band in BANDS],
        "neff_psf": [p.effective_area for p in psfs],
        **dict.fromkeys(("sky", "sky_psp", "sky_frames", "sky_frames_sub"), sky),
        "psf_sigma1": [p.sigmas[0] * PIXEL_ARCSEC for p in psfs],
        "psf_sigma2": [p.sigmas[1] * PIXEL_ARCSEC for p in psfs],
        "psf_sigma1_2G": [p.sigmas[0] for p in psfs],
        "psf_sigma2_2G": [p.sigmas[1] for p in psfs],
        **dict.fromkeys(("psf_b", "psf_b_2G"), psfs[0].peak_ratio),
        "psf_p0": 0.0,
        "psf_width": [p.fwhm for p in psfs],
        "gain": [d.gain for d in detectors],
        "dark_variance": [d.dark_variance for d in detectors],
        "scanlineArea": 0.0,
        "stripeArea": 0.0,
        "goodMask": 7,
    }
    for name, value in values.items():
        rows[name] = value
    first = solutions[2]
    cards: list[Card] = [
        ("SIMPLE", True),
        ("BITPIX", 8),
        ("NAXIS", 0),
        ("EXTEND", True),
        ("RUN", spec.run, "Imaging run number."),
        ("CAMCOL", camcol, "Column in imaging camera."),
        ("RERUN", 40, "Rerun number."),
        ("NFIELDS", 1, "Number of fields reduced."),
        ("STRIPE", 82, "Stripe number."),
        ("STRIP", "S", "N - north, S - south, O - other."),
        ("EQUINOX", 2000.0, "Equinox of great circle scanned (Juli"),
        ("NODE", 95.0, "Ascending node of great circle scanne"),
        ("INCL", 0.0, "Inclination of great circle scanned ("),
        ("C_OBS", 26322.0, "CCD clock rate (usec/unbinned-row)."),
        ("TRACKING", first.b * 3600.0 / 0.026322, "Tracking rate (arcsec/TAI-sec)."),
        *((name, "kira") for name in (
            "PHOTO_ID", "PHOT_VER", "TASTR_ID", "TAST_VER", "TFCAL_ID", "TFCA_VER", "EASTR_ID", "EAST_VER",
            "EFCAL_ID", "EFCA_VER", "TARG_VER", "EXPO_VER",
        )),
        ("FILTERS", "u g r i z", "Filter order in arrays."),
        ("DSCALE", 32, "Scaling for bias drift (lbias and rbi"),
        ("FIELD0", field, "First field reduced."),
        *synthetic_cards(spec),
    ]  # fmt: skip
    return header_bytes(cards) + table_hdu(columns("tsField"), rows)
