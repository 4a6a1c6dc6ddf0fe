"""The survey profile on images made for it, where every number is known."""

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sep
from images import SCALE, SIGMA, NoisyFrame, frame_of, sources
from real_frames import FRAME, frame

from kira.errors import ExtractionFailed
from kira.extraction import SURVEY, Flag, Parameters, SurveyProfile, extract
from kira.extraction.detection import dithered, quantum
from kira.extraction.segments import isophotal_errors
from kira.extraction.windowed import window_sums
from kira.frames import Frame

PROFILE = SurveyProfile()
STARS = [(50.0, 40.0, 5000.0), (210.25, 150.5, 3000.0), (120.0, 100.0, 1000.0)]


def row_at(table: Any, x: float, y: float) -> Any:
    distance = np.hypot(table["x"] - x, table["y"] - y)
    assert distance.min() < 2
    return table[np.argmin(distance)]


def same(one: Any, other: Any, but: Collection[str] = ()) -> bool:
    names = set(one.dtype.names) - set(but)
    return all(np.array_equal(one[name], other[name], equal_nan=True) for name in names)


def test_known_stars() -> None:
    found = extract(frame_of(STARS), PROFILE)
    assert found.table.dtype == SURVEY
    assert found.n_sources == 3
    assert not found.raised
    assert found.background == pytest.approx(100, abs=0.1)
    assert found.rms == pytest.approx(1, abs=0.05)
    radii = np.array(PROFILE.apertures) / SCALE
    inside = 1 - np.exp(-(radii**2) / (2 * (SIGMA**2 + 1 / 12)))  # the circle's edge counts in parts of pixels
    for x, y, flux in STARS:
        row = row_at(found.table, x, y)
        assert row["flags"] == 0
        assert np.abs((row["x_win"] - x) / row["x_win_err"]) < 4
        assert np.abs((row["y_win"] - y) / row["y_win_err"]) < 4
        # A windowed position of a Gaussian has sqrt(2) or so of the least possible error, sigma / (S/N).
        least = SIGMA * np.sqrt(4 * np.pi) * SIGMA / flux * np.sqrt(2)
        assert least < row["x_win_err"] < 1.7 * least
        # The smallest circle is 2.5 pixels: which parts of its edge pixels count is worth half a per cent.
        assert (np.abs(row["flux_aper"] - inside * flux) < 4 * row["fluxerr_aper"] + 0.007 * flux).all()
        assert row["fluxerr_aper"] == pytest.approx(found.rms * np.sqrt(np.pi) * radii, rel=0.04)
        assert row["flux_auto"] == pytest.approx(flux, rel=0.05)
        assert row["fluxerr_iso"] == pytest.approx(row["background_rms"] * np.sqrt(row["npix"]), rel=0.02)
        assert row["r50"] == pytest.approx(SIGMA * np.sqrt(2 * np.log(2)), rel=0.06)
        assert row["r20"] < row["r50"] < row["r80"]
        assert row["elongation"] == pytest.approx(row["a"] / row["b"])
        assert row["ellipticity"] == pytest.approx(1 - row["b"] / row["a"])
        assert row["threshold"] == pytest.approx(1.5, abs=0.1)
        assert row["background"] == pytest.approx(100, abs=0.2)
        assert row["auto_scale"] >= PROFILE.kron_minimum
        assert np.isnan(row["point_like"])  # three stars are too few to know the frame's
    brightest = row_at(found.table, *STARS[0][:2])
    assert brightest["fwhm"] == pytest.approx(2 * np.sqrt(2 * np.log(2)) * SIGMA, rel=0.1)
    assert same(extract(frame_of(STARS), PROFILE).table, found.table)


