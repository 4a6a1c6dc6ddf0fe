import gzip
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from http_servers import ArchiveServer, serving

from kira.sdss.index_page import read_index
from kira.stack.archive_server import main

BODY = bytes(range(256)) * 1000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An archive with a secret beside it and one within, neither of them to be seen."""
    inside = tmp_path / "archive"
    for tree in ("das", "sas", "truth", "private"):
        (inside / tree / "a").mkdir(parents=True)
    (inside / "das" / "a" / "f.fit.gz").write_bytes(gzip.compress(BODY))
    (inside / "sas" / "a" / "f.fits.bz2").write_bytes(BODY)
    (inside / "truth" / "t.parquet").write_bytes(b"t")
    (inside / "private" / "secret").write_text("secret")
    (tmp_path / "secret").write_text("secret")
    return inside


@pytest.fixture
def base(archive_server: ArchiveServer, folder: Path) -> str:
    return archive_server.add("made", folder).das.removesuffix("/das")


def raw_get(base: str, path: str) -> tuple[int, bytes]:
    """Ask for a path exactly as it is written: other clients tidy it up first."""
    address = urlsplit(base)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=5)
    connection.putrequest("GET", path)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


class TestFiles:
    @pytest.mark.parametrize("path", ["das/a/f.fit.gz", "sas/a/f.fits.bz2", "truth/t.parquet"])
    def test_bytes_as_they_lie_there(self, base: str, folder: Path, path: str) -> None:
        with httpx.stream("GET", f"{base}/{path}", headers={"Accept-Encoding": "gzip, br"}) as answer:
            assert b"".join(answer.iter_raw()) == (folder / path).read_bytes()
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/octet-stream"
        assert "content-encoding" not in answer.headers
        assert int(answer.headers["content-length"]) == (folder / path).stat().st_size
        assert answer.headers["etag"].startswith('"')
        assert answer.headers["last-modified"].endswith(" GMT")
        assert answer.headers["accept-ranges"] == "bytes"

    def test_head(self, base: str) -> None:
        asked, got = httpx.head(f"{base}/sas/a/f.fits.bz2"), httpx.get(f"{base}/sas/a/f.fits.bz2")
        assert asked.content == b""
        assert {k: v for k, v in asked.headers.items() if k != "date"} == {
            k: v for k, v in got.headers.items() if k != "date"
        }

    def test_ranges(self, base: str) -> None:
        url = f"{base}/sas/a/f.fits.bz2"
        whole = httpx.get(url)
        for validator in (whole.headers["etag"], whole.headers["last-modified"]):
            rest = httpx.get(url, headers={"Range": "bytes=1000-", "If-Range": validator})
            assert (rest.status_code, rest.content) == (206, BODY[1000:])
            assert rest.headers["content-range"] == f"bytes 1000-{len(BODY) - 1}/{len(BODY)}"
        assert httpx.get(url, headers={"Range": "bytes=5-9"}).content == BODY[5:10]
        assert httpx.get(url, headers={"Range": f"bytes={len(BODY)}-"}).status_code == 416

    def test_changed_file_is_sent_whole(self, base: str, folder: Path) -> None:
        url = f"{base}/sas/a/f.fits.bz2"
        before = httpx.get(url).headers["etag"]
        (folder / "sas/a/f.fits.bz2").write_bytes(BODY[::-1] + b"x")
        after = httpx.get(url, headers={"Range": "bytes=1000-", "If-Range": before})
        assert (after.status_code, after.content) == (200, BODY[::-1] + b"x")

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
    def test_nothing_can_be_changed(self, base: str, method: str) -> None:
        assert httpx.request(method, f"{base}/sas/a/f.fits.bz2").status_code == 405


class TestWhatIsNotServed:
    @pytest.mark.parametrize(
        "path",
        [
            "/", "/made", "/made/", "/made/private/secret", "/made/private/", "/made/das/none", "/other/das/a/f.fit.gz",
            "/made/das/../private/secret", "/made/das/%2e%2e/private/secret", "/made/das/..%2fprivate/secret",
            "/made/das/%2e%2e%2fprivate%2fsecret", "/made/das/a/../../private/secret", "/made/das/a/../a/f.fit.gz",
            "/made/../secret", "/made/%2e%2e/secret", "/made/..%2f..%2fsecret", "/made/das/../../secret",
            "/../made/das/",
            "/made/das/%252e%252e/private/secret", "/made/das/..\\private\\secret", "/made/das/..", "/made/das/%2e%2e/",
            "/made/das//etc/passwd", "/made/das/%2fetc%2fpasswd", "/made/das/%00", "/made/das/a/f.fit.gz%00",
            "/made/das/a/f.fit.gz/", "/made/das/a/f.fit.gz/x", "/made/das/" + "x" * 300, "/made/DAS/a/", "/made/dasx/",
            "/made/das/{outside}", "/made/das/%2f{outside}", "/made/das/~root/", "/MADE/das/a/",
        ],
    )  # fmt: skip
    def test_paths(self, base: str, folder: Path, path: str) -> None:
        status, body = raw_get(base.removesuffix("/made"), path.replace("{outside}", str(folder.parent / "secret")))
        assert status == 404
        assert b"secret" not in body

    def test_links_out_of_the_folder(self, base: str, folder: Path) -> None:
        das = folder / "das"
        (das / "file").symlink_to(folder.parent / "secret")
        (das / "up").symlink_to("..")
        (das / "private").symlink_to(folder / "private")
        (das / "etc").symlink_to("/etc")
        (das / "loop").symlink_to("loop")
        (das / "gone").symlink_to("nowhere")
        (das / "same").symlink_to("a/f.fit.gz")
        for path in ("file", "up/", "up/private/secret", "private/secret", "etc/passwd", "etc/", "loop", "gone"):
            assert raw_get(base, f"/made/das/{path}")[0] == 404, path
        assert httpx.get(f"{base}/das/same").status_code == 200
        assert read_index(f"{base}/das/", httpx.get(f"{base}/das/").content).keys() == {"a", "same"}

    def test_tree_that_is_a_link(self, base: str, folder: Path) -> None:
        (folder / "truth" / "t.parquet").unlink()
        (folder / "truth" / "a").rmdir()
        (folder / "truth").rmdir()
        (folder / "truth").symlink_to(folder / "private")
        assert raw_get(base, "/made/truth/secret")[0] == 404

    def test_pipes(self, base: str, folder: Path) -> None:
        os.mkfifo(folder / "das" / "pipe")
        assert httpx.get(f"{base}/das/pipe", timeout=5).status_code == 404
        assert "pipe" not in httpx.get(f"{base}/das/").text


class TestIndex:
    def test_as_apache_makes_it(self, base: str) -> None:
        answer = httpx.get(f"{base}/das/a/")
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "<title>Index of /made/das/a</title>" in answer.text
        assert '<a href="f.fit.gz">f.fit.gz</a>' in answer.text
        assert re.search(r"<td>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d</td><td>\d+</td>", answer.text)
        assert answer.text.endswith("</html>\n")

    def test_slash_is_added(self, base: str) -> None:
        for path in ("/das", "/das/a"):
            answer = httpx.get(base + path)
            assert (answer.status_code, answer.headers["location"]) == (301, f"/made{path}/")

    def test_odd_names(self, base: str, folder: Path) -> None:
        names = ["<b>&\"'.fits", "a b%20c", "http:x", "?C=N", "#x", "ünï", ".hidden", "é" * 100]
        for name in names:
            (folder / "das" / "a" / name).touch()
        (folder / "das" / "a" / os.fsdecode(b"not-utf8-\xff")).touch()
        (folder / "das" / "a" / "sub dir").mkdir()
        answer = httpx.get(f"{base}/das/a/")
        assert "<b>" not in answer.text
        assert read_index(f"{base}/das/a/", answer.content).keys() >= {*names, "sub dir"}
        assert httpx.get(f"{base}/das/a/%3Cb%3E&%22'.fits").status_code == 200
        assert httpx.get(f"{base}/das/a/sub%20dir").headers["location"] == "/made/das/a/sub%20dir/"

    def test_empty_folder(self, base: str) -> None:
        assert read_index(f"{base}/sas/none/", httpx.get(f"{base}/truth/a/").content) == {}


class TestRegistry:
    def test_changes_are_seen(self, tmp_path: Path, folder: Path) -> None:
        with serving(tmp_path / "registry.json") as server:
            assert httpx.get(f"{server.url}/healthz").json() == {"status": "ok", "archives": []}
            server.add("one", folder)
            server.add("two", folder)
            assert httpx.get(f"{server.url}/healthz").json() == {"status": "ok", "archives": ["one", "two"]}
            assert httpx.get(f"{server.url}/two/sas/a/f.fits.bz2").content == BODY
            server.registry.write_text("{}")
            assert httpx.get(f"{server.url}/two/sas/a/f.fits.bz2").status_code == 404

    @pytest.mark.parametrize(
        "content", ["", "[]", "{", '{"A": "/x"}', '{"../x": "/x"}', '{"a": "relative"}', '{"a": 1}', "\x00", None]
    )
    def test_what_is_no_registry(self, tmp_path: Path, content: str | None, capsys: pytest.CaptureFixture[str]) -> None:
        registry = tmp_path / "registry.json"
        if content is not None:
            registry.write_text(content)
        assert main(["--registry", str(registry), "--port", "0"]) == 1
        assert f"registry {registry} cannot be read" in capsys.readouterr().err

    def test_a_folder_that_is_away_is_no_archive_without_frames(self, tmp_path: Path, folder: Path) -> None:
        with serving(tmp_path / "registry.json") as server:
            archive = server.add("one", folder)
            away = folder.rename(tmp_path / "away")
            answer = httpx.get(f"{archive.sas}/a/f.fits.bz2")
            assert (answer.status_code, "is not there now" in answer.text) == (503, True)
            away.rename(folder)
            assert httpx.get(f"{archive.sas}/a/f.fits.bz2").content == BODY

    def test_breaks_while_serving(self, tmp_path: Path, folder: Path) -> None:
        with serving(tmp_path / "registry.json") as server:
            server.add("one", folder)
            good = server.registry.read_text()
            server.registry.write_text("{")
            answer = httpx.get(f"{server.url}/healthz")
            assert (answer.status_code, "cannot be read" in answer.text) == (503, True)
            server.registry.write_text(good)
            assert httpx.get(f"{server.url}/healthz").status_code == 200


def test_as_a_program(tmp_path: Path, folder: Path) -> None:
    registry = tmp_path / "registry.json"
    registry.write_text(json.dumps({"made": str(folder)}))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "kira.stack.archive_server", "--registry", str(registry), "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        until = time.monotonic() + 20
        while True:
            try:
                answer = httpx.get(f"http://127.0.0.1:{port}/healthz")
                break
            except httpx.ConnectError:
                assert process.poll() is None, process.stderr and process.stderr.read()
                assert time.monotonic() < until
                time.sleep(0.05)
        assert answer.json()["archives"] == ["made"]
        # On every address, 127.0.0.2 would answer too.
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.2:{port}/healthz")
    finally:
        process.terminate()
        process.communicate(timeout=10)
