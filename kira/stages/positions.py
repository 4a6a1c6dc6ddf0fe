"""Where the fields of an archive are, kept beside its catalogues: one small file instead of the archive's own list.

SDSS's `window_flist.fits` has 336 MB and 36 columns; a page that draws the sky needs five of them, 6 MB. All releases
show the same imaging runs on the same sky, and the sky of a run does not depend on how it was reduced: one file serves
all releases, reruns and catalogues of an archive.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kira.catalog.published import Published
from kira.catalog.query import Query
from kira.errors import InvalidInput, KiraError
from kira.sdss import Release
from kira.sdss.archive import ArchiveClient
from kira.sdss.positions import FieldPositions
from kira.storage import Store

log = logging.getLogger(__name__)

FROM_LIST, FROM_CATALOGUE = "the archive's window_flist.fits", "the published sources' pixels and positions"
"""Where positions came from, as the file and the pages say it."""
SMALL_LIST = 32 * 1024 * 1024
"""A list of up to so many bytes is fetched along with a plan; SDSS's own, 336 MB, only where somebody asks for it."""
_CENTRE = (1023.5, 744.0)
"""Column and row of a field's centre; 0 is the centre of the first pixel."""
_COLUMNS = {"run": pa.int32(), "camcol": pa.int8(), "field": pa.int16(), "ra": pa.float32(), "dec": pa.float32()}
_HERE = b"kira_positions_from"
_ANY = Release(7)
"""DAS has no list: that of the newest release is taken for it, and for all."""


@dataclass(frozen=True, eq=False)
class Positions:
    """Centres of fields, in the order of run, camcol and field, each field once; arrays of shape (n,).

    Parameters
    ----------
    run : ndarray of int32
    camcol : ndarray of int8
    field : ndarray of int16
    ra, dec : ndarray of float32
        Degrees (ICRS), to 0.1 arcsec.
    origin : str
        Where they came from, in words.
    version : str
        Changes whenever anything of it does; empty until it is read from a store.
    """

    run: NDArray[np.int32]
    camcol: NDArray[np.int8]
    field: NDArray[np.int16]
    ra: NDArray[np.float32]
    dec: NDArray[np.float32]
    origin: str
    version: str = ""

    @classmethod
    def of(cls, found: FieldPositions, origin: str) -> "Positions":
        """Put fields into order; of a field in several reruns, one."""
        return cls._each_once(found.run, found.camcol, found.field, found.ra, found.dec, origin)

    @classmethod
    def merged(cls, found: "Sequence[Positions]") -> "Positions":
        """Put several together; what the first says of a field counts."""
        run, camcol, field, ra, dec = (np.concatenate([getattr(one, name) for one in found]) for name in _COLUMNS)
        origin = " and ".join(dict.fromkeys(one.origin for one in found))
        return cls._each_once(run, camcol, field, ra, dec, origin)

    @classmethod
    def _each_once(
        cls, run: NDArray[Any], camcol: NDArray[Any], field: NDArray[Any], ra: NDArray[Any], dec: NDArray[Any],
        origin: str,
    ) -> "Positions":  # fmt: skip
        _, rows = np.unique(field_keys(run, camcol, field), return_index=True)
        return cls(
            run[rows].astype(np.int32), camcol[rows].astype(np.int8), field[rows].astype(np.int16),
            ra[rows].astype(np.float32), dec[rows].astype(np.float32), origin,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.run)


def field_keys(run: NDArray[Any], camcol: NDArray[Any], field: NDArray[Any]) -> NDArray[np.int64]:
    """One number a field, in the order of run, camcol and field."""
    return np.asarray((run.astype(np.int64) * 10 + camcol) * 10**4 + field, dtype=np.int64)


def positions_path(archive: str) -> str:
    """Path of an archive's file below the staging root."""
    return f"{archive}/sky/fields.parquet"


def write_positions(store: Store, archive: str, positions: Positions) -> None:
    """Write an archive's file, in place of the one that was there."""
    values = (positions.run, positions.camcol, positions.field, positions.ra, positions.dec)
    schema = pa.schema(
        [pa.field(name, kind, nullable=False) for name, kind in _COLUMNS.items()],
        metadata={_HERE: positions.origin.encode()},
    )
    sink = pa.BufferOutputStream()
    columns = [pa.array(of, kind) for of, kind in zip(values, _COLUMNS.values(), strict=True)]
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), sink, compression="zstd")
    store.write(positions_path(archive), sink.getvalue().to_pybytes())


