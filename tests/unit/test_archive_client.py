import gzip
import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from http_servers import ArchiveServer, Behaviour, RudeServer, answer, file

from kira.errors import ArchiveUnavailable, InvalidInput, NotInArchive
from kira.sdss import ALL_RELEASES, FrameId, Release, Selection
from kira.sdss.archive import SDSS, Archive, ArchiveClient, RemoteFile
from kira.sdss.index_page import read_index
from kira.sdss.urls import redirected

FRAME = FrameId.parse("dr12-301-000094-1-0012-r")
PATH = f"/sas/{FRAME.archive_path}"
CAMCOL = f"/sas/{FRAME.folder}/"
RUNS = "/sas/dr12/boss/photoObj/frames/301/"
# Long enough not to fit into the buffers of a connection, so that a cut really comes in the middle.
BODY = b"".join(hashlib.sha256(n.to_bytes(4)).digest() for n in range(20_000))
OTHER = BODY[::-1]
ETAG = {"ETag": '"v1"'}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def client_of(rude: RudeServer) -> Iterator[Callable[..., ArchiveClient]]:
    """Clients of the rude server that do not wait between tries."""
    clients = []

    def make(**settings: float) -> ArchiveClient:
        archive = Archive("rude", das=f"{rude.url}/das", sas=f"{rude.url}/sas")
        clients.append(ArchiveClient(archive, **{"backoff": 0.0, "tries": 4, "timeout": 5.0} | settings))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(client_of: Callable[..., ArchiveClient]) -> ArchiveClient:
    return client_of()


