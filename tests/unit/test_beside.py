"""What lies beside frames: where it is, for which frames it is wanted, and that each file is fetched once."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import cast

import pytest

from kira.errors import ArchiveUnavailable, ChecksumMismatch, CorruptUpstream, InvalidInput
from kira.extraction import Parameters, SurveyProfile
from kira.sdss import BANDS, FrameId
from kira.sdss.archive import Archive, ArchiveClient, Download
from kira.sdss.beside import Kind, path_beside
from kira.stages.beside import Once, _fetch_whole, companions_of, fields_with_reference, missing_of, wanted
from kira.storage import Beside, Entry, Manifest

OLD = FrameId.parse("dr7-40-004192-4-0300-r")
NEW = FrameId.parse("dr12-301-000094-1-0012-r")
ARCHIVE = Archive("a", das="http://x/das", sas="http://x/sas")
SYNTHETIC = replace(ARCHIVE, truth="http://x/truth/")


class TestWhereItLies:
    @pytest.mark.parametrize("kind", [Kind.TSFIELD, Kind.PSFIELD, Kind.FPM])
    def test_beside_a_frame_to_dr7(self, shared_sdss: Path, kind: Kind) -> None:
        path = path_beside(OLD, kind)
        assert path
        assert (shared_sdss / "das" / path).is_file()

    @pytest.mark.parametrize("kind", [Kind.PSFIELD, Kind.PHOTOOBJ])
    def test_beside_a_frame_from_dr8(self, shared_sdss: Path, kind: Kind) -> None:
        path = path_beside(NEW, kind)
        assert path
        assert (shared_sdss / "sas" / path).is_file()

    def test_what_a_release_does_not_have(self) -> None:
        assert path_beside(OLD, Kind.PHOTOOBJ) is None
        assert path_beside(NEW, Kind.TSFIELD) is None

    def test_the_truth_is_of_a_camera_column(self) -> None:
        assert path_beside(NEW, Kind.TRUTH) == "truth-000094-1.parquet"


class TestWhatIsWanted:
    def test_by_the_profile(self) -> None:
        assert Parameters().beside == ()
        assert set(SurveyProfile().beside) == set(Kind)

    def test_urls_keys_and_places(self) -> None:
        (mask,) = wanted(ARCHIVE, NEW, [Kind.FPM])
        path = "dr12/boss/photo/redux/301/94/objcs/1/fpM-000094-r1-0012.fit"
        assert mask == Beside("fpM", f"http://x/sas/{path}.gz", f"a/sas/{path}.gz", f"a/beside/sas/{path}")

    def test_references_are_not_staged(self) -> None:
        found = wanted(SYNTHETIC, NEW, [Kind.PHOTOOBJ, Kind.TRUTH])
        assert [one.staged for one in found] == ["", ""]
        assert found[1].url == "http://x/truth/truth-000094-1.parquet"
        assert found[1].key == "a/truth/truth-000094-1.parquet"

    def test_only_an_archive_of_synthetic_frames_has_the_truth(self) -> None:
        assert wanted(ARCHIVE, NEW, [Kind.TRUTH]) == ()
        with pytest.raises(InvalidInput, match="archive a, truth"):
            Archive("a", das="http://x/das", sas="http://x/sas", truth="ftp://x")

    @pytest.mark.parametrize(("every", "fields"), [(0, []), (1, [11, 12, 13, 14]), (3, [11, 14]), (10, [11])])
    def test_one_field_in_so_many_has_a_reference(self, every: int, fields: list[int]) -> None:
        frames = [replace(NEW, field=f, band=band, camcol=c) for c in (1, 2) for f in range(11, 15) for band in BANDS]
        assert fields_with_reference(frames, every) == {(94, camcol, field) for camcol in (1, 2) for field in fields}


class TestOnce:
    def test_threads_that_ask_meanwhile_wait_for_the_first(self) -> None:
        begun, go = Event(), Event()
        made = []

        def work(key: str) -> str:
            begun.set()
            assert go.wait(10)
            made.append(key)
            return key.upper()

        once = Once(work)
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(once, "a") for _ in range(4)]
            assert begun.wait(10)
            go.set()
            assert [one.result() for one in asked] == ["A"] * 4
        assert made == ["a"]

    def test_all_get_the_exception(self) -> None:
        calls = []

        def work(key: str) -> None:
            calls.append(key)
            raise ValueError(key)

        once = Once(work)
        for _ in range(2):
            with pytest.raises(ValueError, match="a"):
                once("a")
        assert calls == ["a"]


class TestEntries:
    def test_manifests_hold_what_lies_beside(self) -> None:
        beside = (Beside("psField", "u", "k", "s", 1, "a", 2, "b"), Beside("fpM", "u", "k", "s", missing="not there."))
        entry = Entry(NEW, "u", "k", "s", beside=beside)
        manifest = Manifest("b", "a", "dr12", "survey", "plan", "run", (entry,))
        assert Manifest.from_text(manifest.to_text()) == manifest

    def test_manifests_of_before_have_nothing_beside(self) -> None:
        manifest = Manifest("b", "a", "dr12", "survey", "plan", "run", (Entry(NEW, "u", "k", "s"),))
        before = manifest.to_text().replace(', "beside": []', "")
        assert before != manifest.to_text()
        assert Manifest.from_text(before) == manifest

    def test_what_extraction_is_given(self) -> None:
        entry = Entry(NEW, "u", "k", "s", beside=(
            Beside("psField", "u", "k", "psf", 1, "a", 2, "b"),
            Beside("fpM", "u", "k", "mask", missing="fpM is not in the archive."),
            Beside("photoObj", "u", "k", "", missing="photoObj is not in the archive."),
        ))  # fmt: skip
        asked = []

        def read(path: str, sha256: str) -> bytes:
            asked.append((path, sha256))
            return b"content"

        given = companions_of(entry, read)
        assert (given.tsfield, given.psfield, given.mask) == (None, b"content", None)
        assert asked == [("psf", "b")]
        assert missing_of(entry) == ["fpM is not in the archive."]

    def test_what_was_not_mirrored_is_not_used(self) -> None:
        entry = Entry(NEW, "u", "key/psField.fit", "s", beside=(Beside("psField", "u", "key/psField.fit", "psf"),))
        with pytest.raises(ChecksumMismatch, match=r"psField\.fit came to this stage without its SHA-256"):
            companions_of(entry, lambda _path, _sha: b"")


class TestDamage:
    """With answers that no server gives on demand."""

    class Moody:
        """Gives one answer after the other."""

        def __init__(self, *contents: bytes) -> None:
            self.contents = list(contents)

        def download(self, frame: FrameId, *, url: str) -> Download:
            content = self.contents.pop(0)
            sha256 = hashlib.sha256(content).hexdigest()
            return Download(frame, url, content, sha256, None, None, 0.0, 1, 0)

    WANTED = Beside("psField", "http://x/psField.fit", "a/psField.fit", "s")

    def fetched(self, *contents: bytes) -> bytes:
        client = cast("ArchiveClient", self.Moody(*contents))
        return _fetch_whole(client, NEW, self.WANTED)[1]

    def test_the_same_damage_twice_is_the_archive_s(self) -> None:
        with pytest.raises(CorruptUpstream, match="an HTML page"):
            self.fetched(b"<html>log in</html>", b"<html>log in</html>")

    def test_two_kinds_of_damage_may_pass(self) -> None:
        with pytest.raises(ArchiveUnavailable, match="came damaged in two ways"):
            self.fetched(b"<html>back soon 1</html>", b"<html>back soon 2</html>")

    def test_what_came_damaged_and_then_whole_is_whole(self, shared_sdss: Path) -> None:
        whole = (shared_sdss / "sas" / NEW.psfield_path).read_bytes()
        assert self.fetched(whole[:5000], whole) == whole
