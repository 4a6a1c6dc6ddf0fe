"""What lies beside the frames of a batch: planned with them, mirrored, staged, and given to extraction and validation.

Most of it is of a whole field, so that five frames share a file: in a batch each file is fetched and staged once. A
frame is good without what is not there. But what is there and could not be had just now is waited for: a catalogue
must not depend on the archive's mood.
"""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from threading import Lock
from typing import Generic, TypeVar

from kira.errors import ArchiveUnavailable, ChecksumMismatch, CorruptUpstream, NotInArchive
from kira.frames import Companions, unpack
from kira.frames.whole import fetch_beside
from kira.sdss import FrameId
from kira.sdss.archive import Archive, ArchiveClient, Download
from kira.sdss.beside import Kind, path_beside
from kira.stages.work import Services
from kira.storage import Beside, Entry, Mirrored

log = logging.getLogger(__name__)

REFERENCE_EVERY = 10
"""Of the fields of a run's camera column, one in so many is held against a reference: they share their calibration."""
_K = TypeVar("_K")
_V = TypeVar("_V")


class Once(Generic[_K, _V]):
    """Does something once for each key, however many threads ask; all get the value, or the exception."""

    def __init__(self, work: Callable[[_K], _V]) -> None:
        self._work = work
        self._done: dict[_K, Future[_V]] = {}
        self._lock = Lock()

    def __call__(self, key: _K) -> _V:
        """Value for a key."""
        with self._lock:
            mine = key not in self._done
            future = self._done.setdefault(key, Future())
        if mine:
            try:
                future.set_result(self._work(key))
            except BaseException as error:  # noqa: BLE001 - raised below, and for all who wait
                future.set_exception(error)
        return future.result()


# -- plan


def fields_with_reference(frames: Iterable[FrameId], every: int) -> set[tuple[int, int, int]]:
    """Run, camcol and field of those whose references are fetched.

    Parameters
    ----------
    frames : iterable of FrameId
        Of a batch.
    every : int
        One field in so many of each run's camera column, the first included; 0 for none.
    """
    columns = defaultdict[tuple[int, int], set[int]](set)
    for frame in frames:
        columns[frame.run, frame.camcol].add(frame.field)
    return {(*column, field) for column, fields in columns.items() for field in sorted(fields)[:: every or len(fields)]
            if every}  # fmt: skip


def wanted(archive: Archive, frame: FrameId, kinds: Iterable[Kind]) -> tuple[Beside, ...]:
    """Files of some kinds beside a frame, as far as the archive can have them.

    Parameters
    ----------
    archive : Archive
    frame : FrameId
    kinds : iterable of Kind
    """
    found = []
    for kind in kinds:
        path = path_beside(frame, kind)
        base, below = (archive.truth, "truth") if kind is Kind.TRUTH else (archive.base(frame.release),
                                                                          str(frame.release.service))  # fmt: skip
        if path is None or not base:
            continue
        staged = "" if kind.is_reference else f"{archive.name}/beside/{below}/{path.removesuffix('.gz')}"
        found.append(Beside(str(kind), f"{base}/{path}", f"{archive.name}/{below}/{path}", staged))
    return tuple(found)


# -- mirror


def mirrored(services: Services, client: ArchiveClient) -> Callable[[Entry], Entry]:
    """Make what brings the files beside an entry's frame to S3, each once for a batch.

    Returns
    -------
    callable
        From an entry to the same with what is known now of what lies beside it. A file that is not in the archive, or
        damaged there, is marked as missing, with the reason; a reference also where it cannot be had just now, for no
        number depends on it. ArchiveUnavailable and StorageError are raised.
    """
    once = Once[tuple[FrameId, Beside, bool], Beside](lambda key: _mirror(services, client, *key))
    first: dict[str, FrameId] = {}

    def all_of(entry: Entry) -> Entry:
        # A frame that the archive has anew may have come with a calibration that is new too.
        anew = entry.why in ("changed", "lost")
        # By the first frame that asks: the frame is no part of what is asked.
        beside = (once((first.setdefault(one.key, entry.frame), one, anew)) for one in entry.beside)
        return replace(entry, beside=tuple(beside))

    return all_of


