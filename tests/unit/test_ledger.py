"""The ledger on SQLite, and the same on a real PostgreSQL server."""

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kira.ledger import Context, Ledger, Outcome, Record, Stage
from kira.sdss import FrameId

CONTEXT = Context("batch-1", "shared", "dr7", "kira-1", "run-1")
LATER = replace(CONTEXT, attempt=2)
OTHER_RUN = replace(CONTEXT, dag_run="run-2")
FRAME = FrameId.parse("dr7-40-004192-4-0300-r")
OTHER = FrameId.parse("dr7-40-004192-4-0300-u")


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    made = Ledger(url)
    yield made
    made.engine.dispose()


def test_a_later_attempt_replaces_the_outcome_and_is_counted(ledger: Ledger) -> None:
    failed = Record(FRAME, Outcome.ARCHIVE_UNAVAILABLE, "no answer", seconds=9.0)
    ledger.record(CONTEXT, Stage.MIRROR, [failed])
    ledger.record(LATER, Stage.MIRROR, [Record(FRAME, Outcome.OK, size=5, sha256="a" * 64, seconds=1.5, checks=3)])
    (row,) = ledger.outcomes("run-1")
    assert (row.outcome, row.reason, row.attempts, row.size, row.checks, row.band) == ("ok", "", 2, 5, 3, "r")
    assert ledger.outcomes("run-2") == []


def test_another_dag_run_on_the_same_batch_has_its_own_outcome(ledger: Ledger) -> None:
    ledger.record(CONTEXT, Stage.MIRROR, [Record(FRAME, Outcome.OK, size=5, seconds=1.5, checks=3)])
    ledger.record(OTHER_RUN, Stage.MIRROR, [Record(FRAME, Outcome.ARCHIVE_UNAVAILABLE, "no answer", seconds=9.0)])
    (first,), (second,) = ledger.outcomes("run-1"), ledger.outcomes("run-2")
    assert (first.outcome, first.reason, first.attempts, first.size, first.seconds) == ("ok", "", 1, 5, 1.5)
    assert (second.outcome, second.attempts, second.size, second.seconds) == ("archive_unavailable", 1, None, 9.0)


def test_work_found_done_keeps_the_numbers_of_who_did_it(ledger: Ledger) -> None:
    ledger.record(CONTEXT, Stage.STAGE, [Record(FRAME, Outcome.OK, size=5, sha256="a" * 64, seconds=1.5, checks=2)])
    ledger.record(LATER, Stage.STAGE, [Record(FRAME, Outcome.OK, again=True, size=5, seconds=0.0)])
    (row,) = ledger.outcomes("run-1")
    assert (row.again, row.seconds, row.checks, row.sha256, row.attempts) == (True, 1.5, 2, "a" * 64, 2)


def test_work_that_another_dag_run_did_is_not_counted_twice(ledger: Ledger) -> None:
    ledger.record(CONTEXT, Stage.STAGE, [Record(FRAME, Outcome.OK, size=5, sha256="a" * 64, seconds=1.5, checks=2)])
    ledger.record(OTHER_RUN, Stage.STAGE, [Record(FRAME, Outcome.OK, again=True, size=5, seconds=0.0)])
    (did,), (found,) = ledger.outcomes("run-1"), ledger.outcomes("run-2")
    assert (did.again, did.seconds, did.checks, did.attempts) == (False, 1.5, 2, 1)
    assert (found.again, found.seconds, found.checks, found.attempts, found.size) == (True, 0.0, 0, 1, 5)


def test_work_found_done_after_a_failure_replaces_it(ledger: Ledger) -> None:
    ledger.record(CONTEXT, Stage.STAGE, [Record(FRAME, Outcome.STORAGE_FAILED, "HDFS was away", seconds=3.0)])
    ledger.record(CONTEXT, Stage.STAGE, [Record(FRAME, Outcome.OK, again=True, size=5, seconds=0.0)])
    (row,) = ledger.outcomes("run-1")
    assert (row.outcome, row.reason, row.again, row.seconds) == ("ok", "", True, 0.0)


