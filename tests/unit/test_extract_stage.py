"""The extract stage without Spark: what it reads again, and which results it takes for finished."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from tenacity import wait_none

from kira.errors import StorageError
from kira.extraction import Parameters
from kira.frames.staged import pack
from kira.ledger import Outcome
from kira.sdss import FrameId
from kira.stages import extraction
from kira.stages.extraction import MANIFEST, OUTCOMES, Measured, Task, extract_batch, finished, run_task
from kira.stages.work import TRANSIENT
from kira.storage import Entry, Manifest, Store, open_store

CONTENT = b"no frame, and that is what is said of it once it could be read"
PACKED = pack(CONTENT, 4)
FRAMES = [FrameId.parse(f"dr12-301-000094-1-{field:04d}-r") for field in (11, 12)]
ENTRIES = tuple(
    Entry(frame, "http://none/x", "k", f"a/frames/{frame}.blosc", 1, "0" * 64, len(CONTENT),
          hashlib.sha256(CONTENT).hexdigest())
    for frame in FRAMES
)  # fmt: skip
STAGED = Manifest("b", "a", "dr12", "kira-1", "stage", "run-1", ENTRIES)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"file://{tmp_path}/stage")


class Shaky:
    """A store of which the first reads fail."""

    def __init__(self, store: Store, failures: int) -> None:
        self.store, self.failures, self.reads = store, failures, 0

    def read(self, path: str) -> bytes:
        self.reads += 1
        if self.reads <= self.failures:
            raise StorageError(f"read {self.reads}: the DataNode went away")
        return self.store.read(path)


def measure(store: Store, failures: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Measured, int]:
    shaky = Shaky(store, failures)
    monkeypatch.setattr(extraction, "open_store", lambda _: shaky)
    monkeypatch.setattr(extraction._read.retry, "wait", wait_none())  # type: ignore[attr-defined]
    store.write(ENTRIES[0].staged, PACKED)
    (one,) = run_task(Task(store.url, "a/attempt", 0, Parameters(), ENTRIES[:1]), "0")
    return one, shaky.reads


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_a_read_that_fails_is_tried_again(store: Store, failures: int, monkeypatch: pytest.MonkeyPatch) -> None:
    one, reads = measure(store, failures, monkeypatch)
    assert (one.outcome, reads) == (Outcome.BAD_FRAME, failures + 1)


def test_a_store_that_stays_away_is_the_frame_s_outcome(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    one, reads = measure(store, 99, monkeypatch)
    assert (one.outcome, one.reason, reads) == (Outcome.STORAGE_FAILED, "read 3: the DataNode went away", 3)


def keep(store: Store, folder: str, outcomes: list[Outcome], manifest: Manifest = STAGED) -> None:
    rows = [{"frame": str(frame), "outcome": outcome} for frame, outcome in zip(FRAMES, outcomes, strict=True)]
    store.write(f"{folder}/{OUTCOMES}", "".join(json.dumps(row) + "\n" for row in rows).encode())
    store.write(f"{folder}/{MANIFEST}", manifest.to_text().encode())


@pytest.mark.parametrize("outcome", Outcome)
def test_a_result_is_finished_unless_a_frame_failed_in_a_way_that_may_pass(store: Store, outcome: Outcome) -> None:
    assert not finished(store, STAGED)
    keep(store, STAGED.extracted, [Outcome.OK, outcome])
    assert finished(store, STAGED) is (outcome not in TRANSIENT)


def test_the_result_of_other_frames_is_not_that_of_this_batch(store: Store) -> None:
    keep(store, STAGED.extracted, [Outcome.OK, Outcome.OK], STAGED.after("stage", ENTRIES[:1]))
    assert not finished(store, STAGED)


def test_what_is_published_is_finished(store: Store) -> None:
    keep(store, STAGED.published, [Outcome.OK, Outcome.STORAGE_FAILED])
    assert finished(store, STAGED)


@pytest.mark.parametrize("mended", [True, False])
def test_what_failed_in_a_way_that_may_pass_is_tried_again_in_the_same_job(store: Store, mended: bool) -> None:
    damaged = PACKED[:-1] + b"?"
    store.write(ENTRIES[0].staged, PACKED)
    store.write(ENTRIES[1].staged, damaged)
    rounds = []

    def run_all(tasks: Sequence[Task]) -> list[list[Measured]]:
        if rounds:
            assert store.read(ENTRIES[1].staged) == damaged  # a bad read is no proof that the file is bad
            if mended:
                store.write(ENTRIES[1].staged, PACKED)
        rounds.append([len(task.entries) for task in tasks])
        return [run_task(task, "0") for task in tasks]

    _, one = extract_batch(store, STAGED, Parameters(), 1, run_all)
    assert rounds == [[2], [1]]
    if mended:
        assert one.outcome == Outcome.BAD_FRAME  # which it is: the bytes were right
    else:
        assert one.outcome == Outcome.CHECKSUM_MISMATCH
        assert one.reason.endswith("; it was removed.")
    assert store.exists(ENTRIES[1].staged) is mended
