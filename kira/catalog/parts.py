"""The Parquet files of a published catalogue by their footers: what they say of themselves and of their columns."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kira.errors import InvalidInput
from kira.sdss.quoting import one_line

_TYPES: dict[str, Callable[[pa.DataType], bool]] = {
    "release": pa.types.is_string, "band": pa.types.is_string, "ra": pa.types.is_floating, "dec": pa.types.is_floating,
    "x": pa.types.is_floating, "y": pa.types.is_floating,
} | {name: pa.types.is_integer for name in ("run", "rerun", "camcol", "field", "number")}  # fmt: skip
"""Columns that every catalogue of Kira has, whatever its schema."""
_BOUNDED = ("run", "camcol", "field", "band", "primary", "ra", "dec")


@dataclass(frozen=True)
class Part:
    """One Parquet file of a catalogue, by its footer.

    Parameters
    ----------
    path : str
        Below the catalogue.
    size : int
        Bytes.
    version : str
        Another one if it was replaced.
    footer : pyarrow.parquet.FileMetaData
    """

    path: str
    size: int
    version: str
    footer: pq.FileMetaData


@dataclass(frozen=True)
class Group:
    """One row group, the least that is read of a column.

    Parameters
    ----------
    part : Part
    number : int
        Within the file.
    """

    part: Part
    number: int

    def ranges(self) -> Mapping[str, tuple[Any, Any]]:
        """Lowest and highest value of the columns that can be searched by, where the footer says them."""
        group, found = self.part.footer.row_group(self.number), {}
        for at in range(group.num_columns):
            column = group.column(at)
            if column.path_in_schema in _BOUNDED and column.is_stats_set and column.statistics.has_min_max:
                low, high = column.statistics.min, column.statistics.max
                if not any(isinstance(one, float) and math.isnan(one) for one in (low, high)):
                    found[column.path_in_schema] = (low, high)
        return found


def common_schema(parts: Sequence[Part], uri_of: Callable[[str], str]) -> pa.Schema:
    """Schema of all parts, whose metadata is what they say of themselves.

    Parameters
    ----------
    parts : sequence of Part
        At least one.
    uri_of : callable
        From path to URL, for messages.

    Raises
    ------
    InvalidInput
        If a file is no part of a catalogue of Kira's, or has other columns than the first.
    """
    schemas = [_schema_of(part, uri_of(part.path)) for part in parts]
    columns = [[(field.name, field.type) for field in schema] for schema in schemas]
    for part, mine in zip(parts, columns, strict=True):
        if mine != columns[0]:
            raise InvalidInput(f"{uri_of(part.path)} has other columns than {uri_of(parts[0].path)}.")
    about = merged([part.footer.metadata or {} for part in parts])
    return pa.schema([_with_unit(field, about.get("flux_unit", "")) for field in schemas[0]], metadata=about)


def _schema_of(part: Part, uri: str) -> pa.Schema:
    with damage(uri):
        schema = part.footer.schema.to_arrow_schema()
    for name, is_right in _TYPES.items():
        at = schema.get_field_index(name)
        if at < 0 or not is_right(schema.field(at).type):
            raise InvalidInput(f"{uri} is not part of a catalogue of Kira: it has no column {name} such as Kira's.")
    return schema


def merged(told: Iterable[Mapping[bytes, bytes]]) -> dict[str, str]:
    """What several files say of themselves, as one; they are synthetic if one of them is."""
    words: dict[str, set[str]] = {}
    for one in told:
        for name, text in one.items():
            if not name.startswith(b"ARROW"):  # pyarrow's own
                words.setdefault(name.decode(errors="replace"), set()).add(text.decode(errors="replace"))
    found = {name: ",".join(sorted(texts)) for name, texts in sorted(words.items())}
    return found | ({"synthetic": "yes"} if "yes" in words.get("synthetic", ()) else {})


def _with_unit(field: pa.Field, flux_unit: str) -> pa.Field:
    """Schema 1 leaves it to the file to say the unit of its fluxes; a table that is handed on says it itself."""
    told = field.metadata or {}
    if told.get(b"flux") == b"1" and not told.get(b"unit") and "," not in flux_unit:
        return field.with_metadata(told | {b"unit": flux_unit.encode()})
    return field


@contextmanager
def damage(uri: str) -> Iterator[None]:
    """Turn what pyarrow raises inside the block into InvalidInput that names the file."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = one_line(str(error).strip().partition("\n")[0]).rstrip(".")
        raise InvalidInput(f"{uri} cannot be read as Parquet: {reason}.") from error
