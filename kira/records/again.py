"""Make a catalogue again from its record, and say what differs and where that comes from."""

import hashlib
import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Protocol

import pyarrow as pa

from kira.catalog import read_parts, source_table
from kira.catalog.rows_digest import rows_by_frame, rows_sha256
from kira.errors import CorruptUpstream, InvalidInput, KiraError, OutOfMemory
from kira.extraction import Profile, extract
from kira.extraction.limits import FrameLimits
from kira.frames import Companions, read_frame, unpack
from kira.ledger import Outcome, Stage
from kira.records import facts
from kira.records.differences import compare_facts, compare_rows
from kira.records.record import FrameLine, Record, beside_of
from kira.sdss import FrameId
from kira.sdss.archive import ArchiveClient
from kira.sdss.beside import Kind
from kira.sdss.listing import in_order
from kira.stages.extraction import get_ready
from kira.stages.work import failure
from kira.storage.store import check_path

_AHEAD = 2
"""Frames a process that are fetched before they are needed."""
_DECIDES = {"code": ("sources",), "hardware": ("processor", "architecture", "instance_type")}
"""What of code and hardware may change a row: the rest (a commit with the same sources, memory) is told, and no cause.
Records that are too old for a digest of the sources have the version."""


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


class Kept:
    """Files that were had once, in a folder: they are measured several times.

    Parameters
    ----------
    source : Source
    folder : Path
        Empty, and the caller's to remove.
    """

    def __init__(self, source: Source, folder: Path) -> None:
        self._source, self._folder = source, folder

    def fetch(self, frame: FrameId, key: str, url: str) -> bytes:
        """See `Source`."""
        path = self._folder / hashlib.sha256(key.encode()).hexdigest()
        if not path.exists():
            path.write_bytes(self._source.fetch(frame, key, url))
        return path.read_bytes()


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
        Sentences about files whose content is not that of the record.
    packed : tuple of str
        The same of files that are only packed otherwise.
    not_had : str
        Why its files could not be had; empty if they were.
    """

    line: FrameLine
    outcome: str
    reason: str = ""
    seconds: float = 0.0
    rows_sha256: str = ""
    rows: pa.Table | None = None
    data: tuple[str, ...] = ()
    packed: tuple[str, ...] = ()
    not_had: str = ""

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
        All that may be: some of data, parameters, code, versions, or hardware; empty where nothing that is recorded
        differs.
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
        That were to be measured.
    left_out : int
        Frames of the record that never came to extraction, or were not asked for.
    differences : list of Difference
    not_had : list of str
        A sentence for each frame whose files could not be had: nothing is known of it.
    harmless : list of str
        Files that are not those of the record though the rows are the same.
    environment : dict of str to list of str
        What differs in parameters, code, versions and hardware.
    seconds_before : float
        Mean of extraction a frame, as recorded, of the frames that were timed then and now.
    seconds_now : list of float
        The same now, of each repeat.
    frame_ratios : list of float
        Time of each of these frames now, the mean of the repeats, over the recorded one.
    """

    frames: int
    left_out: int
    differences: list[Difference]
    not_had: list[str] = field(default_factory=list)
    harmless: list[str] = field(default_factory=list)
    environment: dict[str, list[str]] = field(default_factory=dict)
    seconds_before: float = 0.0
    seconds_now: list[float] = field(default_factory=list)
    frame_ratios: list[float] = field(default_factory=list)

    @property
    def identical(self) -> bool:
        """Whether every row is the same to the last bit, and every outcome, of all frames that were asked for."""
        return not self.differences and not self.not_had

    @property
    def ratio(self) -> tuple[float, float]:
        """Time a frame over that of the record: mean of the repeats, and its standard deviation (0 of one)."""
        if not (self.seconds_before > 0 and self.seconds_now):
            return 0.0, 0.0
        return _mean_and_spread([one / self.seconds_before for one in self.seconds_now])

    @property
    def frame_spread(self) -> float:
        """Standard deviation of `frame_ratios`: how much less, or more, one frame took than another."""
        return _mean_and_spread(self.frame_ratios)[1]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        ratio, spread = self.ratio
        return {
            "identical": self.identical, "frames": self.frames, "left_out": self.left_out,
            "differences": [vars(one) | {"causes": list(one.causes)} for one in self.differences],
            "not_had": self.not_had, "harmless": self.harmless, "environment": self.environment,
            "seconds_a_frame": {"recorded": self.seconds_before, "now": self.seconds_now},
            "time_over_recorded": {"mean": ratio, "standard_deviation": spread, "frames": len(self.frame_ratios),
                                   "standard_deviation_of_frames": self.frame_spread},
        }  # fmt: skip


