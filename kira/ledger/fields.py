"""What became of each field, band by band, as small numbers: for a map of millions of frames.

The frame table is read in ranges of its key, a run at a time, and the database packs the bands of a field into one
row. Which runs have changed since is told by the tallies, so that a look at a survey that stands still costs a sum
over some thousand rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BigInteger, ColumnElement, and_, case, func, literal_column, or_, select

from kira.ledger.ledger import Ledger
from kira.ledger.outcomes import Outcome
from kira.ledger.tables import FrameTable, TallyTable
from kira.sdss import BANDS

_RUN = 10**10
_BITS = 3
Mark = tuple[int, ...]
"""Sums over a run that tell whether a look at its frames would show anything new."""


class FieldState(IntEnum):
    """Where a frame is, as a map shows it."""

    UNKNOWN = 0
    """The ledger does not know it: nobody has asked for it yet."""
    TO_DO = 1
    """It waits for a plan to take it up."""
    AT_WORK = 2
    """It is in a batch that has not come to its end, or will be tried again by its run."""
    PUBLISHED = 3
    """Its rows are in the catalogue."""
    FAILED = 4
    """Its newest outcome is a failure, be older rows of it in the catalogue or not."""
    MISSING = 5
    """The archive does not have it, or does not list it any more."""


@dataclass(frozen=True, eq=False)
class FieldStates:
    """Fields of some runs in the ledger, in its order; arrays of n values.

    Parameters
    ----------
    run : ndarray of int32
    camcol : ndarray of int8
    field : ndarray of int16
    states : ndarray of uint16
        A `FieldState` of three bits a band, u in the lowest.
    sources : ndarray of uint16, shape (n, 5)
        In the catalogue, by band; 65535 stands for that and more.
    """

    run: NDArray[np.int32]
    camcol: NDArray[np.int8]
    field: NDArray[np.int16]
    states: NDArray[np.uint16]
    sources: NDArray[np.uint16]


def marks(ledger: Ledger, catalogue: int) -> dict[int, Mark]:
    """Mark of each run that the ledger knows of, from the tallies.

    Two frames of one run, camera column and band that change places between two looks leave it as it was.
    """
    state = _state(TallyTable, TallyTable.published)
    # A weight for each camera column and band: what goes up in one may go down in another.
    place = TallyTable.camcol * 5 + case(
        *((TallyTable.band == band, number) for number, band in enumerate(BANDS)), else_=0
    )
    sums = [
        func.sum(case((state == int(one), TallyTable.frames * (place * place + 1)), else_=0))
        for one in FieldState if one
    ]  # fmt: skip
    query = select(TallyTable.run, func.sum(TallyTable.frames), func.sum(TallyTable.sources * place), *sums).where(
        TallyTable.catalogue_id == catalogue, TallyTable.frames > 0
    )
    with ledger.database.reading() as connection:
        return {
            int(run): tuple(int(n) for n in rest)
            for run, *rest in connection.execute(query.group_by(TallyTable.run).order_by(TallyTable.run))
        }


def field_states(ledger: Ledger, catalogue: int, runs: Sequence[int]) -> FieldStates:
    """What became of the fields of some runs.

    Parameters
    ----------
    ledger : Ledger
    catalogue : int
    runs : sequence of int
        Of a field in several reruns, the last one counts.
    """
    # Numbers as text, no parameters: PostgreSQL takes two of these for two expressions, and groups by neither.
    field = FrameTable.frame // literal_column("10", BigInteger)
    state = _state(FrameTable, FrameTable.published_batch_id.is_not(None))
    band = FrameTable.frame % 10
    weight = case(*((band == number, 1 << _BITS * number) for number in range(1, len(BANDS))), else_=1)
    sources = [
        func.sum(case((band == number, FrameTable.sources), else_=0)).label(name) for number, name in enumerate(BANDS)
    ]
    query = select(field.label("key"), func.sum(state * weight), *sources).where(FrameTable.catalogue_id == catalogue)
    pieces = [np.zeros((0, 2 + len(BANDS)), dtype=np.int64)]
    with ledger.database.reading() as connection:
        for low, high in _ranges(runs):
            part = query.where(FrameTable.frame >= low, FrameTable.frame < high).group_by(field)
            rows = connection.execute(part).all()
            if rows:
                pieces.append(np.array([tuple(row) for row in rows], dtype=np.int64))
    return _unpacked(np.concatenate(pieces))


def _unpacked(rows: NDArray[np.int64]) -> FieldStates:
    key = rows[:, 0]
    run, camcol, field = key // 10**9, key // 10**4 % 10, key % 10**4
    # Without its rerun a field may be there twice: of equal ones the last stays.
    places = (run * 10 + camcol) * 10**4 + field
    order = np.lexsort((key, places))
    last = order[np.flatnonzero(np.diff(places[order], append=-1))]
    return FieldStates(
        run[last].astype(np.int32), camcol[last].astype(np.int8), field[last].astype(np.int16),
        rows[last, 1].astype(np.uint16), np.minimum(rows[last, 2:], 65535).astype(np.uint16),
    )  # fmt: skip


def _ranges(runs: Sequence[int]) -> list[tuple[int, int]]:
    """Ranges of keys of each run by itself: a statement of a whole survey would sort millions of rows."""
    return [(run * _RUN, (run + 1) * _RUN) for run in sorted(set(runs))]


def _state(table: Any, published: Any) -> ColumnElement[int]:
    good = table.outcome.in_([one.value for one in Outcome if one.good])
    gone = or_(table.withdrawn, table.outcome.in_([Outcome.NOT_IN_ARCHIVE.value, Outcome.WITHDRAWN.value]))
    return case(
        (gone, int(FieldState.MISSING)),
        (table.retrying, int(FieldState.AT_WORK)),
        (and_(good, published), int(FieldState.PUBLISHED)),
        (good, int(FieldState.AT_WORK)),
        (table.outcome == Outcome.WAITING.value, int(FieldState.TO_DO)),
        else_=int(FieldState.FAILED),
    )