def _mirror(services: Services, client: ArchiveClient, frame: FrameId, one: Beside, anew: bool) -> Beside:
    known, missing = services.mirror.find(one.key), ""
    if known is None or anew:
        try:
            known = _fetch(services, client, frame, one, known)
        except NotInArchive:
            missing = f"{_name(one)} is not in the archive."
        except CorruptUpstream as error:
            log.warning("%s: damaged in the archive: %s", one.url, error)
            missing = f"{_name(one)} is damaged in the archive: {error}"
        except ArchiveUnavailable as error:
            if not Kind(one.kind).is_reference:
                raise
            log.warning("%s: done without: %s", one.url, error)
            missing = f"{_name(one)} could not be had: {error}"
    if known is None:
        return replace(one, missing=missing)
    # What the archive has no more, or damaged by now, is as it was.
    return replace(
        one, size=known.size, sha256=known.sha256, plain_size=known.plain_size, plain_sha256=known.plain_sha256
    )


def _fetch(services: Services, client: ArchiveClient, frame: FrameId, one: Beside, before: Mirrored | None) -> Mirrored:
    fetched, plain = _fetch_whole(client, frame, one)
    if before is not None and before.sha256 == fetched.sha256:
        return before
    known = Mirrored(len(fetched.content), fetched.sha256, len(plain), hashlib.sha256(plain).hexdigest())
    source = {"source": fetched.url, "source-etag": fetched.etag or "", "source-date": fetched.last_modified or ""}
    if before is not None and one.staged:
        # Before the object is replaced: by its length alone the next stage may not tell that it is another.
        services.store.delete(one.staged)
    if services.mirror.put(one.key, fetched.content, known, source, overwrite=before is not None):
        return known
    return services.mirror.find(one.key) or known  # another run was faster


def _fetch_whole(client: ArchiveClient, frame: FrameId, one: Beside) -> tuple[Download, bytes]:
    return fetch_beside(client, frame, one.url, partial(_plain, one))


def _plain(one: Beside, content: bytes) -> bytes:
    if one.kind != Kind.TRUTH:
        return unpack(content, one.key)
    if not (content.startswith(b"PAR1") and content.endswith(b"PAR1")):
        raise CorruptUpstream(f"{_name(one)}: not a whole Parquet file.")
    return content


def _name(one: Beside) -> str:
    return one.key.rpartition("/")[2]


# -- stage


def staged(services: Services) -> Callable[[Entry], None]:
    """Make what brings the files beside an entry's frame to the staging store, each once for a batch.

    Returns
    -------
    callable
        Takes an entry. ChecksumMismatch and StorageError are raised.
    """
    once = Once[Beside, None](lambda one: _stage(services, one))

    def all_of(entry: Entry) -> None:
        for one in entry.beside:
            if one.staged and not one.missing:
                once(one)

    return all_of


def _stage(services: Services, one: Beside) -> None:
    store = services.store
    if store.size(one.staged) == one.plain_size and not store.is_lost(one.staged):
        return
    packed = services.mirror.get(one.key, _known(one.sha256, one))
    store.write(one.staged, unpack(packed, one.key))
    found = hashlib.sha256(store.read(one.staged)).hexdigest()
    if found != one.plain_sha256:
        store.delete(one.staged)
        raise ChecksumMismatch(
            f"{store.uri(one.staged)} reads back with SHA-256 {found} instead of {one.plain_sha256}; it was removed."
        )


def _known(sha256: str | None, one: Beside) -> str:
    if sha256 is None:
        raise ChecksumMismatch(f"{_name(one)} came to this stage without its SHA-256: run the mirror stage again.")
    return sha256


# -- extract


def companions_of(entry: Entry, read: Callable[[str, str], bytes]) -> Companions:
    """What extraction is given beside a frame.

    Parameters
    ----------
    entry : Entry
        Of the stage stage.
    read : callable
        From the path of a staged file and its SHA-256 to its content.
    """
    contents: Mapping[str, bytes] = {
        one.kind: read(one.staged, _known(one.plain_sha256, one))
        for one in entry.beside
        if one.staged and not one.missing
    }
    return Companions(contents.get(Kind.TSFIELD), contents.get(Kind.PSFIELD), contents.get(Kind.FPM))


def missing_of(entry: Entry) -> list[str]:
    """Sentences about what extraction would have been given beside a frame, and was not."""
    return [one.missing for one in entry.beside if one.missing and one.staged]
