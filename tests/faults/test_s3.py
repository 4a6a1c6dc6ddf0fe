"""S3 goes away, refuses, or is full."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import boto3
import pytest
from archive_proxy import Proxy
from botocore.config import Config
from conftest import NAME, Undisturbed
from harness import SELECTION, Driver, Reader, catalogue_of, kill, reasons, s3_back, whole
from pipeline import Pipeline

from kira.ledger import Ledger, Outcome, Stage
from kira.sdss.archive import Archive
from kira.stack.config import BUCKET, StackConfig
from kira.stack.local import LocalStack
from kira.stack.ports import free_ports
from kira.stages.work import Services
from kira.storage import S3Mirror, open_store

pytestmark = pytest.mark.faults

At = Callable[[str, int, Callable[[], None]], None]


@pytest.fixture(autouse=True)
def _in_order(servers: LocalStack) -> Iterator[None]:
    yield
    s3_back(servers)


@pytest.mark.ci
@pytest.mark.parametrize("operation", ["PutObject", "GetObject"], ids=["mirror", "stage"])
def test_down_in_the_middle_of_a_stage(
    operation: str, servers: LocalStack, s3_moments: At, driver: Driver, pipeline: Pipeline, undisturbed: Undisturbed,
    reader: Reader, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Stopped before the second frame; back before the third try."""
    tries = iter(range(100))

    def between() -> None:
        if next(tries) == 1:
            s3_back(servers)

    # It answers before it has found all its volumes again: a few more tries than that.
    driver.between, driver.tries, driver.wait = between, 8, 1.0
    s3_moments(operation, 2, lambda: servers.supervisor.stop_process("s3"))
    assert driver.until_done() == 1
    assert len(driver.told) >= 2
    stage = {"PutObject": "mirror", "GetObject": "stage"}[operation]
    assert all(f"failed in stage {stage} in a way that may pass" in sentence for sentence in driver.told)
    assert "S3 could not " in driver.told[0]
    assert "Could not connect to the endpoint URL" in caplog.text
    assert driver.unforeseen == []
    whole(pipeline, undisturbed.digest, undisturbed.frames, reader=reader)


def test_down_for_longer_than_a_run(
    servers: LocalStack, proxy: Proxy, driver: Driver, pipeline: Pipeline, undisturbed: Undisturbed, reader: Reader
) -> None:
    """All tries of all batches are used up; the next DAG run, with S3 back, does all that is left."""
    proxy.once(r"fpC-009001-r3-0011", lambda: servers.supervisor.stop_process("s3"))
    driver.run()
    told = reasons(pipeline, Stage.MIRROR)
    assert len(told) == undisturbed.frames
    assert all(reason.startswith("S3 could not ") for reason in told)
    s3_back(servers)
    driver.until_done()
    whole(pipeline, undisturbed.digest, undisturbed.frames, reader=reader)


@pytest.mark.parametrize("operation", ["PutObject", "GetObject"])
def test_killed_and_started_again_by_its_supervisor(
    operation: str, servers: LocalStack, s3_moments: At, driver: Driver, pipeline: Pipeline, undisturbed: Undisturbed,
    reader: Reader,
) -> None:  # fmt: skip
    driver.wait, driver.tries = 2.0, 5
    s3_moments(operation, 2, lambda: kill(servers, "s3"))
    driver.until_done()
    whole(pipeline, undisturbed.digest, undisturbed.frames, reader=reader)


@pytest.mark.ci
def test_wrong_credentials(servers: LocalStack, driver: Driver, pipeline: Pipeline, undisturbed: Undisturbed) -> None:
    """Refused, said, and nothing is written; with the right key all is done."""
    right = pipeline.services.mirror
    wrong = boto3.client(
        "s3", endpoint_url=servers.config.url("s3"), region_name="us-east-1",
        aws_access_key_id=servers.config.secrets.s3_access_key, aws_secret_access_key="no" * 15,
        config=Config(retries={"max_attempts": 2}, proxies={}),
    )  # fmt: skip
    driver.pipeline = replace(pipeline, services=replace(pipeline.services, mirror=S3Mirror(wrong, right.bucket)))
    driver.run()
    assert driver.told
    assert all("S3 could not " in sentence and "signature" in sentence for sentence in driver.told)
    assert right.client.list_objects_v2(Bucket=right.bucket).get("Contents", []) == []
    driver.pipeline = pipeline
    driver.until_done()
    whole(pipeline, undisturbed.digest, undisturbed.frames)


