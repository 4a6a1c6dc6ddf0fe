"""Names, URLs, and a file system that refuses; what both kinds of store do is in the integration tests."""

from pathlib import Path

import pytest

from kira.errors import InvalidInput, StorageError
from kira.storage import open_store
from kira.storage.store import check_path
from kira.storage.stores import HdfsStore, PosixStore

BAD_PATHS = ["", "/", "/etc/passwd", "..", "a/..", "../a", "a/../b", ".", "a/./b", "a//b", "a/", "/a", "a:b", "a b",
             "a\nb", "a\0b", "a*", "~", "a\\b", "é"]  # fmt: skip


@pytest.mark.parametrize("path", ["a", "a/b.fits", "shared/frames/sas/dr12/x-1_2=3+4,5"])
def test_plain_names_pass(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize("path", BAD_PATHS)
def test_names_that_are_not_plain_are_refused_and_nothing_is_touched(path: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    store = open_store(root.as_uri())
    for act in (store.read, store.size, store.delete, store.listing, store.uri, store.exists):
        with pytest.raises(InvalidInput):
            act(path)
    with pytest.raises(InvalidInput):
        store.write(path, b"x")
    with pytest.raises(InvalidInput):
        store.rename("a", path)
    with pytest.raises(InvalidInput):
        store.rename(path, "a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url",
    ["", "stage", "/some/folder", "s3://bucket/x", "http://host/x", "hdfs:///x", "hdfs://host:1", "hdfs://host:1/",
     "hdfs://host:1//", "hdfs://host:none/x", "hdfs://[host/x", "file://host/x", "file:x", "file:///", "file:////",
     "file:///x?y", "hdfs://host:1/x#y"],
)  # fmt: skip
def test_odd_urls_are_refused_with_a_sentence(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"^\S.+\.$"):
        open_store(url)


def test_urls_open_the_right_store(tmp_path: Path) -> None:
    assert isinstance(open_store(f"file://{tmp_path}/"), PosixStore)
    assert isinstance(open_store("hdfs://127.0.0.1:9/kira"), HdfsStore)
    odd = tmp_path / "with space"
    store = open_store(odd.as_uri())
    store.write("a/b", b"x")
    assert (odd / "a/b").read_bytes() == b"x"
    assert store.path_of(store.uri("a/b")) == "a/b"


def test_uris_of_other_places_are_refused(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/root")
    for uri in (f"file://{tmp_path}/root2/a", f"file://{tmp_path}/root", f"file://{tmp_path}/root/../a", "a"):
        with pytest.raises(InvalidInput):
            store.path_of(uri)


def test_refusals_of_the_file_system_are_storage_errors_with_the_uri(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/root")
    store.write("file", b"x")
    below = f"file://{tmp_path}/root/file/below"
    with pytest.raises(StorageError, match=below):
        store.write("file/below", b"y")  # a file is no folder
    with pytest.raises(StorageError, match=f"file://{tmp_path}/root/file"):
        store.rename("file", "file/below")
    assert store.read("file") == b"x"
    assert [file.name for file in store.listing("file")] == []
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["file"]


def test_what_a_killed_writer_left_aside_is_removed_and_nothing_else(tmp_path: Path) -> None:
    store = open_store(tmp_path.as_uri())
    for path in ("a/plan.jsonl", f"a/plan.jsonl.aside-{'0' * 32}", "a/plan.jsonl.aside-x", f"a/b/c.aside-{'0' * 32}"):
        store.write(path, b"x")
    store.clear_aside("a")
    assert [path for path, _ in store.walk("a")] == [f"a/b/c.aside-{'0' * 32}", "a/plan.jsonl", "a/plan.jsonl.aside-x"]
    store.clear_aside("not/there")


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ('DataTransferError("All DataNodes failed: [DatanodeInfoProto { id: DatanodeIdProto { ip_addr: \\"127.0.0.1',
         "All DataNodes failed"),
        ('OperationFailed("Failed to complete file in time.\\n', "Failed to complete file in time"),
        ('RPCError("org.apache.hadoop.hdfs.server.namenode.SafeModeException", "Cannot create file/a. Name node is in '
         'safe mode.\\n\\tat org', "SafeModeException: Cannot create file/a. Name node is in safe mode"),
        ("Connection refused (os error 111)", "Connection refused (os error 111)"),
    ],
)  # fmt: skip
def test_what_the_hdfs_client_says_becomes_a_sentence(said: str, sentence: str) -> None:
    from kira.storage.failures import first_line

    assert first_line(said) == sentence
