"""The benchmarks: that contenders take turns, that proofs fail where they must, and that a report says what it should.

No time is asserted: that is what the benchmarks themselves are for.
"""

import fcntl
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from http_servers import ArchiveServer

from benchmarks import agreement, document, report
from benchmarks import run as runner
from benchmarks.agreement import Catalogue, Disagreement, Limits, compare
from benchmarks.contenders import Run, contenders
from benchmarks.frames import (
    CROWDED,
    CROWDED_IS_SYNTHETIC,
    DR12,
    Frames,
    Original,
    fetched_frames,
    identity,
    is_synthetic,
    need_room,
)
from benchmarks.local import OneCore
from benchmarks.memory import Peak
from benchmarks.scaling import Scaling
from benchmarks.scenario import Bars, Lines, Result, Scenario, Setting, Sizes, Table, Verdict
from benchmarks.timing import Spread, alternate, order
from benchmarks.work import Kira
from kira.datasets import open_data_set
from kira.datasets.fetch import fetch
from kira.datasets.index import INDEX
from kira.errors import InvalidInput
from kira.extraction import Parameters, SurveyProfile
from kira.frames import unpack
from kira.frames.quick import read_known_layout
from kira.sample import SampleSpec
from kira.sample.camera import Detector
from kira.sample.fpc import fpc_bytes
from kira.sample.frame import frame_bytes
from kira.sample.strip import strip_fields
from kira.sdss import FrameId, Release
from kira.sdss.archive import ArchiveClient

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    """One frame of few sources, in both layouts, not compressed before it is unpacked again."""
    spec = SampleSpec(fields=1, bands=("r",), star_density=2_000, galaxy_density=2_000)
    detector = Detector(spec, 3, "r")
    ((field, pixels),) = strip_fields(spec, 3, "r")
    originals = tuple(
        Original(spec.frame(release, 3, field, "r"), write(detector, field, pixels))
        for release, write in ((Release(7), fpc_bytes), (DR12, frame_bytes))
    )
    return Frames(tmp_path_factory.mktemp("frames"), originals, synthetic=True, copies=2)


# -- turns and figures


def test_contenders_take_turns() -> None:
    """Each round has every one once, and begins with another one."""
    assert [name for _, name in order("abc", 3)] == list("abcbcacab")
    assert list(order([], 2)) == []
    said: list[str] = []
    results = alternate({"a": lambda n: n, "b": lambda n: 10 * n}, 3, lambda name, n, _: said.append(f"{name}{n}"))
    assert results == {"a": [0, 1, 2], "b": [0, 10, 20]}
    assert said == ["a0", "b0", "b1", "a1", "a2", "b2"]


def test_what_is_said_of_repeated_numbers() -> None:
    spread = Spread.of([3.0, 1.0, 2.0, 10.0, 2.0])
    assert spread == Spread(median=2.0, least=1.0, most=10.0, mad=1.0, repeats=5)
    assert spread.text() == "2 (1–10)"
    assert Spread.of([1234.5]).text() == "1,234"
    run = Run("x", 2, frames=10, seconds=5.0, start_up=1.0, sources=7)
    assert (run.per_frame, run.throughput, run.per_frame_with_start_up) == (0.5, 2.0, 0.6)


@pytest.mark.parametrize(("value", "limit", "most", "held"), [
    (1.08, 1.08, True, True), (1.09, 1.08, True, False), (2.0, 2.0, False, True), (1.99, 2.0, False, False),
    (float("nan"), 2.0, True, False),
])  # fmt: skip
def test_verdicts(value: float, limit: float, most: bool, held: bool) -> None:
    verdict = Verdict("a ratio", value, limit, most)
    assert verdict.held is verdict.as_dict()["held"] is held
    assert verdict.text().startswith("HOLDS" if held else "DOES NOT HOLD")


def test_sizes_follow_from_one_number() -> None:
    assert Sizes(500).growth == (50, 500, 5000)
    assert Sizes(500).tail == (200, 2)
    assert max(Sizes(8).growth) == 80
    assert [Sizes(frames).scaling for frames in (1, 10, 50, 100, 500)] == [
        (10, 20), (10, 20), (10, 50), (20, 100), (100, 500)
    ]  # fmt: skip


def test_memory_of_a_child(tmp_path: Path) -> None:
    """It is the child's own peak, which was over before anybody looked."""
    script = tmp_path / "extract.py"  # a name that has a role
    script.write_text("import time\ndata = bytearray(100 << 20)\ndel data\ntime.sleep(1.5)\n")
    with Peak() as peak:
        import subprocess

        subprocess.run([sys.executable, str(script)], check=True)
    assert 100 < peak.as_dict()["driver"] < 200
    assert peak.together < 90


