"""What a catalogue is held against: SDSS's own objects, a catalogue in a file, or the truth of a synthetic sample.

Bytes in, value out. Magnitudes are 22.5 - 2.5 log10(flux / nanomaggy), which is SDSS's system.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from kira.errors import InvalidInput
from kira.frames.frame import COLUMNS, ROWS
from kira.frames.integrity import FITS_MAGIC
from kira.frames.structure import Irregular, Table, read_hdus
from kira.sdss import BANDS, Band, FrameId

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Place = tuple[int, int, int]
"""Run, camcol and field."""

EDGE = 20
"""Pixels from a frame's edge within which a source is not asked for: bands lie up to 14 pixels apart (fpC headers)."""

_FIELD_STEP = ROWS - 128
_ZONE = 0.25
"""Degrees; about the height of a frame."""
_BRIGHT, _FLAG_EDGE, _SATURATED = 1 << 1, 1 << 2, 1 << 18
"""Bits of photo's flags (www.sdss4.org/dr17/algorithms/flags_detail): found in the pass for the brightest objects, too
near the edge to be measured, and with a saturated pixel."""
_LAST_UNRESOLVED_MODE = 2
"""photoObj's MODE: 1 primary, 2 secondary (another run is primary), 3 a parent that was deblended, 4 outside."""
_STAR = 6
_PARQUET, _MOST_MAGNITUDE = b"PAR1", 40.0

_RA = ("ra", "raj2000", "_raj2000", "ra_icrs", "ra_deg", "ramean", "radeg", "right_ascension")
_DEC = ("dec", "dej2000", "_dej2000", "de_icrs", "dec_icrs", "dec_deg", "decmean", "decdeg", "declination")
_MAGNITUDE = ("{}", "psfmag_{}", "psf_mag_{}", "{}mag", "{}_mag", "mag_{}", "{}_psf", "psfmag{}")
_IS_STAR = ("is_star", "star", "starnotgal")
_TYPE = ("type", "objc_type")
SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "right ascension (ICRS, deg)": _RA,
    "declination (ICRS, deg)": _DEC,
    "magnitude of a band, for r": tuple(name.format("r") for name in _MAGNITUDE),
    "whether it is a star (not 0)": _IS_STAR,
    "SDSS's type (6 is a star)": _TYPE,
}
"""Names of columns that a reference catalogue's file may have, by meaning; capital letters are as good."""


class Kind(StrEnum):
    """Where a reference comes from."""

    PHOTO_OBJ = "photoObj"
    """What SDSS itself found in the field: objects that photo did not deblend further, PSF magnitudes."""
    CATALOGUE = "catalogue"
    """A catalogue of other observations, in a file: the magnitudes that its columns give."""
    TRUTH = "truth"
    """What a synthetic sample consists of: total magnitudes."""


