"""The page of a batch, and the ways to it from Airflow: ids are looked up, never pasted."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from kira.airflow_glue.links import BatchLink, HdfsLink, RunLink, SparkLink
from kira.errors import StorageError
from kira.ledger import Context, Outcome, Record, Stage
from kira.pages.app import create_app
from kira.pages.batch import log_link
from kira.pages.data import Data
from kira.sdss import FrameId
from kira.settings import Settings

SCRIPT = "<script>alert(1)</script>"
RUN = f"manual__2026-11-22T10:00:00+00:00 {SCRIPT}/../&x=1"
FRAMES = [FrameId.parse(f"dr12-301-000094-1-0012-{band}") for band in "ugriz"]
PLUGIN = Path(__file__).resolve().parents[2] / "plugins" / "kira_pages.py"


def log_of(task: str, index: int, attempt: int = 1) -> str:
    """As Airflow's task instance makes it."""
    return f"http://localhost:8080/dags/sdss_ingest/runs/{quote(RUN)}/tasks/{task}/mapped/{index}?try_number={attempt}"


def context(batch: str, log: str = "", attempt: int = 1, run: str = RUN) -> Context:
    return Context(batch, "shared", "dr12", "survey-1", run, attempt, log=log)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings(f"file://{tmp_path}/stage", "bucket", f"sqlite:///{tmp_path}/ledger.db")
    data = Data(lambda: settings)
    for index, batch in ((1, "b-one"), (11, "b-eleven")):
        told = context(batch, log_of("batch.mirror", index))
        data.ledger.record(told, Stage.PLAN, [Record(f, Outcome.OK) for f in FRAMES])
        with data.ledger.attempt(told, Stage.MIRROR, 5):
            data.ledger.record(told, Stage.MIRROR, [Record(f, Outcome.OK) for f in FRAMES[1:]])
            data.ledger.record(told, Stage.MIRROR, [Record(FRAMES[0], Outcome.CORRUPT_UPSTREAM, f"Cut: {SCRIPT}")])
    yield TestClient(create_app(data, []), raise_server_exceptions=False, follow_redirects=False)
    data.ledger.engine.dispose()


def test_a_batch_is_shown_stage_by_stage(client: TestClient, tmp_path: Path) -> None:
    data = client.app.state.data  # type: ignore[attr-defined]
    for attempt in (1, 2):
        told = context("b-one", log_of("batch.stage", 1, attempt), attempt)
        with pytest.raises(StorageError), data.ledger.attempt(told, Stage.STAGE, 4):
            raise StorageError(f"HDFS lost {FRAMES[1]}. {SCRIPT}")
    text = client.get("/batches/b-one").text
    assert text.count("HDFS lost dr12-301-000094-1-0012-g") == 2
    assert "4 ok" in text
    assert "1 corrupt upstream" in text
    assert "report it to the archive" in text
    assert SCRIPT not in text
    assert '/tasks/batch.stage/mapped/1?try_number=2" target="_top"' in text
    assert "/frames/shared/dr12-301-000094-1-0012-u" in text


def test_a_batch_of_several_runs_is_shown_in_the_one_asked_for(client: TestClient) -> None:
    data = client.app.state.data  # type: ignore[attr-defined]
    other = context("b-one", run="scheduled__2")
    with data.ledger.attempt(other, Stage.MIRROR, 5):
        data.ledger.record(other, Stage.MIRROR, [Record(f, Outcome.OK) for f in FRAMES])
    assert "5 ok" in client.get("/batches/b-one").text, "the newest"
    assert "1 corrupt upstream" in client.get("/batches/b-one", params={"run": RUN}).text
    refused = client.get("/batches/b-one", params={"run": SCRIPT})
    assert refused.status_code == 400
    assert SCRIPT not in refused.text


@pytest.mark.parametrize("name", ["nothing", "..%2f..%2fetc%2fpasswd", "%3Cscript%3E", "b-one'--", "x" * 3000])
def test_a_batch_that_there_is_not(client: TestClient, name: str) -> None:
    answer = client.get(f"/batches/{name}")
    assert answer.status_code == 404
    assert "<script>" not in answer.text


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("dag?dag=sdss_ingest", "/"), ("dag?dag=sdss_backfill", "/"),
        (f"run?dag=sdss_ingest&run={quote(RUN, safe='')}", f"/runs/{quote(RUN, safe='')}"),
        ("task?dag=sdss_ingest&task=batch.extract", "/problems?stage=extract"),
        ("task?dag=sdss_ingest&task=plan", "/problems?stage=plan"),
        ("task?dag=sdss_ingest&task=batch.x%26y%3D1", "/problems"), ("task?dag=sdss_ingest&task=announce", "/problems"),
        (f"task-instance?dag=sdss_ingest&run={quote(RUN, safe='')}&task=batch.publish&index=1", "/batches/b-one?run="),
        (f"task-instance?dag=sdss_ingest&run={quote(RUN, safe='')}&task=batch.mirror&index=11", "/batches/b-eleven?"),
        (f"task-instance?dag=sdss_ingest&run={quote(RUN, safe='')}&task=batch.mirror&index=7", "/runs/manual"),
        (f"task-instance?dag=sdss_ingest&run={quote(RUN, safe='')}&task=plan&index=%7BMAP_INDEX%7D", "/runs/manual"),
        (f"task-instance?dag=sdss_ingest&run={quote(RUN, safe='')}&task=batch.mirror&index=%25", "/runs/manual"),
    ],
)  # fmt: skip
def test_from_airflow_to_the_right_page(client: TestClient, path: str, where: str) -> None:
    answer = client.get(f"/from/{path}")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(where)
    assert where.endswith(("=", "?", "manual")) or answer.headers["location"] == where


