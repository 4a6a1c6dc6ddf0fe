"""Publish: one rename. A reader sees the old catalogue or the new one."""

import json
import logging
from dataclasses import replace

from kira.errors import ValidationFailed
from kira.ledger import Context, Outcome, Stage
from kira.sdss import FrameId
from kira.stages.catalogue import clear_leavings, is_published, record_published, unclaimed_frames
from kira.stages.extraction import VALIDATION, Measured, read_outcomes
from kira.stages.replacing import replace_frames
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
        clear_leavings(store, manifest)
        return ""
    with services.ledger.attempt(context, Stage.PUBLISH, len(good)):
        if any(entry.replaces for entry in manifest.entries):
            return _replace(services, manifest, context, good)
        if not done_before:
            _rename(services, manifest, context, good)
        clear_leavings(store, manifest)
        # After the rename: the ledger must never say "published" of what no reader can see. If this is as far as it
        # gets, the next attempt, or the next plan, finds the folder in place and writes the same.
        record_published(services, context, good, again=done_before)
    log.info("batch %s: %d frames are published in %s", manifest.batch, len(good), store.uri(manifest.published))
    return store.uri(manifest.published)


def _refuse_unless_valid(services: Services, manifest: Manifest) -> None:
    report = f"{manifest.extracted}/{VALIDATION}"
    if not services.store.exists(report) or not json.loads(services.store.read(report))["ok"]:
        first = f", the first {manifest.entries[0].frame}" if manifest.entries else ""
        raise ValidationFailed(
            f"Batch {manifest.batch} ({len(manifest.entries)} frames{first}) was not validated as it is now: clear its "
            "validate task."
        )


def _replace(services: Services, manifest: Manifest, context: Context, good: list[Measured]) -> str:
    """Frames that changed in the archive: their rows are replaced where they are."""
    _refuse_unless_valid(services, manifest)
    store, uris = services.store, []
    holders = {str(entry.frame): entry.replaces for entry in manifest.entries}
    parts = sorted({one.part for one in good if one.part})
    contents = [store.read(f"{manifest.extracted}/{part}") for part in parts]
    for holder in sorted({holders[one.frame] or "" for one in good}):
        mine = [one for one in good if holders[one.frame] == holder]
        folder = replace(manifest, batch=holder).published
        with services.ledger.holding():
            if not store.exists(folder):
                raise ValidationFailed(
                    f"Batch {holder}, of which {mine[0].frame} is to be replaced, is not in the catalogue any more: "
                    "run the ingestion again."
                )
            replace_frames(store, manifest, folder, contents, mine)
        record_published(services, replace(context, batch=holder), mine, again=False)
        log.info("batch %s: %d frames of batch %s are replaced", manifest.batch, len(mine), holder)
        uris.append(store.uri(folder))
    clear_leavings(store, manifest)
    return uris[0]


def _rename(services: Services, manifest: Manifest, context: Context, good: list[Measured]) -> None:
    _refuse_unless_valid(services, manifest)
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
        services.store.clear_aside(manifest.extracted)
        services.store.rename(manifest.extracted, manifest.published)
