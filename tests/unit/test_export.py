"""A whole catalogue in canonical order, as files that astronomers' tools open, and as HATS, read by hats and lsdb."""

import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units
from astropy.table import Table
from published_catalogues import KINDS, PROFILES, all_over, content, made_up, plain, publish, scattered

from kira.catalog import digest, read_parts
from kira.catalog.cone import Cone
from kira.catalog.formats import table_bytes
from kira.catalog.hats import write_hats
from kira.catalog.healpix import DEEPEST, Histogram, Pixel, Tiling, pixel_numbers
from kira.catalog.ordered import stretches, write_parquet
from kira.catalog.published import open_catalogue
from kira.catalog.schema import KEY
from kira.catalog.search import search_cone
from kira.errors import InvalidInput, StorageError


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place(kind: str, tmp_path: Path) -> Path:
    return publish(tmp_path / "published", kind, all_over(kind))


def interleaved(kind: str) -> list[pa.Table]:
    """Files that each hold every third field, as the tasks of a batch write them."""
    fields = [made_up(kind, *scattered(200, 10.0, 0.0, 1.0, n), field=11 + n, seed=n) for n in range(12)]
    return [pa.concat_tables(fields[n::3]).unify_dictionaries() for n in range(3)]


# -- canonical order


@pytest.mark.parametrize("rows", [1, 500, 1_000_000])
def test_all_rows_come_in_canonical_order_a_stretch_at_a_time(kind: str, tmp_path: Path, rows: int) -> None:
    tables = interleaved(kind)
    place = publish(tmp_path / "c", kind, {"a": tables[:2], "b": tables[2:]})
    catalogue = open_catalogue(str(place))
    told: list[tuple[int, int]] = []
    found = list(stretches(catalogue, rows, lambda done, total: told.append((done, total))))
    order = [(name, "ascending") for name in KEY]
    assert plain(pa.concat_tables(found)).equals(plain(pa.concat_tables(tables)).sort_by(order))
    # A stretch ends with the field (200 rows) that fills it.
    assert max(table.num_rows for table in found) <= max(rows - rows % 200 + 200, 200)
    assert len(found) == {1: 12, 500: 4, 1_000_000: 1}[rows]
    assert told[-1] == (2400, 2400)


