import hashlib
import logging
import os
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from http_servers import ArchiveServer, RudeServer, answer

from kira.errors import ArchiveUnavailable, InvalidInput, NotInArchive
from kira.sdss import FrameId, Release, Selection
from kira.sdss.archive import Archive, ArchiveClient
from kira.sdss.index_page import IndexEntry, read_index
from kira.sdss.listing import Folder, Listed, in_order, read_checksums
from kira.sdss.runlist import folders_from_run_list, read_run_list

FRAME = FrameId.parse("dr12-301-000094-1-0012-r")
ROOT = "/sas/dr12/boss/photoObj/frames/301/"
URL = "https://x/sas/94/1/"


@pytest.fixture
def client(rude: RudeServer) -> Iterator[ArchiveClient]:
    archive = Archive("rude", das=f"{rude.url}/das", sas=f"{rude.url}/sas")
    with ArchiveClient(archive, backoff=0.0, tries=3, timeout=5.0) as client:
        yield client


def page(*names: str, rest: str = "") -> bytes:
    rows = "".join(f'<a href="{name}">{name}</a> {rest}\n' for name in names)
    return f'<html><body><pre><a href="../">../</a>\n{rows}</pre></body></html>\n'.encode()


class TestIndexPages:
    def test_apache_table(self) -> None:
        text = """<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN">
        <html><body><h1>Index of /sas/94/1</h1><table>
        <tr><th valign="top"><img src="/icons/blank.gif" alt="[ICO]"></th><th><a href="?C=N;O=D">Name</a></th>
        <th><a href="?C=M;O=A">Last modified</a></th><th><a href="?C=S;O=A">Size</a></th></tr>
        <tr><td valign="top"><img src="/icons/back.gif"></td><td><a href="/sas/94/">Parent Directory</a></td>
        <td>&nbsp;</td><td align="right">  - </td><td>&nbsp;</td></tr>
        <tr><td valign="top"><img src="/icons/unknown.gif"></td><td><a href="f1.fits.bz2">f1.fits.bz2</a></td>
        <td align="right">2012-06-28 13:45  </td><td align="right">2.2M</td><td>&nbsp;</td></tr>
        <tr><td valign="top"><a href="f2"><img src="/icons/unknown.gif"></a></td><td><a href="f2">f2</a></td>
        <td align="right">2012-06-28 13:46  </td>
        <td align="right">980 </td><td>Release 12 of 2015</td></tr>
        <tr><td><a href="sub/">sub/</a></td><td align="right">2012-06-28 13:47  </td><td align="right">  - </td></tr>
        </table><address>Apache/2.4 Server at x Port 443</address></body></html>"""
        assert read_index(URL, text.encode()) == {
            "f1.fits.bz2": IndexEntry("2.2M", "2012-06-28 13:45"),
            "f2": IndexEntry("980", "2012-06-28 13:46"),
            "sub": IndexEntry("", "2012-06-28 13:47"),
        }

    def test_apache_lines(self) -> None:
        text = """<html><body><h1>Index of /sas/94/1</h1><pre><img src="/icons/blank.gif" alt="Icon "> \
<a href="?C=N;O=D">Name</a>   <a href="?C=M;O=A">Last modified</a>      <a href="?C=S;O=A">Size</a><hr>\
<img src="/icons/back.gif" alt="[DIR]"> <a href="/sas/94/">Parent Directory</a>            -
<img src="/icons/unknown.gif"> <a href="f1.fits.bz2">f1.fits.bz2</a>   28-Jun-2012 13:45  2.2M
<img src="/icons/unknown.gif"> <a href="f2.fits.bz2">f2.fits.bz2</a>
<hr></pre><address>Apache/2.2.3 Server 2013-01-01 00:00 at x Port 80</address></body></html>"""
        assert read_index(URL, text.encode()) == {
            "f1.fits.bz2": IndexEntry("2.2M", "28-Jun-2012 13:45"),
            "f2.fits.bz2": IndexEntry(),
        }

    def test_nginx(self) -> None:
        text = (
            '<html>\r\n<body><hr><pre><a href="../">../</a>\r\n'
            '<a href="f1.fits">f1.fi..&gt;</a>      01-Jan-2015 00:00        2318745\r\n'
            '<a href="sub/">sub/</a>      01-Jan-2015 00:00              -\r\n</pre><hr></body></html>'
        )
        assert read_index(URL, text.encode()) == {
            "f1.fits": IndexEntry("2318745", "01-Jan-2015 00:00"),
            "sub": IndexEntry("", "01-Jan-2015 00:00"),
        }

    def test_fancyindex(self) -> None:
        text = """<html><body><table id="list"><tbody><tr><td class="link"><a href="../">Parent directory/</a></td>
        <td class="size">-</td><td class="date">-</td></tr><tr><td class="link">
        <a href="f1.fits" title="f1.fits">f1.fits</a></td><td class="size">3.1 MiB</td>
        <td class="date">2015-Jan-01 00:00</td></tr></tbody></table></body></html>"""
        assert read_index(URL, text.encode()) == {"f1.fits": IndexEntry("3.1 MiB", "2015-Jan-01 00:00")}

    def test_names_that_look_like_dates_and_sizes(self) -> None:
        text = page("2015-01-01 00:00", "980", "2.2M", rest="")
        assert set(read_index(URL, text).values()) == {IndexEntry()}

    def test_the_stack_s_own(self, archive_server: ArchiveServer, tmp_path: Path) -> None:
        folder = tmp_path / "sas" / FRAME.folder
        folder.mkdir(parents=True)
        file = folder / FRAME.file_name
        file.write_bytes(b"x" * 123)
        os.utime(file, (1_435_000_000, 1_435_000_000))
        with ArchiveClient(archive_server.add("own", tmp_path)) as client:
            [first] = client.folders(Selection.parse("dr12"))
            assert first.listed == (Listed(FRAME, "123", "2015-06-22 19:06:40"),)
            os.utime(file, (1_435_000_001, 1_435_000_001))
            [second] = client.folders(Selection.parse("dr12"))
        assert second.listed[0].changed_since(first.listed[0].fingerprint)
        assert second.digest != first.digest


