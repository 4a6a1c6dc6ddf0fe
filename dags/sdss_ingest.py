"""SDSS frames from the archive to a published catalogue: on a schedule, and whenever somebody asks.

A run that is triggered takes what its form says. A scheduled run takes the standing selection (`kira schedule set`, or
the Airflow Variable `kira_ingest`); without one it has nothing to do. Either asks the archive what it has now, and
works on what is new, changed, missing or failed before; what is published already is left alone.

Wiring only: what the stages do is in `kira.stages`, how they use Airflow in `kira.airflow_glue`.
"""

from airflow.sdk import DAG

from kira.airflow_glue import wiring

with DAG(
    dag_id="sdss_ingest",
    schedule=wiring.schedule(),
    catchup=False,
    max_active_runs=4,
    tags=["kira", "sdss"],
    doc_md=__doc__,
    render_template_as_native_obj=False,
    default_args=wiring.DEFAULT_ARGS,
    **wiring.alerts(),
    params=wiring.release_param() | wiring.selection_params() | wiring.planning_params(),
) as dag:
    wiring.pipeline(pool=wiring.ARCHIVE_POOL, priority=wiring.INGEST_PRIORITY)
