"""Frames as the few selections that ask for them: an ingestion is told runs, camcols, fields and bands, and no list."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace
from itertools import combinations
from math import prod

from kira.sdss import BANDS, Release, Selection
from kira.sdss.selection import Numbers

Place = tuple[int, int, int, str]
"""Run, camcol, field and band of a frame; field `ALL` for all fields."""
ALL = -1
_PARTS = ("runs", "camcols", "fields", "bands")
_MOST_COMPARED = 24
"""Boxes of which each is held against each other; more are brought together along the runs first."""


@dataclass(frozen=True)
class Box:
    """All combinations of some runs, camcols, fields and bands."""

    runs: frozenset[int]
    camcols: frozenset[int]
    fields: frozenset[int]
    bands: frozenset[str]

    @property
    def size(self) -> int:
        """Number of combinations."""
        return prod(len(getattr(self, name)) for name in _PARTS)

    def with_all_of(self, other: "Box") -> "Box":
        """The smallest box that holds both."""
        return Box(self.runs | other.runs, self.camcols | other.camcols, self.fields | other.fields,
                   self.bands | other.bands)  # fmt: skip

    def selection(self, release: Release) -> Selection:
        """As an ingestion is asked for it."""
        return Selection(
            release, _ranges(self.runs), _ranges(self.camcols),
            Numbers() if ALL in self.fields else _ranges(self.fields),
            tuple(band for band in BANDS if band in self.bands),
        )  # fmt: skip


def cover(places: Iterable[Place], most: int) -> list[Box]:
    """So many boxes at most that hold all places, and not many more.

    Boxes that differ in one part alone are one box, which loses nothing. Where there are still too many, those two are
    made one that take in the fewest combinations that nobody asked for.

    Parameters
    ----------
    places : iterable of (int, int, int, str)
    most : int
        At least 1.

    Returns
    -------
    list of Box
        By their first run; exact where `sum(box.size)` is the number of places.
    """
    boxes = [Box(*(frozenset([part]) for part in place)) for place in sorted(set(places))]  # type: ignore[arg-type]
    for name in ("bands", "fields", "camcols", "runs"):
        boxes = _joined(boxes, lambda box, name=name: replace(box, **{name: frozenset()}))  # type: ignore[misc]
    if len(boxes) > _MOST_COMPARED:
        boxes = _joined(boxes, lambda box: min(box.runs))
    if len(boxes) > _MOST_COMPARED:
        step = -(-len(boxes) // _MOST_COMPARED)
        boxes = [_all_of(boxes[start : start + step]) for start in range(0, len(boxes), step)]
    while len(boxes) > most:
        one, other = min(
            combinations(boxes, 2), key=lambda pair: pair[0].with_all_of(pair[1]).size - pair[0].size - pair[1].size
        )
        boxes = [box for box in boxes if box not in (one, other)] + [one.with_all_of(other)]
    return sorted(boxes, key=lambda box: (min(box.runs), min(box.camcols), min(box.fields), min(box.bands)))


def _joined(boxes: Iterable[Box], key: Callable[[Box], Hashable]) -> list[Box]:
    groups: dict[Hashable, list[Box]] = defaultdict(list)
    for box in boxes:
        groups[key(box)].append(box)
    return [_all_of(group) for group in groups.values()]


def _all_of(boxes: list[Box]) -> Box:
    parts = (frozenset[int]().union(*(getattr(box, name) for box in boxes)) for name in _PARTS)
    return Box(*parts)  # type: ignore[arg-type]


def _ranges(numbers: Iterable[int]) -> Numbers:
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1] = found[-1][0], number
        else:
            found.append((number, number))
    return Numbers(tuple(found))
