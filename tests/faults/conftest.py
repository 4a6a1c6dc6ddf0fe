"""Servers to be broken, a small archive to be ingested, and what becomes of it when nothing is broken."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from archive_proxy import Proxy, proxying
from harness import SELECTION, Driver, Reader, catalogue_of, table_of
from pipeline import Pipeline, empty_mirror

from kira.catalog import digest
from kira.ledger import Ledger
from kira.sample import SampleSpec, write_sample
from kira.sdss import Release
from kira.sdss.archive import Archive
from kira.stack.local import LocalStack
from kira.stages.work import Services
from kira.storage import open_store
from kira.storage.stores import HdfsStore

if TYPE_CHECKING:
    from machine import Machine

SERVERS = {"s3", "archive", "namenode", "datanode1", "datanode2"}
NAME = "faulty"
SPEC = SampleSpec(fields=2, bands=("g", "r"), releases=(Release(7),), star_density=3000.0, galaxy_density=10_000.0)


@pytest.fixture(scope="session")
def servers(new_stack: Callable[..., LocalStack]) -> LocalStack:
    """Servers that no other test uses: they are broken here."""
    return new_stack(SERVERS, name="faults")


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four synthetic frames, two fields in g and r."""
    folder = tmp_path_factory.mktemp("sample") / "archive"
    write_sample(SPEC, folder)
    # As most of SDSS's folders are: with a published checksum, damage is found sooner and by other means.
    for path in folder.rglob("*.sha1sum"):
        path.rename(folder.parent / path.name)
    return folder


@dataclass(frozen=True)
class Undisturbed:
    """An ingestion of the sample at which nothing was broken."""

    digest: str
    frames: int


def services_of(servers: LocalStack, name: str, ledger: str, archive: Archive) -> Services:
    return Services(archive, empty_mirror(servers), open_store(f"{servers.config.stage_url}-{name}"), Ledger(ledger))


def ingest_undisturbed(servers: LocalStack, sample: Path, folder: Path) -> Undisturbed:
    base = servers.serve_archive(NAME, sample)
    archive = Archive(NAME, das=f"{base}/das", sas=f"{base}/sas")
    services = services_of(servers, "undisturbed", f"sqlite:///{folder}/ledger.db", archive)
    driver = Driver(Pipeline(services, sample, SELECTION))
    assert driver.until_done() == 1
    assert driver.told == []
    table = table_of(services.store, catalogue_of(driver.pipeline))
    frames = len(list(SPEC.frames()))
    assert len(table.group_by(["field", "band"]).aggregate([])) == frames
    return Undisturbed(digest(table), frames)


@pytest.fixture(scope="session")
def undisturbed(servers: LocalStack, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return ingest_undisturbed(servers, sample, tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture
def proxy(servers: LocalStack, sample: Path) -> Iterator[Proxy]:
    """The archive behind a proxy that does as it is told."""
    servers.serve_archive(NAME, sample)
    with proxying(servers.config.url("archive")) as running:
        yield running


@pytest.fixture
def ledger_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ledger.db"


@pytest.fixture
def pipeline(servers: LocalStack, proxy: Proxy, sample: Path, ledger_url: str, tmp_path: Path) -> Pipeline:
    """The sample behind the proxy, and a bucket, a folder and a ledger that are this test's own."""
    name = tmp_path.name.lower().replace("_", "-").removeprefix("test-")[:40].strip("-")
    archive = Archive(NAME, das=f"{proxy.url}/{NAME}/das", sas=f"{proxy.url}/{NAME}/sas")
    return Pipeline(services_of(servers, name, ledger_url, archive), sample, SELECTION)


@pytest.fixture
def driver(pipeline: Pipeline) -> Driver:
    return Driver(pipeline)


@pytest.fixture
def reader(pipeline: Pipeline) -> Iterator[Reader]:
    """Somebody who reads the catalogue all the while."""
    with Reader(open_store(pipeline.services.store.url), catalogue_of(pipeline)) as reading:
        yield reading


@dataclass
class Moment:
    """Something to be done once, just before a store does a thing for the n-th time."""

    doing: str
    path: str
    number: int
    action: Callable[[], None]
    done: bool = False


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> list[Moment]:
    """Moments of the HDFS client, in the middle of a stage: `write`, `read` or `rename` of a path that holds a text."""
    waiting: list[Moment] = []
    lock = threading.Lock()

    def watch(doing: str, name: str) -> None:
        real = getattr(HdfsStore, name)

        def watched(self: HdfsStore, path: str, *arguments: Any, **options: Any) -> Any:
            for moment in waiting:
                with lock:
                    moment.number -= moment.doing == doing and moment.path in path
                    now, moment.done = moment.number <= 0 and not moment.done, moment.done or moment.number <= 0
                if now:
                    moment.action()
            return real(self, path, *arguments, **options)

        monkeypatch.setattr(HdfsStore, name, watched)

    for doing, name in (("write", "_write"), ("read", "read"), ("rename", "rename")):
        watch(doing, name)
    return waiting


@pytest.fixture
def s3_moments(pipeline: Pipeline) -> Callable[[str, int, Callable[[], None]], None]:
    """Do something before the n-th request of a kind (`GetObject`, `PutObject`) is sent to S3."""

    def at(operation: str, number: int, action: Callable[[], None]) -> None:
        left, lock = [number], threading.Lock()

        def before(**_: Any) -> None:
            with lock:
                left[0] -= 1
                now = left[0] == 0
            if now:
                action()

        pipeline.services.mirror.client.meta.events.register(f"before-send.s3.{operation}", before)

    return at


@pytest.fixture(scope="session")
def machine(
    new_stack: Callable[..., LocalStack], sample: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator["Machine"]:
    """A whole stack with Airflow, to be switched off."""
    from machine import Machine

    from kira.stack import local

    local._READY_SECONDS = 600  # on a machine that is busy with other tests

    stack = new_stack(name="machine")
    yield Machine(stack, sample, ingest_undisturbed(stack, sample, tmp_path_factory.mktemp("undisturbed")))
    # What was started again by others than the fixture that started it.
    stack.down()
