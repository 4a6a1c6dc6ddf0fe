"""The frames of a batch, each held against its reference: which objects were found, where, and how bright."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from kira.catalog.survey import FIRST_PRIMARY, LAST_PRIMARY
from kira.errors import InvalidInput
from kira.frames.frame import COLUMNS, ROWS
from kira.sdss import BANDS, Band
from kira.validation.batch import Batch
from kira.validation.reference import Recovery
from kira.validation.references import EDGE, Kind, Reference, References, place_of

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

_ARCSEC = 3600.0
_CELL = 0.5
"""Arcsec; the shift of a frame is first looked for in cells of this size."""
_FEWEST_FOR_PLACE = 10
"""Sources of a frame from which the sky of its edges is told."""
_STEP = 0.5
"""Magnitudes from one bin of completeness to the next."""
_FEWEST_IN_BIN = 10


@dataclass(frozen=True, eq=False)
class Compared:
    """A frame and its reference; arrays are of the reference's objects within the frame, n of them.

    Parameters
    ----------
    frame : int
        Place of the frame among those that were expected.
    reference : Reference
        Its objects within the frame.
    row : numpy.ndarray of int64, shape (n,)
        Row of the catalogue that is the object; -1 where it was not found.
    east, north : numpy.ndarray of float64, shape (n,)
        Offset of the catalogue from the reference, arcsec; NaN where it was not found, or is too faint for a position.
    difference : numpy.ndarray of float64, shape (n,)
        Magnitude of the catalogue minus that of the reference; NaN where it says nothing of the zero-point.
    bright : numpy.ndarray of bool, shape (n,)
        Stars that should be found: not spoilt, and brighter than the limit by a margin.
    known, asked : int
        Sources of the catalogue that the reference has at any magnitude, of those that it was asked for: away from the
        edges. Both 0 where a reference does not list all that there is.
    """

    frame: int
    reference: Reference
    row: Ints
    east: Floats
    north: Floats
    difference: Floats
    bright: Bools
    known: int
    asked: int

    @property
    def found(self) -> Bools:
        """Which objects were found."""
        return self.row >= 0


@dataclass(frozen=True, eq=False)
class Comparisons:
    """All frames of a batch that have a reference.

    Parameters
    ----------
    batch : Batch
    frames : tuple of Compared
    unusable : tuple of (int, str)
        Frames whose reference is of another field, or cannot be read, and a sentence about it; it was not used.
    column : str
        Flux or magnitude that was compared; empty where the catalogue has none that is calibrated.
    """

    batch: Batch
    frames: tuple[Compared, ...]
    unusable: tuple[tuple[int, str], ...]
    column: str

    @cached_property
    def bands(self) -> Mapping[Band, tuple[Compared, ...]]:
        """Compared frames by band, in the order u g r i z; bands without any are left out."""
        found: dict[Band, list[Compared]] = {band: [] for band in BANDS}
        for one in self.frames:
            found[self.batch.expected[one.frame].frame.band].append(one)
        return {band: tuple(ones) for band, ones in found.items() if ones}


def compare(batch: Batch, references: References) -> Comparisons:
    """Hold every frame of a batch against its reference.

    A frame may be shifted as a whole by up to `search_radius`: the shift that most pairs of bright objects agree on is
    taken off before they are matched within `match_radius`, and is part of the offsets. So what is shifted is found,
    and a wrong position does not look like a missing source.

    Parameters
    ----------
    batch : Batch
    references : mapping or callable
        Of frames to references. An `InvalidInput` that a callable raises costs the frame its reference, no more.
    """
    asked = references.get if isinstance(references, Mapping) else references
    column = _column(batch)
    compared, unusable = [], []
    for i, expected in enumerate(batch.expected):
        try:
            reference = asked(expected.frame)
        except InvalidInput as error:
            unusable.append((i, str(error)))
            continue
        if reference is None:
            continue
        if reference.field not in (None, place_of(expected.frame)):
            unusable.append((i, f"{reference.name} is of another field, and was not used"))
            continue
        there = _within(batch, i, reference)
        if there is not None:
            compared.append(_compare(batch, i, there, column))
    return Comparisons(batch, tuple(compared), tuple(unusable), column)


def _column(batch: Batch) -> str:
    """The first of the columns to compare that is there and in nanomaggies, or a magnitude."""
    names = batch.table.column_names
    for name in batch.thresholds.zero_point_columns:
        if name in names and _error_column(name) in names:
            # Of kind `kira` fluxes are counts to DR7.
            counts = not batch.survey and any(e.frame.release.number < 8 for e in batch.expected)
            return "" if counts else name
    return ""


def _error_column(name: str) -> str:
    """Name of the error of a flux or magnitude: `fluxerr_auto` of `flux_auto`."""
    kind, _, rest = name.partition("_")
    return f"{kind}err_{rest}"


def _within(batch: Batch, frame: int, reference: Reference) -> Reference | None:
    """Objects of a reference within a frame; None where that cannot be told."""
    if reference.field is not None:
        return reference
    rows = batch.rows_of(frame)
    ra, dec = batch.column("ra")[rows], batch.column("dec")[rows]
    rows = rows[np.isfinite(ra) & np.isfinite(dec) & (abs(dec) <= 90)]
    if len(rows) < _FEWEST_FOR_PLACE:
        return None
    middle = float(batch.column("ra")[rows[0]]), float(np.median(batch.column("dec")[rows]))
    near = 1.0 / 3  # degrees: twice a frame's radius
    wide = min(near / max(np.cos(np.radians(middle[1])), 1e-3), 180.0)
    cut = reference.within(((middle[0] - wide) % 360, (middle[0] + wide) % 360), (middle[1] - near, middle[1] + near))
    place = _pixels(batch, rows, middle, cut)
    if place is None:
        return None
    x, y = place
    return cut[(x > EDGE) & (x < COLUMNS - 1 - EDGE) & (y > EDGE) & (y < ROWS - 1 - EDGE)]


def _pixels(
    batch: Batch, rows: Ints, middle: tuple[float, float], reference: Reference
) -> tuple[Floats, Floats] | None:
    """Pixels of a reference's objects, by the straight line that the frame's own sources follow; good to a pixel."""
    own = plane(batch.column("ra")[rows], batch.column("dec")[rows], middle)
    pixels = np.column_stack([batch.column("x")[rows], batch.column("y")[rows]])
    good = np.isfinite(own).all(axis=1) & np.isfinite(pixels).all(axis=1)
    design = np.column_stack([own[good], np.ones(int(good.sum()))])
    solution, _, rank, _ = np.linalg.lstsq(design, pixels[good], rcond=None)
    if rank < design.shape[1]:
        return None
    place = np.column_stack([plane(reference.ra, reference.dec, middle), np.ones(len(reference))]) @ solution
    return place[:, 0], place[:, 1]


def plane(ra: Floats, dec: Floats, middle: tuple[float, float]) -> Floats:
    """Project onto the plane that touches the sky at a point (gnomonic).

    Parameters
    ----------
    ra, dec : numpy.ndarray of float64, shape (n,)
        Degrees.
    middle : tuple of float
        The point, degrees.

    Returns
    -------
    numpy.ndarray of float64, shape (n, 2)
        East and north, arcsec; NaN beyond the horizon.
    """
    finite = np.isfinite(ra) & np.isfinite(dec)
    a, d = np.radians(np.where(finite, ra - middle[0], np.nan)), np.radians(np.where(finite, dec, np.nan))
    d0 = np.radians(middle[1])
    depth = np.sin(d0) * np.sin(d) + np.cos(d0) * np.cos(d) * np.cos(a)
    east = np.cos(d) * np.sin(a)
    north = np.cos(d0) * np.sin(d) - np.sin(d0) * np.cos(d) * np.cos(a)
    return np.degrees(np.column_stack([east, north]) / np.where(depth > 0, depth, np.nan)[:, None]) * _ARCSEC


def _compare(batch: Batch, frame: int, reference: Reference, column: str) -> Compared:
    limits, band = batch.thresholds, batch.expected[frame].frame.band
    rows = batch.rows_of(frame)
    magnitude = reference.magnitudes.get(band, np.full(len(reference), np.nan))
    bright = reference.counted & (magnitude < limits.limits[band] - limits.bright_margin)
    n = len(reference)
    found, east, north = np.full(n, -1, dtype=np.int64), np.full(n, np.nan), np.full(n, np.nan)
    known = asked = 0
    if n and len(rows):
        middle = float(reference.ra[0]), float(np.median(reference.dec))
        theirs = plane(reference.ra, reference.dec, middle)
        ours = plane(batch.column("ra")[rows], batch.column("dec")[rows], middle)
        shift = _shift(theirs[bright], ours, limits.search_radius)
        which, offset = nearest_of(theirs, ours - shift, limits.match_radius)
        found = np.where(which >= 0, rows[which], -1)
        placed = bright & (which >= 0)
        east[placed], north[placed] = (offset + shift)[placed].T
        if reference.kind in _WHOLE and n >= limits.min_matches:
            inside = _away_from_edges(batch, rows)
            known = int((nearest_of(ours[inside] - shift, theirs, limits.match_radius)[0] >= 0).sum())
            asked = int(inside.sum())
    difference = _difference(batch, found, magnitude, band, column)
    difference[~reference.calibrators.get(band, np.zeros(n, dtype=bool))] = np.nan
    return Compared(frame, reference, found, east, north, difference, bright & reference.is_star, known, asked)


_WHOLE = (Kind.PHOTO_OBJ, Kind.TRUTH)
"""References that list all that there is in a field, also what is faint or extended."""


def _away_from_edges(batch: Batch, rows: Ints) -> Bools:
    """Which sources are in the field's own part of the overlap, of which photoObj tells, and off its columns' edges."""
    x, y = batch.column("x")[rows], batch.column("y")[rows]
    inside: Bools = (x > EDGE) & (x < COLUMNS - 1 - EDGE) & (y >= FIRST_PRIMARY) & (y < LAST_PRIMARY)
    return inside


def _difference(batch: Batch, row: Ints, magnitude: Floats, band: Band, column: str) -> Floats:
    """Magnitudes of the catalogue minus those of a reference, where both are good; NaN elsewhere."""
    result = np.full(len(row), np.nan)
    if not column:
        return result
    limits = batch.thresholds
    ours, error = magnitudes(batch, row, column)
    low, high = limits.zero_point_magnitudes[band]
    good = (row >= 0) & (magnitude > low) & (magnitude < high) & (batch.column(_DETECTION[batch.survey])[row] == 0)
    good &= np.isfinite(ours) & (error < limits.max_flux_error)
    result[good] = (ours - magnitude)[good]
    return result


def magnitudes(batch: Batch, rows: Ints, column: str) -> tuple[Floats, Floats]:
    """Magnitudes of some rows by a column of fluxes (nmgy) or of magnitudes, and their errors.

    Parameters
    ----------
    batch : Batch
    rows : numpy.ndarray of int64, shape (n,)
    column : str

    Returns
    -------
    magnitude : numpy.ndarray of float64, shape (n,)
        NaN where there is none.
    error : numpy.ndarray of float64, shape (n,)
        That of a flux relative to it, which for a small one is the same but for a factor of 1.09.
    """
    value, error = batch.column(column)[rows], batch.column(_error_column(column))[rows]
    if not column.startswith("flux"):
        return value, error
    positive = np.where(value > 0, value, np.nan)
    return 22.5 - 2.5 * np.log10(positive), error / positive


_DETECTION = {False: "flag_extract", True: "flags"}
"""Flag bits of the source itself, by whether the catalogue is of kind `survey`."""


def _pairs(first: Floats, second: Floats, radius: float) -> tuple[Ints, Ints]:
    """Indices of all pairs of points, one of each side, that are within a radius in both coordinates."""
    usable = np.flatnonzero(np.isfinite(second).all(axis=1))
    order = usable[np.argsort(second[usable, 1], kind="stable")]
    heights = second[order, 1]
    low, high = np.searchsorted(heights, first[:, 1] - radius), np.searchsorted(heights, first[:, 1] + radius, "right")
    number = np.maximum(high - low, 0)
    one = np.repeat(np.arange(len(first)), number)
    step = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
    other = order[np.repeat(low, number) + step]
    near = abs(first[one, 0] - second[other, 0]) <= radius
    return one[near], other[near]


def _shift(theirs: Floats, ours: Floats, radius: float) -> Floats:
    """Shift of a frame as a whole that most pairs agree on, arcsec east and north; 0 where they do not."""
    one, other = _pairs(theirs, ours, radius)
    if not len(one):
        return np.zeros(2)
    apart = ours[other] - theirs[one]
    cells = int(np.ceil(2 * radius / _CELL))
    counted, east, north = np.histogram2d(apart[:, 0], apart[:, 1], bins=cells, range=[[-radius, radius]] * 2)
    padded = np.pad(counted, 1)
    # A peak may lie on the line between two cells.
    around = sum(padded[i : i + cells, j : j + cells] for i in range(3) for j in range(3))
    peak = np.unravel_index(int(np.argmax(around)), counted.shape)
    centre = np.array([east[peak[0]], north[peak[1]]]) + _CELL / 2
    near = apart[(abs(apart - centre) <= 1.5 * _CELL).all(axis=1)]
    if len(near) < 3:
        return np.zeros(2)
    middle = np.median(near, axis=0)
    return np.asarray(middle)


def nearest_of(theirs: Floats, ours: Floats, radius: float) -> tuple[Ints, Floats]:
    """For each of theirs the nearest of ours.

    Parameters
    ----------
    theirs, ours : numpy.ndarray of float64, shape (n, 2) and (m, 2)
        On a plane; a point that is not finite is near to none.
    radius : float

    Returns
    -------
    which : numpy.ndarray of int64, shape (n,)
        Index of ours; -1 where none is within the radius.
    offset : numpy.ndarray of float64, shape (n, 2)
        Ours minus theirs; NaN where there is none.
    """
    which, offset = np.full(len(theirs), -1, dtype=np.int64), np.full((len(theirs), 2), np.nan)
    one, other = _pairs(theirs, ours, radius)
    apart = ours[other] - theirs[one]
    distance = np.hypot(*apart.T)
    # The nearest is written last.
    order = np.argsort(-distance, kind="stable")
    order = order[distance[order] <= radius]
    which[one[order]], offset[one[order]] = other[order], apart[order]
    return which, offset


# -- what a band's frames say together


def recoveries(frames: tuple[Compared, ...], band: Band) -> list[Recovery]:
    """How many of the reference's stars were found, by magnitude in steps of half a magnitude."""
    frames = tuple(one for one in frames if band in one.reference.magnitudes)
    if not frames:
        return []
    magnitude = np.concatenate([one.reference.magnitudes[band][_points(one)] for one in frames])
    found = np.concatenate([one.found[_points(one)] for one in frames])
    known = np.isfinite(magnitude)
    magnitude, found = magnitude[known], found[known]
    if not len(magnitude):
        return []
    low, high = (_STEP * np.floor(edge / _STEP) for edge in (magnitude.min(), magnitude.max()))
    edges = np.arange(low, high + 1.5 * _STEP, _STEP)
    there, got = np.histogram(magnitude, edges)[0], np.histogram(magnitude[found], edges)[0]
    bins = zip(pairwise(edges), got, there, strict=True)
    return [Recovery(float(a), float(b), int(f), int(n)) for (a, b), f, n in bins if n]


