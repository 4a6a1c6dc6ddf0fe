"""SDSS's astrometric solution: the formulas, how it is read, and what becomes of one that is no good."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from real_frames import COUNTS, FPC, FRAME, extraction, frame, plain

from kira.catalog.sky import LocalSky
from kira.catalog.survey import survey_table
from kira.errors import BadFrame
from kira.extraction import SurveyProfile, extract
from kira.frames import Frame, read_frame
from kira.frames.astrometry import AsTrans
from kira.sdss import FrameId

ID = FrameId.parse(FRAME)
STRAIGHT = (0.0, 0.0, 0.0, 0.0)


def solution(**others: Any) -> AsTrans:
    """Of a stripe far from the equator, with distortions larger than real ones."""
    values = {
        "node": 95.0, "incl": 32.5, "affine": (359.9, 1.1e-4, -4e-8, -1.05, -5e-9, 1.1e-4),
        "row": (-0.05, 1.6e-3, -1.0e-7, 1.1e-11), "column": (-0.26, 1.0e-2, -8.8e-7, 2.2e-10),
    }  # fmt: skip
    return AsTrans(**(values | others))


def places(n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    return rng.uniform(0, 2047, n), rng.uniform(0, 1488, n)


@pytest.mark.parametrize("incl", [-25.0, 0.0, 0.0095, 55.0, 89.0])
def test_the_way_back(incl: float) -> None:
    """The inverse as others write it (astrometry.net): sky to great circle, and there the affine and cubic terms."""
    one = solution(incl=incl)
    x, y = places()
    ra, dec = (np.radians(values) for values in one.sky(x, y))
    node, i = np.radians(one.node), np.radians(incl)
    mu = node + np.arctan2(
        np.sin(ra - node) * np.cos(dec) * np.cos(i) + np.sin(dec) * np.sin(i), np.cos(ra - node) * np.cos(dec)
    )
    nu = np.arcsin(-np.sin(ra - node) * np.cos(dec) * np.sin(i) + np.sin(dec) * np.cos(i))
    a, b, c, d, e, f = one.affine
    col, row = x + 0.5, y + 0.5
    row_ = row + sum(term * col**power for power, term in enumerate(one.row))
    col_ = col + sum(term * col**power for power, term in enumerate(one.column))
    apart = (np.degrees(mu) - (a + b * row_ + c * col_) + 180) % 360 - 180
    assert abs(apart).max() < 1e-10
    assert abs(np.degrees(nu) - (d + e * row_ + f * col_)).max() < 1e-10


def test_on_the_equator_the_great_circle_is_the_sky() -> None:
    one = AsTrans(95.0, 0.0, (330.0, 1e-4, 0.0, -0.1, 0.0, 1e-4), STRAIGHT, STRAIGHT)
    ra, dec = one.sky(np.array([-0.5, 9.5]), np.array([-0.5, 19.5]))
    assert ra == pytest.approx([330.0, 330.002], abs=1e-11)
    assert dec == pytest.approx([-0.1, -0.099], abs=1e-11)


def test_right_ascension_goes_on_at_0() -> None:
    ra, _ = solution(incl=0.0).sky(np.full(3, 1024.0), np.array([0.0, 744.0, 1488.0]))
    assert ((ra >= 0) & (ra < 360)).all()
    assert ra[0] > 359
    assert ra[2] < 1


@pytest.mark.parametrize("place", [(0.0, 0.0), (1023.5, 744.0), (2047.0, 1488.0)])
def test_the_side_of_a_pixel_is_what_the_sky_says_around_it(place: tuple[float, float]) -> None:
    one = solution()
    sky = LocalSky(one, *(np.array([value]) for value in place))
    assert one.pixel_scale(*place) == pytest.approx(sky.scale[0], rel=1e-6)


@pytest.mark.parametrize("text", COUNTS)
def test_which_frames_have_it(shared_sdss: Path, text: str) -> None:
    read = frame(shared_sdss, text)
    assert read.astrometry == ("WCS" if text.startswith("dr7") else "asTrans")
    assert (read.solution is None) == text.startswith("dr7")
    assert Frame(None, read.data, None).astrometry == "none"


def test_it_is_near_the_header_s_wcs_and_not_the_same(shared_sdss: Path) -> None:
    read = frame(shared_sdss, FRAME)
    x, y = places()
    (ra, dec), (wcs_ra, wcs_dec) = read.sky_positions(x, y), replace(read, solution=None).sky_positions(x, y)
    apart = np.hypot((ra - wcs_ra) * np.cos(np.radians(dec)), dec - wcs_dec) * 3600
    assert 0.005 < np.median(apart) < 0.2
    assert apart.max() < 0.3
    assert read.pixel_scale == pytest.approx(replace(read, solution=None).pixel_scale, rel=2e-4)


def test_a_wcs_with_the_declination_first(shared_sdss: Path) -> None:
    """Its axes are declination and right ascension; what is asked for comes in the other order all the same."""
    content, x, y = plain(shared_sdss, FPC), *places(5)
    for old, new in ((b"'RA---TAN'", b"'first   '"), (b"'DEC--TAN'", b"'RA---TAN'"), (b"'first   '", b"'DEC--TAN'"),
                     *((f"{key}{one}".encode(), f"{key}{other}".encode()) for key, pairs in (
                         ("CRVAL", (("1 ", "3 "), ("2 ", "1 "), ("3 ", "2 "))),
                         ("CD", (("1_1", "3_1"), ("2_1", "1_1"), ("3_1", "2_1"), ("1_2", "3_2"), ("2_2", "1_2"),
                                 ("3_2", "2_2"))),
                     ) for one, other in pairs)):  # fmt: skip
        assert content.count(old) == 1
        content = content.replace(old, new)
    turned, read = read_frame(content, FrameId.parse(FPC)), frame(shared_sdss, FPC)
    assert list(turned.wcs.wcs.ctype) == ["DEC--TAN", "RA---TAN"]  # type: ignore[union-attr]
    assert np.allclose(turned.sky_positions(x, y), read.sky_positions(x, y), rtol=0, atol=1e-9)


def test_both_profiles_take_it(shared_sdss: Path) -> None:
    read = frame(shared_sdss, FRAME)
    assert read.solution is not None
    kira = extraction(shared_sdss, FRAME).table
    assert np.array_equal(kira["ra"], read.solution.sky(kira["x"], kira["y"])[0])
    profile = SurveyProfile()
    found = extract(read, profile)
    for one, said in ((read, "asTrans"), (replace(read, solution=None), "WCS")):
        rows = survey_table(one, found, profile)
        assert set(rows["astrometry"].to_pylist()) == {said}
    assert not np.array_equal(rows["ra"], survey_table(read, found, profile)["ra"])


FILTER = 11
"""Byte of a row of HDU 3 at which the filter stands, behind RUN (4), RERUN (3) and CAMCOL (4)."""


def with_solution(root: Path, band: bytes = FRAME[-1].encode(), **values: Any) -> bytes:
    """The frame with other values in its HDU 3."""
    with fits.open(io.BytesIO(plain(root, FRAME))) as hdus:
        offset = hdus.fileinfo(3)["datLoc"]
        table = hdus[3].data
        for name, value in values.items():
            table[name][0] = value
        row = table.tobytes()
        row = row[:FILTER] + band + row[FILTER + 1 :]
    content = bytearray(plain(root, FRAME))
    content[offset : offset + len(row)] = row
    return bytes(content)


@pytest.mark.parametrize("name", ["A", "B", "F", "NODE", "INCL", "DROW0", "DROW3", "DCOL1"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -1e300, 1e10])
def test_numbers_that_are_nonsense(shared_sdss: Path, name: str, value: float) -> None:
    read = read_frame(with_solution(shared_sdss, **{name: value}), ID)
    assert read.astrometry == "WCS"
    (remark,) = read.remarks
    assert remark.startswith("Positions are by the header's WCS; the solution in HDU 3 was not used: it")
    x, y = places(3)
    assert np.isfinite(read.sky_positions(x, y)).all()
    assert np.array_equal(read.data, frame(shared_sdss, FRAME).data)


def test_the_solution_of_another_field_or_band(shared_sdss: Path) -> None:
    """A row 100 pixels away, as that of a neighbouring CCD would be; one of g; and one that says so itself."""
    own = frame(shared_sdss, FRAME).solution
    assert own is not None
    moved = read_frame(with_solution(shared_sdss, A=own.affine[0] + 100 * own.affine[1]), ID)
    assert moved.remarks[0].endswith("it lies 39.6 arcsec off the header's coordinates.")
    assert read_frame(with_solution(shared_sdss, b"g"), ID).remarks[0].endswith("it is of the band 'g'.")
    with pytest.raises(BadFrame, match="its HDU 3 says FIELD = 13"):
        read_frame(with_solution(shared_sdss, FIELD=13), ID)


@pytest.mark.parametrize("name", ["DROW2", "NODE", "INCL", "FILTER"])
def test_a_column_that_is_not_there(shared_sdss: Path, name: str) -> None:
    content = plain(shared_sdss, FRAME)
    card = f"= '{name:<8}'".encode()
    at = content.rindex(card)
    read = read_frame(content[:at] + b"= 'X       '" + content[at + len(card) :], ID)
    assert read.astrometry == "WCS"
    assert read.remarks[0] == (
        f"Positions are by the header's WCS; the solution in HDU 3 was not used: Key '{name.lower()}' does not exist."
    )


def test_counts_have_none(shared_sdss: Path) -> None:
    assert frame(shared_sdss, FPC).solution is None
