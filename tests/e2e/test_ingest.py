"""From the archive to the catalogue, by Airflow's own scheduler, over real and over synthetic frames."""

import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import httpx
import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from conftest import Observatory

from kira.catalog import digest
from kira.ledger import Outcome, Stage
from kira.sample import SampleSpec, write_sample

pytestmark = pytest.mark.e2e

# By the README of the real frames, for Kira's parameters.
DR7 = {(4192, 300, "u"): 65, (4192, 300, "g"): 410, (4192, 300, "r"): 568, (4192, 300, "i"): 569, (4192, 300, "z"): 248,
       (5754, 280, "r"): 272}  # fmt: skip
DR12 = {(94, 12, "u"): 101, (94, 12, "g"): 344, (94, 12, "r"): 597, (94, 12, "i"): 569, (94, 12, "z"): 294,
        (94, 131, "g"): 238, (2583, 136, "r"): 6442}  # fmt: skip


def archive_name(output: str) -> str:
    match = re.search(r"/kira/([a-z0-9-]+)/catalog/", output)
    assert match
    return match[1]


@pytest.fixture(scope="module")
def real(observatory: Observatory, shared_sdss: Path) -> str:
    """Name of the archive of real frames, ingested."""
    return archive_name(
        observatory.kira("run", "--archive", str(shared_sdss), "--batch-size", "4", "--profile", "kira")
    )


def test_real_frames(observatory: Observatory, real: str) -> None:
    """All 13 real frames are published, M2 too, with the counts that others found."""
    assert observatory.counts(real, "dr7") == DR7
    assert observatory.counts(real, "dr12") == DR12


def test_sums_agree(observatory: Observatory, real: str) -> None:
    """Each frame has exactly one outcome in each stage, every one good, and every stage saw every frame."""
    for release, frames in (("dr7", DR7), ("dr12", DR12)):
        for stage in Stage:
            rows = [r for run in observatory.dag_runs() for r in observatory.ledger.outcomes(run, stage)
                    if (r.archive, r.release) == (real, release)]  # fmt: skip
            assert len(rows) == len({row.frame for row in rows}) == len(frames), (release, stage)
            assert all(Outcome(row.outcome).good for row in rows)


def test_second_run_does_nothing_twice(observatory: Observatory, real: str, shared_sdss: Path) -> None:
    before = {path: file for path, file in observatory.store.walk(real) if "/runs/" not in path}
    output = observatory.kira("run", "--archive", str(shared_sdss), "--profile", "kira")
    assert "6 published already, nothing to do" in output
    assert "7 published already, nothing to do" in output
    assert "nothing was downloaded, staged or extracted again" in output
    assert {path: file for path, file in observatory.store.walk(real) if "/runs/" not in path} == before


def test_published_folder_is_whole(observatory: Observatory, real: str) -> None:
    """The manifest and the validation report lie with the result, and nothing half-written is about."""
    paths = [path for path, _ in observatory.store.walk(real)]
    published = [path for path in paths if "/catalog/" in path]
    for name in ("_manifest.jsonl", "_outcomes.jsonl", "_validation.json", "_job.json"):
        assert sum(path.endswith(f"/{name}") for path in published) == 4  # two batches a release
    assert not [path for path in paths if "aside" in path or "/attempt-" in path]


