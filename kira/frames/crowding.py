"""How crowded a frame is, estimated from a few of its rows: what its extraction will cost."""

from typing import BinaryIO

import numpy as np
from astropy.io import fits

_STRIPS = 3
_ROWS = 32
"""Of each strip: with 2,048 columns half a megabyte at most."""
_SIGMA = 5.0
_TYPES = {16: ">i2", 32: ">i4", -32: ">f4", -64: ">f8", 8: "u1"}
_NORMAL = 1.4826


def bright_share(stream: BinaryIO) -> float | None:
    """Part of the pixels that is far above the sky, by three strips across the image of a plain FITS file.

    The sky and its noise are the median and the median deviation of each strip. Detected sources follow from it to
    within a factor of two: 0.005 in a field of 600 sources, 0.15 in the globular cluster M2.

    Parameters
    ----------
    stream : file
        Binary, at its beginning; four ranges of it are read.

    Returns
    -------
    float or None
        None where the file is not one whose first HDU is an image: that is for the extraction to say.
    """
    try:
        header = fits.Header.fromfile(stream)
        start = stream.tell()
        columns, rows, kind = header["NAXIS1"], header["NAXIS2"], np.dtype(_TYPES[header["BITPIX"]])
        if header["NAXIS"] != 2 or min(columns, rows) < 1:
            return None
        high = min(_ROWS, rows)
        shares = []
        for number in range(_STRIPS):
            first = (rows - high) * (2 * number + 1) // (2 * _STRIPS)
            stream.seek(start + first * columns * kind.itemsize)
            content = stream.read(high * columns * kind.itemsize)
            shares.append(_share(np.frombuffer(content, kind)[: high * columns]))
    except (EOFError, OSError, ValueError, KeyError, TypeError, OverflowError, fits.VerifyError):
        return None
    return float(np.mean(shares))


def _share(values: np.ndarray[tuple[int], np.dtype[np.generic]]) -> float:
    strip = values.astype(np.float32)
    strip = strip[np.isfinite(strip)]
    if not strip.size:
        return 0.0
    median = np.median(strip)
    noise = _NORMAL * np.median(np.abs(strip - median))
    return float((strip > median + _SIGMA * noise).mean())
