"""What tasks do before and after the stages: what is asked for, the budget of a batch, what a Spark job died of."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from airflow.sdk import RetryAction
from airflow.sdk.definitions._internal.contextmanager import _CURRENT_CONTEXT
from airflow.sdk.exceptions import AirflowException, AirflowSkipException

from kira.airflow_glue import tasks, wiring
from kira.airflow_glue.request import PROFILES, Request
from kira.airflow_glue.retries import POLICY
from kira.airflow_glue.spark import ExtractOperator
from kira.errors import (
    BatchGivenUp,
    InvalidInput,
    SparkDriverFailed,
    SparkDriverKilled,
    SparkTaskFailed,
    StorageError,
)
from kira.extraction import Profile
from kira.jobs.conf import SPARK_CONF, without_those_of
from kira.ledger import Ledger, Outcome, Record, Stage
from kira.sdss import FrameId
from kira.sdss.archive import Archive
from kira.settings import Settings
from kira.stages.extraction import note_failure
from kira.stages.work import Attempt, Services
from kira.storage import Entry, Manifest, open_store

FRAME = FrameId.parse("dr12-301-000094-1-0012-r")
ENTRY = Entry(FRAME, "http://127.0.0.1:9/a", "key", "staged")
MANIFEST = Manifest("dr12-000094-abc", "shared", "dr12", "kira-00000000", "stage", "run-1", (ENTRY,))
SETTINGS = Settings("file:///nowhere", "bucket", "sqlite://", batch_attempts=4)


@pytest.fixture
def services(tmp_path: Path) -> Services:
    archive = Archive("shared", das="http://127.0.0.1:9/das", sas="http://127.0.0.1:9/sas")
    store = open_store(f"file://{tmp_path}/stage")
    return Services(archive, None, store, Ledger(f"sqlite:///{tmp_path}/ledger.db"))  # type: ignore[arg-type]


@pytest.fixture
def context() -> Iterator[Callable[..., dict[str, Any]]]:
    """Set the context that Airflow gives to a running task."""

    def set_it(number: int = 1, *, date: datetime | None = None, kind: str = "manual", **params: Any) -> dict[str, Any]:
        instance = SimpleNamespace(
            try_number=number, max_tries=5, dag_id="sdss_ingest", log_url=f"http://127.0.0.1:9/log?try_number={number}"
        )
        run = SimpleNamespace(run_id="run-1", logical_date=date, run_type=kind)
        found = {"ti": instance, "dag_run": run, "params": params, "dag": SimpleNamespace(dag_id="sdss_ingest")}
        _CURRENT_CONTEXT.append(found)
        return found

    before = len(_CURRENT_CONTEXT)
    yield set_it
    del _CURRENT_CONTEXT[before:]


def test_a_batch_has_a_budget(services: Services, context: Callable[..., Any]) -> None:
    """Over all its stages in one DAG run; the last attempt of it is one whose failures stand."""
    stages = [Stage.MIRROR, Stage.MIRROR, Stage.STAGE, Stage.EXTRACT]
    for number, stage in enumerate(stages, 1):
        context(number)
        attempt = tasks._attempt_at(services, SETTINGS, MANIFEST)
        assert attempt.last is (number == 4)
        assert (attempt.dag, attempt.log[-1]) == ("sdss_ingest", str(number))
        with services.ledger.attempt(attempt.context(MANIFEST), stage, 1):
            pass
    failed = Record(FRAME, Outcome.STORAGE_FAILED, "HDFS was away.")
    services.ledger.record(attempt.context(MANIFEST), Stage.EXTRACT, [failed])
    with pytest.raises(BatchGivenUp) as caught:
        tasks._attempt_at(services, SETTINGS, MANIFEST)
    text = str(caught.value)
    assert "Batch dr12-000094-abc has used up its 4 attempts, the last of them at stage extract" in text
    assert f"because of {FRAME}: HDFS was away: see the logs" in text


def test_the_budget_is_of_one_dag_run_and_one_batch(services: Services, context: Callable[..., Any]) -> None:
    for _ in range(4):
        with services.ledger.attempt(Attempt("run-0").context(MANIFEST), Stage.MIRROR, 1):
            pass
    context()
    assert not tasks._attempt_at(services, SETTINGS, MANIFEST).last


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ({}, ["a", "b"]),
        ({"batch.mirror": None}, ["a", "b"]),  # not mapped yet
        ({"batch.mirror_0": "success"}, ["a", "b"]),
        ({f"batch.mirror_{n}": "removed" for n in range(4)}, ["a", "b", "", ""]),
    ],
)
def test_a_run_that_is_processed_again_is_mapped_over_no_less(
    context: Callable[..., Any], there: dict[str, str | None], expected: list[str]
) -> None:
    asked: list[dict[str, Any]] = []
    instance = context()["ti"]
    instance.get_task_states = lambda **which: asked.append(which) or ({"run-1": there} if there else {})
    assert tasks._as_many_as_before("batch.mirror", ["a", "b"], "") == expected
    assert asked == [{"dag_id": "sdss_ingest", "task_ids": ["batch.mirror"], "run_ids": ["run-1"]}]


def test_the_form_offers_the_profiles_that_there_are() -> None:
    assert {Profile.named(name).kind for name in PROFILES} == {one.kind for one in Profile.__subclasses__()}
    assert PROFILES[0] == "survey"


def test_what_is_filled_up_is_skipped() -> None:
    with pytest.raises(AirflowSkipException, match="Less is to do"):
        tasks.run_mirror("")
    with pytest.raises(AirflowSkipException, match="Nothing is left"):
        tasks.run_continue({})


@pytest.mark.parametrize(
    ("left", "kind", "action"),
    [
        (SparkTaskFailed("Spark gave up task 3."), SparkTaskFailed, RetryAction.RETRY),
        (StorageError("HDFS is away."), SparkDriverFailed, RetryAction.RETRY),
        (ZeroDivisionError("a bug"), SparkDriverFailed, RetryAction.FAIL),
        (None, SparkDriverKilled, RetryAction.RETRY),
    ],
)
def test_what_a_spark_job_died_of(
    services: Services, left: Exception | None, kind: type[Exception], action: RetryAction
) -> None:
    if left:
        note_failure(services.store, MANIFEST, left)
    error = tasks._why(services, MANIFEST)
    assert type(error) is kind
    assert str(left) in str(error) if left else "without a word" in str(error)
    assert POLICY.evaluate(error, 1, 5).action is action


def test_every_attempt_of_a_spark_job_is_on_record(
    services: Services, context: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is there while the job runs, so that a killed one is; and an old note is not taken for this job's."""
    monkeypatch.setattr(tasks, "_services", lambda *_: services)
    monkeypatch.setattr(tasks, "_needed", Request)
    for name in ("KIRA_STAGE_URL", "KIRA_S3_BUCKET", "KIRA_LEDGER_URL"):
        monkeypatch.setenv(name, "file:///nowhere")
    uri = MANIFEST.save(services.store)
    note_failure(services.store, MANIFEST, ZeroDivisionError("of yesterday"))
    context()

    def killed_job() -> None:
        with tasks.extracting(uri):
            (row,) = services.ledger.attempts("run-1")
            assert (row.stage, row.ended) == (Stage.EXTRACT, None)
            raise AirflowException("Cannot execute: spark-submit. Error code is: 137.")

    with pytest.raises(SparkDriverKilled):
        killed_job()
    (row,) = services.ledger.attempts("run-1")
    assert row.ended
    assert row.error.startswith("SparkDriverKilled: ")
    context(2)
    with tasks.extracting(uri):
        pass
    assert [row.attempt for row in services.ledger.attempts("run-1")] == [1, 2]


