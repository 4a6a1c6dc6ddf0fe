"""Archive to published catalogue by the stages, on real frames and real servers; and all of it twice."""

import gzip
import hashlib
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pipeline import COUNTS, PARAMETERS, RUN_94, RUN_4192, Pipeline, copy_frames, serve, sums_agree

from kira.catalog import SCHEMA
from kira.errors import KiraError
from kira.frames import whole
from kira.frames.integrity import unpack
from kira.frames.staged import plain_of
from kira.ledger import Context, Ledger, Outcome, Record, Stage
from kira.sdss.archive import ArchiveClient, Download
from kira.stack.local import LocalStack
from kira.stages import mirror as mirror_stage
from kira.stages import staging
from kira.stages.extraction import extract_batch, run_task
from kira.stages.mirror import handed_over
from kira.stages.plan import plan
from kira.stages.work import Attempt, Services, TryAgain
from kira.storage import Manifest, S3Mirror, Store

pytestmark = pytest.mark.integration

FIELD = [name for name in COUNTS if name.startswith("dr7-40-004192")]
U, R = "dr7-40-004192-4-0300-u", "dr7-40-004192-4-0300-r"


@pytest.fixture
def pipeline(servers: LocalStack, services: Services, shared_sdss: Path, tmp_path: Path) -> Pipeline:
    """The five frames of run 4192."""
    copy_frames(shared_sdss, tmp_path / "archive", FIELD)
    return serve(servers, services, tmp_path / "archive", "good")


@pytest.fixture
def small(servers: LocalStack, services: Services, shared_sdss: Path, tmp_path: Path) -> Pipeline:
    """Two of them."""
    copy_frames(shared_sdss, tmp_path / "archive", [U, R])
    return serve(servers, services, tmp_path / "archive", "small", replace(RUN_4192, bands=("u", "r")))


