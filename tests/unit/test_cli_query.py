"""`kira query` and `kira export` as they are typed, on small published catalogues."""

import io
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from astropy.table import Table
from published_catalogues import KINDS, PROFILES, all_over, made_up, publish, scattered

from kira.cli import main, query
from kira.stack.config import StackConfig

Run = Callable[..., tuple[int, str, str]]
MAIN_FLUX = {"kira": "flux_ellipse", "survey": "flux_auto"}


@pytest.fixture
def kira(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("KIRA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KIRA_STAGE_URL", raising=False)
    # Not by COLUMNS: a console asks for it once, when it is made, which may be in another test's time.
    monkeypatch.setattr(query.console, "width", 300)
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["kira", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def stage(kind: str, tmp_path: Path, kira: Run) -> Path:
    """Where the local stack stages to, with a published catalogue of the archive `sample`."""
    folder = tmp_path / "stage"
    publish(folder / "sample" / "catalog" / "dr12" / PROFILES[kind].slug, kind, all_over(kind))
    StackConfig(tmp_path / "home", stage=folder.as_uri()).save()
    return folder


@pytest.mark.usefixtures("stage")
def test_a_cone_is_shown_nearest_first_with_units(kira: Run, kind: str) -> None:
    status, out, err = kira("query", "cone", "0:00:00", "-0.1", "20arcmin")
    assert (status, err) == (0, "")
    header, unit = (re.split(r"\s*[┃]\s*", line)[1:-1] for line in out.splitlines()[1:3])
    assert header[:8] == ["separation", "run", "camcol", "field", "band", "number", "ra", "dec"]
    assert header[-1] == MAIN_FLUX[kind]
    assert [unit[header.index(name)] for name in ("separation", "ra", MAIN_FLUX[kind])] == ["arcsec", "deg", "nmgy"]
    rows = [re.split(r"\s*│\s*", line)[1:-1] for line in out.splitlines() if line.startswith("│")]
    assert len(rows) == 20
    distances = [float(row[0]) for row in rows]
    assert distances == sorted(distances)
    found = re.search(r"(\d+) sources, the nearest 20 shown; synthetic; read (\d+) of 8 files, .+ of .+$", out.strip())
    assert found
    assert int(found[1]) > 20
    assert 0 < int(found[2]) < 8


@pytest.mark.usefixtures("stage")
@pytest.mark.parametrize("suffix", ["parquet", "fits", "vot", "csv"])
def test_a_cone_is_written_whole_in_the_format_of_its_name(kira: Run, kind: str, tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"out.{suffix}"
    status, out, err = kira("query", "cone", "359.9", "-0.9", "0.4", "-o", str(target), "--band", "gr")
    assert (status, err) == (0, "")
    count = int(re.match(r"(\d+) sources in ", out)[1])  # type: ignore[index]
    assert str(target) in out
    read = {
        "parquet": lambda: pq.read_table(target).to_pydict(),
        "fits": lambda: Table.read(target, format="fits"),
        "vot": lambda: Table.read(target, format="votable"),
        "csv": lambda: Table.read(target, format="ascii.csv"),
    }[suffix]()
    assert len(read["ra"]) == count > 20
    assert {str(band) for band in read["band"]} == {"g", "r"}
    assert MAIN_FLUX[kind] in list(read.keys())
    assert max(read["separation"]) <= 0.4 * 3600
    assert sorted(one.name for one in tmp_path.iterdir()) == ["home", f"out.{suffix}", "stage"]


@pytest.mark.usefixtures("stage")
def test_a_run_with_columns_and_a_limit(kira: Run, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    asked = ["--camcol", "3", "--field", "13", "--bands", "r", "--columns", "number, x", "--limit", "5"]
    status, out, _ = kira("query", "run", "96", *asked, "-o", str(target))
    assert status == 0
    assert out.startswith(f"5 sources in {target} (the first 5 of 80); synthetic; read 1 of 8 files")
    read = Table.read(target, format="ascii.csv")
    assert read.colnames == ["number", "x"]
    assert read["number"].tolist() == list(range(160, 165))
    status, out, _ = kira("query", "run", "77")
    assert (status, out.splitlines()[0].split(";")[0]) == (0, "0 sources")
    assert "read 0 of 8 files" in out


def test_a_catalogue_by_its_place(kira: Run, stage: Path, kind: str) -> None:
    folder = stage / "sample" / "catalog" / "dr12" / PROFILES[kind].slug
    answers = {
        kira("query", "run", "94", "--catalogue", str(folder)),
        kira("query", "run", "94", "--catalogue", folder.as_uri()),
        kira("query", "run", "94"),
        kira("query", "run", "94", "--archive", "sample", "--release", "DR12", "--profile", PROFILES[kind].slug),
    }
    assert len(answers) == 1
    assert next(iter(answers))[0] == 0


def test_several_profiles_are_to_be_chosen_from(kira: Run, stage: Path, kind: str) -> None:
    other = next(one for one in KINDS if one != kind)
    publish(stage / "sample" / "catalog" / "dr12" / PROFILES[other].slug, other,
            {"a": [made_up(other, *scattered(10, 0.0, 0.0, 1.0, 1))]})  # fmt: skip
    slugs = ", ".join(sorted(PROFILES[one].slug for one in KINDS))
    status, out, err = kira("query", "run", "94")
    assert (status, out) == (1, "")
    assert f"has several profiles: choose one with --profile ({slugs})." in err
    for name in ("kira", "survey"):
        status, out, err = kira("query", "run", "94", "--profile", name)
        assert (status, err) == (0, "")
        assert MAIN_FLUX[name] in out
    status, out, _ = kira("query", "run", "94", "--profile", PROFILES[other].slug)
    assert status == 0
    assert "10 sources" in out
    status, _, err = kira("query", "run", "94", "--profile", "other-00000000")
    assert f"Profiles: {slugs}." in err


NONSENSE = [
    (["cone", "ten", "0", "1"], "right ascension: 'ten' is not an angle"),
    (["cone", "10", "--colums", "1"], "declination: '--colums' is not an angle"),
    (["cone", "10", "-91", "1"], "a declination is from -90 to 90 degrees"),
    (["cone", "10", "0", "0"], "the radius of a cone is above 0"),
    (["run", "ninety"], "runs: 'ninety' is not a list of numbers"),
    (["run", "94", "--camcol", "7"], "camcols: '7' has numbers outside 1 to 6"),
    (["run", "94", "--bands", "x"], "bands: 'x' is not some of the letters"),
    (["run", "94", "--columns", "ra,,dec"], "columns: there is a comma too many"),
    (["run", "94", "--columns", "raa"], "has no column 'raa'; did you mean ra"),
    (["run", "94", "-o", "out.txt"], "a table is written as .parquet, .fits, .vot or .csv, not as .txt"),
    (["run", "94", "-o", "/no/such/folder/out.fits"], "There is no folder /no/such/folder to write out.fits to"),
    (["run", "94", "--archive", "../x"], "'../x' cannot be the name of an archive"),
    (["run", "94", "--profile", "../x"], "'../x' is not a profile with its hash"),
    (["run", "94", "--release", "dr99"], "There is no SDSS data release 99"),
    (["run", "94", "--release", "dr7"], "Nothing is published in file://"),
    (["run", "94", "--archive", "other"], "Nothing is published in file://"),
    (["run", "94", "--catalogue", "x", "--release", "dr12"], "Give either --catalogue, or --archive"),
    (["run", "94", "--catalogue", "ftp://x/y"], "'ftp://x/y' is not a folder that can be read"),
    (["run", "94", "--catalogue", "/no/such/folder"], "Nothing is published in file:///no/such/folder"),
]


@pytest.mark.usefixtures("stage")
@pytest.mark.parametrize(("arguments", "sentence"), NONSENSE)
def test_nonsense_is_one_sentence(kira: Run, arguments: list[str], sentence: str) -> None:
    status, out, err = kira("query", *arguments)
    assert (status, out, len(err.splitlines())) == (1, "", 1)
    assert err.startswith("kira: ")
    assert sentence in err


def test_a_catalogue_on_the_stack_that_does_not_run(kira: Run) -> None:
    status, _, err = kira("query", "run", "94")
    assert status == 1
    assert "The stack does not run, and with it HDFS" in err


@pytest.mark.usefixtures("stage")
@pytest.mark.parametrize("suffix", ["parquet", "fits", "vot", "csv"])
def test_a_catalogue_is_exported_in_the_format_of_its_name(kira: Run, tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"all.{suffix}"
    status, out, err = kira("export", str(target))
    assert (status, err) == (0, "")
    assert out.startswith(f"3,200 sources of 8 files in {target}; synthetic; read 8 of 8 files")
    form = {"parquet": "parquet", "fits": "fits", "vot": "votable", "csv": "ascii.csv"}[suffix]
    if suffix == "parquet":
        assert pq.read_metadata(io.BytesIO(target.read_bytes())).num_rows == 3200
    else:
        assert len(Table.read(target, format=form)) == 3200
    assert sorted(one.name for one in tmp_path.iterdir()) == [f"all.{suffix}", "home", "stage"]


@pytest.mark.usefixtures("stage")
def test_a_catalogue_is_exported_as_hats(kira: Run, tmp_path: Path) -> None:
    status, out, _ = kira("export", "--hats", str(tmp_path / "my hats"), "--hats-rows", "500")
    assert status == 0
    assert re.match(r"3,200 sources in \d+ partitions of HEALPix order [\d, ]+ in .*/my hats; synthetic; read 8", out)
    about = (tmp_path / "my hats" / "hats.properties").read_text()
    assert "obs_collection=my_hats\n" in about
    assert "hats_nrows=3200\n" in about
    for arguments, sentence in (
        (["--hats", str(tmp_path / "my hats")], "is there already"),
        ([], "Name either a file to write, or with --hats a folder to make."),
        (["a.fits", "--hats", "b"], "Name either a file to write, or with --hats a folder to make."),
        (["a.txt"], "a table is written as .parquet, .fits, .vot or .csv"),
    ):
        status, out, err = kira("export", *arguments)
        assert (status, out) == (1, "")
        assert sentence in err


def test_half_a_file_is_never_left(kira: Run, stage: Path, tmp_path: Path) -> None:
    """A part that turns out damaged when most is written."""
    last = sorted(stage.rglob("part-*.parquet"))[-1]
    good = last.read_bytes()
    last.write_bytes(good[:4] + bytes(len(good) // 2) + good[4 + len(good) // 2 :])
    for name in ("all.parquet", "all.fits"):
        (tmp_path / name).write_bytes(b"before")
        status, _, err = kira("export", str(tmp_path / name))
        assert status == 1
        assert f"{last.name} cannot be read as Parquet" in err
        assert (tmp_path / name).read_bytes() == b"before"
    assert kira("export", "--hats", str(tmp_path / "hats"))[0] == 1
    assert sorted(one.name for one in tmp_path.iterdir()) == ["all.fits", "all.parquet", "home", "stage"]
