"""Each run keeps its record: made of what validation left, by the published schema, at no run's cost."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest
from jsonschema import Draft202012Validator, ValidationError
from real_frames import archive_file, plain
from rich.console import Console
from test_pages import opened
from typer.testing import CliRunner

from kira.catalog import read_parts
from kira.catalog.rows_digest import rows_by_frame
from kira.cli import app, report
from kira.errors import InvalidInput, StorageError
from kira.extraction import Profile
from kira.frames.staged import pack
from kira.ledger import Ledger, Outcome, Record, Stage
from kira.records.keeping import keep_record, kept_folder, kept_record, record_folder
from kira.records.record import RECORD, make_record
from kira.records.record import Record as Kept
from kira.records.schema import FRAME_SCHEMA, RECORD_SCHEMA, schemas
from kira.sdss import FrameId
from kira.sdss.archive import Archive
from kira.stages.digests import ROWS, RowDigests
from kira.stages.extraction import extract_batch, read_outcomes, run_task
from kira.stages.places import mirror_key, staged_path
from kira.stages.plan import report_path
from kira.stages.publish import publish
from kira.stages.replacing import replace_frames
from kira.stages.summary import summarize
from kira.stages.validate import validate
from kira.stages.work import Attempt, Services
from kira.storage import Entry, Manifest, Store, open_store
from kira.storage.stores import PosixStore

U, R, BROKEN = (f"dr7-40-004192-4-0300-{band}" for band in "urg")
RUN = "manual__2026-01-02T03:04:05+00:00"
PROFILE = Profile.named("survey")
ARCHIVE = Archive("shared", das="http://127.0.0.1:9/das", sas="http://127.0.0.1:9/sas")


@dataclass
class Run:
    """A run that is published, and the stages' services."""

    services: Services
    manifest: Manifest
    report: dict[str, Any]

    @property
    def store(self) -> Store:
        return self.services.store

    @property
    def folder(self) -> str:
        """Where its record is kept."""
        return record_folder(ARCHIVE.name, RUN)


