"""Noise of single pixels from gain and dark variance, with the sky put back that SDSS subtracted.

The relation is that of SDSS's data model for `frame` files: dn = img / calib + sky, and
err = sqrt(dn / gain + dark_variance) in counts (DN), times calib in nanomaggies
(https://data.sdss.org/datamodel/files/BOSS_PHOTOOBJ/frames/RERUN/RUN/CAMCOL/frame.html).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from kira.sdss import Band, FrameId

Floats = npt.NDArray[np.float32]
NoiseSource = Literal["psField", "table", "none"]
"""Where gain and dark variance come from."""

_BLOCK_ROWS = 32
"""Rows computed at a time, so that their intermediate values stay in the processor's cache."""

# By camcol 1 to 6, from the page above, as they were in the first runs.
_GAIN: dict[Band, tuple[float, ...]] = {
    "u": (1.62, 1.595, 1.59, 1.6, 1.47, 2.17),
    "g": (3.32, 3.855, 3.845, 3.995, 4.05, 4.035),
    "r": (4.71, 4.6, 4.72, 4.76, 4.725, 4.895),
    "i": (5.165, 6.565, 4.86, 4.885, 4.64, 4.76),
    "z": (4.745, 5.155, 4.885, 4.775, 3.48, 4.69),
}
_DARK_VARIANCE: dict[Band, tuple[float, ...]] = {
    "u": (9.61, 12.6025, 8.7025, 12.6025, 9.3025, 7.0225),
    "g": (15.6025, 1.44, 1.3225, 1.96, 1.1025, 1.8225),
    "r": (1.8225, 1.00, 1.3225, 1.3225, 0.81, 0.9025),
    "i": (7.84, 5.76, 4.6225, 6.25, 7.84, 5.0625),
    "z": (0.81, 1.0, 1.0, 9.61, 1.8225, 1.21),
}
# After which run which amplifier had another value: (band, camcol) to (run, value).
_LATER_GAIN: dict[tuple[Band, int], tuple[int, float]] = {("u", 2): (1100, 1.825)}
_LATER_DARK_VARIANCE: dict[tuple[Band, int], tuple[int, float]] = {
    ("i", 2): (1500, 6.25),
    ("i", 4): (1500, 7.5625),
    ("z", 4): (1500, 12.6025),
    ("z", 5): (1500, 2.1025),
}


def tabulated(frame_id: FrameId) -> tuple[float, float]:
    """Gain (electrons a DN) and dark variance (DN^2) of a CCD, for a frame without a psField.

    A field's own psField wins where it disagrees: that of run 4192 has 6.25 and 9.61 for camcol 4, bands i and z, where
    the table says 7.5625 and 12.6025 for all runs after 1500.
    """
    place = (frame_id.band, frame_id.camcol)
    gain, variance = (table[frame_id.band][frame_id.camcol - 1] for table in (_GAIN, _DARK_VARIANCE))
    after, value = _LATER_GAIN.get(place, (frame_id.run, gain))
    gain = value if frame_id.run > after else gain
    after, value = _LATER_DARK_VARIANCE.get(place, (frame_id.run, variance))
    return gain, value if frame_id.run > after else variance


@dataclass(frozen=True, eq=False)
class SkyGrid:
    """The sky that was subtracted from a `frame` file: HDU 2.

    Parameters
    ----------
    values : ndarray of float32, shape (m, n)
        Column ALLSKY: counts (DN), about 192 x 256.
    x : ndarray of float32, shape (2048,)
        Column XINTERP: where in the grid each pixel column lies.
    y : ndarray of float32, shape (1489,)
        Column YINTERP: where in the grid each pixel row lies.
    """

    values: Floats
    x: Floats
    y: Floats

    @staticmethod
    def fits(values: Floats, x: Floats, y: Floats) -> bool:
        """Whether three arrays can be a grid and the places of pixels in it."""
        return values.ndim == 2 and values.size > 0 and bool(np.isfinite(x).all() and np.isfinite(y).all())

    def at_pixels(self) -> Floats:
        """Sky of every pixel, counts (DN).

        Returns
        -------
        ndarray of float32, shape (1489, 2048)
            Bilinear between the grid's points and constant beyond its edge, as IDL's `interpolate` has it that SDSS
            wrote the columns for: the first of XINTERP are negative, the last beyond the grid.
        """
        return _between(self.at_columns(), self.y)

    def at_columns(self) -> Floats:
        """Sky of every pixel column in the rows of the grid, counts (DN): float32, shape (m, 2048)."""
        return np.ascontiguousarray(_between(np.ascontiguousarray(self.values.T), self.x).T)


def _between(values: Floats, places: Floats) -> Floats:
    """Interpolate linearly along the first axis."""
    below, above, weight = line_places(values, places)
    mixed = values[below]
    mixed += weight[:, None] * (values[above] - mixed)
    return mixed


def line_places(values: Floats, places: Floats) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]:
    """Return the lines of `values` on both sides of each place, and the weight of the second."""
    below = np.clip(np.floor(places).astype(np.int64), 0, max(len(values) - 2, 0))
    above = np.minimum(below + 1, len(values) - 1)
    return below, above, np.clip(places - below, 0.0, 1.0).astype(np.float32)


def count_noise(counts: Floats, gain: float, dark_variance: float) -> Floats:
    """Noise of counts.

    Parameters
    ----------
    counts : ndarray of float32
        Sky and objects without bias, DN. Not kept: the result is written over it.
    gain : float
        Electrons a DN.
    dark_variance : float
        Variance of amplifier and dark current, DN^2.

    Returns
    -------
    ndarray of float32
        1 sigma, DN. A pixel with less light than none (a dead one, or noise where there is no sky) has the noise of
        darkness. NaN where the pixel has no value.
    """
    np.maximum(counts, 0.0, out=counts)
    counts *= np.float32(1.0 / gain)
    counts += np.float32(dark_variance)
    return np.sqrt(counts, out=counts)


def nanomaggy_noise(data: Floats, calibration: Floats, sky: SkyGrid, gain: float, dark_variance: float) -> Floats:
    """Noise of a `frame` file.

    Parameters
    ----------
    data : ndarray of float32, shape (1489, 2048)
        Nanomaggies, sky subtracted.
    calibration : ndarray of float32, shape (2048,)
        HDU 1: nanomaggies a DN for each column.
    sky : SkyGrid
        HDU 2.
    gain, dark_variance : float
        As for `count_noise`.

    Returns
    -------
    ndarray of float32, shape (1489, 2048)
        1 sigma, nanomaggies. NaN where a column has no calibration (0 or less).
    """
    vector = np.where(calibration > 0, calibration, np.float32(np.nan))
    sky_columns = sky.at_columns()
    noise = np.empty_like(data)
    for row in range(0, len(data), _BLOCK_ROWS):
        rows = slice(row, row + _BLOCK_ROWS)
        counts = _between(sky_columns, sky.y[rows])
        counts += data[rows] / vector
        np.multiply(count_noise(counts, gain, dark_variance), vector, out=noise[rows])
    return noise
