"""Peak memory of the processes that a contender starts."""

import os
import threading
from collections import defaultdict
from pathlib import Path
from types import TracebackType

import psutil

_SECONDS = 0.5
"""Between two looks; each costs milliseconds, which the contender would have had."""
_ROLES = (
    ("pyspark/daemon", "worker"), ("pyspark.daemon", "worker"), ("resource_tracker", ""), ("spawn_main", "worker"),
    ("extract.py", "driver"),
)  # fmt: skip
"""By what the command line of a Python process is known; what has no role is not counted."""


class Peak:
    """Watches this process's children while a contender runs.

    A process's own peak is kept by the kernel (VmHWM), so that nothing between two looks is missed; what all of them
    hold at one moment is as exact as the looks are frequent.

    Attributes
    ----------
    each : dict of str to float
        Largest peak of one process by its role, MiB.
    together : float
        Most that all of them held at one moment, MiB; pages that they share are counted for each.
    """

    def __init__(self) -> None:
        self.each: dict[str, float] = defaultdict(float)
        self.together = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def as_dict(self) -> dict[str, float]:
        """Plain values, MiB."""
        return {role: round(value, 1) for role, value in self.each.items()} | {"together": round(self.together, 1)}

    def _watch(self) -> None:
        here = psutil.Process(os.getpid())
        while True:
            self._look(here)
            if self._over.wait(_SECONDS):
                return

    def _look(self, here: psutil.Process) -> None:
        together = 0.0
        for process in here.children(recursive=True):
            try:
                # Anew each time: a shell becomes Java, and what was forked a moment ago still has its parent's name.
                role = _role(process)
            except psutil.Error:
                continue
            if not role:
                continue
            status = _status(process.pid)
            self.each[role] = max(self.each[role], status.get("VmHWM", 0.0))
            together += status.get("VmRSS", 0.0)
        self.together = max(self.together, together)


def _role(process: psutil.Process) -> str:
    words = process.cmdline()
    if not words:
        return ""
    program, line = Path(words[0]).name, " ".join(words)
    if program == "java":  # one that only makes the command line names what it is for, too
        return "driver (JVM)" if "SparkSubmit" in line and "launcher.Main" not in line else ""
    return next((role for mark, role in _ROLES if mark in line), "") if program.startswith("python") else ""


def _status(pid: int) -> dict[str, float]:
    """Sizes that the kernel tells of a process, MiB; none where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines()
    except OSError:
        return {}
    rows = (line.split() for line in lines if line.startswith("Vm"))
    return {row[0].rstrip(":"): int(row[1]) / 1024 for row in rows}
