"""Extract: staged frames to a table of sources; what the Spark job does, without Spark.

A task is a list of frames. It reads them from the staging store, measures them one by one, writes one Parquet file,
and returns an outcome for each frame. Nothing of this is visible until the driver has seen all tasks end and renames
the attempt's folder.

A batch is worked on in two rounds. What fails in the first in a way that another frame or the machine may be the cause
of (too little memory, too long, the worker dead, bytes that could not be read) is tried once more in the second: alone
in a task and a process of its own, so that it can harm nobody and that its end says what it died of.
"""

import ctypes
import hashlib
import json
import logging
import math
import multiprocessing
import os
import platform
import signal
import socket
import time
import traceback
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

from kira import __version__
from kira.catalog import file_metadata, parquet_bytes, source_table
from kira.errors import ChecksumMismatch, OutOfMemory, SparkTaskFailed, StorageError, TimedOut, WorkerDied
from kira.extraction import Extraction, Profile, extract
from kira.extraction.engine import engine_of
from kira.extraction.limits import DEFAULT_LIMITS, FrameLimits
from kira.frames import read_frame
from kira.frames.staged import plain_of
from kira.ledger import Outcome, Record, Stage
from kira.ledger.states import TRANSIENT
from kira.sdss import FrameId
from kira.stages import memory
from kira.stages.beside import companions_of, missing_of
from kira.stages.packing import pack
from kira.stages.staging import facts_of
from kira.stages.work import failure
from kira.storage import Entry, Manifest, Store, open_store

log = logging.getLogger(__name__)

OUTCOMES = "_outcomes.jsonl"
MANIFEST = "_manifest.jsonl"
JOB = "_job.json"
TASKS = "_tasks.jsonl"
"""What each Spark task did; not there where an older version of Kira, or no Spark, did the work."""
VALIDATION = "_validation.json"
VALIDATION_PAGE = "_validation.html"
PROGRESS = "progress.json"
"""In the folder of a batch: about how many of its frames a running job has extracted."""
FAILURE = "failure.json"
"""In the folder of a batch: what the driver of a Spark job that failed had to say."""
TEXT = 1000
"""Longest text of a failure."""
_AGAIN_ALONE = TRANSIENT | {Outcome.OUT_OF_MEMORY, Outcome.TIMED_OUT, Outcome.WORKER_DIED}
_TRIES_TOGETHER = 3
"""Of a task of many frames. The first keeps no notes, for they cost time; the second finds a frame that kills its
worker, the third leaves that out and may find another. After that each frame is tried alone."""
_TRIES_ALONE = 3
"""Of a frame that is tried alone. What it does to its own process does not end a try; where one ends with its worker, a
machine that went away (a spot instance, a node that failed) may be the cause, and a frame must not answer for that."""
_PR_SET_PDEATHSIG = 1
_START_SECONDS = 120
"""For a process to come up, at most."""


@dataclass(frozen=True)
class Measured:
    """What extraction says of one frame.

    Parameters
    ----------
    frame, outcome, reason : str
    sources : int
    background, rms : float or None
        Global background and its noise, in the unit of the frame's pixels.
    seconds : float
    size : int or None
        Bytes read.
    checks, failed_checks : int
        Integrity checks.
    part : str
        Parquet file that holds the sources; empty if there is none.
    synthetic : bool
        Whether the frame's header says that it was simulated.
    calibration, noise : str
        Where the flux calibration and the noise of the pixels came from; see `kira.frames.Frame`.
    seeing : float or None
        Full width at half maximum of the PSF, arcsec, where a file beside the frame tells it.
    remarks : list of str
        Sentences about what could not be used, or is said to be bad.
    """

    frame: str
    outcome: str
    reason: str = ""
    sources: int = 0
    background: float | None = None
    rms: float | None = None
    seconds: float = 0.0
    size: int | None = None
    checks: int = 0
    failed_checks: int = 0
    part: str = ""
    synthetic: bool = False
    calibration: str = ""
    noise: str = ""
    seeing: float | None = None
    remarks: list[str] = field(default_factory=list)

    def as_record(self) -> Record:
        """For the ledger."""
        return Record(
            FrameId.parse(self.frame), Outcome(self.outcome), self.reason, size=self.size, sources=self.sources,
            seconds=self.seconds, checks=self.checks, failed_checks=self.failed_checks,
        )  # fmt: skip