@pytest.fixture
def unpacked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are decompressed."""
    names: list[str] = []

    def counted(content: bytes, file_name: str) -> bytes:
        names.append(file_name)
        return unpack(content, file_name)

    for module in (whole, staging):
        monkeypatch.setattr(module, "unpack", counted)
    return names


def objects(mirror: S3Mirror) -> dict[str, tuple[Any, str]]:
    listed = mirror.client.list_objects_v2(Bucket=mirror.bucket).get("Contents", [])
    return {item["Key"]: (item["LastModified"], item["ETag"]) for item in listed}


def times(store: Any, folder: str) -> dict[str, int]:
    return {p: store.client.get_file_info(f"{store.root}/{p}").modification_time for p, _ in store.walk(folder)}


def figures(pipeline: Pipeline, stage: Stage) -> dict[str, tuple[object, ...]]:
    rows = pipeline.outcomes(stage).values()
    return {row.frame: (row.outcome, row.size, row.sha256, row.sources, row.seconds, row.checks) for row in rows}


def test_five_frames_from_the_archive_to_the_catalogue(pipeline: Pipeline, unpacked: list[str]) -> None:
    store, mirror = pipeline.services.store, pipeline.services.mirror
    planned = pipeline.planned()
    mirrored = pipeline.mirror(planned)
    staged = pipeline.stage(mirrored)

    # Each frame was decompressed once, and nothing is left aside.
    assert sorted(unpacked) == sorted(entry.frame.file_name for entry in planned.entries)
    assert store.listing("good/aside") == []
    for entry in staged.entries:
        archived = pipeline.file(entry.frame).read_bytes()
        assert mirror.get(entry.key, entry.sha256 or "") == archived
        packed, plain = store.read(entry.staged), unpack(archived, entry.frame.file_name)
        assert plain_of(packed, entry.staged) == plain
        assert entry.staged_sha256 == hashlib.sha256(packed).hexdigest()
        assert (entry.size, entry.plain_size) == (len(archived), len(plain))
    assert [entry.frame for entry in staged.entries] == [entry.frame for entry in planned.entries]

    measured = pipeline.extract(staged)
    assert {one.frame: one.sources for one in measured} == {name: COUNTS[name] for name in FIELD}
    assert not store.exists(planned.published)
    pipeline.validate(staged)
    assert not store.exists(planned.published)
    assert pipeline.publish(staged) == store.uri(planned.published)
    assert pipeline.catalogue(planned) == {name: COUNTS[name] for name in FIELD}
    assert [file.name for file in store.listing(planned.folder)] == [
        "mirror.jsonl", "parameters.json", "plan.jsonl", "stage.jsonl",
    ]  # fmt: skip

    sums_agree(pipeline, planned.batch)
    assert {row.outcome for stage in Stage for row in pipeline.outcomes(stage).values()} == {"ok"}
    summary = pipeline.summary()
    assert summary["frames"] == {"published": 5}
    assert summary["sources"] == {name[-1]: COUNTS[name] for name in FIELD}
    assert summary["checks"]["failed"] == 0
    assert summary["stages"]["mirror"]["bytes"] == sum(pipeline.file(name).stat().st_size for name in FIELD)


def test_every_stage_run_twice_does_nothing_the_second_time(small: Pipeline, unpacked: list[str]) -> None:
    store, mirror = small.services.store, small.services.mirror
    done: list[tuple[Stage, Callable[[Pipeline], object]]] = [
        (Stage.PLAN, lambda p: p.planned()),
        (Stage.MIRROR, lambda p: p.mirror(planned)),
        (Stage.STAGE, lambda p: p.stage(mirrored)),
        (Stage.EXTRACT, lambda p: p.extract(staged)),
    ]
    first: list[object] = []
    for number, (name, act) in enumerate(done):
        first.append(act(small))
        if number == 0:
            planned = small.planned()
        elif number == 1:
            mirrored = first[1]
        elif number == 2:
            staged = first[2]
        before, data = objects(mirror), times(store, "small/frames")
        results = times(store, f"{planned.folder}/extracted")
        told, count = figures(small, name), len(unpacked)

        second = act(small)
        if name is Stage.EXTRACT:
            assert second == []
        else:
            assert second == first[number]
        assert objects(mirror) == before
        assert times(store, "small/frames") == data
        assert times(store, f"{planned.folder}/extracted") == results
        assert len(unpacked) == count
        if name in (Stage.MIRROR, Stage.STAGE):
            rows = small.outcomes(name).values()
            assert all(row.again and row.attempts == 2 for row in rows)
            assert figures(small, name) == told
            assert all(row.seconds and row.checks for row in rows)

    small.validate(staged)
    small.validate(staged)
    assert len([a for a in small.services.ledger.attempts("manual__1") if a.stage == Stage.EXTRACT]) == 1
    uri = small.publish(staged)
    late = (Stage.EXTRACT, Stage.VALIDATE, Stage.PUBLISH)
    published, told = times(store, planned.published), [figures(small, name) for name in late]
    whole = small.summary()
    assert small.publish(staged) == uri
    small.validate(staged)
    assert small.extract(staged) == []
    assert times(store, planned.published) == published
    assert [figures(small, name) for name in late] == told
    for name in late:
        rows = small.outcomes(name).values()
        assert all(row.again and row.attempts > 1 for row in rows)
    sums_agree(small, planned.batch)
    after = small.summary()
    for part in ("frames", "sources", "checks"):
        assert after[part] == whole[part]
    for name in Stage:
        assert after["stages"][name]["bytes"] == whole["stages"][name]["bytes"]
    assert whole["stages"]["mirror"]["bytes"] == sum(small.file(frame).stat().st_size for frame in (U, R))

    # The next ingestion has nothing to do at all.
    later = small.again()
    nothing = later.plan()
    assert (nothing.found, nothing.published, nothing.planned, nothing.batches) == (2, 2, 0, [])
    assert later.summary()["frames"] == {}


def test_two_dag_runs_that_plan_the_same_batch_both_end_whole(small: Pipeline, unpacked: list[str]) -> None:
    """The second had planned it before the first published it."""
    later = small.again()
    planned = small.planned()
    assert later.planned().batch == planned.batch
    small.finish(small.stage(small.mirror(planned)))
    before = times(small.services.store, planned.published)
    staged = later.stage(later.mirror(planned))
    assert later.extract(staged) == []
    later.finish(staged)
    assert times(small.services.store, planned.published) == before
    assert len(unpacked) == 2
    for one, again in ((small, False), (later, True)):
        sums_agree(one, planned.batch)
        report = one.summary()
        assert report["frames"] == {"published": 2}
        assert report["sources"] == {"u": COUNTS[U], "r": COUNTS[R]}
        for name in list(Stage)[1:]:
            figures_of_stage = report["stages"][name]
            assert (figures_of_stage["frames"], figures_of_stage["again"]) == (2, 2 * again)
            assert bool(figures_of_stage["bytes"]) is (name in (Stage.MIRROR, Stage.STAGE, Stage.EXTRACT) and not again)
        assert bool(report["checks"]["made"]) is not again


def test_another_ingestion_finds_frames_that_are_staged(small: Pipeline, unpacked: list[str]) -> None:
    """As with other parameters, or a selection that overlaps: another batch, the same files."""
    small.stage(small.mirror(small.planned()))
    later = small.again()
    one = later.planned(replace(RUN_4192, bands=("r",)))
    later.stage(later.mirror(one))
    assert len(unpacked) == 2
    for stage in (Stage.MIRROR, Stage.STAGE):
        (row,) = later.outcomes(stage).values()
        assert (row.frame, row.again, row.seconds, row.checks) == (R, True, 0.0, 0)
        assert row.sha256
    assert len(small.outcomes(Stage.STAGE)) == 2


def test_where_nothing_was_handed_over_staging_decompresses_from_s3_itself(
    small: Pipeline, unpacked: list[str]
) -> None:
    store = small.services.store
    mirrored = small.mirror(small.planned())
    u, r = mirrored.entries
    store.delete(handed_over(mirrored, u.frame, u.plain_sha256 or ""))
    aside = handed_over(mirrored, r.frame, r.plain_sha256 or "")
    store.write(aside, store.read(aside)[:-2880])  # cut short
    del unpacked[:]
    staged = small.stage(mirrored)
    assert sorted(unpacked) == sorted(entry.frame.file_name for entry in staged.entries)
    assert {row.outcome for row in small.outcomes(Stage.STAGE).values()} == {"ok"}
    for entry in staged.entries:
        plain = unpack(small.file(entry.frame).read_bytes(), entry.frame.file_name)
        assert plain_of(store.read(entry.staged), entry.staged) == plain
    assert store.listing("small/aside") == []


def test_a_handed_over_file_of_other_bytes_is_noticed_and_made_anew(small: Pipeline) -> None:
    store = small.services.store
    mirrored = small.mirror(small.planned())
    entry = mirrored.entries[0]
    aside = handed_over(mirrored, entry.frame, entry.plain_sha256 or "")
    content = bytearray(store.read(aside))
    content[len(content) // 2] ^= 1
    store.write(aside, bytes(content))
    trying = replace(small, attempt=replace(small.attempt, last=False))
    with pytest.raises(TryAgain, match=r"1 of 2 frames of batch .* failed in stage stage"):
        trying.stage(mirrored)
    row = small.outcomes(Stage.STAGE)[str(entry.frame)]
    assert (row.outcome, row.failed_checks) == ("checksum_mismatch", 1)
    assert "it was removed" in row.reason
    staged = small.stage(mirrored)
    assert len(staged.entries) == 2
    row = small.outcomes(Stage.STAGE)[str(entry.frame)]
    assert (row.outcome, row.attempts) == ("ok", 2)


def test_a_frame_that_another_batch_has_staged_is_looked_into(small: Pipeline) -> None:
    """What its extraction will cost, and its SHA-256, are found out; damaged, it is staged anew."""
    store = small.services.store
    mirrored = small.mirror(small.planned())
    first = small.stage(mirrored)
    store.delete(f"{mirrored.folder}/stage.jsonl")  # as for a batch of another catalogue
    second = small.stage(mirrored)
    told = [(entry.crowding, entry.staged_sha256) for entry in second.entries]
    assert told == [(entry.crowding, entry.staged_sha256) for entry in first.entries]
    assert None not in {value for pair in told for value in pair}
    assert {row.again for row in small.outcomes(Stage.STAGE).values()} == {True}

    store.delete(f"{mirrored.folder}/stage.jsonl")
    content = bytearray(store.read(first.entries[0].staged))
    content[len(content) // 2] ^= 1
    store.write(first.entries[0].staged, bytes(content))
    trying = replace(small, attempt=replace(small.attempt, last=False))
    with pytest.raises(TryAgain, match="1 of 2 frames"):
        trying.stage(mirrored)
    assert small.outcomes(Stage.STAGE)[str(first.entries[0].frame)].outcome == "checksum_mismatch"
    assert [entry.staged_sha256 for entry in small.stage(mirrored).entries] == [sha256 for _, sha256 in told]


def test_what_another_run_mirrored_meanwhile_is_what_is_staged(small: Pipeline) -> None:
    """Two runs fetch the same frame at once, and the archive's file changes between them."""
    planned = small.planned(replace(RUN_4192, bands=("u",)))
    (entry,) = planned.entries
    changed = small.file(U).read_bytes()

    class Slow(ArchiveClient):
        """Comes back with the frame when another run has stored an older version of it."""

        def download(self, *args: Any, **kwargs: Any) -> Download:
            fetched = super().download(*args, **kwargs)
            if not objects(small.services.mirror):
                small.file(U).write_bytes(recompressed(changed))
                small.again().mirror(planned)
            return fetched

    with Slow(small.services.archive) as client:
        mirrored = mirror_stage.mirror(small.services, small.attempt, client, planned, threads=1)
    stored = small.services.mirror.client.get_object(Bucket=small.services.mirror.bucket, Key=entry.key)["Body"].read()
    assert stored == recompressed(changed)
    assert mirrored.entries[0].size == len(stored)
    assert len(small.stage(mirrored).entries) == 1


