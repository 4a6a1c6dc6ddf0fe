import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from kira.errors import InvalidInput
from kira.sdss import ALL_RELEASES, BANDS, FrameId, Release, Service
from kira.sdss.archive import SDSS
from kira.sdss.identifiers import frame_columns

OLD = FrameId(Release(7), 4192, 40, 4, 300, "r")
NEW = FrameId(Release(12), 94, 301, 1, 12, "r")
MODERN = (
    dict.fromkeys(range(8, 13), "boss") | dict.fromkeys(range(13, 18), "eboss") | {18: "prior-surveys/sdss4-dr17-eboss"}
)


def random_frames(count: int) -> list[FrameId]:
    draw = random.Random(2026)
    frames = []
    for _ in range(count):
        release = draw.choice(ALL_RELEASES)
        frames.append(
            FrameId(
                release,
                draw.choice([1, 94, 8162, 999_999, draw.randint(1, 999_999)]),
                draw.choice(release.reruns),
                draw.randint(1, 6),
                draw.choice([0, 11, 9999, draw.randint(0, 9999)]),
                draw.choice(BANDS),
            )
        )
    return frames


class TestUrls:
    @pytest.mark.parametrize("number", range(1, 8))
    def test_das(self, number: int) -> None:
        assert SDSS.url(FrameId(Release(number), 4192, 40, 4, 300, "r")) == (
            "http://das.sdss.org/imaging/4192/40/corr/4/fpC-004192-r4-0300.fit.gz"
        )

    @pytest.mark.parametrize("number", range(8, 19))
    def test_sas(self, number: int) -> None:
        assert SDSS.url(FrameId(Release(number), 94, 301, 1, 12, "r")) == (
            f"https://data.sdss.org/sas/dr{number}/{MODERN[number]}/photoObj/frames/301/94/1/"
            "frame-r-000094-1-0012.fits.bz2"
        )

    def test_as_sdss_access_has_them(self, tmp_path: Path) -> None:
        """The collaboration's own package agrees on DR9 to DR17, the releases of which it knows the frames."""
        # In a process of its own with a home of its own: it makes folders there and replaces sys.excepthook.
        script = """
import json, sys
from sdss_access.path import Path
frames = json.load(sys.stdin)
print(json.dumps([Path(release=f.pop("release")).url("frame", **f) for f in frames]))
"""
        frames = [
            FrameId(Release(number), run, 301, camcol, field, band)
            for number in range(9, 18)
            for run, camcol, field, band in ((94, 1, 12, "r"), (8162, 6, 1000, "u"))
        ]
        questions = [
            {"release": str(f.release).upper(), "rerun": f.rerun, "run": f.run, "camcol": f.camcol, "field": f.field,
             "filter": f.band} for f in frames
        ]  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", script],
            input=json.dumps(questions),
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        theirs = json.loads(done.stdout.splitlines()[-1])
        assert [url + ".bz2" for url in theirs] == [SDSS.url(f) for f in frames]  # they leave the suffix off


