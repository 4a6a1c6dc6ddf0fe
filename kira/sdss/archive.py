"""The SDSS archives over HTTP: what they hold, and the bytes of one frame.

A frame arrives whole or not at all: cut connections are taken up where they broke, a changed file is begun anew, and
lengths are compared. Whether the bytes are a frame is not judged here; the integrity check does that.
"""

import logging
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Lock
from types import TracebackType
from typing import Self
from urllib.parse import quote

from kira.errors import ArchiveUnavailable, InvalidInput, NotInArchive
from kira.sdss.fetcher import Fetcher
from kira.sdss.identifiers import FrameId, frames_folder
from kira.sdss.index_page import IndexEntry
from kira.sdss.listing import ExpectedFolder, Folder, Listed, in_order, read_checksums
from kira.sdss.positions import FieldPositions, FieldsByPlace
from kira.sdss.quoting import quoted
from kira.sdss.releases import ALL_RELEASES, Release, Service
from kira.sdss.runlist import folders_from_run_list, read_run_list
from kira.sdss.selection import Numbers, Selection
from kira.sdss.transfer import RemoteFile
from kira.sdss.urls import checked_url

__all__ = ["NAME_PATTERN", "SDSS", "Archive", "ArchiveClient", "Download", "RemoteFile"]

NAME_PATTERN = r"[a-z0-9][a-z0-9-]{0,39}"
"""What an archive may be called: the name becomes part of S3 keys and HDFS paths."""

_DIRECT = 50  # Up to so many folders are asked for by name; for more it is cheaper to list what is there.
_CHECKSUMS = ".sha1sum"
_MIB = 1024 * 1024
_FIELD_LIST_BYTES = 4096 * _MIB  # that of SDSS has 336 MB
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Archive:
    """Where the two archives of SDSS, or a copy of them, are served.

    Parameters
    ----------
    name : str
        Lower-case letters, digits and hyphens, at most 40: it becomes part of S3 keys and HDFS paths.
    das, sas : str
        Base URLs of the layout up to DR7 and from DR8; `http` or `https`.
    truth : str
        Base URL of what is really there, which only an archive of synthetic frames has.

    Raises
    ------
    InvalidInput
        If the name or a URL is not of that form.
    """

    name: str
    das: str
    sas: str
    truth: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(NAME_PATTERN, self.name, re.ASCII):
            raise InvalidInput(f"{quoted(self.name)} cannot name an archive; use up to 40 of a-z, 0-9 and '-'.")
        for base in (*Service, *(("truth",) if self.truth else ())):
            checked = checked_url(getattr(self, base), f"archive {self.name}, {base}")
            if set(checked) & set("?#"):
                raise InvalidInput(
                    f"archive {self.name}, {base}: {quoted(checked)} is a base URL; no '?' or '#' in it."
                )
            object.__setattr__(self, base, checked.rstrip("/"))

    def base(self, release: Release) -> str:
        """Base URL of the archive that holds a release, without a slash at its end."""
        return self.das if release.service is Service.DAS else self.sas

    def url(self, frame: FrameId) -> str:
        """URL of a frame."""
        return f"{self.base(frame.release)}/{frame.archive_path}"


SDSS = Archive("sdss", das="http://das.sdss.org", sas="https://data.sdss.org/sas")
"""The archives of SDSS itself. Whether the historic DAS still answers is not known."""


@dataclass(frozen=True)
class Download:
    """One frame as it came, compressed as in the archive.

    Parameters
    ----------
    frame : FrameId
    url : str
        Where it was asked for.
    content : bytes
    sha256 : str
        Of the content, in hexadecimal.
    last_modified, etag : str or None
        As in the headers of the answer.
    seconds : float
        From the first request to the last byte, waiting between tries included.
    attempts : int
        Requests made, 1 if all went well.
    resumed : int
        How many of them went on where the one before had broken off.
    """

    frame: FrameId
    url: str
    content: bytes = field(repr=False)
    sha256: str
    last_modified: str | None
    etag: str | None
    seconds: float
    attempts: int
    resumed: int


