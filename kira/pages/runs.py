"""Reports: what a DAG run did, how fast against earlier ones, and what made each of its batches."""

import base64
import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from kira.errors import InvalidInput, StorageError
from kira.ledger import Ledger, Stage, StageRow
from kira.ledger.runs import (
    Pace,
    catalogue_of_batch,
    catalogues_of,
    paces,
    run_lines,
    runs_of_batch,
    seen,
)
from kira.ledger.status import Known, Seen
from kira.pages.data import Data
from kira.pages.gantt import Gantt, Span, gantt
from kira.pages.html import page
from kira.pages.requeue import request_of
from kira.pages.synthetic import is_synthetic
from kira.sdss.quoting import quoted
from kira.stages.extraction import JOB, VALIDATION, VALIDATION_PAGE, TaskRun, read_tasks
from kira.stages.plan import report_path
from kira.stages.summary import by_band, frames_by_outcome, stage_figures
from kira.storage import Manifest, Store

router = APIRouter()

RUNS = 25
"""DAG runs on a page of the list."""
EARLIER = 10
"""Earlier runs of the same catalogue that a run is compared with."""
MOST_ROWS = 40
MOST_LINES = 500
"""Attempts, and Spark tasks, that are told one by one."""
MOST_SUMMED = 50_000
"""Frames of a run at work up to which its outcomes are summed up for each look."""
SLOW = 1.5
"""A Spark task that took so many times as long as the median of its round is called slow."""
_LETTERS = {Stage.PLAN: "L", Stage.MIRROR: "M", Stage.STAGE: "S", Stage.EXTRACT: "E", Stage.VALIDATE: "V",
            Stage.PUBLISH: "P"}  # fmt: skip


@dataclass(frozen=True)
class StageLine:
    """A stage of a run, with the median of earlier runs.

    Parameters
    ----------
    stage : str
    pace : Pace
        Of attempts that ended well.
    failed : int
        Attempts that did not.
    earlier : float or None
        Median of frames a second; None where no earlier run has any.
    runs : int
        Earlier runs that have one.
    """

    stage: str
    pace: Pace
    failed: int
    earlier: float | None
    runs: int

    @property
    def ratio(self) -> float | None:
        """Speed against the median."""
        return self.pace.rate / self.earlier if self.pace.rate and self.earlier else None


@dataclass(frozen=True)
class BandLine:
    """Sources a frame in a band, with the median of earlier runs, and frames that failed."""

    band: str
    frames: int
    failed: int
    sources: int
    earlier: float | None
    runs: int

    @property
    def density(self) -> float | None:
        """Sources a frame."""
        return self.sources / self.frames if self.frames else None


