"""Where a frame is now, and how what happens to it changes that: pure functions."""

from dataclasses import dataclass, replace
from datetime import datetime

from kira.ledger.outcomes import Outcome, Stage
from kira.sdss.listing import differ

SETTLED = frozenset({
    Outcome.CORRUPT_UPSTREAM, Outcome.QUARANTINED, Outcome.BAD_FRAME, Outcome.EXTRACTION_FAILED,
    Outcome.OUT_OF_MEMORY, Outcome.TIMED_OUT,
})  # fmt: skip
"""Failures that the same bytes and the same parameters would give again."""
_NO_GOOD_BYTES = frozenset({Outcome.CORRUPT_UPSTREAM, Outcome.QUARANTINED})
TRANSIENT = frozenset({Outcome.ARCHIVE_UNAVAILABLE, Outcome.STORAGE_FAILED, Outcome.CHECKSUM_MISMATCH})
"""Outcomes that may be another one at the next try."""
_ORDER = [stage.value for stage in Stage]
FAILURE_BUDGET = 5
"""DAG runs in a row that may end with a failure for a frame before it is not taken up by itself any more."""
DAMAGED = frozenset({Outcome.CHECKSUM_MISMATCH, Outcome.CORRUPT_UPSTREAM, Outcome.QUARANTINED})
"""Outcomes that say that bytes were not what they should be."""
QUARANTINE_AFTER = 3
"""Checksum mismatches in a row after which a frame is quarantined."""


@dataclass(slots=True)
class State:
    """A row of the table `frame` without its key; see `kira.ledger.tables.FrameTable` for the meanings."""

    stage: str
    outcome: str
    retrying: bool
    to_do: bool
    withdrawn: bool
    lost: bool
    failures: int
    mismatches: int
    damaged: bool
    dag_run_id: int | None
    batch_id: int | None
    published_batch_id: int | None
    published_sha256: str | None
    sha256: str | None
    size: int | None
    sources: int
    listed: str
    seen: str
    at: datetime

    @property
    def changed_upstream(self) -> bool:
        """Whether the archive's listing says something else than when the file was fetched."""
        return self.seen != self.listed and differ(self.seen, self.listed)

    @property
    def published(self) -> bool:
        """Whether rows of the frame are in the catalogue."""
        return self.published_batch_id is not None


def waiting(listed: str, at: datetime) -> State:
    """State of a frame that was just found in the archive."""
    return State(
        Stage.PLAN, Outcome.WAITING, retrying=False, to_do=True, withdrawn=False, lost=False, failures=0,
        mismatches=0, damaged=False, dag_run_id=None, batch_id=None, published_batch_id=None, published_sha256=None,
        sha256=None, size=None, sources=0, listed=listed, seen="", at=at,
    )  # fmt: skip


def is_to_do(state: State) -> bool:
    """Whether the next plan takes the frame up.

    New, on its way (a run that stopped left it there), lost from the mirror, changed upstream, or failed in a way that
    may pass and with budget left.
    """
    outcome = Outcome(state.outcome)
    if state.withdrawn:
        return False
    if outcome.good or outcome is Outcome.WAITING:
        return state.lost or state.changed_upstream or state.stage != Stage.PUBLISH
    if state.changed_upstream and state.failures < FAILURE_BUDGET:
        return True  # other bytes than those that it failed of: each change has a budget of its own
    if state.lost and outcome in SETTLED - _NO_GOOD_BYTES:
        return True  # the mirror is to have it, whatever came of it
    if outcome is Outcome.NOT_IN_ARCHIVE:
        # Listed and yet not there: looked for again. Asked for and not listed: taken up once it is listed.
        return state.stage != Stage.PLAN
    return outcome not in SETTLED and state.failures < FAILURE_BUDGET


@dataclass(frozen=True, slots=True)
class Happening:
    """What is recorded of one frame in one stage, as far as it changes the frame's state."""

    stage: Stage
    outcome: Outcome
    retrying: bool
    again: bool
    dag_run_id: int
    batch_id: int
    at: datetime
    sha256: str | None
    size: int | None
    sources: int | None
    listed: str | None


