"""The pages of a frame and a field, over real frames: what they say and refuse, and that each part fails alone."""

import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table
from pages_site import ARCHIVE, RUN, Site, opened, publish, put
from PIL import Image
from real_frames import COUNTS, M2, frame, full_frame, plain

from kira.catalog.survey import survey_table
from kira.extraction import Flag, Parameters, SurveyProfile, extract
from kira.extraction.flags import meanings
from kira.ledger import Context, Outcome, Record, Stage
from kira.ledger.whereabouts import frames_of_field, whereabouts
from kira.pages.asked import log_link
from kira.pages.kept import Kept
from kira.pages.pixels import binned, cards_of, histogram_of, moved, shift_between, stretched
from kira.pages.sources import NoSources, as_measured, flag_words, result_of, row_of
from kira.sdss import FrameId, Release
from kira.stages.places import staged_path

SCRIPT = "<script>alert(1)</script>"
FIELD = [f"dr12-301-000094-1-0012-{band}" for band in "ugriz"]
R = "dr12-301-000094-1-0012-r"
DR7 = "dr7-40-004192-4-0300-u"
HELD_BACK = "dr12-301-000094-1-0131-g"
FAILED = "dr12-301-000094-1-0013-r"
SURVEY, KIRA = SurveyProfile(), Parameters()


