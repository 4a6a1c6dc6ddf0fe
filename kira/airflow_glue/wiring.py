"""What Kira's DAGs have in common: the fields of their forms, and the chain of tasks.

Light, because Airflow imports DAG files again for every task: what a task needs is imported when it runs.
"""

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import AssetAlias, CronTriggerTimetable, Param, task, task_group

from kira.airflow_glue.links import OF_BATCH, OF_RUN
from kira.airflow_glue.notifier import RunNotifier
from kira.airflow_glue.request import ARCHIVE_CONNECTION, FIELD_LISTS, MAX_BATCH_SIZE, MAX_BATCHES, PROFILES, Request
from kira.airflow_glue.retries import POLICY, RETRIES, first_wait
from kira.airflow_glue.spark import ExtractOperator
from kira.jobs.conf import SPARK_CONF
from kira.sdss import ALL_RELEASES
from kira.sdss.selection import NUMBERS_PATTERN
from kira.sdss.sky import SKY_PATTERN

ARCHIVE_POOL = "kira_archive"
BACKFILL_POOL = "kira_backfill"
SPARK_POOL = "kira_spark"
INGEST_PRIORITY, BACKFILL_PRIORITY = 100, 1
"""Whatever waits for a slot: every task of the ingestion goes before every task of a backfill."""
DEFAULT_ARGS = {
    "retries": RETRIES,
    "retry_policy": POLICY,
    # For processes that were killed, which no policy can be asked about.
    "retry_delay": first_wait(),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=10),
    "execution_timeout": timedelta(hours=12),
    "weight_rule": "absolute",
}
_DEFAULT = Request()
_NO_CRON = ("@once", "@continuous")


def schedule() -> CronTriggerTimetable | str | None:
    """When `sdss_ingest` runs by itself: `KIRA_SCHEDULE`, a cron text or preset, daily by default; `none` for never.

    By itself Airflow makes up for the last run that was due if a tenth of the time to the next has not passed, though
    the DAG was not there then: a stack that is first started in the small hours would ingest at once.
    """
    text = os.environ.get("KIRA_SCHEDULE", "").strip() or "@daily"
    if text.lower() == "none":
        return None
    if text in _NO_CRON:
        return text
    return CronTriggerTimetable(text, timezone="UTC", run_immediately=timedelta(seconds=1))


def alerts() -> dict[str, Any]:
    """Callbacks of a DAG: who is told when a run failed, and when one ended well but left frames behind.

    `KIRA_ALERTS` says who; the second is only there where `KIRA_ALERT_FRAMES` asks for it.
    """
    found: dict[str, Any] = {"on_failure_callback": RunNotifier(failed=True)}
    if os.environ.get("KIRA_ALERT_FRAMES", "0") not in ("", "0"):
        found["on_success_callback"] = RunNotifier(failed=False)
    return found


def selection_params() -> dict[str, Param]:
    """Fields of the trigger form that say which frames of a release are meant."""
    return {
        "runs": _numbers("Imaging runs", "94, 1000-1010"),
        "camcols": _numbers("Camera columns", "1-3, 6"),
        "fields": _numbers("Fields", "11-100"),
        "bands": Param(_DEFAULT.bands, type="string", pattern="^[ugriz]{1,5}$", title="Bands"),
        "sky": Param(
            "", type=["null", "string"], pattern=SKY_PATTERN, title="Patch of sky",
            description="For example cone 10.5 -0.3 1.0: right ascension, declination, radius in degrees. Empty: all.",
        ),
        "archive": Param(
            _DEFAULT.archive, type="string", pattern=f"^{ARCHIVE_CONNECTION}[a-z0-9_-]{{0,60}}$", title="Archive",
            description="Airflow connection of the archive. kira_archive is SDSS's own unless it is defined otherwise.",
        ),
    }  # fmt: skip


def release_param() -> dict[str, Param]:
    """Field of the trigger form for the data release."""
    return {
        "release": Param(
            _DEFAULT.release, type="string", enum=[str(release) for release in ALL_RELEASES], title="Data release",
            description="To DR7 the frames are fpC files, from DR8 calibrated frame files.",
        ),
    }  # fmt: skip