@dataclass(frozen=True)
class TaskRun:
    """What one Spark task did, in the attempt that counted.

    Parameters
    ----------
    number : int
        Of the task in its job; those of the second round follow those of the first.
    attempt : int
        How many attempts of it ended before without a result: their workers died, and left no times.
    alone : bool
        Whether it is of the second round, in which each frame has a process of its own.
    began, ended : str
        By the worker's clock, UTC, ISO 8601.
    host : str
    executor : str
        Spark's id of it, where the cluster tells its processes; else empty.
    process : int
        Of the Python worker: tasks of one process on one host did not run at the same time.
    frames, failed : int
        Frames that it worked on, and those that did not go well.
    sources : int
    slowest : str
        Frame that took longest; empty if there was none.
    slowest_seconds : float
    memory, peak : int
        Resident memory of the worker at the task's end, and its most during the task, MiB; 0 where it is not known.
    """

    number: int
    attempt: int
    alone: bool
    began: str
    ended: str
    host: str
    executor: str
    process: int
    frames: int
    failed: int
    sources: int
    slowest: str
    slowest_seconds: float
    memory: int = 0
    peak: int = 0

    @property
    def seconds(self) -> float:
        """How long it took, s."""
        return (datetime.fromisoformat(self.ended) - datetime.fromisoformat(self.began)).total_seconds()


def _versions() -> dict[str, str]:
    found = {name: version(name) for name in ("kira", "sep", "numba", "numpy", "astropy", "pyarrow")}
    return found | {"python": platform.python_version()}


@dataclass
class JobNotes:
    """What is kept of a job beside its result: filled while it runs.

    Parameters
    ----------
    tasks : list of TaskRun
    versions : dict of str to str
        Of what did the work, as it was installed then, by its name.
    about : dict
        More that the job's file tells, for the run's record: plain values.
    """

    tasks: list[TaskRun] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=_versions)
    about: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """Frames that one Spark task works on; plain values, so that any executor can read it.

    Parameters
    ----------
    stage_url, folder : str
        Root of the store, and the attempt's folder below it.
    number : int
        Of the task, unique in the attempt.
    parameters : Profile
    entries : tuple of Entry
    limits : FrameLimits
    alone : bool
        Whether this is the second round, in which each frame has a process of its own.
    run_id : str
        Airflow's DAG run.
    """

    stage_url: str
    folder: str
    number: int
    parameters: Profile
    entries: tuple[Entry, ...]
    limits: FrameLimits = DEFAULT_LIMITS
    alone: bool = False
    run_id: str = ""

    def note(self, number: int) -> str:
        """Path of the note that says at which frame a try of this task is, or ended."""
        return f"{self.folder}/at-{self.number:05d}-{number}"


def make_tasks(
    store: Store, manifest: Manifest, folder: str, parameters: Profile, cores: int,
    limits: FrameLimits = DEFAULT_LIMITS, hosts: Mapping[str, Sequence[str]] | None = None,
) -> list[Task]:  # fmt: skip
    """Make the tasks of a batch; see `kira.stages.packing`.

    Parameters
    ----------
    store : Store
    manifest : Manifest
        Of the stage stage.
    folder : str
        Where this attempt writes.
    parameters : Profile
    cores : int
        Of the whole cluster.
    limits : FrameLimits
        What each frame may take.
    hosts : mapping of str to sequence of str, optional
        Hosts that hold a staged file, by its path.
    """
    return [
        Task(store.url, folder, number, parameters, entries, limits, run_id=manifest.run)
        for number, entries in enumerate(pack(manifest.entries, cores, hosts))
    ]


@cache
def get_ready(parameters: Profile) -> None:
    """Load what a worker needs, and compile it the first time on a machine: once a process, at no frame's cost."""
    from kira.extraction.trial import frames

    memory.reuse()
    engine_of(parameters)
    # What is loaded late by libraries comes with the first frame: a small one that is nobody's.
    extract(frames()[0], parameters)
    pa.table({"x": np.zeros(1)})
    memory.settle()