def recompressed(content: bytes) -> bytes:
    return gzip.compress(gzip.decompress(content), 1, mtime=0)


# -- publishing


class _FailsOnce(Ledger):
    """A ledger whose database is away when the publication is recorded for the first time."""

    failures = 1

    def record(self, context: Context, stage: Stage, records: Iterable[Record]) -> None:
        if stage is Stage.PUBLISH and self.failures:
            self.failures -= 1
            raise ConnectionError("the database went away")
        super().record(context, stage, records)


def test_a_publication_interrupted_before_the_ledger_is_completed_by_the_next_attempt(
    small: Pipeline, tmp_path: Path
) -> None:
    broken = replace(small, services=replace(small.services, ledger=_FailsOnce(f"sqlite:///{tmp_path}/ledger.db")))
    store = small.services.store
    planned = broken.planned()
    staged = broken.stage(broken.mirror(planned))
    broken.extract(staged)
    broken.validate(staged)
    assert broken.catalogue(planned) == {}
    with pytest.raises(ConnectionError):
        broken.publish(staged)
    assert broken.catalogue(planned) == {U: COUNTS[U], R: COUNTS[R]}
    assert broken.outcomes(Stage.PUBLISH) == {}
    published = times(store, planned.published)

    # An ingestion that comes before the next attempt sees what readers see, and tells the ledger in the run's name.
    later = broken.again()
    found = later.plan()
    assert (found.published, found.planned) == (2, 0)
    assert later.extract(staged) == []
    assert later.summary()["frames"] == {}
    assert {f: (r.outcome, r.sources, r.again) for f, r in broken.outcomes(Stage.PUBLISH).items()} == {
        U: ("ok", COUNTS[U], True), R: ("ok", COUNTS[R], True),
    }  # fmt: skip

    assert broken.publish(staged) == store.uri(planned.published)
    assert times(store, planned.published) == published
    assert {f: (r.outcome, r.sources) for f, r in broken.outcomes(Stage.PUBLISH).items()} == {
        U: ("ok", COUNTS[U]), R: ("ok", COUNTS[R]),
    }  # fmt: skip
    assert broken.summary()["frames"] == {"published": 2}
    assert later.plan().planned == 0


