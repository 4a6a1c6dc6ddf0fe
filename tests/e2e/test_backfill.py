"""Older releases, by Airflow's own backfill."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Observatory

from kira.sample import SampleSpec, write_sample
from kira.sdss import ALL_RELEASES, Release
from kira.stack import airflow_server

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3000)]
DAG = "sdss_backfill"
DR7, DR9 = (str(Release(number).date) for number in (7, 9))


@pytest.fixture(scope="module")
def sample(observatory: Observatory) -> Path:
    """One field in one band, as DR7 and DR9 have it."""
    folder = observatory.stack.config.home / "one-field"
    write_sample(SampleSpec(fields=1, bands=("r",), releases=(Release(7), Release(9))), folder)
    return folder


def airflow(observatory: Observatory, *arguments: str) -> str:
    """Airflow's own command, as a user of the stack's Airflow would run it."""
    command = [str(Path(sys.executable).with_name("airflow")), *arguments]
    environment = airflow_server.environment(observatory.stack.config)
    done = subprocess.run(command, check=False, text=True, capture_output=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def create(observatory: Observatory, conf: dict[str, Any], *options: str) -> None:
    airflow(
        observatory, "backfill", "create", "--dag-id", DAG, "--from-date", DR7, "--to-date", DR9,
        "--max-active-runs", "1", "--dag-run-conf", json.dumps(conf), *options,
    )  # fmt: skip


def runs(observatory: Observatory) -> dict[str, dict[str, Any]]:
    """Runs of the DAG by release."""
    found = observatory.api.call("GET", f"/dags/{DAG}/dagRuns", params={"limit": 100})["dag_runs"]
    names = {str(release.date): str(release) for release in ALL_RELEASES}
    return {names[run["logical_date"][:10]]: run for run in found if run["logical_date"]}


def wait(observatory: Observatory, seconds: float = 1200) -> dict[str, str]:
    """States of all runs by release, when the backfill has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        states = {name: run["state"] for name, run in runs(observatory).items()}
        backfills = observatory.api.call("GET", "/backfills", params={"dag_id": DAG})["backfills"]
        if all(one["completed_at"] for one in backfills) and not set(states.values()) & {"queued", "running"}:
            return states
        time.sleep(1)
    pytest.fail(f"the backfill did not end within {seconds} s: {runs(observatory)}")


def published(observatory: Observatory, archive: str) -> dict[str, dict[str, Any]]:
    """Files of the archive's catalogues, with size and time."""
    return {path: file for path, file in observatory.store.walk(archive) if "/catalog/" in path}


def test_the_dags_can_be_serialized_anew(observatory: Observatory) -> None:
    """One DAG that cannot would stop the command for all."""
    said = airflow(observatory, "dags", "reserialize")
    assert "Traceback" not in said
    assert observatory.api.call("GET", "/importErrors")["import_errors"] == []


@pytest.mark.slow
def test_two_release_dates(observatory: Observatory, sample: Path) -> None:
    """Both are published; what the archive does not have between them says so; a second backfill does nothing."""
    conf = {"archive": observatory.connect("past", sample)}
    create(observatory, conf)
    states = wait(observatory)
    assert states == {"dr7": "success", "dr8": "failed", "dr9": "success"}
    assert observatory.counts("past", "dr7").keys() == {(9001, 11, "r")}
    assert observatory.counts("past", "dr9").keys() == {(9001, 11, "r")}
    absent = runs(observatory)["dr8"]["dag_run_id"]
    plan = next(task for task in observatory.api.tasks(DAG, absent) if task["task_id"] == "plan")
    assert (plan["state"], plan["try_number"]) == ("failed", 1)

    before = published(observatory, "past")
    started = {name: run["start_date"] for name, run in runs(observatory).items()}
    create(observatory, conf)
    wait(observatory)
    assert {name: run["start_date"] for name, run in runs(observatory).items()} == started
    create(observatory, conf, "--reprocess-behavior", "completed")
    assert {name: wait(observatory)[name] for name in ("dr7", "dr9")} == {"dr7": "success", "dr9": "success"}
    assert {name: run["start_date"] for name, run in runs(observatory).items()} != started
    assert published(observatory, "past") == before


