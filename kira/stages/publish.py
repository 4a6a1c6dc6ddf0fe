"""Publish: one rename. A reader sees the old catalogue or the new one."""

import logging
from dataclasses import replace
from datetime import timedelta

from kira.errors import ValidationFailed
from kira.ledger import Context, Outcome, Record, Stage
from kira.sdss import FrameId
from kira.stages.extraction import Measured, read_outcomes
from kira.stages.work import Attempt, Services
from kira.storage import Manifest, catalogue_folder

log = logging.getLogger(__name__)

STALE_CLAIM = timedelta(minutes=15)
"""A batch is published seconds after it claims its frames; one that did not in this time was interrupted."""


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
        # gets, the next attempt, or the next plan, finds the folder in place and writes the same.
        _tell(services, context, good, again=done_before)
    log.info("batch %s: %d frames are published in %s", manifest.batch, len(good), store.uri(manifest.published))
    return store.uri(manifest.published)


def finish_interrupted(services: Services, archive: str, release: str, profile: str, dag_run: str) -> None:
    """Tell the ledger of batches that were published by a run that was killed before it could."""
    for batch in sorted(services.ledger.claimed_only(archive, release, profile)):
        folder = f"{catalogue_folder(archive, release, profile)}/batch={batch}"
        if services.store.exists(folder):
            log.warning("batch %s was published, but its run was killed before the ledger knew: mended", batch)
            good = [one for one in read_outcomes(services.store, folder) if Outcome(one.outcome).good]
            _tell(services, Context(batch, archive, release, profile, dag_run), good, again=True)


def _tell(services: Services, context: Context, good: list[Measured], *, again: bool) -> None:
    services.ledger.record(context, Stage.PUBLISH, (
        Record(FrameId.parse(one.frame), Outcome.OK, sources=one.sources, again=again) for one in good
    ))  # fmt: skip


def _claim(services: Services, manifest: Manifest, context: Context, frames: list[FrameId]) -> None:
    """See to it that no frame gets into a catalogue twice, by runs that overlap."""
    others = services.ledger.claim(context, frames)
    for batch in set(others.values()):
        # An old claim without a published folder is what an interrupted run left.
        if not services.store.exists(replace(manifest, batch=batch).published):
            services.ledger.drop_claims(batch, older_than=STALE_CLAIM)
    if others and (others := services.ledger.claim(context, frames)):
        frame, batch = next(iter(others.items()))
        raise ValidationFailed(
            f"{len(others)} of the {len(frames)} frames of batch {manifest.batch} are brought into the catalogue by "
            f"another run meanwhile, the first {frame} by batch {batch}. Run the ingestion again for the others."
        )
