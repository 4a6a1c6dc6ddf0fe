"""Images made for a test: noise, and round Gaussian sources of known place, flux and width."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.wcs import WCS

from kira.frames import Frame

Image = npt.NDArray[np.float32]
SIGMA = 1.5
"""Of the point spread function, pixels."""
SCALE = 0.396
"""Arcsec a pixel."""


class NoisyFrame(Frame):
    """A frame that knows the noise of its pixels: the square root of `variance`."""

    variance: Any = 1.0

    @property
    def noise(self) -> Image | None:
        return np.sqrt(np.broadcast_to(self.variance, self.shape)).astype(np.float32)


def tan_wcs() -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cdelt = ["RA---TAN", "DEC--TAN"], [-SCALE / 3600, SCALE / 3600]
    wcs.wcs.crval, wcs.wcs.crpix = [150.0, 2.0], [100.5, 100.5]
    return wcs


def sources(places: Iterable[tuple[float, ...]], shape: tuple[int, int] = (200, 300)) -> npt.NDArray[np.float64]:
    """Light of sources: x, y, flux, and where it is not `SIGMA` their sigma; no noise."""
    data = np.zeros(shape)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for x0, y0, flux, *sigma in places:
        s2 = (sigma[0] if sigma else SIGMA) ** 2
        data += flux / (2 * np.pi * s2) * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * s2))
    return data


def frame_of(
    places: Iterable[tuple[float, ...]], shape: tuple[int, int] = (200, 300), seed: int = 7, **facts: Any
) -> Frame:
    """Noise of rms 1 around 100, and sources."""
    data = np.random.default_rng(seed).normal(100, 1, shape) + sources(places, shape)
    return Frame(None, data.astype(np.float32), tan_wcs(), **facts)
