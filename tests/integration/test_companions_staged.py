"""What lies beside frames goes with them through the stages of an ingestion by the profile `survey`."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pipeline import RUN_94, RUN_4192, Pipeline, copy_frames, serve, sums_agree

from kira.catalog import read_parts
from kira.extraction import SurveyProfile
from kira.ledger import Outcome, Stage
from kira.sdss import FrameId, Selection
from kira.sdss.beside import Kind, path_beside
from kira.stack.local import LocalStack
from kira.stages.beside import mirrored
from kira.stages.extraction import read_outcomes
from kira.stages.work import Services, TryAgain
from kira.storage import Beside, Manifest

pytestmark = pytest.mark.integration

OLD = [FrameId.parse(f"dr7-40-004192-4-0300-{band}") for band in "ur"]
NEW = [FrameId.parse(f"dr12-301-000094-1-0012-{band}") for band in "ur"]
Served = Callable[[list[FrameId], Selection], Pipeline]


@pytest.fixture
def served(servers: LocalStack, services: Services, shared_sdss: Path, tmp_path: Path) -> Served:
    """Serve frames with all that lies beside them."""

    def serve_with(frames: list[FrameId], selection: Selection) -> Pipeline:
        folder = tmp_path / "archive"
        copy_frames(shared_sdss, folder, [str(frame) for frame in frames])
        for frame in frames:
            for kind in Kind:
                path = f"{frame.release.service}/{path_beside(frame, kind)}"
                if (shared_sdss / path).is_file():
                    (folder / path).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(shared_sdss / path, folder / path)
        pipeline = serve(servers, services, folder, "beside", replace(selection, bands=("u", "r")))
        return replace(pipeline, profile=SurveyProfile())

    return serve_with


def file_of(pipeline: Pipeline, frame: FrameId, kind: Kind) -> Path:
    return pipeline.folder / frame.release.service / str(path_beside(frame, kind))


def told(manifest: Manifest, frame: FrameId) -> dict[str, str]:
    """Kind of file beside a frame, and what became of it: its SHA-256 or why it is missing."""
    (entry,) = (one for one in manifest.entries if one.frame == frame)
    return {one.kind: one.missing or str(one.sha256)[:8] for one in entry.beside}


def test_old_frames_are_calibrated_by_tsfield_and_have_the_noise_of_psfield(served: Served) -> None:
    dr7 = served(OLD, RUN_4192)
    planned = dr7.planned()
    staged = dr7.stage(dr7.mirror(planned))
    for frame in OLD:
        assert told(staged, frame).keys() == {"tsField", "psField", "fpM"}
        assert all(len(one) == 8 for one in told(staged, frame).values())
    # Of one field, and so one file for both.
    keys = dr7.services.mirror.listing("beside/")
    assert sorted(Path(key).name for key in keys) == [
        "fpC-004192-r4-0300.fit.gz", "fpC-004192-u4-0300.fit.gz", "fpM-004192-r4-0300.fit", "fpM-004192-u4-0300.fit",
        "psField-004192-4-0300.fit", "tsField-004192-4-40-0300.fit",
    ]  # fmt: skip
    dr7.finish(staged)
    measured = {one.frame: one for one in read_outcomes(dr7.services.store, staged.published)}
    for frame in OLD:
        one = measured[str(frame)]
        assert (one.calibration, one.noise, one.remarks) == ("tsField", "psField", [])
        assert one.seeing
        assert 0.5 < one.seeing < 3
    store = dr7.services.store
    table = read_parts(store.read(f"{staged.published}/{part}") for part in {one.part for one in measured.values()})
    assert set(table["calibration"].to_pylist()) == {"tsField"}
    sums_agree(dr7, planned.batch)

    # Once more: nothing is fetched, and nothing staged; and a companion that was lost from the store comes back.
    again = dr7.mirror(planned)
    assert again.entries == staged.entries
    lost = staged.entries[0].beside[1].staged
    store.delete(lost)
    dr7.stage(again)
    assert store.exists(lost)


def test_without_what_lies_beside_a_frame_is_good_and_says_so(served: Served) -> None:
    dr7 = served(OLD, RUN_4192)
    file_of(dr7, OLD[0], Kind.TSFIELD).unlink()
    file_of(dr7, OLD[0], Kind.PSFIELD).write_bytes(b"<!DOCTYPE html><html>Please log in</html>")
    staged = dr7.stage(dr7.mirror(dr7.planned()))
    u = told(staged, OLD[0])
    assert u["tsField"] == "tsField-004192-4-40-0300.fit is not in the archive."
    assert u["psField"].startswith("psField-004192-4-0300.fit is damaged in the archive: ")
    assert "an HTML page" in u["psField"]
    dr7.finish(staged)
    for one in read_outcomes(dr7.services.store, staged.published):
        assert (one.outcome, one.calibration, one.noise) == (Outcome.OK, "FLUX20", "table")
        assert one.remarks[:2] == [u["tsField"], u["psField"]]


def test_what_cannot_be_had_just_now_is_waited_for(served: Served) -> None:
    dr7 = served(OLD, RUN_4192)
    planned = dr7.planned()

    def away(one: Beside) -> Beside:
        # Nothing listens there.
        return replace(one, url="http://127.0.0.1:9/psField.fit") if one.kind == Kind.PSFIELD else one

    unreachable = replace(
        planned, entries=tuple(replace(one, beside=tuple(map(away, one.beside))) for one in planned.entries)
    )
    waiting = replace(dr7, attempt=replace(dr7.attempt, last=False))
    with pytest.raises(TryAgain, match="psField"):
        waiting.mirror(unreachable)
    assert {row.outcome for row in waiting.outcomes(Stage.MIRROR).values()} == {Outcome.ARCHIVE_UNAVAILABLE}
    assert len(told(dr7.mirror(planned), OLD[0])["psField"]) == 8


def test_what_lies_beside_a_frame_that_changed_is_asked_for_anew(served: Served) -> None:
    dr7 = served(OLD, RUN_4192)
    staged = dr7.stage(dr7.mirror(dr7.planned()))
    changed = replace(staged, entries=tuple(replace(one, why="changed") for one in staged.entries))
    with dr7.client() as client:
        assert [mirrored(dr7.services, client)(one) for one in changed.entries] == list(staged.entries)
        psfield = file_of(dr7, OLD[0], Kind.PSFIELD)
        content = bytearray(psfield.read_bytes())
        content[content.index(b"SIMPLE  =") + 40] = ord("!")  # in a comment, and as long as before
        psfield.write_bytes(content)
        file_of(dr7, OLD[0], Kind.TSFIELD).unlink()
        found = [mirrored(dr7.services, client)(one) for one in changed.entries]
        unchanged = [mirrored(dr7.services, client)(one) for one in staged.entries]
    of = {one.kind: one for one in found[0].beside}
    before = {one.kind: one for one in staged.entries[0].beside}
    assert of["psField"].sha256 == hashlib.sha256(content).hexdigest() != before["psField"].sha256
    assert not dr7.services.store.exists(of["psField"].staged)
    # What the archive has no more is as it was; and a frame that did not change takes what the mirror has.
    assert of["tsField"] == before["tsField"]
    assert unchanged == found
    after = dr7.stage(replace(changed, entries=tuple(found)))
    assert dr7.services.store.read(of["psField"].staged) == bytes(content)
    assert after.entries == tuple(found)


def test_a_reference_that_cannot_be_had_is_done_without(served: Served) -> None:
    dr12 = served(NEW, RUN_94)
    planned = dr12.planned()

    def away(one: Beside) -> Beside:
        return replace(one, url="http://127.0.0.1:9/photoObj.fits") if one.kind == Kind.PHOTOOBJ else one

    unreachable = replace(
        planned, entries=tuple(replace(one, beside=tuple(map(away, one.beside))) for one in planned.entries)
    )
    found = dr12.mirror(unreachable)
    assert [told(found, frame)["photoObj"].partition(" could not be had: ")[0] for frame in NEW] == [
        "photoObj-000094-1-0012.fits"
    ] * 2
    assert {row.outcome for row in dr12.outcomes(Stage.MIRROR).values()} == {Outcome.OK}


def test_new_frames_have_a_reference_beside_them(served: Served) -> None:
    dr12 = served(NEW, RUN_94)
    without = dr12.planned(reference_every=0)
    assert all(one.kind != Kind.PHOTOOBJ for entry in without.entries for one in entry.beside)
    staged = dr12.stage(dr12.mirror(dr12.planned()))
    for frame in NEW:
        beside = told(staged, frame)
        assert beside["fpM"] == f"fpM-000094-{frame.band}1-0012.fit.gz is not in the archive."
        assert len(beside["photoObj"]) == len(beside["psField"]) == 8
    dr12.finish(staged)
    report = json.loads(dr12.services.store.read(f"{staged.published}/_validation.json"))
    figures = {one["band"]: one for one in report["figures"]}
    assert report["ok"]
    assert figures["r"]["reference"].startswith("photoObj-000094-1-0012.fits")
    assert abs(figures["r"]["east"]) < 0.05 > abs(figures["r"]["north"])
    assert abs(figures["r"]["zero_point"]) < 0.02
    assert report["remarks"] == ["fpM-000094-u1-0012.fit.gz is not in the archive. The same of 1 more frames."]
    page = dr12.services.store.read(f"{staged.published}/_validation.html").decode()
    assert "photoObj-000094-1-0012.fits" in page
    assert report["page"] == ""
    told_of = dr12.summary()["validation"]
    assert [one["batch"] for one in told_of] == [staged.batch]
    assert told_of[0]["figures"] == report["figures"]
    # References are read by the validation alone.
    assert not [path for path, _ in dr12.services.store.walk("beside/beside") if "photoObj-" in path]
