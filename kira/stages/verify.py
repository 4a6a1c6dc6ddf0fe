"""The proof that the mirror equals the archive: every mirrored byte is read again and compared; nothing is changed."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, IncompleteReadError, ResponseStreamingError

from kira.errors import ArchiveUnavailable, InvalidInput, NotInArchive, StorageError
from kira.sdss import FrameId, Selection, Service
from kira.sdss.archive import ArchiveClient
from kira.sdss.identifiers import frames_folder
from kira.sdss.listing import Folder, Listed, in_order
from kira.sdss.positions import FieldsByPlace
from kira.storage import S3Mirror

_CHUNK = 1024 * 1024
_MOST = 10_000  # findings that are told one by one; beyond that their number has to do

Progress = Callable[[int], None]
Place = tuple[int, int, int]
"""Run, rerun and camcol."""


class Verdict(StrEnum):
    """What a comparison of the mirror with the archive says of one frame."""

    EQUAL = "equal"
    """The mirror's bytes are those that it says it has, and those of the archive."""
    DIFFERS = "differs"
    """The mirror's bytes are whole, and the archive's are others."""
    DAMAGED = "damaged"
    """The mirror's bytes are not those that it says it has, or cannot be read."""
    UNREACHABLE = "unreachable"
    """The mirror's bytes are whole; the archive did not give its own to compare them with."""
    NOT_PROVEN = "not proven"
    """The mirror's bytes are whole; the archive publishes no checksum, and its bytes were not asked for."""
    NOT_MIRRORED = "in the archive, not in the mirror"
    GONE = "in the mirror, not in the archive any more"


COMPARED = (Verdict.EQUAL, Verdict.DIFFERS, Verdict.DAMAGED, Verdict.UNREACHABLE, Verdict.NOT_PROVEN)
"""Verdicts on frames that are on both sides."""
BAD = (Verdict.DIFFERS, Verdict.DAMAGED, Verdict.UNREACHABLE)
"""Verdicts with which nothing is proven."""


@dataclass(frozen=True)
class Finding:
    """One frame that is not simply equal.

    Parameters
    ----------
    frame : str
    verdict : Verdict
    mirror, archive : str
        Checksums of either side, `sha256:…` or `sha1:…`; of a damaged one, what was read and what was recorded.
    reason : str
        In words, where checksums do not say it.
    """

    frame: str
    verdict: Verdict
    mirror: str = ""
    archive: str = ""
    reason: str = ""


@dataclass
class Verification:
    """What a comparison found.

    Parameters
    ----------
    archive, selection : str
    counts : Counter of Verdict
        Frames; always complete.
    by_checksum, by_download : int
        Equal or different frames by how that was found out: published checksums, or bytes fetched again.
    bytes : int
        Read from the mirror.
    findings : list of Finding
        All but the equal ones, the first 10,000 of each verdict.
    """

    archive: str
    selection: str
    counts: Counter[Verdict] = field(default_factory=Counter)
    by_checksum: int = 0
    by_download: int = 0
    bytes: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def compared(self) -> int:
        """Frames that are on both sides."""
        return sum(self.counts[verdict] for verdict in COMPARED)

    @property
    def good(self) -> bool:
        """Whether no frame differs, is damaged, or could not be compared because the archive failed."""
        return not any(self.counts[verdict] for verdict in BAD)

    @property
    def sentence(self) -> str:
        """The result in one sentence."""
        parts = [f"{self.counts[Verdict.EQUAL]:,} of {self.compared:,} frames that are on both sides are equal"]
        parts += [f"{self.counts[v]:,} {v}" for v in Verdict if v is not Verdict.EQUAL and self.counts[v]]
        return "; ".join(parts) + "."

    def add(self, finding: Finding) -> None:
        """Count a frame, and keep what is to be said of it."""
        self.counts[finding.verdict] += 1
        if finding.verdict is not Verdict.EQUAL and self.counts[finding.verdict] <= _MOST:
            self.findings.append(finding)

    def as_json(self) -> dict[str, Any]:
        """Plain values for scripts."""
        return {
            "archive": self.archive, "selection": self.selection, "good": self.good, "compared": self.compared,
            "frames": {verdict.name.lower(): self.counts[verdict] for verdict in Verdict},
            "by_checksum": self.by_checksum, "by_download": self.by_download, "bytes": self.bytes,
            "findings": [asdict(f) | {"verdict": f.verdict.name.lower()} for f in self.findings],
        }  # fmt: skip


