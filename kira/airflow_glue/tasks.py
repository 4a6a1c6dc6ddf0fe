"""What a task does when it runs: takes what it is told (parameters, connections, try number) and calls the stage.

What fails is raised as it is: `kira.airflow_glue.retries` decides by its kind whether it is tried again.
"""

import json
import logging
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from typing import Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk import Asset, AssetAlias, Connection, Variable, get_current_context
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowNotFoundException,
    AirflowRuntimeError,
    AirflowSkipException,
    DagRunTriggerException,
)

from kira.airflow_glue import metrics
from kira.airflow_glue.request import ARCHIVE_CONNECTION, STANDING, Request
from kira.errors import (
    BatchGivenUp,
    InvalidInput,
    KiraError,
    SparkDriverFailed,
    SparkDriverKilled,
    SparkTaskFailed,
    StorageError,
    ValidationFailed,
)
from kira.extraction import Profile
from kira.ledger import Ledger, Stage
from kira.records.keeping import keep_record
from kira.sdss import Release, Selection
from kira.sdss.archive import SDSS, Archive, ArchiveClient
from kira.settings import Settings
from kira.stages import mirror, plan, publish, staging, summary, validate
from kira.stages.cost import cost
from kira.stages.extraction import forget_failure, job_failure
from kira.stages.judging import Rules
from kira.stages.plan import report_path
from kira.stages.positions import keep_positions
from kira.stages.work import Attempt, Services, workers
from kira.storage import Manifest, S3Mirror, catalogue_folder, open_store

log = logging.getLogger(__name__)

S3_CONNECTION = "kira_s3"
ALIAS = "kira_catalogue"
DAGS = ("sdss_ingest", "sdss_backfill")
_REQUEST = "request"
_NEXT = "__next"
# Of a Spark driver: a store that is away, or the JVM under its Python, which was killed or gave up.
_PASSING = (
    "StorageError", "OSError", "ConnectionError", "ConnectionRefusedError", "ConnectionResetError", "TimeoutError",
    "Py4JNetworkError", "Py4JError", "Py4JJavaError",
)  # fmt: skip


@contextmanager
def _told(stage: Stage | None = None, uri: str = "") -> Iterator[None]:
    """Kira's own words in the task's log; and where it happened, if it is a bug."""
    for name in ("kira", "httpx"):
        logging.getLogger(name).setLevel(logging.INFO if name == "kira" else logging.WARNING)
    try:
        yield
    except (KiraError, AirflowException, OSError):
        raise
    except Exception as error:
        where = f"Stage {stage} of batch {_batch_of(uri)}" if stage else "A task"
        log.exception("%s failed with a %s that nobody foresaw", where, type(error).__name__)
        raise


def _batch_of(uri: str) -> str:
    """A batch's name is that of the folder with its manifests."""
    return uri.rpartition("/")[0].rpartition("/")[2]


def _context() -> Any:
    return get_current_context()


# -- what is asked for


def _wanted() -> Request | None:
    """What this DAG run is asked for, by its form, its date, or the standing selection; None if there is none."""
    context = _context()
    if context["dag_run"].run_type == "scheduled":
        value = Variable.get(STANDING, default=None, deserialize_json=True)
        return None if value is None else Request.standing(value)
    params = dict(context["params"])
    if "release" not in params:
        params["release"] = str(_release(context))
    return Request.from_mapping(params)


def _release(context: Any) -> Release:
    """Release of a backfill's run: that of its date, or the one that it goes on with."""
    if context["params"].get("go_on_with"):
        return Release.parse(context["params"]["go_on_with"])
    date = context["dag_run"].logical_date
    if date is None:
        raise InvalidInput("This run has no logical date, and the date says which data release is meant: give it one.")
    return Release.of_date(date.date())


def _request() -> Request | None:
    """What the plan was made for; a standing selection may have changed since."""
    known = _context()["ti"].xcom_pull(task_ids="plan", key=_REQUEST, map_indexes=None)
    if known is None:
        return _wanted()  # the plan failed before it knew
    return Request.from_mapping(known) if known else None


def _needed() -> Request:
    request = _request()
    if request is None:
        raise InvalidInput(f"The standing selection was removed while this run was at work: set {STANDING} again.")
    return request


