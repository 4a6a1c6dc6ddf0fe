"""Extract: staged frames to a table of sources; what the Spark job does, without Spark.

A task is a list of frames. It reads them from the staging store, measures them one by one, writes one Parquet file,
and returns an outcome for each frame. Nothing of this is visible until the driver has seen all tasks end and renames
the attempt's folder.
"""

import hashlib
import json
import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

from kira import __version__
from kira.catalog import file_metadata, parquet_bytes, to_table
from kira.errors import ChecksumMismatch, StorageError
from kira.extraction import Extraction, Parameters, extract
from kira.frames import read_frame
from kira.ledger import Outcome, Record, Stage
from kira.sdss import FrameId
from kira.stages.staging import facts_of
from kira.stages.work import TRANSIENT, failure
from kira.storage import Entry, Manifest, Store, open_store

log = logging.getLogger(__name__)

FRAMES_A_TASK = 10
"""At least, where there are enough: a task costs Spark about as much as a third of a frame."""
TASKS_A_CORE = 4
"""At most: small enough tasks to even out, not so many that starting them shows."""
OUTCOMES = "_outcomes.jsonl"
MANIFEST = "_manifest.jsonl"
JOB = "_job.json"
VALIDATION = "_validation.json"
PROGRESS = "progress.json"
"""In the folder of a batch: about how many of its frames a running job has extracted."""
_DEADLY = (
    "the worker died at this frame in every try: out of memory, or a crash in compiled code; left out, so that the "
    "others of the batch come through"
)


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

    def as_record(self) -> Record:
        """For the ledger."""
        return Record(
            FrameId.parse(self.frame), Outcome(self.outcome), self.reason, size=self.size, sources=self.sources,
            seconds=self.seconds, checks=self.checks, failed_checks=self.failed_checks,
        )  # fmt: skip


@dataclass(frozen=True)
class Task:
    """Frames that one Spark task works on; plain values, so that any executor can read it."""

    stage_url: str
    folder: str
    number: int
    parameters: Parameters
    entries: tuple[Entry, ...]