@dataclass(frozen=True)
class _Object:
    """What was read of an object of the mirror."""

    size: int
    recorded: str
    sha256: str
    sha1: str


class _DamagedError(Exception):
    """An object that is listed and cannot be read."""


def verify(
    mirror: S3Mirror,
    client: ArchiveClient,
    selection: Selection,
    *,
    threads: int = 4,
    from_checksums_only: bool = False,
    progress: Progress | None = None,
) -> Verification:
    """Compare what the mirror has of a selection with what the archive has now; reads only.

    Every object's bytes are held against the SHA-256 that was recorded when it was stored, and against the archive:
    by the published SHA-1 where there is one, else by fetching the file again.

    Parameters
    ----------
    mirror : S3Mirror
    client : ArchiveClient
    selection : Selection
    threads : int
        Frames at a time, each one in memory while it is compared.
    from_checksums_only : bool
        Fetch no frame from the archive: those without a published checksum are then not proven.
    progress : callable, optional
        Called with the number of frames done so far.

    Raises
    ------
    NotInArchive, ArchiveUnavailable, InvalidInput
        If the archive cannot be listed.
    StorageError
        If S3 does not answer.
    """
    result = Verification(client.archive.name, str(selection))
    work = _Comparison(mirror, client, selection, from_checksums_only)
    findings = in_order(lambda step: step(), work.steps(threads), threads)
    for done, (finding, size, downloaded) in enumerate(findings, 1):
        result.add(finding)
        result.bytes += size
        if finding.verdict in (Verdict.EQUAL, Verdict.DIFFERS):
            result.by_download += downloaded
            result.by_checksum += not downloaded
        if progress:
            progress(done)
    result.findings.sort(key=lambda f: (list(Verdict).index(f.verdict), f.frame))
    return result


_Result = tuple[Finding, int, bool]
"""A finding, bytes read of the mirror, and whether the archive's bytes were fetched."""


