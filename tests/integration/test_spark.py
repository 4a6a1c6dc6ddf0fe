"""The Spark job by the real spark-submit in local mode: packing, running twice, and being killed."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from astropy.io import fits
from pipeline import PARAMETERS

from kira.catalog import digest, read_parts
from kira.frames.contents import FRAME_NUMBER_OFFSET
from kira.frames.integrity import unpack
from kira.frames.staged import pack
from kira.ledger import Outcome
from kira.sdss import FrameId
from kira.stack.airflow_server import environment
from kira.stack.local import LocalStack
from kira.stages.extraction import FAILURE, job_failure, read_outcomes, read_tasks
from kira.stages.extraction import JOB as JOB_NOTES
from kira.storage import Entry, Manifest, Store, open_store

pytestmark = pytest.mark.integration

ODD_FRAMES = Path(__file__).parents[1] / "odd_frames"
SECONDS = 20
"""More than any frame takes on a machine that does much else."""
JOB = Path(__file__).parents[2] / "kira" / "jobs" / "extract.py"
REAL = FrameId.parse("dr7-40-004192-4-0300-u")
SECOND_TASK = "Starting Python task execution - task 1.0"
"""What Spark says when it hands the second task to a worker."""
FRAMES = [replace(REAL, field=field) for field in range(300, 324)]
IMAGE = "sha256:of-a-test"


@pytest.fixture(scope="module", autouse=True)
def image() -> Iterator[None]:
    """The stack hands on to Spark's driver which image it is."""
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("KIRA_IMAGE", IMAGE)
        yield


def content_of(frame: FrameId, real: bytes) -> bytes:
    """A real frame as another field of the same run, its pixels moved round so that it has its own sources."""
    with fits.open(io.BytesIO(real)) as hdus:
        hdus[0].data = np.roll(hdus[0].data, 61 * (frame.field - REAL.field), axis=0)
        hdus[0].header["FRAME"] = frame.field + FRAME_NUMBER_OFFSET[frame.band]
        out = io.BytesIO()
        hdus.writeto(out)
    return out.getvalue()