class Disk:
    """A small file system, in memory, that can be filled up and made room on."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        folder.mkdir(parents=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "kira-faults", str(folder)],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            pytest.skip(
                f"NO SMALL DISK CAN BE MOUNTED HERE ({done.stderr.strip()}): what a full one does is NOT proven."
            )
        self.folder = folder

    def fill(self, leave: int = 0) -> None:
        with (self.folder / "ballast").open("wb") as file:
            file.write(bytes(max(0, shutil.disk_usage(self.folder).free - leave)))

    def make_room(self) -> None:
        (self.folder / "ballast").unlink()

    def close(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[Path, int], Disk]]:
    disks: list[Disk] = []

    def make(folder: Path, megabytes: int) -> Disk:
        disks.append(Disk(folder, megabytes))
        return disks[-1]

    yield make
    for disk in disks:
        disk.close()


def test_the_disk_of_s3_is_full(
    small_disk: Callable[[Path, int], Disk], proxy: Proxy, sample: Path, undisturbed: Undisturbed, ledger_url: str,
    tmp_path: Path, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """SeaweedFS on a small file system of its own, full from the second frame on until somebody makes room."""
    home = tmp_path / "home"
    disk = small_disk(home / "s3", 64)
    stack = LocalStack(StackConfig(home, free_ports(), f"file://{tmp_path}/stage"), print, {"s3"})
    stack.up()
    try:
        mirror = S3Mirror(stack.s3_client(), BUCKET)
        archive = Archive(NAME, das=f"{proxy.url}/{NAME}/das", sas=f"{proxy.url}/{NAME}/sas")
        services = Services(archive, mirror, open_store(stack.config.stage_url), Ledger(ledger_url))
        pipeline = Pipeline(services, sample, SELECTION)
        driver = Driver(pipeline)
        proxy.once(r"fpC-009001-r3-0011", disk.fill)
        with Reader(services.store, catalogue_of(pipeline)) as reader:
            driver.run()
            told = [row for row in services.ledger.outcomes("manual__1", Stage.MIRROR) if row.outcome != Outcome.OK]
            assert told
            assert {row.outcome for row in told} == {Outcome.STORAGE_FAILED}
            assert all(row.reason.startswith("S3 could not store s3://") for row in told)
            assert told[0].reason in caplog.text
            disk.make_room()
            # It looks at its disk once a minute.
            s3_writes_again(stack)
            driver.until_done()
            whole(pipeline, undisturbed.digest, undisturbed.frames, reader=reader)
    finally:
        stack.down()


def s3_writes_again(stack: LocalStack) -> None:
    from botocore.exceptions import BotoCoreError, ClientError
    from harness import until

    client = stack.s3_client()

    def writes() -> bool:
        try:
            client.put_object(Bucket=BUCKET, Key="probe", Body=bytes(100_000))
            client.delete_object(Bucket=BUCKET, Key="probe")
        except (BotoCoreError, ClientError):
            return False
        return True

    until(writes, 150, "S3 writing again")


@pytest.mark.ci
def test_the_disk_of_the_staging_store_is_full(
    small_disk: Callable[[Path, int], Disk], servers: LocalStack, proxy: Proxy, sample: Path, undisturbed: Undisturbed,
    pipeline: Pipeline, tmp_path: Path,
) -> None:  # fmt: skip
    """Staging to a POSIX folder whose file system fills up in the middle of the mirror stage."""
    disk = small_disk(tmp_path / "small", 200)
    store = open_store(f"file://{tmp_path}/small/stage")
    pipeline = replace(pipeline, services=replace(pipeline.services, store=store))
    driver = Driver(pipeline)
    proxy.once(r"fpC-009001-r3-0011", lambda: disk.fill(leave=5_000_000))
    with Reader(store, catalogue_of(pipeline)) as reader:
        driver.run()
        assert any("No space left on device" in reason for reason in reasons(pipeline, Stage.MIRROR) + driver.told)
        disk.make_room()
        driver.until_done()
        whole(pipeline, undisturbed.digest, undisturbed.frames, reader=reader)
