"""Stage: S3 to HDFS, packed so that reading costs little, each byte accounted for."""

import hashlib
import io
import time
from contextlib import suppress
from dataclasses import replace

from kira.errors import ChecksumMismatch, InvalidInput, StorageError
from kira.frames.crowding import bright_share
from kira.frames.integrity import unpack
from kira.frames.staged import HEAD_BYTES, is_whole, pack, plain_of
from kira.ledger import Outcome, Record, Stage
from kira.sdss import FrameId
from kira.stages import beside
from kira.stages.mirror import handed_over
from kira.stages.work import Attempt, Services, for_each_frame
from kira.storage import Entry, Manifest, Mirrored


def stage(services: Services, attempt: Attempt, manifest: Manifest, *, threads: int) -> Manifest:
    """Bring all frames of a batch to the staging store; those that are there stay untouched.

    What comes out of S3 is held against the SHA-256 of the download. The packed frame is taken over from the mirror
    stage where it left it, else made here; it is read back from the store, unpacked, and held against the SHA-256 of
    the decompressed bytes before the rename that makes it visible. The SHA-256 of the packed bytes, which extraction
    holds its own reading against, is taken at the same time.

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
    before = _before(services, manifest)

    def work(entry: Entry) -> tuple[Entry, Record]:
        began = time.monotonic()
        facts = facts_of(entry)
        stage_beside(entry)
        if _is_there(services, entry.staged, facts):
            # What another batch staged is looked into; damaged, it goes, and the next try stages it anew.
            known = before.get(entry.frame) or _checked(services, entry.staged, entry)
            known = replace(entry, crowding=known.crowding, staged_sha256=known.staged_sha256)
            return known, Record(entry.frame, Outcome.OK, again=True, size=facts.plain_size, seconds=0.0,
                                 sha256=facts.plain_sha256)  # fmt: skip
        packed = services.mirror.get(entry.key, facts.sha256)
        aside = handed_over(manifest, entry.frame, facts.plain_sha256)
        if not _is_there(services, aside, facts):
            plain = unpack(packed, entry.frame.file_name)
            services.store.write(aside, pack(plain, entry.frame.pixel_bytes))
        known = _checked(services, aside, entry)
        services.store.rename(aside, entry.staged, overwrite=True)
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
    try:
        with services.store.open(path) as file:
            return is_whole(file.read(HEAD_BYTES), file.size, facts.plain_size)
    except StorageError:
        return False


def _before(services: Services, manifest: Manifest) -> dict[FrameId, Entry]:
    """What this stage has found out when it staged the batch before."""
    path = manifest.after(Stage.STAGE, ()).path
    if not services.store.exists(path):
        return {}
    asked = {entry.frame: entry.plain_sha256 for entry in manifest.entries}
    try:
        entries = Manifest.load(services.store, services.store.uri(path)).entries
    except InvalidInput:
        return {}  # written by another version: found out again
    return {one.frame: one for one in entries if one.staged_sha256 and asked.get(one.frame) == one.plain_sha256}


def _checked(services: Services, path: str, entry: Entry) -> Entry:
    plain = content = services.store.read(path)
    with suppress(ChecksumMismatch):  # as it is, it has another SHA-256
        plain = plain_of(content, path)
    found = hashlib.sha256(plain).hexdigest()
    if found != entry.plain_sha256:
        services.store.delete(path)
        raise ChecksumMismatch(
            f"{services.store.uri(path)} reads back with SHA-256 {found} instead of {entry.plain_sha256}; it was "
            "removed."
        )
    return replace(entry, crowding=bright_share(io.BytesIO(plain)), staged_sha256=hashlib.sha256(content).hexdigest())