class TestPaths:
    def test_das(self) -> None:
        assert OLD.plain_name == "fpC-004192-r4-0300.fit"
        assert OLD.file_name == "fpC-004192-r4-0300.fit.gz"
        assert OLD.folder == "imaging/4192/40/corr/4"
        assert OLD.calibration_path == "imaging/4192/40/calibChunks/4/tsField-004192-4-40-0300.fit"
        assert OLD.tsfield_path == OLD.calibration_path
        assert OLD.psfield_path == "imaging/4192/40/objcs/4/psField-004192-4-0300.fit"
        assert OLD.mask_path == "imaging/4192/40/objcs/4/fpM-004192-r4-0300.fit"
        assert OLD.staged_path == "das/imaging/4192/40/corr/4/fpC-004192-r4-0300.fit.blosc"

    def test_sas(self) -> None:
        assert NEW.plain_name == "frame-r-000094-1-0012.fits"
        assert NEW.file_name == "frame-r-000094-1-0012.fits.bz2"
        assert NEW.folder == "dr12/boss/photoObj/frames/301/94/1"
        assert NEW.calibration_path == "dr12/boss/photoObj/301/94/1/photoObj-000094-1-0012.fits"
        assert NEW.tsfield_path is None
        assert NEW.psfield_path == "dr12/boss/photo/redux/301/94/objcs/1/psField-000094-1-0012.fit"
        assert NEW.mask_path == "dr12/boss/photo/redux/301/94/objcs/1/fpM-000094-r1-0012.fit.gz"
        assert NEW.staged_path == "sas/dr12/boss/photoObj/frames/301/94/1/frame-r-000094-1-0012.fits.blosc"

    def test_real_files_are_where_they_should_be(self, shared_sdss: Path) -> None:
        found = 0
        for service, release in (("das", Release(7)), ("sas", None)):
            root = shared_sdss / service
            for path in [*root.rglob("fpC-*"), *root.rglob("frame-*")]:
                frame = FrameId.from_archive_path(str(path.relative_to(root)), release)
                assert path == root / frame.archive_path
                assert (root / frame.calibration_path).exists() or frame.field == 131  # that one came without
                found += 1
        assert found == 6 + 7

    def test_real_companions_are_where_they_should_be(self, shared_sdss: Path) -> None:
        das, sas = shared_sdss / "das", shared_sdss / "sas"
        old = [FrameId.from_archive_path(str(p.relative_to(das)), Release(7)) for p in das.rglob("fpC-*")]
        assert len(old) == 6
        assert all(
            (das / path).is_file() for f in old for path in (f.tsfield_path, f.psfield_path, f.mask_path) if path
        )
        assert {path for f in old for path in (f.psfield_path, f.mask_path)} == {
            str(path.relative_to(das)) for path in das.glob("imaging/*/*/objcs/*/*")
        }
        new = {FrameId.from_archive_path(str(p.relative_to(sas))).psfield_path for p in sas.rglob("frame-*")}
        there = {str(path.relative_to(sas)) for path in sas.glob("dr12/boss/photo/redux/301/*/objcs/*/*")}
        # Of one field there is no psField, and masks are not among the files for DR12.
        assert new - there == {"dr12/boss/photo/redux/301/94/objcs/1/psField-000094-1-0131.fit"}
        assert there <= new


class TestRoundTrips:
    def test_all_forms(self) -> None:
        for frame in random_frames(2000):
            assert FrameId.parse(str(frame)) == frame
            assert FrameId.from_file_name(frame.file_name, frame.release, frame.rerun) == frame
            assert FrameId.from_file_name(frame.plain_name, frame.release, frame.rerun) == frame
            assert FrameId.from_archive_path(frame.archive_path, frame.release) == frame

    def test_text_is_unique(self) -> None:
        frames = set(random_frames(2000))
        assert len({str(f) for f in frames}) == len(frames)
        paths = {(f.archive_path, f.release if f.release.service is Service.DAS else None) for f in frames}
        assert len(paths) == len(frames)

    def test_order_keeps_neighbours_together(self) -> None:
        key = [(f.release.number, f.run, f.rerun, f.camcol, f.field, f.band) for f in sorted(random_frames(500))]
        assert key == sorted(key)

    def test_sas_rerun_is_known(self) -> None:
        assert FrameId.from_file_name("frame-r-000094-1-0012.fits", Release(12)) == NEW

    def test_das_path_is_of_dr7_unless_told(self) -> None:
        assert FrameId.from_archive_path(OLD.archive_path) == OLD
        assert FrameId.from_archive_path(OLD.archive_path, Release(2)).release == Release(2)

    def test_older_root_of_dr8(self) -> None:
        path = "dr8/groups/boss/photoObj/frames/301/94/1/frame-r-000094-1-0012.fits.bz2"
        assert FrameId.from_archive_path(path) == FrameId(Release(8), 94, 301, 1, 12, "r")


