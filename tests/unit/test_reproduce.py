"""A catalogue of real frames is made again from its record; what differs is named, with the cause."""

import gzip
import hashlib
import json
import shutil
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pages_site import ARCHIVE
from real_frames import archive_file, plain
from typer.testing import CliRunner

from kira.cli import app
from kira.errors import InvalidInput
from kira.extraction import Profile
from kira.extraction.limits import FrameLimits
from kira.frames.staged import pack
from kira.ledger import Outcome
from kira.records import facts
from kira.records.again import FolderSource, Kept, Reproduction, recorded_rows, reproduce
from kira.records.record import RECORD, Record, make_record, write_record
from kira.sdss import FrameId
from kira.stages.extraction import extract_batch, run_task
from kira.stages.places import mirror_key, staged_path
from kira.stages.plan import report_path
from kira.storage import Entry, Manifest, Store, open_store

U, R = "dr7-40-004192-4-0300-u", "dr7-40-004192-4-0300-r"
BROKEN = "dr7-40-004192-4-0300-g"
RUN = "manual__2026-01-02T03:04:05+00:00"
PROFILE = Profile.named("kira")


@pytest.fixture(scope="module")
def archive(shared_sdss: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder laid out like the archive; one of its frames is no frame."""
    root = tmp_path_factory.mktemp("archive")
    for name in (U, R, BROKEN):
        frame = FrameId.parse(name)
        target = root / frame.release.service / frame.archive_path
        target.parent.mkdir(parents=True, exist_ok=True)
        # BROKEN has another frame's content under its name.
        shutil.copyfile(archive_file(shared_sdss, U if name == BROKEN else name), target)
    return root


@pytest.fixture(scope="module")
def made(archive: Path, shared_sdss: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Path]:
    """The staging store of a run of three frames, and its record."""
    store = open_store(f"file://{tmp_path_factory.mktemp('stage')}")
    entries = tuple(_entry(store, archive, shared_sdss, name) for name in (BROKEN, R, U))
    manifest = Manifest("dr7-004192-x", ARCHIVE.name, "dr7", PROFILE.slug, "plan", RUN, entries)
    uri = manifest.save(store)
    manifest.after("stage", entries).save(store)
    store.write(f"{manifest.folder}/parameters.json", json.dumps(PROFILE.as_dict()).encode())
    plan = {"release": "dr7", "profile": PROFILE.slug, "batches": [uri], "found": 3}
    store.write(report_path(ARCHIVE.name, RUN, "plan"), json.dumps(plan).encode())
    extract_batch(store, manifest, PROFILE, 1, lambda tasks: [run_task(task, "0") for task in tasks])
    store.rename(manifest.extracted, manifest.published)
    place = tmp_path_factory.mktemp("records") / "record"
    write_record(make_record(store, ARCHIVE.name, RUN), place)
    return store, place


def _entry(store: Store, archive: Path, shared_sdss: Path, name: str) -> Entry:
    frame = FrameId.parse(name)
    packed = (archive / frame.release.service / frame.archive_path).read_bytes()
    content = plain(shared_sdss, U if name == BROKEN else name)
    path = staged_path(ARCHIVE, frame)
    store.write(path, pack(content, frame.pixel_bytes))
    return Entry(
        frame, ARCHIVE.url(frame), mirror_key(ARCHIVE, frame), path, len(packed), hashlib.sha256(packed).hexdigest(),
        len(content), hashlib.sha256(content).hexdigest(),
    )  # fmt: skip


def again(made: tuple[Store, Path], archive: Path, profile: Profile | None = None, **more: int) -> Reproduction:
    store, place = made
    record = Record.read(place)
    folder = f"{ARCHIVE.name}/catalog/dr7/{PROFILE.slug}"
    rows_of = recorded_rows(lambda path: store.read(f"{folder}/{path}"), record)
    return reproduce(record, FolderSource(archive), profile, processes=1, rows_of=rows_of, **more)


def test_a_record_holds_what_made_the_catalogue(made: tuple[Store, Path]) -> None:
    record = Record.read(made[1])
    assert [(line.frame, line.outcome, line.sources > 0, len(line.rows_sha256)) for line in record.frames] == [
        (BROKEN, "bad_frame", False, 0), (R, "ok", True, 64), (U, "ok", True, 64),
    ]  # fmt: skip
    assert record.profile == PROFILE
    (batch,) = record.about["batches"]
    assert batch["job"]["versions"]["sep"] == "1.4.1"
    assert all(len(part["sha256"]) == 64 for part in batch["parts"].values())
    assert record.about["recorded_by"]["code"]["version"]


def test_made_again_it_is_the_same_to_the_last_bit(made: tuple[Store, Path], archive: Path) -> None:
    found = again(made, archive, repeats=2)
    assert (found.identical, found.frames, found.left_out, found.environment) == (True, 3, 0, {})
    assert len(found.seconds_now) == 2
    assert found.ratio[0] > 0
    assert json.loads(json.dumps(found.as_dict()))["identical"] is True


def test_another_parameter_is_named_as_the_cause(made: tuple[Store, Path], archive: Path) -> None:
    found = again(made, archive, replace(PROFILE, threshold=PROFILE.threshold + 0.5))
    assert [(one.frame, one.causes) for one in found.differences] == [(R, ("parameters",)), (U, ("parameters",))]
    assert found.environment["parameters"] == [f"threshold: {PROFILE.threshold + 0.5} instead of {PROFILE.threshold}"]
    assert "rows instead of" in found.differences[0].text


def test_one_byte_of_one_frame_is_named_as_the_cause(
    made: tuple[Store, Path], archive: Path, shared_sdss: Path, tmp_path: Path
) -> None:

    other = tmp_path / "archive"
    shutil.copytree(archive, other)
    frame = FrameId.parse(R)
    path = other / frame.release.service / frame.archive_path
    content = bytearray(gzip.decompress(path.read_bytes()))
    pixels = np.frombuffer(content, ">i2", offset=2880 * (len(content) // 2880 // 2), count=1)
    pixels[:] = pixels + 3000  # one pixel in the middle of the frame
    path.write_bytes(gzip.compress(bytes(content), 1))
    found = again(made, other)
    (one,) = found.differences
    assert (one.frame, one.causes) == (R, ("data",))
    assert "fpC-004192-r4-0300.fit.gz has SHA-256 " in one.text
    # Compressed otherwise, it is the same frame: told, and no difference.
    path.write_bytes(gzip.compress(plain(shared_sdss, R), 1))
    found = again(made, other)
    assert found.identical
    assert len(found.harmless) == 1
    # And with another parameter that is the cause, and not the file.
    found = again(made, other, replace(PROFILE, threshold=PROFILE.threshold + 0.5))
    assert {(one.frame, one.causes) for one in found.differences} == {(R, ("parameters",)), (U, ("parameters",))}
    path.unlink()
    found = again(made, other)
    assert (found.identical, found.differences) == (False, [])
    assert [sentence.startswith(f"{R}: its files could not be had: ") for sentence in found.not_had] == [True]
    done = CliRunner().invoke(app, ["reproduce", str(made[1]), "--archive", str(other)])
    assert done.exit_code == 1
    assert str(done.exception) == "1 of 3 frames could not be had, and were not compared."


def test_each_batch_has_its_own_causes(made: tuple[Store, Path], archive: Path) -> None:
    whole = Record.read(made[1])
    job = {"code": facts.code(), "machines": {"a": facts.machine()}, "versions": {}}
    # Rows cannot differ by where a file of the same code was committed, nor by memory.
    harmless = {
        "code": facts.code() | {"commit": "0" * 40, "lock": ""},
        "machines": {"a": facts.machine() | {"memory_mib": 1}},
    }
    other = {**job, "code": facts.code() | {"sources": "0" * 64}}
    machine = {**job, "machines": {"a": facts.machine(), "b": facts.machine() | {"processor": "of another maker"}}}
    lines = [replace(line, rows_sha256="0" * 64) for line in whole.frames if line.frame != BROKEN]
    for first, second, causes in (
        (harmless, other, [(), ("code",)]), (machine, harmless, [("hardware",), ()]), ({}, {}, [(), ()])
    ):  # fmt: skip
        batches = [whole.about["batches"][0] | {"job": one} for one in (first, second)]
        record = Record(whole.about | {"batches": batches}, ((lines[0],), (lines[1],)))
        found = reproduce(record, FolderSource(archive), processes=1)
        assert [one.causes for one in found.differences] == causes
    assert "Nothing else that is recorded, and could change it, differs either." in found.differences[0].text


@pytest.mark.parametrize(("what", "outcome"), [("hang", Outcome.TIMED_OUT), ("kill", Outcome.WORKER_DIED)])
def test_a_frame_that_ends_its_process_is_told_and_the_others_are_compared(
    made: tuple[Store, Path], archive: Path, monkeypatch: pytest.MonkeyPatch, what: str, outcome: Outcome
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "odd_frames"))
    monkeypatch.setenv("ODD_FRAMES", f"{R}={what}")
    record = Record.read(made[1])
    found = reproduce(record, FolderSource(archive), processes=2, limits=FrameLimits(seconds=5))
    (one,) = found.differences
    assert one.text.startswith(f"{R}: {outcome} instead of ok (")
    assert (found.frames, found.not_had) == (3, [])


def test_time_is_compared_of_the_same_frames_and_may_be_too_long(
    made: tuple[Store, Path], archive: Path, tmp_path: Path
) -> None:
    found = again(made, archive, repeats=3)
    assert len(found.frame_ratios) == len([line for line in Record.read(made[1]).frames if line.seconds > 0])
    assert found.ratio[0] == pytest.approx(np.mean(found.seconds_now) / found.seconds_before)
    assert found.ratio[1] > 0
    words = ["reproduce", str(made[1]), "--archive", str(archive), "--repeats", "2", "--slower-by"]
    done = CliRunner().invoke(app, [*words, "1e9"])
    assert done.exit_code == 0, done.output
    assert "over 2 repeats times what is recorded" in done.output.replace("\n", " ")
    done = CliRunner().invoke(app, [*words, "0.01"])
    assert str(done.exception).endswith("times what is recorded; 0.01 is the most that was allowed.")


def test_files_are_had_once_for_all_repeats(archive: Path, tmp_path: Path) -> None:
    class Counting(FolderSource):
        asked = 0

        def fetch(self, frame: FrameId, key: str, url: str) -> bytes:
            Counting.asked += 1
            return super().fetch(frame, key, url)

    frame, source = FrameId.parse(R), Kept(Counting(archive), tmp_path)
    key = mirror_key(ARCHIVE, frame)
    assert source.fetch(frame, key, "") == source.fetch(frame, key, "") == Counting(archive).fetch(frame, key, "")
    assert Counting.asked == 2


def test_a_catalogue_that_is_not_the_record_s_is_told(made: tuple[Store, Path], archive: Path, tmp_path: Path) -> None:
    words = ["reproduce", str(made[1]), "--archive", str(archive), "--profile", "survey", "--catalogue"]
    done = CliRunner().invoke(app, [*words, str(made[0].url)])
    assert "has none of the record's batches, such as batch=dr7-004192-x" in str(done.exception)
    # Another frame's rows were written anew since then: the file is another, these rows are the same.
    store = open_store(f"file://{tmp_path}")
    folder = f"{ARCHIVE.name}/catalog/dr7/{PROFILE.slug}/batch=dr7-004192-x"
    for file in made[0].listing(folder):
        if file.name.endswith(".parquet"):
            table = pq.read_table(BytesIO(made[0].read(f"{folder}/{file.name}")))
            sink = BytesIO()
            pq.write_table(table.filter(pc.field("band") == "r"), sink)
            store.write(f"{folder}/{file.name}", sink.getvalue())
    rows_of = recorded_rows(lambda path: store.read(f"{folder.rpartition('/')[0]}/{path}"), Record.read(made[1]))
    found = reproduce(Record.read(made[1]), FolderSource(archive), Profile.named("survey"), rows_of=rows_of)
    told = {one.frame: one.text for one in found.differences}
    assert "with " in told[R]
    assert "other rows than those recorded, which the catalogue does not have (any more)" in told[U]


def test_a_record_that_cannot_be_written_whole_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("")
    with pytest.raises(OSError, match=r"exists|directory"):
        write_record({"a": b"1", "a/b": b"2"}, tmp_path / "record")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_record_that_is_not_as_it_was_written_is_refused(made: tuple[Store, Path], tmp_path: Path) -> None:
    place = tmp_path / "record"
    shutil.copytree(made[1], place)
    (lines,) = (place / "batches").iterdir()
    lines.write_text(lines.read_text().replace("ok", "no"))
    with pytest.raises(InvalidInput, match="is not as it was recorded"):
        Record.read(place)
    about = json.loads((place / RECORD).read_text())
    about["batches"][0]["frames"] = "../../etc/passwd"
    (place / RECORD).write_text(json.dumps(about))
    with pytest.raises(InvalidInput, match="which is not in the record"):
        Record.read(place)
    for text in ("", "[]", "{}", '{"kira_record": 2}', '{"kira_record": 1, "batches": 3}'):
        (place / RECORD).write_text(text)
        with pytest.raises(InvalidInput, match="record"):
            Record.read(place)


def test_by_command(made: tuple[Store, Path], archive: Path, tmp_path: Path) -> None:
    store, place = made
    run, out = CliRunner().invoke, tmp_path / "mine"
    done = run(app, ["record", RUN, "-o", str(out), "--archive", ARCHIVE.name, "--stage", store.url])
    assert done.exit_code == 0, done.output
    assert Record.read(out).frames == Record.read(place).frames
    done = run(app, ["reproduce", str(out), "--archive", str(archive), "--frames", "2"])
    assert done.exit_code == 0, done.output
    assert "2 frames: every row is the same to the last bit." in done.output
    catalogue = f"{store.url}/{ARCHIVE.name}/catalog/dr7/{PROFILE.slug}"
    done = run(app, ["reproduce", str(out), "--archive", str(archive), "--profile", "survey", "--catalogue", catalogue])
    assert done.exit_code == 1
    assert "(parameters)" in done.output
    assert "came out otherwise than recorded" in str(done.exception)


def test_a_record_is_a_crate_that_other_tools_read(made: tuple[Store, Path]) -> None:
    """Workflow Run RO-Crate 0.5: what its profiles require, read as JSON-LD has it."""
    place = made[1]
    crate = json.loads((place / "ro-crate-metadata.json").read_text())
    by_id = {one["@id"]: one for one in crate["@graph"]}
    assert len(by_id) == len(crate["@graph"])
    root, action = by_id["./"], by_id["#run"]
    assert by_id["ro-crate-metadata.json"]["about"] == {"@id": "./"}
    assert {one["@id"] for one in root["conformsTo"]} >= {"https://w3id.org/ro/wfrun/workflow/0.5"}
    files = {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()} - {"ro-crate-metadata.json"}
    assert {one["@id"] for one in root["hasPart"]} == files
    workflow = by_id[root["mainEntity"]["@id"]]
    assert "ComputationalWorkflow" in workflow["@type"]
    assert action["instrument"] == root["mainEntity"]
    # Of whole seconds, which a short run begins and ends in the same one of.
    assert action["startTime"] <= action["endTime"]
    assert [by_id[one["@id"]]["value"] for one in action["object"] if "parameter-threshold" in one["@id"]] == [
        str(PROFILE.threshold)
    ]
    referred = [one["@id"] for one in [*action["object"], *action["result"], *root["conformsTo"], root["license"]]]
    assert set(referred) <= set(by_id)
