"""Staged frames as pictures and as a histogram: read, stretched, made small, and kept for those who ask next.

Rows of a picture go down and rows of a frame go up: its first row is the picture's last one.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.visualization import AsinhStretch, ZScaleInterval, make_lupton_rgb
from PIL import Image, ImageDraw, ImageFont

from kira.errors import BadFrame, InvalidInput, KiraError
from kira.frames import Frame, read_frame
from kira.frames.staged import plain_of
from kira.pages.kept import Kept
from kira.pages.missing import NotThere
from kira.sdss import Band, FrameId
from kira.sdss.archive import SDSS
from kira.sdss.quoting import one_line, quoted
from kira.stages.places import staged_path
from kira.storage import Store

Stretch = Literal["asinh", "zscale", "minmax"]
STRETCHES: tuple[Stretch, ...] = get_args(Stretch)
SCALES = (1, 2, 4)
"""Frame's pixels that are one of the picture's, along each side."""
COLOURS: dict[str, tuple[Band, Band, Band]] = {"irg": ("i", "r", "g"), "zir": ("z", "i", "r"), "rgu": ("r", "g", "u")}
"""Bands that are shown red, green and blue."""

_FRAMES_BYTES, _PICTURES_BYTES = 6 * 13_000_000, 64_000_000
_JPEG_QUALITY = 85
"""The noise of a frame at full size, or of three bands, makes a PNG of 2 MB and more."""
_SOFTENING = 0.1
"""Of the asinh stretch: linear below this part of the range, logarithmic above."""
_LOW, _LEAST_HIGH, _HIGH = 3.0, 25.0, 99.8
"""The asinh stretch shows from 3 noises below the median to the 99.8th percentile, or 25 noises above the median."""
_EVERY = 4
"""Pixel in so many along each side by which levels are judged."""
_SIGMA = 1.4826
"""Standard deviation of a normal distribution in median deviations."""
_COLOUR_STRETCH, _COLOUR_Q = 12.0, 8.0
"""Of Lupton et al. (2004): the linear range, in units of the noise of the middle band, and how soft the rest is."""

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


class NotStaged(NotThere):
    """A frame's file is not on the staging store."""


@dataclass(frozen=True)
class Picture:
    """A picture as it is served.

    Parameters
    ----------
    content : bytes
    kind : str
        Its media type.
    """

    content: bytes
    kind: str

    @property
    def ending(self) -> str:
        """Of a file's name."""
        return "jpg" if self.kind == "image/jpeg" else "png"


@dataclass(frozen=True)
class Shift:
    """By how much a band of a colour picture was moved.

    Parameters
    ----------
    band : str
    columns, rows : int
        Whole pixels.
    left : float
        Pixels by which it is still off, at most, over the middle and the corners of the frame.
    """

    band: str
    columns: int
    rows: int
    left: float


@dataclass(frozen=True)
class Colour:
    """A colour picture with what was done for it."""

    picture: Picture
    shifts: tuple[Shift, ...]
    synthetic: bool


@dataclass(frozen=True)
class Histogram:
    """How many pixels have which value.

    Parameters
    ----------
    low, high : float
        Range that is shown, in the unit of the pixels.
    counts : tuple of int
        Of equal parts of it.
    below, above, without : int
        Pixels outside of it, and those without a value.
    least, most, median, noise : float
        Of all pixels; `noise` is 1.4826 median deviations.
    unit : str
    synthetic : bool
    """

    low: float
    high: float
    counts: tuple[int, ...]
    below: int
    above: int
    without: int
    least: float
    most: float
    median: float
    noise: float
    unit: str
    synthetic: bool


@dataclass(frozen=True)
class Card:
    """One line of a FITS header."""

    keyword: str
    value: str
    comment: str


