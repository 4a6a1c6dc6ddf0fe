"""Mirror: archive to S3.

A frame is downloaded, its SHA-256 computed on the way, and decompressed to its end, which alone proves it whole. Only
then it goes to S3. Decompressing a frame costs more than anything else but extraction, so the plain FITS bytes are
handed over to the next stage, aside in the staging store, and it is never done twice.
"""

import hashlib
import logging
import time
from dataclasses import replace

from kira.errors import ArchiveUnavailable, CorruptUpstream
from kira.frames.integrity import unpack
from kira.ledger import Outcome, Record, Stage
from kira.sdss import FrameId
from kira.sdss.archive import ArchiveClient, Download
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

    def work(entry: Entry) -> tuple[Entry, Record]:
        began = time.monotonic()
        known = services.mirror.find(entry.key)
        if known is None:
            fetched, plain = _fetch_whole(client, entry)
            known = Mirrored(len(fetched.content), fetched.sha256, len(plain), hashlib.sha256(plain).hexdigest())
            source = {
                "source": fetched.url,
                "source-etag": fetched.etag or "",
                "source-date": fetched.last_modified or "",
            }
            # Handed over first: once the object is in S3, nobody will decompress the frame in this stage again.
            services.store.write(handed_over(manifest, entry.frame, known.plain_sha256), plain)
            if not services.mirror.put(entry.key, fetched.content, known, source):
                # Another run was faster. What it stored is what the next stage will read.
                known = services.mirror.find(entry.key) or known
            record = Record(entry.frame, Outcome.OK, size=known.size, sha256=known.sha256, checks=_CHECKS,
                            seconds=time.monotonic() - began)  # fmt: skip
        else:
            record = Record(entry.frame, Outcome.OK, again=True, size=known.size, sha256=known.sha256, seconds=0.0)
        facts = replace(
            entry, size=known.size, sha256=known.sha256, plain_size=known.plain_size, plain_sha256=known.plain_sha256
        )
        return facts, record

    return for_each_frame(services, attempt, manifest, Stage.MIRROR, work, threads=threads)


def handed_over(manifest: Manifest, frame: FrameId, plain_sha256: str) -> str:
    """Path of decompressed bytes on their way from this stage to the next, named by frame and content."""
    return f"{manifest.archive}/aside/{frame}-{plain_sha256[:16]}.fits"


def _fetch_whole(client: ArchiveClient, entry: Entry) -> tuple[Download, bytes]:
    # A damaged file is fetched once more: if it comes out the same, it is the archive's copy that is damaged.
    first = client.download(entry.frame, url=entry.url)
    try:
        return first, unpack(first.content, entry.frame.file_name)
    except CorruptUpstream as error:
        second = client.download(entry.frame, url=entry.url)
        if second.sha256 == first.sha256:
            raise CorruptUpstream(f"{error} (fetched twice from {entry.url}, SHA-256 {first.sha256})") from error
        log.warning("%s came damaged and was fetched again", entry.frame)
        return second, _unpack_second(second, entry)


def _unpack_second(second: Download, entry: Entry) -> bytes:
    try:
        return unpack(second.content, entry.frame.file_name)
    except CorruptUpstream as error:
        # Two answers that differ are no file of the archive's: a page that says "back soon", or a bad line.
        raise ArchiveUnavailable(f"{entry.url} was fetched twice and came damaged in two ways: {error}") from error
