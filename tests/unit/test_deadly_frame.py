"""A frame that kills its worker is an outcome in the end; the others of its task come through."""

import hashlib
import multiprocessing
import os
from pathlib import Path
from typing import Any

from real_frames import FPC, plain

from kira.extraction import Parameters
from kira.frames import Frame
from kira.ledger import Outcome
from kira.sdss import FrameId
from kira.stages import extraction
from kira.stages.extraction import Measured, Task, run_task
from kira.storage import Entry, open_store

GOOD, DEADLY = FPC, "dr7-40-004192-4-0300-z"
SPARK_TRIES = 4


def entry(shared_sdss: Path, store: Any, text: str) -> Entry:
    content = plain(shared_sdss, text)
    store.write(f"frames/{text}.fit", content)
    sha256 = hashlib.sha256(content).hexdigest()
    return Entry(FrameId.parse(text), "http://x", "key", f"frames/{text}.fit", 1, sha256, len(content), sha256)


def die_at_one_frame(frame: Frame, parameters: Parameters) -> Any:
    if str(frame.id) == DEADLY:
        os._exit(139)
    return _extract(frame, parameters)


_extract = extraction.extract


def one_try(task: Task, number: int, queue: Any) -> None:
    extraction.extract = die_at_one_frame
    queue.put(run_task(task, str(number), number))


def tries(task: Task) -> list[Measured] | None:
    """As Spark does it: each try in a worker of its own, until one comes through."""
    fork = multiprocessing.get_context("fork")
    for number in range(SPARK_TRIES):
        queue = fork.SimpleQueue()
        worker = fork.Process(target=one_try, args=(task, number, queue))
        worker.start()
        worker.join(60)
        if worker.exitcode == 0:
            result: list[Measured] = queue.get()
            return result
    return None


def test_a_frame_that_kills_its_worker(shared_sdss: Path, tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}")
    entries = tuple(entry(shared_sdss, store, text) for text in (GOOD, DEADLY))
    measured = tries(Task(store.url, "attempt", 0, Parameters(), entries))
    assert measured
    by_frame = {one.frame: one for one in measured}
    assert (by_frame[GOOD].outcome, by_frame[GOOD].sources) == (Outcome.OK, 65)
    assert by_frame[DEADLY].outcome == Outcome.INTERNAL_ERROR
    assert "the worker died at this frame" in by_frame[DEADLY].reason


def test_ordinary_tasks_keep_no_notes(shared_sdss: Path, tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}")
    run_task(Task(store.url, "attempt", 0, Parameters(), (entry(shared_sdss, store, GOOD),)), "7")
    assert [file.name for file in store.listing("attempt")] == ["part-00000-7.parquet"]
