"""What is in a catalogue: the folders that a reader sees decide, and the ledger is brought into line with them."""

import logging
from collections.abc import Iterator
from dataclasses import replace

from kira.ledger import Context, Outcome, Record, Stage
from kira.sdss import FrameId
from kira.stages.extraction import MANIFEST, Measured, read_outcomes
from kira.stages.work import Services
from kira.storage import Manifest, catalogue_folder

log = logging.getLogger(__name__)

_BATCH = "batch="


def published_frames(services: Services, archive: str, release: str, profile: str) -> set[str]:
    """Frames that readers of the staging store see in a catalogue, as text.

    A folder that the ledger does not know (its run was killed between the rename and the record, or the ledger was
    lost) is told to it. What the ledger says of folders that are not there (another staging store, a catalogue that
    was removed) does not count.
    """
    told = services.ledger.published(archive, release, profile)
    frames: set[str] = set()
    for batch, folder in _folders(services, archive, release, profile):
        frames |= told[batch] if batch in told else _tell_ledger(services, folder)
    return frames


def unclaimed_frames(services: Services, context: Context) -> dict[str, str]:
    """Frames that readers see in other batches' folders for which there is no claim, with the batch.

    A run that was killed between its rename and the end of its claim leaves such a folder. Nothing is written, so that
    this can be asked while claiming.
    """
    claimed = services.ledger.claimed(context, services.store.url) | {context.batch}
    return {
        one.frame: batch
        for batch, folder in _folders(services, context.archive, context.release, context.profile)
        if batch not in claimed
        for one in read_outcomes(services.store, folder) if Outcome(one.outcome).good
    }  # fmt: skip


def _folders(services: Services, archive: str, release: str, profile: str) -> Iterator[tuple[str, str]]:
    root = catalogue_folder(archive, release, profile)
    for entry in services.store.listing(root):
        if entry.name.startswith(_BATCH):
            yield entry.name.removeprefix(_BATCH), f"{root}/{entry.name}"


def _tell_ledger(services: Services, folder: str) -> set[str]:
    manifest = Manifest.load(services.store, services.store.uri(f"{folder}/{MANIFEST}"))
    good = [one for one in read_outcomes(services.store, folder) if Outcome(one.outcome).good]
    log.warning("batch %s is published, and the ledger did not know: mended", manifest.batch)
    context = Context(manifest.batch, manifest.archive, manifest.release, manifest.profile, manifest.run)
    frames = [FrameId.parse(one.frame) for one in good]
    with services.ledger.claiming(
        context, services.store.url, frames, lambda batch: is_published(services, manifest, batch)
    ):
        pass  # the folder is there already: this is for runs to come
    record_published(services, context, good, again=True)
    return {one.frame for one in good}


def is_published(services: Services, manifest: Manifest, batch: str) -> bool:
    """Whether another batch of the same catalogue is there."""
    return services.store.exists(replace(manifest, batch=batch).published)


def record_published(services: Services, context: Context, good: list[Measured], *, again: bool) -> None:
    """Tell the ledger what a published folder holds."""
    services.ledger.record(context, Stage.PUBLISH, (
        Record(FrameId.parse(one.frame), Outcome.OK, sources=one.sources, again=again) for one in good
    ))  # fmt: skip
