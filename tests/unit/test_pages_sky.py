"""The page of the sky: where fields are, what became of them, and how that gets into the browser."""

import html
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.coordinates import SkyCoord
from fastapi.testclient import TestClient
from http_servers import ArchiveServer
from published_catalogues import content, publish
from real_frames import FRAME, full_frame

from kira.catalog.published import open_catalogue
from kira.catalog.survey import survey_table
from kira.cli import main
from kira.errors import InvalidInput, LedgerUnavailable
from kira.extraction import SurveyProfile, extract
from kira.ledger import Context, Ledger, Outcome, Record, Stage
from kira.ledger.fields import FieldState, field_states, marks
from kira.pages import skymap
from kira.pages.app import create_app
from kira.pages.data import Data
from kira.pages.sky import find_place, overall
from kira.pages.skymap import Places, Skies, SkyMap, states_by_band
from kira.sample import SampleSpec
from kira.sample.beside import field_list_bytes, field_list_file
from kira.sdss import FrameId, Release
from kira.sdss.archive import Archive, ArchiveClient
from kira.sdss.positions import FieldPositions
from kira.settings import Settings
from kira.stages import positions as module
from kira.stages.positions import (
    FROM_CATALOGUE,
    FROM_LIST,
    Positions,
    keep_positions,
    positions_of_archive,
    positions_of_catalogue,
    positions_path,
    read_positions,
    write_positions,
)
from kira.storage import Store, open_store

SCRIPT = "<script>alert(1)</script>"
CONTEXT = Context("b-1", "shared", "dr12", f"survey-{SCRIPT}"[:80], "run 1")


def fields(run: int, camcol: int, first: int, n: int, ra: float = 10.0, dec: float = -1.0) -> Positions:
    """A strip along right ascension."""
    number = np.arange(first, first + n)
    return Positions(
        np.full(n, run, np.int32), np.full(n, camcol, np.int8), number.astype(np.int16),
        ((ra + 0.15 * (number - first)) % 360).astype(np.float32), np.full(n, dec, np.float32), FROM_LIST,
    )  # fmt: skip


SKY = Positions.merged(
    [fields(94, 1, 11, 30), fields(94, 2, 11, 30, dec=-0.5), fields(1000, 1, 100, 5, ra=359.7, dec=60)]
)


def frames(run: int, camcol: int, field: int, bands: str = "ugriz") -> list[FrameId]:
    return [FrameId.parse(f"dr12-301-{run:06d}-{camcol}-{field:04d}-{band}") for band in bands]


def record(ledger: Ledger, which: list[FrameId], upto: Stage, outcome: Outcome = Outcome.OK, **values: object) -> None:
    for stage in Stage:
        last = stage == upto
        ledger.record(CONTEXT, stage, [
            Record(f, outcome if last else Outcome.OK, SCRIPT if last else "", sources=7, **(values if last else {}))  # type: ignore[arg-type]
            for f in which
        ])  # fmt: skip
        if last:
            return


@dataclass
class Site:
    """The pages, and what they look at."""

    client: TestClient
    ledger: Ledger
    store: Store


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    settings = Settings(f"file://{tmp_path}/stage", "bucket", f"sqlite:///{tmp_path}/ledger.db")
    made = Site(
        TestClient(create_app(Data(lambda: settings), []), raise_server_exceptions=False), Ledger(settings.ledger_url),
        open_store(settings.stage_url),
    )  # fmt: skip
    yield made
    made.ledger.engine.dispose()


@pytest.fixture
def full(site: Site) -> Site:
    write_positions(site.store, "shared", SKY)
    fill(site.ledger)
    return site


def fill(ledger: Ledger) -> None:
    """Fields in every state, one of them at a place that nobody knows."""
    record(ledger, frames(94, 1, 11), Stage.PUBLISH)
    record(ledger, frames(94, 1, 12, "ugri"), Stage.PUBLISH)
    record(ledger, frames(94, 1, 12, "z"), Stage.MIRROR, Outcome.CORRUPT_UPSTREAM)
    record(ledger, frames(94, 1, 13), Stage.MIRROR)
    record(ledger, frames(94, 1, 14), Stage.MIRROR, Outcome.STORAGE_FAILED, retrying=True)
    record(ledger, frames(94, 1, 15), Stage.MIRROR, Outcome.NOT_IN_ARCHIVE)
    record(ledger, frames(94, 2, 40, "r"), Stage.PUBLISH)
    record(ledger, frames(2000, 6, 999), Stage.PUBLISH)


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """On SQLite and on PostgreSQL."""
    made = Ledger(url)
    yield made
    made.engine.dispose()


