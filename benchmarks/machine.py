"""What was measured on, and with what: without it a number of seconds says nothing."""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from kira.records.facts import cpus, processor

PACKAGES = (
    "kira", "sep", "numpy", "numba", "astropy", "photutils", "pyarrow", "pyspark", "hdfs-native", "apache-airflow",
    "psutil", "matplotlib",
)  # fmt: skip
ONE_THREAD = {
    f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "NUMBA", "BLIS", "VECLIB_MAXIMUM")
}
"""Processes are the unit of parallel work: no library may start threads of its own."""


def pin(numbers: list[int]) -> None:
    """Keep this thread, and the processes that it starts, on some processors; nothing where the system cannot."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, numbers)


@contextmanager
def pinned(cores: int) -> Iterator[None]:
    """Keep this thread, and the processes that it starts within, on the first so many of its processors."""
    before = cpus()
    pin(before[:cores])
    try:
        yield
    finally:
        pin(before)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let the processes that are started within have one thread of numeric work each."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def describe(folder: Path) -> dict[str, Any]:
    """Machine and versions, as plain values.

    Parameters
    ----------
    folder : Path
        Where the frames lie: of its disk the free space is told.
    """
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor(),
        "cores": len(cpus()),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "disk_free_gb": round(shutil.disk_usage(folder).free / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    found["source-extractor"] = _said("source-extractor", ["--version"], r"version (\S+)")
    found["java"] = _said("java", ["-version"], r'version "([^"]+)"')
    found["commit"] = _said("git", ["describe", "--always", "--dirty"], r"(\S+)")
    return found


def _said(program: str, arguments: list[str], pattern: str) -> str:
    """What a program says of its version."""
    if shutil.which(program) is None:
        return "not installed"
    here = Path(__file__).parent
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, cwd=here)
    match = re.search(pattern, done.stdout + done.stderr)
    return match[1] if match and not done.returncode else "unknown"
