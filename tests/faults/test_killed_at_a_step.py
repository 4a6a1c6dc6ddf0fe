"""The process of a task is SIGKILLed at a chosen step: before a write, a rename, a removal or a transaction.

Finer than switching the machine off: between the rename that a reader sees and the record of it lies a millisecond,
which a random moment of an ingestion would hardly ever find.
"""

import multiprocessing
import os
import random
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Undisturbed
from harness import BATCH_SIZE, Driver, Reader, catalogue_of, whole
from pipeline import Pipeline

from kira.ledger import Ledger
from kira.ledger.database import Database
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


def test_killed_at_a_step_of_an_ingestion(
    make: Make, undisturbed: Undisturbed, tmp_path: Path, pipeline: Pipeline
) -> None:
    (tmp_path / "steps").mkdir()
    steps = killed_at(make, "steps", 10**9)
    whole(make("steps"), undisturbed.digest, undisturbed.frames)
    numbers = list(range(1, len(steps) + 1))
    chosen = sorted(random.Random(SEED).sample(numbers, min(STEPS, len(numbers))))
    print(f"KIRA_FAULT_SEED={SEED}: {len(steps)} steps, killed at {chosen}")
    failures = []
    for number in chosen:
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
