"""Fixtures: real data, real servers. Each test session starts its own, on free ports, and stops them."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pipeline import empty_mirror

from kira.ledger import Ledger
from kira.sdss.archive import Archive
from kira.stack import hadoop
from kira.stack.config import StackConfig
from kira.stack.local import LocalStack
from kira.stack.ports import free_ports
from kira.stack.postgresql import Cluster
from kira.stages.work import Services
from kira.storage import open_store

PROJECT = Path(__file__).resolve().parents[1]
SERVERS = {"s3", "archive", "namenode", "datanode1", "datanode2"}


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real SDSS data and odd FITS files, which are no part of the repository."""
    root = Path(os.environ.get("KIRA_SHARED", PROJECT.parent / "shared"))
    if not (root / "sdss" / "sas").is_dir():
        reason = f"THE REAL SDSS DATA ARE NOT THERE ({root}/sdss): set KIRA_SHARED. What they prove is NOT proven."
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return root


@pytest.fixture(scope="session")
def shared_sdss(shared: Path) -> Path:
    """Folder of real SDSS data, laid out like the archives."""
    return shared / "sdss"


@pytest.fixture(scope="session")
def new_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., LocalStack]]:
    """Make and start a stack of its own: `new_stack(parts=…, stage=…, dags=…)`."""
    started: list[LocalStack] = []

    def start(
        parts: set[str] | None = None, stage: str = "hdfs", name: str = "stack", dags: Path = PROJECT / "dags"
    ) -> LocalStack:
        home = tmp_path_factory.mktemp(name)
        config = StackConfig(home, free_ports(), stage, dags=dags)
        _reuse_jar(config)
        stack = LocalStack(config, print, parts)
        started.append(stack)
        stack.up()
        return stack

    yield start
    for stack in started:
        stack.down()
        if not os.environ.get("KIRA_KEEP"):
            shutil.rmtree(stack.config.home, ignore_errors=True)


def _reuse_jar(config: StackConfig) -> None:
    # The same 56 MB for every stack of a session, and for that of the checkout; its checksum is checked all the same.
    cached = PROJECT / ".kira" / "hadoop" / hadoop.JAR
    if not cached.exists():
        hadoop.fetch_jar(StackConfig(PROJECT / ".kira"))
    target = hadoop.jar_path(config)
    target.parent.mkdir(parents=True)
    shutil.copy(cached, target)


@pytest.fixture(scope="session")
def servers(new_stack: Callable[..., LocalStack]) -> LocalStack:
    """SeaweedFS, HDFS with two DataNodes, and the archive's HTTP server."""
    return new_stack(SERVERS, name="servers")


@pytest.fixture
def services(servers: LocalStack, tmp_path: Path) -> Services:
    """What the stages use, on real servers; an empty bucket, and a folder and a ledger of its own for each test."""
    name = tmp_path.name.lower().replace("_", "-")[:40].strip("-")
    mirror = empty_mirror(servers)
    archive = Archive("shared", das="http://127.0.0.1:9/das", sas="http://127.0.0.1:9/sas")
    return Services(
        archive, mirror, open_store(f"{servers.config.stage_url}-{name}"), Ledger(f"sqlite:///{tmp_path}/ledger.db")
    )


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """URL of a PostgreSQL server of its own, on a socket in a folder of its own."""
    # Not pytest's own folders, whose paths are too long for a socket.
    with tempfile.TemporaryDirectory(prefix="kira-pg-") as folder:
        cluster = Cluster(Path(folder) / "data", Path(folder))
        cluster.make("secret")
        with cluster.running():
            yield cluster.url("secret")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database, on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    return _new_database(request.getfixturevalue("postgresql"))


@pytest.fixture
def postgresql_database(postgresql: str) -> str:
    """URL of an empty database of a real PostgreSQL server."""
    return _new_database(postgresql)


def _new_database(server: str) -> str:
    """URL of an empty database of a PostgreSQL server."""
    name = f"kira_{time.monotonic_ns()}"
    from sqlalchemy import create_engine, text

    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server.replace("/postgres?", f"/{name}?")
