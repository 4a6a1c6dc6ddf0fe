"""Published catalogues on real HDFS and S3: the same answers as from a folder, by ranged reads."""

import io
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from published_catalogues import KINDS, PROFILES, made_up, plain, publish, scattered

from kira.catalog import digest
from kira.catalog.cone import Cone
from kira.catalog.hats import write_hats
from kira.catalog.ordered import write_parquet
from kira.catalog.published import Published, open_catalogue
from kira.catalog.query import Query
from kira.catalog.search import search_cone, search_frames
from kira.cli import main
from kira.errors import StorageError
from kira.stack.config import BUCKET
from kira.stack.local import LocalStack
from kira.storage import open_readable, open_store
from kira.storage.readable import S3Folder

pytestmark = pytest.mark.integration

ROWS = 4_000
PLACE = "reading/catalog/dr12"


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def local(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    strip = [made_up(kind, *scattered(ROWS, 358.0 + n, 0.0, 0.4, n), field=11 + n, seed=n) for n in range(4)]
    return publish(tmp_path_factory.mktemp("local") / PROFILES[kind].slug, kind, {"a": strip[:2], "b": strip[2:]})


@pytest.fixture
def aws(servers: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS's usual settings, for the stack's S3."""
    secrets = servers.config.secrets
    monkeypatch.setenv("AWS_ENDPOINT_URL", servers.config.url("s3"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", secrets.s3_access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secrets.s3_secret_key)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)


def put(servers: LocalStack, where: str, path: str, content: bytes) -> None:
    if where == "hdfs":
        open_store(servers.config.stage_url).write(path, content)
    else:
        servers.s3_client().put_object(Bucket=BUCKET, Key=path, Body=content)


@pytest.fixture(params=["hdfs", "s3"])
def where(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def remote(where: str, servers: LocalStack, local: Path, aws: None) -> str:
    """URL of the same catalogue on HDFS or S3, with a file in its place that is not published."""
    for file in local.rglob("*"):
        if file.is_file():
            put(servers, where, f"{PLACE}/{local.name}/{file.relative_to(local)}", file.read_bytes())
    put(servers, where, f"{PLACE}/{local.name}/extracted/part-9.parquet", b"half a fi")
    root = servers.config.stage_url if where == "hdfs" else f"s3://{BUCKET}"
    return f"{root}/{PLACE}/{local.name}"


def test_the_same_answers_as_from_a_folder(remote: str, local: Path, kind: str, tmp_path: Path) -> None:
    there, here = open_catalogue(remote), open_catalogue(str(local))
    assert [part.path for part in there.parts] == [part.path for part in here.parts]
    assert (there.rows, there.size) == (here.rows, here.size) == (4 * ROWS, there.size)
    for cone in (Cone(359.9, 0.1, 0.3), Cone(0.0, 0.0, 2.0)):
        assert plain(search_cone(there, cone)).equals(plain(search_cone(here, cone)))
    query = Query.parse("94", fields="13", bands="ri")
    assert plain(search_frames(there, query)).equals(plain(search_frames(here, query)))
    # Also in how much of it is asked for.
    assert there.tally.bytes == here.tally.bytes
    written = [io.BytesIO(), io.BytesIO()]
    for catalogue, sink in zip((there, here), written, strict=True):
        assert write_parquet(catalogue, sink) == 4 * ROWS
    assert written[0].getvalue() == written[1].getvalue()
    assert write_hats(there, tmp_path / "hats", "test").rows == 4 * ROWS


def test_a_cone_reads_little(remote: str) -> None:
    catalogue = open_catalogue(remote)
    footers = catalogue.tally.bytes
    found = search_cone(catalogue, Cone(0.0, 0.0, 0.1), columns=["x"])
    assert found.num_rows > 0
    assert catalogue.tally.files == 1
    assert catalogue.tally.bytes - footers < catalogue.size / 20


def test_what_is_replaced_while_it_is_read_is_noticed(
    remote: str, where: str, servers: LocalStack, local: Path
) -> None:
    path = "batch=a/part-00000-0.parquet"
    catalogue = open_catalogue(remote)
    whole = (local / path).read_bytes()
    with open_readable(remote).open(path) as file:
        assert (file.size, file.read(4), file.bytes_read) == (len(whole), b"PAR1", 4)
        put(servers, where, f"{PLACE}/{local.name}/{path}", whole[:-9] + b"x" + whole[-8:])
        if where == "s3":  # HDFS goes on serving the blocks of an open file for a while
            with pytest.raises(StorageError, match=r"part-00000-0\.parquet could not be read: .*PreconditionFailed"):
                file.read(4)
    with pytest.raises(StorageError, match="was replaced while the catalogue was read: ask again"):
        search_frames(catalogue, Query())


def test_what_is_not_there_is_a_sentence(remote: str, where: str, servers: LocalStack) -> None:
    with pytest.raises(StorageError, match="none could not be opened"):
        open_readable(remote).open("none")
    assert open_readable(remote).listing("none") == []
    if where == "s3":
        with pytest.raises(StorageError, match=r"s3://no-such-bucket/x could not be listed: .*NoSuchBucket"):
            open_catalogue("s3://no-such-bucket/x")


@pytest.mark.parametrize("where", ["s3"])  # the stack's HDFS knows no secrets
def test_a_wrong_secret_is_a_sentence(remote: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StorageError, match=r"could not be listed: .*SignatureDoesNotMatch"):
        open_catalogue(remote)


def test_a_bucket_with_more_than_one_page(servers: LocalStack, aws: None) -> None:
    """S3 lists a thousand at a time."""
    client = servers.s3_client()
    names = [f"part-{n:05d}.parquet" for n in range(1_100)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: client.put_object(Bucket=BUCKET, Key=f"many/b/{name}", Body=b"x"), names))
    client.put_object(Bucket=BUCKET, Key="many/a", Body=b"xy")
    folder = open_readable(f"s3://{BUCKET}/many")
    assert isinstance(folder, S3Folder)
    assert [(file.name, file.size, file.is_folder) for file in folder.top()] == [("a", 2, False), ("b", 0, True)]
    assert [file.name for file in folder.listing("b")] == names
    assert "many" in {file.name for file in open_readable(f"s3://{BUCKET}").top() if file.is_folder}


def test_the_command_reads_them(
    remote: str, local: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    kira = _command(monkeypatch, capsys)
    status, out = kira("query", "cone", "0", "0", "6arcmin", "--catalogue", remote)
    assert status == 0
    assert "read 1 of 4 files" in out
    status, out = kira("export", str(tmp_path / "all.parquet"), "--catalogue", remote)
    assert status == 0
    assert out.startswith(f"{4 * ROWS:,} sources of 4 files in ")
    whole = Published(open_readable(str(local)))
    import pyarrow.parquet as pq

    assert digest(plain(pq.read_table(tmp_path / "all.parquet"))) == digest(plain(search_frames(whole, Query())))


def _command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["kira", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), capsys.readouterr().out

    return run