class TestArchive:
    def test_urls(self) -> None:
        assert SDSS.url(FRAME) == f"https://data.sdss.org/sas/{FRAME.archive_path}"
        old = FrameId.parse("dr7-40-004192-4-0300-r")
        assert SDSS.url(old) == "http://das.sdss.org/imaging/4192/40/corr/4/fpC-004192-r4-0300.fit.gz"

    def test_slash_at_the_end_is_removed(self) -> None:
        archive = Archive("a", das="http://x/das/", sas="https://x:8443/sas//")
        assert (archive.das, archive.sas) == ("http://x/das", "https://x:8443/sas")

    @pytest.mark.parametrize("name", ["", "-a", "A", "a_b", "a/b", "..", "a" * 41, "a\n", "é", "٣"])
    def test_names_that_do_not_fit_into_a_key(self, name: str) -> None:
        with pytest.raises(InvalidInput, match="name an archive"):
            Archive(name, das="http://x", sas="http://x")

    @pytest.mark.parametrize(
        "url",
        [
            "", "x", "/das", "ftp://x/das", "ftp://x:21/das",
            "file:///etc/passwd", "http://", "http:///das", "http://x/a b", "http://x/\n",
            "http://x:port/", "http://x:99999/", "http://x/?a=b", "http://x/?", "http://x/#a", "http://x/#",
            "http://u:p@x/", "http://u@x/", "http://@x/", "http://[::1/", "http://é/", "http://x:0/",
            pytest.param("http://" + "x" * 70_000, id="long"),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("service", ["das", "sas"])
    def test_urls_that_are_no_base(self, url: str, service: str) -> None:
        with pytest.raises(InvalidInput):
            Archive("a", **{"das": "http://x", "sas": "http://x", service: url})

    @pytest.mark.parametrize("url", ["http://user:secret@x/", "ftp://user:secret@x/", "http://user:secret@[x/"])
    def test_credentials_are_not_repeated(self, url: str) -> None:
        with pytest.raises(InvalidInput, match="credentials") as caught:
            Archive("a", das=url, sas="http://x")
        assert "secret" not in str(caught.value)


class TestDownload:
    def test_whole(self, rude: RudeServer, client: ArchiveClient) -> None:
        rude.on(PATH, file(BODY, ETag='"v1"', Last_Modified="Mon, 01 Jan 2024 00:00:00 GMT"))
        got = client.download(FRAME)
        assert (got.content, got.sha256) == (BODY, sha256(BODY))
        assert (got.frame, got.url) == (FRAME, rude.url + PATH)
        assert (got.etag, got.last_modified) == ('"v1"', "Mon, 01 Jan 2024 00:00:00 GMT")
        assert (got.attempts, got.resumed) == (1, 0)
        assert got.seconds > 0
        assert len(repr(got)) < 1000
        [(method, _, headers)] = rude.seen
        assert method == "GET"
        assert headers["accept-encoding"] == "identity"
        assert headers["user-agent"].startswith("kira/")
        assert "range" not in headers

    def test_empty_file_is_not_judged(self, rude: RudeServer, client: ArchiveClient) -> None:
        rude.on(PATH, answer(200))
        assert client.download(FRAME).content == b""

    def test_from_another_url(self, rude: RudeServer, client: ArchiveClient) -> None:
        rude.on("/elsewhere/x.bz2", answer(200, b"x"))
        assert client.download(FRAME, url=rude.url + "/elsewhere/x.bz2").url == rude.url + "/elsewhere/x.bz2"

    @pytest.mark.parametrize("url", ["ftp://x/y", "file:///etc/passwd", "http://a:b@x/", "http://[/", ""])
    def test_from_what_is_no_url(self, client: ArchiveClient, url: str) -> None:
        with pytest.raises(InvalidInput):
            client.download(FRAME, url=url)

    @pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "br"])
    def test_packed_files_stay_packed(self, rude: RudeServer, client: ArchiveClient, encoding: str) -> None:
        packed = gzip.compress(BODY)
        rude.on(PATH, answer(200, packed, Content_Encoding=encoding))
        assert client.download(FRAME).content == packed

    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
    def test_busy_twice_then_well(self, rude: RudeServer, client: ArchiveClient, status: int) -> None:
        rude.on(PATH, answer(status), answer(status), file(BODY))
        got = client.download(FRAME)
        assert (got.sha256, got.attempts, got.resumed) == (sha256(BODY), 3, 0)
        assert len(rude.seen) == 3

    @pytest.mark.parametrize("status", [404, 410])
    def test_not_there_is_asked_once(self, rude: RudeServer, client: ArchiveClient, status: int) -> None:
        rude.on(PATH, answer(status, b"<html>no</html>"))
        with pytest.raises(NotInArchive, match=FRAME.file_name):
            client.download(FRAME)
        assert len(rude.seen) == 1

    def test_broken_for_ever(self, rude: RudeServer, client: ArchiveClient) -> None:
        rude.on(PATH, answer(500))
        with pytest.raises(ArchiveUnavailable, match="4 tries; at last status 500"):
            client.download(FRAME)
        assert len(rude.seen) == 4

    @pytest.mark.parametrize(
        ("status", "text"), [(401, "refuses access"), (403, "refuses access"), (400, "status 400"), (204, "status 204"),
                             (300, "status 300"), (304, "status 304"), (416, "status 416"), (451, "status 451")],
    )  # fmt: skip
    def test_refusals_are_final(self, rude: RudeServer, client: ArchiveClient, status: int, text: str) -> None:
        rude.on(PATH, answer(status))
        with pytest.raises(ArchiveUnavailable, match=text):
            client.download(FRAME)
        assert len(rude.seen) == 1

    def test_nobody_answers(self) -> None:
        gone = Archive("gone", "http://127.0.0.1:9", "http://127.0.0.1:9")
        with (
            ArchiveClient(gone, tries=2, backoff=0) as client,
            pytest.raises(ArchiveUnavailable, match="2 tries; at last ConnectError"),
        ):
            client.download(FRAME)

    @pytest.mark.timeout(120)  # not an hour
    def test_retry_after_is_honoured_within_bounds(
        self, rude: RudeServer, client_of: Callable[..., ArchiveClient]
    ) -> None:
        in_an_hour = formatdate(time.time() + 3600, usegmt=True)
        for asked in ("3600", in_an_hour):
            rude.on(PATH, answer(429, Retry_After=asked), file(BODY))
            got = client_of(longest_wait=0.2).download(FRAME)
            assert got.seconds >= 0.2

    @pytest.mark.timeout(120)  # not 1e9 seconds
    @pytest.mark.parametrize("asked", ["soon", "-5", "1e9", "Mon, 99 Foo 2024", formatdate(0, usegmt=True), ""])
    def test_retry_after_that_says_nothing(self, rude: RudeServer, client: ArchiveClient, asked: str) -> None:
        rude.on(PATH, answer(503, Retry_After=asked), file(BODY))
        assert client.download(FRAME).attempts == 2