def run_task(task: Task, attempt: str, number: int = 0) -> list[Measured]:
    """Extract the frames of a task and write their sources to one Parquet file.

    A frame at which the worker died (killed by the machine, too long, a crash in compiled code) leaves no exception.
    So once a task is tried again it keeps a note of the frame that it is at, and a further try leaves out the frame at
    which the one before ended: its outcome is then provisional, and `extract_batch` tries it alone. A task of the
    second round keeps that note in every try, and gives its frame up when three have ended there.

    Parameters
    ----------
    task : Task
    attempt : str
        Unique among the attempts that Spark makes of a task, so that two of them cannot write the same file.
    number : int
        How many attempts there were before.
    """
    store = open_store(task.stage_url)
    get_ready(task.parameters)
    deadly = _deadly(store, task, number)
    measure = _measure_alone if task.alone else _measure
    noted = bool(number or task.alone)
    tables: list[pa.Table] = []
    measured: list[Measured] = []
    for entry in task.entries:
        if str(entry.frame) in deadly:
            measured.append(_dead(entry.frame, task, number))
            continue
        if noted:
            store.write(task.note(number), str(entry.frame).encode())
        one, table = measure(store, entry, task)
        measured.append(one)
        if table is not None:
            tables.append(table)
    if noted:
        store.delete(task.note(number))  # what goes wrong from here on is no frame's fault
    if not tables:
        return measured
    name = f"part-{task.number:05d}-{attempt}.parquet"
    metadata = file_metadata(task.parameters, version=__version__, synthetic=any(one.synthetic for one in measured))
    store.write(f"{task.folder}/{name}", parquet_bytes(pa.concat_tables(tables), metadata=metadata))
    return [replace(m, part=name) if Outcome(m.outcome).good else m for m in measured]


def timed_task(task: Task, attempt: str, number: int = 0) -> tuple[list[Measured], TaskRun]:
    """As `run_task`, and say when and where it was done; see there."""
    began = datetime.now(UTC)
    memory.forget_peak()
    measured = run_task(task, attempt, number)
    memory.give_back()
    slowest = max(measured, key=lambda one: one.seconds, default=None)
    return measured, TaskRun(
        task.number, number, task.alone, began.isoformat(), datetime.now(UTC).isoformat(), socket.gethostname(),
        os.environ.get("SPARK_EXECUTOR_ID", ""), os.getpid(), len(measured),
        sum(not Outcome(one.outcome).good for one in measured), sum(one.sources for one in measured),
        slowest.frame if slowest else "", slowest.seconds if slowest else 0.0, *memory.held(),
    )  # fmt: skip


def _deadly(store: Store, task: Task, number: int) -> set[str]:
    if number >= _TRIES_TOGETHER and not task.alone:
        return {str(entry.frame) for entry in task.entries}
    notes = [note for note in map(task.note, range(number)) if store.exists(note)]
    if task.alone and len(notes) < _TRIES_ALONE:
        return set()
    return {store.read(note).decode() for note in notes}


def _dead(frame: FrameId, task: Task, number: int) -> Measured:
    if not task.alone:
        log.warning("%s: put off, to be tried alone, because try %d of its task ended with the worker", frame, number)
        return Measured(str(frame), Outcome.WORKER_DIED, "put off")
    died = WorkerDied(
        f"{frame}: the worker died at it, also when it was alone, {_TRIES_ALONE} times: killed by the machine, or lost "
        "with it."
    )
    return _failed(frame, died, 0.0)


def _failed(frame: FrameId, error: Exception, seconds: float) -> Measured:
    record = failure(frame, Stage.EXTRACT, error, seconds)
    wrong = int(record.outcome is Outcome.CHECKSUM_MISMATCH)
    return Measured(str(frame), record.outcome, record.reason, seconds=seconds, checks=1, failed_checks=wrong)