def after(old: State | None, what: Happening) -> State:
    """State of a frame after something was recorded of it."""
    state = replace(old) if old else waiting(what.listed or "", what.at)
    state.at = what.at
    if what.outcome is Outcome.WITHDRAWN:
        state.withdrawn = True
        state.to_do = is_to_do(state)
        return state
    good = what.outcome.good
    if old and good and what.again and _is_further(old, what):
        return old
    if not good and not what.retrying and not (old and _told_before(old, what)):
        state.failures += 1
    state.mismatches = _mismatches(state.mismatches, what)
    state.damaged = _damaged(state.damaged, what)
    state.stage, state.outcome, state.retrying = what.stage, what.outcome, what.retrying
    state.dag_run_id, state.batch_id = what.dag_run_id, what.batch_id
    if what.stage is Stage.MIRROR:
        if good:
            state.sha256, state.size, state.lost = what.sha256 or state.sha256, what.size or state.size, False
        if what.listed is not None and (good or what.outcome in SETTLED):
            state.seen = what.listed
    if what.outcome is Outcome.SAME_BYTES:
        # What is in the catalogue was made from these bytes: the frame is where it was before.
        state.stage, state.outcome = Stage.PUBLISH, Outcome.OK if state.sources else Outcome.OK_EMPTY
        state.failures = 0
    elif good and what.stage is Stage.PUBLISH:
        state.published_batch_id, state.published_sha256 = what.batch_id, state.sha256
        state.sources, state.failures = what.sources or 0, 0
    state.to_do = is_to_do(state)
    return state


def _is_further(old: State, what: Happening) -> bool:
    # A stage that is run again long after, and finds its work done, does not take a frame back.
    came = _ORDER.index(old.stage) > _ORDER.index(what.stage)
    return came and old.batch_id == what.batch_id and Outcome(old.outcome).good


def _told_before(old: State, what: Happening) -> bool:
    return (old.stage, old.outcome, old.retrying, old.dag_run_id) == (what.stage, what.outcome, False, what.dag_run_id)


def _mismatches(before: int, what: Happening) -> int:
    if what.outcome in (Outcome.CHECKSUM_MISMATCH, Outcome.QUARANTINED):
        return before + 1
    # Only what came out at the other end shows that the bytes stay what they are, and not work found done: a disk that
    # spoils them after each good download would never be noticed.
    whole = what.stage in (Stage.EXTRACT, Stage.PUBLISH) or what.outcome is Outcome.SAME_BYTES
    return 0 if what.outcome.good and whole and not what.again else before


def _damaged(before: bool, what: Happening) -> bool:
    # To be planned again heals nothing, nor does work that was found done.
    healed = what.outcome.good and not what.again and what.stage is not Stage.PLAN
    return what.outcome in DAMAGED or (before and not healed)


def anew(old: State, at: datetime) -> State:
    """State of a frame that a person wants tried again, whatever it failed of."""
    state = replace(old, stage=Stage.PLAN, outcome=Outcome.WAITING, retrying=False, failures=0, mismatches=0, at=at)
    state.to_do = is_to_do(state)
    return state


def run_is_over(old: State) -> State:
    """State of a frame that its DAG run would have tried again, and will not."""
    state = replace(old, retrying=False, failures=old.failures + 1)
    state.to_do = is_to_do(state)
    return state


def not_published(old: State, at: datetime) -> State:
    """State of a frame whose rows were removed from the catalogue."""
    return replace(
        old, stage=Stage.PLAN, outcome=Outcome.WAITING, retrying=False, published_batch_id=None,
        published_sha256=None, sources=0, to_do=not old.withdrawn, at=at,
    )  # fmt: skip


def compared(old: State, listed: str | None, *, in_mirror: bool | None, at: datetime) -> State:
    """State of a frame after the archive and the mirror were asked.

    Parameters
    ----------
    old : State
    listed : str or None
        What the archive's listing says of it; None if it is not listed.
    in_mirror : bool or None
        Whether S3 has it; None if it was not asked.
    at : datetime
    """
    state = replace(old)
    if listed is None:
        state.withdrawn = (old.outcome, old.stage) != (Outcome.NOT_IN_ARCHIVE, Stage.PLAN)
    else:
        state.withdrawn, state.listed = False, listed or old.listed
        if old.outcome == Outcome.NOT_IN_ARCHIVE and old.stage == Stage.PLAN:
            state.stage, state.outcome, state.failures = Stage.PLAN, Outcome.WAITING, 0
        if (old.sha256 is not None or old.published) and not old.seen:
            state.seen = state.listed  # fetched when nobody asked the listing: changes count from now on
        if state.changed_upstream and (not old.changed_upstream or differ(old.listed, state.listed)):
            state.failures = state.mismatches = 0  # other bytes: what failed before says nothing of them
    if in_mirror is not None and old.sha256 is not None:
        state.lost = not in_mirror
    state.to_do = is_to_do(state)
    if state != old:
        state.at = at
    return state
