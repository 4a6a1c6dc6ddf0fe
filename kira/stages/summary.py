"""Summary: what became of a DAG run, from the ledger alone."""

import json
import logging
from collections import Counter, defaultdict
from typing import Any

from kira.errors import KiraError, StorageError
from kira.ledger import Outcome, OutcomeRow, Stage, StageRow
from kira.stages.extraction import read_outcomes
from kira.stages.plan import report_path
from kira.stages.work import Services
from kira.storage import Manifest, catalogue_folder

log = logging.getLogger(__name__)


class RunIncomplete(KiraError):
    """Frames of a run have no outcome in a stage that they should have reached: a batch stopped half-way."""


def summarize(services: Services, dag_run: str) -> dict[str, Any]:
    """Write the report of a DAG run.

    Returns
    -------
    dict
        `frames` by final outcome, `sources` by band, `stages` with frames, bytes and seconds, `checks`, `problems`
        with a sentence each, `catalogue` and the `plan`.

    Raises
    ------
    RunIncomplete
        After the report is written, if planned frames stopped on the way without a reason of their own.
    """
    plan = _plan(services, dag_run)
    rows = services.ledger.outcomes(dag_run)
    last = last_outcomes(rows)
    stuck = [row for row in last.values() if is_stuck(row)]
    folder = catalogue_folder(services.archive.name, plan["release"], plan["profile"])
    report = {
        "dag_run": dag_run,
        "plan": {name: value for name, value in plan.items() if name != "batches"},
        "batches": len(plan["batches"]),
        "synthetic": any(_synthetic(services, uri) for uri in plan["batches"]),
        "catalogue": services.store.uri(folder) if services.store.exists(folder) else "",
        "frames": frames_by_outcome(last.values()),
        "sources": sources_by_band(rows),
        "stages": stage_figures(rows, services.ledger.attempts(dag_run)),
        "checks": {"made": sum(row.checks for row in rows), "failed": sum(row.failed_checks for row in rows)},
        "problems": [
            {"frame": row.frame, "stage": row.stage, "outcome": row.outcome, "reason": row.reason,
             "advice": Outcome(row.outcome).advice}
            for row in last.values() if not Outcome(row.outcome).good
        ],
        "stuck": [{"frame": row.frame, "after": row.stage} for row in stuck],
    }  # fmt: skip
    services.store.write(report_path(services.archive.name, dag_run, "report"), json.dumps(report, indent=1).encode())
    log.info("%s", json.dumps({name: report[name] for name in ("plan", "frames", "sources", "checks")}, indent=1))
    _fail_unless_whole(report, plan, list(last.values()), stuck)
    return report


def _fail_unless_whole(
    report: dict[str, Any], plan: dict[str, Any], last: list[OutcomeRow], stuck: list[OutcomeRow]
) -> None:
    invalid = [row for row in last if row.outcome == Outcome.NOT_VALID]
    if invalid:
        raise RunIncomplete(f"{len(invalid)} frames are held back by validation: {invalid[0].reason}")
    if stuck:
        raise RunIncomplete(
            f"{len(stuck)} frames stopped on the way without an outcome that says why, the first {stuck[0].frame} "
            f"after stage {stuck[0].stage} in batch {stuck[0].batch}: see which task of this run failed, mend the "
            "cause, and clear it."
        )
    told, asked = sum(report["frames"].values()), plan["planned"] + plan["missing"]
    if told != asked:
        raise RunIncomplete(f"{asked} frames were planned or found missing, but {told} have an outcome: report this.")


def _synthetic(services: Services, uri: str) -> bool:
    folder = Manifest.load(services.store, uri).published
    return services.store.exists(folder) and any(one.synthetic for one in read_outcomes(services.store, folder))


def _plan(services: Services, dag_run: str) -> dict[str, Any]:
    try:
        plan: dict[str, Any] = json.loads(services.store.read(report_path(services.archive.name, dag_run, "plan")))
    except StorageError as error:
        raise RunIncomplete("The run has no plan: see why its first task failed.") from error
    return plan


def last_outcomes(rows: list[OutcomeRow]) -> dict[str, OutcomeRow]:
    """Outcome of the latest stage that each frame reached."""
    order = list(Stage)
    last: dict[str, OutcomeRow] = {}
    for row in rows:
        if row.frame not in last or order.index(Stage(row.stage)) > order.index(Stage(last[row.frame].stage)):
            last[row.frame] = row
    return last


def is_stuck(row: OutcomeRow) -> bool:
    """Whether a frame's last outcome is good and yet it is not published."""
    return Outcome(row.outcome).good and row.stage != Stage.PUBLISH


def frames_by_outcome(last: Any) -> dict[str, int]:
    """Frames by what finally became of them; `published` where all went well."""
    counts = Counter(
        "published" if row.stage == Stage.PUBLISH and Outcome(row.outcome).good
        else "unfinished" if is_stuck(row) else row.outcome
        for row in last
    )  # fmt: skip
    return dict(sorted(counts.items(), key=lambda item: (item[0] != "published", item[0])))


def sources_by_band(rows: list[OutcomeRow]) -> dict[str, int]:
    """Published sources by band."""
    found: Counter[str] = Counter()
    for row in rows:
        if row.stage == Stage.PUBLISH and Outcome(row.outcome).good:
            found[row.band] += row.sources or 0
    return {band: found[band] for band in "ugriz" if band in found}


def stage_figures(rows: list[OutcomeRow], attempts: list[StageRow]) -> dict[str, dict[str, float]]:
    """Frames, bytes, summed seconds and wall-clock seconds by stage."""
    figures: dict[str, dict[str, float]] = {}
    wall: dict[str, float] = defaultdict(float)
    for attempt in attempts:
        if attempt.ended:
            wall[attempt.stage] += (attempt.ended - attempt.began).total_seconds()
    for stage in Stage:
        mine = [row for row in rows if row.stage == stage]
        if mine:
            figures[str(stage)] = {
                "frames": len(mine),
                "good": sum(Outcome(row.outcome).good for row in mine),
                "again": sum(row.again for row in mine),
                # What this run did in an earlier attempt of the stage keeps its seconds; what another run did has none.
                "bytes": sum(row.size or 0 for row in mine if row.seconds or not row.again),
                "frame_seconds": round(sum(row.seconds or 0.0 for row in mine), 3),
                "wall_seconds": round(wall.get(str(stage), 0.0), 3),
            }
    return figures