class Pixels:
    """What is on the staging store, for pages.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._frames: Kept[Frame] = Kept(_FRAMES_BYTES, lambda frame: frame.data.nbytes)
        self._pictures: Kept[Picture] = Kept(_PICTURES_BYTES, lambda picture: len(picture.content))
        self._colours: Kept[Colour] = Kept(_PICTURES_BYTES // 4, lambda colour: len(colour.picture.content))

    def frame(self, archive: str, frame: FrameId) -> Frame:
        """Read a staged frame; one that is not as it should be is read as any image, to be looked at.

        Raises
        ------
        NotStaged
            If its file is not there (any more).
        BadFrame
            If there is no image in it.
        StorageError
            If the store refuses.
        """
        path, version = self._there(archive, frame)
        return self._frames((path, version), lambda: _read(plain_of(self.store.read(path), path), frame))

    def picture(self, archive: str, frame: FrameId, stretch: Stretch, scale: int) -> Picture:
        """Picture of a staged frame.

        Parameters
        ----------
        archive : str
        frame : FrameId
        stretch : {"asinh", "zscale", "minmax"}
        scale : {1, 2, 4}
            Pixels to one, by their mean. At full size it is a JPEG, else a PNG.

        Raises
        ------
        NotStaged, BadFrame, StorageError
            As `frame`.
        """
        key = (*self._there(archive, frame), stretch, scale)
        return self._pictures(key, lambda: _picture(self.frame(archive, frame), stretch, scale))

    def colour(self, archive: str, frames: Sequence[FrameId], scale: int) -> Colour:
        """Colour picture of three bands of a field, which are shown red, green and blue.

        By Lupton et al. (2004, PASP 116, 133) as in astropy. Each band less its median, in nanomaggies where its file
        says how; the first and the last are moved by whole pixels, as the WCS at the middle of the field tells.

        Raises
        ------
        NotStaged, BadFrame, StorageError
            As `frame`, of the first that cannot be read.
        """
        key = (*(self._there(archive, frame) for frame in frames), scale)
        return self._colours(key, lambda: _colour([self.frame(archive, frame) for frame in frames], scale))

    def histogram(self, archive: str, frame: FrameId) -> Histogram:
        """Histogram of a staged frame; raises as `frame`."""
        return histogram_of(self.frame(archive, frame))

    def header(self, archive: str, frame: FrameId) -> list[tuple[str, list[Card]]]:
        """All cards of all headers of a staged file, with a title for each; raises as `frame`."""
        path, _ = self._there(archive, frame)
        return cards_of(plain_of(self.store.read(path), path), frame.plain_name)

    def missing(self, archive: str, frame: FrameId) -> str:
        """Why there are no pixels to show; empty where the file is there."""
        try:
            self._there(archive, frame)
        except KiraError as error:
            return str(error)
        return ""

    def _there(self, archive: str, frame: FrameId) -> tuple[str, str]:
        path = staged_path(replace(SDSS, name=archive), frame)
        if self.store.size(path) is None:
            raise NotStaged(
                f"{frame} of archive {archive} is not on the staging store {self.store.url} (any more): there are no "
                "pixels to show. What the ledger and the catalogue know of it is on this page all the same."
            )
        with self.store.open(path) as file:
            return path, f"{file.size}-{file.version}"


def stretch_of(text: str) -> Stretch:
    """Stretch of its name; InvalidInput if there is none."""
    for one in STRETCHES:
        if one == text:
            return one
    raise InvalidInput(f"A stretch is one of {', '.join(STRETCHES)}, not {quoted(text)}.")


def _read(content: bytes, frame: FrameId) -> Frame:
    try:
        return read_frame(content, frame)
    except BadFrame:
        return read_frame(content, None)


def _usable(data: Floats) -> Floats:
    usable: Floats = data[::_EVERY, ::_EVERY]
    usable = usable[np.isfinite(usable)]
    return usable if usable.size else data[np.isfinite(data)]


def level_of(usable: Floats) -> tuple[float, float]:
    """Median, and 1.4826 median deviations."""
    median = float(np.median(usable))
    return median, _SIGMA * float(np.median(np.abs(usable - median)))


def stretched(data: Floats, stretch: Stretch, scale: int) -> Bytes:
    """Values of a picture.

    Parameters
    ----------
    data : numpy.ndarray of float32, shape (rows, columns)
        Pixels without a value become black.
    stretch : {"asinh", "zscale", "minmax"}
        Linear between zscale's limits; asinh of the range that is said above; linear between the least and
        the largest value.
    scale : int

    Returns
    -------
    numpy.ndarray of uint8, shape (rows // scale, columns // scale)
        The frame's first row first.
    """
    usable = _usable(data)
    low, high = ZScaleInterval().get_limits(usable) if usable.size else (0.0, 1.0)
    if stretch == "minmax":
        finite = data[np.isfinite(data)]
        low, high = float(finite.min()), float(finite.max())
    elif stretch == "asinh" and usable.size:
        level, noise = level_of(usable)
        low, high = level - _LOW * noise, max(level + _LEAST_HIGH * noise, float(np.percentile(usable, _HIGH)))
    small = binned(data, scale)
    span = float(high) - float(low)
    part = np.clip(np.nan_to_num((small - np.float32(low)) / np.float32(span if span > 0 else 1.0)), 0, 1)
    if stretch == "asinh":
        part = AsinhStretch(_SOFTENING)(part, clip=False)
    values: Bytes = (part * 255 + 0.5).astype(np.uint8)
    return values


def binned(data: Floats, scale: int) -> Floats:
    """Means of squares of pixels; what is left over at the far edges is left out."""
    if scale == 1:
        return data
    rows, columns = (max(1, n // scale) for n in data.shape)
    whole = data[: rows * scale, : columns * scale]
    if whole.shape != (rows * scale, columns * scale):  # smaller than one square
        return data
    means: Floats = sum(
        whole[i::scale, j::scale] for i in range(scale) for j in range(scale)
    ) / np.float32(scale**2)  # type: ignore[assignment]  # fmt: skip
    return means


def _picture(frame: Frame, stretch: Stretch, scale: int) -> Picture:
    return _encoded(stretched(frame.data, stretch, scale), synthetic=frame.synthetic, jpeg=scale == 1)


def _encoded(values: Bytes, *, synthetic: bool, jpeg: bool) -> Picture:
    image = Image.fromarray(np.ascontiguousarray(values[::-1]))
    if synthetic:
        # In the picture itself: it may be saved and passed on.
        size = max(10, image.height // 30)
        draw, place = ImageDraw.Draw(image), (size // 2, image.height - 2 * size)
        font = ImageFont.load_default(size)
        draw.rectangle(draw.textbbox(place, "synthetic", font=font), fill=0 if image.mode == "L" else (0, 0, 0))
        draw.text(place, "synthetic", font=font, fill=255 if image.mode == "L" else (255, 255, 255))
    out = io.BytesIO()
    if jpeg:
        image.save(out, "JPEG", quality=_JPEG_QUALITY)
        return Picture(out.getvalue(), "image/jpeg")
    image.save(out, "PNG")
    return Picture(out.getvalue(), "image/png")


def shift_between(middle: Frame, other: Frame, band: str) -> Shift:
    """By how many whole pixels another band lies beside the middle one, and how far it is off then.

    Parameters
    ----------
    middle, other : Frame
        Both with a WCS.
    band : str
        Of the other.
    """
    rows, columns = middle.shape
    x = np.array([(columns - 1) / 2, 0, columns - 1, 0, columns - 1], dtype=np.float64)
    y = np.array([(rows - 1) / 2, 0, 0, rows - 1, rows - 1], dtype=np.float64)
    ra, dec = middle.sky_positions(x, y)
    there: Any = other.wcs
    dx, dy = (found - own for found, own in zip(there.all_world2pix(ra, dec, 0), (x, y), strict=True))
    by_x, by_y = round(float(dx[0])), round(float(dy[0]))
    return Shift(band, by_x, by_y, float(np.hypot(dx - by_x, dy - by_y).max()))


def moved(data: Floats, columns: int, rows: int) -> Floats:
    """An image whose pixel (y, x) is the other's (y + rows, x + columns); 0 where that has none."""
    result = np.zeros_like(data)
    height, width = data.shape
    if abs(columns) < width and abs(rows) < height:
        to_y, to_x = slice(max(0, -rows), height - max(0, rows)), slice(max(0, -columns), width - max(0, columns))
        from_y, from_x = (slice(max(0, rows), height - max(0, -rows)),
                          slice(max(0, columns), width - max(0, -columns)))  # fmt: skip
        result[to_y, to_x] = data[from_y, from_x]
    return result


def _colour(frames: Sequence[Frame], scale: int) -> Colour:
    middle = frames[1]
    for frame in frames:
        if frame.wcs is None or frame.id is None or frame.shape != middle.shape:
            raise BadFrame(f"{frame.name} is not as a frame should be: it cannot be part of a colour picture.")
    shifts, planes = [], []
    for frame in frames:
        shift = shift_between(middle, frame, str(frame.band))
        shifts.append(shift)
        usable = _usable(frame.data)
        level, noise = level_of(usable)
        noise = noise or 1.0
        above = np.nan_to_num(frame.data - np.float32(level))
        planes.append((binned(moved(above, shift.columns, shift.rows), scale), frame.nmgy, noise))
    calibrated = all(np.isfinite(nmgy) for _, nmgy, _ in planes)
    units = [nmgy if calibrated else 1 / noise for _, nmgy, noise in planes]
    linear = _COLOUR_STRETCH * planes[1][2] * units[1]
    values = make_lupton_rgb(
        *(plane * np.float32(unit) for (plane, _, _), unit in zip(planes, units, strict=True)),
        minimum=-0.1 * linear, stretch=linear, Q=_COLOUR_Q,
    )  # fmt: skip
    synthetic = any(frame.synthetic for frame in frames)
    return Colour(_encoded(values, synthetic=synthetic, jpeg=True), tuple(shifts), synthetic)


def histogram_of(frame: Frame, parts: int = 120) -> Histogram:
    """Histogram of a frame's pixels, from 8 noises below the median to 40 above."""
    finite = frame.data[np.isfinite(frame.data)]
    usable = _usable(frame.data)
    median, noise = level_of(usable)
    least, most = float(finite.min()), float(finite.max())
    low, high = (max(least, median - 8 * noise), min(most, median + 40 * noise)) if noise > 0 else (least, most)
    if not high > low:
        low, high = low - 0.5, low + 0.5
    counts, _ = np.histogram(finite, parts, (low, high))
    below, above = int((finite < np.float32(low)).sum()), int((finite > np.float32(high)).sum())
    return Histogram(
        low, high, tuple(int(n) for n in counts), below, above, int(frame.data.size - finite.size), least, most,
        median, noise, frame.bunit, frame.synthetic,
    )  # fmt: skip


def cards_of(content: bytes, name: str) -> list[tuple[str, list[Card]]]:
    """Cards of a plain FITS file, HDU by HDU, each as it can be read: what a header holds is text of others.

    Raises
    ------
    BadFrame
        If it is not FITS.
    """
    try:
        with fits.open(io.BytesIO(content), memmap=False, lazy_load_hdus=False) as hdus:
            return [
                (
                    one_line(f"HDU {number}" + (f", {hdu.name}" if hdu.name else "")),
                    [_card(c) for c in hdu.header.cards],
                )
                for number, hdu in enumerate(hdus)
            ]
    except Exception as error:
        # astropy raises OSError, TypeError, ValueError, VerifyError and more on damaged input.
        raise BadFrame(
            f"{name}: its header cannot be read ({type(error).__name__}: {one_line(str(error))})."
        ) from error


def _card(card: Any) -> Card:
    try:
        keyword, value, comment = str(card.keyword), card.value, str(card.comment)
    except Exception:  # noqa: BLE001 - a card that is none is shown as it stands
        return Card("", one_line(str(card.image)), "cannot be read")
    text = {True: "T", False: "F"}[value] if isinstance(value, bool) else str(value)
    return Card(one_line(keyword), one_line(text), one_line(comment))
