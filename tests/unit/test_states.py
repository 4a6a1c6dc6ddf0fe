"""Where a frame is, and how what happens to it changes that."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from kira.ledger import Outcome, Stage
from kira.ledger.states import (
    FAILURE_BUDGET,
    SETTLED,
    Happening,
    State,
    after,
    anew,
    compared,
    is_to_do,
    not_published,
    run_is_over,
    waiting,
)

NOW, THEN = datetime(2026, 11, 22, 8), datetime(2026, 11, 1, 8)
OLD, NEW = "size=10 date=2020", "size=10 date=2021"
FETCHED = replace(waiting(OLD, THEN), stage=Stage.MIRROR, outcome=Outcome.OK, seen=OLD, sha256="ab", size=10,
                  dag_run_id=1, batch_id=1)  # fmt: skip
PUBLISHED = replace(FETCHED, stage=Stage.PUBLISH, to_do=False, published_batch_id=1, published_sha256="ab", sources=7)
CHANGED = replace(PUBLISHED, listed=NEW, to_do=True)
FAILURES = [o for o in Outcome if not o.good and o not in (Outcome.WAITING, Outcome.WITHDRAWN)]


def happens(stage: Stage, outcome: Outcome, **more: Any) -> Happening:
    known: dict[str, Any] = {
        "retrying": False, "again": False, "dag_run_id": 1, "batch_id": 1, "at": NOW, "sha256": None, "size": None,
        "sources": None, "listed": None,
    }  # fmt: skip
    return Happening(stage, outcome, **known | more)


def told(old: State | None, *happenings: Happening) -> State:
    for what in happenings:
        old = after(old, what)
    assert old is not None
    assert old.to_do == is_to_do(old)
    return old


# -- what the next plan takes up


@pytest.mark.parametrize(
    ("state", "wanted"),
    [
        (waiting(OLD, NOW), True),
        (waiting("", NOW), True),
        (FETCHED, True),
        (PUBLISHED, False),
        (replace(PUBLISHED, outcome=Outcome.OK_EMPTY), False),
        (replace(PUBLISHED, lost=True), True),
        (CHANGED, True),
        (replace(PUBLISHED, listed=""), False),  # a run list says nothing of single files
        (replace(PUBLISHED, listed=f"{OLD} sha1=ab"), False),  # a checksum file that was published later
        (replace(PUBLISHED, seen="", listed=NEW), False),
        (replace(CHANGED, withdrawn=True), False),
        (replace(waiting(OLD, NOW), withdrawn=True), False),
        (replace(PUBLISHED, lost=True, withdrawn=True), False),
        (replace(waiting("", NOW), outcome=Outcome.NOT_IN_ARCHIVE), False),
        (replace(FETCHED, outcome=Outcome.NOT_IN_ARCHIVE, failures=99), True),
    ],
)
def test_what_is_to_do(state: State, wanted: bool) -> None:
    assert is_to_do(state) is wanted


@pytest.mark.parametrize("outcome", FAILURES)
@pytest.mark.parametrize("stage", list(Stage)[1:])
def test_what_failed_is_to_do_while_it_may_pass_and_has_budget(stage: Stage, outcome: Outcome) -> None:
    failed = replace(FETCHED, stage=stage, outcome=outcome, failures=FAILURE_BUDGET - 1)
    passing = outcome not in SETTLED
    assert is_to_do(failed) is passing
    assert is_to_do(replace(failed, failures=FAILURE_BUDGET)) is (outcome is Outcome.NOT_IN_ARCHIVE)
    # Another file in the archive: what failed before says nothing of it, but it cannot fail for ever either.
    changed = replace(failed, listed=NEW)
    assert is_to_do(changed)
    assert is_to_do(replace(changed, failures=FAILURE_BUDGET)) is (outcome is Outcome.NOT_IN_ARCHIVE)
    # The mirror is to have what it lost, but not what never was any good.
    lost = replace(failed, lost=True)
    assert is_to_do(lost) is (outcome not in (Outcome.CORRUPT_UPSTREAM, Outcome.QUARANTINED))


# -- what happens to a frame


def test_from_the_archive_to_the_catalogue() -> None:
    state: State | None = None
    for stage in Stage:
        more = {"sha256": "cd", "size": 9, "listed": OLD} if stage is Stage.MIRROR else {}
        state = told(state, happens(stage, Outcome.OK, sources=5 if stage is Stage.PUBLISH else None, **more))
        assert (state.stage, state.outcome, state.failures, state.published) == (
            stage, Outcome.OK, 0, stage is Stage.PUBLISH,
        )  # fmt: skip
        assert state.to_do is (stage is not Stage.PUBLISH)
    assert state is not None
    assert (state.sha256, state.published_sha256, state.size, state.sources, state.seen) == ("cd", "cd", 9, 5, OLD)


def test_what_happens_does_not_change_the_state_before() -> None:
    before = replace(FETCHED)
    told(before, happens(Stage.STAGE, Outcome.STORAGE_FAILED))
    compared(before, None, in_mirror=False, at=NOW)
    anew(before, NOW)
    assert before == FETCHED


@pytest.mark.parametrize("outcome", FAILURES)
def test_a_failure_is_counted_once_a_run(outcome: Outcome) -> None:
    once = told(FETCHED, happens(Stage.STAGE, outcome, dag_run_id=2))
    assert (once.failures, once.stage, once.outcome, once.dag_run_id) == (1, Stage.STAGE, outcome, 2)
    twice = told(once, happens(Stage.STAGE, outcome, dag_run_id=2))
    assert twice.failures == 1
    assert told(twice, happens(Stage.STAGE, outcome, dag_run_id=3)).failures == 2


def test_what_is_retried_is_no_failure_yet() -> None:
    trying = happens(Stage.MIRROR, Outcome.ARCHIVE_UNAVAILABLE, retrying=True, dag_run_id=2)
    state = told(FETCHED, trying, trying)
    assert (state.failures, state.retrying, state.to_do) == (0, True, True)
    last = told(state, replace(trying, retrying=False))
    assert (last.failures, last.retrying) == (1, False)
    well = told(state, happens(Stage.MIRROR, Outcome.OK, dag_run_id=2, listed=OLD))
    assert (well.failures, well.retrying) == (0, False)


def test_a_run_that_is_over_counts_as_one_failure_and_may_use_up_the_budget() -> None:
    trying = replace(FETCHED, outcome=Outcome.STORAGE_FAILED, retrying=True, failures=FAILURE_BUDGET - 2)
    once = run_is_over(trying)
    assert (once.retrying, once.failures, once.to_do) == (False, FAILURE_BUDGET - 1, True)
    twice = run_is_over(replace(once, retrying=True))
    assert (twice.failures, twice.to_do) == (FAILURE_BUDGET, False)


def test_published_it_has_all_of_its_budget_again() -> None:
    tired = replace(FETCHED, failures=4)
    assert told(tired, happens(Stage.VALIDATE, Outcome.OK)).failures == 4
    assert told(tired, happens(Stage.PUBLISH, Outcome.OK, sources=1)).failures == 0
    assert told(replace(CHANGED, failures=4), happens(Stage.MIRROR, Outcome.SAME_BYTES, listed=NEW)).failures == 0


@pytest.mark.parametrize(("sources", "outcome"), [(7, Outcome.OK), (0, Outcome.OK_EMPTY)])
def test_the_same_bytes_put_a_frame_back_where_it_was(sources: int, outcome: Outcome) -> None:
    before = replace(CHANGED, stage=Stage.PLAN, lost=True, sources=sources)
    state = told(
        before, happens(Stage.MIRROR, Outcome.SAME_BYTES, sha256="ab", size=10, listed=NEW, batch_id=2, dag_run_id=2)
    )
    assert (state.stage, state.outcome, state.to_do, state.lost) == (Stage.PUBLISH, outcome, False, False)
    assert (state.seen, state.published_batch_id, state.published_sha256) == (NEW, 1, "ab")
    assert not state.changed_upstream


def test_other_bytes_of_a_published_frame_replace_it_when_they_are_published() -> None:
    mirrored = told(CHANGED, happens(Stage.MIRROR, Outcome.OK, sha256="cd", size=11, listed=NEW, batch_id=2))
    assert (mirrored.sha256, mirrored.published_sha256, mirrored.sources, mirrored.to_do) == ("cd", "ab", 7, True)
    assert mirrored.published
    done = told(mirrored, happens(Stage.PUBLISH, Outcome.OK, sources=9))
    assert (done.published_sha256, done.sources, done.published_batch_id, done.to_do) == ("cd", 9, 1, False)


def test_a_changed_frame_that_fails_stays_published_as_it_was() -> None:
    mirrored = told(CHANGED, happens(Stage.MIRROR, Outcome.OK, sha256="cd", size=11, listed=NEW))
    failed = told(mirrored, happens(Stage.EXTRACT, Outcome.BAD_FRAME))
    assert (failed.published, failed.published_sha256, failed.sources, failed.to_do) == (True, "ab", 7, False)


@pytest.mark.parametrize(("outcome", "kept"), [(o, o in SETTLED or o.good) for o in Outcome if o in [*FAILURES, "ok"]])
def test_what_was_listed_counts_as_seen_once_the_file_was_judged(outcome: Outcome, kept: bool) -> None:
    state = told(CHANGED, happens(Stage.MIRROR, outcome, listed=NEW))
    assert state.seen == (NEW if kept else OLD)


def test_only_fetching_says_what_was_seen() -> None:
    assert told(CHANGED, happens(Stage.EXTRACT, Outcome.BAD_FRAME, listed=NEW)).seen == OLD


@pytest.mark.parametrize("stage", [Stage.MIRROR, Stage.STAGE, Stage.EXTRACT, Stage.VALIDATE])
def test_work_found_done_does_not_take_a_frame_back(stage: Stage) -> None:
    again = happens(stage, Outcome.OK, again=True, dag_run_id=2)
    assert told(PUBLISHED, again) == PUBLISHED
    # Of another batch it is a new way to the catalogue, and a failure is news in any case.
    assert told(PUBLISHED, replace(again, batch_id=2)).stage == stage
    assert told(replace(FETCHED, outcome=Outcome.STORAGE_FAILED), again).outcome == Outcome.OK
    assert told(PUBLISHED, replace(again, outcome=Outcome.STORAGE_FAILED)).stage == stage


def test_withdrawn_it_stays_where_it_is() -> None:
    state = told(PUBLISHED, happens(Stage.PLAN, Outcome.WITHDRAWN, dag_run_id=9, batch_id=9))
    assert state == replace(PUBLISHED, withdrawn=True, at=NOW)
    assert told(FETCHED, happens(Stage.PLAN, Outcome.WITHDRAWN)).to_do is False


# -- checksum mismatches in a row

MISMATCH = happens(Stage.MIRROR, Outcome.CHECKSUM_MISMATCH)


@pytest.mark.parametrize(
    ("what", "left"),
    [
        (MISMATCH, 3),
        (replace(MISMATCH, outcome=Outcome.QUARANTINED), 3),
        (happens(Stage.EXTRACT, Outcome.OK), 0),
        (happens(Stage.EXTRACT, Outcome.OK_EMPTY), 0),
        (happens(Stage.PUBLISH, Outcome.OK), 0),
        (happens(Stage.MIRROR, Outcome.SAME_BYTES), 0),
        # A disk may spoil what came well over the line, time and again.
        (happens(Stage.MIRROR, Outcome.OK), 2),
        (happens(Stage.STAGE, Outcome.OK), 2),
        (happens(Stage.EXTRACT, Outcome.OK, again=True), 2),
        (happens(Stage.STAGE, Outcome.STORAGE_FAILED), 2),
        (happens(Stage.PLAN, Outcome.OK), 2),
    ],
)
def test_mismatches_in_a_row(what: Happening, left: int) -> None:
    assert told(FETCHED, MISMATCH, MISMATCH).mismatches == 2
    assert told(FETCHED, MISMATCH, MISMATCH, what).mismatches == left


# -- what archive and mirror list


def seen_by(old: State, listed: str | None, in_mirror: bool | None = None) -> State:
    state = compared(old, listed, in_mirror=in_mirror, at=NOW)
    assert state.to_do == is_to_do(state)
    return state


@pytest.mark.parametrize("old", [waiting(OLD, THEN), FETCHED, PUBLISHED, replace(PUBLISHED, to_do=False, failures=2)])
def test_where_nothing_changed_the_state_is_the_same_to_its_time(old: State) -> None:
    assert seen_by(old, OLD, old.sha256 is not None) == old
    assert seen_by(old, OLD) == old
    assert seen_by(old, "") == old


def test_a_change_is_noticed_and_what_failed_before_forgotten() -> None:
    tired = replace(FETCHED, outcome=Outcome.QUARANTINED, failures=FAILURE_BUDGET, mismatches=3, to_do=False)
    once = seen_by(tired, NEW)
    assert (once.changed_upstream, once.failures, once.mismatches, once.to_do, once.at) == (True, 0, 0, True, NOW)
    # Tried and failed again, it has no budget until it changes once more.
    failing = replace(once, outcome=Outcome.STORAGE_FAILED, failures=FAILURE_BUDGET)
    assert seen_by(failing, NEW).to_do is False
    more = seen_by(failing, "size=10 date=2022")
    assert (more.failures, more.to_do) == (0, True)
    # Back to what it was when it was fetched.
    assert not seen_by(once, OLD).changed_upstream


def test_a_frame_fetched_when_nobody_asked_the_listing_counts_as_it_is_listed_first() -> None:
    blind = replace(PUBLISHED, listed="", seen="")
    once = seen_by(blind, OLD)
    assert (once.listed, once.seen, once.to_do) == (OLD, OLD, False)
    assert seen_by(once, NEW).to_do is True
    # One of a catalogue that was found in place is no other; one that was never fetched is.
    assert seen_by(replace(blind, sha256=None, published_sha256=None), OLD).seen == OLD
    assert seen_by(replace(waiting("", THEN)), OLD).seen == ""


def test_withdrawn_and_listed_again() -> None:
    gone = seen_by(PUBLISHED, None)
    assert (gone.withdrawn, gone.to_do, gone.published, gone.at) == (True, False, True, NOW)
    assert seen_by(gone, OLD) == replace(PUBLISHED, at=NOW)
    back = seen_by(gone, NEW)
    assert (back.withdrawn, back.to_do) == (False, True)
    assert seen_by(seen_by(FETCHED, None), OLD).to_do is True


def test_what_was_asked_for_in_vain_is_not_withdrawn_and_is_new_once_it_is_listed() -> None:
    vain = replace(waiting("", THEN), outcome=Outcome.NOT_IN_ARCHIVE, failures=3, to_do=False)
    assert seen_by(vain, None) == vain
    found = seen_by(vain, OLD)
    assert (found.stage, found.outcome, found.failures, found.to_do) == (Stage.PLAN, Outcome.WAITING, 0, True)
    # Listed, and not there when it was to be fetched, it can be withdrawn.
    assert seen_by(replace(vain, stage=Stage.MIRROR), None).withdrawn


@pytest.mark.parametrize(("before", "in_mirror", "lost"), [
    (PUBLISHED, True, False), (PUBLISHED, False, True), (PUBLISHED, None, False),
    (replace(PUBLISHED, lost=True), True, False), (replace(PUBLISHED, lost=True), None, True),
    (waiting(OLD, THEN), False, False),
])  # fmt: skip
def test_what_the_mirror_lost(before: State, in_mirror: bool | None, lost: bool) -> None:
    state = seen_by(before, OLD, in_mirror)
    assert state.lost is lost
    assert state.to_do is (lost or before.outcome == Outcome.WAITING)


# -- what a person does


@pytest.mark.parametrize("outcome", FAILURES)
def test_tried_again_a_frame_has_all_chances(outcome: Outcome) -> None:
    failed = replace(PUBLISHED, stage=Stage.EXTRACT, outcome=outcome, failures=9, mismatches=9, retrying=True)
    state = anew(failed, NOW)
    assert (state.stage, state.outcome, state.to_do) == (Stage.PLAN, Outcome.WAITING, True)
    assert (state.failures, state.mismatches, state.retrying) == (0, 0, False)
    assert (state.published, state.sha256, state.sources, state.seen) == (True, "ab", 7, OLD)
    assert anew(replace(failed, withdrawn=True), NOW).to_do is False


def test_a_catalogue_that_was_removed_is_to_be_made_again() -> None:
    state = not_published(PUBLISHED, NOW)
    assert (state.published, state.published_sha256, state.sources) == (False, None, 0)
    assert (state.stage, state.outcome, state.to_do, state.sha256) == (Stage.PLAN, Outcome.WAITING, True, "ab")
    assert state.to_do == is_to_do(state)
    assert not_published(replace(PUBLISHED, withdrawn=True), NOW).to_do is False


def test_time_is_that_of_the_last_change() -> None:
    assert told(FETCHED, happens(Stage.STAGE, Outcome.OK, at=NOW + timedelta(1))).at == NOW + timedelta(1)
