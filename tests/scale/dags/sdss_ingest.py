"""`sdss_ingest` with its own plan, publishing and report, and with FAKES in place of the stages that need pixels.

For a test of Airflow's scheduler with a survey's number of frames: mirror, stage, extract and validate record outcomes
and write manifests as the real ones do, and nothing is fetched or measured.
"""

from typing import Any

from airflow.sdk import DAG, task

from kira.airflow_glue import wiring


@task
def mirror(manifest: str) -> str:
    """Fake."""
    from fakes import pass_on

    return pass_on(manifest, "mirror")


@task
def stage(manifest: str) -> str:
    """Fake."""
    from fakes import pass_on

    return pass_on(manifest, "stage")


@task(task_id="extract")
def extract(manifest: str) -> None:
    """Fake."""
    from fakes import measure_nothing

    measure_nothing(manifest)


@task
def validate(manifest: str) -> str:
    """Fake."""
    from fakes import believe

    return believe(manifest)


def _extract(manifest: Any, **options: Any) -> Any:
    return extract.override(**options)(manifest)


for name, fake in {"mirror": mirror, "stage": stage, "validate": validate, "extract": _extract}.items():
    setattr(wiring, name, fake)

with DAG(
    dag_id="sdss_ingest",
    schedule=None,
    tags=["kira", "fake"],
    doc_md=__doc__,
    render_template_as_native_obj=False,
    default_args=wiring.DEFAULT_ARGS,
    params=wiring.release_param() | wiring.selection_params() | wiring.planning_params(),
) as dag:
    wiring.pipeline(pool=wiring.ARCHIVE_POOL, priority=wiring.INGEST_PRIORITY)
