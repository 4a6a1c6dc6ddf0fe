"""A frame that kills its worker is tried once more alone; the others of its task come through."""

import hashlib
import multiprocessing
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from real_frames import COUNTS, FPC, plain

from kira.extraction import Parameters
from kira.extraction.limits import FrameLimits
from kira.frames import Frame
from kira.ledger import Outcome
from kira.sdss import FrameId
from kira.stages import extraction
from kira.stages.extraction import Measured, Task, extract_batch, run_task
from kira.storage import Entry, Manifest, open_store

GOOD, OTHER, DEADLY = FPC, "dr7-40-004192-4-0300-g", "dr7-40-004192-4-0300-z"
ODD_FRAMES = Path(__file__).parents[1] / "odd_frames"
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


def tries(task: Task) -> tuple[int, list[Measured]] | None:
    """As Spark does it: each try in a worker of its own, until one comes through."""
    fork = multiprocessing.get_context("fork")
    for number in range(SPARK_TRIES):
        queue = fork.SimpleQueue()
        worker = fork.Process(target=one_try, args=(task, number, queue))
        worker.start()
        worker.join(60)
        if worker.exitcode == 0:
            result: list[Measured] = queue.get()
            return number, result
    return None


def test_a_frame_that_kills_its_worker_is_put_off(shared_sdss: Path, tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}")
    entries = tuple(entry(shared_sdss, store, text) for text in (GOOD, DEADLY))
    tried = tries(Task(store.url, "attempt", 0, Parameters(), entries))
    assert tried
    number, measured = tried
    assert number == 2  # the second try finds out which frame it is
    by_frame = {one.frame: one for one in measured}
    assert (by_frame[GOOD].outcome, by_frame[GOOD].sources) == (Outcome.OK, 65)
    assert (by_frame[DEADLY].outcome, by_frame[DEADLY].reason) == (Outcome.WORKER_DIED, "put off")


def test_a_task_that_three_tries_did_not_bring_through_is_put_off_as_a_whole(shared_sdss: Path, tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}")
    entries = tuple(entry(shared_sdss, store, text) for text in (GOOD, DEADLY))
    measured = run_task(Task(store.url, "attempt", 0, Parameters(), entries), "9", 3)
    assert {(one.frame, one.outcome) for one in measured} == {
        (GOOD, Outcome.WORKER_DIED), (DEADLY, Outcome.WORKER_DIED)
    }  # fmt: skip
    assert store.listing("attempt") == []


@pytest.mark.parametrize(
    ("kind", "outcome", "reason"),
    [
        ("crash", Outcome.WORKER_DIED, "its process was ended by SIGSEGV after"),
        pytest.param(
            "hang",
            Outcome.TIMED_OUT,
            "was not done after the 20 s that a frame may take (KIRA_FRAME_SECONDS), also alone",
            marks=pytest.mark.integration,  # with the slower ones
        ),
    ],
)
def test_what_was_put_off_is_tried_once_more_alone(
    shared_sdss: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, outcome: Outcome, reason: str
) -> None:
    store = open_store(f"file://{tmp_path}")
    entries = tuple(entry(shared_sdss, store, text) for text in (GOOD, OTHER, DEADLY))
    manifest = Manifest("b", "a", "dr7", "kira-1", "stage", "run-1", entries)
    rounds: list[list[tuple[str, ...]]] = []

    def run_all(tasks: Sequence[Task]) -> list[list[Measured]]:
        rounds.append([tuple(str(e.frame) for e in task.entries) for task in tasks])
        # In the first round, as after tries that died at the first and at the last frame.
        for task in tasks:
            if not task.alone:
                store.write(task.note(0), GOOD.encode())
                store.write(task.note(1), DEADLY.encode())
        return [run_task(task, "0", 0 if task.alone else 2) for task in tasks]

    monkeypatch.setenv("PYTHONPATH", str(ODD_FRAMES))
    monkeypatch.setenv("ODD_FRAMES", f"{DEADLY}={kind}")
    measured = extract_batch(store, manifest, Parameters(), 2, run_all, FrameLimits(seconds=20))
    assert rounds == [[tuple(sorted((GOOD, OTHER, DEADLY)))], [(GOOD,), (DEADLY,)]]
    assert [(one.frame, one.outcome, one.sources) for one in measured] == [
        (GOOD, Outcome.OK, COUNTS[GOOD]), (OTHER, Outcome.OK, COUNTS[OTHER]), (DEADLY, outcome, 0)
    ]  # fmt: skip
    assert measured[2].reason.startswith(f"{DEADLY}: {reason}")
    parts = {file.name for file in store.listing(manifest.extracted) if file.name.endswith(".parquet")}
    assert parts == {one.part for one in measured if one.part}
    assert len(parts) == 2  # one a task that brought something
    assert not [file.name for file in store.listing(manifest.extracted) if file.name.startswith("at-")]