@pytest.fixture(scope="module")
def whole(shared_sdss: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Two real frames and one that is none, extracted, validated, published and summed up; nothing is changed."""
    folder = tmp_path_factory.mktemp("whole")
    store, ledger = open_store(f"file://{folder}/stage"), Ledger(f"sqlite:///{folder}/ledger.db")
    services = Services(ARCHIVE, None, store, ledger)  # type: ignore[arg-type]
    manifest = Manifest(
        "dr7-004192-x", ARCHIVE.name, "dr7", PROFILE.slug, "plan", RUN,
        tuple(_entry(store, shared_sdss, name) for name in (BROKEN, R, U)),
    )  # fmt: skip
    uri = manifest.save(store)
    store.write(f"{manifest.folder}/parameters.json", json.dumps(PROFILE.as_dict()).encode())
    plan = {"selection": "dr7, runs 4192", "release": "dr7", "profile": PROFILE.slug, "found": 3, "published": 0,
            "settled": 0, "planned": 3, "missing": 0, "withdrawn": 0, "batches": [uri]}  # fmt: skip
    store.write(report_path(ARCHIVE.name, RUN, "plan"), json.dumps(plan).encode())
    attempt = Attempt(RUN)
    for stage in (Stage.PLAN, Stage.MIRROR, Stage.STAGE):
        ledger.record(attempt.context(manifest), stage, [Record(one.frame, Outcome.OK) for one in manifest.entries])
    staged = manifest.after("stage", manifest.entries)
    staged.save(store)
    extract_batch(store, staged, PROFILE, 1, lambda tasks: [run_task(task, "0") for task in tasks])
    validate(services, attempt, staged)
    publish(services, attempt, staged)
    keep = partial(keep_record, Unread(store.url), ARCHIVE.name, RUN)
    yield Run(services, staged, summarize(services, RUN, keep=keep))
    ledger.engine.dispose()


def _entry(store: Store, shared_sdss: Path, name: str) -> Entry:
    frame = FrameId.parse(name)
    # BROKEN has another frame's content under its name.
    there = U if name == BROKEN else name
    packed, content = archive_file(shared_sdss, there).read_bytes(), plain(shared_sdss, there)
    path = staged_path(ARCHIVE, frame)
    store.write(path, pack(content, frame.pixel_bytes))
    return Entry(
        frame, ARCHIVE.url(frame), mirror_key(ARCHIVE, frame), path, len(packed), hashlib.sha256(packed).hexdigest(),
        len(content), hashlib.sha256(content).hexdigest(),
    )  # fmt: skip


class Unread(PosixStore):
    """A store of which no file of a catalogue may be read."""

    def read(self, path: str) -> bytes:
        assert not path.endswith(".parquet"), f"{path} was read again"
        return super().read(path)


def lines_of(files: dict[str, bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for path in files if path.startswith("batches/") for line in files[path].splitlines()]


# -- what validation leaves


def test_digests_are_those_of_the_published_rows(whole: Run) -> None:
    store, folder = whole.store, whole.manifest.published
    left = RowDigests.load(store, folder)
    assert left is not None
    assert left == RowDigests.read(store, folder, left.parts)
    assert left.frames.keys() == {R, U}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "\xff", '{"parts": {}, "frames": {}}', '{"parts": {"part-00000-0.parquet": 3}, "frames": {}}',
     '{"parts": {"part-00000-0.parquet": {"size": 1, "sha256": ""}}, "frames": {}}'],
)  # fmt: skip
def test_digests_that_do_not_fit_the_files_are_not_used(whole: Run, tmp_path: Path, text: str) -> None:
    store, folder = copied(whole, tmp_path), whole.manifest.published
    known = make_record(store, ARCHIVE.name, RUN)
    store.write(f"{folder}/{ROWS}", text.encode("latin-1"))
    assert RowDigests.load(store, folder) is None
    assert lines_of(make_record(store, ARCHIVE.name, RUN)) == lines_of(known)


def copied(whole: Run, tmp_path: Path) -> Store:
    store = open_store(f"file://{tmp_path}/stage")
    for path, _ in whole.store.walk(ARCHIVE.name):
        store.write(path, whole.store.read(path))
    # Manifests are named by their URI.
    path = report_path(ARCHIVE.name, RUN, "plan")
    store.write(path, store.read(path).replace(whole.store.url.encode(), store.url.encode()))
    return store


def test_digests_follow_rows_that_are_replaced(whole: Run, tmp_path: Path) -> None:
    store, folder = copied(whole, tmp_path), whole.manifest.published
    before = RowDigests.load(store, folder)
    (part,) = before.parts if before else ()
    new = read_parts([store.read(f"{folder}/{part}")])
    of_r = dict(rows_by_frame(new))[R][5:]
    sink = tmp_path / "new.parquet"
    pq.write_table(of_r, sink)
    measured = [one for one in read_outcomes(store, folder) if one.frame == R]
    second = replace(whole.manifest, batch="second")
    replace_frames(store, second, folder, [sink.read_bytes()], measured)
    after = RowDigests.load(store, folder)
    assert after is not None
    assert after == RowDigests.read(store, folder, [part])
    assert before is not None
    assert (after.frames[U] == before.frames[U], after.frames[R] == before.frames[R]) == (True, False)


# -- what the run keeps


def test_a_run_keeps_its_record_and_reads_no_rows_for_it(whole: Run) -> None:
    assert whole.report["record"] == {"place": whole.store.uri(whole.folder), "problem": ""}
    saved = json.loads(whole.store.read(report_path(ARCHIVE.name, RUN, "report")))
    assert saved["record"] == whole.report["record"]
    kept = kept_record(whole.store, whole.folder)
    assert [(one.frame, one.outcome, len(one.rows_sha256)) for one in kept.frames] == [
        (BROKEN, "bad_frame", 0), (R, "ok", 64), (U, "ok", 64),
    ]  # fmt: skip
    whole_record = make_record(whole.store, ARCHIVE.name, RUN)
    assert {path.removeprefix(f"{whole.folder}/") for path, _ in whole.store.walk(whole.folder)} == whole_record.keys()
    assert lines_of(whole_record) == [vars(one) for one in kept.frames]


def test_the_record_is_told_on_screen_and_on_the_run_s_page(whole: Run, tmp_path: Path) -> None:
    console = Console(record=True, width=200)
    place = whole.store.uri(whole.folder)
    report.show(console, {"dr7": whole.report}, synthetic=False)
    said = console.export_text()
    assert f"Record dr7: {place}; made again by: kira reproduce {RUN}" in said
    report.show(console, {"dr7": whole.report | {"record": {"place": "", "problem": "It is full."}}}, synthetic=False)
    assert "dr7: It is full." in console.export_text()
    site = opened(tmp_path)
    site.ledger.record(Attempt(RUN).context(whole.manifest), Stage.MIRROR, [Record(FrameId.parse(U), Outcome.OK)])
    pages = open_store(f"file://{tmp_path}/stage")
    path = report_path(ARCHIVE.name, RUN, "report")
    pages.write(path, whole.store.read(path))
    page = unescape(re.sub("<[^>]*>", "", site.client.get(f"/runs/{quote(RUN, safe='')}").text))
    site.ledger.engine.dispose()
    assert f"{place}, made again by kira reproduce {RUN}" in page


class Refusing(PosixStore):
    """A store that refuses what goes into a record, as one that is full does."""

    def write(self, path: str, content: bytes) -> None:
        if path.endswith(RECORD):
            raise StorageError(f"{self.uri(path)} could not be written: no space left on device.")
        super().write(path, content)


class Odd(PosixStore):
    """A store with a bug."""

    def rename(self, source: str, target: str, *, overwrite: bool = False) -> None:
        # The first puts the record of before aside, the second the new one in its place, the third that of before.
        self.renamed = getattr(self, "renamed", 0) + (not overwrite)
        if self.renamed == 2 and not overwrite:
            raise RuntimeError("what is this")
        super().rename(source, target, overwrite=overwrite)


class Forgetful(PosixStore):
    """A store that cannot read, for once, what tells of the frames that were measured."""

    def read(self, path: str) -> bytes:
        if path.endswith(("/_manifest.jsonl", "/stage.jsonl")):
            raise StorageError(f"{self.uri(path)} could not be read: no DataNode has it.")
        return super().read(path)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (Forgetful, "no DataNode has it. Make it with kira record --anew."),
        (Refusing, "no space left on device. Make it with"),
        (Odd, "RuntimeError: what is this. Make"),
    ],
)
def test_a_record_that_cannot_be_written_fails_no_run(
    whole: Run, tmp_path: Path, kind: type[PosixStore], why: str
) -> None:
    store = copied(whole, tmp_path)
    services = replace(whole.services, store=store)
    found = summarize(services, RUN, keep=partial(keep_record, kind(store.url), ARCHIVE.name, RUN))
    assert why in found["record"]["problem"]
    assert found["record"]["problem"].startswith("The run's record could not be written: ")
    assert found["frames"] == whole.report["frames"]
    assert json.loads(store.read(report_path(ARCHIVE.name, RUN, "report")))["record"] == found["record"]
    beside = {entry.name for entry in store.listing(whole.folder.rpartition("/")[0])}
    assert beside == {"plan.json", "report.json", "figures.json", "attempts.json", "record"}, "nothing is left aside"
    assert kept_record(store, whole.folder) == kept_record(whole.store, whole.folder), "that of before is kept"


def test_a_record_of_a_killed_task_gives_way(whole: Run, tmp_path: Path) -> None:
    store = copied(whole, tmp_path)
    store.write(f"{whole.folder}-{'0' * 32}/batches/x.jsonl", b"half of it")
    store.write(f"{whole.folder}/old", b"of a run that was cleared")
    assert keep_record(store, ARCHIVE.name, RUN)["problem"] == ""
    assert not store.exists(f"{whole.folder}/old")
    assert not store.exists(f"{whole.folder}-{'0' * 32}")


def test_a_run_that_found_nothing_to_do_has_a_record_too(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}")
    plan = {"release": "dr7", "profile": "kira-1", "batches": [], "found": 5, "planned": 0}
    store.write(report_path("shared", RUN, "plan"), json.dumps(plan).encode())
    assert keep_record(store, "shared", RUN)["problem"] == ""
    kept = kept_record(store, record_folder("shared", RUN))
    assert (kept.frames, kept.about["plan"]["found"]) == ((), 5)
    Draft202012Validator(json.loads(schemas()[RECORD_SCHEMA])).validate(kept.about)
    done = CliRunner().invoke(app, ["reproduce", RUN, "--stage", store.url])
    assert "nothing is reproduced" in str(done.exception)


# -- by command


def test_what_was_kept_is_written_and_made_again_by_the_run_s_name(
    whole: Run, shared_sdss: Path, tmp_path: Path
) -> None:
    run, store = CliRunner().invoke, copied(whole, tmp_path)
    # What a run kept stays what it was, whatever became of the catalogue since.
    store.delete(f"{ARCHIVE.name}/catalog")
    done = run(app, ["record", RUN, "-o", str(tmp_path / "kept"), "--stage", store.url])
    assert done.exit_code == 0, done.output
    assert "as the run kept it" in done.output
    assert Kept.read(tmp_path / "kept").about == kept_record(whole.store, whole.folder).about
    done = run(app, ["record", RUN, "-o", str(tmp_path / "anew"), "--stage", store.url, "--anew"])
    assert "made from what the run left" in done.output
    made = Kept.read(tmp_path / "anew")
    assert {(one.frame, one.stage, one.outcome) for one in made.frames} == {
        (BROKEN, "extract", "bad_frame"), (R, "", ""), (U, "", "")
    }  # fmt: skip
    done = run(app, ["record", RUN, "--stage", store.url])
    assert "kira record RUN --out FOLDER" in str(done.exception)
    done = run(app, ["record", RUN, "--stage", store.url, "--anew"])
    assert done.exit_code == 0, done.output
    assert kept_record(store, whole.folder).batches == made.batches
    store.delete(whole.folder)
    for path, content in make_record(whole.store, ARCHIVE.name, RUN).items():
        store.write(f"{whole.folder}/{path}", content)
    for place, more in ((RUN, ["--stage", store.url]), (store.uri(whole.folder), [])):
        done = run(app, ["reproduce", place, "--archive", str(shared_sdss), "--frames", "1", "--json", *more])
        # The first frame is the one that is none: SDSS's own file of that name is another.
        (one,) = json.loads(done.stdout)["differences"]
        assert (one["frame"], one["causes"]) == (BROKEN, ["data"])
    for words, why in (
        (["reproduce", "none", "--stage", store.url], "none is neither a folder nor a DAG run that has kept a record"),
        (["reproduce", f"{store.url}/shared"], "is not a record of a run"),
        (["record", "none", "-o", str(tmp_path / "x"), "--stage", store.url], "DAG run none has left no plan"),
    ):
        done = run(app, words)
        assert done.exit_code == 1
        assert why in str(done.exception)


def test_a_run_of_two_archives_has_to_say_which(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}")
    for archive in ("one", "two"):
        store.write(f"{record_folder(archive, RUN)}/{RECORD}", b"{}")
        store.write(report_path(archive, RUN, "plan"), b"{}")
    with pytest.raises(InvalidInput, match="has a record for each of one, two: give the folder of one"):
        kept_folder(store, RUN)
    assert kept_folder(store, RUN, "two") == record_folder("two", RUN)
    done = CliRunner().invoke(app, ["record", RUN, "-o", str(tmp_path / "x"), "--stage", store.url, "--anew"])
    assert "has plans for one, two: say which by --archive" in str(done.exception)


# -- the schema


def without(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda about: about.pop(name)


def test_real_records_are_of_the_published_form(whole: Run) -> None:
    for schema in schemas().values():
        Draft202012Validator.check_schema(json.loads(schema))
    files = {path: whole.store.read(f"{whole.folder}/{path}") for path in (RECORD, RECORD_SCHEMA, FRAME_SCHEMA)}

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    about = json.loads(files[RECORD], parse_constant=refuse)
    checking = Draft202012Validator.FORMAT_CHECKER
    Draft202012Validator(json.loads(files[about["$schema"]]), format_checker=checking).validate(about)
    of_lines = Draft202012Validator(json.loads(files[FRAME_SCHEMA]))
    for line in kept_record(whole.store, whole.folder).frames:
        of_lines.validate(vars(line))
    crate = json.loads(whole.store.read(f"{whole.folder}/ro-crate-metadata.json"))
    told = {one["@id"]: one.get("conformsTo") for one in crate["@graph"]}
    assert told[RECORD] == {"@id": RECORD_SCHEMA}
    assert {name for name in told if name.startswith("batches/") and told[name] == {"@id": FRAME_SCHEMA}}


@pytest.mark.parametrize(
    "damage",
    [
        without("archive"), without("$schema"), without("recorded_by"), without("batches"),
        lambda about: about.update(kira_record=2), lambda about: about.update(release="seven"),
        lambda about: about.update(more=1), lambda about: about.update(dag_run=""),
        lambda about: about.update(batches={}), lambda about: about["batches"][0].pop("frames_sha256"),
        lambda about: about["batches"][0].update(frames="../../etc/passwd"),
        lambda about: about["batches"][0]["parts"].update(x={"size": "1", "sha256": "0" * 64}),
        lambda about: about["batches"][0]["job"].pop("began"),
        lambda about: about["batches"][0]["validation"].update(ok="yes"),
        lambda about: about["recorded_by"]["code"].update(sources="none"),
        lambda about: about["recorded_by"]["machine"].update(cores=0),
    ],
)  # fmt: skip
def test_a_damaged_record_is_not_of_the_published_form(whole: Run, damage: Callable[[dict[str, Any]], Any]) -> None:
    about = json.loads(whole.store.read(f"{whole.folder}/{RECORD}"))
    damage(about)
    with pytest.raises(ValidationError):
        Draft202012Validator(json.loads(schemas()[RECORD_SCHEMA])).validate(about)


@pytest.mark.parametrize(
    "change",
    [{"frame": "dr7-40-4192-4-0300-r"}, {"sha256": "f" * 63}, {"sha256": None}, {"rows_sha256": ""}, {"sources": -1},
     {"sources": 0}, {"part": ""}, {"seconds": "1"}, {"more": 1}, {"beside": None}, {"beside": [{"kind": "psField"}]},
     {"stage": "lunch"}],
)  # fmt: skip
def test_a_damaged_line_is_not_of_the_published_form(whole: Run, change: dict[str, Any]) -> None:
    line = vars(kept_record(whole.store, whole.folder).frames[1])
    with pytest.raises(ValidationError):
        Draft202012Validator(json.loads(schemas()[FRAME_SCHEMA])).validate(line | change)
    for name in line.keys() - {"stage"}:  # which records of before do not have
        with pytest.raises(ValidationError):
            Draft202012Validator(json.loads(schemas()[FRAME_SCHEMA])).validate({n: line[n] for n in line if n != name})
