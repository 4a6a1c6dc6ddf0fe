"""The list of objects beside a frame from DR8 on, filled from the truth."""

import numpy as np
from numpy.typing import NDArray

from kira.sample.camera import (
    COLUMN_OFFSET,
    COLUMNS,
    DAY_SECONDS,
    FIELD_ROWS,
    FIELD_STEP,
    PIXEL_ARCSEC,
    ROW_OFFSET,
    ROW_SECONDS,
    Detector,
)
from kira.sample.fitsfile import Card, blank_rows, columns, header_bytes, mwrfits_table_hdu, synthetic_cards
from kira.sample.optics import Psf
from kira.sample.population import Profile, Sources, patch
from kira.sample.spec import SampleSpec
from kira.sample.strip import field_sky
from kira.sdss import BANDS

Floats = NDArray[np.float64]

LISTED_SIGNAL_TO_NOISE = 4.0
"""A source is listed when it reaches this in any band; a field then has about as many rows as a real photoObj."""

_SKY_VERSION, _RERUN = 2, 301
_RUN_PRIMARY, _RUN_OVERLAP_ONLY, _SURVEY_PRIMARY = 1 << 0, 1 << 2, 1 << 8
_GALAXY, _STAR = 3, 6
_SOFTENING = np.array([1.4e-10, 0.9e-10, 1.2e-10, 1.8e-10, 7.4e-10])


def asinh_magnitude(flux: Floats) -> Floats:
    """Magnitudes as SDSS states them (Lupton, Gunn & Szalay 1999): -2.5/ln 10 [asinh(f/f0 / 2b) + ln b].

    Parameters
    ----------
    flux : ndarray of float64, shape (n, 5)
        Nanomaggies in u g r i z.

    Returns
    -------
    ndarray of float64, shape (n, 5)
    """
    values: Floats = -2.5 / np.log(10) * (np.arcsinh(flux * 1e-9 / (2 * _SOFTENING)) + np.log(_SOFTENING))
    return values


def field_sources(spec: SampleSpec, camcol: int, field: int) -> Sources:
    """Sources whose centres lie within a field in band r; their rows count from the field's first."""
    own, after = patch(spec, camcol, field), patch(spec, camcol, field + 1)
    both = Sources(
        *(np.concatenate((a, b)) for a, b in zip(vars(own).values(), vars(after).values(), strict=True))
    )  # fmt: skip
    both.row[len(own) :] += FIELD_STEP
    inside = (both.row < FIELD_ROWS - 0.5) & (both.col >= -0.5) & (both.col < COLUMNS - 0.5)
    return both[inside]


def signal_to_noise(spec: SampleSpec, camcol: int, field: int, sources: Sources) -> Floats:
    """Signal to noise of each source in each band by its area and the noise of the sky, shape (n, 5).

    A galaxy spreads over the PSF's effective area and that of its own half-light ellipse, twice.
    """
    size = 2 * np.pi * (sources.half_light_radius / PIXEL_ARCSEC) ** 2 * sources.axis_ratio
    out = np.empty_like(sources.flux)
    for i, band in enumerate(BANDS):
        detector = Detector(spec, camcol, band)
        area = Psf(detector.seeing(field)).effective_area + size
        variance = field_sky(detector, field)[0, 0] / detector.gain + detector.dark_variance
        counts = sources.flux[:, i] / detector.nanomaggies_per_count
        out[:, i] = counts / np.sqrt(area * variance + counts / detector.gain)
    return out


def listed_sources(spec: SampleSpec, camcol: int, field: int) -> Sources:
    """Sources that photoObj lists for a field, in the order of their rows."""
    sources = field_sources(spec, camcol, field)
    found = signal_to_noise(spec, camcol, field, sources).max(axis=1, initial=0.0) >= LISTED_SIGNAL_TO_NOISE
    sources = sources[found]
    return sources[np.argsort(sources.row, kind="stable")]


def object_identifiers(spec: SampleSpec, camcol: int, field: int, numbers: NDArray[np.int64]) -> NDArray[np.bytes_]:
    """SDSS's 64-bit object identifiers as text: sky version, rerun, run, camcol, field and number within the field.

    Bits 59-62, 48-58, 32-47, 29-31, 16-27 and 0-15.
    """
    base = _SKY_VERSION << 59 | _RERUN << 48 | spec.run << 32 | camcol << 29 | field << 16
    return (base + numbers).astype("S19")


