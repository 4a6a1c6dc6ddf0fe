"""Make what lies here, by the first release of Kira: see README.md. Not for any other version."""

import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import kira
from kira.catalog import read_parts
from kira.extraction import Parameters
from kira.ledger import Ledger
from kira.sample.archive import write_sample
from kira.sample.spec import SampleSpec
from kira.sdss import FrameId, Release, Selection
from kira.sdss.archive import Archive, ArchiveClient
from kira.stack.config import BUCKET, StackConfig
from kira.stack.local import LocalStack
from kira.stack.ports import free_ports
from kira.stages.extraction import extract_batch, run_task
from kira.stages.mirror import mirror
from kira.stages.plan import plan
from kira.stages.publish import publish
from kira.stages.staging import stage
from kira.stages.summary import summarize
from kira.stages.validate import validate
from kira.stages.work import Attempt, Services
from kira.storage import Manifest, S3Mirror, Store, open_store

HERE = Path(__file__).parent
COMMIT = "388748ddf5e46e13b8504f044f8c871b035d94d8"
STAGE = Path("/srv/kira/stage")
SPEC = SampleSpec(releases=(Release(7),), fields=2, star_density=2000, galaxy_density=5000)
DAMAGED = FrameId.parse("dr7-40-009001-3-0011-z")
FIRST, SECOND = "manual__2026-11-22T09:00:00+00:00", "manual__2026-11-22T10:00:00+00:00"


def main() -> None:
    """Two runs: one that ended, and one that was killed once it had planned."""
    checkout = Path(kira.__file__).parents[1]
    commit = subprocess.run(["git", "-C", checkout, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    if commit.stdout.strip() != COMMIT:
        sys.exit(f"Run this by the code of {COMMIT}.")
    with tempfile.TemporaryDirectory(prefix="kira-first-") as name:
        home = Path(name)
        write_sample(SPEC, home / "sample", processes=2)
        later = hide(home / "sample", 12)
        damaged = home / "sample" / "das" / DAMAGED.archive_path
        damaged.write_bytes(damaged.read_bytes()[:100_000])
        stack = LocalStack(StackConfig(home / "stack", free_ports(), f"file://{STAGE}"), print, {"s3", "archive"})
        stack.up()
        try:
            base = stack.serve_archive("sample", home / "sample")
            ledger = Ledger(f"sqlite:///{home}/ledger.db")
            services = Services(
                Archive("sample", das=f"{base}/das", sas=f"{base}/sas"),
                S3Mirror(stack.s3_client(), BUCKET), open_store(f"file://{STAGE}"), ledger,
            )  # fmt: skip
            services.mirror.ensure_bucket()
            report = ingest(services, FIRST, Selection.parse("dr7", "9001", "3", "11, 99"))
            expected = {"frames": report["frames"], "sources": report["sources"], "columns": columns(services.store)}
            (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
            for hidden, place in later.items():
                hidden.rename(place)
            ingest(services, SECOND, Selection.parse("dr7", "9001", "3", "12", "r"), killed=True)
            keep(home / "ledger.db", base)
        finally:
            stack.down()


def hide(archive: Path, field: int) -> dict[Path, Path]:
    """Take frames of a field out of the archive; where they are, and where they were."""
    moved = {path.with_name(f"{path.name}.hidden"): path for path in archive.rglob(f"fpC-*-{field:04d}.fit.gz")}
    for hidden, place in moved.items():
        place.rename(hidden)
    return moved


def ingest(services: Services, run: str, selection: Selection, *, killed: bool = False) -> dict[str, Any]:
    """What Airflow had the stages do."""
    attempt, parameters = Attempt(run), Parameters()
    with ArchiveClient(services.archive) as client:
        planned = plan(services, attempt, client, selection, parameters, batch_size=200)
        (uri,) = planned.batches
        if killed:
            return {}
        mirrored = mirror(services, attempt, client, Manifest.load(services.store, uri), threads=2)
    staged = stage(services, attempt, mirrored, threads=2)
    extract_batch(services.store, staged, parameters, 1, lambda tasks: [run_task(task, "0") for task in tasks])
    validate(services, attempt, staged)
    publish(services, attempt, staged)
    return summarize(services, run)


def columns(store: Store) -> dict[str, str]:
    """SHA-256 of each column of the published catalogue, of its values as JSON, read by the first release."""
    parts = [path for path, file in store.walk("sample/catalog") if file.name.endswith(".parquet")]
    table = read_parts(store.read(path) for path in parts)
    return {
        name: hashlib.sha256(json.dumps(table[name].to_pylist()).encode()).hexdigest() for name in table.column_names
    }


def keep(ledger: Path, base: str) -> None:
    """The ledger as SQL, and the staging store without its frames; the archive's address is nobody's."""
    with sqlite3.connect(ledger) as database:
        text = "\n".join(database.iterdump()) + "\n"
    (HERE / "ledger.sql").write_text(text.replace(base, "http://archive.invalid/sample"))
    shutil.rmtree(HERE / "stage", ignore_errors=True)
    shutil.copytree(STAGE, HERE / "stage", ignore=shutil.ignore_patterns("frames"))
    for path in (HERE / "stage").rglob("*.json*"):
        path.write_text(path.read_text().replace(base, "http://archive.invalid/sample"))
    shutil.rmtree(STAGE.parent)


if __name__ == "__main__":
    main()