def test_the_same_catalogue_gives_the_same_bytes(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kira.catalog.ordered._ROWS_PER_GROUP", 700)
    tables = interleaved(kind)
    one = publish(tmp_path / "one", kind, {"a": tables})
    other = publish(tmp_path / "other", kind, {"x": [pa.concat_tables(tables[1:]), tables[0]]})
    written = set()
    for place, rows in ((one, 1), (one, 500), (one, 10**6), (other, 500)):
        sink = io.BytesIO()
        assert write_parquet(open_catalogue(str(place)), sink, rows) == 2400
        written.add(sink.getvalue())
    assert len(written) == 1
    footer = pq.read_metadata(io.BytesIO(written.pop()))
    assert [footer.row_group(n).num_rows for n in range(footer.num_row_groups)] == [700, 700, 700, 300]


def test_an_export_is_the_catalogue(place: Path, kind: str) -> None:
    sink = io.BytesIO()
    catalogue = open_catalogue(str(place))
    write_parquet(catalogue, sink)
    assert catalogue.tally.bytes < 1.5 * catalogue.size + 64 * 1024 * len(catalogue.parts)
    tables = [table for tables in all_over(kind).values() for table in tables]
    read = pq.read_table(io.BytesIO(sink.getvalue()))
    assert digest(read) == digest(pa.concat_tables(tables))
    assert digest(read_parts([sink.getvalue()])) == digest(read)  # what reads a part reads this too
    assert read.schema.field("ra").metadata[b"unit"] == b"deg"
    assert read.schema.metadata[b"synthetic"] == b"yes"
    assert read.schema.metadata[b"kira_schema"] == {"kira": b"1", "survey": b"2"}[kind]


def test_files_say_different_things_of_themselves(kind: str, tmp_path: Path) -> None:
    real, made = (made_up(kind, *scattered(20, 1.0, 1.0, 1.0, n), field=20 + n) for n in (1, 2))
    place = publish(tmp_path / "c", kind, {"a": [real]}, synthetic=False)
    assert open_catalogue(str(place)).schema.metadata[b"synthetic"] == b"no"
    (place / "batch=a" / "part-1.parquet").write_bytes(content(kind, made, synthetic=True))
    assert open_catalogue(str(place)).schema.metadata[b"synthetic"] == b"yes"


def test_a_catalogue_without_a_source(kind: str, tmp_path: Path) -> None:
    place = publish(tmp_path / "c", kind, {"a": [made_up(kind, np.zeros(0), np.zeros(0))]})
    sink = io.BytesIO()
    assert write_parquet(open_catalogue(str(place)), sink) == 0
    assert pq.read_table(io.BytesIO(sink.getvalue())).num_rows == 0
    with pytest.raises(InvalidInput, match="has no source with a position"):
        write_hats(open_catalogue(str(place)), tmp_path / "h", "none")
    assert not (tmp_path / "h").exists()


# -- other formats


def test_what_is_found_is_read_by_astropy_with_units(place: Path, kind: str, tmp_path: Path) -> None:
    table = search_cone(open_catalogue(str(place)), Cone(0.0, 0.0, 0.4))
    assert table.num_rows > 50
    flux = {"kira": "flux_ellipse", "survey": "flux_auto"}[kind]
    for name, form in (("fits", "fits"), ("votable", "votable")):
        (tmp_path / name).write_bytes(table_bytes(table, name))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", units.UnitsWarning)  # nmgy is SDSS's own
            read = Table.read(tmp_path / name, format=form)
        assert len(read) == table.num_rows
        assert (read["separation"].unit, read["ra"].unit) == (units.arcsec, units.deg)
        assert str(read[flux].unit) == "nmgy"
        for column in ("separation", "ra", "run", flux):
            assert np.array_equal(np.asarray(read[column]), table[column].to_numpy()), (name, column)
        assert [str(one) for one in read["band"]] == table["band"].to_pylist()
    (tmp_path / "t.csv").write_bytes(table_bytes(table, "csv"))
    read = Table.read(tmp_path / "t.csv", format="ascii.csv")
    assert read.colnames == table.column_names
    assert np.array_equal(read["separation"], table["separation"].to_numpy())


@pytest.mark.parametrize("form", ["fits", "votable", "csv", "parquet"])
def test_what_is_not_found_is_a_file_too(place: Path, form: str) -> None:
    table = search_cone(open_catalogue(str(place)), Cone(77.0, -30.0, 1e-5))
    assert table.num_rows == 0
    assert table_bytes(table, form)


# -- HEALPix


def test_pixels_are_those_of_hats() -> None:
    from hats.pixel_math.spatial_index import compute_spatial_index

    ra, dec = scattered(2000, 0.0, 0.0, 180.0, 1)
    ra, dec = np.append(ra, [0.0, 359.9999999, 0.0, 180.0]), np.append(dec, [0.0, 0.0, 90.0, -90.0])
    assert np.array_equal(pixel_numbers(ra, dec), compute_spatial_index(ra, dec))
    assert np.array_equal(pixel_numbers(ra, dec, 7), pixel_numbers(ra, dec) >> 2 * (DEEPEST - 7))


def test_bounds_of_a_pixel_never_leave_out_what_is_inside() -> None:
    for order in (0, 1, 2, 3, 5, 9, 14):
        for seed, (at_ra, at_dec) in enumerate(
            [(0.0, 0.0), (45.0, 41.8), (359.999, 30.0), (10.0, 89.99), (9.0, -85.0)]
        ):
            ra, dec = scattered(500, at_ra, at_dec, 60 / 2**order, seed)
            numbers = pixel_numbers(ra, dec, order)
            for number in np.unique(numbers):
                pixel = Pixel(order, int(number))
                inside = numbers == number
                assert np.array_equal(Tiling((pixel,)).inside(ra, dec), inside)
                assert all(pixel.may_hold((a, a), (d, d)) for a, d in zip(ra[inside], dec[inside], strict=True)), pixel
    assert not Pixel(9, 0).may_hold((200.0, 210.0), (-10.0, 10.0))


@pytest.mark.parametrize("most", [1, 7, 100, 5000])
def test_partitions_hold_every_position_once_and_are_as_large_as_may_be(most: int) -> None:
    wide, narrow = scattered(1500, 0.0, 0.0, 180.0, 1), scattered(1500, 0.1, 0.0, 0.5, 2)
    ra, dec = (np.concatenate(both) for both in zip(wide, narrow, strict=True))
    histogram = Histogram.of(20, [(ra[:1000], dec[:1000]), (ra[1000:], dec[1000:])])
    found = histogram.partition(most)
    numbers = pixel_numbers(ra, dec)
    places = Tiling(tuple(pixel for pixel, _ in found)).places(numbers)
    assert places.min() == 0
    assert np.bincount(places).tolist() == [count for _, count in found]
    for place, (pixel, count) in enumerate(found):
        assert 0 < count <= most
        assert (numbers[places == place] >> 2 * (DEEPEST - pixel.order) == pixel.number).all()
        if pixel.order:  # the next larger one would hold too many
            parent = numbers >> 2 * (DEEPEST - pixel.order + 1) == pixel.number >> 2
            assert parent.sum() > most
    # Positions in none of them are in none.
    ends = Tiling((Pixel(3, 5), Pixel(3, 9)))
    assert ends.places(np.array([0, 5 << 52, (6 << 52) - 1, 6 << 52, 9 << 52, 10 << 52])).tolist() == [
        -1,
        0,
        0,
        -1,
        1,
        -1,
    ]


# -- HATS


@pytest.fixture
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lsdb's and dask's own
        yield


@pytest.mark.parametrize("most", [250_000, 300])
def test_hats_reads_it(place: Path, kind: str, tmp_path: Path, most: int, quiet: None) -> None:
    import hats
    from hats.io.validation import is_valid_catalog

    told: list[tuple[int, int]] = []
    catalogue = open_catalogue(str(place))
    written = write_hats(catalogue, tmp_path / "hats", PROFILES[kind].slug, most, lambda *one: told.append(one))
    assert (written.rows, written.left_out) == (3200, 0)
    assert told[-1] == (len(written.partitions), len(written.partitions))
    assert is_valid_catalog(tmp_path / "hats", strict=True)
    read = hats.read_hats(tmp_path / "hats")
    about = read.catalog_info
    assert (about.total_rows, about.catalog_type, about.ra_column, about.dec_column) == (3200, "source", "ra", "dec")
    assert (about.healpix_column, about.healpix_order, about.hats_max_rows) == ("_healpix_29", 29, most)
    assert about.catalog_name == PROFILES[kind].slug
    assert "synthetic" in about.obs_description
    assert [(p.order, p.pixel) for p in read.get_healpix_pixels()] == [(p.order, p.number) for p in written.partitions]
    assert read.schema.field("ra").metadata[b"unit"] == b"deg"
    # Each file has the rows of its pixel, in the order of the index; all together are the catalogue.
    tables = []
    for pixel in written.partitions:
        folder = tmp_path / "hats" / "dataset" / f"Norder={pixel.order}" / f"Dir={pixel.number // 10_000 * 10_000}"
        table = pq.ParquetFile(folder / f"Npix={pixel.number}.parquet").read()
        index = table["_healpix_29"].to_numpy()
        assert (np.diff(index) >= 0).all()
        assert (index >> 2 * (DEEPEST - pixel.order) == pixel.number).all()
        assert np.array_equal(index, pixel_numbers(table["ra"].to_numpy(), table["dec"].to_numpy()))
        assert 0 < table.num_rows <= most
        tables.append(table)
    expected = plain(pa.concat_tables([table for some in all_over(kind).values() for table in some]))
    assert digest(pa.concat_tables(tables).drop_columns("_healpix_29")) == digest(expected)
    assert not list(tmp_path.glob(".hats*"))
    assert not (tmp_path / "hats" / "spilled").exists()


def test_lsdb_finds_in_it_what_kira_finds(place: Path, tmp_path: Path, quiet: None) -> None:
    import lsdb

    catalogue = open_catalogue(str(place))
    write_hats(catalogue, tmp_path / "hats", "test", 300)
    opened = lsdb.open_catalog(tmp_path / "hats", columns=["ra", "dec", "run", "camcol", "field", "band", "number"])
    assert len(opened.compute()) == 3200
    for cone in (Cone(0.0, 0.0, 0.3), Cone(359.8, -0.9, 0.4), Cone(0.0, 90.0, 0.5)):
        found = search_cone(catalogue, cone)
        theirs = opened.cone_search(cone.ra, cone.dec, cone.radius * 3600).compute()
        keys = ["run", "camcol", "field", "band", "number"]
        assert found.num_rows > 0
        ours = sorted(zip(*(found[key].to_pylist() for key in keys), strict=True))
        assert sorted(zip(*(theirs[key].tolist() for key in keys), strict=True)) == ours


def test_more_partitions_than_files_may_be_open(
    place: Path, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kira.catalog.hats._AT_ONCE", 5)
    written = write_hats(open_catalogue(str(place)), tmp_path / "hats", "test", 100)
    assert len(written.partitions) > 20
    files = sorted((tmp_path / "hats").rglob("Npix=*.parquet"))
    assert len(files) == len(written.partitions)
    whole = pa.concat_tables([pq.ParquetFile(file).read() for file in files]).drop_columns("_healpix_29")
    assert digest(whole) == digest(plain(pa.concat_tables([t for some in all_over(kind).values() for t in some])))


def test_sources_without_a_position_are_left_out_and_counted(kind: str, tmp_path: Path) -> None:
    ra, dec = scattered(50, 1.0, 1.0, 1.0, 1)
    ra[3] = dec[7] = np.nan
    place = publish(tmp_path / "c", kind, {"a": [made_up(kind, ra, dec)]})
    written = write_hats(open_catalogue(str(place)), tmp_path / "h", "test")
    assert (written.rows, written.left_out) == (48, 2)
    assert search_cone(open_catalogue(str(place)), Cone(1.0, 1.0, 180.0)).num_rows == 48


def test_sources_that_cannot_be_parted_are_a_sentence(kind: str, tmp_path: Path) -> None:
    place = publish(tmp_path / "c", kind, {"a": [made_up(kind, np.full(9, 10.0), np.full(9, -1.0))]})
    with pytest.raises(
        InvalidInput, match="9 sources lie in one HEALPix pixel of order 29: no partition can have at most 8"
    ):
        write_hats(open_catalogue(str(place)), tmp_path / "h", "test", 8)
    assert write_hats(open_catalogue(str(place)), tmp_path / "h", "test", 9).partitions == (Pixel(0, 4),)


def test_nothing_is_left_where_writing_failed(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise StorageError("The disk is full.")

    monkeypatch.setattr("kira.catalog.hats._write_partition", full)
    with pytest.raises(StorageError, match="full"):
        write_hats(open_catalogue(str(place)), tmp_path / "hats", "test")
    assert [one.name for one in tmp_path.iterdir()] == ["published"]
    (tmp_path / "there").mkdir()
    with pytest.raises(InvalidInput, match="there is there already"):
        write_hats(open_catalogue(str(place)), tmp_path / "there", "test")