def test_a_catalogue_that_was_removed_is_made_anew(small: Pipeline, unpacked: list[str]) -> None:
    planned = small.planned()
    small.finish(small.stage(small.mirror(planned)))
    small.services.store.delete(planned.published)
    later = small.again()
    once_more = later.planned()
    assert once_more.batch == planned.batch
    later.finish(later.stage(later.mirror(once_more)))
    assert later.catalogue(once_more) == {U: COUNTS[U], R: COUNTS[R]}
    assert len(unpacked) == 2  # the staged files were still there
    assert later.summary()["frames"] == {"published": 2}


def test_a_published_batch_says_what_made_it(small: Pipeline) -> None:
    planned = small.planned()
    staged = small.stage(small.mirror(planned))
    small.finish(staged)
    store: Store = small.services.store
    kept = {file.name for file in store.listing(planned.published)}
    told = {"_manifest.jsonl", "_outcomes.jsonl", "_job.json", "_validation.json", "_validation.html", "_rows.json"}
    assert told < kept
    assert len(kept) == 7
    assert Manifest.from_text(store.read(f"{planned.published}/_manifest.jsonl").decode()) == staged
    assert json.loads(store.read(f"{planned.published}/_validation.json"))["ok"] is True


# -- extraction


def test_a_task_that_ran_twice_leaves_one_part(small: Pipeline) -> None:
    """As Spark does with a task whose executor is lost after the file was written."""
    staged = small.stage(small.mirror(small.planned()))
    store = small.services.store

    def twice(tasks: Iterable[Any]) -> list[Any]:
        return [results for task in tasks for results in (run_task(task, "0"), run_task(task, "1"))][1::2]

    # What a killed driver left.
    store.write(f"{staged.folder}/attempt-killed/part-00000-0.parquet", b"half")
    measured = extract_batch(store, staged, PARAMETERS, 1, twice)
    assert {one.part for one in measured} == {"part-00000-1.parquet"}
    names = [file.name for file in store.listing(staged.extracted)]
    assert names == ["_job.json", "_manifest.jsonl", "_outcomes.jsonl", "part-00000-1.parquet"]
    assert not [file for file in store.listing(staged.folder) if file.name.startswith("attempt-")]


