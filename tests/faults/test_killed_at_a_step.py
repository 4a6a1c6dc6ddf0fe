"""The process of a task is SIGKILLed at a chosen step: before a write, a rename, a removal or a transaction.

Finer than switching the machine off: between the rename that a reader sees and the record of it lies a millisecond,
which a random moment of an ingestion would hardly ever find.
"""

import multiprocessing
import os
import random
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from conftest import SPEC, Undisturbed
from harness import BATCH_SIZE, Driver, Reader, batches, catalogue_of, table_of, whole
from pipeline import Pipeline

from kira.catalog import digest
from kira.ledger import Ledger
from kira.ledger.database import Database
from kira.sample import write_sample
from kira.sdss import FrameId
from kira.sdss.archive import Archive
from kira.stack.local import LocalStack
from kira.storage import S3Mirror, open_store
from kira.storage.stores import PosixStore

pytestmark = [pytest.mark.faults, pytest.mark.ci, pytest.mark.timeout(1800)]

STEPS = int(os.environ.get("KIRA_FAULT_STEPS", os.environ.get("KIRA_FAULT_MOMENTS", "1000")))
SEED = int(os.environ.get("KIRA_FAULT_SEED", random.SystemRandom().randrange(10**6)))

Make = Callable[[str], Pipeline]


@pytest.fixture
def make(servers: LocalStack, pipeline: Pipeline, tmp_path: Path) -> Make:
    """The same pipeline with a staging folder, a ledger and clients of its own, as another process has them."""

    def fresh(name: str) -> Pipeline:
        # An archive of another name: nothing of it is in the mirror yet.
        services = replace(
            pipeline.services,
            archive=replace(pipeline.services.archive, name=name),
            mirror=S3Mirror(servers.s3_client(), pipeline.services.mirror.bucket),
            store=open_store(f"file://{tmp_path}/{name}/stage"),
            ledger=Ledger(f"sqlite:///{tmp_path}/{name}/ledger.db"),
        )
        return replace(pipeline, services=services)

    return fresh


def in_a_process(make: Make, name: str, last: int, run: int, told: Any) -> None:
    """One DAG run in which the process is killed before a step of that number; all steps are told if it is not."""
    done: list[str] = []

    def step(what: str) -> None:
        done.append(what)
        if len(done) == last:
            told.put(what)
            told.close()
            told.join_thread()
            os.kill(os.getpid(), signal.SIGKILL)

    for method in ("_write", "rename", "delete"):
        real = getattr(PosixStore, method)

        def stepping(
            self: PosixStore, path: str, *rest: Any, _real: Any = real, _name: str = method, **more: Any
        ) -> Any:
            step(f"{_name.strip('_')} {path}")
            return _real(self, path, *rest, **more)

        setattr(PosixStore, method, stepping)
    alone = Database.alone

    def counted(self: Database, lock: int = 0) -> Any:
        step("transaction")
        return alone(self, lock)

    Database.alone = counted  # type: ignore[assignment,method-assign]
    driver = Driver(make(name), runs=run - 1)
    driver.run(batch_size=BATCH_SIZE)
    told.put(done)


def killed_at(make: Make, name: str, last: int, run: int = 1) -> Any:
    fork = multiprocessing.get_context("fork")
    told = fork.Queue()
    process = fork.Process(target=in_a_process, args=(make, name, last, run, told))
    process.start()
    answer = told.get(timeout=300)
    process.join(60)
    assert process.exitcode == (0 if isinstance(answer, list) else -signal.SIGKILL)
    return answer


def choose(steps: list[str]) -> list[int]:
    numbers = list(range(1, len(steps) + 1))
    chosen = sorted(random.Random(SEED).sample(numbers, min(STEPS, len(numbers))))
    print(f"KIRA_FAULT_SEED={SEED}: {len(steps)} steps, killed at {chosen}")
    return chosen


def test_killed_at_a_step_of_an_ingestion(
    make: Make, undisturbed: Undisturbed, tmp_path: Path, pipeline: Pipeline
) -> None:
    (tmp_path / "steps").mkdir()
    steps = killed_at(make, "steps", 10**9)
    whole(make("steps"), undisturbed.digest, undisturbed.frames)
    failures = []
    for number in choose(steps):
        name = f"step-{number}"
        (tmp_path / name).mkdir()
        what = killed_at(make, name, number)
        after = make(name)
        with Reader(open_store(after.services.store.url), catalogue_of(after)) as reader:
            driver = Driver(after, runs=1)
            try:
                driver.until_done()
                whole(after, undisturbed.digest, undisturbed.frames, reader=reader)
            except AssertionError as error:
                failures.append(f"step {number} ({what}): {str(error)[:300]}")
    assert failures == []


@dataclass
class Changing:
    """A copy of the archive in which one frame is replaced by another version, and put back."""

    folder: Path
    other: Path

    def put(self, version: str) -> None:
        """Put the `old` or the `new` version of a frame in its place, with a date of its own."""
        frame = FrameId.parse("dr7-40-009001-3-0011-r")
        path = Path(frame.release.service) / frame.archive_path
        aside = self.folder / "aside"
        shutil.copyfile((self.other if version == "new" else self.folder.parent / "kept") / path, aside)
        date = 1_700_000_000 if version == "new" else 1_600_000_000
        os.utime(aside, (date, date))
        aside.replace(self.folder / path)


@pytest.fixture
def changing(sample: Path, tmp_path: Path) -> Changing:
    other = tmp_path / "other"
    write_sample(replace(SPEC, seed=7, fields=1, bands=("r",)), other)
    for name in ("archive", "kept"):
        shutil.copytree(sample, tmp_path / name)
    return Changing(tmp_path / "archive", other)


def test_killed_at_a_step_of_a_replacement(
    changing: Changing, servers: LocalStack, make: Make, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    """A frame has changed in the archive: its rows are replaced in the file of its batch, whatever is killed."""
    base = servers.serve_archive("changing", changing.folder)

    def of_changing(name: str) -> Pipeline:
        made = make(name)
        archive = Archive(name, das=f"{base}/das", sas=f"{base}/sas")
        return replace(made, services=replace(made.services, archive=archive), folder=changing.folder)

    def ingested(name: str) -> Pipeline:
        (tmp_path / name).mkdir()
        changing.put("old")
        made = of_changing(name)
        assert Driver(made).run() == (2, True)
        whole(made, undisturbed.digest, undisturbed.frames)
        changing.put("new")
        return made

    first = ingested("changed")
    steps = killed_at(of_changing, "changed", 10**9, run=2)
    expected = digest(table_of(first.services.store, catalogue_of(first)))
    assert expected != undisturbed.digest
    whole(first, expected, undisturbed.frames)
    failures = []
    for number in choose(steps):
        after = ingested(f"change-{number}")
        folder = catalogue_of(after)
        before = batches(after.services.store, folder)
        with Reader(open_store(after.services.store.url), folder) as reader:
            what = killed_at(of_changing, f"change-{number}", number, run=2)
            try:
                Driver(after, runs=2).until_done()
                whole(after, expected, undisturbed.frames)
            except AssertionError as error:
                failures.append(f"step {number} ({what}): {str(error)[:300]}")
        final = batches(after.services.store, folder)
        for name, seen in reader.seen.items():
            if not seen <= {before[name], final[name]}:
                failures.append(f"step {number} ({what}): a reader saw {name} in a state that is neither old nor new")
    assert failures == []
