"""Stage: S3 to HDFS, plain FITS, each byte accounted for."""

import hashlib
import io
import time
from dataclasses import replace
from typing import BinaryIO, cast

from kira.errors import ChecksumMismatch, StorageError
from kira.frames.crowding import bright_share
from kira.frames.integrity import unpack
from kira.ledger import Outcome, Record, Stage
from kira.stages import beside
from kira.stages.mirror import handed_over
from kira.stages.work import Attempt, Services, for_each_frame
from kira.storage import Entry, Manifest, Mirrored


def stage(services: Services, attempt: Attempt, manifest: Manifest, *, threads: int) -> Manifest:
    """Bring all frames of a batch to the staging store; those that are there stay untouched.

    What comes out of S3 is held against the SHA-256 of the download. The decompressed bytes are taken over from the
    mirror stage where it left them, else made here; they are read back from the store and held against their own
    SHA-256 before the rename that makes them visible.

    Parameters
    ----------
    services : Services
    attempt : Attempt
    manifest : Manifest
        Of the mirror stage.
    threads : int

    Returns
    -------
    Manifest
        The frames that are staged.
    """
    stage_beside = beside.staged(services)

    def work(entry: Entry) -> tuple[Entry, Record]:
        began = time.monotonic()
        facts = facts_of(entry)
        stage_beside(entry)
        if _is_there(services, entry.staged, facts):
            known = replace(entry, crowding=_crowding(services, entry.staged))
            return known, Record(entry.frame, Outcome.OK, again=True, size=facts.plain_size, seconds=0.0,
                                 sha256=facts.plain_sha256)  # fmt: skip
        packed = services.mirror.get(entry.key, facts.sha256)
        aside = handed_over(manifest, entry.frame, facts.plain_sha256)
        if not _is_there(services, aside, facts):
            services.store.write(aside, unpack(packed, entry.frame.file_name))
        content = _checked(services, aside, facts.plain_sha256)
        services.store.rename(aside, entry.staged, overwrite=True)
        known = replace(entry, crowding=bright_share(io.BytesIO(content)))
        return known, Record(entry.frame, Outcome.OK, size=facts.plain_size, sha256=facts.plain_sha256, checks=2,
                             seconds=time.monotonic() - began)  # fmt: skip

    return for_each_frame(services, attempt, manifest, Stage.STAGE, work, threads=threads)


def facts_of(entry: Entry) -> Mirrored:
    """What the mirror stage found out about a frame."""
    if entry.size is None or entry.sha256 is None or entry.plain_size is None or entry.plain_sha256 is None:
        raise ChecksumMismatch(f"{entry.frame} came to this stage without its SHA-256: run the mirror stage again.")
    return Mirrored(entry.size, entry.sha256, entry.plain_size, entry.plain_sha256)


def _is_there(services: Services, path: str, facts: Mirrored) -> bool:
    # Of the length alone one cannot tell that HDFS has lost the blocks; found done for ever, it would never come back.
    return services.store.size(path) == facts.plain_size and not services.store.is_lost(path)


def _crowding(services: Services, path: str) -> float | None:
    try:
        with services.store.open(path) as file:
            return bright_share(cast("BinaryIO", file))
    except StorageError:
        return None  # the extraction will say so of the frame; how dear it is does not matter then


def _checked(services: Services, path: str, sha256: str) -> bytes:
    content = services.store.read(path)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        services.store.delete(path)
        raise ChecksumMismatch(
            f"{services.store.uri(path)} reads back with SHA-256 {found} instead of {sha256}; it was removed."
        )
    return content