# -- frames


def test_copies_are_frames_of_their_own(frames: Frames) -> None:
    """Each can be read under its name, no two files are alike, and those that share a file have other reruns."""
    files = frames.make(5, DR12)
    assert [str(one.frame) for one in files] == [
        f"dr12-{rerun}-009001-3-{field:04d}-r"
        for rerun, field in ((301, 11), (301, 12), (302, 11), (302, 12), (303, 11))
    ]
    for one in files:
        read_known_layout(one.path.read_bytes(), one.frame)
    assert len({one.path.stat().st_ino for one in files}) == 2
    assert files[0].path.read_bytes() != files[1].path.read_bytes()
    for one in frames.make(4):
        read_known_layout(one.path.read_bytes(), one.frame)
    first, moved = (read_known_layout(one.path.read_bytes(), one.frame).data for one in files[:2])
    assert np.array_equal(np.roll(first, 61, axis=0), moved)


def test_bands_of_a_field_stay_together(frames: Frames) -> None:
    (one,) = frames.chosen(DR12)
    originals = [replace(one, frame=replace(one.frame, field=field, band=band)) for field in (7, 9) for band in "gr"]
    ids = [identity(original, originals, 1, 0) for original in originals]
    assert [(frame.field, frame.band) for frame in ids] == [(13, "g"), (13, "r"), (14, "g"), (14, "r")]


def test_an_archive_of_copies(frames: Frames, tmp_path: Path) -> None:
    (path,) = frames.archive(1, DR12, tmp_path)
    (file,) = frames.make(1, DR12)
    assert FrameId.from_archive_path(str(path.relative_to(tmp_path / "sas"))) == file.frame
    assert unpack(path.read_bytes(), path.name) == file.path.read_bytes()


def test_synthetic_frames_are_said_to_be(frames: Frames) -> None:
    """Also those of a sample archive that was given as an archive."""
    assert frames.describe().startswith("SYNTHETIC")
    assert "SDSS" not in frames.describe()
    assert Frames.from_originals(frames.ordinary, frames.folder).synthetic


