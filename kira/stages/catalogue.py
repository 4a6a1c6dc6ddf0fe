"""What is in a catalogue: the folders that a reader sees decide, and the ledger is brought into line with them."""

import logging
from collections.abc import Iterator
from dataclasses import replace

from kira.ledger import Context, Outcome, Record, Stage
from kira.sdss import FrameId
from kira.stages.extraction import MANIFEST, Measured, read_outcomes
from kira.stages.work import Services
from kira.storage import Manifest, Store, catalogue_folder

log = logging.getLogger(__name__)

_BATCH = "batch="


def bring_into_line(services: Services, archive: str, release: str, profile: str) -> None:
    """Bring the ledger into line with what readers of the staging store see in a catalogue.

    A folder that the ledger does not know (its run was killed between the rename and the record, or the ledger was
    lost) is told to it. What the ledger says of folders that are not there (another staging store, a catalogue that
    was removed) does not count any more.
    """
    catalogue = services.ledger.catalogue(archive, release, profile)
    told = services.ledger.published_batches(catalogue)
    there = dict(folders(services.store, archive, release, profile))
    for batch in sorted(told - there.keys()):
        frames = services.ledger.unpublish(catalogue, batch)
        log.warning("batch %s is not in the catalogue any more: its %d frames wait again", batch, frames)
    for batch in sorted(there.keys() - told):
        _tell_ledger(services, there[batch])


def unclaimed_frames(services: Services, context: Context) -> dict[str, str]:
    """Frames that readers see in other batches' folders for which there is no claim, with the batch.

    A run that was killed between its rename and the end of its claim leaves such a folder. Nothing is written, so that
    this can be asked while claiming.
    """
    claimed = services.ledger.claimed(context, services.store.url) | {context.batch}
    return {
        one.frame: batch
        for batch, folder in folders(services.store, context.archive, context.release, context.profile)
        if batch not in claimed
        for one in read_outcomes(services.store, folder) if Outcome(one.outcome).good
    }  # fmt: skip


def folders(store: Store, archive: str, release: str, profile: str) -> Iterator[tuple[str, str]]:
    """Batches of a catalogue that a reader sees, and their folders."""
    root = catalogue_folder(archive, release, profile)
    for entry in store.listing(root):
        if entry.name.startswith(_BATCH):
            yield entry.name.removeprefix(_BATCH), f"{root}/{entry.name}"


def _tell_ledger(services: Services, folder: str) -> None:
    manifest = Manifest.load(services.store, services.store.uri(f"{folder}/{MANIFEST}"))
    good = [one for one in read_outcomes(services.store, folder) if Outcome(one.outcome).good]
    log.warning("batch %s is published, and the ledger did not know: mended", manifest.batch)
    context = Context(manifest.batch, manifest.archive, manifest.release, manifest.profile, manifest.run)
    frames = [FrameId.parse(one.frame) for one in good]
    with services.ledger.claiming(
        context, services.store.url, frames, lambda batch: is_published(services, manifest, batch)
    ):
        pass  # the folder is there already: this is for runs to come
    clear_leavings(services.store, manifest)
    record_published(services, context, good, again=True)


def clear_leavings(store: Store, manifest: Manifest) -> None:
    """Remove what tasks that were killed, or cut off from the store, left of a batch that is done.

    That is what they wrote aside and could not rename, and decompressed frames that nobody took over. To be done before
    the ledger is told that the batch is published: from then on nobody comes back to it.
    """
    store.clear_aside(manifest.folder)
    planned = manifest.after(Stage.PLAN, ())
    if store.exists(planned.path):
        planned = Manifest.load(store, store.uri(planned.path))
    mine = {str(entry.frame) for entry in (*planned.entries, *manifest.entries)}
    folder = f"{manifest.archive}/aside"
    for entry in store.listing(folder):
        if entry.name.partition(".fits.")[0].rpartition("-")[0] in mine:
            store.delete(f"{folder}/{entry.name}")


def is_published(services: Services, manifest: Manifest, batch: str) -> bool:
    """Whether another batch of the same catalogue is there."""
    return services.store.exists(replace(manifest, batch=batch).published)


def record_published(services: Services, context: Context, good: list[Measured], *, again: bool) -> None:
    """Tell the ledger what a published folder holds."""
    services.ledger.record(context, Stage.PUBLISH, (
        Record(FrameId.parse(one.frame), Outcome(one.outcome), sources=one.sources, again=again) for one in good
    ))  # fmt: skip