def read_positions(store: Store, archive: str) -> Positions | None:
    """Read an archive's file; None if there is none.

    Raises
    ------
    InvalidInput
        If it is damaged, or no such file.
    StorageError
        If the store refuses.
    """
    path = positions_path(archive)
    if not store.exists(path):
        return None
    content = store.read(path)
    try:
        # Not pq.read_table, which first imports a library for data in many files.
        table = pq.ParquetFile(pa.BufferReader(content)).read(columns=list(_COLUMNS))
        if [table.schema.field(name).type for name in _COLUMNS] != list(_COLUMNS.values()):
            raise InvalidInput("its columns are of other types")
        run, camcol, field, ra, dec = (table[name].to_numpy() for name in _COLUMNS)
        if (np.diff(field_keys(run, camcol, field)) <= 0).any() or not (
            np.isfinite(ra).all() and np.isfinite(dec).all()
        ):
            raise InvalidInput("its fields are not in order, or have no position")
        origin = (table.schema.metadata or {}).get(_HERE, b"").decode()
    except (pa.ArrowException, OSError, LookupError, ValueError, InvalidInput) as error:
        reason = " ".join(str(error).split())[:200]
        raise InvalidInput(
            f"{store.uri(path)} is not a list of fields as Kira writes it ({reason}): make it anew with kira sky "
            "refresh."
        ) from error
    return Positions(run, camcol, field, ra, dec, origin, hashlib.sha256(content).hexdigest()[:12])


def keep_positions(store: Store, client: ArchiveClient, release: Release) -> bool:
    """Fetch an archive's list if it is small or was read already, and keep its positions; once, and never an error.

    For a plan: nothing that it does depends on it, so what goes wrong is a warning in its log.

    Returns
    -------
    bool
        Whether the file is there now.
    """
    archive = client.archive.name
    try:
        if store.exists(positions_path(archive)):
            return True
        if (client.positions_size(release) or SMALL_LIST + 1) > SMALL_LIST:
            log.info(
                "The positions of the fields of archive %s were not fetched: make its page of the sky with kira sky "
                "refresh.", archive,
            )  # fmt: skip
            return False
        write_positions(store, archive, Positions.of(client.positions(release), FROM_LIST))
    except KiraError as error:
        log.warning("The positions of the fields of archive %s were not kept: %s", archive, error)
        return False
    return True


def positions_of_archive(client: ArchiveClient) -> Positions | None:
    """Positions from an archive's own list, however large; None if it has none."""
    try:
        return Positions.of(client.positions(_ANY), FROM_LIST)
    except InvalidInput:
        return None


def positions_of_catalogue(catalogue: Published) -> Positions:
    """Centres of the fields that have sources in a catalogue, from their pixels and their positions on the sky.

    Direction as a linear function of column and row, by least squares over a field's sources in all of its bands, taken
    at the field's centre. Bands lie up to 20 pixels apart, and what bends is below 0.5 arcsec. A field with fewer than
    three sources, or with all of them on a line, has no position.
    """
    pieces: dict[tuple[int, int, int], list[NDArray[np.float64]]] = {}
    for table in catalogue.scan(Query.parse(), ["run", "camcol", "field", "x", "y", "ra", "dec"]):
        for key, values in _by_field(table):
            pieces.setdefault(key, []).append(values)
    rows = []
    for key in sorted(pieces):
        x, y, ra, dec = np.concatenate(pieces[key], axis=1)
        centre = _centre(x, y, np.radians(ra), np.radians(dec))
        if centre is not None:
            rows.append((*key, *centre))
    run, camcol, field, ra, dec = np.array(rows, dtype=np.float64).reshape(-1, 5).T
    return Positions(
        run.astype(np.int32), camcol.astype(np.int8), field.astype(np.int16), ra.astype(np.float32),
        dec.astype(np.float32), FROM_CATALOGUE,
    )  # fmt: skip


def _by_field(table: pa.Table) -> Iterator[tuple[tuple[int, int, int], NDArray[np.float64]]]:
    run, camcol, field = (table[name].to_numpy().astype(np.int64) for name in ("run", "camcol", "field"))
    values = np.array([table[name].to_numpy() for name in ("x", "y", "ra", "dec")], dtype=np.float64)
    known = np.isfinite(values).all(axis=0)
    key, values = field_keys(run, camcol, field)[known], values[:, known]
    order = np.argsort(key, kind="stable")
    key, values = key[order], values[:, order]
    begins = np.flatnonzero(np.diff(key, prepend=-1))
    for begin, part in zip(begins, np.split(values, begins[1:], axis=1), strict=False):
        number = int(key[begin])
        yield (number // 10**5, number // 10**4 % 10, number % 10**4), part


def _centre(
    x: NDArray[np.float64], y: NDArray[np.float64], ra: NDArray[np.float64], dec: NDArray[np.float64]
) -> tuple[float, float] | None:
    """Position (degrees) of a field's centre; None if the sources do not tell it."""
    shape = np.column_stack([np.ones(len(x)), x - _CENTRE[0], y - _CENTRE[1]])
    there = np.column_stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    found, _, rank, _ = np.linalg.lstsq(shape, there)
    if rank < 3:
        return None
    a, b, c = found[0]
    return float(np.degrees(np.arctan2(b, a)) % 360), float(np.degrees(np.arctan2(c, np.hypot(a, b))))
