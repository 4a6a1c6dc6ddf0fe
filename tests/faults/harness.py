"""What Airflow does around the stages, a reader of the catalogue, and what must hold after every fault."""

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pipeline import PARAMETERS, Pipeline

from kira.catalog import digest, read_parts
from kira.errors import InvalidInput, KiraError, NotInArchive, StorageError, ValidationFailed
from kira.ledger import Ledger, Outcome, Stage
from kira.ledger.status import catalogues, check
from kira.sdss import Selection
from kira.stack import hadoop
from kira.stack.local import LocalStack
from kira.stages.summary import RunIncomplete
from kira.storage import Manifest, S3Mirror, Store, catalogue_folder, open_store

log = logging.getLogger("faults")
T = TypeVar("T")

NOT_TRIED_AGAIN = (InvalidInput, NotInArchive, ValidationFailed, RunIncomplete)
"""What the DAG's tasks fail with at once."""
SELECTION = Selection.parse("dr7", bands="gr")
BATCH_SIZE = 2


class BatchLost(Exception):
    """A task has used up its tries: the rest of its batch is for the next DAG run."""


@dataclass
class Driver:
    """Takes a pipeline through DAG runs as Airflow does: tries, waits between them, then the next plan."""

    pipeline: Pipeline
    tries: int = 3
    wait: float = 0.3
    told: list[str] = field(default_factory=list)
    """The sentence of every error that a task ended with."""
    unforeseen: list[Exception] = field(default_factory=list)
    """Errors that are no sentence for a person."""
    between: Callable[[], None] = lambda: None
    """Called before a task is tried again."""
    runs: int = 0

    def task(self, number_of_run: int, work: Callable[[Pipeline], T]) -> T:
        for number in range(1, self.tries + 1):
            attempt = replace(
                self.pipeline.attempt, dag_run=f"manual__{number_of_run}", number=number, last=number == self.tries
            )
            try:
                return work(replace(self.pipeline, attempt=attempt))
            except NOT_TRIED_AGAIN as error:
                self._tell(error)
                raise BatchLost from error
            except Exception as error:
                self._tell(error)
                if number == self.tries:
                    raise BatchLost from error
            self.between()
            time.sleep(self.wait)
        raise AssertionError

    def _tell(self, error: Exception) -> None:
        if not isinstance(error, KiraError):
            self.unforeseen.append(error)
        self.told.append(str(error))
        log.error("a task failed: %s: %s", type(error).__name__, error)

    def run(self, **options: Any) -> tuple[int, bool]:
        """One DAG run: how many batches it had, and whether all of its tasks did well."""
        self.runs += 1
        number = self.runs
        try:
            batches = self.task(number, lambda p: p.plan(**({"batch_size": BATCH_SIZE} | options))).batches
        except BatchLost:
            return 0, False
        well = True
        for uri in batches:
            try:
                self._batch(number, uri)
            except BatchLost:
                well = False
        try:
            self.task(number, lambda p: p.summary())
        except BatchLost:
            well = False
        return len(batches), well

    def _batch(self, number: int, uri: str) -> None:
        planned = self.task(number, lambda p: Manifest.load(p.services.store, uri))
        mirrored = self.task(number, lambda p: p.mirror(planned))
        staged = self.task(number, lambda p: p.stage(mirrored))
        self.task(number, lambda p: p.extract(staged))
        self.task(number, lambda p: p.validate(staged))
        self.task(number, lambda p: p.publish(staged))

    def until_done(self, most: int = 5, before_next: Callable[[], None] = lambda: None, **options: Any) -> int:
        """DAG runs until one finds nothing to do; how many had something to do."""
        for busy in range(most):
            batches, well = self.run(**options)
            if well and not batches:
                return busy
            before_next()
        raise AssertionError(f"{most} DAG runs, and still not done: {self.told}")


@dataclass
class Reader:
    """Reads the catalogue over and over while it is made, and remembers every batch as it was seen."""

    store: Store
    folder: str
    seen: dict[str, set[str]] = field(default_factory=dict)
    looks: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Reader":
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._thread.join(60)

    def _read(self) -> None:
        while not self.over.is_set():
            for name, content in batches(self.store, self.folder).items():
                self.seen.setdefault(name, set()).add(content)
            self.looks += 1
            self.over.wait(0.2)


def batches(store: Store, folder: str) -> dict[str, str]:
    """Digest of each batch that a reader sees; those that could not be read just now are left out."""
    found = {}
    try:
        names = [entry.name for entry in store.listing(folder)]
    except StorageError:
        return {}
    for name in names:
        try:
            parts = [store.read(path) for path, _ in store.walk(f"{folder}/{name}") if path.endswith(".parquet")]
        except StorageError:
            continue
        found[name] = digest(read_parts(parts))
    return found