@dataclass
class Job:
    """One batch, and the command that extracts it."""

    servers: LocalStack
    store: Store
    manifest: Manifest

    def start(self, master: str, log: Path, **variables: str) -> subprocess.Popen[bytes]:
        command = [
            str(Path(sys.executable).with_name("spark-submit")), "--master", master,
            "--conf", "spark.ui.enabled=false", "--conf", "spark.locality.wait=0", "--conf", "spark.driver.memory=512m",
            str(JOB), "--manifest", self.store.uri(self.manifest.path),
        ]  # fmt: skip
        with log.open("wb") as out:
            return subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
                env=environment(self.servers.config) | variables,
            )  # fmt: skip

    def run(self, master: str, log: Path, *, fails: bool = False, **variables: str) -> str:
        """Run to the end; what it said."""
        process = self.start(master, log, **variables)
        try:
            assert (process.wait(500) != 0) is fails, log.read_text()[-3000:]
        finally:
            end(process)
        return log.read_text()

    def parts(self, folder: str) -> list[str]:
        return [path for path, file in self.store.walk(folder) if file.name.endswith(".parquet")]

    def attempts(self) -> list[str]:
        return [f.name for f in self.store.listing(self.manifest.folder) if f.name.startswith("attempt-")]

    def check_complete(self, without: Collection[FrameId] = ()) -> str:
        """One whole result and nothing else; its digest."""
        outcomes = read_outcomes(self.store, self.manifest.extracted)
        assert [one.frame for one in outcomes] == [str(frame) for frame in FRAMES]
        assert {one.frame for one in outcomes if one.outcome != Outcome.OK} == {str(frame) for frame in without}
        outcomes = [one for one in outcomes if one.outcome == Outcome.OK]
        parts = self.parts(self.manifest.extracted)
        assert {part.rpartition("/")[2] for part in parts} == {one.part for one in outcomes}
        table = read_parts(self.store.read(part) for part in parts)
        keys = list(zip(table["field"].to_pylist(), table["number"].to_pylist(), strict=True))
        assert len(set(keys)) == len(keys)
        assert Counter(field for field, _ in keys) == {FrameId.parse(o.frame).field: o.sources for o in outcomes}
        assert self.attempts() == []
        self.check_tasks()
        return digest(table)

    def check_tasks(self) -> None:
        """What each task did is told, and agrees with the outcomes and the job's own times."""
        tasks = read_tasks(self.store, self.manifest.extracted)
        job = json.loads(self.store.read(f"{self.manifest.extracted}/{JOB_NOTES}"))
        assert len({one.number for one in tasks}) == len(tasks)
        assert sum(one.frames for one in tasks if not one.alone) == len(FRAMES)
        assert all(one.frames == 1 for one in tasks if one.alone)
        outcomes = read_outcomes(self.store, self.manifest.extracted)
        assert sum(one.sources for one in tasks) == sum(one.sources for one in outcomes)
        assert all(job["began"] <= one.began <= one.ended <= job["ended"] for one in tasks)
        versions = {"spark", "java", "hadoop", "kira", "sep", "numba", "numpy", "astropy", "pyarrow", "python"}
        assert versions == set(job["versions"])
        assert job["spark"]["spark.app.name"] == f"kira extract {self.manifest.batch}"
        assert len(job["code"]["sources"]) == 64
        assert job["code"]["image"] == IMAGE
        assert [machine["cores"] for machine in job["machines"].values()] == [len(os.sched_getaffinity(0))]

    def digest_without(self, frames: Collection[FrameId]) -> str:
        """Digest of the result as if some frames were not in it."""
        table = read_parts(self.store.read(part) for part in self.parts(self.manifest.extracted))
        left_out = pa.array([frame.field for frame in frames], table.schema.field("field").type)
        return digest(table.filter(pc.invert(pc.is_in(table["field"], left_out))))

    def odd(self, **variables: str) -> dict[str, str]:
        """Environment in which chosen frames misbehave."""
        path = os.pathsep.join(filter(None, (str(ODD_FRAMES), os.environ.get("PYTHONPATH"))))
        return {"PYTHONPATH": path, "KIRA_FRAME_SECONDS": str(SECONDS), "KIRA_FRAME_MEMORY_MB": "2048"} | variables


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a job: its process group, and workers of Python, which have sessions of their own."""
    family = descendants(process.pid)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
    for member in family:
        if member.is_running():
            member.kill()


def descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def command_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""  # gone meanwhile


def until(happened: Callable[[], object], process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for something that a running job does."""
    while not happened():
        assert process.poll() is None, f"the job ended before it was to be disturbed: {log.read_text()[-2000:]}"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def new_job(servers: LocalStack, shared_sdss: Path) -> Iterator[Callable[[str], Job]]:
    """Batches of the same 24 staged frames."""
    store = open_store(f"{servers.config.stage_url}-spark")
    path = shared_sdss / REAL.release.service / REAL.archive_path
    real = unpack(path.read_bytes(), path.name)
    entries = []
    for frame in FRAMES:
        content = content_of(frame, real)
        staged = f"spark/frames/{frame.staged_path}"
        store.write(staged, pack(content, frame.pixel_bytes))
        sha = hashlib.sha256(content).hexdigest()
        entries.append(Entry(frame, "http://none/x", "spark/none", staged, 1, "0" * 64, len(content), sha))

    def make(name: str) -> Job:
        manifest = Manifest(name, "spark", "dr7", PARAMETERS.slug, "stage", "manual__1", tuple(entries))
        manifest.save(store)
        store.write(f"{manifest.folder}/parameters.json", PARAMETERS.json.encode())
        return Job(servers, store, manifest)

    yield make
    store.delete("spark")


@pytest.fixture(scope="module")
def undisturbed(new_job: Callable[[str], Job], tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, str]:
    job = new_job("undisturbed")
    return job, job.run("local[2]", tmp_path_factory.mktemp("spark") / "log")


def test_frames_are_packed_into_tasks(undisturbed: tuple[Job, str]) -> None:
    job, said = undisturbed
    assert "24 frames in 4 tasks on 2 cores" in said
    assert "batch undisturbed: 24 of 24 frames extracted" in said
    job.check_complete()
    outcomes = read_outcomes(job.store, job.manifest.extracted)
    assert sorted(Counter(one.part for one in outcomes).values()) == [6, 6, 6, 6]
    assert outcomes[0].sources == 65


def test_a_second_run_does_nothing_and_starts_no_spark(undisturbed: tuple[Job, str], tmp_path: Path) -> None:
    job, said = undisturbed
    assert "Running Spark version" in said  # so that its absence below says something
    before = [(path, file.size) for path, file in job.store.walk(job.manifest.folder)]
    again = job.run("local[2]", tmp_path / "log")
    assert "batch undisturbed was extracted before: nothing to do" in again
    assert "Running Spark version" not in again
    assert [(path, file.size) for path, file in job.store.walk(job.manifest.folder)] == before


def test_a_killed_driver_leaves_nothing_that_counts(
    undisturbed: tuple[Job, str], new_job: Callable[[str], Job], tmp_path: Path
) -> None:
    expected = undisturbed[0].check_complete()
    job = new_job("driver-killed")
    job.store.write(f"{job.manifest.folder}/{FAILURE}", b'{"kind": "driver", "text": "of the attempt before"}')
    log = tmp_path / "first"
    process = job.start("local[1]", log)  # one task after the other, so that one is done and one runs
    try:
        until(lambda: SECOND_TASK in log.read_text(), process, log)
        assert len(job.parts(job.manifest.folder)) == 1
        family = descendants(process.pid)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
        # Workers of Python end themselves once nobody listens to them.
        _, alive = psutil.wait_procs(family, timeout=60)
        assert alive == []
    finally:
        end(process)
    assert job_failure(job.store, job.manifest).kind == "killed"
    assert len(job.attempts()) == 1
    assert not job.store.exists(job.manifest.extracted)

    assert "24 of 24 frames extracted" in job.run("local[2]", tmp_path / "second")
    assert job.check_complete() == expected