def test_the_process_of_a_frame_does_not_outlive_its_worker(
    shared_sdss: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"file://{tmp_path}")
    task = Task(store.url, "attempt", 7, Parameters(), (entry(shared_sdss, store, DEADLY),), alone=True)
    monkeypatch.setenv("PYTHONPATH", str(ODD_FRAMES))
    monkeypatch.setenv("ODD_FRAMES", f"{DEADLY}=hang")
    monkeypatch.setenv("ODD_MARK", str(tmp_path / "hangs"))
    worker = multiprocessing.get_context("fork").Process(target=run_task, args=(task, "0"))
    worker.start()
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "hangs").exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        family = psutil.Process(worker.pid).children(recursive=True)
        assert family
    finally:
        worker.kill()
    _, alive = psutil.wait_procs(family, timeout=20)
    for process in alive:
        process.kill()
    assert not alive


def test_workers_lost_at_a_frame_that_was_alone(shared_sdss: Path, tmp_path: Path) -> None:
    """Machines that go away do not make a frame deadly, until there have been too many of them for chance."""
    store = open_store(f"file://{tmp_path}")
    task = Task(store.url, "attempt", 7, Parameters(), (entry(shared_sdss, store, GOOD),), alone=True)
    for number in (0, 1):
        store.write(task.note(number), GOOD.encode())
    (one,) = run_task(task, "2", 2)
    assert (one.outcome, one.sources) == (Outcome.OK, COUNTS[GOOD])
    store.write(task.note(2), GOOD.encode())
    (one,) = run_task(task, "3", 3)
    assert one.outcome == Outcome.WORKER_DIED
    assert one.reason == (
        f"{GOOD}: the worker died at it, also when it was alone, 3 times: killed by the machine, or lost with it."
    )


def test_a_frame_that_runs_out_of_memory_does_so_by_itself(
    shared_sdss: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def eat(frame: Frame, parameters: Parameters) -> Any:
        if str(frame.id) == DEADLY:
            return np.ones(1 << 29)  # 4 GiB
        return _extract(frame, parameters)

    monkeypatch.setattr(extraction, "extract", eat)
    store = open_store(f"file://{tmp_path}")
    entries = tuple(entry(shared_sdss, store, text) for text in (DEADLY, GOOD))
    bad, good = run_task(Task(store.url, "attempt", 0, Parameters(), entries, FrameLimits(memory_mb=3072)), "0")
    assert (good.outcome, good.sources) == (Outcome.OK, 65)
    assert bad.outcome == Outcome.OUT_OF_MEMORY
    assert bad.reason == (f"{DEADLY}: needs more than the 3,072 MiB that a worker may have (KIRA_FRAME_MEMORY_MB).")


@pytest.mark.parametrize("number", [0, 1])
def test_what_is_left_of_a_task_is_its_part(shared_sdss: Path, tmp_path: Path, number: int) -> None:
    store = open_store(f"file://{tmp_path}")
    run_task(Task(store.url, "attempt", 0, Parameters(), (entry(shared_sdss, store, GOOD),)), "7", number)
    assert [file.name for file in store.listing("attempt")] == ["part-00000-7.parquet"]
