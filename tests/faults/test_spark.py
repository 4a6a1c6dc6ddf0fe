"""Spark's workers and its driver are killed, by somebody and by the machine for their memory."""

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from conftest import Undisturbed
from harness import Driver, Reader, whole
from pipeline import Pipeline

from kira.errors import SparkDriverFailed, SparkDriverKilled, SparkTaskFailed
from kira.stack.airflow_server import environment
from kira.stack.local import LocalStack
from kira.stages.extraction import Measured, forget_failure, job_failure, read_outcomes
from kira.storage import Manifest

pytestmark = pytest.mark.faults

JOB = Path(__file__).parents[2] / "kira" / "jobs" / "extract.py"
FAILURES = {"task": SparkTaskFailed, "driver": SparkDriverFailed, "killed": SparkDriverKilled}
Break = Callable[["subprocess.Popen[bytes]"], None]


@dataclass
class Spark:
    """Extracts batches by the real spark-submit, and lets somebody break each job."""

    servers: LocalStack
    log: Path
    breaks: list[Break] = field(default_factory=list)
    """For one job after the other."""
    jobs: int = 0

    def extract(self, pipeline: Pipeline, manifest: Manifest) -> list[Measured]:
        store = pipeline.services.store
        forget_failure(store, manifest)
        command = [
            str(Path(sys.executable).with_name("spark-submit")), "--master", "local[2,4]",
            "--conf", "spark.ui.enabled=false", "--conf", "spark.driver.memory=512m",
            # Everything through the daemon, whose children are the workers.
            "--conf", "spark.python.use.daemon=true",
            str(JOB), "--manifest", store.uri(manifest.path),
        ]  # fmt: skip
        with self.log.open("ab") as out:
            job = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, env=environment(self.servers.config),
                start_new_session=True,
            )  # fmt: skip
        breaking = self.breaks.pop(0) if self.breaks else None
        if breaking:
            thread = threading.Thread(target=breaking, args=(job,), daemon=True)
            thread.start()
        self.jobs += 1
        try:
            code = job.wait(300)
        finally:
            end(job)
        if code:
            failure = job_failure(store, manifest)
            raise FAILURES[failure.kind](failure.text)
        return read_outcomes(store, manifest.extracted)


def end(job: "subprocess.Popen[bytes]") -> None:
    family = family_of(job)
    for process in family:
        if process.is_running():
            process.kill()


