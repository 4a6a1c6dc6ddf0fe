"""What is damaged, missing or cut short ends as its outcome with a sentence, and all other frames are published."""

import bz2
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from astropy.io import fits
from pipeline import COUNTS, RUN_94, RUN_4192, Pipeline, copy_frames, serve, sums_agree

from kira.errors import ValidationFailed
from kira.ledger import Ledger, Outcome, Stage
from kira.sdss import Selection
from kira.stack.local import LocalStack
from kira.stages.summary import RunIncomplete
from kira.stages.work import Services, TryAgain
from kira.storage import Manifest

pytestmark = pytest.mark.integration

DR7 = {band: f"dr7-40-004192-4-0300-{band}" for band in "ugriz"}
DR12 = {band: f"dr12-301-000094-1-0012-{band}" for band in "ugriz"}


@pytest.fixture
def dr7(servers: LocalStack, services: Services, shared_sdss: Path, tmp_path: Path) -> Pipeline:
    copy_frames(shared_sdss, tmp_path / "archive", list(DR7.values()))
    return serve(servers, services, tmp_path / "archive", "damaged-dr7", RUN_4192)


@pytest.fixture
def dr12(servers: LocalStack, services: Services, shared_sdss: Path, tmp_path: Path) -> Pipeline:
    copy_frames(shared_sdss, tmp_path / "archive", [DR12[band] for band in "ugi"])
    return serve(servers, services, tmp_path / "archive", "damaged-dr12", replace(RUN_94, bands=("u", "g", "i")))


