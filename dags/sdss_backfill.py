"""Older data releases, each at the date on which it was made public.

    kira stack airflow backfill create --dag-id sdss_backfill --from-date 2008-10-31 --to-date 2015-01-06
        --max-active-runs 1

or the form in Airflow's UI, or `kira backfill create --from dr7 --to dr12`. The logical date of a run says which
release it takes; the form can cut it to runs or to a patch of sky. A dry run (`kira backfill estimate`, or *Dry run* in
the form) says what it would cost. A backfill waits for the ingestion wherever both want the same: its pool for asking
the archive has one slot, and its tasks have the lower priority.

The archive keeps DR1 to DR7 in one tree of frames: a backfill of one of them without a selection takes all of it.
"""

from airflow.sdk import DAG, Param
from airflow.timetables.events import EventsTimetable
from pendulum import datetime

from kira.airflow_glue import wiring
from kira.sdss import ALL_RELEASES

with DAG(
    dag_id="sdss_backfill",
    # All in the past, and without catch-up: it begins nothing by itself.
    schedule=EventsTimetable(
        [datetime(r.date.year, r.date.month, r.date.day) for r in ALL_RELEASES],
        description=f"Release dates of {ALL_RELEASES[0]} to {ALL_RELEASES[-1]}",
    ),
    catchup=False,
    max_active_runs=4,
    tags=["kira", "sdss"],
    doc_md=__doc__,
    render_template_as_native_obj=False,
    default_args=wiring.DEFAULT_ARGS,
    **wiring.alerts(),
    params=wiring.selection_params()
    | wiring.planning_params(max_batches=1000)
    | {
        "dry_run": Param(
            False, type="boolean", title="Dry run",
            description="Only say what it would cost: frames, GB, hours.",
        ),
        "go_on_with": Param(
            "", type="string", enum=["", *map(str, ALL_RELEASES)], title="Go on with",
            description="The release of a run that goes on where another ended. Empty: the logical date says it.",
        ),
    },
) as dag:  # fmt: skip
    wiring.pipeline(pool=wiring.BACKFILL_POOL, priority=wiring.BACKFILL_PRIORITY)
