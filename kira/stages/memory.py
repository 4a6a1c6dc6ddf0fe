"""How much memory a worker holds, and giving back what it does not use: it lives for thousands of frames."""

import ctypes
import gc
import sys
from contextlib import suppress
from importlib.abc import MetaPathFinder
from pathlib import Path

import pyarrow as pa

_STATUS, _REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def held() -> tuple[int, int]:
    """Resident memory of this process, and its most since `forget_peak`, in MiB; 0 where the system does not tell."""
    found = {"VmRSS": 0, "VmHWM": 0}
    with suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            name, _, value = line.partition(":")
            if name in found:
                found[name] = int(value.split()[0]) >> 10
    return found["VmRSS"], found["VmHWM"]


def forget_peak() -> None:
    """Have the peak begin anew (proc(5): clear_refs)."""
    with suppress(OSError):
        _REFS.write_text("5")


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_FRAME_SIZED = 64 << 20


def reuse() -> None:
    """Have memory of a frame's size used again for the next frame's, in a process that measures many.

    By itself glibc returns it to the system whenever it is freed, and the system clears every page of it anew: a tenth
    of the time of an extraction.
    """
    with suppress(OSError, AttributeError):  # glibc only
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _FRAME_SIZED)
        libc.mallopt(_M_TRIM_THRESHOLD, 4 * _FRAME_SIZED)


class _NoPandas(MetaPathFinder):
    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:  # noqa: ARG002
        if fullname == "pandas":
            raise ImportError("Kira's workers have no use for pandas")


def without_pandas() -> None:
    """Have pyarrow do without pandas in this process, for good: it would load it with the first array, if it is there.

    That is 40 MB and some tenths of a second in each worker, for nothing. pyarrow looks for pandas once; what imports
    it afterwards gets it.
    """
    if "pandas" in sys.modules:
        return
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(finder)


def settle() -> None:
    """Take what is loaded by now out of the garbage collector's sight: libraries stay for good.

    Spark's worker has the collector look at everything after each task, and so does `give_back`: with all that Numba
    and Arrow bring along each look takes a tenth of a second, without them a millisecond.
    """
    gc.collect()
    gc.freeze()


def give_back() -> None:
    """Return to the system what was freed: after a crowded frame the allocators would keep it for good."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):  # glibc only
        ctypes.CDLL(None).malloc_trim(0)
