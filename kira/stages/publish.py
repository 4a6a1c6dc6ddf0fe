"""Publish: one rename. A reader sees the old catalogue or the new one."""

import json
import logging

from kira.errors import ValidationFailed
from kira.ledger import Context, Outcome, Stage
from kira.sdss import FrameId
from kira.stages.catalogue import is_published, record_published, unclaimed_frames
from kira.stages.extraction import VALIDATION, Measured, read_outcomes
from kira.stages.work import Attempt, Services
from kira.storage import Manifest

log = logging.getLogger(__name__)


def publish(services: Services, attempt: Attempt, manifest: Manifest) -> str:
    """Make a validated batch part of the catalogue.

    Returns
    -------
    str
        URI of the published folder; empty if the batch holds no frame that could be measured.

    Raises
    ------
    ValidationFailed
        If the batch was not validated, or some of its frames came into the catalogue by another batch.
    """
    store, context = services.store, attempt.context(manifest)
    done_before = store.exists(manifest.published)
    folder = manifest.published if done_before else manifest.extracted
    good = [one for one in read_outcomes(store, folder) if Outcome(one.outcome).good]
    if not good:
        log.warning("batch %s holds no frame that could be measured: nothing is published", manifest.batch)
        return ""
    with services.ledger.attempt(context, Stage.PUBLISH, len(good)):
        if not done_before:
            _rename(services, manifest, context, good)
        # After the rename: the ledger must never say "published" of what no reader can see. If this is as far as it
        # gets, the next attempt, or the next plan, finds the folder in place and writes the same.
        record_published(services, context, good, again=done_before)
    log.info("batch %s: %d frames are published in %s", manifest.batch, len(good), store.uri(manifest.published))
    return store.uri(manifest.published)


def _rename(services: Services, manifest: Manifest, context: Context, good: list[Measured]) -> None:
    report = f"{manifest.extracted}/{VALIDATION}"
    if not services.store.exists(report) or not json.loads(services.store.read(report))["ok"]:
        raise ValidationFailed(f"Batch {manifest.batch} was not validated as it is now: clear its validate task.")
    names = {one.frame for one in good}
    frames = [FrameId.parse(one.frame) for one in good]
    # Runs that overlap: whoever is first publishes, and no frame gets into a catalogue twice.
    with services.ledger.claiming(
        context, services.store.url, frames, lambda batch: is_published(services, manifest, batch)
    ) as claimed:
        others = claimed or {f: b for f, b in unclaimed_frames(services, context).items() if f in names}
        if others:
            frame, batch = next(iter(others.items()))
            raise ValidationFailed(
                f"{len(others)} of the {len(frames)} frames of batch {manifest.batch} came into the catalogue by "
                f"another run meanwhile, the first {frame} by batch {batch}. Run the ingestion again for the rest."
            )
        services.store.rename(manifest.extracted, manifest.published)
