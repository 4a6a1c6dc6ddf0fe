"""Flux calibration: how many nanomaggies a pixel's unit is.

A nanomaggy is 1e-9 of the flux of a source of magnitude 0: magnitude = 22.5 - 2.5 log10(nanomaggies). SDSS's own
catalogues give asinh magnitudes, which differ near the limit.
"""

import math
from typing import Literal

Calibration = Literal["tsField", "FLUX20", "frame", "none"]
"""Where a flux calibration comes from.

`tsField`: the final calibration of a field, to DR7. `FLUX20`: the preliminary one in an fpC's header. `frame`: the
pixels are nanomaggies already, from DR8. `none`: it is not known.
"""

EXPOSURE_SECONDS = 53.907456
"""Time that a source took to drift over a CCD; the zero points of tsField are for this time."""
_MAGNITUDE_20 = 10.0
"""Nanomaggies of a source of magnitude 20."""


def nmgy_from_tsfield(zero_point: float, extinction: float, airmass: float) -> float:
    """Nanomaggies a count from tsField.

    f/f0 = counts / 53.907456 x 10^(0.4 (aa + kk airmass)), and f0 is 1e9 nanomaggies
    (https://classic.sdss.org/dr7/algorithms/fluxcal.php).

    Parameters
    ----------
    zero_point : float
        Column aa, mag.
    extinction : float
        Column kk, mag an airmass.
    airmass : float
        Column airmass.

    Returns
    -------
    float
        NaN if one of them is not known: not finite, or -9999 as SDSS writes it.
    """
    if not (abs(zero_point) < 100.0 and abs(extinction) < 100.0 and 1.0 <= airmass < 100.0):
        return math.nan
    return 1e9 / EXPOSURE_SECONDS * math.pow(10.0, 0.4 * (zero_point + extinction * airmass))


def nmgy_from_flux20(flux20: float) -> float:
    """Nanomaggies a count from FLUX20 of an fpC's header, the counts of a source of magnitude 20; NaN if unknown."""
    return _MAGNITUDE_20 / flux20 if math.isfinite(flux20) and flux20 > 0 else math.nan