class _Comparison:
    """The comparison of one selection, folder by folder."""

    def __init__(
        self, mirror: S3Mirror, client: ArchiveClient, selection: Selection, from_checksums_only: bool
    ) -> None:
        self._mirror = mirror
        self._client = client
        self._selection = selection
        self._only_checksums = from_checksums_only
        self._prefix = f"{client.archive.name}/{selection.release.service}/"

    def steps(self, threads: int) -> Iterator[Callable[[], _Result]]:
        """One piece of work a frame, made as they are taken."""
        seen: set[Place] = set()
        fields = self._client.fields_in_sky(self._selection)
        for folder in self._client.folders(self._selection, threads=threads):
            place = folder.run, folder.rerun, folder.camcol
            seen.add(place)
            yield from self._of_folder(folder, self._mirrored(place, fields))
        # What the archive does not even have a folder of any more.
        for place in self._mirrored_places():
            if place not in seen:
                yield from (_finding(Finding(str(f), Verdict.GONE)) for f in sorted(self._mirrored(place, fields)))

    def _of_folder(self, folder: Folder, mirrored: set[FrameId]) -> Iterator[Callable[[], _Result]]:
        for listed in folder.listed:
            if listed.frame in mirrored:
                yield self._comparing(listed)
            else:
                yield _finding(Finding(str(listed.frame), Verdict.NOT_MIRRORED))
        gone = mirrored - {listed.frame for listed in folder.listed}
        yield from (_finding(Finding(str(frame), Verdict.GONE)) for frame in sorted(gone))

    def _comparing(self, listed: Listed) -> Callable[[], _Result]:
        return lambda: self._compare(listed)

    def _compare(self, listed: Listed) -> _Result:
        name = str(listed.frame)
        try:
            there = self._read(self._prefix + listed.frame.archive_path)
        except _DamagedError as error:
            return Finding(name, Verdict.DAMAGED, reason=str(error)), 0, False
        found = f"sha256:{there.sha256}"
        if there.sha256 != there.recorded:
            reason = "" if there.recorded else "the object carries no SHA-256: it was not mirrored by Kira"
            recorded = f"recorded sha256:{there.recorded}" if there.recorded else ""
            return Finding(name, Verdict.DAMAGED, found, recorded, reason), there.size, False
        if listed.sha1:
            verdict = Verdict.EQUAL if there.sha1 == listed.sha1 else Verdict.DIFFERS
            return Finding(name, verdict, f"sha1:{there.sha1}", f"sha1:{listed.sha1}"), there.size, False
        if self._only_checksums:
            return Finding(name, Verdict.NOT_PROVEN, found), there.size, False
        return self._fetch_and_compare(listed.frame, there), there.size, True

    def _fetch_and_compare(self, frame: FrameId, there: _Object) -> Finding:
        found = f"sha256:{there.sha256}"
        try:
            archived = self._client.download(frame).sha256
        except NotInArchive as error:
            return Finding(str(frame), Verdict.GONE, found, reason=str(error))
        except ArchiveUnavailable as error:
            return Finding(str(frame), Verdict.UNREACHABLE, found, reason=str(error))
        verdict = Verdict.EQUAL if archived == there.sha256 else Verdict.DIFFERS
        return Finding(str(frame), verdict, found, f"sha256:{archived}")

    def _read(self, key: str) -> _Object:
        """Read an object a piece at a time; `S3Mirror.get` would remove a damaged one."""
        where = f"s3://{self._mirror.bucket}/{key}"
        sha256, sha1, size = hashlib.sha256(), hashlib.sha1(usedforsecurity=False), 0
        try:
            answer = self._mirror.client.get_object(Bucket=self._mirror.bucket, Key=key)
            with closing(answer["Body"]) as body:
                for chunk in body.iter_chunks(_CHUNK):
                    sha256.update(chunk)
                    sha1.update(chunk)
                    size += len(chunk)
        except (IncompleteReadError, ResponseStreamingError) as error:
            raise _DamagedError(f"{where} is cut short: {error}") from error
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status in (401, 403):
                raise _storage_error("read", where, error) from error
            raise _DamagedError(f"{where} is listed and cannot be read: {error}") from error
        except BotoCoreError as error:
            raise _storage_error("read", where, error) from error
        return _Object(size, answer["Metadata"].get("sha256", ""), sha256.hexdigest(), sha1.hexdigest())

    def _mirrored(self, place: Place, fields: FieldsByPlace | None) -> set[FrameId]:
        """Frames of the selection that the mirror has in one folder."""
        run, rerun, camcol = place
        release = self._selection.release
        prefix = f"{self._prefix}{frames_folder(release, run, rerun, camcol)}/"
        in_sky = None if fields is None else fields.get((run, camcol), frozenset())
        frames = set()
        for page in self._pages(prefix):
            for item in page.get("Contents", ()):
                name = item["Key"].removeprefix(prefix)
                try:
                    frame = FrameId.from_file_name(name, release, rerun)
                except InvalidInput:
                    continue
                if frame.file_name == name and frame in self._selection and (in_sky is None or frame.field in in_sky):
                    frames.add(frame)
        return frames

    def _mirrored_places(self) -> Iterator[Place]:
        """Folders of the selection that the mirror has frames in, in order."""
        release = self._selection.release
        root = f"{self._prefix}{release.frames_root}/"
        if release.service is Service.SAS:
            for rerun in self._numbers(root):
                for run in (r for r in self._numbers(f"{root}{rerun}/") if r in self._selection.runs):
                    camcols = self._numbers(f"{root}{rerun}/{run}/")
                    yield from ((run, rerun, camcol) for camcol in camcols if camcol in self._selection.camcols)
            return
        for run in (r for r in self._numbers(root) if r in self._selection.runs):
            for rerun in (r for r in self._numbers(f"{root}{run}/") if r in release.reruns):
                camcols = self._numbers(f"{root}{run}/{rerun}/corr/")
                yield from ((run, rerun, camcol) for camcol in camcols if camcol in self._selection.camcols)

    def _numbers(self, prefix: str) -> list[int]:
        pages = self._pages(prefix, Delimiter="/")
        names = [p["Prefix"][len(prefix) : -1] for page in pages for p in page.get("CommonPrefixes", ())]
        return sorted(int(name) for name in names if re.fullmatch(r"[1-9]\d{0,5}", name, re.ASCII))

    def _pages(self, prefix: str, **more: str) -> Iterator[dict[str, Any]]:
        paginator = self._mirror.client.get_paginator("list_objects_v2")
        try:
            yield from paginator.paginate(Bucket=self._mirror.bucket, Prefix=prefix, **more)
        except (ClientError, BotoCoreError) as error:
            raise _storage_error("list", f"s3://{self._mirror.bucket}/{prefix}", error) from error


def _finding(finding: Finding) -> Callable[[], _Result]:
    return lambda: (finding, 0, False)


def _storage_error(what: str, where: str, error: Exception) -> StorageError:
    return StorageError(f"S3 could not {what} {where}: {error}")