def test_photons_are_in_the_errors() -> None:
    silent, loud = extract(frame_of(STARS), PROFILE).table, extract(frame_of(STARS, gain=20.0), PROFILE).table
    for one, other in zip(silent, loud, strict=True):
        for name in ("iso", "auto"):
            expected = np.sqrt(one[f"fluxerr_{name}"] ** 2 + one[f"flux_{name}"] / 20.0)
            assert other[f"fluxerr_{name}"] == pytest.approx(expected, rel=1e-3)
        expected = np.sqrt(one["fluxerr_aper"] ** 2 + one["flux_aper"] / 20.0)
        assert other["fluxerr_aper"] == pytest.approx(expected, rel=1e-3)
        assert other["x_win_err"] > one["x_win_err"]
        assert other["x_err"] > one["x_err"]
        assert other["flux_auto"] == one["flux_auto"]


def test_the_frames_own_noise_comes_before_all() -> None:
    plain = frame_of(STARS, gain=2.0)
    image = NoisyFrame(None, plain.data, plain.wcs, gain=2.0)
    object.__setattr__(image, "variance", 9.0)
    one, other = extract(frame_of(STARS), PROFILE).table, extract(image, PROFILE).table
    scale = 3 / one["background_rms"]
    assert other["fluxerr_auto"] == pytest.approx(one["fluxerr_auto"] * scale, rel=0.03)
    assert other["x_win_err"] == pytest.approx(one["x_win_err"] * scale, rel=0.03)
    assert np.array_equal(other["flux_auto"], one["flux_auto"])
    assert np.array_equal(other["npix"], one["npix"])  # the threshold is the background's


def test_sums_over_windows_and_segments_are_what_they_say() -> None:
    """Against plain loops."""
    image, random = frame_of(STARS).data - 100, np.random.default_rng(3)
    noise = random.uniform(0.5, 2.0, image.shape).astype(np.float32)
    # Sizes that share a group, one in the corner, one that is not valid.
    x, y = np.array([50.2, 0.3, 210.0, 120.0, 5.0]), np.array([40.1, 198.7, 150.0, 100.4, 5.0])
    sigma, valid = np.array([1.2, 1.3, 4.0, 1.25, 2.0]), np.array([True, True, True, True, False])
    sums = window_sums(image, noise, x, y, sigma, valid)
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    for i in range(4):
        dx, dy = columns - x[i], rows - y[i]
        weight = np.exp(-(dx**2 + dy**2) / (2 * sigma[i] ** 2)) * (dx**2 + dy**2 <= (4 * sigma[i]) ** 2)
        variance = (weight * noise) ** 2
        assert sums[:, i] == pytest.approx(
            [(weight * image).sum(), (variance * (dx**2 + 1 / 12)).sum(), (variance * (dy**2 + 1 / 12)).sum(),
             (variance * dx * dy).sum()], rel=1e-6, abs=1e-9,
        )  # fmt: skip
    assert (sums[:, 4] == 0).all()

    segments = np.zeros(image.shape, dtype=np.int32)
    segments[38:43, 48:53], segments[149:152, 208:214] = 1, 2
    x, y, light = np.array([50.0, 211.0]), np.array([40.5, 150.0]), np.array([4000.0, 2000.0])
    found = isophotal_errors(segments, noise, x, y, light)
    for i in range(2):
        own = segments == i + 1
        s2, dx, dy = noise[own].astype(float) ** 2, columns[own] - x[i], rows[own] - y[i]
        expected = [s2.sum(), *((s2 * d).sum() / light[i] ** 2 for d in (dx * dx, dy * dy, dx * dy))]
        assert [one[i] for one in found] == pytest.approx(expected)


