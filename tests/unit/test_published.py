"""Published catalogues of both schemas, read and searched; cones are held against astropy's own search."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import astropy.units as u
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.coordinates import SkyCoord
from published_catalogues import KINDS, PLACES, all_over, content, made_up, plain, publish, scattered
from real_frames import FPC, FRAME, extraction, full_frame

from kira.catalog import digest, to_table
from kira.catalog.cone import Cone
from kira.catalog.published import Published, open_catalogue
from kira.catalog.query import Query
from kira.catalog.schema import KEY
from kira.catalog.search import search_cone, search_frames
from kira.catalog.survey import survey_table
from kira.errors import InvalidInput, StorageError
from kira.extraction import SurveyProfile, extract
from kira.sdss import FrameId
from kira.storage import open_readable, open_store
from kira.storage.ranged import RangedFile
from kira.storage.readable import S3Folder


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def place(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(tmp_path_factory.mktemp("published") / kind, kind, all_over(kind))


def everything(kind: str) -> pa.Table:
    return pa.concat_tables([table for tables in all_over(kind).values() for table in tables]).sort_by(
        [(name, "ascending") for name in KEY]
    )


# -- cones

CONES = [
    *((ra, dec, radius) for ra, dec in PLACES for radius in (0.1, 0.5)),
    (359.95, 0.1, 0.3), (0.05, -0.9, 0.4), (10.0, 89.95, 0.3), (200.0, -89.5, 0.6), (0.0, -90.0, 1.0),
    (90.0, 0.0, 90.0), (250.0, -30.0, 150.0), (7.0, 7.0, 180.0),
]  # fmt: skip


@pytest.mark.parametrize("cone", CONES)
def test_a_cone_finds_what_astropy_finds(place: Path, kind: str, cone: tuple[float, float, float]) -> None:
    whole = everything(kind)
    there = SkyCoord(whole["ra"].to_numpy() * u.deg, whole["dec"].to_numpy() * u.deg)
    separation = there.separation(SkyCoord(cone[0] * u.deg, cone[1] * u.deg))
    inside = np.flatnonzero(separation <= cone[2] * u.deg)
    expected = inside[np.argsort(separation[inside].arcsec, kind="stable")]
    assert len(expected) > 0
    found = search_cone(open_catalogue(str(place)), Cone(*cone))
    assert found["separation"].to_numpy() == pytest.approx(separation[expected].arcsec, abs=1e-9)
    assert found["separation"].to_pylist() == sorted(found["separation"].to_pylist())
    assert found.column_names == ["separation", *whole.column_names]
    order = [(name, "ascending") for name in KEY]
    found = plain(found.drop_columns("separation")).sort_by(order)
    assert found.equals(plain(whole.take(pa.array(inside))))


def test_an_empty_cone_reads_no_more_than_footers_where_they_say_so(kind: str, tmp_path: Path) -> None:
    publish(tmp_path / "c", kind, {"a": [made_up(kind, *scattered(50, 10.0, 0.0, 1.0, 1))]})
    catalogue = open_catalogue(str(tmp_path / "c"))
    footers = catalogue.tally.bytes
    found = search_cone(catalogue, Cone(200.0, 0.0, 1.0))
    assert (found.num_rows, catalogue.tally.files, catalogue.tally.bytes) == (0, 0, footers)
    assert found.schema.names == ["separation", *catalogue.schema.names]


def test_bounds_never_leave_out_what_is_inside() -> None:
    chance = np.random.default_rng(1)
    for _ in range(300):
        dec = float(np.degrees(np.arcsin(chance.uniform(-1, 1))))
        cone = Cone(float(chance.uniform(0, 360)), dec, float(10 ** chance.uniform(-4, 2.2)))
        ra, dec_there = scattered(200, cone.ra, cone.dec, min(cone.radius * 1.5, 180.0), int(chance.integers(1 << 30)))
        inside = cone.inside(ra, dec_there)
        assert inside.any()
        for one in np.flatnonzero(inside):
            assert cone.may_hold((ra[one], ra[one]), (dec_there[one], dec_there[one])), cone
    assert not Cone(10.0, 0.0, 1.0).may_hold((12.0, 350.0), None)
    assert not Cone(10.0, 0.0, 1.0).may_hold(None, (1.1, 2.0))
    assert not Cone(0.0, 60.0, 1.0).may_hold((2.1, 357.9), (59.0, 61.0))
    assert Cone(0.0, 60.0, 1.0).may_hold((1.9, 357.9), (59.0, 61.0))


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        (("10.5", "-0.3", "0.1"), (10.5, -0.3, 0.1)),
        (("0:42:44.3", "+41:16:09", "30arcsec"), (10.684583333, 41.269166667, 30 / 3600)),
        (("0 42 44.3", "-0 30 00", "1.5arcmin"), (10.684583333, -0.5, 0.025)),
        (("0h42m44.3s", "-0d30m", "1.5'"), (10.684583333, -0.5, 0.025)),
        (("10d41m04.5s", "1e-3", '30"'), (10.684583333, 0.001, 30 / 3600)),
        ((" 360 ", ".5", "180"), (360.0, 0.5, 180.0)),
    ],
)
def test_angles_as_people_write_them(texts: tuple[str, str, str], numbers: tuple[float, float, float]) -> None:
    cone = Cone.parse(*texts)
    assert (cone.ra, cone.dec, cone.radius) == pytest.approx(numbers, abs=1e-8)


@pytest.mark.parametrize("bad", ["", "x", "nan", "inf", "1_0", "10km", "1,5", "٣", "10:61:00", "--colums", "1" * 50,
                                 "1\n2", "10 kg", "1:2:3:4"])  # fmt: skip
def test_what_is_no_angle_is_refused(bad: str) -> None:
    for texts in ((bad, "0", "1"), ("0", bad, "1"), ("0", "0", bad)):
        with pytest.raises(InvalidInput, match=r"is not an angle; write degrees.*\.$"):
            Cone.parse(*texts)


@pytest.mark.parametrize(("ra", "dec", "radius"), [("361", "0", "1"), ("-1", "0", "1"), ("25h", "0", "1"),
                                                   ("0", "91", "1"), ("0", "0", "0"), ("0", "0", "181")])  # fmt: skip
def test_angles_out_of_range_are_refused(ra: str, dec: str, radius: str) -> None:
    with pytest.raises(InvalidInput):
        Cone.parse(ra, dec, radius)


# -- selections


@pytest.mark.parametrize(
    "query",
    [Query(), Query.parse("94-96"), Query.parse("94, 200", bands="gz"), Query.parse(camcols="2-3", fields="12"),
     Query.parse("500"), Query.parse(bands="u", region=Cone(0.0, 0.0, 0.5))],
)  # fmt: skip
def test_selections_are_those_of_numpy(place: Path, kind: str, query: Query) -> None:
    whole = everything(kind)
    ra, dec = whole["ra"].to_numpy(), whole["dec"].to_numpy()
    inside = np.ones(len(ra), dtype=bool) if query.region is None else query.region.inside(ra, dec)
    expected = [
        i for i, row in enumerate(whole.select(KEY).to_pylist())
        if row["run"] in query.runs and row["camcol"] in query.camcols and row["field"] in query.fields
        and row["band"] in query.bands and inside[i]
    ]  # fmt: skip
    found = search_frames(open_catalogue(str(place)), query)
    assert plain(found).equals(plain(whole.take(pa.array(expected, pa.int64()))))
    assert found.schema.metadata[b"query"].decode() == str(query)


def test_primary_sources_where_the_schema_knows_them(place: Path, kind: str) -> None:
    catalogue, query = open_catalogue(str(place)), Query.parse("95", primary=True)
    if kind == "kira":
        with pytest.raises(InvalidInput, match="does not say which of its sources are primary"):
            search_frames(catalogue, query)
        return
    expected = [one for one in everything(kind).to_pylist() if one["run"] == 95 and one["primary"]]
    assert 0 < len(expected) < 400
    assert search_frames(catalogue, query).to_pylist() == expected


def test_columns_are_those_asked_for_in_that_order(place: Path) -> None:
    catalogue = open_catalogue(str(place))
    assert search_frames(catalogue, Query.parse("95"), ["y", "x", "y"]).column_names == ["y", "x"]
    assert search_cone(catalogue, Cone(0, 0, 1), columns=["x"]).column_names == ["separation", "x"]
    with pytest.raises(InvalidInput, match=r"has no column 'rra'; did you mean ra"):
        search_frames(catalogue, Query(), ["rra"])


def test_a_limit_takes_the_nearest(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kira.catalog.search._HELD", 20)  # or all would fit
    catalogue, cone = open_catalogue(str(place)), Cone(359.9, -0.5, 0.8)
    whole = search_cone(catalogue, cone)
    for limit in (1, 7, 10_000):
        assert plain(search_cone(catalogue, cone, limit=limit)).equals(plain(whole.slice(0, limit)))
    runs = search_frames(catalogue, Query())
    assert plain(search_frames(catalogue, Query(), limit=450)).equals(plain(runs.slice(0, 450)))


# -- what is read


def test_much_less_than_the_whole_is_read(kind: str, tmp_path: Path) -> None:
    n = 5_000
    strip = [made_up(kind, *scattered(n, 10.0 + one, 0.0, 0.4, one), field=11 + one) for one in range(12)]
    publish(tmp_path / "c", kind, {"a": strip[:6], "b": strip[6:]})
    catalogue = open_catalogue(str(tmp_path / "c"))
    assert (catalogue.rows, catalogue.size) == (12 * n, sum(f.stat().st_size for f in tmp_path.rglob("*.parquet")))
    footers = catalogue.tally.bytes
    assert footers <= 12 * 64 * 1024  # what pyarrow takes of a file at once
    found = search_cone(catalogue, Cone(13.0, 0.0, 0.1), columns=["x", "y"])
    assert found.num_rows == catalogue.tally.rows > 0
    assert catalogue.tally.files == 1
    mine = catalogue.tally.bytes - footers
    # Two coordinates, x and y and the key of 5,000 of 60,000 rows of 47 columns or more.
    assert 4 * 8 * n * 0.8 < mine < catalogue.size / 60
    # No source so near: the coordinates are looked at, and nothing else.
    again = open_catalogue(str(tmp_path / "c"))
    assert search_cone(again, Cone(13.0, 0.0, 1e-6)).num_rows == 0
    assert again.tally.bytes - footers < 2 * 8 * n * 1.2
    assert [again.tally.files, again.tally.rows] == [1, 0]


def test_bytes_are_counted_as_the_store_is_asked_for_them(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = os.pread

    def counted(handle: int, length: int, offset: int) -> bytes:
        asked.append(length)
        return real(handle, length, offset)

    monkeypatch.setattr(os, "pread", counted)
    catalogue = open_catalogue(str(place))
    search_cone(catalogue, Cone(0.0, 0.0, 0.3), columns=["x"])
    assert catalogue.tally.bytes == sum(asked) > 0


def test_only_what_is_published_is_read(place: Path, kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    shutil.copytree(place, folder)
    some = (folder / "batch=a" / "part-00000-0.parquet").read_bytes()
    for name in ("aside/part-00000-0.parquet", "extracted/part-1.parquet", "batch=a/_part.parquet", "part-0.parquet",
                 f"batch=a/part-00001-0.parquet.aside-{'0' * 32}", "batch=a/.part.parquet.swp",
                 "batch=a/attempt-1/part-00000-0.parquet", ".batch=x/part-00000-0.parquet"):  # fmt: skip
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(some if "swp" not in name else b"half a fi")
    found = search_frames(open_catalogue(str(folder)), Query())
    assert plain(found).equals(plain(everything(kind)))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda _: b"", "cannot be read as Parquet"),
        (lambda good: good[:-100], "cannot be read as Parquet"),
        (lambda _: b"<html>not found</html>" * 50, "cannot be read as Parquet"),
        (lambda good: good[:4] + bytes(len(good) - 3_000 - 4) + good[-3_000:], "cannot be read as Parquet"),
        (lambda _: _parquet(pa.table({"a": [1]})), "is not part of a catalogue of Kira: it has no column release"),
        (lambda good: _parquet(_read(good).drop_columns("dec")), "is not part of a catalogue of Kira: .* dec such"),
        (lambda good: _parquet(_read(good).drop_columns("a")), "has other columns than"),
    ],
)
def test_a_damaged_or_foreign_file_is_one_sentence_with_its_name(
    place: Path, tmp_path: Path, damage: Callable[[bytes], bytes], sentence: str
) -> None:
    folder = tmp_path / "c"
    shutil.copytree(place, folder)
    bad = folder / "batch=b" / "part-00001-0.parquet"
    bad.write_bytes(damage(bad.read_bytes()))
    with pytest.raises(InvalidInput, match=sentence) as said:
        search_frames(open_catalogue(str(folder)), Query())
    assert f"file://{bad}" in str(said.value)
    assert "\n" not in str(said.value)
    assert str(said.value).endswith(".")


def _read(whole: bytes) -> pa.Table:
    return pq.read_table(pa.BufferReader(whole))


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue().to_pybytes())


def test_nothing_published_is_a_sentence(tmp_path: Path) -> None:
    for made in ((), ("batch=a",)):
        for name in made:
            (tmp_path / name).mkdir()
        with pytest.raises(InvalidInput, match="Nothing is published in file://"):
            open_catalogue(str(tmp_path))
    with pytest.raises(InvalidInput, match="Nothing is published"):
        open_catalogue(str(tmp_path / "none"))


def test_a_file_that_is_replaced_meanwhile_is_noticed(kind: str, tmp_path: Path) -> None:
    folder = publish(tmp_path / "c", kind, {"a": [made_up(kind, *scattered(50, 0.0, 0.0, 1.0, 1))]})
    catalogue = open_catalogue(str(folder))
    (part,) = folder.rglob("part-*.parquet")
    aside = part.with_suffix(".aside")
    aside.write_bytes(content(kind, made_up(kind, *scattered(50, 0.0, 0.0, 1.0, 2), seed=2)))
    aside.replace(part)
    with pytest.raises(StorageError, match="was replaced while the catalogue was read: ask again"):
        search_frames(catalogue, Query())
    part.unlink()
    with pytest.raises(StorageError, match="could not be opened: No such file"):
        search_frames(catalogue, Query())


def test_what_the_storage_refuses_is_not_taken_for_damage(place: Path) -> None:
    """Also from inside pyarrow, which calls back for the bytes."""
    store = open_store(place.parent.as_uri())

    class Broken:
        url, after = store.url, 10**9

        def uri(self, path: str) -> str:
            return store.uri(path)

        def top(self) -> list:  # type: ignore[type-arg]
            return store.listing(place.name)

        def listing(self, path: str) -> list:  # type: ignore[type-arg]
            return store.listing(f"{place.name}/{path}")

        def open(self, path: str) -> RangedFile:
            whole = store.read(f"{place.name}/{path}")

            def read_at(offset: int, length: int) -> bytes:
                if self.after <= 0:
                    raise ConnectionResetError(104, "Connection reset by peer")
                self.after -= 1
                return whole[offset : offset + length]

            return RangedFile(self.uri(path), len(whole), "1", read_at)

    broken = Broken()
    catalogue = Published(broken)
    broken.after = 3
    with pytest.raises(StorageError, match=r"parquet could not be read: Connection reset by peer\."):
        search_frames(catalogue, Query())
    with pytest.raises(StorageError, match=r"parquet could not be read: Connection reset by peer\."):
        Published(broken)


def test_files_are_read_by_ranges(tmp_path: Path) -> None:
    whole = bytes(range(256)) * 40
    store = open_store(tmp_path.as_uri())
    store.write("a/b", whole)
    with store.open("a/b") as file:
        assert (file.size, file.seek(-10, os.SEEK_END), file.read(4), file.tell()) == (
            10240,
            10230,
            whole[-10:-6],
            10234,
        )
        assert (file.read(), file.read(), file.read(5)) == (whole[-6:], b"", b"")
        assert (file.seek(100), file.read(0), file.seek(5, os.SEEK_CUR), file.read(3)) == (
            100,
            b"",
            105,
            whole[105:108],
        )
        into = bytearray(8)
        assert (file.seek(256), file.readinto(into), bytes(into)) == (256, 8, whole[256:264])
        assert (file.seek(20_000), file.read(5), file.bytes_read) == (20_000, b"", 4 + 6 + 3 + 8)
        with pytest.raises(ValueError, match="nothing before the beginning"):
            file.seek(-1)
        version = file.version
    assert file.closed
    with store.open("a/b") as file:
        assert file.version == version
    store.write("a/b", whole)
    with store.open("a/b") as file:
        assert file.version != version
    with pytest.raises(StorageError, match="a/none could not be opened: No such file"):
        store.open("a/none")
    with store.open("a") as folder, pytest.raises(StorageError, match="could not be read: Is a directory"):
        folder.read(1)


# -- places


def test_paths_and_urls_open_the_same(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.parent)
    rows = {open_catalogue(text).rows for text in (str(place), place.as_uri(), f"{place.as_uri()}/", place.name)}
    assert rows == {3200}


@pytest.mark.parametrize(
    "bad",
    ["", "http://host/x", "ftp://x", "s3://", "s3:///x", "s3://Bucket/x", "s3://b/x", "s3://bucket/a/../b",
     "s3://bucket/x?y", "hdfs:///x", "file://host/x", "a\nb", "x\0"],
)  # fmt: skip
def test_places_that_are_none_are_refused(bad: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with pytest.raises(InvalidInput, match=r"^\S.+\.$"):
        open_readable(bad)


def test_an_s3_address_that_is_none_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "nonsense")
    with pytest.raises(InvalidInput, match="s3://bucket/x could not be opened: Invalid endpoint"):
        open_readable("s3://bucket/x")


def test_s3_settings_are_those_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a notebook they are set after another place was read."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    for key, address in (("first-key", "http://127.0.0.1:9"), ("second-key", "http://127.0.0.1:10")):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        folder = open_readable("s3://bucket/x")
        assert isinstance(folder, S3Folder)
        signed = folder.client.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "x/y"})
        assert signed.startswith(f"{address}/")
        assert key in signed


def test_an_s3_prefix_keeps_to_itself() -> None:
    folder = S3Folder("s3://bucket/some/prefix/", None)
    assert (folder.bucket, folder.prefix, folder.uri("a/b")) == (
        "bucket",
        "some/prefix/",
        "s3://bucket/some/prefix/a/b",
    )
    assert S3Folder("s3://bucket", None).prefix == ""
    with pytest.raises(InvalidInput):
        folder.open("../b")
    with pytest.raises(InvalidInput):
        folder.listing("/")


# -- real frames


def test_real_frames_of_the_kira_profile(shared_sdss: Path, tmp_path: Path) -> None:
    frames = [FPC, "dr7-40-004192-4-0300-g", "dr7-40-005754-3-0280-r"]
    tables = [to_table(FrameId.parse(text), extraction(shared_sdss, text)) for text in frames]
    publish(tmp_path / "c", "kira", {"a": [pa.concat_tables(tables[:2])], "b": tables[2:]}, synthetic=False)
    whole = pa.concat_tables(tables)
    target = whole.slice(100, 1).to_pylist()[0]
    catalogue = open_catalogue(str(tmp_path / "c"))
    found = search_cone(catalogue, Cone(target["ra"], target["dec"], 60 / 3600))
    there = SkyCoord(whole["ra"].to_numpy() * u.deg, whole["dec"].to_numpy() * u.deg)
    separation = there.separation(SkyCoord(target["ra"] * u.deg, target["dec"] * u.deg)).arcsec
    assert found.num_rows == (separation <= 60).sum() > 1
    assert catalogue.tally.files == 1
    assert found.slice(0, 1).to_pylist()[0] == {"separation": 0.0} | target
    # Schema 1 leaves the unit of fluxes to the file, the table that is handed on says it.
    assert found.schema.field("flux_ellipse").metadata[b"unit"] == b"adu"
    assert found.schema.metadata[b"synthetic"] == b"no"
    assert search_frames(catalogue, Query.parse("4192", bands="u")).num_rows == 65


def test_a_real_frame_of_the_survey_profile(shared_sdss: Path, tmp_path: Path) -> None:
    profile, frame = SurveyProfile(), full_frame(shared_sdss, FRAME)
    table = survey_table(frame, extract(frame, profile), profile)
    publish(tmp_path / "c", "survey", {"a": [table]}, synthetic=False)
    catalogue = open_catalogue(str(tmp_path / "c"))
    found = search_frames(catalogue, Query.parse("94", primary=True))
    assert 0 < found.num_rows < table.num_rows
    assert digest(found) == digest(table.filter(table["primary"]))
    assert found.schema.field("flux_auto").metadata[b"unit"] == b"nmgy"
