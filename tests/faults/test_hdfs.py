"""DataNodes and the NameNode of HDFS die, refuse to write, and lose blocks."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from conftest import Moment, Undisturbed
from harness import Driver, Reader, dfsadmin, hdfs_back, kill, reasons, until, whole
from pipeline import Pipeline

from kira.ledger import Stage
from kira.stack.local import LocalStack
from kira.storage import open_store

pytestmark = pytest.mark.faults


@pytest.fixture(autouse=True)
def _in_order(servers: LocalStack) -> Iterator[None]:
    yield
    hdfs_back(servers)


def lose(servers: LocalStack, *nodes: str) -> None:
    """Kill DataNodes and remove all their blocks; the supervisor starts them again, empty."""
    for node in nodes:
        servers.supervisor.stop_process(node)
        shutil.rmtree(servers.config.home / "hdfs" / node)
    for node in nodes:
        servers.supervisor.start_process(node)


@pytest.mark.parametrize(
    ("doing", "path"), [pytest.param("read", "/frames/", marks=pytest.mark.ci), ("write", "/aside/")],
    ids=["extract", "mirror"],
)  # fmt: skip
def test_a_datanode_is_killed_and_its_blocks_are_gone(
    doing: str, path: str, servers: LocalStack, moments: list[Moment], driver: Driver, pipeline: Pipeline,
    undisturbed: Undisturbed, reader: Reader,
) -> None:  # fmt: skip
    """The other replica is read; what is being written is written again."""
    driver.tries, driver.wait = 5, 2.0
    moments.append(Moment(doing, path, 2, lambda: lose(servers, "datanode1")))
    driver.until_done()
    assert moments[0].done
    assert driver.unforeseen == []
    hdfs_back(servers)
    whole(pipeline, undisturbed.digest, undisturbed.frames, reader=reader)


@pytest.mark.parametrize("upto", ["mirror", "stage"])
def test_all_replicas_of_a_batch_s_files_are_lost(
    upto: str, new_stack: Callable[..., LocalStack], pipeline: Pipeline, undisturbed: Undisturbed
) -> None:
    """The NameNode still lists the files, and no DataNode has them: they are staged again from S3."""
    # Servers of its own: a NameNode that misses blocks does not leave its safe mode when it is started again.
    other = new_stack({"namenode", "datanode1", "datanode2"}, name="lost")
    store = open_store(other.config.stage_url)
    pipeline = replace(pipeline, services=replace(pipeline.services, store=store))
    driver = Driver(pipeline)
    try:
        planned = driver.task(1, lambda p: p.planned(batch_size=10))
        mirrored = driver.task(1, lambda p: p.mirror(planned))
        if upto == "stage":
            driver.task(1, lambda p: p.stage(mirrored))
        lose(other, "datanode1", "datanode2")
        hdfs_back(other)
        driver.runs, driver.wait = 1, 2.0
        driver.until_done()
        assert driver.unforeseen == []
        whole(pipeline, undisturbed.digest, undisturbed.frames)
    finally:
        other.down()


@pytest.mark.parametrize(
    ("doing", "path"),
    [
        pytest.param("write", "/aside/", marks=pytest.mark.ci), ("rename", "/aside/"), ("read", "/frames/"),
        pytest.param("rename", "/extracted", marks=pytest.mark.ci),
    ],
    ids=["mirror", "stage", "extract", "publish"],
)  # fmt: skip
def test_the_namenode_is_killed(
    doing: str, path: str, servers: LocalStack, moments: list[Moment], driver: Driver, pipeline: Pipeline,
    undisturbed: Undisturbed, reader: Reader,
) -> None:  # fmt: skip
    """Started again by its supervisor; the client waits for it, or the task is tried again."""
    driver.tries, driver.wait = 5, 2.0
    moments.append(Moment(doing, path, 2, lambda: kill(servers, "namenode")))
    driver.until_done()
    assert moments[0].done
    assert driver.unforeseen == []
    whole(pipeline, undisturbed.digest, undisturbed.frames, reader=reader)


@pytest.mark.parametrize(
    ("doing", "path"), [("rename", "/aside/"), pytest.param("rename", "/extracted", marks=pytest.mark.ci)],
    ids=["stage", "publish"],
)  # fmt: skip
def test_safe_mode(
    doing: str, path: str, servers: LocalStack, moments: list[Moment], driver: Driver, pipeline: Pipeline,
    undisturbed: Undisturbed, reader: Reader, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Nothing can be written until somebody leaves it; the tasks say so and are tried again."""
    tries = iter(range(100))

    def between() -> None:
        if next(tries) == 1:
            dfsadmin(servers, "-safemode", "leave")

    driver.between = between
    moments.append(Moment(doing, path, 2, lambda: dfsadmin(servers, "-safemode", "enter") and None))
    try:
        driver.until_done()
    finally:
        dfsadmin(servers, "-safemode", "leave")
    assert any("Name node is in safe mode" in sentence for sentence in driver.told)
    assert "Name node is in safe mode" in caplog.text
    assert driver.unforeseen == []
    whole(pipeline, undisturbed.digest, undisturbed.frames, reader=reader)


@pytest.mark.ci
def test_the_quota_is_reached(
    servers: LocalStack, driver: Driver, pipeline: Pipeline, undisturbed: Undisturbed, reader: Reader
) -> None:
    """The space of the folder ends at the second frame, for a whole DAG run; then it is raised."""
    store = pipeline.services.store
    store.write("first", b"so that there is a folder")
    root = store.url.partition("//")[2].partition("/")[2]
    dfsadmin(servers, "-setSpaceQuota", "160m", f"/{root}")
    try:
        driver.run()
        told = reasons(pipeline, Stage.MIRROR) + reasons(pipeline, Stage.STAGE) + driver.told
        assert any("quota" in reason.lower() for reason in told), told
    finally:
        dfsadmin(servers, "-clrSpaceQuota", f"/{root}")
    store.delete("first")
    driver.until_done()
    assert driver.unforeseen == []
    whole(pipeline, undisturbed.digest, undisturbed.frames, reader=reader)


def test_no_datanode_is_there_for_a_while(
    servers: LocalStack, driver: Driver, pipeline: Pipeline, undisturbed: Undisturbed, moments: list[Moment],
    reader: Reader,
) -> None:  # fmt: skip
    def stop_both() -> None:
        for node in ("datanode1", "datanode2"):
            servers.supervisor.stop_process(node)

    tries = iter(range(100))

    def between() -> None:
        if next(tries) == 1:
            hdfs_back(servers)

    driver.between, driver.tries = between, 5
    moments.append(Moment("read", "/frames/", 1, stop_both))
    driver.until_done(before_next=lambda: hdfs_back(servers))
    until(servers._hdfs_ready)
    assert driver.unforeseen == []
    whole(pipeline, undisturbed.digest, undisturbed.frames, reader=reader)
