"""DAG files hold wiring only, and stay light: Airflow imports them again for every task."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kira.airflow_glue import wiring
from kira.airflow_glue.request import Request
from kira.sdss import ALL_RELEASES
from kira.sdss.selection import NUMBERS_PATTERN

PROJECT = Path(__file__).resolve().parents[2]
DAG_FILES = sorted((PROJECT / "dags").glob("*.py"))
HEAVY = (
    "pyspark", "astropy", "numpy", "sep", "boto3", "pyarrow", "hdfs_native", "galsim", "sqlalchemy", "kira.stages",
    "kira.airflow_glue.tasks",
)  # fmt: skip
LIGHT = {
    "kira.jobs", "kira.jobs.conf",
    "kira", "kira.airflow_glue", "kira.airflow_glue.links", "kira.airflow_glue.notifier", "kira.airflow_glue.request",
    "kira.airflow_glue.retries", "kira.airflow_glue.spark", "kira.airflow_glue.wiring", "kira.errors",
}  # fmt: skip


@pytest.mark.parametrize("module", HEAVY)
def test_the_linter_bans_heavy_imports_in_dags(module: str) -> None:
    code = f'"""A DAG."""\n\nimport {module}\n\nprint({module})\n'
    command = [sys.executable, "-m", "ruff", "check", "--stdin-filename", "dags/some_dag.py", "-"]
    done = subprocess.run(command, input=code, capture_output=True, text=True, check=False, cwd=PROJECT)
    assert "TID253" in done.stdout


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """DAG files read as Airflow reads them, in a process of its own: what they import and what they hold."""
    code = f"""
import json, runpy, sys, airflow.sdk
before = set(sys.modules)
dags = {{path: runpy.run_path(path)["dag"] for path in {[str(path) for path in DAG_FILES]!r}}}
imported = sorted(set(sys.modules) - before)
loaded = [name for name in {HEAVY!r} if name in sys.modules]
from airflow.serialization.serialized_objects import DagSerialization
told = {{}}
for dag in dags.values():
    back = DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag))))
    told[dag.dag_id] = {{
        "params": {{name: dict(param.schema, default=param.value) for name, param in dag.params.items()}},
        "tasks": {{
            task.task_id: [task.pool, task.priority_weight, task.retries, task.has_retry_policy, task.operator_name]
            for task in map(back.get_task, back.task_ids)
        }},
        "told": [back.has_on_failure_callback, back.has_on_success_callback],
        "links": {{task: sorted(back.get_task(task).extra_links) for task in back.task_ids}},
        "timetable": type(back.timetable).__name__, "catchup": back.catchup, "periodic": back.timetable.periodic,
    }}
print(json.dumps([imported, loaded, told]))
"""
    home = tmp_path_factory.mktemp("airflow")
    environment = os.environ | {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__UNIT_TEST_MODE": "False"}
    for name in ("KIRA_SCHEDULE", "KIRA_ALERT_FRAMES"):
        environment.pop(name, None)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    imported, loaded, dags = json.loads(done.stdout.splitlines()[-1])
    return {"imported": imported, "loaded": loaded, "dags": dags}


def test_dags_import_nothing_heavy(parsed: dict[str, Any]) -> None:
    """Beyond what `airflow.sdk` itself imports: little of Kira, and the Spark provider."""
    assert set(parsed["loaded"]) <= {"sqlalchemy"}, "the SDK may know of SQLAlchemy; nothing else may come in"
    ours = {name for name in parsed["imported"] if name.split(".")[0] == "kira"}
    assert ours >= LIGHT
    assert all(name in LIGHT or name.startswith("kira.sdss") for name in ours)
    assert "kira.sdss.archive" not in ours
    # 0.1 to 0.3 s on one core; a package such as numpy brings hundreds more.
    assert len(parsed["imported"]) < 300


def test_dags_can_be_serialized(parsed: dict[str, Any]) -> None:
    """One that cannot stops `airflow dags reserialize` for all."""
    ingest, backfill = parsed["dags"]["sdss_ingest"], parsed["dags"]["sdss_backfill"]
    assert (ingest["timetable"], ingest["catchup"]) == ("CronTriggerTimetable", False)
    assert (backfill["timetable"], backfill["catchup"], backfill["periodic"]) == ("EventsTimetable", False, True)
    for dag in (ingest, backfill):
        assert all(policy for _, _, _, policy, _ in dag["tasks"].values())
        assert dag["tasks"]["batch.extract"][4] == "SparkSubmitOperator"


def test_tasks_lead_to_kiras_pages(parsed: dict[str, Any]) -> None:
    """As the api-server knows the DAGs: from their serialized form."""
    for dag in ("sdss_ingest", "sdss_backfill"):
        links = parsed["dags"][dag]["links"]
        for stage in ("mirror", "stage", "validate", "publish"):
            assert links[f"batch.{stage}"] == ["HDFS", "Kira: this batch"]
        assert links["batch.extract"] == ["HDFS", "Kira: this batch", "Spark"]
        assert links["plan"] == links["summary"] == ["Kira: this run"]


def test_a_failed_run_is_told_of_and_one_that_ended_well_only_if_asked_for(parsed: dict[str, Any]) -> None:
    assert [dag["told"] for dag in parsed["dags"].values()] == [[True, False]] * 2


@pytest.mark.parametrize(("least", "callbacks"), [("", 1), ("0", 1), ("3", 2)])
def test_word_of_runs_that_ended_well_is_asked_for(monkeypatch: pytest.MonkeyPatch, least: str, callbacks: int) -> None:
    monkeypatch.setenv("KIRA_ALERT_FRAMES", least)
    assert len(wiring.alerts()) == callbacks


def test_backfill_waits_for_the_ingestion(parsed: dict[str, Any]) -> None:
    """Whatever a backfill's task waits for, every task of the ingestion goes before it."""
    ingest, backfill = (parsed["dags"][dag]["tasks"] for dag in ("sdss_ingest", "sdss_backfill"))
    assert min(weight for _, weight, *_ in ingest.values()) > max(weight for _, weight, *_ in backfill.values())
    for task in ("plan", "batch.mirror"):
        assert (ingest[task][0], backfill[task][0]) == ("kira_archive", "kira_backfill")
    assert ingest["batch.extract"][0] == backfill["batch.extract"][0] == "kira_spark"


def test_the_form_takes_what_a_selection_takes(parsed: dict[str, Any]) -> None:
    params = parsed["dags"]["sdss_ingest"]["params"]
    assert {params[name]["pattern"] for name in ("runs", "camcols", "fields")} == {NUMBERS_PATTERN}
    assert params["release"]["enum"] == [str(release) for release in ALL_RELEASES]
    assert (params["batch_size"]["minimum"], params["batch_size"]["maximum"]) == (0, 5000)
    assert params["max_batches"]["maximum"] <= 1024, "more is more than Airflow maps"
    assert {name: param["default"] for name, param in params.items()} == Request().as_dict()


def test_the_form_of_a_backfill_asks_for_no_release(parsed: dict[str, Any]) -> None:
    params = parsed["dags"]["sdss_backfill"]["params"]
    assert set(params) == (set(Request().as_dict()) - {"release"}) | {"dry_run", "go_on_with"}


def test_only_the_glue_imports_airflow() -> None:
    for path in (PROJECT / "kira").rglob("*.py"):
        if path.parent.name != "airflow_glue":
            for node in ast.walk(ast.parse(path.read_text())):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                assert not [name for name in names if name.split(".")[0] == "airflow"], path
