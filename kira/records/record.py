"""The record of a DAG run: frames with checksums, parameters, what did the work and how long it took, and the rows.

A record is a folder of plain files: `record.json`, and for each batch a file of JSON lines with a line for each frame.
Their JSON Schemas are in it (`kira.records.schema`), and it is a Workflow Run RO-Crate as well (`kira.records.crate`).
It is made from what the stages left on the staging store, so that a run of last year has one too; see
`kira.records.keeping` for what each run keeps of itself.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kira.errors import InvalidInput, KiraError
from kira.extraction import Profile
from kira.ledger import Outcome, Stage
from kira.records import facts
from kira.records.crate import METADATA, crate_metadata, workflow_of
from kira.records.schema import RECORD_SCHEMA, schemas
from kira.sdss import FrameId
from kira.sdss.quoting import one_line
from kira.stages.digests import RowDigests
from kira.stages.extraction import JOB, MANIFEST, OUTCOMES, VALIDATION, Measured, read_outcomes, read_tasks
from kira.stages.plan import report_path
from kira.stages.summary import ATTEMPTS
from kira.storage import Beside, Entry, Manifest, Store

FORMAT = 1
RECORD = "record.json"
_NOT_EXTRACTED = {"", Outcome.STORAGE_FAILED, Outcome.CHECKSUM_MISMATCH}
"""Of extraction that had not the bytes to measure."""
_LINES = re.compile(r"batches/[A-Za-z0-9_=+,-][A-Za-z0-9_.=+,-]*\.jsonl", re.ASCII)


@dataclass(frozen=True)
class FrameLine:
    """What a record holds of one frame.

    Parameters
    ----------
    frame : str
    url, key : str
        Where the archive serves it, and its key in the S3 mirror.
    size, plain_size : int or None
        Bytes as the archive has it, and decompressed.
    sha256, plain_sha256 : str or None
        Of the same.
    beside : list of dict
        Files that were measured with: `kind`, `url`, `key`, `sha256`, `plain_sha256`, and `missing`, the reason.
    outcome : str
        Of extraction; where the frame did not come so far, what it failed of before. Empty where neither is known.
    reason : str
    sources : int
    seconds : float
        That extraction took.
    rows_sha256 : str
        Digest of its rows in the catalogue, see `kira.catalog.rows_digest`; empty where it has none.
    part : str
        The catalogue's file that they are in.
    stage : str
        The stage that the outcome is of; empty where there is none, and in records of before, which have those of
        extraction alone.
    """

    frame: str
    url: str
    key: str
    size: int | None
    plain_size: int | None
    sha256: str | None
    plain_sha256: str | None
    beside: list[dict[str, Any]]
    outcome: str = ""
    reason: str = ""
    sources: int = 0
    seconds: float = 0.0
    rows_sha256: str = ""
    part: str = ""
    stage: str = ""

    @property
    def extracted(self) -> bool:
        """Whether extraction had its bytes and said what it found: that can be held against another time."""
        return self.stage in ("", Stage.EXTRACT) and self.outcome not in _NOT_EXTRACTED

    @classmethod
    def of(
        cls, entry: Entry, measured: Measured | None, rows: Mapping[str, str], problem: Mapping[str, str] | None = None
    ) -> "FrameLine":
        """From the manifest, what extraction and the catalogue have, and else what the run's report says of it."""
        beside = [
            {name: getattr(one, name) for name in ("kind", "url", "key", "sha256", "plain_sha256", "missing")}
            for one in entry.beside if one.staged
        ]  # fmt: skip
        known = (str(entry.frame), entry.url, entry.key, entry.size, entry.plain_size, entry.sha256, entry.plain_sha256)
        if measured is None:
            if problem is None:
                return cls(*known, beside)
            return cls(*known, beside, problem["outcome"], problem["reason"], stage=problem["stage"])
        return cls(
            *known, beside, str(measured.outcome), measured.reason, measured.sources, round(measured.seconds, 6),
            rows.get(measured.frame, ""), measured.part, Stage.EXTRACT,
        )  # fmt: skip


