"""SDSS frames from the archive to a published catalogue.

Wiring only: what the stages do is in `kira.stages`, and how they use Airflow in `kira.airflow_glue`. Both are imported
inside the tasks, because Airflow imports this file again for every one of them.
"""

from datetime import timedelta
from pathlib import Path

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import DAG, Param, task, task_group

# The package's folder without importing it: the Spark job is handed over as a file.
JOB = Path(__file__).resolve().parents[1] / "kira" / "jobs" / "extract.py"
NUMBERS = r"^\s*(\d{1,6}(\s*-\s*\d{1,6})?(\s*,\s*\d{1,6}(\s*-\s*\d{1,6})?)*)?\s*$"


def numbers(title: str, example: str) -> Param:
    """Field of the trigger form for numbers and ranges."""
    return Param(
        "",
        type=["null", "string"],
        pattern=NUMBERS,
        title=title,
        description=f"Numbers and ranges, for example {example}. Empty: all that the archive has.",
    )


with DAG(
    dag_id="sdss_ingest",
    schedule=None,
    catchup=False,
    max_active_runs=4,
    tags=["kira", "sdss"],
    doc_md=__doc__,
    render_template_as_native_obj=False,
    default_args={
        "retries": 3,
        "retry_delay": timedelta(seconds=10),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=10),
        "execution_timeout": timedelta(hours=12),
    },
    params={
        "release": Param(
            "dr12",
            type="string",
            enum=[f"dr{number}" for number in range(1, 19)],
            title="Data release",
            description="To DR7 the frames are fpC files, from DR8 calibrated frame files.",
        ),
        "runs": numbers("Imaging runs", "94, 1000-1010"),
        "camcols": numbers("Camera columns", "1-3, 6"),
        "fields": numbers("Fields", "11-100"),
        "bands": Param("ugriz", type="string", pattern="^[ugriz]{1,5}$", title="Bands"),
        "archive": Param(
            "kira_archive",
            type="string",
            pattern="^kira_archive[a-z0-9_-]{0,60}$",
            title="Archive",
            description="Airflow connection of the archive. kira_archive is SDSS's own unless it is defined otherwise.",
        ),
        "batch_size": Param(
            200, type="integer", minimum=1, maximum=5000, title="Frames in a batch",
            description="They travel together through all stages. A selection of more than 1,000 batches is refused.",
        ),
        "field_list": Param(
            "index pages", type="string", enum=["index pages", "run list"], title="What exists, according to",
            description="The archive's index pages, or its run list (runList.par, from DR8), which also knows of "
            "frames that are missing.",
        ),
        "again": Param(
            False, type="boolean", title="Try again",
            description="Also frames that an earlier run found damaged or could not measure.",
        ),
    },
) as dag:  # fmt: skip

    @task(pool="kira_archive")
    def plan() -> list[str]:
        """Ask the archive what exists, leave out what is done, and write a manifest for each batch."""
        from kira.airflow_glue import run_plan

        return run_plan()

    @task(pool="kira_archive")
    def mirror(manifest: str) -> str:
        """Archive to S3."""
        from kira.airflow_glue import run_mirror

        return run_mirror(manifest)

    @task
    def stage(manifest: str) -> str:
        """S3 to HDFS."""
        from kira.airflow_glue import run_stage

        return run_stage(manifest)

    @task
    def validate(manifest: str) -> str:
        """Is the batch fit to be published?"""
        from kira.airflow_glue import run_validate

        return run_validate(manifest)

    @task
    def publish(manifest: str) -> str:
        """One rename."""
        from kira.airflow_glue import run_publish

        return run_publish(manifest)

    @task_group
    def batch(manifest: str) -> None:
        """Take one batch through the stages."""
        staged = stage(mirror(manifest))
        extract = SparkSubmitOperator(
            task_id="extract",
            conn_id="kira_spark",
            application=str(JOB),
            application_args=["--manifest", staged],
            name="kira-extract",
            pool="kira_spark",
            conf={
                # Waiting for locality has doubled the makespan; a read over the network costs less.
                "spark.locality.wait": "0",
                "spark.driver.memory": "1g",
                "spark.python.worker.reuse": "true",
                "spark.ui.showConsoleProgress": "false",
                # A killed driver is Airflow's to retry, a killed worker Spark's.
                "spark.task.maxFailures": "4",
            },
            verbose=False,
        )
        checked = validate(staged)
        staged >> extract >> checked >> publish(checked)

    @task(trigger_rule="all_done", retries=1)
    def summary() -> str:
        """Write the report of the run, whatever happened; fail if frames are without an outcome."""
        from kira.airflow_glue import run_summary

        return run_summary()

    batch.expand(manifest=plan()) >> summary()
