"""A catalogue is made again by another copy of the code, in another place, over HTTP; what differs is said exactly."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from http_servers import ArchiveServer
from real_frames import plain

import kira
from kira.extraction import Profile
from kira.frames.staged import pack
from kira.records import facts
from kira.records.record import make_record, write_record
from kira.sdss import FrameId
from kira.sdss.archive import Archive
from kira.sdss.beside import Kind, path_beside
from kira.stages.beside import wanted
from kira.stages.extraction import JobNotes, extract_batch, run_task
from kira.stages.places import mirror_key, staged_path
from kira.stages.plan import report_path
from kira.storage import Beside, Entry, Manifest, Store, open_store

U, R = "dr7-40-004192-4-0300-u", "dr7-40-004192-4-0300-r"
RUN = "scheduled__2026-01-02T00:00:00+00:00"
# By SEP: compiled kernels would be compiled anew for another place.
PROFILE = replace(Profile.named("survey"), engine="sep")
PACKAGE = Path(kira.__file__).parent
MEASURES_OTHERWISE = """
_of_before = SepEngine.kron_radius

def _a_little_more(*given, **more):
    radius, flags = _of_before(*given, **more)
    return radius * 1.001, flags

SepEngine.kron_radius = _a_little_more
"""


@dataclass
class Made:
    """A record, and the folder that is served at the addresses in it."""

    record: Path
    archive: Path

    def file(self, name: str) -> Path:
        """A file of the archive."""
        (found,) = self.archive.rglob(name)
        return found


@pytest.fixture
def made(archive_server: ArchiveServer, shared_sdss: Path, tmp_path: Path) -> Made:
    """The record of two real frames, measured with what lies beside them."""
    folder = tmp_path / "served"
    archive = archive_server.add("elsewhere", folder)
    store = open_store(f"file://{tmp_path}/stage")
    entries = tuple(_entry(store, archive, shared_sdss, folder, name) for name in (R, U))
    manifest = Manifest("dr7-004192-x", archive.name, "dr7", PROFILE.slug, "plan", RUN, entries)
    uri = manifest.save(store)
    manifest.after("stage", entries).save(store)
    store.write(f"{manifest.folder}/parameters.json", json.dumps(PROFILE.as_dict()).encode())
    plan = {"release": "dr7", "profile": PROFILE.slug, "batches": [uri], "found": 2}
    store.write(report_path(archive.name, RUN, "plan"), json.dumps(plan).encode())
    notes = JobNotes(about={"code": facts.code(), "machines": {"here": facts.machine()}})
    measured = extract_batch(
        store, manifest, PROFILE, 1, lambda tasks: [run_task(task, "0") for task in tasks], notes=notes
    )
    assert [(one.outcome, one.calibration[:7]) for one in measured] == [("ok", "tsField")] * 2
    store.rename(manifest.extracted, manifest.published)
    record = tmp_path / "record"
    write_record(make_record(store, archive.name, RUN), record)
    # What is not in the record is not needed to make it again.
    shutil.rmtree(tmp_path / "stage")
    return Made(record, folder)


def _entry(store: Store, archive: Archive, shared_sdss: Path, folder: Path, name: str) -> Entry:
    frame = FrameId.parse(name)
    served, content = _serve(shared_sdss, folder, frame.archive_path), plain(shared_sdss, name)
    path = staged_path(archive, frame)
    store.write(path, pack(content, frame.pixel_bytes))
    beside = [
        _beside(store, shared_sdss, folder, frame, one)
        for one in wanted(archive, frame, (kind for kind in PROFILE.beside if not kind.is_reference))
    ]
    assert len(beside) == 3
    return Entry(
        frame, archive.url(frame), mirror_key(archive, frame), path, len(served), _sha256(served), len(content),
        _sha256(content), beside=tuple(beside),
    )  # fmt: skip


def _beside(store: Store, shared_sdss: Path, folder: Path, frame: FrameId, one: Beside) -> Beside:
    content = _serve(shared_sdss, folder, str(path_beside(frame, Kind(one.kind))))
    store.write(one.staged, content)
    sha256 = _sha256(content)
    return replace(one, size=len(content), sha256=sha256, plain_size=len(content), plain_sha256=sha256)


def _serve(shared_sdss: Path, folder: Path, path: str) -> bytes:
    target = folder / "das" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(shared_sdss / "das" / path, target)
    return target.read_bytes()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package in another place, which is no checkout."""
    place = tmp_path_factory.mktemp("another machine")
    shutil.copytree(PACKAGE, place / "kira", ignore=shutil.ignore_patterns("__pycache__"))
    return place