def test_what_the_archive_serves_is_damaged_or_missing(dr7: Pipeline) -> None:
    page = b"<!DOCTYPE html>\n<html><head><title>503 Service Unavailable</title></head><body>Sorry.</body></html>\n"
    u, g, i = (dr7.file(DR7[band]) for band in "ugi")
    u.write_bytes(u.read_bytes()[: u.stat().st_size // 2])
    flipped = bytearray(g.read_bytes())
    flipped[len(flipped) // 2] ^= 0x10
    g.write_bytes(flipped)
    i.write_bytes(page)
    # Field 301 is asked for by name and not listed; z is listed, and gone when it is fetched.
    planned = dr7.planned(Selection.parse("dr7", "4192", "4", "300, 301"))
    dr7.file(DR7["z"]).unlink()

    mirrored = dr7.mirror(planned)
    assert [str(entry.frame) for entry in mirrored.entries] == [DR7["r"]]
    told = dr7.outcomes(Stage.MIRROR)
    assert {frame[-1]: row.outcome for frame, row in told.items()} == {
        "u": "corrupt_upstream", "g": "corrupt_upstream", "r": "ok", "i": "corrupt_upstream", "z": "not_in_archive",
    }  # fmt: skip
    for band, words in {"u": "truncated", "g": "damaged", "i": "an HTML page under a frame's name"}.items():
        reason = told[DR7[band]].reason
        assert words in reason
        assert "fetched twice from http://" in reason
        assert told[DR7[band]].failed_checks == 1
    assert "not in the archive (status 404)" in told[DR7["z"]].reason
    keys = dr7.services.mirror.client.list_objects_v2(Bucket=dr7.services.mirror.bucket)["Contents"]
    assert [item["Key"] for item in keys] == [mirrored.entries[0].key]

    dr7.finish(dr7.stage(mirrored))
    assert dr7.catalogue(planned) == {DR7["r"]: COUNTS[DR7["r"]]}
    sums_agree(dr7, planned.batch)
    summary = dr7.summary()
    assert summary["frames"] == {"published": 1, "corrupt_upstream": 3, "not_in_archive": 6}
    assert len(summary["problems"]) == 9
    assert all(problem["reason"] and problem["advice"] for problem in summary["problems"])

    # The next ingestion leaves alone what is damaged in the archive, and looks again for what was missing.
    later = dr7.again()
    found = later.plan()
    assert (found.found, found.published, found.settled, found.planned, found.withdrawn) == (4, 1, 3, 0, 1)
    assert later.summary()["frames"] == {"withdrawn": 1}


def test_a_frame_that_was_damaged_on_its_way_is_fetched_again(dr7: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = dr7.planned(replace(RUN_4192, bands=("u",)))
    file = dr7.file(DR7["u"])
    whole = file.read_bytes()
    file.write_bytes(whole[:100_000])
    from kira.frames import whole as module

    real = module.unpack

    def mended(content: bytes, name: str) -> bytes:
        file.write_bytes(whole)  # between the first fetch and the second
        return real(content, name)

    monkeypatch.setattr(module, "unpack", mended)
    mirrored = dr7.mirror(planned)
    assert [entry.size for entry in mirrored.entries] == [len(whole)]
    assert dr7.outcomes(Stage.MIRROR)[DR7["u"]].outcome == "ok"


def test_two_fetches_that_differ_and_are_both_damaged_may_pass(dr7: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a server that is down says when it will be back."""
    planned = dr7.planned(replace(RUN_4192, bands=("u", "r")))
    file = dr7.file(DR7["u"])
    whole = file.read_bytes()
    from kira.frames import whole as module

    real = module.unpack

    def later(content: bytes, name: str) -> bytes:
        if name == file.name:
            file.write_bytes(content + b"<p>one minute less</p>")  # before the next fetch
        return real(content, name)

    file.write_bytes(b"<html><title>Back soon</title></html>")
    monkeypatch.setattr(module, "unpack", later)
    trying = replace(dr7, attempt=replace(dr7.attempt, last=False))
    with pytest.raises(TryAgain, match=r"1 of 2 frames of batch .* fetched twice and came damaged in two ways"):
        trying.mirror(planned)
    row = dr7.outcomes(Stage.MIRROR)[DR7["u"]]
    assert row.outcome == "archive_unavailable"
    assert f"{planned.entries[0].url} was fetched twice" in row.reason
    assert dr7.services.mirror.find(planned.entries[0].key) is None

    monkeypatch.undo()
    file.write_bytes(whole)
    assert len(dr7.mirror(planned).entries) == 2
    row = dr7.outcomes(Stage.MIRROR)[DR7["u"]]
    assert (row.outcome, row.attempts) == ("ok", 2)


def test_whole_files_that_are_no_usable_frames_and_storage_that_lost_bytes(dr12: Pipeline) -> None:
    # u: a valid bz2 of a valid FITS file, whose last three HDUs are gone.
    file = dr12.file(DR12["u"])
    plain = bz2.decompress(file.read_bytes())
    with fits.open(io.BytesIO(plain)) as hdus:
        end = hdus[0].fileinfo()["datLoc"] + hdus[0].fileinfo()["datSpan"]
    file.write_bytes(bz2.compress(plain[:end], 1))
    planned = dr12.planned()
    mirrored = dr12.mirror(planned)
    assert len(mirrored.entries) == 3

    # g: the object in S3 is damaged after it was mirrored; what was handed over does not hide it.
    by_band = {entry.frame.band: entry for entry in mirrored.entries}
    client, bucket = dr12.services.mirror.client, dr12.services.mirror.bucket
    head = client.head_object(Bucket=bucket, Key=by_band["g"].key)
    client.put_object(Bucket=bucket, Key=by_band["g"].key, Body=bytes(1000), Metadata=head["Metadata"])
    staged = dr12.stage(mirrored)
    assert [entry.frame.band for entry in staged.entries] == ["u", "i"]
    row = dr12.outcomes(Stage.STAGE)[DR12["g"]]
    assert (row.outcome, row.failed_checks) == ("checksum_mismatch", 1)
    assert f"s3://{bucket}/{by_band['g'].key} came out with SHA-256" in row.reason
    assert "The object was removed" in row.reason
    assert dr12.services.mirror.find(by_band["g"].key) is None

    # i: its staged file is replaced by other bytes of the same length.
    store = dr12.services.store
    content = bytearray(store.read(by_band["i"].staged))
    content[len(content) // 2] ^= 1
    store.write(by_band["i"].staged, bytes(content))
    measured = {one.frame: one for one in dr12.extract(staged)}
    assert measured[DR12["u"]].outcome == "bad_frame"
    assert "1 HDUs where a frame of dr12 has 4" in measured[DR12["u"]].reason
    assert measured[DR12["i"]].outcome == "checksum_mismatch"
    assert by_band["i"].staged in measured[DR12["i"]].reason

    dr12.validate(staged)
    assert dr12.publish(staged) == ""
    sums_agree(dr12, planned.batch)
    assert dr12.summary()["frames"] == {"bad_frame": 1, "checksum_mismatch": 2}

    # The next ingestion fetches g and stages i anew; u stays a bad frame.
    later = dr12.again()
    once_more = later.planned()
    assert [entry.frame.band for entry in once_more.entries] == ["g", "i"]
    later.finish(later.stage(later.mirror(once_more)))
    assert later.catalogue(once_more) == {DR12[band]: COUNTS[DR12[band]] for band in "gi"}
    sums_agree(later, once_more.batch)
    assert {frame[-1]: row.again for frame, row in later.outcomes(Stage.MIRROR).items()} == {"g": False, "i": True}
    assert later.summary()["frames"] == {"published": 2}

    # Once the archive holds a frame under u's name, trying again fetches it, and leaves the others alone.
    file.write_bytes(bz2.compress(plain, 1))
    mended = dr12.again("manual__3")
    kept = {key: item for key, item in objects(dr12).items() if key != by_band["u"].key}
    u = mended.planned(again=True)
    assert [entry.frame.band for entry in u.entries] == ["u"]
    assert objects(dr12) == kept
    assert not store.exists(by_band["u"].staged)
    mended.finish(mended.stage(mended.mirror(u)))
    assert mended.catalogue(u) == {DR12["u"]: COUNTS[DR12["u"]]}
    assert objects(dr12).items() > kept.items()
    assert mended.summary()["frames"] == {"published": 1}


def objects(pipeline: Pipeline) -> dict[str, tuple[Any, str]]:
    mirror = pipeline.services.mirror
    listed = mirror.client.list_objects_v2(Bucket=mirror.bucket)["Contents"]
    return {item["Key"]: (item["LastModified"], item["ETag"]) for item in listed}


def test_a_batch_over_its_failure_budget_is_not_published(dr7: Pipeline) -> None:
    planned = dr7.planned()
    staged = dr7.stage(dr7.mirror(planned))
    store = dr7.services.store
    for entry in staged.entries[:3]:
        store.write(entry.staged, b"\0" * (entry.plain_size or 0))
    dr7.extract(staged)
    with pytest.raises(ValidationFailed, match="3 of 5 frames failed in extraction, more than 20%"):
        dr7.validate(staged)
    assert not store.exists(planned.published)
    rows = dr7.outcomes(Stage.VALIDATE)
    assert {row.outcome for row in rows.values()} == {Outcome.NOT_VALID}
    assert len(rows) == 2
    with pytest.raises(RunIncomplete, match="2 frames are held back by validation: 3 of 5 frames failed"):
        dr7.summary()
    assert dr7.report()["frames"] == {"checksum_mismatch": 3, "not_valid": 2}
    # Nor does a task that is cleared publish it.
    with pytest.raises(ValidationFailed, match="was not validated as it is now"):
        dr7.publish(staged)
    assert not store.exists(planned.published)

    # Planned again, the same batch goes all the way: the damaged files were removed, and are staged anew.
    later = dr7.again()
    once_more = later.planned()
    assert once_more.batch == planned.batch
    later.finish(later.stage(later.mirror(once_more)))
    assert later.catalogue(once_more) == {name: COUNTS[name] for name in DR7.values()}
    sums_agree(later, planned.batch)
    assert later.summary()["frames"] == {"published": 5}
    # What the first run has to say of the same batch is still there.
    assert {row.outcome for row in dr7.outcomes(Stage.VALIDATE).values()} == {Outcome.NOT_VALID}
    assert dr7.outcomes(Stage.PUBLISH) == {}


def test_a_batch_whose_bytes_were_lost_on_the_way_is_extracted_anew_when_its_tasks_are_cleared(dr7: Pipeline) -> None:
    """In the same DAG run: stage, extract, validate and publish, in this order."""
    planned = dr7.planned(replace(RUN_4192, bands=("u", "r", "z")))
    staged = dr7.stage(dr7.mirror(planned))
    store = dr7.services.store
    (lost,) = [entry for entry in staged.entries if entry.frame.band == "z"]
    store.write(lost.staged, b"\0" * (lost.plain_size or 0))
    dr7.extract(staged)
    dr7.validate(staged)
    assert dr7.outcomes(Stage.EXTRACT)[DR7["z"]].outcome == "checksum_mismatch"
    staged = dr7.stage(planned_again := dr7.mirror(planned))
    assert planned_again.entries == staged.entries
    assert [one.outcome for one in dr7.extract(staged)] == ["ok"] * 3
    assert not store.exists(f"{staged.extracted}/_validation.json")
    with pytest.raises(ValidationFailed, match="was not validated as it is now: clear its validate task"):
        dr7.publish(staged)
    dr7.validate(staged)
    dr7.publish(staged)
    assert dr7.catalogue(planned) == {DR7[band]: COUNTS[DR7[band]] for band in "urz"}
    row = dr7.outcomes(Stage.EXTRACT)[DR7["z"]]
    assert (row.outcome, row.attempts) == ("ok", 2)
    sums_agree(dr7, planned.batch)
    assert dr7.summary()["frames"] == {"published": 3}


def test_a_field_of_which_the_archive_lacks_a_band_is_told(dr12: Pipeline) -> None:
    dr12.file(DR12["g"]).unlink()
    planned = dr12.planned(Selection.parse("dr12", bands="ugi"))
    assert [entry.frame.band for entry in planned.entries] == ["u", "i"]
    dr12.finish(dr12.stage(dr12.mirror(planned)))
    assert dr12.summary()["frames"] == {"published": 2, "not_in_archive": 1}
    assert [problem["frame"] for problem in dr12.report()["problems"]] == [DR12["g"]]


def test_runs_that_overlap_publish_a_frame_once(dr7: Pipeline, tmp_path: Path) -> None:
    """Two ingestions plan the same frame, and neither knows of the other: as with a ledger that was put back."""
    first, second = dr7, dr7.again()
    one = first.planned(replace(RUN_4192, bands=("u", "r")))
    blind = replace(second, services=replace(second.services, ledger=Ledger(f"sqlite:///{tmp_path}/blind.db")))
    other = blind.planned(replace(RUN_4192, bands=("u", "z")))
    first.finish(first.stage(first.mirror(one)))
    staged = second.stage(second.mirror(other))
    second.extract(staged)
    second.validate(staged)
    with pytest.raises(ValidationFailed, match=f"1 of the 2 frames .* the first {DR7['u']} by batch {one.batch}"):
        second.publish(staged)
    assert second.catalogue(other) == {}
    with pytest.raises(RunIncomplete, match="2 frames stopped on the way"):
        second.summary()
    third = dr7.again("manual__3")
    # u is in the catalogue, and its bytes are those; z is brought to its end.
    for uri in third.plan(replace(RUN_4192, bands=("u", "z"))).batches:
        rest = Manifest.load(third.services.store, uri)
        third.finish(third.stage(third.mirror(rest)))
    assert third.catalogue(one) | third.catalogue(rest) == {DR7[band]: COUNTS[DR7[band]] for band in "urz"}
    assert first.summary()["frames"] == {"published": 2}
    assert third.summary()["frames"] == {"published": 1, "same_bytes": 1}