class TestResume:
    @pytest.mark.parametrize(
        "headers", [ETAG, {"Last_Modified": "Mon, 01 Jan 2024 00:00:00 GMT"},
                    {"ETag": 'W/"weak"', "Last_Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}]
    )  # fmt: skip
    @pytest.mark.parametrize("reset", [False, True])
    def test_goes_on_where_it_broke(
        self, rude: RudeServer, client: ArchiveClient, headers: dict[str, str], reset: bool
    ) -> None:
        rude.on(PATH, file(BODY, stop=300_000, reset=reset, **headers), file(BODY, **headers))
        got = client.download(FRAME)
        assert (got.content, got.sha256) == (BODY, sha256(BODY))
        assert got.attempts == 2
        sent = rude.seen[1][2]
        if reset and "range" not in sent:  # a reset may overtake the first bytes
            return
        assert got.resumed == 1
        assert sent["if-range"] == headers.get("Last_Modified", '"v1"')
        begin = int(sent["range"].removeprefix("bytes=").removesuffix("-"))
        assert 0 < begin <= 300_000 if reset else begin == 300_000

    def test_three_times(self, rude: RudeServer, client: ArchiveClient) -> None:
        rude.on(PATH, *(file(BODY, stop=stop, **ETAG) for stop in (1, 100_000, 639_999)), file(BODY, **ETAG))
        got = client.download(FRAME)
        assert (got.sha256, got.attempts, got.resumed) == (sha256(BODY), 4, 3)

    def test_busy_in_between_loses_nothing(self, rude: RudeServer, client: ArchiveClient) -> None:
        rude.on(PATH, file(BODY, stop=1000, **ETAG), answer(503), file(BODY, **ETAG))
        got = client.download(FRAME)
        assert (got.sha256, got.attempts, got.resumed) == (sha256(BODY), 3, 1)

    def test_gone_in_between(self, rude: RudeServer, client: ArchiveClient) -> None:
        rude.on(PATH, file(BODY, stop=1000, **ETAG), answer(404))
        with pytest.raises(NotInArchive):
            client.download(FRAME)

    @pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"weak"'}, {"ETag": '"ü"'}])
    def test_nothing_to_resume_by(self, rude: RudeServer, client: ArchiveClient, headers: dict[str, str]) -> None:
        rude.on(PATH, file(BODY, stop=1000, **headers), file(BODY, **headers))
        got = client.download(FRAME)
        assert (got.sha256, got.attempts, got.resumed) == (sha256(BODY), 2, 0)
        assert "range" not in rude.seen[1][2]

    def test_server_without_ranges(self, rude: RudeServer, client: ArchiveClient) -> None:
        rude.on(PATH, file(BODY, stop=1000, **ETAG), answer(200, BODY, **ETAG))
        got = client.download(FRAME)
        assert (got.sha256, got.attempts, got.resumed) == (sha256(BODY), 2, 0)
        assert "range" in rude.seen[1][2]

    def test_changed_meanwhile(self, rude: RudeServer, client: ArchiveClient) -> None:
        rude.on(PATH, file(BODY, stop=1000, ETag='"v1"'), file(OTHER, ETag='"v2"'))
        got = client.download(FRAME)
        assert (got.content, got.sha256, got.etag) == (OTHER, sha256(OTHER), '"v2"')
        assert (got.attempts, got.resumed) == (2, 0)

    @pytest.mark.parametrize(
        ("status", "headers"),
        [
            (206, {"ETag": '"v2"', "Content_Range": f"bytes 1000-{len(BODY) - 1}/{len(BODY)}"}),  # If-Range ignored
            (206, {"ETag": '"v1"', "Content_Range": f"bytes 1000-{len(BODY)}/{len(BODY) + 1}"}),
            (206, {"ETag": '"v1"', "Content_Range": f"bytes 999-{len(BODY) - 1}/{len(BODY)}"}),
            (206, {"ETag": '"v1"', "Content_Range": "nonsense"}),
            (206, {"ETag": '"v1"'}),
            (416, {}),
        ],
    )
    def test_a_rest_that_does_not_belong_is_thrown_away(
        self, rude: RudeServer, client: ArchiveClient, status: int, headers: dict[str, str]
    ) -> None:
        rude.on(PATH, file(BODY, stop=1000, **ETAG), answer(status, OTHER[1000:], **headers), file(OTHER, ETag='"v2"'))
        got = client.download(FRAME)
        assert (got.sha256, got.attempts, got.resumed) == (sha256(OTHER), 3, 0)
        assert "range" not in rude.seen[2][2]

    def test_part_that_nobody_asked_for(self, rude: RudeServer, client: ArchiveClient) -> None:
        rude.on(PATH, answer(206, BODY[:10], Content_Range=f"bytes 0-9/{len(BODY)}"))
        with pytest.raises(ArchiveUnavailable, match="does not belong"):
            client.download(FRAME)

    @pytest.mark.parametrize("headers", [{}, ETAG])
    def test_announced_length_never_comes(
        self, rude: RudeServer, client: ArchiveClient, headers: dict[str, str]
    ) -> None:
        rude.on(PATH, answer(200, BODY, length=len(BODY) + 1, **headers))
        with pytest.raises(ArchiveUnavailable, match="4 tries"):
            client.download(FRAME)
        assert len(rude.seen) == 4

    def test_rest_is_too_short(self, rude: RudeServer, client: ArchiveClient) -> None:
        short = answer(206, BODY[1000:2000], **ETAG, Content_Range=f"bytes 1000-1999/{len(BODY)}")
        rude.on(PATH, file(BODY, stop=1000, **ETAG), short, file(BODY, **ETAG))
        got = client.download(FRAME)
        assert (got.sha256, got.attempts) == (sha256(BODY), 3)


class TestRedirects:
    def test_to_another_host(self, rude: RudeServer, client: ArchiveClient) -> None:
        rude.on(PATH, answer(302, Location=f"http://elsewhere.example{PATH}"))
        with pytest.raises(ArchiveUnavailable, match=r"another host \(elsewhere.example\)"):
            client.download(FRAME)
        assert len(rude.seen) == 1

    @pytest.mark.parametrize("login", ["/login", "/login?next=" + PATH, "/", "https://127.0.0.1:1/sso/login.html"])
    def test_to_a_login_page(self, rude: RudeServer, client: ArchiveClient, login: str) -> None:
        rude.on(PATH, answer(302, Location=login))
        rude.on("/login", answer(200, b"<html>who are you?</html>"))
        with pytest.raises(ArchiveUnavailable, match="login page"):
            client.download(FRAME)
        assert rude.paths == [PATH]

    def test_to_the_same_file(self, rude: RudeServer, client: ArchiveClient) -> None:
        moved = f"/moved/{FRAME.file_name}"
        rude.on(PATH, answer(301, Location=moved))
        rude.on(moved, file(BODY, stop=1000, **ETAG), file(BODY, **ETAG))
        got = client.download(FRAME)
        assert (got.sha256, got.resumed, got.url) == (sha256(BODY), 1, rude.url + PATH)

    def test_in_a_circle(self, rude: RudeServer, client: ArchiveClient) -> None:
        rude.on(PATH, answer(301, Location=PATH))
        with pytest.raises(ArchiveUnavailable, match="circle"):
            client.download(FRAME)
        assert len(rude.seen) == 6

    @pytest.mark.parametrize("location", ["http://[", "ftp://127.0.0.1/x", "http://127.0.0.1:port/x", "//"])
    def test_to_nonsense(self, rude: RudeServer, client: ArchiveClient, location: str) -> None:
        rude.on(PATH, answer(302, Location=location))
        with pytest.raises(ArchiveUnavailable):
            client.download(FRAME)

    def test_encryption_may_be_gained_but_not_lost(self) -> None:
        assert redirected("http://x/a/f", "https://x/a/f") == "https://x/a/f"
        with pytest.raises(ArchiveUnavailable):
            redirected("https://x/a/f", "http://x/a/f")


def trickle(body: bytes, *, step: int = 10, pause: float = 0.02) -> Behaviour:
    """Send a body drop by drop, until the client has enough of it."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        for name, value in {"Content-Length": str(len(body)), **ETAG}.items():
            handler.send_header(name, value)
        handler.end_headers()
        for at in range(0, len(body), step):
            handler.wfile.write(body[at : at + step])
            time.sleep(pause)

    return behave


class TestLimits:
    def test_no_sign_of_life(self, rude: RudeServer, client_of: Callable[..., ArchiveClient]) -> None:
        rude.on(PATH, answer(200, BODY, pause=1.0), file(BODY))
        got = client_of(timeout=0.2).download(FRAME)
        assert (got.sha256, got.attempts) == (sha256(BODY), 2)

    def test_trickle(self, rude: RudeServer, client_of: Callable[..., ArchiveClient]) -> None:
        rude.on(PATH, trickle(BODY), file(BODY, **ETAG))
        got = client_of(deadline=0.2).download(FRAME)
        assert (got.sha256, got.attempts, got.resumed) == (sha256(BODY), 2, 1)

    @pytest.mark.parametrize("framed", [True, False])
    def test_longer_than_any_frame(
        self, rude: RudeServer, client_of: Callable[..., ArchiveClient], framed: bool
    ) -> None:
        rude.on(PATH, answer(200, BODY, framed=framed))
        with pytest.raises(ArchiveUnavailable, match="longer than"):
            client_of(max_bytes=len(BODY) - 1).download(FRAME)
        assert len(rude.seen) == 1
        assert client_of(max_bytes=len(BODY)).download(FRAME).content == BODY

    @pytest.mark.parametrize("connections", [1, 3])
    def test_connections_at_a_time_over_all_threads(
        self, rude: RudeServer, client_of: Callable[..., ArchiveClient], connections: int
    ) -> None:
        frames = [FrameId.parse(f"dr12-301-000094-1-{n:04d}-r") for n in range(11, 27)]
        for number, frame in enumerate(frames):
            rude.on(f"/sas/{frame.archive_path}", answer(200, bytes([number]) * 1000, pause=0.05))
        client = client_of(connections=connections)
        with ThreadPoolExecutor(16) as pool:
            got = list(pool.map(client.download, frames))
        assert [d.content for d in got] == [bytes([n]) * 1000 for n in range(len(frames))]
        assert all(d.attempts == 1 for d in got)
        assert len(rude.seen) == len(frames)
        assert rude.most == connections

    def test_waiting_for_a_connection_is_no_failure(
        self, rude: RudeServer, client_of: Callable[..., ArchiveClient]
    ) -> None:
        rude.on(PATH, trickle(BODY[:100], pause=0.05))
        client = client_of(connections=1, timeout=0.25)
        with ThreadPoolExecutor(2) as pool:
            got = list(pool.map(client.download, [FRAME] * 2))
        assert [d.attempts for d in got] == [1, 1]
        assert max(d.seconds for d in got) > 0.75


class TestHead:
    def test_described(self, rude: RudeServer, client: ArchiveClient) -> None:
        rude.on(PATH, answer(503), answer(200, BODY, ETag='"v1"', Last_Modified="then"))
        assert client.head(FRAME) == RemoteFile(len(BODY), "then", '"v1"')
        assert [method for method, _, _ in rude.seen] == ["HEAD", "HEAD"]

    def test_says_nothing(self, rude: RudeServer, client: ArchiveClient) -> None:
        rude.on(PATH, answer(200, framed=False))
        assert client.head(FRAME) == RemoteFile(None, None, None)

    def test_not_there(self, client: ArchiveClient) -> None:
        with pytest.raises(NotInArchive):
            client.head(FRAME)


def page(*names: str) -> bytes:
    links = "".join(f'<a href="{name}">{name}</a>\n' for name in names)
    return f'<html><body><pre><a href="../">../</a>\n{links}</pre></body></html>\n'.encode()


class TestList:
    def test_real_archive(self, archive_server: ArchiveServer, shared_sdss: Path) -> None:
        with ArchiveClient(archive_server.add("real", shared_sdss)) as client:
            old = list(client.list_frames(Selection.parse("dr7")))
            new = list(client.list_frames(Selection.parse("dr12")))
            got = client.download(new[0])
            said = client.head(new[0])
        assert [str(f) for f in old] == [f"dr7-40-004192-4-0300-{b}" for b in "giruz"] + ["dr7-40-005754-3-0280-r"]
        assert [str(f) for f in new] == [
            *(f"dr12-301-000094-1-0012-{b}" for b in "giruz"), "dr12-301-000094-1-0131-g", "dr12-301-002583-2-0136-r",
        ]  # fmt: skip
        there = (shared_sdss / "sas" / new[0].archive_path).read_bytes()
        assert (got.content, got.sha256, got.attempts) == (there, sha256(there), 1)
        assert said == RemoteFile(len(there), got.last_modified, got.etag)

    @pytest.mark.parametrize(
        ("texts", "count"),
        [
            ({"runs": "94"}, 6), ({"runs": "94", "bands": "r,g"}, 3), ({"fields": "130-140"}, 2), ({"camcols": "2"}, 1),
            ({"runs": "1-90000"}, 7), ({"runs": "94", "camcols": "3"}, 0), ({"runs": "95"}, 0), ({"runs": "0"}, 0),
        ],
    )  # fmt: skip
    def test_selections(
        self, archive_server: ArchiveServer, shared_sdss: Path, texts: dict[str, str], count: int
    ) -> None:
        with ArchiveClient(archive_server.add("real", shared_sdss)) as client:
            assert len(list(client.list_frames(Selection.parse("dr12", **texts)))) == count

    @pytest.mark.parametrize("runs", ["", "94"])
    def test_release_that_is_not_there(self, archive_server: ArchiveServer, shared_sdss: Path, runs: str) -> None:
        with (
            ArchiveClient(archive_server.add("real", shared_sdss)) as client,
            pytest.raises(NotInArchive, match="has no dr13"),
        ):
            list(client.list_frames(Selection.parse("dr13", runs=runs)))

    def test_releases_that_are_there(self, archive_server: ArchiveServer, shared_sdss: Path) -> None:
        with ArchiveClient(archive_server.add("real", shared_sdss)) as client:
            assert [r.number for r in ALL_RELEASES if client.has_release(r)] == [1, 2, 3, 4, 5, 6, 7, 12]

    def test_release_is_not_missing_because_nobody_answers(self, rude: RudeServer, client: ArchiveClient) -> None:
        rude.on("/das/imaging/", answer(503))
        with pytest.raises(ArchiveUnavailable):
            client.has_release(Release(7))

    def test_goes_straight_to_what_is_asked_for(self, rude: RudeServer, client: ArchiveClient) -> None:
        rude.on(CAMCOL, answer(200, page(FRAME.file_name)))
        selection = Selection.parse("dr12", runs="94, 97", camcols="1-2")
        assert list(client.list_frames(selection)) == [FRAME]
        assert rude.paths == [f"{RUNS}{run}/{camcol}/" for run in (94, 97) for camcol in (1, 2)]

    def test_many_runs_are_listed_once(self, rude: RudeServer, client: ArchiveClient) -> None:
        rude.on(RUNS.removesuffix("301/"), answer(200, page("301/")))
        rude.on(RUNS, answer(200, page("94/", "1000/", "97/", "094/", "readme/", "0/", "1.5/", "8000/")))
        assert list(client.list_frames(Selection.parse("dr12", runs="90-1010", camcols="1"))) == []
        assert rude.paths == [RUNS, *(f"{RUNS}{run}/1/" for run in (94, 97, 1000)), RUNS.removesuffix("301/")]

    def test_only_exact_file_names_count(self, rude: RudeServer, client: ArchiveClient) -> None:
        others = [
            "frame-r-000094-1-0012.fits", "frame-irg-000094-1-0012.jpg", "frame-r-000094-1-0012.fits.bz2.sha1sum",
            "frame-r-000095-1-0013.fits.bz2", "frame-r-000094-2-0013.fits.bz2", "Frame-r-000094-1-0013.fits.bz2",
            "frame-r-94-1-0013.fits.bz2", "frame-x-000094-1-0013.fits.bz2", "frame-r-000094-1-0013.fits.bz2~",
            "fpC-000094-r1-0013.fit.gz", "frame-r-000094-1-0013.fits.gz", "sub/frame-r-000094-1-0013.fits.bz2",
            "?C=N;O=D", "https://elsewhere.example/frame-r-000094-1-0013.fits.bz2", "/frame-r-000094-1-0013.fits.bz2",
        ]  # fmt: skip
        rude.on(CAMCOL, answer(200, page(*others, FRAME.file_name)))
        assert list(client.list_frames(Selection.parse("dr12", runs="94-95", camcols="1-2"))) == [FRAME]

    def test_order(self, rude: RudeServer, client: ArchiveClient) -> None:
        frames = [FrameId.parse(f"dr12-301-000094-1-{f:04d}-{b}") for f in (11, 12, 100, 1000) for b in "giruz"]
        rude.on(CAMCOL, answer(200, page(*(f.file_name for f in reversed(frames)))))
        assert list(client.list_frames(Selection.parse("dr12", runs="94", camcols="1"))) == frames

    def test_highest_rerun_with_frames_wins(self, archive_server: ArchiveServer, tmp_path: Path) -> None:
        folder = tmp_path / "das" / "imaging"
        for rerun, inside in ((40, "corr/1"), (41, "corr/1"), (41, "corr/2"), (44, "objcs/1"), (157, "corr/1")):
            (folder / "4192" / str(rerun) / inside).mkdir(parents=True)
        (folder / "4192/44/corr").mkdir()
        for rerun in (40, 41, 157):
            (folder / f"4192/{rerun}/corr/1/fpC-004192-r1-0300.fit.gz").touch()
        (folder / "4192/41/corr/2/fpC-004192-r2-0300.fit.gz").touch()
        (folder / "5000/40/corr/1").mkdir(parents=True)
        (folder / "5000/40/corr/1/fpC-005000-u1-0011.fit.gz").touch()
        with ArchiveClient(archive_server.add("made", tmp_path)) as client:
            for runs in ("", "4192, 5000"):
                frames = [str(f) for f in client.list_frames(Selection.parse("dr7", runs=runs))]
                assert frames == ["dr7-41-004192-1-0300-r", "dr7-41-004192-2-0300-r", "dr7-40-005000-1-0011-u"]
            assert [f.camcol for f in client.list_frames(Selection.parse("dr7", runs="4192", camcols="2"))] == [2]

    @pytest.mark.parametrize(
        "half",
        [
            answer(200, page(FRAME.file_name)[:-10]),
            answer(200, page(FRAME.file_name)[:-10], framed=False),
            answer(200, page(FRAME.file_name)[:-10], length=len(page(FRAME.file_name))),
            answer(200, page(FRAME.file_name), length=len(page(FRAME.file_name)) + 1),
            answer(200, b""),
            answer(200, b"<html><form>Please log in: <a href='/register'>new?</a></form></html>"),
            answer(503),
        ],
    )
    def test_half_a_page_is_no_page(self, rude: RudeServer, client: ArchiveClient, half: Behaviour) -> None:
        selection = Selection.parse("dr12", runs="94", camcols="1")
        rude.on(CAMCOL, half, answer(200, page(FRAME.file_name)))
        assert list(client.list_frames(selection)) == [FRAME]
        rude.on(CAMCOL, half)
        with pytest.raises(ArchiveUnavailable, match=f"{CAMCOL}: no proper answer in 4 tries"):
            list(client.list_frames(selection))
        assert len(rude.seen) == 2 + 4


class TestIndexPages:
    URL = "https://x/sas/94/1/"

    def test_apache(self) -> None:
        text = """<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN"><html><head><title>Index of /sas/94/1</title>
        </head><body><h1>Index of /sas/94/1</h1><table><tr><th><img src="/icons/blank.gif"></th>
        <th><a href="?C=N;O=D">Name</a></th><th><a href="?C=M;O=A">Last modified</a></th></tr>
        <tr><td><a href="/sas/94/">Parent Directory</a></td></tr>
        <tr><td><a href="a%20b.fits">a b.fits</a></td><td align="right">2.2M</td></tr>
        <tr><td><A HREF="sub/">sub/</A></td></tr></table><address>Apache/2.4 Port 80</address></BODY></HTML>"""
        assert read_index(self.URL, text.encode()).keys() == {"a b.fits", "sub"}

    def test_nginx(self) -> None:
        text = """<html>\r\n<head><title>Index of /sas/94/1/</title></head>\r\n<body><h1>Index of /sas/94/1/</h1><hr>
        <pre><a href="../">../</a>\r\n<a href="f1.fits">f1.fi..&gt;</a> 01-Jan-2015 00:00  123\r\n</pre>
        <hr></body></html>"""
        assert read_index(self.URL, text.encode()).keys() == {"f1.fits"}

    def test_fancyindex(self) -> None:
        text = """<html><body><table id="list"><thead><tr><th><a href="?C=N&amp;O=A">File Name</a></th></tr></thead>
        <tbody><tr><td class="link"><a href="../">Parent directory/</a></td></tr><tr><td class="link">
        <a href="f1.fits" title="f1.fits">f1.fits</a></td><td>3.1 MiB</td></tr></tbody></table></body></html>"""
        assert read_index(self.URL, text.encode()).keys() == {"f1.fits"}

    def test_absolute_links(self) -> None:
        text = "".join(
            f"<a href='{target}'>x</a>"
            for target in (
                "/sas/94/1/a", "https://x/sas/94/1/b", "./c", "//x/sas/94/1/d/", "/sas/94/2/n1", "https://y/sas/94/1/n2",
                "../1/e", "../2/n3", "n4/n5", "f?n6", "g#n7", "mailto:n8@x", "javascript:n9", "/sas/94/1/", ".", "..",
                "%2e%2e", "n10%2Fn11", "http://[", "%2e%2e%2fn12",
            )
        )  # fmt: skip
        assert read_index(self.URL, f"<html>{text}</html>".encode()).keys() == {"a", "b", "c", "d", "e"}

    def test_empty_folder(self) -> None:
        assert read_index(self.URL, page()) == {}


class TestListFromRunList:
    LIST = (
        b"""typedef struct {
        int run; char rerun[]; int exist; int done; int calib; int startfield; int endfield;
    } RUNDATA;
    """.replace(b"; int", b";\nint").replace(b"; char", b";\nchar")
        + b"RUNDATA 94 301 1 1 1 11 12\n"
    )

    def test_frames_that_should_exist(self, rude: RudeServer, client: ArchiveClient) -> None:
        rude.on("/sas/dr12/boss/photo/redux/runList.par", answer(503), answer(200, self.LIST))
        frames = list(client.list_from_run_list(Selection.parse("dr12", camcols="1", bands="r")))
        assert [str(f) for f in frames] == ["dr12-301-000094-1-0011-r", "dr12-301-000094-1-0012-r"]

    def test_no_list(self, client: ArchiveClient) -> None:
        with pytest.raises(NotInArchive):
            list(client.list_from_run_list(Selection.parse("dr12")))

    def test_das_has_none(self, client: ArchiveClient) -> None:
        with pytest.raises(InvalidInput, match=r"dr7 has no runList.par"):
            list(client.list_from_run_list(Selection.parse("dr7")))