def _measure(store: Store, entry: Entry, task: Task) -> tuple[Measured, pa.Table | None]:
    began = time.monotonic()
    try:
        with task.limits.time():
            content = _content(store, entry, task)
            companions = companions_of(entry, lambda path, sha256: _checked(store, path, sha256, task))
            # Not while reading: the HDFS client would abort the process where Python raises a MemoryError.
            with task.limits.memory():
                frame = read_frame(content, entry.frame, companions)
                size = len(content)
                del content, companions  # a frame's worth of memory, while more of it is needed than ever else
                sources: Extraction = extract(frame, task.parameters)
                table = source_table(frame, sources, task.parameters, run_id=task.run_id)
    except MemoryError:
        error = OutOfMemory(
            f"{entry.frame}: needs more than the {task.limits.memory_mb:,} MiB that a worker may have "
            f"(KIRA_FRAME_MEMORY_MB){', also alone in a process of its own' if task.alone else ''}."
        )
        return _failed(entry.frame, error, time.monotonic() - began), None
    except Exception as error:  # noqa: BLE001 - becomes this frame's recorded outcome; the others go on
        return _failed(entry.frame, error, time.monotonic() - began), None
    outcome = Outcome.OK if sources.n_sources else Outcome.OK_EMPTY
    return Measured(
        str(entry.frame), outcome, "", sources.n_sources, sources.background, sources.rms,
        time.monotonic() - began, size, checks=1, synthetic=frame.synthetic, calibration=frame.calibration,
        noise=frame.noise_source, seeing=None if math.isnan(frame.seeing) else frame.seeing,
        remarks=[*missing_of(entry), *frame.remarks],
    ), table  # fmt: skip


def _content(store: Store, entry: Entry, task: Task) -> bytes:
    facts = facts_of(entry)
    if facts.plain_size > task.limits.memory_mb << 20:
        raise MemoryError
    content = _read(store, entry.staged)
    if hashlib.sha256(content).hexdigest() == entry.staged_sha256:
        # Of these very bytes the stage stage has found that they unpack to what they should.
        return plain_of(content, entry.staged)
    # Packed by another version of Blosc since then, it may still be the same frame.
    with suppress(ChecksumMismatch):
        content = plain_of(content, entry.staged)
    return _proven(store, entry.staged, content, facts.plain_sha256, task)


def _checked(store: Store, path: str, sha256: str, task: Task) -> bytes:
    return _proven(store, path, _read(store, path), sha256, task)


def _proven(store: Store, path: str, content: bytes, sha256: str, task: Task) -> bytes:
    if (found := hashlib.sha256(content).hexdigest()) == sha256:
        return content
    what = f"{store.uri(path)} was read with SHA-256 {found} instead of {sha256}"
    if not task.alone:
        raise ChecksumMismatch(f"{what}.")
    # Its length is right, or the stage stage would have replaced it: left there, it would be taken again.
    store.delete(path)
    raise ChecksumMismatch(f"{what}; it was removed.")


def _measure_alone(_store: Store, entry: Entry, task: Task) -> tuple[Measured, pa.Table | None]:
    """As `_measure`, in a fresh process: nothing that frames before it left behind, and an exit code that tells."""
    began = time.monotonic()
    try:
        return _from_a_process(entry, task)
    except Exception as error:  # noqa: BLE001 - becomes this frame's recorded outcome
        return _failed(entry.frame, error, time.monotonic() - began), None


def _from_a_process(entry: Entry, task: Task) -> tuple[Measured, pa.Table | None]:
    # Not forked: the HDFS client's threads would not be there in the copy, and what the worker holds would be.
    new = multiprocessing.get_context("spawn")
    ours, theirs = new.Pipe(duplex=False)
    process = new.Process(target=_in_process, args=(theirs, entry, task), daemon=True)
    began = time.monotonic()
    process.start()
    theirs.close()
    answer: tuple[Measured, pa.Table | None] | None = None
    # It ends itself when its time is up; waiting has an end in case that it never got so far.
    overdue = not ours.poll(task.limits.seconds + _START_SECONDS)
    if overdue:
        process.kill()
    with suppress(EOFError, OSError):
        answer = ours.recv()
    process.join()
    seconds = time.monotonic() - began
    if answer is not None:
        return answer
    code = process.exitcode or 0
    if overdue or (code == 1 and seconds >= task.limits.seconds):
        raise TimedOut(
            f"{entry.frame}: was not done after the {task.limits.seconds:,} s that a frame may take "
            "(KIRA_FRAME_SECONDS), also alone in a process of its own; the log of the Spark job says where it was."
        )
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    raise WorkerDied(
        f"{entry.frame}: its process was ended {how} after {seconds:.0f} s, also when it was alone: killed by the "
        "machine, or a crash in compiled code."
    )


