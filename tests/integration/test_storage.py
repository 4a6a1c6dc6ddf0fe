"""Stores and mirror on real servers: HDFS, POSIX and SeaweedFS."""

import hashlib
import random
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from kira.errors import ChecksumMismatch, InvalidInput, StorageError
from kira.stack.local import LocalStack
from kira.stages.work import Services
from kira.storage import Mirrored, S3Mirror, Store, open_store
from kira.storage.stores import HdfsStore, PosixStore

pytestmark = pytest.mark.integration


@pytest.fixture(params=["hdfs", "posix"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "posix":
        yield open_store(f"{tmp_path.as_uri()}/stage")
        return
    servers: LocalStack = request.getfixturevalue("servers")
    made = open_store(f"{servers.config.stage_url}/{tmp_path.name.replace('[', '-').replace(']', '')}")
    yield made
    for file in made.listing("t"):
        made.delete(f"t/{file.name}")


def names(store: Store, folder: str = "t") -> list[str]:
    return [file.name for file in store.listing(folder)]


def with_write(store: Store, write: Callable[[Callable[[str, bytes], None], str, bytes], None]) -> Store:
    """The same store, whose way of writing a file is another."""
    kind = HdfsStore if isinstance(store, HdfsStore) else PosixStore

    class Other(kind):  # type: ignore[misc, valid-type]
        def _write(self, path: str, content: bytes) -> None:
            write(super()._write, path, content)

    return Other(store.url)


def test_what_is_written_is_read(store: Store) -> None:
    for content in (b"", b"x", bytes(range(256)) * 20_000):
        store.write("t/a/b.fits", content)
        assert store.read("t/a/b.fits") == content
        assert store.size("t/a/b.fits") == len(content)
    assert names(store, "t/a") == ["b.fits"]
    assert store.path_of(store.uri("t/a/b.fits")) == "t/a/b.fits"


def test_what_was_written_is_there_at_once(store: Store) -> None:
    """HDFS lets a file be closed before it knows its last block: read at that moment, the file is empty."""

    def write_and_read(number: int) -> None:
        content = random.Random(number).randbytes(100_000 + number)
        store.write(f"t/{number}", content)
        assert store.read(f"t/{number}") == content
        with store.open(f"t/{number}") as file:
            assert (file.size, file.read(16)) == (len(content), content[:16])
        store.delete(f"t/{number}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write_and_read, range(200)))


def test_nothing_is_visible_under_the_name_before_all_of_it_is_written(store: Store) -> None:
    store.write("t/kept", b"before")
    seen: list[tuple[bytes, int | None]] = []

    def look(real: Callable[[str, bytes], None], path: str, content: bytes) -> None:
        real(path, content)
        seen.append((store.read("t/kept"), store.size("t/new")))

    watched = with_write(store, look)
    watched.write("t/kept", b"after")
    watched.write("t/new", b"new")
    assert seen == [(b"before", None), (b"after", None)]
    assert (store.read("t/kept"), store.read("t/new")) == (b"after", b"new")
    assert names(store) == ["kept", "new"]


def test_a_reader_sees_the_old_file_or_the_new_one_while_it_is_replaced(store: Store) -> None:
    store.write("t/file", b"0" * 100_000)
    over = threading.Event()
    seen: list[object] = []

    def read() -> None:
        reader = open_store(store.url)
        while not over.is_set():
            try:
                seen.append(frozenset(reader.read("t/file")))
            except StorageError as error:
                seen.append(str(error))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for number in range(20):
            store.write("t/file", str(number % 10).encode() * 100_000)
    finally:
        over.set()
        thread.join(60)
    assert seen
    assert [one for one in seen if not isinstance(one, frozenset) or len(one) != 1] == []


@pytest.mark.parametrize("error", [OSError("no space left"), StorageError("HDFS went away"), KeyboardInterrupt()])
def test_a_write_that_fails_half_way_leaves_what_was_there(store: Store, error: BaseException) -> None:
    store.write("t/kept", b"before")

    def half(real: Callable[[str, bytes], None], path: str, content: bytes) -> None:
        real(path, content[: len(content) // 2])
        raise error

    broken = with_write(store, half)
    for name in ("t/kept", "t/new"):
        with pytest.raises(type(error)):
            broken.write(name, b"after" * 1000)
    assert names(store) == ["kept"]
    assert store.read("t/kept") == b"before"


def test_reading_what_is_not_there_names_it(store: Store) -> None:
    with pytest.raises(StorageError, match=store.uri("t/none")):
        store.read("t/none")
    assert store.size("t/none") is None
    assert not store.exists("t/none/below")


def test_reading_a_folder_and_writing_below_a_file_are_storage_errors(store: Store) -> None:
    store.write("t/a/b", b"x")
    with pytest.raises(StorageError, match=store.uri("t/a")):
        store.read("t/a")
    with pytest.raises(StorageError, match=store.uri("t/a/b")):
        store.write("t/a/b/c", b"y")
    assert store.read("t/a/b") == b"x"


def test_a_rename_spares_what_is_there_unless_told(store: Store) -> None:
    store.write("t/new", b"new")
    store.write("t/old", b"old")
    with pytest.raises(StorageError, match="t/"):
        store.rename("t/new", "t/old")
    assert (store.read("t/new"), store.read("t/old")) == (b"new", b"old")
    store.rename("t/new", "t/old", overwrite=True)
    assert names(store) == ["old"]
    assert store.read("t/old") == b"new"


def test_a_rename_of_nothing_is_a_storage_error(store: Store) -> None:
    with pytest.raises(StorageError, match=store.uri("t/none")):
        store.rename("t/none", "t/new")
    assert names(store) == []


def test_a_folder_is_renamed_in_one_step_into_folders_that_were_not_there(store: Store) -> None:
    for number in range(3):
        store.write(f"t/aside/part-{number}", bytes([number]))
    store.rename("t/aside", "t/catalog/dr12/batch=a")
    assert names(store) == ["catalog"]
    assert names(store, "t/catalog/dr12/batch=a") == ["part-0", "part-1", "part-2"]
    # A second one neither replaces the first nor lands inside it.
    store.write("t/aside/part-9", b"x")
    with pytest.raises(StorageError):
        store.rename("t/aside", "t/catalog/dr12/batch=a")
    assert names(store, "t/catalog/dr12/batch=a") == ["part-0", "part-1", "part-2"]
    assert names(store, "t/aside") == ["part-9"]


def test_deleting_takes_files_and_whole_folders_and_nothing_is_nothing(store: Store) -> None:
    store.write("t/a/b/c", b"x")
    store.write("t/d", b"x")
    store.delete("t/none")
    store.delete("t/d")
    store.delete("t/a")
    assert names(store) == []


def test_listing_and_walking(store: Store) -> None:
    for path, content in {"t/b/2": b"22", "t/a": b"1", "t/b/c/3": b"333"}.items():
        store.write(path, content)
    assert [(file.name, file.size, file.is_folder) for file in store.listing("t")] == [("a", 1, False), ("b", 0, True)]
    assert [(path, file.size) for path, file in store.walk("t")] == [("t/a", 1), ("t/b/2", 2), ("t/b/c/3", 3)]
    assert store.listing("t/none") == []
    assert store.listing("t/a") == []
    assert (store.size("t/b"), store.exists("t/b")) == (0, True)


@pytest.mark.parametrize("path", ["", "/t", "t/", "t//a", "../t", "t/..", "t/../../x", "t/a:b", "t/a b", "t/*"])
def test_names_that_are_not_plain_touch_nothing(store: Store, path: str) -> None:
    store.write("t/kept", b"x")
    for act in (lambda: store.write(path, b"y"), lambda: store.rename("t/kept", path), lambda: store.delete(path),
                lambda: store.rename(path, "t/new", overwrite=True), lambda: store.read(path)):  # fmt: skip
        with pytest.raises(InvalidInput):
            act()
    assert names(store) == ["kept"]


def test_what_hdfs_says_is_one_line(servers: LocalStack, tmp_path: Path) -> None:
    store = open_store(f"{servers.config.stage_url}/{tmp_path.name}")
    store.write("t/a", b"x")
    with pytest.raises(StorageError) as told:
        store.write("t/a/b", b"x")
    assert re.fullmatch(rf"{store.uri('t/a/b')}\.aside-\w+ could not be written: \w+: [^\n\\]+\.", str(told.value))


def test_a_name_node_that_is_not_there_is_a_storage_error(
    closed_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The client asks 15 times in three minutes unless told otherwise.
    settings = "<property><name>dfs.client.failover.max.attempts</name><value>1</value></property>"
    (tmp_path / "hdfs-site.xml").write_text(f"<configuration>{settings}</configuration>")
    (tmp_path / "core-site.xml").write_text("<configuration></configuration>")
    monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path))
    away = open_store(f"hdfs://127.0.0.1:{closed_port}/kira")
    with pytest.raises(StorageError, match=f"hdfs://127.0.0.1:{closed_port}/kira/a could not be read: "):
        away.read("a")


# -- the mirror

CONTENT = b"SIMPLE  =" + bytes(50_000)
KEY = "shared/das/imaging/4192/40/corr/4/fpC-004192-r4-0300.fit.gz"


def facts(content: bytes) -> Mirrored:
    return Mirrored(len(content), hashlib.sha256(content).hexdigest(), 2880, "b" * 64)


@pytest.fixture
def mirror(services: Services) -> S3Mirror:
    return services.mirror


def test_what_is_put_is_found_and_got(mirror: S3Mirror) -> None:
    known = facts(CONTENT)
    assert mirror.find(KEY) is None
    assert mirror.put(KEY, CONTENT, known, {"source": "http://host/é", "source-etag": '"x"', "source-date": ""})
    assert mirror.find(KEY) == known
    assert mirror.get(KEY, known.sha256) == CONTENT
    metadata = mirror.client.head_object(Bucket=mirror.bucket, Key=KEY)["Metadata"]
    assert (metadata["source"], metadata["source-etag"]) == ("http://host/?", '"x"')
    assert "source-date" not in metadata


def test_the_server_refuses_other_bytes_than_announced(mirror: S3Mirror) -> None:
    with pytest.raises(StorageError, match=f"S3 could not store s3://{mirror.bucket}/{KEY}: "):
        mirror.put(KEY, CONTENT, facts(CONTENT + b"x"), {})
    assert mirror.find(KEY) is None
    assert mirror.client.list_objects_v2(Bucket=mirror.bucket)["KeyCount"] == 0


def test_a_second_writer_leaves_what_the_first_stored(mirror: S3Mirror) -> None:
    other = CONTENT + b"other"
    assert mirror.put(KEY, CONTENT, facts(CONTENT), {"source": "first"})
    assert not mirror.put(KEY, other, facts(other), {"source": "second"})
    assert mirror.find(KEY) == facts(CONTENT)
    assert mirror.get(KEY, facts(CONTENT).sha256) == CONTENT


def test_a_damaged_object_is_not_handed_out(mirror: S3Mirror) -> None:
    known = facts(CONTENT)
    mirror.put(KEY, CONTENT, known, {})
    metadata = mirror.client.head_object(Bucket=mirror.bucket, Key=KEY)["Metadata"]
    damaged = CONTENT[:-1] + b"x"
    mirror.client.put_object(Bucket=mirror.bucket, Key=KEY, Body=damaged, Metadata=metadata)
    assert mirror.find(KEY) == known  # the head tells nothing
    with pytest.raises(
        ChecksumMismatch, match=f"s3://{mirror.bucket}/{KEY} came out with SHA-256 .* The object was removed"
    ):
        mirror.get(KEY, known.sha256)
    assert mirror.find(KEY) is None  # or no ingestion would fetch it again
    mirror.delete(KEY)
    with pytest.raises(StorageError, match=f"S3 could not read s3://{mirror.bucket}/{KEY}: "):
        mirror.get(KEY, known.sha256)


def test_deleting_an_object_leaves_the_others_and_nothing_is_nothing(mirror: S3Mirror) -> None:
    for key in (KEY, KEY + "2"):
        mirror.put(key, CONTENT, facts(CONTENT), {})
    mirror.delete(KEY)
    mirror.delete(KEY)
    assert mirror.find(KEY) is None
    assert mirror.get(KEY + "2", facts(CONTENT).sha256) == CONTENT


def test_an_object_of_somebody_else_is_not_taken_for_ours(mirror: S3Mirror) -> None:
    mirror.client.put_object(Bucket=mirror.bucket, Key=KEY, Body=CONTENT)
    with pytest.raises(
        StorageError, match=r"carries no 'sha256' in its metadata: it was not mirrored by Kira\. Remove"
    ):
        mirror.find(KEY)


def test_a_wrong_secret_is_a_storage_error(servers: LocalStack, mirror: S3Mirror) -> None:
    stranger = boto3.client(
        "s3", endpoint_url=servers.config.url("s3"), aws_access_key_id=servers.config.secrets.s3_access_key,
        aws_secret_access_key="guessed", region_name="us-east-1", config=Config(proxies={}),  # noqa: S106
    )  # fmt: skip
    wrong = S3Mirror(stranger, mirror.bucket)
    mirror.put(KEY, CONTENT, facts(CONTENT), {})
    acts = (lambda: wrong.find(KEY), lambda: wrong.get(KEY, facts(CONTENT).sha256), lambda: wrong.delete(KEY),
            lambda: wrong.put(KEY + "2", CONTENT, facts(CONTENT), {}), wrong.ensure_bucket)  # fmt: skip
    for act in acts:
        with pytest.raises(StorageError, match=f"S3 could not .* s3://{mirror.bucket}/"):
            act()
    assert mirror.get(KEY, facts(CONTENT).sha256) == CONTENT
    assert mirror.find(KEY + "2") is None


def test_an_s3_that_is_not_there_is_a_storage_error(closed_port: int) -> None:
    client = boto3.client(
        "s3", endpoint_url=f"http://127.0.0.1:{closed_port}", aws_access_key_id="a", aws_secret_access_key="b",  # noqa: S106
        region_name="us-east-1", config=Config(retries={"max_attempts": 0}, proxies={}),
    )  # fmt: skip
    away = S3Mirror(client, "kira")
    for act in (lambda: away.find(KEY), lambda: away.get(KEY, "a"), lambda: away.put(KEY, b"", facts(b""), {})):
        with pytest.raises(StorageError, match="S3 could not"):
            act()