@pytest.fixture(scope="module")
def site(shared_sdss: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = opened(tmp_path_factory.mktemp("pages"))
    publish(made, shared_sdss, FIELD, SURVEY, "s-1")
    publish(made, shared_sdss, [R], KIRA, "k-1")
    publish(made, shared_sdss, [DR7], KIRA, "k-2")
    publish(made, shared_sdss, [HELD_BACK], SURVEY, "s-2", published=False)
    context = Context("s-9", ARCHIVE.name, "dr12", SURVEY.slug, RUN, log="javascript:alert(1)")
    with made.ledger.attempt(context, Stage.MIRROR, 1):
        made.ledger.record(context, Stage.MIRROR, [Record(FrameId.parse(FAILED), Outcome.CORRUPT_UPSTREAM, SCRIPT)])
    yield made
    made.ledger.engine.dispose()


def page(text: str, rest: str = "") -> str:
    return f"/frames/{ARCHIVE.name}/{text}{rest}"


# -- the frame's page


def test_a_frame_that_is_published_says_so_with_its_history(site: Site) -> None:
    text = site.client.get(page(R)).text
    assert text.count(">Published</strong>") == 2  # in both catalogues
    assert "594 sources" in text
    assert "597 sources" in text
    assert text.count('href="/dags/sdss_ingest/runs/run-7/tasks/x?try_number=1" target="_top"') == 6
    assert (
        text.count(f'href="/dags/sdss_backfill/runs/{quote(RUN)}" target="_top"') == 14
    )  # of 12 outcomes, and at the top
    assert f'/fields/{ARCHIVE.name}/dr12/94/1/12"' in text
    for band in "ugriz":
        assert page(f"dr12-301-000094-1-0012-{band}") in text


def test_a_frame_that_failed_says_why_and_what_to_do(site: Site) -> None:
    text = site.client.get(page(FAILED)).text
    assert ">Not published</strong>" in text
    assert "Why: &lt;script&gt;" in text
    assert "report it to the archive" in text
    assert SCRIPT not in text
    assert "javascript:" not in text
    told = site.client.get(page(FAILED, "/sources.json")).json()
    assert "has not come that far" in told["why"]
    assert "is not on the staging store" in told["no_picture"]
    picture = site.client.get(page(FAILED, "/picture"))
    assert (picture.status_code, picture.headers["content-type"]) == (404, "text/plain; charset=utf-8")


@pytest.mark.parametrize("rest", ["", "/sources.json", "/table", "/pixels", "/files"])
def test_a_frame_that_is_not_known_is_a_sentence(site: Site, rest: str) -> None:
    answer = site.client.get(page("dr12-301-000094-1-0999-r", rest))
    assert answer.status_code == (404 if rest in ("", "/sources.json") else 200)
    assert "The ledger does not know dr12-301-000094-1-0999-r" in answer.text


@pytest.mark.parametrize(
    "address",
    [
        page("..%2f..%2fetc%2fpasswd"), page("dr12-301-000094-1-12-r"), page("dr99-301-000094-1-0012-r"),
        f"/frames/..%2f..%2fetc/{R}", f"/frames/A_B/{R}", f"/frames/{'a' * 41}/{R}", f"/frames/%3Cscript%3E/{R}",
        f"/fields/{ARCHIVE.name}/dr12/94/7/12", f"/fields/{ARCHIVE.name}/dr12/94/1/-1",
        f"/fields/{ARCHIVE.name}/dr12/94;drop/1/12", f"/fields/{ARCHIVE.name}/%3Cscript%3E/94/1/12",
        f"/fields/{ARCHIVE.name}/dr12/94/1/12/colour/picture?bands=xyz", page(R, "/download/exe"),
        page(R, "/picture?stretch=%3Cscript%3E"), page(R, "/picture?scale=3"), page(R, "/picture?scale=1e9"),
        page(R, "/download/csv?profile=..%2f..%2fx"),
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(site: Site, address: str) -> None:
    answer = site.client.get(address)
    assert answer.status_code in (400, 404)  # a slash makes it another route, or none
    if answer.headers["content-type"] == "text/plain; charset=utf-8":
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    else:
        assert "<script>" not in answer.text
    assert "root:" not in answer.text


# -- pixels


@pytest.mark.parametrize("stretch", ["asinh", "zscale", "minmax"])
@pytest.mark.parametrize(("scale", "size", "kind"), [(1, (2048, 1489), "JPEG"), (2, (1024, 744), "PNG")])
def test_a_picture_has_a_bounded_size(site: Site, stretch: str, scale: int, size: tuple[int, int], kind: str) -> None:
    answer = site.client.get(page(R, f"/picture?stretch={stretch}&scale={scale}"))
    assert len(answer.content) < 2_000_000
    image = Image.open(io.BytesIO(answer.content))
    assert (image.size, image.format) == (size, kind)
    assert f"image/{kind.lower()}" == answer.headers["content-type"]


def test_the_first_row_of_a_frame_is_the_last_of_its_picture(site: Site, shared_sdss: Path) -> None:
    answer = site.client.get(page(R, "/picture?stretch=minmax&scale=2"))
    seen = np.asarray(Image.open(io.BytesIO(answer.content)))
    pixels = frame(shared_sdss, R).data
    row, column = np.unravel_index(np.argmax(binned(pixels, 2)), (744, 1024))
    assert np.unravel_index(np.argmax(seen), seen.shape) == (743 - row, column)


def test_pixels_without_a_value_do_no_harm() -> None:
    data = np.full((40, 60), np.nan, dtype=np.float32)
    data[10, 10], data[20, 20] = 1.0, 3.0
    assert stretched(data, "minmax", 1)[20, 20] == 255
    for stretch in ("asinh", "zscale", "minmax"):
        values = stretched(data, stretch, 1)  # type: ignore[arg-type]
        assert values[0, 0] == values[39, 59] == 0
    assert stretched(np.zeros((4, 4), dtype=np.float32), "asinh", 2).shape == (2, 2)


def test_a_file_that_is_not_there_any_more_leaves_the_rest(shared_sdss: Path, tmp_path: Path) -> None:
    site = opened(tmp_path)
    publish(site, shared_sdss, [R], SURVEY, "s-1")
    assert site.client.get(page(R, "/picture")).status_code == 200
    site.store.delete(staged_path(ARCHIVE, FrameId.parse(R)))
    assert "is not on the staging store" in site.client.get(page(R, "/picture")).text  # though it is remembered
    assert site.client.get(page(R)).status_code == 200
    pixels = site.client.get(page(R, "/pixels")).text
    assert "is not on the staging store" in pixels
    assert "Background</dt>" in pixels
    assert "not there any more" in site.client.get(page(R, "/files")).text
    assert len(site.client.get(page(R, "/sources.json")).json()["drawn"]) == 594
    assert "is not on the staging store" in site.client.get(page(R, "/header")).text
    shutil.rmtree(tmp_path / "stage")
    assert site.client.get(page(R)).status_code == 200
    for rest in ("/pixels", "/files", "/table"):
        assert "has no result of extraction" in site.client.get(page(R, rest)).text
    site.ledger.engine.dispose()


def test_what_a_batch_left_and_is_damaged_is_a_sentence(shared_sdss: Path, tmp_path: Path) -> None:
    site = opened(tmp_path)
    publish(site, shared_sdss, [DR7], KIRA, "k-1")
    (folder,) = (tmp_path / "stage").rglob("batch=k-1")
    (folder / "_validation.json").write_text('{"ok": true}')
    assert "cannot be read (KeyError)" in site.client.get(page(DR7, "/files")).text
    (folder / "_outcomes.jsonl").write_text(json.dumps({"frame": DR7, "a": 1}))
    for rest in ("/files", "/table", "/pixels"):
        answer = site.client.get(page(DR7, rest))
        assert answer.status_code == 200
        assert "cannot be read (TypeError): it is not as Kira writes it" in answer.text
    assert site.client.get(page(DR7, "/download/csv")).status_code == 503
    site.ledger.engine.dispose()


def test_the_row_of_a_frame_is_found_among_others() -> None:
    rows = [{"frame": "b", "told": "a"}, {"frame": "a", "n": 1}, {"frame": "c"}]
    text = "\n".join(json.dumps(row) for row in rows).encode()
    assert [row_of(text, name) for name in "abcd"] == [rows[1], rows[0], rows[2], None]
    with pytest.raises(ValueError, match="Expecting"):
        row_of(b'{"frame": "a", \n', "a")


def test_the_histogram_counts_every_pixel(site: Site, shared_sdss: Path) -> None:
    image = frame(shared_sdss, R)
    found = histogram_of(image)
    assert sum(found.counts) + found.below + found.above + found.without == image.data.size
    text = site.client.get(page(R, "/pixels")).text
    assert "Histogram of the pixels" in text
    assert text.count('<line class="noise"') == 2
    assert "style=" not in text


def test_a_header_is_text_of_others(site: Site, shared_sdss: Path, tmp_path: Path) -> None:
    found = dict(cards_of(plain(shared_sdss, R), "x"))
    assert list(found) == ["HDU 0, PRIMARY", "HDU 1", "HDU 2", "HDU 3"]
    cards = {card.keyword: (card.value, card.comment) for card in found["HDU 0, PRIMARY"]}
    assert cards["CAMCOL"][0] == "1"
    assert cards["SIMPLE"][0] == "T"
    hdu = fits.PrimaryHDU(np.zeros((4, 4), dtype=np.float32))
    hdu.header["OBJECT"] = (SCRIPT, "<img src=x onerror=alert(1)>")
    hdu.header["COMMENT"] = "</td></table><script src=//evil>"
    out = io.BytesIO()
    hdu.writeto(out)
    broken = out.getvalue().replace(b"EXTEND  =                    T", b"EXTEND  = \xff\xfe'unended          ")
    other = FrameId.parse("dr12-301-000094-1-0012-u")
    mine = opened(tmp_path)
    publish(mine, shared_sdss, [str(other)], SURVEY, "s-1")
    for content in (out.getvalue(), broken):
        put(mine.store, other, content)
        answer = mine.client.get(page(str(other), "/header"))
        assert answer.status_code == 200
        assert "<script" not in answer.text.replace('<script src="/static/', "")
        assert "<img" not in answer.text
    put(mine.store, other, b"no FITS at all " * 1000)
    assert "its header cannot be read" in mine.client.get(page(str(other), "/header")).text
    assert mine.client.get(page(str(other), "/picture")).status_code == 503
    mine.ledger.engine.dispose()


def test_a_frame_of_another_field_can_be_looked_at_all_the_same(shared_sdss: Path, tmp_path: Path) -> None:
    mine = opened(tmp_path)
    publish(mine, shared_sdss, [R], SURVEY, "s-1")
    put(mine.store, FrameId.parse(R), plain(shared_sdss, HELD_BACK))
    assert mine.client.get(page(R, "/picture")).status_code == 200
    mine.ledger.engine.dispose()


def test_a_synthetic_frame_is_labelled_wherever_it_is_shown(shared_sdss: Path, tmp_path: Path) -> None:
    mine = opened(tmp_path)
    publish(mine, shared_sdss, [R], SURVEY, "s-1")
    before = Image.open(io.BytesIO(mine.client.get(page(R, "/picture?stretch=zscale")).content))
    with fits.open(io.BytesIO(plain(shared_sdss, R))) as hdus:
        hdus[0].header["SYNTHET"] = True
        out = io.BytesIO()
        hdus.writeto(out)
    put(mine.store, FrameId.parse(R), out.getvalue())
    assert "<strong>Synthetic:</strong>" in mine.client.get(page(R, "/pixels")).text
    after = Image.open(io.BytesIO(mine.client.get(page(R, "/picture?stretch=zscale")).content))
    differ = np.asarray(before) != np.asarray(after)
    assert differ[-80:, :300].sum() > 500  # written into the picture, at its lower left
    assert not differ[:600].any()
    (folder,) = (tmp_path / "stage").rglob("batch=s-1")
    rows = [json.loads(line) | {"synthetic": True} for line in (folder / "_outcomes.jsonl").read_text().splitlines()]
    (folder / "_outcomes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert mine.client.get(page(R, "/sources.json")).json()["synthetic"]
    assert "<strong>Synthetic:</strong>" in mine.client.get(page(R, "/table")).text
    mine.ledger.engine.dispose()


# -- sources


def test_all_sources_are_drawn_where_they_were_found(site: Site, shared_sdss: Path) -> None:
    for profile in (SURVEY, KIRA):
        told = site.client.get(page(R, f"/sources.json?profile={profile.slug}")).json()
        found = extract(full_frame(shared_sdss, R), profile).table
        assert told["total"] == len(told["drawn"]) == len(found)
        drawn = np.array(sorted(told["drawn"]))
        assert drawn[:, 1] == pytest.approx(found["x"], abs=0.006)
        assert drawn[:, 2] == pytest.approx(found["y"], abs=0.006)
        assert told["published"]
    assert site.client.get(page(R, "/sources.json")).json()["profile"] == SURVEY.slug


def test_the_brightest_comes_first(site: Site) -> None:
    told = site.client.get(page(R, "/sources.json")).json()
    magnitudes = [float(row[told["labels"].index("magnitude")].split()[0]) for row in told["texts"]]
    assert magnitudes == sorted(magnitudes)


@pytest.mark.parametrize("text", [R, "dr7-40-004192-4-0300-g"])
def test_shapes_on_the_sky_are_turned_back_onto_the_pixels(shared_sdss: Path, text: str) -> None:
    image = full_frame(shared_sdss, text)
    found = extract(image, SURVEY)
    table = survey_table(image, found, SURVEY)
    # The sky is not quite linear over a frame: by asTrans up to 0.1 %, far less than the width of a line.
    for rows, tolerance in ((slice(None), 2e-3), (slice(0, 40), 5e-3)):
        shapes, true = as_measured(table.slice(rows.start or 0, (rows.stop or table.num_rows))), found.table[rows]
        for name in ("a", "b"):
            assert shapes[name] == pytest.approx(true[name], rel=tolerance)
        turned = (shapes["theta"] - true["theta"] + np.pi / 2) % np.pi - np.pi / 2
        assert np.abs(turned[true["a"] > 1.2 * true["b"]]).max() < tolerance
    few = as_measured(table.slice(0, 2))  # too few to tell how the sky lies: round, and no NaN
    assert np.isfinite(few["a"]).all()


def test_flags_are_words() -> None:
    assert flag_words(0) == "none"
    assert flag_words(Flag.MERGED | Flag.NEAR_EDGE) == "merged, near edge"
    assert flag_words(1 << 20) == "unknown bits 0x100000"
    assert set(meanings()) == set(Flag)
    assert all(said.endswith(".") for said in meanings().values())


def test_what_is_not_published_is_shown_as_such(site: Site) -> None:
    told = site.client.get(page(HELD_BACK, "/sources.json")).json()
    assert told["total"] > 200
    assert not told["published"]
    assert "not published" in site.client.get(page(HELD_BACK, "/table")).text
    answer = site.client.get(page(HELD_BACK, "/download/csv"))
    assert "-unpublished.csv" in answer.headers["content-disposition"]
    text = site.client.get(page(HELD_BACK)).text
    assert "it came through stage validate and no further yet" in text


def test_the_table_has_pages(site: Site) -> None:
    first = site.client.get(page(R, "/table")).text
    assert first.count('class="secondary show"') == 50
    assert "start=50" in first
    assert "Brighter" not in first
    last = site.client.get(page(R, "/table?start=550")).text
    assert last.count('class="secondary show"') == 44
    assert "Fainter" not in last
    assert "is a number from" in site.client.get(page(R, "/table?start=-1")).text


def test_each_format_has_all_rows_and_columns(site: Site, tmp_path: Path) -> None:
    for kind in ("parquet", "fits", "votable", "csv"):
        answer = site.client.get(page(R, f"/download/{kind}?profile={SURVEY.slug}"))
        assert answer.status_code == 200
        ending = "vot" if kind == "votable" else kind
        assert answer.headers["content-disposition"] == f'attachment; filename="{R}-{SURVEY.slug}.{ending}"'
        path = tmp_path / f"t.{ending}"
        path.write_bytes(answer.content)
        rows = {
            "parquet": lambda p: pq.read_table(p).num_rows, "csv": lambda p: pacsv.read_csv(p).num_rows,
            "fits": lambda p: len(Table.read(p)), "votable": lambda p: len(Table.read(p, format="votable")),
        }[kind](path)  # fmt: skip
        assert rows == 594


# -- files and checks


def test_files_have_their_checksums(site: Site) -> None:
    text = site.client.get(page(R, f"/files?profile={SURVEY.slug}")).text
    entry = staged_path(ARCHIVE, FrameId.parse(R))
    assert entry in text
    assert "ab" * 32 in text
    assert "It is not in the archive (404)." in text
    assert '<strong class="good">Passed.</strong>' in text


def test_checks_that_name_the_frame_come_first(shared_sdss: Path, tmp_path: Path) -> None:
    mine = opened(tmp_path)
    publish(mine, shared_sdss, [DR7], KIRA, "k-1")
    (report,) = (tmp_path / "stage").rglob("_validation.json")
    check = {"name": "one", "passed": False, "detail": SCRIPT, "severity": "warning", "frame": DR7}
    other = check | {"name": "other", "frame": None, "passed": True}
    report.write_text(json.dumps({"ok": True, "sentence": "So so.", "checks": [other, check]}))
    text = mine.client.get(page(DR7, "/files")).text
    assert text.index("Checks that name this frame") < text.index(">one<") < text.index(">other<")
    assert SCRIPT not in text
    mine.ledger.engine.dispose()


# -- the field


def test_a_field_shows_its_bands_and_neighbours(site: Site) -> None:
    text = site.client.get(f"/fields/{ARCHIVE.name}/dr12/94/1/12").text
    for band in FIELD:
        assert f'src="{page(band)}/picture?scale=4"' in text
    assert "field 11 is not known" in text
    assert f'href="/fields/{ARCHIVE.name}/dr12/94/1/13" rel="next"' in text
    assert SURVEY.slug in text
    assert KIRA.slug in text
    missing = site.client.get(f"/fields/{ARCHIVE.name}/dr12/94/1/500")
    assert (missing.status_code, "no ingestion has listed it" in missing.text) == (404, True)


def test_a_colour_picture_says_how_it_was_aligned(site: Site) -> None:
    address = f"/fields/{ARCHIVE.name}/dr12/94/1/12/colour"
    text = site.client.get(address).text
    assert "g moved by 4 columns and 14 rows" in text
    picture = site.client.get(address + "/picture?bands=irg")
    assert len(picture.content) < 2_000_000
    assert Image.open(io.BytesIO(picture.content)).size == (1024, 744)
    alone = site.client.get(f"/fields/{ARCHIVE.name}/dr7/4192/4/300/colour").text
    assert "The field has no frame in band i, r, g" in alone


def test_bands_lie_on_each_other_once_they_are_moved(shared_sdss: Path) -> None:
    middle, other = frame(shared_sdss, R), frame(shared_sdss, "dr12-301-000094-1-0012-g")
    shift = shift_between(middle, other, "g")
    assert shift.left < 1.5

    def alike(one: np.ndarray, two: np.ndarray) -> float:
        parts = [np.clip(part[100:-100, 100:-100], 0.2, 5).ravel() for part in (one, two)]
        return float(np.corrcoef(*parts)[0, 1])

    # The stars agree where the WCS says, and nowhere near as well as the files lie.
    assert alike(middle.data, moved(other.data, shift.columns, shift.rows)) > 0.6
    assert alike(middle.data, other.data) < 0.3


def test_moving_an_image_fills_with_nothing() -> None:
    data = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
    assert moved(data, 1, 0).tolist() == [[2, 3, 4, 0], [6, 7, 8, 0], [10, 11, 12, 0]]
    assert moved(data, 0, -1).tolist() == [[0, 0, 0, 0], [1, 2, 3, 4], [5, 6, 7, 8]]
    assert not moved(data, 10, 0).any()


# -- search


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (R, f"/frames/{ARCHIVE.name}/{R}"), ("94 1 12", f"/fields/{ARCHIVE.name}/dr12/94/1/12"),
        ("dr12 94 1 12 r", f"/frames/{ARCHIVE.name}/{R}"), ("4192 4 300", f"/fields/{ARCHIVE.name}/dr7/4192/4/300"),
        ("336.7219 -0.8444", f"/fields/{ARCHIVE.name}/dr12/94/1/12"),
        ("22h26m53.256s, -0d50m39.8s", f"/fields/{ARCHIVE.name}/dr12/94/1/12"),
    ],
)  # fmt: skip
def test_what_is_looked_for_is_found(site: Site, asked: str, found: str) -> None:
    text = site.client.get("/frames", params={"q": asked}).text
    assert f'href="{found}"' in text
    assert 'role="status"' not in text


def test_bands_of_a_field_are_in_their_order(site: Site) -> None:
    text = site.client.get("/frames", params={"q": "94 1 12"}).text
    places = [text.index(f'aria-label="{frame}"') for frame in FIELD]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("10 10", "No catalogue has a source within 30 arcsec"), ("94 1 999", "The ledger knows no such frame"),
        (SCRIPT, "nothing that can be looked for"), ("dr12-x", "is not a frame"), ("x" * 201, "is too long"),
        ("400 0", "right ascension"), ("' OR 1=1 --", "is not an angle"),
    ],
)  # fmt: skip
def test_what_is_not_found_is_a_sentence(site: Site, asked: str, said: str) -> None:
    answer = site.client.get("/frames", params={"q": asked})
    assert answer.status_code == 200
    assert said in answer.text
    assert SCRIPT not in answer.text