def test_the_date_says_which_release(context: Callable[..., Any]) -> None:
    context(date=datetime(2008, 10, 31, tzinfo=UTC), runs="94", go_on_with="", dry_run=False)
    assert tasks._wanted() == Request(release="dr7", runs="94")
    context(date=None, go_on_with="dr9")
    assert tasks._wanted() == Request(release="dr9")
    context(date=None, go_on_with="")
    with pytest.raises(InvalidInput, match="no logical date"):
        tasks._wanted()
    context(date=datetime(2008, 11, 1, tzinfo=UTC), go_on_with="")
    with pytest.raises(InvalidInput, match="the nearest is dr7"):
        tasks._wanted()


def test_runs_that_go_on_have_names_of_their_own(context: Callable[..., Any]) -> None:
    first = context()
    told = tasks._next(Request(again=True, runs="94"), "manual__1")
    assert told["run_id"] == "manual__1__next1"
    assert told["conf"] == Request(runs="94").as_dict(), "what failed for good is not tried a third time"
    assert tasks._next(Request(), told["run_id"])["run_id"] == "manual__1__next2"
    first["dag"].dag_id = "sdss_backfill"
    told = tasks._next(Request(release="dr9"), "backfill__1")["conf"]
    assert told["go_on_with"] == "dr9"
    assert "release" not in told


