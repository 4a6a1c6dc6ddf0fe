"""Make a catalogue again from its record, and say what differs and where that comes from."""

import hashlib
import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Protocol

import pyarrow as pa

from kira.catalog import read_parts, source_table
from kira.catalog.rows_digest import rows_by_frame, rows_sha256
from kira.errors import CorruptUpstream, InvalidInput, KiraError
from kira.extraction import Profile, extract
from kira.frames import Companions, read_frame, unpack
from kira.ledger import Outcome, Stage
from kira.records import facts
from kira.records.differences import compare_facts, compare_rows
from kira.records.record import FrameLine, Record, beside_of
from kira.sdss import FrameId
from kira.sdss.archive import ArchiveClient
from kira.sdss.beside import Kind
from kira.stages.extraction import get_ready
from kira.stages.work import failure
from kira.storage.store import check_path

_AHEAD = 2
"""Frames a process that are fetched before they are needed."""


class Source(Protocol):
    """Where the files of a record are had from."""

    def fetch(self, frame: FrameId, key: str, url: str) -> bytes:
        """A file as the archive has it; KiraError or OSError if it cannot be had."""


@dataclass(frozen=True)
class FolderSource:
    """A folder that is laid out like the archive, with `das` and `sas` in it."""

    root: Path

    def fetch(self, frame: FrameId, key: str, url: str) -> bytes:  # noqa: ARG002
        """See `Source`."""
        return (self.root / check_path(key).partition("/")[2]).read_bytes()


@dataclass(frozen=True)
class ArchiveSource:
    """The addresses that the record has."""

    client: ArchiveClient

    def fetch(self, frame: FrameId, key: str, url: str) -> bytes:  # noqa: ARG002
        """See `Source`."""
        return self.client.download(frame, url=url).content


