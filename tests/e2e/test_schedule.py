"""Scheduled runs, what is tried again, and a DAG that follows: by Airflow's own scheduler."""

import json
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from conftest import Observatory

from kira.errors import StackError
from kira.ledger import Outcome, Stage
from kira.sample import SampleSpec, write_sample

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
FOLLOWER, SCHEDULED = "my_follower", "every_minute"


@pytest.fixture(scope="module")
def sample(observatory: Observatory) -> Path:
    """Two fields in one band, as two releases have them."""
    folder = observatory.stack.config.home / "two-fields"
    write_sample(SampleSpec(fields=2, bands=("r",)), folder)
    return folder


def release_of(archive: str, sample: Path, observatory: Observatory, *, without: str = "") -> Path:
    """A copy of the sample as an archive of its own, some of its frames left out."""
    folder = observatory.stack.config.home / archive
    shutil.copytree(sample, folder, ignore=shutil.ignore_patterns(without) if without else None)
    return folder


@contextmanager
def unpaused(observatory: Observatory, dag: str) -> Iterator[None]:
    observatory.api.call("PATCH", f"/dags/{dag}", json={"is_paused": False})
    try:
        yield
    finally:
        observatory.api.call("PATCH", f"/dags/{dag}", json={"is_paused": True})


def runs_of(observatory: Observatory, dag: str) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = observatory.api.call("GET", f"/dags/{dag}/dagRuns", params={"limit": 100})["dag_runs"]
    return sorted(runs, key=lambda run: str(run["run_after"]))


def next_run(observatory: Observatory, dag: str, seconds: float = 240) -> dict[str, Any]:
    """The next run that a DAG makes by itself, when it has ended; later ones are stopped."""
    before = {run["dag_run_id"] for run in runs_of(observatory, dag)}
    with unpaused(observatory, dag):
        end = time.monotonic() + seconds
        while not (new := [run for run in runs_of(observatory, dag) if run["dag_run_id"] not in before]):
            assert time.monotonic() < end, f"{dag} made no run within {seconds} s"
            time.sleep(1)
        found = ended(observatory, dag, new[0]["dag_run_id"])
    for run in runs_of(observatory, dag):
        if run["state"] in ("queued", "running"):
            observatory.api.call("PATCH", f"/dags/{dag}/dagRuns/{run['dag_run_id']}", json={"state": "failed"})
    return found


def ended(observatory: Observatory, dag: str, run: str, seconds: float = 420) -> dict[str, Any]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found: dict[str, Any] = observatory.api.call("GET", f"/dags/{dag}/dagRuns/{run}")
        if found["state"] in ("success", "failed"):
            _tell_failures(observatory, dag, run)
            return found
        time.sleep(1)
    pytest.fail(f"{run} of {dag} did not end within {seconds} s")


def _tell_failures(observatory: Observatory, dag: str, run: str) -> None:
    for task in observatory.api.tasks(dag, run):
        if task["state"] == "failed":
            log = log_of(observatory, dag, run, task["task_id"], task["try_number"], task["map_index"])
            print(dag, run, task["task_id"], re.findall(r'"exc_value": "([^"]*)', log))


def tasks_of(observatory: Observatory, dag: str, run: str) -> dict[str, tuple[str, int]]:
    """State and try number of each task; of mapped ones the last."""
    return {task["task_id"]: (task["state"], task["try_number"]) for task in observatory.api.tasks(dag, run)}


def log_of(observatory: Observatory, dag: str, run: str, task: str, number: int = 1, index: int = -1) -> str:
    path = f"/dags/{dag}/dagRuns/{run}/taskInstances/{task}/logs/{number}"
    return json.dumps(observatory.api.call("GET", path, params={"map_index": index, "full_content": True}))


def test_a_fresh_stack_starts_nothing_by_itself(observatory: Observatory) -> None:
    """Neither schedule has a run that is due when the DAGs are unpaused."""
    for dag in ("sdss_ingest", "sdss_backfill"):
        assert not observatory.api.call("GET", f"/dags/{dag}")["is_paused"]
        scheduled = [run for run in runs_of(observatory, dag) if run["run_type"] == "scheduled"]
        # What became due since, as at midnight, may have begun; what was due before not, however short a time ago.
        assert [run for run in scheduled if run["run_after"] < run["dag_versions"][0]["created_at"]] == []
    assert observatory.api.call("GET", "/dags/sdss_ingest")["next_dagrun_run_after"]


def test_airflows_own_commands_reach_its_database(observatory: Observatory) -> None:
    observatory.api.set_variable("of_a_test", "told by its API", "")
    assert "told by its API" in observatory.kira("stack", "airflow", "variables", "get", "of_a_test")
    observatory.kira("stack", "airflow", "variables", "delete", "of_a_test")
    assert observatory.api.variable("of_a_test") is None


def test_scheduled_runs(observatory: Observatory, sample: Path) -> None:
    """Without a standing selection: nothing to do. With one: what is there; and after the archive grew: what is new."""
    nothing = next_run(observatory, SCHEDULED)
    assert (nothing["run_type"], nothing["state"]) == ("scheduled", "success")
    assert "kira schedule set" in log_of(observatory, SCHEDULED, nothing["dag_run_id"], "plan")

    archive = release_of("standing", sample, observatory, without="*-3-0012.fit*")
    observatory.kira("schedule", "set", "--archive", str(archive), "--release", "dr99", ok=False)
    assert "No standing selection is set" in observatory.kira("schedule", "show")
    observatory.kira("schedule", "set", "--archive", str(archive), "--release", "dr12", "--bands", "r")
    assert "dr12, runs all, camcols all, fields all, bands r" in observatory.kira("schedule", "show")
    first = next_run(observatory, SCHEDULED)
    assert first["state"] == "success"
    rows = observatory.ledger.outcomes(first["dag_run_id"], Stage.PUBLISH)
    assert [row.frame for row in rows] == ["dr12-301-009001-3-0011-r"]
    name = rows[0].archive

    for path in sample.rglob("*-3-0012.fit*"):
        shutil.copy(path, archive / path.relative_to(sample))
    second = next_run(observatory, SCHEDULED)
    assert second["state"] == "success"
    for stage in (Stage.MIRROR, Stage.EXTRACT, Stage.PUBLISH):
        frames = [row.frame for row in observatory.ledger.outcomes(second["dag_run_id"], stage)]
        assert frames == ["dr12-301-009001-3-0012-r"], stage
    assert {key[1] for key in observatory.counts(name, "dr12")} == {11, 12}

    observatory.kira("schedule", "off")
    assert "No standing selection is set" in observatory.kira("schedule", "show")