@pytest.mark.slow
def test_stopped_in_the_middle(observatory: Observatory, sample: Path) -> None:
    """Cancelled while the first release is at work, and begun anew: all of it is published, once."""
    observatory.kira(
        "backfill", "create", "--from", "dr7", "--to", "dr9", "--archive", str(sample), "--reprocess", "completed"
    )
    end = time.monotonic() + 240
    while not [
        task for task in observatory.api.tasks(DAG, runs(observatory)["dr7"]["dag_run_id"])
        if task["task_id"] == "batch.mirror" and task["state"] in ("running", "success")
    ]:  # fmt: skip
        assert time.monotonic() < end, "the backfill did not begin"
        time.sleep(0.3)
    observatory.kira("backfill", "pause")
    assert "cancelled" in observatory.kira("backfill", "cancel")
    states = wait(observatory)
    assert states["dr7"] == states["dr9"] == "failed"
    observatory.kira("backfill", "create", "--from", "dr7", "--to", "dr9", "--archive", str(sample))
    states = wait(observatory)
    assert states["dr7"] == states["dr9"] == "success"
    archive = runs(observatory)["dr7"]["conf"]["archive"].removeprefix("kira_archive_")
    for release in ("dr7", "dr9"):
        assert observatory.counts(archive, release).keys() == {(9001, 11, "r")}
        assert (
            len([path for path in published(observatory, archive) if f"/{release}/" in path and "part-" in path]) == 1
        )
    assert not [path for path, _ in observatory.store.walk(archive) if "/attempt-" in path]


def test_what_it_would_cost(observatory: Observatory, sample: Path) -> None:
    """By the rates of what was done before; nothing is begun."""
    before = len(runs(observatory))
    text = observatory.kira("backfill", "estimate", "--from", "dr7", "--to", "dr8", "--archive", str(sample), "--json")
    told = json.loads(text)
    assert [(one["release"], one["frames"]) for one in told["releases"]] == [("dr7", 1)]
    assert "has no dr8" in told["not in the archive"][0]
    assert len(runs(observatory)) == before


def test_dry_run(observatory: Observatory, sample: Path) -> None:
    """By the form: the cost in the log, and no batch."""
    connection = observatory.connect("dry", sample)
    body = {"logical_date": f"{Release(13).date}T00:00:00Z", "conf": {"archive": connection, "dry_run": True}}
    missing = observatory.api.call("POST", f"/dags/{DAG}/dagRuns", json=body)["dag_run_id"]
    conf = {"archive": connection, "dry_run": True, "go_on_with": "dr9"}
    there = observatory.api.trigger(DAG, conf)
    for run, state in ((missing, "failed"), (there, "success")):
        end = time.monotonic() + 120
        while observatory.api.run_state(DAG, run) not in ("success", "failed"):
            assert time.monotonic() < end
            time.sleep(0.5)
        assert observatory.api.run_state(DAG, run) == state
    log = observatory.api.call("GET", f"/dags/{DAG}/dagRuns/{there}/taskInstances/plan/logs/1")
    assert "Dry run: nothing is begun. dr9: 1 frames in the archive, 0 published already, 1 to do" in json.dumps(log)
    assert not published(observatory, "dry")
    assert not [path for path, _ in observatory.store.walk("dry") if "/batches/" in path]


@pytest.mark.parametrize("date", ["2008-10-30T00:00:00Z", None])
def test_no_release_on_that_date(observatory: Observatory, sample: Path, date: str | None) -> None:
    conf = {"archive": observatory.connect("past", sample)}
    run = observatory.api.call("POST", f"/dags/{DAG}/dagRuns", json={"logical_date": date, "conf": conf})["dag_run_id"]
    end = time.monotonic() + 120
    while observatory.api.run_state(DAG, run) != "failed":
        assert time.monotonic() < end
        time.sleep(0.5)
    log = json.dumps(observatory.api.call("GET", f"/dags/{DAG}/dagRuns/{run}/taskInstances/plan/logs/1"))
    assert "the nearest is dr7" in log if date else "has no logical date" in log


def test_nonsense_is_refused(observatory: Observatory) -> None:
    for arguments in (("--from", "dr7", "--to", "dr3"), ("--from", "dr0", "--to", "dr7"),
                      ("--from", "dr7", "--to", "dr7", "--runs", "94; rm"),
                      ("--from", "dr7", "--to", "dr7", "--sky", "somewhere")):  # fmt: skip
        said = observatory.kira("backfill", "create", *arguments, ok=False)
        assert said.startswith("kira: ")
        assert "Traceback" not in said
    assert all(
        one["completed_at"] for one in observatory.api.call("GET", "/backfills", params={"dag_id": DAG})["backfills"]
    )