# -- by themselves


def test_whereabouts_of_frames_by_their_keys(site: Site) -> None:
    frames = frames_of_field(Release(12), 94, 1, 12)
    found = whereabouts(site.ledger, frames, ARCHIVE.name)
    assert [(one.profile, one.frame.band) for one in found] == [*((SURVEY.slug, b) for b in "ugriz"), (KIRA.slug, "r")]
    assert all(one.published and not one.reason for one in found)
    assert whereabouts(site.ledger, frames, "another") == []
    assert whereabouts(site.ledger, []) == []
    assert len(frames_of_field(Release(7), 94, 1, 12)) == 20


def test_links_to_logs_stay_on_this_host() -> None:
    assert log_link("http://elsewhere:8080/dags/a/runs/b?try_number=2") == "/dags/a/runs/b?try_number=2"
    assert log_link("/log") == "/log"
    for bad in ("", "javascript:alert(1)", "data:text/html,x", "http://host//evil.example/x", "relative"):
        assert log_link(bad) == ""


def test_what_is_kept_is_made_once_and_forgotten_in_turn() -> None:
    kept: Kept[str] = Kept(10, len)
    made: list[str] = []

    def make(text: str) -> str:
        made.append(text)
        return text

    for text in ("aaaa", "bbbb", "aaaa", "cccc", "aaaa", "bbbb"):
        assert kept(text, lambda text=text: make(text)) == text  # type: ignore[misc]
    assert made == ["aaaa", "bbbb", "cccc", "bbbb"]

    def fail() -> str:
        raise ValueError("not made")

    with pytest.raises(ValueError, match="not made"):
        kept("new", fail)
    assert kept("new", lambda: "x") == "x"