class ArchiveClient:
    """Lists and downloads what an archive holds; to be used in a `with` statement, by any number of threads.

    A 5xx, 429, time-out, cut connection or half answer is tried again after a random, exponentially growing wait. A
    404 or 410 is `NotInArchive` at once; 401, 403, a redirect elsewhere and any other answer is `ArchiveUnavailable`
    at once.

    Parameters
    ----------
    archive : Archive
    connections : int
        Most connections open at a time, over all threads.
    timeout : float
        Seconds without a sign of life after which a try has failed.
    deadline : float
        Seconds after which a try has failed even if bytes still trickle in; the next one resumes.
    tries : int
        Tries for one file or one index page.
    backoff : float
        Upper end of the first random wait in seconds; doubles with each try.
    longest_wait : float
        Bound of any wait, also of one that the server asks for by `Retry-After`.
    max_bytes : int
        No file longer than this is read; a frame has about 3 MB compressed, 15 MB at most.
    """

    def __init__(
        self,
        archive: Archive,
        *,
        connections: int = 4,
        timeout: float = 30.0,
        deadline: float = 600.0,
        tries: int = 5,
        backoff: float = 1.0,
        longest_wait: float = 60.0,
        max_bytes: int = 256 * _MIB,
    ) -> None:
        self.archive = archive
        self._positions: dict[str, FieldPositions] = {}
        self._positions_lock = Lock()
        self._fetcher = Fetcher(
            connections=connections,
            timeout=timeout,
            deadline=deadline,
            tries=tries,
            backoff=backoff,
            longest_wait=longest_wait,
            max_bytes=max_bytes,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._fetcher.close()

    def has_release(self, release: Release) -> bool:
        """Whether the archive has the folder under which the frames of a release lie; DAS keeps all in the same."""
        return self._index(f"{self.archive.base(release)}/{release.frames_root}/") is not None

    def folders(self, selection: Selection, *, threads: int = 4) -> Iterator[Folder]:
        """Folders of frames that the archive has, with what their index pages list, in order of run and camcol.

        Only folders that the selection asks for are visited; one that is missing is not yielded. Where DAS has several
        reruns of a run, the highest number that has corrected frames wins, as it replaced the others.

        Parameters
        ----------
        selection : Selection
        threads : int
            Pages that are asked for at a time. Only a few folders are read ahead of the one that is yielded.

        Raises
        ------
        InvalidInput
            If a patch of sky is asked for and the archive does not have the positions of the fields.
        NotInArchive
            If there are no folders because the archive does not have the release at all.
        ArchiveUnavailable
            If an index page cannot be read whole: half of one would look like missing frames.
        """
        found = False
        fields = self.fields_in_sky(selection)

        def read(place: tuple[int, int, int]) -> Folder | None:
            return self._read_folder(selection, *place, fields)

        for folder in in_order(read, self._places(selection, fields, threads), threads):
            found = found or folder is not None
            if folder is not None:
                yield folder
        if not found and not self.has_release(selection.release):
            root = f"{self.archive.base(selection.release)}/{selection.release.frames_root}/"
            raise NotInArchive(f"Archive {self.archive.name} has no {selection.release}: there is no {root}")

    def folders_from_run_list(self, selection: Selection) -> Iterator[ExpectedFolder]:
        """Folders of frames that should exist by the `runList.par` of a release from DR8, asking one file only.

        Sizes, dates and checksums are not known then.

        Raises
        ------
        InvalidInput
            If the release is in DAS, which has no such list, or the list is not of its form, or a patch of sky is
            asked for and the archive does not have the positions of the fields.
        """
        release = selection.release
        if release.service is Service.DAS:
            raise InvalidInput(f"{release} has no runList.par; list the archive's folders instead.")
        fields = self.fields_in_sky(selection)
        url = f"{self.archive.base(release)}/{release.root}/photo/redux/runList.par"
        text = self._fetcher.get(url).content.decode(errors="replace")
        yield from folders_from_run_list(read_run_list(text), selection, fields)

    def list_frames(self, selection: Selection, *, threads: int = 1) -> Iterator[FrameId]:
        """Frames of a selection that the archive's index pages show, in the order of `FrameId`; see `folders`."""
        for folder in self.folders(selection, threads=threads):
            yield from (listed.frame for listed in folder.listed)

    def list_from_run_list(self, selection: Selection) -> Iterator[FrameId]:
        """Frames of a selection that should exist by a run list; see `folders_from_run_list`."""
        for folder in self.folders_from_run_list(selection):
            yield from (listed.frame for listed in folder.listed)

    def newest_rerun(self, release: Release, run: int) -> int:
        """Rerun of a run that a release stands for: where DAS has several, the highest that has corrected frames.

        Raises
        ------
        NotInArchive
            If there is none.
        ArchiveUnavailable
            If an index page cannot be read.
        """
        if release.service is Service.SAS:
            return release.reruns[0]
        places = self._places_in_das(Selection(release), run)
        if not places:
            raise NotInArchive(
                f"{self.archive.base(release)}/{release.frames_root}/{run}/ has no corrected frames of {release}."
            )
        return places[0][1]

    def checksums(self, release: Release, run: int, rerun: int, camcol: int) -> dict[str, str]:
        """SHA-1 by file name of the frames of a folder, as the archive publishes them; empty if it does not.

        Raises
        ------
        ArchiveUnavailable
            If the folder's index page cannot be read.
        """
        url = f"{self.archive.base(release)}/{frames_folder(release, run, rerun, camcol)}/"
        entries = self._index(url)
        return {} if entries is None else self._checksums(url, entries)

    def head(self, frame: FrameId) -> RemoteFile:
        """Ask for size, date and tag of a frame without its bytes."""
        return self._fetcher.head(self.archive.url(frame))

    def download(self, frame: FrameId, *, url: str | None = None) -> Download:
        """Fetch a frame into memory.

        Parameters
        ----------
        frame : FrameId
        url : str, optional
            Where it lies, if not where this archive has it by its layout.

        Raises
        ------
        NotInArchive, ArchiveUnavailable
            See the class.
        """
        url = self.archive.url(frame) if url is None else checked_url(url, str(frame))
        began = time.perf_counter()
        transfer = self._fetcher.get(url)
        return Download(
            frame=frame,
            url=url,
            content=bytes(transfer.content),
            sha256=transfer.sha256.hexdigest(),
            last_modified=transfer.remote.last_modified,
            etag=transfer.remote.etag,
            seconds=time.perf_counter() - began,
            attempts=transfer.attempts,
            resumed=transfer.resumed,
        )

    def positions(self, release: Release) -> FieldPositions:
        """Where the fields of a release are, from the archive's `window_flist.fits`; read once, then remembered.

        DAS has no such list. As all releases show the same imaging runs on the same sky, that of the newest release
        which the archive has one of is taken for it; a run that was dropped later is then in no patch of sky.

        Raises
        ------
        InvalidInput
            If the archive has no such list.
        ArchiveUnavailable
            If it cannot be read.
        """
        asked = (release,) if release.field_list else tuple(r for r in reversed(ALL_RELEASES) if r.field_list)
        with self._positions_lock:
            for one in asked:
                url = f"{self.archive.base(one)}/{one.field_list}"
                if url not in self._positions:
                    found = self._read_positions(url)
                    if found is None:
                        continue
                    self._positions[url] = found
                return self._positions[url]
        raise InvalidInput(
            f"Archive {self.archive.name} has no window_flist.fits with the positions of the fields of {release}: "
            "choose by runs and fields instead of by a patch of sky."
        )

    def positions_size(self, release: Release) -> int | None:
        """Bytes that `positions` would fetch, 0 if it has them already; None if there is no such list, or no length.

        Raises
        ------
        ArchiveUnavailable
            If the archive cannot be asked.
        """
        asked = (release,) if release.field_list else tuple(r for r in reversed(ALL_RELEASES) if r.field_list)
        for one in asked:
            url = f"{self.archive.base(one)}/{one.field_list}"
            with self._positions_lock:
                if url in self._positions:
                    return 0
            try:
                return self._fetcher.head(url).size
            except NotInArchive:
                continue
        return None

    def _read_positions(self, url: str) -> FieldPositions | None:
        with NamedTemporaryFile(prefix="kira-window-flist-", suffix=".fits") as file:
            try:
                self._fetcher.get_into(file, url, _FIELD_LIST_BYTES)
            except NotInArchive:
                return None
            file.flush()
            try:
                return FieldPositions.read(Path(file.name))
            except InvalidInput as error:
                raise ArchiveUnavailable(f"{url}: {error}.") from error

    def fields_in_sky(self, selection: Selection) -> FieldsByPlace | None:
        """Fields by run and camcol that a patch of sky has, or None if none was asked for."""
        if selection.sky is None:
            return None
        release = selection.release
        reruns = release.reruns if release.service is Service.SAS else ()
        fields = self.positions(release).touching(selection.sky, reruns)
        return {(r, c): n for (r, c), n in fields.items() if r in selection.runs and c in selection.camcols}

    def _places(
        self, selection: Selection, fields: FieldsByPlace | None, threads: int
    ) -> Iterator[tuple[int, int, int]]:
        """Run, rerun and camcol of each folder that may have frames of a selection, in order."""
        release, runs = selection.release, selection.runs
        if fields is not None:
            if not fields:
                return
            runs = Numbers(tuple((run, run) for run in sorted({run for run, _ in fields})))
        root = f"{self.archive.base(release)}/{release.frames_root}"
        if release.service is Service.SAS:
            of_reruns = ((run, r) for r in release.reruns for run in self._numbered(f"{root}/{r}/", runs))
            of_runs = in_order(lambda pair: self._places_in_sas(selection, fields, *pair), of_reruns, threads)
        else:
            numbers = self._numbered(f"{root}/", runs)
            of_runs = in_order(lambda run: self._places_in_das(selection, run), numbers, threads)
        for places in of_runs:
            yield from (p for p in places if fields is None or (p[0], p[2]) in fields)

    def _places_in_sas(
        self, selection: Selection, fields: FieldsByPlace | None, run: int, rerun: int
    ) -> list[tuple[int, int, int]]:
        if fields is not None:  # which camera columns there are is known already
            return [(run, rerun, camcol) for camcol in range(1, 7)]
        release = selection.release
        url = f"{self.archive.base(release)}/{release.frames_root}/{rerun}/{run}/"
        return [(run, rerun, camcol) for camcol in self._numbered(url, selection.camcols)]

    def _places_in_das(self, selection: Selection, run: int) -> list[tuple[int, int, int]]:
        release = selection.release
        url = f"{self.archive.base(release)}/{release.frames_root}/{run}/"
        for rerun in reversed(self._numbered(url, Numbers())):
            camcols = self._numbered(f"{url}{rerun}/corr/", Numbers()) if rerun in release.reruns else []
            if camcols:
                return [(run, rerun, camcol) for camcol in camcols if camcol in selection.camcols]
        return []

    def _read_folder(
        self, selection: Selection, run: int, rerun: int, camcol: int, fields: FieldsByPlace | None
    ) -> Folder | None:
        """What is listed in one folder, or None if there is no such folder."""
        release = selection.release
        url = f"{self.archive.base(release)}/{frames_folder(release, run, rerun, camcol)}/"
        entries = self._index(url)
        if entries is None:
            return None
        listed = []
        checksums = self._checksums(url, entries)
        in_sky = None if fields is None else fields.get((run, camcol), frozenset())
        for name, entry in entries.items():
            frame = _frame(name, release, rerun)
            if not (frame and frame.run == run and frame.camcol == camcol and frame in selection):
                continue
            if in_sky is None or frame.field in in_sky:
                listed.append(Listed(frame, entry.size, entry.date, checksums.get(name, "")))
        return Folder(release, run, rerun, camcol, tuple(sorted(listed)))

    def _checksums(self, url: str, entries: Mapping[str, IndexEntry]) -> dict[str, str]:
        """SHA-1 by file name from the checksum files of a folder; nothing from one that cannot be believed."""
        known: dict[str, str] = {}
        for name in sorted(entries):
            # One that is for a single file would be one more request for each frame.
            if not name.endswith(_CHECKSUMS) or name.removesuffix(_CHECKSUMS) in entries:
                continue
            where = url + quote(name)
            try:
                text = self._fetcher.get(where).content.decode("ascii")
                known |= read_checksums(text)
            except (InvalidInput, UnicodeDecodeError, NotInArchive, ArchiveUnavailable) as error:
                reason = "it is no text" if isinstance(error, UnicodeDecodeError) else str(error)
                _log.warning("%s: the published checksums are not used: %s", where, reason)
                return {}
        return known

    def _numbered(self, url: str, numbers: Numbers) -> list[int]:
        """Folders to descend into: those asked for by number, or those that the index page shows."""
        if 0 < sum(high - low + 1 for low, high in numbers.ranges) <= _DIRECT:
            return list(numbers)
        names = self._index(url) or {}
        return sorted(int(n) for n in names if re.fullmatch(r"[1-9]\d{0,5}", n, re.ASCII) and int(n) in numbers)

    def _index(self, url: str) -> dict[str, IndexEntry] | None:
        """Names in a folder with what is said of them, or None if there is no such folder."""
        try:
            return self._fetcher.index(url)
        except NotInArchive:
            return None


def _frame(name: str, release: Release, rerun: int) -> FrameId | None:
    """Frame of exactly this file name, if it is one."""
    try:
        frame = FrameId.from_file_name(name, release, rerun)
    except InvalidInput:
        return None
    return frame if frame.file_name == name else None