class TestListed:
    def test_fingerprint(self) -> None:
        assert Listed(FRAME).fingerprint == ""
        assert Listed(FRAME, "1", "2015-01-01 00:00", "ab").fingerprint == "size=1 date=2015-01-01 00:00 sha1=ab"
        assert len(Listed(FRAME, "9" * 99, "d" * 99, "a" * 99).fingerprint) <= 120

    @pytest.mark.parametrize(
        ("before", "now", "changed"),
        [
            (("1", "d", "a"), ("1", "d", "a"), False),
            (("1", "d", "a"), ("2", "d", "a"), True),
            (("1", "d", "a"), ("1", "e", "a"), True),
            (("1", "d", "a"), ("1", "d", "b"), True),
            (("1", "d", ""), ("1", "d", "b"), False),  # checksums were published meanwhile
            (("1", "d", "a"), ("1", "d", ""), False),  # or cannot be read today
            (("", "", ""), ("1", "d", "a"), False),
            (("1", "2015-01-01 00:00", ""), ("1", "2015-01-01 00:01", ""), True),
        ],
    )
    def test_changed_since(self, before: tuple[str, str, str], now: tuple[str, str, str], changed: bool) -> None:
        assert Listed(FRAME, *now).changed_since(Listed(FRAME, *before).fingerprint) is changed

    def test_digest(self) -> None:
        def folder(*listed: Listed, camcol: int = 1) -> Folder:
            return Folder(Release(12), 94, 301, camcol, listed)

        other = FrameId.parse("dr12-301-000094-1-0012-i")
        folders = [
            folder(), folder(camcol=2), folder(Listed(FRAME)), folder(Listed(other)), folder(Listed(FRAME, "1")),
            folder(Listed(FRAME, date="1")), folder(Listed(FRAME), Listed(other)),
        ]  # fmt: skip
        assert len({f.digest for f in folders}) == len(folders)
        assert folder(Listed(FRAME, "1")).digest == folders[4].digest