def _mean_and_spread(numbers: Sequence[float]) -> tuple[float, float]:
    return mean(numbers) if numbers else 0.0, stdev(numbers) if len(numbers) > 1 else 0.0


def reproduce(
    record: Record, source: Source, profile: Profile | None = None, *, most_frames: int | None = None, repeats: int = 1,
    processes: int | None = None, rows_of: Callable[[FrameLine], pa.Table | None] | None = None,
    limits: FrameLimits | None = None, progress: Callable[[int, int], None] = lambda _done, _of: None,
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
    rows_of : callable, optional
        The recorded rows of a frame where they can be had: with them columns that differ are named.
    limits : FrameLimits, optional
        What a frame may take; by default as the environment has it, as in the pipeline.
    progress : callable
        Told how many frames of how many are measured.

    Raises
    ------
    InvalidInput
        If no frame of the record was extracted.
    """
    lines = [(line, number) for number, batch in enumerate(record.batches) for line in batch if line.extracted]
    if not lines:
        raise InvalidInput(f"No frame of DAG run {record.about['dag_run']} came to extraction: nothing is reproduced.")
    if most_frames is not None and most_frames < len(lines):
        lines = [lines[i * len(lines) // most_frames] for i in range(most_frames)]
    chosen, wanted = profile or record.profile, [line for line, _ in lines]
    environments = [_Environment.of(record.profile, chosen, batch["job"] or {}) for batch in record.about["batches"]]
    batch_of = {line.frame: number for line, number in lines}
    differences: dict[str, Difference] = {}
    not_had: dict[str, str] = {}
    harmless: dict[str, tuple[str, ...]] = {}
    seconds: dict[str, list[float]] = {}
    for number in range(repeats):
        measured = _measured(wanted, source, chosen, limits or FrameLimits.from_environment(), processes)
        for done, one in enumerate(measured, 1):
            progress(number * len(wanted) + done, repeats * len(wanted))
            name = one.line.frame
            if one.not_had:
                not_had[name] = one.not_had
                continue
            if one.outcome == one.line.outcome:
                seconds.setdefault(name, []).append(one.seconds)
            if one.same:
                harmless[name] = (*one.data, *one.packed)
            elif name not in differences:  # of several repeats the first that differs
                differences[name] = _difference(one, environments[batch_of[name]], rows_of)
    # Frames that were timed then and each time now: means of other frames would be compared with them.
    timed = {
        line.frame: line.seconds for line in wanted if line.seconds > 0 and len(seconds.get(line.frame, ())) == repeats
    }
    return Reproduction(
        len(wanted), len(record.frames) - len(wanted), list(differences.values()), list(not_had.values()),
        [sentence for name, texts in harmless.items() if name not in differences for sentence in texts],
        _told(environments), _mean_and_spread(list(timed.values()))[0],
        [mean(seconds[name][number] for name in timed) for number in range(repeats)] if timed else [],
        [mean(seconds[name]) / before for name, before in timed.items()],
    )  # fmt: skip


def recorded_rows(read: Callable[[str], bytes], record: Record) -> Callable[[FrameLine], pa.Table | None]:
    """Make what finds the recorded rows of a frame in the catalogue, as far as that is still what was recorded.

    Parameters
    ----------
    read : callable
        From the name of a batch's file, as `batch=…/part-….parquet`, to its content.
    record : Record
    """
    known = [
        (folder, name) for batch in record.about["batches"] for folder in _folders(batch) for name in batch["parts"]
    ]

    @lru_cache(maxsize=4)  # frames come in an order in which neighbours share a file
    def rows_in(folder: str, name: str) -> dict[str, pa.Table]:
        try:
            return dict(rows_by_frame(read_parts([read(f"{folder}/{name}")])))
        except (KiraError, OSError, pa.ArrowException):
            return {}

    def rows_of(line: FrameLine) -> pa.Table | None:
        found = (rows_in(folder, name).get(line.frame) for folder, name in known if name == line.part)
        # The file may be another one by now, and these rows the same all the same.
        return next((rows for rows in found if rows is not None and rows_sha256(rows) == line.rows_sha256), None)

    return rows_of


def folders_of(record: Record) -> list[str]:
    """Folders of the catalogue that the record tells of, as `batch=…`."""
    return [folder for one in record.about["batches"] for folder in _folders(one)]


def _folders(batch: Mapping[str, Any]) -> list[str]:
    return [str(uri).rpartition("/")[2] for uri in (batch["published"], *batch.get("replaces", ())) if uri]


@dataclass(frozen=True)
class _Environment:
    """What is other than it was for a batch: sentences, and what of it may be why rows differ."""

    told: dict[str, list[str]]
    causes: tuple[str, ...]

    @classmethod
    def of(cls, before: Profile, now: Profile, job: Mapping[str, Any]) -> "_Environment":
        installed, here, machine = facts.packages(), facts.code(), facts.machine()
        known = job.get("versions", {})
        versions = {name: text for name, text in known.items() if name in installed and name != "kira"}
        code = job.get("code") or ({"version": known["kira"]} if "kira" in known else {})
        machines = job.get("machines", {}).values()
        told = {
            "parameters": compare_facts(before.as_dict(), now.as_dict()),
            "code": compare_facts(code, {name: here[name] for name in code if name in here}),
            "versions": compare_facts(versions, {name: installed[name] for name in versions}),
            # Which of several measured a frame is not on record: each may have.
            "hardware": list(dict.fromkeys(text for one in machines for text in compare_facts(one, machine))),
        }
        decides = _DECIDES if "sources" in code else _DECIDES | {"code": ("version",)}
        return cls(told, tuple(name for name, texts in told.items() if _decisive(texts, decides.get(name))))


def _decisive(texts: list[str], names: tuple[str, ...] | None) -> bool:
    return any(names is None or text.startswith(tuple(f"{name}:" for name in names)) for text in texts)


def _told(environments: Sequence[_Environment]) -> dict[str, list[str]]:
    """Of all batches together, each sentence once."""
    found: dict[str, dict[str, None]] = {}
    for one in environments:
        for name, texts in one.told.items():
            found.setdefault(name, {}).update(dict.fromkeys(texts))
    return {name: list(texts) for name, texts in found.items() if texts}


def _difference(
    one: Again, environment: _Environment, rows_of: Callable[[FrameLine], pa.Table | None] | None
) -> Difference:
    line, causes = one.line, environment.causes
    if one.data:
        causes, why = ("data", *causes), " ".join(one.data)
    elif "parameters" in causes:
        why = "Its files are those of the record; the parameters are not."
    else:
        why = "Its files and the parameters are those of the record."
        if not causes:
            why += " Nothing else that is recorded, and could change it, differs either."
    # Another processor is a cause where there is no better one.
    causes = tuple(name for name in causes if name != "hardware") or causes
    if one.outcome != line.outcome:
        what = f"{one.outcome} instead of {line.outcome}" + (f" ({one.reason})" if one.reason else "")
    else:
        what = _what(one, rows_of)
    return Difference(line.frame, causes, f"{line.frame}: {what}. {why}")


def _what(one: Again, rows_of: Callable[[FrameLine], pa.Table | None] | None) -> str:
    if rows_of is None or one.rows is None:
        return "other rows than those recorded"
    recorded = rows_of(one.line)
    if recorded is None:
        return "other rows than those recorded, which the catalogue does not have (any more)"
    found = compare_rows(recorded, one.rows)
    return found.text() if found else "other rows than those recorded"


# -- measuring


@dataclass(frozen=True)
class _Files:
    """The files of a frame as they were had, or why not."""

    content: bytes
    beside: dict[str, bytes]
    failed: str = ""


def _measured(
    lines: Sequence[FrameLine], source: Source, profile: Profile, limits: FrameLimits, processes: int | None
) -> Iterator[Again]:
    """Measure frames in processes of their own, in the order in which they come; files are fetched meanwhile."""
    count = processes or len(facts.cpus())
    files = in_order(lambda line: (line, _fetch(line, source)), lines, count * _AHEAD)
    pool = _pool(count, profile)
    waiting: deque[tuple[FrameLine, _Files, Future[Again]]] = deque()
    try:
        while True:
            for line, had in islice(files, 1 + count - len(waiting)):
                waiting.append((line, had, _submit(pool, line, had, profile, limits)))
            if not waiting:
                return
            line, had, future = waiting.popleft()
            try:
                yield future.result()
            except BrokenProcessPool:
                # One of those at work has ended its process, and which of them is not told: each is tried alone.
                pool.shutdown(cancel_futures=True)
                for lonely, theirs in ((line, had), *((one, its) for one, its, _ in waiting)):
                    yield _alone(lonely, theirs, profile, limits)
                waiting.clear()
                pool = _pool(count, profile)
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(
    pool: ProcessPoolExecutor, line: FrameLine, files: _Files, profile: Profile, limits: FrameLimits
) -> Future[Again]:
    try:
        return pool.submit(_measure, line, files, profile, limits)
    except BrokenProcessPool as error:  # found out sooner than by the frame that waits for it
        future: Future[Again] = Future()
        future.set_exception(error)
        return future


def _pool(processes: int, profile: Profile) -> ProcessPoolExecutor:
    # Started afresh: a copy of this process would have its threads' locks and not its threads.
    # What is loaded or compiled once is no frame's time, as in the pipeline.
    return ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), get_ready, (profile,))


def _alone(line: FrameLine, files: _Files, profile: Profile, limits: FrameLimits) -> Again:
    with _pool(1, profile) as pool:
        pool.submit(int).result()  # its start is not the frame's time
        began = time.monotonic()
        try:
            return pool.submit(_measure, line, files, profile, limits).result()
        except BrokenProcessPool:
            seconds = time.monotonic() - began
    if seconds >= limits.seconds:
        return Again(line, Outcome.TIMED_OUT, f"not done after the {limits.seconds:,} s of KIRA_FRAME_SECONDS")
    return Again(line, Outcome.WORKER_DIED, f"its process ended after {seconds:.0f} s, also when it was alone")


def _fetch(line: FrameLine, source: Source) -> _Files:
    frame = FrameId.parse(line.frame)
    try:
        content = source.fetch(frame, line.key, line.url)
        return _Files(content, {one.kind: source.fetch(frame, one.key, one.url) for one in beside_of(line)})
    except (KiraError, OSError) as error:
        return _Files(b"", {}, f"{line.frame}: its files could not be had: {error}")


def _measure(line: FrameLine, files: _Files, profile: Profile, limits: FrameLimits) -> Again:
    if files.failed:
        return Again(line, "", not_had=files.failed)
    with limits.time():
        return _measure_within(line, files, profile, limits)


def _measure_within(line: FrameLine, files: _Files, profile: Profile, limits: FrameLimits) -> Again:
    frame, began = FrameId.parse(line.frame), time.monotonic()
    plain: dict[str, bytes] = {}
    try:
        for kind, content in {"": files.content, **files.beside}.items():
            plain[kind] = unpack(content, _key_of(line, kind))
        began = time.monotonic()  # as the pipeline has it: unpacked once, before extraction
        companions = Companions(*(plain.get(kind) for kind in (Kind.TSFIELD, Kind.PSFIELD, Kind.FPM)))
        with limits.memory():
            image = read_frame(plain[""], frame, companions)
            sources = extract(image, profile)
            rows = source_table(image, sources, profile)
    except CorruptUpstream as error:
        outcome, reason, seconds = Outcome.CORRUPT_UPSTREAM, str(error), time.monotonic() - began
    except Exception as error:  # noqa: BLE001 - becomes this frame's outcome, as in the pipeline
        if isinstance(error, MemoryError):
            error = OutOfMemory(f"{frame}: needs more than the {limits.memory_mb:,} MiB of KIRA_FRAME_MEMORY_MB.")
        failed = failure(frame, Stage.EXTRACT, error, time.monotonic() - began)
        outcome, reason, seconds = failed.outcome, failed.reason, failed.seconds or 0.0
    else:
        seconds = time.monotonic() - began
        outcome, reason = (Outcome.OK if sources.n_sources else Outcome.OK_EMPTY), ""
    data, packed = _changed(line, files, plain)
    if not outcome.good:
        return Again(line, outcome, reason, seconds, data=data, packed=packed)
    digest = rows_sha256(rows) if sources.n_sources else ""
    other = None if digest == line.rows_sha256 else rows
    return Again(line, outcome, "", seconds, digest, other, data, packed)


def _changed(line: FrameLine, files: _Files, plain: Mapping[str, bytes]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Sentences about files of other content, and about those that are only packed otherwise."""
    known = {one.kind: (one.sha256, one.plain_sha256) for one in beside_of(line)}
    known[""] = (line.sha256, line.plain_sha256)
    data: list[str] = []
    packed: list[str] = []
    for kind, content in {"": files.content, **files.beside}.items():
        wanted, wanted_plain = known[kind]
        if (found := _sha256(content)) == wanted:
            continue
        sentence = f"{_key_of(line, kind).rpartition('/')[2]} has SHA-256 {found} instead of {wanted}."
        same = kind in plain and _sha256(plain[kind]) == wanted_plain
        (packed if same else data).append(sentence)
    return tuple(data), tuple(packed)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _key_of(line: FrameLine, kind: str) -> str:
    return next((one.key for one in beside_of(line) if one.kind == kind), line.key)
