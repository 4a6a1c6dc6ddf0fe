"""The background as `sep.Background` has it, from compiled kernels."""

import math

import numpy as np
import numpy.typing as npt

from kira.extraction.detection import dither_places
from kira.extraction.fast import mesh, spline
from kira.extraction.fast.arrays import image, mask_bytes
from kira.extraction.measuring import Bools
from kira.extraction.noise import Image

_Indices = npt.NDArray[np.int64]


class Background:
    """Level and noise of the cells of a mesh, and splines through them.

    Parameters
    ----------
    data : numpy.ndarray of float32, shape (rows, columns)
    mask : numpy.ndarray of bool, shape (rows, columns), or None
    width, filter_width : int
        Of a cell in pixels, and of the median filter in cells.
    dither : float
        See `kira.extraction.detection.subtract_background`.
    """

    def __init__(self, data: Image, mask: Bools | None, width: int, filter_width: int, dither: float = 0.0) -> None:
        self._shape, self._width = data.shape, width
        rows, columns = ((size - 1) // width + 1 for size in data.shape)
        level, noise = np.zeros((rows, columns), dtype=np.float32), np.zeros((rows, columns), dtype=np.float32)
        along, across = dither_places(data.shape)
        mesh.cell_statistics(image(data), mask_bytes(mask), width, along, across, np.float32(dither), level, noise)
        spline.fill_missing(level, noise)
        self._level, self._noise = np.empty_like(level), np.empty_like(noise)
        spline.filtered(level, filter_width, self._level)
        spline.filtered(noise, filter_width, self._noise)
        self.globalback = _median(self._level)
        self.globalrms = _global_noise(self._noise)
        self._level_bends, self._noise_bends = np.empty_like(level), np.empty_like(noise)
        spline.column_bends(self._level, self._level_bends)
        spline.column_bends(self._noise, self._noise_bends)
        self._along = np.zeros(data.shape[1], dtype=np.float32)
        self._below = np.zeros(data.shape[1], dtype=np.int64)
        spline.places(data.shape[1], width, columns, self._along, self._below)

    def subtracted(self, data: Image) -> Image:
        """Return data without the background."""
        result: Image = np.empty(self._shape, dtype=np.float32)
        spline.subtract_map(image(data), self._level, self._level_bends, self._width, self._along, self._below, result)
        return result

    def at(self, rows: _Indices, columns: _Indices) -> npt.NDArray[np.float32]:
        """Return the background of single pixels within the image."""
        height, width = self._shape
        if not ((rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)).all():
            raise IndexError("a place is not in the image")
        values = np.zeros(len(rows), dtype=np.float32)
        rows, columns = np.ascontiguousarray(rows, np.int64), np.ascontiguousarray(columns, np.int64)
        spline.map_at(self._level, self._level_bends, self._width, self._along, self._below, rows, columns, values)
        return values

    def back(self) -> Image:
        """Return the background of every pixel."""
        return self._map(self._level, self._level_bends, math.nan)

    def rms(self) -> Image:
        """Return the noise of every pixel, as the spline has it."""
        return self._map(self._noise, self._noise_bends, math.nan)

    def noise(self) -> Image:
        """Return the noise of every pixel; the global one where the spline is not above 0."""
        return self._map(self._noise, self._noise_bends, self.globalrms)

    def _map(self, cells: Image, bends: Image, instead: float) -> Image:
        result: Image = np.empty(self._shape, dtype=np.float32)
        spline.fill_map(cells, bends, self._width, self._along, self._below, np.float32(instead), result)
        return result


def _median(values: Image) -> float:
    """Median in single precision (`fqmedian` of SEP)."""
    ordered = np.sort(values, axis=None)
    n = len(ordered)
    if n % 2:
        return float(ordered[n // 2])
    return float(np.float32(np.float64(ordered[n // 2 - 1] + ordered[n // 2]) / 2.0))


def _global_noise(noise: Image) -> float:
    """Median of the cells' noise; where that is 0, of those above 0 (end of `filterback` of SEP)."""
    found = _median(noise)
    if found > 0.0 or math.isnan(found):
        return found
    above = noise[noise > 0]
    return _median(above) if len(above) else 1.0