def _die_with_parent() -> None:
    # A worker is ended with its job; nobody would wait for what its process finds.
    with suppress(AttributeError):  # Linux only; elsewhere the time limit ends it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _in_process(answer: Any, entry: Entry, task: Task) -> None:
    _die_with_parent()
    answer.send(_measure(open_store(task.stage_url), entry, task))


@retry(retry=retry_if_exception_type(StorageError), stop=stop_after_attempt(3), wait=wait_random(1, 5), reraise=True)
def _read(store: Store, path: str) -> bytes:
    # A DataNode that went away is found out by the first read; the second asks another one.
    return store.read(path)


def extract_batch(
    store: Store, manifest: Manifest, parameters: Profile, cores: int,
    run_all: Callable[[Sequence[Task]], Iterable[list[Measured]]], limits: FrameLimits = DEFAULT_LIMITS,
    notes: JobNotes | None = None, hosts: Mapping[str, Sequence[str]] | None = None,
) -> list[Measured]:  # fmt: skip
    """Extract a whole batch, and make the result visible to the next stage by one rename.

    Parameters
    ----------
    store : Store
    manifest : Manifest
        Of the stage stage.
    parameters : Profile
    cores : int
    run_all : callable
        Runs `run_task` on every task, anywhere; called a second time if there are frames to be tried alone.
    limits : FrameLimits
        What each frame may take.
    notes : JobNotes, optional
        What `run_all` fills; kept beside the result.
    hosts : mapping of str to sequence of str, optional
        Hosts that hold a staged file, by its path, where tasks should be made of frames that lie together.

    Returns
    -------
    list of Measured
        One for each frame, in the order of the manifest.
    """
    began = datetime.now(UTC)
    _remove_attempts(store, manifest)
    folder = f"{manifest.folder}/attempt-{uuid.uuid4().hex}"
    tasks = make_tasks(store, manifest, folder, parameters, cores, limits, hosts)
    by_frame = {one.frame: one for part in run_all(tasks) for one in part}
    if again := [entry for entry in manifest.entries if by_frame[str(entry.frame)].outcome in _AGAIN_ALONE]:
        log.warning("%d frames once more, each alone: %s …", len(again), again[0].frame)
        alone = [
            Task(store.url, folder, number, parameters, (entry,), limits, alone=True, run_id=manifest.run)
            for number, entry in enumerate(again, len(tasks))
        ]
        by_frame |= {one.frame: one for part in run_all(alone) for one in part}
    measured = [by_frame[str(entry.frame)] for entry in manifest.entries]
    _keep_only(store, folder, {one.part for one in measured})
    store.write(f"{folder}/{MANIFEST}", manifest.to_text().encode())
    store.write(f"{folder}/{OUTCOMES}", "".join(json.dumps(asdict(one)) + "\n" for one in measured).encode())
    notes = notes or JobNotes()
    if notes.tasks:
        lines = (json.dumps(asdict(one)) + "\n" for one in sorted(notes.tasks, key=lambda one: one.number))
        store.write(f"{folder}/{TASKS}", "".join(lines).encode())
    times = {"began": began.isoformat(), "ended": datetime.now(UTC).isoformat(), "cores": cores}
    store.write(f"{folder}/{JOB}", json.dumps(times | {"versions": notes.versions} | notes.about).encode())
    store.delete(manifest.extracted)  # of other frames, else this would have been finished
    store.rename(folder, manifest.extracted)
    return measured


def finished(store: Store, manifest: Manifest) -> bool:
    """Whether the batch was extracted before, published or not."""
    if store.exists(f"{manifest.published}/{OUTCOMES}"):
        return True
    # More frames may have come this far than when the batch was extracted: then its result is not that of this batch.
    kept = f"{manifest.extracted}/{MANIFEST}"
    if not store.exists(kept) or Manifest.load(store, store.uri(kept)).entries != manifest.entries:
        return False
    # What failed in a way that may pass is worth another try, when the task is cleared or the frames planned again.
    return not any(one.outcome in TRANSIENT for one in read_outcomes(store, manifest.extracted))