def test_both_layouts_are_one_schema(
    servers: LocalStack, services: Services, shared_sdss: Path, tmp_path: Path
) -> None:
    frames = [U, "dr12-301-000094-1-0012-u"]
    copy_frames(shared_sdss, tmp_path / "archive", frames)
    pipeline = serve(servers, services, tmp_path / "archive", "both")
    for selection, name in ((RUN_4192, frames[0]), (RUN_94, frames[1])):
        planned = pipeline.planned(replace(selection, bands=("u",)))
        pipeline.finish(pipeline.stage(pipeline.mirror(planned)))
        assert pipeline.catalogue(planned) == {name: COUNTS[name]}
        parts = [path for path, file in services.store.walk(planned.published) if file.name.endswith(".parquet")]
        schema = pq.read_schema(io.BytesIO(services.store.read(parts[0])))
        assert schema.equals(SCHEMA, check_metadata=False)


# -- an archive that does not answer


def test_an_archive_that_is_down_is_tried_again_and_recorded_at_last(small: Pipeline, closed_port: int) -> None:
    planned = small.planned()
    away = f"http://127.0.0.1:{closed_port}/das"
    entries = tuple(replace(e, url=f"{away}/{e.frame.archive_path}") for e in planned.entries)
    down = replace(planned, entries=entries)
    first = replace(small, attempt=Attempt("manual__1", 1, last=False))
    with pytest.raises(TryAgain, match=r"2 of 2 frames of batch .* failed in stage mirror in a way that may pass"):
        first.mirror(down)
    assert not small.services.store.exists(planned.after("mirror", ()).path)
    (attempt,) = [a for a in small.services.ledger.attempts("manual__1") if a.stage == Stage.MIRROR]
    assert attempt.ended is not None
    assert attempt.error.startswith("TryAgain: 2 of 2 frames of batch")
    assert [row.retrying for row in small.outcomes(Stage.MIRROR).values()] == [True, True]

    second = replace(small, attempt=Attempt("manual__1", 2, last=True))
    mirrored = second.mirror(down)
    assert mirrored.entries == ()
    rows = small.outcomes(Stage.MIRROR).values()
    assert {(row.outcome, row.attempts) for row in rows} == {("archive_unavailable", 2)}
    assert all(f":{closed_port}/das/" in row.reason for row in rows)

    # A batch without a frame passes through the rest, and nothing is published.
    staged = small.stage(mirrored)
    small.extract(staged)
    small.validate(staged)
    assert small.publish(staged) == ""
    assert not small.services.store.exists(planned.published)
    sums_agree(small, planned.batch)
    assert small.summary()["frames"] == {"archive_unavailable": 2}

    # When the archive is back, the same frames make the same batch, and it goes all the way.
    later = small.again()
    once_more = later.planned()
    assert once_more.batch == planned.batch
    later.finish(later.stage(later.mirror(once_more)))
    assert later.catalogue(once_more) == {U: COUNTS[U], R: COUNTS[R]}
    sums_agree(later, planned.batch)
    assert later.summary()["frames"] == {"published": 2}


def test_a_plan_needs_an_archive_that_answers(small: Pipeline, closed_port: int) -> None:
    archive = replace(small.services.archive, das=f"http://127.0.0.1:{closed_port}/das")
    services = replace(small.services, archive=archive)
    with ArchiveClient(archive, tries=2, backoff=0.01) as client, pytest.raises(KiraError, match=str(closed_port)):
        plan(services, small.attempt, client, RUN_4192, PARAMETERS, batch_size=10)
    assert services.ledger.outcomes("manual__1") == []


def test_frames_that_get_this_far_later_are_extracted_too(small: Pipeline) -> None:
    """As when the mirror stage of a run is cleared in Airflow once the archive answers again."""
    planned = small.planned()
    hidden = small.file(R).rename(small.folder / "hidden")
    staged = small.stage(small.mirror(planned))
    assert [one.frame for one in small.extract(staged)] == [U]
    hidden.rename(small.file(R))
    staged = small.stage(small.mirror(planned))
    assert [one.frame for one in small.extract(staged)] == [U, R]
    small.finish(staged)
    assert small.catalogue(planned) == {U: COUNTS[U], R: COUNTS[R]}
    assert {row.outcome for row in small.outcomes(Stage.MIRROR).values()} == {Outcome.OK}
    sums_agree(small, planned.batch)