@dataclass(frozen=True, eq=False)
class Reference:
    """Objects whose places and magnitudes are known; all arrays have the same length.

    Parameters
    ----------
    name : str
        What to call it in a sentence.
    kind : Kind
    ra, dec : numpy.ndarray of float64, shape (n,)
        ICRS, deg.
    magnitudes : mapping of band to numpy.ndarray of float64, shape (n,)
        22.5 - 2.5 log10(nmgy); NaN where unknown. A band that is not there has none.
    is_star : numpy.ndarray of bool, shape (n,)
    counted : numpy.ndarray of bool, shape (n,)
        Which objects should be found: not saturated, not at the edge. Of them the stars count for completeness, which
        is stated for points.
    calibrators : mapping of band to numpy.ndarray of bool, shape (n,)
        Which objects the zero-point may be taken from: stars that are counted, and not spoilt in the band.
    field : tuple of int, optional
        Run, camcol and field that the objects are all of; None where the sky alone says what belongs to a frame.
    synthetic : bool
        Simulated, not observed.
    """

    name: str
    kind: Kind
    ra: Floats
    dec: Floats
    magnitudes: Mapping[Band, Floats]
    is_star: Bools
    counted: Bools
    calibrators: Mapping[Band, Bools]
    field: Place | None = None
    synthetic: bool = False

    def __len__(self) -> int:
        return len(self.ra)

    def __getitem__(self, chosen: Any) -> "Reference":
        """Some of the objects, by mask or index."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        for name, value in values.items():
            if isinstance(value, np.ndarray):
                values[name] = value[chosen]
            elif isinstance(value, Mapping):
                values[name] = {band: array[chosen] for band, array in value.items()}
        return Reference(**values)

    def within(self, ra: tuple[float, float], dec: tuple[float, float]) -> "Reference":
        """Objects of a box on the sky.

        Quick for many small boxes and a catalogue of millions: it is sorted once, by zones of declination and right
        ascension within them.

        Parameters
        ----------
        ra : tuple of float
            From and to, deg, through 0 where the first is larger.
        dec : tuple of float
            From and to, deg.
        """
        order, keys = self._zones
        spans = [ra] if ra[0] <= ra[1] else [(ra[0], 360.0), (0.0, ra[1])]
        first, last = (int((max(-90.0, min(edge, 90.0)) + 90) // _ZONE) for edge in dec)
        parts = [
            order[np.searchsorted(keys, zone * 1000 + low) : np.searchsorted(keys, zone * 1000 + high, "right")]
            for zone in range(first, last + 1)
            for low, high in spans
        ]
        found = np.concatenate(parts)
        return self[found[(self.dec[found] >= dec[0]) & (self.dec[found] <= dec[1])]]

    @cached_property
    def _zones(self) -> tuple[npt.NDArray[np.int64], Floats]:
        """Indices in the order of zone and right ascension, and what they are ordered by."""
        keys = (self.dec + 90) // _ZONE * 1000 + self.ra
        order = np.argsort(keys, kind="stable")
        return order, keys[order]


References = Mapping[FrameId, Reference | None] | Callable[[FrameId], Reference | None]
"""The reference of each frame; None, or nothing, where there is none."""


def place_of(frame: FrameId) -> Place:
    """Run, camcol and field of a frame."""
    return frame.run, frame.camcol, frame.field


# -- photoObj


def read_photo_obj(content: bytes, name: str = "photoObj") -> Reference | None:
    """Read the table of objects that SDSS keeps beside a frame from DR8 on.

    Parameters
    ----------
    content : bytes
        A plain FITS file.
    name : str, optional
        What to call it.

    Returns
    -------
    Reference or None
        None where photo failed on the field and left no table. Magnitudes are of PSFFLUX, or of CMODELFLUX where that
        is missing (in a synthetic sample that is so for galaxies). Which field it is of is in `field`: compare it.

    Raises
    ------
    InvalidInput
        If it is not a photoObj file, or damaged.
    """
    try:
        hdus = read_hdus(content)
        place = (hdus[0].whole("RUN"), hdus[0].whole("CAMCOL"), hdus[0].whole("FIELD"))
        if len(hdus) < 2:
            raise Irregular("it ends before its table")
        if hdus[1].get("XTENSION") != "BINTABLE":  # an empty image
            return None
        table = Table(hdus[1])
        if not len(table):
            return None
        return _objects(table, name, place, synthetic=hdus[0].get("SYNTHET", False) is True)
    except (Irregular, ValueError, IndexError, TypeError, OverflowError) as error:
        raise InvalidInput(
            f"{name} cannot be read as SDSS's photoObj: {error}. Fetch it again, or validate without it."
        ) from error


def _objects(table: Table, name: str, place: Place, *, synthetic: bool) -> Reference:
    def single(column: str) -> Any:
        return table.column(column)[:, 0]

    found = {"RUN": place[0], "CAMCOL": place[1], "FIELD": place[2]}
    if any((single(column) != number).any() for column, number in found.items()):
        raise Irregular("its rows are of another field than its header")
    psf, model = table.column("PSFFLUX").astype(float), table.column("CMODELFLUX").astype(float)
    flags = table.column("FLAGS").astype(np.int64)
    if {part.shape[1] for part in (psf, model, flags)} != {len(BANDS)}:
        raise Irregular("its fluxes are not of five bands")
    flux = np.where(psf > 0, psf, model)
    all_flags = single("OBJC_FLAGS").astype(np.int64)
    star = single("OBJC_TYPE") == _STAR
    whole = (single("MODE") <= _LAST_UNRESOLVED_MODE) & (single("NCHILD") <= 0) & ((all_flags & _BRIGHT) == 0)
    counted = (all_flags & (_SATURATED | _FLAG_EDGE)) == 0
    objects = Reference(
        name, Kind.PHOTO_OBJ, single("RA").astype(float), single("DEC").astype(float),
        {band: _magnitude(flux[:, i]) for i, band in enumerate(BANDS)}, star, counted,
        {band: star & counted & ((flags[:, i] & (_SATURATED | _FLAG_EDGE)) == 0) for i, band in enumerate(BANDS)},
        place, synthetic,
    )  # fmt: skip
    return objects[whole & np.isfinite(objects.ra) & np.isfinite(objects.dec)]


def _magnitude(flux: Floats) -> Floats:
    return 22.5 - 2.5 * np.log10(np.where(flux > 0, flux, np.nan))


# -- truth


def read_truth(content: bytes, frame: FrameId, name: str = "truth") -> Reference:
    """Read the truth of a synthetic strip, as `kira.sample` writes it, for one frame.

    Parameters
    ----------
    content : bytes
        A Parquet file: `truth/truth-RUN-CAMCOL.parquet` of the sample.
    frame : FrameId
        Only its sources are taken, and those of them that are not within 20 pixels of its edge.
    name : str, optional
        What to call it.

    Returns
    -------
    Reference

    Raises
    ------
    InvalidInput
        If it is not such a file, damaged, or of another run or camcol than the frame.
    """
    names = ["ra", "dec", "row", "col", "kind", *(f"flux_{band}" for band in BANDS)]
    try:
        about = pq.read_schema(pa.BufferReader(content)).metadata or {}
        first = float(_FIELD_STEP * frame.field)
        inside = [
            ("row", ">=", first + EDGE), ("row", "<=", first + ROWS - 1 - EDGE),
            ("col", ">=", float(EDGE)), ("col", "<=", float(COLUMNS - 1 - EDGE)),
        ]  # fmt: skip
        rows = pq.read_table(pa.BufferReader(content), columns=names, filters=inside)
        of = int(about.get(b"run", b"-1")), int(about.get(b"camcol", b"-1"))
        lacking = set(names) - set(rows.column_names)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InvalidInput(f"{name} cannot be read as the truth of a sample: {error}") from error
    if about.get(b"synthetic") != b"true" or lacking:
        raise InvalidInput(f"{name} is not the truth of a synthetic sample, as kira.sample writes it.")
    if of != (frame.run, frame.camcol):
        raise InvalidInput(f"{name} is of run {of[0]} camcol {of[1]}, and says nothing of {frame}.")
    star = np.array(rows["kind"].to_pylist(), dtype=object) == "star"
    return Reference(
        name, Kind.TRUTH, rows["ra"].to_numpy(), rows["dec"].to_numpy(),
        {band: _magnitude(rows[f"flux_{band}"].to_numpy()) for band in BANDS}, star, np.ones(len(star), dtype=bool),
        dict.fromkeys(BANDS, star), place_of(frame), True,
    )  # fmt: skip


# -- a catalogue in a file


def read_catalogue(content: bytes, name: str = "the reference catalogue") -> Reference:
    """Read a catalogue of known objects from a FITS table, VOTable, CSV or Parquet file.

    Parameters
    ----------
    content : bytes
        What it is, is told from how it begins.
    name : str, optional
        What to call it.

    Returns
    -------
    Reference
        Objects with a position. `SYNONYMS` says which columns are looked for. Where none says what is a star, all are
        taken for stars. Magnitudes that are not between 0 and 40 are unknown ones.

    Raises
    ------
    InvalidInput
        If it cannot be read, or has no column for right ascension, declination or any band; the text names the columns
        that it has.
    """
    columns = _columns_of(content, name)
    known = {column.lower(): column for column in reversed(list(columns))}

    def find(names: Sequence[str]) -> str | None:
        return next((known[one] for one in names if one in known), None)

    ra, dec = find(_RA), find(_DEC)
    bands = {band: column for band in BANDS if (column := find([one.format(band) for one in _MAGNITUDE]))}
    missing = [what for what, there in (("right ascension", ra), ("declination", dec), ("a magnitude", bands))
               if not there]  # fmt: skip
    if missing or ra is None or dec is None:
        shown = ", ".join(list(columns)[:30])
        raise InvalidInput(
            f"{name} has no column for {' and '.join(missing)}: it has {shown}. Rename them; docs/validation.md lists "
            "the names that are known."
        )
    places = [_numbers(columns[one], f"{one} of {name}") for one in (ra, dec)]
    good = np.isfinite(places[0]) & np.isfinite(places[1]) & (abs(places[1]) <= 90)
    magnitudes = {band: _numbers(columns[column], f"{column} of {name}") for band, column in bands.items()}
    magnitudes = {band: np.where((m > 0) & (m < _MOST_MAGNITUDE), m, np.nan) for band, m in magnitudes.items()}
    star = np.ones(len(good), dtype=bool)
    if (column := find(_IS_STAR)) is not None:
        values = _numbers(columns[column], f"{column} of {name}")
        star = np.isfinite(values) & (values != 0)
    elif (column := find(_TYPE)) is not None:
        star = _numbers(columns[column], f"{column} of {name}") == _STAR
    all_of_them = Reference(
        name, Kind.CATALOGUE, places[0] % 360, places[1], magnitudes, star, np.ones(len(star), dtype=bool),
        dict.fromkeys(magnitudes, star),
    )  # fmt: skip
    return all_of_them[good]


def _wanted(column: str) -> bool:
    return column.lower() in _ALL_NAMES


_ALL_NAMES = {
    *_RA, *_DEC, *_IS_STAR, *_TYPE, *(name.format(band) for name in _MAGNITUDE for band in BANDS)
}  # fmt: skip


def _columns_of(content: bytes, name: str) -> dict[str, Any]:
    """Columns of a file by name; those that nobody asks for are None."""
    begins = content[:512].lstrip().lower()
    read = (
        _parquet if content.startswith(_PARQUET) else _fits if content.startswith(FITS_MAGIC)
        else _votable if begins.startswith(b"<?xml") or begins.startswith(b"<votable") else _csv
    )  # fmt: skip
    if b"\0" in content[:512] and read is _csv:
        raise InvalidInput(f"{name} is not a FITS table, VOTable, CSV or Parquet file: decompress it, if it is packed.")
    try:
        return read(content)
    except (OSError, ValueError, TypeError, KeyError, IndexError, pa.ArrowException) as error:
        raise InvalidInput(f"{name} cannot be read: {str(error).rstrip('.')}.") from error


def _parquet(content: bytes) -> dict[str, Any]:
    source = pq.ParquetFile(pa.BufferReader(content))
    names = source.schema_arrow.names
    table = source.read(columns=[one for one in names if _wanted(one)])
    return {one: table[one].to_numpy() if one in table.column_names else None for one in names}


def _fits(content: bytes) -> dict[str, Any]:
    from astropy.io import fits

    with fits.open(io.BytesIO(content)) as hdus:
        tables = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)]
        if not tables:
            raise ValueError("it has no table")
        data = tables[0].data
        return {one: np.array(data[one]) if _wanted(one) else None for one in tables[0].columns.names}


def _votable(content: bytes) -> dict[str, Any]:
    from astropy.io.votable import parse_single_table

    table = parse_single_table(io.BytesIO(content)).to_table(use_names_over_ids=True)
    return {one: table[one] if _wanted(one) else None for one in table.colnames}


def _csv(content: bytes) -> dict[str, Any]:
    table = pacsv.read_csv(pa.BufferReader(content))
    return {one: table[one].to_numpy() if _wanted(one) else None for one in table.column_names}


def _numbers(values: Any, what: str) -> Floats:
    if values is None:
        raise InvalidInput(f"{what} cannot be read.")
    try:
        with np.errstate(invalid="ignore"):
            plain: Floats = np.ma.filled(np.ma.asarray(values, dtype=np.float64), np.nan)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{what} is not a column of numbers.") from error
    if plain.ndim != 1:
        raise InvalidInput(f"{what} has more than one number a row.")
    return plain
