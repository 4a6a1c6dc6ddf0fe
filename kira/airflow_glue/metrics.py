"""Numbers for dashboards, through Airflow's own metrics (OpenTelemetry or StatsD): see docs/monitoring.md.

Told when a stage of a batch has ended for good, not at every try, so that no frame counts twice. A number that cannot
be told is logged, and stops nothing.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow.sdk.observability import stats

from kira.ledger import Ledger, Outcome, Stage
from kira.stages.plan import Plan
from kira.storage import Manifest

log = logging.getLogger(__name__)

AGAIN = "done_before"
"""Frames that a stage found done by an earlier ingestion."""
TOLD_AT: dict[Stage, tuple[Stage, ...]] = {
    Stage.MIRROR: (Stage.MIRROR,),
    Stage.STAGE: (Stage.STAGE,),
    # What a Spark job measured comes to the ledger with validation.
    Stage.EXTRACT: (),
    Stage.VALIDATE: (Stage.EXTRACT, Stage.VALIDATE),
    Stage.PUBLISH: (Stage.PUBLISH,),
}
"""Of which stages a task tells."""


def of_batch(ledger: Ledger, manifest: Manifest, dag_run: str, stage: Stage) -> None:
    """Count what a batch's stage did.

    Parameters
    ----------
    ledger : Ledger
    manifest : Manifest
    dag_run : str
    stage : Stage
        Of the task that has ended.
    """
    with _harmless(f"batch {manifest.batch}"):
        counts = counts_of(ledger, manifest.batch, dag_run, TOLD_AT[stage])
        _count(counts, _tags(manifest.archive, manifest.release, manifest.profile))


@contextmanager
def _harmless(what: str) -> Iterator[None]:
    try:
        yield
    except Exception:  # the work is done: a dashboard must not make it fail
        log.exception("The numbers of %s could not be told", what)


def counts_of(ledger: Ledger, batch: str, dag_run: str, stages: tuple[Stage, ...]) -> Counter[str]:
    """Counters of some stages of a batch, by their names."""
    found: Counter[str] = Counter()
    for row in ledger.figures(dag_run, batch):
        stage, own = row["stage"], int(row["own"])
        if stage not in stages:
            continue
        found[f"kira.frames.{stage}.{row['outcome']}"] += own
        found[f"kira.frames.{stage}.{AGAIN}"] += row["frames"] - own
        found[f"kira.bytes.{stage}"] += int(row["size"])
        found["kira.checks.made"] += int(row["checks"])
        found["kira.checks.failed"] += int(row["failed_checks"])
        if stage == Stage.PUBLISH and own and Outcome(row["outcome"]).good:
            found[f"kira.sources.{row['band']}"] += int(row["sources"])
    for attempt in ledger.attempts(dag_run, batch) if stages else ():
        if attempt.ended and attempt.stage in stages:
            found[f"kira.seconds.{attempt.stage}"] += round((attempt.ended - attempt.began).total_seconds())
    return Counter({name: n for name, n in found.items() if n})


def of_plan(made: Plan) -> None:
    """Count what a plan took up."""
    tags = _tags(made.archive, made.release, made.profile)
    counts = {
        f"kira.frames.{Stage.PLAN}.{Outcome.OK}": made.planned,
        f"kira.frames.{Stage.PLAN}.{Outcome.NOT_IN_ARCHIVE}": made.missing,
        f"kira.frames.{Stage.PLAN}.{Outcome.WITHDRAWN}": made.withdrawn,
    }
    with _harmless("a plan"):
        _count(Counter({name: n for name, n in counts.items() if n}), tags)


def of_run(report: dict[str, Any]) -> None:
    """Say what finally became of a run's frames; the report is that of `kira.stages.summary.summarize`."""
    with _harmless(f"the run {report['dag_run']}"):
        plan = report["plan"]
        tags = _tags(plan["archive"], plan["release"], plan["profile"])
        for outcome, frames in report["frames"].items():
            stats.gauge(f"kira.run.frames.{outcome}", frames, tags=tags)


def _tags(archive: str, release: str, profile: str) -> dict[str, str]:
    return {"archive": archive, "release": release, "profile": profile}


def _count(counts: Counter[str], tags: dict[str, str]) -> None:
    for name, count in sorted(counts.items()):
        stats.incr(name, count, tags=tags)
