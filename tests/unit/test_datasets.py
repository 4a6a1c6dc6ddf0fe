"""The published data sets: their lists, and how they are fetched, resumed and proven."""

import bz2
import gzip
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from http_servers import ArchiveServer, RudeServer, answer, file

from kira.cli import main
from kira.datasets import LISTS, DataSet, Stretch, known_data_sets, open_data_set, read_data_set
from kira.datasets import make as maker
from kira.datasets.fetch import Result, State, fetch, problems_file
from kira.datasets.index import INDEX, Index
from kira.errors import InvalidInput, KiraError, NotInArchive
from kira.sdss import FrameId, Release
from kira.sdss.archive import Archive, ArchiveClient
from kira.sdss.beside import Kind, path_beside

COUNTS = {"tiny": 4, "small": 2_310, "medium": 11_150, "large": 176_938}
DR7, DR12 = Release(7), Release(12)
PAIR = DataSet("pair", DR7, (Stretch(4192, 40, 4, 300, 301, ("r", "i")),))
NEWEST = DataSet("newest", DR7, (Stretch(745, None, 2, 11, 12, ("r",)),))


def frame_bytes(text: str) -> bytes:
    """A whole file that could be a frame: FITS blocks of its own, packed."""
    return gzip.compress(b"SIMPLE  =".ljust(2880) + hashlib.sha256(text.encode()).digest() * 90, mtime=0)


def frames_of(data_set: DataSet, rerun: int = 40) -> list[FrameId]:
    return [s.frame(data_set.release, rerun, *place) for s in data_set.stretches for place in s.places()]


def path_of(frame: FrameId) -> str:
    return f"{frame.release.service}/{frame.archive_path}"


def beside_of(frame: FrameId, *kinds: Kind) -> list[str]:
    """Paths of what lies beside a frame to DR7, under its server's URL."""
    paths = (path_beside(frame, kind) for kind in kinds or (Kind.TSFIELD, Kind.PSFIELD, Kind.FPM))
    return [f"/{frame.release.service}/{path}" for path in paths]


def plain_bytes(text: str) -> bytes:
    return gzip.decompress(frame_bytes(text))


def index_page(*names: str) -> bytes:
    links = "".join(f'<a href="{name}">{name}</a>\n' for name in names)
    return f"<html><head><title>Index of x</title></head><body>{links}</body></html>".encode()


