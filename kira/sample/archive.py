"""Write a sample: every file of both layouts, the truth, and a marker that says that all of it is there."""

import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

from kira.sample.beside import checksum_file, checksum_text, field_list_bytes, field_list_file
from kira.sample.camera import Detector
from kira.sample.fitsfile import compress
from kira.sample.fpc import fpc_bytes, tsfield_bytes
from kira.sample.frame import frame_bytes
from kira.sample.photoobj import listed_sources, photoobj_bytes
from kira.sample.psfield import psfield_bytes
from kira.sample.runlist import run_list_text
from kira.sample.spec import (
    SIMULATOR_VERSION,
    SampleReport,
    SampleSpec,
    archive_file,
    calibration_file,
    psfield_file,
    run_list_file,
)
from kira.sample.strip import strip_fields
from kira.sample.truth import truth_bytes, truth_file
from kira.sdss import Band, Service

MARKER = "sample.json"
"""Written last: the specification, and size and SHA-256 of every file."""

Written = dict[str, dict[str, Any]]
"""Path below the sample's folder to bytes and sha256."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Task:
    """Part of a sample that one process writes: a strip's frames, or (without a band) its tables and truth."""

    spec: SampleSpec
    folder: Path
    camcol: int
    band: Band | None

    def run(self) -> Iterator[tuple[int, Written]]:
        """Write, and tell after each field how many frames there were and which files."""
        if self.band is None:
            yield from ((0, {path: _put(self.folder, path, data)}) for path, data in _tables(self.spec, self.camcol))
            return
        detector = Detector(self.spec, self.camcol, self.band)
        for field, pixels in strip_fields(self.spec, self.camcol, self.band):
            done: Written = {}
            for release in self.spec.releases:
                path = archive_file(self.spec.frame(release, self.camcol, field, self.band))
                if path in done:  # DR1 to DR7 share one tree
                    continue
                write = fpc_bytes if release.service is Service.DAS else frame_bytes
                done[path] = _put(self.folder, path, compress(write(detector, field, pixels), path))
            yield len(self.spec.releases), done


def write_sample(
    spec: SampleSpec, folder: Path, *, processes: int | None = None, progress: Progress | None = None
) -> SampleReport:
    """Write a synthetic archive: `das/`, `sas/`, `truth/` and the marker `sample.json`.

    Files are written aside and renamed; the marker comes last. A complete sample of the same specification and
    version is left alone. One of another specification is replaced: the files that its marker names go first.

    Parameters
    ----------
    spec : SampleSpec
    folder : Path
        Made if it does not exist.
    processes : int, optional
        How many work at a time; default all cores. The bytes do not depend on it. With more than one, the caller's
        main module must be importable (`if __name__ == "__main__"`).
    progress : callable, optional
        Called with the number of frames done and of all frames.

    Returns
    -------
    SampleReport
    """
    started = time.monotonic()
    folder = Path(folder)
    total = sum(1 for _ in spec.frames())
    marker = folder / MARKER
    known = _read_marker(marker)
    # A sample that was written before there were lists of all frames, or psFields, beside them is written again.
    same = known and known["version"] == SIMULATOR_VERSION and known["spec"] == spec.as_json()
    if known and same and known["files"].keys() >= _later_files(spec) and _complete(folder, known):
        files = known["files"]
        if progress:
            progress(total, total)
        return SampleReport(str(folder), total, 0, len(files), _size(files), time.monotonic() - started)
    _clear(folder, known)

    written: Written = {}
    done = 0
    tasks = [_Task(spec, folder, c, b) for c in spec.camcols for b in (*spec.bands, None)]
    for frames, files in _run(tasks, processes):
        written |= files
        done += frames
        if progress and frames:
            progress(done, total)
    for path, data in _lists(spec, folder):
        written[path] = _put(folder, path, data)
    content = {
        "comment": "Synthetic data simulated by Kira, not an observation.",
        "version": SIMULATOR_VERSION,
        "spec": spec.as_json(),
        "files": dict(sorted(written.items())),
    }
    _put(folder, MARKER, (json.dumps(content, indent=1) + "\n").encode("ascii"))
    return SampleReport(str(folder), total, len(written), 0, _size(written), time.monotonic() - started)