@pytest.fixture(scope="module")
def damaged(observatory: Observatory, shared_sdss: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An archive with a cut frame, a flipped byte, a web page under a frame's name and a missing frame, ingested."""
    root = tmp_path_factory.mktemp("damaged") / "archive"
    shutil.copytree(shared_sdss / "das", root / "das")
    shutil.copytree(shared_sdss / "sas", root / "sas", ignore=shutil.ignore_patterns("2583"))
    for path in root.rglob("*"):
        path.chmod(0o755)
    fpc = root / "das/imaging/4192/40/corr/4"
    cut = fpc / "fpC-004192-r4-0300.fit.gz"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    flipped = bytearray((fpc / "fpC-004192-g4-0300.fit.gz").read_bytes())
    flipped[len(flipped) // 2] ^= 0x10
    (fpc / "fpC-004192-g4-0300.fit.gz").write_bytes(flipped)
    frames = root / "sas/dr12/boss/photoObj/frames/301/94/1"
    (frames / "frame-i-000094-1-0012.fits.bz2").write_text("<!DOCTYPE html><html><title>Log in</title></html>")
    (frames / "frame-z-000094-1-0012.fits.bz2").unlink()
    first = observatory.kira("run", "--archive", str(root), "--profile", "kira", "--release", "dr7")
    observatory.kira(
        "run", "--archive", str(root), "--profile", "kira", "--release", "dr12", "--runs", "94", "--fields", "12"
    )
    return archive_name(first)


def test_damage_is_an_outcome(observatory: Observatory, damaged: str) -> None:
    dr7, dr12 = observatory.outcomes(damaged, "dr7"), observatory.outcomes(damaged, "dr12")
    cut, flipped = dr7["dr7-40-004192-4-0300-r"], dr7["dr7-40-004192-4-0300-g"]
    page, missing = dr12["dr12-301-000094-1-0012-i"], dr12["dr12-301-000094-1-0012-z"]
    for row in (cut, flipped, page):
        assert (row.stage, row.outcome) == (Stage.MIRROR, Outcome.CORRUPT_UPSTREAM)
        assert "fetched twice" in row.reason
    assert "web page" in page.reason.lower() or "html" in page.reason.lower()
    assert (missing.stage, missing.outcome) == (Stage.PLAN, Outcome.NOT_IN_ARCHIVE)
    assert len(dr7) == 6
    assert len(dr12) == 5


def test_all_others_are_published(observatory: Observatory, damaged: str) -> None:
    bad = {(4192, 300, "r"), (4192, 300, "g"), (94, 12, "i"), (94, 12, "z")}
    assert observatory.counts(damaged, "dr7") == {key: n for key, n in DR7.items() if key not in bad}
    dr12 = {key: n for key, n in DR12.items() if key not in bad and key[:2] == (94, 12)}
    assert observatory.counts(damaged, "dr12") == dr12


def test_damaged_frames_are_not_mirrored(observatory: Observatory, damaged: str) -> None:
    client = observatory.stack.s3_client()
    listed = client.list_objects_v2(Bucket="kira-mirror", Prefix=f"{damaged}/")["Contents"]
    assert len(listed) == 4 + 3
    assert not [item["Key"] for item in listed if "frame-i" in item["Key"] or "fpC-004192-r4" in item["Key"]]


def test_killed_driver(observatory: Observatory, real: str, shared_sdss: Path) -> None:
    """The Spark driver is killed in the middle of a batch; Airflow tries again; the catalogue is the same."""
    connection = observatory.connect("killed", shared_sdss)
    run = observatory.api.trigger("sdss_ingest", {"release": "dr12", "archive": connection, "profile": "kira"})
    _kill_driver_at_work(observatory, "killed")
    assert _wait(observatory, run) == "success"
    extract = [task for task in observatory.api.tasks("sdss_ingest", run) if task["task_id"] == "batch.extract"]
    assert [task["try_number"] for task in extract] == [2]
    table = observatory.catalogue("killed", "dr12")
    assert digest(table) == digest(observatory.catalogue(real, "dr12"))
    assert not [path for path, _ in observatory.store.walk("killed") if "/attempt-" in path or "aside" in path]


def _kill_driver_at_work(observatory: Observatory, archive: str) -> None:
    """SIGKILL to the JVM and the Python of spark-submit, once tasks are at work."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        at_work = [path for path, _ in observatory.store.walk(f"{archive}/batches") if path.endswith("progress.json")]
        drivers = [
            process for process in psutil.process_iter(["cmdline"])
            if "org.apache.spark.deploy.SparkSubmit" in (process.info["cmdline"] or [])
            and process.environ().get("KIRA_STACK") == str(observatory.stack.config.home)
        ]  # fmt: skip
        if at_work and drivers:
            _assert_loopback_only(observatory)
            for process in [child for driver in drivers for child in driver.children(recursive=True)] + drivers:
                os.kill(process.pid, signal.SIGKILL)
            return
        time.sleep(0.2)
    pytest.fail("the Spark job did not begin within 300 s")


def _wait(observatory: Observatory, run: str) -> str:
    end = time.monotonic() + 600
    while time.monotonic() < end:
        state = observatory.api.run_state("sdss_ingest", run)
        if state in ("success", "failed"):
            return state
        time.sleep(1)
    return "still running after 600 s"


def test_sample_archive(observatory: Observatory) -> None:
    """What `make run` does by default, on fewer frames: the sources found are the sources that were drawn."""
    folder = observatory.stack.config.home / "small-sample"
    write_sample(SampleSpec(fields=1, bands=("r",)), folder)
    output = observatory.kira("run", "--archive", str(folder))
    assert "(synthetic frames)" in output
    truth = pq.read_table(next((folder / "truth").glob("*.parquet")))
    flux, column = truth["flux_r"].to_numpy(), truth["col"].to_numpy()
    row = truth["row"].to_numpy() - 11 * 1361  # rows are those of the strip; a field begins every 1361
    inside = (row > 20) & (row < 1469) & (column > 20) & (column < 2028)
    stars = np.array([kind == "star" for kind in truth["kind"].to_pylist()])
    bright = inside & stars & (flux > 25) & (flux < 2500)
    drawn = SkyCoord(truth["ra"].to_numpy()[bright] * u.deg, truth["dec"].to_numpy()[bright] * u.deg)
    for release in ("dr7", "dr12"):
        table = observatory.catalogue(archive_name(output), release)
        found = SkyCoord(table["ra"].to_numpy() * u.deg, table["dec"].to_numpy() * u.deg)
        distance = drawn[:, None].separation(found[None, :]).min(axis=1).arcsec
        assert len(distance) > 30
        assert (distance < 1.0).mean() > 0.95
        assert np.median(distance) < 0.1


@pytest.mark.slow  # test_companions_staged.py has the same without Airflow
def test_by_default_frames_are_calibrated_with_what_lies_beside_them(
    observatory: Observatory, shared_sdss: Path, tmp_path: Path
) -> None:
    """The profile survey, on real frames: tsField, psField and fpM are used, and photoObj is held against it."""
    for path in ("das/imaging/4192", "sas/dr12/boss/photoObj/301/94", "sas/dr12/boss/photo/redux/301/94",
                 "sas/dr12/boss/photoObj/frames/301/94"):  # fmt: skip
        shutil.copytree(shared_sdss / path, tmp_path / "beside" / path)
    output = observatory.kira("run", "--archive", str(tmp_path / "beside"), "--bands", "gr", "--fields", "12, 300")
    archive = archive_name(output)
    assert "survey-" in output
    for release, calibration in (("dr7", "tsField"), ("dr12", "frame")):
        table = observatory.catalogue(archive, release)
        assert set(table["calibration"].to_pylist()) == {calibration}
        assert np.isfinite(table["mag_auto_pogson"].to_numpy()).mean() > 0.9
    folder = f"{archive}/catalog/dr12"
    (report,) = (path for path, _ in observatory.store.walk(folder) if path.endswith("_validation.json"))
    found = {one["band"]: one for one in json.loads(observatory.store.read(report))["figures"]}
    for band in "gr":
        assert found[band]["reference"].startswith("photoObj-000094-1-0012.fits")
        assert abs(found[band]["zero_point"]) < 0.02
    assert "photoObj-000094-1-0012.fits" in output
    assert any(path.endswith("_validation.html") for path, _ in observatory.store.walk(folder))


def test_export(observatory: Observatory, real: str, tmp_path: Path) -> None:
    """A published catalogue as one file, which says what it is."""
    observatory.kira("export", str(tmp_path / "dr7.parquet"), "--release", "dr7", "--archive", real)
    table = pq.read_table(tmp_path / "dr7.parquet")
    assert table.num_rows == sum(DR7.values())
    assert table.schema.metadata[b"synthetic"] == b"no"
    assert table.schema.field("ra").metadata[b"unit"] == b"deg"


def test_every_endpoint_wants_a_login(observatory: Observatory) -> None:
    base = observatory.stack.config.url("airflow")
    for path in ("/api/v2/dags", "/api/v2/connections", "/api/v2/dags/sdss_ingest/dagRuns"):
        assert httpx.get(base + path, trust_env=False).status_code == 401
    wrong = httpx.post(base + "/auth/token", json={"username": "admin", "password": "admin"}, trust_env=False)
    assert wrong.status_code == 401


@pytest.mark.parametrize("conf", [
    {"release": "dr99"}, {"runs": "94; rm -rf /"}, {"fields": "../../etc"}, {"bands": "x"}, {"archive": "kira_s3"},
    {"batch_size": -1}, {"max_batches": 0}, {"max_batches": 1001},
])  # fmt: skip
def test_nonsense_is_refused_by_the_trigger(observatory: Observatory, conf: dict[str, object]) -> None:
    from kira.errors import StackError

    before = len(observatory.dag_runs())
    with pytest.raises(StackError, match=r"400|422"):
        observatory.api.trigger("sdss_ingest", conf)
    assert len(observatory.dag_runs()) == before


def test_everything_listens_on_loopback_only(observatory: Observatory) -> None:
    assert _assert_loopback_only(observatory) > 10


def _assert_loopback_only(observatory: Observatory) -> int:
    """Look at every server of the stack, the Spark driver included if one is at work; returns how many ports."""
    home = str(observatory.stack.config.home)
    ours = {p.pid for p in psutil.process_iter() if _environment(p).get("KIRA_STACK") == home}
    listening = [c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.pid in ours]
    assert {c.laddr.ip.removeprefix("::ffff:") for c in listening} == {"127.0.0.1"}
    return len(listening)


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


def test_dag_has_no_import_errors(observatory: Observatory) -> None:
    assert observatory.api.call("GET", "/importErrors")["import_errors"] == []
    details = observatory.api.call("GET", "/dags/sdss_ingest/details")
    assert set(details["params"]) >= {"release", "runs", "camcols", "fields", "bands"}
