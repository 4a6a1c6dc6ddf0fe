"""Batches against references: what is right passes, and what is broken on purpose is named by the right check."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from validated import EQUATOR, FIELD, SPEC, Batch, kept, numbered, real, sampled, strip, with_column

from kira.extraction import Flag
from kira.sample.truth import truth_bytes
from kira.sdss import FrameId
from kira.validation import Check, Report, Severity, Thresholds, examine, validate
from kira.validation.comparison import depth, nearest_of, plane
from kira.validation.figures import BandFigures
from kira.validation.plots import plots, star_colours
from kira.validation.reference import Recovery, match
from kira.validation.references import Reference, read_catalogue, read_photo_obj, read_truth

WARNING, ERROR = Severity.WARNING, Severity.ERROR
AGAINST = ["references", "astrometry", "zero_point", "found", "spurious", "completeness"]


@pytest.fixture(scope="module")
def photo_obj(shared_sdss: Path) -> Reference:
    content = (shared_sdss / "sas/dr12/boss/photoObj/301/94/1/photoObj-000094-1-0012.fits").read_bytes()
    found = read_photo_obj(content, "photoObj-000094-1-0012")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def stripe_82(shared_sdss: Path) -> Reference:
    return read_catalogue((shared_sdss / "reference/stripe82-stars.fits").read_bytes(), "Stripe 82")


@pytest.fixture(scope="module")
def field(shared_sdss: Path) -> Batch:
    return real(shared_sdss, FIELD)


@pytest.fixture(scope="module")
def red(shared_sdss: Path) -> Batch:
    return real(shared_sdss, [FIELD[2]])


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Batch:
    return sampled(tmp_path_factory.mktemp("sample"))


@pytest.fixture(scope="module")
def truth() -> Callable[[FrameId], Reference]:
    content = truth_bytes(SPEC, 3)
    return lambda frame: read_truth(content, frame)


def check(report: Report, name: str) -> Check:
    (found,) = [one for one in report.checks if one.name == name]
    return found


def failures(report: Report) -> set[tuple[str, Severity]]:
    return {(one.name, one.severity) for one in report.failed}


def of_band(report: Report, band: str) -> BandFigures:
    (found,) = [one for one in report.figures if one.band == band]
    return found


# -- what is right


@pytest.mark.parametrize("profile", ["survey", "kira"])
def test_a_real_field_against_its_photo_obj(shared_sdss: Path, photo_obj: Reference, profile: str) -> None:
    table, expected = real(shared_sdss, FIELD, profile)
    report = validate(table, expected, references=lambda _: photo_obj)
    assert report.sentence() == f"All 21 checks passed (5 frames, {table.num_rows:,} sources)."
    assert [one.band for one in report.figures] == list("ugriz")
    for one in report.figures:
        assert one.reference == "photoObj-000094-1-0012 (1 frame)"
        assert one.matched > 50
        assert one.bright_found >= 0.97 * one.bright > 40
        assert abs(one.east or 9) < 0.06
        assert abs(one.north or 9) < 0.08
        assert one.zero_point_stars >= 19
        assert abs(one.zero_point or 9) < (0.02 if profile == "survey" else 0.09)
        assert (one.depth_50 or 0) > Thresholds().limits[one.band] - 0.75
    assert of_band(report, "r").matched > 240


def test_the_equator_against_stripe_82(shared_sdss: Path, stripe_82: Reference) -> None:
    table, expected = real(shared_sdss, EQUATOR)
    report = validate(table, expected, references=dict.fromkeys((e.frame for e in expected), stripe_82))
    assert report.ok
    assert not report.failed
    for one in report.figures:
        assert one.reference == "Stripe 82 (1 frame)"
        assert one.bright_found >= one.bright - 1 >= 29
        assert abs(one.zero_point or 9) < 0.06
        assert abs(one.east or 9) < 0.06
        assert abs(one.north or 9) < 0.08


def test_counts_are_no_magnitudes(shared_sdss: Path, stripe_82: Reference) -> None:
    """The profile kira leaves the fluxes of fpC frames in counts."""
    table, expected = real(shared_sdss, EQUATOR, "kira")
    report = validate(table, expected, references=lambda _: stripe_82)
    assert report.ok
    assert "no calibrated flux" in check(report, "zero_point").detail
    assert {one.zero_point for one in report.figures} == {None}


def test_a_sample_against_its_truth(sample: Batch, truth: Callable[[FrameId], Reference]) -> None:
    report = validate(*sample, references=truth)
    assert not report.failed, report.sentence()
    for one in report.figures:
        assert one.frames == 2
        assert one.bright_found >= one.bright - 1 > 100
        assert max(abs(one.east or 9), abs(one.north or 9)) < 0.01
        assert abs(one.zero_point or 9) < 0.02
        limit = Thresholds().limits[one.band]
        assert limit - 0.6 < (one.depth_95 or 0) < (one.depth_50 or 0) < limit + 1.2
    assert "0 are primary in both" in check(report, "counted_twice").detail


def test_no_reference_is_no_fault(red: Batch) -> None:
    table, expected = red
    for references in ({}, (), {expected[0].frame: None}, lambda _: None):
        report = validate(table, expected, references=references)  # type: ignore[arg-type]
        assert not report.failed
        assert {check(report, name).detail.partition(":")[0] for name in AGAINST} == {
            "there is no reference for any frame"
        }
        assert of_band(report, "r").reference == ""


def test_too_few_are_no_judgement(red: Batch, photo_obj: Reference) -> None:
    table, expected = red
    bright = photo_obj[np.flatnonzero(photo_obj.magnitudes["r"] < 20)[:9]]
    broken = with_column(table, "dec", lambda v: v + 5 / 3600)
    report = validate(broken, expected, references=lambda _: bright)
    assert not report.failed
    assert check(report, "astrometry").detail == "the references have too few sources for a judgement"


# -- what is broken


def moved(table: pa.Table, arcsec: float) -> pa.Table:
    return with_column(table, "ra", lambda v: v + arcsec / 3600)


def brighter(table: pa.Table, factor: float) -> pa.Table:
    for name in [n for n in table.column_names if n.startswith("flux")]:
        table = with_column(table, name, lambda v: v * factor)
    return table


@pytest.mark.parametrize(
    ("name", "severity", "words", "damage"),
    [
        ("astrometry", ERROR, r'\+2\.0\d" east', lambda t: moved(t, 2.05)),
        ("astrometry", ERROR, r'-6\.\d\d" east', lambda t: moved(t, -6.5)),
        ("astrometry", WARNING, r'\+0\.[456]\d" east', lambda t: moved(t, 0.5)),
        ("zero_point", ERROR, r"-0\.4\d\d mag off", lambda t: brighter(t, 1.5)),
        ("zero_point", ERROR, r"\+0\.4\d\d mag off", lambda t: brighter(t, 1 / 1.5)),
        ("zero_point", WARNING, r"-0\.1\d\d mag off", lambda t: brighter(t, 1.15)),
        ("unmeasured", WARNING, "ra_err is not finite in 50.0%",
         lambda t: with_column(t, "ra_err", lambda v: np.where(np.arange(len(v)) % 2, v, np.nan))),
        ("flagged", WARNING, "SATURATED stands on 50.0% of the sources in r",
         lambda t: with_column(t, "flags_auto", lambda v: v | (int(Flag.SATURATED) * (np.arange(len(v)) % 2)))),
        ("duplicates", ERROR, "source_id .* is that of more than one source",
         lambda t: with_column(t, "source_id", lambda v: np.where(np.arange(len(v)) == 7, v[8], v))),
        ("duplicates", ERROR, "10 of .* nearer than 1 pixel",
         lambda t: _twins(t)),  # noqa: PLW0108 – it stands further down
    ],
)  # fmt: skip
def test_damage_is_named(
    red: Batch, photo_obj: Reference, name: str, severity: Severity, words: str,
    damage: Callable[[pa.Table], pa.Table],
) -> None:  # fmt: skip
    table, expected = red
    report = validate(damage(table), expected, references=lambda _: photo_obj)
    assert failures(report) == {(name, severity)}
    assert report.ok is (severity is WARNING)
    assert check(report, name).frame == FIELD[2]
    assert bool(report.caveats) is (severity is WARNING)
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(check(report, name).detail)


def _twins(table: pa.Table) -> pa.Table:
    """Sources 5 to 9 where 0 to 4 are, to half a pixel; a tenth in a hundred."""
    for name, step in (("x", 0.3), ("y", 0.4)):
        table = with_column(table, name, lambda v, step=step: np.concatenate([v[:5], v[:5] + step, v[10:]]))
    return table


def test_a_band_whose_rows_are_doubled(field: Batch, photo_obj: Reference) -> None:
    table, expected = field
    again = table.filter(pa.compute.equal(table["band"], "g"))
    doubled = pa.concat_tables([table, again]).combine_chunks()
    report = validate(doubled, expected, references=lambda _: photo_obj)
    assert failures(report) == {("row_counts", ERROR), ("numbers", ERROR), ("duplicates", ERROR)}
    # Even where the doubled rows were numbered, and counted.
    report = validate(*numbered(doubled, expected), references=lambda _: photo_obj)
    assert failures(report) == {("duplicates", ERROR)}
    assert check(report, "duplicates").frame == FIELD[1]


def test_positions_that_scatter(red: Batch, photo_obj: Reference) -> None:
    table, expected = red
    rng = np.random.default_rng(1)
    report = validate(
        with_column(table, "dec", lambda v: v + rng.normal(0, 0.5, len(v)) / 3600), expected,
        references=lambda _: photo_obj,
    )  # fmt: skip
    assert ("astrometry", WARNING) in failures(report)
    assert "scatter by 0." in check(report, "astrometry").detail


@pytest.mark.parametrize(("keep", "severity"), [(0.45, ERROR), (0.75, WARNING)])
def test_sources_that_are_missing(red: Batch, photo_obj: Reference, keep: float, severity: Severity) -> None:
    batch = kept(red, lambda t: np.random.default_rng(1).random(t.num_rows) < keep)
    report = validate(*batch, references=lambda _: photo_obj)
    assert failures(report) == {("found", severity)}
    assert "stars that should be found are there" in check(report, "found").detail


def test_a_catalogue_that_is_not_deep(field: Batch, photo_obj: Reference) -> None:
    """Half a magnitude short of what must be found, so that it is the depth that is seen."""
    batch = kept(field, lambda t: (t["flux_auto"].to_numpy() > 10 ** (0.4 * (22.5 - 20.6))) | ~_in_band(t, "g"))
    report = validate(*batch, references=lambda _: photo_obj)
    assert ("completeness", WARNING) in failures(report)
    assert "half of the stars in g are found to 20." in check(report, "completeness").detail
    assert ("zero_point", ERROR) not in failures(report)


def _in_band(table: pa.Table, band: str) -> np.ndarray:
    return np.asarray(table["band"].to_numpy(zero_copy_only=False) == band)


def test_a_frame_without_sources(field: Batch, photo_obj: Reference) -> None:
    batch = kept(field, lambda t: ~_in_band(t, "r"))
    report = validate(*batch, references=lambda _: photo_obj)
    assert failures(report) == {("number_counts", WARNING), ("found", ERROR)}
    assert "0 of 155 stars" in check(report, "found").detail
    assert {one.frame for one in report.failed} == {FIELD[2]}


@pytest.mark.parametrize(("broken", "severity"), [(1, WARNING), (2, ERROR)])
def test_a_frame_among_its_neighbours(red: Batch, broken: int, severity: Severity) -> None:
    """Six fields of equal sources, of which one or two are empty, or have seven times as many."""
    table, expected = strip(red, 6)
    empty = kept((table, expected), lambda t: t["field"].to_numpy() >= 12 + broken)
    report = validate(*empty)
    assert failures(report) == {("number_counts", severity)}
    assert check(report, "number_counts").frame == FIELD[2]
    thin = kept((table, expected), lambda t: (t["field"].to_numpy() >= 12 + broken) | (t["number"].to_numpy() < 100))
    report = validate(*thin)
    assert failures(report) == {("number_counts", severity)}
    assert "100 sources, where the other frames of its strip have 594 (median)" in check(report, "number_counts").detail
    few = kept((table, expected), lambda t: (t["field"].to_numpy() < 12 + broken) | (t["number"].to_numpy() < 100))
    assert failures(validate(*few)) == {("number_counts", severity)}


def test_noise_is_not_known_to_the_reference(red: Batch, photo_obj: Reference) -> None:
    """Four times as many detections, at random places: of a single frame no neighbour tells that they are too many."""
    table, expected = red
    rng = np.random.default_rng(1)
    noise = pa.concat_tables([table] * 4).combine_chunks()
    noise = with_column(noise, "x", lambda v: rng.uniform(0, 2047, len(v)))
    noise = with_column(noise, "y", lambda v: rng.uniform(0, 1488, len(v)))
    for name in ("ra", "dec"):
        noise = with_column(noise, name, lambda v: rng.uniform(v.min(), v.max(), len(v)))
    batch = numbered(pa.concat_tables([table, noise]).combine_chunks(), expected)
    report = validate(*batch, references=lambda _: photo_obj)
    assert ("spurious", WARNING) in failures(report)
    assert {name for name, _ in failures(report)} <= {"spurious", "duplicates"}  # some fall on each other
    assert 0.7 < (of_band(report, "r").spurious or 0) < 0.85


def test_a_catalogue_does_not_list_all_there_is(shared_sdss: Path, stripe_82: Reference) -> None:
    report = validate(*real(shared_sdss, EQUATOR[2:3]), references=lambda _: stripe_82)
    assert of_band(report, "r").spurious is None
    assert check(report, "spurious").passed


def test_few_neighbours_are_no_judgement(red: Batch) -> None:
    thin = kept(strip(red, 4), lambda t: (t["field"].to_numpy() > 12) | (t["number"].to_numpy() < 10))
    assert not validate(*thin).failed


def test_the_photo_obj_of_another_field(red: Batch, photo_obj: Reference) -> None:
    """It says nothing of the catalogue: a caveat, and nothing is judged by it."""
    report = validate(*red, references=lambda _: replace(photo_obj, field=(94, 1, 13)))
    assert failures(report) == {("references", WARNING)}
    assert report.caveats == (
        f"Check references warns on {FIELD[2]}: photoObj-000094-1-0012 is of another field, and was not used.",
    )
    assert of_band(report, "r").matched == 0


def test_a_reference_that_cannot_be_read(red: Batch) -> None:
    def broken(frame: FrameId) -> Reference | None:
        return read_photo_obj(b"<html>", f"photoObj of {frame}")

    report = validate(*red, references=broken)
    assert failures(report) == {("references", WARNING)}
    assert f"photoObj of {FIELD[2]} cannot be read" in report.caveats[0]


def test_a_reference_without_the_band(field: Batch, photo_obj: Reference) -> None:
    """And one that has it, for another frame of the same band."""
    without = replace(photo_obj, magnitudes={"r": photo_obj.magnitudes["r"]}, calibrators={})
    table, expected = field
    report = validate(table, expected, references=lambda _: without)
    assert not report.failed
    assert (of_band(report, "g").bright, of_band(report, "g").zero_point_stars) == (0, 0)
    table, expected = strip(field, 2)
    references = {
        e.frame: replace(without if e.frame.field == 13 else photo_obj, field=(94, 1, e.frame.field)) for e in expected
    }
    found = examine(table, expected, references=references)
    assert of_band(found.report, "g").zero_point_stars > 40
    assert found.comparisons is not None
    assert "Zero-point against magnitude" in plots(found.comparisons)


def test_coordinates_that_are_no_numbers(red: Batch, photo_obj: Reference, stripe_82: Reference) -> None:
    table, expected = red
    for value in (np.nan, np.inf, 1e300):
        broken = with_column(table, "dec", lambda v, value=value: np.full(len(v), value))
        for reference in (photo_obj, stripe_82):
            report = validate(broken, expected, references=lambda _, reference=reference: reference)
            assert ("coordinates", ERROR) in failures(report)


def test_a_frame_whose_coordinates_are_elsewhere(red: Batch, photo_obj: Reference) -> None:
    table, expected = red
    report = validate(with_column(table, "dec", lambda v: v + 1), expected, references=lambda _: photo_obj)
    assert ("found", ERROR) in failures(report)


def test_one_frame_of_many_that_is_off_is_a_caveat(red: Batch, photo_obj: Reference) -> None:
    table, expected = strip(red, 3)
    shifted = with_column(
        table, "dec", lambda v: v + np.where(table["field"].to_numpy() == 13, 2 / 3600, 0.0)
    )  # fmt: skip
    report = validate(
        shifted, expected, references={e.frame: replace(photo_obj, field=(94, 1, e.frame.field)) for e in expected}
    )
    # All three fields have the sky of the first, and so the same sources: that is not looked at here.
    assert ("astrometry", WARNING) in failures(report)
    assert check(report, "astrometry").frame == FIELD[2].replace("0012", "0013")
    assert not {name for name, _ in failures(report)} & {"found", "zero_point"}


def test_a_band_that_is_off_names_its_worst_frame(red: Batch, photo_obj: Reference) -> None:
    table, expected = strip(red, 3)
    step = np.array([0.2, 2.5, 1.5])[table["field"].to_numpy() - 12]
    report = validate(
        with_column(table, "dec", lambda v: v + step / 3600), expected,
        references={e.frame: replace(photo_obj, field=(94, 1, e.frame.field)) for e in expected},
    )  # fmt: skip
    assert ("astrometry", ERROR) in failures(report)
    assert check(report, "astrometry").frame == FIELD[2].replace("0012", "0013")
    assert "+1.5" in check(report, "astrometry").detail  # the median of the three


def test_sources_that_two_fields_count(sample: Batch, truth: Callable[[FrameId], Reference]) -> None:
    table, expected = sample
    everything = with_column(table, "primary", lambda v: np.ones(len(v), dtype=bool))
    report = validate(everything, expected, references=truth)
    assert failures(report) == {("counted_twice", ERROR)}
    told = check(report, "counted_twice")
    assert told.frame is not None
    assert "-0011-" in told.frame


# -- thresholds decide


def test_another_column_may_be_compared(red: Batch, photo_obj: Reference) -> None:
    asked = Thresholds.from_dict({"zero_point_columns": ["flux_none", "mag_auto", "flux_aper_5"]})
    report = validate(*red, asked, lambda _: photo_obj)
    assert of_band(report, "r").zero_point_column == "mag_auto"
    # The AUTO ellipse leaves out 2 to 10 % of a star (docs/comparison.md).
    assert 0.01 < (of_band(report, "r").zero_point or 0) < 0.1
    strict = replace(asked, warn_zero_point=0.005)
    assert failures(validate(*red, strict, lambda _: photo_obj)) == {("zero_point", WARNING)}


def test_a_report_is_json_without_nan(red: Batch, photo_obj: Reference) -> None:
    table, expected = red
    odd = [replace(expected[0], rms=float("nan"))]
    for report in (validate(table, odd, references=lambda _: photo_obj), validate(table.slice(0, 0), odd)):
        values = json.loads(json.dumps(report.as_dict(), allow_nan=False))
        assert values["ok"] is False
        assert values["figures"][0]["rms"] is None
        assert values["figures"][0]["band"] == "r"
        assert values["checks"][0]["name"] == "schema"
    assert validate(table.drop_columns(["ra"]), expected).as_dict()["figures"] == []


# -- the measures


def test_nearest_is_what_comparing_all_gives() -> None:
    rng = np.random.default_rng(3)
    ra, dec = 10 + rng.uniform(0, 0.05, 800), 60 + rng.uniform(0, 0.05, 800)
    there_ra, there_dec = 10 + rng.uniform(0, 0.05, 300), 60 + rng.uniform(0, 0.05, 300)
    expected = match(ra, dec, there_ra, there_dec, 5.0)
    middle = 10.02, 60.02
    which, offset = nearest_of(plane(there_ra, there_dec, middle), plane(ra, dec, middle), 5.0)
    assert 100 < expected.within.sum() < 300
    assert ((which >= 0) == expected.within).all()
    assert (which[expected.within] == expected.index[expected.within]).all()
    assert np.hypot(*offset[expected.within].T) == pytest.approx(expected.separation[expected.within], rel=1e-5)
    assert (nearest_of(np.empty((0, 2)), plane(ra, dec, middle), 5.0)[0]).size == 0
    assert (nearest_of(plane(ra, dec, middle), np.full((3, 2), np.nan), 5.0)[0] == -1).all()


def test_depth_is_between_the_bins_that_cross() -> None:
    def bins(*found: int) -> list[Recovery]:
        return [Recovery(18 + i / 2, 18.5 + i / 2, n, 20) for i, n in enumerate(found)]

    assert depth(bins(20, 20, 10, 0), 0.75) == pytest.approx(19.0)
    assert depth(bins(20, 20, 10, 0), 0.5) == pytest.approx(19.25)
    assert depth(bins(20, 18, 20, 20, 4), 0.95) == pytest.approx(19.75 + 0.5 * 0.05 / 0.8)  # one odd bin does not count
    # Bins of few stars are joined, and the last is left out where it has too few.
    few = [Recovery(18, 18.5, 6, 6), Recovery(18.5, 19, 6, 6), Recovery(19, 19.5, 0, 12), Recovery(19.5, 20, 3, 3)]
    assert depth(few, 0.5) == pytest.approx(18.875)
    for found in ((20, 20), (0, 0), ()):
        assert np.isnan(depth(bins(*found), 0.5))


def test_the_star_locus(sample: Batch, truth: Callable[[FrameId], Reference]) -> None:
    """M dwarfs stand at g - r = 1.4; F to K dwarfs lie on r - i = 0.38 (g - r) - 0.03: so the sample was made."""
    comparisons = examine(*sample, references=truth).comparisons
    assert comparisons is not None
    g_r, r_i = star_colours(comparisons)
    assert len(g_r) > 60
    dwarfs = (g_r > 0.3) & (g_r < 1.2)
    assert abs(np.median(r_i[dwarfs] - 0.38 * g_r[dwarfs] + 0.03)) < 0.03
    assert abs(np.median(g_r[r_i > 0.8]) - 1.42) < 0.05
