"""`kira show`: what is drawn where, in which colour."""

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from real_frames import archive_file, frame

from kira.extraction import Extraction, Flag, Parameters, SurveyProfile, extract
from kira.frames import Frame
from kira.picture import draw, ellipses_of, kinds_of

TEXT = "dr12-301-000094-1-0012-r"


@pytest.fixture(scope="module")
def image(shared_sdss: Path) -> Frame:
    return frame(shared_sdss, TEXT)


@pytest.fixture(scope="module")
def found(image: Frame) -> Extraction:
    return extract(image, SurveyProfile())


def pixels(content: bytes) -> np.ndarray:
    return matplotlib.image.imread(io.BytesIO(content), format="png")[..., :3]


def coloured(picture: np.ndarray) -> int:
    """Pixels that are not grey."""
    return int((np.ptp(picture, axis=-1) > 0.2).sum())


def test_each_source_gets_its_ellipse(image: Frame, found: Extraction) -> None:
    picture = draw(image, found, width=800)
    assert picture == draw(image, found, width=800)
    shown = pixels(picture)
    assert shown.shape[1] == 800
    none = replace(found, table=found.table[:0])
    assert coloured(pixels(draw(image, none, width=800))) == 0
    few = coloured(pixels(draw(image, replace(found, table=found.table[:50]), width=800)))
    assert 0 < few < coloured(shown)


def test_flags_decide_the_colour(image: Frame, found: Extraction) -> None:
    one = found.table[:1].copy()
    seen = []
    for flags in (0, Flag.MERGED, Flag.NEAR_EDGE, Flag.SATURATED | Flag.NEAR_EDGE):
        one["flags"], one["flags_auto"] = flags, 0
        seen.append(int(kinds_of(one)[0]))
    assert seen == [0, 0, 1, 2]


def test_the_ellipse_is_the_one_of_the_flux(image: Frame, found: Extraction) -> None:
    major, minor = ellipses_of(found.table)
    t = found.table
    large = np.isfinite(t["auto_scale"]) & (t["b"] * t["auto_scale"] > 2)
    assert np.allclose(major[large], 2 * t["a"][large] * t["auto_scale"][large])
    assert np.allclose(minor[large], 2 * t["b"][large] * t["auto_scale"][large])
    kira = extract(image, Parameters())
    assert (ellipses_of(kira.table)[0] >= ellipses_of(kira.table)[1]).all()
    assert len(draw(image, kira, width=400)) > 10_000


def test_an_image_without_coordinates_and_one_with_holes(image: Frame, found: Extraction) -> None:
    data = image.data.copy()
    data[:100] = np.nan
    assert len(draw(replace(image, id=None, wcs=None, data=data), found, width=400)) > 10_000


def test_command(shared_sdss: Path, tmp_path: Path) -> None:
    def kira(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("kira")), "show", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    path, out = archive_file(shared_sdss, TEXT), tmp_path / "out.png"
    done = kira(path, "-o", out, "--width", 400)
    assert done.returncode == 0, done.stderr
    assert f"{TEXT}: " in done.stdout
    assert pixels(out.read_bytes()).shape[1] == 400
    for wrong in (tmp_path / "a.jpg", tmp_path / "no" / "a.png"):
        done = kira(path, "-o", wrong)
        assert done.returncode == 1
        assert done.stderr.startswith("kira: ")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.png"]