class TestFolders:
    def test_order_and_threads(self, rude: RudeServer, client: ArchiveClient) -> None:
        runs = range(90, 110)
        rude.on(ROOT, answer(200, page(*(f"{run}/" for run in reversed(runs)))))
        for run in runs:
            rude.on(f"{ROOT}{run}/", answer(200, page("2/", "1/"), pause=0.01))
            for camcol in (1, 2):
                name = f"frame-r-{run:06d}-{camcol}-0011.fits.bz2"
                rude.on(f"{ROOT}{run}/{camcol}/", answer(200, page(name), pause=0.03 * (run % 3)))
        folders = list(client.folders(Selection.parse("dr12"), threads=4))
        assert [(f.run, f.camcol, f.rerun) for f in folders] == [(run, c, 301) for run in runs for c in (1, 2)]
        assert all(len(f.listed) == 1 and f.listed[0].frame.run == f.run for f in folders)
        assert 1 < rude.most <= 4
        assert [f.listed[0].frame for f in folders] == list(client.list_frames(Selection.parse("dr12")))

    def test_reads_few_folders_ahead(self, rude: RudeServer, client: ArchiveClient) -> None:
        rude.on(ROOT, answer(200, page(*(f"{run}/" for run in range(1, 1001)))))
        for run in range(1, 1001):
            rude.on(f"{ROOT}{run}/1/", answer(200, page(f"frame-r-{run:06d}-1-0011.fits.bz2")))
        folders = client.folders(Selection.parse("dr12", camcols="1"), threads=4)
        assert next(folders).run == 1
        time.sleep(0.2)
        assert len(rude.seen) <= 1 + 1 + 8
        folders.close()

    def test_missing_and_empty_folders(self, rude: RudeServer, client: ArchiveClient) -> None:
        rude.on(f"{ROOT}94/1/", answer(200, page()))
        rude.on(f"{ROOT}94/3/", answer(200, page("frame-r-000094-3-0011.fits.bz2")))
        folders = list(client.folders(Selection.parse("dr12", runs="94", camcols="1-3", bands="g")))
        assert [(f.camcol, f.listed) for f in folders] == [(1, ()), (3, ())]

    def test_no_release(self, client: ArchiveClient) -> None:
        with pytest.raises(NotInArchive, match="has no dr12"):
            list(client.folders(Selection.parse("dr12")))

    def test_one_bad_page_is_no_empty_folder(self, rude: RudeServer, client: ArchiveClient) -> None:
        for camcol in (1, 2, 3):
            rude.on(f"{ROOT}94/{camcol}/", answer(200, page(f"frame-r-000094-{camcol}-0011.fits.bz2")))
        rude.on(f"{ROOT}94/2/", answer(200, page()[:-10]))
        folders = client.folders(Selection.parse("dr12", runs="94", camcols="1-3"))
        assert next(folders).camcol == 1
        with pytest.raises(ArchiveUnavailable, match="94/2/: no proper answer in 3 tries"):
            next(folders)

    def test_real_archive(self, archive_server: ArchiveServer, shared_sdss: Path) -> None:
        with ArchiveClient(archive_server.add("real", shared_sdss)) as client:
            folders = list(client.folders(Selection.parse("dr12")))
        assert [(f.run, f.camcol, len(f.listed)) for f in folders] == [(94, 1, 6), (2583, 2, 1)]
        for listed in (one for f in folders for one in f.listed):
            assert int(listed.size) == (shared_sdss / "sas" / listed.frame.archive_path).stat().st_size
            assert listed.date


