"""The first page: is last night's ingestion whole, what did it produce, and what is stuck."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from kira.ledger import Ledger, Outcome, Stage
from kira.ledger.status import (
    NOT_REACHED,
    RETRYING,
    Integrity,
    Known,
    Seen,
    Status,
    catalogues,
    integrity,
    last_reconciled,
    recent_runs,
    status,
)
from kira.pages.data import Data, Remembered
from kira.pages.html import page
from kira.pages.synthetic import synthetic
from kira.sdss import Release, Selection

router = APIRouter()

SECONDS = 3.0
"""The servers are asked anew after so long, however many people look."""
RUNS = 8
"""DAG runs that are shown."""
_STAGES = list(Stage)


@dataclass(frozen=True)
class Box:
    """A stage in the flow.

    Parameters
    ----------
    stage : Stage
    reached : int
        Frames that came as far.
    done : int
        Of these, the ones that went through well.
    retrying, waiting, failed : int
        Of these, the ones that will be tried again by their run, wait for it, and failed.
    """

    stage: Stage
    reached: int
    done: int
    retrying: int
    waiting: int
    failed: int


@dataclass(frozen=True)
class Shown:
    """A catalogue as the page shows it."""

    known: Known
    status: Status
    boxes: tuple[Box, ...]
    integrity: Integrity
    today: Integrity
    reconciled: datetime | None
    problems: dict[str, int]
    missing: int
    synthetic: bool = False

    @property
    def verdict(self) -> str:
        """The sentence that is read first."""
        bad, total = sum(self.problems.values()), self.status.total - self.missing
        if bad:
            return f"{bad:,} of {total:,} frames {'has' if bad == 1 else 'have'} failed"
        if self.status.to_do:
            return f"{self.status.to_do:,} of {total:,} frames are to do, and none has failed"
        return f"Whole: all {total:,} frames {'that the archive has ' if self.missing else ''}are published"

    @property
    def grade(self) -> str:
        """How the sentence is coloured."""
        return "bad" if self.problems else "waiting" if self.status.to_do else "good"


@dataclass(frozen=True)
class RunShown:
    """A DAG run as the page shows it."""

    seen: Seen
    planned: int
    published: int
    failed: int
    at_work: str
    rate: float
    left: float | None
    size: int


def boxes(now: Status) -> tuple[Box, ...]:
    """Flow of a catalogue's frames through the stages."""
    found = []
    for stage in Stage:
        row = now.stages[stage]
        waiting = row.get(Outcome.WAITING, 0)
        good = sum(n for name, n in row.items() if name in _GOES_ON)
        failed = sum(n for name, n in row.items() if name not in _NOT_FAILED and not Outcome(name).good)
        reached = now.total - row.get(NOT_REACHED, 0) - waiting
        found.append(Box(stage, reached, good, row.get(RETRYING, 0), waiting, failed))
    # Who waits at a stage went well through the one before.
    return tuple(
        one if n == 0 else Box(one.stage, one.reached, one.done, one.retrying,
                               max(0, found[n - 1].done - one.reached), one.failed)
        for n, one in enumerate(found)
    )  # fmt: skip


_GOES_ON = {str(one) for one in Outcome if one.good}
# What was asked for and is not there is nothing that broke.
_NOT_FAILED = {RETRYING, NOT_REACHED, str(Outcome.WAITING), str(Outcome.WITHDRAWN), str(Outcome.NOT_IN_ARCHIVE)}


def shown(ledger: Ledger, known: Known, *, synthetic: bool = False) -> Shown:
    """All that the page says of a catalogue."""
    now = status(ledger, known.id, Selection(Release.parse(known.release)))
    problems: Counter[str] = Counter()
    for row in now.stages.values():
        for name, frames in row.items():
            if name not in _NOT_FAILED and not Outcome(name).good:
                problems[name] += frames
    day = (datetime.now(UTC) - timedelta(days=1)).date()
    return Shown(
        known, now, boxes(now), integrity(ledger, known.id), integrity(ledger, known.id, day),
        last_reconciled(ledger, known.id), dict(problems.most_common()),
        now.stages[Stage.PLAN].get(Outcome.NOT_IN_ARCHIVE, 0), synthetic,
    )  # fmt: skip


def run_shown(ledger: Ledger, seen: Seen) -> RunShown:
    """A DAG run with its rate and the time that is left."""
    sums: dict[str, Counter[str]] = {str(stage): Counter() for stage in Stage}
    size = 0
    for stage, outcome, frames, its_size in ledger.progress([seen.name]):
        sums[stage]["good" if Outcome(outcome).good else "bad"] += frames
        size += its_size if stage == Stage.MIRROR else 0
    planned = sums[Stage.PLAN]["good"]
    published = sums[Stage.PUBLISH]["good"]
    failed = sum(row["bad"] for row in sums.values())
    attempts = ledger.attempts(seen.name)
    at_work = sorted({row.stage for row in attempts if row.ended is None}, key=[str(s) for s in Stage].index)
    ended = max((row.ended for row in attempts if row.ended), default=seen.began)
    now = datetime.now(UTC).replace(tzinfo=None)
    # One part in so many: each stage of each frame counts the same, for want of anything better.
    steps = sum(sum(row.values()) for stage, row in sums.items() if stage != Stage.PLAN)
    last = now if at_work else ended
    seconds = max(1.0, (last - seen.began).total_seconds())
    rate = steps / (len(_STAGES) - 1) / seconds
    to_go = planned - failed - published
    left = to_go / rate if at_work and rate > 0 and to_go > 0 else None
    return RunShown(seen, planned, published, failed, ", ".join(at_work), rate, left, size)


def _look(data: Data) -> dict[str, Any]:
    ledger, known = data.ledger, catalogues(data.ledger)
    simulated = synthetic(data, known)
    return {
        "catalogues": [shown(ledger, one, synthetic=one.id in simulated) for one in reversed(known)],
        "runs": [run_shown(ledger, seen) for seen in recent_runs(ledger, RUNS)],
    }


def _values(data: Data) -> dict[str, Any]:
    if "overview" not in data.remembered:
        data.remembered["overview"] = Remembered(lambda: _look(data), SECONDS)
    found: dict[str, Any] = data.remembered["overview"]()
    return found


@router.get("/", response_class=HTMLResponse)
def overview(request: Request) -> HTMLResponse:
    """Show the page."""
    return page(request, "overview.html", **_values(request.app.state.data))


@router.get("/overview/live", response_class=HTMLResponse)
def live(request: Request) -> HTMLResponse:
    """What of it changes; asked for every few seconds."""
    return page(request, "overview_live.html", **_values(request.app.state.data))
