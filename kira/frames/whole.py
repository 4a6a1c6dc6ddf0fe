"""Fetch a frame, or a file beside it, from the archive until it is proven whole, or it is known that it cannot be."""

import hashlib
import logging
from collections.abc import Callable

from kira.errors import ArchiveUnavailable, ChecksumMismatch, CorruptUpstream
from kira.frames.integrity import unpack
from kira.sdss import FrameId
from kira.sdss.archive import ArchiveClient, Download

log = logging.getLogger(__name__)


def fetch_whole(
    client: ArchiveClient, frame: FrameId, *, url: str | None = None, sha1: str = ""
) -> tuple[Download, bytes]:
    """Fetch a frame and decompress it to its end, once more if it came damaged.

    Parameters
    ----------
    client : ArchiveClient
    frame : FrameId
    url : str, optional
        Where it lies, if not where the archive has it by its layout.
    sha1 : str, optional
        As the archive publishes it.

    Returns
    -------
    download : Download
    plain : bytes
        The FITS file.

    Raises
    ------
    NotInArchive
        If the archive does not have it.
    ArchiveUnavailable
        If the archive does not answer, or twice with damaged files that differ.
    CorruptUpstream
        If the archive's own file is damaged: it came out the same twice.
    ChecksumMismatch
        If it is not the file that the archive's checksum speaks of.
    """
    first = _download(client, frame, url, sha1)
    try:
        return first, unpack(first.content, frame.file_name)
    except CorruptUpstream as error:
        second = client.download(frame, url=url)
        if second.sha256 == first.sha256:
            raise CorruptUpstream(f"{error} (fetched twice from {first.url}, SHA-256 {first.sha256})") from error
        log.warning("%s came damaged and was fetched again", frame)
        return second, _unpack_second(second, frame)


def fetch_beside(
    client: ArchiveClient, frame: FrameId, url: str, plain_of: Callable[[bytes], bytes]
) -> tuple[Download, bytes]:
    """Fetch a file that lies beside a frame, once more if it came damaged.

    Parameters
    ----------
    client : ArchiveClient
    frame : FrameId
        For which it is fetched.
    url : str
    plain_of : callable
        From the archive's file to what is in it; CorruptUpstream if it is damaged.

    Returns
    -------
    download : Download
    plain : bytes

    Raises
    ------
    NotInArchive
        If the archive does not have it.
    ArchiveUnavailable
        If the archive does not answer, or twice with damaged files that differ.
    CorruptUpstream
        If the archive's own file is damaged: it came out the same twice.
    """
    first = client.download(frame, url=url)
    try:
        return first, plain_of(first.content)
    except CorruptUpstream:
        # Once more: if it comes out the same, it is the archive's copy that is damaged.
        second = client.download(frame, url=url)
        try:
            return second, plain_of(second.content)
        except CorruptUpstream as error:
            if second.sha256 == first.sha256:
                raise
            raise ArchiveUnavailable(f"{url} was fetched twice and came damaged in two ways: {error}") from error


def _download(client: ArchiveClient, frame: FrameId, url: str | None, sha1: str) -> Download:
    """Fetch a file, and once more if it is not the one that the archive's checksum file speaks of."""
    for _ in range(2):
        fetched = client.download(frame, url=url)
        if not sha1:
            return fetched
        found = hashlib.sha1(fetched.content, usedforsecurity=False).hexdigest()
        if found == sha1:
            return fetched
        log.warning("%s came with SHA-1 %s, and the archive says %s", fetched.url, found, sha1)
    raise ChecksumMismatch(
        f"{fetched.url} was fetched twice and came with SHA-1 {found}, where the archive's own checksum file says "
        f"{sha1}."
    )


def _unpack_second(second: Download, frame: FrameId) -> bytes:
    try:
        return unpack(second.content, frame.file_name)
    except CorruptUpstream as error:
        # Two answers that differ are no file of the archive's: a page that says "back soon", or a bad line.
        raise ArchiveUnavailable(f"{second.url} was fetched twice and came damaged in two ways: {error}") from error
