"""PREDICTION of the Spark job on clusters that were not there, from what it was measured to take on one machine.

A discrete-event simulation: events are cores that become free, in a heap. A library for such (simpy) is for processes
that wait for each other; here none does, a task once begun runs to its end, and the library would take more lines than
the loop below. The tasks are those of the real packing (`kira.stages.packing`), and a free core takes what Spark's
scheduler would give it: the first task that prefers its host, else the first of all.
"""

import heapq
import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kira.sdss import FrameId
from kira.stages.packing import pack, preferred
from kira.storage import Entry

ASSUMPTIONS = (
    "A frame takes as long as one that was measured here, drawn at random, on a core like this machine's with all "
    "cores of a host at work.",
    "{crowded:.1%} of the frames are like the crowded one, and the stage stage has found it out.",
    "All executors are there at the beginning, none fails, none is slower than another.",
    "Frames lie on {replicas} hosts taken at random of all that have executors. One on the own host is read as fast as "
    "it was here; from another host it takes the time that {megabytes:.1f} MB need on a link of {mbit:.0f} Mbit/s that "
    "the {each} cores of a host share. Switches have room for all; NameNode and DataNodes are as fast as here.",
    "The driver hands out one task after the other, {dispatch:.1f} ms each, which is what an empty task in Java took "
    "here as a whole; a core waits {gap:.0f} ms between two tasks.",
    "A job takes {start:.1f} s before its first task; after the last {end:.1f} s, and {frame:.2f} ms for each frame.",
    "The catalogue's files are written as fast as here; what their further replicas need of the links is left out.",
)


@dataclass(frozen=True)
class Frame:
    """What is simulated of a frame.

    Parameters
    ----------
    seconds : float
        Where it lies on the worker's own host.
    far : float
        More than that, where it does not.
    hosts : tuple of str
        That hold it.
    """

    seconds: float
    far: float = 0.0
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """A task of the simulation.

    Parameters
    ----------
    frames : sequence of Frame
    wanted : tuple of str
        Hosts on which Spark is asked to run it.
    """

    frames: Sequence[Frame]
    wanted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Replay:
    """What came out.

    Parameters
    ----------
    makespan : float
        From the first task's begin to the last one's end, s.
    busy : float
        Part of the cores' time in which they worked.
    near : float
        Part of the frames that were worked on where they lie.
    tasks : int
    """

    makespan: float
    busy: float
    near: float
    tasks: int


def replay(
    jobs: Sequence[Job], cores: Sequence[str], *, per_task: float = 0.0, gap: float = 0.0, dispatch: float = 0.0
) -> Replay:
    """Simulate tasks on cores.

    Parameters
    ----------
    jobs : sequence of Job
        In the order of their numbers.
    cores : sequence of str
        The host of each core.
    per_task : float
        Seconds of a task beside its frames.
    gap : float
        Seconds that a core waits after a task, whatever the driver does.
    dispatch : float
        Seconds of the driver for each task, one after the other.
    """
    on_host: dict[str, deque[int]] = {host: deque() for host in cores}
    for number, job in enumerate(jobs):
        for host in job.wanted:
            if host in on_host:
                on_host[host].append(number)
    anywhere, taken = deque(range(len(jobs))), [False] * len(jobs)
    free = [(0.0, core) for core in range(len(cores))]
    driver = end = worked = 0.0
    near = 0
    while (number := _first(anywhere, taken)) is not None:
        at, core = heapq.heappop(free)
        host = cores[core]
        here = _first(on_host[host], taken)
        number = number if here is None else here
        taken[number] = True
        driver = max(driver, at) + dispatch
        local = [host in frame.hosts for frame in jobs[number].frames]
        near += sum(local)
        seconds = per_task + sum(
            frame.seconds + (0.0 if lies_here else frame.far)
            for frame, lies_here in zip(jobs[number].frames, local, strict=True)
        )
        worked += seconds
        end = max(end, driver + seconds)
        heapq.heappush(free, (driver + seconds + gap, core))
    frames = sum(len(job.frames) for job in jobs)
    return Replay(end, worked / (end * len(cores)) if end else 0.0, near / frames if frames else 0.0, len(jobs))


def _first(numbers: deque[int], taken: Sequence[bool]) -> int | None:
    """First that is not taken yet; those before it are dropped."""
    while numbers and taken[numbers[0]]:
        numbers.popleft()
    return numbers[0] if numbers else None


