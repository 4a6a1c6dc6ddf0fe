"""What is in a catalogue: the folders that a reader sees decide, and the ledger is brought into line with them."""

import logging
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
    folder = catalogue_folder(archive, release, profile)
    told = services.ledger.published(archive, release, profile)
    frames: set[str] = set()
    for entry in services.store.listing(folder):
        if not entry.name.startswith(_BATCH):
            continue
        batch = entry.name.removeprefix(_BATCH)
        frames |= told[batch] if batch in told else _tell_ledger(services, f"{folder}/{entry.name}")
    return frames


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
