"""The pixels of a drift-scan strip, one field after the other, as the detector gives them."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from kira.sample.camera import (
    COLUMN_OFFSET,
    COLUMNS,
    FIELD_ROWS,
    FIELD_STEP,
    ROW_OFFSET,
    SATURATION,
    SOFTBIAS,
    Detector,
)
from kira.sample.optics import MARGIN, Psf, draw
from kira.sample.population import Sources, patch
from kira.sample.spec import SampleSpec, Stream
from kira.sdss import Band

Floats = NDArray[np.float64]

_OVERLAP = FIELD_ROWS - FIELD_STEP
_COSMIC_RAYS = 4.0
"""Mean number in a patch. SDSS interpolates over those it finds; these are the ones that it missed."""


def patches(spec: SampleSpec, camcol: int) -> Iterator[tuple[int, Sources]]:
    """Field number and sources of every patch whose light reaches the strip.

    That is the fields' own patches, and of the one before and the one after what lies near enough.
    """
    first, last = spec.field_numbers[0], spec.field_numbers[-1]
    for field in range(first - 1, last + 2):
        sources = patch(spec, camcol, field)
        if field < first:
            sources = sources[sources.row >= FIELD_STEP - MARGIN]
        if field > last:
            sources = sources[sources.row < _OVERLAP + MARGIN]
        yield field, sources


def strip_fields(spec: SampleSpec, camcol: int, band: Band) -> Iterator[tuple[int, NDArray[np.uint16]]]:
    """Field number and pixels of every field of a strip, in order.

    Yields
    ------
    field : int
    pixels : ndarray of uint16, shape (1489, 2048)
        DN with the software bias of 1000 and the sky, as in an fpC frame. The last 128 rows of a field are the first
        128 of the next.
    """
    previous: NDArray[np.uint16] | None = None
    for field, pixels in _patch_pixels(spec, camcol, band):
        if previous is not None:
            yield field - 1, np.vstack((previous, pixels[:_OVERLAP]))
        previous = pixels


def _patch_pixels(spec: SampleSpec, camcol: int, band: Band) -> Iterator[tuple[int, NDArray[np.uint16]]]:
    """Field number and pixels, shape (1361, 2048), of each field's patch, and a part of the one after the last."""
    detector = Detector(spec, camcol, band)
    waiting: tuple[int, Floats, Floats] | None = None
    for field, sources in patches(spec, camcol):
        light = draw(
            sources,
            sources.flux[:, detector.band_index] / detector.nanomaggies_per_count * detector.gain,
            (ROW_OFFSET[band], COLUMN_OFFSET[band]),
            Psf(detector.seeing(field)),
            spec.seed_of(Stream.PHOTONS, spec.run, camcol, detector.band_index, field),
        )
        if waiting is not None:
            # Each patch's light reaches into its neighbour by MARGIN rows.
            number, *held = waiting
            for before, now in zip(held, (light.expected, light.counted), strict=True):
                before[FIELD_STEP - MARGIN : FIELD_STEP] += now[:MARGIN]
                now[MARGIN : 2 * MARGIN] += before[FIELD_STEP:]
            if number >= spec.first_field:
                yield number, expose(detector, number, held[0][:FIELD_STEP], held[1][:FIELD_STEP])
        waiting = field, light.expected[MARGIN:], light.counted[MARGIN:]
    assert waiting is not None  # noqa: S101 (a strip has three patches at least)
    number, expected, counted = waiting
    yield number, expose(detector, number, expected[: _OVERLAP + MARGIN], counted[: _OVERLAP + MARGIN])


def expose(detector: Detector, field: int, expected: Floats, counted: Floats) -> NDArray[np.uint16]:
    """Turn the light of a patch into the numbers that the camera writes.

    Poisson noise of sky and bright sources (faint ones were counted photon by photon), cosmic rays, Gaussian noise of
    the amplifier, charge that overflows the full well into the pixels above and below, software bias, whole numbers of
    16 bits.

    Parameters
    ----------
    detector : Detector
    field : int
        Whose patch it is.
    expected, counted : ndarray of float64, shape (rows, 2048)
        Electrons of the bright sources (mean) and of the faint ones (counted).

    Returns
    -------
    ndarray of uint16, shape (rows, 2048)
        DN. The first rows of a patch are the same however many are asked for.
    """
    seed = detector.spec.seed_of(Stream.DETECTOR, detector.spec.run, detector.camcol, detector.band_index, field)
    photons, amplifier, rays = (np.random.default_rng(s) for s in seed.spawn(3))
    rows = np.arange(len(expected), dtype=np.float64) + FIELD_STEP * field
    sky = detector.sky(rows, np.arange(COLUMNS, dtype=np.float64))
    electrons = photons.poisson(expected * detector.response + sky * detector.gain) + counted * detector.response
    _strike(rays, electrons)
    full_well = SATURATION[detector.band] * detector.gain
    _bleed(electrons, full_well)
    dn = electrons / detector.gain
    dn += np.sqrt(detector.dark_variance) * amplifier.standard_normal(dn.shape, dtype=np.float32)
    np.minimum(dn, SATURATION[detector.band], out=dn)
    return np.clip(np.rint(dn + SOFTBIAS), 0, 65_535).astype(np.uint16)


def _strike(random: np.random.Generator, electrons: Floats) -> None:
    """Add a few cosmic rays: straight tracks of 1 to 12 pixels, some hundred to thousand electrons in each."""
    height, width = electrons.shape
    for _ in range(int(random.poisson(_COSMIC_RAYS))):
        row, col, angle = random.uniform(0, FIELD_STEP), random.uniform(0, width), random.uniform(0, np.pi)
        steps = np.arange(int(random.integers(1, 13)))
        rows = np.floor(row + steps * np.sin(angle)).astype(int)
        cols = np.floor(col + steps * np.cos(angle)).astype(int)
        inside = (rows < height) & (cols >= 0) & (cols < width)
        charge = np.rint(random.lognormal(6.5, 0.6, len(steps)))
        np.add.at(electrons, (rows[inside], cols[inside]), charge[inside])


def _bleed(electrons: Floats, full_well: float) -> None:
    """Let charge beyond the full well run along its column, half of it either way, until there is room."""
    for col in np.flatnonzero((electrons > full_well).any(axis=0)):
        column = electrons[:, col]
        excess = np.clip(column - full_well, 0.0, None)
        column -= excess
        for direction in (1, -1):
            _spill(column[::direction], excess[::direction] / 2, full_well)


def _spill(column: Floats, excess: Floats, full_well: float) -> None:
    """Carry excess charge forward along one column; what reaches the end is lost."""
    carried = 0.0
    last = int(np.flatnonzero(excess)[-1])
    for row in range(int(np.flatnonzero(excess)[0]), len(column)):
        carried += float(excess[row])
        taken = min(max(full_well - float(column[row]), 0.0), carried)
        column[row] += taken
        carried -= taken
        if row > last and carried <= 0.0:
            break


def field_sky(detector: Detector, field: int) -> Floats:
    """Sky level (DN) of every pixel of a field, without the software bias, shape (1489, 2048)."""
    rows = np.arange(FIELD_ROWS, dtype=np.float64) + FIELD_STEP * field
    return detector.sky(rows, np.arange(COLUMNS, dtype=np.float64))
