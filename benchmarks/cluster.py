"""Real servers for a scenario, on ports of their own and in a folder that is removed again; and the Spark job."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from benchmarks.contenders import Run
from benchmarks.frames import FrameFile
from benchmarks.machine import ONE_THREAD, pinned
from benchmarks.memory import Peak
from kira.errors import KiraError
from kira.extraction import Profile
from kira.frames.crowding import bright_share
from kira.frames.staged import SUFFIX, pack
from kira.jobs import extract as job
from kira.jobs.conf import SPARK_CONF
from kira.ledger import Outcome
from kira.stack import hadoop
from kira.stack.airflow_server import environment
from kira.stack.config import PROJECT, StackConfig
from kira.stack.local import LocalStack
from kira.stack.ports import free_ports
from kira.stages.extraction import Measured, TaskRun, read_outcomes, read_tasks
from kira.storage import Entry, Manifest, Store, open_store

HDFS = {"namenode", "datanode1", "datanode2"}
SPARK = "Kira, Spark from HDFS"


class JobFailed(KiraError):
    """A Spark job did not extract all that it was given."""


@contextmanager
def servers(parts: set[str], say: Callable[[str], None], cores: int, **variables: str) -> Iterator[LocalStack]:
    """Start parts of the local stack; stop them, and remove all they wrote, at the end.

    Parameters
    ----------
    parts : set of str
        As in `LocalStack`.
    say : callable
    cores : int
        That the servers and all that they start may use.
    **variables : str
        Of the servers' environment.
    """
    before = {name: os.environ.get(name) for name in variables}
    home = Path(tempfile.mkdtemp(prefix="kira-bench-"))
    config = StackConfig(home, free_ports())
    stack = LocalStack(config, say, parts)
    os.environ.update(variables)
    try:
        take_jar(config)
        with pinned(cores):
            stack.up()
        yield stack
    finally:
        stack.down()
        shutil.rmtree(home, ignore_errors=True)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def take_jar(config: StackConfig) -> None:
    """Take Hadoop's jar from the user's own stack where it is; else it is fetched, as ever."""
    known = hadoop.jar_path(StackConfig.load())
    if known.exists():
        target = hadoop.jar_path(config)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(known, target)


@dataclass(frozen=True)
class SparkRun:
    """What a Spark job did.

    Parameters
    ----------
    run : Run
        `seconds` from the begin of the first task to the end of spark-submit, `start_up` before that.
    tasks : list of TaskRun
    outcomes : list of Measured
        One for each frame.
    ended : float
        When spark-submit ended, seconds since the epoch.
    """

    run: Run
    tasks: list[TaskRun]
    outcomes: list[Measured]
    ended: float

    @property
    def after(self) -> float:
        """Seconds from the end of the last task to the end of spark-submit."""
        return self.ended - max(_seconds(one.ended) for one in self.tasks)

    @property
    def gaps(self) -> list[float]:
        """Seconds between two tasks of a worker."""
        workers: dict[int, list[TaskRun]] = {}
        for one in sorted(self.tasks, key=lambda one: one.began):
            workers.setdefault(one.process, []).append(one)
        pairs = (pair for tasks in workers.values() for pair in pairwise(tasks))
        return [_seconds(after.began) - _seconds(before.ended) for before, after in pairs]

    @property
    def makespan(self) -> float:
        """Seconds from the begin of the first task to the end of the last."""
        return _seconds(max(one.ended for one in self.tasks)) - _seconds(min(one.began for one in self.tasks))

    @property
    def work(self) -> float:
        """Seconds of all tasks together."""
        return sum(one.seconds for one in self.tasks)


class Cluster:
    """HDFS with frames in it, and Spark on this machine.

    Parameters
    ----------
    stack : LocalStack
        With HDFS.
    folder : Path
        For logs.

    Attributes
    ----------
    variables : dict of str to str
        Environment of spark-submit.
    """

    def __init__(self, stack: LocalStack, folder: Path) -> None:
        self.store: Store = open_store(stack.config.stage_url)
        self.variables = environment(stack.config) | ONE_THREAD | {"PYTHONPATH": str(PROJECT)}
        self._folder = folder
        self._staged: dict[int, Entry] = {}

    def put(self, files: Sequence[FrameFile]) -> list[Entry]:
        """Stage frames; of those that share a file one copy is kept."""
        return [self._put(file) for file in files]

    def _put(self, file: FrameFile) -> Entry:
        inode = file.path.stat().st_ino
        if inode not in self._staged:
            content = file.path.read_bytes()
            sha256, size = hashlib.sha256(content).hexdigest(), len(content)
            staged = f"bench/frames/{sha256[:2]}/{file.path.name}{SUFFIX}"
            packed = pack(content, file.frame.pixel_bytes)
            self._write(staged, packed)
            self._staged[inode] = Entry(
                file.frame, "", "", staged, size=size, sha256=sha256, plain_size=size, plain_sha256=sha256,
                staged_sha256=hashlib.sha256(packed).hexdigest(), crowding=bright_share(io.BytesIO(content)),
            )  # fmt: skip
        return replace(self._staged[inode], frame=file.frame)

    def _write(self, path: str, content: bytes) -> None:
        self.store.write(path, content)

    def _master(self, cores: int) -> str:
        return f"local[{cores},4]"

    def submit(
        self,
        name: str,
        entries: Sequence[Entry],
        profile: Profile,
        cores: int,
        settings: Mapping[str, str] | None = None,
    ) -> SparkRun:
        """Extract a batch by spark-submit, as Airflow's task does; the result stays until the batch is removed.

        Parameters
        ----------
        name : str
            Of the batch.
        entries : sequence of Entry
        profile : Profile
        cores : int
        settings : mapping of str to str, optional
            Of Spark, beside those that every job has.

        Raises
        ------
        JobFailed
            If it fails, or a frame does.
        """
        manifest = self.manifest(name, entries, profile)
        uri = manifest.save(self.store)
        self.store.write(f"{manifest.folder}/parameters.json", json.dumps(profile.as_dict()).encode())
        every = SPARK_CONF | dict(settings or {})
        conf = [word for key, value in every.items() for word in ("--conf", f"{key}={value}")]
        command = [
            str(Path(sys.executable).with_name("spark-submit")), "--master", self._master(cores), *conf,
            "--name", "kira-extract", str(job.__file__), "--manifest", uri,
        ]  # fmt: skip
        log = self._folder / f"spark-{name}.log"
        with log.open("wb") as out, Peak() as peak, pinned(cores):
            submitted = time.time()
            done = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, check=False, env=self.variables)
            ended = time.time()
        if done.returncode:
            raise JobFailed(f"spark-submit ended with {done.returncode}: {log.read_text(errors='replace')[-1500:]}")
        outcomes = read_outcomes(self.store, manifest.extracted)
        if bad := [one for one in outcomes if not Outcome(one.outcome).good]:
            raise JobFailed(f"{len(bad)} of {len(outcomes)} frames failed; {bad[0].frame}: {bad[0].reason}")
        tasks = read_tasks(self.store, manifest.extracted)
        first = min(_seconds(one.began) for one in tasks)
        counts = {one.frame: one.sources for one in outcomes}
        run = Run(
            SPARK, cores, len(entries), ended - first, first - submitted, sum(counts.values()),
            sum(one.seconds for one in tasks), peak.as_dict(), counts,
        )  # fmt: skip
        return SparkRun(run, tasks, outcomes, ended)

    def manifest(self, name: str, entries: Sequence[Entry], profile: Profile) -> Manifest:
        """Manifest of a batch, as the stage stage leaves it."""
        return Manifest(name, "bench", "dr12", profile.slug, "stage", "bench", tuple(entries))

    def parts(self, name: str, profile: Profile) -> Iterator[bytes]:
        """Parquet files that the job of a batch wrote."""
        for path, file in self.store.walk(self.manifest(name, (), profile).extracted):
            if file.name.endswith(".parquet"):
                yield self.store.read(path)

    def remove(self, name: str, profile: Profile) -> None:
        """Remove a batch; its frames stay."""
        self.store.delete(self.manifest(name, (), profile).folder)


def _seconds(when: str) -> float:
    return datetime.fromisoformat(when).timestamp()
