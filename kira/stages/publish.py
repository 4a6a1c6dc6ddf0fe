"""Publish: one rename. A reader sees the old catalogue or the new one."""

import logging
from dataclasses import replace

from kira.errors import ValidationFailed
from kira.ledger import Context, Outcome, Record, Stage
from kira.sdss import FrameId
from kira.stages.extraction import read_outcomes
from kira.stages.work import Attempt, Services
from kira.storage import Manifest

log = logging.getLogger(__name__)


def publish(services: Services, attempt: Attempt, manifest: Manifest) -> str:
    """Make a validated batch part of the catalogue.

    Returns
    -------
    str
        URI of the published folder; empty if the batch holds no frame that could be measured.
    """
    store, context = services.store, attempt.context(manifest)
    done_before = store.exists(manifest.published)
    good = [
        one
        for one in read_outcomes(store, manifest.published if done_before else manifest.extracted)
        if Outcome(one.outcome).good
    ]
    if not good:
        log.warning("batch %s holds no frame that could be measured: nothing is published", manifest.batch)
        return ""
    with services.ledger.attempt(context, Stage.PUBLISH, len(good)):
        if not done_before:
            _claim(services, manifest, context, [FrameId.parse(one.frame) for one in good])
            store.rename(manifest.extracted, manifest.published)
        # After the rename: the ledger must never say "published" of what no reader can see. If this is as far as it
        # gets, the next attempt finds the folder in place and writes the same.
        services.ledger.record(context, Stage.PUBLISH, (
            Record(FrameId.parse(one.frame), Outcome.OK, sources=one.sources, again=done_before) for one in good
        ))  # fmt: skip
    log.info("batch %s: %d frames are published in %s", manifest.batch, len(good), store.uri(manifest.published))
    return store.uri(manifest.published)


def _claim(services: Services, manifest: Manifest, context: Context, frames: list[FrameId]) -> None:
    """See to it that no frame gets into a catalogue twice, by runs that overlap."""
    others = services.ledger.claim(context, frames)
    for batch in set(others.values()):
        # A claim without a published folder is what an interrupted run left.
        if not services.store.exists(replace(manifest, batch=batch).published):
            services.ledger.drop_claims(batch)
    if others and (others := services.ledger.claim(context, frames)):
        frame, batch = next(iter(others.items()))
        raise ValidationFailed(
            f"{len(others)} of the {len(frames)} frames of batch {manifest.batch} came into the catalogue by another "
            f"run meanwhile, the first {frame} by batch {batch}. Run the ingestion again: it takes up the others."
        )
