"""Scenario of more executors: measured as far as this machine goes, and a prediction of what it cannot do."""

import re
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence, Set
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import empty_tasks
from benchmarks.cluster import HDFS, Cluster, JobFailed, SparkRun, servers
from benchmarks.frames import DR12
from benchmarks.machine import pinned
from benchmarks.replay import (
    Costs,
    Frame,
    Shape,
    assumptions,
    in_batches,
    predict,
    simulate,
    whole,
)
from benchmarks.scenario import PROFILES, Lines, Result, Scenario, Setting, Table, Verdict
from benchmarks.timing import Spread, alternate
from benchmarks.work import engines, with_engine
from kira.datasets.lists import open_data_set
from kira.extraction import Profile
from kira.sdss import FrameId
from kira.storage import Entry

CORES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
SETS = {"small": CORES, "medium": CORES, "large": CORES[5:]}
"""Data sets, and the numbers of cores that are told of each."""
BATCH = 2000
"""Frames of a batch of Airflow, at most."""
KIRA_2015 = {32: 206.6, 64: 110.7, 128: 74.9, 256: 64.2}
"""Zhang et al.: seconds for 11,150 frames, 65 GB, by cores; PySpark 1.6, hosts of 8 cores, one HDFS replica."""
_EMPTY = 2000


class Scaling(Scenario):
    """More executors."""

    name = "scaling"
    title = "Scaling, and a prediction"
    expectation = """
    Two cores do a job's tasks in 0.55 of the time of one or less, for frames have nothing to do with each other. A
    simulation of the tasks, given what frames, tasks and driver cost in one run, tells the makespan of the others
    within 10 %. Predicted for many cores: frames do scale, to 512 cores, but start-up and the driver do not, so that
    beyond a hundred cores a batch of 2,000 frames spends most of its time on them.
    """

    def run(self, setting: Setting, result: Result) -> None:
        """Measure one core and all of them, a large and a small job; then simulate."""
        small, large = setting.sizes.scaling
        files = setting.frames.make(large, DR12, crowded=1)
        crowded = {str(file.frame) for file in files if file.crowded}
        result.notes += setting.frames.notes()
        steps = sorted({1, setting.cores})
        with (
            tempfile.TemporaryDirectory(dir=setting.folder) as name,
            servers(HDFS, setting.say, setting.cores) as stack,
        ):
            cluster = Cluster(stack, Path(name))
            entries = cluster.put(files)
            megabytes = statistics.mean((cluster.store.size(entry.staged) or 0) / 1e6 for entry in entries)
            dispatch = _empty(setting.cores, cluster.variables)
            for kind, profile in PROFILES.items():
                ours = with_engine(profile(), engines()[-1])
                cluster.submit("warm", entries[-10:], ours, setting.cores)
                cluster.remove("warm", ours)

                def measured(cores: int, frames: int, ours: Profile, number: int) -> SparkRun:
                    # The crowded one, the last, is in all of them.
                    done = cluster.submit(f"scaling-{number}", entries[-frames:], ours, cores)
                    cluster.remove(f"scaling-{number}", ours)
                    return done

                calls = {
                    f"{cores} cores, {frames} frames": partial(measured, cores, frames, ours)
                    for cores in steps for frames in (small, large)
                }  # fmt: skip
                done = alternate(
                    calls, setting.long_repeats, lambda what, number, one: setting.tell(what, number, one.run)
                )
                self._measured(result, kind, done)
                costs = {
                    cores: costs_of(
                        done[f"{cores} cores, {small} frames"], done[f"{cores} cores, {large} frames"],
                        dispatch, megabytes, crowded,
                    )
                    for cores in steps
                }  # fmt: skip
                self._validate(result, kind, entries, done, costs)
                self._predict(setting, result, kind, costs[steps[-1]])

    @staticmethod
    def _measured(result: Result, kind: str, done: dict[str, list[SparkRun]]) -> None:
        columns = ["executor cores and frames", "makespan, s", "core ms a frame", "start-up, s", "after, s"]
        table = Table(f"Measured: {kind}", columns)
        for name, runs in done.items():
            result.keep([one.run for one in runs], profile=kind)
            rows = (
                [one.makespan for one in runs], [1e3 * one.work / one.run.frames for one in runs],
                [one.run.start_up for one in runs], [one.after for one in runs],
            )  # fmt: skip
            table.rows.append([name, *(Spread.of(row).text() for row in rows)])
        result.tables.append(table)

    @staticmethod
    def _validate(
        result: Result,
        kind: str,
        entries: Sequence[Entry],
        done: dict[str, list[SparkRun]],
        costs: dict[int, Costs],
    ) -> None:
        table = Table(
            f"The simulation against what was measured: {kind}", ["run", "simulated, s", "measured, s", "error"]
        )
        worst = 0.0
        for name, runs in done.items():
            cores = runs[0].run.cores
            # Each frame takes what it took in the first run of the large job on as many cores.
            large = max((all_runs[0] for all_runs in done.values() if all_runs[0].run.cores == cores), key=_size)
            each = costs[cores].per_task_frame
            known = {FrameId.parse(one.frame): Frame(one.seconds + each) for one in large.outcomes}
            shape = Shape(cores, each=cores, by_host=False)
            simulated = simulate(entries[-runs[0].run.frames :], known, shape, costs[cores]).makespan
            error = simulated / Spread.of([one.makespan for one in runs]).median - 1
            worst = max(worst, abs(error))
            table.rows.append([
                name, f"{simulated:.1f}", Spread.of([one.makespan for one in runs]).text(), f"{error:+.1%}",
            ])  # fmt: skip
        result.tables.append(table)
        result.verdicts.append(Verdict(f"{kind}: the simulation's worst error", 100 * worst, 10, True, " %"))

    @staticmethod
    def _predict(setting: Setting, result: Result, kind: str, costs: Costs) -> None:
        shape = Shape(512)
        result.notes += [f"PREDICTION, {kind}: {one}" for one in assumptions(shape, costs)]
        lines: dict[str, list[list[float]]] = {}
        for name, steps in SETS.items():
            # Which rerun is the newest only the archive knows; it is of no consequence here.
            frames = [FrameId.parse(one.replace("*", "40")) for one in open_data_set(name).names()]
            columns = ["cores", "makespan, s", "busy", "read on their hosts", "job, s", "job, anywhere, s",
                       f"in batches of {BATCH:,}, s"]  # fmt: skip
            if name == "medium":
                columns.append("Kira of 2015, s")
            table = Table(f"PREDICTION, not measured: {kind}, {name} ({len(frames):,} frames), 8 cores a host", columns)
            points = []
            for cores in steps:
                at = Shape(cores, each=min(8, cores))
                by_host = predict(frames, at, costs)
                anywhere = predict(frames, Shape(cores, each=min(8, cores), by_host=False), costs)
                seconds = whole(costs, len(frames), by_host.makespan)
                row = [str(cores), f"{by_host.makespan:,.0f}", f"{by_host.busy:.0%}", f"{by_host.near:.0%}",
                       f"{seconds:,.0f}", f"{whole(costs, len(frames), anywhere.makespan):,.0f}",
                       f"{in_batches(frames, BATCH, at, costs):,.0f}"]  # fmt: skip
                if name == "medium":
                    row.append(str(KIRA_2015.get(cores, "")))
                table.rows.append(row)
                points.append([float(cores), *[seconds] * 3])
            result.tables.append(table)
            lines[f"{name}, predicted"] = points
            setting.say(f"  predicted for {name}, {kind}: {points[-1][1]:,.0f} s on {steps[-1]} cores")
        if kind == "kira":
            lines["medium, Kira of 2015"] = [[float(cores), *[each] * 3] for cores, each in KIRA_2015.items()]
        title = f"PREDICTION: seconds of a job, {kind}"
        result.plots.append(Lines(f"scaling-{kind}", title, "cores", "s", lines, log=True))


