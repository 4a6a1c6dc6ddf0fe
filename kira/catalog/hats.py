"""A catalogue as HATS (Hierarchical Adaptive Tiling Scheme, IVOA note), which lsdb and other survey tools read.

Parquet files by HEALPix pixel, the pixels as large as a limit of rows allows, so that what lies together on the sky
lies together on disk, and two catalogues can be matched pixel by pixel.
"""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kira import __version__
from kira.catalog.healpix import DEEPEST, Floats, Histogram, Pixel, Tiling, pixel_numbers
from kira.catalog.published import Progress, Published
from kira.catalog.query import Query
from kira.errors import InvalidInput, StorageError

MOST_ROWS = 250_000
"""Rows of a partition at most, by default."""

_INDEX = pa.field("_healpix_29", pa.int64(), nullable=False, metadata={
    "unit": "", "ucd": "pos.healpix", "description": "HEALPix pixel of order 29, nested",
})  # fmt: skip
_ROWS_PER_GROUP = 128 * 1024
_ZSTD_LEVEL = 3
_FIRST_ORDER, _DEEPER = 10, 4
"""Order at which positions are counted, 3.4 arcmin; and how much deeper they are where that is too coarse."""
_AT_ONCE = 250
"""Partitions that are written at the same time, each with a file open."""
_VERSION, _RELEASED = "v1.0", "2025-08-22"
"""Of the specification."""


@dataclass(frozen=True)
class Written:
    """What was written.

    Parameters
    ----------
    rows : int
    partitions : tuple of Pixel
    left_out : int
        Sources without a position.
    """

    rows: int
    partitions: tuple[Pixel, ...]
    left_out: int


