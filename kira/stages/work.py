"""What the stages share: the services that they use, and frames worked on in parallel with an outcome for each."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from itertools import islice

from kira.errors import (
    ArchiveUnavailable,
    BadFrame,
    ChecksumMismatch,
    CorruptUpstream,
    ExtractionFailed,
    KiraError,
    NotInArchive,
    OutOfMemory,
    StorageError,
    TimedOut,
    WorkerDied,
)
from kira.ledger import Context, Ledger, Outcome, Record, Stage
from kira.ledger.states import QUARANTINE_AFTER, TRANSIENT
from kira.sdss import FrameId
from kira.sdss.archive import Archive
from kira.storage import Entry, Manifest, S3Mirror, Store

log = logging.getLogger(__name__)

_OUTCOMES: dict[type[Exception], Outcome] = {
    NotInArchive: Outcome.NOT_IN_ARCHIVE,
    ArchiveUnavailable: Outcome.ARCHIVE_UNAVAILABLE,
    CorruptUpstream: Outcome.CORRUPT_UPSTREAM,
    ChecksumMismatch: Outcome.CHECKSUM_MISMATCH,
    StorageError: Outcome.STORAGE_FAILED,
    BadFrame: Outcome.BAD_FRAME,
    OutOfMemory: Outcome.OUT_OF_MEMORY,
    TimedOut: Outcome.TIMED_OUT,
    WorkerDied: Outcome.WORKER_DIED,
    ExtractionFailed: Outcome.EXTRACTION_FAILED,
}
_RECORD_EVERY_SECONDS = 1.0


class TryAgain(KiraError):
    """Some frames of a batch failed in a way that may pass; the stage is to be run again."""


@dataclass(frozen=True)
class Services:
    """What the stages read from and write to.

    Parameters
    ----------
    archive : Archive
    mirror : S3Mirror
    store : Store
    ledger : Ledger
    """

    archive: Archive
    mirror: S3Mirror
    store: Store
    ledger: Ledger


@dataclass(frozen=True)
class Attempt:
    """Which try of which DAG run this is.

    Parameters
    ----------
    dag_run : str
    number : int
        From 1.
    last : bool
        Whether no further one will follow, so that a passing failure becomes an outcome that stands.
    dag : str
        Id of the DAG.
    log : str
        Where the log of the Airflow task can be read.
    """

    dag_run: str
    number: int = 1
    last: bool = True
    dag: str = "sdss_ingest"
    log: str = ""

    def context(self, manifest: Manifest) -> Context:
        """Common part of the outcomes of a batch."""
        return Context(
            manifest.batch, manifest.archive, manifest.release, manifest.profile, self.dag_run, self.number, self.dag,
            self.log,
        )  # fmt: skip


def outcome_of(error: Exception) -> Outcome:
    """Outcome that an exception stands for."""
    return next((o for kind, o in _OUTCOMES.items() if isinstance(error, kind)), Outcome.INTERNAL_ERROR)


def failure(frame: FrameId, stage: Stage, error: Exception, seconds: float) -> Record:
    """Record of a frame that failed; what nobody foresaw is logged with its traceback."""
    outcome = outcome_of(error)
    reason = str(error)
    if outcome is Outcome.INTERNAL_ERROR:
        log.error("%s: %s failed in a way that nobody foresaw", frame, stage, exc_info=error)
        reason = f"{type(error).__name__}: {error}"
    else:
        log.warning("%s: %s: %s (%s)", frame, stage, reason, outcome.advice)
    failed = int(outcome in (Outcome.CORRUPT_UPSTREAM, Outcome.CHECKSUM_MISMATCH))
    return Record(frame, outcome, reason, seconds=seconds, checks=failed, failed_checks=failed)


class Judge:
    """Tells a failure that will be tried again from one that stands.

    Parameters
    ----------
    services : Services
    context : Context
    frames : list of FrameId
        Of the batch.
    last : bool
        Whether this is the last attempt of its DAG run.
    """

    def __init__(self, services: Services, context: Context, frames: list[FrameId], *, last: bool) -> None:
        self._mismatches = services.ledger.mismatches(context, frames)
        self._last = last

    def __call__(self, record: Record) -> Record:
        """The record, marked as to be retried, or quarantined after too many mismatches in a row."""
        count = self._mismatches.get(record.frame, 0) + 1
        if record.outcome is Outcome.CHECKSUM_MISMATCH and count >= QUARANTINE_AFTER:
            reason = f"{record.reason} It was mismatch number {count} in a row: quarantined."
            log.error("%s: %s (%s)", record.frame, reason, Outcome.QUARANTINED.advice)
            return replace(record, outcome=Outcome.QUARANTINED, reason=reason)
        return replace(record, retrying=record.outcome in TRANSIENT and not self._last)


def for_each_frame(
    services: Services, attempt: Attempt, manifest: Manifest, stage: Stage,
    work: Callable[[Entry], tuple[Entry, Record]], *, threads: int,
) -> Manifest:  # fmt: skip
    """Do a stage's work on all frames of a batch, in threads, and write its manifest.

    Parameters
    ----------
    services : Services
    attempt : Attempt
    manifest : Manifest
        Of the stage before.
    stage : Stage
    work : callable
        Takes an entry; returns it with what is known now, and the outcome. What it raises becomes an outcome.
    threads : int

    Returns
    -------
    Manifest
        Of this stage, saved: the frames that go on.

    Raises
    ------
    TryAgain
        If frames failed in a way that may pass and this is not the last attempt.
    """
    context = attempt.context(manifest)
    good: dict[FrameId, Entry] = {}
    passing: list[Record] = []
    pending: list[Record] = []
    judge = Judge(services, context, [entry.frame for entry in manifest.entries], last=attempt.last)
    with (
        services.ledger.attempt(context, stage, len(manifest.entries)) as told,
        ThreadPoolExecutor(threads, thread_name_prefix=str(stage)) as pool,
    ):
        recorded = time.monotonic()
        for done, (entry, raw) in enumerate(_in_threads(pool, threads, manifest.entries, stage, work), 1):
            record = judge(raw)
            pending.append(record)
            told.size += (record.size or 0) * (not record.again)
            if record.outcome.goes_on:
                good[entry.frame] = entry
            elif record.outcome in TRANSIENT:
                passing.append(record)
            if time.monotonic() - recorded > _RECORD_EVERY_SECONDS:
                services.ledger.record(context, stage, pending)
                log.info("%s: %d of %d frames", stage, done, len(manifest.entries))
                pending, recorded = [], time.monotonic()
        services.ledger.record(context, stage, pending)
        if passing and not attempt.last:
            raise TryAgain(
                f"{len(passing)} of {len(manifest.entries)} frames of batch {manifest.batch} failed in stage {stage} "
                f"in a way that may pass; the first: {passing[0].frame}: {passing[0].reason}"
            )
        after = manifest.after(stage, (good[e.frame] for e in manifest.entries if e.frame in good))
        after.save(services.store)
    log.info("%s: %d of %d frames go on", stage, len(good), len(manifest.entries))
    return after


def _in_threads(
    pool: ThreadPoolExecutor, threads: int, entries: tuple[Entry, ...], stage: Stage,
    work: Callable[[Entry], tuple[Entry, Record]],
) -> Iterator[tuple[Entry, Record]]:  # fmt: skip
    def guarded(entry: Entry) -> tuple[Entry, Record]:
        began = time.monotonic()
        try:
            return work(entry)
        except Exception as error:  # noqa: BLE001 - becomes this frame's recorded outcome
            # What the archive said of a file that is damaged there: once it says something else, it is another file.
            return entry, replace(failure(entry.frame, stage, error, time.monotonic() - began), listed=entry.listed)

    # A few at a time: a manifest of thousands must not become thousands of frames in memory.
    waiting = iter(entries)
    running = {pool.submit(guarded, entry) for entry in islice(waiting, 2 * threads)}
    while running:
        done = next(as_completed(running))
        running.remove(done)
        running.update(pool.submit(guarded, entry) for entry in islice(waiting, 1))
        yield done.result()


def workers() -> int:
    """Threads for work that loads the processor; bz2, zlib and hashlib release the interpreter's lock."""
    return max(2, os.cpu_count() or 2)
