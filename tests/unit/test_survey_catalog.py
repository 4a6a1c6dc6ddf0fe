"""The catalogue of the survey profiles: on the sky, in nanomaggies and magnitudes; and files that tools read."""

import io
from dataclasses import replace
from pathlib import Path

import astropy.units as u
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table
from astropy.wcs import WCS
from real_frames import frame

from kira.catalog.document import markdown
from kira.catalog.formats import format_of, table_bytes, to_astropy
from kira.catalog.magnitudes import SOFTENING, asinh_magnitude, pogson_magnitude
from kira.catalog.sky import LocalSky
from kira.catalog.source_id import MOST, parse_source_id, source_ids
from kira.catalog.survey import FIRST_PRIMARY, LAST_PRIMARY, drawn_away, survey_schema, survey_table
from kira.errors import InvalidInput
from kira.extraction import SurveyProfile, extract
from kira.frames import Frame
from kira.sdss import BANDS, FrameId, Release

PROFILE = SurveyProfile()
R12 = FrameId.parse("dr12-301-000094-1-0012-r")


# -- the sky


@pytest.fixture(params=[(0.0, 0.0), (359.9999, 45.0), (0.00001, -80.0), (123.0, 89.9)])
def tilted(request: pytest.FixtureRequest) -> WCS:
    """Turned by 30 degrees and mirrored, with other scales along x and y."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], list(request.param), [50.0, 50.0]
    c, s = np.cos(np.radians(30)), np.sin(np.radians(30))
    wcs.wcs.cd = np.array([[-c * 1.0e-4, s * 1.3e-4], [s * 1.0e-4, c * 1.3e-4]])
    return wcs


def test_directions_and_lengths_are_those_of_astropy(tilted: WCS) -> None:
    x, y = np.array([49.0, 10.0, 90.0]), np.array([49.0, 80.0, 20.0])
    sky = LocalSky(tilted, x, y)
    there = SkyCoord(sky.ra * u.deg, sky.dec * u.deg)
    for theta in (-1.5, -0.3, 0.0, 0.7, np.pi / 2):
        ra, dec = tilted.all_pix2world(x + 0.1 * np.cos(theta), y + 0.1 * np.sin(theta), 0)
        ahead = SkyCoord(ra * u.deg, dec * u.deg)
        length, angle = sky.direction(np.full(3, theta))
        assert length == pytest.approx(there.separation(ahead).arcsec / 0.1, rel=1e-4)
        turned = (angle - there.position_angle(ahead).deg + 90) % 180 - 90
        assert abs(turned).max() < 0.05
        assert ((angle >= 0) & (angle < 180)).all()
    assert sky.scale == pytest.approx(3600 * np.sqrt(1.0e-4 * 1.3e-4), rel=1e-3)


def test_errors_turn_with_the_image(tilted: WCS) -> None:
    """Held against many positions thrown with the covariance on the image."""
    rng = np.random.default_rng(1)
    covariance = np.array([[0.04, 0.01], [0.01, 0.09]])
    x, y = rng.multivariate_normal([60.0, 40.0], covariance, 20_000).T
    ra, dec = tilted.all_pix2world(x, y, 0)
    sky = LocalSky(tilted, np.array([60.0]), np.array([40.0]))
    east = ((ra - sky.ra + 180) % 360 - 180) * np.cos(np.radians(sky.dec)) * 3600
    north = (dec - sky.dec) * 3600
    found = np.concatenate(sky.covariance(np.array([0.04]), np.array([0.09]), np.array([0.01])))
    thrown = np.cov(east, north)
    assert found == pytest.approx([thrown[0, 0], thrown[1, 1], thrown[0, 1]], rel=0.05, abs=0.0005)


def test_no_coordinates_are_no_numbers() -> None:
    sky = LocalSky(None, np.arange(3.0), np.arange(3.0))
    assert all(np.isnan(values).all() for values in (sky.ra, sky.dec, sky.scale, *sky.direction(np.zeros(3))))
    assert LocalSky(WCS(naxis=2), np.empty(0), np.empty(0)).ra.shape == (0,)


def test_a_position_that_is_not_known_leaves_the_others_alone(tilted: WCS) -> None:
    sky = LocalSky(tilted, np.array([np.nan, 10.0]), np.array([5.0, 5.0]))
    assert np.isnan([sky.ra[0], sky.dec[0], sky.scale[0]]).all()
    assert np.isfinite([sky.ra[1], sky.dec[1], sky.scale[1]]).all()


# -- magnitudes


def test_asinh_magnitudes_are_sdss_own() -> None:
    """Zero flux and ten times the softening: the table of www.sdss.org, algorithms, magnitudes."""
    for band, zero, ten in zip(
        BANDS, (24.63, 25.11, 24.80, 24.36, 22.83), (22.12, 22.60, 22.29, 21.85, 20.32), strict=True
    ):
        b = SOFTENING[band] * 1e9
        magnitude, error = asinh_magnitude(np.array([0.0, 10 * b]), np.array([b, b]), band)
        assert magnitude == pytest.approx([zero, ten], abs=0.006)
        assert error[0] == pytest.approx(2.5 / np.log(10) / 2)


def test_bright_sources_have_the_same_magnitude_by_both() -> None:
    flux = np.array([100.0, 1e4])
    for band in BANDS:
        (a, a_err), (p, p_err) = asinh_magnitude(flux, flux / 50, band), pogson_magnitude(flux, flux / 50)
        assert a == pytest.approx(p, abs=1e-3)
        assert a_err == pytest.approx(p_err, rel=1e-3)
    assert pogson_magnitude(flux, flux / 50)[0] == pytest.approx([17.5, 12.5])
    assert np.isnan(pogson_magnitude(np.array([0.0, -1.0]), np.ones(2))[0]).all()


# -- ids


@pytest.mark.parametrize("text", ["dr1-40-000001-1-0011-u", "dr18-301-008162-6-0999-z", "dr7-44-009001-3-0000-g"])
def test_ids_can_be_read_back(text: str) -> None:
    frame_id = FrameId.parse(text)
    ids = source_ids(frame_id, 1000)
    assert (np.diff(ids) == 1).all()
    assert ids.min() > 0
    assert parse_source_id(int(ids[0])) == (frame_id, 0)
    assert parse_source_id(int(ids[999])) == (frame_id, 999)


def test_ids_of_frames_do_not_meet() -> None:
    frames = [
        FrameId(Release(n), run, 301, camcol, field, band)
        for n in (8, 12) for run in (94, 95) for camcol in (1, 6) for field in (11, 12) for band in BANDS
    ]  # fmt: skip
    ids = np.concatenate([source_ids(one, 2) + np.array([0, MOST - 1]) for one in frames])
    assert len(np.unique(ids)) == len(ids)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidInput, match="run 20,000 does not fit"):
        source_ids(FrameId(Release(12), 20_000, 301, 1, 11, "r"), 1)
    with pytest.raises(InvalidInput, match="number 65,536 does not fit"):
        source_ids(R12, MOST + 2)
    for nonsense in (-1, 1 << 62, (5 << 16) | 3):
        with pytest.raises(InvalidInput):
            parse_source_id(nonsense)


# -- rows


@pytest.fixture(scope="module")
def real(shared_sdss: Path) -> Frame:
    return replace(frame(shared_sdss, str(R12)), nmgy=1.0, calibration="frame")


@pytest.fixture(scope="module")
def rows(real: Frame) -> pa.Table:
    return survey_table(real, extract(real, PROFILE), PROFILE, run_id="a run")


def test_rows_of_a_real_frame(rows: pa.Table, real: Frame) -> None:
    assert rows.schema.equals(survey_schema(PROFILE.apertures), check_metadata=True)
    assert not any(column.null_count for column in rows.columns)
    t = to_astropy(rows)
    measured = extract(real, PROFILE).table
    assert (t["x_win"] == measured["x_win"]).all()
    assert np.allclose(t["flux_auto"], measured["flux_auto"], equal_nan=True)  # nanomaggies already
    assert np.allclose(np.hypot(t["a"], 0) / measured["a"], 0.396, rtol=2e-3)
    assert np.allclose(t["r50"] / measured["r50"], 0.396, rtol=2e-3, equal_nan=True)
    away = drawn_away(measured)
    assert 0 < away.sum() < 0.1 * len(away)
    x, y = (np.where(away, measured[name], measured[f"{name}_win"]) for name in ("x", "y"))
    ra, dec = real.sky_positions(x, y)
    assert SkyCoord(ra, dec, unit="deg").separation(SkyCoord(t["ra"], t["dec"])).arcsec.max() < 1e-6
    good = t["flux_auto"] > 10 * t["fluxerr_auto"]
    assert good.sum() > 200
    assert np.allclose(t["mag_auto"][good], t["mag_auto_pogson"][good], atol=5e-3)
    assert set(t["calibration"]) == {"frame"}
    assert set(t["astrometry"]) == {"asTrans"}
    assert set(t["profile"]) == {PROFILE.slug}
    assert set(t["run_id"]) == {"a run"}
    assert [parse_source_id(int(i)).number for i in t["source_id"][:3]] == [0, 1, 2]


def test_errors_of_positions_are_those_of_the_pixels(rows: pa.Table, real: Frame) -> None:
    """The image is turned, but hardly distorted: the sum of variances stays."""
    measured, t = extract(real, PROFILE).table, to_astropy(rows)
    kind = np.where(drawn_away(measured), "", "_win")
    pixels = np.array([np.hypot(m[f"x{k}_err"], m[f"y{k}_err"]) for m, k in zip(measured, kind, strict=True)]) * 0.396
    assert np.allclose(np.hypot(t["ra_err"], t["dec_err"]), pixels, rtol=3e-3, equal_nan=True)


def test_counts_become_nanomaggies(shared_sdss: Path) -> None:
    fpc = frame(shared_sdss, "dr7-40-004192-4-0300-r")
    found = extract(fpc, PROFILE)
    for factor in (0.005, 0.01):
        t = to_astropy(survey_table(replace(fpc, nmgy=factor), found, PROFILE))
        for name in ("flux_auto", "fluxerr_auto", "flux_iso", "peak", "background_rms", "threshold"):
            assert np.allclose(t[name], found.table[name] * factor, equal_nan=True)
        assert np.allclose(t["flux_aper_6"], found.table["flux_aper"][:, 5] * factor, equal_nan=True)
    unknown = to_astropy(survey_table(replace(fpc, nmgy=np.nan), found, PROFILE))
    assert np.isnan(unknown["flux_auto"]).all()
    assert np.isnan(unknown["mag_auto"]).all()
    assert unknown["flux_auto"].unit == u.Unit("nmgy")


def test_each_row_of_a_run_is_primary_once() -> None:
    """Fields follow each other every 1361 rows; a position in the overlap is primary in one of its two fields."""
    step = 1489 - 128
    for row in np.arange(0, 1489, 0.25):
        held = [n for n in (-1, 0, 1) if FIRST_PRIMARY - 0.5 <= row - n * step < LAST_PRIMARY - 0.5]
        assert len(held) == 1, row


def test_an_image_that_is_not_from_sdss(real: Frame) -> None:
    """Its fluxes stay in the unit of its pixels, and the schema says so."""
    other = replace(real, id=None, nmgy=np.nan, bunit="electron", calibration="none")
    table = survey_table(other, extract(other, PROFILE), PROFILE)
    t = to_astropy(table)
    assert t["flux_auto"].unit == u.electron
    assert t["peak"].unit == u.electron / u.pix
    assert (t["flux_auto"] > 0).sum() > 500
    assert np.isnan(t["mag_auto_pogson"]).all()
    assert table["run"].null_count == table.num_rows
    assert t["primary"].all()
    assert table.schema.metadata[b"flux_unit"] == b"electron"


def test_no_sources_are_no_rows(real: Frame) -> None:
    none = extract(real, replace(PROFILE, threshold=1e6))
    table = survey_table(real, none, PROFILE)
    assert table.num_rows == 0
    assert table.schema.equals(survey_schema(PROFILE.apertures))


# -- files


@pytest.mark.parametrize("kind", ["fits", "votable"])
def test_astropy_reads_units_and_meanings(rows: pa.Table, kind: str) -> None:
    content = table_bytes(rows, kind)
    assert content == table_bytes(rows, kind)
    # FITS has no nanomaggy, and astropy says so.
    options = {"unit_parse_strict": "silent"} if kind == "fits" else {}
    back, ours = Table.read(io.BytesIO(content), format=kind, **options), to_astropy(rows)
    assert back.colnames == ours.colnames
    for name in ours.colnames:
        assert str(back[name].unit or "") == str(ours[name].unit or ""), name
        if ours[name].dtype.kind == "f":
            assert np.array_equal(np.ma.filled(back[name], np.nan), ours[name], equal_nan=True), name
        else:
            assert (back[name] == ours[name]).all(), name
    assert u.Unit(str(back["flux_auto"].unit)) == u.Unit("nmgy")
    if kind == "votable":
        assert back["ra"].meta["ucd"] == "pos.eq.ra;meta.main"
        assert " ".join(back["ra"].description.split()) == ours["ra"].description
    else:
        number = ours.colnames.index("ra") + 1
        assert back.meta[f"TUCD{number}"] == "pos.eq.ra;meta.main"
        assert back.meta[f"TCOMM{number}"] == ours["ra"].description


def test_parquet_keeps_all_and_csv_the_numbers(rows: pa.Table) -> None:
    back = pq.read_table(pa.BufferReader(table_bytes(rows, "parquet")))
    assert back.num_rows == rows.num_rows
    for name in rows.column_names:
        ours, theirs = (to_astropy(table.select([name]))[name] for table in (rows, back))
        assert np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f"), name
    assert back.schema.field("ra").metadata[b"unit"] == b"deg"
    assert back.schema.metadata[b"kira_schema"] == b"2"
    text = Table.read(table_bytes(rows, "csv").decode(), format="ascii.csv")
    assert np.allclose(text["flux_auto"], to_astropy(rows)["flux_auto"], rtol=1e-12)
    assert list(text["source_id"]) == rows["source_id"].to_pylist()


def test_the_ending_says_the_format() -> None:
    found = [format_of(name) for name in ("a.parquet", "b/c.FITS", "d.vot", "e.xml", "f.csv")]
    assert found == ["parquet", "fits", "votable", "votable", "csv"]
    for name in ("a", "b.txt", "c.fits.gz"):
        with pytest.raises(InvalidInput, match="is written as"):
            format_of(name)


def test_the_document_is_that_of_the_schema() -> None:
    written = (Path(__file__).parents[2] / "docs" / "catalog.md").read_text()
    assert written == markdown(), "make it anew: python -m kira.catalog.document > docs/catalog.md"
