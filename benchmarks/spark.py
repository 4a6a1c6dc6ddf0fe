"""Scenarios of the Spark job: against a plain pool, growth of the work, and the tail."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import agreement
from benchmarks.cluster import HDFS, SPARK, Cluster, SparkRun, servers
from benchmarks.contenders import InPool, Run, ours
from benchmarks.scenario import PROFILES, Bars, Lines, Result, Scenario, Setting, Table, Verdict
from benchmarks.timing import Spread, alternate
from benchmarks.work import Kira, engines, with_engine
from kira.extraction import Profile

START_UP = (
    "Start-up of the Spark job is the time from spark-submit to the begin of its first task; that of the pool until "
    "all of its processes have measured one frame. The rest, to the end of the command, is the time."
)
SHARED = (
    "{files} files stand for {frames} frames, each file under several reruns: as many as the disk has room for three "
    "times, or as were asked for. What is read again may come from the page cache."
)
DISK = "Frames were read right after they were written: much of them comes from the page cache, for both."


class AgainstPool(Scenario):
    """The same frames by the Spark job from HDFS, and by a plain process pool from local files."""

    name = "spark"
    title = "The Spark job from HDFS, against a plain process pool"
    expectation = """
    On two cores, over at least 500 frames, the Spark job takes at most 1.08 times as long as a plain process pool with
    the same engine on local files, start-up not counted, and at most 1.15 times with it: its workers are the same
    processes, and what comes on top is reading from HDFS, a SHA-256 of each frame, and the driver's writing.
    """

    def run(self, setting: Setting, result: Result) -> None:
        """In alternation; the tables are held against each other first."""
        profile = our_profile()
        files = setting.frames.make(setting.sizes.frames, setting.frames.release)
        _notes(result, files)
        with (
            tempfile.TemporaryDirectory(dir=setting.folder) as name,
            servers(HDFS, setting.say, setting.cores) as stack,
        ):
            folder = Path(name)
            cluster, pool = Cluster(stack, folder), in_pool(profile, folder)
            entries = cluster.put(files)
            # Fewer will do for a proof; they are also what warms the machine up.
            few = min(len(files), 50)
            cluster.submit("proof", entries[:few], profile, setting.cores)
            pool.run(files[:few], setting.cores)
            proof = agreement.prove_tables(
                f"Spark's catalogue and the pool's of {few} frames",
                cluster.parts("proof", profile),
                (path.read_bytes() for path in pool.parts()),
            )
            setting.say(f"  {proof.text()}")
            result.proofs.append(proof.text())

            def by_spark(number: int) -> Run:
                done = cluster.submit(f"round{number}", entries, profile, setting.cores)
                cluster.remove(f"round{number}", profile)
                return done.run

            calls: dict[str, Callable[[int], Run]] = {
                SPARK: by_spark,
                pool.name: lambda _: pool.run(files, setting.cores),
            }
            runs = alternate(calls, setting.long_repeats, setting.tell)
        self._say(setting, result, runs, pool.name)

    def _say(self, setting: Setting, result: Result, runs: dict[str, list[Run]], pool: str) -> None:
        table = Table(
            f"{setting.sizes.frames} frames, {setting.cores} cores",
            ["contender", "s", "s with start-up", "ms a frame", "peak of a worker, MiB"],
        )
        middle: dict[str, tuple[float, float]] = {}
        for name, measured in runs.items():
            result.keep(measured)
            bare = Spread.of([run.seconds for run in measured])
            whole = Spread.of([run.seconds + run.start_up for run in measured])
            middle[name] = bare.median, whole.median
            worker = max(run.peak_mb.get("worker", 0.0) for run in measured)
            per_frame = Spread.of([1e3 * run.per_frame for run in measured])
            table.rows.append([name, bare.text(), whole.text(), per_frame.text(), f"{worker:.0f}"])
        result.tables.append(table)
        for i, (what, limit) in enumerate((("without start-up", 1.08), ("with start-up", 1.15))):
            ratio = middle[SPARK][i] / middle[pool][i]
            result.verdicts.append(Verdict(f"Spark over pool, {setting.cores} cores, {what}", ratio, limit, True))
        result.plots.append(
            Bars("spark", "Spark from HDFS and a plain pool", "s, without start-up",
                 {name: _spread([run.seconds for run in measured]) for name, measured in runs.items()})
        )  # fmt: skip


class Growth(Scenario):
    """Ten times the work, and ten times that."""

    name = "growth"
    title = "Growth of the work"
    expectation = """
    From 50 to 5,000 frames the time of the Spark job per frame, start-up apart, grows by no more than 5 %, and the peak
    memory of its driver and of its workers by no more than 10 %: a task holds the rows of its own frames only until it
    has written them, and the driver a line for each frame. A batch of Airflow has at most 2,000 frames (5,000 where
    somebody asks for it); this is one batch.
    """

    def run(self, setting: Setting, result: Result) -> None:
        """All sizes in alternation."""
        profile = our_profile()
        sizes = setting.sizes.growth
        files = setting.frames.make(max(sizes), setting.frames.release)
        _notes(result, files)
        with (
            tempfile.TemporaryDirectory(dir=setting.folder) as name,
            servers(HDFS, setting.say, setting.cores) as stack,
        ):
            cluster = Cluster(stack, Path(name))
            entries = cluster.put(files)

            def grown(size: int, number: int) -> Run:
                batch = f"grown-{size}-{number}"
                done = cluster.submit(batch, entries[:size], profile, setting.cores)
                cluster.remove(batch, profile)
                return done.run

            calls = {f"{size:,} frames": partial(grown, size) for size in sizes}
            runs = alternate(calls, setting.long_repeats, setting.tell)
        self._say(result, sizes, runs)

    def _say(self, result: Result, sizes: tuple[int, ...], runs: dict[str, list[Run]]) -> None:
        columns = ["frames", "ms a frame", "core ms a frame", "start-up, s", *(f"{one}, MiB" for one in _ROLES)]
        table, rows = Table("The Spark job", columns), []
        for measured in runs.values():
            result.keep(measured)
            times = Spread.of([1e3 * run.per_frame for run in measured])
            work = Spread.of([1e3 * run.work / run.frames for run in measured])
            peaks = [Spread.of([run.peak_mb.get(role, 0.0) for run in measured]) for role in _ROLES]
            start = Spread.of([run.start_up for run in measured])
            rows.append((times, work, peaks))
            table.rows.append([
                f"{measured[0].frames:,}", times.text(), work.text(), start.text(2),
                *(f"{peak.median:.0f}" for peak in peaks),
            ])  # fmt: skip
        result.tables.append(table)
        (times, work, peaks), (most_times, most_work, most_peaks) = rows[0], rows[-1]
        span = f"from {sizes[0]:,} to {sizes[-1]:,} frames"
        for what, one, other, limit in (
            ("time per frame", times, most_times, 1.05), ("core time per frame", work, most_work, 1.05),
            *((f"peak memory, {role}", a, b, 1.10) for role, a, b in zip(_ROLES, peaks, most_peaks, strict=True)),
        ):  # fmt: skip
            result.verdicts.append(Verdict(f"{what}, {span}: grown to", other.median / one.median, limit, True, "x"))
        result.notes.append(
            "Time per frame is that of the whole job on all cores, so that a small job shows what its uneven last "
            "tasks cost; core time is what its tasks took together."
        )
        points = [[size, row[0].median, row[0].least, row[0].most] for size, row in zip(sizes, rows, strict=True)]
        core = [[size, row[1].median, row[1].least, row[1].most] for size, row in zip(sizes, rows, strict=True)]
        lines = {"time": points, "core time": core}
        result.plots.append(Lines("growth", "Time per frame", "frames", "ms a frame", lines, log=True))
        memory = {
            role: [
                [size, row[2][i].median, row[2][i].least, row[2][i].most] for size, row in zip(sizes, rows, strict=True)
            ]
            for i, role in enumerate(_ROLES)
        }
        result.plots.append(Lines("growth-memory", "Peak memory of a process", "frames", "MiB", memory, log=True))


class Tail(Scenario):
    """One crowded frame in a hundred."""

    name = "tail"
    title = "The tail: one globular cluster in a hundred frames"
    expectation = """
    With one frame like M2's, which takes ten times as long as others, per 100 ordinary ones, the tasks of the Spark job
    are done within 1.10 times the ideal, which is what all tasks took together divided by the cores: frames are dealt
    out to more tasks than cores, and a crowded one is a small part of one task.
    """

    def run(self, setting: Setting, result: Result) -> None:
        """Spark, and the pool beside it."""
        profile = our_profile()
        ordinary, crowded = setting.sizes.tail
        files = setting.frames.make(ordinary, setting.frames.release, crowded=crowded)
        _notes(result, files)
        result.notes += setting.frames.notes()
        makespans: dict[str, list[float]] = {SPARK: [], ours(engines()[-1]): []}
        with (
            tempfile.TemporaryDirectory(dir=setting.folder) as name,
            servers(HDFS, setting.say, setting.cores) as stack,
        ):
            cluster, pool = Cluster(stack, Path(name)), in_pool(profile, Path(name))
            entries = cluster.put(files)

            def by_spark(number: int) -> SparkRun:
                done = cluster.submit(f"tail{number}", entries, profile, setting.cores)
                cluster.remove(f"tail{number}", profile)
                return done

            def one_round(number: int) -> Run:
                done = by_spark(number)
                makespans[SPARK].append(done.makespan / (done.work / setting.cores))
                return done.run

            def one_pool(_: int) -> Run:
                run = pool.run(files, setting.cores)
                makespans[pool.name].append(run.seconds / (run.work / setting.cores))
                return run

            runs = alternate({SPARK: one_round, pool.name: one_pool}, setting.long_repeats, setting.tell)
        table = Table(
            f"{ordinary} ordinary and {crowded} crowded frames, {setting.cores} cores",
            ["contender", "s", "work of all, s", "makespan / ideal"],
        )
        for contender, measured in runs.items():
            result.keep(measured)
            table.rows.append([
                contender, Spread.of([run.seconds for run in measured]).text(),
                Spread.of([run.work for run in measured]).text(), Spread.of(makespans[contender]).text(),
            ])  # fmt: skip
        result.tables.append(table)
        ratio = Spread.of(makespans[SPARK]).median
        result.verdicts.append(Verdict("makespan of the tasks over the ideal, Spark", ratio, 1.10, True))
        bars: dict[str, Any] = {name: _spread(values) for name, values in makespans.items()}
        result.plots.append(Bars("tail", "Makespan over the ideal", "makespan / ideal", bars, 1.10))


_ROLES = ("driver (JVM)", "driver", "worker")


def our_profile() -> Profile:
    """The profile survey by the engine that is meant by ours."""
    return with_engine(PROFILES["survey"](), engines()[-1])


def in_pool(profile: Profile, folder: Path) -> InPool:
    """Kira's engine in a plain pool."""
    return InPool(ours(engines()[-1]), Kira(profile), folder / "pool")


def _notes(result: Result, files: list[Any]) -> None:
    result.notes += [f"Kira's engine is {engines()[-1]}.", START_UP]
    distinct = len({file.path.stat().st_ino for file in files})
    result.notes.append(SHARED.format(files=distinct, frames=len(files)) if distinct < len(files) else DISK)


def _spread(values: list[float]) -> list[float]:
    one = Spread.of(values)
    return [one.median, one.least, one.most]
