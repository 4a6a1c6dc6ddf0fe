"""Summary: what became of a DAG run, from the ledger alone."""

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from kira.errors import KiraError, StorageError
from kira.ledger import Ledger, Outcome, Stage, StageRow
from kira.stages.extraction import VALIDATION, read_outcomes
from kira.stages.plan import report_path
from kira.stages.work import Services
from kira.storage import Manifest, catalogue_folder

log = logging.getLogger(__name__)


ATTEMPTS = "attempts"
"""Name of the file beside a report that tells of every attempt of a stage on a batch."""
MOST_PROBLEMS = 10_000
"""So many frames that are not published are listed in a report; all of them are in the ledger."""


class RunIncomplete(KiraError):
    """Frames of a run have no outcome in a stage that they should have reached: a batch stopped half-way."""


def summarize(
    services: Services, dag_run: str, tell: Callable[[dict[str, Any]], None] = lambda _report: None,
    keep: Callable[[], dict[str, Any]] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write the report of a DAG run.

    Parameters
    ----------
    services : Services
    dag_run : str
    tell : callable, optional
        Given the report once it is written, be the run whole or not.
    keep : callable, optional
        Called after that, to make the run's record; what it returns becomes `record` of the report.

    Returns
    -------
    dict
        `frames` by final outcome, `sources` by band, `stages` with frames, bytes and seconds, `checks`, `problems`
        with a sentence each, `catalogue`, the `plan`, and `record`.

    Raises
    ------
    RunIncomplete
        After the report is written, if planned frames stopped on the way without a reason of their own.
    """
    plan = _plan(services, dag_run)
    services.ledger.settle(dag_run)
    figures = services.ledger.figures(dag_run)
    became = what_became(services.ledger, dag_run, figures)
    folder = catalogue_folder(services.archive.name, plan["release"], plan["profile"])
    report = {
        "dag_run": dag_run,
        "plan": {name: value for name, value in plan.items() if name != "batches"},
        "batches": len(plan["batches"]),
        "synthetic": any(_synthetic(services, uri) for uri in plan["batches"]),
        "catalogue": services.store.uri(folder) if services.store.exists(folder) else "",
        "frames": became["frames"],
        "sources": sources_by_band(figures),
        "bands": by_band(figures),
        "stages": stage_figures(figures, services.ledger.attempts(dag_run)),
        "validation": _validation(services, plan["batches"]),
        "checks": {name: sum(row[column] for row in figures)
                   for name, column in (("made", "checks"), ("failed", "failed_checks"))},
        "problems": became["problems"],
        "stuck": became["stuck"],
        "runs": [
            {"run": run, "frames": frames, "sources": sources}
            for _, _, run, frames, sources in services.ledger.published_by_run(dag_run)
        ],
    }  # fmt: skip
    _write(services, report)
    # A page compares a run with many earlier ones: without the lists that may have thousands of frames.
    brief = {name: value for name, value in report.items() if name not in ("problems", "stuck", "validation", "runs")}
    services.store.write(report_path(services.archive.name, dag_run, "figures"), json.dumps(brief).encode())
    _write_attempts(services, dag_run)
    log.info("%s", json.dumps({name: report[name] for name in ("plan", "frames", "sources", "checks")}, indent=1))
    tell(report)
    if keep:
        # Once more, because a record may take minutes, and the report has to be there if the task is killed meanwhile.
        report["record"] = keep()
        _write(services, report)
    _fail_unless_whole(services, report, plan)
    return report


def _write(services: Services, report: dict[str, Any]) -> None:
    path = report_path(services.archive.name, report["dag_run"], "report")
    services.store.write(path, json.dumps(report, indent=1).encode())


def _write_attempts(services: Services, dag_run: str) -> None:
    """For the run's record, which is made from files alone; a report of thousands of batches is long enough."""
    rows = [
        {"batch": one.batch, "stage": one.stage, "attempt": one.attempt, "began": _time(one.began),
         "ended": _time(one.ended), "frames": one.frames, "bytes": one.size, "error": one.error}
        for one in services.ledger.attempts(dag_run)
    ]  # fmt: skip
    services.store.write(report_path(services.archive.name, dag_run, ATTEMPTS), json.dumps(rows).encode())


def _time(when: datetime | None) -> str | None:
    return when.replace(tzinfo=when.tzinfo or UTC).isoformat() if when else None


def _fail_unless_whole(services: Services, report: dict[str, Any], plan: dict[str, Any]) -> None:
    sentence = not_whole(services.ledger, report)
    if sentence:
        raise RunIncomplete(sentence)
    told, asked = sum(report["frames"].values()), plan["planned"] + plan["missing"] + plan["withdrawn"]
    # More may be told: a run that was cleared, or is processed again by a backfill, has the outcomes of before too.
    if told < asked:
        raise RunIncomplete(f"{asked} frames were planned or found missing, but {told} have an outcome: report this.")


def not_whole(ledger: Ledger, report: Mapping[str, Any]) -> str:
    """Why frames of a run stopped on their way, as a sentence; empty if none did.

    Parameters
    ----------
    ledger : Ledger
    report : mapping
        With what `what_became` returns.
    """
    invalid = [problem for problem in report["problems"] if problem["outcome"] == Outcome.NOT_VALID]
    if invalid:
        held = report["frames"][Outcome.NOT_VALID]
        return f"{held} frames are held back by validation: {invalid[0]['reason']}"
    if report["stuck"]:
        count, first = report["frames"]["unfinished"], report["stuck"][0]
        ended = [a for a in ledger.attempts(report["dag_run"]) if a.error]
        why = f" The last failure: {ended[-1].stage} of batch {ended[-1].batch}: {ended[-1].error}" if ended else ""
        return (
            f"{count} frames stopped on the way without an outcome that says why, the first {first['frame']} after "
            f"stage {first['after']} in batch {first['batch']}: see which task of this run failed, mend the cause, and "
            f"clear it.{why}"
        )
    return ""


def what_became(ledger: Ledger, dag_run: str, figures: list[dict[str, Any]]) -> dict[str, Any]:
    """The part of a report that says what became of the frames: `dag_run`, `frames`, `problems` and `stuck`.

    Parameters
    ----------
    ledger : Ledger
    dag_run : str
    figures : list of dict
        Of `Ledger.figures`.
    """
    stuck, first_stuck = ledger.stuck(dag_run, MOST_PROBLEMS)
    return {
        "dag_run": dag_run,
        "frames": frames_by_outcome(figures, stuck),
        "problems": [
            {"frame": row.frame, "stage": row.stage, "outcome": row.outcome, "reason": row.reason,
             "advice": Outcome(row.outcome).advice}
            for row in ledger.problems(dag_run, MOST_PROBLEMS)
        ],
        "stuck": [{"frame": row.frame, "after": row.stage, "batch": row.batch} for row in first_stuck],
    }  # fmt: skip


MOST_BATCHES = 200
"""Validation reports of so many batches are in a run's report; each lies with its batch."""


def _validation(services: Services, uris: list[str]) -> list[dict[str, Any]]:
    """What validation found in each batch: the sentence, caveats, remarks, and figures by band."""
    found = []
    for uri in uris[:MOST_BATCHES]:
        manifest = Manifest.load(services.store, uri)
        for folder in (manifest.published, manifest.extracted):
            if services.store.exists(f"{folder}/{VALIDATION}"):
                report = json.loads(services.store.read(f"{folder}/{VALIDATION}"))
                kept = ("ok", "sentence", "caveats", "remarks", "figures")
                found.append({"batch": manifest.batch} | {name: report[name] for name in kept if name in report})
                break
    return found


def _synthetic(services: Services, uri: str) -> bool:
    folder = Manifest.load(services.store, uri).published
    return services.store.exists(folder) and any(one.synthetic for one in read_outcomes(services.store, folder))


def _plan(services: Services, dag_run: str) -> dict[str, Any]:
    try:
        plan: dict[str, Any] = json.loads(services.store.read(report_path(services.archive.name, dag_run, "plan")))
    except StorageError as error:
        raise RunIncomplete("The run has no plan: see why its first task failed.") from error
    return plan


def frames_by_outcome(figures: list[dict[str, Any]], stuck: int) -> dict[str, int]:
    """Frames by what finally became of them; `published` where all went well, `unfinished` where it stopped.

    Parameters
    ----------
    figures : list of dict
        See `kira.ledger.Ledger.figures`.
    stuck : int
    """
    final: Counter[str] = Counter(unfinished=stuck)
    for row in figures:
        outcome = Outcome(row["outcome"])
        if not outcome.goes_on:
            final[str(outcome)] += row["frames"]
        elif row["stage"] == Stage.PUBLISH:
            final["published"] += row["frames"]
    kept = {name: frames for name, frames in final.items() if frames}
    return dict(sorted(kept.items(), key=lambda item: (item[0] != "published", item[0])))


def sources_by_band(figures: list[dict[str, Any]]) -> dict[str, int]:
    """Published sources by band."""
    found: Counter[str] = Counter()
    for row in figures:
        if row["stage"] == Stage.PUBLISH and Outcome(row["outcome"]).good:
            found[row["band"]] += int(row["sources"])
    return {band: found[band] for band in "ugriz" if band in found}


def by_band(figures: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Frames that were published, their sources, and frames that ended otherwise, by band."""
    found: dict[str, dict[str, int]] = {}
    for row in figures:
        outcome = Outcome(row["outcome"])
        mine = found.setdefault(row["band"], {"frames": 0, "sources": 0, "failed": 0})
        if not outcome.good:
            mine["failed"] += int(row["frames"])
        elif row["stage"] == Stage.PUBLISH:
            mine["frames"] += int(row["frames"])
            mine["sources"] += int(row["sources"])
    return {band: found[band] for band in "ugriz" if band in found}


def stage_figures(figures: list[dict[str, Any]], attempts: list[StageRow]) -> dict[str, dict[str, float]]:
    """Frames, bytes, summed seconds and wall-clock seconds by stage."""
    sums: dict[str, dict[str, float]] = {}
    wall: dict[str, float] = defaultdict(float)
    for attempt in attempts:
        if attempt.ended:
            wall[attempt.stage] += (attempt.ended - attempt.began).total_seconds()
    for stage in Stage:
        mine = [row for row in figures if row["stage"] == stage]
        if mine:
            sums[str(stage)] = {
                "frames": sum(row["frames"] for row in mine),
                "good": sum(row["frames"] for row in mine if Outcome(row["outcome"]).good),
                "again": sum(int(row["again"]) for row in mine),
                # What this run did in an earlier attempt of the stage keeps its seconds; what another run did has none.
                "bytes": sum(int(row["size"]) for row in mine),
                "frame_seconds": round(sum(float(row["seconds"]) for row in mine), 3),
                "wall_seconds": round(wall.get(str(stage), 0.0), 3),
            }
    return sums