class TestPublished:
    def test_counts(self) -> None:
        found = known_data_sets()
        assert {one.name: one.count for one in found} == COUNTS
        assert [one.name for one in found] == list(COUNTS)
        assert all(one.release == DR7 for one in found)

    @pytest.mark.parametrize("name", COUNTS)
    def test_made_again_from_the_run_list(self, shared_sdss: Path, name: str) -> None:
        made = {one.name: one for one in maker.make((shared_sdss / "lists" / "runList-dr10.par").read_text())}
        assert (LISTS / f"{name}.txt").read_text() == made[name].text()
        assert open_data_set(name) == made[name]

    @pytest.mark.parametrize("name", COUNTS)
    def test_no_frame_twice_and_in_canonical_form(self, name: str) -> None:
        names = list(open_data_set(name).names())
        assert len(names) == len(set(names)) == COUNTS[name]
        # Of one rerun or another, a frame is one piece of sky in one band.
        assert len({text.split("-", 2)[2] for text in names}) == COUNTS[name]
        for text in islice(names, 0, None, 97):
            assert str(FrameId.parse(text.replace("*", "40"))) == text.replace("*", "40")

    def test_each_begins_the_next(self) -> None:
        small, medium, large = (open_data_set(name) for name in ("small", "medium", "large"))
        assert list(small.names()) == list(islice(medium.names(), small.count))
        assert list(medium.names()) == list(islice(large.names(), medium.count))

    def test_the_tiny_one_is_what_the_tests_have(self, shared_sdss: Path) -> None:
        frames = [FrameId.parse(name) for name in open_data_set("tiny").names()]
        plain = sum(len(gzip.decompress((shared_sdss / path_of(one)).read_bytes())) for one in frames)
        assert plain == open_data_set("tiny").expected_bytes[1] == 4 * 6_108_480

    def test_short(self) -> None:
        assert sum(path.stat().st_size for path in LISTS.glob("*.txt")) < 200_000

    def test_command_of_the_maker(self, shared_sdss: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert maker.main([str(shared_sdss / "lists" / "runList-dr10.par"), str(tmp_path)]) == 0
        assert {path.name for path in tmp_path.iterdir()} == {f"{name}.txt" for name in COUNTS}
        assert maker.main([str(tmp_path / "none"), str(tmp_path)]) == 1
        assert maker.main([]) == 2
        assert "No such file" in capsys.readouterr().err

    def test_run_lists_that_do_not_do(self) -> None:
        head = "typedef struct {\n" + "".join(
            f"int {name};\n" for name in ("run", "rerun", "exist", "done", "calib", "startfield", "endfield")
        )
        row = "RUNDATA 4192 301 1 1 1 11 503\n"
        with pytest.raises(InvalidInput, match="frames too few"):
            maker.make(head + "} RUNDATA;\n" + row)
        with pytest.raises(InvalidInput, match="does not have run 4192"):
            maker.make(head + "} RUNDATA;\n" + row.replace(" 301 ", " 157 "))


class TestText:
    def test_back_and_forth(self) -> None:
        for one in (PAIR, NEWEST, replace(PAIR, rule=("first", "second"))):
            assert read_data_set(one.text()) == one

    def test_how_it_is_cut_into_stretches_does_not_count(self) -> None:
        parts = tuple(replace(PAIR.stretches[0], first=n, last=n) for n in (300, 301))
        assert replace(PAIR, stretches=parts).sha256 == PAIR.sha256
        lines = "".join(f"dr7-40-004192-4-{field:04d}-{band}\n" for field in (300, 301) for band in "ri")
        assert hashlib.sha256(lines.encode()).hexdigest() == PAIR.sha256

    def test_comments_blank_lines_and_line_ends(self) -> None:
        text = PAIR.text().replace("\n", "\r\n").replace("# columns", "# a remark\r\n\r\n# columns")
        assert read_data_set(text) == PAIR

    @pytest.mark.parametrize(
        "line",
        [
            "4192 40 4 302", "4192 40 4 302-303", "4192 40 7 302-302 r", "4192 40 0 302-302 r", "4192 40 4 303-302 r",
            "4192 40 4 302-302 ", "4192 40 4 302-302 x", "4192 40 4 302-302 ir", "4192 40 4 302-302 rr", "0 40 4 1-1 r",
            "4192 40 4 302-99999 r", "4192 40 4 -302 r", "4192 40 4 302-302 r # why", "4192 ** 4 302-302 r",
            "4192 45 4 302-302 r", "4192 301 4 302-302 r", "1000000 40 4 302-302 r", "４192 40 4 302-302 r",
            "../../etc/passwd", "4192 40 4 302-302 r\x00", "\x1b[31m", "4192 40 4 301-305 r", "4192 41 4 300-300 i",
            "4192 * 4 300-300 r", "x" * 100_000, "4192 40 4 302-302 r; rm -rf /",
        ],
    )  # fmt: skip
    def test_hostile_lines(self, line: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            read_data_set(PAIR.text() + line + "\n")
        assert len(str(caught.value)) < 400
        assert str(caught.value).isprintable()

    @pytest.mark.parametrize(
        ("old", "new", "sentence"),
        [
            ("# name: pair\n", "", "no line '# name"),
            ("# name: pair", "# name: Pair/..", "cannot name a data set"),
            ("# name: pair", "# name: pair\n# name: other", "two of 'name'"),
            ("release: dr7", "release: dr99", "no SDSS data release 99"),
            ("release: dr7", "release: dr12", "the reruns of dr12 are 301"),
            ("frames: 4", "frames: 5", "has 4 frames where its header says '5'"),
            ("frames: 4", "frames: four", "where its header says 'four'"),
            (PAIR.sha256, "0" * 64, "it was edited"),
            ("300-301", "301-302", "it was edited"),
            ("4192 40 4 300-301 ri\n", "", "0 frames are none"),
        ],
    )
    def test_header_that_does_not_hold(self, old: str, new: str, sentence: str) -> None:
        assert old in PAIR.text()
        with pytest.raises(InvalidInput, match=sentence):
            read_data_set(PAIR.text().replace(old, new))

    def test_newest_rerun_from_dr8_on(self) -> None:
        with pytest.raises(InvalidInput, match="from dr8 on there is one rerun; write 301"):
            DataSet("x", DR12, (Stretch(94, None, 1, 12, 12, ("r",)),))

    def test_more_than_the_survey(self) -> None:
        many = "".join(f"{run} 40 {camcol} 0-9999 ugriz\n" for run in range(1, 100) for camcol in range(1, 7))
        with pytest.raises(InvalidInput, match="more than 10,000,000 frames"):
            read_data_set(PAIR.text() + many)

    @pytest.mark.parametrize(
        "name", ["none", "../tiny", "", "a b", "/", "Tiny", "x/y.txt", "a\x00.txt", "a" * 300 + ".txt"]
    )
    def test_names(self, name: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            open_data_set(name)
        assert str(caught.value).isprintable()

    def test_files(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.txt"
        path.write_text(PAIR.text())
        assert open_data_set(str(path)) == PAIR
        with pytest.raises(InvalidInput, match="calls itself pair"):
            open_data_set("mine", tmp_path)
        path.write_bytes(b"\xff\xfe")
        with pytest.raises(InvalidInput, match="no text"):
            open_data_set(str(path))
        path.write_bytes(b"#" * (16 * 2**20 + 1))
        with pytest.raises(InvalidInput, match="longer than"):
            open_data_set(str(path))


@pytest.fixture
def client(rude: RudeServer) -> Iterator[ArchiveClient]:
    archive = Archive("rude", das=f"{rude.url}/das", sas=f"{rude.url}/sas")
    with ArchiveClient(archive, backoff=0.0, tries=3, timeout=5.0) as made:
        yield made


@pytest.fixture
def served(rude: RudeServer) -> RudeServer:
    """A rude server that has the frames of both data sets with what lies beside them, and listens."""
    for frame in frames_of(PAIR) + frames_of(NEWEST, 41):
        rude.on(f"/{path_of(frame)}", file(frame_bytes(str(frame)), ETag='"1"'))
        for path in beside_of(frame):
            rude.on(path, file(plain_bytes(path)))
    rude.on("/das/imaging/745/", answer(body=index_page("../", "40/", "41/", "157/")))
    for rerun in (40, 41):
        rude.on(f"/das/imaging/745/{rerun}/corr/", answer(body=index_page("../", "2/")))
    return rude


def asked(server: RudeServer) -> list[str]:
    """Frames that were asked for since last time."""
    paths = [path for path in server.paths if "fpC" in path]
    server.seen.clear()
    return paths


def run(client: ArchiveClient, folder: Path, data_set: DataSet = PAIR, threads: int = 1) -> Result:
    result = fetch(data_set, client, folder, threads=threads)
    assert result.done == data_set.count
    assert not list(folder.rglob("*.part"))
    return result


class TestFetch:
    @pytest.mark.usefixtures("served")
    def test_into_the_layout_of_the_archive(self, client: ArchiveClient, tmp_path: Path) -> None:
        result = run(client, tmp_path, threads=4)
        assert result.good
        assert result.counts == {State.FETCHED: 4}
        for frame in frames_of(PAIR):
            assert (tmp_path / path_of(frame)).read_bytes() == frame_bytes(str(frame))
        packed = sum(len(frame_bytes(str(one))) for one in frames_of(PAIR))
        assert result.bytes == result.new_bytes == packed + 8 * 5760
        assert result.plain_bytes == 12 * 5760
        assert result.sentence == "4 of 4 frames are there and whole. So are 8 of 8 files beside them."

    def test_again_asks_for_nothing(self, served: RudeServer, client: ArchiveClient, tmp_path: Path) -> None:
        run(client, tmp_path)
        served.seen.clear()
        again = run(client, tmp_path)
        assert (again.counts, again.new_bytes, served.seen) == ({State.PROVEN: 4}, 0, [])

    def test_goes_on_where_it_was_stopped(self, served: RudeServer, client: ArchiveClient, tmp_path: Path) -> None:
        def stop(result: Result) -> None:
            if result.done == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fetch(PAIR, client, tmp_path, threads=1, progress=stop)
        assert len(asked(served)) == 2
        assert run(client, tmp_path).counts == {State.PROVEN: 2, State.FETCHED: 2}
        assert len(asked(served)) == 2

    def test_killed_between_a_frame_and_its_record(
        self, served: RudeServer, client: ArchiveClient, tmp_path: Path
    ) -> None:
        run(client, tmp_path)
        index = tmp_path / INDEX
        lines = index.read_bytes().splitlines(keepends=True)
        index.write_bytes(b"".join(lines[:6]) + lines[6][:30])  # two frames, and the four files beside them
        served.seen.clear()
        again = run(client, tmp_path)
        assert again.counts == {State.PROVEN: 2, State.FOUND: 2}
        assert again.beside == {State.PROVEN: 4, State.FOUND: 4}
        assert asked(served) == []
        paths = [json.loads(line)["path"] for line in index.read_text().splitlines()]
        assert [path for path in paths if "fpC" in path] == [path_of(one) for one in frames_of(PAIR)]
        assert len(paths) == len(set(paths)) == 12
        assert run(client, tmp_path).counts == {State.PROVEN: 4}

    def test_cut_connection_is_taken_up(self, served: RudeServer, client: ArchiveClient, tmp_path: Path) -> None:
        first = frames_of(PAIR)[0]
        body = frame_bytes(str(first))
        served.on(f"/{path_of(first)}", file(body, stop=len(body) // 2, ETag='"1"'), file(body, ETag='"1"'))
        assert run(client, tmp_path).good
        ranges = [headers.get("range") for _, path, headers in served.seen if path == f"/{path_of(first)}"]
        assert ranges == [None, f"bytes={len(body) // 2}-"]

    @pytest.mark.parametrize("recorded", [True, False])
    @pytest.mark.parametrize("how", ["flip", "cut", "empty", "page"])
    def test_damaged_on_disk(
        self, served: RudeServer, client: ArchiveClient, tmp_path: Path, how: str, recorded: bool
    ) -> None:
        run(client, tmp_path)
        frame = frames_of(PAIR)[1]
        path = tmp_path / path_of(frame)
        content = path.read_bytes()
        middle = len(content) // 2
        damaged = {
            "flip": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "cut": content[:-9], "empty": b"", "page": b"<html>",
        }  # fmt: skip
        path.write_bytes(damaged[how])
        if not recorded:
            (tmp_path / INDEX).unlink()
        asked(served)
        result = run(client, tmp_path)
        assert result.good
        assert result.counts[State.REPLACED] == 1
        assert asked(served) == [f"/{path_of(frame)}"]
        assert path.read_bytes() == content

    @pytest.mark.usefixtures("served")
    def test_whole_but_another_file_than_was_fetched(self, client: ArchiveClient, tmp_path: Path) -> None:
        run(client, tmp_path)
        first, second = (tmp_path / path_of(one) for one in frames_of(PAIR)[:2])
        first.write_bytes(second.read_bytes())
        assert run(client, tmp_path).counts == {State.REPLACED: 1, State.PROVEN: 3}

    def test_missing_and_corrupt_are_named(self, served: RudeServer, client: ArchiveClient, tmp_path: Path) -> None:
        missing, corrupt, torn, _ = frames_of(PAIR)
        served.on(f"/{path_of(missing)}", answer(404))
        served.on(f"/{path_of(corrupt)}", file(frame_bytes("x")[:-5]))
        served.on(f"/{path_of(torn)}", answer(body=b"<html>one"), answer(body=b"<html>other"))
        result = run(client, tmp_path)
        assert not result.good
        assert [(one.frame, one.state) for one in result.bad] == [
            (str(missing), State.MISSING), (str(corrupt), State.CORRUPT), (str(torn), State.UNAVAILABLE)
        ]  # fmt: skip
        assert result.sentence == (
            "1 of 4 frames are there and whole; 1 not in the archive; 1 damaged in the archive; "
            "1 the archive did not answer. So are 3 of 3 files beside them."
        )
        told = [json.loads(line) for line in problems_file(PAIR, tmp_path).read_text().splitlines()]
        assert [line["frame"] for line in told] == [str(missing), str(corrupt), str(torn)]
        assert "fetched twice" in told[1]["reason"]
        assert not (tmp_path / path_of(corrupt)).exists()
        for frame in (missing, corrupt, torn):
            served.on(f"/{path_of(frame)}", file(frame_bytes(str(frame))))
        assert run(client, tmp_path).good
        assert not problems_file(PAIR, tmp_path).exists()

    def test_archive_that_stops_to_answer_is_left_alone(
        self, rude: RudeServer, client: ArchiveClient, tmp_path: Path
    ) -> None:
        many = DataSet("many", DR7, (Stretch(4192, 40, 4, 1, 40, ("r",)),))
        for frame in frames_of(many):
            rude.on(f"/{path_of(frame)}", answer(503))
        result = run(client, tmp_path, many)
        assert result.counts == {State.UNAVAILABLE: 10, State.NOT_TRIED: 30}
        assert len(asked(rude)) == 30  # three tries each
        assert len(problems_file(many, tmp_path).read_text().splitlines()) == 40

    def test_published_checksum(self, served: RudeServer, client: ArchiveClient, tmp_path: Path) -> None:
        frames = frames_of(PAIR)
        folder = f"/das/{frames[0].folder}/"
        sums = [hashlib.sha1(frame_bytes(str(one))).hexdigest() for one in frames[:3]] + ["0" * 40]  # noqa: S324
        text = "".join(f"{sha1}  {one.file_name}\n" for sha1, one in zip(sums, frames, strict=True))
        served.on(folder, answer(body=index_page("../", "all.sha1sum", *(one.file_name for one in frames))))
        served.on(f"{folder}all.sha1sum", answer(body=text.encode()))
        result = run(client, tmp_path)
        assert result.counts == {State.FETCHED: 3, State.CORRUPT: 1}
        assert f"the archive's own checksum file says {'0' * 40}" in result.bad[0].reason
        assert served.paths.count(folder) == served.paths.count(f"{folder}all.sha1sum") == 1

    def test_listing_that_fails_costs_no_frame(self, served: RudeServer, client: ArchiveClient, tmp_path: Path) -> None:
        served.on(f"/das/{frames_of(PAIR)[0].folder}/", answer(403))
        assert run(client, tmp_path).good

    def test_checksums_that_could_not_be_asked_for_once(
        self, served: RudeServer, client: ArchiveClient, tmp_path: Path
    ) -> None:
        first, *_, last = frames_of(PAIR)
        page = answer(body=index_page("../", "all.sha1sum", first.file_name, last.file_name))
        served.on(f"/das/{first.folder}/", *[answer(503)] * 3, page)  # three tries
        text = f"{'1' * 40}  {first.file_name}\n{'0' * 40}  {last.file_name}\n"
        served.on(f"/das/{first.folder}/all.sha1sum", answer(body=text.encode()))
        result = run(client, tmp_path)
        assert [(one.frame, one.state) for one in result.bad] == [(str(last), State.CORRUPT)]

    def test_checksums_that_never_come_are_asked_for_ten_times(
        self, rude: RudeServer, client: ArchiveClient, tmp_path: Path
    ) -> None:
        many = DataSet("many", DR7, (Stretch(4192, 40, 4, 1, 40, ("r",)),))
        for frame in frames_of(many):
            rude.on(f"/{path_of(frame)}", file(frame_bytes(str(frame))))
        folder = f"/das/{frames_of(many)[0].folder}/"
        rude.on(folder, answer(503))
        assert run(client, tmp_path, many, threads=2).good
        assert rude.paths.count(folder) == 30


class TestBeside:
    """What extraction takes beside a frame: without it a catalogue is another one."""

    def test_comes_with_the_frames(self, served: RudeServer, client: ArchiveClient, tmp_path: Path) -> None:
        result = run(client, tmp_path, threads=4)
        assert (result.good, result.beside) == (True, {State.FETCHED: 8})
        paths = sorted({path for frame in frames_of(PAIR) for path in beside_of(frame)})
        for path in paths:
            assert (tmp_path / path[1:]).read_bytes() == plain_bytes(path)
        # A field's files are asked for once, though two frames want them.
        assert sorted(path for path in served.paths if "/corr/" not in path) == paths
        served.seen.clear()
        again = run(client, tmp_path, threads=4)
        assert (again.beside, again.new_bytes, served.seen) == ({State.PROVEN: 8}, 0, [])

    @pytest.mark.usefixtures("served")
    def test_a_folder_that_has_frames_alone(self, client: ArchiveClient, tmp_path: Path) -> None:
        alone = fetch(PAIR, client, tmp_path, threads=1, kinds=())
        assert (alone.good, alone.beside) == (True, {})
        assert alone.sentence == "4 of 4 frames are there and whole."
        result = run(client, tmp_path)
        assert (result.counts, result.beside) == ({State.PROVEN: 4}, {State.FETCHED: 8})

    def test_what_is_missing_is_told_and_no_failure(
        self, served: RudeServer, client: ArchiveClient, tmp_path: Path
    ) -> None:
        first = frames_of(PAIR)[0]
        tsfield, mask = beside_of(first, Kind.TSFIELD, Kind.FPM)
        served.on(tsfield, answer(404))
        served.on(mask, file(b"no FITS"))
        result = run(client, tmp_path)
        assert result.good
        assert result.counts == {State.FETCHED: 4}
        assert result.beside == {State.FETCHED: 6, State.MISSING: 1, State.CORRUPT: 1}
        assert result.sentence.endswith(
            "So are 6 of 8 files beside them; 1 not in the archive; 1 damaged in the archive."
        )
        told = [json.loads(line) for line in problems_file(PAIR, tmp_path).read_text().splitlines()]
        assert [(line["frame"], line["file"], line["state"]) for line in told] == [
            (str(first), tsfield.rpartition("/")[2], State.MISSING),
            (str(first), mask.rpartition("/")[2], State.CORRUPT),
        ]
        assert all(line["reason"] for line in told)
        assert not (tmp_path / mask[1:]).exists()

    def test_what_may_come_later_is_no_end(self, served: RudeServer, client: ArchiveClient, tmp_path: Path) -> None:
        (path,) = beside_of(frames_of(PAIR)[0], Kind.PSFIELD)
        served.on(path, *[answer(503)] * 3, file(b"half"), file(b"other half"), file(plain_bytes(path)))
        for _ in range(2):
            result = run(client, tmp_path)
            assert not result.good
            assert (result.bad, result.beside[State.UNAVAILABLE]) == ([], 1)
        assert "came damaged in two ways" in result.bad_beside[0].reason
        assert run(client, tmp_path).good
        assert not problems_file(PAIR, tmp_path).exists()

    @pytest.mark.usefixtures("served")
    @pytest.mark.parametrize("recorded", [True, False])
    def test_damaged_on_disk(self, client: ArchiveClient, tmp_path: Path, recorded: bool) -> None:
        run(client, tmp_path)
        path = tmp_path / beside_of(frames_of(PAIR)[0], Kind.FPM)[0][1:]
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        if not recorded:
            (tmp_path / INDEX).unlink()
        result = run(client, tmp_path)
        assert result.beside == {State.REPLACED: 1, State.PROVEN if recorded else State.FOUND: 7}
        assert path.read_bytes() == content

    def test_archive_that_never_answers_for_it_is_asked_for_frames_alone(
        self, rude: RudeServer, client: ArchiveClient, tmp_path: Path
    ) -> None:
        many = DataSet("many", DR7, (Stretch(4192, 40, 4, 1, 40, ("r",)),))
        for frame in frames_of(many):
            rude.on(f"/{path_of(frame)}", file(frame_bytes(str(frame))))
            for path in beside_of(frame):
                rude.on(path, answer(503))
        result = run(client, tmp_path, many)
        assert result.counts == {State.FETCHED: 40}
        assert not result.good
        # The tenth is known after the fourth frame, whose last two are asked for as well.
        assert result.beside == {State.UNAVAILABLE: 12, State.NOT_TRIED: 108}

    def test_later_releases(self, rude: RudeServer, client: ArchiveClient, tmp_path: Path) -> None:
        one = DataSet("one", DR12, (Stretch(94, 301, 1, 12, 12, ("r",)),))
        (frame,) = frames_of(one, 301)
        rude.on(f"/{path_of(frame)}", file(bz2.compress(plain_bytes("x"))))
        psfield, mask = beside_of(frame, Kind.PSFIELD, Kind.FPM)
        rude.on(psfield, file(plain_bytes("psField")))
        rude.on(mask, file(frame_bytes("fpM")))
        result = run(client, tmp_path, one)
        assert (result.good, result.beside) == (True, {State.FETCHED: 2})
        assert (tmp_path / mask[1:]).read_bytes() == frame_bytes("fpM")


class TestNewestRerun:
    @pytest.mark.usefixtures("served")
    def test_highest_that_has_frames(self, client: ArchiveClient, tmp_path: Path) -> None:
        assert client.newest_rerun(DR7, 745) == 41
        assert run(client, tmp_path, NEWEST, threads=2).good
        assert (tmp_path / path_of(frames_of(NEWEST, 41)[0])).is_file()

    def test_asked_for_once(self, served: RudeServer, client: ArchiveClient, tmp_path: Path) -> None:
        run(client, tmp_path, NEWEST, threads=4)
        assert served.paths.count("/das/imaging/745/") == 1

    def test_a_run_stays_of_one_rerun(self, served: RudeServer, client: ArchiveClient, tmp_path: Path) -> None:
        run(client, tmp_path, NEWEST)
        served.on("/das/imaging/745/", answer(body=index_page("../", "40/", "41/", "44/")))
        served.on("/das/imaging/745/44/corr/", answer(body=index_page("../", "2/")))
        assert client.newest_rerun(DR7, 745) == 44
        served.seen.clear()
        assert run(client, tmp_path, NEWEST).counts == {State.PROVEN: 2}
        assert served.seen == []

    def test_one_question_without_an_answer_costs_one_frame(
        self, served: RudeServer, client: ArchiveClient, tmp_path: Path
    ) -> None:
        many = DataSet("many", DR7, (Stretch(745, None, 2, 11, 40, ("r",)),))
        for frame in frames_of(many, 41):
            served.on(f"/{path_of(frame)}", file(frame_bytes(str(frame))))
        served.on("/das/imaging/745/", *[answer(503)] * 3, *served.script["/das/imaging/745/"])
        assert run(client, tmp_path, many).counts == {State.UNAVAILABLE: 1, State.FETCHED: 29}

    def test_ten_questions_without_an_answer(self, rude: RudeServer, client: ArchiveClient, tmp_path: Path) -> None:
        many = DataSet("many", DR7, (Stretch(745, None, 2, 11, 40, ("r",)),))
        rude.on("/das/imaging/745/", answer(503))
        assert run(client, tmp_path, many).counts == {State.UNAVAILABLE: 10, State.NOT_TRIED: 20}
        assert rude.paths == ["/das/imaging/745/"] * 30

    @pytest.mark.usefixtures("rude")
    def test_no_such_run(self, client: ArchiveClient, tmp_path: Path) -> None:
        result = run(client, tmp_path, NEWEST)
        assert result.counts == {State.MISSING: 2}
        assert [one.frame for one in result.bad] == ["dr7-*-000745-2-0011-r", "dr7-*-000745-2-0012-r"]
        assert "has no corrected frames of dr7" in result.bad[0].reason
        with pytest.raises(NotInArchive):
            client.newest_rerun(DR7, 745)

    def test_one_rerun_from_dr8_on(self, rude: RudeServer, client: ArchiveClient) -> None:
        assert client.newest_rerun(DR12, 94) == 301
        assert rude.seen == []


class TestIndex:
    def test_one_process_at_a_time(self, tmp_path: Path) -> None:
        with Index(tmp_path), pytest.raises(KiraError, match="Another process is fetching into"):
            Index(tmp_path)
        with Index(tmp_path):
            pass

    @pytest.mark.usefixtures("served")
    @pytest.mark.parametrize(
        "line",
        [b"", b"null", b"[]", b"{}", b"\xff", b'{"path": 1}', b"[" * 100_000,
         b'{"path": "das/x", "size": 1, "sha256": "", "plain_size": 1, "url": ""}',
         b'{"path": "sas/x", "size": "1", "sha256": "", "plain_size": 1, "url": ""}',
         b'{"path": "sas/x", "size": 1, "sha256": "", "plain_size": 1, "url": "", "more": 1}'],
    )  # fmt: skip
    def test_lines_that_are_not_understood(self, client: ArchiveClient, tmp_path: Path, line: bytes) -> None:
        run(client, tmp_path)
        index = tmp_path / INDEX
        index.write_bytes(line + b"\n" + index.read_bytes())
        assert run(client, tmp_path).counts == {State.PROVEN: 4}


class TestCommand:
    @pytest.fixture
    def kira(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> Callable[..., tuple[int, str, str]]:
        monkeypatch.setenv("KIRA_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("COLUMNS", "300")
        monkeypatch.setenv("NO_COLOR", "1")

        def call(*arguments: str) -> tuple[int, str, str]:
            monkeypatch.setattr(sys, "argv", ["kira", "datasets", *arguments])
            with pytest.raises(SystemExit) as ended:
                main()
            return int(ended.value.code or 0), *capsys.readouterr()

        return call

    def test_list_and_show(self, kira: Callable[..., tuple[int, str, str]]) -> None:
        status, out, _ = kira("list")
        assert status == 0
        assert all(name in out and f"{count:,}" in out for name, count in COUNTS.items())
        assert kira("show", "small")[1] == (LISTS / "small.txt").read_text()
        text = kira("show", "small", "--frames")[1]
        assert hashlib.sha256(text.encode()).hexdigest() == open_data_set("small").sha256

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (["show", "none"], "There is no data set none"),
            (["fetch", "none"], "known: large, medium, small, tiny."),
            (["fetch", "tiny", "--archive", "sample"], "an archive is sdss, or a URL"),
            (["fetch", "tiny", "--archive", "http://u:secret@x/"], "the URL has an '@'"),
            (["fetch", "tiny", "--archive", "http://"], "there is no host"),
        ],
    )
    def test_one_sentence(
        self, kira: Callable[..., tuple[int, str, str]], tmp_path: Path, arguments: list[str], sentence: str
    ) -> None:
        status, out, err = kira(*arguments)
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert sentence in err
        assert "secret" not in err
        assert not (tmp_path / "home").exists()

    def test_the_tiny_one_from_an_archive(
        self,
        kira: Callable[..., tuple[int, str, str]],
        archive_server: ArchiveServer,
        shared_sdss: Path,
        tmp_path: Path,
    ) -> None:
        url = archive_server.add("real", shared_sdss).das.removesuffix("/das")
        status, out, _ = kira("fetch", "tiny", "--archive", url)
        assert status == 0
        assert "4 of 4 frames are there and whole" in out
        assert "RELEASE=dr7" in out
        for name in open_data_set("tiny").names():
            path = path_of(FrameId.parse(name))
            assert (tmp_path / "home" / "datasets" / "tiny" / path).read_bytes() == (shared_sdss / path).read_bytes()
            # All that extraction is given beside the frame, so that measured from here it is the same catalogue.
            for beside in beside_of(FrameId.parse(name)):
                copy = tmp_path / "home" / "datasets" / "tiny" / beside[1:]
                assert copy.read_bytes() == (shared_sdss / beside[1:]).read_bytes()
        assert "So are 6 of 6 files beside them." in out
        again = kira("fetch", "tiny", "--archive", url)[1]
        assert "4 there already, by SHA-256; beside them: 6 there already, by SHA-256" in again
        alone = ("fetch", "tiny", "--archive", url, "--profile", "kira", "--to", str(tmp_path / "alone"))
        assert "beside them" not in kira(*alone)[1]

    def test_what_is_not_there_is_named(
        self,
        kira: Callable[..., tuple[int, str, str]],
        archive_server: ArchiveServer,
        shared_sdss: Path,
        tmp_path: Path,
    ) -> None:
        url = archive_server.add("real", shared_sdss).das.removesuffix("/das")
        mine = tmp_path / "mine.txt"
        mine.write_text(DataSet("mine", DR7, (Stretch(4192, 40, 4, 300, 301, ("r",)),)).text())
        status, out, err = kira("fetch", str(mine), "--archive", url, "--to", str(tmp_path / "to"))
        assert status == 1
        assert "dr7-40-004192-4-0301-r" in out
        assert "Data set mine is not whole: 1 of 2 frames are there and whole; 1 not in the archive." in err
        assert (tmp_path / "to" / "mine.problems.jsonl").is_file()