def photoobj_bytes(spec: SampleSpec, camcol: int, field: int) -> bytes:
    """Write the photoObj table of one field.

    Parameters
    ----------
    spec : SampleSpec
    camcol, field : int

    Returns
    -------
    bytes
        One row a listed source. What the truth knows is filled in: fluxes are true fluxes, without errors (inverse
        variances are 0); what it does not know is -9999, or 0 in columns of integers.
    """
    sources = listed_sources(spec, camcol, field)
    rows = blank_rows(columns("photoObj"), len(sources))
    for part in (_identity(spec, camcol, field, sources), _positions(sources), _fluxes(sources), _shapes(sources),
                 _conditions(spec, camcol, field)):  # fmt: skip
        for name, value in part.items():
            rows[name] = value
    return header_bytes(_cards(spec, camcol, field)) + mwrfits_table_hdu(columns("photoObj"), rows)


def _identity(spec: SampleSpec, camcol: int, field: int, sources: Sources) -> dict[str, object]:
    """Numbers and classes; the rows between the middles of the overlaps are the field's own, as in SDSS."""
    numbers = np.arange(1, len(sources) + 1)
    half = (FIELD_ROWS - FIELD_STEP) / 2
    primary = (sources.row >= half - 0.5) & (sources.row < FIELD_STEP + half - 0.5)
    kind = np.where(sources.is_star, _STAR, _GALAXY)
    return {
        "OBJID": object_identifiers(spec, camcol, field, numbers),
        "FIELDID": object_identifiers(spec, camcol, field, numbers * 0),
        "SKYVERSION": _SKY_VERSION,
        "MODE": np.where(primary, 1, 2),
        "CLEAN": 1,
        "RUN": spec.run,
        "RERUN": str(_RERUN).encode(),
        "CAMCOL": camcol,
        "FIELD": field,
        "ID": numbers,
        "PARENT": -1,
        "OBJC_TYPE": kind,
        "OBJC_PROB_PSF": sources.is_star,
        "TYPE": kind[:, None],
        "PROB_PSF": sources.is_star[:, None],
        "RESOLVE_STATUS": np.where(primary, _RUN_PRIMARY | _SURVEY_PRIMARY, _RUN_OVERLAP_ONLY),
        "CALIB_STATUS": 1,
        "THING_ID": -1,
        "IFIELD": -1,
        "BALKAN_ID": -1,
        "NOBSERVE": 1,
        "NDETECT": 1,
    }


def _positions(sources: Sources) -> dict[str, object]:
    """Pixels in SDSS's convention (0.5 at the first pixel's centre), by band, and the sky."""
    ra, dec = np.radians(sources.ra), np.radians(sources.dec)
    row = sources.row[:, None] + 0.5 + np.array([ROW_OFFSET[b] for b in BANDS])
    col = sources.col[:, None] + 0.5 + np.array([COLUMN_OFFSET[b] for b in BANDS])
    galactic = _galactic(sources)
    return {
        "OBJC_ROWC": row[:, 2],
        "OBJC_COLC": col[:, 2],
        "ROWC": row,
        "COLC": col,
        "RA": sources.ra,
        "DEC": sources.dec,
        "CX": np.cos(dec) * np.cos(ra),
        "CY": np.cos(dec) * np.sin(ra),
        "CZ": np.sin(dec),
        "L": galactic[0],
        "B": galactic[1],
        "OFFSETRA": 0.0,
        "OFFSETDEC": 0.0,
    }


def _galactic(sources: Sources) -> tuple[Floats, Floats]:
    from astropy.coordinates import SkyCoord

    place = SkyCoord(sources.ra, sources.dec, unit="deg", frame="icrs").galactic
    return np.asarray(place.l.deg), np.asarray(place.b.deg)


