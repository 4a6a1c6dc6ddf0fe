"""What changes in an archive between two ingestions: that alone is done, and the catalogue stays whole all the time."""

import bz2
import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from pipeline import COUNTS, PARAMETERS, Pipeline, copy_frames, serve
from typing_extensions import override

from kira.catalog import read_parts, to_table
from kira.extraction import extract
from kira.frames import read_frame
from kira.frames.staged import plain_of
from kira.ledger import Context, Ledger, Outcome, Stage
from kira.ledger.status import catalogues, check, not_published
from kira.sdss import FrameId, Selection
from kira.stack.local import LocalStack
from kira.stages.digests import RowDigests
from kira.stages.extraction import read_outcomes
from kira.stages.plan import Plan
from kira.stages.work import Services
from kira.storage import Entry, Manifest, Store, open_store
from kira.storage.stores import HdfsStore

pytestmark = pytest.mark.integration

U, G = "dr12-301-000094-1-0012-u", "dr12-301-000094-1-0131-g"
FOUND = COUNTS | {G: 238}
RUN = Selection.parse("dr12", "94", "1")
BEGAN = 1_600_000_000.0
IDENTITY = ("release", "rerun", "run", "camcol", "field", "band")


def serving(servers: LocalStack, services: Services, shared: Path, folder: Path, names: list[str]) -> Pipeline:
    copy_frames(shared, folder, names)
    pipeline = serve(servers, services, folder, "grows", RUN)
    for name in names:
        dated(pipeline, name, 0)
    return pipeline


@pytest.fixture
def archive(servers: LocalStack, services: Services, shared_sdss: Path, tmp_path: Path) -> Iterator[Pipeline]:
    """An archive of one frame of each of two fields."""
    yield serving(servers, services, shared_sdss, tmp_path / "archive", [U, G])
    services.ledger.engine.dispose()


def dated(pipeline: Pipeline, name: str, days: int) -> None:
    """Give a file of the archive a date."""
    os.utime(pipeline.file(name), (BEGAN, BEGAN + days * 86400))


def altered(content: bytes) -> bytes:
    """A frame as its archive might have made it anew: the same sky, with a part of it taken out."""
    packed = io.BytesIO()
    with fits.open(io.BytesIO(bz2.decompress(content))) as hdus:
        pixels = np.array(hdus[0].data)
        pixels[300:900, 500:1500] = 0
        hdus[0].data = pixels
        hdus.writeto(packed, output_verify="ignore")
    return bz2.compress(packed.getvalue(), 1)


def changes(pipeline: Pipeline, name: str, days: int) -> bytes:
    """Put another file in the place of a frame; its bytes."""
    content = altered(pipeline.file(name).read_bytes())
    pipeline.file(name).write_bytes(content)
    dated(pipeline, name, days)
    return content


def ingest(pipeline: Pipeline, dag_run: str) -> Plan:
    """All of an ingestion, as a DAG run of that name."""
    now = pipeline.again(dag_run)
    done = now.plan()
    for uri in done.batches:
        staged = now.stage(now.mirror(Manifest.load(now.services.store, uri)))
        now.finish(staged)
    now.summary()
    return done


Rows = dict[str, list[dict[str, Any]]]


def rows_of(table: Any) -> Rows:
    """Rows of a table by frame, in an order of their own."""
    found: Rows = {}
    for row in table.to_pylist():
        frame = "{}-{}-{:06d}-{}-{:04d}-{}".format(*(row[name] for name in IDENTITY))
        found.setdefault(frame, []).append(row)
    return {frame: sorted(rows, key=repr) for frame, rows in found.items()}


def catalogue(store: Store, archive: str = "grows") -> Rows:
    """What a reader sees, who opens every Parquet file that there is."""
    paths = [path for path, file in store.walk(f"{archive}/catalog") if file.name.endswith(".parquet")]
    return rows_of(read_parts(store.read(path) for path in paths)) if paths else {}