def make_record(store: Store, archive: str, dag_run: str) -> dict[str, bytes]:
    """Make the record of a DAG run, all of it in memory; see `record_files`."""
    return dict(record_files(store, archive, dag_run))


def record_files(store: Store, archive: str, dag_run: str) -> Iterator[tuple[str, bytes]]:
    """Make the files of a DAG run's record one by one.

    Parameters
    ----------
    store : Store
        The staging store.
    archive : str
        Name of the archive.
    dag_run : str

    Yields
    ------
    tuple of str and bytes
        Path in the record, and content; what tells of the others comes last.

    Raises
    ------
    InvalidInput
        If the run has left no plan.
    StorageError
        If the store refuses, or a file of the catalogue is gone.
    """
    plan = _json(store, report_path(archive, dag_run, "plan"))
    if plan is None:
        raise InvalidInput(f"DAG run {one_line(dag_run)} has left no plan for archive {archive} on {store.url}.")
    report = _json(store, report_path(archive, dag_run, "report")) or {}
    problems = {one["frame"]: one for one in report.get("problems", ())}
    attempts = _json(store, report_path(archive, dag_run, ATTEMPTS)) or []
    sizes: dict[str, int] = {}
    batches, parameters = [], None
    for uri in plan["batches"]:
        planned = Manifest.load(store, uri)
        parameters = parameters or _json(store, f"{planned.folder}/parameters.json")
        about, lines = _batch(store, planned, problems)
        about["attempts"] = [one for one in attempts if one["batch"] == planned.batch]
        path = f"batches/{planned.batch}.jsonl"
        content = "".join(json.dumps(asdict(line)) + "\n" for line in lines).encode()
        batches.append(about | {"frames": path, "frames_sha256": hashlib.sha256(content).hexdigest()})
        sizes[path] = len(content)
        for line in lines:
            problems.pop(line.frame, None)
        yield path, content
    record = {
        "$schema": RECORD_SCHEMA,
        "kira_record": FORMAT,
        "dag_run": dag_run,
        "archive": archive,
        "release": plan["release"],
        "profile": plan["profile"],
        "parameters": parameters,
        "plan": {name: value for name, value in plan.items() if name != "batches"},
        "request": _json(store, report_path(archive, dag_run, "request")),
        "figures": _json(store, report_path(archive, dag_run, "figures")),
        "batches": batches,
        "not_planned": [
            {name: one[name] for name in ("frame", "stage", "outcome", "reason")} for one in problems.values()
        ],
        "recorded": datetime.now(UTC).isoformat(timespec="seconds"),
        "recorded_by": {"code": facts.code(), "packages": facts.packages(), "machine": facts.machine()},
    }
    workflow, wiring = workflow_of(record)
    others = schemas() | {workflow: wiring, RECORD: json.dumps(record, indent=1).encode()}
    yield from others.items()
    sizes |= {path: len(content) for path, content in others.items()}
    yield METADATA, crate_metadata(record, sizes, workflow)


def _batch(
    store: Store, planned: Manifest, problems: Mapping[str, Mapping[str, str]]
) -> tuple[dict[str, Any], list[FrameLine]]:
    published = store.exists(f"{planned.published}/{OUTCOMES}")
    folder = planned.published if published else planned.extracted
    measured = {one.frame: one for one in read_outcomes(store, folder)} if store.exists(f"{folder}/{OUTCOMES}") else {}
    digests = RowDigests.load(store, folder)
    names = sorted({one.part for one in measured.values() if one.part})
    if digests is None or not set(names) <= digests.parts.keys():
        digests = RowDigests.read(store, folder, names)
    known = _known(store, planned, folder)
    lines = [
        FrameLine.of(known[entry.frame], measured.get(str(entry.frame)), digests.frames, problems.get(str(entry.frame)))
        for entry in planned.entries
    ]
    holders = {entry.replaces for entry in planned.entries if entry.replaces}
    about = {
        "batch": planned.batch,
        "published": store.uri(folder) if published else "",
        "replaces": [store.uri(replace(planned, batch=holder).published) for holder in sorted(holders)],
        "parts": {name: asdict(digests.parts[name]) for name in names},
        "job": _json(store, f"{folder}/{JOB}"),
        "tasks": [asdict(one) for one in read_tasks(store, folder)] if measured else [],
        "validation": _json(store, f"{folder}/{VALIDATION}"),
    }
    return about, lines