def _fluxes(sources: Sources) -> dict[str, object]:
    """True total fluxes, each under the names whose definition it fulfils: a galaxy has no known PSF flux."""
    out: dict[str, object] = {}
    names = {c["name"] for c in columns("photoObj")}
    for kind, known in (
        ("CMODEL", np.ones(len(sources), dtype=bool)),
        ("MODEL", np.ones(len(sources), dtype=bool)),
        ("PSF", sources.is_star),
        ("EXP", sources.profile == Profile.EXPONENTIAL),
        ("DEV", sources.profile == Profile.DE_VAUCOULEURS),
    ):
        out[f"{kind}FLUX"] = np.where(known[:, None], sources.flux, -9999.0)
        out[f"{kind}MAG"] = np.where(known[:, None], asinh_magnitude(sources.flux), -9999.0)
    return out | {name: 0.0 for name in sorted(names) if name.endswith("_IVAR")}


def _shapes(sources: Sources) -> dict[str, object]:
    out: dict[str, object] = {
        "FRACDEV": (sources.profile == Profile.DE_VAUCOULEURS)[:, None],
        "PHI_OFFSET": 0.0,
    }
    for name, profile in (("EXP", Profile.EXPONENTIAL), ("DEV", Profile.DE_VAUCOULEURS)):
        known = (sources.profile == profile)[:, None]
        out[f"THETA_{name}"] = np.where(known, sources.half_light_radius[:, None], -9999.0)
        out[f"AB_{name}"] = np.where(known, sources.axis_ratio[:, None], -9999.0)
        out[f"PHI_{name}_DEG"] = np.where(known, sources.position_angle[:, None], -9999.0)
    return out


def _conditions(spec: SampleSpec, camcol: int, field: int) -> dict[str, object]:
    """Calibration and circumstances of the field, by band."""
    detectors = [Detector(spec, camcol, band) for band in BANDS]
    nmgy = [d.nanomaggies_per_count for d in detectors]
    sky = [field_sky(d, field).mean() * n / PIXEL_ARCSEC**2 for d, n in zip(detectors, nmgy, strict=True)]
    middle = FIELD_ROWS / 2 * ROW_SECONDS
    return {
        "PSF_FWHM": [d.seeing(field) for d in detectors],
        "PIXSCALE": PIXEL_ARCSEC,
        "MJD": int(detectors[2].tai(field) // DAY_SECONDS),
        "AIRMASS": [d.airmass for d in detectors],
        "EXTINCTION": 0.0,
        "SKYFLUX": sky,
        "NMGYPERCOUNT": nmgy,
        "TAI": [d.tai(field) + middle for d in detectors],
        "SCORE": 1.0,
    }


def _cards(spec: SampleSpec, camcol: int, field: int) -> list[Card]:
    """Primary header; DARK_VAR holds square roots of the variances, as it does in SDSS's files."""
    detectors = [Detector(spec, camcol, band) for band in BANDS]
    text = "kira"
    return [
        ("SIMPLE", True),
        ("BITPIX", 16),
        ("NAXIS", 0),
        ("EXTEND", True),
        *((name, text) for name in (
            "VERSION", "DERV_VER", "ASTR_VER", "ASTRO_ID", "BIAS_ID", "FRAME_ID", "KO_VER", "PS_ID", "CREATIME",
        )),
        ("SEED", spec.seed, "Seed for photo random number generato"),
        ("REF_BAND", 2, "index of band used for canonical cent"),
        ("RUN", spec.run, "Imaging run number"),
        ("RERUN", _RERUN, "Processing rerun number"),
        ("CAMCOL", camcol, "Column in the imaging camera"),
        ("FIELD", field, "Field sequence number"),
        ("FILTERS", " ".join(BANDS), "Filter order in arrays"),
        ("DARK_VAR", " ".join(f"{d.dark_variance**0.5:g}" for d in detectors), "Per-pixel variances at zero DN; DN^2"),
        ("GAIN", " ".join(f"{d.gain:g}" for d in detectors), "Mean gains of amplifiers; e/DN"),
        ("SPLIT_LR", 1024, "Number of columns in left 1/2 of CCD"),
        *((f"DCOL_{side}_{band.upper()}", 0.0, "offset to ADD to colc")
          for band in BANDS for side in "LR"),
        *((name, text) for name in ("POBJ_VER", "REDUX", "RESOLVE", "CALIB", "SWEEP", "TREE")),
        *synthetic_cards(spec),
    ]  # fmt: skip