def write_hats(
    catalogue: Published, folder: Path, name: str, most: int = MOST_ROWS, progress: Progress | None = None
) -> Written:
    """Write all of a catalogue as HATS.

    Parameters
    ----------
    catalogue : Published
        Read once, its positions once or twice more.
    folder : Path
        Made anew, and there only when all of it is written. Meanwhile about as much room is needed once more.
    name : str
        What the catalogue is called; letters, digits, dots, - and _.
    most : int
        Rows of a partition at most; about as many are held in memory.
    progress : callable, optional
        Told how many of how many partitions are done.

    Raises
    ------
    InvalidInput
        If the folder is there, nothing in the catalogue has a position, or a file is damaged.
    StorageError
        If the storage refuses.
    """
    if folder.exists():
        raise InvalidInput(f"{folder} is there already: name a folder that is not.")
    if most < 1:
        raise InvalidInput(f"A partition has at least one row, not {most}.")
    partitions = _partitions(catalogue, most)
    rows = sum(count for _, count in partitions)
    if not rows:
        raise InvalidInput(f"{catalogue.url} has no source with a position.")
    aside = folder.with_name(f".{folder.name}.aside-{uuid.uuid4().hex}")
    try:
        _write(catalogue, aside, partitions, progress)
        _describe(catalogue, aside, name, [pixel for pixel, _ in partitions], rows, most)
        aside.rename(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    catalogue.tally.rows = rows
    return Written(rows, tuple(pixel for pixel, _ in partitions), catalogue.rows - rows)


def _partitions(catalogue: Published, most: int) -> list[tuple[Pixel, int]]:
    for order in range(_FIRST_ORDER, DEEPEST, _DEEPER):
        found = Histogram.of(order, _positions(catalogue))
        if found.counts.max(initial=0) <= most:
            return found.partition(most)
    return Histogram.of(DEEPEST, _positions(catalogue)).partition(most)


def _positions(catalogue: Published) -> Iterator[tuple[Floats, Floats]]:
    for table in catalogue.scan(Query(), ("ra", "dec")):
        ra, dec = table["ra"].to_numpy(), table["dec"].to_numpy()
        known = np.isfinite(ra) & np.isfinite(dec)
        yield ra[known], dec[known]


def _write(catalogue: Published, folder: Path, partitions: list[tuple[Pixel, int]], progress: Progress | None) -> None:
    schema, footers = _schema(catalogue), list[pq.FileMetaData]()
    dataset, spilled = folder / "dataset", folder / "spilled"
    for start in range(0, len(partitions), _AT_ONCE):
        some = partitions[start : start + _AT_ONCE]
        spilled.mkdir(parents=True)
        _spill(catalogue, Tiling(tuple(pixel for pixel, _ in some)), schema, spilled)
        for place, (pixel, count) in enumerate(some):
            with pa.OSFile(str(spilled / str(place))) as file, pa.ipc.open_stream(file) as reader:
                table = reader.read_all().sort_by(_INDEX.name).combine_chunks()
            if table.num_rows != count:
                raise StorageError(f"{catalogue.url} was changed while it was read: ask again.")
            footers.append(_write_partition(dataset, pixel, table))
            if progress:
                progress(start + place + 1, len(partitions))
        shutil.rmtree(spilled)
    pq.write_metadata(schema, dataset / "_common_metadata")
    pq.write_metadata(schema, dataset / "_metadata", metadata_collector=footers)


def _spill(catalogue: Published, tiling: Tiling, schema: pa.Schema, folder: Path) -> None:
    """Put the rows of each pixel into a file of its own, as they come: a file of the catalogue is read but once."""
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with ExitStack() as stack:
        files = [stack.enter_context(pa.OSFile(str(folder / str(n)), "wb")) for n in range(len(tiling.pixels))]
        writers = [stack.enter_context(pa.ipc.new_stream(file, schema, options=options)) for file in files]
        for table in catalogue.scan(Query(region=tiling)):
            index = pixel_numbers(table["ra"].to_numpy(), table["dec"].to_numpy())
            placed, places = table.add_column(0, _INDEX, pa.array(index)).cast(schema), tiling.places(index)
            for place in np.unique(places).tolist():
                writers[place].write_table(placed.filter(pa.array(places == place)))


def _write_partition(dataset: Path, pixel: Pixel, table: pa.Table) -> pq.FileMetaData:
    """Write the file of one pixel, and return its footer with its path."""
    path = f"Norder={pixel.order}/Dir={pixel.number // 10_000 * 10_000}/Npix={pixel.number}.parquet"
    (dataset / path).parent.mkdir(parents=True, exist_ok=True)
    collected: list[pq.FileMetaData] = []
    pq.write_table(
        table, dataset / path, version="2.6", compression="zstd", compression_level=_ZSTD_LEVEL,
        row_group_size=_ROWS_PER_GROUP, metadata_collector=collected,
    )  # fmt: skip
    collected[0].set_file_path(path)
    return collected[0]


def _schema(catalogue: Published) -> pa.Schema:
    # Files of one dataset have one schema, and dictionaries would be each file's own.
    plain = [f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f for f in catalogue.schema]
    return pa.schema([_INDEX, *plain], metadata=catalogue.schema.metadata)


def _describe(catalogue: Published, folder: Path, name: str, pixels: list[Pixel], rows: int, most: int) -> None:
    lines = ["Norder,Npix", *(f"{pixel.order},{pixel.number}" for pixel in pixels)]
    (folder / "partition_info.csv").write_text("\n".join(lines) + "\n")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    synthetic = (catalogue.schema.metadata or {}).get(b"synthetic") == b"yes"
    told = {
        "obs_collection": name,
        "obs_description": "Sources of SDSS frames, one row for each source in each frame"
        + (" (synthetic frames)" if synthetic else ""),
        "dataproduct_type": "source",
        "hats_nrows": rows,
        "hats_col_ra": "ra",
        "hats_col_dec": "dec",
        "hats_col_healpix": _INDEX.name,
        "hats_col_healpix_order": DEEPEST,
        "hats_npix_suffix": ".parquet",
        "hats_max_rows": most,
        "moc_sky_fraction": f"{sum(1 / (12 * 4**pixel.order) for pixel in pixels):.9g}",
        "hats_builder": f"kira {__version__}",
        "hats_creation_date": f"{datetime.now(UTC):%Y-%m-%dT%H:%MUTC}",
        "hats_estsize": -(-size // 1024),
        "hats_release_date": _RELEASED,
        "hats_version": _VERSION,
    }
    text = "\n".join(["#HATS catalog", *(f"{key}={value}" for key, value in told.items())]) + "\n"
    for file in ("hats.properties", "properties"):  # readers before 0.5 look for the second
        (folder / file).write_text(text)