def make_tasks(store: Store, manifest: Manifest, folder: str, parameters: Parameters, cores: int) -> list[Task]:
    """Pack frames into tasks of at least ten where there are enough, and no more than four a core.

    Parameters
    ----------
    store : Store
    manifest : Manifest
        Of the stage stage.
    folder : str
        Where this attempt writes.
    parameters : Parameters
    cores : int
        Of the whole cluster.
    """
    entries = sorted(manifest.entries, key=lambda entry: entry.frame)
    count = max(1, min(len(entries) // FRAMES_A_TASK, TASKS_A_CORE * cores))
    # Every count-th frame: a crowded stretch of a run is spread over all tasks.
    return [Task(store.url, folder, n, parameters, tuple(entries[n::count])) for n in range(count)]


def run_task(task: Task, attempt: str, number: int = 0) -> list[Measured]:
    """Extract the frames of a task and write their sources to one Parquet file.

    A frame at which the worker died (out of memory, a crash in compiled code) leaves no exception. So once a task is
    tried again it keeps a note of the frame that it is at, and its last try leaves out the one at which two tries
    ended.

    Parameters
    ----------
    task : Task
    attempt : str
        Unique among the attempts that Spark makes of a task, so that two of them cannot write the same file.
    number : int
        How many attempts there were before.
    """
    store = open_store(task.stage_url)
    deadly = _deadly(store, task, number)
    tables: list[pa.Table] = []
    measured: list[Measured] = []
    for entry in task.entries:
        if str(entry.frame) in deadly:
            measured.append(Measured(str(entry.frame), Outcome.INTERNAL_ERROR, _DEADLY))
            continue
        if number:
            store.write(_note(task, number), str(entry.frame).encode())
        one, table = _measure(store, entry, task.parameters)
        measured.append(one)
        if table is not None:
            tables.append(table)
    if not tables:
        return measured
    name = f"part-{task.number:05d}-{attempt}.parquet"
    metadata = file_metadata(task.parameters, version=__version__, synthetic=any(one.synthetic for one in measured))
    store.write(f"{task.folder}/{name}", parquet_bytes(pa.concat_tables(tables), metadata=metadata))
    return [replace(m, part=name) if Outcome(m.outcome).good else m for m in measured]


def _note(task: Task, number: int) -> str:
    return f"{task.folder}/at-{task.number:05d}-{number}"


def _deadly(store: Store, task: Task, number: int) -> set[str]:
    notes = (_note(task, before) for before in range(1, number))
    ends = Counter(store.read(note).decode() for note in notes if store.exists(note))
    return {frame for frame, times in ends.items() if times > 1}


def _measure(store: Store, entry: Entry, parameters: Parameters) -> tuple[Measured, pa.Table | None]:
    began = time.monotonic()
    try:
        facts = facts_of(entry)
        content = _read(store, entry.staged)
        if (found := hashlib.sha256(content).hexdigest()) != facts.plain_sha256:
            # Its length is right, or the stage stage would have replaced it: left there, it would be taken again.
            store.delete(entry.staged)
            raise ChecksumMismatch(
                f"{store.uri(entry.staged)} was read with SHA-256 {found} instead of {facts.plain_sha256}; it was "
                "removed."
            )
        frame = read_frame(content, entry.frame)
        sources: Extraction = extract(frame, parameters)
        table = to_table(entry.frame, sources)
    except Exception as error:  # noqa: BLE001 - becomes this frame's recorded outcome; the others go on
        record = failure(entry.frame, Stage.EXTRACT, error, time.monotonic() - began)
        return Measured(
            str(entry.frame), record.outcome, record.reason, seconds=time.monotonic() - began, checks=1,
            failed_checks=int(record.outcome is Outcome.CHECKSUM_MISMATCH),
        ), None  # fmt: skip
    outcome = Outcome.OK if sources.n_sources else Outcome.OK_EMPTY
    return Measured(
        str(entry.frame), outcome, "", sources.n_sources, sources.background, sources.rms,
        time.monotonic() - began, len(content), checks=1, synthetic=frame.synthetic,
    ), table  # fmt: skip


@retry(retry=retry_if_exception_type(StorageError), stop=stop_after_attempt(3), wait=wait_random(1, 5), reraise=True)
def _read(store: Store, path: str) -> bytes:
    # A DataNode that went away is found out by the first read; the second asks another one.
    return store.read(path)


def extract_batch(
    store: Store, manifest: Manifest, parameters: Parameters, cores: int,
    run_all: Callable[[Sequence[Task]], Iterable[list[Measured]]],
) -> list[Measured]:  # fmt: skip
    """Extract a whole batch, and make the result visible to the next stage by one rename.

    Parameters
    ----------
    store : Store
    manifest : Manifest
        Of the stage stage.
    parameters : Parameters
    cores : int
    run_all : callable
        Runs `run_task` on every task, anywhere.

    Returns
    -------
    list of Measured
        One for each frame, in the order of the manifest.
    """
    began = datetime.now(UTC)
    _remove_attempts(store, manifest)
    folder = f"{manifest.folder}/attempt-{uuid.uuid4().hex}"
    results = [one for part in run_all(make_tasks(store, manifest, folder, parameters, cores)) for one in part]
    by_frame = {one.frame: one for one in results}
    measured = [by_frame[str(entry.frame)] for entry in manifest.entries]
    _keep_only(store, folder, {one.part for one in measured})
    store.write(f"{folder}/{MANIFEST}", manifest.to_text().encode())
    store.write(f"{folder}/{OUTCOMES}", "".join(json.dumps(asdict(one)) + "\n" for one in measured).encode())
    times = {"began": began.isoformat(), "ended": datetime.now(UTC).isoformat(), "cores": cores}
    store.write(f"{folder}/{JOB}", json.dumps(times).encode())
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


def read_outcomes(store: Store, folder: str) -> list[Measured]:
    """What extraction said of the frames whose result lies in a folder."""
    rows: list[dict[str, Any]] = [json.loads(line) for line in store.read(f"{folder}/{OUTCOMES}").decode().splitlines()]
    return [Measured(**row) for row in rows]


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
