"""Fetch a data set into a folder laid out like the archive; run again, it proves what is there and fetches the rest.

A frame is under its own name only when it came whole: its length, its decompression to the end and, where the archive
publishes one, its SHA-1 hold. Every frame of the list has exactly one outcome, so that none is dropped without a word.
With it comes what lies beside it, by which extraction calibrates, masks and weighs: measured without, it is another
catalogue. What the archive does not have of that is told of, and the frame is good without.
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from threading import Event, Lock
from typing import Generic, TypeVar

from kira.datasets.index import Fetched, Index
from kira.datasets.lists import DataSet, Stretch
from kira.errors import ArchiveUnavailable, ChecksumMismatch, CorruptUpstream, KiraError, NotInArchive
from kira.extraction import SurveyProfile
from kira.frames.integrity import unpack
from kira.frames.whole import fetch_beside, fetch_whole
from kira.sdss import Band, FrameId
from kira.sdss.archive import ArchiveClient
from kira.sdss.beside import Kind, path_beside
from kira.sdss.listing import in_order

_PATIENCE = 10
"""After so many frames in a row for which the archive had no proper answer, it is not asked any more.

So it is with files beside frames, which are counted apart.
"""
BESIDE = SurveyProfile.beside
"""What is fetched beside the frames if nothing else is said: that of the profile by which Kira measures."""

log = logging.getLogger(__name__)
_T = TypeVar("_T")


class State(StrEnum):
    """What became of one file."""

    FETCHED = "fetched"
    PROVEN = "there already, by SHA-256"
    FOUND = "there already, without a record, and whole"
    REPLACED = "damaged on disk, fetched again"
    MISSING = "not in the archive"
    CORRUPT = "damaged in the archive"
    UNAVAILABLE = "the archive did not answer"
    NOT_TRIED = "not tried"


GOOD = (State.FETCHED, State.PROVEN, State.FOUND, State.REPLACED)
LATER = (State.UNAVAILABLE, State.NOT_TRIED)
"""What may come when it is asked for again."""


@dataclass(frozen=True)
class Outcome:
    """One frame, or one file beside it, and what became of it.

    Parameters
    ----------
    frame : str
        As the list names it.
    state : State
    size, plain_size : int
        Bytes of the file and of the FITS file in it; 0 if it is not there.
    reason : str
        One sentence, if it is not there.
    file : str
        Name of the file beside the frame; empty for the frame itself.
    beside : tuple of Outcome
        Files beside the frame. What is of a whole field is told of once, with the first of its frames.
    """

    frame: str
    state: State
    size: int = 0
    plain_size: int = 0
    reason: str = ""
    file: str = ""
    beside: tuple["Outcome", ...] = ()


@dataclass
class Result:
    """What became of the frames of a data set, and of what lies beside them.

    Parameters
    ----------
    data_set : DataSet
    counts : Counter
        Frames by state; together they are all of the data set.
    bad : list of Outcome
        Those that are not in the folder, in the order of the list.
    beside : Counter
        Files beside the frames that are there, by state.
    bad_beside : list of Outcome
        Of those, what is not in the folder.
    bytes, plain_bytes, new_bytes : int
        Of the files in the folder, of the FITS files in them, and of the files that were fetched this time.
    """

    data_set: DataSet
    counts: Counter[State] = field(default_factory=Counter)
    bad: list[Outcome] = field(default_factory=list)
    beside: Counter[State] = field(default_factory=Counter)
    bad_beside: list[Outcome] = field(default_factory=list)
    bytes: int = 0
    plain_bytes: int = 0
    new_bytes: int = 0

    @property
    def done(self) -> int:
        """Frames that have an outcome."""
        return self.counts.total()

    @property
    def good(self) -> bool:
        """Whether every frame is there and whole, and all that the archive has beside it, as far as it has told."""
        return not self.bad and self.done == self.data_set.count and not any(self.beside[state] for state in LATER)

    def add(self, one: Outcome) -> None:
        """Take the outcome of one frame, and of what lies beside it."""
        self._add(one, self.counts, self.bad)
        for file in one.beside:
            self._add(file, self.beside, self.bad_beside)

    def _add(self, one: Outcome, counts: Counter[State], bad: list[Outcome]) -> None:
        counts[one.state] += 1
        self.bytes += one.size
        self.plain_bytes += one.plain_size
        if one.state in (State.FETCHED, State.REPLACED):
            self.new_bytes += one.size
        if one.state not in GOOD:
            bad.append(one)

    @property
    def sentence(self) -> str:
        """The result in a sentence, or two."""
        frames = f"{_there(self.counts, self.data_set.count)} frames are there and whole{_rest(self.counts)}."
        if not self.beside:
            return frames
        files = self.beside.total()
        return f"{frames} So are {_there(self.beside, files)} files beside them{_rest(self.beside)}."


def _there(counts: Counter[State], total: int) -> str:
    return f"{sum(counts[state] for state in GOOD):,} of {total:,}"


def _rest(counts: Counter[State]) -> str:
    return "".join(f"; {counts[state]:,} {state}" for state in State if state not in GOOD and counts[state])


def fetch(
    data_set: DataSet,
    client: ArchiveClient,
    folder: Path,
    *,
    threads: int,
    kinds: Iterable[Kind] = BESIDE,
    progress: Callable[[Result], None] | None = None,
) -> Result:
    """Bring all frames of a data set into a folder, and what lies beside them.

    Parameters
    ----------
    data_set : DataSet
    client : ArchiveClient
    folder : Path
        Gets `das/` or `sas/`, the index, and NAME.problems.jsonl if a file could not be had.
    threads : int
        Frames at a time.
    kinds : iterable of Kind
        What is fetched beside the frames; references are not, for no number depends on them.
    progress : callable, optional
        Told after each frame.

    Raises
    ------
    KiraError
        If another process fetches into the folder.
    OSError
        If the disk is full or refuses; what is there stays, and the next run goes on.
    """
    result = Result(data_set)
    with Index(folder) as index:
        work = _Work(data_set, client, folder, index, tuple(kind for kind in kinds if not kind.is_reference))
        for one in in_order(work.outcome, _frames(data_set), threads):
            result.add(one)
            work.frames.saw(one.state)
            for file in one.beside:
                work.beside.saw(file.state)
            if progress:
                progress(result)
        _write_problems(problems_file(data_set, folder), result.bad + result.bad_beside)
    return result


def problems_file(data_set: DataSet, folder: Path) -> Path:
    """Where the files that could not be had are written, one JSON object a line: frames, then what lies beside."""
    return folder / f"{data_set.name}.problems.jsonl"


def _frames(data_set: DataSet) -> Iterator[tuple[Stretch, int, Band]]:
    return ((stretch, *place) for stretch in data_set.stretches for place in stretch.places())


def _write_problems(path: Path, bad: list[Outcome]) -> None:
    if not bad:
        path.unlink(missing_ok=True)
        return
    aside = path.with_name(f"{path.name}.part")
    with aside.open("w", encoding="utf-8") as file:
        for one in bad:
            name = {"frame": one.frame} | ({"file": one.file} if one.file else {})
            file.write(json.dumps(name | {"state": one.state, "reason": one.reason}) + "\n")
    aside.replace(path)


class _Once(Generic[_T]):
    """Answers of the archive, or its refusals, each asked for once, whichever thread is first.

    One that did not come is asked for again by the next frame that needs it.
    """

    def __init__(self) -> None:
        self._guard = Lock()
        self._locks: dict[object, Lock] = {}
        self._known: dict[object, _T | KiraError] = {}

    def get(self, key: object, ask: Callable[[], _T]) -> _T:
        with self._guard:
            lock = self._locks.setdefault(key, Lock())
        with lock:
            if key not in self._known:
                try:
                    self._known[key] = ask()
                except ArchiveUnavailable:
                    raise
                except KiraError as error:
                    self._known[key] = error
            known = self._known[key]
        if isinstance(known, KiraError):
            raise type(known)(str(known))  # anew: one that is raised by many threads would gather all their tracebacks
        return known


class _Patience:
    """Gives up after some files in a row without an answer."""

    def __init__(self) -> None:
        self._given_up = Event()
        self._in_a_row = 0

    def saw(self, state: State) -> None:
        self._in_a_row = self._in_a_row + 1 if state is State.UNAVAILABLE else 0
        if self._in_a_row >= _PATIENCE:
            self._given_up.set()

    def may_ask(self) -> None:
        if self._given_up.is_set():
            raise _GivenUpError("the archive had stopped to answer")


class _Work:
    """What is done for each frame, by any number of threads."""

    def __init__(
        self, data_set: DataSet, client: ArchiveClient, folder: Path, index: Index, kinds: tuple[Kind, ...]
    ) -> None:
        # Each for itself: an archive may answer for frames, and never for what lies beside them.
        self.frames, self.beside = _Patience(), _Patience()
        self._kinds = kinds
        self._begun: set[str] = set()
        self._guard = Lock()
        self._release = data_set.release
        self._client = client
        self._folder = folder
        self._index = index
        self._reruns: _Once[int] = _Once()
        self._checksums: _Once[dict[str, str]] = _Once()
        self._unlisted: Counter[object] = Counter()

    def outcome(self, place: tuple[Stretch, int, Band]) -> Outcome:
        stretch, number, band = place
        name = stretch.name(self._release, number, band)

        def bring() -> Outcome:
            frame = stretch.frame(self._release, self._rerun(stretch), number, band)
            one = self._bring(name, frame, frame.archive_path)
            return replace(one, beside=tuple(self._beside(name, frame)))

        return self._settled(name, bring)

    def _beside(self, name: str, frame: FrameId) -> Iterator[Outcome]:
        for kind in self._kinds:
            path = path_beside(frame, kind)
            if path and self._is_first(path):
                one = self._settled(name, partial(self._bring, name, frame, path))
                yield replace(one, file=path.rpartition("/")[2])

    def _is_first(self, path: str) -> bool:
        """Whether nobody has begun with a file: that of a field is brought once for all of its frames."""
        with self._guard:
            first = path not in self._begun
            self._begun.add(path)
        return first

    @staticmethod
    def _settled(name: str, bring: Callable[[], Outcome]) -> Outcome:
        try:
            return bring()
        except NotInArchive as error:
            return Outcome(name, State.MISSING, reason=str(error))
        except (CorruptUpstream, ChecksumMismatch) as error:
            return Outcome(name, State.CORRUPT, reason=str(error))
        except ArchiveUnavailable as error:
            return Outcome(name, State.UNAVAILABLE, reason=str(error))
        except _GivenUpError:
            return Outcome(name, State.NOT_TRIED, reason="The archive had stopped to answer.")

    def _rerun(self, stretch: Stretch) -> int:
        if stretch.rerun is not None:
            return stretch.rerun
        known = self._index.rerun(stretch.run)
        if known is not None:
            return known

        def ask() -> int:
            self.frames.may_ask()
            return self._client.newest_rerun(self._release, stretch.run)

        return self._reruns.get(stretch.run, ask)

    def _bring(self, name: str, frame: FrameId, archive_path: str) -> Outcome:
        """Bring a frame, or a file beside it, unless it is there."""
        path = f"{frame.release.service}/{archive_path}"
        file = self._folder / path
        there = file.is_file()
        if there:
            proven = self._proven(name, path, frame)
            if proven:
                return proven
            log.warning("%s is damaged on disk: it is removed, and fetched again", file)
            file.unlink()
        if archive_path == frame.archive_path:
            self.frames.may_ask()
            download, plain = fetch_whole(self._client, frame, sha1=self._sha1(frame, path))
        else:
            self.beside.may_ask()
            url = f"{self._client.archive.base(frame.release)}/{archive_path}"
            download, plain = fetch_beside(self._client, frame, url, lambda content: unpack(content, archive_path))
        file.parent.mkdir(parents=True, exist_ok=True)
        aside = file.with_name(f".{file.name}.part")
        try:
            aside.write_bytes(download.content)
            # Not synchronised with the disk: what a power cut takes, the SHA-256 of the next run tells.
            aside.replace(file)
        finally:
            aside.unlink(missing_ok=True)
        self._index.add(Fetched(path, len(download.content), download.sha256, len(plain), download.url))
        state = State.REPLACED if there else State.FETCHED
        return Outcome(name, state, len(download.content), len(plain))

    def _proven(self, name: str, path: str, frame: FrameId) -> Outcome | None:
        """Judge a file that is there; None if it is not what it should be."""
        content = (self._folder / path).read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        known = self._index.get(path)
        if known is not None:
            if (known.size, known.sha256) != (len(content), sha256):
                return None
            return Outcome(name, State.PROVEN, known.size, known.plain_size)
        try:
            plain = unpack(content, path)
        except CorruptUpstream:
            return None
        sha1 = self._sha1(frame, path)
        if sha1 and hashlib.sha1(content, usedforsecurity=False).hexdigest() != sha1:
            return None
        self._index.add(Fetched(path, len(content), sha256, len(plain)))
        return Outcome(name, State.FOUND, len(content), len(plain))

    def _sha1(self, frame: FrameId, path: str) -> str:
        """SHA-1 of a frame as the archive publishes it; empty if it does not, or its listing cannot be had."""
        if not path.endswith(frame.archive_path):
            return ""  # a file beside it: of these none is published
        place = frame.run, frame.rerun, frame.camcol

        def ask() -> dict[str, str]:
            self.frames.may_ask()
            try:
                return self._client.checksums(frame.release, *place)
            except ArchiveUnavailable as error:
                log.warning("%s: no checksum of the archive's own is known: %s", frame.folder, error)
                self._unlisted[place] += 1
                if self._unlisted[place] < _PATIENCE:
                    raise
                return {}  # frames come, and their folder is not shown: they are as good without

        try:
            return self._checksums.get(place, ask).get(frame.file_name, "")
        except (ArchiveUnavailable, _GivenUpError):
            return ""


class _GivenUpError(KiraError):
    """The archive is not asked any more."""