def family_of(job: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    try:
        parent = psutil.Process(job.pid)
        return [*parent.children(recursive=True), parent]
    except psutil.NoSuchProcess:
        return []


def workers_of(job: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """Python workers: children of PySpark's daemon."""
    found = {}
    for process in family_of(job):
        try:
            if "pyspark.daemon" in " ".join(process.cmdline()):
                found[process.pid] = process
        except psutil.Error:
            continue
    return [process for process in found.values() if process.ppid() in found]


def when_at_work(act: Callable[[psutil.Process], None], times: int = 1) -> Break:
    """Do something to a worker as soon as there is one; to so many of them, one after the other."""

    def breaking(job: "subprocess.Popen[bytes]") -> None:
        seen: set[int] = set()
        while job.poll() is None and len(seen) < times:
            for worker in workers_of(job):
                if worker.pid not in seen and len(seen) < times:
                    seen.add(worker.pid)
                    act(worker)
            time.sleep(0.05)

    return breaking


def driver_killed(job: "subprocess.Popen[bytes]") -> None:
    """SIGKILL to the driver, its JVM and its Python, once a worker is there."""
    while job.poll() is None and not workers_of(job):
        time.sleep(0.05)
    for process in reversed(family_of(job)):
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.Error:
            continue


@pytest.fixture
def spark(servers: LocalStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spark:
    made = Spark(servers, tmp_path / "spark.log")

    def extract(pipeline: Pipeline, manifest: Manifest) -> list[Measured]:
        return made.extract(pipeline, manifest)

    monkeypatch.setattr(Pipeline, "extract", extract)
    return made


@pytest.fixture
def small_memory() -> Iterator[Callable[[psutil.Process], None]]:
    """Give a process no more memory than it has: the kernel kills it when it asks for more."""
    mine = next((line for line in Path("/proc/self/cgroup").read_text().splitlines() if ":memory:" in line), "")
    folder = Path(f"/sys/fs/cgroup/memory{mine.rpartition(':')[2]}") / f"kira-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(str(8 << 20))
    except OSError as error:
        pytest.skip(f"NO MEMORY LIMIT CAN BE SET HERE ({error}): what the kernel's killing does is NOT proven.")
    yield lambda process: (folder / "cgroup.procs").write_text(str(process.pid)) and None  # type: ignore[func-returns-value]
    end = time.monotonic() + 30
    while (folder / "cgroup.procs").read_text() and time.monotonic() < end:
        time.sleep(0.1)
    folder.rmdir()


@pytest.mark.ci
def test_a_worker_is_killed(
    spark: Spark, driver: Driver, pipeline: Pipeline, undisturbed: Undisturbed, reader: Reader
) -> None:
    """Spark itself tries its task again."""
    spark.breaks = [when_at_work(lambda worker: worker.kill())]
    assert driver.until_done(batch_size=4) == 1
    assert driver.told == []
    assert spark.jobs == 1
    assert "Lost task" in spark.log.read_text()
    whole(pipeline, undisturbed.digest, undisturbed.frames, reader=reader)


def test_workers_are_killed_again_and_again(
    spark: Spark, driver: Driver, pipeline: Pipeline, undisturbed: Undisturbed, reader: Reader
) -> None:
    """More often than Spark tries: frames at which it happened are tried alone, then by the next DAG run's plan."""
    spark.breaks = [when_at_work(lambda worker: worker.kill(), times=6)]
    driver.run(batch_size=4)
    driver.run(batch_size=4, again=True)
    driver.until_done(batch_size=4)
    whole(pipeline, undisturbed.digest, undisturbed.frames, reader=reader)


def test_a_worker_is_killed_for_its_memory(
    spark: Spark, small_memory: Callable[[psutil.Process], None], driver: Driver, pipeline: Pipeline,
    undisturbed: Undisturbed, reader: Reader,
) -> None:  # fmt: skip
    """By the kernel, in the middle of a task, as on a machine that is short of memory."""
    spark.breaks = [when_at_work(small_memory)]
    driver.until_done(batch_size=4)
    assert "Lost task" in spark.log.read_text()
    whole(pipeline, undisturbed.digest, undisturbed.frames, reader=reader)


@pytest.mark.ci
def test_the_driver_is_killed(
    spark: Spark, driver: Driver, pipeline: Pipeline, undisturbed: Undisturbed, reader: Reader
) -> None:
    """What it wrote does not count; the next try does all of it, and nobody finds it twice."""
    spark.breaks = [driver_killed]
    assert driver.until_done(batch_size=4) == 1
    assert len(driver.told) == 1
    assert "ended without a word: it was killed" in driver.told[0]
    assert spark.jobs == 2
    whole(pipeline, undisturbed.digest, undisturbed.frames, reader=reader)


def test_the_driver_is_killed_in_every_try_of_a_run(
    spark: Spark, driver: Driver, pipeline: Pipeline, undisturbed: Undisturbed, reader: Reader
) -> None:
    spark.breaks = [driver_killed] * driver.tries
    assert driver.run(batch_size=4) == (1, False)
    driver.until_done(batch_size=4)
    whole(pipeline, undisturbed.digest, undisturbed.frames, reader=reader)


def test_the_jvm_is_killed_under_its_python(
    spark: Spark, driver: Driver, pipeline: Pipeline, undisturbed: Undisturbed, reader: Reader
) -> None:
    """The Python of the driver lives long enough to say so."""

    def jvm_killed(job: "subprocess.Popen[bytes]") -> None:
        while job.poll() is None and not workers_of(job):
            time.sleep(0.05)
        os.kill(job.pid, signal.SIGKILL)  # spark-submit has become the JVM by exec

    spark.breaks = [jvm_killed]
    assert driver.until_done(batch_size=4) == 1
    assert len(driver.told) == 1
    whole(pipeline, undisturbed.digest, undisturbed.frames, reader=reader)
