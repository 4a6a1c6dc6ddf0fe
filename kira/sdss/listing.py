"""What an archive lists, folder by folder: one camera column of one run at a time, never all of it at once."""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TypeVar

from kira.errors import InvalidInput
from kira.sdss.identifiers import Band, FrameId
from kira.sdss.releases import Release

_LONGEST = {"size": 24, "date": 32, "sha1": 40}  # of what goes into a fingerprint
_CHECKSUM = re.compile(r"([0-9a-fA-F]{40})[ \t]+\*?(?:.*/)?([^\s/][^/]*)", re.ASCII)
_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclass(frozen=True, order=True)
class Listed:
    """One frame as an archive lists it.

    Parameters
    ----------
    frame : FrameId
    size, date : str
        As the folder's index page writes them, often rounded; empty if it does not.
    sha1 : str
        As the folder's checksum file gives it, in lower-case hexadecimal; empty if there is none.
    """

    frame: FrameId
    size: str = ""
    date: str = ""
    sha1: str = ""

    @property
    def fingerprint(self) -> str:
        """What is known of the file without fetching it, to notice a change by; empty if nothing is known.

        At most 120 characters, such as `size=2318745 date=2015-01-01 00:00:00`.
        """
        if not (self.size or self.date or self.sha1):
            return ""  # as in a run list, of millions
        known = ((name, getattr(self, name)[:length]) for name, length in _LONGEST.items())
        return " ".join(f"{name}={value}" for name, value in known if value)

    def changed_since(self, fingerprint: str) -> bool:
        """Whether the file is another than the one of an earlier fingerprint, by all that is known of both.

        What only one of the two knows says nothing: a checksum file that was published later, or could not be read
        this time, changes no frame.
        """
        return differ(fingerprint, self.fingerprint)


@dataclass(frozen=True)
class Folder:
    """The frames of one camera column of one run that an archive lists, as far as they were asked for.

    Parameters
    ----------
    release : Release
    run, rerun, camcol : int
    listed : tuple of Listed
        In the order of `FrameId`; empty if the folder is there and has none of the frames asked for.
    """

    release: Release
    run: int
    rerun: int
    camcol: int
    listed: tuple[Listed, ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that is listed: if it is the same, nothing has changed."""
        hasher = hashlib.sha256(f"{self.release} {self.run} {self.rerun} {self.camcol}\n".encode())
        for one in self.listed:
            facts = f"{one.frame.field} {one.frame.band} {one.fingerprint}\n"
            hasher.update(facts.encode(errors="replace"))
        return hasher.hexdigest()

    @property
    def count(self) -> int:
        """How many frames are listed."""
        return len(self.listed)


@dataclass(frozen=True)
class ExpectedFolder:
    """The frames of one camera column of one run that should exist by a run list, which says nothing of single files.

    Used like a `Folder`. The frames are made only when they are asked for: a run list speaks of millions, and mostly
    of the same as last time.

    Parameters
    ----------
    release : Release
    run, rerun, camcol : int
    fields : tuple of int
    bands : tuple of str
    """

    release: Release
    run: int
    rerun: int
    camcol: int
    fields: tuple[int, ...]
    bands: tuple[Band, ...]

    @cached_property
    def listed(self) -> tuple[Listed, ...]:
        """Frames in the order of `FrameId`."""
        place = (self.release, self.run, self.rerun, self.camcol)
        return tuple(Listed(FrameId(*place, field, band)) for field in self.fields for band in self.bands)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what is expected: if it is the same, nothing has changed."""
        return hashlib.sha256(repr(self).encode()).hexdigest()

    @property
    def count(self) -> int:
        """How many frames are expected."""
        return len(self.fields) * len(self.bands)


def read_checksums(text: str) -> dict[str, str]:
    """Read the lines `<sha1>  <name>` of a checksum file: SHA-1 by file name, folders taken off.

    Raises
    ------
    InvalidInput
        If a line is not of that form, the last one has no end, or a file has two checksums. Such a file was cut or
        is being written: none of it is to be believed.
    """
    if text and not text.endswith("\n"):
        raise InvalidInput("its last line has no end")
    known: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        content = line.removesuffix("\r")
        if not content or content.startswith("#"):
            continue
        match = _CHECKSUM.fullmatch(content)
        if not match:
            raise InvalidInput(f"its line {number} is not a SHA-1 and a file's name")
        name, sha1 = match[2], match[1].lower()
        if known.setdefault(name, sha1) != sha1:
            raise InvalidInput(f"its line {number} has a second checksum for {name[:80]!r}")
    return known


def in_order(work: Callable[[_In], _Out], items: Iterable[_In], threads: int) -> Iterator[_Out]:
    """Results of the work on each item, in the order of the items, a few ahead of whoever takes them.

    Never more than twice as many results as threads wait to be taken, however many items there are. With one thread
    nothing is done ahead.
    """
    if threads <= 1:
        yield from map(work, items)
        return
    waiting = iter(items)
    with_threads = ThreadPoolExecutor(threads, thread_name_prefix="listing")
    try:
        ahead: list[Future[_Out]] = [with_threads.submit(work, item) for item in islice(waiting, 2 * threads)]
        while ahead:
            result = ahead.pop(0).result()
            ahead += [with_threads.submit(work, item) for item in islice(waiting, 1)]
            yield result
    finally:
        # What is still on its way is not waited for: nobody will take it.
        with_threads.shutdown(wait=False, cancel_futures=True)


def differ(before: str, now: str) -> bool:
    """Whether two fingerprints are of different files, by all that is known of both; see `Listed.changed_since`."""
    first, second = _facts(before), _facts(now)
    return any(first[name] != second[name] for name in first.keys() & second.keys())


def sha1_of(fingerprint: str) -> str:
    """SHA-1 that a fingerprint holds; empty if it holds none."""
    return _facts(fingerprint).get("sha1", "")


def _facts(fingerprint: str) -> dict[str, str]:
    parts = re.split(rf"(?:^| )({'|'.join(_LONGEST)})=", fingerprint)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))
