"""Frames into Spark tasks: none lost, the dearest first, and an end without stragglers."""

import heapq
import io
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from real_frames import COUNTS, M2, plain

from kira.frames.crowding import bright_share
from kira.sdss import FrameId
from kira.stages.packing import LEAST_FRAMES, MOST_FRAMES, cost, pack, preferred
from kira.storage import Entry

BYTES = 12_447_360


def entries(number: int, crowding: float | None = 0.005) -> list[Entry]:
    frames = (FrameId.parse(f"dr12-301-000094-1-{field:04}-r") for field in range(11, 11 + number))
    return [Entry(frame, "u", "k", "s", plain_size=BYTES, crowding=crowding) for frame in frames]


def makespan(tasks: list[tuple[Entry, ...]], cores: int, each: float) -> float:
    """When the last core is done, if each takes the next task when it is free; a task itself costs something too."""
    free = [0.0] * cores
    for task in tasks:
        heapq.heappush(free, heapq.heappop(free) + each + sum(map(cost, task)))
    return max(free)


@pytest.mark.parametrize("cores", [1, 2, 8, 512])
@pytest.mark.parametrize("number", [0, 1, 7, 24, 500, 3000])
def test_every_frame_is_in_one_task(number: int, cores: int) -> None:
    given = entries(number)
    random.Random(1).shuffle(given)
    tasks = pack(given, cores)
    assert sorted(entry.frame for task in tasks for entry in task) == sorted(entry.frame for entry in given)
    assert all(1 <= len(task) <= MOST_FRAMES for task in tasks)
    assert pack(sorted(given, key=lambda entry: entry.frame), cores) == tasks
    assert len(tasks) <= 1 + number // (LEAST_FRAMES - 1)


@pytest.mark.parametrize("cores", [2, 8, 64])
def test_crowded_frames_do_not_become_the_last(cores: int) -> None:
    """One M2 among a hundred, and cores that end within a tenth of the ideal; a task costs a third of a frame."""
    given = entries(100 * cores)
    crowded = set(range(0, len(given), 100))
    given = [Entry(e.frame, "u", "k", "s", plain_size=BYTES, crowding=0.15 if n in crowded else 0.005)
             for n, e in enumerate(given)]  # fmt: skip
    tasks = pack(given, cores)
    begun_with = [entry.crowding for task in tasks for entry in task][: len(crowded)]
    assert begun_with == [0.15] * len(crowded)
    assert makespan(tasks, cores, each=1 / 3) < 1.1 * sum(map(cost, given)) / cores


def test_what_is_not_known_is_ordinary() -> None:
    assert cost(Entry(entries(1)[0].frame, "u", "k", "s")) == pytest.approx(cost(entries(1)[0])) == 1.0
    assert cost(entries(1, 0.15)[0]) > 3
    smaller = Entry(entries(1)[0].frame, "u", "k", "s", plain_size=BYTES // 2)
    assert 0.5 < cost(smaller) < 1.0


def test_the_cluster_is_told_from_the_fields(shared_sdss: Path) -> None:
    share = {name: bright_share(io.BytesIO(plain(shared_sdss, name))) for name in COUNTS}
    assert share.pop(M2) > 0.1
    assert all(0.0001 < one < 0.01 for one in share.values()), share


def test_a_file_that_is_no_frame_has_no_crowding() -> None:
    whole = io.BytesIO()
    fits.PrimaryHDU(np.arange(12, dtype=np.int16).reshape(3, 4)).writeto(whole)
    assert bright_share(io.BytesIO(whole.getvalue())) == 0.0
    for content in (b"", b"SIMPLE  =", b"<html>" * 2000, whole.getvalue()[:2000]):
        assert bright_share(io.BytesIO(content)) is None
    flat = io.BytesIO()
    fits.PrimaryHDU(np.full((5, 5), np.nan, dtype=np.float32)).writeto(flat)
    assert bright_share(io.BytesIO(flat.getvalue())) == 0.0
    cube = io.BytesIO()
    fits.PrimaryHDU(np.zeros((2, 2, 2), dtype=np.float32)).writeto(cube)
    assert bright_share(io.BytesIO(cube.getvalue())) is None


# -- where frames lie


def spark(tasks: list[tuple[Entry, ...]], where: dict[str, tuple[str, ...]], hosts: list[str]) -> tuple[float, float]:
    """Makespan, and the part of the cost that was worked on where it lies.

    A free host takes the first task that prefers it, else the first of all: as Spark does where it waits for nothing.
    """
    wanted = [preferred(task, where) for task in tasks]
    free = [(0.0, host) for host in sorted(hosts)]
    waiting, local = list(range(len(tasks))), 0.0
    while waiting:
        at, host = heapq.heappop(free)
        here = next((number for number in waiting if host in wanted[number]), waiting[0])
        waiting.remove(here)
        local += sum(cost(entry) for entry in tasks[here] if host in where[entry.staged])
        heapq.heappush(free, (at + 1 / 3 + sum(map(cost, tasks[here])), host))
    return max(free)[0], local / sum(cost(entry) for task in tasks for entry in task)


Where = dict[str, tuple[str, ...]]


def lying(number: int, hosts: int, replicas: int, uneven: float = 1.0) -> tuple[list[Entry], Where]:
    """Frames and where they lie; the first host holds `uneven` times as many as others."""
    chance = random.Random(3)
    names = [f"h{host}" for host in range(hosts)]
    frames = [replace(entry, staged=f"{entry.frame}.fits") for entry in entries(number)]
    weights = [uneven, *[1.0] * (hosts - 1)]
    where = {}
    for frame in frames:
        held: set[str] = set()
        while len(held) < replicas:
            held.update(chance.choices(names, weights))
        where[frame.staged] = tuple(sorted(held))
    return frames, where


def test_tasks_are_of_one_host() -> None:
    frames, hosts = lying(500, hosts=4, replicas=2)
    tasks = pack(frames, 8, hosts)
    assert sorted(entry.frame for task in tasks for entry in task) == [entry.frame for entry in frames]
    wanted = [preferred(task, hosts) for task in tasks]
    for task, where in zip(tasks, wanted, strict=True):
        assert where
        assert all(host in hosts[entry.staged] for entry in task for host in where)
    assert pack(frames[::-1], 8, hosts) == tasks


@pytest.mark.parametrize(
    ("replicas", "uneven", "least"), [(1, 1.0, 0.9), (2, 1.0, 0.97), (3, 1.0, 0.97), (1, 3.0, 0.6)]
)
def test_most_is_worked_on_where_it_lies_and_no_host_waits(replicas: int, uneven: float, least: float) -> None:
    frames, hosts = lying(2000, hosts=4, replicas=replicas, uneven=uneven)
    names = ["h0", "h1", "h2", "h3"]
    seconds, local = spark(pack(frames, 4, hosts), hosts, names)
    assert local > max(least, 1.15 * spark(pack(frames, 4), hosts, names)[1])
    assert seconds < 1.1 * sum(map(cost, frames)) / 4


def test_frames_of_unknown_places_are_packed_as_ever() -> None:
    frames, _ = lying(300, hosts=2, replicas=1)
    assert pack(frames, 4, {}) == pack(frames, 4)
    assert preferred(frames, {}) == ()
    half = {entry.staged: ("h0",) for entry in frames[:150]}
    tasks = pack(frames, 4, half)
    assert {len({entry.staged in half for entry in task}) for task in tasks} == {1}
    assert preferred(frames, half) == ("h0",)
