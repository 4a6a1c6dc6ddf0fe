"""The simulation behind predictions, against cases that can be worked out by hand."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from benchmarks.cluster import SparkRun
from benchmarks.contenders import Run
from benchmarks.replay import Costs, Frame, Job, Shape, in_batches, predict, replay, whole
from benchmarks.scaling import costs_of
from kira.sdss import FrameId
from kira.stages.extraction import Measured, TaskRun
from kira.stages.packing import pack
from kira.storage import Entry

COSTS = Costs((0.1,), 1.0, 0.0, 0.0, 0.0, 0.0, 10.0, 1.0, 0.001, 2.5)
SLOW = "dr12-301-009002-3-0011-r"
"""The crowded frame: one that was rendered, which has another name than M2's."""
FRAMES = [FrameId.parse(f"dr12-301-000094-1-{field:04}-r") for field in range(11, 1011)]


def jobs(*seconds: float) -> list[Job]:
    return [Job([Frame(one)]) for one in seconds]


def test_one_core_does_all() -> None:
    done = replay(jobs(1, 2, 3), ["a"])
    assert (done.makespan, done.busy, done.tasks) == (6, 1, 3)
    assert replay([], ["a"]).makespan == 0


def test_a_free_core_takes_the_next() -> None:
    # 4 | 3 2 : the second core is free at 3 and takes the third task; the fourth begins at 4.
    done = replay(jobs(4, 3, 2, 1), ["a", "a"])
    assert done.makespan == 5
    assert done.busy == 1


def test_what_a_task_and_its_driver_cost() -> None:
    # One core: 0.5 to hand out, 1 + 0.25 to work, 0.1 to wait; twice, and nobody waits after the last.
    assert replay(jobs(1, 1), ["a"], per_task=0.25, gap=0.1, dispatch=0.5).makespan == pytest.approx(3.6)
    # Four cores and a driver that hands out one task a second: the last begins at 4.
    assert replay(jobs(1, 1, 1, 1), ["a"] * 4, dispatch=1.0).makespan == 5


def test_a_host_takes_its_own_first_and_then_what_is_left() -> None:
    near_a = [Job([Frame(1, 2, ("a",))], ("a",)) for _ in range(3)]
    near_b = [Job([Frame(1, 2, ("b",))], ("b",))]
    done = replay([*near_a, *near_b], ["a", "b"])
    # a: 0-1, 1-2; b: its own 0-1, then one of a's from 1 to 4, for it comes from afar.
    assert done.makespan == 4
    assert done.near == 0.75
    # Without wishes: a takes the first, b the second (far, to 3); a the third at 1 (to 2), then b's (far, to 5).
    done = replay([Job(job.frames) for job in (*near_a, *near_b)], ["a", "b"])
    assert done.makespan == 5
    assert done.near == 0.5


@pytest.mark.parametrize("cores", [1, 2, 32])
def test_makespan_is_what_all_take_divided_by_the_cores(cores: int) -> None:
    shape = Shape(cores, each=8, mbit=float("inf"))
    done = predict(FRAMES, shape, COSTS, crowded=0.0)
    assert done.makespan == pytest.approx(1000 * 0.1 / cores, rel=0.1 if cores > 2 else 0.02)
    assert done.tasks == len(pack([Entry(f, "", "", str(f), plain_size=12_447_360, crowding=0.005) for f in FRAMES],
                                  cores, {})) or cores > 8  # fmt: skip


def test_a_frame_from_afar_takes_its_time_on_a_shared_link() -> None:
    # 2.5 MB are 20 Mbit: 0.02 s on 1 Gbit/s, 0.16 s where eight cores share it. One of four hosts holds each.
    anywhere = predict(FRAMES, Shape(32, replicas=1, by_host=False), COSTS, crowded=0.0)
    by_host = predict(FRAMES, Shape(32, replicas=1), COSTS, crowded=0.0)
    assert anywhere.near == pytest.approx(0.25, abs=0.05)
    assert by_host.near > 0.85
    assert anywhere.makespan == pytest.approx((0.1 + 0.75 * 0.16) * 1000 / 32, rel=0.15)
    assert by_host.makespan < 0.7 * anywhere.makespan


@pytest.mark.parametrize("by_host", [True, False])
def test_all_clusters_have_the_same_work(by_host: bool) -> None:
    costs = replace(COSTS, frames=(0.1, 0.2, 0.4))
    work = []
    for cores in (1, 2, 8, 16, 64, 512):
        done = predict(FRAMES, Shape(cores, mbit=float("inf"), by_host=by_host), costs, crowded=0.01)
        work.append(done.makespan * done.busy * cores)
    assert work == pytest.approx([work[0]] * len(work))


def test_each_batch_has_its_start() -> None:
    shape = Shape(1, mbit=float("inf"))
    one = whole(COSTS, 250, 25.0)
    assert one == pytest.approx(10 + 25 + 1 + 0.25)
    costs = replace(COSTS, crowded=0.1)
    assert in_batches(FRAMES, 250, shape, costs) == pytest.approx(4 * one)
    assert in_batches(FRAMES[:300], 250, shape, costs) == pytest.approx(one + whole(COSTS, 50, 5.0))


def job_of(numbers: list[int], start: float = 8.0, each_after: float = 0.01) -> SparkRun:
    """A job on one core, made up: a frame takes 0.2 s, the crowded one 2 s, a task 0.05 s and 0.01 s a frame."""
    at, tasks, outcomes = 1000.0, [], []
    for number, count in enumerate(numbers):
        began = at
        for frame in range(count):
            crowded = number == frame == 0
            name = SLOW if crowded else f"dr12-301-000094-{number + 1}-{frame + 11:04}-r"
            outcomes.append(Measured(name, "ok", seconds=2.0 if crowded else 0.2, part=f"part-{number:05}-7.parquet"))
            at += outcomes[-1].seconds + 0.01
        at += 0.05
        times = (datetime.fromtimestamp(one, UTC).isoformat() for one in (began, at))
        tasks.append(TaskRun(number, 0, False, *times, "host", "", 1, count, 0, 0, "", 0.0))
        at += 0.03
    frames = sum(numbers)
    run = Run("Spark", 1, frames, 0.0, start, 0)
    return SparkRun(run, tasks, outcomes, at - 0.03 + 0.5 + each_after * frames)


def test_what_a_job_costs_is_found_again_in_its_times() -> None:
    costs = costs_of([job_of([3, 2])], [job_of([6, 5, 4, 3, 2])], 0.002, 2.5, {SLOW})
    assert set(costs.frames) == {0.2}
    assert len(costs.frames) == 19
    assert costs.crowded == 2.0
    found = (costs.per_task, costs.per_task_frame, costs.gap, costs.start, costs.end, costs.end_per_frame)
    assert found == pytest.approx((0.05, 0.01, 0.028, 8.0, 0.5, 0.01), abs=1e-4)
    # And simulated they take what they took: five tasks, 20 frames, four gaps.
    jobs = [Job([Frame(2.01)] + [Frame(0.21)] * 5), *(Job([Frame(0.21)] * count) for count in (5, 4, 3, 2))]
    done = replay(jobs, ["host"], per_task=costs.per_task, gap=costs.gap, dispatch=costs.dispatch)
    assert done.makespan == pytest.approx(job_of([6, 5, 4, 3, 2]).makespan + costs.dispatch, abs=1e-3)
