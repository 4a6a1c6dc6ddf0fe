"""What an extraction asks of the code that measures pixels, and who can be asked: SEP, or compiled kernels."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from kira.extraction.buffers import Buffers
from kira.extraction.measuring import Bools, Flags, Floats
from kira.extraction.noise import Image
from kira.extraction.profile import Profile
from kira.extraction.survey_profile import SurveyProfile
from kira.frames import Frame

Segments = npt.NDArray[np.int32]
Indices = npt.NDArray[np.int64]
Shape = tuple[Floats, Floats, Floats, Floats, Floats]
"""x, y, a and b in pixels and theta in radians of n sources, each of shape (n,)."""


class Background(Protocol):
    """The first pass of the background."""

    @property
    def globalback(self) -> float:
        """Global level."""

    @property
    def globalrms(self) -> float:
        """Global rms."""

    def subtracted(self, data: Image) -> Image:
        """Return a copy of data without the background."""

    def at(self, rows: Indices, columns: Indices) -> npt.NDArray[np.float32]:
        """Return the background of single pixels."""

    def noise(self) -> Image:
        """Return the rms at every pixel; the global one where the spline through the cells swings below 0."""


class Sky(Protocol):
    """The second pass of the background."""

    def at(self, rows: Indices, columns: Indices) -> npt.NDArray[np.float32]:
        """Return what it adds to the first, at single pixels."""


class Engine(Protocol):
    """Measurements of pixels. A mask is True where a pixel must not be used, and None where there is no such pixel."""

    def without_value(self, data: Image) -> Bools | None:
        """Pixels whose number is none (`kira.extraction.noise.without_value`)."""

    def usable(self, frame: Frame) -> tuple[Bools | None, Image | None]:
        """Return the mask of a frame (`kira.extraction.noise.unusable`), and the noise that it knows of its pixels."""

    def quantum(self, frame: Frame) -> float:
        """Return the step of a frame's numbers (`kira.extraction.detection.quantum`)."""

    def background(self, data: Image, mask: Bools | None, profile: Profile, dither: float) -> Background:
        """Estimate the background (`kira.extraction.detection.subtract_background`)."""

    def detect(
        self, pixels: Image, mask: Bools | None, rms: float | Image, profile: Profile, *, segments: bool = False
    ) -> tuple[npt.NDArray[np.void], Segments | None, Buffers]:
        """Detect and deblend (`kira.extraction.detection.detect`)."""

    def remaining_sky(
        self, pixels: Image, segments: Segments, mask: Bools | None, rms: Image, profile: SurveyProfile
    ) -> Sky:
        """Estimate what is left of the background, and subtract it in place (`kira.extraction.background`)."""

    def pixel_noise(self, frame: Frame, known: Image | None, pixels: Image, rms: Image, mask: Bools | None) -> Image:
        """Return the noise of every pixel (`kira.extraction.noise`); that and the pixel in place are 0 where masked."""

    def kron_radius(self, pixels: Image, mask: Bools | None, shape: Shape, reach: float) -> tuple[Floats, Flags]:
        """Kron radii, in units of the axes, within ellipses of so many axes."""

    def sum_ellipse(
        self, pixels: Image, noise: Image | float, mask: Bools | None, shape: Shape, scale: Floats, subpix: int
    ) -> tuple[Floats, Floats, Flags]:
        """Fluxes, errors and flags of ellipses, `scale` times the axes."""

    def sum_circles(
        self, pixels: Image, noise: Image | float, mask: Bools | None, x: Floats, y: Floats, radii: Floats, subpix: int
    ) -> tuple[Floats, Floats, Flags]:
        """Fluxes, errors and flags in circles of m radii around n places, of shape (n, m).

        NaN, and the flag NOT_MEASURED, where a place or radius is no number.
        """

    def light_radii(
        self, pixels: Image, mask: Bools | None, x: Floats, y: Floats, reach: Floats, fractions: Floats, flux: Floats
    ) -> tuple[Floats, Flags]:
        """Radii that hold fractions of a flux, of shape (n, m), from curves of growth up to `reach`."""

    def windowed(
        self, pixels: Image, mask: Bools | None, x: Floats, y: Floats, sigma: Floats
    ) -> tuple[Floats, Floats, Flags]:
        """Windowed positions."""

    def window_sums(self, pixels: Image, noise: Image, x: Floats, y: Floats, sigma: Floats, valid: Bools) -> Floats:
        """Sums over Gaussian windows, shape (4, n) (`kira.extraction.windowed.window_sums`)."""

    def isophotal_errors(
        self, segments: Segments, noise: Image, x: Floats, y: Floats, light: Floats
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """Errors from sources' own pixels (`kira.extraction.segments.isophotal_errors`)."""

    def touched(self, segments: Segments, marked: Bools | None, n: int) -> Bools:
        """Which sources have a marked pixel (`kira.extraction.segments.touched`)."""

    def owned_inside(self, segments: Segments, shape: Shape, scale: Floats) -> Floats:
        """Count the pixels of any source in ellipses, those whose centres are inside."""


def engine_of(profile: Profile) -> Engine:
    """Return the engine that a profile names."""
    if profile.engine == "fast":
        from kira.extraction.compiled import ready  # compiled code takes its time to be loaded

        ready()
        from kira.extraction.fast.engine import FastEngine

        return FastEngine()
    from kira.extraction.sep_engine import SepEngine

    return SepEngine()
