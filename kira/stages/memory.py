"""How much memory a worker holds, and giving back what it does not use: it lives for thousands of frames."""

import ctypes
import gc
from contextlib import suppress
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


def give_back() -> None:
    """Return to the system what was freed: after a crowded frame the allocators would keep it for good."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):  # glibc only
        ctypes.CDLL(None).malloc_trim(0)
