"""Cards that fpC and frame headers share: where and when the camera looked."""

from datetime import datetime, timedelta

import numpy as np

from kira.sample.camera import COLUMNS, EXPOSURE_SECONDS, FIELD_ROWS, FRAME_OFFSET, Detector
from kira.sample.fitsfile import Card
from kira.sample.geometry import solution

ORIGIN = "Kira simulation"
_MJD_EPOCH = datetime(1858, 11, 17)


def image_cards(bitpix: int) -> list[Card]:
    """The first cards of an image of one field."""
    return [("SIMPLE", True), ("BITPIX", bitpix), ("NAXIS", 2), ("NAXIS1", COLUMNS), ("NAXIS2", FIELD_ROWS)]


def pointing_cards(detector: Detector, field: int) -> list[Card]:
    """Time and direction of the telescope when the frame's first row was read."""
    tai = detector.tai(field)
    moment = _MJD_EPOCH + timedelta(seconds=tai)
    ra = (solution(detector.camcol, field + FRAME_OFFSET[detector.band], "r").a - 0.484) % 360.0
    altitude = float(np.degrees(np.arcsin(1.0 / detector.airmass)))
    hms = f"{moment:%H:%M:%S}.{moment.microsecond // 10_000:02d}"
    return [
        ("TAI", round(tai, 2), "1st row - Number of seconds since Nov 17 1858"),
        ("RA", round(ra, 5), "1st row - Right ascension of telescope boresigh"),
        ("DEC", 0.0, "1st row - Declination of telescope boresight (d"),
        ("SPA", 90.0, "1st row - Camera col position angle wrt north ("),
        ("IPA", 90.0, "1st row - Instrument rotator position angle (de"),
        ("IPARATE", 0.0, "1st row - Instrument rotator angular velocity ("),
        ("AZ", 0.0, "1st row - Azimuth  (encoder) of tele (0=N?) (de"),
        ("ALT", round(altitude, 6), "1st row - Altitude (encoder) of tele        (de"),
        ("FOCUS", 0.0, "1st row - Focus piston (microns?)"),
        ("DATE-OBS", f"{moment:%Y-%m-%d}", "1st row - TAI date"),
        ("TAIHMS", hms, "1st row - TAI time (HH:MM:SS.SS) (TAI-UT = appr"),
        ("COMMENT", " TAI,RA,DEC,SPA,IPA,IPARATE,AZ,ALT,FOCUS at reading of col 0, row 0"),
    ]


def run_cards(detector: Detector, field: int) -> list[Card]:
    """The run, the stripe and the place of the CCD in the camera; FIELD is missing as in SDSS's own headers."""
    band = detector.band
    return [
        ("RUN", detector.spec.run, "Run number"),
        ("FRAME", field + FRAME_OFFSET[band], "Frame sequence number within the run"),
        ("CCDLOC", 10 * detector.camera_row + detector.camcol, "Survey location of CCD (e.g., rowCol)"),
        ("STRIPE", 82, "Stripe index number (23 <--> eta=0)"),
        ("STRIP", "S", "Strip in the stripe being tracked."),
        ("FLAVOR", "science", "Flavor of this run"),
    ]


def scan_cards() -> list[Card]:
    """The great circle that was scanned and how the CCDs were clocked."""
    return [
        ("SYS_SCN", "mean", "System of the scan great circle (e.g., mean)"),
        ("EQNX_SCN", 2000.0, "Equinox of the scan great circle. (years)"),
        ("NODE", 95.0, "RA of the great circle's ascending node (deg)"),
        ("INCL", 0.0, "Great circle's inclination wrt cel. eq. (deg)"),
        ("XBORE", 22.74, "Boresight x offset from the array center (mm)"),
        ("YBORE", 0.0, "Boresight x offset from the array center (mm)"),
        ("OBJECT", "82 S", "e.g., 'stripe 50.6 degrees, north strip'"),
        ("EXPTIME", f"{EXPOSURE_SECONDS:.6f}", "Exposure time (seconds)"),
        ("SYSTEM", "FK5", "System of the TCC coordinates (e.g., mean)"),
        ("CCDMODE", "DRIFT", "'STARING' or 'DRIFT'"),
        ("C_OBS", 26_322, "CCD row clock rate (usec/row)"),
        ("COLBIN", 1, "Binning factor perpendicular to the columns"),
        ("ROWBIN", 1, "Binning factor perpendicular to the rows"),
        ("DAVERS", "kira", "Version of DA software"),
    ]


def version_cards() -> list[Card]:
    """Keywords that name SDSS's pipelines; here none of them ran."""
    names = ("VERSION", "DERV_VER", "ASTR_VER", "ASTRO_ID", "BIAS_ID", "FRAME_ID", "KO_VER", "PS_ID")
    return [(name, "kira") for name in names]


def wcs_cards(detector: Detector, field: int, crpix: tuple[float, float]) -> list[Card]:
    """TAN projection of one frame.

    Parameters
    ----------
    detector : Detector
    field : int
    crpix : (float, float)
        FITS column and row at which to put the reference: fpC has 1024.5, 744.5 and frame 1025, 745.
    """
    tangent = solution(detector.camcol, field, detector.band).tangent(row=crpix[1] - 1.0, col=crpix[0] - 1.0)
    return [
        ("ATVSN", "kira", "ASTROTOOLS version tag"),
        ("RADECSYS", "ICRS", "International Celestial Ref. System"),
        ("CTYPE1", "RA---TAN"),
        ("CTYPE2", "DEC--TAN"),
        ("CUNIT1", "deg"),
        ("CUNIT2", "deg"),
        ("CRPIX1", crpix[0], "Column Pixel Coordinate of Ref. Pixel"),
        ("CRPIX2", crpix[1], "Row Pixel Coordinate of Ref. Pixel"),
        ("CRVAL1", tangent["CRVAL1"], "RA at Reference Pixel"),
        ("CRVAL2", tangent["CRVAL2"], "DEC at Reference Pixel"),
        ("CD1_1", tangent["CD1_1"], "RA  degrees per column pixel"),
        ("CD1_2", tangent["CD1_2"], "RA  degrees per row pixel"),
        ("CD2_1", tangent["CD2_1"], "DEC degrees per column pixel"),
        ("CD2_2", tangent["CD2_2"], "DEC degrees per row pixel"),
    ]
