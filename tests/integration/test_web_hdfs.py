"""What the NameNode's page lets anybody do who reaches it: look, and nothing else."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from kira.stack.local import LocalStack
from kira.storage import Store, open_store

pytestmark = pytest.mark.integration


@pytest.fixture
def store(servers: LocalStack, tmp_path: Path) -> Iterator[Store]:
    store = open_store(f"{servers.config.stage_url}-{tmp_path.name}")
    store.write("folder/file", b"content")
    yield store
    assert store.read("folder/file") == b"content"
    assert [file.name for file in store.listing("folder")] == ["file"]


def ask(servers: LocalStack, store: Store, method: str, path: str, **options: str) -> httpx.Response:
    at = f"{servers.config.url('namenode_http')}/webhdfs/v1/{store.uri(path).split('/', 3)[3]}"
    return httpx.request(
        method, at, params=options, headers={"X-XSRF-HEADER": "x"}, trust_env=False, follow_redirects=True
    )


def test_the_page_of_the_namenode_shows_folders_and_files(servers: LocalStack, store: Store) -> None:
    (listed,) = ask(servers, store, "GET", "folder", op="LISTSTATUS").json()["FileStatuses"]["FileStatus"]
    assert listed["pathSuffix"] == "file"
    assert ask(servers, store, "GET", "folder/file", op="OPEN").content == b"content"


WRITES = [
    ("DELETE", {"op": "DELETE", "recursive": "true"}),
    ("POST", {"op": "TRUNCATE", "newlength": "1"}),
    ("POST", {"op": "APPEND"}),
    ("PUT", {"op": "CREATE", "overwrite": "true"}),
    ("PUT", {"op": "RENAME", "destination": "/elsewhere"}),
    ("PUT", {"op": "SETPERMISSION", "permission": "777"}),
    ("PUT", {"op": "SETOWNER", "owner": "visitor"}),
]


@pytest.mark.parametrize("user", ["", "owner", "root", "kira"])
@pytest.mark.parametrize(("method", "options"), WRITES, ids=[options["op"] for _, options in WRITES])
def test_nobody_writes_by_way_of_it(
    servers: LocalStack, store: Store, method: str, options: dict[str, str], user: str
) -> None:
    if user == "owner":
        found = ask(servers, store, "GET", "folder/file", op="GETFILESTATUS").json()
        user = found["FileStatus"]["owner"]
    for more in ({"user.name": user}, {"doas": user}) if user else ({},):
        answer = ask(servers, store, method, "folder/file", **options, **more)
        assert answer.status_code in (400, 401, 403), answer.text


def test_a_site_in_a_browser_writes_nothing_by_way_of_a_datanode(servers: LocalStack, store: Store) -> None:
    at = f"{servers.config.url('datanode1_http')}/webhdfs/v1/{store.uri('folder/file').split('/', 3)[3]}"
    owner = ask(servers, store, "GET", "folder/file", op="GETFILESTATUS").json()["FileStatus"]["owner"]
    options = {
        "op": "APPEND",
        "user.name": owner,
        "namenoderpcaddress": servers.config.hdfs_url.removeprefix("hdfs://"),
    }
    browser = {"User-Agent": "Mozilla/5.0"}
    answer = httpx.post(at, params=options, content=b"more", headers=browser, trust_env=False)
    assert (answer.status_code, "Missing Required Header" in answer.reason_phrase) == (400, True)
