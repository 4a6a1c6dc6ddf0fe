"""Readers of references: bytes in, value out; and what is refused."""

import gzip
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table

from kira.errors import InvalidInput
from kira.sample import SampleSpec
from kira.sample.photoobj import listed_sources, photoobj_bytes
from kira.sample.truth import truth_bytes, truth_table
from kira.sdss import BANDS, FrameId, Release
from kira.validation.references import EDGE, Kind, place_of, read_catalogue, read_photo_obj, read_truth

PHOTO_OBJ = "sas/dr12/boss/photoObj/301/94/1/photoObj-000094-1-0012.fits"
NO_TABLE = "sas/dr12/boss/photoObj/301/2583/2/photoObj-002583-2-0136.fits"
STRIPE_82 = "reference/stripe82-stars.fits"
SPEC = SampleSpec(fields=2)
FRAME = SPEC.frame(Release(12), 3, 12, "r")


@pytest.fixture(scope="module")
def truth() -> bytes:
    return truth_bytes(SPEC, 3)


# -- photoObj


def test_objects_that_photo_did_not_deblend_further(shared_sdss: Path) -> None:
    """Counted with astropy, which reads the same file in another way."""
    content = (shared_sdss / PHOTO_OBJ).read_bytes()
    found = read_photo_obj(content, "photoObj")
    assert found is not None
    with fits.open(io.BytesIO(content)) as hdus:
        rows = hdus[1].data
        rows = rows[(rows["MODE"] <= 2) & (rows["NCHILD"] <= 0) & ((rows["OBJC_FLAGS"] & 2) == 0)]
        assert 600 < len(rows) == len(found) < 645
        assert found.ra == pytest.approx(rows["RA"], abs=0)
        assert (found.is_star == (rows["OBJC_TYPE"] == 6)).all()
        for i, band in enumerate(BANDS):
            positive = rows["PSFFLUX"][:, i] > 0
            expected = 22.5 - 2.5 * np.log10(rows["PSFFLUX"][positive, i])
            assert found.magnitudes[band][positive] == pytest.approx(expected, abs=1e-5)
            # asinh and Pogson magnitudes of what is bright are the same
            bright = rows["PSFMAG"][:, i] < 19
            assert found.magnitudes[band][bright] == pytest.approx(rows["PSFMAG"][bright, i], abs=1e-3)
            spoilt = (rows["FLAGS"][:, i] & (1 << 18 | 1 << 2)) != 0
            assert not found.calibrators[band][spoilt].any()
            assert found.calibrators[band].sum() > 50
        saturated = (rows["OBJC_FLAGS"] & 1 << 18) != 0
        assert saturated.any()
        assert not found.counted[saturated].any()
    assert (found.kind, found.field, found.synthetic) == (Kind.PHOTO_OBJ, (94, 1, 12), False)


def test_photo_failed_on_a_globular_cluster(shared_sdss: Path) -> None:
    assert read_photo_obj((shared_sdss / NO_TABLE).read_bytes()) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: c[:-5_000], lambda c: c[:2880], lambda c: c[: c.index(b"XTENSION=")], lambda c: b"<html>" + c,
        lambda c: c[:0], gzip.compress,
        lambda c: c.replace(b"PSFFLUX ", b"PSFFLUXX", 1), lambda c: c.replace(b"FIELD   =", b"FEILD   =", 1),
        lambda c: c.replace(b"'5E      '", b"'5Q      '", 1),
    ],
)  # fmt: skip
def test_a_damaged_photo_obj_is_refused(shared_sdss: Path, damage: Callable[[bytes], bytes]) -> None:
    content = damage((shared_sdss / PHOTO_OBJ).read_bytes())
    with pytest.raises(InvalidInput, match=r"photoObj-x cannot be read as SDSS's photoObj: .*Fetch it again"):
        read_photo_obj(content, "photoObj-x")


def test_rows_of_another_field_are_refused() -> None:
    content = photoobj_bytes(SPEC, 3, 12)
    start = content.index(b"FIELD   =")
    card = content[start : start + 30]
    assert card.endswith(b"12")
    with pytest.raises(InvalidInput, match="its rows are of another field"):
        read_photo_obj(content[:start] + card[:-2] + b"13" + content[start + 30 :])


def test_a_sample_s_photo_obj_is_its_truth() -> None:
    found, listed = read_photo_obj(photoobj_bytes(SPEC, 3, 12)), listed_sources(SPEC, 3, 12)
    assert found is not None
    assert found.synthetic
    assert len(found) == len(listed)
    for i, band in enumerate(BANDS):
        assert found.magnitudes[band] == pytest.approx(22.5 - 2.5 * np.log10(listed.flux[:, i]), abs=1e-5)
    assert (found.is_star == listed.is_star).all()


# -- truth