def five(states: str) -> int:
    """Packed number of five states by their first letters; `-` is unknown."""
    letters = {"-": 0, "t": 1, "w": 2, "p": 3, "f": 4, "m": 5}
    return sum(letters[one] << 3 * n for n, one in enumerate(states))


# -- the ledger


def test_each_state_is_told(ledger: Ledger) -> None:
    fill(ledger)
    found = field_states(ledger, 1, [94, 2000])
    told = {
        (r, c, f): (s, tuple(n))
        for r, c, f, s, n in zip(found.run.tolist(), found.camcol.tolist(), found.field.tolist(), found.states.tolist(),
                                 found.sources.tolist(), strict=True)
    }  # fmt: skip
    assert {key: states for key, (states, _) in told.items()} == {
        (94, 1, 11): five("ppppp"), (94, 1, 12): five("ppppf"), (94, 1, 13): five("wwwww"), (94, 1, 14): five("wwwww"),
        (94, 1, 15): five("mmmmm"), (94, 2, 40): five("--p--"), (2000, 6, 999): five("ppppp"),
    }  # fmt: skip
    assert told[94, 1, 12][1] == (7, 7, 7, 7, 0)
    assert told[94, 2, 40][1] == (0, 0, 7, 0, 0)
    assert len(field_states(ledger, 1, []).run) == len(field_states(ledger, 1, [95]).run) == 0
    assert len(field_states(ledger, 2, [94]).run) == 0


def test_what_waits_or_was_withdrawn_or_failed_anew(ledger: Ledger) -> None:
    one = frames(94, 1, 11)
    record(ledger, one, Stage.PUBLISH)
    ledger.record(CONTEXT, Stage.PLAN, [Record(one[0], Outcome.WITHDRAWN)])
    ledger.record(CONTEXT, Stage.EXTRACT, [Record(one[1], Outcome.TIMED_OUT)])
    ledger.record(CONTEXT, Stage.PLAN, [Record(one[2], Outcome.WAITING)])
    (packed,) = field_states(ledger, 1, [94]).states.tolist()
    assert packed == five("mftpp")


def test_of_a_field_in_two_reruns_the_last_counts(ledger: Ledger) -> None:
    old, new = (FrameId.parse(f"dr7-{rerun}-004192-4-0300-r") for rerun in ("40", "44"))
    ledger.record(CONTEXT, Stage.MIRROR, [Record(new, Outcome.OK), Record(old, Outcome.CORRUPT_UPSTREAM)])
    found = field_states(ledger, 1, [4192])
    assert found.states.tolist() == [five("--w--")]


def test_marks_change_with_what_a_map_shows(ledger: Ledger) -> None:
    fill(ledger)
    before = marks(ledger, 1)
    assert set(before) == {94, 2000}
    assert marks(ledger, 1) == before
    record(ledger, frames(94, 1, 13), Stage.PUBLISH)
    after = marks(ledger, 1)
    assert after[94] != before[94]
    assert after[2000] == before[2000]


def test_one_band_for_another_changes_the_mark(ledger: Ledger) -> None:
    record(ledger, frames(94, 1, 11, "u"), Stage.PUBLISH)
    record(ledger, frames(94, 1, 11, "g"), Stage.MIRROR, Outcome.CORRUPT_UPSTREAM)
    before = marks(ledger, 1)
    ledger.record(CONTEXT, Stage.MIRROR, [Record(frames(94, 1, 11, "u")[0], Outcome.CORRUPT_UPSTREAM)])
    record(ledger, frames(94, 1, 11, "g"), Stage.PUBLISH)
    assert marks(ledger, 1) != before


# -- positions


def test_positions_are_kept_as_they_are(site: Site) -> None:
    assert read_positions(site.store, "shared") is None
    write_positions(site.store, "shared", SKY)
    found = read_positions(site.store, "shared")
    assert found is not None
    for name in ("run", "camcol", "field", "ra", "dec"):
        assert np.array_equal(getattr(found, name), getattr(SKY, name))
    assert (found.origin, len(found.version)) == (FROM_LIST, 12)
    write_positions(site.store, "shared", fields(94, 1, 11, 3))
    other = read_positions(site.store, "shared")
    assert other is not None
    assert other.version != found.version


