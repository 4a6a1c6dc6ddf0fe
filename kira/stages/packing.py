"""Which frames go into which Spark task: those of one host, the dearest first, and smaller tasks towards the end."""

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence

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


def pack(
    entries: Sequence[Entry], cores: int, hosts: Mapping[str, Sequence[str]] | None = None
) -> list[tuple[Entry, ...]]:
    """Pack frames into tasks, in the order in which they should begin.

    Guided self-scheduling (Polychronopoulos & Kuck 1987) over frames sorted by cost: each task takes the next part of
    what is left, a 2 x `cores`-th of it. So the crowded frames are begun first, and the last tasks are small enough to
    end at about the same time, with few tasks in all: each costs something.

    Where it is known which hosts hold a frame, each frame is given to one of them, so that all have as much as can be,
    and a task takes frames of one host: of that which has most left. A host that is done early takes what another's
    are, in this order; so it is the small tasks of the end that are taken away from where their frames lie.

    Parameters
    ----------
    entries : sequence of Entry
    cores : int
        Of the whole cluster.
    hosts : mapping of str to sequence of str, optional
        Hosts that hold a file, by its path; what is not in it may be worked on anywhere.

    Returns
    -------
    list of tuple of Entry
        Each frame once; equal entries give equal tasks, in whatever order they come.
    """
    waiting = _of_hosts(sorted(entries, key=lambda entry: (-cost(entry), entry.frame)), hosts or {})
    left = {host: sum(map(cost, queue)) for host, queue in waiting.items()}
    tasks: list[tuple[Entry, ...]] = []
    while waiting:
        share = max(sum(left.values()) / (2 * cores), LEAST_FRAMES)
        host = max(waiting, key=lambda name: (left[name], name))
        queue, taken = waiting[host], 0.0
        task: list[Entry] = []
        while queue and len(task) < MOST_FRAMES and (not task or taken + cost(queue[0]) <= share):
            taken += cost(queue[0])
            task.append(queue.popleft())
        tasks.append(tuple(task))
        left[host] -= taken
        if not queue:
            del waiting[host], left[host]
    return tasks


def _of_hosts(entries: Sequence[Entry], hosts: Mapping[str, Sequence[str]]) -> dict[str, deque[Entry]]:
    """Give each entry to one of the hosts that hold it, the dearest first, to that which has least; "" is anywhere."""
    given: dict[str, float] = {}
    waiting: dict[str, deque[Entry]] = {}
    for entry in entries:
        host = min(hosts.get(entry.staged) or ("",), key=lambda name: (given.get(name, 0.0), name))
        given[host] = given.get(host, 0.0) + cost(entry)
        waiting.setdefault(host, deque()).append(entry)
    return waiting


def preferred(entries: Sequence[Entry], hosts: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Hosts that hold most of a task's frames, by their cost; none where no host is known."""
    held: dict[str, float] = defaultdict(float)
    for entry in entries:
        for host in hosts.get(entry.staged, ()):
            held[host] += cost(entry)
    most = max(held.values(), default=0.0)
    return tuple(sorted(host for host, much in held.items() if much > 0.999 * most))  # sums differ in their last bit