def measured(content: bytes, name: str) -> list[dict[str, Any]]:
    """Rows that a file should give."""
    frame = FrameId.parse(name)
    return rows_of(to_table(frame, extract(read_frame(bz2.decompress(content), frame), PARAMETERS)))[name]


def agrees(ledger: Ledger, sources: dict[str, int]) -> None:
    """The ledger's sums agree, and it says of the catalogue what is in it."""
    (known,) = catalogues(ledger)
    assert check(ledger, known) == []
    told = ledger.published(known.archive, known.release, known.profile)
    assert sorted(frame for frames in told.values() for frame in frames) == sorted(sources)


def of_mirror(pipeline: Pipeline, name: str) -> tuple[bytes, dict[str, str], Any]:
    mirror = pipeline.services.mirror
    key = f"grows/{FrameId.parse(name).release.service}/{FrameId.parse(name).archive_path}"
    found = mirror.client.get_object(Bucket=mirror.bucket, Key=key)
    return found["Body"].read(), found["Metadata"], found["LastModified"]


def stages_done(pipeline: Pipeline, dag_run: str) -> set[tuple[str, str, str]]:
    rows = pipeline.services.ledger.outcomes(dag_run)
    return {(row.frame, row.stage, row.outcome) for row in rows}


# -- new frames


def test_an_archive_that_grows_by_one_field_has_that_alone_done(archive: Pipeline) -> None:
    hidden = archive.file(G).rename(archive.folder / "not yet there")
    assert ingest(archive, "first").why == {"new": 1}
    before, mirrored = catalogue(archive.services.store), of_mirror(archive, U)
    assert {frame: len(rows) for frame, rows in before.items()} == {U: FOUND[U]}

    hidden.rename(archive.file(G))
    done = ingest(archive, "second")
    assert (done.found, done.published, done.new, done.planned, done.why) == (2, 1, 1, 1, {"new": 1})
    assert {frame for frame, _, _ in stages_done(archive, "second")} == {G}
    after = catalogue(archive.services.store)
    assert after[U] == before[U]
    assert {frame: len(rows) for frame, rows in after.items()} == {U: FOUND[U], G: FOUND[G]}
    assert of_mirror(archive, U) == mirrored
    agrees(archive.services.ledger, {U: 1, G: 1})
    assert ingest(archive, "third").planned == 0


# -- frames that are other files


def test_a_frame_that_changes_has_its_rows_replaced_and_nothing_else_is_touched(archive: Pipeline) -> None:
    store = archive.services.store
    first = archive.again("first")
    planned = first.planned()
    first.finish(first.stage(first.mirror(planned)))
    before, files = catalogue(store), [file.name for file in store.listing(planned.published)]
    content = changes(archive, U, 1)

    second = archive.again("second")
    found = second.plan()
    assert (found.changed, found.published, found.why) == (1, 1, {"changed": 1})
    (entry,) = Manifest.load(store, found.batches[0]).entries
    assert (str(entry.frame), entry.replaces) == (U, planned.batch)
    staged = second.stage(second.mirror(Manifest.load(store, found.batches[0])))
    assert of_mirror(archive, U)[0] == content
    path = staged.entries[0].staged
    assert plain_of(store.read(path), path) == bz2.decompress(content)
    second.extract(staged)
    second.validate(staged)
    assert catalogue(store) == before  # until it is published
    second.publish(staged)

    after = catalogue(store)
    assert after == {U: measured(content, U), G: before[G]}
    assert after[U] != before[U]
    assert [file.name for file in store.listing(planned.published)] == files
    told = {one.frame: one for one in read_outcomes(store, planned.published)}
    assert {frame: one.sources for frame, one in told.items()} == {frame: len(rows) for frame, rows in after.items()}
    kept = {str(e.frame): e for e in Manifest.load(store, store.uri(f"{planned.published}/_manifest.jsonl")).entries}
    assert kept[U].sha256 == hashlib.sha256(content).hexdigest()
    assert (kept[U].replaces, kept[U].published) == (None, None)
    agrees(archive.services.ledger, {U: 1, G: 1})
    assert second.summary()["frames"] == {"published": 1}

    # All of it again, as when its tasks are cleared, changes nothing, and there is nothing left to do.
    second.mirror(Manifest.load(store, found.batches[0]))
    second.stage(staged)
    assert second.extract(staged) == []
    second.validate(staged)
    second.publish(staged)
    assert catalogue(store) == after
    agrees(archive.services.ledger, {U: 1, G: 1})
    assert ingest(archive, "third").planned == 0

    # A ledger that is lost learns the same from the folders.
    fresh = Ledger(f"sqlite:///{archive.folder.parent}/fresh.db")
    rebuilt = replace(archive, services=replace(archive.services, ledger=fresh))
    assert rebuilt.again("rebuilt").plan().planned == 0
    agrees(fresh, {U: 1, G: 1})
    changes(archive, G, 2)
    assert rebuilt.again("rebuilt-2").plan().why == {"changed": 1}
    fresh.engine.dispose()