@pytest.fixture
def again(copy: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Run `kira reproduce` by the copy, in a process that has nothing of this one."""

    def run(record: Path, *more: str, code: Path = copy) -> dict[str, Any]:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        environment = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        environment |= {"HOME": str(home), "PYTHONPATH": str(code), "KIRA_HOME": str(home / "kira")}
        done = subprocess.run(
            [sys.executable, "-c", "import kira.cli; kira.cli.main()", "reproduce", str(record), "--json", *more],
            check=False, capture_output=True, text=True, cwd=home, env=environment, timeout=300,
        )  # fmt: skip
        assert done.stdout, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == (not found["identical"]), done.stderr
        return found

    return run


def test_another_copy_over_http_finds_every_bit_again(made: Made, again: Callable[..., dict[str, Any]]) -> None:
    found = again(made.record)
    assert (found["identical"], found["frames"], found["differences"], found["harmless"]) == (True, 2, [], [])
    # It is the same code, and no checkout of a commit: that is told, and is no difference.
    environment = found["environment"]
    assert "parameters" not in environment
    assert not any(text.startswith(("sources", "version:")) for text in environment.get("code", []))


def test_other_code_is_named_as_the_cause(
    made: Made, again: Callable[..., dict[str, Any]], copy: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(copy, other)
    engine = other / "kira" / "extraction" / "sep_engine.py"
    engine.write_text(engine.read_text() + MEASURES_OTHERWISE)
    found = again(made.record, code=other)
    assert {(one["frame"], *one["causes"]) for one in found["differences"]} == {(R, "code"), (U, "code")}
    assert "Its files and the parameters are those of the record." in found["differences"][0]["text"]
    assert sum(text.startswith("sources: ") for text in found["environment"]["code"]) == 1


def test_a_parameter_that_was_changed_is_named(
    made: Made, again: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('kind = "survey"\nname = "survey"\nengine = "sep"\nthreshold = 2.5\n')
    found = again(made.record, "--profile", str(mine))
    assert {(one["frame"], *one["causes"]) for one in found["differences"]} == {(R, "parameters"), (U, "parameters")}
    assert found["environment"]["parameters"] == ["threshold: 2.5 instead of 1.5"]


def test_one_byte_of_one_file_is_named(made: Made, again: Callable[..., dict[str, Any]]) -> None:
    frame, beside = made.file("fpC-004192-r4-0300.fit.gz"), made.file("fpM-004192-u4-0300.fit")
    changes = {}
    for path in (frame, beside):
        content = bytearray(path.read_bytes())
        changes[path.name] = [_sha256(bytes(content))]
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        changes[path.name].insert(0, _sha256(bytes(content)))
    found = again(made.record)
    told = {one["frame"]: one for one in found["differences"]}
    assert told[R]["causes"] == ["data"]
    assert told[R]["text"].startswith(f"{R}: corrupt_upstream instead of ok (")
    now, then = changes[frame.name]
    assert told[R]["text"].endswith(f"{frame.name} has SHA-256 {now} instead of {then}.")
    # A mask in which one bit is another may leave all rows as they are; it is told in any case.
    now, then = changes[beside.name]
    of_u = told[U]["text"] if U in told else "".join(found["harmless"])
    assert of_u.endswith(f"{beside.name} has SHA-256 {now} instead of {then}.")
