"""Everything that is not published, by its cause: what to do, where to read on, and a button that asks for it again."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from kira.errors import InvalidInput
from kira.ledger import Ledger, Outcome, Stage
from kira.ledger.problems import Cause, Kind, first_frames, groups, shares
from kira.ledger.runs import seen
from kira.ledger.status import Known, Seen, catalogues, recent_runs
from kira.pages.data import Data
from kira.pages.html import page
from kira.pages.requeue import DAG, can_requeue, requeue
from kira.pages.synthetic import is_synthetic
from kira.sdss.quoting import quoted

router = APIRouter()

MOST_FRAMES = 50
"""Frames that are shown at once."""
MOST_SKIPPED = 100_000
MOST_RUNS = 30
"""DAG runs to choose from."""
MOST_SHARES = 6


def _whole(values: Mapping[str, str], name: str, most: int) -> int | None:
    text = values.get(name, "")
    if text == "":
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= most):
        raise InvalidInput(f"{name}: {quoted(text)} is not a whole number up to {most:,}.")
    return int(text)


def _known(ledger: Ledger, values: Mapping[str, str]) -> Known | None:
    """The catalogue that is asked for, or else the newest; None where there is none at all."""
    all_of_them = catalogues(ledger)
    number = _whole(values, "catalogue", 10**9 - 1)
    if number is None:
        return all_of_them[-1] if all_of_them else None
    found = [one for one in all_of_them if one.id == number]
    if not found:
        raise InvalidInput(f"The ledger knows no catalogue {number}: choose one on the page of problems.")
    return found[0]


def _run(ledger: Ledger, values: Mapping[str, str]) -> Seen | None:
    name = values.get("run", "")
    if not name:
        return None
    if (found := seen(ledger, name)) is None:
        raise InvalidInput(f"The ledger knows no DAG run {quoted(name)}.")
    return found


def _member(kind: type[StrEnum], values: Mapping[str, str], name: str) -> Any:
    try:
        return kind(values.get(name, ""))
    except ValueError as error:
        raise InvalidInput(f"{name}: {quoted(values.get(name, ''))} is none of {', '.join(map(str, kind))}.") from error


def _cause(values: Mapping[str, str]) -> Cause:
    kind: Kind = _member(Kind, values, "kind")
    if kind is Kind.WITHDRAWN:
        return Cause(kind)
    return Cause(kind, _member(Stage, values, "stage"), _member(Outcome, values, "outcome"))


def _of_group(data: Data, values: Mapping[str, str]) -> tuple[Known, Cause, Seen | None]:
    known = _known(data.ledger, values)
    if known is None:
        raise InvalidInput("The ledger knows of no frame.")
    return known, _cause(values), _run(data.ledger, values)


@router.get("/problems", response_class=HTMLResponse)
def problems(request: Request) -> HTMLResponse:
    """Show the groups of a catalogue, or of one DAG run in it."""
    data, values = request.app.state.data, request.query_params
    ledger = data.ledger
    known, run = _known(ledger, values), _run(ledger, values)
    runs = recent_runs(ledger, MOST_RUNS)
    if run is not None and run not in runs:
        runs.append(run)
    found = [] if known is None else groups(ledger, known.id, run.name if run else None)
    return page(
        request, "problems.html", catalogues=catalogues(ledger), known=known, runs=runs, run=run, groups=found,
        failed=sum(one.frames for one in found if one.cause.kind is Kind.FAILED),
        synthetic=known is not None and is_synthetic(data, known),
    )  # fmt: skip


@router.get("/problems/frames", response_class=HTMLResponse)
def frames(request: Request) -> HTMLResponse:
    """The first frames of a group, or those that follow, and what can be done for them."""
    data, values = request.app.state.data, request.query_params
    known, cause, run = _of_group(data, values)
    skip = _whole(values, "skip", MOST_SKIPPED) or 0
    name = run.name if run else None
    found = first_frames(data.ledger, known, cause, dag_run=name, most=MOST_FRAMES + 1, skip=skip)
    return page(
        request, "problems_frames.html", known=known, cause=cause, run=run, frames=found[:MOST_FRAMES], skip=skip,
        following=skip + MOST_FRAMES if len(found) > MOST_FRAMES else None, can_requeue=can_requeue(cause),
        shares=shares(data.ledger, known.id, cause, MOST_SHARES) if not skip and run is None else [],
        kinds=Kind,
    )  # fmt: skip


@router.get("/problems/requeue", response_class=HTMLResponse)
def ask(request: Request) -> HTMLResponse:
    """Say what requeuing a group would do, and ask whether it shall be done."""
    data, values = request.app.state.data, request.query_params
    known, cause, run = _of_group(data, values)
    name = run.name if run else None
    group = [one for one in groups(data.ledger, known.id, name) if one.cause == cause]
    asked = requeue(data.ledger, data.store, known, cause, name)
    return page(
        request, "problems_requeue.html", known=known, cause=cause, run=run, asked=asked, dag=DAG,
        frames=sum(one.frames for one in group), bodies=[one.body for one in asked.runs],
    )  # fmt: skip


@router.get("/problems/clear", response_class=HTMLResponse)
def clear(request: Request) -> HTMLResponse:
    """Ask whether the failed tasks of a DAG run shall be cleared; Airflow is asked which ones these are."""
    run = _run(request.app.state.data.ledger, request.query_params)
    if run is None:
        raise InvalidInput("No DAG run was named.")
    body = {"dag_run_id": run.name, "only_failed": True, "reset_dag_runs": True}
    return page(request, "problems_clear.html", run=run, body=body)