@pytest.mark.parametrize("kind", ["dag", "run", "task", "task-instance"])
def test_another_dag_has_nothing_here(client: TestClient, kind: str) -> None:
    answer = client.get(f"/from/{kind}", params={"dag": SCRIPT, "run": RUN})
    assert answer.status_code == 200
    assert "is not one of Kira" in answer.text
    assert SCRIPT not in answer.text


@pytest.mark.parametrize("run", ["none", SCRIPT, "../../etc/passwd", "//evil.example/"])
def test_a_run_that_the_ledger_does_not_know_leads_nowhere(client: TestClient, run: str) -> None:
    answer = client.get("/from/run", params={"dag": "sdss_ingest", "run": run})
    assert answer.status_code == 200
    assert "knows nothing of the DAG run" in answer.text
    assert SCRIPT not in answer.text


def test_the_plugins_tabs_lead_to_routes_that_there_are(client: TestClient) -> None:
    """As Airflow's UI fills them in: each id encoded, the map index only where there is one."""
    spec = importlib.util.spec_from_file_location("kira_pages_plugin", PLUGIN)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    views = {view["destination"]: view for view in module.KiraPages.external_views}
    assert set(views) == {"nav", "dag", "dag_run", "task", "task_instance"}
    assert len({view["url_route"] for view in views.values()}) == len(views)
    ids = {"DAG_ID": "sdss_ingest", "RUN_ID": RUN, "TASK_ID": "batch.mirror", "MAP_INDEX": "11"}
    site = FastAPI()
    site.mount("/kira", client.app)
    mounted = TestClient(site, follow_redirects=False)
    wanted = {"dag": "/kira/", "dag_run": "/kira/runs/", "task": "/kira/problems?stage=mirror",
              "task_instance": "/kira/batches/b-eleven?run="}  # fmt: skip
    for destination, where in wanted.items():
        href = re.sub(r"\{(\w+)\}", lambda found: quote(ids[found[1]], safe=""), views[destination]["href"])
        assert mounted.get(href).headers["location"].startswith(where)


@pytest.mark.parametrize(
    ("log", "link"),
    [
        ("http://h:1/dags/a/runs/b/tasks/c?try_number=1", "/dags/a/runs/b/tasks/c?try_number=1"),
        ("https://h/airflow/dags/a", "/airflow/dags/a"), ("javascript:alert(1)//dags/", ""), ("", ""),
        ("http://h//evil.example/dags/", ""), ("//evil.example/dags/a", "/dags/a"), ("data:text/html,/dags/", ""),
    ],
)  # fmt: skip
def test_logs_are_of_this_airflow(log: str, link: str) -> None:
    assert log_link(log) == link


# -- links of the tasks


KEY = SimpleNamespace(dag_id="sdss_ingest", run_id="manual__1+00:00&x", task_id="batch.mirror", map_index=0)
MANIFEST = "hdfs://namenode:8020/kira/sample/batches/dr12-000094-abc/mirror.jsonl"


@pytest.mark.parametrize("operator", [SimpleNamespace(op_args=(MANIFEST,)), SimpleNamespace(manifest=MANIFEST)])
def test_a_task_leads_to_its_batch(operator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "http://localhost:8080/airflow/")
    link = BatchLink().get_link(operator, ti_key=KEY)
    assert link == "/airflow/plugin/kira/kira/batches/dr12-000094-abc?run=manual__1%2B00%3A00%26x"
    monkeypatch.setenv("KIRA_HDFS_UI", "http://namenode:9870/")
    link = HdfsLink().get_link(operator, ti_key=KEY)
    assert link == "http://namenode:9870/explorer.html#/kira/sample/batches/dr12-000094-abc"
    monkeypatch.setenv("KIRA_HDFS_PAGE", "http://namenode:9870/webhdfs/v1")
    link = HdfsLink().get_link(operator, ti_key=KEY)
    assert link == "http://namenode:9870/webhdfs/v1/kira/sample/batches/dr12-000094-abc?op=LISTSTATUS"
    assert (
        RunLink().get_link(operator, ti_key=KEY).endswith("/kira/from/run?dag=sdss_ingest&run=manual__1%2B00%3A00%26x")
    )


def test_a_link_that_leads_nowhere_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow shows no button for an empty one."""
    skipped, posix = SimpleNamespace(op_args=("",)), SimpleNamespace(op_args=("file:///a/b/c.jsonl",))
    for name in ("KIRA_HDFS_UI", "KIRA_SPARK_UI"):
        monkeypatch.setenv(name, "javascript:alert(1)")
    assert BatchLink().get_link(skipped, ti_key=KEY) == ""
    assert BatchLink().get_link(SimpleNamespace(op_args=(None,)), ti_key=KEY) == ""
    assert SparkLink().get_link(posix, ti_key=KEY) == ""
    monkeypatch.setenv("KIRA_HDFS_UI", "http://namenode:9870")
    assert HdfsLink().get_link(posix, ti_key=KEY) == ""
    monkeypatch.setenv("KIRA_SPARK_UI", "http://spark:8080/")
    assert SparkLink().get_link(posix, ti_key=KEY) == "http://spark:8080"
