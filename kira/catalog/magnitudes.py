"""Nanomaggies to magnitudes: SDSS's inverse hyperbolic sine (asinh) magnitudes, and Pogson's."""

import math

import numpy as np
import numpy.typing as npt

from kira.sdss import Band

Floats = npt.NDArray[np.float64]

SOFTENING: dict[Band, float] = {"u": 1.4e-10, "g": 0.9e-10, "r": 1.2e-10, "i": 1.8e-10, "z": 7.4e-10}
"""b of the asinh magnitudes, in maggies (Lupton, Gunn & Szalay 1999; Stoughton et al. 2002, table 21)."""

_NANO = 1e-9
_ZERO_POINT = 22.5
_POGSON = 2.5 / math.log(10)


def asinh_magnitude(flux: Floats, error: Floats, band: Band) -> tuple[Floats, Floats]:
    """SDSS magnitude, which has a value for every flux, also a negative one.

    m = -2.5/ln(10) (asinh(f / 2b) + ln b), with f in maggies (Lupton, Gunn & Szalay 1999).

    Parameters
    ----------
    flux, error : numpy.ndarray of float64
        Nanomaggies.
    band : str
        Says how soft the magnitude is.

    Returns
    -------
    magnitude, error : numpy.ndarray of float64
        The error is the first order of its propagation.
    """
    b = SOFTENING[band]
    ratio = flux * _NANO / (2 * b)
    magnitude = -_POGSON * (np.arcsinh(ratio) + math.log(b))
    return magnitude, _POGSON * (error * _NANO / (2 * b)) / np.sqrt(1 + ratio**2)


def pogson_magnitude(flux: Floats, error: Floats) -> tuple[Floats, Floats]:
    """Magnitude by its old definition, 22.5 - 2.5 log10(f / nanomaggy); NaN where the flux is not positive."""
    positive = np.where(flux > 0, flux, np.nan)
    return _ZERO_POINT - 2.5 * np.log10(positive), _POGSON * error / positive
