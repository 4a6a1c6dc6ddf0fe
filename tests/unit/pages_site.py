"""The pages over a ledger and a store with real frames, measured and published as the stages do it."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fastapi import Depends, HTTPException
from fastapi.testclient import TestClient
from real_frames import plain

from kira.catalog import read_parts
from kira.extraction import Profile
from kira.frames.staged import pack
from kira.ledger import Context, Ledger, Outcome, Record, Stage
from kira.pages.app import create_app
from kira.pages.data import Data
from kira.sdss import FrameId
from kira.sdss.archive import SDSS
from kira.settings import Settings
from kira.stages.extraction import VALIDATION, Measured, Task, extract_batch, run_task
from kira.stages.places import mirror_key, staged_path
from kira.storage import Beside, Entry, Manifest, Store, open_store
from kira.validation import ExpectedFrame, validate

ARCHIVE = replace(SDSS, name="shared")
LOG = "http://127.0.0.1:8080/dags/sdss_ingest/runs/run-7/tasks/x?try_number=1"
RUN = "manual__2026-11-22T18:00:00+00:00"


@dataclass
class Site:
    """The pages, and what they look at."""

    client: TestClient
    data: Data
    ledger: Ledger
    store: Store


def opened(folder: Path, *, allowed: bool = True) -> Site:
    """Pages over a new ledger and store."""

    def guard() -> None:
        if not allowed:
            raise HTTPException(401, "Not authenticated")

    settings = Settings(f"file://{folder}/stage", "bucket", f"sqlite:///{folder}/ledger.db")
    data = Data(lambda: settings)
    client = TestClient(create_app(data, [Depends(guard)]), raise_server_exceptions=False)
    return Site(client, data, Ledger(settings.ledger_url), open_store(settings.stage_url))


def put(store: Store, frame: FrameId, content: bytes) -> str:
    """Stage the plain bytes of a frame's file; returns where."""
    path = staged_path(ARCHIVE, frame)
    store.write(path, pack(content, frame.pixel_bytes))
    return path


def entry_of(root: Path, store: Store, frame: FrameId) -> Entry:
    """A frame staged, and its entry."""
    content = plain(root, str(frame))
    path = put(store, frame, content)
    beside = (
        Beside("psField", "http://none/p", "shared/p", "", 10, "ab" * 32, 20, "cd" * 32),
        Beside("fpM", "http://none/m", "shared/m", missing="It is not in the archive (404)."),
    )
    packed = hashlib.sha256(str(frame).encode()).hexdigest()
    return Entry(
        frame, ARCHIVE.url(frame), mirror_key(ARCHIVE, frame), path, 3_000_000, packed, len(content),
        hashlib.sha256(content).hexdigest(), "3000000 2015-01-06", beside=beside,
    )  # fmt: skip


def publish(
    site: Site, root: Path, texts: Sequence[str], profile: Profile, batch: str, *, published: bool = True
) -> list[Measured]:
    """Take real frames through the stages as far as the pages see them."""
    frames = [FrameId.parse(text) for text in texts]
    entries = tuple(entry_of(root, site.store, frame) for frame in frames)
    release = str(frames[0].release)
    manifest = Manifest(batch, ARCHIVE.name, release, profile.slug, "stage", RUN, entries)
    context = Context(batch, ARCHIVE.name, release, profile.slug, RUN, dag="sdss_backfill", log=LOG)

    def run_all(tasks: Sequence[Task]) -> list[list[Measured]]:
        return [run_task(task, "0") for task in tasks]

    measured = extract_batch(site.store, manifest, profile, 1, run_all)
    for stage in (Stage.PLAN, Stage.MIRROR, Stage.STAGE):
        with site.ledger.attempt(context, stage, len(frames)):
            site.ledger.record(context, stage, [Record(f, Outcome.OK, size=3_000_000, checks=1) for f in frames])
    site.ledger.record(context, Stage.EXTRACT, [one.as_record() for one in measured])
    parts = sorted({one.part for one in measured if one.part})
    table = read_parts(site.store.read(f"{manifest.extracted}/{part}") for part in parts)
    expected = [
        ExpectedFrame(FrameId.parse(one.frame), one.sources, one.background or 0, one.rms or 0) for one in measured
    ]
    report = validate(table, expected).as_dict()
    site.store.write(f"{manifest.extracted}/{VALIDATION}", json.dumps(report).encode())
    site.ledger.record(context, Stage.VALIDATE, [Record(f, Outcome.OK) for f in frames])
    if published:
        site.store.rename(manifest.extracted, manifest.published)
        site.ledger.record(
            context,
            Stage.PUBLISH,
            [Record(FrameId.parse(one.frame), Outcome.OK, sources=one.sources) for one in measured],
        )
    return measured