def costs_of(
    small: Sequence[SparkRun], large: Sequence[SparkRun], dispatch: float, megabytes: float, crowded: Set[str]
) -> Costs:
    """What the job costs, from the first run of the large size; what its end costs, from the first of both."""
    one, other = large[0], small[0]
    slow = [frame.seconds for frame in one.outcomes if frame.frame in crowded]
    ordinary = [frame.seconds for frame in one.outcomes if frame.frame not in crowded]
    many, few = one.run.frames, other.run.frames
    each = max(0.0, (one.after - other.after) / (many - few))
    # What the driver takes to hand out a task is simulated by itself.
    gap = max(0.0, statistics.median(one.gaps) - dispatch) if one.gaps else 0.0
    return Costs(
        tuple(ordinary), statistics.mean(slow), *_beside(one), gap, dispatch,
        one.run.start_up, max(0.0, one.after - each * many), each, megabytes,
    )  # fmt: skip


def _beside(run: SparkRun) -> tuple[float, float]:
    """Seconds of a task beside its frames': as a whole, and for each frame; by least squares over its tasks."""
    frames: dict[int, float] = defaultdict(float)
    for one in run.outcomes:
        frames[int(one.part.split("-")[1])] += one.seconds
    counts = np.array([task.frames for task in run.tasks], dtype=float)
    rest = np.array([task.seconds - frames[task.number] for task in run.tasks])
    if len(set(counts)) > 1:
        each, whole_task = np.polyfit(counts, rest, 1)
        if each >= 0 and whole_task >= 0:
            return float(whole_task), float(each)
    return 0.0, float(rest.sum() / counts.sum())


def _size(run: SparkRun) -> int:
    return run.run.frames


def _empty(cores: int, variables: dict[str, str]) -> float:
    """Seconds of an empty task, on so many cores."""
    command = [
        str(Path(sys.executable).with_name("spark-submit")), "--master", f"local[{cores}]",
        "--conf", "spark.ui.enabled=false", str(empty_tasks.__file__), str(_EMPTY),
    ]  # fmt: skip
    with pinned(cores):
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
    found = re.search(r"an empty task: ([\d.]+) s", done.stdout)
    if done.returncode or not found:
        raise JobFailed(f"spark-submit ended with {done.returncode}: {done.stderr[-800:]}")
    return float(found[1])
