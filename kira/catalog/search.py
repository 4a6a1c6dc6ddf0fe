"""Sources of a published catalogue as one table: those of a cone, nearest first, or those of some frames."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from kira.catalog.cone import Cone
from kira.catalog.published import Progress, Published
from kira.catalog.query import Query
from kira.catalog.schema import KEY

SEPARATION = pa.field("separation", pa.float64(), nullable=False, metadata={
    "unit": "arcsec", "ucd": "pos.angDistance", "description": "Great-circle distance from the cone's axis",
})  # fmt: skip
"""Column that a cone search adds, in front of all others."""

_HELD = 100_000
"""Rows beyond a limit that are held before the worst are dropped."""


def search_cone(
    catalogue: Published, cone: Cone, query: Query | None = None, columns: Sequence[str] | None = None,
    limit: int | None = None, progress: Progress | None = None,
) -> pa.Table:  # fmt: skip
    """Sources in a cone, the nearest to its axis first.

    Parameters
    ----------
    catalogue : Published
    cone : Cone
    query : Query, optional
        What else they have to be.
    columns : sequence of str, optional
        All by default; `separation` (float64, arcsec) always comes first.
    limit : int, optional
        So many of the nearest.
    progress : callable, optional
        Told how many of how many files are done.

    Returns
    -------
    pyarrow.Table
        Its schema's metadata says what was asked for. At the same distance in the order of `KEY`.

    Raises
    ------
    InvalidInput
        If there is no such column, or a file is damaged.
    StorageError
        If the storage refuses.
    """
    query = replace(query or Query(), region=cone)
    names = _names(catalogue, columns)
    catalogue.check(query, names)
    read = _together(names, KEY, ("ra", "dec"))
    tables = (_with_separation(table, cone) for table in catalogue.scan(query, read, progress))
    schema = catalogue.schema_of(read).insert(0, SEPARATION)
    return _finish(_best(tables, schema, (SEPARATION.name, *KEY), limit), [SEPARATION.name, *names], catalogue, query)


def search_frames(
    catalogue: Published, query: Query, columns: Sequence[str] | None = None, limit: int | None = None,
    progress: Progress | None = None,
) -> pa.Table:  # fmt: skip
    """Sources of some frames, in the order of `KEY`.

    Parameters, what is returned and raised: as `search_cone`, but for the distance.
    """
    names = _names(catalogue, columns)
    catalogue.check(query, names)
    read = _together(names, KEY)
    tables = catalogue.scan(query, read, progress)
    return _finish(_best(tables, catalogue.schema_of(read), KEY, limit), names, catalogue, query)


def _names(catalogue: Published, columns: Sequence[str] | None) -> list[str]:
    return list(catalogue.schema.names if columns is None else dict.fromkeys(columns))


def _together(*names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(name for some in names for name in some))


def _with_separation(table: pa.Table, cone: Cone) -> pa.Table:
    found = cone.separation(table["ra"].to_numpy(), table["dec"].to_numpy())
    return table.add_column(0, SEPARATION, pa.array(np.asarray(found, dtype=np.float64)))


def _best(tables: Iterator[pa.Table], schema: pa.Schema, order: Sequence[str], limit: int | None) -> pa.Table:
    """First rows in an order; of those beyond the limit only some are held at a time."""
    held = schema.empty_table()
    for table in tables:
        held = pa.concat_tables([held, table])
        if limit is not None and held.num_rows > limit + _HELD:
            held = _sorted(held, order).slice(0, limit)
    return _sorted(held, order).slice(0, limit)


def _sorted(table: pa.Table, order: Sequence[str]) -> pa.Table:
    return table.sort_by([(name, "ascending") for name in order])


def _finish(table: pa.Table, names: Sequence[str], catalogue: Published, query: Query) -> pa.Table:
    about = {"catalogue": catalogue.url, "query": str(query)}
    told = {k.decode(): v.decode() for k, v in (catalogue.schema.metadata or {}).items()}
    return table.select(list(names)).replace_schema_metadata(told | about).combine_chunks()