@dataclass(frozen=True)
class JobFailure:
    """How a Spark job ended that did not come to its end.

    Parameters
    ----------
    kind : {"task", "driver", "killed"}
        Spark gave up a task after all its attempts; the driver had an error of its own; the driver left no word.
    text : str
        One or two sentences for a person.
    """

    kind: Literal["task", "driver", "killed"]
    text: str


def job_failure(store: Store, manifest: Manifest) -> JobFailure:
    """Say why the Spark job of a batch failed, from the note that its driver left.

    An old note would pass for a new one where the job did not even begin: `forget_failure` before it is submitted.
    """
    path = f"{manifest.folder}/{FAILURE}"
    if store.exists(path):
        with suppress(ValueError, TypeError, AttributeError):
            note = json.loads(store.read(path))
            if note.get("kind") in ("task", "driver"):
                return JobFailure(note["kind"], str(note.get("text", ""))[:TEXT])
    return JobFailure(
        "killed",
        f"The driver of the Spark job of {_frames(manifest)} ended without a word: it was killed (by the machine "
        f"for its memory, or by somebody), never began, or could not write to {store.url}; its log may say more.",
    )


def forget_failure(store: Store, manifest: Manifest) -> None:
    """Remove the note of a job that failed before."""
    store.delete(f"{manifest.folder}/{FAILURE}")


def note_failure(store: Store, manifest: Manifest, error: Exception) -> None:
    """Leave word of what ended a driver; `SparkTaskFailed` is a task's failure, anything else the driver's own."""
    if isinstance(error, SparkTaskFailed):
        found = JobFailure("task", str(error))
    else:
        last = traceback.extract_tb(error.__traceback__)[-1:]
        where = "".join(f" ({Path(at.filename).name}, line {at.lineno}, in {at.name})" for at in last)
        said = str(error).strip().partition("\n\tat ")[0] or "no text"
        text = f"The driver of the Spark job of {_frames(manifest)} ended with {type(error).__name__}: {said}"
        found = JobFailure("driver", text[: TEXT - len(where)] + where)
    store.write(f"{manifest.folder}/{FAILURE}", json.dumps(asdict(replace(found, text=found.text[:TEXT]))).encode())


def _frames(manifest: Manifest) -> str:
    """The frames that a failure of the whole job is about."""
    frames = [entry.frame for entry in manifest.entries]
    which = f"{len(frames)} frames from {frames[0]} to {frames[-1]}" if len(frames) > 1 else "".join(map(str, frames))
    return f"batch {manifest.batch} ({which or 'no frames'})"


def read_outcomes(store: Store, folder: str) -> list[Measured]:
    """What extraction said of the frames whose result lies in a folder."""
    rows: list[dict[str, Any]] = [json.loads(line) for line in store.read(f"{folder}/{OUTCOMES}").decode().splitlines()]
    return [Measured(**row) for row in rows]


def read_tasks(store: Store, folder: str) -> list[TaskRun]:
    """What the Spark tasks did whose result lies in a folder; none where nobody kept it."""
    if not store.exists(f"{folder}/{TASKS}"):
        return []
    lines = store.read(f"{folder}/{TASKS}").decode().splitlines()
    return [TaskRun(**json.loads(line)) for line in lines]


def _remove_attempts(store: Store, manifest: Manifest) -> None:
    # What a killed driver left; nobody else works on this batch.
    for entry in store.listing(manifest.folder):
        if entry.name.startswith("attempt-"):
            store.delete(f"{manifest.folder}/{entry.name}")


def _keep_only(store: Store, folder: str, parts: set[str]) -> None:
    # A task that Spark ran twice leaves two files; only that of the attempt whose answer counted may stay.
    there = {entry.name for entry in store.listing(folder)}
    for name in there - parts:
        log.info("removed %s, written by an attempt that did not count", name)
        store.delete(f"{folder}/{name}")
    if gone := parts - there - {""}:
        raise StorageError(
            f"{store.uri(folder)} has lost {len(gone)} of its files: another driver works on the same batch, and this "
            "one gives way."
        )
