"""The record of a DAG run: frames with checksums, parameters, what did the work and how long it took, and the rows.

A record is a folder of plain files: `record.json`, and for each batch a file of JSON lines with a line for each frame.
It is a Workflow Run RO-Crate as well, see `kira.records.crate`. It is made from what the stages left on the staging
store, so that a run of last year has one too.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from kira.catalog import read_parts
from kira.catalog.rows_digest import rows_sha256
from kira.errors import InvalidInput, StorageError
from kira.extraction import Profile
from kira.ledger import Stage
from kira.records import facts
from kira.records.crate import METADATA, crate_metadata, workflow_of
from kira.sdss import FrameId
from kira.sdss.quoting import one_line
from kira.stages.extraction import JOB, OUTCOMES, VALIDATION, Measured, read_outcomes, read_tasks
from kira.stages.plan import report_path
from kira.storage import Beside, Entry, Manifest, Store

FORMAT = 1
RECORD = "record.json"


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
        Of extraction; empty where the frame did not come so far.
    reason : str
    sources : int
    seconds : float
        That extraction took.
    rows_sha256 : str
        Digest of its rows in the catalogue, see `kira.catalog.rows_digest`; empty where it has none.
    part : str
        The catalogue's file that they are in.
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

    @classmethod
    def of(cls, entry: Entry, measured: Measured | None, rows: Mapping[str, str]) -> "FrameLine":
        """From the manifest, and what extraction and the catalogue have."""
        beside = [
            {name: getattr(one, name) for name in ("kind", "url", "key", "sha256", "plain_sha256", "missing")}
            for one in entry.beside if one.staged
        ]  # fmt: skip
        known = (str(entry.frame), entry.url, entry.key, entry.size, entry.plain_size, entry.sha256, entry.plain_sha256)
        if measured is None:
            return cls(*known, beside)
        return cls(
            *known, beside, str(measured.outcome), measured.reason, measured.sources, round(measured.seconds, 6),
            rows.get(measured.frame, ""), measured.part,
        )  # fmt: skip


def make_record(store: Store, archive: str, dag_run: str) -> dict[str, bytes]:
    """Make the record of a DAG run.

    Parameters
    ----------
    store : Store
        The staging store.
    archive : str
        Name of the archive.
    dag_run : str

    Returns
    -------
    dict of str to bytes
        Files by their path in the record.

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
    files: dict[str, bytes] = {}
    batches, parameters = [], None
    for uri in plan["batches"]:
        planned = Manifest.load(store, uri)
        parameters = parameters or _json(store, f"{planned.folder}/parameters.json")
        about, lines = _batch(store, planned)
        path = f"batches/{planned.batch}.jsonl"
        files[path] = "".join(json.dumps(asdict(line)) + "\n" for line in lines).encode()
        batches.append(about | {"frames": path, "frames_sha256": hashlib.sha256(files[path]).hexdigest()})
    record = {
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
        "recorded_by": {"code": facts.code(), "packages": facts.packages(), "machine": facts.machine()},
    }
    files = {RECORD: json.dumps(record, indent=1).encode()} | files
    workflow, content = workflow_of(record)
    files |= {workflow: content}
    return files | {METADATA: crate_metadata(record, files, workflow)}


def _batch(store: Store, planned: Manifest) -> tuple[dict[str, Any], list[FrameLine]]:
    staged = planned
    with suppress(StorageError):
        path = planned.after(Stage.STAGE, ()).path
        staged = Manifest.load(store, store.uri(path)) if store.exists(path) else planned
    known = {entry.frame: entry for entry in staged.entries}
    published = store.exists(f"{planned.published}/{OUTCOMES}")
    folder = planned.published if published else planned.extracted
    measured = {one.frame: one for one in read_outcomes(store, folder)} if store.exists(f"{folder}/{OUTCOMES}") else {}
    parts: dict[str, Any] = {}
    rows: dict[str, str] = {}
    for name in sorted({one.part for one in measured.values() if one.part}):
        content = store.read(f"{folder}/{name}")
        parts[name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        rows |= {frame: rows_sha256(table) for frame, table in rows_by_frame(read_parts([content]))}
    lines = [
        FrameLine.of(known.get(entry.frame, entry), measured.get(str(entry.frame)), rows) for entry in planned.entries
    ]
    about = {
        "batch": planned.batch,
        "published": store.uri(folder) if published else "",
        "parts": parts,
        "job": _json(store, f"{folder}/{JOB}"),
        "tasks": [asdict(one) for one in read_tasks(store, folder)] if measured else [],
        "validation": _json(store, f"{folder}/{VALIDATION}"),
    }
    return about, lines


def rows_by_frame(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Cut a table of the catalogue into the rows of its frames, each in the order in which it was measured."""
    names = ("release", "rerun", "run", "camcol", "field", "band")
    order = [(name, "ascending") for name in (*names, "number")]
    table = table.sort_by(order).combine_chunks()
    keys = list(zip(*(table[name].to_pylist() for name in names), strict=True))
    begin = 0
    for end in range(1, len(keys) + 1):
        if end == len(keys) or keys[end] != keys[begin]:
            release, rerun, run, camcol, field, band = keys[begin]
            yield f"{release}-{rerun}-{run:06d}-{camcol}-{field:04d}-{band}", table.slice(begin, end - begin)
            begin = end


def _json(store: Store, path: str) -> Any:
    if not store.exists(path):
        return None
    return json.loads(store.read(path))


def write_record(files: Mapping[str, bytes], folder: Path) -> None:
    """Write a record's files below a new folder; InvalidInput if it is there."""
    if folder.exists():
        raise InvalidInput(f"{folder} is there already: a record is written to a new folder.")
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


@dataclass(frozen=True)
class Record:
    """A record that was read.

    Parameters
    ----------
    about : dict
        `record.json`.
    frames : tuple of FrameLine
        Of all batches.
    """

    about: dict[str, Any]
    frames: tuple[FrameLine, ...]

    @property
    def profile(self) -> Profile:
        """The parameters of extraction."""
        return Profile.from_dict(self.about["parameters"])

    @classmethod
    def read(cls, place: Path) -> "Record":
        """Read a record's folder, or its `record.json`.

        Raises
        ------
        InvalidInput
            If it is not a record, of another version, or not as it was written.
        """
        folder = place if place.is_dir() else place.parent
        try:
            about = json.loads((folder / RECORD).read_bytes())
            if about["kira_record"] != FORMAT:
                raise InvalidInput(f"{folder} is a record of version {about['kira_record']}, and this reads {FORMAT}.")
            frames = [line for batch in about["batches"] for line in _lines(folder, batch)]
            record = cls(about, tuple(frames))
            _ = record.profile
        except InvalidInput:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(f"{folder} is not a record of a run: {one_line(str(error))}.") from error
        return record


def _lines(folder: Path, batch: dict[str, Any]) -> Iterator[FrameLine]:
    path = folder / str(batch["frames"])
    if path.resolve().parent != (folder / "batches").resolve():
        raise InvalidInput(f"{folder}: a batch's frames are in {path}, which is not in the record.")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != batch["frames_sha256"]:
        raise InvalidInput(f"{path} is not as it was recorded: its SHA-256 is another.")
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
