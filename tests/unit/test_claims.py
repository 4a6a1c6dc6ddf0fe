"""A frame is in a catalogue by one batch and no other, whatever runs at the same time."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from kira.errors import ValidationFailed
from kira.ledger import Context, Ledger, Stage
from kira.sdss import FrameId
from kira.sdss.archive import Archive
from kira.stages.catalogue import bring_into_line
from kira.stages.extraction import MANIFEST, OUTCOMES, VALIDATION
from kira.stages.publish import publish
from kira.stages.summary import stage_figures
from kira.stages.validate import validate
from kira.stages.work import Attempt, Services
from kira.storage import Manifest, open_store

FRAMES = [FrameId.parse(f"dr12-301-000094-1-{field:04d}-r") for field in range(11, 15)]
ONE = Context("one", "shared", "dr12", "kira-00000000", "run-1")
TWO = replace(ONE, batch="two", dag_run="run-2")


@pytest.fixture
def services(tmp_path: Path) -> Services:
    archive = Archive("shared", das="http://127.0.0.1:9/das", sas="http://127.0.0.1:9/sas")
    mirror = None  # publishing does not touch S3
    return Services(archive, mirror, open_store(f"file://{tmp_path}/stage"), Ledger(f"sqlite:///{tmp_path}/l.db"))  # type: ignore[arg-type]


def extracted(services: Services, context: Context, frames: list[FrameId], *, ok: bool = True) -> Manifest:
    manifest = Manifest(context.batch, "shared", "dr12", "kira-00000000", "stage", context.dag_run, ())
    rows = "".join(f'{{"frame": "{frame}", "outcome": "ok", "sources": 1}}\n' for frame in frames)
    services.store.write(f"{manifest.extracted}/{OUTCOMES}", rows.encode())
    services.store.write(f"{manifest.extracted}/{MANIFEST}", manifest.to_text().encode())
    services.store.write(f"{manifest.extracted}/{VALIDATION}", json.dumps({"ok": ok}).encode())
    return manifest


def seen(services: Services) -> set[str]:
    """Frames that readers see, once the ledger was brought into line with the folders that are there."""
    bring_into_line(services, "shared", "dr12", "kira-00000000")
    told = services.ledger.published("shared", "dr12", "kira-00000000")
    return {frame for frames in told.values() for frame in frames}


def names(frames: list[FrameId]) -> set[str]:
    return {str(frame) for frame in frames}


def test_overlapping_runs_publish_a_frame_once(services: Services) -> None:
    publish(services, Attempt("run-1"), extracted(services, ONE, FRAMES[:2]))
    manifest = extracted(services, TWO, FRAMES[1:])
    with pytest.raises(ValidationFailed, match="Run the ingestion again"):
        publish(services, Attempt("run-2"), manifest)
    assert not services.store.exists(manifest.published)
    assert seen(services) == names(FRAMES[:2])


def test_the_claim_of_an_interrupted_run_gives_way(services: Services) -> None:
    with services.ledger.claiming(ONE, services.store.url, FRAMES, lambda _: False):
        pass  # and killed here, before the rename
    manifest = extracted(services, TWO, FRAMES[1:])
    publish(services, Attempt("run-2"), manifest)
    assert seen(services) == names(FRAMES[1:])


def test_a_refused_claim_leaves_nothing(services: Services) -> None:
    publish(services, Attempt("run-1"), extracted(services, ONE, FRAMES[:1]))
    with pytest.raises(ValidationFailed):
        publish(services, Attempt("run-2"), extracted(services, TWO, FRAMES))
    publish(services, Attempt("run-3"), extracted(services, replace(ONE, batch="three"), FRAMES[1:]))
    assert seen(services) == names(FRAMES)


def test_what_fails_while_claiming_leaves_no_claim(services: Services) -> None:
    def interrupted() -> None:
        with services.ledger.claiming(ONE, "s", FRAMES, lambda _: True) as others:
            raise OSError(f"disk full, {len(others)} others")

    with pytest.raises(OSError, match="disk full, 0 others"):
        interrupted()
    with services.ledger.claiming(TWO, "s", FRAMES, lambda _: True) as others:
        assert others == {}


def test_the_next_plan_tells_the_ledger_what_a_killed_run_published(services: Services) -> None:
    manifest = extracted(services, ONE, FRAMES[:2])
    services.store.rename(manifest.extracted, manifest.published)  # and killed here
    assert services.ledger.published("shared", "dr12", "kira-00000000") == {}
    assert seen(services) == names(FRAMES[:2])
    assert services.ledger.published("shared", "dr12", "kira-00000000") == {"one": names(FRAMES[:2])}
    assert [row.dag_run for row in services.ledger.outcomes("run-1", Stage.PUBLISH)] == ["run-1"] * 2


@pytest.mark.parametrize("tried_again", [False, True])
def test_what_a_killed_run_published_without_a_claim_is_not_published_twice(
    services: Services, tried_again: bool
) -> None:
    """The other run was planned before, and publishes before any plan brings the ledger into line."""
    manifest = extracted(services, ONE, FRAMES[:2])
    other = extracted(services, TWO, FRAMES[1:])
    services.store.rename(manifest.extracted, manifest.published)  # and killed here, before the claim was committed
    if tried_again:
        publish(services, Attempt("run-1"), manifest)
    with pytest.raises(ValidationFailed, match=f"1 of the 3 frames .* the first {FRAMES[1]} by batch one"):
        publish(services, Attempt("run-2"), other)
    assert not services.store.exists(other.published)
    assert seen(services) == names(FRAMES[:2])
    # What else the other run has is free.
    publish(services, Attempt("run-3"), extracted(services, replace(TWO, batch="three"), FRAMES[2:]))
    assert seen(services) == names(FRAMES)


def test_a_catalogue_that_is_not_there_is_not_published(services: Services, tmp_path: Path) -> None:
    """The ledger may remember what lies in another staging store, or was removed."""
    publish(services, Attempt("run-1"), extracted(services, ONE, FRAMES))
    elsewhere = replace(services, store=open_store(f"file://{tmp_path}/elsewhere"))
    assert seen(elsewhere) == set()
    publish(elsewhere, Attempt("run-2"), extracted(elsewhere, TWO, FRAMES))
    assert seen(elsewhere) == seen(services) == names(FRAMES)


def test_a_result_that_was_not_validated_is_not_published(services: Services) -> None:
    manifest = extracted(services, ONE, FRAMES, ok=False)
    with pytest.raises(ValidationFailed, match="not validated"):
        publish(services, Attempt("run-1"), manifest)
    services.store.delete(f"{manifest.extracted}/{VALIDATION}")
    with pytest.raises(ValidationFailed, match="not validated"):
        publish(services, Attempt("run-1"), manifest)


def test_two_runs_that_do_the_same_batch_both_have_their_outcomes(services: Services) -> None:
    for run in ("run-1", "run-2"):
        manifest = extracted(services, ONE, FRAMES)
        publish(services, Attempt(run), manifest)
    assert [len(services.ledger.outcomes(run, Stage.PUBLISH)) for run in ("run-1", "run-2")] == [4, 4]
    assert [row.again for row in services.ledger.outcomes("run-2", Stage.PUBLISH)] == [True] * 4


def test_a_run_that_finds_its_batch_published_counts_none_of_the_work_as_its_own(services: Services) -> None:
    manifest = Manifest("one", "shared", "dr12", "kira-00000000", "stage", "run-1", ())
    rows = [
        {"frame": str(FRAMES[0]), "outcome": "ok", "sources": 7, "seconds": 2.0, "size": 5, "checks": 1},
        {"frame": str(FRAMES[1]), "outcome": "bad_frame", "reason": "no WCS", "seconds": 1.0, "checks": 1},
    ]
    services.store.write(f"{manifest.published}/{OUTCOMES}", "".join(json.dumps(row) + "\n" for row in rows).encode())
    validate(services, Attempt("run-2"), manifest)
    good, bad = services.ledger.outcomes("run-2", Stage.EXTRACT)
    assert (good.outcome, good.again, good.sources, good.seconds, good.checks) == ("ok", True, 7, 0.0, 0)
    assert (bad.outcome, bad.reason) == ("bad_frame", "no WCS")
    (row,) = services.ledger.outcomes("run-2", Stage.VALIDATE)
    assert (row.frame, row.outcome, row.again, row.sources) == (str(FRAMES[0]), "ok", True, 7)
    assert services.ledger.attempts("run-2") == []
    assert stage_figures(services.ledger.figures("run-2"), [])["extract"]["bytes"] == 0