def archive_of(connection_id: str) -> Archive:
    """Archive that an Airflow connection stands for; SDSS's own where `kira_archive` is not defined.

    The connection's extra has `name`, and the base URLs `das` and `sas`; for synthetic frames also `truth`.
    """
    try:
        extra = Connection.get(connection_id).extra_dejson
    except AirflowNotFoundException:
        if connection_id == ARCHIVE_CONNECTION:
            return SDSS
        raise InvalidInput(
            f"There is no Airflow connection {connection_id}: create it under Admin, Connections."
        ) from None
    try:
        return Archive(extra["name"], das=extra["das"], sas=extra["sas"], truth=extra.get("truth", ""))
    except KeyError as error:
        raise InvalidInput(f"The connection {connection_id} has no {error} in its extra fields.") from None


def _services(settings: Settings, request: Request) -> Services:
    client = S3Hook(aws_conn_id=S3_CONNECTION).get_conn()
    return Services(
        archive_of(request.archive), S3Mirror(client, settings.bucket), open_store(settings.stage_url),
        Ledger(settings.ledger_url),
    )  # fmt: skip


# -- attempts


def _attempt(used: int = 0, budget: int = 0) -> Attempt:
    instance = _context()["ti"]
    # What the budget allows no further try of is an outcome that stands, as after Airflow's last try.
    last = instance.try_number > instance.max_tries or 0 < budget <= used + 1
    return Attempt(
        str(_context()["dag_run"].run_id), instance.try_number, last, str(instance.dag_id), str(instance.log_url)
    )


def _attempt_at(services: Services, settings: Settings, manifest: Manifest) -> Attempt:
    """Try number of the task, at a batch whose budget is for all its stages in one DAG run.

    Raises
    ------
    BatchGivenUp
        If it is used up.
    """
    budget, run_id = settings.batch_attempts, str(_context()["dag_run"].run_id)
    made = services.ledger.attempts(run_id, manifest.batch)
    if len(made) >= budget:
        raise BatchGivenUp(
            f"Batch {manifest.batch} has used up its {budget} attempts, the last of them at stage {made[-1].stage}"
            f"{_last_reason(services, manifest)}: see the logs of its tasks, mend the cause, and run the ingestion "
            "again."
        )
    return _attempt(len(made), budget)


def _last_reason(services: Services, manifest: Manifest) -> str:
    bad = services.ledger.problems(str(_context()["dag_run"].run_id), 1, manifest.batch)
    return f", because of {bad[-1].frame}: {bad[-1].reason.rstrip('.')}" if bad and bad[-1].reason else ""


def _is_live(run_id: str) -> bool:
    """Whether a DAG run of ours is at work, so that its frames are not planned by another."""
    instance = _context()["ti"]
    for dag in {*DAGS, instance.dag_id}:
        try:
            if instance.get_dagrun_state(dag_id=dag, run_id=run_id) in ("queued", "running"):
                return True
        except AirflowRuntimeError:
            continue  # not a run of this DAG
    return False


# -- the tasks


def run_plan() -> list[str]:
    """Plan; returns the URIs of the batches' manifests."""
    with _told():
        return _as_many_as_before("batch.mirror", _planned(), "")


def _as_many_as_before(mapped_task: str, items: list[Any], nothing: Any) -> list[Any]:
    """Fill up what tasks are mapped over in a run that is processed again, so that it never gets shorter.

    Airflow (3.3) marks the tasks that are too many as removed, and never takes them up again when there is more to do
    the next time that the run is cleared: they would be missing without a word. What is filled up is skipped.
    """
    context = _context()
    run_id = str(context["dag_run"].run_id)
    states = context["ti"].get_task_states(
        dag_id=str(context["ti"].dag_id), task_ids=[mapped_task], run_ids=[run_id]
    ).get(run_id, {})  # fmt: skip
    before = sum(name.startswith(f"{mapped_task}_") for name in states)
    return items + [nothing] * (before - len(items))