def planning_params(max_batches: int = _DEFAULT.max_batches) -> dict[str, Param]:
    """Fields of the trigger form that say how frames are planned."""
    return {
        "batch_size": Param(
            _DEFAULT.batch_size, type="integer", minimum=0, maximum=MAX_BATCH_SIZE, title="Frames in a batch",
            description="They travel together through all stages. 0: as many as suit the selection.",
        ),
        "max_batches": Param(
            max_batches, type="integer", minimum=1, maximum=MAX_BATCHES, title="Batches in a run",
            description="What is left is taken up by the next run, which begins by itself when this one has ended.",
        ),
        "field_list": Param(
            _DEFAULT.field_list, type="string", enum=list(FIELD_LISTS), title="What exists, according to",
            description="The archive's index pages, or its run list (runList.par, from DR8), which also knows of "
            "frames that are missing.",
        ),
        "profile": Param(
            _DEFAULT.profile, type="string", enum=list(PROFILES), title="Extraction profile",
            description="What is measured, and how: see docs/profiles.md. Each has catalogues of its own.",
        ),
        "again": Param(
            _DEFAULT.again, type="boolean", title="Try again",
            description="Also frames that an earlier run found damaged or could not measure.",
        ),
    }  # fmt: skip


def _numbers(title: str, example: str) -> Param:
    return Param(
        "", type=["null", "string"], pattern=NUMBERS_PATTERN, title=title,
        description=f"Numbers and ranges, for example {example}. Empty: all that the archive has.",
    )  # fmt: skip


@task
def plan() -> list[str]:
    """Ask the archive what exists, leave out what is done, and write a manifest for each batch."""
    from kira.airflow_glue.tasks import run_plan

    return run_plan()


@task
def mirror(manifest: str) -> str:
    """Archive to S3."""
    from kira.airflow_glue.tasks import run_mirror

    return run_mirror(manifest)


@task
def stage(manifest: str) -> str:
    """S3 to HDFS."""
    from kira.airflow_glue.tasks import run_stage

    return run_stage(manifest)


@task
def validate(manifest: str) -> str:
    """Is the batch fit to be published?"""
    from kira.airflow_glue.tasks import run_validate

    return run_validate(manifest)


@task
def publish(manifest: str) -> str:
    """One rename."""
    from kira.airflow_glue.tasks import run_publish

    return run_publish(manifest)


@task(trigger_rule="all_done")
def summary() -> str:
    """Write the report of the run, whatever happened; fail if frames are without an outcome."""
    from kira.airflow_glue.tasks import run_summary

    return run_summary()


@task(trigger_rule="all_done", outlets=[AssetAlias("kira_catalogue")])
def announce() -> list[dict[str, Any]]:
    """Asset events for those who follow: which imaging runs got new frames."""
    from kira.airflow_glue.tasks import run_announce

    return run_announce()


@task
def continue_(following: dict[str, Any]) -> None:
    """Start the next run if frames are left for it."""
    from kira.airflow_glue.tasks import run_continue

    run_continue(following)


def extract(manifest: Any, **options: Any) -> ExtractOperator:
    """HDFS to a table of sources, by Spark."""
    return ExtractOperator(
        task_id="extract",
        manifest=manifest,
        conn_id="kira_spark",
        name="kira-extract",
        pool=SPARK_POOL,
        conf=SPARK_CONF,
        verbose=False,
        **options,
    )


def pipeline(*, pool: str, priority: int) -> None:
    """Chain of tasks of a DAG: plan → each batch through the stages → report, and word to those who follow.

    Parameters
    ----------
    pool : str
        Airflow pool of the tasks that ask the archive.
    priority : int
        Of the first task. A later stage goes before an earlier one, so that batches come to their end one after the
        other, and what waits between the stages does not pile up.
    """

    @task_group
    def batch(manifest: Any) -> None:
        """Take one batch through the stages."""
        mirrored: Any = mirror.override(pool=pool, priority_weight=priority + 1)(manifest)
        staged: Any = stage.override(priority_weight=priority + 2)(mirrored)
        extracted = extract(staged, priority_weight=priority + 3)
        checked: Any = validate.override(priority_weight=priority + 4)(staged)
        published: Any = publish.override(priority_weight=priority + 5)(checked)
        staged >> extracted >> checked >> published
        for one in (mirrored, staged, checked, published):
            one.operator.operator_extra_links = OF_BATCH

    at_the_end = {"priority_weight": priority + 6}
    planned: Any = plan.override(pool=pool, priority_weight=priority)()
    batches = batch.expand(manifest=planned)
    told = announce.override(**at_the_end)()
    report: Any = summary.override(**at_the_end)()
    for one in (planned, report):
        one.operator.operator_extra_links = OF_RUN
    batches >> [report, told]
    # In a run that is processed again the batches of before may count as done while its plan has yet to be made.
    planned >> [report, told]
    continue_.override(**at_the_end).expand(following=told)