def test_a_failure_replaces_work_that_was_done(ledger: Ledger) -> None:
    ledger.record(CONTEXT, Stage.STAGE, [Record(FRAME, Outcome.OK, size=5)])
    ledger.record(CONTEXT, Stage.STAGE, [Record(FRAME, Outcome.CHECKSUM_MISMATCH, "other bytes", failed_checks=1)])
    (row,) = ledger.outcomes("run-1")
    assert (row.outcome, row.reason, row.size, row.failed_checks) == ("checksum_mismatch", "other bytes", None, 1)


def test_sums_by_stage_and_outcome(ledger: Ledger) -> None:
    frames = [FrameId(FRAME.release, 4192, 40, 4, field, band) for field in range(11, 211) for band in "ugriz"]
    ledger.record(CONTEXT, Stage.MIRROR, (Record(frame, Outcome.OK, size=12_000_000) for frame in frames))
    ledger.record(CONTEXT, Stage.STAGE, [Record(FRAME, Outcome.STORAGE_FAILED), Record(OTHER, Outcome.OK, size=7)])
    other_run = Context("batch-2", "shared", "dr7", "kira-1", "run-2")
    ledger.record(other_run, Stage.STAGE, [Record(FRAME, Outcome.OK, size=8)])
    assert sorted(ledger.progress(["run-1"])) == [
        ("mirror", "ok", 1000, 12_000_000_000), ("stage", "ok", 1, 7), ("stage", "storage_failed", 1, 0),
    ]  # fmt: skip
    assert ("stage", "ok", 2, 15) in ledger.progress(["run-1", "run-2"])
    assert ledger.progress([]) == []
    assert len(ledger.outcomes("run-1", Stage.MIRROR)) == 1000
    assert [row.frame for row in ledger.outcomes("run-1", Stage.STAGE)] == [str(OTHER), str(FRAME)]


def test_what_is_published_is_told_of_one_catalogue(ledger: Ledger) -> None:
    ledger.record(CONTEXT, Stage.PUBLISH, [Record(FRAME, Outcome.OK, sources=3)])
    assert ledger.published("shared", "dr7", "kira-1") == {"batch-1": {str(FRAME)}}
    for other in (("sdss", "dr7", "kira-1"), ("shared", "dr6", "kira-1"), ("shared", "dr7", "kira-2")):
        assert ledger.published(*other) == {}


def test_published_frames_are_told_by_batch_and_once_whatever_the_dag_run(ledger: Ledger) -> None:
    for context in (CONTEXT, OTHER_RUN):
        ledger.record(context, Stage.PUBLISH, [Record(FRAME, Outcome.OK, sources=3)])
    ledger.record(replace(CONTEXT, batch="batch-2"), Stage.PUBLISH, [Record(OTHER, Outcome.OK, sources=4)])
    assert ledger.published("shared", "dr7", "kira-1") == {"batch-1": {str(FRAME)}, "batch-2": {str(OTHER)}}


def test_nothing_to_record_is_nothing(ledger: Ledger) -> None:
    ledger.record(CONTEXT, Stage.PLAN, [])
    assert ledger.outcomes("run-1") == []


def test_long_reasons_and_odd_letters_fit(ledger: Ledger) -> None:
    reason = "Ünïcode 'quotes' \"and\" %s ; -- " + "x" * 5000
    ledger.record(CONTEXT, Stage.EXTRACT, [Record(FRAME, Outcome.INTERNAL_ERROR, reason)])
    (row,) = ledger.outcomes("run-1")
    assert row.reason == reason[:2000]


def test_an_attempt_that_is_killed_has_no_end(ledger: Ledger) -> None:
    with ledger.attempt(CONTEXT, Stage.MIRROR, 5):
        pass
    with pytest.raises(KeyboardInterrupt), ledger.attempt(CONTEXT, Stage.STAGE, 4):
        raise KeyboardInterrupt
    mirror, stage = ledger.attempts("run-1")
    assert mirror.ended is not None
    assert mirror.ended >= mirror.began
    assert (stage.stage, stage.frames, stage.ended) == ("stage", 4, None)


