"""Frames of an archive taken through the stages by the stages' own functions, as Airflow would."""

import json
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kira.catalog import read_parts
from kira.extraction import Parameters, Profile
from kira.ledger import Outcome, OutcomeRow, Stage
from kira.sdss import FrameId, Selection
from kira.sdss.archive import Archive, ArchiveClient
from kira.stack.config import BUCKET
from kira.stack.local import LocalStack
from kira.stages.extraction import Measured, extract_batch, finished, run_task
from kira.stages.mirror import mirror
from kira.stages.plan import Plan, plan, report_path
from kira.stages.publish import publish
from kira.stages.staging import stage
from kira.stages.summary import summarize
from kira.stages.validate import validate
from kira.stages.work import Attempt, Services
from kira.storage import Manifest, S3Mirror

PARAMETERS = Parameters()
COUNTS = {
    "dr7-40-004192-4-0300-u": 65, "dr7-40-004192-4-0300-g": 410, "dr7-40-004192-4-0300-r": 568,
    "dr7-40-004192-4-0300-i": 569, "dr7-40-004192-4-0300-z": 248, "dr7-40-005754-3-0280-r": 272,
    "dr12-301-000094-1-0012-u": 101, "dr12-301-000094-1-0012-g": 344, "dr12-301-000094-1-0012-r": 597,
    "dr12-301-000094-1-0012-i": 569, "dr12-301-000094-1-0012-z": 294,
}  # fmt: skip
"""Sources of the real frames, as published beside them."""
RUN_4192 = Selection.parse("dr7", "4192", "4", "300")
RUN_94 = Selection.parse("dr12", "94", "1", "12")


@dataclass
class Pipeline:
    """A folder served as an archive, and the stages over it."""

    services: Services
    folder: Path
    selection: Selection = RUN_4192
    attempt: Attempt = field(default_factory=lambda: Attempt("manual__1"))
    profile: Profile = PARAMETERS

    def again(self, dag_run: str = "manual__2", **changes: Any) -> "Pipeline":
        """The same, as another DAG run."""
        return replace(self, attempt=replace(self.attempt, dag_run=dag_run, **changes))

    def file(self, frame: FrameId | str) -> Path:
        """File of a frame in the archive's folder."""
        frame = FrameId.parse(frame) if isinstance(frame, str) else frame
        return self.folder / frame.release.service / frame.archive_path

    @contextmanager
    def client(self) -> Iterator[ArchiveClient]:
        """Client of the archive that does not wait long."""
        with ArchiveClient(self.services.archive, tries=2, backoff=0.01, timeout=10) as client:
            yield client

    def plan(self, selection: Selection | None = None, **options: Any) -> Plan:
        selection = selection or self.selection
        with self.client() as client:
            return plan(self.services, self.attempt, client, selection, self.profile, **({"batch_size": 200} | options))

    def planned(self, selection: Selection | None = None, **options: Any) -> Manifest:
        """The only batch of a plan."""
        (uri,) = self.plan(selection, **options).batches
        return Manifest.load(self.services.store, uri)

    def mirror(self, manifest: Manifest) -> Manifest:
        with self.client() as client:
            return mirror(self.services, self.attempt, client, manifest, threads=2)

    def stage(self, manifest: Manifest) -> Manifest:
        return stage(self.services, self.attempt, manifest, threads=2)

    def extract(self, manifest: Manifest) -> list[Measured]:
        """What the Spark job does, without Spark; nothing if it was done before."""
        if finished(self.services.store, manifest):
            return []
        return extract_batch(
            self.services.store, manifest, self.profile, 2, lambda tasks: [run_task(task, "0") for task in tasks]
        )

    def validate(self, manifest: Manifest) -> None:
        validate(self.services, self.attempt, manifest)

    def publish(self, manifest: Manifest) -> str:
        return publish(self.services, self.attempt, manifest)

    def finish(self, staged: Manifest) -> None:
        """From extraction to the end."""
        self.extract(staged)
        self.validate(staged)
        self.publish(staged)

    def outcomes(self, stage: Stage) -> dict[str, OutcomeRow]:
        """Outcome of each frame in one stage of this run; no frame may have two."""
        rows = self.services.ledger.outcomes(self.attempt.dag_run, stage)
        assert len({row.frame for row in rows}) == len(rows)
        return {row.frame: row for row in rows}

    def summary(self) -> dict[str, Any]:
        return summarize(self.services, self.attempt.dag_run)

    def report(self) -> dict[str, Any]:
        """What the summary wrote, be the run complete or not."""
        path = report_path(self.services.archive.name, self.attempt.dag_run, "report")
        report: dict[str, Any] = json.loads(self.services.store.read(path))
        return report

    def catalogue(self, manifest: Manifest) -> dict[str, int]:
        """Sources of each frame that a reader of the published batch sees."""
        store, found = self.services.store, defaultdict[str, int](int)
        parts = [path for path, file in store.walk(manifest.published) if file.name.endswith(".parquet")]
        table = read_parts(store.read(path) for path in parts)
        names = ("release", "rerun", "run", "camcol", "field", "band")
        for release, rerun, run, camcol, number, band in zip(*(table[n].to_pylist() for n in names), strict=True):
            found[f"{release}-{rerun}-{run:06d}-{camcol}-{number:04d}-{band}"] += 1
        return dict(found)


def serve(
    servers: LocalStack, services: Services, folder: Path, name: str, selection: Selection = RUN_4192
) -> Pipeline:
    """Serve a folder by the stack's archive server."""
    base = servers.serve_archive(name, folder)
    archive = Archive(name, das=f"{base}/das", sas=f"{base}/sas")
    return Pipeline(replace(services, archive=archive), folder, selection)


def copy_frames(shared_sdss: Path, folder: Path, frames: Sequence[str]) -> None:
    """Copy real frames into a folder laid out like the archive."""
    for text in frames:
        frame = FrameId.parse(text)
        path = Path(frame.release.service) / frame.archive_path
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(shared_sdss / path, folder / path)


def sums_agree(pipeline: Pipeline, batch: str) -> None:
    """Every frame has exactly one outcome for each stage that it reached, and a sentence where it ends."""
    rows = [row for row in pipeline.services.ledger.outcomes(pipeline.attempt.dag_run) if row.batch == batch]
    by_stage: dict[str, dict[str, OutcomeRow]] = defaultdict(dict)
    for row in rows:
        assert row.frame not in by_stage[row.stage]
        by_stage[row.stage][row.frame] = row
    going = {frame for frame, row in by_stage[Stage.PLAN].items() if row.outcome == Outcome.OK}
    for name in list(Stage)[1:]:
        assert by_stage[name].keys() == going, f"{name}: {by_stage[name].keys() ^ going}"
        going = {frame for frame, row in by_stage[name].items() if Outcome(row.outcome).good}
        for row in by_stage[name].values():
            assert bool(row.reason) != Outcome(row.outcome).good, f"{row.frame} {row.outcome}: {row.reason!r}"


def empty_mirror(servers: LocalStack) -> S3Mirror:
    """A bucket with nothing in it, the same for all tests.

    SeaweedFS takes seconds to make room for a new one, and has room for as many as there are GB free on the disk.
    """
    mirror = S3Mirror(servers.s3_client(), f"{BUCKET}-tests")
    mirror.ensure_bucket()
    for key in mirror.listing(""):
        mirror.delete(key)
    return mirror