def test_the_truth_near_a_frame(truth: bytes) -> None:
    found, rows = read_truth(truth, FRAME), truth_table(SPEC, 3)
    row, col = rows["row"].to_numpy() - 1361 * 12, rows["col"].to_numpy()
    inside = (row >= EDGE) & (row <= 1488 - EDGE) & (col >= EDGE) & (col <= 2047 - EDGE)
    assert 1_500 < inside.sum() == len(found) < rows.num_rows
    assert sorted(found.ra) == sorted(rows["ra"].to_numpy()[inside])
    assert (found.kind, found.field, found.synthetic) == (Kind.TRUTH, place_of(FRAME), True)
    assert found.is_star.sum() == (np.array(rows["kind"].to_pylist())[inside] == "star").sum()


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (SPEC.frame(Release(12), 4, 12, "r"), "run 9001 camcol 3"),
        (FrameId.parse("dr12-301-000094-3-0012-r"), "run 9001"),
    ],
)
def test_the_truth_of_another_strip(truth: bytes, frame: FrameId, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        read_truth(truth, frame)


def test_what_is_no_truth(truth: bytes) -> None:
    for content in (b"", b"PAR1", truth[:-20], truth[: len(truth) // 2]):
        with pytest.raises(InvalidInput, match="cannot be read as the truth"):
            read_truth(content, FRAME)
    out = io.BytesIO()
    pq.write_table(truth_table(SPEC, 3).replace_schema_metadata({"run": "9001", "camcol": "3"}), out)
    with pytest.raises(InvalidInput, match="not the truth of a synthetic sample"):
        read_truth(out.getvalue(), FRAME)


# -- catalogues


def test_stripe_82(shared_sdss: Path) -> None:
    found = read_catalogue((shared_sdss / STRIPE_82).read_bytes(), "Stripe 82")
    assert len(found) == 28_196
    assert (found.kind, found.field) == (Kind.CATALOGUE, None)
    assert 350 < found.ra.min() < found.ra.max() < 354.1  # the file counts from -10
    assert found.is_star.all()
    assert set(found.magnitudes) == set(BANDS)


def test_a_box_is_what_comparing_all_gives() -> None:
    rng = np.random.default_rng(1)
    n = 20_000
    rows = pa.table(
        {"ra": rng.uniform(0, 360, n), "dec": np.degrees(np.arcsin(rng.uniform(-1, 1, n))), "r": np.full(n, 18.0)}
    )
    found = read_catalogue(_as_csv(rows))
    for ra, dec in (((350.0, 12.0), (-5.0, 5.0)), ((10.0, 60.0), (80.0, 95.0)), ((10.0, 11.0), (-90.0, 90.0))):
        inside = ((found.ra - ra[0]) % 360 <= (ra[1] - ra[0]) % 360) & (found.dec >= dec[0]) & (found.dec <= dec[1])
        assert inside.any()
        assert sorted(found.within(ra, dec).ra) == sorted(found.ra[inside])


def _as_csv(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pacsv.write_csv(table, out)
    return out.getvalue()


def _as(table: Table, kind: str) -> bytes:
    out = io.BytesIO()
    if kind == "parquet":
        pq.write_table(pa.table({name: np.asarray(table[name]) for name in table.colnames}), out)
    elif kind == "csv":
        return _as_csv(pa.table({name: np.asarray(table[name]) for name in table.colnames}))
    else:
        table.write(out, format=kind)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["fits", "votable", "csv", "parquet"])
@pytest.mark.parametrize(
    "names",
    [("ra", "dec", "r", "is_star"), ("RAJ2000", "DEJ2000", "rmag", "star"), ("_RAJ2000", "de_icrs", "psfMag_r", "x")],
)  # fmt: skip
def test_formats_and_names(kind: str, names: tuple[str, str, str, str]) -> None:
    ra, dec, r, star = names
    table = Table({
        "name": np.array(["a", "b", "c", "d"]), ra: [-1.0, 2.0, np.nan, 4.0], dec: [0.5, -0.5, 0.0, 91.0],
        r: [18.0, -9999.0, 17.0, 16.0], star: np.array([1, 0, 1, 1]),
    })  # fmt: skip
    found = read_catalogue(_as(table, kind), "mine")
    assert found.ra == pytest.approx([359.0, 2.0])
    assert found.dec == pytest.approx([0.5, -0.5])
    assert found.magnitudes["r"] == pytest.approx([18.0, np.nan], nan_ok=True)
    assert set(found.magnitudes) == set(found.calibrators) == {"r"}
    assert found.is_star.tolist() == [True, star == "x"]


def test_sdss_s_types() -> None:
    table = Table({"ra": [1.0, 2.0], "dec": [1.0, 2.0], "g": [18.0, 19.0], "type": [3, 6]})
    assert read_catalogue(_as(table, "csv")).is_star.tolist() == [False, True]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"alpha,delta,r\n1,2,3\n", "mine has no column for right ascension and declination: it has alpha, delta, r"),
        (b"ra,dec,colour\n1,2,3\n", "no column for a magnitude: it has ra, dec, colour"),
        (b"ra,dec,r\nx,y,z\n", "ra of mine is not a column of numbers"),
        (b"ra,dec,r\n1,2\n", "mine cannot be read"),
        (b"", "mine cannot be read"),
        (b"\x1f\x8b\0\0\0", "decompress it"),
        (b"PAR1 and more", "mine cannot be read"),
        (b"<?xml version='1.0'?><a/>", "mine cannot be read"),
        (b"SIMPLE  =                    T", "mine cannot be read"),
    ],
)
@pytest.mark.filterwarnings("ignore:Error validating header")
def test_catalogues_that_do_not_serve(content: bytes, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        read_catalogue(content, "mine")


def test_a_fits_image_is_no_catalogue(shared: Path) -> None:
    out = io.BytesIO()
    fits.PrimaryHDU(np.zeros((3, 3))).writeto(out)
    with pytest.raises(InvalidInput, match="it has no table"):
        read_catalogue(out.getvalue(), "mine")
