"""What did the work: code, packages, machine. Plain values, for a record that others read."""

import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import psutil

import kira

PACKAGE = Path(kira.__file__).resolve().parent
_DMI = Path("/sys/class/dmi/id")
_TELLS_TYPE = {"Amazon EC2"}
"""Makers of virtual machines whose firmware names the type; others tell it over the network alone."""
_SECONDS = 10
_RUN = ("kira", "dags", "plugins", "requirements.txt")
"""What of a checkout is run: a note that somebody left beside it changes no code."""
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""A container's share of memory, of version 2 and 1 of Linux's control groups."""
_TOLD = re.compile(r"([0-9a-f]{7,64})(\+changes)?", re.ASCII)


def code() -> dict[str, Any]:
    """Which code this is.

    Returns
    -------
    dict
        `version`; `sources`, the SHA-256 of the package's Python files, which tells two codes apart wherever they are
        installed; `commit` and `clean` as git tells them of a checkout, or `KIRA_COMMIT` of an image (else empty and
        None); `lock`, the SHA-256 of requirements.txt, and `image`, the digest that `KIRA_IMAGE` names, where there are
        such.
    """
    root = PACKAGE.parent
    commit, clean = _checkout(root)
    lock = root / "requirements.txt"
    return {
        "version": kira.__version__,
        "sources": sources_sha256(PACKAGE),
        "commit": commit,
        "clean": clean,
        "lock": hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else "",
        "image": os.environ.get("KIRA_IMAGE", ""),
    }


def _checkout(root: Path) -> tuple[str, bool | None]:
    """Commit, and whether nothing was changed since then; an image, which has no git, was told when it was built."""
    if commit := _git(root, "rev-parse", "HEAD"):
        # A file that git does not know is run as any other.
        changed = _git(root, "status", "--porcelain", "--", *_RUN)
        return commit, None if changed is None else not changed
    told = _TOLD.fullmatch(os.environ.get("KIRA_COMMIT", ""))
    return (told[1], not told[2]) if told else ("", None)


@cache
def sources_sha256(package: Path) -> str:
    """SHA-256 over the names and contents of a package's Python files."""
    total = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        content = path.read_bytes()
        total.update(f"{path.relative_to(package).as_posix()} {len(content)}\n".encode() + content)
    return total.hexdigest()


def packages() -> dict[str, str]:
    """Version of every Python package that is installed, and of Python."""
    found = {str(one.metadata["Name"]).lower().replace("_", "-"): one.version for one in distributions()}
    return {"python": platform.python_version(), **dict(sorted(found.items()))}


def machine() -> dict[str, Any]:
    """What this machine is: processor, cores and memory that may be used, system, and its type where a cloud tells."""
    return {
        "processor": processor(),
        "architecture": platform.machine(),
        "cores": len(cpus()),
        "memory_mib": _memory(_LIMITS) >> 20,
        "system": f"{platform.system()} {platform.release()}",
        "instance_type": _instance_type(_DMI),
    }


def cpus() -> list[int]:
    """Numbers of the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def processor() -> str:
    """Name of the processor, where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _memory(limits: Iterable[Path]) -> int:
    """Bytes that may be used: all of the machine's, or what a container was given of them."""
    found = psutil.virtual_memory().total
    for path in limits:
        with suppress(OSError, ValueError):  # "max" is no limit
            found = min(found, int(path.read_text("ascii")))
    return found


def _instance_type(dmi: Path) -> str:
    try:
        known = (dmi / "sys_vendor").read_text("utf-8").strip() in _TELLS_TYPE
        return (dmi / "product_name").read_text("utf-8").strip() if known else ""
    except (OSError, UnicodeError):
        return ""


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says of a checkout; None where it says nothing."""
    if not (folder / ".git").exists():
        return None  # a checkout around the place where it is installed is not this code's
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