def marked(image: Frame, *places: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(image.shape, dtype=bool)
    for x, y in places:
        mask[y, x] = True
    return mask


def test_masked_and_saturated_pixels() -> None:
    image = frame_of(STARS)
    clean = extract(image, PROFILE).table
    image.data[150, 212] = np.nan  # beside the second star's centre
    image.data[95:106, 115:126] = 1e6  # all of the third star
    mask = marked(image, (55, 40))
    mask[95:106, 115:126] = True
    found = extract(replace(image, mask=mask, saturated=marked(image, (50, 41))), PROFILE).table
    assert len(found) == 2
    first, second = (row_at(found, *star[:2]) for star in STARS[:2])
    assert first["flags"] == Flag.SATURATED | (Flag.MASKED if abs(55 - first["xmax"]) <= 1 else 0)
    assert second["flags"] == Flag.MASKED
    assert second["flags_auto"] == Flag.APERTURE_MASKED
    assert second["flags_aper"].tolist() == [Flag.APERTURE_MASKED] * 6
    for name in ("flux_auto", "fluxerr_auto", "x_win", "x_win_err", "r50"):
        assert np.isfinite(second[name])
    # SEP puts the mean of the rest of the aperture into the gap: near, though not equal.
    assert second["flux_aper"] == pytest.approx(row_at(clean, *STARS[1][:2])["flux_aper"], rel=0.15)


def test_pixels_whose_noise_is_none_are_masked() -> None:
    plain = frame_of(STARS)
    image = NoisyFrame(None, plain.data, plain.wcs)
    variance = np.ones(plain.shape)
    variance[40, 50], variance[150, 211] = np.nan, 0.0
    object.__setattr__(image, "variance", variance)
    table = extract(image, PROFILE).table
    assert [row_at(table, *star[:2])["flags"] & Flag.MASKED > 0 for star in STARS] == [True, True, False]
    assert np.isfinite(table["fluxerr_auto"]).all()


def test_nothing_found_and_nothing_to_use() -> None:
    empty = extract(frame_of([]), replace(PROFILE, threshold=20.0))
    assert empty.n_sources == 0
    assert empty.table.dtype == SURVEY
    image = frame_of(STARS)
    with pytest.raises(ExtractionFailed, match=r"^image: no pixel can be used: all are masked\.$"):
        extract(replace(image, mask=np.ones(image.shape, dtype=bool)), PROFILE)
    nearly = np.ones(image.shape, dtype=bool)
    nearly[30:50, 40:60] = False
    assert extract(replace(image, mask=nearly), PROFILE).table.dtype == SURVEY


def test_a_frame_without_a_scale() -> None:
    """Circles in arcsec have no size then; all that is in pixels is as ever."""
    with_scale, found = (
        extract(frame_of(STARS), PROFILE).table,
        extract(replace(frame_of(STARS), wcs=None), PROFILE).table,
    )
    assert np.isnan(found["flux_aper"]).all()
    assert np.isnan(found["fluxerr_aper"]).all()
    assert (found["flags_aper"] == Flag.NOT_MEASURED).all()
    assert (found["flags"] == 0).all()
    assert same(found, with_scale, but={"flux_aper", "fluxerr_aper", "flags_aper", "flags_star"})


@pytest.mark.parametrize(("x", "y"), [(0.2, 100.0), (298.8, 60.0), (150.0, 0.0), (150.0, 199.0), (0.0, 0.0)])
def test_a_source_at_the_very_edge(x: float, y: float) -> None:
    table = extract(frame_of([*STARS, (x, y, 4000.0)]), PROFILE).table
    row = row_at(table, x, y)
    assert row["flags"] & Flag.TRUNCATED
    assert row["flags"] & Flag.NEAR_EDGE
    assert row["flags_auto"] & Flag.APERTURE_TRUNCATED
    for name in ("flux_auto", "x_win", "x_win_err", "r50", "background"):
        assert np.isfinite(row[name]), name
    assert np.isfinite(row["flux_aper"]).all()
    assert all(row_at(table, *star[:2])["flags"] == 0 for star in STARS)


def test_an_ellipse_over_the_edge_is_near_it() -> None:
    row = row_at(extract(frame_of([(7.0, 100.0, 800.0)]), PROFILE).table, 7.0, 100.0)
    assert row["xmin"] > 0
    assert row["flags"] == Flag.NEAR_EDGE


@pytest.mark.parametrize("line", [np.s_[80, 200:207], np.s_[80:87, 200]])
def test_a_source_on_one_line_of_pixels(line: Any) -> None:
    image = frame_of(STARS)
    image.data[line] += 50.0
    # Without the filter the line stays one pixel wide.
    table = extract(image, replace(PROFILE, kernel=((1.0,),), threshold=10.0)).table
    row = row_at(table, 203.0 if line[0] == 80 else 200.0, 80.0 if line[0] == 80 else 83.0)
    assert row["flags"] & Flag.SINGULAR
    assert row["npix"] == 7
    assert row["b"] > 0
    assert abs(row["theta"]) <= np.pi / 2
    for name in ("flux_auto", "fluxerr_auto", "x_win", "x_win_err", "r50", "x_err"):
        assert np.isfinite(row[name]), name


def test_neighbours_are_told_from_the_lonely() -> None:
    pair = [(200.0, 60.0, 3000.0), (206.5, 60.0, 3000.0)]
    table = extract(frame_of([*STARS, *pair]), PROFILE).table
    assert len(table) == 5
    for x, y, _ in pair:
        assert row_at(table, x, y)["flags"] == Flag.MERGED | Flag.NEIGHBOURS
    assert [row_at(table, *star[:2])["flags"] for star in STARS] == [0, 0, 0]


def test_angles_of_a_real_frame_above_a_right_one(shared_sdss: Path) -> None:
    """SEP's own apertures refuse two angles of this frame."""
    image = frame(shared_sdss, FRAME)
    background = sep.Background(image.data)
    assert (sep.extract(image.data - background, 1.5 * background.globalrms)["theta"] > np.pi / 2).any()
    table = extract(image, PROFILE).table
    assert (np.abs(table["theta"]) <= np.pi / 2).all()
    assert np.isfinite(table["flux_auto"]).all()


def spoil(monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], None]) -> None:
    detect = sep.extract

    def odd(*args: Any, **kwargs: Any) -> Any:
        objects, segments = detect(*args, **kwargs)
        change(objects)
        return objects, segments

    monkeypatch.setattr(sep, "extract", odd)


