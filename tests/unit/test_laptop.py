"""`kira extract`: files on a laptop to one table, whatever some of them are."""

import bz2
import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table
from real_frames import archive_file

from kira.errors import InvalidInput
from kira.extraction import Parameters, Profile, SurveyProfile
from kira.laptop import companions_of, measure_file, name_of, read_file, together
from kira.sdss import FrameId, Release

ENVIRONMENT = os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}
FPC = "dr7-40-004192-4-0300-r"
FRAME = "dr12-301-000094-1-0012-r"


def kira(*arguments: object, ok: bool = True) -> str:
    command = [str(Path(sys.executable).with_name("kira")), "extract", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert (done.returncode == 0) is ok, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


# -- which frame a file is


@pytest.mark.parametrize("text", [FPC, FRAME])
def test_folders_of_an_archive_say_all(shared_sdss: Path, text: str) -> None:
    path = archive_file(shared_sdss, text)
    named = name_of(path)
    assert (str(named.frame), named.remarks) == (text, ())
    frame, remarks = read_file(path)
    assert str(frame.id) == text
    assert remarks == frame.remarks
    assert frame.noise_source == "psField"
    assert frame.calibration == ("tsField" if "dr7" in text else "frame")


def test_a_file_alone_is_known_by_its_name(shared_sdss: Path, tmp_path: Path) -> None:
    old, new = (Path(shutil.copy(archive_file(shared_sdss, text), tmp_path)) for text in (FPC, FRAME))
    assert str(name_of(old).frame) == FPC
    assert "dr7 and rerun 40 assumed" in name_of(old).remarks[0]
    assert str(name_of(new).frame) == FRAME.replace("dr12", "dr17")
    assert "dr17 assumed" in name_of(new).remarks[0]
    assert name_of(new, Release(9)).frame == FrameId.parse(FRAME.replace("dr12", "dr9"))
    assert name_of(new, Release(9)).remarks == ()
    with pytest.raises(InvalidInput):
        name_of(old, Release(12))
    assert name_of(tmp_path / "m31.fits").frame is None
    frame, _ = read_file(old)
    assert (frame.calibration, frame.noise_source) == ("FLUX20", "table")


def test_companions_beside_a_file_are_taken(shared_sdss: Path, tmp_path: Path) -> None:
    frame = FrameId.parse(FPC)
    path = Path(shutil.copy(archive_file(shared_sdss, FPC), tmp_path))
    assert companions_of(path, frame).tsfield is None
    for name in (frame.tsfield_path, frame.psfield_path):
        shutil.copy(shared_sdss / "das" / str(name), tmp_path)
    found = companions_of(path, frame)
    assert found.tsfield
    assert found.psfield
    assert found.mask is None
    assert read_file(path)[0].calibration == "tsField"


@pytest.mark.parametrize("content", [b"", b"<html>", b"SIMPLE  =                    T"])
def test_a_damaged_companion_costs_the_frame_nothing(shared_sdss: Path, tmp_path: Path, content: bytes) -> None:
    frame_id = FrameId.parse(FPC)
    path = Path(shutil.copy(archive_file(shared_sdss, FPC), tmp_path))
    (tmp_path / Path(frame_id.psfield_path).name).write_bytes(content)
    frame, remarks = read_file(path)
    assert frame.noise_source == "table"
    assert any("psField-004192-4-0300.fit was not used: " in remark for remark in remarks)


def test_a_compressed_companion_that_is_cut_short_costs_the_frame_nothing(shared_sdss: Path, tmp_path: Path) -> None:
    frame_id = FrameId.parse(FPC)
    path = Path(shutil.copy(archive_file(shared_sdss, FPC), tmp_path))
    whole = gzip.compress((shared_sdss / "das" / frame_id.psfield_path).read_bytes())
    (tmp_path / f"{Path(frame_id.psfield_path).name}.gz").write_bytes(whole)
    assert read_file(path)[0].noise_source == "psField"
    (tmp_path / f"{Path(frame_id.psfield_path).name}.gz").write_bytes(whole[: len(whole) // 2])
    frame, remarks = read_file(path)
    assert frame.noise_source == "table"
    assert any("psField-004192-4-0300.fit was not used: " in remark for remark in remarks)


# -- what is made of them


def test_an_image_of_somebody_else(tmp_path: Path) -> None:
    """Synthetic: noise and 20 stars; no WCS, no unit."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:300, :400]
    data = rng.normal(100, 3, (300, 400))
    for cx, cy in rng.uniform((20, 20), (380, 280), (20, 2)):
        data += 800 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 8)
    path = tmp_path / "image.fits.bz2"
    plain = tmp_path / "plain.fits"
    fits.PrimaryHDU(data.astype(">f8")).writeto(plain)
    path.write_bytes(bz2.compress(plain.read_bytes()))
    result = measure_file(path, SurveyProfile())
    assert result.error == ""
    assert result.table is not None
    assert 15 <= result.table.num_rows <= 22
    assert any("celestial coordinates" in remark for remark in result.remarks)
    assert np.isnan(result.table["ra"].to_numpy()).all()
    assert np.median(result.table["flux_auto"].to_numpy()) == pytest.approx(800 * 8 * np.pi, rel=0.05)
    refused = measure_file(path, Parameters())
    assert "take a survey profile" in refused.error


@pytest.mark.parametrize("ending", ["parquet", "fits", "vot", "csv"])
def test_one_table_of_both_layouts(shared_sdss: Path, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"sources.{ending}"
    said = kira(archive_file(shared_sdss, FPC), archive_file(shared_sdss, FRAME), "-o", out)
    assert "tsField" in said
    assert FRAME in said
    if ending == "parquet":
        table = pq.read_table(out)
        assert table.schema.metadata[b"kira_profile"].decode() == Profile.named("survey").slug
        assert table.schema.metadata[b"synthetic"] == b"no"
        bands, runs = table["band"].to_pylist(), set(table["run"].to_pylist())
    else:
        options = {"unit_parse_strict": "silent"} if ending == "fits" else {}
        read = Table.read(out, format={"vot": "votable", "csv": "ascii.csv"}.get(ending, ending), **options)
        bands, runs = list(read["band"]), set(read["run"])
    assert f"{len(bands):,} sources in" in said
    assert len(bands) > 1000
    assert runs == {94, 4192}


def test_the_paper_s_profile_counts_as_ever(shared_sdss: Path, tmp_path: Path) -> None:
    kira(archive_file(shared_sdss, FPC), "--profile", "kira", "-o", tmp_path / "a.parquet")
    assert pq.read_table(tmp_path / "a.parquet").num_rows == 568


def test_a_broken_file_does_not_stop_the_others(shared_sdss: Path, shared: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.fits.bz2"
    half.write_bytes(archive_file(shared_sdss, FRAME).read_bytes()[:100_000])
    out = tmp_path / "out.parquet"
    said = kira(half, tmp_path / "not there.fits", archive_file(shared_sdss, FPC), "-o", out, ok=False)
    assert pq.read_table(out).num_rows > 400
    assert "half.fits.bz2: truncated" in " ".join(said.split())
    assert "not there.fits cannot be read: No such file" in " ".join(said.split())
    assert list(tmp_path.glob(".*")) == []


def test_nonsense_is_one_sentence_and_writes_nothing(shared_sdss: Path, tmp_path: Path) -> None:
    path = archive_file(shared_sdss, FPC)
    for arguments in (("-o", tmp_path / "a.doc"), ("-o", tmp_path / "no" / "a.fits"), ("--profile", "best"),
                      ("--profile", tmp_path / "no.toml"), ("--release", "dr99"), ("--release", "dr12")):  # fmt: skip
        said = kira(path, *arguments, ok=False)
        assert said.strip().splitlines()[-1].startswith("kira: "), said
    assert list(tmp_path.iterdir()) == []


def test_units_are_not_mixed(shared_sdss: Path, tmp_path: Path) -> None:
    image = tmp_path / "image.fits"
    data = np.random.default_rng(1).normal(10, 1, (100, 100)).astype("f4")
    data[50:54, 50:54] += 100
    fits.PrimaryHDU(data, fits.Header({"BUNIT": "electron"})).writeto(image)
    results = [measure_file(path, SurveyProfile()) for path in (image, archive_file(shared_sdss, FPC))]
    with pytest.raises(InvalidInput, match=r"different units \(electron, nmgy\)"):
        together(results)