def test_an_attempt_told_of_twice_is_one(ledger: Ledger) -> None:
    began = datetime(2026, 11, 22, 8, 0, 0, 123456, tzinfo=UTC)
    for _ in range(2):
        ledger.add_attempt(CONTEXT, Stage.EXTRACT, 5, began, began + timedelta(seconds=7))
    ledger.add_attempt(CONTEXT, Stage.EXTRACT, 5, began + timedelta(hours=1), began + timedelta(hours=2))
    first, second = ledger.attempts("run-1")
    assert first.began == began.replace(tzinfo=None)
    assert first.ended == first.began + timedelta(seconds=7)
    assert second.began == first.began + timedelta(hours=1)


def _write_many(url: str, number: int, meet: Callable[[], object]) -> None:
    context = Context(f"batch-{number}", "shared", "dr7", "kira-1", f"run-{number}")
    meet()
    ledger = Ledger(url)  # on an empty database, all at once
    for field in range(200):
        frame = FrameId(FRAME.release, 4192, 40, 4, field, "r")
        ledger.record(context, Stage.MIRROR, [Record(frame, Outcome.OK, size=1)])
        if field % 20 == 0:
            ledger.record(CONTEXT, Stage.MIRROR, [Record(FRAME, Outcome.OK)])  # the other process too
            with ledger.attempt(context, Stage.MIRROR, 1):
                pass


def test_processes_that_write_at_once_lose_nothing(url: str) -> None:
    fork = multiprocessing.get_context("fork")  # spawning would import everything again
    barrier = fork.Barrier(3)
    writers = [fork.Process(target=_write_many, args=(url, number, barrier.wait)) for number in (2, 3)]
    for writer in writers:
        writer.start()
    barrier.wait()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    ledger = Ledger(url)
    for run in ("run-2", "run-3"):
        assert len(ledger.outcomes(run)) == 200
        assert sum(attempt.ended is not None for attempt in ledger.attempts(run)) == 10
    (both,) = ledger.outcomes("run-1")
    assert both.attempts == 20
    ledger.engine.dispose()


# -- claims: a frame gets into a catalogue by one batch


STORE = "file:///stage"


def claim(ledger: Ledger, batch: str, frames: list[FrameId], store: str = STORE, **changes: Any) -> dict[str, str]:
    """Claim by a batch while all others are published; what stood against it."""
    context = replace(CONTEXT, batch=batch, **changes)
    with ledger.claiming(context, store, frames, lambda _: True) as others:
        return others


def test_a_claim_is_for_one_batch_and_all_of_it_or_nothing(ledger: Ledger) -> None:
    assert claim(ledger, "batch-1", [FRAME]) == {}
    assert claim(ledger, "batch-1", [FRAME]) == {}
    assert claim(ledger, "batch-1", [FRAME], dag_run="run-2") == {}
    assert claim(ledger, "batch-2", [OTHER, FRAME]) == {str(FRAME): "batch-1"}
    assert claim(ledger, "batch-1", [OTHER]) == {}  # the refused claim left nothing


def test_a_claim_is_for_one_catalogue_of_one_store(ledger: Ledger) -> None:
    assert claim(ledger, "batch-1", [FRAME]) == {}
    for number, key in enumerate(("archive", "release", "profile")):
        assert claim(ledger, f"batch-{number}", [FRAME, OTHER], **{key: "another"}) == {}
    assert claim(ledger, "batch-2", [FRAME, OTHER], store="hdfs://elsewhere") == {}
    assert claim(ledger, "batch-2", [FRAME, OTHER]) == {str(FRAME): "batch-1"}


