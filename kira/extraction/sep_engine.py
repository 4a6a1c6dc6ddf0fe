"""SEP, and NumPy for what SEP has not: the engine that the other is held against."""

from typing import Any

import numpy as np
import numpy.typing as npt
import sep

from kira.extraction.background import remaining_sky
from kira.extraction.buffers import Buffers
from kira.extraction.detection import detect, dithered, quantum
from kira.extraction.engine import Background, Indices, Segments, Shape, Sky
from kira.extraction.measuring import Bools, Flags, Floats, measure_valid
from kira.extraction.noise import Image, pixel_noise, unusable, without_value
from kira.extraction.profile import Profile
from kira.extraction.segments import isophotal_errors, touched
from kira.extraction.survey_profile import SurveyProfile
from kira.extraction.windowed import window_sums
from kira.frames import Frame

_GROWTH_SUBPIX = 5


class SepBackground:
    """`sep.Background`."""

    def __init__(self, found: Any) -> None:
        self._found = found
        self.globalback, self.globalrms = float(found.globalback), float(found.globalrms)
        self._level: Image | None = None

    def subtracted(self, data: Image) -> Image:
        """See `Background`."""
        pixels = data.copy()
        self._found.subfrom(pixels)
        return pixels

    def at(self, rows: Indices, columns: Indices) -> npt.NDArray[np.float32]:
        """See `Background`."""
        if self._level is None:
            self._level = self._found.back()
        values: npt.NDArray[np.float32] = self._level[rows, columns]
        return values

    def noise(self) -> Image:
        """See `Background`."""
        rms: Image = self._found.rms()
        rms[~(rms > 0)] = self.globalrms
        return rms


class SepSky:
    """A map of the second pass."""

    def __init__(self, sky: Image) -> None:
        self._sky = sky

    def at(self, rows: Indices, columns: Indices) -> npt.NDArray[np.float32]:
        """See `Sky`."""
        values: npt.NDArray[np.float32] = self._sky[rows, columns]
        return values


class SepEngine:
    """See `kira.extraction.engine.Engine`."""

    def without_value(self, data: Image) -> Bools | None:
        """See `Engine`."""
        return _or_none(without_value(data))

    def usable(self, frame: Frame) -> tuple[Bools | None, Image | None]:
        """See `Engine`."""
        return _or_none(unusable(frame)), frame.noise

    def quantum(self, frame: Frame) -> float:
        """See `Engine`."""
        return quantum(frame)

    def background(self, data: Image, mask: Bools | None, profile: Profile, dither: float) -> Background:
        """See `Engine`."""
        mesh, median = profile.mesh, profile.mesh_filter
        estimated = dithered(data, dither) if dither > 0 else data
        return SepBackground(sep.Background(estimated, mask=mask, bw=mesh, bh=mesh, fw=median, fh=median))

    def detect(
        self, pixels: Image, mask: Bools | None, rms: float | Image, profile: Profile, *, segments: bool = False
    ) -> tuple[npt.NDArray[np.void], Segments | None, Buffers]:
        """See `Engine`."""
        return detect(pixels, mask, rms, profile, segments=segments)

    def remaining_sky(
        self, pixels: Image, segments: Segments, mask: Bools | None, rms: Image, profile: SurveyProfile
    ) -> Sky:
        """See `Engine`."""
        sky = remaining_sky(pixels, segments, mask, rms, profile.mesh, profile.mesh_filter, profile.background_growth)
        pixels -= sky
        return SepSky(sky)

    def pixel_noise(self, frame: Frame, known: Image | None, pixels: Image, rms: Image, mask: Bools | None) -> Image:
        """See `Engine`."""
        noise = known if known is not None else pixel_noise(frame, pixels, rms)
        if mask is not None:
            pixels[mask] = 0.0
            noise = np.where(mask, np.float32(0.0), noise)
        return noise

    def kron_radius(self, pixels: Image, mask: Bools | None, shape: Shape, reach: float) -> tuple[Floats, Flags]:
        """See `Engine`."""
        radius, flags = sep.kron_radius(pixels, *shape, reach, mask=mask)
        return radius, flags

    def sum_ellipse(
        self, pixels: Image, noise: Image | float, mask: Bools | None, shape: Shape, scale: Floats, subpix: int
    ) -> tuple[Floats, Floats, Flags]:
        """See `Engine`."""
        flux, error, flags = sep.sum_ellipse(pixels, *shape, scale, err=noise, mask=mask, subpix=subpix)
        return flux, error, flags

    def sum_circles(
        self, pixels: Image, noise: Image | float, mask: Bools | None, x: Floats, y: Floats, radii: Floats, subpix: int
    ) -> tuple[Floats, Floats, Flags]:
        """See `Engine`."""
        shape = len(x), len(radii)
        x, y, r = np.repeat(x, len(radii)), np.repeat(y, len(radii)), np.tile(radii, len(x))
        valid = np.isfinite(x) & np.isfinite(y) & np.isfinite(r)
        flux, error, flags = measure_valid(
            valid, lambda x, y, r: sep.sum_circle(pixels, x, y, r, err=noise, mask=mask, subpix=subpix), [x, y, r]
        )
        return flux.reshape(shape), error.reshape(shape), flags.reshape(shape)

    def light_radii(
        self, pixels: Image, mask: Bools | None, x: Floats, y: Floats, reach: Floats, fractions: Floats, flux: Floats
    ) -> tuple[Floats, Flags]:
        """See `Engine`."""
        radii, flags = sep.flux_radius(pixels, x, y, reach, fractions, normflux=flux, mask=mask, subpix=_GROWTH_SUBPIX)
        return radii, flags

    def windowed(
        self, pixels: Image, mask: Bools | None, x: Floats, y: Floats, sigma: Floats
    ) -> tuple[Floats, Floats, Flags]:
        """See `Engine`."""
        x, y, flags = sep.winpos(pixels, x, y, sigma, mask=mask)
        return x, y, flags

    def window_sums(self, pixels: Image, noise: Image, x: Floats, y: Floats, sigma: Floats, valid: Bools) -> Floats:
        """See `Engine`."""
        return window_sums(pixels, noise, x, y, sigma, valid)

    def isophotal_errors(
        self, segments: Segments, noise: Image, x: Floats, y: Floats, light: Floats
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """See `Engine`."""
        return isophotal_errors(segments, noise, x, y, light)

    def touched(self, segments: Segments, marked: Bools | None, n: int) -> Bools:
        """See `Engine`."""
        return touched(segments, marked, n)

    def owned_inside(self, segments: Segments, shape: Shape, scale: Floats) -> Floats:
        """See `Engine`."""
        inside, _, _ = sep.sum_ellipse((segments > 0).astype(np.float32), *shape, scale, subpix=1)
        number: Floats = inside
        return number


def _or_none(mask: Bools) -> Bools | None:
    return mask if mask.any() else None