@pytest.mark.parametrize(
    "value",
    [
        None, "dr12", [], {}, {"runs": "94"}, {"release": 12}, {"release": "dr99"}, {"release": "dr12", "run": "94"},
        {"release": "dr12", "runs": "94; rm"}, {"release": "dr12", "batch_size": "200"},
        {"release": "dr12", "batch_size": -1}, {"release": "dr12", "max_batches": 0}, {"release": "dr12", "bands": "x"},
        {"release": "dr12", "again": 1}, {"release": "dr12", "field_list": "memory"}, {"release": "dr12", "sky": "up"},
    ],
)  # fmt: skip
def test_a_standing_selection_of_nonsense_gets_one_sentence(value: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        Request.standing(value)
    assert "\n" not in str(caught.value)


def test_a_standing_selection(context: Callable[..., Any]) -> None:
    value = {"release": "dr12", "runs": "94", "camcols": "", "max_batches": 7, "sky": "cone 10.5 -0.3 1.0"}
    request = Request.standing(json.loads(json.dumps(value)))
    assert request == Request(release="dr12", runs="94", max_batches=7, sky="cone 10.5 -0.3 1.0")
    assert Request.standing(request.as_dict()) == request


@pytest.mark.parametrize(
    ("text", "schedule"),
    [
        ("", "0 0 * * *"),
        ("@daily", "0 0 * * *"),
        ("none", None),
        ("NONE", None),
        ("0 3 * * *", "0 3 * * *"),
        ("@once", "@once"),
    ],
)
def test_the_schedule_can_be_set(monkeypatch: pytest.MonkeyPatch, text: str, schedule: str | None) -> None:
    monkeypatch.setenv("KIRA_SCHEDULE", text)
    found = wiring.schedule()
    assert (found if found is None or isinstance(found, str) else found.expression) == schedule


def test_spark_submit_does_not_outlive_its_task() -> None:
    """A killed task leaves no driver behind that would work on the batch beside the next one."""
    code = (
        "import os, signal, subprocess\n"
        "from kira.airflow_glue.spark import ExtractOperator\n"
        "from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook\n"
        "SparkSubmitHook.submit = lambda hook, application, **options: subprocess.Popen(['sleep', '60'], **options)\n"
        "SparkSubmitHook._resolve_connection = lambda hook: {'master': 'local', 'deploy_mode': None}\n"
        "operator = ExtractOperator(task_id='extract', manifest='file:///nowhere')\n"
        "print(operator._get_hook().submit('').pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    child = int(done.stdout.split()[-1])
    end = time.monotonic() + 10
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end, "spark-submit is still there"
        time.sleep(0.05)


@pytest.mark.parametrize("line", ["spark.driver.memory=2g", " spark.driver.memory 2g", "spark.driver.memory\t: 2g"])
def test_a_properties_file_wins_over_what_kira_would_set(tmp_path: Path, line: str) -> None:
    file = tmp_path / "spark.properties"
    file.write_text(f"# spark.task.maxFailures 8\n{line}\nspark.locality.waits 3s\nspark.executor.memory=4g\n")
    assert SPARK_CONF.keys() - without_those_of(file) == {"spark.driver.memory"}


def test_the_operator_hands_the_properties_file_to_spark_submit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KIRA_STAGE_URL", "KIRA_S3_BUCKET", "KIRA_LEDGER_URL"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AIRFLOW_CONN_KIRA_SPARK", '{"conn_type": "spark", "host": "spark://127.0.0.1:7077"}')
    monkeypatch.setenv("KIRA_SPARK_PROPERTIES", str(tmp_path / "spark.properties"))
    operator = ExtractOperator(task_id="extract", manifest="file:///m", conn_id="kira_spark", conf=SPARK_CONF)
    with pytest.raises(InvalidInput, match=r"^KIRA_SPARK_PROPERTIES=\S+ cannot be read \(No such file or directory\):"):
        operator.set_up()
    (tmp_path / "spark.properties").write_text("spark.locality.wait 1s\n")
    operator.set_up()
    command = operator._get_hook()._build_spark_submit_command("x.py")
    assert command[command.index("--properties-file") + 1] == str(tmp_path / "spark.properties")
    assert "spark.task.maxFailures=4" in command
    assert not any(word.startswith("spark.locality.wait=") for word in command)