def test_no_page_has_styles_or_scripts_of_its_own(site: Site) -> None:
    for address in (page(R), page(R, "/header"), f"/fields/{ARCHIVE.name}/dr12/94/1/12", "/frames?q=94+1+12"):
        answer = site.client.get(address)
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert "style=" not in answer.text
        assert " onclick" not in answer.text
        for name in {part.split('"')[0] for part in answer.text.split("/static/")[1:]}:
            assert site.client.get(f"/static/{name}").status_code == 200, name


def test_a_crowded_frame_is_sent_in_less_than_two_megabytes(shared_sdss: Path, tmp_path: Path) -> None:
    mine = opened(tmp_path)
    publish(mine, shared_sdss, [M2], KIRA, "k-1")
    answer = mine.client.get(page(M2, "/sources.json"))
    assert answer.json()["total"] == COUNTS[M2]
    assert len(answer.content) < 2_000_000
    mine.ledger.engine.dispose()


def test_a_result_of_another_batch_is_not_taken(site: Site) -> None:
    (place,) = [one for one in whereabouts(site.ledger, [FrameId.parse(HELD_BACK)]) if one.batch == "s-2"]
    gone = replace(place, batch="no-such-batch")
    with pytest.raises(NoSources, match="has not come that far"):
        result_of(site.store, gone)
