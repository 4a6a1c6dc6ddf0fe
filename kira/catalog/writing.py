"""A table of sources as the bytes of a Parquet file: the same table, the same bytes."""

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kira.catalog.schema import PIXEL_UNIT, SCHEMA
from kira.errors import InvalidInput
from kira.extraction import Parameters
from kira.sdss import Release

_ROWS_PER_GROUP = 128 * 1024
# Level 3 is zstd's own default; higher ones cost more time than they save bytes on float64 columns.
_ZSTD_LEVEL = 3


def file_metadata(parameters: Parameters, *, version: str, synthetic: bool) -> dict[str, str]:
    """Return what a file says of itself: Kira's version, the parameters, and whether its frames were rendered.

    Parameters
    ----------
    parameters : Parameters
    version : str
        Of Kira.
    synthetic : bool
        Whether any of the frames is synthetic.
    """
    return {
        "kira_version": version,
        "kira_parameters": parameters.json,
        "kira_parameters_hash": parameters.hash,
        "synthetic": "yes" if synthetic else "no",
    }


def parquet_bytes(table: pa.Table, *, metadata: Mapping[str, str]) -> bytes:
    """Write a table as Parquet (zstd).

    Deterministic: the bytes depend on the rows, the metadata and the version of pyarrow, not on how the table is cut
    into chunks or the order of `metadata`; no time or host goes into them.

    Parameters
    ----------
    table : pyarrow.Table
        With exactly the columns of `SCHEMA`.
    metadata : mapping of str to str
        File-level metadata, such as `file_metadata` gives; `flux_unit` is added.

    Returns
    -------
    bytes

    Raises
    ------
    InvalidInput
        If the table has other columns.
    """
    if not table.schema.equals(SCHEMA, check_metadata=False):
        raise InvalidInput("The table does not have the columns of the catalogue.")
    about = {**{k.decode(): v.decode() for k, v in SCHEMA.metadata.items()}, **metadata, "flux_unit": _flux_unit(table)}
    schema = SCHEMA.with_metadata(dict(sorted(about.items())))
    table = pa.Table.from_arrays(table.combine_chunks().columns, schema=schema)
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        version="2.6",
        compression="zstd",
        compression_level=_ZSTD_LEVEL,
        row_group_size=_ROWS_PER_GROUP,
        write_statistics=True,
        store_schema=True,
    )
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _flux_unit(table: pa.Table) -> str:
    """Unit of the flux columns: that of the pixels; both, if releases of both archives are in one table."""
    releases = pc.unique(table["release"]).to_pylist()
    return ",".join(sorted({PIXEL_UNIT[Release.parse(release).service] for release in releases}))
