"""The sources of one frame, from the one file of the catalogue that holds them, and how they are drawn and told."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kira.catalog.kinds import is_survey
from kira.catalog.magnitudes import pogson_magnitude
from kira.catalog.published import Published
from kira.catalog.query import Query
from kira.catalog.search import search_frames
from kira.errors import KiraError, StorageError
from kira.extraction.flags import Flag, meanings
from kira.ledger import Outcome
from kira.ledger.whereabouts import Whereabouts
from kira.pages.missing import NotThere
from kira.picture import ellipses_of, kinds_of
from kira.sdss import Numbers
from kira.stages.extraction import MANIFEST, OUTCOMES, Measured
from kira.storage import Entry, Manifest, Store, StoredFile
from kira.storage.ranged import RangedFile

KINDS = ("good", "doubtful", "saturated")
"""As `kira.picture.kinds_of` numbers them."""
MOST = 10_000
"""Sources that a page draws, the brightest first; M2, a globular cluster, has 6,442."""
_LEAST_TO_FIT = 4
_ARCSEC = 3600.0

Floats = npt.NDArray[np.float64]


class NoSources(NotThere):
    """There is no file with the sources of a frame."""


@dataclass(frozen=True)
class Result:
    """What the batch of a frame left: manifest's entry, what extraction said, and where.

    Parameters
    ----------
    folder : str
        Below the staging root.
    published : bool
        Whether it is that of the catalogue.
    entry : Entry
    measured : Measured or None
    batch, run : str
        The batch, and the DAG run that planned it.
    """

    folder: str
    published: bool
    entry: Entry | None
    measured: Measured | None
    batch: str
    run: str


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Make one sentence of a file that is not what it should be."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        if isinstance(error, KiraError):
            raise
        raise StorageError(f"{what} cannot be read ({type(error).__name__}): it is not as Kira writes it.") from error


def result_of(store: Store, place: Whereabouts) -> Result:
    """Find what the batch of a frame left: the published one, else the one that has it.

    Raises
    ------
    NoSources
        If there is none yet.
    StorageError
        If the store refuses, or what is there cannot be read.
    """
    frame = str(place.frame)
    for batch, published in ((place.published_batch, True), (place.batch, False)):
        if not batch:
            continue
        head = Manifest(batch, place.archive, str(place.frame.release), place.profile, "", "", ())
        folder = head.published if published else head.extracted
        if store.exists(f"{folder}/{MANIFEST}"):
            with readable(store.uri(folder)):
                manifest = store.read(f"{folder}/{MANIFEST}")
                run = str(json.loads(manifest[: manifest.index(b"\n")])["run"])
                entry = row_of(manifest, frame)
                measured = row_of(store.read(f"{folder}/{OUTCOMES}"), frame)
                return Result(
                    folder, published, Entry.from_json(entry) if entry else None,
                    Measured(**measured) if measured else None, batch, run,
                )  # fmt: skip
    raise NoSources(f"{frame} has no result of extraction in catalogue {place.profile}: it has not come that far.")


def row_of(lines: bytes, frame: str) -> dict[str, Any] | None:
    """Row of a frame in a file of JSON lines.

    A batch has up to some thousand frames, and of these files all that is read is one row.
    """
    name, at = f'"{frame}"'.encode(), -1
    while (at := lines.find(name, at + 1)) >= 0:
        end = lines.find(b"\n", at)
        row = json.loads(lines[lines.rfind(b"\n", 0, at) + 1 : end if end >= 0 else None])
        if row["frame"] == frame:
            return dict(row)
    return None


class _OneFile:
    """A catalogue of one file: the only one that has to be opened."""

    def __init__(self, store: Store, folder: str, part: str) -> None:
        self.url = store.uri(folder)
        self._store, self._folder, self._part = store, folder, part

    def uri(self, path: str) -> str:
        return f"{self.url}/{path.rpartition('/')[2]}"

    def top(self) -> list[StoredFile]:
        return [StoredFile("batch=", 0, True)]

    def listing(self, path: str) -> list[StoredFile]:  # noqa: ARG002 - there is one
        return [StoredFile(self._part, 0, False)]

    def open(self, path: str) -> RangedFile:
        return self._store.open(f"{self._folder}/{path.rpartition('/')[2]}")


def sources_of(store: Store, place: Whereabouts) -> tuple[pa.Table, Result]:
    """All rows of a frame, with all columns, in the order of detection.

    Raises
    ------
    NoSources
        If there are none: not extracted, failed, or without any source.
    InvalidInput, StorageError
        If the file is damaged, or the store refuses.
    """
    result = result_of(store, place)
    frame, measured = place.frame, result.measured
    if measured is None or not Outcome(measured.outcome).good:
        why = measured.reason if measured else "its batch says nothing of it"
        raise NoSources(f"{frame} has no sources: {why}")
    if not measured.part:
        raise NoSources(f"{frame} was measured, and no source was found in it.")
    one = Numbers(((frame.run, frame.run),)), Numbers(((frame.camcol,) * 2,)), Numbers(((frame.field,) * 2,))
    catalogue = Published(_OneFile(store, result.folder, measured.part))
    table = search_frames(catalogue, Query(*one, bands=(frame.band,)))
    same = pc.equal(table["rerun"], pa.scalar(frame.rerun, table["rerun"].type))
    return table.filter(same).combine_chunks(), result


# -- how they are drawn


def _numbers(table: pa.Table, name: str) -> Floats:
    values: Floats = pc.fill_null(table[name].cast(pa.float64()), np.nan).to_numpy()
    return values


def jacobian_of(table: pa.Table) -> tuple[Floats, Floats]:
    """How the sky lies on the pixels, from the sources themselves: the frame need not be there any more.

    Right ascension and declination, projected on the plane that touches the sky at their mean (Calabretta & Greisen
    2002, section 5.1.3), are fitted as linear in x and y, which those of a TAN WCS are.

    Returns
    -------
    jacobian : numpy.ndarray of float64, shape (2, 2)
        Arcsec to the east and to the north (rows) of that plane, for a pixel along x and along y; NaN where there are
        too few sources.
    turn : numpy.ndarray of float64, shape (n,)
        Radians by which north at each source is turned against north of the plane, towards the east.
    """
    ra, dec, x, y = (_numbers(table, name) for name in ("ra", "dec", "x", "y"))
    good = np.isfinite(ra) & np.isfinite(dec) & np.isfinite(x) & np.isfinite(y)
    if good.sum() < _LEAST_TO_FIT:
        return np.full((2, 2), np.nan), np.zeros(len(ra))
    first = ra[good][0]
    offset = (ra - first + 180) % 360 - 180
    middle, dec0 = float(np.mean(offset[good])), float(np.mean(np.radians(dec[good])))
    east, d = np.radians(offset - middle), np.radians(dec)
    below = np.sin(dec0) * np.sin(d) + np.cos(dec0) * np.cos(d) * np.cos(east)
    xi = np.cos(d) * np.sin(east) / below
    eta = (np.cos(dec0) * np.sin(d) - np.sin(dec0) * np.cos(d) * np.cos(east)) / below
    design = np.column_stack([x, y, np.ones_like(x)])[good]
    fit, _, rank, _ = np.linalg.lstsq(design, np.column_stack([xi, eta])[good], rcond=None)
    jacobian = np.degrees(fit[:2].T) * _ARCSEC if rank == 3 else np.full((2, 2), np.nan)
    return jacobian, -east * np.sin(dec0)


def on_pixels(table: pa.Table) -> tuple[Floats, Floats, Floats]:
    """Rms axes in pixels, and the angle from the x axis in radians, of sources of the schema for surveys.

    What `kira.catalog.survey` does with a frame's WCS, undone; see `jacobian_of`.
    """
    a, b, angle = (_numbers(table, name) for name in ("a", "b", "position_angle"))
    jacobian, turn = jacobian_of(table)
    if not np.isfinite(jacobian).all() or abs(np.linalg.det(jacobian)) < 1e-9:
        return a / 0.396, b / 0.396, np.zeros(len(a))
    direction = np.radians(angle) + turn
    along = np.linalg.solve(jacobian, np.stack([np.sin(direction), np.cos(direction)]))
    theta = np.arctan2(along[1], along[0])
    across = jacobian @ np.stack([-np.sin(theta), np.cos(theta)])
    return a * np.hypot(*along), b / np.hypot(*across), (theta + np.pi / 2) % np.pi - np.pi / 2


def as_measured(table: pa.Table) -> npt.NDArray[np.void]:
    """Columns that `kira.picture` draws by, in pixels, whichever schema the table has."""
    names = [name for name in ("flags", "flags_auto", "flag_extract", "flag_kron", "flag_ellipse") if name in
             table.column_names]  # fmt: skip
    scale = "auto_scale" if "auto_scale" in table.column_names else "kron_radius"
    made = np.zeros(table.num_rows, dtype=[(name, "f8") for name in ("a", "b", "theta", scale)] +
                    [(name, "i8") for name in names])  # fmt: skip
    made[scale] = _numbers(table, scale)
    for name in names:
        made[name] = pc.fill_null(table[name], 0).to_numpy()
    a, b, theta = on_pixels(table) if is_survey(table.schema) else (
        _numbers(table, "a"), _numbers(table, "b"), _numbers(table, "theta"))  # fmt: skip
    made["a"], made["b"], made["theta"] = a, b, theta
    return made


# -- how they are told


def flag_words(value: int) -> str:
    """Flag bits as words; `none` without any."""
    known = [str(flag.name).replace("_", " ").lower() for flag in Flag if value & flag]
    rest = value & ~sum(Flag)
    return ", ".join([*known, *([f"unknown bits {rest:#x}"] if rest else [])]) or "none"


@dataclass(frozen=True)
class Shown:
    """Sources as a page shows them, the brightest first.

    Parameters
    ----------
    labels : tuple of str
        Of the texts.
    drawn : list of list of float
        For each: number, x, y, semi-axes (pixels) and angle (radians) of the AUTO ellipse, kind (see `KINDS`).
    texts : list of list of str
    total : int
        Of the frame, of which these are the brightest.
    """

    labels: tuple[str, ...]
    drawn: list[list[float]]
    texts: list[list[str]]
    total: int
    published: bool
    synthetic: bool


_LABELS = ("number", "x, y [pix]", "RA, Dec [deg]", "magnitude", "flux", "half-light radius", "own field", "flags")


def shown(table: pa.Table, result: Result, most: int = MOST) -> Shown:
    """Sources as a page shows them.

    Magnitudes are the AUTO ellipse's: asinh magnitudes of the schema for surveys; of `kira`'s, where pixels are
    nanomaggies, Pogson's.

    Parameters
    ----------
    table : pyarrow.Table
    result : Result
    most : int
        So many of the brightest.
    """
    survey = is_survey(table.schema)
    flux, error = ("flux_auto", "fluxerr_auto") if survey else ("flux_ellipse", "fluxerr_ellipse")
    order = np.argsort(-np.nan_to_num(_numbers(table, flux), nan=-np.inf), kind="stable")[:most]
    total, table = table.num_rows, table.take(pa.array(order))
    measured = as_measured(table)
    kinds, (major, minor) = kinds_of(measured), ellipses_of(measured)
    unit = (table.schema.field(flux).metadata or {}).get(b"unit", b"").decode()
    columns = {name: _numbers(table, name) for name in ("number", "x", "y", "ra", "dec", flux, error)}
    magnitude, its_error = _magnitudes(table, columns[flux], columns[error], unit)
    half = _numbers(table, "r50") if survey else np.full(len(kinds), np.nan)
    own = table["primary"].to_pylist() if survey else [None] * len(kinds)
    drawn, texts = [], []
    bits = np.zeros(len(kinds), dtype=np.int64)
    for name in measured.dtype.names or ():
        bits |= measured[name] if name.startswith("flag") else 0
    for i, kind in enumerate(kinds):
        number, x, y = (float(columns[name][i]) for name in ("number", "x", "y"))
        shape = (major[i] / 2, minor[i] / 2, measured["theta"][i])
        drawn.append([int(number), round(x, 2), round(y, 2), *(round(float(np.nan_to_num(v)), 3) for v in shape),
                      int(kind)])  # fmt: skip
        texts.append([
            f"{number:.0f}", f"{x:.2f}, {y:.2f}", f"{columns['ra'][i]:.6f}, {columns['dec'][i]:+.6f}",
            _with_error(magnitude[i], its_error[i], "mag", 3),
            _with_error(columns[flux][i], columns[error][i], unit, 2),
            _with_error(half[i], np.nan, "arcsec", 2), {None: "not said", True: "yes", False: "no"}[own[i]],
            flag_words(int(bits[i])),
        ])  # fmt: skip
    return Shown(_LABELS, drawn, texts, total, result.published, bool(result.measured and result.measured.synthetic))


def _magnitudes(table: pa.Table, flux: Floats, error: Floats, unit: str) -> tuple[Floats, Floats]:
    if "mag_auto" in table.column_names:
        return _numbers(table, "mag_auto"), _numbers(table, "magerr_auto")
    if unit == "nmgy":
        return pogson_magnitude(flux, error)
    return np.full(len(flux), np.nan), np.full(len(flux), np.nan)


def _with_error(value: Any, error: Any, unit: str, digits: int) -> str:
    if not np.isfinite(value):
        return "not known"
    told = f"{value:.{digits}f}" + (f" ± {error:.{digits}f}" if np.isfinite(error) else "")
    return f"{told} {unit}".strip()


def flag_legend() -> list[tuple[str, str]]:
    """All flag bits in words, and what they say."""
    return [(flag_words(flag), said) for flag, said in meanings().items()]