def _json(store: Store, path: str) -> dict[str, Any]:
    """What a file says; nothing where it is not there or is no JSON object."""
    try:
        found = json.loads(store.read(path))
    except (StorageError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _missing(request: Request, what: str) -> HTMLResponse:
    return page(request, "error.html", 404, title="Not known", text=f"The ledger knows no {what}.")


@router.get("/runs", response_class=HTMLResponse)
def runs(request: Request) -> HTMLResponse:
    """List the DAG runs, the newest first."""
    before = None
    if text := request.query_params.get("before", ""):
        try:
            at = datetime.fromisoformat(text)
        except ValueError as error:
            raise InvalidInput(f"before: {quoted(text)} is not a time.") from error
        before = (at.replace(tzinfo=None), request.query_params.get("name", "")[:250].replace("\0", ""))
    found = run_lines(request.app.state.data.ledger, RUNS + 1, before)
    return page(
        request, "runs.html", lines=found[:RUNS], following=found[RUNS - 1].seen if len(found) > RUNS else None,
        first=before is None,
    )  # fmt: skip


@router.get("/runs/{run:path}", response_class=HTMLResponse)
def run(request: Request, run: str) -> HTMLResponse:
    """Report on a DAG run."""
    data: Data = request.app.state.data
    ledger, store = data.ledger, data.store
    of = seen(ledger, run)
    if of is None:
        return _missing(request, f"DAG run {quoted(run)}")
    known = catalogues_of(ledger, of.name)
    attempts = ledger.attempts(of.name)
    one = known[0] if known else None
    report, complete = _report(ledger, store, one, of, attempts)
    earlier = paces(ledger, one.id, of.began, EARLIER) if one else []
    return page(
        request, "run.html", run=of, known=known, attempts=attempts[:MOST_LINES], all_attempts=len(attempts),
        report=report, complete=complete, plan=_json(store, report_path(one.archive, of.name, "plan")) if one else {},
        told=request_of(store, one.archive, of.name) if one else {}, stages=_stage_lines(attempts, earlier),
        bands=_band_lines(store, one, report, earlier) if one else [],
        gantt=_attempts_gantt(attempts), batches=_batches(attempts, report),
        ended=max((a.ended for a in attempts if a.ended), default=None),
        at_work=sum(a.ended is None for a in attempts), failed=sum(bool(a.error) for a in attempts),
        earlier=[line for line, _ in earlier],
        synthetic=bool(report.get("synthetic")) or (one is not None and is_synthetic(data, one)),
    )  # fmt: skip


def _report(
    ledger: Ledger, store: Store, known: Known | None, of: Seen, attempts: list[StageRow]
) -> tuple[dict[str, Any], bool]:
    """What the run's last task wrote, or as much as the ledger says before that."""
    report = _json(store, report_path(known.archive, of.name, "report")) if known else {}
    if {"frames", "checks", "stages"} <= report.keys():
        return report, True
    per_batch: Counter[str] = Counter()
    for attempt in attempts:
        per_batch[attempt.batch] = max(per_batch[attempt.batch], attempt.frames)
    if sum(per_batch.values()) > MOST_SUMMED:
        return {}, False
    figures = ledger.figures(of.name)
    return {
        "frames": frames_by_outcome(figures, 0), "bands": by_band(figures), "stages": stage_figures(figures, attempts),
        "checks": {name: sum(row[column] for row in figures)
                   for name, column in (("made", "checks"), ("failed", "failed_checks"))},
    }, False  # fmt: skip


def _stage_lines(attempts: list[StageRow], earlier: list[tuple[Seen, dict[Stage, Pace]]]) -> list[StageLine]:
    lines = []
    for stage in Stage:
        mine = [a for a in attempts if a.stage == stage]
        if not mine:
            continue
        good = [(a, a.ended) for a in mine if a.ended is not None and not a.error]
        pace = Pace(
            sum(a.frames for a, _ in good), sum(a.size for a, _ in good),
            sum((ended - a.began).total_seconds() for a, ended in good),
        )  # fmt: skip
        rates = [rate for _, by_stage in earlier if stage in by_stage and (rate := by_stage[stage].rate)]
        failed = sum(bool(a.error) for a in mine)
        lines.append(StageLine(str(stage), pace, failed, median(rates) if rates else None, len(rates)))
    return lines


def _band_lines(
    store: Store, known: Known, report: dict[str, Any], earlier: list[tuple[Seen, dict[Stage, Pace]]]
) -> list[BandLine]:
    own = report.get("bands", {})
    if not own:
        return []
    others = [_json(store, report_path(known.archive, one.name, "figures")).get("bands", {}) for one, _ in earlier]
    lines = []
    for band, row in own.items():
        found = [b[band]["sources"] / b[band]["frames"] for b in others if band in b and b[band]["frames"]]
        lines.append(BandLine(
            band, row["frames"], row["failed"], row["sources"], median(found) if found else None, len(found)
        ))  # fmt: skip
    return lines


def _attempts_gantt(attempts: list[StageRow]) -> Gantt | None:
    return gantt(
        [Span(a.batch, a.stage, f"{a.stage} of {a.batch}, attempt {a.attempt}: {_state(a)}", a.began, a.ended,
              _LETTERS[Stage(a.stage)], bool(a.error)) for a in attempts],
        _now(), MOST_ROWS,
    )  # fmt: skip


def _state(attempt: StageRow) -> str:
    if attempt.ended is None:
        return "at work, or killed"
    seconds = (attempt.ended - attempt.began).total_seconds()
    return f"failed after {seconds:.1f} s" if attempt.error else f"{seconds:.1f} s"


def _batches(attempts: list[StageRow], report: dict[str, Any]) -> list[dict[str, Any]]:
    """Batches in the order in which they began, with what validation said."""
    said = {row["batch"]: row for row in report.get("validation", [])}
    frames: dict[str, int] = {}
    reached: dict[str, str] = {}
    for attempt in attempts:
        frames[attempt.batch] = max(frames.get(attempt.batch, 0), attempt.frames)
        reached[attempt.batch] = attempt.stage
    return [
        {"name": name, "frames": frames[name], "stage": reached[name], "validation": said.get(name)}
        for name in list(frames)[:MOST_LINES]
    ]


# -- a batch


@router.get("/batches/{batch}/report", response_class=HTMLResponse)
def batch(request: Request, batch: str) -> HTMLResponse:
    """Report on a batch: what made it, its Spark tasks, its checks."""
    data: Data = request.app.state.data
    known = catalogue_of_batch(data.ledger, batch)
    if known is None:
        return _missing(request, f"batch {quoted(batch)}")
    store = data.store
    manifest, folder = _folder(store, known, batch)
    try:
        tasks = read_tasks(store, folder)
        tasks_remark = (
            "" if tasks else "Nobody kept what its Spark tasks did: it is not extracted, or by an older Kira."
        )
    except (StorageError, ValueError, TypeError) as error:
        tasks, tasks_remark = [], f"What its Spark tasks did cannot be read: {type(error).__name__}."
    limits = _limits(tasks)
    checked = _json(store, f"{folder}/{VALIDATION}")
    return page(
        request, "batch_report.html", batch=batch, known=known, runs=runs_of_batch(data.ledger, batch), folder=folder,
        parameters=_json(store, f"{manifest.folder}/parameters.json"), job=_json(store, f"{folder}/{JOB}"),
        validation=checked if "ok" in checked else {}, has_page=store.exists(f"{folder}/{VALIDATION_PAGE}"),
        gantt=_tasks_gantt(tasks, limits), tasks=sorted(tasks, key=lambda one: -one.seconds)[:MOST_LINES],
        all_tasks=len(tasks), remark=tasks_remark, limits=limits, slow_factor=SLOW,
        slow=[one for one in sorted(tasks, key=lambda one: -one.seconds) if _is_slow(one, limits)][:10],
        published=folder == manifest.published, synthetic=is_synthetic(data, known),
    )  # fmt: skip


def _folder(store: Store, known: Known, batch: str) -> tuple[Manifest, str]:
    manifest = Manifest(batch, known.archive, known.release, known.profile, str(Stage.PLAN), "", ())
    there = store.exists(f"{manifest.published}/{JOB}")
    return manifest, manifest.published if there else manifest.extracted


def _limits(tasks: list[TaskRun]) -> dict[bool, float]:
    """Seconds beyond which a task is slow, for each round: one that has a frame alone is no measure of the others."""
    found = {}
    for alone in (False, True):
        mine = [one.seconds for one in tasks if one.alone is alone]
        if mine:
            found[alone] = SLOW * median(mine)
    return found


def _is_slow(task: TaskRun, limits: dict[bool, float]) -> bool:
    return task.seconds > limits[task.alone]


def _tasks_gantt(tasks: list[TaskRun], limits: dict[bool, float]) -> Gantt | None:
    spans = []
    for one in tasks:
        slow = _is_slow(one, limits)
        said = f"task {one.number}: {one.seconds:.1f} s, {one.frames} frames, slowest {one.slowest}"
        kind = "slow" if slow else "alone" if one.alone else "task"
        began, ended = (datetime.fromisoformat(text).replace(tzinfo=None) for text in (one.began, one.ended))
        row = f"{one.host} · {one.process}"
        spans.append(Span(row, kind, said, began, ended, f"{one.number}{'!' if slow else ''}", bad=one.failed > 0))
    return gantt(spans, _now(), MOST_ROWS)


@router.get("/batches/{batch}/validation")
def validation(request: Request, batch: str) -> Response:
    """The page of plots that validation left beside the result; nothing of it runs or is fetched."""
    data: Data = request.app.state.data
    known = catalogue_of_batch(data.ledger, batch)
    if known is None:
        return _missing(request, f"batch {quoted(batch)}")
    _, folder = _folder(data.store, known, batch)
    if not data.store.exists(f"{folder}/{VALIDATION_PAGE}"):
        return page(request, "error.html", 404, title="Not there", text=f"Batch {batch} has no page of validation.")
    content = data.store.read(f"{folder}/{VALIDATION_PAGE}")
    styles = re.findall(rb"<style>(.*?)</style>", content.partition(b"</head>")[0], re.DOTALL)
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(one).digest()).decode()}'" for one in styles[:1])
    # In a sandbox: no script, no form, no word with the pages around it, whatever the file holds.
    policy = f"default-src 'none'; img-src data:; style-src {hashes or repr('none')}; frame-ancestors 'self'; sandbox"
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-store"}
    return Response(content, media_type="text/html; charset=utf-8", headers=headers)