class TestInOrder:
    @pytest.mark.parametrize("threads", [1, 2, 5])
    def test_results_as_the_items(self, threads: int) -> None:
        def slow_if_even(n: int) -> int:
            time.sleep(0.005 * (n % 2 == 0))
            return n * n

        assert list(in_order(slow_if_even, range(50), threads)) == [n * n for n in range(50)]

    @pytest.mark.parametrize("threads", [1, 3])
    def test_error_comes_where_it_belongs(self, threads: int) -> None:
        results = in_order(lambda n: 1 // n, [1, 1, 0, 1], threads)
        assert [next(results), next(results)] == [1, 1]
        with pytest.raises(ZeroDivisionError):
            next(results)

    def test_abandoned(self) -> None:
        """Work that nobody waits for any more is not begun."""
        begun, lock = [], threading.Lock()

        def work(n: int) -> int:
            with lock:
                begun.append(n)
            time.sleep(0.02)
            return n

        results = in_order(work, range(1000), 2)
        next(results)
        results.close()
        time.sleep(0.2)
        assert len(begun) <= 5


class TestRunList:
    def test_whole_survey_folder_by_folder(self, shared_sdss: Path) -> None:
        runs = read_run_list((shared_sdss / "lists" / "runList-dr10.par").read_text())
        frames = folders = 0
        for folder in folders_from_run_list(runs, Selection.parse("dr12")):
            frames += len(folder.listed)
            folders += 1
        assert (frames, folders) == (4_690_230, 4_590)

    def test_one_folder_at_a_time_in_memory(self, shared_sdss: Path) -> None:
        runs = read_run_list((shared_sdss / "lists" / "runList-dr10.par").read_text())
        tracemalloc.start()
        frames = sum(len(f.listed) for f in folders_from_run_list(runs, Selection.parse("dr12", runs="94-200")))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert frames > 30_000
        assert peak < 10e6


SHA1 = {name: hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest() for name in ("a", "b")}


class TestReadChecksums:
    def test_forms(self) -> None:
        text = f"# made by sha1sum\n\n{SHA1['a']}  a\r\n{SHA1['b'].upper()} *301/94/1/b\n{SHA1['a']}  ./a\n"
        assert read_checksums(text) == SHA1
        assert read_checksums("") == {}

    @pytest.mark.parametrize(
        "text",
        [
            f"{SHA1['a']}  a", f"{SHA1['a']}  a\n{SHA1['b'][:20]}\n", f"{SHA1['a']}\n", f"{SHA1['a'][1:]}  a\n",
            f"{SHA1['a']}  a\n{SHA1['b']}  a\n", f"x{SHA1['a'][1:]}  a\n", "<html>not found</html>\n",
            f"{SHA1['a']}  a/\n", f"{SHA1['a']}  /\n",
        ],
    )  # fmt: skip
    def test_half_or_broken(self, text: str) -> None:
        with pytest.raises(InvalidInput):
            read_checksums(text)


class TestChecksums:
    FOLDER = f"{ROOT}94/1/"
    NAMES = ("frame-g-000094-1-0012.fits.bz2", FRAME.file_name)
    TEXT = "".join(f"{SHA1['a']}  {name}\n" for name in NAMES)

    @pytest.fixture
    def listed(self, rude: RudeServer, client: ArchiveClient) -> Callable[[], list[Listed]]:
        rude.on(self.FOLDER, answer(200, page(*self.NAMES, "frames-94-1.sha1sum")))
        selection = Selection.parse("dr12", runs="94", camcols="1")
        return lambda: [one for folder in client.folders(selection) for one in folder.listed]

    def test_published(self, rude: RudeServer, listed: Callable[[], list[Listed]]) -> None:
        rude.on(f"{self.FOLDER}frames-94-1.sha1sum", answer(503), answer(200, self.TEXT.encode()))
        assert [one.sha1 for one in listed()] == [SHA1["a"]] * 2

    def test_some_frames_have_none(self, rude: RudeServer, listed: Callable[[], list[Listed]]) -> None:
        rude.on(f"{self.FOLDER}frames-94-1.sha1sum", answer(200, self.TEXT.splitlines(keepends=True)[0].encode()))
        assert [one.sha1 for one in listed()] == [SHA1["a"], ""]

    @pytest.mark.parametrize(
        "behaviour",
        [
            answer(404), answer(503), answer(403), answer(200, TEXT[:-5].encode()), answer(200, b"\xff\xfe"),
            answer(200, TEXT[:20].encode() + b"\n"), answer(200, TEXT.encode(), length=1000),
            answer(200, b"<html>Please log in</html>\n"),
        ],
    )  # fmt: skip
    def test_broken_is_one_warning_and_no_checksum(
        self, rude: RudeServer, listed: Callable[[], list[Listed]], behaviour: Callable[..., None],
        caplog: pytest.LogCaptureFixture,
    ) -> None:  # fmt: skip
        rude.on(f"{self.FOLDER}frames-94-1.sha1sum", behaviour)
        with caplog.at_level(logging.WARNING, logger="kira.sdss.archive"):
            assert [(one.frame.band, one.sha1) for one in listed()] == [("g", ""), ("r", "")]
        [said] = [r.getMessage() for r in caplog.records if r.name == "kira.sdss.archive"]
        assert "frames-94-1.sha1sum: the published checksums are not used: " in said
        assert "\n" not in said

    def test_one_for_each_frame_is_not_read(self, rude: RudeServer, client: ArchiveClient) -> None:
        rude.on(self.FOLDER, answer(200, page(*self.NAMES, *(f"{name}.sha1sum" for name in self.NAMES))))
        list(client.folders(Selection.parse("dr12", runs="94", camcols="1")))
        assert rude.paths == [self.FOLDER]