def test_a_dag_that_follows(observatory: Observatory, sample: Path) -> None:
    """The example of docs/following.md: new frames start it, with an event for their imaging run."""
    connection = observatory.connect("followed", release_of("followed", sample, observatory))
    conf = {"release": "dr12", "archive": connection}
    with unpaused(observatory, FOLLOWER):
        run = observatory.api.trigger("sdss_ingest", conf)
        assert ended(observatory, "sdss_ingest", run)["state"] == "success"
        end = time.monotonic() + 120
        while not (started := runs_of(observatory, FOLLOWER)) and time.monotonic() < end:
            time.sleep(1)
        assert [one["run_type"] for one in started] == ["asset_triggered"]
        followed = ended(observatory, FOLLOWER, started[0]["dag_run_id"])
        assert followed["state"] == "success"
        said = log_of(observatory, FOLLOWER, started[0]["dag_run_id"], "look")
        sources = sum(observatory.counts("followed", "dr12").values())
        assert f"2 frames, {sources} sources of run 9001 in {observatory.stack.config.stage_url}" in said

        again = observatory.api.trigger("sdss_ingest", conf)
        assert ended(observatory, "sdss_ingest", again)["state"] == "success"
        assert tasks_of(observatory, "sdss_ingest", again)["continue_"][0] == "skipped"
        time.sleep(5)
        assert len(runs_of(observatory, FOLLOWER)) == 1


def test_what_is_left_is_taken_up_by_the_next_run(observatory: Observatory, sample: Path) -> None:
    connection = observatory.connect("left", release_of("left", sample, observatory))
    conf = {"release": "dr12", "archive": connection, "batch_size": 1, "max_batches": 1}
    run = observatory.api.trigger("sdss_ingest", conf)
    assert ended(observatory, "sdss_ingest", run)["state"] == "success"
    following = ended(observatory, "sdss_ingest", f"{run}__next1")
    assert following["state"] == "success"
    assert {key[1] for key in observatory.counts("left", "dr12")} == {11, 12}
    with pytest.raises(StackError, match="404"):
        observatory.api.run_state("sdss_ingest", f"{run}__next2")


@pytest.mark.slow
def test_the_archive_is_away_for_a_while(observatory: Observatory, sample: Path) -> None:
    """503 until the second try of the task: it is tried again, and all comes through."""
    sys.path.append(str(Path(__file__).parents[1] / "faults"))
    faults = import_module("archive_proxy")
    base = observatory.stack.serve_archive("away", release_of("away", sample, observatory))
    with faults.proxying(base.removesuffix("/away")) as proxy:
        proxy.on(r"frame-", faults.status(503))
        extra = json.dumps({"name": "away", "das": f"{proxy.url}/away/das", "sas": f"{proxy.url}/away/sas"})
        observatory.api.set_connection({"connection_id": "kira_archive_away", "conn_type": "http", "extra": extra})
        run = observatory.api.trigger("sdss_ingest", {"release": "dr12", "archive": "kira_archive_away"})
        end = time.monotonic() + 240
        while tasks_of(observatory, "sdss_ingest", run).get("batch.mirror", ("", 0))[1] < 2:
            assert time.monotonic() < end, "the task was not tried again"
            time.sleep(0.5)
        proxy.on(r"frame-")
        assert ended(observatory, "sdss_ingest", run)["state"] == "success"
    tries = tasks_of(observatory, "sdss_ingest", run)
    assert 2 <= tries.pop("batch.mirror")[1] <= 4
    assert all(number <= 1 for _, number in tries.values())
    said = log_of(observatory, "sdss_ingest", run, "batch.mirror", index=0)
    assert "Frames failed in a way that may pass." in said
    rows = observatory.ledger.outcomes(run, Stage.MIRROR)
    assert [(row.outcome, row.attempts > 1) for row in rows] == [(Outcome.OK, True)] * 2
    logs = [row.log for row in observatory.ledger.attempts(run) if row.stage == Stage.MIRROR]
    assert [url.rpartition("=")[2] for url in logs] == [str(n) for n in range(1, len(logs) + 1)]


@pytest.mark.parametrize(
    ("conf", "said"),
    [
        ({"release": "dr9"}, "has no dr9"),
        ({"release": "dr12", "archive": "kira_archive_nowhere"}, "There is no Airflow connection"),
    ],
)
def test_what_no_retry_can_mend_fails_at_once(
    observatory: Observatory, sample: Path, conf: dict[str, str], said: str
) -> None:
    connection = observatory.connect("plain", sample)
    run = observatory.api.trigger("sdss_ingest", {"archive": connection} | conf)
    assert ended(observatory, "sdss_ingest", run)["state"] == "failed"
    assert tasks_of(observatory, "sdss_ingest", run)["plan"] == ("failed", 1)
    assert said in log_of(observatory, "sdss_ingest", run, "plan")
