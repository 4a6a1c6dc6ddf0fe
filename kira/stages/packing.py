"""Which frames go into which Spark task: the dearest first, and tasks that become smaller towards the end."""

from collections.abc import Sequence

from kira.storage import Entry

MOST_FRAMES = 32
"""Of a task: its tables are in memory until it writes them, and what it did is lost if its worker dies."""
LEAST_FRAMES = 5
"""Ordinary frames' worth, of a task of several frames: a task costs Spark about a third of a frame."""
_ORDINARY_SHARE = 0.005
_CROWDED = 300.0
"""Cost of bright pixels, in units of a frame's without any. Ordinary frames have half a per cent of them, the globular
cluster M2 has 15 %."""
_ORDINARY_BYTES = 12_447_360


def cost(entry: Entry) -> float:
    """What extraction of a frame is expected to take, in units of an ordinary frame.

    It grows with the pixels, and with the part of them that is bright, as the stage stage found it; see
    `kira.frames.crowding`. Where that is not known it is taken for ordinary.
    """
    share = _ORDINARY_SHARE if entry.crowding is None else entry.crowding
    pixels = 1.0 if not entry.plain_size else 0.5 + 0.5 * entry.plain_size / _ORDINARY_BYTES
    return pixels * (1.0 + _CROWDED * share) / (1.0 + _CROWDED * _ORDINARY_SHARE)


def pack(entries: Sequence[Entry], cores: int) -> list[tuple[Entry, ...]]:
    """Pack frames into tasks, in the order in which they should begin.

    Guided self-scheduling (Polychronopoulos & Kuck 1987) over frames sorted by cost: each task takes the next part of
    what is left, a 2 x `cores`-th of it. So the crowded frames are begun first, and the last tasks are small enough to
    end at about the same time, with few tasks in all: each costs something.

    Parameters
    ----------
    entries : sequence of Entry
    cores : int
        Of the whole cluster.

    Returns
    -------
    list of tuple of Entry
        Each frame once; equal entries give equal tasks, in whatever order they come.
    """
    waiting = sorted(entries, key=lambda entry: (-cost(entry), entry.frame))
    left = sum(map(cost, waiting))
    tasks: list[tuple[Entry, ...]] = []
    begin = 0
    while begin < len(waiting):
        share = max(left / (2 * cores), LEAST_FRAMES)
        end, taken = begin, 0.0
        while (
            end < len(waiting) and end - begin < MOST_FRAMES and (end == begin or taken + cost(waiting[end]) <= share)
        ):
            taken += cost(waiting[end])
            end += 1
        tasks.append(tuple(waiting[begin:end]))
        left -= taken
        begin = end
    return tasks