@pytest.mark.parametrize("wrong", ["text", "order", "types", "nan"])
def test_a_file_of_positions_that_is_none_is_refused(site: Site, wrong: str) -> None:
    good = fields(94, 1, 11, 3)
    columns = {"run": good.run, "camcol": good.camcol, "field": good.field, "ra": good.ra, "dec": good.dec}
    if wrong == "order":
        columns["field"] = good.field[::-1].copy()
    if wrong == "types":
        columns["run"] = good.run.astype(np.int64)
    if wrong == "nan":
        columns["ra"] = np.full_like(good.ra, np.nan)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    site.store.write(positions_path("shared"), SCRIPT.encode() if wrong == "text" else sink.getvalue().to_pybytes())
    with pytest.raises(InvalidInput, match="kira sky refresh"):
        read_positions(site.store, "shared")
    record(site.ledger, frames(94, 1, 11), Stage.PUBLISH)
    assert "make it anew with kira sky refresh" in site.client.get("/sky/1/now").json()["error"]
    answer = site.client.get("/sky", params={"at": "10 0"})
    assert answer.status_code == 400
    assert "make it anew with kira sky refresh" in answer.text
    assert SCRIPT not in answer.text


def test_a_field_of_several_reruns_is_there_once() -> None:
    found = FieldPositions(
        np.array([94, 5, 94], np.int32), np.array([301, 301, 40], np.int16), np.array([1, 1, 1], np.int8),
        np.array([12, 11, 12], np.int16), np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.0, 0.0]),
    )  # fmt: skip
    kept = Positions.of(found, "x")
    assert (kept.run.tolist(), kept.ra.tolist()) == ([5, 94], [2.0, 1.0])


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic archive, of which only the list of fields is there."""
    folder = tmp_path_factory.mktemp("archive")
    path = folder / str(field_list_file(Release(12)))
    path.parent.mkdir(parents=True)
    path.write_bytes(field_list_bytes(SampleSpec(camcols=(3,), fields=2)))
    (folder / "sas" / Release(12).frames_root).mkdir(parents=True)
    return folder


def test_a_plan_keeps_a_small_list_and_no_large_one(
    site: Site, sample: Path, archive_server: ArchiveServer, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    archive = archive_server.add("sample", sample)
    caplog.set_level("INFO")
    with ArchiveClient(archive) as client:
        with monkeypatch.context() as patch:
            patch.setattr(module, "SMALL_LIST", 100)
            assert not keep_positions(site.store, client, Release(12))
        assert "were not fetched" in caplog.text
        assert read_positions(site.store, "sample") is None
        assert (client.positions_size(Release(12)) or 0) > 100
        assert keep_positions(site.store, client, Release(12))
        assert client.positions_size(Release(7)) == 0  # nothing more to fetch
        assert keep_positions(site.store, client, Release(12))
        of_archive = positions_of_archive(client)
    kept = read_positions(site.store, "sample")
    assert kept is not None
    assert of_archive is not None
    assert np.array_equal(kept.ra, of_archive.ra)
    assert len(kept) == 2
    with ArchiveClient(Archive("gone", das=f"{archive.das}/x", sas=f"{archive.sas}/x")) as client:
        assert not keep_positions(site.store, client, Release(12))
        assert positions_of_archive(client) is None


def test_an_archive_that_is_away_does_not_stop_a_plan(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    with ArchiveClient(Archive("away", das="http://127.0.0.1:9/das", sas="http://127.0.0.1:9/sas"), tries=1) as client:
        assert not keep_positions(site.store, client, Release(12))
    assert "were not kept" in caplog.text


def test_centres_from_published_sources_are_those_of_the_wcs(shared_sdss: Path, tmp_path: Path) -> None:
    frame = full_frame(shared_sdss, FRAME)
    table = survey_table(frame, extract(frame, SurveyProfile()), SurveyProfile())
    publish(tmp_path / "c", "survey", {"a": [table]}, synthetic=False)
    found = positions_of_catalogue(open_catalogue(str(tmp_path / "c")))
    ra, dec = frame.sky_positions(np.array([1023.5]), np.array([744.0]))
    assert (found.run.tolist(), found.camcol.tolist(), found.field.tolist()) == ([94], [1], [12])
    assert found.origin == FROM_CATALOGUE
    off = SkyCoord(ra[0], dec[0], unit="deg").separation(SkyCoord(found.ra[0], found.dec[0], unit="deg"))
    assert off.arcsec < 1
    publish(tmp_path / "two", "survey", {"a": [table.slice(0, 2)]}, synthetic=False)
    assert len(positions_of_catalogue(open_catalogue(str(tmp_path / "two")))) == 0


# -- the map


def test_what_is_sent_is_where_the_fields_are() -> None:
    places = Places(SKY)
    packed = np.frombuffer(places.packed(0), np.uint8)
    n = len(SKY)
    assert len(packed) == 6 * n
    half = packed[: 3 * n], packed[3 * n :]
    ra, dec = ((part[: 2 * n].view("<u2").astype(int) * 256 + part[2 * n :]) * 360 / 2**24 for part in half)
    assert np.abs((ra - SKY.ra + 180) % 360 - 180).max() < 0.05 / 3600
    assert np.abs(dec - 90 - SKY.dec).max() < 0.05 / 3600
    assert [(s.run, s.camcol, s.first_field, s.count) for s in places.segments] == [
        (94, 1, 11, 30), (94, 2, 11, 30), (1000, 1, 100, 5)
    ]  # fmt: skip
    gap = Positions.merged([fields(94, 1, 11, 2), fields(94, 1, 14, 1)])
    assert [s.first_field for s in Places(gap).segments] == [11, 14]


@pytest.mark.parametrize(
    "place", [(10.4, -0.8, 0.5), (0.0, 60.0, 0.3), (359.9, 59.9, 0.2), (200.0, 0.0, 90.0), (0, 90, 31)]
)
def test_fields_in_view_are_those_that_astropy_finds(place: tuple[float, float, float]) -> None:
    ra, dec, radius = place
    found, distances = Places(SKY).near(ra, dec, radius)
    apart = (
        SkyCoord(ra, dec, unit="deg").separation(SkyCoord(SKY.ra.astype(float), SKY.dec.astype(float), unit="deg")).deg
    )
    assert sorted(found.tolist()) == np.flatnonzero(apart <= radius).tolist()
    assert distances == pytest.approx(apart[found], abs=1e-6)
    assert (np.diff(distances) >= 0).all()


def test_a_map_reads_what_has_changed_and_no_more(full: Site) -> None:
    found = SkyMap(Places(SKY), full.ledger, 1)
    assert (found.refresh(), found.refresh()) == (2, 0)
    assert (found.unplaced, found.whole) == (1, True)
    other = SkyMap(Places(SKY), full.ledger, 1)
    other.refresh()
    stamps = list(found.stamps)
    assert other.stamps == stamps != [0]  # as in another process
    place = found.places.index(94, 1, 13)
    assert place is not None
    assert list(states_by_band(int(found.states[place]))) == [FieldState.AT_WORK] * 5
    record(full.ledger, frames(94, 1, 13), Stage.PUBLISH)
    assert found.refresh() == 1
    assert list(states_by_band(int(found.states[place]))) == [FieldState.PUBLISHED] * 5
    assert int(found.sources[place].sum()) == 35
    assert found.stamps != stamps
    assert found.places.index(94, 1, 41) is None
    assert found.places.index(9999, 1, 1) is None


def test_a_ledger_that_is_away_leaves_what_was_known(full: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    found = SkyMap(Places(SKY), full.ledger, 1)
    found.look(60)
    known = found.states.copy()
    assert known.any()

    def away(*_: object) -> None:
        raise LedgerUnavailable("The database is away.")

    monkeypatch.setattr(skymap, "LOOK_SECONDS", -1.0)
    with monkeypatch.context() as patch:
        patch.setattr(skymap, "marks", away)
        found.look(60)
    assert found.error == "The database is away."
    assert np.array_equal(found.states, known)
    found.look(60)
    assert found.error == ""


def test_positions_that_were_written_anew_are_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    skies = Skies(site.ledger, site.store)
    monkeypatch.setattr(skymap, "STORE_SECONDS", -1.0)
    assert skies.map(1, "shared") is None
    write_positions(site.store, "shared", fields(94, 1, 11, 3))
    first = skies.map(1, "shared")
    assert first is not None
    assert skies.map(1, "shared") is first
    write_positions(site.store, "shared", SKY)
    second = skies.map(1, "shared")
    assert second is not None
    assert (len(first.places), len(second.places)) == (3, len(SKY))
    for catalogue in range(2, 8):
        skies.map(catalogue, "shared")
    assert skies.map(1, "shared") is not second  # so many maps at most are kept


# -- what is asked for


@pytest.mark.parametrize(
    ("text", "ra", "dec"),
    [("94-1-12", 10.15, -1), ("000094-1-0012", 10.15, -1), ("run 94 1 12", 10.15, -1), ("94/1/12", 10.15, -1),
     ("dr12-301-000094-1-0012-r", 10.15, -1), ("10.5 -0.3", 10.5, -0.3), ("10.5, -0.3", 10.5, -0.3),
     ("00:42:00 -00:18:00", 10.5, -0.3), ("00 42 00 -00 18 00", 10.5, -0.3), ("0h42m -18'", 10.5, -0.3)],
)  # fmt: skip
def test_a_place_is_found(site: Site, text: str, ra: float, dec: float) -> None:
    place = find_place(text, SkyMap(Places(SKY), site.ledger, 1))
    assert (place.ra, place.dec) == (pytest.approx(ra, abs=1e-5), pytest.approx(dec, abs=1e-5))


HOSTILE = [SCRIPT, "../../etc/passwd", "94-7-12", "94-1-9999", "400 0", "0 -91", "nan nan", "1", "1 2 3", "' OR 1=1 --",
           "dr12-301-94-1-12-r", "dr99-301-000094-1-0012-r", "9" * 80, "\x00 \x00"]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_no_place_is_a_sentence(full: Site, text: str) -> None:
    answer = full.client.get("/sky/1/find", params={"text": text})
    assert answer.status_code == 200
    assert set(answer.json()) == {"error"}
    in_page = full.client.get("/sky", params={"at": text})
    assert in_page.status_code == 400
    assert SCRIPT not in in_page.text
    assert answer.json()["error"] in html.unescape(in_page.text)


def test_the_page_says_what_it_shows(full: Site) -> None:
    answer = full.client.get("/sky")
    assert answer.status_code == 200
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert SCRIPT not in answer.text
    assert "survey-&lt;script&gt;" in answer.text
    assert 'data-catalogue="1"' in answer.text
    assert "style=" not in answer.text
    assert "hidden>Synthetic" in answer.text
    for name in ("sky.css", "sky.js"):
        assert f"/static/{name}" in answer.text
        assert full.client.get(f"/static/{name}").status_code == 200


def test_without_scripts_there_is_a_table(full: Site) -> None:
    until = time.monotonic() + 30  # the first page does not wait for the states
    while not full.client.get("/sky/1/now").json()["whole"] and time.monotonic() < until:
        time.sleep(0.1)
    text = full.client.get("/sky", params={"at": "94-1-12"}).text
    assert "run 94, camcol 1, field 12" in text
    assert 'href="/fields/shared/dr12/94/1/12"' in text
    row = text[text.index("94-1-12</a>") :].partition("</tr>")[0]
    assert '<td class="bad">failed</td>' in row
    assert [row.count(f"<td>{word}</td>") for word in ("published", "failed")] == [4, 1]
    assert "<td>28</td>" in row


def test_the_table_of_what_is_in_view_is_bounded(full: Site) -> None:
    answer = full.client.get("/sky/1/table", params={"ra": 12, "dec": -0.75, "radius": 70})
    assert answer.text.count("<tr>") == 61
    assert f"{len(SKY)} fields with" in answer.text
    assert "the nearest 60" in answer.text
    assert "<html" not in answer.text
    assert "No field has its centre" in full.client.get("/sky/1/table", params={"ra": 200, "dec": 0, "radius": 2}).text
    for wrong in ({"ra": "x"}, {"ra": "nan"}, {"dec": 91}, {"radius": 0}, {"radius": "inf"}):
        assert full.client.get("/sky/1/table", params={"ra": 12, "dec": 0, "radius": 1} | wrong).status_code == 422


def test_the_numbers_of_a_map_are_served(full: Site) -> None:
    full.client.get("/sky/1/now")
    now = full.client.get("/sky/1/now").json()
    assert (now["fields"], now["unplaced"], now["error"], len(now["stamps"])) == (len(SKY), 1, "", 1)
    assert now["read"] == now["to_read"] == 2
    segments = full.client.get("/sky/1/segments", params={"version": now["version"]})
    assert segments.json()[0] == [94, 1, 11, 30]
    assert "immutable" in segments.headers["Cache-Control"]
    assert "no-store" in full.client.get("/sky/1/segments", params={"version": "old"}).headers["Cache-Control"]
    assert len(full.client.get("/sky/1/positions/0").content) == 6 * len(SKY)
    states = np.frombuffer(full.client.get("/sky/1/states/0").content, "<u2")
    assert states[:5].tolist() == [five(one) for one in ("ppppp", "ppppf", "wwwww", "wwwww", "mmmmm")]
    assert np.frombuffer(full.client.get("/sky/1/sources/z/0").content, "<u2")[:2].tolist() == [7, 0]
    assert np.frombuffer(full.client.get("/sky/1/sources/all/0").content, "<u2")[:2].tolist() == [35, 28]


@pytest.mark.parametrize(
    ("path", "status"),
    [("/sky/2/states/0", 400), ("/sky/x/now", 422), ("/sky/1/states/1", 400), ("/sky/1/states/-1", 400),
     ("/sky/1/positions/9", 400), ("/sky/1/positions/..%2f..%2fetc", 404), ("/sky/1/sources/y/0", 400),
     ("/sky/1/sources/..%2f/0", 404), ("/sky/1/sources/r/5", 400), ("/sky?catalogue=7", 400),
     ("/sky?catalogue=x", 422)],
)  # fmt: skip
def test_what_there_is_not_is_refused(full: Site, path: str, status: int) -> None:
    assert full.client.get(path).status_code == status


def test_an_empty_ledger_says_how_to_begin(site: Site) -> None:
    assert "The ledger knows of no frame" in site.client.get("/sky").text


def test_without_positions_it_says_what_to_do(site: Site) -> None:
    record(site.ledger, frames(94, 1, 11), Stage.PUBLISH)
    answer = site.client.get("/sky", params={"at": "10 0"})
    assert answer.status_code == 200
    assert "kira sky refresh" in answer.text
    assert "sky.js" not in answer.text
    assert "kira sky refresh" in site.client.get("/sky/1/now").text


def test_synthetic_fields_are_labelled(site: Site) -> None:
    write_positions(site.store, "shared", fields(9000, 1, 11, 2))
    record(site.ledger, frames(9000, 1, 11), Stage.PUBLISH)
    text = site.client.get("/sky", params={"at": "9000-1-11"}).text
    assert "Synthetic" in text
    assert "hidden>Synthetic" not in text
    assert "9000-1-11</a> (synthetic)" in text


def test_the_state_of_a_field_is_that_of_its_worst_band() -> None:
    assert overall([FieldState.PUBLISHED] * 4 + [FieldState.FAILED]) is FieldState.FAILED
    assert overall([FieldState.PUBLISHED, FieldState.UNKNOWN]) is FieldState.PUBLISHED
    assert overall([FieldState.PUBLISHED, FieldState.TO_DO, FieldState.AT_WORK]) is FieldState.AT_WORK


# -- the command


def kira(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["kira", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), " ".join((out + err).split())


def test_kira_sky_refresh(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KIRA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KIRA_STAGE_URL", f"file://{tmp_path}/stage")
    store = open_store(f"file://{tmp_path}/stage")
    code, said = kira(monkeypatch, capsys, "sky", "refresh", "--archive", str(sample), "--name", "here")
    assert code == 0, said
    assert "2 fields in" in said
    kept = read_positions(store, "here")
    assert kept is not None
    assert kept.origin == FROM_LIST
    (sample_list,) = sample.glob("sas/dr12/boss/resolve/*/window_flist.fits")
    assert kira(monkeypatch, capsys, "sky", "refresh", "--name", "by-file", "--field-list", str(sample_list))[0] == 0
    again = read_positions(store, "by-file")
    assert again is not None
    assert np.array_equal(again.ra, kept.ra)
    for arguments, words in (
        (["--name", "../x"], "cannot be the name"), (["--name", "x", "--field-list", str(tmp_path)], "not a whole"),
        (["--archive", "/nowhere"], "no such folder"), (["--name", "nothing"], "nothing with positions is published"),
    ):  # fmt: skip
        code, said = kira(monkeypatch, capsys, "sky", "refresh", *arguments)
        assert code == 1
        assert words in said


def test_without_a_list_fields_are_taken_from_what_is_published(
    shared_sdss: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = full_frame(shared_sdss, FRAME)
    table = survey_table(frame, extract(frame, SurveyProfile()), SurveyProfile())
    there = tmp_path / "stage" / "old" / "catalog" / "dr12" / SurveyProfile().slug / "batch=b"
    there.mkdir(parents=True)
    (there / "part-00000-0.parquet").write_bytes(content("survey", table, synthetic=False))
    monkeypatch.setenv("KIRA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KIRA_STAGE_URL", f"file://{tmp_path}/stage")
    code, said = kira(monkeypatch, capsys, "sky", "refresh", "--name", "old")
    assert code == 0, said
    assert "has no list of its fields" in said
    assert f"1 fields in file://{tmp_path}/stage/old/sky/fields.parquet, from {FROM_CATALOGUE}" in said