def test_a_rendered_crowded_frame_is_said_to_be_one(
    frames: Frames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also beside real frames; and whatever its name is, it is known as the crowded one."""
    monkeypatch.setattr("benchmarks.frames._CROWDED_STARS", 2_000.0)
    monkeypatch.setattr("benchmarks.scaling.servers", lambda *_: pytest.fail("no further"))
    (one,) = frames.chosen(DR12)
    real = [replace(one, frame=replace(one.frame, run=94))]
    for originals, notes in ((real, [CROWDED_IS_SYNTHETIC]), ([*real, replace(one, frame=CROWDED)], [])):
        some = Frames.from_originals(originals, tmp_path / str(len(originals)), copies=2)
        made = some.make(3, DR12, crowded=1)
        assert [file.crowded for file in made] == [False, False, False, True]
        assert bool(notes) is ("SYNTHETIC" in some.describe()) is is_synthetic(made[-1].frame)
        result = Scaling().begin()
        with pytest.raises(pytest.fail.Exception):
            Scaling().run(Setting(some, tmp_path, Sizes(1)), result)
        assert result.notes == notes


def test_a_full_disk_is_said_before_it_is_full(tmp_path: Path) -> None:
    need_room(tmp_path, 1e3)
    with pytest.raises(InvalidInput, match="take fewer frames"):
        need_room(tmp_path, 1e18)


def test_who_is_not_installed_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setitem(sys.modules, "photutils", None)
    found, left_out = contenders(SurveyProfile(), tmp_path)
    assert {one.name for one in found} >= {"Kira (sep), pool", "sep by hand, pool"}
    assert not any("extractor" in one.name or "photutils" in one.name for one in found)
    assert [line.partition(" ")[0] for line in left_out] == ["source-extractor", "photutils"]


def test_no_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert runner.main(["--archive", str(tmp_path), "--scenarios", "one-core"]) == 2
    assert "There are no frames" in capsys.readouterr().err
    assert runner.main(["--scenarios", "nonsense"]) == 2
    assert "one-core" in capsys.readouterr().err


# -- proofs

LIMITS = Limits(counts=0.01, within=1e-3, share=0.95)
TENTH = np.arange(400) % 10 == 0


def catalogue(n: int = 400) -> Catalogue:
    x, y = np.meshgrid(np.arange(20.0), np.arange(20.0))
    flux = np.linspace(1, 1000, n)
    return Catalogue(10 * x.ravel()[:n], 10 * y.ravel()[:n], np.full(n, True), {"AUTO": flux})


def test_catalogues_that_agree() -> None:
    one = catalogue()
    proof = compare("x", one, replace(one, x=one.x + 0.01, values={"AUTO": one.values["AUTO"] * 1.0005}), LIMITS)
    assert proof.sources == (400, 400)
    assert proof.equal == {"AUTO": 1.0}


@pytest.mark.parametrize(("change", "words"), [
    (lambda c: replace(c, values={"AUTO": c.values["AUTO"] * np.where(TENTH, 1.01, 1.0)}), "AUTO is equal"),
    (lambda c: replace(c, values={"AUTO": np.where(TENTH, np.nan, c.values["AUTO"])}), "AUTO is equal"),
    (lambda c: replace(c, x=c.x + np.where(TENTH, 2.0, 0.0)), "40 of 400 sources have no counterpart"),
    (lambda _: catalogue(390), "400 and 390 sources"),
    (lambda _: catalogue(0), "400 and 0 sources"),
])  # fmt: skip
def test_a_tampered_catalogue_is_found_out(change: object, words: str) -> None:
    with pytest.raises(Disagreement, match=words):
        compare("x", catalogue(), change(catalogue()), LIMITS)  # type: ignore[operator]


def test_a_tampered_table_is_found_out(frames: Frames, tmp_path: Path) -> None:
    """Equal to the last bit, however the rows are cut into files; or not at all."""
    files = frames.make(2, DR12)
    work = Kira(Parameters())
    tables = [work(file) for file in files]
    work.write(tables, tmp_path / "all")
    for number, table in enumerate(tables):
        work.write([table], tmp_path / f"part{number}")
    whole = (tmp_path / "all").read_bytes()
    parts = [(tmp_path / f"part{number}").read_bytes() for number in (1, 0)]
    assert agreement.prove_tables("x", [whole], parts).sources[0] == sum(table.num_rows for table in tables)
    flux = tables[0]["flux_circle"].to_numpy().copy()
    flux[0] = np.nextafter(flux[0], np.inf)
    at = tables[0].schema.get_field_index("flux_circle")
    work.write([tables[0].set_column(at, tables[0].schema.field(at), [flux])], tmp_path / "part0")
    with pytest.raises(Disagreement, match="not the same"):
        agreement.prove_tables("x", [whole], [(tmp_path / f"part{number}").read_bytes() for number in (1, 0)])


# -- scenarios and the report


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("source-extractor") is None, reason="source-extractor is not installed")
def test_one_core_from_the_frames_to_the_report(
    frames: Frames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The profile kira on one frame, every contender once, photutils left out."""
    monkeypatch.setitem(sys.modules, "photutils", None)
    monkeypatch.setattr("benchmarks.local.PROFILES", {"kira": Parameters})
    monkeypatch.setattr(Sizes, "one_core", 1)
    said: list[str] = []
    (result,) = runner.run([OneCore()], Setting(frames, tmp_path, Sizes(8), repeats=1, say=said.append), tmp_path / "r")
    assert not result.failed, "\n".join(said)
    assert said.index(next(line for line in said if "Expected" in line)) < said.index(
        "kira: proving agreement on 1 frames"
    )
    written = json.loads((tmp_path / "r" / report.JSON).read_text())
    (scenario,) = written["scenarios"]
    assert {run["contender"] for run in scenario["runs"]} == {
        "Kira (sep), pool", "source-extractor, xargs", "sep by hand, pool",
    } | ({"Kira (fast), pool"} if len(scenario["runs"]) > 3 else set())  # fmt: skip
    assert len({run["sources"] for run in scenario["runs"]}) == 1
    peak = next(run["peak_mb"] for run in scenario["runs"] if "extractor" in run["contender"])
    assert 20 < peak["source-extractor"] < 200, "its own, and not that of this process"
    assert any("photutils is not installed" in note for note in scenario["notes"])
    assert any("rehearsal" in note for note in scenario["notes"])
    (verdict,) = scenario["verdicts"]
    assert verdict["limit"] == 1.8
    assert written["about"]["machine"]["cores"] >= 1
    assert (tmp_path / "r" / "one-core-kira.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "r" / report.MARKDOWN).read_text()
    assert page.index("Expected, before it was measured") < page.index("| source-extractor, xargs |")


class Breaks(Scenario):
    name, title, expectation = "breaks", "It breaks", "It breaks."

    def run(self, setting: Setting, result: Result) -> None:  # noqa: ARG002
        raise Disagreement("3 and 4 sources")


def test_a_scenario_that_breaks_is_reported_and_the_next_goes_on(frames: Frames, tmp_path: Path) -> None:
    setting = Setting(frames, tmp_path, say=lambda _: None)
    results = runner.run([Breaks(), Breaks()], setting, tmp_path / "r")
    assert [one.failed for one in results] == ["Disagreement: 3 and 4 sources"] * 2
    assert (tmp_path / "r" / report.MARKDOWN).read_text().count("It came to no end") == 2


def made_report(folder: Path) -> dict[str, object]:
    about = {
        "machine": {"processor": "P", "cores": 2, "memory_gib": 8, "system": "S", "load": 0.1, "python": "3",
                    "versions": {"kira": "1"}, "when": "now"},
        "frames": "Some.", "repeats": 3, "long_repeats": 1,
    }  # fmt: skip
    result = Result(
        "some", "Something", "Much.", ["a proof"], ["a note"], [Table("T", ["a", "b"], [["1|2", "3"]])],
        [Verdict("ratio", 1.5, 1.1, True)],
        [Bars("bars", "B", "s", {"Kira": [2, 1, 3], "other": [4, 4, 4]}, 3.5),
         Lines("lines", "L", "x", "y", {"Kira": [[1, 2, 1, 3], [10, 2, 1, 3]]}, log=True)],
    )  # fmt: skip
    return report.write(folder, about, [result])


def test_a_page_is_filled_from_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_report(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"report.md", "report.json", "bars.png", "lines.png"}
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n{document.BEGIN}\nold\n{document.END}\nend\n")
    assert document.main([str(tmp_path / "report.json"), str(page)]) == 0
    text = page.read_text()
    assert "\nold\n" not in text
    assert text.startswith("# Page\n")
    assert text.endswith(f"{document.END}\nend\n")
    assert "| some | ratio | 1.5 | at most 1.1 | **no** |" in text
    assert r"| 1\|2 | 3 |" in text
    assert document.main([str(tmp_path / "report.json"), str(page)]) == 0
    assert page.read_text() == text, "filled again it is the same"
    assert document.main([str(tmp_path / "report.json"), str(tmp_path / "report.json"), str(page)]) == 0
    assert page.read_text().count("| some | ratio | 1.5 |") == 2, "of two reports, one after the other"
    begin, end = document.marks("some")
    page.write_text(f"# Page\n\n{begin}\nold\n{end}\n\n{document.BEGIN}\nkept\n{document.END}\n")
    assert document.main([str(tmp_path / "report.json"), str(page)]) == 0
    text = page.read_text()
    assert text.index(begin) < text.index("| some | ratio | 1.5 |") < text.index(end), "it has marks of its own"
    assert text.endswith(f"{document.BEGIN}\nkept\n{document.END}\n")
    page.write_text("no marks")
    assert document.main([str(tmp_path / "report.json"), str(page)]) == 2
    assert "must have" in capsys.readouterr().err


def test_the_page_of_the_project_has_the_marks() -> None:
    page = (PROJECT / "docs" / "performance.md").read_text()
    assert page.count(document.BEGIN) == page.count(document.END) == 1
    for scenario in ("scaling", "locality"):
        assert [page.count(mark) for mark in document.marks(scenario)] == [1, 1]


def test_every_scenario_expects_something() -> None:
    found = runner.scenarios()
    assert list(found) == ["one-core", "cores", "spark", "tail", "growth", "wire", "ingest", "scaling", "locality"]
    assert all(one.begin().expectation for one in found.values())


def test_the_crowded_frame_is_no_ordinary_one() -> None:
    assert Release.parse("dr12") == DR12 == CROWDED.release


# -- data sets


@pytest.fixture
def fetched(archive_server: ArchiveServer, shared_sdss: Path, tmp_path: Path) -> Path:
    """The data set tiny, fetched from an archive over HTTP as `kira datasets fetch` does it; real frames."""
    with ArchiveClient(archive_server.add("bench", shared_sdss)) as client:
        assert fetch(open_data_set("tiny"), client, tmp_path / "tiny", threads=2).good
    return tmp_path / "tiny"


def test_a_data_set_is_exactly_its_frames(fetched: Path, shared_sdss: Path, tmp_path: Path) -> None:
    tiny = open_data_set("tiny")
    # What lies there besides is not taken.
    other = fetched / "das" / "imaging" / "4192" / "40" / "corr" / "4" / "fpC-004192-z4-0300.fit.gz"
    shutil.copyfile(shared_sdss / other.relative_to(fetched), other)
    frames = Frames.of_data_set(tiny, fetched, tmp_path / "made", copies=2)
    assert [str(one.frame) for one in frames.ordinary] == list(tiny.names())
    assert (frames.release, frames.synthetic) == (Release(7), False)
    assert tiny.sha256 in frames.describe()
    made = frames.make(4, frames.release)
    assert [str(one.frame) for one in made] == list(tiny.names())
    for one in made:
        packed = shared_sdss / "das" / one.frame.archive_path
        assert one.path.read_bytes() == unpack(packed.read_bytes(), packed.name), "not one bit is other"
    # Fewer are taken from all of it, more are copies of other reruns: two files of each, and those again.
    assert [one.frame.band for one in frames.make(2)] == ["u", "r"]
    more = frames.make(20, frames.release)
    assert len({one.frame for one in more}) == 20
    assert len({one.path.stat().st_ino for one in more}) == 8
    assert {one.frame.rerun for one in more} == {40, 41, 42, 43, 44}
    for one in more[4:8]:
        read_known_layout(one.path.read_bytes(), one.frame)
    (path,) = frames.archive(1, frames.release, tmp_path / "archive")
    assert unpack(path.read_bytes(), path.name) == made[0].path.read_bytes()


def test_a_data_set_is_only_read(fetched: Path) -> None:
    """Also while it is fetched into, and from a folder in which nobody may write."""
    index = fetched / INDEX
    for one in (index, fetched):
        one.chmod(0o555)
    with index.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert len(fetched_frames(open_data_set("tiny"), fetched)) == 4
    fetched.chmod(0o755)
    index.chmod(0o644)
    index.write_bytes(content := index.read_bytes() + b'{"path": "das/')
    assert len(fetched_frames(open_data_set("tiny"), fetched)) == 4
    assert index.read_bytes() == content, "the line that another process is about to write"


def test_a_data_set_that_is_not_there_is_a_sentence(
    fetched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KIRA_HOME", str(tmp_path / "home"))
    words = ["--scenarios", "one-core", "--work", str(tmp_path), "--data-set", "tiny"]
    assert runner.main(words) == 2
    place = tmp_path / "home" / "datasets" / "tiny"
    assert capsys.readouterr().err == (
        f"Data set tiny was not fetched into {place}: kira datasets fetch tiny, and then again.\n"
    )
    assert not place.exists()
    gone = fetched / "das" / FrameId.parse("dr7-40-004192-4-0300-g").archive_path
    gone.write_bytes(gone.read_bytes()[:-1])
    assert runner.main([*words, "--archive", str(fetched)]) == 2
    assert "1 of the 4 frames of data set tiny are not in" in (said := capsys.readouterr().err)
    assert "the first dr7-40-004192-4-0300-g: kira datasets fetch tiny" in said
    gone.unlink()
    assert runner.main([*words, "--archive", str(fetched)]) == 2
    assert runner.main(["--data-set", "none", "--work", str(tmp_path)]) == 2
    assert "There is no data set none" in capsys.readouterr().err


def test_what_only_root_can_measure_is_left_out(
    frames: Frames, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.hosts.why_not", lambda: "Hosts are for root.")
    names = list(runner.scenarios())
    assert runner._that_can_be(names, frames, asked_for=False) == [name for name in names if name != "locality"]
    assert capsys.readouterr().out == "Hosts are for root. The scenario locality is left out.\n"
    assert runner._that_can_be(["locality"], frames, asked_for=True) == ["locality"], "it says itself why it cannot be"
    monkeypatch.setattr("benchmarks.hosts.why_not", lambda: "")
    assert runner._that_can_be(names, frames, asked_for=False) == names


def test_what_a_data_set_is_no_measure_of_is_left_out(
    fetched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = Frames.of_data_set(open_data_set("tiny"), fetched, tmp_path / "made")
    assert runner._that_can_be(["cores", "wire"], frames, asked_for=False) == ["cores"]
    assert "packed by bz2" in capsys.readouterr().out
    words = ["--scenarios", "wire", "--work", str(tmp_path), "--data-set", "tiny", "--archive", str(fetched)]
    assert runner.main(words) == 2
    assert "Leave it out, or take a data set of dr8 or later." in capsys.readouterr().err
