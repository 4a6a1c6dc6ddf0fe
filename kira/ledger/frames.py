"""Rows of `frame` and `tally`, which change together."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Insert, bindparam, case, func, insert, literal, literal_column, select
from sqlalchemy.dialects import postgresql, sqlite

from kira.ledger.numbers import band_of, camcol_of, run_of
from kira.ledger.states import State, waiting
from kira.ledger.tables import FrameTable, TallyTable
from kira.sdss import BANDS

T = TypeVar("T")
_STATE = tuple(field.name for field in fields(State))
_COLUMNS = [getattr(FrameTable, name) for name in _STATE]
_TALLY_KEY = (
    "catalogue_id", "run", "camcol", "band", "stage", "outcome", "retrying", "published", "withdrawn", "to_do",
)  # fmt: skip
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


def write_new(connection: Connection, catalogue_id: int, listed: Mapping[int, str], at: datetime) -> None:
    """Write frames that were just found in the archive, and count them.

    The same as `write_states`, and many times faster: an archive's first reconciliation finds millions.

    Parameters
    ----------
    connection : Connection
    catalogue_id : int
    listed : dict of int to str
        What the listing says of each, by key.
    at : datetime
    """
    if not listed:
        return
    state = waiting("", at)
    # Two values a row are given, the others are part of the statement.
    values: dict[str, Any] = {
        name: _written(connection, FrameTable.__table__.c[name], getattr(state, name)) for name in _STATE
    }
    values |= {
        "catalogue_id": _written(connection, FrameTable.__table__.c["catalogue_id"], catalogue_id),
        "frame": bindparam("number"),
        "listed": bindparam("says"),
    }
    rows = [{"number": number, "says": says} for number, says in sorted(listed.items())]
    connection.execute(insert(FrameTable).values(values), rows)
    counts = Counter((run_of(number), camcol_of(number), band_of(number)) for number in listed)
    _add(connection, catalogue_id, {(*place, *_as_counted(state)): (n, 0, 0) for place, n in counts.items()})


def _written(connection: Connection, column: Any, value: object) -> Any:
    """A value as it is written in the text of a statement."""
    text = literal(value, column.type).compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
    return literal_column(str(text), column.type)


def _as_counted(state: State) -> tuple[Any, ...]:
    return (state.stage, state.outcome, state.retrying, state.published, state.withdrawn, state.to_do)


def _tally(connection: Connection, catalogue_id: int, changes: Mapping[int, Change]) -> None:
    sums: dict[Any, tuple[int, int, int]] = {}
    for number, states in changes.items():
        place = run_of(number), camcol_of(number), band_of(number)
        for state, sign in zip(states, (-1, 1), strict=True):
            if state is not None:
                key = (*place, *_as_counted(state))
                frames, sources, size = sums.get(key, (0, 0, 0))
                sums[key] = frames + sign, sources + sign * state.sources, size + sign * (state.size or 0)
    _add(connection, catalogue_id, sums)


def _add(connection: Connection, catalogue_id: int, sums: Mapping[Any, tuple[int, int, int]]) -> None:
    """Add to the tallies."""
    names = ("frames", "sources", "size")
    rows = [
        dict(zip((*_TALLY_KEY, *names), (catalogue_id, *key, *values), strict=True))
        for key, values in sorted(sums.items()) if any(values)
    ]  # fmt: skip
    if not rows:
        return
    statement = upsert(connection, TallyTable)
    added = {name: getattr(TallyTable, name) + statement.excluded[name] for name in names}
    connection.execute(statement.on_conflict_do_update(index_elements=_TALLY_KEY, set_=added), rows)


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