def _planned() -> list[str]:
    request = _wanted()
    _context()["ti"].xcom_push(key=_REQUEST, value=request.as_dict() if request else {})
    if request is None:
        log.info(
            "No standing selection is set, so a scheduled run has nothing to do: set one with kira schedule set, "
            'or as the Airflow Variable %s, for example {"release": "dr12", "runs": "94"}.', STANDING,
        )  # fmt: skip
        return []
    selection = request.selection()
    settings = Settings.from_environment()
    services = _services(settings, request)
    _keep_request(services, request)
    with ArchiveClient(services.archive) as client:
        if _is_dry():
            _tell_cost(services, client, selection, request.profile)
            return []
        done = plan.plan(
            services, _attempt(), client, selection, Profile.named(request.profile), batch_size=request.batch_size,
            max_batches=request.max_batches, again=request.again, by_run_list=request.field_list == "run list",
            reference_every=settings.reference_every, is_live=_is_live,
        )  # fmt: skip
        keep_positions(services.store, client, selection.release)
    metrics.of_plan(done)
    return done.batches


def _keep_request(services: Services, request: Request) -> None:
    """Leave word of what was asked for and of what did it: a report that is read later has the versions of then."""
    versions = {name: version(name) for name in ("apache-airflow", "kira")} | {"python": platform.python_version()}
    path = report_path(services.archive.name, str(_context()["dag_run"].run_id), "request")
    told = {"request": request.as_dict(), "versions": versions, "dag": str(_context()["ti"].dag_id)}
    services.store.write(path, json.dumps(told, indent=1).encode())


def _is_dry() -> bool:
    return bool(_context()["params"].get("dry_run"))


def _cost_uri(services: Services) -> str:
    path = report_path(services.archive.name, str(_context()["dag_run"].run_id), "cost")
    if not services.store.exists(path):
        raise summary.RunIncomplete("The dry run has no result: see why its first task failed.")
    return services.store.uri(path)


def _tell_cost(services: Services, client: ArchiveClient, selection: Selection, profile: str) -> None:
    found = cost(services.ledger, client, selection, Profile.named(profile).slug, log.info)
    path = report_path(services.archive.name, str(_context()["dag_run"].run_id), "cost")
    services.store.write(path, json.dumps(found.as_dict(), indent=1).encode())
    _context()["ti"].xcom_push(key="cost", value=found.as_dict())
    log.info("Dry run: nothing is begun. %s. Kept in %s", found.sentence(), services.store.uri(path))


@contextmanager
def _at_batch(stage: Stage, uri: str) -> Iterator[tuple[Services, Manifest, Attempt]]:
    """What every task of a batch begins with: services, manifest, and which try it is."""
    with _told(stage, uri):
        settings = Settings.from_environment()
        services = _services(settings, _needed())
        manifest = Manifest.load(services.store, uri)
        run = str(_context()["dag_run"].run_id)
        try:
            yield services, manifest, _attempt_at(services, settings, manifest)
        except ValidationFailed:  # for good: it is not tried again
            metrics.of_batch(services.ledger, manifest, run, stage)
            raise
        metrics.of_batch(services.ledger, manifest, run, stage)


def run_mirror(uri: str) -> str:
    """Mirror a batch; returns the URI of its manifest. The stages after it are skipped with it."""
    if not uri:
        raise AirflowSkipException("Less is to do than when this run was processed before: no batch is left for this.")
    with _at_batch(Stage.MIRROR, uri) as (services, manifest, attempt):
        settings = Settings.from_environment()
        threads = max(settings.connections, workers())
        with ArchiveClient(services.archive, connections=settings.connections) as client:
            after = mirror.mirror(services, attempt, client, manifest, threads=threads)
        return services.store.uri(after.path)


def run_stage(uri: str) -> str:
    """Stage a batch; returns the URI of its manifest."""
    with _at_batch(Stage.STAGE, uri) as (services, manifest, attempt):
        after = staging.stage(services, attempt, manifest, threads=workers())
        return services.store.uri(after.path)


@contextmanager
def extracting(uri: str) -> Iterator[None]:
    """Keep on record that the Spark job of a batch began and ended; what it died of becomes one sentence.

    Raises
    ------
    SparkTaskFailed, SparkDriverFailed, SparkDriverKilled
        If `spark-submit` failed.
    """
    with _at_batch(Stage.EXTRACT, uri) as (services, manifest, attempt):
        forget_failure(services.store, manifest)
        with services.ledger.attempt(attempt.context(manifest), Stage.EXTRACT, len(manifest.entries)):
            try:
                yield
            except AirflowException as error:
                log.info("%s", error)
                raise _why(services, manifest)  # noqa: B904 - its cause is that of the driver


