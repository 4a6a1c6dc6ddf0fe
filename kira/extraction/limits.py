"""How much memory and time one frame may take in a worker, and how the worker is held to it.

| variable | meaning |
|---|---|
| `KIRA_FRAME_MEMORY_MB` | memory of a Python worker while it is at a frame, in MiB (default 3072) |
| `KIRA_FRAME_SECONDS` | time that one frame may take (default 600) |
"""

import faulthandler
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from kira.errors import InvalidInput

_STDERR = 2
_MIB = 1 << 20


@dataclass(frozen=True)
class FrameLimits:
    """What one frame may take; plain values, read where a job starts and carried to its workers with the tasks.

    Measured on SDSS frames: a worker holds 190 MiB once everything is imported, and Arrow reserves another 1024 without
    using them. An ordinary frame adds up to 80, the globular cluster M2 (6,442 sources) 340: 1.6 GiB in all, of which
    0.5 are ever touched. The default is twice that.

    Parameters
    ----------
    memory_mb : int
        Data of the worker in MiB, all that it holds together: so many times the cores of a machine is what it needs.
    seconds : int
    """

    memory_mb: int = 3072
    seconds: int = 600

    @classmethod
    def from_environment(cls) -> "FrameLimits":
        """Read the environment; InvalidInput names the variable that is wrong."""
        return cls(
            _whole("KIRA_FRAME_MEMORY_MB", cls.memory_mb, 512, 1 << 20),
            _whole("KIRA_FRAME_SECONDS", cls.seconds, 1, 86_400),
        )

    @contextmanager
    def memory(self) -> Iterator[None]:
        """Make that running over the limit is a MemoryError here, and not the end of a process of the machine's choice.

        RLIMIT_DATA, not Spark's `spark.executor.pyspark.memory`, which is RLIMIT_AS: that one counts libraries and
        the stacks of threads too, is set once and for all by the executor's configuration, and would strike anywhere,
        also between frames where nobody can say which frame it was. This one is lifted again after the frame.
        """
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = self.memory_mb * _MIB
        resource.setrlimit(
            resource.RLIMIT_DATA, (wanted if soft == resource.RLIM_INFINITY else min(wanted, soft), hard)
        )
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))

    @contextmanager
    def time(self) -> Iterator[None]:
        """End the whole process, with a traceback to standard error, if this takes longer than the limit.

        SEP holds the interpreter's lock, so neither a thread nor a signal handler of Python would get its turn;
        faulthandler's watchdog is a thread of C.
        """
        faulthandler.dump_traceback_later(self.seconds, exit=True, file=_STDERR)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


DEFAULT_LIMITS = FrameLimits()


def _whole(variable: str, default: int, least: int, most: int) -> int:
    text = os.environ.get(variable, "").strip() or str(default)
    if not (text.isascii() and text.isdecimal() and len(text) < 12 and least <= int(text) <= most):
        raise InvalidInput(f"{variable}={text[:40]!r} is not a whole number from {least:,} to {most:,}.")
    return int(text)