def catalogue_of(pipeline: Pipeline) -> str:
    """Folder of the catalogue."""
    return catalogue_folder(pipeline.services.archive.name, str(pipeline.selection.release), PARAMETERS.slug)


def table_of(store: Store, folder: str) -> Any:
    """All rows that a reader of a catalogue sees."""
    return read_parts(store.read(path) for path, file in store.walk(folder) if file.name.endswith(".parquet"))


def whole(pipeline: Pipeline, expected: str, frames: int, *, reader: Reader | None = None) -> None:
    """What must hold after a fault, once it is over and the ingestion has come to its end."""
    services, folder = pipeline.services, catalogue_of(pipeline)
    store = open_store(services.store.url)
    table = table_of(store, folder)
    assert digest(table) == expected, f"not the catalogue of the undisturbed run: {table.num_rows} rows in {folder}"
    nothing_half_written(store, pipeline.services.archive.name)
    sums_agree(services.ledger, pipeline, frames)
    mirror_is_the_archive(services.mirror, pipeline.folder, services.archive.name)
    if reader is not None:
        final = batches(store, folder)
        assert reader.looks, "the reader never came to look"
        for name, seen in reader.seen.items():
            assert seen == {final.get(name)}, f"a reader saw {name} in {len(seen)} states"


def nothing_half_written(store: Store, archive: str) -> None:
    """No attempt's folder, no file written aside, nothing handed over and not taken."""
    left = [path for path, _ in store.walk(archive) if "/attempt-" in path or "aside" in path]
    assert left == [], f"half-written: {left}"


def sums_agree(ledger: Ledger, pipeline: Pipeline, frames: int) -> None:
    """The ledger's own check of all its sums; and every frame is published by one batch."""
    known = catalogues(ledger)
    assert known
    assert [sentence for one in known for sentence in check(ledger, one)] == []
    archive, release = pipeline.services.archive.name, str(pipeline.selection.release)
    told = ledger.published(archive, release, PARAMETERS.slug)
    names = [frame for batch in told.values() for frame in batch]
    assert len(names) == len(set(names)) == frames, f"{len(names)} published frames in the ledger, {frames} expected"


def mirror_is_the_archive(mirror: S3Mirror, folder: Path, archive: str) -> None:
    """Every object in the mirror is the archive's file, byte for byte."""
    listed = mirror.client.list_objects_v2(Bucket=mirror.bucket, Prefix=f"{archive}/").get("Contents", [])
    assert listed
    for item in listed:
        content = mirror.client.get_object(Bucket=mirror.bucket, Key=item["Key"])["Body"].read()
        assert content == (folder / item["Key"].removeprefix(f"{archive}/")).read_bytes(), item["Key"]


def reasons(pipeline: Pipeline, stage: Stage) -> list[str]:
    """What the ledger keeps as the reasons of frames that did not go on in a stage, over all DAG runs."""
    ledger = pipeline.services.ledger
    rows = [row for number in range(1, 10) for row in ledger.outcomes(f"manual__{number}", stage)]
    return [row.reason for row in rows if not Outcome(row.outcome).good]


def dfsadmin(servers: LocalStack, *arguments: str) -> str:
    """Run HDFS's own administration command."""
    command = ["java", "-cp", hadoop.classpath(servers.config, "namenode"), "org.apache.hadoop.hdfs.tools.DFSAdmin"]
    done = subprocess.run([*command, *arguments], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def kill(servers: LocalStack, *names: str) -> None:
    """SIGKILL to servers; the supervisor starts them again."""
    processes = servers.supervisor.processes() or {}
    for name in names:
        os.kill(processes[name]["pid"], signal.SIGKILL)


def s3_back(servers: LocalStack) -> None:
    """Start S3, if it is stopped, and wait until it answers."""
    _start(servers, "s3")
    until(servers._s3_ready, what="S3 answering")


def hdfs_back(servers: LocalStack) -> None:
    """Start what of HDFS is stopped, and wait until the NameNode is ready and has its DataNodes."""
    for name in ("namenode", "datanode1", "datanode2"):
        _start(servers, name)
    until(servers._hdfs_ready, what="HDFS ready")


def _start(servers: LocalStack, name: str) -> None:
    def state() -> str:
        return str((servers.supervisor.processes() or {})[name]["statename"])

    if state() in ("STOPPED", "EXITED", "FATAL"):
        servers.supervisor.start_process(name)
    until(lambda: state() == "RUNNING", what=f"{name} running")


def until(ready: Callable[[], object], seconds: float = 90, what: str = "it") -> None:
    """Wait for something."""
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, f"{what} did not happen within {seconds:.0f} s"
        time.sleep(0.1)