def test_ellipses_that_are_none_lose_only_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    clean = extract(frame_of([*STARS, (250.0, 50.0, 2000.0), (30.0, 160.0, 2000.0)]), PROFILE).table

    def change(objects: Any) -> None:
        objects["a"][0] = np.nan
        objects["b"][1] = objects["a"][1] * np.float32(1.0000002)  # by rounding
        objects["b"][2] = 0.0
        objects["theta"][3] = np.float32(np.pi / 2) * np.float32(1.0000002)

    spoil(monkeypatch, change)
    table = extract(frame_of([*STARS, (250.0, 50.0, 2000.0), (30.0, 160.0, 2000.0)]), PROFILE).table
    assert len(table) == len(clean) == 5
    lost = np.array([True, False, True, False, False])
    assert np.array_equal(np.isnan(table["flux_auto"]), lost)
    assert np.array_equal(np.isnan(table["auto_scale"]), lost)
    assert np.array_equal(np.isnan(table["r50"]), lost)
    assert np.array_equal(table["flags"] & Flag.NOT_MEASURED > 0, lost)
    assert np.array_equal(table["flags_auto"] & Flag.NOT_MEASURED > 0, lost)
    assert np.isfinite(table["flux_aper"]).all()  # circles need no ellipse
    assert same(table[4:], clean[4:])


