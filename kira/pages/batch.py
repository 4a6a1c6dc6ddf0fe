"""A batch: what became of its frames in one DAG run, stage by stage, with the logs; and the ways here from Airflow.

Airflow's links carry ids of its own. Each is looked up in the ledger, and what was found there leads on.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from kira.errors import InvalidInput
from kira.ledger import Outcome, OutcomeRow, Stage, StageRow
from kira.ledger.batches import Batch, batch, batch_of_task, outcomes_of_batch
from kira.ledger.runs import seen
from kira.ledger.status import Seen
from kira.pages.html import page
from kira.pages.synthetic import is_synthetic
from kira.sdss.quoting import quoted

router = APIRouter()

DAGS = ("sdss_ingest", "sdss_backfill")
MOST_FRAMES = 50
"""Frames of a batch that are named with what is wrong with them."""
_GROUP = "batch."


@dataclass(frozen=True)
class StageShown:
    """A stage of a batch as the page shows it."""

    stage: Stage
    outcomes: tuple[tuple[str, int], ...]
    attempts: tuple[StageRow, ...]


@dataclass(frozen=True)
class ProblemShown:
    """A frame with what is wrong with it, and what to do."""

    row: OutcomeRow
    advice: str


def _stages(data: Any, run: str, name: str) -> list[StageShown]:
    outcomes, attempts = outcomes_of_batch(data.ledger, run, name), data.ledger.attempts(run, name)
    return [
        StageShown(
            stage,
            tuple((outcome, frames) for at, outcome, frames in outcomes if at == stage),
            tuple(row for row in attempts if row.stage == stage),
        )
        for stage in Stage
    ]


def log_link(log: str) -> str:
    """Where the log of a task can be read in the UI that this page is in; empty if that cannot be."""
    parts = urlsplit(log)
    if "/dags/" not in parts.path or not parts.path.startswith("/") or parts.path.startswith("//"):
        return ""
    return parts.path + (f"?{parts.query}" if parts.query else "")


def _run_of(found: Batch, wanted: str) -> Seen | None:
    if not wanted:
        return found.runs[0] if found.runs else None
    runs = [run for run in found.runs if run.name == wanted]
    if not runs:
        raise InvalidInput(f"No DAG run {quoted(wanted)} has worked on batch {found.name}.")
    return runs[0]


@router.get("/batches/{name}", response_class=HTMLResponse)
def show(request: Request, name: str, run: str = "") -> HTMLResponse:
    """Show a batch, in the newest DAG run unless another is asked for."""
    data = request.app.state.data
    found = batch(data.ledger, name)
    if found is None:
        return page(
            request, "error.html", 404, title="No such batch", text=f"The ledger knows no batch {quoted(name)}."
        )
    seen = _run_of(found, run)
    problems = data.ledger.problems(seen.name, MOST_FRAMES + 1, found.name) if seen else []
    return page(
        request, "batch.html", batch=found, run=seen, log_link=log_link, most=MOST_FRAMES,
        stages=_stages(data, seen.name, found.name) if seen else [],
        problems=[ProblemShown(row, Outcome(row.outcome).advice) for row in problems[:MOST_FRAMES]],
        more=len(problems) > MOST_FRAMES, synthetic=is_synthetic(data, found.catalogue),
    )  # fmt: skip


def _to(request: Request, path: str, **query: str | int) -> Response:
    root = str(request.scope.get("root_path", ""))
    text = urlencode({name: value for name, value in query.items() if value != ""})
    return RedirectResponse(f"{root}{path}{'?' if text else ''}{text}", 303)


def _of_others(request: Request, dag: str) -> HTMLResponse | None:
    if dag in DAGS:
        return None
    text = f"The DAG {quoted(dag)} is not one of Kira's: its frames are those of {' and '.join(DAGS)}."
    return page(request, "error.html", title="Nothing of Kira's here", text=text)


@router.get("/from/dag")
def from_dag(request: Request, dag: str = "") -> Response:
    """From a DAG in Airflow to the overview."""
    return _of_others(request, dag) or _to(request, "/")


@router.get("/from/run")
def from_run(request: Request, dag: str = "", run: str = "") -> Response:
    """From a DAG run in Airflow to its report."""
    return _of_others(request, dag) or _to_run(request, run)


def _to_run(request: Request, run: str) -> Response:
    known = seen(request.app.state.data.ledger, run)
    if known is None:
        text = (
            f"The ledger knows nothing of the DAG run {quoted(run)}: its plan is at work still, failed, or found "
            "nothing to do. The log of its first task says which."
        )
        return page(request, "error.html", title="No frames yet", text=text)
    return _to(request, f"/runs/{quote(known.name, safe='')}")


@router.get("/from/task")
def from_task(request: Request, dag: str = "", task: str = "") -> Response:
    """From a task in Airflow to what failed in its stage."""
    return _of_others(request, dag) or _to(request, "/problems", stage=_stage_of(task))


def _stage_of(task: str) -> str:
    name = task.removeprefix(_GROUP)
    return name if name in list(Stage) else ""


@router.get("/from/task-instance")
def from_task_instance(request: Request, dag: str = "", run: str = "", task: str = "", index: str = "") -> Response:
    """From a task of a DAG run in Airflow to the batch that it works on, or else to the run's report."""
    if (others := _of_others(request, dag)) is not None:
        return others
    if task.startswith(_GROUP) and index.isascii() and index.isdecimal() and len(index) < 6:
        name = batch_of_task(request.app.state.data.ledger, run, int(index))
        if name is not None:
            return _to(request, f"/batches/{quote(name, safe='')}", run=run)
    return _to_run(request, run)