class TestRefusals:
    @pytest.mark.parametrize(
        "change",
        [
            {"run": 0}, {"run": 1_000_000}, {"run": -1}, {"run": "94"}, {"run": 94.0}, {"rerun": -1}, {"rerun": 10_000},
            {"camcol": 0}, {"camcol": 7}, {"field": -1}, {"field": 10_000}, {"band": "y"}, {"band": "R"}, {"band": ""},
            {"band": "ug"}, {"band": None}, {"camcol": None},
        ],
    )  # fmt: skip
    def test_numbers(self, change: dict[str, object]) -> None:
        parts = {"release": Release(12), "run": 94, "rerun": 301, "camcol": 1, "field": 12, "band": "r"}
        with pytest.raises(InvalidInput):
            FrameId(**parts | change)

    @pytest.mark.parametrize(
        "text",
        [
            "", "dr12", "dr12-301-94-1-12-r", "dr12-301-000094-1-0012-x", "dr12-301-000094-7-0012-r",
            "dr12-301-000094-1-0012",
            "dr12-301-000094-1-0012-r ", "dr12-301-000094-1-0012-r\n", "DR12-301-000094-1-0012-r",
            "dr19-301-000094-1-0012-r",
            "dr12-301-000000-1-0012-r", "dr12-301-٠٠٠٠٩٤-1-0012-r", "../dr12-301-000094-1-0012-r",
        ],
    )  # fmt: skip
    def test_texts(self, text: str) -> None:
        with pytest.raises(InvalidInput):
            FrameId.parse(text)

    @pytest.mark.parametrize("text", ["dr07-40-004192-4-0300-r", "dr12-0301-000094-1-0012-r"])
    def test_second_texts_for_the_same_frame(self, text: str) -> None:
        with pytest.raises(InvalidInput, match="canonical"):
            FrameId.parse(text)

    @pytest.mark.parametrize(
        ("name", "release"),
        [
            ("frame-r-000094-1-0012.fits.bz2", 7), ("fpC-004192-r4-0300.fit.gz", 8),
            ("frame-r-000094-1-0012.fits.gz", 12),
            ("frame-r-000094-1-0012.fits.bz2.part", 12), ("frame-irg-000094-1-0012.jpg", 12),
            ("frame-r-94-1-12.fits", 12),
            ("frame-r-000094-0-0012.fits", 12), ("x/frame-r-000094-1-0012.fits", 12),
            ("frame-r-000000-1-0012.fits", 12),
            ("frame-r-000094-1-0012.fits\n", 12), ("", 12), ("fpC-004192-r4-0300.fits", 7),
            ("psField-000094-1-0012.fit", 7),
        ],
    )  # fmt: skip
    def test_file_names(self, name: str, release: int) -> None:
        with pytest.raises(InvalidInput):
            FrameId.from_file_name(name, Release(release), 40)

    def test_fpc_without_rerun(self) -> None:
        with pytest.raises(InvalidInput, match="rerun"):
            FrameId.from_file_name(OLD.file_name, Release(7))

    @pytest.mark.parametrize(
        "path",
        [
            "", "/" + NEW.archive_path, NEW.archive_path + "/", NEW.file_name, "sas/" + NEW.archive_path,
            NEW.archive_path.replace("/94/", "/95/"), NEW.archive_path.replace("/1/", "/2/"),
            OLD.archive_path.replace("/4192/", "/4193/"), OLD.archive_path.replace("corr/4", "corr/3"),
            NEW.archive_path.replace("dr12", "dr7"), NEW.archive_path.replace("dr12", "dr19"), "imaging/1/2/corr/3/4",
        ],
    )  # fmt: skip
    def test_archive_paths(self, path: str) -> None:
        with pytest.raises(InvalidInput):
            FrameId.from_archive_path(path)


def test_columns() -> None:
    assert frame_columns(NEW) == {"release": "dr12", "run": 94, "rerun": 301, "camcol": 1, "field": 12, "band": "r"}