def _points(one: Compared) -> Bools:
    return one.reference.is_star & one.reference.counted


def depth(bins: list[Recovery], fraction: float) -> float:
    """Magnitude at which a fraction of the stars is found, between the centres of two bins.

    Bins are joined until they hold 10 stars. The fainter of the two is the one behind the faintest bin in which so many
    are found: a bright bin with an odd star does not count. NaN where it cannot be told: no bin has so many, or all
    have.
    """
    joined: list[Recovery] = []
    for one in bins:
        if joined and joined[-1].there < _FEWEST_IN_BIN:
            last = joined.pop()
            joined.append(Recovery(last.brighter, one.fainter, last.found + one.found, last.there + one.there))
        else:
            joined.append(one)
    if joined and joined[-1].there < _FEWEST_IN_BIN:
        joined.pop()
    good = [i for i, one in enumerate(joined) if one.fraction >= fraction]
    if not good or good[-1] + 1 == len(joined):
        return float("nan")
    (m0, f0), (m1, f1) = (((one.brighter + one.fainter) / 2, one.fraction) for one in joined[good[-1] : good[-1] + 2])
    return m0 + (f0 - fraction) / (f0 - f1) * (m1 - m0)


def bright_found(frames: tuple[Compared, ...]) -> tuple[int, int]:
    """How many of the bright stars were found, and how many there are."""
    return sum(int((one.bright & one.found).sum()) for one in frames), sum(int(one.bright.sum()) for one in frames)


def spurious_part(frames: Sequence[Compared]) -> float:
    """Part of the sources that their references do not have; NaN where none was asked for."""
    asked = sum(one.asked for one in frames)
    return 1 - sum(one.known for one in frames) / asked if asked else float("nan")