def _known(store: Store, planned: Manifest, folder: str) -> dict[FrameId, Entry]:
    """What is known of each frame: what was measured, or else what the last stage that it came through had."""
    known: dict[FrameId, Entry] = {}
    asked = {entry.frame for entry in planned.entries}
    for path in (f"{folder}/{MANIFEST}", planned.after(Stage.STAGE, ()).path, planned.after(Stage.MIRROR, ()).path):
        # Most batches lose no frame on the way: then the newest manifest has them all.
        if not asked <= known.keys() and store.exists(path):
            known = {entry.frame: entry for entry in Manifest.load(store, store.uri(path)).entries} | known
    return {entry.frame: entry for entry in planned.entries} | known


def _json(store: Store, path: str) -> Any:
    if not store.exists(path):
        return None
    return json.loads(store.read(path))


def write_record(files: Mapping[str, bytes], folder: Path) -> None:
    """Write a record's files below a new folder, all of them or none; InvalidInput if it is there."""
    if folder.exists():
        raise InvalidInput(f"{folder} is there already: a record is written to a new folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as made:
        aside = Path(made) / folder.name
        for path, content in files.items():
            target = aside / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        aside.rename(folder)


@dataclass(frozen=True)
class Record:
    """A record that was read.

    Parameters
    ----------
    about : dict
        `record.json`.
    batches : tuple of tuple of FrameLine
        The frames of each.
    """

    about: dict[str, Any]
    batches: tuple[tuple[FrameLine, ...], ...]

    @property
    def frames(self) -> tuple[FrameLine, ...]:
        """Of all batches."""
        return tuple(chain.from_iterable(self.batches))

    @property
    def profile(self) -> Profile:
        """The parameters of extraction."""
        return Profile.from_dict(self.about["parameters"])

    @classmethod
    def read(cls, place: Path) -> "Record":
        """Read a record's folder, or its `record.json`; see `load`."""
        folder = place if place.is_dir() else place.parent
        return cls.load(lambda path: (folder / path).read_bytes(), str(folder))

    @classmethod
    def load(cls, read: Callable[[str], bytes], name: str) -> "Record":
        """Read a record, wherever it lies.

        Parameters
        ----------
        read : callable
            From a path in the record to its content; OSError or KiraError if it cannot be had.
        name : str
            Of the record, for errors.

        Raises
        ------
        InvalidInput
            If it is not a record, of another version, or not as it was written.
        """
        try:
            about = json.loads(read(RECORD))
            if about["kira_record"] != FORMAT:
                raise InvalidInput(f"{name} is a record of version {about['kira_record']}, and this reads {FORMAT}.")
            record = cls(about, tuple(tuple(_lines(read, name, batch)) for batch in about["batches"]))
            if record.frames:  # a run that found nothing to do has no parameters either
                _ = record.profile
        except InvalidInput:
            raise
        except (KiraError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(f"{name} is not a record of a run: {one_line(str(error))}.") from error
        return record


def _lines(read: Callable[[str], bytes], name: str, batch: dict[str, Any]) -> Iterator[FrameLine]:
    path = str(batch["frames"])
    if not _LINES.fullmatch(path):
        raise InvalidInput(f"{name}: a batch's frames are in {one_line(path)}, which is not in the record.")
    content = read(path)
    if hashlib.sha256(content).hexdigest() != batch["frames_sha256"]:
        raise InvalidInput(f"{name}/{path} is not as it was recorded: its SHA-256 is another.")
    names = {field.name for field in fields(FrameLine)}
    for text in content.decode().splitlines():
        line = FrameLine(**{name: value for name, value in json.loads(text).items() if name in names})
        FrameId.parse(line.frame)
        yield line


def beside_of(line: FrameLine) -> list[Beside]:
    """Files beside a frame that there were."""
    return [
        Beside(one["kind"], one["url"], one["key"], sha256=one["sha256"], plain_sha256=one["plain_sha256"])
        for one in line.beside if not one["missing"]
    ]  # fmt: skip