def test_a_frame_that_changes_twice_and_loses_all_its_sources(archive: Pipeline) -> None:
    store = archive.services.store
    ingest(archive, "first")
    original = archive.file(U).read_bytes()
    for number in (1, 2):
        changes(archive, U, number)
        archive.file(U).write_bytes(archive.file(U).read_bytes() if number == 1 else blank(original))
        dated(archive, U, number)
        ingest(archive, f"change-{number}")
    assert set(catalogue(store)) == {G}
    agrees(archive.services.ledger, {U: 0, G: 1})
    # And is what it was in the end.
    archive.file(U).write_bytes(original)
    dated(archive, U, 3)
    ingest(archive, "back")
    assert {frame: len(rows) for frame, rows in catalogue(store).items()} == {U: FOUND[U], G: FOUND[G]}
    agrees(archive.services.ledger, {U: 1, G: 1})


def blank(content: bytes) -> bytes:
    """A frame of nothing but noise."""
    packed = io.BytesIO()
    with fits.open(io.BytesIO(bz2.decompress(content))) as hdus:
        hdus[0].data = np.random.default_rng(1).normal(0, 0.02, hdus[0].data.shape).astype(np.float32)
        hdus.writeto(packed, output_verify="ignore")
    return bz2.compress(packed.getvalue(), 1)


def test_a_new_date_alone_has_nothing_measured_anew(archive: Pipeline) -> None:
    ingest(archive, "first")
    before = catalogue(archive.services.store)
    dated(archive, U, 1)
    done = ingest(archive, "second")
    assert (done.changed, done.why) == (1, {"changed": 1})
    assert stages_done(archive, "second") == {(U, "plan", "ok"), (U, "mirror", "same_bytes")}
    assert catalogue(archive.services.store) == before
    content, about, _ = of_mirror(archive, U)
    assert content == archive.file(U).read_bytes()
    assert "2020-09-14" in about["listed"]
    agrees(archive.services.ledger, {U: 1, G: 1})
    assert ingest(archive, "third").planned == 0


def test_a_change_is_noticed_of_what_was_mirrored_without_a_listing(archive: Pipeline) -> None:
    """As from the run list, or before listings were kept: neither ledger nor mirror knows a date or a size."""
    now = archive.again("first")
    planned = now.planned()
    now = archive.again("blind")
    blind = replace(planned, entries=tuple(replace(e, listed="") for e in planned.entries))
    now.finish(now.stage(now.mirror(blind)))
    assert "listed" not in of_mirror(archive, U)[1]
    assert ingest(archive, "second").planned == 0
    content = changes(archive, U, 1)
    assert ingest(archive, "third").why == {"changed": 1}
    assert of_mirror(archive, U)[0] == content
    assert catalogue(archive.services.store)[U] == measured(content, U)
    assert ingest(archive, "fourth").planned == 0
    agrees(archive.services.ledger, {U: 1, G: 1})


