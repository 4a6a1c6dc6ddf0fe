"""SEP's two limits of size: one pair for the process, given to one extraction or shared by those that want the same.

SEP reads `sub_object_limit` again and again while it deblends, to find its way in arrays that it made by the value at
the start (deblend.c): whoever changes it while another thread extracts has that thread write past the end of its
memory. So the limits change only while nobody extracts.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import sep

from kira.errors import ExtractionFailed
from kira.extraction.profile import MOST_BRANCHES, Profile

RAISE = 4
"""Factor from one try to the next."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Buffers:
    """SEP's limits.

    Parameters
    ----------
    pixstack : int
        Pixels above the threshold that are held at a time, 44 bytes each (a chain link, x, y, value, convolved value,
        variance, threshold): SEP takes all of it at once.
    sub_object_limit : int
        Branches on one level of deblending. SEP takes 34 bytes for each and level: 36 MB for the most, with 32 levels.
    """

    pixstack: int
    sub_object_limit: int

    @classmethod
    def of(cls, profile: Profile) -> "Buffers":
        """Those that a profile begins with."""
        return cls(profile.pixstack, profile.sub_object_limit)

    def raised(self, error: Exception, n_pixels: int) -> "Buffers":
        """Return larger limits after an error of SEP that says that one is too small; the same where there is no more.

        Parameters
        ----------
        error : Exception
        n_pixels : int
            Of the frame: more cannot be above the threshold. An SDSS frame's 3.05 million take 134 MB. What is over a
            worker's memory (`FrameLimits`) is a MemoryError.
        """
        text = str(error)
        if "pixel buffer full" in text:
            # SEP keeps one pixel of the buffer free, and stops at the last but one.
            return replace(self, pixstack=max(self.pixstack, min(RAISE * self.pixstack, n_pixels + 2)))
        if "deblending overflow" in text:
            return replace(self, sub_object_limit=min(RAISE * self.sub_object_limit, MOST_BRANCHES))
        return self


class _Gate:
    """Lets in any number that want the same limits, and changes the limits when all of them are out.

    First come, first served: who wants other limits is not overtaken by those who want the present ones.
    """

    def __init__(self) -> None:
        self._queue = threading.Lock()
        self._change = threading.Condition()
        self._inside = 0

    @contextmanager
    def holding(self, limits: Buffers) -> Iterator[None]:
        """Have SEP's limits be these inside."""
        with self._queue, self._change:
            self._change.wait_for(lambda: self._inside == 0 or _present() == limits)
            if self._inside == 0:
                _set(limits)
            self._inside += 1
        try:
            yield
        finally:
            with self._change:
                self._inside -= 1
                self._change.notify_all()


_gate = _Gate()


def within_limits(profile: Profile, n_pixels: int, detect: Callable[[], _T]) -> tuple[_T, Buffers]:
    """Detect with the limits of a profile, and with larger ones where they are too small.

    Parameters
    ----------
    profile : Profile
    n_pixels : int
        Of the frame.
    detect : callable
        Calls `sep.extract`.

    Returns
    -------
    result : object
        What `detect` returned.
    limits : Buffers
        With which it did.

    Raises
    ------
    ExtractionFailed
        If the largest limits are too small.
    """
    limits = Buffers.of(profile)
    while True:
        try:
            with _gate.holding(limits):
                return detect(), limits
        except Exception as error:
            # SEP raises plain Exception, with the C library's message.
            larger = limits.raised(error, n_pixels)
            if larger == limits:
                if "deblending overflow" in str(error):
                    raise ExtractionFailed(
                        f"a detection splits into more than {limits.sub_object_limit:,} branches (sub_object_limit), "
                        "which is the most that SEP can hold."
                    ) from error
                raise
            limits = larger


def _present() -> Buffers:
    return Buffers(sep.get_extract_pixstack(), sep.get_sub_object_limit())


def _set(limits: Buffers) -> None:
    if _present() != limits:
        sep.set_extract_pixstack(limits.pixstack)
        sep.set_sub_object_limit(limits.sub_object_limit)