def test_a_killed_worker_is_started_again_and_leaves_no_part(
    undisturbed: tuple[Job, str], new_job: Callable[[str], Job], tmp_path: Path
) -> None:
    expected = undisturbed[0].check_complete()
    job = new_job("worker-killed")
    log = tmp_path / "log"
    process = job.start("local[1,4]", log)  # without the 4, local mode tries a task once
    try:
        until(lambda: SECOND_TASK in log.read_text(), process, log)
        daemons = {p.pid: p for p in descendants(process.pid) if "pyspark.daemon" in command_of(p)}
        workers = [p for p in daemons.values() if p.ppid() in daemons]
        assert workers
        for worker in workers:
            worker.kill()
        assert process.wait(300) == 0, log.read_text()[-3000:]
    finally:
        end(process)
    said = log.read_text()
    assert "Lost task" in said
    assert "24 of 24 frames extracted" in said
    assert job.check_complete() == expected


def test_frames_that_hang_kill_their_worker_or_eat_its_memory_harm_no_other(
    undisturbed: tuple[Job, str], new_job: Callable[[str], Job], tmp_path: Path
) -> None:
    hangs, eats, kills = FRAMES[2], FRAMES[4], FRAMES[9]  # the first two in one task, the third in another
    odd = {hangs: "hang", eats: "eat", kills: "kill"}
    job = new_job("odd")
    said = job.run(
        "local[2,4]", tmp_path / "log", **job.odd(ODD_FRAMES=",".join(f"{frame}={kind}" for frame, kind in odd.items()))
    )

    assert job.check_complete(without=odd) == undisturbed[0].digest_without(odd)
    by_frame = {one.frame: one for one in read_outcomes(job.store, job.manifest.extracted)}
    assert {frame: by_frame[str(frame)].outcome for frame in odd} == {
        hangs: Outcome.TIMED_OUT, eats: Outcome.OUT_OF_MEMORY, kills: Outcome.WORKER_DIED
    }  # fmt: skip
    assert by_frame[str(hangs)].reason == (
        f"{hangs}: was not done after the {SECONDS} s that a frame may take (KIRA_FRAME_SECONDS), also alone in a "
        "process of its own; the log of the Spark job says where it was."
    )
    assert by_frame[str(eats)].reason == (
        f"{eats}: needs more than the 2,048 MiB that a worker may have (KIRA_FRAME_MEMORY_MB), also alone in a process "
        "of its own."
    )
    assert f"{kills}: its process was ended by SIGKILL after" in by_frame[str(kills)].reason
    assert "also when it was alone" in by_frame[str(kills)].reason
    # As promised: the log says where the frame that hung was.
    assert "Timeout (0:00:20)!" in said
    assert "3 frames once more, each alone" in said
    # Twice among the others, until it is known which frame it is, and once alone: no more of Spark's four attempts.
    assert said.count("in _misbehave") == 3


def test_a_task_given_up_is_told_from_a_driver_s_error(new_job: Callable[[str], Job], tmp_path: Path) -> None:
    job = new_job("given-up")
    job.run("local[2,2]", tmp_path / "written", fails=True, **job.odd(ODD_WRITING="yes"))
    found = job_failure(job.store, job.manifest)
    assert found.kind == "task"
    assert "after 2 attempts" in found.text
    assert "6 frames from dr7-40-004192-4-03" in found.text
    assert found.text.endswith("StorageError: part-x.parquet could not be written: no space left on device")

    # Without a second attempt nobody can find out at which frame the worker died.
    job.run("local[1]", tmp_path / "killed", fails=True, **job.odd(ODD_FRAMES=f"{FRAMES[3]}=kill"))
    found = job_failure(job.store, job.manifest)
    assert found.kind == "task"
    assert "after its only attempt" in found.text
    assert "Python worker exited unexpectedly (crashed)" in found.text
    assert "\tat " not in found.text

    job.store.write(f"{job.manifest.folder}/parameters.json", b'{"mesh": ')
    said = job.run("local[1]", tmp_path / "driver", fails=True)
    found = job_failure(job.store, job.manifest)
    assert found.kind == "driver"
    assert f"{job.store.uri(job.manifest.folder)}/parameters.json holds no extraction parameters" in found.text
    assert "extract.py, line" in found.text
    assert "Running Spark version" not in said