def test_a_change_that_cannot_be_measured_leaves_the_old_rows(archive: Pipeline) -> None:
    ingest(archive, "first")
    before = catalogue(archive.services.store)
    archive.file(U).write_bytes(archive.file(G).read_bytes())  # the file of another frame
    dated(archive, U, 1)
    ingest(archive, "second")
    assert (U, "extract", "bad_frame") in stages_done(archive, "second")
    assert catalogue(archive.services.store) == before
    assert ingest(archive, "third").planned == 0
    changes(archive, G, 2)
    archive.file(U).write_bytes(archive.file(G).read_bytes()[:5000])  # and then half a file
    dated(archive, U, 3)
    assert ingest(archive, "fourth").why == {"changed": 2}
    assert (U, "mirror", "corrupt_upstream") in stages_done(archive, "fourth")
    assert catalogue(archive.services.store)[U] == before[U]
    assert ingest(archive, "fifth").planned == 0
    agrees(archive.services.ledger, {U: 1, G: 1})


def test_a_frame_that_was_damaged_is_taken_up_once_it_is_another_file(archive: Pipeline) -> None:
    original = archive.file(U).read_bytes()
    archive.file(U).write_bytes(original[:-5000])
    dated(archive, U, 0)
    ingest(archive, "first")
    assert (U, "mirror", "corrupt_upstream") in stages_done(archive, "first")
    assert ingest(archive, "second").settled == 1
    archive.file(U).write_bytes(original)
    dated(archive, U, 1)
    assert ingest(archive, "third").why == {"changed": 1}
    assert len(catalogue(archive.services.store)[U]) == FOUND[U]
    agrees(archive.services.ledger, {U: 1, G: 1})


# -- what the mirror lost, what the archive withdrew


def test_an_object_that_is_gone_from_the_mirror_is_fetched_again(archive: Pipeline) -> None:
    ingest(archive, "first")
    before, mirror = catalogue(archive.services.store), archive.services.mirror
    key = f"grows/{FrameId.parse(U).release.service}/{FrameId.parse(U).archive_path}"
    mirror.delete(key)
    done = ingest(archive, "second")
    assert (done.lost, done.published, done.why) == (1, 1, {"lost": 1})
    assert of_mirror(archive, U)[0] == archive.file(U).read_bytes()
    assert stages_done(archive, "second") == {(U, "plan", "ok"), (U, "mirror", "same_bytes")}
    assert catalogue(archive.services.store) == before
    assert ingest(archive, "third").planned == 0
    # Gone, and another file by now.
    mirror.delete(key)
    content = changes(archive, U, 1)
    assert ingest(archive, "fourth").planned == 1
    assert of_mirror(archive, U)[0] == content
    assert catalogue(archive.services.store) == {U: measured(content, U), G: before[G]}
    assert {outcome for _, _, outcome in stages_done(archive, "fourth")} == {"ok"}
    agrees(archive.services.ledger, {U: 1, G: 1})


def test_an_object_of_another_length_is_not_taken_for_the_frame(archive: Pipeline) -> None:
    """As a disk that lost the end of a file, and kept what is said about it."""
    ingest(archive, "first")
    mirror, (content, about, _) = archive.services.mirror, of_mirror(archive, U)
    key = f"grows/{FrameId.parse(U).release.service}/{FrameId.parse(U).archive_path}"
    mirror.client.put_object(Bucket=mirror.bucket, Key=key, Body=content[:-100], Metadata=about)
    done = ingest(archive, "second")
    assert (done.lost, done.why) == (1, {"lost": 1})
    assert (U, "mirror", "checksum_mismatch") in stages_done(archive, "second")
    ingest(archive, "third")
    assert of_mirror(archive, U)[0] == content
    assert ingest(archive, "fourth").planned == 0
    agrees(archive.services.ledger, {U: 1, G: 1})