@dataclass(frozen=True)
class Costs:
    """What was measured of the job.

    Parameters
    ----------
    frames : tuple of float
        Seconds of each ordinary frame: from reading to the rows.
    crowded : float
        Seconds of a crowded frame.
    per_task, per_task_frame : float
        Seconds of a task beside those: of it as a whole, and for each frame (writing the rows).
    gap, dispatch : float
        See `replay`.
    start, end, end_per_frame : float
        Seconds before the first task and after the last, of the job as a whole and for each frame.
    megabytes : float
        Of a frame as it is staged.
    """

    frames: tuple[float, ...]
    crowded: float
    per_task: float
    per_task_frame: float
    gap: float
    dispatch: float
    start: float
    end: float
    end_per_frame: float
    megabytes: float

    @property
    def mean(self) -> float:
        """Seconds of an ordinary frame."""
        return sum(self.frames) / len(self.frames)


def assumptions(shape: "Shape", costs: Costs) -> list[str]:
    """Sentences about what a prediction takes for granted."""
    return [
        one.format(
            crowded=CROWDED_SHARE, replicas=shape.replicas, megabytes=costs.megabytes, each=shape.each,
            dispatch=1e3 * costs.dispatch, gap=1e3 * costs.gap, start=costs.start, end=costs.end,
            frame=1e3 * costs.end_per_frame, mbit=shape.mbit,
        )
        for one in ASSUMPTIONS
    ]  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """A cluster.

    Parameters
    ----------
    cores, each : int
        In all, and of a host.
    mbit : float
        Of a host's link, Mbit/s.
    replicas : int
    by_host : bool
        Whether tasks are packed by host and prefer it.
    """

    cores: int
    each: int = 8
    mbit: float = 1000.0
    replicas: int = 2
    by_host: bool = True

    @property
    def hosts(self) -> list[str]:
        """Host of each core."""
        return [f"host{core // self.each:03}" for core in range(self.cores)]


CROWDED_SHARE = 0.001
_CROWDING, _ORDINARY, _BYTES = 0.15, 0.005, 12_447_360


def predict(frames: Sequence[FrameId], shape: Shape, costs: Costs, crowded: float = CROWDED_SHARE) -> Replay:
    """Pack frames by the project's own packing, and simulate the tasks on a cluster.

    Parameters
    ----------
    frames : sequence of FrameId
    shape : Shape
    costs : Costs
    crowded : float
        Part of the frames that is crowded.
    """
    # The same for all clusters. Hosts have a chance of their own: how many are drawn depends on the cluster.
    chance, places = random.Random(len(frames)), random.Random(len(frames) + 1)  # noqa: S311
    names = sorted(set(shape.hosts))
    far = 8.0 * costs.megabytes / shape.mbit * min(shape.each, shape.cores)
    known: dict[FrameId, Frame] = {}
    entries = []
    for frame in frames:
        is_crowded = chance.random() < crowded
        seconds = costs.crowded if is_crowded else costs.frames[int(chance.random() * len(costs.frames))]
        hosts = tuple(sorted(places.sample(names, min(shape.replicas, len(names)))))
        known[frame] = Frame(seconds + costs.per_task_frame, far, hosts)
        crowding = _CROWDING if is_crowded else _ORDINARY
        entries.append(Entry(frame, "", "", str(frame), plain_size=_BYTES, crowding=crowding))
    return simulate(entries, known, shape, costs)


def simulate(entries: Sequence[Entry], known: Mapping[FrameId, Frame], shape: Shape, costs: Costs) -> Replay:
    """Pack the frames of a batch, of which it is known what each takes, and simulate the tasks on a cluster."""
    where = {entry.staged: known[entry.frame].hosts for entry in entries} if shape.by_host else {}
    jobs = [
        Job([known[entry.frame] for entry in task], preferred(task, where))
        for task in pack(entries, shape.cores, where)
    ]
    return replay(jobs, shape.hosts, per_task=costs.per_task, gap=costs.gap, dispatch=costs.dispatch)


def whole(costs: Costs, frames: int, makespan: float) -> float:
    """Seconds of a job from spark-submit to its end."""
    return costs.start + makespan + costs.end + costs.end_per_frame * frames


def in_batches(frames: Sequence[FrameId], size: int, shape: Shape, costs: Costs) -> float:
    """Seconds of all, as Airflow has it: a job for each batch, one after the other."""
    full, rest = divmod(len(frames), size)
    seconds = full * whole(costs, size, predict(frames[:size], shape, costs).makespan) if full else 0.0
    if rest:
        seconds += whole(costs, rest, predict(frames[-rest:], shape, costs).makespan)
    return seconds