def test_a_kron_radius_that_is_none_is_the_least(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = sep.kron_radius

    def odd(*args: Any, **kwargs: Any) -> Any:
        radius, flag = measure(*args, **kwargs)
        radius[:3] = np.nan, 0.0, -1.0
        return radius, flag

    monkeypatch.setattr(sep, "kron_radius", odd)
    table = extract(frame_of(STARS), PROFILE).table
    assert table["auto_scale"].tolist() == [3.5] * 3
    assert (table["flux_auto"] > 0).all()


def test_the_ellipse_is_sextractors() -> None:
    """2.5 Kron radii and no less than 3.5, in whole pixels."""
    image = frame_of(STARS)
    table = extract(image, replace(PROFILE, background="mode", dither=0.0)).table
    pixels = image.data - sep.Background(image.data).back()
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    for row in table:
        cos, sin = np.cos(row["theta"]), np.sin(row["theta"])
        u, v = (x - row["x"]) * cos + (y - row["y"]) * sin, (y - row["y"]) * cos - (x - row["x"]) * sin
        r = np.hypot(u / row["a"], v / row["b"])
        near = r <= 6
        kron = (r * pixels)[near].sum() / pixels[near].sum()
        assert row["auto_scale"] == pytest.approx(max(2.5 * kron, 3.5), rel=1e-4)
        assert row["flux_auto"] == pytest.approx(pixels[r <= row["auto_scale"]].sum(), rel=1e-4)


def test_a_source_without_flux() -> None:
    """Seven bright pixels in a pit: above the threshold, and less than nothing around."""
    image = frame_of(STARS)
    image.data[60:100, 230:270] -= 30
    image.data[80, 247:254] += 50
    table = extract(image, replace(PROFILE, mesh=128, kernel=((1.0,),), threshold=5.0)).table
    row = row_at(table, 250.0, 80.0)
    assert row["flags_auto"] & Flag.APERTURE_NON_POSITIVE
    assert row["auto_scale"] == 3.5
    assert row["flux_auto"] < 0
    assert np.isnan(row["r50"])
    assert row["flags_radius"] == Flag.NOT_MEASURED
    assert np.isnan(row["point_like"])
    assert np.isfinite(row["x_win"])
    assert np.isfinite(row["flux_aper"]).all()


def test_a_windowed_position_that_runs_away_is_the_barycentre(monkeypatch: pytest.MonkeyPatch) -> None:
    move = sep.winpos

    def astray(*args: Any, **kwargs: Any) -> Any:
        x, y, flag = move(*args, **kwargs)
        x[0] += 60
        y[1] = np.nan
        return x, y, flag

    monkeypatch.setattr(sep, "winpos", astray)
    table = extract(frame_of(STARS), PROFILE).table
    assert (table["flags_win"] & Flag.WINDOW_FAILED > 0).tolist() == [True, True, False]
    assert (table["flags"] & Flag.WINDOW_FAILED > 0).tolist() == [True, True, False]
    assert np.array_equal(table["x_win"][:2], table["x"][:2])
    assert np.array_equal(table["y_win"][:2], table["y"][:2])
    assert (table["x_win"][2], table["y_win"][2]) != (table["x"][2], table["y"][2])
    assert (table["x_win_err"] > 0).all()


def test_raised_limits_are_on_every_row() -> None:
    wanted, found = extract(frame_of(STARS), PROFILE), extract(frame_of(STARS), replace(PROFILE, pixstack=20))
    assert found.raised
    assert found.limits is not None
    assert found.limits.pixstack in (80, 320, 1280)
    assert (found.table["flags"] == wanted.table["flags"] | Flag.CROWDED_LIMITS_RAISED).all()
    assert np.array_equal(found.table["flux_auto"], wanted.table["flux_auto"])


@pytest.mark.parametrize("sky", [100.0, 100.3, 100.5, 100.7])
def test_whole_numbers_do_not_shift_the_background(sky: float) -> None:
    data = np.rint(np.random.default_rng(1).normal(sky, 5.0, (512, 512))).astype(np.float32)
    image = Frame(None, data, None)
    assert quantum(image) == 1.0
    found = extract(image, PROFILE)
    assert found.background == pytest.approx(sky, abs=0.02 * 5)
    assert found.rms == pytest.approx(5.0, rel=0.02)  # clipping at 3 sigma takes 1.3 % off
    if sky == 100.3:  # what it is for
        assert abs(extract(image, replace(PROFILE, dither=0.0)).background - sky) > 0.06 * 5


def test_dither_is_even_and_as_wide_as_it_says() -> None:
    added = dithered(np.zeros((640, 640), dtype=np.float32), 3.0)
    assert added.dtype == np.float32
    assert -1.5 <= added.min() < -1.49
    assert 1.49 < added.max() <= 1.5
    for y in range(0, 640, 64):
        cell = np.sort(added[y : y + 64, y : y + 64].ravel())
        assert np.abs(cell - np.linspace(-1.5, 1.5, cell.size)).max() < 0.02
    calibrated = Frame(
        None, np.random.default_rng(1).normal(0, 1, (9, 9)).astype(np.float32), None, nmgy_per_count=0.004
    )
    assert quantum(calibrated) == 0.004
    assert quantum(replace(calibrated, nmgy_per_count=float("nan"))) == 0.0


def crowd(n_stars: int, n_galaxies: int) -> Frame:
    random = np.random.default_rng(5)
    places = [(40.0 + 40 * (i % 12), 40.0 + 40 * (i // 12)) for i in range(n_stars + n_galaxies)]
    random.shuffle(places)
    light = [(x, y, random.uniform(1500, 20000), SIGMA if i < n_stars else 3.0) for i, (x, y) in enumerate(places)]
    return frame_of(light, (520, 520)), places[:n_stars], places[n_stars:]  # type: ignore[return-value]


def test_points_are_told_from_what_is_extended() -> None:
    image, stars, galaxies = crowd(50, 40)  # type: ignore[misc]
    table = extract(image, PROFILE).table
    hint_of_stars = np.array([row_at(table, *place)["point_like"] for place in stars])
    hint_of_galaxies = np.array([row_at(table, *place)["point_like"] for place in galaxies])
    assert (hint_of_galaxies < 1e-3).all()
    assert np.median(hint_of_stars) == pytest.approx(0.5, abs=0.2)
    assert (hint_of_stars > 0.01).mean() > 0.9
    assert ((table["point_like"] >= 0) & (table["point_like"] <= 1)).all()


def test_a_frame_with_too_few_bright_sources_gives_no_hint() -> None:
    image, _, _ = crowd(9, 0)  # type: ignore[misc]
    assert np.isnan(extract(image, PROFILE).table["point_like"]).all()


def test_rms_of_a_place_decides_what_is_found_there() -> None:
    """Ten times the noise in one corner: sources there have to be brighter."""
    places = [(60.0, 60.0, 200.0), (460.0, 460.0, 200.0), (450.0, 380.0, 2000.0)]
    random = np.random.default_rng(2)
    data = random.normal(0, 1, (512, 512)) + sources(places, (512, 512))
    data[256:, 256:] += random.normal(0, 10, (256, 256))
    image = Frame(None, data.astype(np.float32), None)
    local, overall = (extract(image, replace(PROFILE, detection_noise=one)).table for one in ("map", "global"))
    assert row_at(local, 60.0, 60.0)["threshold"] < 2.5
    assert row_at(local, 450.0, 380.0)["threshold"] > 10
    # Not beside the border, where the map of the rms has the mean of both sides.
    noisy = [int(((table["x"] > 320) & (table["y"] > 320)).sum()) for table in (local, overall)]
    assert noisy[0] < 10
    assert noisy[1] > 100


def test_threads_that_want_different_limits_find_the_same(shared_sdss: Path) -> None:
    image = frame(shared_sdss, FRAME)
    profiles = [PROFILE, replace(PROFILE, pixstack=500), replace(PROFILE, sub_object_limit=2)] * 3
    alone = extract(image, PROFILE).table
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda profile: extract(image, profile), profiles))
    for profile, found in zip(profiles, together, strict=True):
        assert found.raised == (profile != PROFILE)
        assert same(found.table, alone, but={"flags"})
        assert np.array_equal(found.table["flags"], alone["flags"] | (0x1000 if found.raised else 0))


def test_kira_and_survey_find_the_same_with_one_noise(shared_sdss: Path) -> None:
    """The kinds share detection: with the same threshold and background the same pixels are sources."""
    image = frame(shared_sdss, FRAME)
    kira = extract(image, Parameters()).table
    survey = extract(image, replace(PROFILE, background="mode", detection_noise="global", dither=0.0)).table
    for name in ("x", "y", "npix", "peak", "cpeak", "xpeak", "ypeak"):
        assert np.array_equal(kira[name], survey[name]), name
    assert np.array_equal(kira["flux"], survey["flux_iso"])