def test_a_frame_that_is_withdrawn_is_told_of_and_stays(archive: Pipeline) -> None:
    ingest(archive, "first")
    before, content = catalogue(archive.services.store), archive.file(U).read_bytes()
    archive.file(U).unlink()
    done = ingest(archive, "second")
    assert (done.found, done.withdrawn, done.missing, done.planned) == (1, 1, 0, 0)
    ((frame, stage, outcome),) = stages_done(archive, "second")
    assert (frame, stage, outcome) == (U, "plan", "withdrawn")
    assert catalogue(archive.services.store) == before
    assert of_mirror(archive, U)[0] == content
    (known,) = catalogues(archive.services.ledger)
    (row,) = not_published(archive.services.ledger, known, RUN)
    assert (row.frame, row.withdrawn) == (U, True)
    assert ingest(archive, "third").withdrawn == 0
    archive.file(U).write_bytes(content)
    dated(archive, U, 0)
    done = ingest(archive, "fourth")
    assert (done.returned, done.planned) == (1, 0)
    agrees(archive.services.ledger, {U: 1, G: 1})


# -- a published checksum that does not agree


def test_bytes_that_are_not_those_of_the_published_checksum_end_in_quarantine(archive: Pipeline) -> None:
    wrong, right = "0" * 40, hashlib.sha1(archive.file(U).read_bytes(), usedforsecurity=False).hexdigest()
    sums = archive.file(U).parent / "frames.sha1sum"
    sums.write_text(f"{wrong}  {archive.file(U).name}\n")
    for run, outcome in (("1", "checksum_mismatch"), ("2", "checksum_mismatch"), ("3", "quarantined")):
        assert ingest(archive, run).planned == (2 if run == "1" else 1)
        row = next(row for row in archive.services.ledger.outcomes(run, Stage.MIRROR) if row.frame == U)
        assert row.outcome == outcome
        assert wrong in row.reason
        assert right in row.reason
    assert "number 3 in a row: quarantined" in row.reason
    assert set(catalogue(archive.services.store)) == {G}
    done = ingest(archive, "4")
    assert (done.settled, done.planned) == (1, 0)
    (known,) = catalogues(archive.services.ledger)
    (held,) = not_published(archive.services.ledger, known, RUN)
    assert (held.outcome, held.advice) == ("quarantined", Outcome.QUARANTINED.advice)

    # AGAIN gives it all chances anew, and while nothing is mended they are used up anew.
    again = archive.again("5")
    (uri,) = again.plan(again=True).batches
    again.mirror(Manifest.load(again.services.store, uri))
    assert (U, "mirror", "checksum_mismatch") in stages_done(archive, "5")
    # Mended, it is noticed by itself.
    sums.write_text(f"{right}  {archive.file(U).name}\n")
    assert ingest(archive, "6").planned == 1
    assert len(catalogue(archive.services.store)[U]) == FOUND[U]
    assert archive.services.ledger.mismatches(
        Context("b", "grows", "dr12", PARAMETERS.slug, "r"), [FrameId.parse(U)]
    ) == {}  # fmt: skip
    agrees(archive.services.ledger, {U: 1, G: 1})


def test_a_quarantined_frame_is_taken_up_once_its_checksum_is_mended(archive: Pipeline) -> None:
    right = hashlib.sha1(archive.file(U).read_bytes(), usedforsecurity=False).hexdigest()
    sums = archive.file(U).parent / "frames.sha1sum"
    sums.write_text(f"{'0' * 40}  {archive.file(U).name}\n")
    for run in "123":
        ingest(archive, run)
    assert (U, "mirror", "quarantined") in stages_done(archive, "3")
    sums.write_text(f"{right}  {archive.file(U).name}\n")
    assert ingest(archive, "4").why == {"changed": 1}
    agrees(archive.services.ledger, {U: 1, G: 1})


# -- interrupted at each step of replacing


