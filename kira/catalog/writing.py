"""A table of sources as the bytes of a Parquet file: the same table, the same bytes."""

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kira.catalog.kinds import is_survey, schema_like
from kira.catalog.schema import PIXEL_UNIT
from kira.extraction import Profile
from kira.sdss import Release

_ROWS_PER_GROUP = 128 * 1024
# Level 3 is zstd's own default; higher ones cost more time than they save bytes on float64 columns.
_ZSTD_LEVEL = 3


def file_metadata(parameters: Profile, *, version: str, synthetic: bool) -> dict[str, str]:
    """Return what a file says of itself: Kira's version, the parameters, and whether its frames were rendered.

    Parameters
    ----------
    parameters : Profile
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
        With exactly the columns of a kind of catalogue, see `kira.catalog.kinds`.
    metadata : mapping of str to str
        File-level metadata, such as `file_metadata` gives; `flux_unit` is added.

    Returns
    -------
    bytes
        Kind `survey` is sorted by band, run, camcol and field, and each band begins a row group of its own: who wants
        one band, or one run, reads little else.

    Raises
    ------
    InvalidInput
        If the table has other columns.
    """
    schema = schema_like(table.schema)
    survey = is_survey(schema)
    unit = {} if survey else {"flux_unit": _flux_unit(table)}
    about = {**{k.decode(): v.decode() for k, v in schema.metadata.items()}, **metadata, **unit}
    schema = schema.with_metadata(dict(sorted(about.items())))
    if survey:
        table = table.sort_by([(name, "ascending") for name in _SURVEY_ORDER])
    table = pa.Table.from_arrays(table.combine_chunks().columns, schema=schema)
    # Measured values hardly ever come twice: a dictionary of them takes time, memory and bytes. Split into streams by
    # significance, their bytes are packed better.
    measured = [field.name for field in schema if pa.types.is_floating(field.type)]
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink, schema, version="2.6", compression="zstd", compression_level=_ZSTD_LEVEL,
        write_statistics=_looked_for(schema), store_schema=True,
        use_dictionary=[name for name in schema.names if name not in measured],
        column_encoding=dict.fromkeys(measured, "BYTE_STREAM_SPLIT"),
    ) as writer:  # fmt: skip
        for group in _by_band(table) if survey else [table]:
            writer.write_table(group, row_group_size=_ROWS_PER_GROUP)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _looked_for(schema: pa.Schema) -> list[str]:
    """Columns whose least and largest values are written into the footer: those that people select by.

    Identity, sky positions, fluxes and magnitudes. Arrow reads the last 64 KiB of a file at once: a footer that fits
    costs one request.
    """
    about = {field.name: (field.metadata or {}).get(b"ucd", b"") for field in schema}
    return [name for name, ucd in about.items() if name == "primary" or ucd.startswith(_LOOKED_FOR)]


_LOOKED_FOR = (b"meta.id", b"meta.dataset", b"meta.version", b"pos.eq", b"time", b"phot.", b"src.class")
_SURVEY_ORDER = ("band", "run", "camcol", "field", "release", "rerun", "number")


def _by_band(table: pa.Table) -> list[pa.Table]:
    counts = pc.value_counts(table["band"])  # in the order in which they come
    sizes = [count.as_py() for count in counts.field("counts")]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [table.slice(start, size) for start, size in zip(starts, sizes, strict=True)] or [table]


def _flux_unit(table: pa.Table) -> str:
    """Unit of the flux columns: that of the pixels; both, if releases of both archives are in one table."""
    releases = pc.unique(table["release"]).to_pylist()
    return ",".join(sorted({PIXEL_UNIT[Release.parse(release).service] for release in releases}))
