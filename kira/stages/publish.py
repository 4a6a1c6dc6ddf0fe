"""Publish: one rename. A reader sees the old catalogue or the new one."""

import logging

from kira.ledger import Outcome, Record, Stage
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
            store.rename(manifest.extracted, manifest.published)
        # After the rename: the ledger must never say "published" of what no reader can see. If this is as far as it
        # gets, the next attempt finds the folder in place and writes the same.
        services.ledger.record(context, Stage.PUBLISH, (
            Record(FrameId.parse(one.frame), Outcome.OK, sources=one.sources, again=done_before) for one in good
        ))  # fmt: skip
    log.info("batch %s: %d frames are published in %s", manifest.batch, len(good), store.uri(manifest.published))
    return store.uri(manifest.published)
