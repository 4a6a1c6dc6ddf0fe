"""Mirror: archive to S3.

A frame is downloaded, its SHA-256 computed on the way, and decompressed to its end, which alone proves it whole. Only
then it goes to S3. Decompressing a frame costs more than anything else but extraction, so the plain FITS bytes are
handed over to the next stage, packed as they will be staged and aside in the staging store: it is never done twice.
"""

import hashlib
import logging
import time
from dataclasses import replace

from kira.frames.staged import SUFFIX, pack
from kira.frames.whole import fetch_whole
from kira.ledger import Outcome, Record, Stage
from kira.sdss import FrameId
from kira.sdss.archive import ArchiveClient
from kira.sdss.listing import differ
from kira.stages import beside
from kira.stages.work import Attempt, Services, for_each_frame
from kira.storage import Entry, Manifest, Mirrored

log = logging.getLogger(__name__)

_CHECKS = 3
"""Length, whole file by decompression, and SHA-256 by the S3 server."""


def mirror(
    services: Services, attempt: Attempt, client: ArchiveClient, manifest: Manifest, *, threads: int
) -> Manifest:
    """Bring all frames of a batch to S3; those that are there stay untouched.

    Parameters
    ----------
    services : Services
    attempt : Attempt
    client : ArchiveClient
    manifest : Manifest
        Of the plan.
    threads : int

    Returns
    -------
    Manifest
        The frames that are in the mirror, with sizes and SHA-256.
    """
    look_beside = beside.mirrored(services, client)

    def work(entry: Entry) -> tuple[Entry, Record]:
        began = time.monotonic()
        known = services.mirror.find(entry.key)
        if known is not None and entry.why == "lost":
            # It is there, and not as it was: what is not what it says it is goes, and is fetched by the next try.
            services.mirror.get(entry.key, known.sha256)
        # What the archive lists now is another file than the one in the mirror: by size, date or checksum.
        changed = known is not None and _changed(entry, known)
        if known is None or changed:
            before = known
            fetched, plain = fetch_whole(client, entry.frame, url=entry.url, sha1=entry.sha1)
            known = Mirrored(
                len(fetched.content), fetched.sha256, len(plain), hashlib.sha256(plain).hexdigest(), entry.listed
            )
            if changed and before is not None and before.sha256 != known.sha256:
                log.warning("%s has changed in the archive: it is mirrored and measured anew", entry.frame)
            if _other_bytes(entry, before, known):
                # Before the object is replaced: whoever is interrupted in between does all of this again.
                services.store.delete(entry.staged)
            source = {
                "source": fetched.url,
                "source-etag": fetched.etag or "",
                "source-date": fetched.last_modified or "",
            }
            # Handed over first: once the object is in S3, nobody will decompress the frame in this stage again.
            packed = pack(plain, entry.frame.pixel_bytes)
            services.store.write(handed_over(manifest, entry.frame, known.plain_sha256), packed)
            if not services.mirror.put(entry.key, fetched.content, known, source, overwrite=changed):
                # Another run was faster. What it stored is what the next stage will read.
                known = services.mirror.find(entry.key) or known
            record = Record(entry.frame, _outcome(entry, known), size=known.size, sha256=known.sha256,
                            checks=_CHECKS + bool(entry.sha1), seconds=time.monotonic() - began,
                            listed=entry.listed)  # fmt: skip
        else:
            record = Record(entry.frame, _outcome(entry, known), again=True, size=known.size, sha256=known.sha256,
                            seconds=0.0, listed=known.listed or entry.listed)  # fmt: skip
        facts = replace(
            entry,
            size=known.size,
            sha256=known.sha256,
            plain_size=known.plain_size,
            plain_sha256=known.plain_sha256,
        )
        return (look_beside(facts) if record.outcome.goes_on else facts), record

    return for_each_frame(services, attempt, manifest, Stage.MIRROR, work, threads=threads)


def _changed(entry: Entry, known: Mirrored) -> bool:
    # Of an object that was stored when nobody asked the listing, the plan knows better.
    return differ(known.listed, entry.listed) or (entry.why == "changed" and bool(entry.listed) and not known.listed)


def _other_bytes(entry: Entry, before: Mirrored | None, now: Mirrored) -> bool:
    """Whether a staged file may be of other bytes; its length alone does not tell."""
    if before is not None:
        return before.sha256 != now.sha256
    return entry.why == "lost" and entry.published != now.sha256


def handed_over(manifest: Manifest, frame: FrameId, plain_sha256: str) -> str:
    """Path of a frame, packed to be staged, on its way from this stage to the next, named by frame and content."""
    return f"{manifest.archive}/aside/{frame}-{plain_sha256[:16]}.fits{SUFFIX}"


def _outcome(entry: Entry, known: Mirrored) -> Outcome:
    return Outcome.SAME_BYTES if entry.published == known.sha256 else Outcome.OK
