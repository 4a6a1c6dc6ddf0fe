"""Columns and flag bits of what extraction returns."""

from enum import IntFlag

import numpy as np

DETECTION = np.dtype(
    [
        ("thresh", "f8"), ("npix", "i8"), ("tnpix", "i8"),
        ("xmin", "i8"), ("xmax", "i8"), ("ymin", "i8"), ("ymax", "i8"),
        ("x", "f8"), ("y", "f8"), ("x2", "f8"), ("y2", "f8"), ("xy", "f8"),
        ("errx2", "f8"), ("erry2", "f8"), ("errxy", "f8"),
        ("a", "f8"), ("b", "f8"), ("theta", "f8"), ("cxx", "f8"), ("cyy", "f8"), ("cxy", "f8"),
        ("cflux", "f8"), ("flux", "f8"), ("cpeak", "f8"), ("peak", "f8"),
        ("xcpeak", "i8"), ("ycpeak", "i8"), ("xpeak", "i8"), ("ypeak", "i8"),
    ]
)  # fmt: skip
"""Columns taken from `sep.extract` under their own names."""

PHOTOMETRY = np.dtype(
    [
        ("flag_extract", "i2"),
        ("flux_circle", "f8"), ("fluxerr_circle", "f8"), ("flag_circle", "i2"),
        ("kron_radius", "f8"), ("flag_kron", "i2"),
        ("flux_ellipse", "f8"), ("fluxerr_ellipse", "f8"), ("flag_ellipse", "i2"),
        ("ra", "f8"), ("dec", "f8"),
    ]
)  # fmt: skip
"""Columns added to them."""

COLUMNS = np.dtype(DETECTION.descr + PHOTOMETRY.descr)
"""One row of `Extraction.table`."""


class Flag(IntFlag):
    """Bits of the `flag_*` columns: SEP's own (sep.h, version 1.4), and one of Kira's."""

    MERGED = 0x01
    """The source is the result of deblending."""
    TRUNCATED = 0x02
    """The source reaches the edge of the image."""
    DEBLEND_OVERFLOW = 0x04
    """Too many branches while deblending."""
    SINGULAR = 0x08
    """x and y are fully correlated: a source on one line of pixels."""
    APERTURE_TRUNCATED = 0x10
    """The aperture reaches beyond the image."""
    APERTURE_MASKED = 0x20
    """Part of the aperture is masked."""
    APERTURE_ALL_MASKED = 0x40
    """All of the aperture is masked."""
    APERTURE_NON_POSITIVE = 0x80
    """Negative or no flux in the Kron ellipse: its radius is 0."""
    NOT_MEASURED = 0x100
    """Kira: SEP has no valid ellipse or Kron radius here; the flux and its error are NaN."""