@dataclass(frozen=True)
class Again:
    """What came of one frame.

    Parameters
    ----------
    line : FrameLine
        Of the record.
    outcome, reason : str
        Of this time.
    seconds : float
        That extraction took; 0 where the frame could not be had.
    rows_sha256 : str
    rows : pyarrow.Table or None
        Where they are other ones.
    data : tuple of str
        Sentences about files that are not those of the record.
    """

    line: FrameLine
    outcome: str
    reason: str = ""
    seconds: float = 0.0
    rows_sha256: str = ""
    rows: pa.Table | None = None
    data: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether outcome and rows are those of the record."""
        return (self.outcome, self.rows_sha256) == (self.line.outcome, self.line.rows_sha256)


@dataclass(frozen=True)
class Difference:
    """How a frame came out otherwise.

    Parameters
    ----------
    frame : str
    causes : tuple of str
        Some of data, parameters, code, versions, hardware; empty where nothing that is recorded differs.
    text : str
        One sentence.
    """

    frame: str
    causes: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Reproduction:
    """A record held against what came out this time.

    Parameters
    ----------
    frames : int
        That were measured.
    left_out : int
        Frames of the record that never came to extraction, or were not asked for.
    differences : list of Difference
    harmless : list of str
        Files that are not those of the record though the rows are the same.
    environment : dict of str to list of str
        What differs in parameters, code, versions and hardware.
    seconds_before : float
        Mean of extraction a frame, as recorded.
    seconds_now : list of float
        The same now, of each repeat.
    """

    frames: int
    left_out: int
    differences: list[Difference]
    harmless: list[str] = field(default_factory=list)
    environment: dict[str, list[str]] = field(default_factory=dict)
    seconds_before: float = 0.0
    seconds_now: list[float] = field(default_factory=list)

    @property
    def identical(self) -> bool:
        """Whether every row is the same to the last bit, and every outcome."""
        return not self.differences

    @property
    def ratio(self) -> tuple[float, float]:
        """Time a frame over that of the record: mean of the repeats, and its standard deviation (0 of one)."""
        if not (self.seconds_before > 0 and self.seconds_now):
            return 0.0, 0.0
        ratios = [one / self.seconds_before for one in self.seconds_now]
        return mean(ratios), stdev(ratios) if len(ratios) > 1 else 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        ratio, spread = self.ratio
        return {
            "identical": self.identical, "frames": self.frames, "left_out": self.left_out,
            "differences": [vars(one) | {"causes": list(one.causes)} for one in self.differences],
            "harmless": self.harmless, "environment": self.environment,
            "seconds_a_frame": {"recorded": self.seconds_before, "now": self.seconds_now},
            "time_over_recorded": {"mean": ratio, "standard_deviation": spread},
        }  # fmt: skip


def reproduce(
    record: Record, source: Source, profile: Profile | None = None, *, most_frames: int | None = None, repeats: int = 1,
    processes: int | None = None, rows_of: Callable[[FrameLine], pa.Table | None] = lambda _line: None,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Reproduction:  # fmt: skip
    """Measure the frames of a record again and compare.

    Parameters
    ----------
    record : Record
    source : Source
    profile : Profile, optional
        Other parameters than the record's.
    most_frames : int, optional
        Take so many frames, evenly from all of them.
    repeats : int
        How often all is measured: rows must come out the same each time.
    processes : int, optional
        By default one a core.
    rows_of : callable
        The recorded rows of a frame where they can be had: with them columns that differ are named.
    progress : callable
        Told how many frames of how many are measured.

    Raises
    ------
    InvalidInput
        If no frame of the record was extracted.
    """
    wanted = [line for line in record.frames if line.outcome]
    if not wanted:
        raise InvalidInput(f"No frame of DAG run {record.about['dag_run']} came to extraction: nothing is reproduced.")
    if most_frames is not None and most_frames < len(wanted):
        wanted = [wanted[i * len(wanted) // most_frames] for i in range(most_frames)]
    chosen = profile or record.profile
    environment = _environment(record, chosen)
    found: dict[str, Again] = {}
    times = []
    for number in range(repeats):
        seconds = []
        for done, one in enumerate(_measured(wanted, source, chosen, processes or len(facts.cpus())), 1):
            progress(number * len(wanted) + done, repeats * len(wanted))
            if one.seconds > 0:
                seconds.append(one.seconds)
            if one.line.frame not in found or found[one.line.frame].same:
                found[one.line.frame] = one  # of several repeats the one that differs
        times.append(mean(seconds) if seconds else 0.0)
    before = [line.seconds for line in wanted if line.seconds > 0]
    return Reproduction(
        len(wanted), len(record.frames) - len(wanted),
        [_difference(one, environment, rows_of) for one in found.values() if not one.same],
        [sentence for one in found.values() if one.same for sentence in one.data],
        {name: texts for name, texts in environment.items() if texts}, mean(before) if before else 0.0, times,
    )  # fmt: skip


def recorded_rows(read: Callable[[str], bytes], record: Record) -> Callable[[FrameLine], pa.Table | None]:
    """Make what finds the recorded rows of a frame in the catalogue, as far as that is still what was recorded.

    Parameters
    ----------
    read : callable
        From the name of a batch's file, as `batch=…/part-….parquet`, to its content.
    record : Record
    """
    known = {
        (str(batch["published"]).rpartition("/")[2], name): part["sha256"]
        for batch in record.about["batches"] for name, part in batch["parts"].items()
    }  # fmt: skip

    @lru_cache(maxsize=4)  # frames come in an order in which neighbours share a file
    def rows_in(folder: str, name: str) -> dict[str, pa.Table]:
        try:
            content = read(f"{folder}/{name}")
        except (KiraError, OSError):
            return {}
        if hashlib.sha256(content).hexdigest() != known[folder, name]:
            return {}
        return dict(rows_by_frame(read_parts([content])))

    def rows_of(line: FrameLine) -> pa.Table | None:
        places = ((folder, name) for folder, name in known if name == line.part and folder)
        return next((rows for place in places if (rows := rows_in(*place).get(line.frame)) is not None), None)

    return rows_of


def _environment(record: Record, profile: Profile) -> dict[str, list[str]]:
    """What differs in parameters, code, versions and hardware, for as much as the record tells."""
    jobs = [batch["job"] or {} for batch in record.about["batches"]]
    job: dict[str, Any] = next((one for one in jobs if one), {})
    installed = facts.packages()
    versions = {name: text for name, text in job.get("versions", {}).items() if name in installed and name != "kira"}
    machines = list(job.get("machines", {}).values())
    code = job.get("code") or {"version": job.get("versions", {}).get("kira", "")}
    here = facts.code()
    return {
        "parameters": compare_facts(record.profile.as_dict(), profile.as_dict()),
        "code": compare_facts(code, {name: here[name] for name in code if name in here}),
        "versions": compare_facts(versions, {name: installed[name] for name in versions}),
        "hardware": compare_facts(machines[0], facts.machine()) if machines else [],
    }


def _difference(
    one: Again, environment: dict[str, list[str]], rows_of: Callable[[FrameLine], pa.Table | None]
) -> Difference:
    line = one.line
    causes: tuple[str, ...]
    if one.data:
        causes, why = ("data",), " ".join(one.data)
    elif environment["parameters"]:
        causes, why = ("parameters",), "Its files are those of the record; the parameters are not."
    else:
        causes = tuple(name for name in ("code", "versions", "hardware") if environment[name])
        why = "Its files and the parameters are those of the record."
        if not causes:
            why += " Nothing else that is recorded differs either."
    if one.outcome != line.outcome:
        what = f"{one.outcome} instead of {line.outcome}" + (f" ({one.reason})" if one.reason else "")
    else:
        recorded = rows_of(line)
        found = compare_rows(recorded, one.rows) if recorded is not None and one.rows is not None else None
        what = found.text() if found else "other rows than those recorded"
    return Difference(line.frame, causes, f"{line.frame}: {what}. {why}")


# -- measuring


@dataclass(frozen=True)
class _Files:
    """The files of a frame as they were had, or why not."""

    content: bytes
    beside: dict[str, bytes]
    data: tuple[str, ...]
    failed: str = ""


def _measured(lines: Sequence[FrameLine], source: Source, profile: Profile, processes: int) -> Iterator[Again]:
    """Measure frames in processes of their own, in the order in which they come; files are fetched meanwhile."""
    # Started afresh: a copy of this process would have its threads' locks and not its threads.
    # What is loaded or compiled once is no frame's time, as in the pipeline.
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), get_ready, (profile,)) as pool:
        begun = (pool.submit(_measure, line, _fetch(line, source), profile) for line in lines)
        waiting = deque(islice(begun, processes * (1 + _AHEAD)))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(islice(begun, 1))


def _fetch(line: FrameLine, source: Source) -> _Files:
    frame, data = FrameId.parse(line.frame), []
    try:
        content = source.fetch(frame, line.key, line.url)
        beside = {one.kind: source.fetch(frame, one.key, one.url) for one in beside_of(line)}
    except (KiraError, OSError) as error:
        return _Files(b"", {}, (f"Its files could not be had: {error}",), str(error))
    known = {one.kind: (one.key, one.sha256) for one in beside_of(line)} | {"": (line.key, line.sha256)}
    for kind, bytes_of in {"": content, **beside}.items():
        key, wanted = known[kind]
        if (found := hashlib.sha256(bytes_of).hexdigest()) != wanted:
            data.append(f"{key.rpartition('/')[2]} has SHA-256 {found} instead of {wanted}.")
    return _Files(content, beside, tuple(data))


def _measure(line: FrameLine, files: _Files, profile: Profile) -> Again:
    if files.failed:
        return Again(line, Outcome.STORAGE_FAILED, files.failed, data=files.data)
    frame, began = FrameId.parse(line.frame), time.monotonic()
    try:
        plain = unpack(files.content, frame.file_name)
        beside = {kind: unpack(content, _name(line, kind)) for kind, content in files.beside.items()}
        began = time.monotonic()  # as the pipeline has it: unpacked once, before extraction
        companions = Companions(*(beside.get(kind) for kind in (Kind.TSFIELD, Kind.PSFIELD, Kind.FPM)))
        image = read_frame(plain, frame, companions)
        sources = extract(image, profile)
        rows = source_table(image, sources, profile)
    except CorruptUpstream as error:
        return Again(line, Outcome.CORRUPT_UPSTREAM, str(error), data=files.data)
    except Exception as error:  # noqa: BLE001 - becomes this frame's outcome, as in the pipeline
        record = failure(frame, Stage.EXTRACT, error, time.monotonic() - began)
        return Again(line, str(record.outcome), record.reason, record.seconds or 0.0, data=files.data)
    seconds = time.monotonic() - began
    outcome = Outcome.OK if sources.n_sources else Outcome.OK_EMPTY
    digest = rows_sha256(rows) if sources.n_sources else ""
    return Again(line, outcome, "", seconds, digest, None if digest == line.rows_sha256 else rows, files.data)


def _name(line: FrameLine, kind: str) -> str:
    return next(one.key for one in beside_of(line) if one.kind == kind)
