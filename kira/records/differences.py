"""What differs between two makings of a catalogue, and what may be the cause."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from kira.catalog.rows_digest import OF_THE_RUN, rows_sha256


@dataclass(frozen=True)
class ColumnDifference:
    """How a column of a frame's rows differs.

    Parameters
    ----------
    name : str
    rows : int
        That differ.
    largest : float or None
        Largest difference of two numbers; None for other values, or where only one of them is a number.
    """

    name: str
    rows: int
    largest: float | None

    def text(self) -> str:
        """In some words."""
        size = "" if self.largest is None else f" by up to {self.largest:.3g}"
        return f"{self.name} in {self.rows:,} rows{size}"


@dataclass(frozen=True)
class RowDifferences:
    """How the rows of a frame differ.

    Parameters
    ----------
    before, now : int
        Number of rows.
    missing, added : tuple of str
        Columns that only the one or the other has.
    columns : tuple of ColumnDifference
        Of the columns of both, where there are as many rows.
    """

    before: int
    now: int
    missing: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    columns: tuple[ColumnDifference, ...] = ()

    def text(self) -> str:
        """In a sentence."""
        parts = []
        if self.before != self.now:
            parts.append(f"{self.now:,} rows instead of {self.before:,}")
        if self.missing:
            parts.append(f"without {', '.join(self.missing)}")
        if self.added:
            parts.append(f"with {', '.join(self.added)}")
        parts += [one.text() for one in self.columns]
        return "; ".join(parts)


def compare_rows(before: pa.Table, now: pa.Table) -> RowDifferences | None:
    """Compare the rows of a frame, as they come, to the last bit; None if they are the same.

    Parameters
    ----------
    before, now : pyarrow.Table
        Columns that tell of the run are left out.
    """
    if rows_sha256(before) == rows_sha256(now):
        return None
    names, others = ([name for name in table.column_names if name not in OF_THE_RUN] for table in (before, now))
    both = [name for name in names if name in others]
    columns = []
    if before.num_rows == now.num_rows:
        columns = [found for name in both if (found := _column(name, before[name], now[name])) is not None]
    return RowDifferences(
        before.num_rows, now.num_rows, tuple(name for name in names if name not in both),
        tuple(name for name in others if name not in both), tuple(columns),
    )  # fmt: skip


def _column(name: str, before: pa.ChunkedArray, now: pa.ChunkedArray) -> ColumnDifference | None:
    if rows_sha256(pa.table({name: before})) == rows_sha256(pa.table({name: now})):
        return None
    one, other = (np.array(column.to_pylist(), dtype=object) for column in (before, now))
    kinds = [pa.types.is_floating(column.type) or pa.types.is_integer(column.type) for column in (before, now)]
    if not all(kinds):
        return ColumnDifference(name, int(np.sum(one != other)) or len(one), None)
    old, new = (np.array([np.nan if v is None else v for v in values], dtype=np.float64) for values in (one, other))
    differ = ~((old == new) | (np.isnan(old) & np.isnan(new)))
    both = differ & np.isfinite(old) & np.isfinite(new)
    largest = float(np.abs(old[both] - new[both]).max()) if both.any() else None
    # Equal as numbers and yet not the same: a zero's sign, or another type.
    return ColumnDifference(name, int(differ.sum()) or len(old), largest)


def compare_facts(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say in which of their values two mappings differ, one sentence for each, nested ones by their path.

    Parameters
    ----------
    before, now : mapping
        Of plain values, such as `kira.records.facts` gives.
    """
    return [
        f"{path}: {_said(now_value)} instead of {_said(before_value)}"
        for path, before_value, now_value in _unlike("", before, now)
    ]


_ABSENT = object()


def _unlike(path: str, before: Any, now: Any) -> list[tuple[str, Any, Any]]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        found = []
        for name in [*before, *(name for name in now if name not in before)]:
            below = f"{path}.{name}" if path else str(name)
            found += _unlike(below, before.get(name, _ABSENT), now.get(name, _ABSENT))
        return found
    return [] if before == now else [(path, before, now)]


def _said(value: Any) -> str:
    if value is _ABSENT:
        return "nothing"
    return str(value) if value not in ("", None) else "nothing"
