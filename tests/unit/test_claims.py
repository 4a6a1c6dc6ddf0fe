"""A frame is in a catalogue by one batch and no other, whatever runs at the same time."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from kira.errors import ValidationFailed
from kira.ledger import Context, Ledger, Stage
from kira.sdss import FrameId
from kira.sdss.archive import Archive
from kira.stages.extraction import MANIFEST, OUTCOMES
from kira.stages.publish import finish_interrupted, publish
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


def extracted(services: Services, context: Context, frames: list[FrameId]) -> Manifest:
    manifest = Manifest(context.batch, "shared", "dr12", "kira-00000000", "stage", context.dag_run, ())
    rows = "".join(f'{{"frame": "{frame}", "outcome": "ok", "sources": 1}}\n' for frame in frames)
    services.store.write(f"{manifest.extracted}/{OUTCOMES}", rows.encode())
    services.store.write(f"{manifest.extracted}/{MANIFEST}", b"")
    return manifest


def test_a_claim_stands_and_is_all_or_nothing(services: Services) -> None:
    ledger = services.ledger
    assert ledger.claim(ONE, FRAMES[:2]) == {}
    assert ledger.claim(ONE, FRAMES[:2]) == {}
    assert ledger.claim(TWO, FRAMES[1:]) == {str(FRAMES[1]): "one"}
    assert ledger.claim(replace(ONE, batch="three"), FRAMES[2:]) == {}


def test_overlapping_runs_publish_a_frame_once(services: Services) -> None:
    publish(services, Attempt("run-1"), extracted(services, ONE, FRAMES[:2]))
    manifest = extracted(services, TWO, FRAMES[1:])
    with pytest.raises(ValidationFailed, match="Run the ingestion again"):
        publish(services, Attempt("run-2"), manifest)
    assert not services.store.exists(manifest.published)
    assert services.ledger.published("shared", "dr12", "kira-00000000") == {str(frame) for frame in FRAMES[:2]}


def test_the_claim_of_an_interrupted_run_gives_way(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    services.ledger.claim(ONE, FRAMES)
    manifest = extracted(services, TWO, FRAMES[1:])
    with pytest.raises(ValidationFailed, match="Run the ingestion again"):
        publish(services, Attempt("run-2"), manifest)  # the other run may be about to publish
    monkeypatch.setattr("kira.stages.publish.STALE_CLAIM", timedelta(0))
    publish(services, Attempt("run-2"), manifest)
    assert services.store.exists(manifest.published)
    assert len(services.ledger.outcomes("run-2", Stage.PUBLISH)) == 3


def test_the_next_plan_tells_the_ledger_what_a_killed_run_published(services: Services) -> None:
    manifest = extracted(services, ONE, FRAMES[:2])
    services.ledger.claim(ONE, FRAMES[:2])
    services.store.rename(manifest.extracted, manifest.published)  # and killed here
    finish_interrupted(services, "shared", "dr12", "kira-00000000", "run-2")
    assert services.ledger.published("shared", "dr12", "kira-00000000") == {str(frame) for frame in FRAMES[:2]}
    assert not services.ledger.claimed_only("shared", "dr12", "kira-00000000")
