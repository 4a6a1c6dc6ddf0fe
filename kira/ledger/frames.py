"""Rows of `frame` and `tally`, which change together."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

from sqlalchemy import Connection, Insert, case, func, select
from sqlalchemy.dialects import postgresql, sqlite

from kira.ledger.numbers import band_of, camcol_of, run_of
from kira.ledger.states import State
from kira.ledger.tables import FrameTable, TallyTable
from kira.sdss import BANDS

T = TypeVar("T")
_STATE = tuple(field.name for field in fields(State))
_COLUMNS = [getattr(FrameTable, name) for name in _STATE]
_FLAGS = ("retrying", "published", "withdrawn", "to_do")
_TALLY_KEY = ("catalogue_id", "run", "camcol", "band", "stage", "outcome", *_FLAGS)
Change = tuple[State | None, State]
"""What a frame's state was, None if it was not known, and what it is now."""


def upsert(connection: Connection, table: Any) -> Any:
    """INSERT that can deal with rows that are there."""
    return (postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert)(table)


def chunks(items: Sequence[T], size: int = 500) -> Iterable[Sequence[T]]:
    """Parts of a list; SQLite takes 32,766 values a statement."""
    return (items[start : start + size] for start in range(0, len(items), size))


def read_states(connection: Connection, catalogue_id: int, numbers: Sequence[int]) -> dict[int, State]:
    """States of frames by key; those that are not known are left out."""
    found: dict[int, State] = {}
    for part in chunks(numbers):
        query = select(FrameTable.frame, *_COLUMNS).where(
            FrameTable.catalogue_id == catalogue_id, FrameTable.frame.in_(part)
        )
        found |= {row[0]: State(*row[1:]) for row in connection.execute(query)}
    return found


def read_range(connection: Connection, catalogue_id: int, low: int, high: int) -> dict[int, State]:
    """States of the frames whose keys are from `low` up to, and not with, `high`."""
    query = select(FrameTable.frame, *_COLUMNS).where(
        FrameTable.catalogue_id == catalogue_id, FrameTable.frame >= low, FrameTable.frame < high
    )
    return {row[0]: State(*row[1:]) for row in connection.execute(query)}


def write_states(connection: Connection, catalogue_id: int, changes: Mapping[int, Change]) -> None:
    """Write states, and bring the tallies to them; to be called with the catalogue's lock held.

    Parameters
    ----------
    connection : Connection
    catalogue_id : int
    changes : dict of int to (State or None, State)
        By key.
    """
    if not changes:
        return
    rows = [
        {"catalogue_id": catalogue_id, "frame": number} | {name: getattr(new, name) for name in _STATE}
        for number, (_, new) in sorted(changes.items())
    ]
    statement: Insert = upsert(connection, FrameTable)
    if any(old is not None for old, _ in changes.values()):
        statement = statement.on_conflict_do_update(  # type: ignore[attr-defined]
            index_elements=["catalogue_id", "frame"], set_={name: statement.excluded[name] for name in _STATE}  # type: ignore[attr-defined]
        )  # fmt: skip
    connection.execute(statement, rows)
    _tally(connection, catalogue_id, changes)


def _tally(connection: Connection, catalogue_id: int, changes: Mapping[int, Change]) -> None:
    frames, sources, size = Counter[Any](), Counter[Any](), Counter[Any]()
    for number, states in changes.items():
        place = run_of(number), camcol_of(number), band_of(number)
        for state, sign in zip(states, (-1, 1), strict=True):
            if state is not None:
                key = (
                    *place,
                    state.stage,
                    state.outcome,
                    state.retrying,
                    state.published,
                    state.withdrawn,
                    state.to_do,
                )
                frames[key] += sign
                sources[key] += sign * state.sources
                size[key] += sign * (state.size or 0)
    rows = [
        dict(zip(_TALLY_KEY, (catalogue_id, *key), strict=True))
        | {"frames": n, "sources": sources[key], "size": size[key]}
        for key, n in sorted(frames.items()) if n or sources[key] or size[key]
    ]  # fmt: skip
    if not rows:
        return
    statement = upsert(connection, TallyTable)
    sums = {name: getattr(TallyTable, name) + statement.excluded[name] for name in ("frames", "sources", "size")}
    connection.execute(statement.on_conflict_do_update(index_elements=_TALLY_KEY, set_=sums), rows)


def counted(catalogue_id: int) -> Any:
    """Query that counts the rows of `frame` as `tally` should have them."""
    number = FrameTable.frame
    band = case({index: name for index, name in enumerate(BANDS)}, value=number % 10)
    key = [
        number // 10**10, number // 10**5 % 10, band,
        FrameTable.stage, FrameTable.outcome, FrameTable.retrying, FrameTable.published_batch_id.is_not(None),
        FrameTable.withdrawn, FrameTable.to_do,
    ]  # fmt: skip
    sums = [func.count(), func.sum(FrameTable.sources), func.sum(func.coalesce(FrameTable.size, 0))]
    labelled: list[Any] = [column.label(f"c{n}") for n, column in enumerate(key)]
    return select(*labelled, *sums).where(FrameTable.catalogue_id == catalogue_id).group_by(*(c.name for c in labelled))