def test_a_claim_gives_way_if_its_batch_is_not_published(ledger: Ledger) -> None:
    third = FrameId.parse("dr7-40-004192-4-0300-g")
    published = {"batch-2"}
    for batch, frame in (("batch-1", FRAME), ("batch-2", OTHER)):
        claim(ledger, batch, [frame])
    context = replace(CONTEXT, batch="batch-3")
    # One that stands is enough to refuse, and then the other keeps its claim as well.
    with ledger.claiming(context, STORE, [FRAME, OTHER], published.__contains__) as others:
        assert others == {str(OTHER): "batch-2"}
    assert claim(ledger, "batch-4", [FRAME]) == {str(FRAME): "batch-1"}
    with ledger.claiming(context, STORE, [FRAME, third], published.__contains__) as others:
        assert others == {}
    assert claim(ledger, "batch-4", [FRAME, OTHER, third]) == {
        str(FRAME): "batch-3", str(OTHER): "batch-2", str(third): "batch-3",
    }  # fmt: skip


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_what_fails_while_claiming_leaves_no_claim_and_no_lock(ledger: Ledger, error: BaseException) -> None:
    claim(ledger, "batch-1", [FRAME])
    with (
        pytest.raises(type(error)),
        ledger.claiming(replace(CONTEXT, batch="batch-2"), STORE, [FRAME, OTHER], lambda _: False),
    ):
        raise error
    assert claim(ledger, "batch-3", [OTHER]) == {}
    assert claim(ledger, "batch-3", [FRAME]) == {str(FRAME): "batch-1"}  # which was not taken away either


FIELDS = [FrameId(FRAME.release, 4192, 40, 4, number, "r") for number in range(1200)]


def _publish(url: str, folder: Path, number: int, meet: Callable[[], object], told: Any) -> None:
    """A batch of its own frames and of 600 that all batches have, made part of a catalogue of folders."""
    ledger = Ledger(url)
    frames = [*FIELDS[:600], FIELDS[600 + number]]
    context = replace(CONTEXT, batch=f"batch-{number}")
    meet()
    with ledger.claiming(context, STORE, frames, lambda batch: (folder / batch).exists()) as others:
        alone = not (folder / "at-work").exists()
        (folder / "at-work").touch()
        time.sleep(0.05)
        if not others:
            (folder / context.batch).touch()
        (folder / "at-work").unlink()
    told.put((number, alone, set(others.values()), len(others)))
    ledger.engine.dispose()


def test_of_batches_that_are_published_at_once_one_wins(url: str, tmp_path: Path) -> None:
    Ledger(url).engine.dispose()
    fork = multiprocessing.get_context("fork")
    barrier, told = fork.Barrier(4), fork.Queue()
    runs = [fork.Process(target=_publish, args=(url, tmp_path, number, barrier.wait, told)) for number in range(4)]
    for run in runs:
        run.start()
    answers = [told.get(timeout=60) for _ in runs]
    for run in runs:
        run.join(60)
    assert all(alone for _, alone, _, _ in answers)
    (winner,) = [number for number, _, others, _ in answers if not others]
    assert [batch.name for batch in tmp_path.glob("batch-*")] == [f"batch-{winner}"]
    assert {(frozenset(others), n) for number, _, others, n in answers if number != winner} == {
        (frozenset({f"batch-{winner}"}), 600)
    }
    # The losers left no claim: what only they had is free.
    ledger = Ledger(url)
    free = [FIELDS[600 + number] for number in range(4) if number != winner]
    assert claim(ledger, "batch-5", free) == {}
    ledger.engine.dispose()


def test_a_claim_waits_for_another_thread_s_and_then_sees_it(ledger: Ledger) -> None:
    inside, seen = threading.Event(), []

    def second() -> None:
        inside.wait(60)
        seen.append(claim(ledger, "batch-2", [FRAME, OTHER]))

    thread = threading.Thread(target=second)
    thread.start()
    with ledger.claiming(CONTEXT, STORE, [FRAME], lambda _: True) as others:
        inside.set()
        thread.join(0.5)
        assert (others, seen, thread.is_alive()) == ({}, [], True)
        # Readers do not wait, and see nothing of it yet.
        assert ledger.published("shared", "dr7", "kira-1") == {}
    thread.join(60)
    assert seen == [{str(FRAME): "batch-1"}]