class Killed(BaseException):
    """The process is gone."""


class Dying(HdfsStore):
    """A store whose process is killed before a certain operation: that one and all later ones are not done."""

    def __init__(self, url: str, at: int) -> None:
        super().__init__(url)
        self.left = at

    def _step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed

    @override
    def _write(self, path: str, content: bytes) -> None:
        if self.left == 0:
            super()._write(path, content[: len(content) // 2])  # half of it got there
        self._step()
        super()._write(path, content)

    @override
    def read(self, path: str) -> bytes:
        self._step()
        return super().read(path)

    @override
    def size(self, path: str) -> int | None:
        self._step()
        return super().size(path)

    @override
    def rename(self, source: str, target: str, *, overwrite: bool = False) -> None:
        self._step()
        super().rename(source, target, overwrite=overwrite)

    @override
    def delete(self, path: str) -> None:
        self._step()
        super().delete(path)

    @override
    def listing(self, path: str) -> Any:
        self._step()
        return super().listing(path)


def tree(store: Store, folder: str) -> dict[str, bytes]:
    return {path: store.read(path) for path, _ in store.walk(folder)}


def put_back(store: Store, folder: str, files: dict[str, bytes]) -> None:
    store.delete(folder)
    for path, content in files.items():
        store.write(path, content)


def test_killed_at_any_step_of_replacing_it_ends_the_same(archive: Pipeline, tmp_path: Path) -> None:
    store, ledger = archive.services.store, archive.services.ledger
    ingest(archive, "first")
    before = catalogue(store)
    content = changes(archive, U, 1)
    wanted = {U: measured(content, U), G: before[G]}
    second = archive.again("second")
    staged = second.stage(second.mirror(second.planned()))
    second.extract(staged)
    second.validate(staged)
    ledger.engine.dispose()
    shutil.copy(tmp_path / "ledger.db", tmp_path / "before.db")
    files = tree(store, "grows")
    steps = 0
    seen: set[str] = set()
    while True:
        shutil.copy(tmp_path / "before.db", tmp_path / f"{steps}.db")
        at_work = Ledger(f"sqlite:///{tmp_path}/{steps}.db")
        dying = replace(second, services=replace(second.services, ledger=at_work, store=Dying(store.url, steps)))
        try:
            dying.publish(staged)
            killed = False
        except Killed:
            killed = True
        now = catalogue(store)
        assert now in (before, wanted), f"killed at step {steps}, a reader sees neither the old rows nor the new ones"
        seen.add("old" if now == before else "new")

        mended = replace(second, services=replace(second.services, ledger=at_work))
        # Either the task is tried again, or the next ingestion goes on with what is left.
        if steps % 2:
            mended.publish(staged)
        else:
            ingest(mended, f"after-{steps}")
        assert catalogue(store) == wanted, f"killed at step {steps}"
        told = {one.frame: one.sources for one in read_outcomes(store, holder(store))}
        assert told == {frame: len(rows) for frame, rows in wanted.items()}
        left = [path for path in tree(store, "grows/catalog") if ".aside-" in path]
        assert left == []
        digests = RowDigests.load(store, holder(store))
        assert digests in (None, RowDigests.read(store, holder(store), digests.parts if digests else ()))
        agrees(at_work, {U: 1, G: 1})
        assert ingest(mended, f"over-{steps}").planned == 0
        at_work.engine.dispose()
        if not killed:
            break
        put_back(store, "grows", files)
        steps += 1
    assert steps > 10
    assert seen == {"old", "new"}


def holder(store: Store) -> str:
    (folder,) = {path.rpartition("/")[0] for path, _ in store.walk("grows/catalog")}
    return folder


def test_the_ledger_that_fails_when_all_is_replaced_hears_of_it_later(
    archive: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, ledger = archive.services.store, archive.services.ledger
    ingest(archive, "first")
    before, content = catalogue(store), changes(archive, U, 1)
    second = archive.again("second")
    staged = second.stage(second.mirror(second.planned()))
    second.extract(staged)
    second.validate(staged)

    def away(_context: Context, _stage: Stage, _records: Any) -> None:
        raise ConnectionError("the database went away")

    with monkeypatch.context() as patched:
        patched.setattr(ledger, "record", away)
        with pytest.raises(ConnectionError):
            second.publish(staged)
    assert catalogue(store) == {U: measured(content, U), G: before[G]}
    ingest(archive, "third")
    assert catalogue(store) == {U: measured(content, U), G: before[G]}
    assert ingest(archive, "fourth").planned == 0
    agrees(ledger, {U: 1, G: 1})


# -- many files, many frames


def test_only_the_files_that_hold_a_changed_frame_are_written(archive: Pipeline) -> None:
    """Two batches, one changed frame in each: one batch replaces both."""
    store = archive.services.store
    first = archive.again("first")
    for uri in first.plan(batch_size=1).batches:
        first.finish(first.stage(first.mirror(Manifest.load(store, uri))))
    assert len(archive.services.ledger.published("grows", "dr12", PARAMETERS.slug)) == 2
    contents = {name: changes(archive, name, 1) for name in (U, G)}
    done = ingest(archive, "second")
    assert (done.changed, len(done.batches)) == (2, 1)
    assert catalogue(store) == {name: measured(content, name) for name, content in contents.items()}
    agrees(archive.services.ledger, {U: 1, G: 1})


# -- two runs at once


def test_what_another_run_has_in_hand_is_left_to_it(archive: Pipeline) -> None:
    ingest(archive, "first")
    changes(archive, U, 1)
    archive.services.mirror.delete(entry_of(archive, G).key)
    second = archive.again("second")
    manifest = second.planned()
    third = archive.again("third")
    live: Callable[[str], bool] = "second".__eq__
    found = third.plan(is_live=live)
    assert (found.planned, found.elsewhere) == (0, 2)
    staged = second.stage(second.mirror(manifest))
    assert third.plan(is_live=live).elsewhere == 1  # the other's bytes were the same
    second.finish(staged)
    assert third.plan(is_live=live).elsewhere == 0
    # Killed instead, all of it is taken up.
    changes(archive, U, 2)
    assert archive.again("fourth").plan().planned == 1
    assert archive.again("fifth").plan(is_live=lambda _: False).why == {"changed": 1}


def entry_of(pipeline: Pipeline, name: str) -> Entry:
    store = pipeline.services.store
    entries = Manifest.load(store, store.uri(f"{holder(store)}/_manifest.jsonl")).entries
    return next(entry for entry in entries if str(entry.frame) == name)


# -- the same on PostgreSQL


def test_all_of_it_with_the_ledger_on_postgresql(archive: Pipeline, postgresql_database: str) -> None:
    ledger = Ledger(postgresql_database)
    on_postgresql = replace(archive, services=replace(archive.services, ledger=ledger))
    hidden = archive.file(G).rename(archive.folder / "not yet there")
    assert ingest(on_postgresql, "first").why == {"new": 1}
    hidden.rename(archive.file(G))
    assert ingest(on_postgresql, "second").why == {"new": 1}
    content = changes(archive, U, 1)
    assert ingest(on_postgresql, "third").why == {"changed": 1}
    dated(archive, U, 2)
    assert ingest(on_postgresql, "fourth").why == {"changed": 1}
    archive.file(G).unlink()
    assert ingest(on_postgresql, "fifth").withdrawn == 1
    assert ingest(on_postgresql, "sixth").planned == 0
    found = catalogue(open_store(archive.services.store.url))
    assert found[U] == measured(content, U)
    assert len(found[G]) == FOUND[G]
    agrees(ledger, {U: 1, G: 1})
    assert {stage: rate.frames for stage, rate in ledger.rates("grows", "dr12").items()}[Stage.PUBLISH] == 3
    ledger.engine.dispose()
