"""How the stages use Airflow: the only module of the package that imports it.

It takes what a task is told (parameters, connections, try number), calls the stage, and turns errors that no retry can
mend into failures that Airflow does not retry.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk import Connection, get_current_context
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException

from kira.errors import InvalidInput, NotInArchive, ValidationFailed
from kira.extraction import Parameters
from kira.ledger import Ledger
from kira.sdss import Selection
from kira.sdss.archive import SDSS, Archive, ArchiveClient
from kira.settings import Settings
from kira.stages import mirror, plan, publish, staging, summary, validate
from kira.stages.work import Attempt, Services, workers
from kira.storage import Manifest, S3Mirror, open_store

S3_CONNECTION = "kira_s3"
ARCHIVE_CONNECTION = "kira_archive"


@contextmanager
def _told_once() -> Iterator[None]:
    """Let what a retry cannot mend fail at once, with its sentence."""
    for name in ("kira", "httpx"):
        logging.getLogger(name).setLevel(logging.INFO if name == "kira" else logging.WARNING)
    try:
        yield
    except (InvalidInput, NotInArchive, ValidationFailed, summary.RunIncomplete) as error:
        raise AirflowFailException(str(error)) from error


def _services(settings: Settings) -> Services:
    client = S3Hook(aws_conn_id=S3_CONNECTION).get_conn()
    return Services(
        archive_of(str(_context()["params"]["archive"])),
        S3Mirror(client, settings.bucket),
        open_store(settings.stage_url),
        Ledger(settings.ledger_url),
    )


def archive_of(connection_id: str) -> Archive:
    """Archive that an Airflow connection stands for; SDSS's own where `kira_archive` is not defined.

    The connection's extra has `name`, and the base URLs `das` and `sas`.
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
        return Archive(extra["name"], das=extra["das"], sas=extra["sas"])
    except KeyError as error:
        raise InvalidInput(f"The connection {connection_id} has no {error} in its extra fields.") from None


def _context() -> Any:
    return get_current_context()


def _attempt() -> Attempt:
    instance = _context()["ti"]
    return Attempt(str(_context()["dag_run"].run_id), instance.try_number, instance.try_number > instance.max_tries)


def run_plan() -> list[str]:
    """Plan; returns the URIs of the batches' manifests."""
    with _told_once():
        params = _context()["params"]
        services = _services(Settings.from_environment())
        selection = Selection.parse(
            params["release"], params["runs"], params["camcols"], params["fields"], params["bands"]
        )
        with ArchiveClient(services.archive) as client:
            done = plan.plan(
                services, _attempt(), client, selection, Parameters(), batch_size=int(params["batch_size"]),
                again=bool(params["again"]), by_run_list=params["field_list"] == "run list",
            )  # fmt: skip
        return done.batches


def run_mirror(uri: str) -> str:
    """Mirror a batch; returns the URI of its manifest."""
    with _told_once():
        settings = Settings.from_environment()
        services = _services(settings)
        threads = max(settings.connections, workers())
        with ArchiveClient(services.archive, connections=settings.connections) as client:
            after = mirror.mirror(services, _attempt(), client, Manifest.load(services.store, uri), threads=threads)
        return services.store.uri(after.path)


def run_stage(uri: str) -> str:
    """Stage a batch; returns the URI of its manifest."""
    with _told_once():
        services = _services(Settings.from_environment())
        after = staging.stage(services, _attempt(), Manifest.load(services.store, uri), threads=workers())
        return services.store.uri(after.path)


def run_validate(uri: str) -> str:
    """Validate a batch; returns the URI that it was given."""
    with _told_once():
        services = _services(Settings.from_environment())
        validate.validate(services, _attempt(), Manifest.load(services.store, uri))
        return uri


def run_publish(uri: str) -> str:
    """Publish a batch; returns the URI of the published folder."""
    with _told_once():
        services = _services(Settings.from_environment())
        return publish.publish(services, _attempt(), Manifest.load(services.store, uri))


def run_summary() -> str:
    """Write the run's report; returns the catalogue's URI."""
    with _told_once():
        services = _services(Settings.from_environment())
        return str(summary.summarize(services, str(_context()["dag_run"].run_id))["catalogue"])