def _why(services: Services, manifest: Manifest) -> KiraError:
    found = job_failure(services.store, manifest)
    if found.kind == "task":
        return SparkTaskFailed(found.text)
    if found.kind == "killed":
        return SparkDriverKilled(found.text)
    failed = SparkDriverFailed(found.text)
    # The driver's exception ended with its process; its name, with which the text begins, says whether it may pass.
    name = found.text.partition(":")[0].rpartition(" ")[2].rpartition(".")[2]
    failed.__cause__ = StorageError(found.text) if name in _PASSING else None
    return failed


def run_validate(uri: str) -> str:
    """Validate a batch; returns the URI that it was given."""
    with _at_batch(Stage.VALIDATE, uri) as (services, manifest, attempt):
        settings = Settings.from_environment()
        validate.validate(services, attempt, manifest, Rules.of(settings.thresholds, settings.reference_catalogue))
        return uri


def run_publish(uri: str) -> str:
    """Publish a batch; returns the URI of the published folder."""
    with _at_batch(Stage.PUBLISH, uri) as (services, manifest, attempt):
        return publish.publish(services, attempt, manifest)


def run_summary() -> str:
    """Write the run's report and record; returns the catalogue's URI, or that of what a dry run found."""
    with _told():
        request = _request()
        if request is None:
            return ""
        services = _services(Settings.from_environment(), request)
        if _is_dry():
            return _cost_uri(services)
        run = str(_context()["dag_run"].run_id)
        keep = partial(keep_record, services.store, services.archive.name, run)
        return str(summary.summarize(services, run, metrics.of_run, keep)["catalogue"])


def run_announce() -> list[dict[str, Any]]:
    """Tell Airflow which imaging runs got new frames; returns what the next DAG run is to be given, if one is needed.

    One asset event for each imaging run, on an asset for each archive and release.
    """
    with _told():
        return _as_many_as_before("continue_", _announced(), {})


def _announced() -> list[dict[str, Any]]:
    request = _request()
    if request is None or _is_dry():
        return []
    services = _services(Settings.from_environment(), request)
    run_id = str(_context()["dag_run"].run_id)
    try:
        path = report_path(services.archive.name, run_id, "plan")
        made: dict[str, Any] = json.loads(services.store.read(path))
    except StorageError:
        if services.store.exists(path):
            raise
        return []  # the plan failed, and says why
    catalogue = services.store.uri(catalogue_folder(services.archive.name, made["release"], made["profile"]))
    published = services.ledger.published_by_run(run_id)
    for archive, release, run, frames, sources in published:
        asset = Asset(asset_name(archive, release))
        _context()["outlet_events"][AssetAlias(ALIAS)].add(asset, extra={
            "archive": archive, "release": release, "run": run, "frames": frames, "sources": sources,
            "catalogue": catalogue, "dag_run": run_id,
        })  # fmt: skip
    runs = ", ".join(str(run) for _, _, run, _, _ in published)
    log.info("%d imaging runs got new frames%s", len(published), f": {runs}" if runs else "")
    # Where nothing was published the next run would find the same.
    return [_next(request, run_id)] if made["left"] and published else []


def asset_name(archive: str, release: str) -> str:
    """Asset that stands for a catalogue in Airflow."""
    return f"{ALIAS}_{archive}_{release}"


def _next(request: Request, run_id: str) -> dict[str, Any]:
    """What the next DAG run is told, so that it goes on with what this one has left."""
    first, _, number = run_id.partition(_NEXT)
    conf = request.as_dict()
    # Frames that failed for good and were tried again are not tried a third time.
    conf["again"] = False
    if _context()["dag"].dag_id == "sdss_backfill":
        conf["go_on_with"] = conf.pop("release")
    return {"run_id": f"{first}{_NEXT}{int(number or 0) + 1}", "conf": conf}


def run_continue(following: dict[str, Any]) -> None:
    """Start the DAG run that goes on; one that is there already is left alone.

    Raises
    ------
    DagRunTriggerException
        By which Airflow does it.
    """
    if not following:
        raise AirflowSkipException("Nothing is left for another run.")
    raise DagRunTriggerException(
        trigger_dag_id=_context()["dag"].dag_id, dag_run_id=following["run_id"], conf=following["conf"],
        reset_dag_run=False, skip_when_already_exists=True, wait_for_completion=False, allowed_states=[],
        failed_states=[], poke_interval=60, deferrable=False,
    )  # fmt: skip