def _tables(spec: SampleSpec, camcol: int) -> Iterator[tuple[str, bytes]]:
    """Path and content of the tables beside the frames of a strip, and of its truth."""
    seen = set()
    for field in spec.field_numbers:
        stars = listed_sources(spec, camcol, field).is_star
        counts = int(stars.sum()), int((~stars).sum())
        for release in spec.releases:
            frame = spec.frame(release, camcol, field, spec.bands[0])
            calibration, psfield = calibration_file(frame), psfield_file(frame)
            if calibration in seen:
                continue
            seen.add(calibration)
            if release.service is Service.DAS:
                yield calibration, tsfield_bytes(spec, camcol, field, counts)
            else:
                yield calibration, photoobj_bytes(spec, camcol, field)
            yield psfield, psfield_bytes(spec, camcol, field)
    yield truth_file(spec, camcol), truth_bytes(spec, camcol)


def _lists(spec: SampleSpec, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Path and content of what the archives publish of all their frames: runs, positions, checksums."""
    folders: dict[str, dict[str, str]] = {}
    for release in spec.releases:
        if path := run_list_file(release):
            yield path, run_list_text(spec).encode("ascii")
        if path := field_list_file(release):
            yield path, field_list_bytes(spec)
    for frame in spec.frames():
        path = archive_file(frame)
        files = folders.setdefault(checksum_file(spec, frame.release, frame.camcol), {})
        # SHA-1 is what SDSS publishes; it guards against damage, not against an enemy.
        files[frame.file_name] = hashlib.sha1((folder / path).read_bytes(), usedforsecurity=False).hexdigest()
    for path, checksums in folders.items():
        yield path, checksum_text(checksums).encode("ascii")


def _later_files(spec: SampleSpec) -> set[str]:
    """Paths of what the first samples of this version did not have: what `_lists` writes, and psField."""
    paths = {path for r in spec.releases for path in (run_list_file(r), field_list_file(r)) if path}
    paths |= {checksum_file(spec, release, camcol) for release in spec.releases for camcol in spec.camcols}
    return paths | {psfield_file(frame) for frame in spec.frames()}


def _run(tasks: list[_Task], processes: int | None) -> Iterator[tuple[int, Written]]:
    """Do the tasks here, or in processes of their own, started afresh so that no lock or thread is inherited.

    Yields
    ------
    frames : int
        Newly written, for the progress.
    files : dict
        Newly known; not always those of the frames.
    """
    processes = min(processes or os.cpu_count() or 1, len(tasks))
    if processes <= 1:
        for task in tasks:
            yield from task.run()
        return
    context = multiprocessing.get_context("spawn")
    frames: SimpleQueue[int] = context.SimpleQueue()
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_connect, initargs=(frames,)) as pool:
        pending: set[Future[Written]] = {pool.submit(_work, task) for task in tasks}
        try:
            while pending:
                finished, pending = wait(pending, timeout=0.1, return_when=FIRST_COMPLETED)
                # A process tells of a field before it returns, so the last one's are here too.
                while not frames.empty():
                    yield frames.get(), {}
                for future in finished:
                    yield 0, future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_frames: "SimpleQueue[int] | None" = None
"""In a process of the pool: where it tells how many frames it has written."""


def _connect(frames: "SimpleQueue[int]") -> None:
    """Give a fresh process its queue; a queue can travel to a process only at its start."""
    global _frames  # noqa: PLW0603
    _frames = frames


def _work(task: _Task) -> Written:
    """Do one task in a process of the pool."""
    written: Written = {}
    for frames, files in task.run():
        written |= files
        if _frames is not None:
            _frames.put(frames)
    return written


def _put(folder: Path, path: str, data: bytes) -> dict[str, Any]:
    """Write a file aside and rename it."""
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        aside.write_bytes(data)
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _read_marker(marker: Path) -> dict[str, Any] | None:
    with suppress(FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        content = json.loads(marker.read_text("ascii"))
        if isinstance(content, dict) and {"version", "spec", "files"} <= content.keys():
            return content
    return None


def _complete(folder: Path, known: dict[str, Any]) -> bool:
    """Whether every file that the marker names is there with its size."""
    for path, file in known["files"].items():
        try:
            if (folder / path).stat().st_size != file["bytes"]:
                return False
        except FileNotFoundError:
            return False
    return True


def _clear(folder: Path, known: dict[str, Any] | None) -> None:
    """Remove the marker, then what it named: never a file that this module did not write."""
    (folder / MARKER).unlink(missing_ok=True)
    for path in known["files"] if known else ():
        inside = (folder / path).resolve()
        if inside.is_relative_to(folder.resolve()):
            inside.unlink(missing_ok=True)


def _size(files: Written) -> int:
    return sum(int(f["bytes"]) for f in files.values())
