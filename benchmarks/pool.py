"""A plain process pool: frames in, Parquet files out."""

import multiprocessing
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from benchmarks.frames import FrameFile
from benchmarks.machine import cpus, one_thread, pin
from kira.stages import memory

FRAMES_A_PIECE = 10
_START_SECONDS = 600.0


class Work(Protocol):
    """What a worker does with frames; travels to it by pickle."""

    def __call__(self, file: FrameFile) -> pa.Table:
        """Table of one frame."""

    def write(self, tables: list[pa.Table], path: Path) -> None:
        """Write the tables of some frames as one file."""


@dataclass(frozen=True)
class Measured:
    """What a pool did.

    Parameters
    ----------
    seconds : float
        From the first frame to the last, all files written.
    start_up : float
        Before that: processes, imports, and one frame each to warm up.
    sources : dict of str to int
        By frame.
    work : float
        Seconds that the frames took, added up over all workers.
    """

    seconds: float
    start_up: float
    sources: dict[str, int]
    work: float


class PoolFailed(Exception):
    """The workers of a pool did not come up."""


_work: Work | None = None
"""In a worker."""


def run(work: Work, files: Sequence[FrameFile], cores: int, out: Path) -> Measured:
    """Measure frames in a pool of as many processes as cores; each has one frame at a time.

    Parameters
    ----------
    work : Work
    files : sequence of FrameFile
    cores : int
    out : Path
        Folder of the Parquet files.

    Raises
    ------
    PoolFailed
        If a worker cannot measure even the first frame.
    """
    out.mkdir(parents=True, exist_ok=True)
    size = max(1, min(FRAMES_A_PIECE, len(files) // (4 * cores)))
    pieces = [(out / f"part-{i:05d}.parquet", files[i : i + size]) for i in range(0, len(files), size)]
    # Started afresh: what was forked would have this process's memory, threads and libraries.
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(cores + 1)
    sources: dict[str, int] = {}
    seconds = 0.0
    begun = time.monotonic()
    with one_thread(), context.Pool(cores, _begin, (work, files[0], ready, cpus()[:cores])) as pool:
        try:
            ready.wait(_START_SECONDS)
        except threading.BrokenBarrierError as error:
            raise PoolFailed(f"A worker could not measure {files[0].frame}; its error is above.") from error
        began = time.monotonic()
        for counts, took in pool.imap_unordered(_measure, pieces):
            sources |= counts
            seconds += took
        ended = time.monotonic()
        pool.close()
        pool.join()
    return Measured(ended - began, began - begun, sources, seconds)


def _begin(work: Work, first: FrameFile, ready: Any, numbers: list[int]) -> None:
    global _work  # noqa: PLW0603
    pin(numbers)
    memory.reuse()  # as the workers of a Spark job do; for all contenders alike
    _work = work
    try:
        work(first)
        memory.settle()  # the same
    except Exception:
        traceback.print_exc()  # the pool would start another process in its place, and say nothing
        ready.abort()
        raise
    ready.wait(_START_SECONDS)


def _measure(piece: tuple[Path, Sequence[FrameFile]]) -> tuple[dict[str, int], float]:
    path, files = piece
    assert _work is not None
    began = time.monotonic()
    tables = [_work(file) for file in files]
    _work.write(tables, path)
    counts = {str(file.frame): table.num_rows for file, table in zip(files, tables, strict=True)}
    return counts, time.monotonic() - began
