"""The engine of compiled kernels."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from kira.extraction.buffers import Buffers
from kira.extraction.engine import Segments, Shape
from kira.extraction.fast import apertures, growth, ownership, windows
from kira.extraction.fast import pixels as frames
from kira.extraction.fast.arrays import NO_IMAGE, NO_MASK, column, image, mask_bytes
from kira.extraction.fast.background import Background
from kira.extraction.fast.detection import extract
from kira.extraction.fast.sky import RemainingSky
from kira.extraction.measuring import Bools, Flags, Floats
from kira.extraction.noise import Image
from kira.extraction.profile import Profile
from kira.extraction.survey_profile import SurveyProfile
from kira.frames import Frame
from kira.frames.noise import line_places

_GROWTH_SUBPIX = 5


class FastEngine:
    """See `kira.extraction.engine.Engine`."""

    def without_value(self, data: Image) -> Bools | None:
        """See `Engine`."""
        return _marked(data, None, None)

    def usable(self, frame: Frame) -> tuple[Bools | None, Image | None]:
        """See `Engine`."""
        noise = _known_noise(frame)
        return _marked(frame.data, frame.mask, noise), noise

    def quantum(self, frame: Frame) -> float:
        """See `Engine`."""
        if frames.whole_numbers(image(frame.data)):
            return 1.0
        return frame.nmgy_per_count if frame.nmgy_per_count > 0 else 0.0

    def background(self, data: Image, mask: Bools | None, profile: Profile, dither: float) -> Background:
        """See `Engine`."""
        return Background(data, mask, profile.mesh, profile.mesh_filter, dither)

    def detect(
        self, pixels: Image, mask: Bools | None, rms: float | Image, profile: Profile, *, segments: bool = False
    ) -> tuple[npt.NDArray[np.void], Segments | None, Buffers]:
        """See `Engine`; nothing of it has limits."""
        found, owner = extract(pixels, profile.threshold, rms, mask, profile)
        return found, owner if segments else None, Buffers.of(profile)

    def remaining_sky(
        self, pixels: Image, segments: Segments, mask: Bools | None, rms: Image, profile: SurveyProfile
    ) -> RemainingSky:
        """See `Engine`."""
        sky = RemainingSky.measured(
            pixels, segments, mask, rms, profile.mesh, profile.mesh_filter, profile.background_growth
        )
        sky.subtract_from(pixels)
        return sky

    def pixel_noise(self, frame: Frame, known: Image | None, pixels: Image, rms: Image, mask: Bools | None) -> Image:
        """See `Engine`."""
        noise = known if known is not None else rms
        if known is None and math.isfinite(frame.gain) and frame.gain > 0:
            noise = np.empty_like(pixels)
            frames.photon_noise(pixels, image(rms), np.float32(frame.gain), noise)
        if mask is None:
            return noise
        result = np.empty_like(pixels)
        frames.blank(pixels, image(noise), mask_bytes(mask), result)
        return result

    def kron_radius(self, pixels: Image, mask: Bools | None, shape: Shape, reach: float) -> tuple[Floats, Flags]:
        """See `Engine`."""
        radius, flags = np.empty(len(shape[0])), np.empty(len(shape[0]), dtype=np.int32)
        x, y, a, b, theta = map(column, shape)
        apertures.kron_radii(image(pixels), mask_bytes(mask), x, y, a, b, theta, reach, radius, flags)
        return radius, flags

    def sum_ellipse(
        self, pixels: Image, noise: Image | float, mask: Bools | None, shape: Shape, scale: Floats, subpix: int
    ) -> tuple[Floats, Floats, Flags]:
        """See `Engine`."""
        n = len(scale)
        flux, error, flags = np.empty(n), np.empty(n), np.empty(n, dtype=np.int32)
        everywhere, variance = _variance(noise)
        x, y, a, b, theta, r = map(column, (*shape, scale))
        apertures.sum_ellipses(
            image(pixels), everywhere, variance, mask_bytes(mask), x, y, a, b, theta, r, subpix, flux, error, flags
        )
        return flux, error, flags

    def sum_circles(
        self, pixels: Image, noise: Image | float, mask: Bools | None, x: Floats, y: Floats, radii: Floats, subpix: int
    ) -> tuple[Floats, Floats, Flags]:
        """See `Engine`."""
        n = len(x), len(radii)
        flux, error, flags = np.empty(n), np.empty(n), np.empty(n, dtype=np.int32)
        places = column(x), column(y), column(radii)
        apertures.sum_circles(image(pixels), *_variance(noise), mask_bytes(mask), *places, subpix, flux, error, flags)
        return flux, error, flags

    def light_radii(
        self, pixels: Image, mask: Bools | None, x: Floats, y: Floats, reach: Floats, fractions: Floats, flux: Floats
    ) -> tuple[Floats, Flags]:
        """See `Engine`."""
        radii, flags = np.empty((len(x), len(fractions))), np.empty(len(x), dtype=np.int32)
        x, y, reach, fractions, flux = map(column, (x, y, reach, fractions, flux))
        growth.light_radii(image(pixels), mask_bytes(mask), x, y, reach, fractions, flux, _GROWTH_SUBPIX, radii, flags)
        return radii, flags

    def windowed(
        self, pixels: Image, mask: Bools | None, x: Floats, y: Floats, sigma: Floats
    ) -> tuple[Floats, Floats, Flags]:
        """See `Engine`."""
        n = len(x)
        x_win, y_win, flags = np.empty(n), np.empty(n), np.empty(n, dtype=np.int32)
        windows.windowed_positions(
            image(pixels), mask_bytes(mask), column(x), column(y), column(sigma), x_win, y_win, flags
        )
        return x_win, y_win, flags

    def window_sums(self, pixels: Image, noise: Image, x: Floats, y: Floats, sigma: Floats, valid: Bools) -> Floats:
        """See `Engine`."""
        sums = np.empty((4, len(x)))
        chosen = mask_bytes(valid).reshape(1, -1)
        windows.window_sums(image(pixels), image(noise), column(x), column(y), column(sigma), chosen, sums)
        return sums

    def isophotal_errors(
        self, segments: Segments, noise: Image, x: Floats, y: Floats, light: Floats
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """See `Engine`."""
        sums = np.zeros((len(x), 4))
        ownership.owned_variances(_owners(segments), image(noise), column(x), column(y), sums)
        with np.errstate(divide="ignore", invalid="ignore"):
            norm = np.where(light > 0, 1.0 / light**2, np.nan)
        return sums[:, 0], sums[:, 1] * norm, sums[:, 2] * norm, sums[:, 3] * norm

    def touched(self, segments: Segments, marked: Bools | None, n: int) -> Bools:
        """See `Engine`."""
        found = np.zeros(n + 1, dtype=np.uint8)
        if marked is not None:
            ownership.mark_touched(_owners(segments), mask_bytes(marked), found)
        return found[1:].view(np.bool_)

    def owned_inside(self, segments: Segments, shape: Shape, scale: Floats) -> Floats:
        """See `Engine`."""
        number = np.empty(len(scale))
        x, y, a, b, theta = map(column, shape)
        ownership.owned_inside(_owners(segments), x, y, a, b, theta, column(scale), number)
        return number


def _variance(noise: Image | float) -> tuple[Any, np.float32]:
    """Return a map of the noise, or an empty one and the variance that stands for all pixels."""
    if isinstance(noise, np.ndarray):
        return image(noise), np.float32(0.0)
    return NO_IMAGE, np.float32(noise * noise)


def _owners(segments: Segments) -> Segments:
    return np.ascontiguousarray(segments, dtype=np.int32)


def _marked(data: Image, mask: Bools | None, noise: Image | None) -> Bools | None:
    result = np.empty(data.shape, dtype=np.uint8)
    number = frames.mark_unusable(
        image(data), NO_MASK if mask is None else mask_bytes(mask), NO_IMAGE if noise is None else image(noise), result
    )
    return result.view(np.bool_) if number else None


def _known_noise(frame: Frame) -> Image | None:
    """Return `Frame.noise`, without the temporary arrays that it takes."""
    data, gain, dark = frame.data, frame.gain, frame.dark_variance
    if frame.noise_source == "none" or "noise" in vars(frame):  # nothing to compute, or done
        return frame.noise
    noise = np.empty(data.shape, dtype=np.float32)
    per_gain = np.float32(1.0 / gain)
    if frame.calibration != "frame":
        frames.count_noise(image(data), np.float32(frame.softbias), per_gain, np.float32(dark), noise)
        return noise
    if frame.column_calibration is None or frame.sky_grid is None:
        return None
    vector = np.where(frame.column_calibration > 0, frame.column_calibration, np.float32(np.nan))
    sky = frame.sky_grid.at_columns()
    places = line_places(sky, frame.sky_grid.y)
    frames.nanomaggy_noise(image(data), vector, image(sky), *places, per_gain, np.float32(dark), noise)
    return noise
